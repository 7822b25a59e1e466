/* SPDX-License-Identifier: Apache-2.0 */
/* Converting in place on a backend: statistics, then a look at what could be wrong, then the waves.
 */
#include "engine/in_place/in_place.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/precise.h"
#include "core/quality.h"
#include "core/tensor.h"
#include "engine/device/device_tensor.h"
#include "engine/direct/direct.h"
#include "engine/in_place/flow.h"
#include "engine/plan/plan.h"
#include <stdalign.h>
#include <string.h>

/* What is bounced at once on the CPU: a tile on the stack of each thread. */
enum { CPU_PIECE_ELEMS = 4 * LT_WAVE_QUANTUM, TILE_BYTES = 4 * CPU_PIECE_ELEMS };
enum { PIECES_PER_TASK = 32, RANGES_PER_THREAD = 8 };

/* On a device. */
enum {
    HEAD_ELEMS = 32 * LT_WAVE_QUANTUM,
    MAX_PIECE_ELEMS = 3276 * LT_WAVE_QUANTUM,
    MIN_PARTS = 32
};

/* Works that a queue has at once. */
enum { MAX_WORKS = 32 };

typedef struct run {
    lt_in_place *job;
    lt_backend *backend;
    const lt_backend_ops *ops;
    const lathe_tensor *source;
    lt_plan plan;
    lt_pass checking; /* into a buffer, to see what the data is like */
    lt_pass writing;  /* of data in which nothing is wrong */
    lt_waves waves;
    lt_span src;
    lt_span dst;
    lt_buffer wrapped;    /* the host's memory; zero: the buffers are the tensor's own */
    lt_buffer src_scales; /* likewise */
    lt_buffer dst_scales; /* likewise, or a copy on the device */
    lt_buffer scratch;    /* on a device, for what is bounced */
    lt_queue *queue;
    bool is_idle; /* a step has failed, and all that is in the queue has been done */
    lt_outcome outcome;
    uint32_t n_works; /* in the queue */
    lt_work works[MAX_WORKS];
    lt_ranges ranges[MAX_WORKS];
} run;

/* ---- passes */

/* BALANCED statistics find everything that can be wrong, but for values that are lost and bytes
 * that are corrupt. */
static bool needs_check(const run *r) {
    bool is_quantized = lathe_dtype_is_quantized(r->job->to->dtype);
    return r->job->report != NULL || r->plan.pass.strict ||
           (is_quantized && r->plan.pass.quality != LATHE_BALANCED) ||
           lt_dtype_traits_of(r->source->layout.dtype)->byte_values != 0;
}

/* On a device, starting kernels for few elements costs more than converting them: the first waves
 * are bounced together, a part of the tensor that grows with it. */
static uint64_t piece_elems_of(const run *r) {
    if (!r->backend->is_remote) {
        return CPU_PIECE_ELEMS;
    }
    uint64_t part = r->job->to->n_elems / MIN_PARTS / LT_WAVE_QUANTUM * LT_WAVE_QUANTUM;
    return lt_max(lt_min(part, MAX_PIECE_ELEMS), HEAD_ELEMS);
}

bool lt_in_place_is_for_cpu(const lt_in_place *job) {
    return job->report != NULL || lt_precise_applies(job->to->dtype, job->target->quality);
}

