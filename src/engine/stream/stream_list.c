/* SPDX-License-Identifier: Apache-2.0 */
/* Many small tensors through the slots of the streaming strategy. */
#include "engine/stream/stream_list.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/plan/many_plan.h"
#include "engine/plan/small_scales.h"
#include "engine/stream/stream_job.h"
#include "pool/pool.h"

/* A unit has at most so many tensors, of which so many are converted at a time. */
enum { MOST_ITEMS = 512, TURN = 16 };

/* A unit has four parts: data and scales of the sources, data and scales of the results. */
enum { N_PARTS = 4 };

/* A tensor of a unit, and where its parts lie in the slot. */
typedef struct place {
    lt_stream_item item;
    uint64_t src;
    uint64_t src_scales;
    uint64_t dst;
    uint64_t dst_scales;
    uint64_t n_saturated;
} place;

/* What a slot has in it. */
typedef struct content {
    size_t first; /* item */
    size_t n_items;
    place places[MOST_ITEMS];
} content;

struct lt_stream_list_run {
    const lt_stream_list *list;
    const lt_stream_job *job;
    size_t *first; /* item of each unit, and the number of all after the last */
    size_t n_units;
    content *contents;     /* of each slot */
    size_t failed_item;    /* of the first failure that is not the data's */
    size_t faulty_item;    /* the first one with faulty data; SIZE_MAX: none */
    lathe_error fault;     /* what is wrong with it */
    pthread_mutex_t mutex; /* guards the three */
};

typedef struct lt_stream_list_run run;

/* ---- which tensors are small */

static uint64_t most_bytes(const lt_streamer *streamer) {
    uint64_t most = lt_min(streamer->backend->chunk_bytes, streamer->slot_bytes);
    most = streamer->chunk_bytes != 0 ? lt_min(most, streamer->chunk_bytes) : most;
    most -= lt_min(most, (uint64_t)N_PARTS * lt_slot_aligned(1));
    return streamer->backend->is_remote ? 0 : most;
}

static uint64_t scale_bytes(uint64_t n_scales) {
    return lt_slot_aligned(n_scales * sizeof(float));
}

/* What a tensor takes of a slot, at most. */
static uint64_t need_of(const lt_layout *src, const lt_layout *dst) {
    return lt_slot_aligned(src->n_bytes) + scale_bytes(src->n_scales) +
           lt_slot_aligned(dst->n_bytes) + scale_bytes(dst->n_scales);
}

bool lt_streamer_plan_small(const lt_streamer *streamer, const lathe_tensor_desc *from,
                            const lathe_target *target, lt_stream_small *small) {
    const uint64_t most = most_bytes(streamer);
    lathe_tensor_desc to;
    lt_layout src;
    lt_layout dst;
    if (lt_layout_of(from, &src) != LATHE_OK ||
        lathe_target_desc(target, from->n_dims, from->shape, &to) != LATHE_OK ||
        lt_layout_of(&to, &dst) != LATHE_OK) {
        return false; /* the conversion says what is wrong */
    }
    if (src.n_elems == 0 || src.n_bytes > most || dst.n_bytes > most || src.n_scales > most ||
        dst.n_scales > most || need_of(&src, &dst) > most || target->quality == LATHE_PRECISE) {
        return false;
    }
    lt_many_plan(streamer->backend, &src, &dst, target, &small->plan, &small->ranges);
    small->plan.pass.beyond_cache = false; /* it is in the cache when it has been read */
    return !small->plan.is_copy &&
           !(small->plan.stats_first && small->plan.pass.tiling.n_tiles > LT_SMALL_TILES);
}

bool lt_streamer_copies_small(const lt_streamer *streamer, uint64_t n_bytes) {
    return n_bytes + 2 * lt_slot_aligned(1) <= most_bytes(streamer);
}

static uint64_t item_need(const lt_stream_item *item) {
    return item->small != NULL ? need_of(&item->small->plan.pass.src, &item->small->plan.pass.dst)
                               : lt_slot_aligned(item->n_bytes) + scale_bytes(item->n_scales);
}

