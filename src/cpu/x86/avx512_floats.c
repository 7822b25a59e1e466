/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX-512 kernels between F32, F16 and BF16. */
#include "cpu/x86/simd_avx512.h"

#include "cpu/x86/floats_template.h"
