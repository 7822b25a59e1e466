/* SPDX-License-Identifier: Apache-2.0 */
/* The direct strategy: all ranges of a tensor are handed to the backend at once. */
#include "engine/direct/direct.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/quality.h"
#include "engine/device/device_tensor.h"
#include "engine/direct/precise_scales.h"
#include "engine/plan/plan.h"
#include "pool/pool.h"
#include <string.h>

/* A tensor as its backend sees it. */
typedef struct operand {
    lt_span span;
    lt_buffer wrapped_data; /* zero: the buffers are the tensor's own */
    lt_buffer wrapped_scales;
    float *copied_scales; /* the tensor's, where the backend has a copy of them; else NULL */
} operand;

/* A stats window in flight: two of them, so that the host folds one while the device does the next.
 */
typedef struct window {
    lt_queue *queue;
    lt_work work;
    double *stats; /* NULL, if the device folds them, until it turns out that they are needed */
    lt_tile_sum sum;
    bool is_open;
} window;

enum { N_WINDOWS = 2, LEAST_WINDOW = 32768 };

typedef struct direct {
    lt_backend *backend;
    lathe_pool *pool;
    lt_plan plan;
    bool is_trial;
    bool on_this_thread;
    bool measure_only;
    bool has_standard; /* PRECISE on a device: `scales` holds the standard ones */
    operand src;
    operand dst;
    lt_queue *queue;
    window windows[N_WINDOWS];
    float *scales; /* what the statistics lead to, on the host */
    lt_outcome outcome;
} direct;

static lathe_status wrap(lt_backend *backend, void *host, uint64_t n_bytes, lt_buffer *buffer) {
    return backend->ops->buffer_wrap(backend, host, n_bytes, buffer);
}

/* Moves the copy of an operand's scales: to the backend, or back. */
static lathe_status move_scales(lt_backend *backend, const operand *op, bool back) {
    const lt_backend_ops *ops = backend->ops;
    const lt_buffer *buffer = &op->wrapped_scales;
    lt_queue *queue = NULL;
    if (op->copied_scales == NULL) {
        return LATHE_OK;
    }
    lathe_status status = ops->queue_open(backend, &queue);
    if (status == LATHE_OK) {
        status = back ? ops->download(backend, queue, buffer, 0, op->copied_scales, buffer->n_bytes)
                      : ops->upload(backend, queue, buffer, 0, op->copied_scales, buffer->n_bytes);
    }
    if (status == LATHE_OK) {
        status = ops->finish(backend, queue);
    }
    ops->queue_close(backend, queue);
    return status;
}

/* Scales are few: where they lie so that they cannot be used in place, they are copied. */
static lathe_status open_scales(lt_backend *backend, const lathe_tensor *tensor, operand *out) {
    uint64_t n_bytes = tensor->layout.n_scales * sizeof(float);
    lathe_status status = wrap(backend, tensor->scales, n_bytes, &out->wrapped_scales);
    if (status == LATHE_NOT_SUPPORTED) {
        status =
            backend->ops->buffer_create(backend, LT_MEMORY_DEVICE, n_bytes, &out->wrapped_scales);
        out->copied_scales = status == LATHE_OK ? tensor->scales : NULL;
    }
    out->span.scales = &out->wrapped_scales;
    return status;
}

static lathe_status open_operand(lt_backend *backend, const lathe_tensor *tensor, operand *out) {
    const lt_layout *layout = &tensor->layout;
    if (tensor->memory == LATHE_MEMORY_DEVICE) {
        if (tensor->on_device->backend != backend) {
            return lt_fail(LATHE_NOT_SUPPORTED, "the tensor is on another device");
        }
        out->span = lt_device_tensor_span(tensor);
        return LATHE_OK;
    }
    lathe_status status = wrap(backend, tensor->data, layout->n_bytes, &out->wrapped_data);
    out->span.data = &out->wrapped_data;
    return status == LATHE_OK && layout->n_scales > 0 ? open_scales(backend, tensor, out) : status;
}

