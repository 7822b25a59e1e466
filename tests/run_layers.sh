#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Dependencies point one way: no module includes or calls one above it or beside it, the tool but for
# its bench includes none of the library's own headers, and no files call each other in a circle.
# Usage: run_layers.sh SOURCE_DIR NM FILE
# FILE lists the object files of the library and the tool, one a line.
set -eu
source=$1
nm=$2
objects=$3

# What a module may use: those of lower ranks, and itself.
rank='
    BEGIN {
        n = split("core 1 pool 2 files 3 metrics 3 backend 4 cpu 5 opencl 6 engine 7 formats 8 cli 9",
                  word, " ")
        for (i = 1; i < n; i += 2)
            rank[word[i]] = word[i + 1]
    }
    # Of a path from src or cli on; src/backend.h and src/chain.h are between the modules.
    function module(path) {
        if (path ~ /^cli\//)
            return "cli"
        sub(/^src\//, "", path)
        return path ~ /\// ? substr(path, 1, index(path, "/") - 1) : "backend"
    }
    function is_above(path, other) {
        return module(path) != module(other) && rank[module(path)] <= rank[module(other)]
    }'

# Lines USER USED OF_WHAT of includes. Headers of kernels/ and the tool are in no module.
includes() {
    cd "$source"
    find src cli -name '*.[ch]' -exec grep -H '^#include "' {} + |
        sed -n 's|^\([^:]*\):#include "\([^"]*\)".*|\1 \2|p' | while read -r file header; do
        if [ -f "src/$header" ]; then
            echo "$file src/$header"
        fi
    done
}

# Lines USER USED SYMBOL of what objects define and others refer to.
calls() {
    xargs "$nm" -A <"$objects" 2>/dev/null | awk '
        { # FOLDER/CMakeFiles/TARGET.dir/FILE.o: what it was made of is FOLDER/FILE
            file = $1
            sub(/\.o:.*/, "", file)
            match(file, /[^\/]*\/CMakeFiles\/[^\/]*\.dir\//)
            file = substr(file, RSTART)
            sub(/CMakeFiles\/[^\/]*\.dir\//, "", file)
        }
        /kernel_sources/ { file = "src/opencl/kernel_sources.c" }
        file !~ /^(src|cli)\// { next }
        $(NF - 1) ~ /^[TDBR]$/ { home[$NF] = file }
        $(NF - 1) == "U" { uses[file " " $NF] }
        END {
            for (use in uses) {
                split(use, part, " ")
                if (part[2] in home && home[part[2]] != part[1])
                    print part[1], home[part[2]], part[2]
            }
        }'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
includes >"$work/includes"
calls >"$work/calls"
for list in includes calls; do
    if [ "$(wc -l <"$work/$list")" -lt 100 ]; then
        echo "run_layers: no $list were found" >&2
        failed=1
    fi
    awk "$rank"'
        is_above($1, $2) { print "run_layers: " $1 " uses " $2 " " $3; bad = 1 }
        END { exit bad }' "$work/$list" >&2 || failed=1
done
if grep '^cli/[^/]* ' "$work/includes" >&2; then
    echo "run_layers: the tool uses the public headers; its bench alone reaches further" >&2
    failed=1
fi
awk '{ print $1, $2 }' "$work/calls" | tsort >/dev/null 2>"$work/circles" || {
    echo "run_layers: files call each other in a circle:" >&2
    sed -n 's/^tsort: //p' "$work/circles" >&2
    failed=1
}
exit "$failed"
