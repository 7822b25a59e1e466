/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of PRECISE in AVX2. */
#include "cpu/kernels.h"

#define LT_PRECISE_LOOPS lt_precise_loops_avx2
#include "cpu/precise_template.h"
