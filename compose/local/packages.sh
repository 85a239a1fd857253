#!/bin/bash
# packages.sh NAME... : install the Debian packages that are missing, and only those.
set -euo pipefail

missing=()
for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "setup: missing Debian packages; as root: apt-get install ${missing[*]}" >&2
    exit 1
fi

# Installing postgresql-15 would make a cluster of Debian's own and start it on port 5432. Only its
# programs are wanted, so it is told not to, for this one installation.
no_cluster=/etc/postgresql-common/createcluster.d/fsmon.conf
trap 'rm -f "$no_cluster"' EXIT
mkdir -p "$(dirname "$no_cluster")"
echo 'create_main_cluster = false' > "$no_cluster"

echo "setup: Debian packages ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get -qq update &&
    apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
    cat "$log" >&2
    echo "setup: apt-get failed, its messages are above" >&2
    exit 1
fi
rm -f "$log"
