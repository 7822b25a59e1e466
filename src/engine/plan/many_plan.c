/* SPDX-License-Identifier: Apache-2.0 */
/* Launches that many small tensors share: planning them, and trying them out. */
#include "engine/plan/many_plan.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/device/device_tensor.h"
#include "pool/pool.h"
#include <lathe/batch.h>

/* A tensor with one scale as one row with one scale, if it can be seen so. */
static bool as_one_row(const lt_backend *backend, lt_layout *to) {
    if (to->n_scales != 1 || to->scale_elems != 0 || !lt_layout_is_dense(to) ||
        to->n_elems > backend->max_own_scope_elems) {
        return false;
    }
    to->n_rows = 1;
    to->row_elems = to->n_elems;
    to->row_bytes = to->n_bytes;
    to->scale_elems = to->n_elems;
    to->scales_per_row = 1;
    return true;
}

void lt_many_plan(const lt_backend *backend, const lt_layout *from, const lt_layout *to,
                  const lathe_target *target, lt_plan *plan, lt_ranges *ranges) {
    lt_layout row = *to;
    const lt_layout *as = as_one_row(backend, &row) ? &row : to;
    *plan = lt_plan_make(backend, from, as, target, backend->max_own_scope_elems);
    const lt_layout *dst = &plan->pass.dst;
    *ranges = lt_ranges_cut(dst, lt_max(dst->n_elems, 1), 0);
}

/* Copies of a tensor, and what one launch makes of them. */
typedef struct trial {
    lt_backend *device;
    lt_queue *queue;
    const lt_plan *plan;
    const lt_ranges *ranges;
    lathe_tensor *from[LT_MANY_COPIES];
    lathe_tensor *to[LT_MANY_COPIES];
    lt_outcome outcomes[LT_MANY_COPIES];
    double *stats; /* of all copies, and the scales that they lead to */
    float *scales;
} trial;

/* Fills a slab of copies of a tensor, with nothing in them if `contents` is NULL. */
static lathe_status make_copies(lathe_engine *engine, const lathe_tensor *like,
                                const lathe_tensor *contents, lathe_tensor **copies) {
    lathe_tensor_desc descs[LT_MANY_COPIES];
    for (size_t i = 0; i < LT_MANY_COPIES; i++) {
        descs[i] = lt_tensor_desc_of(like);
    }
    lathe_status status =
        lathe_engine_tensors_create(engine, LATHE_MEMORY_DEVICE, LT_MANY_COPIES, descs, copies);
    for (size_t i = 0; status == LATHE_OK && contents != NULL && i < LT_MANY_COPIES; i++) {
        status = lt_tensor_copy_contents(contents, copies[i]);
    }
    return status;
}

static lathe_status open_trial(trial *t, lathe_engine *engine, const lathe_tensor *source,
                               const lathe_tensor *result) {
    const lt_pass *pass = &t->plan->pass;
    lathe_status status = make_copies(engine, source, source, t->from);
    if (status == LATHE_OK) {
        status = make_copies(engine, result, NULL, t->to);
    }
    if (status == LATHE_OK) {
        status = t->device->ops->queue_open(t->device, &t->queue);
    }
    if (status != LATHE_OK || !t->plan->stats_first) {
        return status;
    }
    t->stats = lt_pool_new_array(engine->pool, LT_MANY_COPIES * (size_t)pass->tiling.n_tiles,
                                 sizeof *t->stats);
    if (t->stats != NULL) {
        t->scales = lt_pool_new_array(engine->pool, LT_MANY_COPIES * (size_t)pass->dst.n_scales,
                                      sizeof *t->scales);
    }
    return t->scales != NULL ? LATHE_OK : lt_error()->status;
}

static void close_trial(trial *t, lathe_engine *engine) {
    t->device->ops->queue_close(t->device, t->queue);
    lt_pool_delete(engine->pool, t->stats);
    lt_pool_delete(engine->pool, t->scales);
    for (size_t i = 0; i < LT_MANY_COPIES; i++) {
        lathe_tensor_release(t->from[i]);
        lathe_tensor_release(t->to[i]);
    }
}

/* One launch over all copies: statistics, or the conversion. */
static lathe_status run_trial(trial *t, bool is_of_stats) {
    const lt_backend_ops *ops = t->device->ops;
    const lt_pass *pass = &t->plan->pass;
    lt_work works[LT_MANY_COPIES];
    for (size_t i = 0; i < LT_MANY_COPIES; i++) {
        lt_outcome_init(&t->outcomes[i]);
        works[i] = (lt_work){
            .pass = pass,
            .src = lt_device_tensor_span(t->from[i]),
            .dst = lt_device_tensor_span(t->to[i]),
            .ranges = t->ranges,
            .n_ranges = 1,
            .outcome = &t->outcomes[i],
            .is_trial = true,
        };
        if (is_of_stats) {
            works[i].stats = t->stats + i * pass->tiling.n_tiles;
            works[i].n_tiles = pass->tiling.n_tiles;
        } else if (t->scales != NULL) {
            works[i].scales = t->scales + i * pass->dst.n_scales;
        }
    }
    lathe_status status = ops->submit_many(t->device, t->queue, works, LT_MANY_COPIES);
    return status == LATHE_OK ? ops->finish(t->device, t->queue) : status;
}

/* The scales of all copies. */
static lathe_status find_scales(trial *t, size_t which) {
    const lt_pass *pass = &t->plan->pass;
    lathe_status status = run_trial(t, true);
    if (status == LATHE_OK) {
        status = lt_outcome_status(&t->outcomes[which], pass->src.dtype, pass->dst.dtype);
    }
    for (size_t i = 0; status == LATHE_OK && i < LT_MANY_COPIES; i++) {
        lt_fold fold = {0};
        lt_fold_tiles(&fold, &pass->tiling, pass->dst.dtype, t->stats + i * pass->tiling.n_tiles,
                      pass->tiling.n_tiles, t->scales + i * pass->dst.n_scales);
    }
    return status;
}

lathe_status lt_many_trial(lathe_engine *engine, const lathe_tensor *source,
                           const lathe_target *target, size_t which, lathe_tensor *result,
                           uint64_t *n_saturated) {
    lt_plan plan;
    lt_ranges ranges;
    trial t = {.device = engine->device, .plan = &plan, .ranges = &ranges};
    lt_many_plan(engine->device, &source->layout, &result->layout, target, &plan, &ranges);
    lathe_status status = open_trial(&t, engine, source, result);
    if (status == LATHE_OK && plan.stats_first) {
        status = find_scales(&t, which);
    }
    if (status == LATHE_OK) {
        status = run_trial(&t, false);
    }
    if (status == LATHE_OK) {
        *n_saturated = atomic_load(&t.outcomes[which].n_saturated);
        status = lt_outcome_status(&t.outcomes[which], plan.pass.src.dtype, plan.pass.dst.dtype);
    }
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(t.to[which], result);
    }
    close_trial(&t, engine);
    return status;
}
