/* SPDX-License-Identifier: Apache-2.0 */
/* Scales of many device tensors: one launch for their statistics. */
#include "core/error.h"
#include "engine/batch/batch_job.h"
#include "engine/device/device_tensor.h"
#include "pool/pool.h"

static bool needs_stats(const lt_batch *b, const lt_batch_item *item) {
    return lt_batch_is_waiting(item) && lt_batch_group_of(b, item)->table_plan.stats_first;
}

/* Makes room; none where none is needed. */
static lathe_status make_found(const lt_batch *b, size_t first, size_t end, lt_batch_found *found) {
    lathe_pool *pool = b->engine->pool;
    uint64_t n_tiles = 0;
    uint64_t n_scales = 0;
    for (size_t i = first; i < end; i++) {
        if (needs_stats(b, &b->items[i])) {
            const lt_pass *pass = &lt_batch_group_of(b, &b->items[i])->table_plan.pass;
            n_tiles += pass->tiling.n_tiles;
            n_scales += pass->dst.n_scales;
        }
    }
    if (n_tiles == 0) {
        return LATHE_OK;
    }
    found->stats = lt_pool_new_array(pool, (size_t)n_tiles, sizeof *found->stats);
    if (found->stats != NULL) {
        found->scales = lt_pool_new_array(pool, (size_t)n_scales, sizeof *found->scales);
    }
    return found->scales != NULL ? LATHE_OK : lt_error()->status;
}

static lathe_status take_stats(const lt_batch *b, size_t first, size_t end, lt_queue *queue,
                               lt_work *works, lt_outcome *outcomes, double *stats) {
    lt_backend *device = b->engine->device;
    size_t n_works = 0;
    for (size_t i = first; i < end; i++) {
        const lt_batch_item *item = &b->items[i];
        if (!needs_stats(b, item)) {
            continue;
        }
        const lt_pass *pass = &lt_batch_group_of(b, item)->table_plan.pass;
        lt_work *work = &works[n_works];
        lt_outcome_init(&outcomes[n_works]);
        *work = (lt_work){
            .pass = pass,
            .src = lt_device_tensor_span(item->source),
            .dst = lt_device_tensor_span(item->result),
            .stats = stats,
            .n_tiles = pass->tiling.n_tiles,
            .outcome = &outcomes[n_works],
        };
        stats += work->n_tiles;
        n_works++;
    }
    const lathe_status status = device->ops->submit_many(device, queue, works, n_works);
    return status == LATHE_OK ? device->ops->finish(device, queue) : status;
}

/* Makes scales of them, one item's after another's. What was met is the item's own. */
static void fold_stats(lt_batch *b, size_t first, size_t end, const lt_work *works, float *scales) {
    for (size_t i = first, k = 0; i < end; i++) {
        lt_batch_item *item = &b->items[i];
        if (!needs_stats(b, item)) {
            continue;
        }
        const lt_work *work = &works[k++];
        const lt_pass *pass = work->pass;
        lt_fold fold = {0};
        if (lt_outcome_status(work->outcome, pass->src.dtype, pass->dst.dtype) != LATHE_OK) {
            lt_batch_fail(b, item);
            continue;
        }
        lt_fold_tiles(&fold, &pass->tiling, pass->dst.dtype, work->stats, work->n_tiles, scales);
        scales += pass->dst.n_scales;
    }
}

lathe_status lt_batch_find_on_device(lt_batch *b, size_t first, size_t end, lt_queue *queue,
                                     lt_work *works, lt_outcome *outcomes, lt_batch_found *found) {
    lathe_status status = make_found(b, first, end, found);
    if (status == LATHE_OK && found->stats != NULL) {
        status = take_stats(b, first, end, queue, works, outcomes, found->stats);
    }
    if (status == LATHE_OK && found->stats != NULL) {
        fold_stats(b, first, end, works, found->scales);
    }
    return status;
}

void lt_batch_drop_found(lt_batch *b, lt_batch_found *found) {
    lt_pool_delete(b->engine->pool, found->stats);
    lt_pool_delete(b->engine->pool, found->scales);
    *found = (lt_batch_found){0};
}
