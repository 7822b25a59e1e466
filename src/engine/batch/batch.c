/* SPDX-License-Identifier: Apache-2.0 */
/* The batch strategy: takes the tensors in rounds, has each round converted, and hands over what
 * became of it in the caller's order. */
#include "engine/batch/batch.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "engine/check_result.h"
#include "engine/convert.h"
#include "engine/device/device_tensor.h"
#include "pool/pool.h"
#include <string.h>

/* ---- what becomes of an item */

static lathe_target const *target_of(const lt_batch *b, const lt_batch_item *item) {
    return &b->targets[b->n_targets == 1 ? 0 : item->index];
}

void lt_batch_fail(lt_batch *b, lt_batch_item *item) {
    lathe_error error = *lt_error();
    error.from = item->source != NULL ? item->source->layout.dtype : (lathe_dtype)0;
    error.to = target_of(b, item)->dtype;
    error.stage = error.stage != NULL ? error.stage : "convert";
    if (b->into == NULL) {
        lathe_tensor_release(item->result);
    }
    item->result = NULL;
    item->n_saturated = 0;
    item->status = error.status;
    item->error = lt_pool_new(b->engine->pool, sizeof error);
    if (item->error != NULL) {
        *item->error = error;
    }
}

void lt_batch_begin_item(lt_batch *b, lt_batch_item *item) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    if (item->status != LATHE_OK) {
        return;
    }
    lathe_status status = LATHE_OK;
    if (item->slab != NULL) {
        item->result = lt_slab_take(item->slab, item->place, &group->made, item->offset);
    } else if (item->result == NULL) {
        status = lt_fail(LATHE_INVALID_ARGUMENT, "the result is NULL");
    } else {
        status = lt_check_result(item->source, group->target, item->result);
    }
    item->is_begun = status == LATHE_OK;
    if (!item->is_begun) {
        lt_batch_fail(b, item);
    }
}

void lt_batch_end_item(lt_batch *b, lt_batch_item *item, uint64_t ns) {
    const lt_layout *from = &item->source->layout;
    const lt_layout *to = &lt_batch_group_of(b, item)->made.layout;
    const lt_metric metric = {
        .strategy = LATHE_STRATEGY_BATCH,
        .on_device = item->on_device,
        .fell_back = item->fell_back,
        .from = from->dtype,
        .to = target_of(b, item)->dtype,
        .src_bytes = from->n_bytes + from->n_scales * sizeof(float),
        .dst_bytes = to->n_bytes + to->n_scales * sizeof(float),
        .n_saturated = item->n_saturated,
        .ns = ns,
        .status = item->status,
    };
    lt_metrics_record(b->engine->metrics, &metric);
}

/* ---- results of small tensors */

static lathe_memory result_memory(const lt_batch *b, const lt_batch_item *item) {
    return lt_batch_group_of(b, item)->like->memory == LATHE_MEMORY_DEVICE ? LATHE_MEMORY_DEVICE
                                                                           : LATHE_MEMORY_HOST;
}

/* How many of the items from `first` on, at most `most`, fit one slab; and what they take of it. */
static size_t count_slab(const lt_batch *b, size_t first, size_t most, uint64_t *n_bytes) {
    lathe_memory memory = result_memory(b, &b->items[first]);
    uint64_t room = memory == LATHE_MEMORY_HOST ? LT_HOST_SLAB_BYTES : LT_DEVICE_SLAB_BYTES;
    size_t count = 0;
    *n_bytes = 0;
    while (count < most && result_memory(b, &b->items[first + count]) == memory) {
        uint64_t bytes = lt_batch_group_of(b, &b->items[first + count])->n_bytes;
        if (count > 0 && *n_bytes + bytes > room) {
            break;
        }
        *n_bytes += bytes;
        count++;
    }
    return count;
}

/* Where memory is short, a smaller slab may still be had: in the end one for a single tensor. */
static size_t make_slab(lt_batch *b, size_t first, size_t most, lt_slab **slab) {
    while (most > 0) {
        uint64_t n_bytes;
        size_t count = count_slab(b, first, most, &n_bytes);
        if (lt_slab_create(b->engine, result_memory(b, &b->items[first]), count, n_bytes, slab) ==
            LATHE_OK) {
            return count;
        }
        most = count / 2;
    }
    return 0;
}

/* Finds room for the results of items [first, end). */
static void make_slabs(lt_batch *b, size_t first, size_t end) {
    while (first < end) {
        lt_slab *slab = NULL;
        uint64_t offset = 0;
        size_t count = make_slab(b, first, end - first, &slab);
        if (count == 0) {
            lt_batch_fail(b, &b->items[first]);
            count = 1;
        }
        for (size_t i = 0; slab != NULL && i < count; i++) {
            lt_batch_item *item = &b->items[first + i];
            item->slab = slab;
            item->place = (uint32_t)i;
            item->offset = offset;
            offset += lt_batch_group_of(b, item)->n_bytes;
        }
        first += count;
    }
}