static lathe_status plan_passes(run *r) {
    lt_in_place *job = r->job;
    const bool is_remote = r->backend->is_remote;
    if (is_remote && lt_in_place_is_for_cpu(job)) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the device does not do that");
    }
    r->plan = lt_plan_make(r->backend, &r->source->layout, job->to, job->target, 0);
    r->plan.pass.own_scales = false; /* they are known by then */
    r->checking = r->plan.pass;
    r->checking.beyond_cache = false;
    r->writing = r->plan.pass;
    r->writing.strict = false;
    r->writing.nonfinite = LATHE_NONFINITE_SATURATE;
    if (r->writing.quality == LATHE_FAST) {
        r->writing.quality = LATHE_BALANCED; /* saturated elements have been counted */
    }
    r->waves = lt_waves_make(&r->writing.src, &r->writing.dst, piece_elems_of(r),
                             r->backend->elems_per_range,
                             is_remote ? 1 : RANGES_PER_THREAD * r->backend->n_threads, !is_remote);
    if (job->has_begun) {
        r->waves.row = job->row;
        r->waves.col = job->col;
    }
    return lt_waves_can_finish(r->waves)
               ? LATHE_OK
               : lt_fail(
                     LATHE_INCOMPATIBLE_TYPES, "in place, the rows of %s to %s cross each other",
                     lathe_dtype_name(r->source->layout.dtype), lathe_dtype_name(job->to->dtype));
}

/* ---- memory */

static lathe_status open_data(run *r) {
    const lathe_tensor *source = r->source;
    if (source->memory == LATHE_MEMORY_DEVICE) {
        if (source->on_device->backend != r->backend) {
            return lt_fail(LATHE_NOT_SUPPORTED, "the tensor is on another device");
        }
        r->src = lt_device_tensor_span(source);
        r->dst = (lt_span){.data = r->src.data, .data_offset = r->src.data_offset};
        return LATHE_OK;
    }
    uint64_t n_bytes = lt_max(source->layout.n_bytes, r->job->to->n_bytes);
    lathe_status status = r->ops->buffer_wrap(r->backend, source->data, n_bytes, &r->wrapped);
    r->src = r->dst = (lt_span){.data = &r->wrapped};
    return status;
}

/* A side's scales, from the host's memory: where they are, or a copy on the device. */
static lathe_status open_scales(run *r, float *scales, uint64_t n_scales, lt_buffer *buffer) {
    uint64_t n_bytes = n_scales * sizeof(float);
    if (!r->backend->is_remote) {
        return r->ops->buffer_wrap(r->backend, scales, n_bytes, buffer);
    }
    if (buffer->n_bytes == 0) {
        lathe_status status = r->ops->buffer_create(r->backend, LT_MEMORY_DEVICE, n_bytes, buffer);
        if (status != LATHE_OK) {
            return status;
        }
    }
    return r->ops->upload(r->backend, r->queue, buffer, 0, scales, n_bytes);
}

static lathe_status open_memory(run *r, const lt_in_place_memory *memory) {
    const lt_layout *from = &r->source->layout;
    const lt_layout *to = r->job->to;
    lathe_status status = open_data(r);
    if (status == LATHE_OK) {
        status = r->ops->queue_open(r->backend, &r->queue);
    }
    if (status == LATHE_OK && from->n_scales > 0 && r->src.scales == NULL) {
        r->src.scales = &r->src_scales;
        status = open_scales(r, r->source->scales, from->n_scales, &r->src_scales);
    }
    if (status == LATHE_OK && to->n_scales > 0) {
        lt_buffer *scales = memory->new_scales != NULL ? memory->new_scales : &r->dst_scales;
        r->dst.scales = scales;
        status = open_scales(r, r->job->scales, to->n_scales, scales);
    }
    return status;
}

/* Makes the buffer for what is bounced. */
static lathe_status open_scratch(run *r) {
    const lt_layout *to = r->job->to;
    if (!r->backend->is_remote || r->scratch.n_bytes > 0) {
        return LATHE_OK;
    }
    uint64_t width = to->unit_elems == 1 ? to->unit_bytes : 1;
    uint64_t elems = lt_min(r->waves.piece_elems, to->n_elems);
    return r->ops->buffer_create(r->backend, LT_MEMORY_DEVICE, elems * width, &r->scratch);
}

static void close_memory(run *r) {
    r->ops->queue_close(r->backend, r->queue);
    r->ops->buffer_destroy(r->backend, &r->scratch);
    r->ops->buffer_destroy(r->backend, &r->dst_scales);
    r->ops->buffer_destroy(r->backend, &r->src_scales);
    r->ops->buffer_destroy(r->backend, &r->wrapped);
}

