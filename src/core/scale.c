/* SPDX-License-Identifier: Apache-2.0 */
/* Scale rules, and the canonical order in which tile statistics are added. */
#include "core/scale.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "lathe_constants.h"
#include <float.h>
#include <math.h>

uint64_t lt_scope_stride(lathe_quality quality, uint64_t n_elems) {
    uint64_t tiles = lt_ceil_div(n_elems, LATHE_STAT_TILE);
    return quality == LATHE_FAST && tiles > LATHE_FAST_STRIDE ? LATHE_FAST_STRIDE : 1;
}

lt_tiling lt_tiling_of(const lt_layout *target, lathe_quality quality) {
    bool whole = target->scale_elems == 0;
    lt_tiling tiling = {
        .n_elems = target->n_elems,
        .row_elems = whole ? 0 : target->row_elems,
        .scope_elems = whole ? target->n_elems : target->scale_elems,
        .scopes_per_row = whole ? 1 : target->scales_per_row,
        .quality = quality,
    };
    uint64_t tiles = lt_max(lt_ceil_div(tiling.scope_elems, LATHE_STAT_TILE), 1);
    uint64_t stride = lt_scope_stride(quality, tiling.scope_elems);
    tiling.sampled = stride > 1;
    /* A short scope of up to LATHE_FAST_STRIDE tiles is not sampled, so it may need that many
     * numbers. */
    tiling.tiles_per_scope =
        tiling.sampled ? lt_max(lt_ceil_div(tiles, stride), LATHE_FAST_STRIDE) : tiles;
    tiling.n_tiles = tiling.tiles_per_scope * target->n_scales;
    return tiling;
}

uint64_t lt_tiling_scope_elems(const lt_tiling *tiling, uint64_t scope) {
    uint64_t first = (scope % tiling->scopes_per_row) * tiling->scope_elems;
    uint64_t row_end = tiling->row_elems == 0 ? tiling->n_elems : tiling->row_elems;
    return lt_min(tiling->scope_elems, row_end - first);
}

void lt_tiling_tile(const lt_tiling *tiling, uint64_t tile, uint64_t *first, uint64_t *n_elems) {
    uint64_t scope = tile / tiling->tiles_per_scope;
    uint64_t row = scope / tiling->scopes_per_row;
    uint64_t scope_first = (scope % tiling->scopes_per_row) * tiling->scope_elems;
    uint64_t length = lt_tiling_scope_elems(tiling, scope);
    uint64_t stride = lt_scope_stride(tiling->quality, length);
    uint64_t offset = (tile % tiling->tiles_per_scope) * stride * LATHE_STAT_TILE;
    uint64_t begin = lt_min(offset, length);
    *first = row * tiling->row_elems + scope_first + begin;
    *n_elems = lt_min(length - begin, LATHE_STAT_TILE);
}

/* How many elements the tiles [first, first + n_tiles) of a scope hold together: all but the last
 * one that is not empty are full. */
static uint64_t run_elems(const lt_tiling *tiling, uint64_t scope, uint64_t first,
                          uint64_t n_tiles) {
    uint64_t length = lt_tiling_scope_elems(tiling, scope);
    uint64_t step = lt_scope_stride(tiling->quality, length) * LATHE_STAT_TILE;
    uint64_t filled = lt_ceil_div(length, step);
    uint64_t end = lt_min(first + n_tiles, filled);
    if (first >= end) {
        return 0;
    }
    uint64_t n_elems = (end - first) * LATHE_STAT_TILE;
    uint64_t last = lt_min(length - (filled - 1) * step, LATHE_STAT_TILE);
    return end == filled ? n_elems - LATHE_STAT_TILE + last : n_elems;
}

uint64_t lt_tiling_elems(const lt_tiling *tiling) {
    uint64_t tiles = lt_ceil_div(tiling->scope_elems, LATHE_STAT_TILE);
    uint64_t looked_at = lt_ceil_div(tiles, lt_scope_stride(tiling->quality, tiling->scope_elems));
    uint64_t in_scope = lt_min(looked_at * LATHE_STAT_TILE, tiling->scope_elems);
    return lt_min(tiling->n_tiles / tiling->tiles_per_scope * in_scope, tiling->n_elems);
}

static inline float scale_of(const lt_dtype_traits *traits, double stat, uint64_t n_elems) {
    if (traits->rule == LT_RULE_ABSMAX) {
        return (float)stat / traits->max_code;
    }
    /* A mean of values near FLT_MAX can exceed it by the rounding of the F32 sums. */
    double mean = n_elems == 0 ? 0 : stat / (double)n_elems;
    float scale = mean > (double)FLT_MAX ? FLT_MAX : (float)mean;
    return scale > traits->min_scale ? scale : traits->min_scale;
}

static inline float inverse_of(float scale) {
    float inverse = 1.0f / scale;
    return inverse <= FLT_MAX ? inverse : 0;
}

float lt_scale_from_stat(lathe_dtype dtype, double stat, uint64_t n_elems) {
    return scale_of(lt_dtype_traits_of(dtype), stat, n_elems);
}

