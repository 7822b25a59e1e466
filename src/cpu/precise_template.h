/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of PRECISE, plain so that a compiler makes them what the instruction set allows.
 *
 * Parameters: LT_PRECISE_LOOPS, the name of what is defined. */
#include "core/precise.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { COUNT_STEP = 512 };

/* Between 2^23 and 2^24 floats are the whole numbers, so that adding this rounds, ties to even, a
 * magnitude below 2^22. */
#define ROUNDER 0x1.8p23f
#define ROUNDER_BITS 0x4b400000

static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline int32_t nearest(float x) {
    return (int32_t)bits_of(x + ROUNDER) - ROUNDER_BITS;
}

static inline int32_t code_of(float scaled, float low, float high) {
    scaled = scaled < low ? low : scaled;
    scaled = scaled > high ? high : scaled;
    return nearest(scaled);
}

static float greatest(const float *x, size_t n_elems) {
    uint32_t found = 0;
    for (size_t i = 0; i < n_elems; i++) {
        const uint32_t magnitude = bits_of(x[i]) & 0x7fffffff;
        const uint32_t counts = magnitude < 0x7f800000 ? magnitude : 0;
        found = counts > found ? counts : found;
    }
    float value;
    memcpy(&value, &found, sizeof value);
    return value;
}

static void make_levels(const float *x, size_t n_elems, float factor, int16_t *levels) {
    for (size_t i = 0; i < n_elems; i++) {
        const float from = fabsf(x[i]) <= FLT_MAX ? x[i] : 0;
        levels[i] = (int16_t)nearest(from * factor);
    }
}

static void few(const lt_precise *precise, const int16_t *levels, size_t n_levels,
                lt_candidate candidate, int64_t sums[2]) {
    const int16_t low = (int16_t)precise->low_code;
    const int16_t high = (int16_t)precise->high_code;
    const int16_t multiplier = candidate.multiplier;
    const int shift = candidate.shift;
    const int16_t half = (int16_t)(1 << (shift - 1));
    int64_t product = 0;
    int32_t squares = 0;
    for (size_t i = 0; i < n_levels; i += LT_LEVEL_STEP) {
        int32_t step_product = 0; /* below 2^28 */
        for (size_t k = i; k < i + LT_LEVEL_STEP; k++) {
            const int16_t scaled = (int16_t)((((levels[k] * multiplier) >> 14) + 1) >> 1);
            int16_t code = (int16_t)((int16_t)(scaled + half) >> shift);
            code = code < low ? low : code;
            code = code > high ? high : code;
            step_product += code * levels[k];
            squares += code * code;
        }
        product += step_product;
    }
    sums[0] = product;
    sums[1] = squares;
}

/* The bins of elements. */
static inline void find_bins(const lt_precise *precise, const float *x, size_t n_elems,
                             uint16_t *bins) {
    const int32_t base = (int32_t)precise->base;
    const int32_t last = (int32_t)precise->n_bins - 1;
    const int32_t half = precise->is_signed ? last + 1 : 0;
    const uint32_t shift = precise->shift;
    for (size_t i = 0; i < n_elems; i++) {
        const uint32_t bits = bits_of(x[i]);
        const uint32_t magnitude = bits & 0x7fffffff;
        int32_t bin = (int32_t)(magnitude >> shift) - base;
        bin = bin > 0 ? bin : 0;
        bin = bin < last ? bin : last;
        bin = magnitude < 0x7f800000 ? bin : 0;
        bins[i] = (uint16_t)(bin + ((int32_t)bits < 0 ? half : 0));
    }
}

/* How many histograms there is room for. */
static inline uint32_t copies_of(const lt_precise *precise) {
    uint32_t n_bins = lt_precise_bins(precise);
    return n_bins <= LT_PRECISE_COPIES * LT_PRECISE_BINS / 4 ? 4 : 2;
}

/* Neighbours go to different copies, so that none waits for another one's store. */
static void count(const lt_precise *precise, const float *x, size_t n_elems, uint32_t *counts) {
    const size_t n_bins = lt_precise_bins(precise);
    const bool is_small = copies_of(precise) == 4;
    uint32_t *const copies[4] = {
        counts,
        counts + n_bins,
        is_small ? counts + 2 * n_bins : counts,
        is_small ? counts + 3 * n_bins : counts + n_bins,
    };
    while (n_elems > 0) {
        uint16_t bins[COUNT_STEP];
        const size_t n = n_elems < COUNT_STEP ? n_elems : COUNT_STEP;
        find_bins(precise, x, n, bins);
        size_t i = 0;
        for (; i + 4 <= n; i += 4) {
            copies[0][bins[i]]++;
            copies[1][bins[i + 1]]++;
            copies[2][bins[i + 2]]++;
            copies[3][bins[i + 3]]++;
        }
        for (; i < n; i++) {
            copies[0][bins[i]]++;
        }
        x += n;
        n_elems -= n;
    }
}

static void fold(const lt_precise *precise, uint32_t *counts) {
    const uint32_t n_bins = lt_precise_bins(precise);
    for (uint32_t copy = 1; copy < copies_of(precise); copy++) {
        for (uint32_t i = 0; i < n_bins; i++) {
            counts[i] += counts[copy * n_bins + i];
        }
    }
}

static void fit(const lt_precise *precise, const float *x, size_t n_elems, lt_scale_fit *sums) {
    const float low = precise->low_code;
    const float high = precise->high_code;
    const float inverse = precise->inverse;
    const float other = precise->other_inverse;
    const float factor = precise->unit_factor;
    int64_t product = 0;
    int64_t other_product = 0;
    int32_t squares = 0;
    int32_t other_squares = 0;
    for (size_t i = 0; i < n_elems; i++) {
        const float from = fabsf(x[i]) <= FLT_MAX ? x[i] : 0;
        const int32_t whole = nearest(from * factor);
        const int32_t code = code_of(from * inverse, low, high);
        const int32_t other_code = code_of(from * other, low, high);
        product += code * whole; /* below 2^30 */
        squares += code * code;
        other_product += other_code * whole;
        other_squares += other_code * other_code;
    }
    sums->product[0] += product;
    sums->product[1] += other_product;
    sums->squares[0] += (uint64_t)squares;
    sums->squares[1] += (uint64_t)other_squares;
}

const lt_precise_loops LT_PRECISE_LOOPS = {
    .greatest = greatest,
    .levels = make_levels,
    .few = few,
    .count = count,
    .fold = fold,
    .fit = fit,
};
