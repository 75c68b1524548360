#!/bin/sh
# Runs the suites that talk to containerd with the containerds of Debian's later suites, 1.7 and 2.x, which are
# unpacked beside the installed one. src/guide/what_happens_when.md says how the versions differ.
#
#     tests/matrix.sh [SUITE...]
set -eu
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- trixie forky
for suite; do
    into=/var/tmp/ctrd-containerd-$suite
    tests/containerd.sh "$suite" "$into"
    PATH=$into/usr/bin:$PATH
    export PATH
    echo "== $suite: $(containerd --version)"
    # What never talks to containerd is the same with every version.
    cargo test --release -p ctrd --lib --test clients --test containers --test control --test daemon \
        --test delivery --test exec --test faults --test image --test info --test leaks \
        --test other_clients --test output --test stats --test submission
    ffi/tests/run.sh plain containers control daemon drain events hooks image_spec images info queue recover \
        stats stdio submit watch
done
