#!/bin/sh
# apt-get does not wait for the lock of the package lists, however long it is told to.
#
# Version:  apt 2.6.1 (Debian 12); needs apt-get, installs nothing, any user may run it
# Expected: `-o DPkg::Lock::Timeout=30` makes apt-get wait up to 30 seconds for a lock.
# Seen:     it is for dpkg's locks alone: `apt-get update` ends at once with status 100 while another
#           process holds the lock of the lists, and goes well after that.
# Matters:  stages of an image that build side by side share /var/lib/apt/lists as a cache mount. Only
#           `sharing=locked` on the mount, or a lock of one's own, makes the second one wait.
set -eu
command -v apt-get > /dev/null || { echo "this needs apt-get, so Debian or its kin" >&2; exit 1; }
work=$(mktemp -d)
holder=
stop() {
    [ -z "$holder" ] || kill "$holder" 2> /dev/null || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

mkdir -p "$work/lists/partial"
: > "$work/sources.list"
update() {
    apt-get update -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" \
        -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o DPkg::Lock::Timeout=30 > "$work/said" 2>&1
}

cat > "$work/hold.py" <<'PYTHON'
import fcntl
import pathlib
import sys
import time

with open(f"{sys.argv[1]}/lists/lock", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    pathlib.Path(sys.argv[1], "held").touch()
    time.sleep(60)
PYTHON
python3 "$work/hold.py" "$work" &
holder=$!
while [ ! -e "$work/held" ]; do sleep 0.1; done

before=$(date +%s)
held=0
update || held=$?
seconds=$(($(date +%s) - before))
apt-get --version | head -n 1
echo "lock held: exit status $held after $seconds s, told to wait 30"
sed "s|$work|…|; s/^/    /" "$work/said"

kill "$holder"
wait "$holder" 2> /dev/null || true
holder=
free=0
update || free=$?
echo "lock free: exit status $free"
[ "$held" -eq 100 ] && [ "$seconds" -lt 20 ] && [ "$free" -eq 0 ]
