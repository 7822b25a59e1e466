#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiles each public header alone, as C11 and as C++11, with warnings as errors.
# Usage: run_headers.sh SOURCE_DIR HAS_OPENCL CC [CXX]
# HAS_OPENCL is 1 or 0: opencl.h needs the headers of OpenCL.
set -eu
include=$1/include
has_opencl=$2
cc=$3
cxx=${4:-}
flags="-fsyntax-only -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -I$include"
failed=0
count=0

check() { # COMPILER LANGUAGE STANDARD HEADER
    # Twice: the guard must hold. The declaration keeps the translation unit from being empty.
    printf '#include <%s>\n#include <%s>\nextern int lathe_headers_test;\n' "$4" "$4" |
        "$1" -x "$2" "-std=$3" $flags - || {
        echo "run_headers: $4 does not stand alone as $3" >&2
        failed=1
    }
}

for path in "$include"/lathe/*.h; do
    header=lathe/${path##*/}
    if [ "$has_opencl" = 0 ] && [ "$header" = lathe/opencl.h ]; then
        continue
    fi
    check "$cc" c c11 "$header"
    if [ -n "$cxx" ]; then
        check "$cxx" c++ c++11 "$header"
    fi
    count=$((count + 1))
done
[ "$count" -gt 0 ] || failed=1
echo "$count headers"
exit "$failed"
