/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of what the codes of quantized types stand for, taken from the codes. */
#include "cpu/recode_chunk.h"

#include "core/checked.h"
#include "core/dtype.h"
#include <string.h>

const int8_t *lt_chunk_unpack(const lt_kernels *kernels, lt_chunk *c) {
    if (c->dtype == LATHE_I8) {
        return (const int8_t *)c->bytes;
    }
    kernels->unpack[c->dtype](c->bytes, c->buffer, (size_t)(c->skip + c->n_elems));
    return c->buffer + c->skip;
}

/* ---- sums of codes that are 1 or -1, or 0: a lane's depends on their number alone */

/* The sums of one or of LT_SUMS_AT_ONCE scales. */
static inline void add_lanes(const float *scale, uint64_t n, uint64_t n_sums,
                             float sums[LT_SUMS_AT_ONCE][LATHE_STAT_LANES]) {
    float sum[LT_SUMS_AT_ONCE] = {0};
    for (uint64_t k = 0; k < n_sums; k++) {
        for (uint64_t i = 0; i < n; i++) {
            sum[i] += scale[i];
            sums[i][k] = sum[i];
        }
    }
}

void lt_find_lane_sums(const float *scales, uint64_t n, uint64_t n_elems,
                       float sums[LT_SUMS_AT_ONCE][LATHE_STAT_LANES]) {
    const uint64_t n_sums = lt_ceil_div(n_elems, LATHE_STAT_LANES);
    float scale[LT_SUMS_AT_ONCE] = {0};
    if (n == 1) {
        add_lanes(scales, 1, n_sums, sums);
        return;
    }
    memcpy(scale, scales, (size_t)n * sizeof(float));
    add_lanes(scale, LT_SUMS_AT_ONCE, n_sums, sums);
}

/* Up to so many times a scale is what adding it gives: 2 and 4 times it are exact. */
enum { EXACT_SUMS = 4 };

/* The canonical sum of n_elems times a scale. */
static float sum_of_signs(uint64_t n_elems, float scale, const float *sums) {
    float lanes[LATHE_STAT_LANES];
    uint64_t n_whole = n_elems / LATHE_STAT_LANES;
    float sum = n_whole <= EXACT_SUMS ? (float)n_whole * scale : sums[n_whole - 1];
    if (n_elems % LATHE_STAT_LANES == 0) {
        return sum * LATHE_STAT_LANES; /* doubling does not round */
    }
    if (n_elems % LATHE_STAT_LANES == LATHE_STAT_LANES / 2) {
        return (sum + scale + sum) * (LATHE_STAT_LANES / 2);
    }
    for (uint64_t lane = 0; lane < LATHE_STAT_LANES; lane++) {
        lanes[lane] = lane < n_elems % LATHE_STAT_LANES ? sum + scale : sum;
    }
    for (uint64_t half = LATHE_STAT_LANES / 2; half > 0; half /= 2) {
        for (uint64_t lane = 0; lane < half; lane++) {
            lanes[lane] += lanes[lane + half];
        }
    }
    return lanes[0];
}

/* Sums of short groups: half the lanes are as many times the scale as the others, or once more; any
 * two of them together are n_halves times it, rounded once. */
static void sum_short_signs(uint64_t n_groups, uint64_t n_halves, const float *restrict scales,
                            float *restrict stats) {
    const float times = (float)n_halves;
    for (uint64_t i = 0; i < n_groups; i++) {
        stats[i] = scales[i] * times * (LATHE_STAT_LANES / 2);
    }
}

/* Signs need not be looked at. */
static void find_sign_stats(uint64_t n_elems, lt_stat which, const lt_recode *how, float *stats) {
    const uint64_t half = LATHE_STAT_LANES / 2;
    uint64_t first = 0;
    if (which == LT_STAT_ABSSUM && how->group_elems <= EXACT_SUMS * half &&
        how->group_elems % half == 0) {
        first = n_elems / how->group_elems;
        sum_short_signs(first, how->group_elems / half, how->scales, stats);
    }
    for (uint64_t i = first, done = first * how->group_elems; done < n_elems;
         i++, done += how->group_elems) {
        uint64_t n_group = lt_min(how->group_elems, n_elems - done);
        const float *sums = how->lane_sums == NULL ? NULL : how->lane_sums + i * LATHE_STAT_LANES;
        stats[i] =
            which == LT_STAT_ABSMAX ? how->scales[i] : sum_of_signs(n_group, how->scales[i], sums);
    }
}

/* The same of codes that begin a byte, or of signs: of all units, or of those for which there are
 * lane sums. */
static void find_packed_stats(const lt_chunk *c, lt_code_stat_fn *packed, uint64_t done,
                              uint64_t n_elems, lt_stat which, const lt_recode *how, float *stats) {
    if (c->dtype == LATHE_I1) {
        find_sign_stats(n_elems, which, how, stats);
    } else {
        packed(c->bytes + done / lt_dtype_traits_of(c->dtype)->unit_elems, (size_t)n_elems, how,
               stats);
    }
}

bool lt_takes_lane_sums(lathe_dtype from, lt_stat which, uint64_t unit) {
    bool is_counted = from == LATHE_I2 || from == LATHE_BITNET158;
    return which == LT_STAT_ABSSUM &&
           ((from == LATHE_I1 && unit >= (EXACT_SUMS + 1) * LATHE_STAT_LANES) ||
            (is_counted && unit > LT_SHORT_SUM_ELEMS));
}

void lt_chunk_stats(const lt_kernels *kernels, lt_chunk *c, lt_stat which, const lt_recode *how,
                    float *stats) {
    lt_code_stat_fn *packed = kernels->code_stat[which][c->dtype];
    /* Sums of codes of I4 are made of whole blocks, but for the end. */
    const bool has_half = c->dtype == LATHE_I4 && which == LT_STAT_ABSSUM &&
                          how->group_elems % LATHE_STAT_LANES != 0 && how->group_elems < c->n_elems;
    if (c->dtype != LATHE_I1 && (packed == NULL || c->skip != 0 || has_half)) {
        kernels->code_stat[which][LATHE_I8](lt_chunk_unpack(kernels, c), (size_t)c->n_elems, how,
                                            stats);
        return;
    }
    if (how->lane_sums != NULL || !lt_takes_lane_sums(c->dtype, which, how->group_elems)) {
        find_packed_stats(c, packed, 0, c->n_elems, which, how, stats);
        return;
    }
    const uint64_t part = LT_SUMS_AT_ONCE * how->group_elems;
    for (uint64_t unit = 0, done = 0; done < c->n_elems; unit += LT_SUMS_AT_ONCE, done += part) {
        float sums[LT_SUMS_AT_ONCE][LATHE_STAT_LANES];
        lt_recode some = *how;
        uint64_t n_elems = lt_min(part, c->n_elems - done);
        uint64_t n_units = lt_ceil_div(n_elems, how->group_elems);
        some.scales += unit;
        some.lane_sums = sums[0];
        lt_find_lane_sums(some.scales, n_units, lt_min(n_elems, how->group_elems), sums);
        find_packed_stats(c, packed, done, n_elems, which, &some, stats + unit);
    }
}
