/* SPDX-License-Identifier: Apache-2.0 */
/* The direct strategy: from a tensor in memory to another, all of it at once. */
#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/engine.h"
#include "engine/plan.h"
#include "pool/pool.h"
#include <string.h>

/* Scopes up to this many elements (512 KiB of F32) stay in a core's cache between the statistics
 * and the codes, so that memory is read once. */
enum { MAX_OWN_SCOPE_ELEMS = 128 * 1024 };

/* One conversion: the plan and the memory of both sides. */
typedef struct direct {
    lt_backend *backend;
    lathe_pool *pool;
    lt_plan plan;
    lt_buffer src_buffer;
    lt_buffer dst_buffer;
    lt_work work;
    lt_outcome outcome;
} direct;

static bool overlap(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes) {
    uintptr_t a_first = (uintptr_t)a;
    uintptr_t b_first = (uintptr_t)b;
    return a_bytes > 0 && b_bytes > 0 && a_first < b_first + b_bytes && b_first < a_first + a_bytes;
}

static lathe_status submit_and_wait(direct *d, bool stats) {
    const lt_backend_ops *ops = d->backend->ops;
    lt_event *event = NULL;
    lathe_status status = stats ? ops->submit_stats(d->backend, &d->work, &event)
                                : ops->submit_convert(d->backend, &d->work, &event);
    return status == LATHE_OK ? ops->wait(d->backend, event) : status;
}

/* Finds all scales of the target, a window of tiles at a time. */
static lathe_status run_stats(direct *d) {
    const lt_tiling *tiling = &d->plan.pass.tiling;
    uint64_t window = lt_min(tiling->n_tiles, LT_STATS_WINDOW);
    void *block = NULL;
    lathe_status status = lathe_pool_alloc(d->pool, (size_t)window * sizeof(double), &block);
    lt_fold fold = {0};
    for (uint64_t tile = 0; status == LATHE_OK && tile < tiling->n_tiles; tile += window) {
        d->work.stats = block;
        d->work.first_tile = tile;
        d->work.n_tiles = lt_min(window, tiling->n_tiles - tile);
        status = submit_and_wait(d, true);
        if (status == LATHE_OK) {
            status = lt_outcome_status(&d->outcome, d->plan.pass.src.dtype, d->plan.pass.dst.dtype);
        }
        if (status == LATHE_OK) {
            lt_fold_tiles(&fold, tiling, d->plan.pass.dst.dtype, d->work.stats, d->work.n_tiles,
                          d->work.dst.scales);
        }
    }
    lt_pool_delete(d->pool, block);
    return status;
}

static lathe_status run_convert(direct *d) {
    const lt_layout *dst = &d->plan.pass.dst;
    lt_ranges ranges = lt_ranges_cut(dst, d->backend->elems_per_range,
                                     d->plan.pass.own_scales ? dst->scale_elems : 0);
    /* A stats pass leaves the end of the source in the caches. */
    ranges.last_first = d->plan.stats_first;
    d->work.ranges = &ranges;
    d->work.n_ranges = ranges.n_ranges;
    lathe_status status = submit_and_wait(d, false);
    d->work.ranges = NULL;
    return status == LATHE_OK ? lt_outcome_status(&d->outcome, d->plan.pass.src.dtype, dst->dtype)
                              : status;
}

static lathe_status run_plan(lathe_engine *engine, const lt_plan *plan, const lathe_tensor *source,
                             lathe_tensor *result, uint64_t *n_saturated) {
    direct d = {.backend = engine->backend, .pool = engine->pool, .plan = *plan};
    const lt_backend_ops *ops = d.backend->ops;
    lt_outcome_init(&d.outcome);
    lathe_status status =
        ops->buffer_wrap(d.backend, source->data, source->layout.n_bytes, &d.src_buffer);
    if (status == LATHE_OK) {
        status = ops->buffer_wrap(d.backend, result->data, result->layout.n_bytes, &d.dst_buffer);
    }
    d.work = (lt_work){
        .pass = &d.plan.pass,
        .src = {.buffer = &d.src_buffer, .scales = source->scales},
        .dst = {.buffer = &d.dst_buffer, .scales = result->scales},
        .outcome = &d.outcome,
    };
    if (status == LATHE_OK && plan->stats_first) {
        status = run_stats(&d);
    }
    if (status == LATHE_OK) {
        status = run_convert(&d);
    }
    *n_saturated = atomic_load(&d.outcome.n_saturated);
    ops->buffer_destroy(d.backend, &d.src_buffer);
    ops->buffer_destroy(d.backend, &d.dst_buffer);
    return status;
}

static void copy_tensor(const lathe_tensor *source, lathe_tensor *result) {
    if (source->layout.n_bytes > 0) {
        memcpy(result->data, source->data, (size_t)source->layout.n_bytes);
    }
    if (source->layout.n_scales > 0) {
        memcpy(result->scales, source->scales, (size_t)source->layout.n_scales * sizeof(float));
    }
}

