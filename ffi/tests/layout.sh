#!/bin/sh
# The layout of the header's structs: no padding, and a size that is a multiple of 8, on 64 bits, on 32
# bits, and on 32 bits where 64-bit members are aligned. So compilers and languages agree about it, and a
# struct can grow at its end.
set -eu
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# For each struct: its size is the sum of its members' sizes.
awk '
    BEGIN { print "#include \"ctrd.h\"" }
    /^typedef struct ctrd_[a-z_]* \{$/ { type = $3; sum = "0"; next }
    type != "" && /^} / {
        print "typedef char no_padding_in_" type "[sizeof(" type ") == " sum " ? 1 : -1];"
        print "typedef char multiple_of_8_" type "[sizeof(" type ") % 8 == 0 ? 1 : -1];"
        type = ""
        next
    }
    type != "" && /;$/ && !/^ *[\/*]/ {
        member = $NF
        gsub(/[*;]/, "", member)
        sum = sum " + sizeof(((" type " *)0)->" member ")"
    }
' include/ctrd.h >"$work/layout.c"
count=$(grep -c no_padding "$work/layout.c")
[ "$count" -ge 8 ] || { echo "the structs are not found" >&2; exit 1; }

# Without the C library, whose headers for 32 bits may not be installed.
for flags in -m64 -m32 '-m32 -malign-double'; do
    # shellcheck disable=SC2086 # one word for each flag
    gcc $flags -ffreestanding -std=c99 -Wall -Wextra -Wpadded -Werror -Iinclude -fsyntax-only "$work/layout.c"
done
echo "$count structs have no padding"
