/* SPDX-License-Identifier: Apache-2.0 */
/* The NEON kernels from floats to codes, but for ternary ones. */
#include "cpu/arm/simd_neon.h"

#include "cpu/x86/quantize_template.h"
