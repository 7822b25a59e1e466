/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of a batch that are converted alike: finding them, planning for them, and the order in
 * which a round works on them. */
#include "core/checked.h"
#include "core/error.h"
#include "engine/batch/batch_job.h"
#include "engine/device/device_tensor.h"
#include "engine/plan/small_scales.h"
#include "pool/pool.h"
#include <stddef.h>
#include <string.h>

enum { FIRST_GROUPS = 8, FETCH_AHEAD = 16 };

/* ---- what is alike */

static bool same_target(const lathe_target *a, const lathe_target *b) {
    return a == b || (a->struct_size == b->struct_size && a->dtype == b->dtype &&
                      a->granularity == b->granularity && a->group_size == b->group_size &&
                      a->row_dims == b->row_dims && a->quality == b->quality &&
                      a->nonfinite == b->nonfinite && a->strict == b->strict);
}

static bool same_shape(const lathe_tensor *a, const lathe_tensor *b) {
    if (a->n_dims != b->n_dims) {
        return false;
    }
    for (uint32_t i = 0; i < a->n_dims; i++) { /* mostly one or two: less than a call takes */
        if (a->shape[i] != b->shape[i]) {
            return false;
        }
    }
    return true;
}

/* Whether the tensors have the same layout, which follows from what is compared. */
static bool same_source(const lathe_tensor *a, const lathe_tensor *b) {
    return a == b || (a->layout.dtype == b->layout.dtype && a->memory == b->memory &&
                      a->granularity == b->granularity && a->row_dims == b->row_dims &&
                      a->group_size == b->group_size && same_shape(a, b));
}

static size_t hash(const lt_batch *b, const lathe_tensor *source, const lathe_target *target) {
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 over the golden ratio */
    uint64_t mixed = (uint64_t)source->layout.dtype * 16 + (uint64_t)target->dtype;
    for (uint32_t i = 0; i < source->n_dims; i++) {
        mixed = (mixed ^ mixed >> 29) * odd + source->shape[i];
    }
    mixed = (mixed ^ mixed >> 29) * odd;
    return (size_t)(mixed >> 32 ^ mixed) & (b->n_buckets - 1);
}

/* ---- what is done with a group */

static lt_batch_way way_of(const lt_batch *b, const lt_batch_group *group) {
    const lathe_engine *engine = b->engine;
    const lathe_tensor *like = group->like;
    const lt_layout *to = &group->made.layout;
    bool is_plain =
        group->target->quality == LATHE_BALANCED || group->target->quality == LATHE_FAST;
    bool is_foreign = like->memory == LATHE_MEMORY_DEVICE &&
                      (engine->device == NULL || like->on_device->backend != engine->device);
    bool is_measured_there = b->reports != NULL && engine->device != NULL;
    if (to->n_elems == 0 || group->plan.is_copy || !is_plain || is_foreign || is_measured_there ||
        to->n_elems > engine->cpu->elems_per_range ||
        (group->plan.stats_first && group->plan.pass.tiling.n_tiles > LT_SMALL_TILES)) {
        return LT_BATCH_ALONE;
    }
    return LT_BATCH_MANY;
}

/* Those that are converted alone first: they keep all threads busy. Then tensors of one kernel, the
 * largest first, as the limits want it. */
static uint64_t key_of(const lt_batch *b, const lt_batch_group *group) {
    const lathe_target *target = group->target;
    const uint64_t most = (UINT64_C(1) << 40) - 1;
    uint64_t key = group->way == LT_BATCH_MANY ? 1 : 0;
    uint64_t kernel = (uint64_t)group->like->memory;
    kernel = kernel << 4 | (uint64_t)group->like->layout.dtype;
    kernel = kernel << 4 | (uint64_t)group->made.layout.dtype;
    kernel = kernel << 2 | (uint64_t)group->made.granularity;
    kernel = kernel << 2 | (uint64_t)target->quality;
    kernel = kernel << 1 | (uint64_t)target->nonfinite;
    kernel = kernel << 1 | (target->strict != 0 ? 1 : 0);
    kernel = b->limits.group != LATHE_OFF ? kernel : 0;
    uint64_t n_bytes = group->like->layout.n_bytes + group->n_bytes;
    uint64_t rest = b->limits.sort_by_size != LATHE_OFF ? most - lt_min(n_bytes, most) : 0;
    return key << 63 | kernel << 40 | rest;
}

/* ---- tensors that lie one after another */

/* Makes a small tensor's layout that of n of them. What has one scale becomes a row, so that each
 * keeps its own: false where its rows do not follow each other. */