/* ---- the queue */

static lathe_status finish(run *r) {
    r->n_works = 0;
    return r->ops->finish(r->backend, r->queue);
}

/* The next work of the queue, of some of the ranges. */
static lathe_status make_work(run *r, const lt_pass *pass, const lt_span *dst,
                              const lt_ranges *ranges, uint64_t first, uint64_t n_ranges,
                              const lt_work **made) {
    lathe_status status = r->n_works == MAX_WORKS ? finish(r) : LATHE_OK;
    if (status != LATHE_OK) {
        return status;
    }
    r->ranges[r->n_works] = *ranges;
    lt_work *work = &r->works[r->n_works];
    *work = (lt_work){
        .pass = pass,
        .src = r->src,
        .dst = *dst,
        .ranges = &r->ranges[r->n_works],
        .first_range = first,
        .n_ranges = n_ranges,
        .outcome = &r->outcome,
    };
    r->n_works++;
    *made = work;
    return LATHE_OK;
}

static lathe_status submit(run *r, const lt_pass *pass, const lt_span *dst, const lt_ranges *ranges,
                           uint64_t first, uint64_t n_ranges) {
    const lt_work *work = NULL;
    lathe_status status = make_work(r, pass, dst, ranges, first, n_ranges, &work);
    return status == LATHE_OK ? r->ops->submit_convert(r->backend, r->queue, work) : status;
}

/* ---- through a buffer */

/* The target's span when a range of it goes into a buffer. */
static lt_span bounced_span(const run *r, const lt_buffer *buffer, uint64_t first_byte) {
    lt_span span = r->dst;
    span.data = buffer;
    span.data_offset = 0;
    span.first_byte = first_byte;
    return span;
}

/* Ranges on their way through tiles. */
typedef struct bounce {
    run *r;
    const lt_pass *pass;
    const lt_ranges *ranges;
    bool write; /* the tile is copied to the range's place */
} bounce;

static void bounce_on_cpu(const bounce *b, uint64_t index, uint8_t *tile) {
    run *r = b->r;
    const lt_buffer buffer = {.host = tile, .n_bytes = TILE_BYTES};
    const lt_range range = lt_ranges_at(b->ranges, index);
    uint64_t first;
    uint64_t n_bytes;
    lt_range_bytes(&b->pass->dst, &range, &first, &n_bytes);
    const lt_work work = {
        .pass = b->pass,
        .src = r->src,
        .dst = bounced_span(r, &buffer, first),
        .ranges = b->ranges,
        .first_range = index,
        .n_ranges = 1,
        .outcome = &r->outcome,
        .on_this_thread = true,
    };
    (void)r->ops->submit_convert(r->backend, NULL, &work); /* which cannot fail on the CPU */
    if (b->write) {
        memcpy(lt_span_bytes(&r->dst) + first, tile, (size_t)n_bytes);
    }
}

static void bounce_some(const bounce *b, uint64_t first, uint64_t end) {
    alignas(64) uint8_t tile[TILE_BYTES];
    for (uint64_t index = first; index < end; index++) {
        bounce_on_cpu(b, index, tile);
    }
}

static void bounce_task(void *ctx, size_t i) {
    const bounce *b = ctx;
    uint64_t first = (uint64_t)i * PIECES_PER_TASK;
    bounce_some(b, first, lt_min(first + PIECES_PER_TASK, b->ranges->n_ranges));
}

static lathe_status bounce_on_device(const bounce *b, uint64_t index) {
    run *r = b->r;
    const lt_range range = lt_ranges_at(b->ranges, index);
    uint64_t first;
    uint64_t n_bytes;
    lt_range_bytes(&b->pass->dst, &range, &first, &n_bytes);
    const lt_span span = bounced_span(r, &r->scratch, first);
    lathe_status status = submit(r, b->pass, &span, b->ranges, index, 1);
    if (status == LATHE_OK && b->write) {
        status = r->ops->copy(r->backend, r->queue, &r->scratch, 0, r->dst.data,
                              r->dst.data_offset + first, n_bytes);
    }
    return status;
}

