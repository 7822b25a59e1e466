/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 kernels between quantized types. */
#include "cpu/x86/codes_avx2.h"

#include "cpu/x86/code_max_template.h"
#include "cpu/x86/codes_template.h"
#include "cpu/x86/lookup_template.h"
#include "cpu/x86/recode_template.h"
