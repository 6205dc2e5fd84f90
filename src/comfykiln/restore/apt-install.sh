#!/bin/sh
# Install the Debian packages named in the file $1, one a line, and leave no list or cache behind.
# Settings of the host (proxy, CA, mirror) come as secrets and reach no layer.
set -eu
names=$(cat "$1")
secrets=/run/secrets
started=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
set -- -o APT::Install-Recommends=false -o Dpkg::Use-Pty=0 -o Acquire::Retries=3
[ ! -s "$secrets/apt.conf" ] || export APT_CONFIG="$secrets/apt.conf"
if [ -s "$secrets/apt.list" ]; then
  set -- "$@" -o Dir::Etc::sourcelist="$secrets/apt.list" -o Dir::Etc::sourceparts=/dev/null
fi
[ ! -s "$secrets/ca.crt" ] || set -- "$@" -o Acquire::https::CAInfo="$secrets/ca.crt"
apt-get "$@" -q -o APT::Update::Error-Mode=any update
# The names are one a line and were checked against the schema: splitting them is meant.
# shellcheck disable=SC2086
apt-get "$@" -q -y install $names
for name in $names; do
  dpkg-query -W -f '${Status} ${Package} ${Version}\n' "$name" | grep '^install ok installed ' || {
    echo "kiln: the package $name is not installed, though apt-get reported success" >&2
    exit 1
  }
done
grep -q '^comfy:' /etc/passwd || {
  echo 'comfy:x:1000:1000:ComfyUI:/app/user:/usr/sbin/nologin' >>/etc/passwd
  echo 'comfy:x:1000:' >>/etc/group
}
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
  /var/log/alternatives.log /var/cache/ldconfig/aux-cache /root/.cache
# A server that gains no privileges needs no program that gives them.
find / -xdev -type f -perm /6000 ! -path '/proc/*' -exec chmod a-s {} +
mkdir -p /app
# What was made just now gets the time of all files, so that equal packages make equal layers.
# Files that came with a package keep their own: bytecode beside them depends on it.
find / -xdev -newer "$started" ! -path '/proc/*' ! -path '/run/*' ! -path '/kiln-apt*' \
  -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
rm -f "$started"
touch -d "@$SOURCE_DATE_EPOCH" /tmp
