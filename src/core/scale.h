/* SPDX-License-Identifier: Apache-2.0 */
/* From statistics to scales: the arithmetic that every backend shares. docs/numerics.md states it.
 */
#ifndef LT_CORE_SCALE_H
#define LT_CORE_SCALE_H

#include "core/layout.h"

/* How the elements that share a scale, its scope, are cut into statistic tiles. Tiles are numbered
 * scope by scope over the whole tensor; with FAST quality only the sampled tiles have numbers. The
 * last scope of a row may be short: it then has empty tiles. */
typedef struct lt_tiling {
    uint64_t n_elems;     /* of the tensor */
    uint64_t row_elems;   /* of a row of the target; 0: one scope for the tensor */
    uint64_t scope_elems; /* of a full scope */
    uint64_t scopes_per_row;
    lathe_quality quality;
    bool sampled;             /* some tiles have no number */
    uint64_t tiles_per_scope; /* numbered ones */
    uint64_t n_tiles;         /* numbered ones, of the tensor */
} lt_tiling;

/* With that quality, a scope of n_elems elements takes its statistic from one tile in how many? */
uint64_t lt_scope_stride(lathe_quality quality, uint64_t n_elems);

/* How many elements a scope, numbered over the whole tensor, has: the last one of a row may be
 * short. */
uint64_t lt_tiling_scope_elems(const lt_tiling *tiling, uint64_t scope);

/* The tiling of a quantized target's layout. */
lt_tiling lt_tiling_of(const lt_layout *target, lathe_quality quality);

/* The elements [*first, *first + *n_elems) of tile number `tile`, counted over the whole tensor. */
void lt_tiling_tile(const lt_tiling *tiling, uint64_t tile, uint64_t *first, uint64_t *n_elems);

/* How many elements the tiles hold together; a little more where rows end in short scopes. */
uint64_t lt_tiling_elems(const lt_tiling *tiling);

/* Folds tile statistics into scales, in ascending order. Zero-initialised before the first tile. */
typedef struct lt_fold {
    double total;     /* of the scope that is being folded */
    uint64_t n_elems; /* that the total is made of */
    uint64_t n_tiles; /* folded so far, over all scopes */
} lt_fold;

/* Folds the next n_tiles tile statistics of the tensor and stores the scale of each scope that is
 * complete by then at scales[its index]. */
void lt_fold_tiles(lt_fold *fold, const lt_tiling *tiling, lathe_dtype dtype, const double *stats,
                   uint64_t n_tiles, float *scales);

/* What tiles of one scope come to, where a device has folded them.
 *
 * A maximum has no order. Nor has a sum of which no addition rounds: let every addend be a whole
 * multiple of 2^lowest, none of them negative, and their sum below 2^(lowest + 53). Then whatever
 * the order, every partial sum is a multiple of 2^lowest, too, and not greater than the whole: a
 * whole number below 2^53 times a power of two, which a double holds exactly. So each addition in
 * double gives exactly that, and the canonical order gives the same number as any other. Where the
 * sum is not known to be so small, the tiles are folded one by one. */
typedef struct lt_tile_sum {
    bool is_set;    /* else the tiles' statistics are there, and the rest of this is not */
    bool is_exact;  /* a sum whose additions do not round; a maximum is */
    int32_t lowest; /* of a sum that is exact: see above */
    double value;
} lt_tile_sum;

/* Folds the next n_tiles tiles, which belong to one scope, from what they come to, in place of
 * lt_fold_tiles. Returns false, and does nothing, where additions might round. */
bool lt_fold_sum(lt_fold *fold, const lt_tiling *tiling, lathe_dtype dtype, const lt_tile_sum *sum,
                 uint64_t n_tiles, float *scales);

/* The scale of a scope from its statistic: the greatest absolute value, or the sum over n_elems
 * elements, whichever the dtype's rule asks for. */
float lt_scale_from_stat(lathe_dtype dtype, double stat, uint64_t n_elems);

/* Scales and inverse scales of n_scopes scopes of scope_elems elements, the last one of last_elems,
 * from their statistics: what the functions around this one give, for many at once. */
void lt_scales_from_stats(lathe_dtype dtype, const float *stats, uint64_t n_scopes,
                          uint64_t scope_elems, uint64_t last_elems, float *scales,
                          float *inverses);

/* The factor that codes are made with: 1 / scale in F32; 0 where that is not a finite number. */
float lt_inverse_scale(float scale);

#endif
