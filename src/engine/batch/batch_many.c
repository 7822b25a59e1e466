/* SPDX-License-Identifier: Apache-2.0 */
/* Many small tensors on the CPU: each is converted on one thread, several at once. */
#include "core/checked.h"
#include "core/error.h"
#include "core/quality.h"
#include "engine/batch/batch_job.h"
#include "engine/convert.h"
#include "engine/device/device_tensor.h"
#include <stddef.h>
#include <string.h>

/* A thread takes as many tensors at a time as leaves it so many turns, and so many works at a time
 * at most: more tensors are a turn only where they are converted as one. */
enum { TURNS = 8, TURN_WORKS = 64 };

/* Tensors on their way that lie one after another, mostly one: their memory as the CPU sees it, and
 * what is found in them. What changes from work to work where there are no scales is in the first
 * two lines. */
typedef struct slot {
    lt_buffer src_data;
    lt_outcome outcome;
    lt_buffer dst_data;
    lt_batch_item *items; /* as many as the work has ranges */
    lt_buffer src_scales;
    lt_buffer dst_scales;
} slot;

/* What a thread's tensors go through. A kernel leaves little else in the first cache, so as few
 * lines as can be are written for each tensor: a work points to its slot once, and to a group's
 * plan as long as tensors are of that group. */
typedef struct turn {
    _Alignas(LT_TENSOR_LINE_BYTES) slot slots[TURN_WORKS];
    lt_work works[TURN_WORKS];
    size_t n_works;
    lt_quality_sums *quality; /* as many as slots; NULL: nobody asks for reports */
    /* Of tensors with one scale that may be converted as one, each at its place in the turn. */
    float src_scales[LT_BATCH_TURN];
    float dst_scales[LT_BATCH_TURN];
} turn;

static void open_turn(turn *t, lt_quality_sums *quality) {
    memset(t, 0, sizeof *t);
    t->quality = quality;
    for (size_t i = 0; i < TURN_WORKS; i++) {
        lt_work *work = &t->works[i];
        work->src.data = &t->slots[i].src_data;
        work->dst.data = &t->slots[i].dst_data;
        work->outcome = &t->slots[i].outcome;
        work->on_this_thread = true;
    }
}

lathe_status lt_batch_find_scales(lt_batch *b, const lathe_tensor *source, const lt_pass *pass,
                                  float *scales) {
    lt_buffer data = {.host = source->data};
    lt_buffer own = {.host = source->scales};
    const lt_span span = {.data = &data, .scales = pass->src.n_scales > 0 ? &own : NULL};
    return lt_small_scales(b->engine->cpu, pass, &span, scales);
}

static void point_to_group(lt_work *work, const lt_batch_group *group, const slot *s) {
    work->pass = &group->plan.pass;
    work->ranges = &group->ranges;
    work->src.scales = work->pass->src.n_scales > 0 ? &s->src_scales : NULL;
    work->dst.scales = work->pass->dst.n_scales > 0 ? &s->dst_scales : NULL;
}

/* Whether tensors of the group may be converted as one. */
static bool is_stacked(const lt_batch_group *group) {
    return group->ranges.n_ranges > 1;
}

/* Whether a side's scales go through the turn's, because each tensor has one. */
static bool through_turn(const lt_batch_group *group, const lt_layout *layout) {
    return layout->n_scales == 1 && is_stacked(group);
}

/* Gets a tensor of the host's ready for its convert pass: the item at that place in the turn. */
static lathe_status open_slot(lt_batch *b, turn *t, size_t place, lt_batch_item *item, slot *s,
                              lt_work *work) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    const lathe_tensor *source = item->source;
    const lathe_tensor *result = item->result;
    if (work->pass != &group->plan.pass) {
        point_to_group(work, group, s);
    }
    work->n_ranges = 1;
    s->items = item;
    s->src_data.host = source->data;
    s->dst_data.host = result->data;
    lt_outcome_init(&s->outcome);
    if (t->quality != NULL) {
        lt_quality_sums *sums = &t->quality[s - t->slots];
        *sums = (lt_quality_sums){0};
        s->outcome.quality = sums;
    }
    if (work->dst.scales != NULL) {
        s->dst_scales.host =
            through_turn(group, &group->made.layout) ? &t->dst_scales[place] : result->scales;
    }
    if (work->src.scales != NULL) {
        const lt_layout *from = &group->like->layout;
        const bool copies = through_turn(group, from);
        t->src_scales[place] = source->scales[0];
        s->src_scales.host = copies ? &t->src_scales[place] : source->scales;
        lathe_status status = lt_scales_check(source->scales, from->n_scales, 0);
        if (status != LATHE_OK) {
            return status;
        }
    }
    return group->plan.stats_first ? lt_batch_find_scales(b, source, work->pass, result->scales)
                                   : LATHE_OK;
}