/* Converts each range by itself into a buffer and, if `write` is set, copies it to its place. */
static lathe_status bounce_ranges(run *r, const lt_pass *pass, const lt_ranges *ranges,
                                  bool write) {
    bounce b = {.r = r, .pass = pass, .ranges = ranges, .write = write};
    lathe_status status = LATHE_OK;
    if (!r->backend->is_remote) {
        size_t n_tasks = (size_t)lt_ceil_div(ranges->n_ranges, PIECES_PER_TASK);
        r->ops->parallel_for(r->backend, n_tasks, bounce_task, &b);
        return LATHE_OK;
    }
    for (uint64_t i = 0; status == LATHE_OK && i < ranges->n_ranges; i++) {
        status = bounce_on_device(&b, i);
    }
    return status;
}

/* ---- the steps */

static lathe_status data_status(const run *r) {
    return lt_outcome_status(&r->outcome, r->source->layout.dtype, r->job->to->dtype);
}

/* Converts everything into buffers that nobody looks at, to see whether anything is wrong. */
static lathe_status check_data(run *r) {
    if (!needs_check(r)) {
        return LATHE_OK;
    }
    const lt_ranges pieces = lt_pieces_of(&r->checking.dst, r->waves.piece_elems);
    lt_quality_sums sums = {0};
    r->outcome.quality = r->job->report != NULL ? &sums : NULL;
    lathe_status status = open_scratch(r);
    if (status == LATHE_OK) {
        status = bounce_ranges(r, &r->checking, &pieces, false);
    }
    if (status == LATHE_OK) {
        status = finish(r);
    }
    if (status == LATHE_OK) {
        status = data_status(r);
    }
    r->outcome.quality = NULL;
    if (status == LATHE_OK) {
        r->job->n_saturated = atomic_load(&r->outcome.n_saturated);
        if (r->job->report != NULL) {
            lt_quality_fill(&sums, r->job->report);
        }
    }
    return status;
}

/* Lets the host see what the device has put into its memory. */
static lathe_status show_host(run *r) {
    uint64_t n_bytes = r->wrapped.n_bytes;
    if (!r->backend->is_remote || n_bytes == 0) {
        return LATHE_OK;
    }
    lathe_status status =
        r->ops->map(r->backend, r->queue, &r->wrapped, 0, n_bytes, LT_ACCESS_READ);
    return status == LATHE_OK
               ? r->ops->unmap(r->backend, r->queue, &r->wrapped, 0, n_bytes, LT_ACCESS_READ)
               : status;
}

/* Where the work can go on. */
static void note_place(run *r) {
    r->job->row = r->waves.row;
    r->job->col = r->waves.col;
}

/* Has the backend convert without waves what it can so, which leaves the rest to them: each launch
 * as a whole is one. */
static lathe_status write_whole(run *r) {
    lathe_status status = LATHE_OK;
    lt_waves after = r->waves;
    lt_wave wave;
    while (r->ops->submit_in_place != NULL &&
           lt_waves_next_whole(&after, r->backend->elems_per_range, &wave)) {
        const lt_work *work = NULL;
        status = make_work(r, &r->writing, &r->dst, &wave.ranges, 0, wave.ranges.n_ranges, &work);
        if (status == LATHE_OK) {
            status = r->ops->submit_in_place(r->backend, r->queue, work);
        }
        if (status != LATHE_OK) {
            return status == LATHE_NOT_SUPPORTED ? LATHE_OK : status;
        }
        r->waves = after;
        note_place(r);
    }
    return LATHE_OK;
}

