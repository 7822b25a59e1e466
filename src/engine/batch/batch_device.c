/* SPDX-License-Identifier: Apache-2.0 */
/* Many small tensors on a device: in one launch as many as fit a slot of staging memory, if they
 * are the host's, or as lie in a launch's sets of buffers, if they are the device's. */
#include "core/checked.h"
#include "core/error.h"
#include "core/outcome.h"
#include "engine/batch/batch_job.h"
#include "engine/device/device_tensor.h"
#include "engine/plan/many_plan.h"
#include "engine/plan/small_scales.h"
#include "pool/pool.h"
#include <pthread.h>
#include <string.h>

/* Both sides of a slot, and the tensors that it takes: enough to keep a bus and a device busy. */
#define LEAST_SLOT_BYTES (UINT64_C(4) << 20)
enum { MOST_IN_SLOT = 1024 };

/* How an item is converted. */
typedef enum kind {
    KIND_ALONE,  /* as lathe_convert does it */
    KIND_HOST,   /* both sides are the host's: through a slot */
    KIND_DEVICE, /* both sides are the device's */
} kind;

/* What one thread works with. */
typedef struct table_slot {
    lt_queue *queue;   /* NULL: none could be had, or it has failed */
    lt_buffer staging; /* KIND_HOST; no device: none could be had */
    lt_work *works;
    lt_outcome *outcomes;
} table_slot;

/* Items [first, end), which go in one launch. */
typedef struct pack {
    size_t first;
    size_t end;
    kind kind;
} pack;

typedef struct run {
    lt_batch *b;
    lt_backend *device;
    uint64_t slot_bytes;
    table_slot *slots;
    size_t n_slots;
    pthread_mutex_t mutex; /* guards what follows */
    size_t next;           /* of the items */
    size_t end;
    uint64_t n_launches;
} run;

/* Where a tensor's bytes lie in a slot's staging memory. */
typedef struct place {
    uint64_t src;
    uint64_t src_scales;
    uint64_t known_scales; /* of the target, where a stats pass has found them */
    uint64_t dst;
    uint64_t dst_scales;
} place;

/* ---- which go together */

static bool is_on_device(const lathe_tensor *tensor) {
    return tensor->memory == LATHE_MEMORY_DEVICE;
}

static bool gives_device_tensor(const lt_batch_item *item) {
    return item->slab != NULL ? is_on_device(item->source)
                              : item->result != NULL && is_on_device(item->result);
}

/* The memory in which the result will be. */
static const void *result_home(const lt_batch_item *item) {
    return item->slab != NULL ? (const void *)item->slab : item->result->on_device->data.device;
}

static kind kind_of(const run *r, const lt_batch_item *item) {
    const lt_batch_group *group = lt_batch_group_of(r->b, item);
    bool is_host = !is_on_device(item->source) && !gives_device_tensor(item);
    bool is_long =
        group->table_plan.stats_first && group->table_plan.pass.tiling.n_tiles > LT_SMALL_TILES;
    if (!group->has_table || (item->slab == NULL && item->result == NULL) ||
        item->status != LATHE_OK) {
        return KIND_ALONE;
    }
    if (is_host) {
        return is_long ? KIND_ALONE : KIND_HOST;
    }
    bool is_ours = is_on_device(item->source) && gives_device_tensor(item) &&
                   item->source->on_device->backend == r->device &&
                   (item->slab != NULL || item->result->on_device->backend == r->device);
    bool is_precise = group->table_plan.pass.quality == LATHE_PRECISE;
    return is_ours && !is_long && !is_precise ? KIND_DEVICE : KIND_ALONE;
}

static uint64_t slot_need(const lt_batch *b, const lt_batch_item *item) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    const lt_layout *from = &group->like->layout;
    return lt_slab_data_bytes(from) + lt_slab_scale_bytes(from) + group->n_bytes;
}

static bool go_together(const run *r, const lt_batch_item *a, const lt_batch_item *b, kind k) {
    const lt_batch_group *of_a = lt_batch_group_of(r->b, a);
    const lt_batch_group *of_b = lt_batch_group_of(r->b, b);
    return of_a->like->layout.dtype == of_b->like->layout.dtype &&
           of_a->made.layout.dtype == of_b->made.layout.dtype && kind_of(r, b) == k;
}

/* The memory in which its scales will be. */
static const void *scales_home(const lt_batch_item *item) {
    return item->slab != NULL ? (const void *)item->slab : item->result->on_device->scales.device;
}

