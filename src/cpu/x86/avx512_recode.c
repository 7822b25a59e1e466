/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX-512 kernels between quantized types. */
#include "cpu/x86/codes_avx512.h"

#include "cpu/x86/code_max_template.h"
#include "cpu/x86/code_sums_avx512.h"
#include "cpu/x86/codes_template.h"
#include "cpu/x86/lookup_template.h"
#include "cpu/x86/recode_template.h"