static void drop_slabs(lt_batch *b) {
    for (size_t i = 0; i < b->n_items; i++) {
        if (b->items[i].slab != NULL && b->items[i].place == 0) {
            lt_slab_drop(b->items[i].slab);
        }
    }
}

/* ---- a round */

void lt_batch_convert_alone(lt_batch *b, lt_batch_item *item) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    const lathe_tensor_desc desc = lt_tensor_desc_of(&group->made);
    uint64_t start = lt_now_ns();
    lt_done done = {0};
    lathe_status status = LATHE_OK;
    if (b->into == NULL && item->slab == NULL && item->status == LATHE_OK) {
        status =
            lathe_engine_tensor_create(b->engine, result_memory(b, item), &desc, &item->result);
        item->is_begun = true;
    } else if (!item->is_begun) {
        lt_batch_begin_item(b, item);
    }
    if (!item->is_begun) {
        return;
    }
    if (status == LATHE_OK) {
        status = lt_convert_contents(b->engine, item->source, group->target, item->result, &done);
    }
    item->n_saturated = done.n_saturated;
    item->on_device = done.on_device;
    item->fell_back = done.fell_back;
    if (status != LATHE_OK) {
        lt_batch_fail(b, item);
    }
    lt_batch_end_item(b, item, lt_now_ns() - start);
}

/* Why the group's target is not valid for its tensors; or what a NULL source is. */
static void refuse(lt_batch *b, lt_batch_item *item) {
    const lathe_target *target = target_of(b, item);
    lathe_tensor_desc desc;
    if (item->source == NULL) {
        (void)lt_fail(LATHE_INVALID_ARGUMENT, "the source is NULL");
    } else {
        (void)lathe_target_desc(target, item->source->n_dims, item->source->shape, &desc);
    }
    lt_batch_fail(b, item);
}

/* What needs no conversion, or all threads. Returns the first item that is one of many. */
static size_t run_few(lt_batch *b) {
    size_t i = 0;
    for (; i < b->n_items; i++) {
        lt_batch_item *item = &b->items[i];
        lt_batch_way way =
            item->group == LT_BATCH_NO_GROUP ? LT_BATCH_REFUSED : lt_batch_group_of(b, item)->way;
        if (way == LT_BATCH_REFUSED) {
            refuse(b, item);
        } else if (way == LT_BATCH_SHARED) {
            uint64_t start = lt_now_ns();
            item->result = lathe_tensor_retain((lathe_tensor *)(uintptr_t)item->source);
            lt_batch_end_item(b, item, lt_now_ns() - start);
        } else if (way == LT_BATCH_ALONE) {
            lt_batch_convert_alone(b, item);
        } else {
            break;
        }
    }
    return i;
}

static void run_round(lt_batch *b, size_t first, size_t end) {
    lt_batch_order(b, first, end);
    size_t many = run_few(b);
    if (many == b->n_items) {
        return;
    }
    if (b->into == NULL) {
        make_slabs(b, many, b->n_items);
    }
    if (b->engine->device != NULL) {
        lt_batch_run_device(b, many, b->n_items);
    } else {
        lt_batch_run_cpu(b, many, b->n_items);
    }
    drop_slabs(b);
}

/* ---- handing over */

/* What a batch's caller gets. */
typedef struct receiver {
    lathe_batch_fn *on_result;
    void *ctx;
    lathe_tensor **results; /* NULL: nothing is put there */
    lathe_error *errors;    /* likewise */
    lathe_error first;      /* of the tensors' errors */
    size_t first_index;
    bool is_cancelled;
    lathe_batch_stats stats;
} receiver;

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
                                     .status = item->status,
                                     .element = LATHE_NO_ELEMENT,
                                     .stage = "convert",
                                     .message = "there is no memory for the details",
                                 };
}

static void note_failure(receiver *to, const lathe_error *error, size_t index) {
    if (to->first.status == LATHE_OK) {
        to->first = *error;
        to->first_index = index;
    }
    if (to->errors != NULL) {
        to->errors[index] = *error;
    }
    to->stats.n_failed++;
}

