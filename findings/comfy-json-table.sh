#!/bin/sh
# comfy-cli answers `--json` with a table.
#
# Version:  comfy-cli 1.23.0
# Expected: `--json` is described as one JSON envelope on stdout, with side messages on stderr; so
#           stdout of a command that succeeds can be parsed.
# Seen:     `comfy --json which` keeps to it; `comfy --json model list` writes a drawn table, or
#           "No models found.", to stdout and exits 0.
# Matters:  a build step that asks comfy-cli which models a workspace holds has to treat "no JSON"
#           as a third answer beside ok and error, and cannot take the exit status for it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet comfy-cli==1.23.0

export HOME="$work/home"
mkdir -p "$HOME/comfy/ComfyUI/models/vae"

ask() { "$work/venv/bin/comfy" --json --skip-prompt "$@" < /dev/null 2> "$work/stderr"; }
is_json() { python3 -c 'import json, sys; json.load(sys.stdin)' 2> "$work/why"; }

described=0
tell() {
    echo "\$ comfy --json $1   (exit status 0)"
    printf '%s\n\n' "$2"
}

answer=$(ask which)
tell which "$answer"
printf '%s' "$answer" | is_json || described=1

none=$(ask model list)
tell "model list" "$none"
if printf '%s' "$none" | is_json; then described=1; fi

echo weights > "$HOME/comfy/ComfyUI/models/vae/small.safetensors"
table=$(ask model list)
tell "model list" "$table"
if printf '%s' "$table" | is_json; then described=1; fi
case $table in
    *small.safetensors*) ;;
    *) described=1 ;;
esac
exit $described
