/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels between quantized types for AVX-512 with VBMI. */
#define LT_HAS_VBMI 1
#include "cpu/x86/codes_avx512.h"

#include "cpu/x86/code_sums_vbmi.h"
#include "cpu/x86/recode_template.h"
#include "cpu/x86/trits_vbmi.h"
