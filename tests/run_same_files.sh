#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two builds of the tool make the same files: a checkpoint, what it converts to, and what that decodes
# to.
# Usage: run_same_files.sh LATHE OTHER_LATHE
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-same.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/1" "$work/2"
tools=("$@")
n_files=0

# Both tools write FILE, reading files that both have: make FILE ARGUMENT... (@ stands for the folder)
make() {
    local file=$1 i
    shift
    for i in 1 2; do
        "${tools[i - 1]}" "${@//@/$work/$i}" --quiet
    done
    if ! cmp "$work/1/$file" "$work/2/$file"; then
        echo "run_same_files: differs: lathe $*" >&2
        exit 1
    fi
    n_files=$((n_files + 1))
}

convert() { # FROM TO ARGUMENT...
    local from=$1 to=$2
    shift 2
    make "$to" convert "@/$from" -o "@/$to" "$@"
}

for dtype in f32 f16 bf16; do
    make "$dtype" synth "@/$dtype" --size 1MiB --seed 7 --dtype "$dtype"
done
for from in f32 f16 bf16; do
    for to in f32 f16 bf16; do
        convert "$from" "$from-$to" --to "$to"
    done
done
for to in i8 i4 i2 i1 bitnet158; do
    convert f32 "$to" --to "$to" --granularity group:96
    convert f32 "$to-row" --to "$to" --granularity row
    convert f16 "$to-f16" --to "$to" --granularity group:32
    convert bf16 "$to-bf16" --to "$to" --quality fast
    convert f32 "$to-precise" --to "$to" --quality precise --granularity group:128
    convert "$to" "$to-f32" --to f32
    convert "$to-row" "$to-row-f16" --to f16
done
convert i8 i8-bitnet158 --to bitnet158
convert bitnet158 bitnet158-i4 --to i4
echo "$n_files files are the same"
