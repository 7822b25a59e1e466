/* SPDX-License-Identifier: Apache-2.0 */
/* The search for the scale with the least squared error. */
#include "core/precise.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/scale.h"
#include <float.h>
#include <math.h>
#include <pthread.h>

/* Levels: elements over the standard scale, in fractions of it. Up to LT_PRECISE_ELEMS of them, the
 * products of levels and codes are exact in F32, and their sums in 32 bits. */
typedef struct resolution {
    int few_bits; /* of the fraction, for scopes that are searched element by element */
    int many_bits;
} resolution;

static resolution resolution_of(lathe_dtype dtype) {
    switch (dtype) {
    case LATHE_I8:
        return (resolution){6, 14};
    case LATHE_I4:
        return (resolution){11, 17};
    case LATHE_I2:
        return (resolution){13, 20};
    default: /* BITNET158: its scale may be far below the greatest element */
        return (resolution){8, 8};
    }
}

enum {
    PLAIN_LEVELS = 512, /* that have a bin each */
    OCTAVE_BINS = 256,  /* of the bins that hold more */
    PLAIN_EXPONENT = 9, /* 2^9 = PLAIN_LEVELS */
    STEPS_PER_OCTAVE = 16,
    STEPS_ABOVE = 2, /* candidates that are larger than what the greatest element asks for */
    MAX_STEPS = 20 * STEPS_PER_OCTAVE,
    FINE_STEPS = 7, /* candidates on either side of the best one */
    MAX_REFINEMENTS = 4,
};

/* 2^(-i/16), the nearest doubles. */
static const double fractions[STEPS_PER_OCTAVE] = {
    0x1p+0,
    0x1.ea4afa2a490dap-1,
    0x1.d5818dcfba487p-1,
    0x1.c199bdd85529cp-1,
    0x1.ae89f995ad3adp-1,
    0x1.9c49182a3f09p-1,
    0x1.8ace5422aa0dbp-1,
    0x1.7a11473eb0187p-1,
    0x1.6a09e667f3bcdp-1,
    0x1.5ab07dd485429p-1,
    0x1.4bfdad5362a27p-1,
    0x1.3dea64c123422p-1,
    0x1.306fe0a31b715p-1,
    0x1.2387a6e756238p-1,
    0x1.172b83c7d517bp-1,
    0x1.0b5586cf9890fp-1,
};

bool lt_precise_applies(lathe_dtype dtype, lathe_quality quality) {
    return quality == LATHE_PRECISE && lathe_dtype_is_quantized(dtype) && dtype != LATHE_I1;
}

float lt_extra_codes(lathe_dtype dtype, lathe_quality quality) {
    return quality == LATHE_PRECISE && (dtype == LATHE_I4 || dtype == LATHE_I2) ? 1 : 0;
}

/* The bin of a level, whose fraction does not count. Above the plain levels the exponent and the 8
 * bits that follow the first one are what tells bins apart. */
static uint32_t bin_of(float level) {
    uint32_t bits;
    memcpy(&bits, &level, sizeof bits);
    return level < PLAIN_LEVELS ? (uint32_t)level
                                : (bits >> 15) - ((127 + PLAIN_EXPONENT - 2) * OCTAVE_BINS);
}

/* The level in the middle of a bin. */
static float level_of(uint32_t bin) {
    if (bin < PLAIN_LEVELS) {
        return (float)bin;
    }
    uint32_t octave = bin / OCTAVE_BINS - 1;
    uint32_t first = (bin % OCTAVE_BINS + OCTAVE_BINS) << octave;
    uint32_t half = (UINT32_C(1) << octave) / 2;
    return (float)(first + half);
}

lt_precise lt_precise_of(lathe_dtype dtype, uint64_t n_elems, float scale) {
    resolution bits = resolution_of(dtype);
    float max_code = lt_dtype_traits_of(dtype)->max_code;
    float extra = lt_extra_codes(dtype, LATHE_PRECISE);
    lt_precise precise = {
        .scale = scale,
        .inverse = lt_inverse_scale(scale),
        .low_code = -max_code - extra,
        .high_code = max_code,
        .factor = ldexpf(1, n_elems <= LT_PRECISE_ELEMS ? bits.few_bits : bits.many_bits),
        .is_signed = extra != 0,
        .max_level = dtype == LATHE_BITNET158 ? 0x1.fffffep+29f : 0x1.fffffep+20f,
    };
    precise.n_bins = (bin_of(precise.max_level) + 1) * (precise.is_signed ? 2 : 1);
    return precise;
}

