/* SPDX-License-Identifier: Apache-2.0 */
/* The NEON kernels from codes to floats, but for ternary ones. */
#include "cpu/arm/simd_neon.h"

#include "cpu/x86/dequantize_template.h"
