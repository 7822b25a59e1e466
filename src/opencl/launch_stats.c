/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of stats passes: how a kernel finds its tiles. */
#include "opencl/launch_stats.h"

#include "core/checked.h"
#include "opencl/recode.h"
#include "opencl/side.h"

/* The position of the first tile, in the kernel's terms. */
static void place_tiles(lathe_launch *args, const lt_tiling *tiling, uint64_t first_tile,
                        uint64_t first_elem) {
    uint64_t scope = first_tile / tiling->tiles_per_scope;
    uint64_t row = scope / tiling->scopes_per_row;
    args->tile_phase = first_tile % tiling->tiles_per_scope;
    args->scope_phase = scope % tiling->scopes_per_row;
    args->tiles_per_scope = lt_cl_div_by(tiling->tiles_per_scope);
    args->scopes_per_row = lt_cl_div_by(tiling->scopes_per_row);
    args->scope_elems = tiling->scope_elems;
    args->tiling_row = tiling->row_elems == 0 ? tiling->n_elems : tiling->row_elems;
    args->tile_origin = first_elem - row * args->tiling_row;
}

/* True if whole tiles can be loaded four elements at a time, wherever they begin. */
static bool tiles_are_vectors(const lt_tiling *tiling, const lt_cl_side *src) {
    bool one_row = lt_cl_in_one_row(src);
    bool tiles_begin_fours = tiling->row_elems % 4 == 0 || tiling->row_elems == tiling->n_elems;
    bool scopes_begin_fours = tiling->scope_elems % 4 == 0 || tiling->scopes_per_row == 1;
    return tiles_begin_fours && scopes_begin_fours && (one_row || src->row_elems % 4 == 0) &&
           lt_cl_is_aligned(src, one_row, 4);
}

lt_cl_launch lt_cl_launch_stats(const lt_work *work, uint32_t group_size) {
    const lt_pass *pass = work->pass;
    const lt_tiling *tiling = &pass->tiling;
    bool is_fast = pass->quality == LATHE_FAST;
    uint64_t first;
    uint64_t last;
    uint64_t n_elems;
    lt_tiling_tile(tiling, work->first_tile, &first, &n_elems);
    lt_tiling_tile(tiling, work->first_tile + work->n_tiles - 1, &last, &n_elems);
    lt_cl_side src = lt_cl_side_of(&pass->src, &work->src, first, last + n_elems - first, true);
    if (lt_cl_in_one_row(&src)) {
        (void)lt_cl_shape_side(&src, 1, src.n_elems);
    }
    lt_cl_launch launch = {
        .kernel = LT_CL_STATS,
        .args =
            {
                .src = src.args,
                .fault_base = first - LATHE_CL_FAULT_MARGIN,
                .n_tiles = work->n_tiles,
            },
        .n_groups =
            lt_ceil_div(work->n_tiles, group_size / LATHE_CL_TILE_ITEMS((int)pass->src.dtype)),
    };
    lathe_launch *args = &launch.args;
    place_tiles(args, tiling, work->first_tile, first);
    args->flags |= tiles_are_vectors(tiling, &src) ? LATHE_CL_SRC_VECTOR : 0;
    if (lt_cl_recodes_tiles(work, &src)) {
        launch.kernel = LT_CL_RECODE_STATS;
        launch.n_groups = lt_ceil_div(work->n_tiles, LATHE_CL_RECODE_TILES(group_size));
    }
    /* A sample does not show the first fault, so the convert pass looks for it. */
    if (is_fast) {
        args->flags |= LATHE_CL_FAST;
    } else {
        args->flags |= pass->nonfinite == LATHE_NONFINITE_ERROR ? LATHE_CL_NONFINITE_ERROR : 0;
        args->flags |= LATHE_CL_CHECK_BYTES;
    }
    return launch;
}
