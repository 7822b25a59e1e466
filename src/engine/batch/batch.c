/* SPDX-License-Identifier: Apache-2.0 */
/* The batch strategy: takes the tensors in rounds, and has each round converted. */
#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "engine/batch/batch_job.h"
#include "pool/pool.h"

/* ---- a round */

/* Why the group's target is not valid for its tensors; or what a NULL source is. */
static void refuse(lt_batch *b, lt_batch_item *item) {
    const lathe_target *target = lt_batch_target_of(b, item);
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
            lt_batch_share(b, item);
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
    if (b->engine->device != NULL) {
        lt_batch_gather_homes(b, many, b->n_items);
    }
    if (b->into == NULL) {
        lt_batch_make_slabs(b, many, b->n_items);
    }
    if (b->engine->device != NULL) {
        lt_batch_run_device(b, many, b->n_items);
    } else {
        lt_batch_run_cpu(b, many, b->n_items);
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

static void run_rounds(lt_batch *b, lt_batch_receiver *to) {
    size_t first = 0;
    lt_fpenv saved;
    while (first < b->n_tensors && !to->is_cancelled) {
        size_t end = round_end(b, first);
        lt_fpenv_enter(&saved);
        run_round(b, first, end);
        lt_fpenv_leave(&saved);
        lt_batch_hand_over_round(to, b, first);
        to->stats.n_rounds++;
        first = end;
    }
    for (; first < b->n_tensors; first++) {
        lt_batch_note_cancelled(to, first);
    }
    to->stats.n_groups = b->n_groups;
    to->stats.n_launches = b->n_launches;
}

static lathe_status overall(const lt_batch_receiver *to) {
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
    for (size_t i = 0; options->reports != NULL && i < n_tensors; i++) {
        if (options->reports[i].struct_size != sizeof options->reports[i]) {
            return lt_fail(LATHE_INVALID_ARGUMENT,
                           "options reports: a struct_size is not sizeof(lathe_quality_report)");
        }
    }
    const lathe_batch_config *limits = &options->limits;
    if (!is_toggle(limits->group) || !is_toggle(limits->sort_by_size) ||
        !is_toggle(limits->parallel)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options limits: group, sort_by_size or parallel is no lathe_toggle");
    }
    return LATHE_OK;
}

static lathe_status run(lt_batch *b, lt_batch_receiver *to, lathe_batch_stats *stats) {
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
        .reports = options != NULL ? options->reports : NULL,
    };
    lt_batch_receiver to = {
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
        .reports = options != NULL ? options->reports : NULL,
    };
    lt_batch_receiver to = {.errors = errors, .stats = {.struct_size = sizeof to.stats}};
    return run(&b, &to, stats);
}
