#!/bin/sh
# docker-py builds a Dockerfile with a here-document without running what is in it.
#
# Version:  docker 7.2.0 (docker-py) with engine 26.1.5; needs a Docker engine on Linux
# Expected: the step runs, as `docker build` runs it, or the build is refused: docker-py speaks to the
#           old builder, which refuses `RUN --mount` in so many words.
# Seen:     the lines of the here-document are dropped and the build succeeds, `exit 3` included.
# Matters:  the steps that install nodes are just those that are written as here-documents: a tool on
#           docker-py makes an image without them, and says it is built.
set -eu
docker version > /dev/null || { echo "this needs a Docker engine" >&2; exit 1; }
work=$(mktemp -d)
base=finding-base:$$
result=finding-result:$$
clean() {
    # Only what was made until then: a name that is not there is no image to remove.
    docker image ls --quiet --filter "reference=$result" --filter "reference=$base" |
        xargs -r docker rmi --force > /dev/null
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet docker==7.2.0

# The smallest base with a shell: this machine's own, with the libraries it needs.
shell=$(command -v sh)
install -D "$shell" "$work/root/bin/sh"
for library in $(ldd "$shell" | grep -o '/[^ ]*'); do
    install -D "$library" "$work/root/$library"
done
tar -C "$work/root" -c . | docker import - "$base" > /dev/null

mkdir "$work/context"
printf 'FROM %s\nRUN <<DONE\nexit 3\nDONE\n' "$base" > "$work/context/Dockerfile"
cat > "$work/build.py" <<'PYTHON'
import sys

import docker

image, lines = docker.from_env().images.build(path=sys.argv[1], tag=sys.argv[2], rm=True)
print("docker-py:", [line["stream"].strip() for line in lines if "Success" in line.get("stream", "")])
PYTHON
docker version --format 'engine {{.Server.Version}}'
"$work/venv/bin/python" "$work/build.py" "$work/context" "$result"
if docker buildx build --progress plain "$work/context" > "$work/log" 2>&1; then
    echo "BuildKit builds it too" && exit 1
fi
grep '^ERROR' "$work/log"
