# There is one profile for everything, because another one would build gRPC's C++ again, which takes
# minutes.

CC      ?= cc
LIB      = target/release/lib
GROUND   = target/release/examples/ground
RUN      = target/release/run
PEER     = target/release/peer

# Debian has runc in these directories. They are not in the path of a root shell without a login.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.NOTPARALLEL:
.PHONY: all deps root lib ground demo test test-matrix test-memory test-faults header bench \
        soak check clean

all: lib

# Installs the Debian packages of tests/packages that are missing.
deps:
	tests/deps.sh

root:
	@[ "$$(id -u)" = 0 ] || { echo "running containers needs root" >&2; exit 1; }

# Builds libctrd.so and libctrd.a, in target/release/lib.
lib:
	cargo build --release -p ctrd-ffi
	ffi/link.sh

# Runs a command with a private containerd, and a registry with an image.
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

# Runs the suites that talk to containerd with containerd 1.7 and 2.x as well.
test-matrix: root deps lib
	tests/matrix.sh

test-memory: root deps lib
	ffi/tests/run.sh valgrind
	ffi/tests/run.sh asan

# Runs a twentieth of the soak. The tests that break things are part of "make test".
test-faults: root deps
	cargo bench --profile release --bench soak -- --share 20

# Writes include/ctrd.h again.
header:
	CTRD_WRITE_HEADER=1 cargo test --release -p ctrd-ffi --test header -- --exact \
	    the_committed_header_is_the_generated_one

# Compares the library with containerd's own client for Go.
bench: root deps lib
	tests/deps.sh benches/packages
	GO111MODULE=off GOPATH=/usr/share/gocode go build -o $(PEER) benches/peer/main.go
	cargo bench --profile release --bench figures -- $(PEER)

# Thousands of faults, hundreds of containers, outages of minutes. Takes about an hour.
soak: root deps
	cargo bench --profile release --bench soak

# Checks the format, the lints and the links of the documents, and then the library as it is
# shipped: its header and its symbols.
check: lib
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps
	cargo test --release -p ctrd-ffi --test header --test imports --test readme --test status \
	    --test symbols

clean:
	cargo clean
