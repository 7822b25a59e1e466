/* SPDX-License-Identifier: Apache-2.0 */
/* Hands over what became of a batch's tensors, in the caller's order. */
#include "core/error.h"
#include "engine/batch/batch_job.h"
#include "pool/pool.h"

/* The items of a round by the caller's order again: those of [first, ...) are a permutation. */
static void restore_order(lt_batch *b, size_t first) {
    for (size_t i = 0; i < b->n_items; i++) {
        while (b->items[i].index != first + i) {
            lt_batch_item *home = &b->items[b->items[i].index - first];
            const lt_batch_item moved = b->items[i];
            b->items[i] = *home;
            *home = moved;
        }
    }
}

static lathe_error error_of(const lt_batch_item *item) {
    return item->error != NULL ? *item->error
                               : (lathe_error){
                                     .status = (lathe_status)item->status,
                                     .element = LATHE_NO_ELEMENT,
                                     .stage = "convert",
                                     .message = "there is no memory for the details",
                                 };
}

static void note_failure(lt_batch_receiver *to, const lathe_error *error, size_t index) {
    if (to->first.status == LATHE_OK) {
        to->first = *error;
        to->first_index = index;
    }
    if (to->errors != NULL) {
        to->errors[index] = *error;
    }
    to->stats.n_failed++;
}

static void note_success(lt_batch_receiver *to, const lt_batch *b, const lt_batch_item *item) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    bool is_shared = group->way == LT_BATCH_SHARED;
    if (to->errors != NULL) {
        to->errors[item->index].status = LATHE_OK;
    }
    to->stats.n_converted++;
    to->stats.n_shared += is_shared;
    to->stats.n_on_device += item->on_device;
    to->stats.n_saturated += item->n_saturated;
    to->stats.result_bytes +=
        is_shared || b->into != NULL
            ? 0
            : group->made.layout.n_bytes + group->made.layout.n_scales * sizeof(float);
}

/* Gives on_result, or the caller's arrays, what became of an item. */
static void deliver(lt_batch_receiver *to, const lt_batch_item *item, const lathe_error *error) {
    if (to->on_result != NULL) {
        to->is_cancelled = to->on_result(to->ctx, item->index, item->result, error) != 0;
    } else if (to->results != NULL) {
        to->results[item->index] = item->result;
    }
}

static void deliver_failure(lt_batch_receiver *to, const lt_batch_item *item) {
    const lathe_error error = error_of(item);
    note_failure(to, &error, item->index);
    deliver(to, item, &error);
}

/* Takes an item's result, or error, to the caller. */
static void hand_over(lt_batch_receiver *to, const lt_batch *b, const lt_batch_item *item) {
    if (item->status != LATHE_OK) {
        deliver_failure(to, item);
    } else {
        note_success(to, b, item);
        deliver(to, item, NULL);
    }
}

void lt_batch_note_cancelled(lt_batch_receiver *to, size_t index) {
    (void)lt_fail(LATHE_CANCELLED, "the batch was cancelled");
    note_failure(to, lt_error(), index);
}

void lt_batch_hand_over_round(lt_batch_receiver *to, lt_batch *b, size_t first) {
    if (!b->is_in_order) {
        restore_order(b, first);
    }
    for (size_t i = 0; i < b->n_items; i++) {
        if (!to->is_cancelled) {
            hand_over(to, b, &b->items[i]);
        } else {
            lt_batch_note_cancelled(to, b->items[i].index);
            lathe_tensor_release(b->into == NULL ? b->items[i].result : NULL);
        }
        if (!b->items[i].is_begun) {
            lt_slab_drop(b->items[i].slab);
        }
        if (b->items[i].error != NULL) {
            lt_pool_delete(b->engine->pool, b->items[i].error);
        }
    }
}