static void note_success(receiver *to, const lt_batch *b, const lt_batch_item *item) {
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
static void deliver(receiver *to, const lt_batch_item *item, const lathe_error *error) {
    if (to->on_result != NULL) {
        to->is_cancelled = to->on_result(to->ctx, item->index, item->result, error) != 0;
    } else if (to->results != NULL) {
        to->results[item->index] = item->result;
    }
}

static void deliver_failure(receiver *to, const lt_batch_item *item) {
    const lathe_error error = error_of(item);
    note_failure(to, &error, item->index);
    deliver(to, item, &error);
}

/* Takes an item's result, or error, to the caller. */
static void hand_over(receiver *to, const lt_batch *b, const lt_batch_item *item) {
    if (item->status != LATHE_OK) {
        deliver_failure(to, item);
    } else {
        note_success(to, b, item);
        deliver(to, item, NULL);
    }
}

/* For a tensor that on_result is not told of any more. */
static void note_cancelled(receiver *to, size_t index) {
    (void)lt_fail(LATHE_CANCELLED, "the batch was cancelled");
    note_failure(to, lt_error(), index);
}

static void end_round(receiver *to, lt_batch *b, size_t first) {
    restore_order(b, first);
    for (size_t i = 0; i < b->n_items; i++) {
        if (!to->is_cancelled) {
            hand_over(to, b, &b->items[i]);
        } else {
            note_cancelled(to, b->items[i].index);
            lathe_tensor_release(b->into == NULL ? b->items[i].result : NULL);
        }
        lt_pool_delete(b->engine->pool, b->items[i].error);
    }
}

/* ---- the whole */

/* Where the round that begins at `first` ends. */
static size_t round_end(const lt_batch *b, size_t first) {
    uint64_t max_tensors = b->limits.max_tensors != 0 ? b->limits.max_tensors : UINT64_MAX;
    uint64_t max_bytes = b->limits.max_bytes != 0 ? b->limits.max_bytes : UINT64_MAX;
    uint64_t n_bytes = 0;
    size_t i = first;
    if (max_tensors == UINT64_MAX && max_bytes == UINT64_MAX) {
        return b->n_tensors;
    }
    while (i < b->n_tensors && i - first < max_tensors) {
        uint32_t group = b->group_of[i];
        uint64_t bytes = group == LT_BATCH_NO_GROUP ? 0 : b->groups[group].n_bytes;
        if (i > first && bytes > max_bytes - lt_min(n_bytes, max_bytes)) {
            break;
        }
        n_bytes += lt_min(bytes, UINT64_MAX - n_bytes);
        i++;
    }
    return i;
}

/* An array whose elements are all written before they are read; NULL on failure. */
static void *new_array(const lt_batch *b, size_t count, size_t n_bytes) {
    uint64_t total = 0;
    void *array = NULL;
    if (!lt_mul(lt_max(count, 1), n_bytes, &total)) {
        (void)lt_fail(LATHE_SIZE_OVERFLOW, "an array of %zu elements overflows", count);
        return NULL;
    }
    (void)lathe_pool_alloc(b->engine->pool, (size_t)total, &array);
    return array;
}

static lathe_status open_batch(lt_batch *b) {
    b->group_of = new_array(b, b->n_tensors, sizeof *b->group_of);
    lathe_status status = b->group_of != NULL ? lt_batch_group_all(b) : lt_error()->status;
    if (status != LATHE_OK) {
        return status;
    }
    size_t most = 0;
    for (size_t first = 0; first < b->n_tensors;) {
        size_t end = round_end(b, first);
        most = lt_max(most, end - first);
        first = end;
    }
    b->keys = new_array(b, most, sizeof *b->keys);
    b->items = b->keys != NULL ? new_array(b, most, sizeof *b->items) : NULL;
    return b->items != NULL ? LATHE_OK : lt_error()->status;
}

static void close_batch(lt_batch *b) {
    lathe_pool *pool = b->engine->pool;
    lt_pool_delete(pool, b->groups);
    lt_pool_delete(pool, b->buckets);
    lt_pool_delete(pool, b->group_of);
    lt_pool_delete(pool, b->keys);
    lt_pool_delete(pool, b->items);
}

static void run_rounds(lt_batch *b, receiver *to) {
    size_t first = 0;
    lt_fpenv saved;
    while (first < b->n_tensors && !to->is_cancelled) {
        size_t end = round_end(b, first);
        lt_fpenv_enter(&saved);
        run_round(b, first, end);
        lt_fpenv_leave(&saved);
        end_round(to, b, first);
        to->stats.n_rounds++;
        first = end;
    }
    for (; first < b->n_tensors; first++) {
        note_cancelled(to, first);
    }
    to->stats.n_groups = b->n_groups;
    to->stats.n_launches = b->n_launches;
}

static lathe_status overall(const receiver *to) {
    if (to->first.status == LATHE_OK) {
        return LATHE_OK;
    }
    (void)lt_fail_with(&to->first);
    return to->is_cancelled && to->first.status == LATHE_CANCELLED
               ? LATHE_CANCELLED
               : lt_fail_prefix("tensor %zu of the batch", to->first_index);
}

static lathe_toggle chosen(lathe_toggle own, lathe_toggle of_engine) {
    return own != LATHE_BY_DEFAULT ? own : of_engine;
}

static lathe_batch_config limits_of(const lathe_engine *engine,
                                    const lathe_batch_options *options) {
    const lathe_batch_config *base = &engine->batch;
    if (options == NULL) {
        return *base;
    }
    const lathe_batch_config *own = &options->limits;
    return (lathe_batch_config){
        .max_tensors = own->max_tensors != 0 ? own->max_tensors : base->max_tensors,
        .max_bytes = own->max_bytes != 0 ? own->max_bytes : base->max_bytes,
        .group = chosen(own->group, base->group),
        .sort_by_size = chosen(own->sort_by_size, base->sort_by_size),
        .parallel = chosen(own->parallel, base->parallel),
    };
}

static bool is_toggle(lathe_toggle toggle) {
    return (int)toggle >= LATHE_BY_DEFAULT && (int)toggle <= LATHE_OFF;
}

static lathe_status check(const lathe_engine *engine, size_t n_tensors,
                          lathe_tensor *const *sources, const lathe_target *targets,
                          size_t n_targets, const lathe_batch_options *options,
                          const lathe_batch_stats *stats) {
    if (engine == NULL || (n_tensors > 0 && (sources == NULL || targets == NULL))) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, sources or targets is NULL");
    }
    if (n_targets != 1 && n_targets != n_tensors) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "n_targets is %zu: one for all, or one for each of %zu tensors is needed",
                       n_targets, n_tensors);
    }
    if (n_tensors >= LT_BATCH_NO_GROUP) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "a batch has fewer than 2^32 - 1 tensors");
    }
    if (stats != NULL && stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "stats struct_size is not sizeof(lathe_batch_stats)");
    }
    if (options == NULL) {
        return LATHE_OK;
    }
    if (options->struct_size != sizeof *options) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options struct_size is not sizeof(lathe_batch_options)");
    }
    const lathe_batch_config *limits = &options->limits;
    if (!is_toggle(limits->group) || !is_toggle(limits->sort_by_size) ||
        !is_toggle(limits->parallel)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options limits: group, sort_by_size or parallel is no lathe_toggle");
    }
    return LATHE_OK;
}

