/* SPDX-License-Identifier: Apache-2.0 */
/* The search for the scale with the least squared error. */
#include "core/precise.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/scale.h"
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

/* Bins of a histogram's octave, as a power of two: I8 has 64 codes in one. */
static uint32_t bin_bits(lathe_dtype dtype) {
    return dtype == LATHE_I8 ? 8 : 6;
}

enum {
    OCTAVES = 16, /* of a histogram, where the greatest element is known; */
    OCTAVES_BELOW_MEAN = 9,
    OCTAVES_ABOVE_MEAN = 41, /* n elements reach n times their mean at most */
    MANTISSA_BITS = 23,
    EXPONENT_BIAS = 127,
    LEAST_OCTAVE = -100, /* smaller scopes keep their scale */
    UNIT_BITS = 22,
    TOP_LEVEL = 16256,   /* 127 * 128: with half a code more, levels still have 16 bits */
    LEAST_CANDIDATE = 4, /* levels */
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

/* The octave of a magnitude: that of 1 is 0. */
static int octave_of(float magnitude) {
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    return (int)(bits >> MANTISSA_BITS) - EXPONENT_BIAS;
}

/* Sets the power of two that takes elements of an octave, and of those below it, below 2^22. */
static void set_unit(lt_precise *precise, int octave) {
    precise->unit_factor = ldexpf(1, UNIT_BITS - 1 - octave);
}

/* Sets the bins: OCTAVES of them from the greatest element's on, which the rounding of the scale
 * may have brought below the next octave; BITNET158 has those around the scale. */
static void set_bins(lt_precise *precise, lathe_dtype dtype) {
    const bool is_mean = dtype == LATHE_BITNET158;
    const float top = fminf(precise->scale * precise->high_code * 0x1.000008p+0f, FLT_MAX);
    const int last = is_mean ? octave_of(precise->scale) + OCTAVES_ABOVE_MEAN - 1 : octave_of(top);
    const int first = is_mean ? octave_of(precise->scale) - OCTAVES_BELOW_MEAN : last - OCTAVES + 1;
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
        .inverse = octave_of(scale) < LEAST_OCTAVE ? 0 : lt_inverse_scale(scale),
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

/* Of one half of a histogram, the last bin first: sums over a bin and those above it. */
typedef struct half {
    const uint64_t *n_elems;
    const double *sums; /* of their levels */
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
    double squares;  /* the sum of squared levels */
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
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
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

/* The first bin whose level is not below that. */
static uint32_t bin_from(const lt_precise *precise, double level) {
    const uint32_t one = (uint32_t)EXPONENT_BIAS << MANTISSA_BITS;
    const uint32_t middle = (UINT32_C(1) << precise->shift) / 2;
    float at = (float)level;
    uint32_t bits;
    memcpy(&bits, &at, sizeof bits);
    return bits <= one ? 1 : ((bits - one + middle - 1) >> precise->shift);
}

/* An element of code k counts k times in a sum of codes times levels: once for each code from 1 to
 * k that it reaches. It counts k^2 in the other, the sum of as many odd numbers. */
static void add_half(const levels *all, const half *bins, double scale, fit *sums) {
    for (int k = 1; k <= bins->max_code; k++) {
        uint32_t bin = bin_from(all->precise, (k - 0.5) * scale);
        bin = bin > 0 ? bin : 1; /* bin 0 counts as 0 */
        if (bin >= bins->n_bins) {
            return;
        }
        sums->product += bins->sums[bin];
        sums->squares += (2 * k - 1) * (double)bins->n_elems[bin];
    }
}

/* A level over a scale f * 2^e, with f from 0.5 to 1, is the level over 2 f, shifted. */
static fit fit_few(const levels *all, double scale) {
    uint64_t bits;
    memcpy(&bits, &scale, sizeof bits);
    const int exponent = (int)(bits >> 52) - 1022;
    if (scale < LEAST_CANDIDATE / 2) {
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
    fit sums = {0};
    if (all->loops != NULL) {
        return fit_few(all, scale);
    }
    add_half(all, &all->halves[0], scale, &sums);
    if (all->precise->is_signed) {
        add_half(all, &all->halves[1], scale, &sums);
    }
    return sums;
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
    const double first = all->greatest / (double)all->precise->high_code;
    for (int i = -STEPS_ABOVE; i < MAX_STEPS; i++) {
        int at = i + STEPS_PER_OCTAVE;
        double scale = first * fractions[at % STEPS_PER_OCTAVE] * power(1 - at / STEPS_PER_OCTAVE);
        if (scale < LEAST_CANDIDATE && all->loops != NULL) {
            break;
        }
        fit f = fit_of(all, scale);
        (void)is_better(b, scale, f);
        /* Rounding alone costs an element at most half a step. What goes beyond that is of elements
         * that the codes do not reach, and grows as the scale shrinks. */
        double error = all->squares - 2 * scale * f.product + scale * scale * f.squares;
        double beyond = error - all->n_elems * scale * scale / 4;
        if (beyond > all->squares - b->gain) {
            break;
        }
    }
}

/* Candidates between the best one and its neighbours. */
static void walk_between(const levels *all, best *b) {
    const double step = 1.0 / 180; /* an eighth of what lies between two candidates */
    const double middle = b->scale;
    for (int i = -FINE_STEPS; i <= FINE_STEPS; i++) {
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
    for (int i = 0; i < MAX_REFINEMENTS; i++) {
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
    if (octave_of(greatest) < LEAST_OCTAVE) {
        return;
    }
    const float factor = (float)TOP_LEVEL / greatest;
    levels all = {
        .precise = precise,
        .loops = loops,
        .values = values,
        .n_values = (size_t)lt_ceil_div(n_elems, LT_LEVEL_STEP) * LT_LEVEL_STEP,
        .n_elems = (double)n_elems,
        .greatest = TOP_LEVEL,
    };
    loops->levels(x, n_elems, factor, values);
    all.squares = (double)loops->squares(values, all.n_values);
    set_unit(precise, octave_of(greatest));
    set_other(precise, &all, 1 / (double)factor);
}

/* Makes a half of a histogram, whose bins are overwritten, and returns its greatest bin. */
static uint32_t sum_up(levels *all, half *bins, uint64_t *counts, double *sums, int max_code) {
    uint64_t n_elems = 0;
    double sum = 0;
    uint32_t greatest = 0;
    *bins = (half){counts, sums, all->precise->n_bins, max_code};
    all->n_elems += (double)counts[0];
    for (uint32_t bin = bins->n_bins - 1; bin > 0; bin--) {
        if (counts[bin] != 0) {
            const double level = (double)level_of(all->precise, bin);
            greatest = greatest > bin ? greatest : bin;
            n_elems += counts[bin];
            sum += (double)counts[bin] * level;
            all->squares += (double)counts[bin] * (level * level);
        }
        counts[bin] = n_elems;
        sums[bin] = sum;
    }
    all->n_elems += (double)n_elems;
    return greatest;
}

void lt_precise_search_counts(lt_precise *precise, uint64_t *counts, double *sums) {
    levels all = {.precise = precise};
    const uint32_t n_bins = precise->n_bins;
    uint32_t greatest = sum_up(&all, &all.halves[0], counts, sums, (int)precise->high_code);
    if (precise->is_signed) {
        uint32_t below =
            sum_up(&all, &all.halves[1], counts + n_bins, sums + n_bins, (int)-precise->low_code);
        greatest = greatest > below ? greatest : below;
    }
    const int bits = MANTISSA_BITS - (int)precise->shift;
    const int first = (int)(precise->base >> bits) - EXPONENT_BIAS;
    const int octave = first + (int)(greatest >> bits);
    if (greatest > 0 && octave >= LEAST_OCTAVE) {
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
    const double margin = 1 + 0x1p-26;
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

static pthread_mutex_t merging = PTHREAD_MUTEX_INITIALIZER;

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
    (void)pthread_mutex_lock(&merging);
    for (uint32_t i = 0; scan->kind == LT_SCAN_COUNTS && i < lt_precise_bins(&scan->precise); i++) {
        scan->counts[i] += part->counts[i];
    }
    for (int i = 0; scan->kind == LT_SCAN_FIT && i < 2; i++) {
        scan->fit.product[i] += part->fit.product[i];
        scan->fit.squares[i] += part->fit.squares[i];
    }
    (void)pthread_mutex_unlock(&merging);
}