/* The level of |x|, plus a half: its whole part is the nearest one. 0 if x is not finite. */
static inline float level_of_elem(const lt_precise *precise, float x) {
    float level = fabsf(x * precise->inverse) * precise->factor + 0.5f;
    level = level < precise->max_level ? level : precise->max_level;
    return fabsf(x) <= FLT_MAX ? level : 0;
}

/* ---- what a scale gives */

/* Levels and how often they occur. */
typedef struct levels {
    const lt_precise *precise;
    const float *values;    /* negative for negative elements */
    const uint32_t *narrow; /* these two: at most one is not NULL; both are: once each */
    const uint64_t *wide;
    size_t n_values;
    double n_elems;
    double squares; /* the sum of squared levels */
    float greatest; /* magnitude */
} levels;

/* Sums over the elements, with the codes q that a scale gives: of q times the level, and of q^2.
 * With these codes product / squares is the scale, in levels, with the least squared error, and
 * that error the sum of squared levels less product^2 / squares. */
typedef struct fit {
    double product;
    double squares;
} fit;

/* Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even. */
static inline float code_of(float scaled, float low, float high) {
    const float shift = 0x1.8p23f;
    scaled = scaled < low ? low : scaled;
    scaled = scaled > high ? high : scaled;
    return (scaled + shift) - shift;
}

/* A few levels, each once: exact in whole numbers. */
static fit fit_few(const levels *all, float inverse) {
    const float low = all->precise->low_code;
    const float high = all->precise->high_code;
    int32_t product = 0;
    int32_t squares = 0;
    for (size_t i = 0; i < all->n_values; i++) {
        float code = code_of(all->values[i] * inverse, low, high);
        product += (int32_t)(code * all->values[i]);
        squares += (int32_t)(code * code);
    }
    return (fit){.product = product, .squares = squares};
}

static double count_at(const levels *all, size_t i) {
    return all->wide != NULL ? (double)all->wide[i] : (double)all->narrow[i];
}

/* Bins in ascending order, in four lanes. */
static fit fit_many(const levels *all, float inverse) {
    enum { LANES = 4 };
    const float low = all->precise->low_code;
    const float high = all->precise->high_code;
    double product[LANES] = {0};
    double squares[LANES] = {0};
    for (size_t i = 0; i < all->n_values; i++) {
        double code = (double)code_of(all->values[i] * inverse, low, high);
        double counted = code * count_at(all, i);
        product[i % LANES] += counted * (double)all->values[i];
        squares[i % LANES] += counted * code;
    }
    return (fit){.product = (product[0] + product[2]) + (product[1] + product[3]),
                 .squares = (squares[0] + squares[2]) + (squares[1] + squares[3])};
}

/* `scale` is in levels. */
static fit fit_of(const levels *all, double scale) {
    float inverse = (float)(1 / scale);
    return all->narrow == NULL && all->wide == NULL ? fit_few(all, inverse)
                                                    : fit_many(all, inverse);
}

static double gain_of(fit f) {
    return f.squares > 0 ? f.product / f.squares * f.product : 0;
}

/* Candidates between the best one and its neighbours. */
static fit search_between(const levels *all, double scale, fit best) {
    const double step = 1.0 / 180; /* an eighth of what lies between two candidates */
    for (int i = -FINE_STEPS; i <= FINE_STEPS; i++) {
        fit f = fit_of(all, scale * (1 + i * step));
        if (gain_of(f) > gain_of(best)) {
            best = f;
        }
    }
    return best;
}

