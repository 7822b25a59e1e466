/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over the values of a source and of its result, and the report that they lead to. */
#include "core/quality.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/process_lock.h"
#include <float.h>
#include <math.h>

float lt_quality_limit(lathe_dtype dtype, float scale) {
    switch (dtype) {
    case LATHE_F32:
        return FLT_MAX;
    case LATHE_F16:
        return 65504;
    case LATHE_BF16:
        return 0x1.fep127f;
    case LATHE_I1:
        return scale;
    default:
        return lt_dtype_traits_of(dtype)->max_code * scale;
    }
}

/* x lies beyond the limit, and y stopped there or, in a float, became an infinity. */
static bool is_saturated(float x, float y, float limit) {
    float from = fabsf(x);
    float to = fabsf(y);
    return from > limit && to >= limit && (from > to || (isinf(y) && !isinf(x)));
}

uint64_t lt_quality_saturated(const float *x, const float *y, size_t n_elems, float limit) {
    uint64_t n_saturated = 0;
    for (size_t i = 0; i < n_elems; i++) {
        n_saturated += is_saturated(x[i], y[i], limit);
    }
    return n_saturated;
}

void lt_quality_add_terms(lt_quality_block *block, float x, float y) {
    double error = lt_difference(x, y);
    lt_sum_block_add(&block->squares, (double)x * (double)x);
    lt_sum_block_add(&block->decoded, (double)y * (double)y);
    lt_sum_block_add(&block->product, (double)x * (double)y);
    lt_sum_block_add(&block->errors, error * error);
}

void lt_quality_add_block(lt_quality_sums *sums, const lt_quality_block *block) {
    lt_exact_sum_add_block(&sums->squares, &block->squares);
    lt_exact_sum_add_block(&sums->decoded, &block->decoded);
    lt_exact_sum_add_block(&sums->product, &block->product);
    lt_exact_sum_add_block(&sums->errors, &block->errors);
}

/* At most LT_SUM_BLOCK elements. */
static void add_block(lt_quality_sums *sums, const float *x, const float *y, size_t n_elems) {
    lt_quality_block block = {0};
    for (size_t i = 0; i < n_elems; i++) {
        sums->n_zero += y[i] == 0;
        if (!isfinite(x[i]) || !isfinite(y[i])) {
            /* Equal infinities, and NaNs on both sides, are no difference. */
            sums->n_nonfinite += !(x[i] == y[i] || (isnan(x[i]) && isnan(y[i])));
            continue;
        }
        lt_quality_add_terms(&block, x[i], y[i]);
        sums->max_abs_error = fmax(sums->max_abs_error, fabs(lt_difference(x[i], y[i])));
    }
    lt_quality_add_block(sums, &block);
}

void lt_quality_add(lt_quality_sums *sums, const float *x, const float *y, size_t n_elems) {
    for (size_t done = 0; done < n_elems; done += LT_SUM_BLOCK) {
        size_t count = (size_t)lt_min(n_elems - done, LT_SUM_BLOCK);
        add_block(sums, x + done, y + done, count);
    }
}

void lt_quality_merge(lt_quality_sums *sums, const lt_quality_sums *from) {
    lt_lock_process(LT_LOCK_MERGING);
    sums->n_elems += from->n_elems;
    sums->n_nonfinite += from->n_nonfinite;
    sums->n_saturated += from->n_saturated;
    sums->n_zero += from->n_zero;
    if (from->max_abs_error > sums->max_abs_error) {
        sums->max_abs_error = from->max_abs_error;
    }
    lt_exact_sum_merge(&sums->squares, &from->squares);
    lt_exact_sum_merge(&sums->decoded, &from->decoded);
    lt_exact_sum_merge(&sums->product, &from->product);
    lt_exact_sum_merge(&sums->errors, &from->errors);
    lt_unlock_process(LT_LOCK_MERGING);
}

static double cosine(double squares, double decoded, double product, double errors) {
    if (errors == 0) {
        return 1;
    }
    double norms = sqrt(squares) * sqrt(decoded);
    if (norms == 0) {
        return 0;
    }
    /* Terms are rounded, which can lead a little beyond 1. */
    return fmin(fmax(product / norms, -1), 1);
}

void lt_quality_fill(const lt_quality_sums *sums, lathe_quality_report *report) {
    double n_elems = sums->n_elems == 0 ? 1 : (double)sums->n_elems;
    double squares = lt_exact_sum_value(&sums->squares);
    double errors = lt_exact_sum_value(&sums->errors);
    *report = (lathe_quality_report){
        .struct_size = report->struct_size,
        .n_elems = sums->n_elems,
        .n_nonfinite = sums->n_nonfinite,
        .mse = errors / n_elems,
        .sqnr_db = errors == 0 ? (double)INFINITY : 10 * log10(squares / errors),
        .max_abs_error = sums->max_abs_error,
        .cosine = cosine(squares, lt_exact_sum_value(&sums->decoded),
                         lt_exact_sum_value(&sums->product), errors),
        .saturated_fraction = (double)sums->n_saturated / n_elems,
        .zero_fraction = (double)sums->n_zero / n_elems,
    };
}
