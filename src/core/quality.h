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

/* How many of n_elems values x of a source are saturated in what they became, y, where `limit` is
 * theirs. */
uint64_t lt_quality_saturated(const float *x, const float *y, size_t n_elems, float limit);

/* Adds n_elems such pairs to the sums, the greatest error, and the counts of zeros and non-finite
 * elements. Neither function counts elements. */
void lt_quality_add(lt_quality_sums *sums, const float *x, const float *y, size_t n_elems);

/* The terms of at most LT_SUM_BLOCK pairs, before they are a part of the sums. Zero-initialised. */
typedef struct lt_quality_block {
    lt_sum_block squares;
    lt_sum_block decoded;
    lt_sum_block product;
    lt_sum_block errors;
} lt_quality_block;

/* Adds the terms of two finite values, and adds a block to sums. */
void lt_quality_add_terms(lt_quality_block *block, float x, float y);
void lt_quality_add_block(lt_quality_sums *sums, const lt_quality_block *block);

/* Adds what another has. Thread-safe as far as `sums` goes. */
void lt_quality_merge(lt_quality_sums *sums, const lt_quality_sums *from);

/* Fills all but struct_size. */
void lt_quality_fill(const lt_quality_sums *sums, lathe_quality_report *report);

#endif