static bool stack_layout(lt_layout *layout, uint64_t n) {
    if (layout->n_scales > 0 && layout->scale_elems == 0) {
        if (!lt_layout_is_dense(layout)) {
            return false;
        }
        layout->n_rows = 1;
        layout->row_elems = layout->scale_elems = layout->n_elems;
        layout->row_bytes = layout->n_bytes;
        layout->scales_per_row = 1;
    }
    layout->n_rows *= n;
    layout->n_elems *= n;
    layout->n_bytes *= n;
    layout->n_scales *= n;
    return true;
}

/* Plans for as many tensors as a turn takes, with a range for each, unless something of each is
 * wanted that a conversion finds for all of its elements, or scales need a pass before. */
static void plan_stack(const lt_batch *b, lt_batch_group *group) {
    const lt_backend *cpu = b->engine->cpu;
    const lathe_target *target = group->target;
    const bool counts = target->quality == LATHE_FAST && lathe_dtype_is_quantized(target->dtype);
    lt_layout from = group->like->layout;
    lt_layout to = group->made.layout;
    if (b->reports != NULL || counts || !stack_layout(&from, LT_BATCH_TURN) ||
        !stack_layout(&to, LT_BATCH_TURN)) {
        return;
    }
    const lt_plan plan = lt_plan_make(cpu, &from, &to, target, cpu->max_own_scope_elems);
    if (plan.stats_first || plan.is_copy) { /* a row's scale would be kept, a tensor's is not */
        return;
    }
    const lt_layout *rows = &plan.pass.dst;
    const bool is_row = rows->n_rows == 1; /* all of them: what has no scales */
    group->plan = plan;
    group->ranges = (lt_ranges){
        .n_rows = rows->n_rows,
        .row_elems = rows->row_elems,
        .rows_per_range = is_row ? 1 : rows->n_rows / LT_BATCH_TURN,
        .cols_per_range = is_row ? rows->row_elems / LT_BATCH_TURN : rows->row_elems,
        .ranges_per_row = is_row ? LT_BATCH_TURN : 1,
        .n_ranges = LT_BATCH_TURN,
    };
}

static void plan_group(const lt_batch *b, lt_batch_group *group) {
    lt_backend *cpu = b->engine->cpu;
    const lathe_tensor *like = group->like;
    lathe_tensor_desc desc;
    lt_layout to;
    group->way = LT_BATCH_REFUSED;
    lathe_status status = lathe_target_desc(group->target, like->n_dims, like->shape, &desc);
    if (status == LATHE_OK) {
        status = lt_layout_of(&desc, &to);
    }
    if (status == LATHE_OK && to.n_bytes > SIZE_MAX / 4) {
        group->way = LT_BATCH_ALONE; /* which says what is wrong with it */
    }
    if (status != LATHE_OK || group->way == LT_BATCH_ALONE) {
        return;
    }
    lt_tensor_init(&group->made, b->engine->pool, &desc, &to);
    if (b->into == NULL && lt_tensor_is(like, &desc, &to)) {
        group->way = LT_BATCH_SHARED;
        return;
    }
    group->scale_bytes = lt_slab_scale_bytes(&to);
    group->n_bytes = lt_slab_data_bytes(&to) + group->scale_bytes;
    group->plan = lt_plan_make(cpu, &like->layout, &to, group->target, cpu->max_own_scope_elems);
    group->ranges = lt_ranges_cut(&group->plan.pass.dst, cpu->elems_per_range,
                                  group->plan.pass.own_scales ? to.scale_elems : 0);
    group->way = way_of(b, group);
    if (group->way == LT_BATCH_MANY) {
        plan_stack(b, group);
    }
    group->key = key_of(b, group);
}

/* ---- finding groups */

static lathe_status grow(lt_batch *b) {
    lathe_pool *pool = b->engine->pool;
    size_t room = b->room == 0 ? FIRST_GROUPS : 2 * b->room;
    size_t n_buckets = 2 * room;
    lt_batch_group *groups = lt_pool_new_array(pool, room, sizeof *groups);
    uint32_t *buckets = lt_pool_new_array(pool, n_buckets, sizeof *buckets);
    if (groups == NULL || buckets == NULL) {
        const lathe_error error = *lt_error();
        lt_pool_delete(pool, groups);
        lt_pool_delete(pool, buckets);
        return lt_fail_with(&error);
    }
    if (b->n_groups > 0) {
        memcpy(groups, b->groups, b->n_groups * sizeof *groups);
    }
    lt_pool_delete(pool, b->groups);
    lt_pool_delete(pool, b->buckets);
    b->groups = groups;
    b->buckets = buckets;
    b->room = room;
    b->n_buckets = n_buckets;
    for (size_t i = 0; i < b->n_groups; i++) {
        uint32_t *bucket = &buckets[hash(b, groups[i].like, groups[i].target)];
        groups[i].next = *bucket;
        *bucket = (uint32_t)i + 1;
    }
    return LATHE_OK;
}

