#!/bin/sh
# The header in every dialect that is promised, C89 to C17 and C++98 to C++20, with gcc and clang,
# without a warning: alone, included twice, in a file that uses every macro of it, and in one that
# defines CTRD_CHECK.
set -eu
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo '#include "ctrd.h"' >"$work/alone.c"
printf '#include "ctrd.h"\n#include "ctrd.h"\n' >"$work/twice.c"

# Every macro with a value: initialisers in initialisations, the others as expressions.
{
    echo '#include "ctrd.h"'
    echo 'void use(const void *value);'
    echo 'void use_all(void);'
    echo 'void use_all(void) {'
    sed -n 's/^#define \(CTRD_[A-Z0-9_]*\)\( .*\|\)$/\1/p' include/ctrd.h | sort -u | while read -r macro; do
        case $macro in
        CTRD_H | CTRD_CHECK) ;;
        CTRD_FOREVER | CTRD_POLL)
            echo "    { int64_t value = $macro; static const int64_t fixed = $macro; use(&value); use(&fixed); }"
            ;;
        CTRD_VERSION_STRING) echo "    { const char *value = $macro; use(value); }" ;;
        *_INIT)
            type=$(echo "${macro%_INIT}_t" | tr '[:upper:]' '[:lower:]')
            echo "    { $type value = $macro; static const $type fixed = $macro; use(&value); use(&fixed); }"
            ;;
        *) echo "    { int32_t value = $macro; int values[$macro + 100]; use(&value); use(values); }" ;;
        esac
    done
    echo '    { int64_t value = CTRD_REMAINING((int64_t)1, (int64_t)2); use(&value); }'
    echo '}'
} >"$work/macros.c"
[ "$(grep -c 'use(&\?value)' "$work/macros.c")" -ge 40 ] || { echo "the macros are not found" >&2; exit 1; }

# A program may define CTRD_CHECK itself, and then ignore a status.
cat >"$work/check.c" <<'END'
#define CTRD_CHECK
#include "ctrd.h"
void ignore(ctrd_client_t *client);
void ignore(ctrd_client_t *client) {
    ctrd_client_close(client, NULL, NULL);
}
END
if sed 1d "$work/check.c" | gcc -x c -Iinclude -c -o /dev/null -Werror - 2>/dev/null; then
    echo "a status that is ignored is no warning" >&2
    exit 1
fi

count=0
check() {
    compiler=$1 dialect=$2
    shift 2
    for file in alone twice macros check; do
        "$compiler" -x "${dialect%%:*}" -std="${dialect##*:}" -Iinclude -c -o /dev/null \
            -Wall -Wextra -Wpedantic -Werror "$@" "$work/$file.c"
        count=$((count + 1))
    done
}
for dialect in c89 c99 c11 c17; do
    check gcc c:$dialect -Wc++-compat
    check clang c:$dialect -Wc++-compat
done
for dialect in c++98 c++11 c++14 c++17 c++20; do
    check g++ c++:$dialect
    check clang++ c++:$dialect
done
echo "the header compiles in $count ways"
