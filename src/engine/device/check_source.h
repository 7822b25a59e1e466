/* SPDX-License-Identifier: Apache-2.0 */
/* The sources of self-checks: values that lead to every branch of a kernel. */
#ifndef LT_ENGINE_CHECK_SOURCE_H
#define LT_ENGINE_CHECK_SOURCE_H

#include "engine/device/check_sides.h"

/* What is special about a case: nothing; quantized types on both sides, and codes of the source
 * that the standard scales give; scopes for the search for PRECISE scales; NaN and infinities in a
 * source of floats; strict mode; a source of floats that lies halfway between two numbers of the
 * target; or rows whose scales one pass may find, for each of the kernels that do: floats as in the
 * last kind, or codes as in the second; or codes to floats in rows that end anywhere in what a
 * work-group takes. */
typedef enum lt_check_kind {
    LT_CHECK_ANY,
    LT_CHECK_CODE,
    LT_CHECK_LEAST,
    LT_CHECK_ODD,
    LT_CHECK_STRICT,
    LT_CHECK_TIES,
    LT_CHECK_LONG,
    LT_CHECK_ENDS,
} lt_check_kind;

/* Fills the source and its scales for a conversion to dst. */
void lt_check_fill(const lt_check_sides *sides, lathe_dtype dst, lt_check_kind kind);

#endif