/* True if two device tensors, and their results, lie in the same buffers. */
static bool share_home(const lt_batch_item *a, const lt_batch_item *b) {
    const lt_device_memory *from_a = a->source->on_device;
    const lt_device_memory *from_b = b->source->on_device;
    return from_a->data.device == from_b->data.device &&
           from_a->scales.device == from_b->scales.device && result_home(a) == result_home(b) &&
           scales_home(a) == scales_home(b);
}

/* The next items that go in one launch, or one that goes alone. False at the end. */
static bool take_pack(run *r, pack *taken) {
    lt_batch *b = r->b;
    (void)pthread_mutex_lock(&r->mutex);
    size_t first = r->next;
    bool is_any = first < r->end;
    if (is_any) {
        kind k = kind_of(r, &b->items[first]);
        uint64_t n_bytes = slot_need(b, &b->items[first]);
        size_t end = first + 1;
        uint32_t n_homes = 1;
        while (k != KIND_ALONE && end < r->end && end - first < MOST_IN_SLOT &&
               go_together(r, &b->items[first], &b->items[end], k)) {
            n_bytes += slot_need(b, &b->items[end]);
            if (k == KIND_DEVICE && !share_home(&b->items[end - 1], &b->items[end])) {
                n_homes++;
            }
            if (k == KIND_HOST ? n_bytes > r->slot_bytes : n_homes > LT_MANY_HOMES) {
                break;
            }
            end++;
        }
        *taken = (pack){.first = first, .end = end, .kind = end - first > 1 ? k : KIND_ALONE};
        r->next = end;
    }
    (void)pthread_mutex_unlock(&r->mutex);
    return is_any;
}

/* ---- a pack */

static uint64_t rounded(uint64_t n_bytes) {
    return lt_ceil_div(n_bytes, LT_SLAB_ALIGNMENT) * LT_SLAB_ALIGNMENT;
}

/* Takes room for n_bytes. */
static uint64_t take_room(uint64_t *at, uint64_t n_bytes) {
    uint64_t taken = *at;
    *at += rounded(n_bytes);
    return taken;
}

static void place_source(const lt_batch_group *group, uint64_t *at, place *p) {
    const lt_layout *from = &group->like->layout;
    p->src = take_room(at, from->n_bytes);
    p->src_scales = take_room(at, from->n_scales * sizeof(float));
    p->known_scales = take_room(
        at, group->table_plan.stats_first ? group->made.layout.n_scales * sizeof(float) : 0);
}

static void place_result(const lt_batch_group *group, uint64_t *at, place *p) {
    const lt_layout *to = &group->made.layout;
    p->dst = take_room(at, to->n_bytes);
    p->dst_scales =
        take_room(at, group->table_plan.pass.own_scales ? to->n_scales * sizeof(float) : 0);
}

static void set_work(const lt_batch_group *group, lt_work *work, lt_outcome *outcome) {
    lt_outcome_init(outcome);
    *work = (lt_work){
        .pass = &group->table_plan.pass,
        .ranges = &group->table_ranges,
        .n_ranges = 1,
        .outcome = outcome,
    };
}

static void set_staged_work(const lt_batch_group *group, const lt_buffer *staging, const place *p,
                            lt_work *work) {
    bool is_known = group->table_plan.stats_first;
    work->src.data = staging;
    work->src.data_offset = p->src;
    work->src.scales = group->like->layout.n_scales > 0 ? staging : NULL;
    work->src.scale_offset = p->src_scales / sizeof(float);
    work->dst.data = staging;
    work->dst.data_offset = p->dst;
    work->dst.scales = group->made.layout.n_scales > 0 ? staging : NULL;
    work->dst.scale_offset = (is_known ? p->known_scales : p->dst_scales) / sizeof(float);
}

/* Brings a source, and the scales that are found beforehand, into the mapped slot. */
static lathe_status fill_place(lt_batch *b, const lt_batch_item *item, const place *p,
                               uint8_t *host) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    const lathe_tensor *source = item->source;
    lathe_status status = lt_scales_check(source->scales, source->layout.n_scales, 0);
    if (status == LATHE_OK && group->table_plan.stats_first) {
        status = lt_batch_find_scales(b, source, &group->table_plan.pass, item->result->scales);
    }
    if (status != LATHE_OK) {
        return status;
    }
    memcpy(host + p->src, source->data, (size_t)source->layout.n_bytes);
    if (source->layout.n_scales > 0) {
        memcpy(host + p->src_scales, source->scales,
               (size_t)source->layout.n_scales * sizeof(float));
    }
    if (group->table_plan.stats_first) {
        memcpy(host + p->known_scales, item->result->scales,
               (size_t)group->made.layout.n_scales * sizeof(float));
    }
    return LATHE_OK;
}

