#!/bin/sh
# BuildKit gives a build the bytes of another build's context.
#
# Version:  engine 26.1.5 and buildx 0.13.1 (Debian 13); needs a Docker engine with buildx
# Expected: what COPY brings comes from the context of this build, or from the cache for equal bytes.
# Seen:     two folders with the same last name count as one context that was sent before, and a file
#           of equal size and time in it as unchanged: the second image has the first one's bytes.
#           From a folder of another name it has its own.
# Matters:  builds that are to be reproducible set one time for all files, and tools make a folder of
#           the same name for each image: a pin changed by one digit is not in the image. Give each
#           context's folder a name that follows from its content.
set -eu
docker buildx version > /dev/null || { echo "this needs a Docker engine with buildx" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

build() { # $1: folder of the context; $2: the line it holds; prints both what was given and built
    mkdir -p "$work/$1"
    printf 'FROM scratch\nCOPY pin /\n' > "$work/$1/Dockerfile"
    echo "$2" > "$work/$1/pin"
    touch -d @1700000000 "$work/$1/pin" "$work/$1/Dockerfile"
    docker buildx build --quiet --output "type=local,dest=$work/image" "$work/$1" > "$work/log"
    printf '%s\n    context: %s\n    image:   %s\n' "$1" "$2" "$(cat "$work/image/pin")"
}

# New bytes each time, so that nothing of an earlier run of this script is met in the cache.
new=$(python3 -c 'import secrets; print(secrets.token_hex(4))')
docker version --format 'engine {{.Server.Version}}'
docker buildx version
build "one/context-$new" "$new commit=1"
first=$(cat "$work/image/pin")
build "two/context-$new" "$new commit=2"
second=$(cat "$work/image/pin")
build "two/other-$new" "$new commit=2"
third=$(cat "$work/image/pin")
[ "$first" = "$new commit=1" ] && [ "$second" = "$first" ] && [ "$third" = "$new commit=2" ]
