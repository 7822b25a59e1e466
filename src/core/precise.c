/* SPDX-License-Identifier: Apache-2.0 */
/* The search for the scale with the least squared error. */
#include "core/precise.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/process_lock.h"
#include "core/scale.h"
#include "lathe_constants.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* Bins of a histogram's octave, as a power of two. */
static uint32_t bin_bits(lathe_dtype dtype) {
    return dtype == LATHE_I8 ? LATHE_PRECISE_I8_BITS : LATHE_PRECISE_BIN_BITS;
}

enum { MANTISSA_BITS = 23, EXPONENT_BIAS = 127 };

static double from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

bool lt_precise_applies(lathe_dtype dtype, lathe_quality quality) {
    return quality == LATHE_PRECISE && lathe_dtype_is_quantized(dtype) && dtype != LATHE_I1;
}

float lt_extra_codes(lathe_dtype dtype, lathe_quality quality) {
    return quality == LATHE_PRECISE && (dtype == LATHE_I4 || dtype == LATHE_I2) ? 1 : 0;
}

/* The octave of a magnitude: that of 1 is 0. */
static int octave_of(float magnitude) {
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    return (int)(bits >> MANTISSA_BITS) - EXPONENT_BIAS;
}

/* Sets the power of two that takes elements of an octave, and of those below it, below 2^22. */
static void set_unit(lt_precise *precise, int octave) {
    precise->unit_factor = ldexpf(1, LATHE_PRECISE_UNIT_BITS - 1 - octave);
}

/* Sets the bins: LATHE_PRECISE_OCTAVES of them from the greatest element's on, which the rounding
 * of the scale may have brought below the next octave; BITNET158 has those around the scale. */
static void set_bins(lt_precise *precise, lathe_dtype dtype) {
    const bool is_mean = dtype == LATHE_BITNET158;
    const float top = fminf(precise->scale * precise->high_code * LATHE_PRECISE_ROUNDED, FLT_MAX);
    const int last =
        is_mean ? octave_of(precise->scale) + LATHE_PRECISE_ABOVE_MEAN - 1 : octave_of(top);
    const int first = is_mean ? octave_of(precise->scale) - LATHE_PRECISE_BELOW_MEAN
                              : last - LATHE_PRECISE_OCTAVES + 1;
    const uint32_t bits = bin_bits(dtype);
    precise->shift = MANTISSA_BITS - bits;
    precise->base = (uint32_t)(first + EXPONENT_BIAS) << bits;
    precise->n_bins = (uint32_t)(last - first + 1) << bits;
    if (!is_mean) {
        set_unit(precise, last);
    }
}

lt_precise lt_precise_of(lathe_dtype dtype, float scale) {
    float max_code = lt_dtype_traits_of(dtype)->max_code;
    float extra = lt_extra_codes(dtype, LATHE_PRECISE);
    lt_precise precise = {
        .scale = scale,
        .inverse = octave_of(scale) < LATHE_PRECISE_LEAST_OCTAVE ? 0 : lt_inverse_scale(scale),
        .low_code = -max_code - extra,
        .high_code = max_code,
        .is_signed = extra != 0,
    };
    if (precise.inverse != 0) {
        set_bins(&precise, dtype);
    }
    return precise;
}

/* ---- what a scale gives */

/* Of one half of a histogram: sums over a bin and those above it. */
typedef struct half {
    const uint64_t *n_elems;
    const uint64_t *sums; /* of their levels, in units of half a bin of the first octave */
    uint32_t n_bins;
    int max_code;
} half;

/* What candidates are tried on. */
typedef struct levels {
    const lt_precise *precise;
    const lt_precise_loops *loops; /* a few levels, each once; NULL: histograms */
    const int16_t *values;
    size_t n_values;
    half halves[2];
    double n_elems;
    double greatest; /* magnitude */
} levels;

/* Sums over the elements, with the codes q that a scale gives: of q times the level, and of q^2.
 * With these codes product / squares is the scale, in levels, with the least squared error, and
 * that error the sum of squared levels less product^2 / squares. */
typedef struct fit {
    double product;
    double squares;
} fit;

/* 2^exponent, which is normal. */
static double power(int exponent) {
    return from_bits((uint64_t)(exponent + 1023) << 52);
}

