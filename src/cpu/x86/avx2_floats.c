/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 kernels between F32, F16 and BF16. */
#include "cpu/x86/simd_avx2.h"

#include "cpu/x86/floats_template.h"
