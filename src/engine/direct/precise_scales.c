/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE scales, scope by scope: a scan for the search, one that fits what it found to the
 * elements, and one for the errors. */
#include "engine/direct/precise_scales.h"

#include "core/error.h"
#include "pool/pool.h"

/* The scale that the search leads to. */
static lathe_status find(lt_scan *scan, uint64_t n_elems, uint64_t first_tile, uint64_t n_tiles,
                         lt_scan_fn *run, void *ctx, float *scale) {
    scan->kind = n_elems <= LT_PRECISE_ELEMS ? LT_SCAN_ELEMS : LT_SCAN_COUNTS;
    for (uint32_t i = 0; i < LT_PRECISE_BINS; i++) {
        scan->counts[i] = 0;
    }
    lathe_status status = run(ctx, scan, first_tile, n_tiles);
    if (status == LATHE_OK) {
        *scale = scan->kind == LT_SCAN_ELEMS
                     ? lt_precise_from_elems(&scan->precise, scan->values, (size_t)n_elems)
                     : lt_precise_from_counts(&scan->precise, NULL, scan->counts, scan->values);
    }
    return status;
}

static lathe_status find_scale(lt_scan *scan, const lt_pass *pass, uint64_t scope, lt_scan_fn *run,
                               void *ctx, float *scale) {
    const lt_tiling *tiling = &pass->tiling;
    uint64_t n_elems = lt_tiling_scope_elems(tiling, scope);
    uint64_t n_tiles = tiling->tiles_per_scope;
    uint64_t first_tile = scope * n_tiles;
    uint64_t n_first;
    lt_tiling_tile(tiling, first_tile, &scan->first_elem, &n_first);
    scan->precise = lt_precise_of(pass->dst.dtype, n_elems, *scale);
    lathe_status status = find(scan, n_elems, first_tile, n_tiles, run, ctx, &scan->other);
    if (status != LATHE_OK) {
        return status;
    }
    scan->kind = LT_SCAN_FIT;
    scan->fit = (lt_scale_fit){0};
    status = run(ctx, scan, first_tile, n_tiles);
    if (status != LATHE_OK) {
        return status;
    }
    scan->other = lt_scale_fitted(&scan->precise, &scan->fit);
    scan->kind = LT_SCAN_ERRORS;
    scan->errors = (lt_scale_errors){0};
    status = run(ctx, scan, first_tile, n_tiles);
    if (status == LATHE_OK) {
        *scale = lt_precise_choose(&scan->precise, scan->other, &scan->errors);
    }
    return status;
}

lathe_status lt_precise_scales(lathe_pool *pool, const lt_pass *pass, float *scales,
                               lt_scan_fn *run, void *ctx) {
    lt_scan *scan = lt_pool_new(pool, sizeof *scan);
    lathe_status status = scan == NULL ? lt_error()->status : LATHE_OK;
    if (scan == NULL) {
        return status;
    }
    scan->values = lt_pool_new_array(pool, LT_PRECISE_BINS, sizeof *scan->values);
    scan->counts = lt_pool_new_array(pool, LT_PRECISE_BINS, sizeof *scan->counts);
    if (scan->values == NULL || scan->counts == NULL) {
        status = lt_error()->status;
    }
    for (uint64_t i = 0; status == LATHE_OK && i < pass->dst.n_scales; i++) {
        status = find_scale(scan, pass, i, run, ctx, &scales[i]);
    }
    lt_pool_delete(pool, scan->counts);
    lt_pool_delete(pool, scan->values);
    lt_pool_delete(pool, scan);
    return status;
}