/* The best scale with the codes of the best candidate, in levels; 0 if there is none. */
static double search(const levels *all) {
    double first = (double)all->greatest / (double)all->precise->high_code;
    double best_scale = first;
    fit best = {0};
    for (int i = -STEPS_ABOVE; i < MAX_STEPS; i++) {
        int at = i + STEPS_PER_OCTAVE;
        double scale = ldexp(first * fractions[at % STEPS_PER_OCTAVE], 1 - at / STEPS_PER_OCTAVE);
        fit f = fit_of(all, scale);
        if (gain_of(f) > gain_of(best)) {
            best = f;
            best_scale = scale;
        }
        /* Rounding alone costs an element at most half a step. What goes beyond that is of elements
         * that the codes do not reach, and grows as the scale shrinks. */
        double error = all->squares - 2 * scale * f.product + scale * scale * f.squares;
        double beyond = error - all->n_elems * scale * scale / 4;
        if (beyond > all->squares - gain_of(best)) {
            break;
        }
    }
    best = search_between(all, best_scale, best);
    for (int i = 0; i < MAX_REFINEMENTS && best.squares > 0; i++) {
        fit f = fit_of(all, best.product / best.squares);
        if (!(gain_of(f) > gain_of(best))) {
            break;
        }
        best = f;
    }
    return best.squares > 0 ? best.product / best.squares : 0;
}

/* A scale that was found, if it can be used. */
static float usable(const lt_precise *precise, double found) {
    float scale = (float)found;
    return scale > 0 && scale <= FLT_MAX && lt_inverse_scale(scale) > 0 ? scale : precise->scale;
}

static float search_scale(const levels *all) {
    const lt_precise *precise = all->precise;
    double found = all->greatest > 0 ? search(all) : 0;
    return usable(precise, (double)precise->scale * (found / (double)precise->factor));
}

float lt_precise_from_elems(const lt_precise *precise, const float *x, size_t n_elems) {
    float values[LT_PRECISE_ELEMS];
    levels all = {
        .precise = precise, .values = values, .n_values = n_elems, .n_elems = (double)n_elems};
    for (size_t i = 0; i < n_elems; i++) {
        float level = (float)(int32_t)level_of_elem(precise, x[i]);
        values[i] = x[i] < 0 ? -level : level;
        all.squares += (double)level * (double)level; /* whole numbers below 2^53 */
        all.greatest = level > all.greatest ? level : all.greatest;
    }
    return search_scale(&all);
}

void lt_precise_count(const lt_precise *precise, const float *x, size_t n_elems, uint32_t *counts) {
    uint32_t half = precise->is_signed ? precise->n_bins / 2 : 0;
    for (size_t i = 0; i < n_elems; i++) {
        counts[bin_of(level_of_elem(precise, x[i])) + (x[i] < 0 ? half : 0)]++;
    }
}

float lt_precise_from_counts(const lt_precise *precise, uint32_t *narrow, uint64_t *wide,
                             float *values) {
    uint32_t half = precise->is_signed ? precise->n_bins / 2 : precise->n_bins;
    levels all = {.precise = precise, .values = values, .narrow = narrow, .wide = wide};
    for (uint32_t bin = 0; bin < precise->n_bins; bin++) {
        uint64_t count = wide != NULL ? wide[bin] : narrow[bin];
        if (count == 0) {
            continue;
        }
        float level = level_of(bin % half);
        if (wide != NULL) {
            wide[all.n_values] = count;
        } else {
            narrow[all.n_values] = (uint32_t)count;
        }
        values[all.n_values++] = bin < half ? level : -level;
        all.n_elems += (double)count;
        all.squares += (double)count * ((double)level * (double)level);
        all.greatest = level > all.greatest ? level : all.greatest;
    }
    return search_scale(&all);
}

/* ---- the elements themselves */

/* At most LT_SUM_BLOCK elements. */
static void add_fit(lt_scale_fit *sums, const lt_precise *precise, float inverse, const float *x,
                    size_t n_elems) {
    lt_sum_block block = {0};
    for (size_t i = 0; i < n_elems; i++) {
        float from = fabsf(x[i]) <= FLT_MAX ? x[i] : 0;
        float code = code_of(from * inverse, precise->low_code, precise->high_code);
        lt_sum_block_add(&block, (double)code * (double)from);
        sums->squares += (uint64_t)(code * code);
    }
    lt_exact_sum_add(&sums->product, &block);
}

void lt_scale_fit_add(lt_scale_fit *sums, const lt_precise *precise, float scale, const float *x,
                      size_t n_elems) {
    const float inverse = lt_inverse_scale(scale);
    for (size_t done = 0; done < n_elems; done += LT_SUM_BLOCK) {
        add_fit(sums, precise, inverse, x + done, (size_t)lt_min(n_elems - done, LT_SUM_BLOCK));
    }
}

