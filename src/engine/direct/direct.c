/* SPDX-License-Identifier: Apache-2.0 */
/* The direct strategy: all ranges of a tensor are handed to the backend at once. */
#include "engine/direct/direct.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/precise.h"
#include "core/quality.h"
#include "engine/device/device_tensor.h"
#include "engine/direct/direct_run.h"
#include "pool/pool.h"
#include <string.h>

static lathe_status wrap(lt_backend *backend, void *host, uint64_t n_bytes, lt_buffer *buffer) {
    return backend->ops->buffer_wrap(backend, host, n_bytes, buffer);
}

/* Moves the copy of an operand's scales: to the backend, or back. */
static lathe_status move_scales(lt_backend *backend, const lt_direct_operand *op, bool back) {
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
static lathe_status open_scales(lt_backend *backend, const lathe_tensor *tensor,
                                lt_direct_operand *out) {
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

static lathe_status open_operand(lt_backend *backend, const lathe_tensor *tensor,
                                 lt_direct_operand *out) {
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

static void close_operand(lt_backend *backend, lt_direct_operand *op) {
    backend->ops->buffer_destroy(backend, &op->wrapped_data);
    backend->ops->buffer_destroy(backend, &op->wrapped_scales);
}

/* Two ranges for each thread of the host, so that the last ones are short, but none that is over
 * before a thread has woken for it. */
static uint64_t elems_per_range(const lt_direct *d) {
    const uint64_t least = UINT64_C(20480);
    const lt_backend *backend = d->backend;
    if (backend->is_remote || d->on_this_thread) {
        return backend->elems_per_range;
    }
    uint64_t share = d->plan.pass.dst.n_elems / (2 * (uint64_t)backend->n_threads);
    return lt_min(lt_max(share, least), backend->elems_per_range);
}

static lathe_status run_convert(lt_direct *d, lt_work *work, lt_ranges *ranges) {
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
static lathe_status convert_rows(lt_direct *d, lt_work *work) {
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
static lathe_status run_both(lt_direct *d, lt_work *search, lt_work *work, lt_ranges *ranges) {
    const bool has_stats = d->plan.stats_first && !d->measure_only;
    lathe_status status = has_stats ? convert_rows(d, work) : LATHE_OK;
    if (has_stats && status != LATHE_NOT_SUPPORTED) {
        return status;
    }
    status = has_stats ? lt_direct_run_stats(d, search) : LATHE_OK;
    return status == LATHE_OK ? run_convert(d, work, ranges) : status;
}

/* Lets the host see what the device has put into its memory. */
static lathe_status show_host(lt_direct *d) {
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

static lathe_status run_passes(lt_direct *d) {
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
static lathe_status convert(lt_direct *d, const lathe_tensor *source, const lathe_target *target,
                            lathe_tensor *result, uint64_t *n_saturated,
                            lathe_quality_report *report) {
    lt_backend *backend = d->backend;
    lt_quality_sums quality;
    d->plan = lt_plan_make(backend, &source->layout, &result->layout, target,
                           own_scope_elems(backend, target));
    for (size_t i = 0; d->rounds != NULL && i < LT_MOST_ROUNDS; i++) {
        d->plan.pass.rounds[i] = d->rounds[i];
    }
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
    lt_direct d = {.backend = backend, .pool = engine->pool, .is_trial = is_trial};
    return convert(&d, source, target, result, n_saturated, NULL);
}

lathe_status lt_direct_convert_rounded(lathe_engine *engine, lt_backend *backend,
                                       const lathe_tensor *source, const lathe_dtype *rounds,
                                       const lathe_target *target, lathe_tensor *result,
                                       bool is_trial, uint64_t *n_saturated) {
    lt_direct d = {
        .backend = backend, .pool = engine->pool, .is_trial = is_trial, .rounds = rounds};
    return convert(&d, source, target, result, n_saturated, NULL);
}

lathe_status lt_direct_convert_measured(lathe_engine *engine, lt_backend *backend,
                                        const lathe_tensor *source, const lathe_target *target,
                                        lathe_tensor *result, uint64_t *n_saturated,
                                        lathe_quality_report *report) {
    lt_direct d = {.backend = backend, .pool = engine->pool};
    return convert(&d, source, target, result, n_saturated, report);
}

lathe_status lt_direct_measure(lathe_engine *engine, lt_backend *backend,
                               const lathe_tensor *source, const lathe_target *target,
                               lathe_tensor *result, bool is_trial, lathe_quality_report *report) {
    uint64_t n_saturated;
    lt_direct d = {
        .backend = backend, .pool = engine->pool, .measure_only = true, .is_trial = is_trial};
    return convert(&d, source, target, result, &n_saturated, report);
}

lathe_status lt_direct_convert_here(lathe_engine *engine, const lathe_tensor *source,
                                    const lathe_target *target, lathe_tensor *result,
                                    uint64_t *n_saturated, lathe_quality_report *report) {
    lt_direct d = {.backend = engine->cpu, .pool = engine->pool, .on_this_thread = true};
    return convert(&d, source, target, result, n_saturated, report);
}

/* PRECISE scales from a device: by way of memory there. */
static lathe_status fetch_searched(lt_direct *d) {
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
        status = lt_direct_search_scales(d, &span, &search);
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
static lathe_status find_all_scales(lt_direct *d, const lathe_tensor *source,
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
        status = searches ? fetch_searched(d) : lt_direct_find_scales(d);
    }
    close_operand(backend, &d->src);
    return status;
}

lathe_status lt_direct_scales(lathe_engine *engine, lt_backend *backend, const lathe_tensor *source,
                              const lathe_target *target, float *scales) {
    lt_direct d = {.backend = backend, .pool = engine->pool, .scales = scales};
    return find_all_scales(&d, source, target);
}

lathe_status lt_direct_search(lathe_engine *engine, lt_backend *backend, const lathe_tensor *source,
                              const lathe_target *target, float *scales) {
    lt_direct d = {.backend = backend,
                   .pool = engine->pool,
                   .is_trial = true,
                   .has_standard = true,
                   .scales = scales};
    return find_all_scales(&d, source, target);
}