float lt_inverse_scale(float scale) {
    return inverse_of(scale);
}

/* The same as scale_of, of which compilers can make vectors. Dividing by a power of two is
 * multiplying by its inverse; a mean beyond the greatest float rounds to that, or to infinity. */
static void scales_of_means(const float *stats, size_t n, uint64_t n_elems, float least,
                            float *restrict scales) {
    const double count = (double)n_elems;
    if ((n_elems & (n_elems - 1)) == 0) {
        const double inverse = 1 / count;
        for (size_t i = 0; i < n; i++) {
            scales[i] = (float)((double)stats[i] * inverse);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            scales[i] = (float)((double)stats[i] / count);
        }
    }
    for (size_t i = 0; i < n; i++) {
        const float scale = scales[i] < FLT_MAX ? scales[i] : FLT_MAX;
        scales[i] = scale > least ? scale : least;
    }
}

void lt_scales_from_stats(lathe_dtype dtype, const float *stats, uint64_t n_scopes,
                          uint64_t scope_elems, uint64_t last_elems, float *restrict scales,
                          float *restrict inverses) {
    const lt_dtype_traits traits = *lt_dtype_traits_of(dtype);
    const size_t n = (size_t)n_scopes;
    if (traits.rule == LT_RULE_ABSMAX) {
        for (size_t i = 0; i < n; i++) {
            scales[i] = stats[i] / traits.max_code;
        }
    } else if (n > 0) {
        scales_of_means(stats, n, scope_elems, traits.min_scale, scales);
        scales[n - 1] = scale_of(&traits, (double)stats[n - 1], last_elems);
    }
    for (size_t i = 0; i < n; i++) {
        inverses[i] = inverse_of(scales[i]);
    }
}

/* A maximum has no order, so that several can be found at once; a sum has one. */
static double fold_stats(lt_scale_rule rule, double total, const double *stats, uint64_t n_tiles) {
    if (rule == LT_RULE_ABSMAX) {
        double most[4] = {total, total, total, total};
        for (uint64_t i = 0; i < n_tiles; i++) {
            double *one = &most[i % 4];
            *one = *one > stats[i] ? *one : stats[i];
        }
        double first = most[0] > most[1] ? most[0] : most[1];
        double second = most[2] > most[3] ? most[2] : most[3];
        return first > second ? first : second;
    }
    for (uint64_t i = 0; i < n_tiles; i++) {
        total += stats[i];
    }
    return total;
}

/* Counts the next tiles of a scope, and stores its scale if they were the last. */
static void fold_on(lt_fold *fold, const lt_tiling *tiling, lathe_dtype dtype, uint64_t n_tiles,
                    float *scales) {
    uint64_t scope = fold->n_tiles / tiling->tiles_per_scope;
    uint64_t first = fold->n_tiles % tiling->tiles_per_scope;
    fold->n_elems += run_elems(tiling, scope, first, n_tiles);
    fold->n_tiles += n_tiles;
    if (first + n_tiles == tiling->tiles_per_scope) {
        scales[scope] = lt_scale_from_stat(dtype, fold->total, fold->n_elems);
        fold->total = 0;
        fold->n_elems = 0;
    }
}

void lt_fold_tiles(lt_fold *fold, const lt_tiling *tiling, lathe_dtype dtype, const double *stats,
                   uint64_t n_tiles, float *scales) {
    lt_scale_rule rule = lt_dtype_traits_of(dtype)->rule;
    while (n_tiles > 0) {
        uint64_t first = fold->n_tiles % tiling->tiles_per_scope;
        uint64_t count = lt_min(tiling->tiles_per_scope - first, n_tiles);
        fold->total = fold_stats(rule, fold->total, stats, count);
        fold_on(fold, tiling, dtype, count, scales);
        stats += count;
        n_tiles -= count;
    }
}

/* The exponent of a number's last bit; the greatest for 0. */
static int32_t lowest_bit(double x) {
    int exponent = 0;
    uint64_t number = (uint64_t)ldexp(frexp(x, &exponent), DBL_MANT_DIG);
    return number == 0 ? INT32_MAX : exponent - DBL_MANT_DIG + (int32_t)__builtin_ctzll(number);
}

bool lt_fold_sum(lt_fold *fold, const lt_tiling *tiling, lathe_dtype dtype, const lt_tile_sum *sum,
                 uint64_t n_tiles, float *scales) {
    if (lt_dtype_traits_of(dtype)->rule == LT_RULE_ABSMAX) {
        fold->total = fold->total > sum->value ? fold->total : sum->value;
    } else {
        /* What has been folded is one more addend. A sum that rounds is not below the bound. */
        int32_t before = lowest_bit(fold->total);
        int32_t lowest = sum->lowest < before ? sum->lowest : before;
        double total = fold->total + sum->value;
        if (!sum->is_exact || (total > 0 && total >= ldexp(1, lowest + DBL_MANT_DIG))) {
            return false;
        }
        fold->total = total;
    }
    fold_on(fold, tiling, dtype, n_tiles, scales);
    return true;
}