static void close_operand(lt_backend *backend, operand *op) {
    backend->ops->buffer_destroy(backend, &op->wrapped_data);
    backend->ops->buffer_destroy(backend, &op->wrapped_scales);
}

/* True if the device folds the tiles of a window. */
static bool device_folds(const direct *d) {
    const lt_tiling *tiling = &d->plan.pass.tiling;
    return d->backend->ops->fetch_stats != NULL && tiling->n_tiles == tiling->tiles_per_scope &&
           (d->is_trial || tiling->n_tiles >= LT_LEAST_FOLDED);
}

/* Large windows first, and smaller ones towards the end: what the host does after the last one
 * nothing overlaps with. */
static uint64_t window_tiles(const direct *d, uint64_t tile) {
    uint64_t left = d->plan.pass.tiling.n_tiles - tile;
    bool host_folds = d->backend->is_remote && !device_folds(d);
    uint64_t share = host_folds ? lt_max(left / 4, LEAST_WINDOW) : left;
    /* Sampled tiles lie so far apart that more of them would be beyond a launch's 2^32 elements. */
    bool is_sampled = d->plan.pass.tiling.sampled;
    uint64_t most = is_sampled ? LT_STATS_WINDOW : d->backend->stats_window;
    return lt_min(lt_min(share, left), most);
}

