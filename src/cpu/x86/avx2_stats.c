/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 statistics kernels. */
#include "cpu/x86/simd_avx2.h"

#include "cpu/x86/stats_template.h"
