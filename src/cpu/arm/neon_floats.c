/* SPDX-License-Identifier: Apache-2.0 */
/* The NEON kernels between F32, F16 and BF16. */
#include "cpu/arm/simd_neon.h"

#include "cpu/x86/floats_template.h"
