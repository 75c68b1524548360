#!/bin/sh
# Runs the whole suite with the containerds of Debian's later suites, 1.7 and 2.x, which are
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
    cargo test --release -p ctrd --tests
    ffi/tests/run.sh
done