static lathe_status convert_checked(lathe_engine *engine, const lathe_tensor *source,
                                    const lathe_target *target, lathe_tensor *result,
                                    uint64_t *n_saturated) {
    lt_plan plan = lt_plan_make(engine->backend, &source->layout, &result->layout, target,
                                MAX_OWN_SCOPE_ELEMS);
    *n_saturated = 0;
    if (plan.is_copy) {
        copy_tensor(source, result);
        return LATHE_OK;
    }
    lathe_status status = lt_scales_check(source->scales, source->layout.n_scales, 0);
    if (status != LATHE_OK) {
        return status;
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    if (result->layout.n_elems == 0) {
        /* There is nothing to convert, but rows without elements may have scales. */
        for (uint64_t i = 0; i < result->layout.n_scales; i++) {
            result->scales[i] = lt_scale_from_stat(result->layout.dtype, 0, 0);
        }
        lt_fpenv_leave(&saved);
        return LATHE_OK;
    }
    status = run_plan(engine, &plan, source, result, n_saturated);
    lt_fpenv_leave(&saved);
    return status;
}

static lathe_status check_arguments(const lathe_engine *engine, const lathe_tensor *source,
                                    const void *result, const lathe_convert_stats *stats) {
    if (engine == NULL || source == NULL || result == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, source or result is NULL");
    }
    if (stats != NULL && stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "stats struct_size is not sizeof(lathe_convert_stats)");
    }
    return LATHE_OK;
}

/* True if the source already is what the target asks for, so that the result can be the source. */
static bool is_same(const lathe_tensor *source, const lathe_tensor_desc *desc,
                    const lt_layout *layout) {
    uint32_t row_dims = desc->row_dims == 0 ? 1 : desc->row_dims;
    return lt_layout_equal(&source->layout, layout) && source->row_dims == row_dims &&
           source->granularity == desc->granularity && source->group_size == desc->group_size;
}

/* Adds to the last error what every failed conversion knows. */
static lathe_status fail_conversion(const lathe_tensor *source, const lathe_target *target) {
    lathe_error *error = lt_error();
    error->from = source->layout.dtype;
    error->to = target != NULL ? target->dtype : (lathe_dtype)0;
    error->stage = error->stage != NULL ? error->stage : "convert";
    return error->status;
}

lathe_status lathe_convert(lathe_engine *engine, const lathe_tensor *source,
                           const lathe_target *target, lathe_tensor **result,
                           lathe_convert_stats *stats) {
    lathe_tensor_desc desc;
    lt_layout layout;
    lathe_status status = check_arguments(engine, source, result, stats);
    if (status != LATHE_OK) {
        return status;
    }
    status = lathe_target_desc(target, source->n_dims, source->shape, &desc);
    if (status == LATHE_OK) {
        status = lt_layout_of(&desc, &layout);
    }
    if (status != LATHE_OK) {
        return fail_conversion(source, target);
    }
    uint64_t n_saturated = 0;
    lathe_tensor *made = NULL;
    if (is_same(source, &desc, &layout)) {
        /* The reference count is not part of what const promises to leave alone. */
        made = lathe_tensor_retain((lathe_tensor *)(uintptr_t)source);
    } else {
        status = lathe_tensor_create(engine->pool, &desc, &made);
        if (status == LATHE_OK) {
            status = convert_checked(engine, source, target, made, &n_saturated);
        }
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return fail_conversion(source, target);
    }
    if (stats != NULL) {
        stats->n_saturated = n_saturated;
    }
    *result = made;
    return LATHE_OK;
}

static lathe_status check_result(const lathe_tensor *source, const lathe_tensor *result,
                                 const lathe_target *target) {
    lathe_tensor_desc desc;
    lt_layout layout;
    lathe_status status = lathe_target_desc(target, source->n_dims, source->shape, &desc);
    if (status == LATHE_OK) {
        status = lt_layout_of(&desc, &layout);
    }
    if (status != LATHE_OK) {
        return status;
    }
    bool same_shape = source->n_dims == result->n_dims &&
                      memcmp(source->shape, result->shape, sizeof source->shape) == 0;
    if (!same_shape || !is_same(result, &desc, &layout)) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                       "the result's shape, dtype or granularity is not that of the target");
    }
    if (result->read_only) {
        return lt_fail(LATHE_READ_ONLY, "the result is read-only");
    }
    uint64_t src_scale_bytes = source->layout.n_scales * sizeof(float);
    uint64_t dst_scale_bytes = layout.n_scales * sizeof(float);
    if (overlap(source->data, source->layout.n_bytes, result->data, layout.n_bytes) ||
        overlap(source->data, source->layout.n_bytes, result->scales, dst_scale_bytes) ||
        overlap(source->scales, src_scale_bytes, result->data, layout.n_bytes) ||
        overlap(source->scales, src_scale_bytes, result->scales, dst_scale_bytes)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the source and the result share memory");
    }
    return LATHE_OK;
}

lathe_status lathe_convert_into(lathe_engine *engine, const lathe_tensor *source,
                                const lathe_target *target, lathe_tensor *result,
                                lathe_convert_stats *stats) {
    lathe_status status = check_arguments(engine, source, result, stats);
    if (status != LATHE_OK) {
        return status;
    }
    status = check_result(source, result, target);
    uint64_t n_saturated = 0;
    if (status == LATHE_OK) {
        status = convert_checked(engine, source, target, result, &n_saturated);
    }
    if (status != LATHE_OK) {
        return fail_conversion(source, target);
    }
    if (stats != NULL) {
        stats->n_saturated = n_saturated;
    }
    return LATHE_OK;
}