/* The bits of a magnitude that tell the bins of an octave apart. */
static int bits_of_bins(const lt_precise *precise) {
    return MANTISSA_BITS - (int)precise->shift;
}

/* A bin's level is what its middle is over the first octave. */
static float level_of(const lt_precise *precise, uint32_t bin) {
    const uint32_t middle = (UINT32_C(1) << precise->shift) / 2;
    const uint32_t bits = ((uint32_t)EXPONENT_BIAS << MANTISSA_BITS) + (bin << precise->shift);
    const uint32_t level_bits = bits + middle;
    float level;
    memcpy(&level, &level_bits, sizeof level);
    return level;
}

/* The same in units of half a bin of the first octave: a whole number. */
static uint64_t whole_level_of(const lt_precise *precise, uint32_t bin) {
    const int bits = bits_of_bins(precise);
    const uint64_t in_octave = bin & ((UINT32_C(1) << bits) - 1);
    return (2 * ((UINT64_C(1) << bits) + in_octave) + 1) << (bin >> bits);
}

/* The first bin whose level is not below that. */
static uint32_t bin_from(const lt_precise *precise, double level) {
    const uint32_t one = (uint32_t)EXPONENT_BIAS << MANTISSA_BITS;
    const uint32_t middle = (UINT32_C(1) << precise->shift) / 2;
    float at = (float)level;
    uint32_t bits;
    memcpy(&bits, &at, sizeof bits);
    return bits <= one ? 1 : ((bits - one + middle - 1) >> precise->shift);
}

/* Whole numbers, so that they can be added up in any order; of the first the upper and the lower
 * halves of what was added, since their sum may be beyond 64 bits. */
typedef struct whole_fit {
    uint64_t product_high;
    uint64_t product_low;
    uint64_t squares;
} whole_fit;

/* An element of code k counts k times in a sum of codes times levels: once for each code from 1 to
 * k that it reaches. It counts k^2 in the other, the sum of as many odd numbers. */
static void add_half(const levels *all, const half *bins, double scale, whole_fit *sums) {
    for (int k = 1; k <= bins->max_code; k++) {
        uint32_t bin = bin_from(all->precise, (k - 0.5) * scale);
        bin = bin > 0 ? bin : 1; /* bin 0 counts as 0 */
        if (bin >= bins->n_bins) {
            return;
        }
        sums->product_high += bins->sums[bin] >> 32;
        sums->product_low += bins->sums[bin] & UINT32_MAX;
        sums->squares += (uint64_t)(2 * k - 1) * bins->n_elems[bin];
    }
}

/* A level over a scale f * 2^e, with f from 0.5 to 1, is the level over 2 f, shifted. */
static fit fit_few(const levels *all, double scale) {
    uint64_t bits;
    memcpy(&bits, &scale, sizeof bits);
    const int exponent = (int)(bits >> 52) - 1022;
    if (scale < LATHE_PRECISE_LEAST_CANDIDATE / 2.0) {
        return (fit){0};
    }
    const int32_t multiplier = (int32_t)(power(14 + exponent) / scale + 0.5);
    const lt_candidate candidate = {
        .multiplier = (int16_t)(multiplier < INT16_MAX ? multiplier : INT16_MAX),
        .shift = (int16_t)(exponent - 1),
    };
    int64_t sums[2];
    all->loops->few(all->precise, all->values, all->n_values, candidate, sums);
    return (fit){.product = (double)sums[0], .squares = (double)sums[1]};
}

/* `scale` is in levels. */
static fit fit_of(const levels *all, double scale) {
    whole_fit sums = {0};
    if (all->loops != NULL) {
        return fit_few(all, scale);
    }
    add_half(all, &all->halves[0], scale, &sums);
    if (all->precise->is_signed) {
        add_half(all, &all->halves[1], scale, &sums);
    }
    const double units = (double)sums.product_high * 0x1p32 + (double)sums.product_low;
    return (fit){
        .product = units * power(-1 - bits_of_bins(all->precise)),
        .squares = (double)sums.squares,
    };
}

static double gain_of(fit f) {
    return f.squares > 0 ? f.product / f.squares * f.product : 0;
}

