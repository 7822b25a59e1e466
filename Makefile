# SPDX-License-Identifier: Apache-2.0
# A thin front: every target installs what is missing, builds, and runs. CMake does the work.

MAKEFLAGS += --no-print-directory
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
export JOBS

.PHONY: all demo test test-aarch64 test-exhaustive bench fuzz format lint install clean

all:
	@scripts/bootstrap build
	@scripts/build release -DLATHE_BUILD_TESTS=OFF

# make demo [MODEL=path/to/model.safetensors] [DEMO_SIZE=512MiB]
demo: all
	@scripts/demo build/release/lathe $(if $(MODEL),"$(MODEL)")

test:
	@scripts/bootstrap test
	@scripts/test

# The NEON kernels, in an emulator.
test-aarch64:
	@scripts/bootstrap aarch64
	@scripts/test-aarch64

test-exhaustive:
	@scripts/bootstrap test
	@scripts/build release -DLATHE_BUILD_TESTS=ON
	ctest --preset release -L exhaustive --no-tests=error --verbose

# make bench [ARGS="--filter i8 --json"]
bench: all
	build/release/lathe bench $(ARGS)

# make fuzz [FUZZ_SECONDS=60]
fuzz:
	@scripts/bootstrap test
	@scripts/fuzz

format:
	@scripts/bootstrap lint
	@scripts/lint --fix-format

lint:
	@scripts/bootstrap lint
	@scripts/lint

install: all
	cmake --install build/release --prefix "$(PREFIX)"

clean:
	rm -rf build