/* Whether b's data and scales begin where a's, of that layout, end; one scale of each may lie
 * anywhere. */
static bool follows(const lathe_tensor *a, const lathe_tensor *b, const lt_layout *layout) {
    return (const uint8_t *)b->data == (const uint8_t *)a->data + layout->n_bytes &&
           (layout->n_scales <= 1 || b->scales == a->scales + layout->n_scales);
}

/* Lets the last work take one more tensor, the item at that place in the turn, if that lies where
 * the work's last one ends. False: it is to have a work of its own, which looks at its scales. */
static bool join(const lt_batch *b, turn *t, size_t place, const lt_batch_item *item) {
    if (t->n_works == 0) {
        return false;
    }
    lt_work *work = &t->works[t->n_works - 1];
    const lt_batch_item *last = &t->slots[t->n_works - 1].items[work->n_ranges - 1];
    const lt_batch_group *group = lt_batch_group_of(b, item);
    const lathe_tensor *source = item->source;
    if (item != last + 1 || item->group != last->group || !is_stacked(group) ||
        !follows(last->source, source, &group->like->layout) ||
        !follows(last->result, item->result, &group->made.layout)) {
        return false;
    }
    if (work->src.scales != NULL) {
        if (lt_scales_check(source->scales, group->like->layout.n_scales, 0) != LATHE_OK) {
            return false;
        }
        t->src_scales[place] = source->scales[0];
    }
    work->n_ranges++;
    return true;
}

/* Takes what the convert pass of one tensor has found. */
static void close_slot(lt_batch *b, const slot *s, const lt_work *work) {
    const lt_pass *pass = work->pass;
    lt_batch_item *item = s->items;
    item->n_saturated = atomic_load_explicit(&s->outcome.n_saturated, memory_order_relaxed);
    if (lt_outcome_status(&s->outcome, pass->src.dtype, pass->dst.dtype) != LATHE_OK) {
        lt_batch_fail(b, item);
    } else if (s->outcome.quality != NULL) {
        lt_quality_fill(s->outcome.quality, lt_batch_report_of(b, item));
    }
}

/* Whether something was found that is to be known of each tensor. */
static bool is_in_doubt(const lt_outcome *outcome) {
    return lt_outcome_element(outcome) != LATHE_NO_ELEMENT ||
           atomic_load_explicit(&outcome->n_saturated, memory_order_relaxed) > 0;
}

/* Gives each tensor of a work its scale. */
static void hand_out_scales(const lt_batch *b, const slot *s, const lt_work *work) {
    const lt_batch_group *group = lt_batch_group_of(b, s->items);
    if (through_turn(group, &group->made.layout)) {
        const float *scales = s->dst_scales.host;
        for (uint64_t i = 0; i < work->n_ranges; i++) {
            s->items[i].result->scales[0] = scales[i];
        }
    }
}

/* Ends a work, whose first tensor is at that place in the turn. Where something was found in
 * several, they are converted again one by one. */
static void close_work(lt_batch *b, turn *t, size_t i, size_t place) {
    lt_backend *cpu = b->engine->cpu;
    slot *s = &t->slots[i];
    lt_work *work = &t->works[i];
    lt_batch_item *items = s->items;
    const uint64_t n = work->n_ranges;
    if (n > 1 && is_in_doubt(&s->outcome)) {
        for (uint64_t k = 0; k < n; k++) {
            (void)open_slot(b, t, place + k, &items[k], s, work); /* as it could be before */
            (void)cpu->ops->submit_many(cpu, NULL, work, 1);
            hand_out_scales(b, s, work);
            close_slot(b, s, work);
        }
        return;
    }
    hand_out_scales(b, s, work);
    if (n == 1) {
        close_slot(b, s, work);
    }
}

