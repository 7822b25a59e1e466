#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a small OpenCL program on mesa's rusticl, on the CPU. Exits 77 where it is not installed.
# Usage: run_rusticl.sh PROGRAM
set -eu
icd=${LATHE_RUSTICL_ICD:-/etc/OpenCL/vendors/rusticl.icd}
[ -r "$icd" ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset OPENCL_LAYERS
export OCL_ICD_VENDORS="$icd" RUSTICL_ENABLE=swrast LP_NUM_THREADS=2
export MESA_SHADER_CACHE_DIR="$work/mesa" LATHE_TEST_CACHE="$work/programs"
LATHE_TEST_DEVICE=opencl:rusticl "$1" --tiny
