#!/bin/sh
# Unpacks the containerd of another Debian suite, with its shim and ctr, into a directory. The
# installed containerd stays as it is. The packages come from the mirror in apt's configuration.
#
#     tests/containerd.sh trixie /var/tmp/containerd-1.7
set -eu

suite=$1
into=$2
[ -x "$into/usr/bin/containerd" ] && exit 0

find_site() {
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' |
        grep -v security | sort -u | head -n 1
}
site=$(find_site)
# apt knows the site of its archive only once it has the package lists.
[ -n "$site" ] || { apt-get -q update > /dev/null && site=$(find_site); }
[ -n "$site" ] || { echo "apt is not configured with an archive of Debian" >&2; exit 1; }
key=/usr/share/keyrings/debian-archive-keyring.gpg

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
: > "$work/status"
echo "deb [signed-by=$key] $site $suite main" > "$work/sources.list"
apt() {
    apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State="$work/state" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}
apt update > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
(cd "$work" && apt download containerd >> "$work/log" 2>&1) || { cat "$work/log" >&2; exit 1; }
mkdir -p "$into"
dpkg -x "$work"/containerd_*.deb "$into"
