/* SPDX-License-Identifier: Apache-2.0 */
/* The NEON statistics kernels. */
#include "cpu/arm/simd_neon.h"

#include "cpu/x86/stats_template.h"
