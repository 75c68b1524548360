#!/bin/sh
# The header in languages that read it: Python's cffi, LuaJIT and bindgen. The first two also load the
# library and call it.
set -eu
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
library=target/release/lib/libctrd.so.0

# Neither has a preprocessor. So comments, guards and macros are taken out, and declarations stay.
grep -v '^#include' include/ctrd.h | cc -E -P -U__GNUC__ - >"$work/ctrd.cdef"
# Constants are small numbers.
sed -n 's/^#define \(CTRD_[A-Z_]*\) (\{0,1\}\(-\{0,1\}[0-9]\{1,\}\))\{0,1\}$/\1 \2/p' include/ctrd.h >"$work/constants"

/usr/bin/python3 - "$work" "$library" <<'END'
import sys
import cffi

work, path = sys.argv[1:]
ffi = cffi.FFI()
ffi.cdef(open(work + "/ctrd.cdef").read())
ffi.cdef("".join("#define %s %s\n" % tuple(line.split()) for line in open(work + "/constants")))
lib = ffi.dlopen(path)
assert lib.ctrd_library_version_number() == lib.CTRD_VERSION_NUMBER
assert lib.ctrd_forever() == 2**63 - 1 and lib.ctrd_poll() == -2**63

config = ffi.new("ctrd_client_config_t *")
lib.ctrd_client_config_init(config, ffi.sizeof("ctrd_client_config_t"))
address = ffi.new("char[]", b"/nonexistent/socket")
config.address = address
client = ffi.new("ctrd_client_t **")
err = ffi.new("ctrd_error_t **")
assert lib.ctrd_client_open(config, ffi.NULL, client, err) == lib.CTRD_E_NOT_FOUND
assert ffi.string(lib.ctrd_error_operation(err[0])) == b"client_open"
lib.ctrd_error_free(err[0])
print("cffi parses the header")
END

luajit - "$work" "$library" <<'END'
local work, path = ...
local ffi = require("ffi")
ffi.cdef(io.open(work .. "/ctrd.cdef"):read("*a"))
local constants = {}
for line in io.lines(work .. "/constants") do
    local name, value = line:match("(%S+) (%S+)")
    constants[name] = tonumber(value)
end
local lib = ffi.load("./" .. path)
assert(lib.ctrd_library_version_number() == constants.CTRD_VERSION_NUMBER)
assert(lib.ctrd_forever() == 0x7fffffffffffffffLL and lib.ctrd_poll() == -0x7fffffffffffffffLL - 1)

local config = ffi.new("ctrd_client_config_t")
lib.ctrd_client_config_init(config, ffi.sizeof(config))
config.address = "/nonexistent/socket"
local client = ffi.new("ctrd_client_t *[1]")
local err = ffi.new("ctrd_error_t *[1]")
assert(lib.ctrd_client_open(config, nil, client, err) == constants.CTRD_E_NOT_FOUND)
assert(ffi.string(lib.ctrd_error_operation(err[0])) == "client_open")
lib.ctrd_error_free(err[0])
print("LuaJIT parses the header")
END

bindgen include/ctrd.h >"$work/ctrd.rs"
declared=$(grep -c '^    pub fn ctrd_' "$work/ctrd.rs")
listed=$(grep -c '^ctrd_' ffi/symbols)
[ "$declared" = "$listed" ] || { echo "bindgen sees $declared functions of $listed" >&2; exit 1; }
echo "bindgen parses the header"
