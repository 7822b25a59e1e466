/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX-512 kernels from codes to floats. */
#include "cpu/x86/simd_avx512.h"

#define LT_HAS_WORDS 1 /* words_avx512.h */
#include "cpu/x86/words_avx512.h"

#include "cpu/x86/dequantize_template.h"