static void take_place(const lt_batch_group *group, const lt_batch_item *item, const place *p,
                       const uint8_t *host) {
    memcpy(item->result->data, host + p->dst, (size_t)item->result->layout.n_bytes);
    if (group->table_plan.pass.own_scales) {
        memcpy(item->result->scales, host + p->dst_scales,
               (size_t)item->result->layout.n_scales * sizeof(float));
    }
}

/* Takes what the launch has found in the tensors. */
static void take_outcomes(lt_batch *b, const pack *p, const lt_outcome *outcomes) {
    for (size_t i = p->first, k = 0; i < p->end; i++) {
        lt_batch_item *item = &b->items[i];
        const lt_batch_group *group = lt_batch_group_of(b, item);
        if (!lt_batch_is_waiting(item)) {
            continue;
        }
        const lt_outcome *outcome = &outcomes[k++];
        item->n_saturated = atomic_load(&outcome->n_saturated);
        item->on_device = true;
        if (lt_outcome_status(outcome, group->like->layout.dtype, group->made.layout.dtype) !=
            LATHE_OK) {
            lt_batch_fail(b, item);
        }
    }
}

/* Walks the pack's places: first all sources, so that they are one transfer, then all results. */
typedef struct walk {
    uint64_t at;
    uint64_t dst_at;
} walk;

static walk begin_walk(const lt_batch *b, const pack *p) {
    walk w = {0};
    place unused;
    for (size_t i = p->first; i < p->end; i++) {
        place_source(lt_batch_group_of(b, &b->items[i]), &w.dst_at, &unused);
    }
    return w;
}

static place next_place(walk *w, const lt_batch_group *group) {
    place p = {0};
    place_source(group, &w->at, &p);
    place_result(group, &w->dst_at, &p);
    return p;
}

/* Fills the slot with the pack's sources. What fails is the item's own. Returns the works. */
static size_t fill_slot(lt_batch *b, const pack *p, table_slot *slot) {
    uint8_t *host = slot->staging.host;
    walk w = begin_walk(b, p);
    size_t n_works = 0;
    for (size_t i = p->first; i < p->end; i++) {
        lt_batch_item *item = &b->items[i];
        const lt_batch_group *group = lt_batch_group_of(b, item);
        const place at = next_place(&w, group);
        if (!lt_batch_is_waiting(item)) {
            continue;
        }
        if (fill_place(b, item, &at, host) != LATHE_OK) {
            lt_batch_fail(b, item);
            continue;
        }
        set_work(group, &slot->works[n_works], &slot->outcomes[n_works]);
        set_staged_work(group, &slot->staging, &at, &slot->works[n_works]);
        n_works++;
    }
    return n_works;
}

static void empty_slot(lt_batch *b, const pack *p, const table_slot *slot) {
    const uint8_t *host = slot->staging.host;
    walk w = begin_walk(b, p);
    for (size_t i = p->first; i < p->end; i++) {
        const lt_batch_item *item = &b->items[i];
        const lt_batch_group *group = lt_batch_group_of(b, item);
        const place at = next_place(&w, group);
        if (lt_batch_is_waiting(item)) {
            take_place(group, item, &at, host);
        }
    }
}

/* One upload, one launch, one download. */
static lathe_status run_staged(const run *r, table_slot *slot, const pack *p, bool *is_launched) {
    lt_backend *device = r->device;
    const lt_backend_ops *ops = device->ops;
    walk ends = begin_walk(r->b, p);
    uint64_t n_src = ends.dst_at;
    for (size_t i = p->first; i < p->end; i++) {
        (void)next_place(&ends, lt_batch_group_of(r->b, &r->b->items[i]));
    }
    uint64_t n_dst = ends.dst_at - n_src;
    lathe_status status = ops->map(device, slot->queue, &slot->staging, 0, n_src, LT_ACCESS_WRITE);
    if (status != LATHE_OK) {
        return status;
    }
    size_t n_works = fill_slot(r->b, p, slot);
    status = ops->unmap(device, slot->queue, &slot->staging, 0, n_src, LT_ACCESS_WRITE);
    if (status != LATHE_OK || n_works == 0) {
        return status;
    }
    status = ops->submit_many(device, slot->queue, slot->works, n_works);
    *is_launched = status == LATHE_OK;
    if (status == LATHE_OK) {
        status = ops->map(device, slot->queue, &slot->staging, n_src, n_dst, LT_ACCESS_READ);
    }
    if (status != LATHE_OK) {
        return status;
    }
    status = ops->finish(device, slot->queue);
    if (status == LATHE_OK) {
        take_outcomes(r->b, p, slot->outcomes);
        empty_slot(r->b, p, slot);
        /* What can fail now is only the slot, of which there is no need but for others. */
        if (ops->unmap(device, slot->queue, &slot->staging, n_src, n_dst, LT_ACCESS_READ) !=
            LATHE_OK) {
            ops->queue_close(device, slot->queue);
            slot->queue = NULL;
        }
    }
    return status;
}