static lathe_status submit_window(direct *d, window *w, uint64_t tile) {
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
static lathe_status make_stats(direct *d, window *w, uint64_t n_tiles) {
    void *stats = NULL;
    lathe_status status = lathe_pool_alloc(d->pool, (size_t)n_tiles * sizeof(double), &stats);
    w->stats = stats;
    w->work.stats = stats;
    return status;
}

/* Gets the tiles of a window whose sum may have rounded. */
static lathe_status fetch_stats(direct *d, window *w) {
    lathe_status status = w->stats != NULL ? LATHE_OK : make_stats(d, w, window_tiles(d, 0));
    w->work.stats = w->stats;
    return status == LATHE_OK ? d->backend->ops->fetch_stats(d->backend, w->queue, &w->work)
                              : status;
}

/* Waits for a window and folds its tiles. */
static lathe_status fold_window(direct *d, window *w, lt_fold *fold) {
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

static lathe_status open_windows(direct *d) {
    uint64_t most = window_tiles(d, 0);
    bool one_is_enough = !d->backend->is_remote || most == d->plan.pass.tiling.n_tiles;
    for (int i = 0; i < (one_is_enough ? 1 : N_WINDOWS); i++) {
        window *w = &d->windows[i];
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

static void close_windows(direct *d) {
    for (int i = 0; i < N_WINDOWS; i++) {
        window *w = &d->windows[i];
        d->backend->ops->queue_close(d->backend, w->queue);
        lt_pool_delete(d->pool, w->stats);
    }
}

/* On the CPU, which has no queue to wait for. */
static lathe_status scan(void *ctx, lt_scan *scanned, uint64_t first_tile, uint64_t n_tiles) {
    direct *d = ctx;
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

/* Finds all scales of the target, a window of tiles at a time: on a device the standard ones. */
static lathe_status find_scales(direct *d) {
    const uint64_t n_tiles = d->plan.pass.tiling.n_tiles;
    lt_fold fold = {0};
    lathe_status status = open_windows(d);
    bool alternate = d->windows[1].is_open;
    window *pending = NULL;
    for (uint64_t tile = 0, i = 0; status == LATHE_OK && tile < n_tiles; i++) {
        window *w = &d->windows[alternate ? i % N_WINDOWS : 0];
        status = submit_window(d, w, tile);
        tile += w->work.n_tiles;
        window *ready = alternate ? pending : w;
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

/* Finds PRECISE scales on a device, and leaves them in a span of its memory. The device finds the
 * standard ones of short scopes by itself; d->scales is room for the others. `work` lives until the
 * queue is finished. */
static lathe_status search_scales(direct *d, const lt_span *span, lt_work *work) {
    const lt_backend_ops *ops = d->backend->ops;
    const lt_pass *pass = &d->plan.pass;
    lathe_status status = LATHE_OK;
    if (pass->tiling.scope_elems > LT_PRECISE_ELEMS) {
        status = d->has_standard ? LATHE_OK : find_scales(d);
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

/* Finds the scales and puts them where the convert pass reads them. `search` lives until the queue
 * is finished. */
static lathe_status run_stats(direct *d, lt_work *search) {
    const lt_span *dst = &d->dst.span;
    uint64_t n_scales = d->plan.pass.dst.n_scales;
    if (!d->backend->is_remote) {
        d->scales = lt_span_scales(dst);
        return find_scales(d);
    }
    d->scales = lt_pool_new_array(d->pool, (size_t)n_scales, sizeof(float));
    if (d->scales == NULL) {
        return lt_error()->status;
    }
    if (d->plan.pass.quality == LATHE_PRECISE) {
        return search_scales(d, dst, search);
    }
    lathe_status status = find_scales(d);
    if (status == LATHE_OK) {
        status = d->backend->ops->upload(d->backend, d->queue, dst->scales,
                                         dst->scale_offset * sizeof(float), d->scales,
                                         n_scales * sizeof(float));
    }
    return status;
}

/* Two ranges for each thread of the host, so that the last ones are short, but none that is over
 * before a thread has woken for it. */
static uint64_t elems_per_range(const direct *d) {
    const uint64_t least = UINT64_C(20480);
    const lt_backend *backend = d->backend;
    if (backend->is_remote || d->on_this_thread) {
        return backend->elems_per_range;
    }
    uint64_t share = d->plan.pass.dst.n_elems / (2 * (uint64_t)backend->n_threads);
    return lt_min(lt_max(share, least), backend->elems_per_range);
}

static lathe_status run_convert(direct *d, lt_work *work, lt_ranges *ranges) {
    const lt_layout *dst = &d->plan.pass.dst;
    *ranges =
        lt_ranges_cut(dst, elems_per_range(d), d->plan.pass.own_scales ? dst->scale_elems : 0);
    /* A stats pass leaves the end of the source in the caches. */
    ranges->last_first = d->plan.stats_first;
    *work = (lt_work){
        .pass = &d->plan.pass,
        .src = d->src.span,
        .dst = d->dst.span,
        .ranges = ranges,
        .n_ranges = ranges->n_ranges,
        .outcome = &d->outcome,
        .measure_only = d->measure_only,
        .on_this_thread = d->on_this_thread,
        .is_trial = d->is_trial,
    };
    return d->backend->ops->submit_convert(d->backend, d->queue, work);
}

/* Converts in one pass that finds the scales of long rows, too. NOT_SUPPORTED: it takes two. */
static lathe_status convert_rows(direct *d, lt_work *work) {
    const lt_backend_ops *ops = d->backend->ops;
    if (ops->convert_rows == NULL || d->plan.pass.dst.scale_elems == 0 ||
        d->outcome.quality != NULL) {
        return LATHE_NOT_SUPPORTED;
    }
    *work = (lt_work){
        .pass = &d->plan.pass,
        .src = d->src.span,
        .dst = d->dst.span,
        .outcome = &d->outcome,
        .is_trial = d->is_trial,
    };
    return ops->convert_rows(d->backend, d->queue, work);
}

/* Finds the scales, if that is a pass of its own, and converts. */
static lathe_status run_both(direct *d, lt_work *search, lt_work *work, lt_ranges *ranges) {
    const bool has_stats = d->plan.stats_first && !d->measure_only;
    lathe_status status = has_stats ? convert_rows(d, work) : LATHE_OK;
    if (has_stats && status != LATHE_NOT_SUPPORTED) {
        return status;
    }
    status = has_stats ? run_stats(d, search) : LATHE_OK;
    return status == LATHE_OK ? run_convert(d, work, ranges) : status;
}

/* Lets the host see what the device has put into its memory. */
static lathe_status show_host(direct *d) {
    const lt_backend_ops *ops = d->backend->ops;
    const lt_buffer *buffers[] = {&d->dst.wrapped_data, &d->dst.wrapped_scales};
    lathe_status status = LATHE_OK;
    for (int i = 0; status == LATHE_OK && d->backend->is_remote && i < 2; i++) {
        const lt_buffer *buffer = buffers[i];
        if (buffer->device == NULL || buffer->is_owned) {
            continue;
        }
        status = ops->map(d->backend, d->queue, buffer, 0, buffer->n_bytes, LT_ACCESS_READ);
        if (status == LATHE_OK) {
            status = ops->unmap(d->backend, d->queue, buffer, 0, buffer->n_bytes, LT_ACCESS_READ);
        }
    }
    return status;
}

static lathe_status run_passes(direct *d) {
    lt_work search;
    lt_work work;
    lt_ranges ranges;
    lathe_status status = d->backend->ops->queue_open(d->backend, &d->queue);
    if (status != LATHE_OK) {
        return status;
    }
    status = run_both(d, &search, &work, &ranges);
    if (status == LATHE_OK) {
        status = show_host(d);
    }
    if (status == LATHE_OK) {
        status = d->backend->ops->finish(d->backend, d->queue);
    }
    d->backend->ops->queue_close(d->backend, d->queue);
    if (d->backend->is_remote) {
        lt_pool_delete(d->pool, d->scales);
    }
    const lt_pass *pass = &d->plan.pass;
    return status == LATHE_OK ? lt_outcome_status(&d->outcome, pass->src.dtype, pass->dst.dtype)
                              : status;
}

/* The most elements of a scope whose scale the convert pass finds: a device's finds no PRECISE
 * ones.
 */
static uint64_t own_scope_elems(const lt_backend *backend, const lathe_target *target) {
    return backend->is_remote && lt_precise_applies(target->dtype, target->quality)
               ? 0
               : backend->max_own_scope_elems;
}

/* With backend, pool and how the passes run filled in. `report` may be NULL. */
static lathe_status convert(direct *d, const lathe_tensor *source, const lathe_target *target,
                            lathe_tensor *result, uint64_t *n_saturated,
                            lathe_quality_report *report) {
    lt_backend *backend = d->backend;
    lt_quality_sums quality;
    d->plan = lt_plan_make(backend, &source->layout, &result->layout, target,
                           own_scope_elems(backend, target));
    lt_outcome_init(&d->outcome);
    if (report != NULL) {
        quality = (lt_quality_sums){0};
        d->outcome.quality = &quality;
    }
    lathe_status status = open_operand(backend, source, &d->src);
    if (status == LATHE_OK) {
        status = open_operand(backend, result, &d->dst);
    }
    if (status == LATHE_OK) {
        status = move_scales(backend, &d->src, false);
    }
    if (status == LATHE_OK) {
        status = run_passes(d);
    }
    if (status == LATHE_OK) {
        status = move_scales(backend, &d->dst, true);
    }
    *n_saturated = atomic_load(&d->outcome.n_saturated);
    if (status == LATHE_OK && report != NULL) {
        lt_quality_fill(&quality, report);
    }
    close_operand(backend, &d->src);
    close_operand(backend, &d->dst);
    return status;
}

lathe_status lt_direct_convert(lathe_engine *engine, lt_backend *backend,
                               const lathe_tensor *source, const lathe_target *target,
                               lathe_tensor *result, bool is_trial, uint64_t *n_saturated) {
    direct d = {.backend = backend, .pool = engine->pool, .is_trial = is_trial};
    return convert(&d, source, target, result, n_saturated, NULL);
}

lathe_status lt_direct_convert_measured(lathe_engine *engine, lt_backend *backend,
                                        const lathe_tensor *source, const lathe_target *target,
                                        lathe_tensor *result, uint64_t *n_saturated,
                                        lathe_quality_report *report) {
    direct d = {.backend = backend, .pool = engine->pool};
    return convert(&d, source, target, result, n_saturated, report);
}

lathe_status lt_direct_measure(lathe_engine *engine, lt_backend *backend,
                               const lathe_tensor *source, const lathe_target *target,
                               lathe_tensor *result, bool is_trial, lathe_quality_report *report) {
    uint64_t n_saturated;
    direct d = {
        .backend = backend, .pool = engine->pool, .measure_only = true, .is_trial = is_trial};
    return convert(&d, source, target, result, &n_saturated, report);
}

lathe_status lt_direct_convert_here(lathe_engine *engine, const lathe_tensor *source,
                                    const lathe_target *target, lathe_tensor *result,
                                    uint64_t *n_saturated, lathe_quality_report *report) {
    direct d = {.backend = engine->cpu, .pool = engine->pool, .on_this_thread = true};
    return convert(&d, source, target, result, n_saturated, report);
}

/* PRECISE scales from a device: by way of memory there. */
static lathe_status fetch_searched(direct *d) {
    lt_backend *backend = d->backend;
    const lt_backend_ops *ops = backend->ops;
    const uint64_t n_bytes = d->plan.pass.dst.n_scales * sizeof(float);
    lt_buffer buffer = {0};
    const lt_span span = {.scales = &buffer};
    lt_work search;
    lathe_status status = ops->queue_open(backend, &d->queue);
    if (status == LATHE_OK) {
        status = ops->buffer_create(backend, LT_MEMORY_DEVICE, n_bytes, &buffer);
    }
    if (status == LATHE_OK) {
        status = search_scales(d, &span, &search);
    }
    if (status == LATHE_OK) {
        status = ops->download(backend, d->queue, &buffer, 0, d->scales, n_bytes);
    }
    if (status == LATHE_OK) {
        status = ops->finish(backend, d->queue);
    }
    ops->queue_close(backend, d->queue);
    ops->buffer_destroy(backend, &buffer);
    const lt_pass *pass = &d->plan.pass;
    return status == LATHE_OK ? lt_outcome_status(&d->outcome, pass->src.dtype, pass->dst.dtype)
                              : status;
}

/* Finds the scales of such a conversion, in d->scales. */
static lathe_status find_all_scales(direct *d, const lathe_tensor *source,
                                    const lathe_target *target) {
    lt_backend *backend = d->backend;
    lathe_tensor_desc to;
    lt_layout layout;
    lathe_status status = lathe_target_desc(target, source->n_dims, source->shape, &to);
    if (status == LATHE_OK) {
        status = lt_layout_of(&to, &layout);
    }
    if (status != LATHE_OK) {
        return status;
    }
    d->plan = lt_plan_make(backend, &source->layout, &layout, target, 0);
    lt_outcome_init(&d->outcome);
    status = open_operand(backend, source, &d->src);
    if (status == LATHE_OK) {
        status = move_scales(backend, &d->src, false);
    }
    const bool searches = backend->is_remote && d->plan.pass.quality == LATHE_PRECISE;
    if (status == LATHE_OK) {
        status = searches ? fetch_searched(d) : find_scales(d);
    }
    close_operand(backend, &d->src);
    return status;
}

lathe_status lt_direct_scales(lathe_engine *engine, lt_backend *backend, const lathe_tensor *source,
                              const lathe_target *target, float *scales) {
    direct d = {.backend = backend, .pool = engine->pool, .scales = scales};
    return find_all_scales(&d, source, target);
}

lathe_status lt_direct_search(lathe_engine *engine, lt_backend *backend, const lathe_tensor *source,
                              const lathe_target *target, float *scales) {
    direct d = {.backend = backend,
                .pool = engine->pool,
                .is_trial = true,
                .has_standard = true,
                .scales = scales};
    return find_all_scales(&d, source, target);
}