static lathe_status find_group(lt_batch *b, const lathe_tensor *source, const lathe_target *target,
                               uint32_t *group) {
    lathe_status status = LATHE_OK;
    if (b->n_groups > 0) {
        uint32_t found = b->buckets[hash(b, source, target)];
        while (found != 0) {
            const lt_batch_group *candidate = &b->groups[found - 1];
            if (same_source(candidate->like, source) && same_target(candidate->target, target)) {
                *group = found - 1;
                return LATHE_OK;
            }
            found = candidate->next;
        }
    }
    if (b->n_groups == b->room) {
        status = grow(b);
    }
    if (status != LATHE_OK) {
        return status;
    }
    lt_batch_group *made = &b->groups[b->n_groups];
    uint32_t *bucket = &b->buckets[hash(b, source, target)];
    *made = (lt_batch_group){.like = source, .target = target, .next = *bucket};
    plan_group(b, made);
    *group = (uint32_t)b->n_groups;
    b->n_groups++;
    *bucket = (uint32_t)b->n_groups;
    return LATHE_OK;
}

/* Tensors' structs are in memory, not in a cache: the line that tells them apart is fetched before
 * their turn. */
static void fetch_struct(const lt_batch *b, size_t i) {
    if (i < b->n_tensors && b->sources[i] != NULL) {
        __builtin_prefetch(&b->sources[i]->layout.dtype);
    }
}

lathe_status lt_batch_group_all(lt_batch *b) {
    uint32_t last = LT_BATCH_NO_GROUP;
    for (size_t i = 0; i < b->n_tensors; i++) {
        const lathe_tensor *source = b->sources[i];
        const lathe_target *target = &b->targets[b->n_targets == 1 ? 0 : i];
        fetch_struct(b, i + FETCH_AHEAD);
        if (source == NULL) {
            b->group_of[i] = LT_BATCH_NO_GROUP;
            continue;
        }
        bool as_before = last != LT_BATCH_NO_GROUP && same_source(b->groups[last].like, source) &&
                         same_target(b->groups[last].target, target);
        lathe_status status = as_before ? LATHE_OK : find_group(b, source, target, &last);
        if (status != LATHE_OK) {
            return status;
        }
        b->group_of[i] = last;
    }
    return LATHE_OK;
}

/* ---- order */

static bool is_before(const lt_batch_key *a, const lt_batch_key *b) {
    return a->key != b->key ? a->key < b->key : a->index < b->index;
}

/* Lets the key at `root` sink to where none of the `n` keys below it is greater. */
static void sink(lt_batch_key *keys, size_t root, size_t n) {
    lt_batch_key moved = keys[root];
    for (size_t child = 2 * root + 1; child < n; child = 2 * root + 1) {
        child += child + 1 < n && is_before(&keys[child], &keys[child + 1]) ? 1 : 0;
        if (!is_before(&moved, &keys[child])) {
            break;
        }
        keys[root] = keys[child];
        root = child;
    }
    keys[root] = moved;
}

/* Heapsort: in place, and n log n whatever comes. */
static void sort(lt_batch_key *keys, size_t n) {
    for (size_t i = n / 2; i-- > 0;) {
        sink(keys, i, n);
    }
    for (size_t i = n; i-- > 1;) {
        const lt_batch_key greatest = keys[0];
        keys[0] = keys[i];
        keys[i] = greatest;
        sink(keys, 0, i);
    }
}

static uint64_t key_at(const lt_batch *b, size_t index) {
    const uint32_t group = b->group_of[index];
    return group == LT_BATCH_NO_GROUP ? 0 : b->groups[group].key;
}

static bool is_in_order(const lt_batch *b, size_t first, size_t end) {
    for (size_t i = first + 1; i < end; i++) {
        if (b->group_of[i] != b->group_of[i - 1] && key_at(b, i) < key_at(b, i - 1)) {
            return false;
        }
    }
    return true;
}

void lt_batch_order(lt_batch *b, size_t first, size_t end) {
    b->n_items = end - first;
    b->is_in_order = is_in_order(b, first, end);
    if (!b->is_in_order) {
        for (size_t i = 0; i < b->n_items; i++) {
            b->keys[i] = (lt_batch_key){key_at(b, first + i), first + i};
        }
        sort(b->keys, b->n_items);
    }
    for (size_t i = 0; i < b->n_items; i++) {
        size_t index = b->is_in_order ? first + i : (size_t)b->keys[i].index;
        b->items[i] = (lt_batch_item){
            .source = b->sources[index],
            .result = b->into != NULL ? b->into[index] : NULL,
            .group = b->group_of[index],
            .index = (uint32_t)index,
        };
    }
}