/* One launch over tensors that are where they are, with the scales that have been found for them.
 */
static lathe_status convert_in_place(const run *r, table_slot *slot, const pack *p,
                                     const float *scales, bool *is_launched) {
    lt_backend *device = r->device;
    size_t n_works = 0;
    for (size_t i = p->first; i < p->end; i++) {
        const lt_batch_item *item = &r->b->items[i];
        if (lt_batch_is_waiting(item)) {
            lt_work *work = &slot->works[n_works];
            const lt_batch_group *group = lt_batch_group_of(r->b, item);
            set_work(group, work, &slot->outcomes[n_works]);
            work->src = lt_device_tensor_span(item->source);
            work->dst = lt_device_tensor_span(item->result);
            if (group->table_plan.stats_first) {
                work->scales = scales;
                scales += work->pass->dst.n_scales;
            }
            n_works++;
        }
    }
    lathe_status status = device->ops->submit_many(device, slot->queue, slot->works, n_works);
    *is_launched = status == LATHE_OK && n_works > 0;
    if (status == LATHE_OK) {
        status = device->ops->finish(device, slot->queue);
    }
    if (status == LATHE_OK) {
        take_outcomes(r->b, p, slot->outcomes);
    }
    return status;
}

/* The same after the statistics of those that need them. */
static lathe_status run_in_place(const run *r, table_slot *slot, const pack *p, bool *is_launched) {
    lt_batch_found found = {0};
    lathe_status status = lt_batch_find_on_device(r->b, p->first, p->end, slot->queue, slot->works,
                                                  slot->outcomes, &found);
    if (status == LATHE_OK) {
        status = convert_in_place(r, slot, p, found.scales, is_launched);
    }
    if (status != LATHE_OK) { /* while the statistics are there */
        const lathe_error error = *lt_error();
        (void)r->b->engine->device->ops->finish(r->b->engine->device, slot->queue);
        (void)lt_fail_with(&error);
    }
    lt_batch_drop_found(r->b, &found);
    return status;
}

/* The CPU does what the device has failed at, unless the device is required: then the error is that
 * of each of the tensors. */
static void give_up_on_device(run *r, const pack *p, lathe_status status) {
    lt_batch *b = r->b;
    const lathe_error error = *lt_error();
    bool falls_back = lt_engine_may_fall_back(b->engine, status);
    for (size_t i = p->first; i < p->end; i++) {
        lt_batch_item *item = &b->items[i];
        if (!lt_batch_is_waiting(item)) {
            continue;
        }
        item->on_device = false;
        item->fell_back = falls_back;
        if (!falls_back) {
            (void)lt_fail_with(&error);
            lt_batch_fail(b, item);
        }
    }
    if (falls_back) {
        lt_batch_convert_begun(b, p->first, p->end);
    }
}

static void run_pack(run *r, table_slot *slot, const pack *p) {
    lt_batch *b = r->b;
    bool is_launched = false;
    uint64_t start = lt_now_ns();
    bool can_run = slot->queue != NULL && (p->kind == KIND_DEVICE || slot->staging.device != NULL);
    if (p->kind == KIND_ALONE || !can_run) {
        for (size_t i = p->first; i < p->end; i++) {
            lt_batch_convert_alone(b, &b->items[i]);
        }
        return;
    }
    for (size_t i = p->first; i < p->end; i++) {
        lt_batch_begin_item(b, &b->items[i]);
    }
    lathe_status status = p->kind == KIND_HOST ? run_staged(r, slot, p, &is_launched)
                                               : run_in_place(r, slot, p, &is_launched);
    if (status != LATHE_OK) {
        give_up_on_device(r, p, status);
        r->device->ops->queue_close(r->device, slot->queue);
        slot->queue = NULL;
    }
    lt_batch_end_begun(b, p->first, p->end, start, lt_now_ns());
    if (is_launched) {
        (void)pthread_mutex_lock(&r->mutex);
        r->n_launches++;
        (void)pthread_mutex_unlock(&r->mutex);
    }
}

