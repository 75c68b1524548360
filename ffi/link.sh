#!/bin/sh
# Links the library that is shipped, target/release/lib/libctrd.so, from the static one that cargo has
# built. cargo's own shared library would do but for its version nodes: rustc passes a version script
# of its own, and the linker takes no second.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
soname=libctrd.so.${version%%.*}
archive=target/release/libctrd.a
out=target/release/lib
work=target/release/link
mkdir -p "$out" "$work"

# The exports with their version nodes, each of which has those before it.
grep -v '^#' ffi/symbols | sort -k 2,2V -k 1,1 | awk '
    function close_node() { if (node != "") print (before == "" ? "local: *;\n" : "") "}" before ";" }
    $2 != node { close_node(); before = node == "" ? "" : " CTRD_" node; node = $2
                 print "CTRD_" node " {\nglobal:" }
    { print "    " $1 ";" }
    END { close_node() }' >"$work/ctrd.map"
# A linker takes from an archive what is asked for alone.
awk '!/^#/ { print "-Wl,--undefined=" $1 }' ffi/symbols >"$work/exports"

cc -shared -o "$work/libctrd.so" "@$work/exports" "$archive" \
    -Wl,-soname,"$soname" -Wl,--version-script="$work/ctrd.map" \
    -Wl,--gc-sections -Wl,--strip-debug -Wl,--build-id -Wl,--as-needed \
    -Wl,-z,nodelete -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack \
    -lstdc++ -lgcc_s -lm -lpthread -ldl -lc

fail() {
    echo "ffi/link.sh: $1" >&2
    exit 1
}
readelf -dW "$work/libctrd.so" >"$work/dynamic"
grep -q "(SONAME).*\[$soname\]" "$work/dynamic" || fail "the SONAME is missing"
grep -q 'FLAGS_1.*NODELETE' "$work/dynamic" || fail "dlclose would unload the library"
nm -D --defined-only "$work/libctrd.so" | awk '$2 != "A" { print $3 }' |
    sed 's/@@CTRD_/ /' | sort >"$work/exported"
grep -v '^#' ffi/symbols | sort | diff - "$work/exported" >&2 ||
    fail "the exports and their versions are not those of ffi/symbols"

install -m 755 "$work/libctrd.so" "$out/libctrd.so.$version"
ln -sf "libctrd.so.$version" "$out/$soname"
ln -sf "$soname" "$out/libctrd.so"
install -m 644 "$archive" "$out/libctrd.a"
