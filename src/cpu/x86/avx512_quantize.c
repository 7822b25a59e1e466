/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX-512 kernels from floats to codes. */
#include "cpu/x86/simd_avx512.h"

#include "cpu/x86/quantize_template.h"
