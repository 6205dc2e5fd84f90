#!/bin/sh
# uv lets a race decide which of two packages provides a file that both hold.
#
# Version:  uv 0.13.8
# Expected: two wheels with the same paths are refused, or one of them wins, the same one each time.
# Seen:     both are installed at once, file by file: one wins, or the other, or the folder is a
#           mixture of both. uv says nothing, and `uv pip check` finds the packages compatible.
#           With UV_CONCURRENT_INSTALLS=1 the outcome is the same in each run.
# Matters:  node packs bring opencv-python and opencv-python-headless, which share their files, into one
#           environment: a full lock with hashes still gives images that differ.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv==0.13.8

cat > "$work/wheels.py" <<'PYTHON'
import zipfile

TAGS = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
for owner in ("first", "second"):
    info = f"{owner}-1.0.dist-info"
    files = {f"shared/m{number:03}.py": f"OWNER = '{owner}'\n" for number in range(400)}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = TAGS
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(f"{owner}-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
PYTHON
cd "$work"
python3 wheels.py
export UV_CACHE_DIR="$work/cache"

outcome() { # install both into a new environment; print whose the shared files are
    venv/bin/uv venv --quiet --clear --python venv/bin/python new
    venv/bin/uv pip install --no-index --python new ./first-1.0-*.whl ./second-1.0-*.whl 2>> said
    venv/bin/uv pip check --python new 2>> said
    cat new/lib/python3*/site-packages/shared/*.py | sort | uniq -c | tr -s ' \n' ' '
    echo
}
repeat() { for _ in $(seq "$1"); do outcome; done; }

repeat 20 > together
UV_CONCURRENT_INSTALLS=1 repeat 8 > alone
echo "20 runs:" && sort together | uniq -c
echo "8 runs with UV_CONCURRENT_INSTALLS=1:" && sort alone | uniq -c
echo "said in all of them, times left out:"
sed 's/ in [0-9.]*m\{0,1\}s$//' said | sort | uniq -c
if grep -qiE 'warn|shared|conflict' said; then exit 1; fi
[ "$(sort -u together | wc -l)" -gt 1 ] && [ "$(sort -u alone | wc -l)" -eq 1 ]