/* Cuts the list into units; with r->first == NULL they are only counted. */
static void cut(run *r, uint64_t most) {
    const lt_stream_list *list = r->list;
    uint64_t used = 0;
    size_t first = 0;
    r->n_units = 0;
    for (size_t i = 0; i < list->n_items; i++) {
        lt_stream_item item;
        list->at(list->ctx, i, &item);
        uint64_t need = item_need(&item);
        bool begins = i == 0 || i - first == MOST_ITEMS || used + need > most;
        if (begins && r->first != NULL) {
            r->first[r->n_units] = i;
        }
        first = begins ? i : first;
        used = begins ? need : used + need;
        r->n_units += begins ? 1 : 0;
    }
    if (r->first != NULL) {
        r->first[r->n_units] = list->n_items;
    }
}

/* ---- where things lie in a slot */

static uint64_t aligned_to(uint64_t at, uint64_t alignment) {
    return lt_ceil_div(at, alignment) * alignment;
}

/* Sources follow each other as they do in their file, if that suits their elements. */
static uint64_t place_sources(content *c) {
    uint64_t at = 0;
    uint64_t file_end = 0;
    for (size_t i = 0; i < c->n_items; i++) {
        place *p = &c->places[i];
        const lt_stream_item *item = &p->item;
        uint64_t unit = item->small != NULL ? item->small->plan.pass.src.unit_bytes : 1;
        bool follows = i > 0 && item->from.file == c->places[i - 1].item.from.file &&
                       item->from.data_at == file_end && at % unit == 0;
        p->src = follows ? at : lt_slot_aligned(at);
        at = p->src + item->n_bytes;
        file_end = item->from.data_at + item->n_bytes;
    }
    at = lt_slot_aligned(at);
    for (size_t i = 0; i < c->n_items; i++) {
        c->places[i].src_scales = at;
        at += c->places[i].item.n_scales * sizeof(float);
    }
    return lt_slot_aligned(at);
}

/* Results are packed; what is copied stays where it is. */
static void place_results(content *c, uint64_t at) {
    for (size_t i = 0; i < c->n_items; i++) {
        place *p = &c->places[i];
        if (p->item.small == NULL) {
            p->dst = p->src;
            continue;
        }
        const lt_layout *dst = &p->item.small->plan.pass.dst;
        p->dst = aligned_to(at, dst->unit_bytes);
        at = p->dst + dst->n_bytes;
    }
    at = lt_slot_aligned(at);
    for (size_t i = 0; i < c->n_items; i++) {
        place *p = &c->places[i];
        p->dst_scales = p->item.small == NULL ? p->src_scales : at;
        at += p->item.small == NULL ? 0 : p->item.small->plan.pass.dst.n_scales * sizeof(float);
    }
}

static content *content_of(const lt_stream_job *j, const lt_slot *slot) {
    return &j->list->contents[slot - j->streamer->slots];
}

static void prepare(lt_stream_job *j, lt_slot *slot, uint64_t index) {
    const run *r = j->list;
    const lt_stream_list *list = r->list;
    content *c = content_of(j, slot);
    lt_unit *u = &slot->unit;
    uint64_t n_bytes = 0;
    c->first = r->first[index];
    c->n_items = r->first[index + 1] - c->first;
    for (size_t i = 0; i < c->n_items; i++) {
        list->at(list->ctx, c->first + i, &c->places[i].item);
        n_bytes += c->places[i].item.n_bytes;
    }
    place_results(c, place_sources(c));
    *u = (lt_unit){.index = index, .n_pieces = 1, .backend = j->backend};
    u->pieces[0].src.n_bytes = n_bytes; /* for the progress */
    lt_outcome_init(&u->outcome);
}

/* ---- what goes wrong */

static lathe_status fail_at(run *r, size_t item, lathe_status status) {
    (void)pthread_mutex_lock(&r->mutex);
    r->failed_item = r->failed_item == SIZE_MAX ? item : r->failed_item;
    (void)pthread_mutex_unlock(&r->mutex);
    return status;
}

