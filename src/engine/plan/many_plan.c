/* SPDX-License-Identifier: Apache-2.0 */
/* Launches that many small tensors share: planning them, and trying them out. */
#include "engine/plan/many_plan.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/device/device_tensor.h"
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

static lathe_status run_copies(lt_backend *device, lt_work *works) {
    lt_queue *queue = NULL;
    lathe_status status = device->ops->queue_open(device, &queue);
    if (status == LATHE_OK) {
        status = device->ops->submit_many(device, queue, works, LT_MANY_COPIES);
    }
    if (status == LATHE_OK) {
        status = device->ops->finish(device, queue);
    }
    device->ops->queue_close(device, queue);
    return status;
}

lathe_status lt_many_trial(lathe_engine *engine, const lathe_tensor *source,
                           const lathe_target *target, const lathe_tensor *expected, size_t which,
                           lathe_tensor *result, uint64_t *n_saturated) {
    lathe_tensor *from[LT_MANY_COPIES] = {NULL};
    lathe_tensor *to[LT_MANY_COPIES] = {NULL};
    lt_outcome outcomes[LT_MANY_COPIES];
    lt_work works[LT_MANY_COPIES];
    lt_plan plan;
    lt_ranges ranges;
    lt_many_plan(engine->device, &source->layout, &result->layout, target, &plan, &ranges);
    if (plan.stats_first && expected == NULL) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the scales are not known");
    }
    lathe_status status = make_copies(engine, source, source, from);
    if (status == LATHE_OK) {
        status = make_copies(engine, result, plan.stats_first ? expected : NULL, to);
    }
    for (size_t i = 0; status == LATHE_OK && i < LT_MANY_COPIES; i++) {
        lt_outcome_init(&outcomes[i]);
        works[i] = (lt_work){
            .pass = &plan.pass,
            .src = lt_device_tensor_span(from[i]),
            .dst = lt_device_tensor_span(to[i]),
            .ranges = &ranges,
            .n_ranges = 1,
            .outcome = &outcomes[i],
            .is_trial = true,
        };
    }
    if (status == LATHE_OK) {
        status = run_copies(engine->device, works);
    }
    if (status == LATHE_OK) {
        *n_saturated = atomic_load(&outcomes[which].n_saturated);
        status = lt_outcome_status(&outcomes[which], plan.pass.src.dtype, plan.pass.dst.dtype);
    }
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(to[which], result);
    }
    for (size_t i = 0; i < LT_MANY_COPIES; i++) {
        lathe_tensor_release(from[i]);
        lathe_tensor_release(to[i]);
    }
    return status;
}