/* The best candidate so far; the first of equal ones. */
typedef struct best {
    double scale;
    fit fit;
    double gain;
} best;

static bool is_better(best *b, double scale, fit f) {
    double gain = gain_of(f);
    if (gain > b->gain) {
        *b = (best){scale, f, gain};
        return true;
    }
    return false;
}

/* Candidates from the greatest one on. */
static void walk(const levels *all, best *b) {
    static const uint64_t fractions[] = {LATHE_PRECISE_FRACTIONS};
    const double first = all->greatest / (double)all->precise->high_code;
    for (int i = -LATHE_PRECISE_STEPS_ABOVE; i < LATHE_PRECISE_STEPS; i++) {
        int at = i + LATHE_PRECISE_OCTAVE_STEPS;
        double fraction = from_bits(fractions[at % LATHE_PRECISE_OCTAVE_STEPS]);
        double scale = first * fraction * power(1 - at / LATHE_PRECISE_OCTAVE_STEPS);
        if (scale < LATHE_PRECISE_LEAST_CANDIDATE && all->loops != NULL) {
            break;
        }
        fit f = fit_of(all, scale);
        (void)is_better(b, scale, f);
        /* The error is what the sum of squared levels exceeds this scale's gain by. Rounding alone
         * costs an element at most half a step. What goes beyond that is of elements that the codes
         * do not reach, and grows as the scale shrinks. */
        const double square = scale * scale;
        const double at_most = 2 * scale * f.product + all->n_elems * square / 4;
        if (b->gain + square * f.squares > at_most) {
            break;
        }
    }
}

/* Candidates between the best one and its neighbours. */
static void walk_between(const levels *all, best *b) {
    const double step = from_bits(LATHE_PRECISE_FINE_STEP);
    const double middle = b->scale;
    for (int i = -LATHE_PRECISE_FINE_STEPS; i <= LATHE_PRECISE_FINE_STEPS; i++) {
        double scale = middle * (1 + i * step);
        (void)is_better(b, scale, fit_of(all, scale));
    }
}

/* The best scale with the codes of the best candidate, in levels; 0 if there is none. */
static double search(const levels *all) {
    best b = {0};
    walk(all, &b);
    if (b.gain == 0) {
        return 0;
    }
    walk_between(all, &b);
    for (int i = 0; i < LATHE_PRECISE_REFINEMENTS; i++) {
        double scale = b.fit.product / b.fit.squares;
        if (!is_better(&b, scale, fit_of(all, scale))) {
            break;
        }
    }
    return b.fit.product / b.fit.squares;
}

/* Sets the scale that was found, in the first level's unit, if it can be used. */
static void set_other(lt_precise *precise, const levels *all, double unit) {
    const double found = all->greatest > 0 ? search(all) * unit : 0;
    const float scale = found <= (double)FLT_MAX ? (float)found : 0;
    const float inverse = scale > 0 ? lt_inverse_scale(scale) : 0;
    precise->other = inverse > 0 ? scale : 0;
    precise->other_inverse = inverse;
}

void lt_precise_search_elems(lt_precise *precise, const lt_precise_loops *loops, const float *x,
                             size_t n_elems) {
    int16_t values[LT_PRECISE_ELEMS] = {0};
    const float greatest = loops->greatest(x, n_elems);
    if (octave_of(greatest) < LATHE_PRECISE_LEAST_OCTAVE) {
        return;
    }
    const float factor = (float)LATHE_PRECISE_TOP_LEVEL / greatest;
    levels all = {
        .precise = precise,
        .loops = loops,
        .values = values,
        .n_values = (size_t)lt_ceil_div(n_elems, LT_LEVEL_STEP) * LT_LEVEL_STEP,
        .n_elems = (double)n_elems,
        .greatest = LATHE_PRECISE_TOP_LEVEL,
    };
    loops->levels(x, n_elems, factor, values);
    set_unit(precise, octave_of(greatest));
    set_other(precise, &all, 1 / (double)factor);
}