/* Device tensors come to the CPU through copies. */
static void convert_through_copies(lt_batch *b, lt_batch_item *item) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    if (lt_convert_contents_on_cpu(b->engine, item->source, group->target, item->result,
                                   &item->n_saturated) != LATHE_OK) {
        lt_batch_fail(b, item);
    }
}

static uint64_t bytes_of(const lt_batch *b, const lt_batch_item *item) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    return group->like->layout.n_bytes + group->made.layout.n_bytes;
}

/* Converts what has been taken of a turn that begins with that item. */
static void convert_taken(lt_batch *b, turn *t, size_t first) {
    lt_backend *cpu = b->engine->cpu;
    (void)cpu->ops->submit_many(cpu, NULL, t->works, t->n_works); /* the CPU does not fail */
    for (size_t i = 0; i < t->n_works; i++) {
        close_work(b, t, i, (size_t)(t->slots[i].items - &b->items[first]));
    }
    t->n_works = 0;
}

/* Gets the item at that place in the turn converted, or ready for it. */
static void take_item(lt_batch *b, turn *t, size_t place, lt_batch_item *item) {
    if (lt_batch_group_of(b, item)->like->memory == LATHE_MEMORY_DEVICE ||
        item->result->memory == LATHE_MEMORY_DEVICE) {
        convert_through_copies(b, item);
        return;
    }
    if (join(b, t, place, item)) {
        return;
    }
    if (t->n_works == TURN_WORKS) {
        convert_taken(b, t, (size_t)(item - b->items) - place);
    }
    const size_t i = t->n_works;
    if (open_slot(b, t, place, item, &t->slots[i], &t->works[i]) == LATHE_OK) {
        t->n_works++;
    } else {
        lt_batch_fail(b, item);
    }
}

void lt_batch_convert_begun(lt_batch *b, size_t first, size_t end) {
    turn t;
    open_turn(&t, NULL);
    for (size_t i = first; i < end; i += LT_BATCH_TURN) {
        const size_t turn_end = lt_min(i + LT_BATCH_TURN, end);
        for (size_t k = i; k < turn_end; k++) {
            if (lt_batch_is_waiting(&b->items[k])) {
                take_item(b, &t, k - i, &b->items[k]);
            }
        }
        convert_taken(b, &t, i);
    }
}

/* Whether two items that have been begun are one and the same to the metrics. */
static bool ended_alike(const lt_batch_item *a, const lt_batch_item *b) {
    return b->is_begun && a->group == b->group && a->status == b->status &&
           a->n_saturated == b->n_saturated && a->on_device == b->on_device &&
           a->fell_back == b->fell_back;
}

/* Each is said to have taken what its bytes are of the time. */
void lt_batch_end_begun(lt_batch *b, size_t first, size_t end, uint64_t start_ns, uint64_t end_ns) {
    uint64_t n_bytes = 0;
    for (size_t i = first; i < end; i++) {
        n_bytes += b->items[i].is_begun ? bytes_of(b, &b->items[i]) : 0;
    }
    double ns_per_byte = (double)(end_ns - start_ns) / (double)lt_max(n_bytes, 1);
    size_t next;
    for (size_t i = first; i < end; i = next) {
        const lt_batch_item *item = &b->items[i];
        next = i + 1;
        if (!item->is_begun) {
            continue;
        }
        while (next < end && ended_alike(item, &b->items[next])) {
            next++;
        }
        uint64_t share = (uint64_t)((double)bytes_of(b, item) * ns_per_byte);
        lt_batch_end_items(b, item, next - i, share, end_ns);
    }
}

/* Structs are in memory, not in a cache: they are fetched some tensors before (of a source what
 * comes first in it, and where results will be what is written to), and items as far before that.
 * Not a turn before, since its data would drive them out of the second cache again. They may be of
 * another thread's turn: only what does not change while that goes on is read. */
