#!/bin/sh
# Installs the packages of a list that are missing. The list is tests/packages, or the argument. On
# another system than Debian it prints which programs are missing, and fails.
set -eu

list=${1-$(dirname "$0")/packages}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

there() { # PROGRAM [static]
    case $1 in
    /*) [ -e "$1" ]; return ;;
    esac
    path=$(command -v "$1") || return 1
    [ "${2-}" != static ] || ! ldd "$path" > /dev/null 2>&1
}

if ! command -v cargo > /dev/null; then
    echo "deps: cargo is not on PATH; Rust is not installed from here" >&2
    exit 1
fi

packages= programs=
while read -r package program how; do
    case $package in '#'* | '') continue ;; esac
    # shellcheck disable=SC2086 # no word where the third column is empty
    if ! there "$program" $how; then
        packages="$packages $package"
        programs="$programs $program"
    fi
done < "$list"
[ -n "$packages" ] || exit 0

if ! command -v apt-get > /dev/null; then
    echo "deps: not found:$programs" >&2
    echo "deps: on Debian they are in:$packages; here, install what corresponds to them" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "deps: missing:$packages; installing them, and running containers, needs root" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # one word for each package
install() { apt-get install -y --no-install-recommends $packages; }
# shellcheck disable=SC2086
if ! apt-cache show $packages > /dev/null 2>&1; then
    apt-get update
fi
# The package lists that exist may be too old.
install || { apt-get update && install; }
