/* SPDX-License-Identifier: Apache-2.0 */
/* What a quality report is made of: sums over pairs of values, in any order and any parts. */
#ifndef LT_CORE_QUALITY_H
#define LT_CORE_QUALITY_H

#include "core/exact_sum.h"
#include "core/layout.h"
#include <lathe/quality.h>

/* Zero-initialised. */
typedef struct lt_quality_sums {
    uint64_t n_elems;
    uint64_t n_nonfinite;
    uint64_t n_saturated;
    uint64_t n_zero;
    double max_abs_error;
    lt_exact_sum squares; /* x^2 */
    lt_exact_sum decoded; /* y^2 */
    lt_exact_sum product; /* xy */
    lt_exact_sum errors;  /* (x - y)^2 */
} lt_quality_sums;

/* What the largest code of a dtype, with that scale, decodes to; of a float the greatest finite
 * number. */
float lt_quality_limit(lathe_dtype dtype, float scale);

/* Adds n_elems values x of a source and what they became, y; `limit` is theirs. */
void lt_quality_add(lt_quality_sums *sums, const float *x, const float *y, size_t n_elems,
                    float limit);

/* Adds what another has. Thread-safe as far as `sums` goes. */
void lt_quality_merge(lt_quality_sums *sums, const lt_quality_sums *from);

/* Fills all but struct_size. */
void lt_quality_fill(const lt_quality_sums *sums, lathe_quality_report *report);

#endif
