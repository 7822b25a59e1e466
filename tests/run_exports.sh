#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The shared library must export exactly the functions that the public headers declare and that
# exports.txt lists, all of them named lathe_*.
# Usage: run_exports.sh SOURCE_DIR LIBRARY CC HAS_OPENCL [--update]
# HAS_OPENCL is 1 or 0: without OpenCL there are no lathe_opencl_* functions.
set -eu
export LC_ALL=C
source=$1
library=$2
cc=$3
has_opencl=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nm -D --defined-only "$library" >"$work/symbols"
awk '{ sub(/@.*/, "", $3); print $3 }' "$work/symbols" | sort -u >"$work/exported"
if [ "${5:-}" = --update ]; then
    cp "$work/exported" "$source/tests/exports.txt"
    exit 0
fi

for_build() {
    if [ "$has_opencl" = 1 ]; then
        cat
    else
        grep -v '^lathe_opencl_'
    fi
}
for_build <"$source/tests/exports.txt" >"$work/listed"

# One declaration a line after preprocessing; those with default visibility are the interface.
for path in "$source"/include/lathe/*.h; do
    if [ "$has_opencl" = 1 ] || [ "${path##*/}" != opencl.h ]; then
        echo "#include <lathe/${path##*/}>"
    fi
done | "$cc" -std=c11 -E -P -I"$source/include" - | tr '\n' ' ' | tr ';' '\n' |
    sed -n 's/.*visibility("default")))[^(]*[ *]\(lathe_[a-z0-9_]*\)(.*/\1/p' |
    sort -u >"$work/declared"

failed=0
compare() { # TITLE FILE FILE
    if ! diff "$2" "$3" >"$work/diff"; then
        echo "run_exports: $1:" >&2
        cat "$work/diff" >&2
        failed=1
    fi
}
if grep -v '^lathe_' "$work/exported" >&2; then
    echo "run_exports: exported names that do not begin with lathe_" >&2
    failed=1
fi
compare "exports.txt (<) and the library (>) differ" "$work/listed" "$work/exported"
compare "the headers (<) and the library (>) differ" "$work/declared" "$work/exported"
wc -l <"$work/exported"
exit "$failed"
