/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX-512 statistics kernels. */
#include "cpu/x86/simd_avx512.h"

#include "cpu/x86/stats_template.h"