static void fetch_structs(const lt_batch *b, size_t i) {
    enum { AHEAD = 16 };
    if (i + AHEAD < b->end) {
        const lt_batch_item *item = &b->items[i + AHEAD];
        const char *place = item->slab != NULL ? lt_slab_place(item->slab, item->place) : NULL;
        if (b->into != NULL) {
            place = (const char *)b->into[item->index];
        }
        const size_t n_bytes = lt_tensor_used_bytes(lt_batch_group_of(b, item)->made.n_dims);
        __builtin_prefetch(item->source, 0);
        for (size_t k = 0; place != NULL && k < n_bytes; k += LT_TENSOR_LINE_BYTES) {
            __builtin_prefetch(place + k, 1);
        }
    }
    if (i + 2 * AHEAD < b->end) {
        __builtin_prefetch(&b->items[i + 2 * AHEAD], 1);
    }
}

/* The beginning of a tensor's data is fetched while the structs of a turn are made, as memory would
 * be idle then: about as much as it delivers in the time that one takes. To the second cache, since
 * a turn's are more than the first one holds. */
static void fetch_data(const lt_batch *b, const lt_batch_item *item) {
    enum { FETCHED_BYTES = 768, TO_SECOND_CACHE = 2 };
    const lathe_tensor *like = lt_batch_group_of(b, item)->like;
    const uint64_t n_bytes = lt_min(like->layout.n_bytes, FETCHED_BYTES);
    if (like->memory == LATHE_MEMORY_DEVICE) {
        return;
    }
    const char *data = item->source->data;
    for (uint64_t k = 0; k < n_bytes; k += LT_TENSOR_LINE_BYTES) {
        __builtin_prefetch(data + k, 0, TO_SECOND_CACHE);
    }
}

/* Converts items [first, end), at most LT_BATCH_TURN, and returns when it has. What is not
 * conversion is done for all of them before and after, so that memory is not left idle between two
 * tensors. */
static uint64_t run_turn(lt_batch *b, turn *t, size_t first, size_t end, uint64_t start_ns) {
    for (size_t i = first; i < end; i++) {
        lt_batch_item *item = &b->items[i];
        fetch_data(b, item);
        lt_batch_begin_item(b, item);
        if (lt_batch_is_waiting(item)) {
            take_item(b, t, i - first, item);
        }
        fetch_structs(b, i);
    }
    convert_taken(b, t, first);
    uint64_t end_ns = lt_now_ns();
    lt_batch_end_begun(b, first, end, start_ns, end_ns);
    return end_ns;
}

/* Takes tensors as long as there are any. */
static void run_some(void *ctx, size_t task) {
    lt_batch *b = ctx;
    (void)task;
    lt_quality_sums quality[TURN_WORKS];
    turn t;
    open_turn(&t, b->reports != NULL ? quality : NULL);
    uint64_t now_ns = lt_now_ns();
    for (;;) {
        size_t first = atomic_fetch_add_explicit(&b->next, b->at_once, memory_order_relaxed);
        if (first >= b->end) {
            return;
        }
        now_ns = run_turn(b, &t, first, lt_min(first + b->at_once, b->end), now_ns);
    }
}

/* Whether the tensors together are larger than the caches. */
static void set_heat(lt_batch *b, size_t first, size_t end) {
    uint64_t n_bytes = 0;
    for (size_t i = first; i < end; i++) {
        n_bytes += bytes_of(b, &b->items[i]);
    }
    for (size_t i = first; i < end; i++) { /* a group's items mostly follow each other */
        if (i == first || b->items[i].group != b->items[i - 1].group) {
            lt_batch_group_of(b, &b->items[i])->plan.pass.beyond_cache =
                n_bytes > b->engine->cpu->cache_bytes;
        }
    }
}

void lt_batch_run_cpu(lt_batch *b, size_t first, size_t end) {
    lt_backend *cpu = b->engine->cpu;
    size_t n_threads = b->limits.parallel == LATHE_OFF ? 1 : cpu->n_threads;
    set_heat(b, first, end);
    b->at_once = lt_max(lt_min((end - first) / (n_threads * TURNS), LT_BATCH_TURN), 1);
    b->end = end;
    atomic_store(&b->next, first);
    if (n_threads == 1) {
        run_some(b, 0);
    } else {
        cpu->ops->parallel_for(cpu, lt_min(n_threads, end - first), run_some, b);
    }
}