/* The thread's last error is about the data of an item. */
static void fault_at(run *r, lt_unit *u, size_t item) {
    (void)pthread_mutex_lock(&r->mutex);
    if (item < r->faulty_item) {
        r->faulty_item = item;
        r->fault = *lt_error();
    }
    (void)pthread_mutex_unlock(&r->mutex);
    lt_outcome_fault(&u->outcome, LATHE_CORRUPT_DATA, 0); /* no later unit is of use */
}

/* ---- transfers */

/* Consecutive bytes of a file that are consecutive in the slot. */
typedef struct extent {
    uint64_t at;
    uint64_t n_bytes;
    uint64_t in_slot;
    uint32_t file;
    size_t item; /* the first one */
} extent;

typedef enum part { SRC_DATA, SRC_SCALES, DST_DATA, DST_SCALES } part;

static extent extent_of(const place *p, part which, size_t item) {
    const lt_stream_item *it = &p->item;
    const lt_layout *dst = it->small != NULL ? &it->small->plan.pass.dst : NULL;
    uint64_t dst_bytes = dst != NULL ? dst->n_bytes : it->n_bytes;
    uint64_t dst_scales = (dst != NULL ? dst->n_scales : it->n_scales) * sizeof(float);
    switch (which) {
    case SRC_DATA:
        return (extent){it->from.data_at, it->n_bytes, p->src, it->from.file, item};
    case SRC_SCALES:
        return (extent){it->from.scales_at, it->n_scales * sizeof(float), p->src_scales,
                        it->from.file, item};
    case DST_DATA:
        return (extent){it->to.data_at, dst_bytes, p->dst, it->to.file, item};
    default:
        return (extent){it->to.scales_at, dst_scales, p->dst_scales, it->to.file, item};
    }
}

static lathe_status transfer(run *r, const lt_slot *slot, part which, const extent *e) {
    const lt_stream_list *list = r->list;
    uint8_t *bytes = (uint8_t *)slot->data.host + e->in_slot;
    lathe_status status = LATHE_OK;
    if (e->n_bytes > 0) {
        status = which == SRC_DATA || which == SRC_SCALES
                     ? list->read(list->ctx, e->file, e->at, bytes, (size_t)e->n_bytes)
                     : list->write(list->ctx, e->file, e->at, bytes, (size_t)e->n_bytes);
    }
    return status == LATHE_OK ? LATHE_OK : fail_at(r, e->item, status);
}

/* Reads or writes one part of all tensors of a unit, in as few transfers as can be. */
static lathe_status transfer_part(run *r, const lt_slot *slot, const content *c, part which) {
    extent run_of = {0};
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < c->n_items && status == LATHE_OK; i++) {
        const extent e = extent_of(&c->places[i], which, c->first + i);
        if (e.n_bytes == 0) {
            continue;
        }
        if (run_of.n_bytes > 0 && e.file == run_of.file && e.at == run_of.at + run_of.n_bytes &&
            e.in_slot == run_of.in_slot + run_of.n_bytes) {
            run_of.n_bytes += e.n_bytes;
            continue;
        }
        status = transfer(r, slot, which, &run_of);
        run_of = e;
    }
    return status == LATHE_OK ? transfer(r, slot, which, &run_of) : status;
}

static lathe_status load(lt_stream_job *j, lt_slot *slot) {
    const content *c = content_of(j, slot);
    lathe_status status = transfer_part(j->list, slot, c, SRC_DATA);
    return status == LATHE_OK ? transfer_part(j->list, slot, c, SRC_SCALES) : status;
}

/* ---- conversions */

/* A tensor on its way. */
typedef struct conversion {
    lt_buffer dst_scales;
    lt_outcome outcome;
    size_t i; /* in the unit */
} conversion;

static lt_span span_of(const lt_slot *slot, uint64_t data, uint64_t scales, uint64_t n_scales) {
    return (lt_span){
        .data = &slot->data,
        .data_offset = data,
        .scales = n_scales > 0 ? &slot->data : NULL,
        .scale_offset = scales / sizeof(float),
    };
}