static void drive(void *ctx, size_t i) {
    run *r = ctx;
    pack taken;
    while (take_pack(r, &taken)) {
        run_pack(r, &r->slots[i], &taken);
    }
}

/* ---- the whole */

/* What a slot lacks it does without: its packs then go tensor by tensor. */
static void open_slot(run *r, table_slot *slot, bool is_staged) {
    lathe_pool *pool = r->b->engine->pool;
    const lt_backend_ops *ops = r->device->ops;
    slot->works = lt_pool_new_array(pool, MOST_IN_SLOT, sizeof *slot->works);
    slot->outcomes = lt_pool_new_array(pool, MOST_IN_SLOT, sizeof *slot->outcomes);
    if (slot->works == NULL || slot->outcomes == NULL) {
        return;
    }
    if (is_staged && ops->buffer_create(r->device, LT_MEMORY_STAGED, r->slot_bytes,
                                        &slot->staging) != LATHE_OK) {
        slot->staging = (lt_buffer){0};
    }
    if (ops->queue_open(r->device, &slot->queue) != LATHE_OK) {
        slot->queue = NULL;
    }
}

static void close_slot(run *r, table_slot *slot) {
    lathe_pool *pool = r->b->engine->pool;
    r->device->ops->queue_close(r->device, slot->queue);
    r->device->ops->buffer_destroy(r->device, &slot->staging);
    lt_pool_delete(pool, slot->works);
    lt_pool_delete(pool, slot->outcomes);
}

static void plan_tables(run *r, size_t first) {
    for (size_t i = first; i < r->end; i++) {
        lt_batch_group *group = lt_batch_group_of(r->b, &r->b->items[i]);
        if (!group->has_table) {
            lt_many_plan(r->device, &group->like->layout, &group->made.layout, group->target,
                         &group->table_plan, &group->table_ranges);
            group->has_table = true;
        }
    }
}

/* How large the slots are, and how many there are: enough for the host's tensors to go through two
 * at a time in each. */
static uint64_t size_slots(run *r, size_t first) {
    uint64_t n_bytes = 0;
    for (size_t i = first; i < r->end; i++) {
        const lt_batch_item *item = &r->b->items[i];
        n_bytes += kind_of(r, item) == KIND_HOST ? slot_need(r->b, item) : 0;
    }
    uint64_t share = n_bytes / (2 * (uint64_t)r->device->n_threads);
    uint64_t most = lt_min(r->device->chunk_bytes, r->device->max_buffer_bytes);
    r->slot_bytes = lt_min(lt_max(share, LEAST_SLOT_BYTES), lt_max(most, LEAST_SLOT_BYTES));
    return n_bytes;
}

void lt_batch_run_device(lt_batch *b, size_t first, size_t end) {
    run r = {.b = b, .device = b->engine->device, .next = first, .end = end};
    (void)pthread_mutex_init(&r.mutex, NULL);
    plan_tables(&r, first);
    uint64_t staged_bytes = size_slots(&r, first);
    size_t most = b->limits.parallel == LATHE_OFF ? 1 : r.device->n_threads;
    size_t n_packs = lt_ceil_div(end - first, 2);
    if (staged_bytes > 0) {
        n_packs =
            lt_max(lt_ceil_div(staged_bytes, r.slot_bytes), lt_ceil_div(end - first, MOST_IN_SLOT));
    }
    r.n_slots = lt_min(most, n_packs);
    r.slots = lt_pool_new_array(b->engine->pool, r.n_slots, sizeof *r.slots);
    if (r.slots == NULL) {
        for (size_t i = first; i < end; i++) {
            lt_batch_convert_alone(b, &b->items[i]);
        }
    } else {
        for (size_t i = 0; i < r.n_slots; i++) {
            open_slot(&r, &r.slots[i], staged_bytes > 0);
        }
        r.device->ops->parallel_for(r.device, r.n_slots, drive, &r);
        for (size_t i = 0; i < r.n_slots; i++) {
            close_slot(&r, &r.slots[i]);
        }
    }
    lt_pool_delete(b->engine->pool, r.slots);
    b->n_launches += r.n_launches;
    (void)pthread_mutex_destroy(&r.mutex);
}
