/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 kernels from floats to codes. */
#include "cpu/x86/simd_avx2.h"

#include "cpu/x86/quantize_template.h"
