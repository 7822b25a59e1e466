#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the build into a temporary prefix, then builds and runs out-of-tree programs against
# it, in C and in C++: through find_package and, the C one, through pkg-config, shared and static.
# Usage: run_consumer.sh SOURCE_DIR BUILD_DIR CC [CXX]
set -eu
source=$1
build=$2
cc=$3
cxx=${4:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
consumer=$source/tests/consumer

# Moved after the install: nothing in the tree may name the place where it was built or installed.
cmake --install "$build" --prefix "$work/first" >"$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/prefix"
if grep -rIl -e "$build" -e "$source" -e "$work/first" "$work/prefix" >&2; then
    echo "run_consumer: installed files name the build machine's folders" >&2
    exit 1
fi

linked() { # PROGRAM KIND: fails unless the program uses that kind of library
    needed=static
    if readelf -d "$1" | grep -q 'NEEDED.*liblathe\.so'; then
        needed=shared
    fi
    [ "$needed" = "$2" ] || {
        echo "run_consumer: ${1##*/} is linked to the $needed library, not the $2 one" >&2
        exit 1
    }
}

for kind in shared static; do
    mkdir "$work/$kind"
    {
        cmake -S "$consumer" -B "$work/$kind" -DCMAKE_C_COMPILER="$cc" -DCMAKE_BUILD_TYPE=Release \
            ${cxx:+-DCMAKE_CXX_COMPILER="$cxx"} -DCMAKE_PREFIX_PATH="$work/prefix" \
            -DLATHE_KIND=$kind &&
            cmake --build "$work/$kind"
    } >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    for program in consumer ${cxx:+consumer_cxx}; do
        linked "$work/$kind/$program" $kind
        "$work/$kind/$program"
    done
    echo "find_package, $kind: ok"
done

pc=$(find "$work/prefix" -name lathe.pc)
export PKG_CONFIG_PATH="${pc%/*}"
libdir=${pc%/pkgconfig/lathe.pc}
# shellcheck disable=SC2046 # flags are words
"$cc" -std=c11 "$consumer/main.c" -o "$work/pc-shared" $(pkg-config --cflags --libs lathe)
linked "$work/pc-shared" shared
LD_LIBRARY_PATH="$libdir" "$work/pc-shared"
echo "pkg-config, shared: ok"

rm -f "$libdir"/liblathe.so*
# shellcheck disable=SC2046
"$cc" -std=c11 "$consumer/main.c" -o "$work/pc-static" $(pkg-config --static --cflags --libs lathe)
linked "$work/pc-static" static
"$work/pc-static"
echo "pkg-config, static: ok"

version=$(pkg-config --modversion lathe)
[ "$("$work/pc-static" --version)" = "$version" ] || {
    echo "run_consumer: lathe.pc says $version, the library something else" >&2
    exit 1
}