/* Makes what waves need, amid them. */
static lathe_status open_scratch_late(run *r) {
    lathe_status status = open_scratch(r);
    if (status != LATHE_OK) {
        const lathe_error error = *lt_error();
        r->is_idle = finish(r) == LATHE_OK;
        *lt_error() = error;
    }
    return status;
}

/* Some ranges of a wave on the CPU, which cannot fail. */
static void write_on_cpu(void *ctx, const lt_wave *wave, uint64_t first, uint64_t end) {
    run *r = ctx;
    if (wave->is_bounced) {
        const bounce b = {.r = r, .pass = &r->writing, .ranges = &wave->ranges, .write = true};
        bounce_some(&b, first, end);
        return;
    }
    const lt_work work = {
        .pass = &r->writing,
        .src = r->src,
        .dst = r->dst,
        .ranges = &wave->ranges,
        .first_range = first,
        .n_ranges = end - first,
        .outcome = &r->outcome,
        .on_this_thread = true,
    };
    (void)r->ops->submit_convert(r->backend, NULL, &work);
}

/* A wave is put into the queue only when all before it are there, and writes only what they have
 * read. So whichever wave cannot be put there, the work can go on from it elsewhere, if only those
 * before it are known to be complete. */
static lathe_status write_waves(run *r) {
    lt_wave wave;
    r->job->has_begun = true;
    note_place(r);
    if (!r->backend->is_remote) {
        lt_flow_run(r->backend, &r->waves, write_on_cpu, r);
        return LATHE_OK;
    }
    lathe_status status = write_whole(r);
    if (status == LATHE_OK && !lt_waves_are_done(&r->waves)) {
        status = open_scratch_late(r);
    }
    while (status == LATHE_OK && lt_waves_next(&r->waves, &wave)) {
        status = wave.is_bounced
                     ? bounce_ranges(r, &r->writing, &wave.ranges, true)
                     : submit(r, &r->writing, &r->dst, &wave.ranges, 0, wave.ranges.n_ranges);
        if (status == LATHE_OK) {
            note_place(r);
        }
    }
    if (status == LATHE_OK) {
        status = show_host(r);
    }
    return status == LATHE_OK ? finish(r) : status;
}

/* After a failure amid the waves: what has been done, and where the host can go on. */
static void settle(run *r) {
    const lathe_error error = *lt_error();
    r->job->is_lost = !r->is_idle && !r->ops->is_complete(r->backend, r->queue);
    if (!r->job->is_lost && r->wrapped.n_bytes > 0) {
        r->ops->queue_close(r->backend, r->queue);
        r->queue = NULL;
        r->job->is_lost = r->ops->queue_open(r->backend, &r->queue) != LATHE_OK ||
                          show_host(r) != LATHE_OK || finish(r) != LATHE_OK;
    }
    *lt_error() = error;
}

static lathe_status find_scales(run *r) {
    lt_in_place *job = r->job;
    if (job->has_scales || job->to->n_scales == 0) {
        return LATHE_OK;
    }
    lathe_status status =
        lt_direct_scales(job->engine, r->backend, r->source, job->target, job->scales);
    job->has_scales = status == LATHE_OK;
    return status;
}

lathe_status lt_in_place_run(lt_in_place *job, lt_backend *backend,
                             const lt_in_place_memory *memory) {
    run r = {.job = job, .backend = backend, .ops = backend->ops, .source = memory->source};
    lt_outcome_init(&r.outcome);
    lathe_status status = plan_passes(&r);
    if (status == LATHE_OK) {
        status = find_scales(&r);
    }
    if (status == LATHE_OK) {
        status = open_memory(&r, memory);
    }
    if (status == LATHE_OK && !job->is_verified) {
        status = check_data(&r);
        job->is_verified = status == LATHE_OK;
    }
    if (status == LATHE_OK) {
        status = write_waves(&r);
        if (status != LATHE_OK) {
            settle(&r);
        }
    }
    close_memory(&r);
    return status;
}
