#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything about one OpenCL device in one run: what it is, how fast it converts, whether its bytes
# are the CPU's, and PyTorch's conversions beside it. Markdown on stdout, progress on stderr. The bench
# comes first, as it compiles the kernels, on all of a GPU's host's processors, for all that follows.
# Usage: bench/gpu.sh [-d DEVICE] [-s SIZE] [-r REPEATS] [-a] [-j OUT.json] [-c OLD.json] [-t TEST_PROGRAM]... [LATHE]
#   LATHE: the tool (default: builds build/release). TEST_PROGRAM: a test to run, told the device by
#   LATHE_TEST_DEVICE (default: tests/opencl_pairs beside the tool, if it is there). DEVICE: opencl (default), opencl:N, ... SIZE: of the F32 tensor (1GiB).
#   -a: every pair with every granularity. -j keeps the results; -c compares them with earlier ones.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    sed -n 's/^# \(Usage:\)/\1/p' "$0" >&2
    exit 2
}

device=opencl
size=1GiB
repeats=9
all=
json=
old=
tests=()
while getopts d:s:r:aj:c:t:h option; do
    case $option in
    d) device=$OPTARG ;;
    s) size=$OPTARG ;;
    r) repeats=$OPTARG ;;
    a) all=--all ;;
    j) json=$OPTARG ;;
    c) old=$OPTARG ;;
    t) tests+=("$OPTARG") ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -le 1 ] || usage
lathe=${1:-}
if [ -z "$lathe" ]; then
    QUIET=1 "$here/../scripts/build" release >&2
    lathe=$here/../build/release/lathe
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-gpu.XXXXXX")
trap 'rm -rf "$work"' EXIT
json=${json:-$work/bench.json}
programs=$work/programs
pairs=$(dirname "$lathe")/tests/opencl_pairs
if [ ${#tests[@]} -eq 0 ] && [ -x "$pairs" ]; then
    tests=("$pairs")
fi
failed=0

section() {
    printf '\n## %s\n\n' "$1"
    echo "gpu.sh: $1" >&2
}

quote() {
    sed 's/^/    /; s/ *$//'
}

# The CSV of lathe bench as markdown: the columns that a reader looks for. Those before the first
# name that may hold a comma are plain.
as_markdown() {
    awk -F, '
        NR == 1 {
            for (i = 1; i <= NF; i++) at[$i] = i
            print "| case | GB/s | copy GB/s | ratio | limit | copy |"
            print "|---|---|---|---|---|---|"
            next
        }
        {
            limit = $at["limit"] == "" ? "" : sprintf("%.2f", $at["limit"])
            printf "| %s | %.0f | %.0f | %.2f | %s | %s |\n", $at["name"], $at["gbps"],
                $at["copy_gbps"], $at["ratio"], limit, $at["copy"]
        }'
}

section "Devices"
# The bench and the tests check the one that counts.
"$lathe" devices --no-check | quote

section "lathe bench --device $device --size $size --repeat $repeats${all:+ $all}"
# shellcheck disable=SC2086 # $all is an option or nothing
"$lathe" bench --device "$device" --require-device --program-cache "$programs" \
    --size "$size" --repeat "$repeats" $all --json >"$json" || failed=1
"$lathe" bench --csv "$json" | as_markdown || failed=1
if [ -n "$old" ]; then
    section "Compared with $old"
    "$lathe" bench --compare "$old" "$json" | quote || failed=1
fi

if [ ${#tests[@]} -gt 0 ]; then
    section "Tests"
    for test in "${tests[@]}"; do
        if LATHE_TEST_DEVICE=$device LATHE_TEST_CACHE=$programs "$test" >"$work/log" 2>&1; then
            echo "- \`$(basename "$test")\` passed: $(tail -1 "$work/log" | tr -d '\033' | sed 's/\[[0-9;]*m//g')"
        else
            echo "- \`$(basename "$test")\` FAILED:"
            echo
            tail -40 "$work/log" | quote
            failed=1
        fi
    done
fi

section "A checkpoint, converted on the CPU and on the device"
"$lathe" synth "$work/in.safetensors" --size 256MiB --quiet
for dtype in f16 bf16 i8 i4 i2 i1 bitnet158; do
    for granularity in tensor group:128; do
        convert=("$lathe" convert "$work/in.safetensors" --to "$dtype" --granularity "$granularity"
            --program-cache "$programs" --quiet --force)
        "${convert[@]}" -o "$work/cpu.safetensors" --device cpu
        if ! "${convert[@]}" -o "$work/device.safetensors" --device "$device" --require-device; then
            outcome=FAILED
        elif ! cmp -s "$work/cpu.safetensors" "$work/device.safetensors"; then
            outcome="DIFFERENT BYTES"
        else
            outcome="the same bytes"
        fi
        echo "- $dtype, scales per $granularity: $outcome"
        [ "$outcome" = "the same bytes" ] || failed=1
    done
done

section "PyTorch, the same bytes"
if command -v python3 >/dev/null; then
    python3 "$here/peers.py" --device cuda --size "$size" --repeat "$repeats" >"$work/torch" 2>"$work/torch.err" || {
        echo "bench/peers.py failed:"
        failed=1
    }
    cat "$work/torch"
    cat "$work/torch.err" # one line where PyTorch is not there
else
    echo "There is no python3: PyTorch's rows are left out."
fi
exit $failed
