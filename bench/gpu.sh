#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything about one OpenCL device in one run: what it is, whether its bytes are the CPU's, how fast
# it converts, and PyTorch's conversions beside it. Markdown on stdout, progress on stderr.
# Usage: bench/gpu.sh [-d DEVICE] [-s SIZE] [-r REPEATS] [-t TEST_PROGRAM]... [LATHE]
#   LATHE: the tool (default: builds build/release). TEST_PROGRAM: a test to run, told the device by
#   LATHE_TEST_DEVICE. DEVICE: opencl (default), opencl:N, ... SIZE: of the F32 tensor (1GiB).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    sed -n 's/^# \(Usage:\)/\1/p' "$0" >&2
    exit 2
}

device=opencl
size=1GiB
repeats=9
tests=()
while getopts d:s:r:t:h option; do
    case $option in
    d) device=$OPTARG ;;
    s) size=$OPTARG ;;
    r) repeats=$OPTARG ;;
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
failed=0

section() {
    printf '\n## %s\n\n' "$1"
    echo "gpu.sh: $1" >&2
}

quote() {
    sed 's/^/    /; s/ *$//'
}

# The rows of lathe bench as markdown: the name is 26 columns wide, what follows has no spaces but in
# the last column. What is no row of the table is quoted.
as_markdown() {
    awk '
        NR == 1 { print; print ""; next }
        NR == 2 { print "| case | GB/s | copy GB/s | ratio | copy |"; print "|---|---|---|---|---|"; next }
        /^(start:|  +programs:)/ { notes = notes "\n    " $0; next }
        {
            name = substr($0, 1, 26)
            sub(/ +$/, "", name)
            n = split(substr($0, 27), part, " ")
            at = name == "" ? 0 : 1
            copy = ""
            for (i = at + 3; i <= n; i++) copy = copy (copy == "" ? "" : " ") part[i]
            printf "| %s | %s | %s | %s | %s |\n", name, at ? part[1] : "", part[at + 1], part[at + 2], copy
        }
        END { if (notes != "") print notes }'
}

section "Devices"
"$lathe" devices | quote

if [ ${#tests[@]} -gt 0 ]; then
    section "Tests"
    for test in "${tests[@]}"; do
        if LATHE_TEST_DEVICE=$device LATHE_TEST_CACHE=$work/programs "$test" >"$work/log" 2>&1; then
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
        convert=("$lathe" convert "$work/in.safetensors" --to "$dtype" --granularity "$granularity" --quiet --force)
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

section "lathe bench --device $device --size $size --repeat $repeats"
"$lathe" bench --device "$device" --require-device --size "$size" --repeat "$repeats" >"$work/bench" || failed=1
as_markdown <"$work/bench"

section "PyTorch, the same bytes"
if command -v python3 >/dev/null; then
    python3 "$here/torch_peers.py" --size "$size" --repeat "$repeats" >"$work/torch" 2>"$work/torch.err" || {
        echo "bench/torch_peers.py failed:"
        failed=1
    }
    cat "$work/torch"
    cat "$work/torch.err" # one line where PyTorch is not there
else
    echo "There is no python3: PyTorch's rows are left out."
fi
exit $failed
