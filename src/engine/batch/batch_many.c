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

/* A thread takes as many tensors at a time as leaves it so many turns. */
enum { TURNS = 8 };

static bool is_on_device(const lathe_tensor *tensor) {
    return tensor->memory == LATHE_MEMORY_DEVICE;
}

/* A tensor on its way: its memory as the CPU sees it, and what is found in it. What changes from
 * tensor to tensor where there are no scales is in the first two lines. */
typedef struct slot {
    lt_buffer src_data;
    lt_outcome outcome;
    lt_buffer dst_data;
    lt_batch_item *item;
    lt_buffer src_scales;
    lt_buffer dst_scales;
} slot;

/* What a thread's tensors go through. A kernel leaves little else in the first cache, so as few
 * lines as can be are written for each tensor: a work points to its slot once, and to a group's
 * plan as long as tensors are of that group. */
typedef struct turn {
    _Alignas(LT_TENSOR_LINE_BYTES) slot slots[LT_BATCH_TURN];
    lt_work works[LT_BATCH_TURN];
    lt_quality_sums *quality; /* as many as slots; NULL: nobody asks for reports */
} turn;

static void open_turn(turn *t, lt_quality_sums *quality) {
    memset(t, 0, sizeof *t);
    t->quality = quality;
    for (size_t i = 0; i < LT_BATCH_TURN; i++) {
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
    work->n_ranges = group->ranges.n_ranges;
    work->src.scales = work->pass->src.n_scales > 0 ? &s->src_scales : NULL;
    work->dst.scales = work->pass->dst.n_scales > 0 ? &s->dst_scales : NULL;
}

/* Gets a tensor of the host's ready for its convert pass. */
static lathe_status open_slot(lt_batch *b, lt_batch_item *item, slot *s, lt_work *work) {
    const lt_batch_group *group = lt_batch_group_of(b, item);
    if (work->pass != &group->plan.pass) {
        point_to_group(work, group, s);
    }
    s->item = item;
    s->src_data.host = item->source->data;
    s->dst_data.host = item->result->data;
    lt_outcome_init(&s->outcome);
    if (work->dst.scales != NULL) {
        s->dst_scales.host = item->result->scales;
    }
    if (work->src.scales != NULL) {
        s->src_scales.host = item->source->scales;
        lathe_status status = lt_scales_check(item->source->scales, work->pass->src.n_scales, 0);
        if (status != LATHE_OK) {
            return status;
        }
    }
    return group->plan.stats_first
               ? lt_batch_find_scales(b, item->source, work->pass, item->result->scales)
               : LATHE_OK;
}

/* Takes what the convert pass has found. */
static void close_slot(lt_batch *b, const slot *s, const lt_work *work) {
    const lt_pass *pass = work->pass;
    s->item->n_saturated = atomic_load_explicit(&s->outcome.n_saturated, memory_order_relaxed);
    if (lt_outcome_status(&s->outcome, pass->src.dtype, pass->dst.dtype) != LATHE_OK) {
        lt_batch_fail(b, s->item);
    } else if (s->outcome.quality != NULL) {
        lt_quality_fill(s->outcome.quality, lt_batch_report_of(b, s->item));
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
    const lt_pass *pass = &lt_batch_group_of(b, item)->plan.pass;
    return pass->src.n_bytes + pass->dst.n_bytes;
}

/* The same for at most LT_BATCH_TURN items. */
static void convert_some(lt_batch *b, turn *t, size_t first, size_t end) {
    lt_backend *cpu = b->engine->cpu;
    size_t n_works = 0;
    for (size_t i = first; i < end; i++) {
        lt_batch_item *item = &b->items[i];
        if (!item->is_begun || item->status != LATHE_OK) {
            continue;
        }
        if (is_on_device(item->source) || is_on_device(item->result)) {
            convert_through_copies(b, item);
        } else if (open_slot(b, item, &t->slots[n_works], &t->works[n_works]) == LATHE_OK) {
            if (t->quality != NULL) {
                t->quality[n_works] = (lt_quality_sums){0};
                t->slots[n_works].outcome.quality = &t->quality[n_works];
            }
            n_works++;
        } else {
            lt_batch_fail(b, item);
        }
    }
    (void)cpu->ops->submit_many(cpu, NULL, t->works, n_works); /* the CPU does not fail */
    for (size_t i = 0; i < n_works; i++) {
        close_slot(b, &t->slots[i], &t->works[i]);
    }
}

void lt_batch_convert_begun(lt_batch *b, size_t first, size_t end) {
    turn t;
    open_turn(&t, NULL);
    for (size_t i = first; i < end; i += LT_BATCH_TURN) {
        convert_some(b, &t, i, lt_min(i + LT_BATCH_TURN, end));
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

/* What a turn begins with is in memory, not in a cache: its structs are fetched a turn before (of a
 * source what comes first in it, and where results will be what a result of few dimensions is
 * written to), and its items another turn before. */
static void fetch_structs(const lt_batch *b, size_t i) {
    enum { WRITTEN_BYTES = offsetof(lathe_tensor, shape) + 4 * sizeof(uint64_t) };
    size_t distance = b->n_at_work * b->at_once;
    if (i + distance < b->end) {
        const lt_batch_item *item = &b->items[i + distance];
        __builtin_prefetch(item->source, 0);
        if (item->slab != NULL) {
            const char *place = lt_slab_place(item->slab, item->place);
            for (size_t k = 0; k < WRITTEN_BYTES; k += LT_TENSOR_LINE_BYTES) {
                __builtin_prefetch(place + k, 1);
            }
            __builtin_prefetch(place + offsetof(lathe_tensor, id), 1); /* behind the shape */
        }
    }
    if (i + 2 * distance < b->end) {
        __builtin_prefetch(&b->items[i + 2 * distance], 1);
    }
}

/* Converts items [first, end), at most LT_BATCH_TURN, and returns when it has. What is not
 * conversion is done for all of them before and after, so that memory is not left idle between two
 * tensors. */
static uint64_t run_turn(lt_batch *b, turn *t, size_t first, size_t end, uint64_t start_ns) {
    for (size_t i = first; i < end; i++) {
        lt_batch_begin_item(b, &b->items[i]);
        fetch_structs(b, i);
    }
    convert_some(b, t, first, end);
    uint64_t end_ns = lt_now_ns();
    lt_batch_end_begun(b, first, end, start_ns, end_ns);
    return end_ns;
}

/* Takes tensors as long as there are any. */
static void run_some(void *ctx, size_t task) {
    lt_batch *b = ctx;
    (void)task;
    lt_quality_sums quality[LT_BATCH_TURN];
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
    for (size_t i = first; i < end; i++) {
        lt_batch_group_of(b, &b->items[i])->plan.pass.beyond_cache =
            n_bytes > b->engine->cpu->cache_bytes;
    }
}

void lt_batch_run_cpu(lt_batch *b, size_t first, size_t end) {
    lt_backend *cpu = b->engine->cpu;
    size_t n_threads = b->limits.parallel == LATHE_OFF ? 1 : cpu->n_threads;
    set_heat(b, first, end);
    b->at_once = lt_max(lt_min((end - first) / (n_threads * TURNS), LT_BATCH_TURN), 1);
    b->n_at_work = n_threads;
    b->end = end;
    atomic_store(&b->next, first);
    if (n_threads == 1) {
        run_some(b, 0);
    } else {
        cpu->ops->parallel_for(cpu, lt_min(n_threads, end - first), run_some, b);
    }
}