void lt_scale_fit_merge(lt_scale_fit *sums, const lt_scale_fit *from) {
    sums->squares += from->squares;
    lt_exact_sum_merge(&sums->product, &from->product);
}

float lt_scale_fitted(const lt_precise *precise, const lt_scale_fit *sums) {
    return sums->squares == 0
               ? precise->scale
               : usable(precise, lt_exact_sum_value(&sums->product) / (double)sums->squares);
}

/* At most LT_SUM_BLOCK elements, with one scale. As the encoders and decoders compute. */
static uint64_t add_errors(lt_exact_sum *squares, const lt_precise *precise, float scale,
                           const float *x, size_t n_elems) {
    const float inverse = lt_inverse_scale(scale);
    lt_sum_block block = {0};
    uint64_t n_nonfinite = 0;
    for (size_t i = 0; i < n_elems; i++) {
        float from = fabsf(x[i]) <= FLT_MAX ? x[i] : 0;
        float decoded = code_of(from * inverse, precise->low_code, precise->high_code) * scale;
        double error = (double)from - (double)decoded;
        if (fabsf(decoded) <= FLT_MAX) {
            lt_sum_block_add(&block, error * error);
        } else {
            n_nonfinite++;
        }
    }
    lt_exact_sum_add(squares, &block);
    return n_nonfinite;
}

void lt_scale_errors_add(lt_scale_errors *errors, const lt_precise *precise, float other,
                         const float *x, size_t n_elems) {
    const float scales[2] = {precise->scale, other};
    for (int i = 0; i < 2; i++) {
        for (size_t done = 0; done < n_elems; done += LT_SUM_BLOCK) {
            size_t count = (size_t)lt_min(n_elems - done, LT_SUM_BLOCK);
            errors->n_nonfinite[i] +=
                add_errors(&errors->squares[i], precise, scales[i], x + done, count);
        }
    }
}

void lt_scale_errors_merge(lt_scale_errors *errors, const lt_scale_errors *from) {
    for (int i = 0; i < 2; i++) {
        errors->n_nonfinite[i] += from->n_nonfinite[i];
        lt_exact_sum_merge(&errors->squares[i], &from->squares[i]);
    }
}

float lt_precise_choose(const lt_precise *precise, float other, const lt_scale_errors *errors) {
    if (errors->n_nonfinite[0] != errors->n_nonfinite[1]) {
        return errors->n_nonfinite[1] < errors->n_nonfinite[0] ? other : precise->scale;
    }
    bool is_less =
        lt_exact_sum_value(&errors->squares[1]) < lt_exact_sum_value(&errors->squares[0]);
    return is_less ? other : precise->scale;
}

/* ---- scans */

static pthread_mutex_t merging = PTHREAD_MUTEX_INITIALIZER;

void lt_scan_add(lt_scan *scan, lt_scan_part *part, uint64_t elem, const float *x, size_t n_elems) {
    switch (scan->kind) {
    case LT_SCAN_ELEMS: /* a scope of one tile, so that nobody else does this */
        memcpy(scan->values + (elem - scan->first_elem), x, n_elems * sizeof *x);
        break;
    case LT_SCAN_COUNTS:
        lt_precise_count(&scan->precise, x, n_elems, part->counts);
        break;
    case LT_SCAN_FIT:
        lt_scale_fit_add(&part->fit, &scan->precise, scan->other, x, n_elems);
        break;
    case LT_SCAN_ERRORS:
        lt_scale_errors_add(&part->errors, &scan->precise, scan->other, x, n_elems);
        break;
    }
}

void lt_scan_merge(lt_scan *scan, const lt_scan_part *part) {
    (void)pthread_mutex_lock(&merging);
    if (scan->kind == LT_SCAN_COUNTS) {
        for (uint32_t i = 0; i < scan->precise.n_bins; i++) {
            scan->counts[i] += part->counts[i];
        }
    } else if (scan->kind == LT_SCAN_FIT) {
        lt_scale_fit_merge(&scan->fit, &part->fit);
    } else if (scan->kind == LT_SCAN_ERRORS) {
        lt_scale_errors_merge(&scan->errors, &part->errors);
    }
    (void)pthread_mutex_unlock(&merging);
}
