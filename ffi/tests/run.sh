#!/bin/sh
# The C suite: compiles and runs the programs of ffi/tests/c against the library that is shipped.
#
#     ffi/tests/run.sh [plain|valgrind|asan] [TOPIC...]
#
# It raises the tests' ground (a containerd, a registry) for all of them together, unless it is started
# on one. The library is in target/release/lib ("make lib").
set -eu
cd "$(dirname "$0")/../.."

if [ -z "${CTRD_TEST_ADDRESS-}" ]; then
    cargo build --release --quiet --example ground
    exec target/release/examples/ground ffi/tests/run.sh "$@"
fi

mode=${1-plain}
[ $# -eq 0 ] || shift
flags="-std=c99 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -pthread"
before=
# How long a program may take, in seconds: one that hangs has failed (124).
most=300
case $mode in
plain) ;;
asan) flags="$flags -fsanitize=address -fno-omit-frame-pointer" ;;
valgrind)
    before="valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite
        --errors-for-leak-kinds=definite --suppressions=ffi/tests/valgrind.supp --fair-sched=yes"
    # It does not know openat2 and open_tree, with which users are looked up in an image.
    export CTRD_TEST_OWN_SPEC=1 CTRD_TEST_SLOW=1
    most=1800
    ;;
*)
    echo "usage: run.sh [plain|valgrind|asan] [TOPIC...]" >&2
    exit 2
    ;;
esac

if [ $# -eq 0 ]; then
    for program in ffi/tests/c/*.c; do
        topic=$(basename "$program" .c)
        case $mode-$topic in
        # The first reads the kernel's masks of the threads, which are valgrind's there. The others need
        # system calls that valgrind does not know: a pidfd for the containerd that is started, and
        # openat2 for the users of an image.
        valgrind-signals | valgrind-daemon | valgrind-image_spec) ;;
        *) set -- "$@" "$topic" ;;
        esac
    done
fi

work=target/release/c/$mode
mkdir -p "$work"
passed=0 failed=0
for topic; do
    # shellcheck disable=SC2086 # one word for each flag
    cc $flags -Iinclude -o "$work/$topic" "ffi/tests/c/$topic.c" \
        -Ltarget/release/lib -lctrd -Wl,-rpath,"$PWD/target/release/lib"
    code=0
    # shellcheck disable=SC2086
    timeout -k 10 "$most" $before "$work/$topic" || code=$?
    if [ $code -eq 0 ]; then
        echo "c $mode $topic: ok"
        passed=$((passed + 1))
    else
        echo "c $mode $topic: FAILED ($code)"
        failed=$((failed + 1))
    fi
done
echo "c $mode: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
