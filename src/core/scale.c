/* SPDX-License-Identifier: Apache-2.0 */
/* Scale rules, and the canonical order in which tile statistics are added. */
#include "core/scale.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "lathe_constants.h"
#include <float.h>

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

void lt_tiling_tile(const lt_tiling *tiling, uint64_t tile, uint64_t *first, uint64_t *n_elems) {
    uint64_t scope = tile / tiling->tiles_per_scope;
    uint64_t row = scope / tiling->scopes_per_row;
    uint64_t scope_first = (scope % tiling->scopes_per_row) * tiling->scope_elems;
    uint64_t row_end = tiling->row_elems == 0 ? tiling->n_elems : tiling->row_elems;
    uint64_t scope_end = scope_first + lt_min(tiling->scope_elems, row_end - scope_first);
    uint64_t stride = lt_scope_stride(tiling->quality, scope_end - scope_first);
    uint64_t offset = (tile % tiling->tiles_per_scope) * stride * LATHE_STAT_TILE;
    uint64_t begin = lt_min(scope_first + offset, scope_end);
    *first = row * tiling->row_elems + begin;
    *n_elems = lt_min(scope_end - begin, LATHE_STAT_TILE);
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

void lt_scales_from_stats(lathe_dtype dtype, const float *stats, uint64_t n_scopes,
                          uint64_t scope_elems, uint64_t last_elems, float *scales,
                          float *inverses) {
    const lt_dtype_traits traits = *lt_dtype_traits_of(dtype);
    for (uint64_t i = 0; i < n_scopes; i++) {
        uint64_t n_elems = i + 1 < n_scopes ? scope_elems : last_elems;
        scales[i] = scale_of(&traits, (double)stats[i], n_elems);
        inverses[i] = inverse_of(scales[i]);
    }
}

void lt_fold_tiles(lt_fold *fold, const lt_tiling *tiling, lathe_dtype dtype, const double *stats,
                   uint64_t n_tiles, float *scales) {
    bool is_max = lt_dtype_traits_of(dtype)->rule == LT_RULE_ABSMAX;
    for (uint64_t i = 0; i < n_tiles; i++) {
        uint64_t first;
        uint64_t n_elems;
        lt_tiling_tile(tiling, fold->n_tiles, &first, &n_elems);
        fold->total =
            is_max ? (fold->total > stats[i] ? fold->total : stats[i]) : fold->total + stats[i];
        fold->n_elems += n_elems;
        fold->n_tiles++;
        if (fold->n_tiles % tiling->tiles_per_scope == 0) {
            scales[fold->n_tiles / tiling->tiles_per_scope - 1] =
                lt_scale_from_stat(dtype, fold->total, fold->n_elems);
            fold->total = 0;
            fold->n_elems = 0;
        }
    }
}
