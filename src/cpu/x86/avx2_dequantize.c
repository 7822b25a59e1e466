/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 kernels from codes to floats. */
#include "cpu/x86/simd_avx2.h"

#include "cpu/x86/dequantize_template.h"
