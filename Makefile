# One profile for everything: gRPC's C++ takes minutes, and would be built again for another.

CC      ?= cc
LIB      = target/release/lib
GROUND   = target/release/examples/ground
RUN      = target/release/run
PEER     = target/release/peer

# Where Debian has runc, and a root shell without a login has no way to.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.NOTPARALLEL:
.PHONY: all deps root lib ground demo test test-matrix test-memory test-faults header bench \
        soak check clean

all: lib

# What is missing of the Debian packages in tests/packages.
deps:
	tests/deps.sh

root:
	@[ "$$(id -u)" = 0 ] || { echo "running containers needs root" >&2; exit 1; }

# libctrd.so and libctrd.a, in target/release/lib.
lib:
	cargo build --release -p ctrd-ffi
	ffi/link.sh

# A private containerd and a registry with an image, around a command.
ground:
	cargo build --release --example ground

demo: root deps lib ground
	$(CC) -std=c99 -Wall -Wextra -Iinclude ffi/examples/run.c \
	    -L$(LIB) -Wl,-rpath,'$(CURDIR)/$(LIB)' -lctrd -o $(RUN)
	$(GROUND) --clean $(RUN) {address} {image} \
	    /bin/sh -c 'echo "hello from process $$$$ of $$(uname -sm)"; ls /'

test: root deps lib
	cargo test --release --workspace
	ffi/tests/run.sh

# The suite on containerd 1.7 and 2.x as well.
test-matrix: root deps lib
	tests/matrix.sh

test-memory: root deps lib
	ffi/tests/run.sh valgrind
	ffi/tests/run.sh asan

# What breaks, and a twentieth of what takes long.
test-faults: root deps
	cargo test --release -p ctrd --test faults --test clients
	cargo bench --profile release --bench soak -- --share 20

# Writes include/ctrd.h anew.
header:
	CTRD_WRITE_HEADER=1 cargo test --release -p ctrd-ffi --test header -- --exact \
	    the_committed_header_is_the_generated_one

# Beside containerd's own client for Go.
bench: root deps
	tests/deps.sh benches/packages
	GO111MODULE=off GOPATH=/usr/share/gocode go build -o $(PEER) benches/peer/main.go
	cargo bench --profile release --bench figures -- $(PEER)

# Thousands of faults, hundreds of containers, outages of minutes: about an hour.
soak: root deps
	cargo bench --profile release --bench soak

# Format, lints, links of the documents; then what the library is as it is shipped: its header, its symbols.
check: lib
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps
	cargo test --release -p ctrd-ffi

clean:
	cargo clean