static float *floats_at(const lt_slot *slot, uint64_t offset) {
    return (float *)(void *)((uint8_t *)slot->data.host + offset);
}

/* Gets a tensor ready for its convert pass. */
static lathe_status open_work(lt_stream_job *j, const lt_slot *slot, const place *p, conversion *c,
                              lt_work *work) {
    const lt_pass *pass = &p->item.small->plan.pass;
    *work = (lt_work){
        .pass = pass,
        .src = span_of(slot, p->src, p->src_scales, pass->src.n_scales),
        .dst = span_of(slot, p->dst, p->dst_scales, pass->dst.n_scales),
        .ranges = &p->item.small->ranges,
        .n_ranges = p->item.small->ranges.n_ranges,
        .outcome = &c->outcome,
        .on_this_thread = true,
    };
    lt_outcome_init(&c->outcome);
    return p->item.small->plan.stats_first
               ? lt_small_scales(j->backend, pass, &work->src, floats_at(slot, p->dst_scales))
               : LATHE_OK;
}

/* Converts items [first, end) of the unit, at most TURN. */
static void convert_some(lt_stream_job *j, lt_slot *slot, size_t first, size_t end) {
    run *r = j->list;
    content *c = content_of(j, slot);
    conversion conversions[TURN];
    lt_work works[TURN];
    size_t n_works = 0;
    for (size_t i = first; i < end; i++) {
        const place *p = &c->places[i];
        if (lt_scales_check(floats_at(slot, p->src_scales), p->item.n_scales, 0) != LATHE_OK) {
            fault_at(r, &slot->unit, c->first + i);
        } else if (p->item.small == NULL) {
            r->list->done(r->list->ctx, c->first + i, 0);
        } else if (open_work(j, slot, p, &conversions[n_works], &works[n_works]) == LATHE_OK) {
            conversions[n_works++].i = i;
        } else {
            fault_at(r, &slot->unit, c->first + i);
        }
    }
    if (n_works > 0) {
        (void)j->backend->ops->submit_many(j->backend, NULL, works, n_works); /* never fails */
    }
    for (size_t k = 0; k < n_works; k++) {
        const lt_pass *pass = works[k].pass;
        size_t item = c->first + conversions[k].i;
        if (lt_outcome_status(&conversions[k].outcome, pass->src.dtype, pass->dst.dtype) !=
            LATHE_OK) {
            fault_at(r, &slot->unit, item);
        } else {
            place *p = &c->places[conversions[k].i];
            p->n_saturated = atomic_load(&conversions[k].outcome.n_saturated);
            r->list->done(r->list->ctx, item, p->n_saturated);
        }
    }
}

/* Counts n tensors that are alike. */
static void record(const lt_stream_job *j, const lt_stream_item *item, uint64_t n_saturated,
                   double ns_per_byte, lathe_status status, uint64_t n, uint64_t end_ns) {
    const lathe_engine *engine = j->streamer->engine;
    const lt_pass *pass = &item->small->plan.pass;
    const lt_metric metric = {
        .strategy = LATHE_STRATEGY_STREAMING,
        .fell_back = engine->device != NULL,
        .from = pass->src.dtype,
        .to = pass->dst.dtype,
        .src_bytes = pass->src.n_bytes + pass->src.n_scales * sizeof(float),
        .dst_bytes = pass->dst.n_bytes + pass->dst.n_scales * sizeof(float),
        .n_saturated = n_saturated,
        .ns = (uint64_t)((double)pass->src.n_bytes * ns_per_byte),
        .status = status,
    };
    lt_metrics_record_alike(engine->metrics, &metric, n, end_ns);
}

