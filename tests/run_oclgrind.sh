#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a small OpenCL program in the oclgrind simulator, which finds accesses out of bounds, races
# and misaligned loads that drivers let pass. Its exit status says nothing: the log must be empty.
# Exits 77 where oclgrind is not installed.
# Usage: run_oclgrind.sh PROGRAM
set -eu
command -v oclgrind >/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset OPENCL_LAYERS OCL_ICD_VENDORS
status=0
LATHE_TEST_DEVICE=opencl:oclgrind LATHE_TEST_CACHE="$work/programs" \
    oclgrind --log "$work/log" --build-options -cl-opt-disable --data-races --max-errors 20 "$1" --tiny || status=$?
if [ -s "$work/log" ]; then
    cat "$work/log" >&2
    echo "run_oclgrind: oclgrind found something" >&2
    exit 1
fi
exit "$status"
