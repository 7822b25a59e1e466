/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of PRECISE for every CPU. */
#include "cpu/kernels.h"

#define LT_PRECISE_LOOPS lt_precise_loops_scalar
#include "cpu/precise_template.h"
