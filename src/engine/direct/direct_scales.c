/* SPDX-License-Identifier: Apache-2.0 */
/* The scales of a direct conversion that have a pass of their own: statistics of windows of tiles,
 * folded while the next one is on its way, or a search on the device. */
#include "core/checked.h"
#include "core/error.h"
#include "engine/direct/direct_run.h"
#include "engine/direct/precise_scales.h"
#include "pool/pool.h"

/* Tiles of a window that the host folds, at least. */
enum { LEAST_WINDOW = 32768 };

/* True if the device folds the tiles of a window. */
static bool device_folds(const lt_direct *d) {
    const lt_tiling *tiling = &d->plan.pass.tiling;
    return d->backend->ops->fetch_stats != NULL && tiling->n_tiles == tiling->tiles_per_scope &&
           (d->is_trial || tiling->n_tiles >= LT_LEAST_FOLDED);
}

/* Large windows first, and smaller ones towards the end: what the host does after the last one
 * nothing overlaps with. */
static uint64_t window_tiles(const lt_direct *d, uint64_t tile) {
    uint64_t left = d->plan.pass.tiling.n_tiles - tile;
    bool host_folds = d->backend->is_remote && !device_folds(d);
    uint64_t share = host_folds ? lt_max(left / 4, LEAST_WINDOW) : left;
    /* Sampled tiles lie so far apart that more of them would be beyond a launch's 2^32 elements. */
    bool is_sampled = d->plan.pass.tiling.sampled;
    uint64_t most = is_sampled ? LT_STATS_WINDOW : d->backend->stats_window;
    return lt_min(lt_min(share, left), most);
}

static lathe_status submit_window(lt_direct *d, lt_direct_window *w, uint64_t tile) {
    w->sum = (lt_tile_sum){0};
    w->work = (lt_work){
        .pass = &d->plan.pass,
        .src = d->src.span,
        .stats = w->stats,
        .sum = device_folds(d) ? &w->sum : NULL,
        .first_tile = tile,
        .n_tiles = window_tiles(d, tile),
        .outcome = &d->outcome,
        .on_this_thread = d->on_this_thread,
        .is_trial = d->is_trial,
    };
    return d->backend->ops->submit_stats(d->backend, w->queue, &w->work);
}

/* Makes room for a window's tiles. */
static lathe_status make_stats(lt_direct *d, lt_direct_window *w, uint64_t n_tiles) {
    void *stats = NULL;
    lathe_status status = lathe_pool_alloc(d->pool, (size_t)n_tiles * sizeof(double), &stats);
    w->stats = stats;
    w->work.stats = stats;
    return status;
}

/* Gets the tiles of a window whose sum may have rounded. */
static lathe_status fetch_stats(lt_direct *d, lt_direct_window *w) {
    lathe_status status = w->stats != NULL ? LATHE_OK : make_stats(d, w, window_tiles(d, 0));
    w->work.stats = w->stats;
    return status == LATHE_OK ? d->backend->ops->fetch_stats(d->backend, w->queue, &w->work)
                              : status;
}

/* Waits for a window and folds its tiles. */
static lathe_status fold_window(lt_direct *d, lt_direct_window *w, lt_fold *fold) {
    const lt_pass *pass = &d->plan.pass;
    lathe_status status = d->backend->ops->finish(d->backend, w->queue);
    if (status == LATHE_OK) {
        status = lt_outcome_status(&d->outcome, pass->src.dtype, pass->dst.dtype);
    }
    if (status != LATHE_OK) {
        return status;
    }
    if (w->sum.is_set) {
        if (lt_fold_sum(fold, &pass->tiling, pass->dst.dtype, &w->sum, w->work.n_tiles,
                        d->scales)) {
            return LATHE_OK;
        }
        status = fetch_stats(d, w);
    }
    if (status == LATHE_OK) {
        lt_fold_tiles(fold, &pass->tiling, pass->dst.dtype, w->stats, w->work.n_tiles, d->scales);
    }
    return status;
}