/* Each tensor is said to have taken what its bytes are of the unit's time. */
static void record_all(const lt_stream_job *j, const lt_slot *slot, uint64_t start_ns) {
    const content *c = content_of(j, slot);
    const uint64_t end_ns = lt_now_ns();
    double ns_per_byte =
        (double)(end_ns - start_ns) / (double)lt_max(slot->unit.pieces[0].src.n_bytes, 1);
    for (size_t i = 0, next; i < c->n_items; i = next) {
        const place *p = &c->places[i];
        next = i + 1;
        while (next < c->n_items && c->places[next].item.small == p->item.small &&
               c->places[next].n_saturated == p->n_saturated) {
            next++;
        }
        if (p->item.small != NULL) {
            record(j, &p->item, p->n_saturated, ns_per_byte, LATHE_OK, next - i, end_ns);
        }
    }
}

static lathe_status work(lt_stream_job *j, lt_slot *slot) {
    const content *c = content_of(j, slot);
    const uint64_t start = lt_now_ns();
    for (size_t i = 0; i < c->n_items; i += TURN) {
        convert_some(j, slot, i, lt_min(i + TURN, c->n_items));
    }
    if (lt_outcome_element(&slot->unit.outcome) != LATHE_NO_ELEMENT) {
        return LATHE_OK; /* a fault in the data: nothing more is to be written */
    }
    lathe_status status = transfer_part(j->list, slot, c, DST_DATA);
    if (status == LATHE_OK) {
        status = transfer_part(j->list, slot, c, DST_SCALES);
    }
    if (status != LATHE_OK) {
        return status;
    }
    record_all(j, slot, start);
    status = lt_stream_advance(j, &slot->unit);
    return status == LATHE_OK ? LATHE_OK : fail_at(j->list, c->first, status);
}

/* ---- the whole list */

static lathe_status make_run(const lt_streamer *streamer, run *r) {
    lathe_pool *pool = streamer->engine->pool;
    const uint64_t most = most_bytes(streamer);
    cut(r, most);
    r->first = lt_pool_new_array(pool, r->n_units + 1, sizeof *r->first);
    if (r->first == NULL) {
        return lt_error()->status;
    }
    cut(r, most);
    void *contents = NULL;
    lathe_status status =
        lathe_pool_alloc(pool, streamer->n_slots * sizeof *r->contents, &contents);
    r->contents = contents;
    return status;
}

/* The fault in the data counts as a conversion that has failed. */
static lathe_status end_status(const lt_stream_job *j, const run *r, lathe_status status,
                               size_t *at_fault) {
    lt_stream_item item;
    if (status != LATHE_OK) {
        *at_fault = lt_min(r->failed_item, r->list->n_items - 1);
    } else if (r->faulty_item != SIZE_MAX) {
        *at_fault = r->faulty_item;
        status = lt_fail_with(&r->fault);
    }
    if (status != LATHE_OK) {
        r->list->at(r->list->ctx, *at_fault, &item);
        if (item.small != NULL) {
            record(j, &item, 0, 0, status, 1, lt_now_ns());
        }
    }
    return status;
}

lathe_status lt_streamer_run_list(lt_streamer *streamer, const lt_stream_list *list,
                                  const lt_progress *progress, size_t *at_fault) {
    static const lt_source no_source = {0};
    static const lt_sink no_sink = {0};
    lt_stream_job j;
    run r = {.list = list, .failed_item = SIZE_MAX, .faulty_item = SIZE_MAX};
    *at_fault = 0;
    if (list->n_items == 0) {
        return LATHE_OK;
    }
    lathe_status status = make_run(streamer, &r);
    if (status == LATHE_OK) {
        const lt_stream_phase phase = {
            .n_units = r.n_units, .prepare = prepare, .load = load, .work = work};
        lt_fpenv saved;
        (void)pthread_mutex_init(&r.mutex, NULL);
        lt_stream_job_begin(&j, streamer);
        lt_stream_job_connect(&j, &no_source, &no_sink, progress);
        j.list = &r;
        lt_fpenv_enter(&saved);
        status = end_status(&j, &r, lt_stream_drive(&j, &phase), at_fault);
        lt_fpenv_leave(&saved);
        lt_stream_job_destroy(&j);
        (void)pthread_mutex_destroy(&r.mutex);
    }
    lt_pool_delete(streamer->engine->pool, r.first);
    lt_pool_delete(streamer->engine->pool, r.contents);
    return status;
}
