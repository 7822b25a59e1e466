/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels to base-3 bytes for AVX-512 with VBMI. */
#define LT_HAS_VBMI 1
#include "cpu/x86/codes_avx512.h"

#include "cpu/x86/encode_ternary_template.h"

#include "cpu/x86/code_planes_vbmi.h"