static lathe_status open_windows(lt_direct *d) {
    uint64_t most = window_tiles(d, 0);
    bool one_is_enough = !d->backend->is_remote || most == d->plan.pass.tiling.n_tiles;
    for (int i = 0; i < (one_is_enough ? 1 : LT_DIRECT_WINDOWS); i++) {
        lt_direct_window *w = &d->windows[i];
        lathe_status status = device_folds(d) ? LATHE_OK : make_stats(d, w, most);
        w->is_open = true;
        if (status == LATHE_OK) {
            status = d->backend->ops->queue_open(d->backend, &w->queue);
        }
        if (status != LATHE_OK) {
            return status;
        }
    }
    return LATHE_OK;
}

static void close_windows(lt_direct *d) {
    for (int i = 0; i < LT_DIRECT_WINDOWS; i++) {
        lt_direct_window *w = &d->windows[i];
        d->backend->ops->queue_close(d->backend, w->queue);
        lt_pool_delete(d->pool, w->stats);
    }
}

/* On the CPU, which has no queue to wait for. */
static lathe_status scan(void *ctx, lt_scan *scanned, uint64_t first_tile, uint64_t n_tiles) {
    lt_direct *d = ctx;
    const lt_work work = {
        .pass = &d->plan.pass,
        .src = d->src.span,
        .scan = scanned,
        .first_tile = first_tile,
        .n_tiles = n_tiles,
        .outcome = &d->outcome,
        .on_this_thread = d->on_this_thread,
    };
    return d->backend->ops->submit_stats(d->backend, NULL, &work);
}

lathe_status lt_direct_find_scales(lt_direct *d) {
    const uint64_t n_tiles = d->plan.pass.tiling.n_tiles;
    lt_fold fold = {0};
    lathe_status status = open_windows(d);
    bool alternate = d->windows[1].is_open;
    lt_direct_window *pending = NULL;
    for (uint64_t tile = 0, i = 0; status == LATHE_OK && tile < n_tiles; i++) {
        lt_direct_window *w = &d->windows[alternate ? i % LT_DIRECT_WINDOWS : 0];
        status = submit_window(d, w, tile);
        tile += w->work.n_tiles;
        lt_direct_window *ready = alternate ? pending : w;
        if (status == LATHE_OK && ready != NULL) {
            status = fold_window(d, ready, &fold);
        }
        pending = w;
    }
    if (status == LATHE_OK && alternate) {
        status = fold_window(d, pending, &fold);
    }
    close_windows(d);
    bool scans = d->plan.pass.quality == LATHE_PRECISE && !d->backend->is_remote;
    return status == LATHE_OK && scans
               ? lt_precise_scales(d->pool, &d->plan.pass, d->scales, scan, d)
               : status;
}

lathe_status lt_direct_search_scales(lt_direct *d, const lt_span *span, lt_work *work) {
    const lt_backend_ops *ops = d->backend->ops;
    const lt_pass *pass = &d->plan.pass;
    lathe_status status = LATHE_OK;
    if (pass->tiling.scope_elems > LT_PRECISE_ELEMS) {
        status = d->has_standard ? LATHE_OK : lt_direct_find_scales(d);
        if (status == LATHE_OK) {
            status =
                ops->upload(d->backend, d->queue, span->scales, span->scale_offset * sizeof(float),
                            d->scales, pass->dst.n_scales * sizeof(float));
        }
    }
    if (status != LATHE_OK) {
        return status;
    }
    *work = (lt_work){
        .pass = pass,
        .src = d->src.span,
        .dst = *span,
        .n_tiles = pass->tiling.n_tiles,
        .outcome = &d->outcome,
        .is_trial = d->is_trial,
    };
    return ops->submit_scales(d->backend, d->queue, work);
}

lathe_status lt_direct_run_stats(lt_direct *d, lt_work *search) {
    const lt_span *dst = &d->dst.span;
    uint64_t n_scales = d->plan.pass.dst.n_scales;
    if (!d->backend->is_remote) {
        d->scales = lt_span_scales(dst);
        return lt_direct_find_scales(d);
    }
    d->scales = lt_pool_new_array(d->pool, (size_t)n_scales, sizeof(float));
    if (d->scales == NULL) {
        return lt_error()->status;
    }
    if (d->plan.pass.quality == LATHE_PRECISE) {
        return lt_direct_search_scales(d, dst, search);
    }
    lathe_status status = lt_direct_find_scales(d);
    if (status == LATHE_OK) {
        status = d->backend->ops->upload(d->backend, d->queue, dst->scales,
                                         dst->scale_offset * sizeof(float), d->scales,
                                         n_scales * sizeof(float));
    }
    return status;
}