/* Makes a half of a histogram, whose bins are overwritten, and returns its greatest bin. */
static uint32_t sum_up(levels *all, half *bins, uint64_t *counts, uint64_t *sums, int max_code) {
    uint64_t n_elems = 0;
    uint64_t sum = 0;
    uint32_t greatest = 0;
    *bins = (half){counts, sums, all->precise->n_bins, max_code};
    all->n_elems += (double)counts[0];
    for (uint32_t bin = bins->n_bins - 1; bin > 0; bin--) {
        if (counts[bin] != 0) {
            greatest = greatest > bin ? greatest : bin;
            n_elems += counts[bin];
            sum += counts[bin] * whole_level_of(all->precise, bin);
        }
        counts[bin] = n_elems;
        sums[bin] = sum;
    }
    all->n_elems += (double)n_elems;
    return greatest;
}

void lt_precise_search_counts(lt_precise *precise, uint64_t *counts, uint64_t *sums) {
    levels all = {.precise = precise};
    const uint32_t n_bins = precise->n_bins;
    uint32_t greatest = sum_up(&all, &all.halves[0], counts, sums, (int)precise->high_code);
    if (precise->is_signed) {
        uint32_t below =
            sum_up(&all, &all.halves[1], counts + n_bins, sums + n_bins, (int)-precise->low_code);
        greatest = greatest > below ? greatest : below;
    }
    const int bits = bits_of_bins(precise);
    const int first = (int)(precise->base >> bits) - EXPONENT_BIAS;
    const int octave = first + (int)(greatest >> bits);
    if (greatest > 0 && octave >= LATHE_PRECISE_LEAST_OCTAVE) {
        all.greatest = (double)level_of(precise, greatest);
        set_unit(precise, octave);
        set_other(precise, &all, power(first));
    }
}

/* With the sums P of code times element and Q of codes squared, the squared error with a scale s is
 * the sum of squared elements less the gain 2 s P - s^2 Q, which is greatest at s = P / Q: P^2 / Q.
 * The codes that this scale gives are at least as good as those that it was made from. What
 * rounding can do to the two errors is far below the margin. */
float lt_precise_choose(const lt_precise *precise, const lt_scale_fit *sums) {
    const double margin = from_bits(LATHE_PRECISE_MARGIN);
    const double standard = (double)precise->scale * (double)precise->unit_factor;
    const double p0 = (double)sums->product[0];
    const double q0 = (double)sums->squares[0];
    const double p1 = (double)sums->product[1];
    const double q1 = (double)sums->squares[1];
    const double gain = fmax(standard * (2 * p0 - standard * q0), 0);
    if (q1 == 0 || p1 <= 0 || p1 / q1 * p1 <= gain * margin) {
        return precise->scale;
    }
    const double found = p1 / q1 / (double)precise->unit_factor;
    const bool is_finite = found * fabs((double)precise->low_code) < (double)FLT_MAX;
    const float scale = is_finite ? (float)found : 0;
    return scale > 0 && lt_inverse_scale(scale) > 0 ? scale : precise->scale;
}

/* ---- scans */

void lt_scan_add(lt_scan *scan, const lt_precise_loops *loops, lt_scan_part *part, const float *x,
                 size_t n_elems) {
    switch (scan->kind) {
    case LT_SCAN_ELEMS: /* all of the scope's, so that nobody else does this */
        lt_precise_search_elems(&scan->precise, loops, x, n_elems);
        break;
    case LT_SCAN_COUNTS:
        loops->count(&scan->precise, x, n_elems, part->counts);
        break;
    case LT_SCAN_FIT:
        loops->fit(&scan->precise, x, n_elems, &part->fit);
        break;
    }
}

void lt_scan_merge(lt_scan *scan, const lt_precise_loops *loops, lt_scan_part *part) {
    if (scan->kind == LT_SCAN_COUNTS) {
        loops->fold(&scan->precise, part->counts);
    }
    lt_lock_process(LT_LOCK_MERGING);
    for (uint32_t i = 0; scan->kind == LT_SCAN_COUNTS && i < lt_precise_bins(&scan->precise); i++) {
        scan->counts[i] += part->counts[i];
    }
    for (int i = 0; scan->kind == LT_SCAN_FIT && i < 2; i++) {
        scan->fit.product[i] += part->fit.product[i];
        scan->fit.squares[i] += part->fit.squares[i];
    }
    lt_unlock_process(LT_LOCK_MERGING);
}