static lathe_status run(lt_batch *b, receiver *to, lathe_batch_stats *stats) {
    lathe_status status = open_batch(b);
    if (status == LATHE_OK) {
        run_rounds(b, to);
        if (stats != NULL) {
            *stats = to->stats;
        }
    }
    const lathe_error error = *lt_error();
    close_batch(b);
    return status == LATHE_OK ? overall(to) : lt_fail_with(&error);
}

lathe_status lathe_convert_batch(lathe_engine *engine, size_t n_tensors,
                                 lathe_tensor *const *sources, const lathe_target *targets,
                                 size_t n_targets, const lathe_batch_options *options,
                                 lathe_tensor **results, lathe_error *errors,
                                 lathe_batch_stats *stats) {
    lathe_status status = check(engine, n_tensors, sources, targets, n_targets, options, stats);
    if (status != LATHE_OK) {
        return status;
    }
    bool calls = options != NULL && options->on_result != NULL;
    if (!calls && results == NULL && n_tensors > 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "results is NULL");
    }
    lt_batch b = {
        .engine = engine,
        .n_tensors = n_tensors,
        .sources = sources,
        .targets = targets,
        .n_targets = n_targets,
        .limits = limits_of(engine, options),
    };
    receiver to = {
        .on_result = calls ? options->on_result : NULL,
        .ctx = calls ? options->ctx : NULL,
        .results = calls ? NULL : results,
        .errors = errors,
        .stats = {.struct_size = sizeof to.stats},
    };
    return run(&b, &to, stats);
}

lathe_status lathe_convert_batch_into(lathe_engine *engine, size_t n_tensors,
                                      lathe_tensor *const *sources, const lathe_target *targets,
                                      size_t n_targets, const lathe_batch_options *options,
                                      lathe_tensor *const *results, lathe_error *errors,
                                      lathe_batch_stats *stats) {
    lathe_status status = check(engine, n_tensors, sources, targets, n_targets, options, stats);
    if (status != LATHE_OK) {
        return status;
    }
    if ((results == NULL && n_tensors > 0) || (options != NULL && options->on_result != NULL)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "results is NULL, or on_result is not");
    }
    lt_batch b = {
        .engine = engine,
        .n_tensors = n_tensors,
        .sources = sources,
        .targets = targets,
        .n_targets = n_targets,
        .into = results,
        .limits = limits_of(engine, options),
    };
    receiver to = {.errors = errors, .stats = {.struct_size = sizeof to.stats}};
    return run(&b, &to, stats);
}
