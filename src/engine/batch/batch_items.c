/* SPDX-License-Identifier: Apache-2.0 */
/* One tensor of a batch: its result's memory, its conversion by itself, and its end. */
#include "core/error.h"
#include "engine/batch/batch_job.h"
#include "engine/check_result.h"
#include "engine/convert.h"
#include "engine/device/device_tensor.h"
#include "pool/pool.h"

/* ---- what becomes of an item */

void lt_batch_fail(lt_batch *b, lt_batch_item *item) {
    lathe_error error = *lt_error();
    error.from = item->source != NULL ? item->source->layout.dtype : (lathe_dtype)0;
    error.to = lt_batch_target_of(b, item)->dtype;
    error.stage = error.stage != NULL ? error.stage : "convert";
    if (b->into == NULL) {
        lathe_tensor_release(item->result);
    }
    item->result = NULL;
    item->n_saturated = 0;
    item->status = (uint8_t)error.status;
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
        item->result =
            lt_slab_take(item->slab, item->place, &group->made, item->offset, item->scale_offset);
    } else if (item->result == NULL) {
        status = lt_fail(LATHE_INVALID_ARGUMENT, "the result is NULL");
    } else {
        const lathe_tensor_desc desc = lt_tensor_desc_of(&group->made);
        status = lt_check_result_is(item->source, &desc, &group->made.layout, item->result);
    }
    item->is_begun = status == LATHE_OK;
    if (!item->is_begun) {
        lt_batch_fail(b, item);
    }
}

void lt_batch_end_items(lt_batch *b, const lt_batch_item *items, size_t n, uint64_t ns,
                        uint64_t end_ns) {
    const lt_layout *from = &lt_batch_group_of(b, items)->like->layout;
    const lt_layout *to = &lt_batch_group_of(b, items)->made.layout;
    const lt_metric metric = {
        .strategy = LATHE_STRATEGY_BATCH,
        .on_device = items->on_device,
        .fell_back = items->fell_back,
        .from = from->dtype,
        .to = lt_batch_target_of(b, items)->dtype,
        .src_bytes = from->n_bytes + from->n_scales * sizeof(float),
        .dst_bytes = to->n_bytes + to->n_scales * sizeof(float),
        .n_saturated = items->n_saturated,
        .ns = ns,
        .status = (lathe_status)items->status,
    };
    lt_metrics_record_alike(b->engine->metrics, &metric, n, end_ns);
}

/* ---- results of small tensors */

static lathe_memory result_memory(const lt_batch *b, const lt_batch_item *item) {
    return lt_batch_group_of(b, item)->like->memory == LATHE_MEMORY_DEVICE ? LATHE_MEMORY_DEVICE
                                                                           : LATHE_MEMORY_HOST;
}

/* How many of the items from `first` on, at most `most`, fit one slab; what they take of it, and
 * what their data does. */
static size_t count_slab(const lt_batch *b, size_t first, size_t most, uint64_t *n_bytes,
                         uint64_t *data_bytes) {
    lathe_memory memory = result_memory(b, &b->items[first]);
    bool on_host = memory == LATHE_MEMORY_HOST;
    size_t count = 0;
    *n_bytes = 0;
    *data_bytes = 0;
    while (count < most && result_memory(b, &b->items[first + count]) == memory) {
        const lt_batch_group *group = lt_batch_group_of(b, &b->items[first + count]);
        if (count > 0 && lt_slab_is_too_large(on_host, count + 1, *n_bytes + group->n_bytes)) {
            break;
        }
        *n_bytes += group->n_bytes;
        *data_bytes += group->n_bytes - group->scale_bytes;
        count++;
    }
    return count;
}

/* Where memory is short, a smaller slab may still be had: in the end one for a single tensor. */
static size_t make_slab(lt_batch *b, size_t first, size_t most, lt_slab **slab,
                        uint64_t *data_bytes) {
    while (most > 0) {
        uint64_t n_bytes;
        size_t count = count_slab(b, first, most, &n_bytes, data_bytes);
        if (lt_slab_create(b->engine, result_memory(b, &b->items[first]), count, n_bytes, slab) ==
            LATHE_OK) {
            return count;
        }
        most = count / 2;
    }
    return 0;
}

void lt_batch_make_slabs(lt_batch *b, size_t first, size_t end) {
    while (first < end) {
        lt_slab *slab = NULL;
        uint64_t offset = 0;
        uint64_t scale_offset = 0; /* the scales lie behind all data */
        size_t count = make_slab(b, first, end - first, &slab, &scale_offset);
        if (count == 0) {
            lt_batch_fail(b, &b->items[first]);
            count = 1;
        }
        for (size_t i = 0; slab != NULL && i < count; i++) {
            lt_batch_item *item = &b->items[first + i];
            const lt_batch_group *group = lt_batch_group_of(b, item);
            item->slab = slab;
            item->place = (uint32_t)i;
            item->offset = (uint32_t)offset;
            item->scale_offset = (uint32_t)scale_offset;
            offset += group->n_bytes - group->scale_bytes;
            scale_offset += group->scale_bytes;
        }
        first += count;
    }
}

/* ---- one by itself */

void lt_batch_share(lt_batch *b, lt_batch_item *item) {
    lathe_quality_report *report = lt_batch_report_of(b, item);
    uint64_t start = lt_now_ns();
    lathe_status status = report == NULL
                              ? LATHE_OK
                              : lathe_tensor_compare(b->engine, item->source, item->source, report);
    if (status == LATHE_OK) {
        item->result = lathe_tensor_retain((lathe_tensor *)(uintptr_t)item->source);
    } else {
        lt_batch_fail(b, item);
    }
    uint64_t end = lt_now_ns();
    lt_batch_end_items(b, item, 1, end - start, end);
}

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
        status = lt_convert_contents_measured(b->engine, item->source, group->target, item->result,
                                              lt_batch_report_of(b, item), &done);
    }
    item->n_saturated = done.n_saturated;
    item->on_device = done.on_device;
    item->fell_back = done.fell_back;
    if (status != LATHE_OK) {
        lt_batch_fail(b, item);
    }
    uint64_t end = lt_now_ns();
    lt_batch_end_items(b, item, 1, end - start, end);
}
