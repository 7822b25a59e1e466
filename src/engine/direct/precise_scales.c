/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE scales, scope by scope: a scan for the search, and one that fits what it found to the
 * elements. */
#include "engine/direct/precise_scales.h"

#include "core/error.h"
#include "pool/pool.h"
#include <string.h>

/* The search; `sums` is room for it. */
static lathe_status find(lt_scan *scan, uint64_t *sums, uint64_t n_elems, uint64_t first_tile,
                         uint64_t n_tiles, lt_scan_fn *run, void *ctx) {
    scan->kind = n_elems <= LT_PRECISE_ELEMS ? LT_SCAN_ELEMS : LT_SCAN_COUNTS;
    memset(scan->counts, 0, sizeof scan->counts);
    lathe_status status = run(ctx, scan, first_tile, n_tiles);
    if (status == LATHE_OK && scan->kind == LT_SCAN_COUNTS) {
        lt_precise_search_counts(&scan->precise, scan->counts, sums);
    }
    return status;
}

static lathe_status find_scale(lt_scan *scan, uint64_t *sums, const lt_pass *pass, uint64_t scope,
                               lt_scan_fn *run, void *ctx, float *scale) {
    const lt_tiling *tiling = &pass->tiling;
    uint64_t n_elems = lt_tiling_scope_elems(tiling, scope);
    uint64_t n_tiles = tiling->tiles_per_scope;
    uint64_t first_tile = scope * n_tiles;
    scan->precise = lt_precise_of(pass->dst.dtype, *scale);
    if (scan->precise.inverse == 0) {
        return LATHE_OK;
    }
    lathe_status status = find(scan, sums, n_elems, first_tile, n_tiles, run, ctx);
    if (status != LATHE_OK || scan->precise.other == 0) {
        return status;
    }
    scan->kind = LT_SCAN_FIT;
    scan->fit = (lt_scale_fit){0};
    status = run(ctx, scan, first_tile, n_tiles);
    if (status == LATHE_OK) {
        *scale = lt_precise_choose(&scan->precise, &scan->fit);
    }
    return status;
}

lathe_status lt_precise_scales(lathe_pool *pool, const lt_pass *pass, float *scales,
                               lt_scan_fn *run, void *ctx) {
    lt_scan *scan = lt_pool_new(pool, sizeof *scan);
    uint64_t *sums = scan == NULL ? NULL : lt_pool_new_array(pool, LT_PRECISE_BINS, sizeof *sums);
    lathe_status status = sums == NULL ? lt_error()->status : LATHE_OK;
    for (uint64_t i = 0; status == LATHE_OK && i < pass->dst.n_scales; i++) {
        status = find_scale(scan, sums, pass, i, run, ctx, &scales[i]);
    }
    lt_pool_delete(pool, sums);
    lt_pool_delete(pool, scan);
    return status;
}
