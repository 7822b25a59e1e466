/* SPDX-License-Identifier: Apache-2.0 */
/* What a slot does with a unit of work: read, have it converted, write; on the device or, where
 * that fails, on the CPU. */
#include "chain.h"
#include "core/checked.h"
#include "core/error.h"
#include "core/tensor.h"
#include "engine/stream/stream_job.h"

lathe_status lt_stream_advance(lt_stream_job *j, const lt_unit *u) {
    uint64_t n_bytes = 0;
    if (j->progress == NULL) {
        return LATHE_OK;
    }
    for (uint32_t i = 0; i < u->n_pieces; i++) {
        n_bytes += u->pieces[i].src.n_bytes;
    }
    (void)pthread_mutex_lock(&j->progress_mutex);
    int answer = j->progress->advance(j->progress->ctx, n_bytes);
    (void)pthread_mutex_unlock(&j->progress_mutex);
    return answer == 0 ? LATHE_OK : lt_fail(LATHE_CANCELLED, "the conversion was cancelled");
}

/* ---- the device, and the CPU in its place */

/* Notes whose error a failure is. */
static lathe_status of_device(lt_unit *u, lathe_status status) {
    u->failed_on_device = u->failed_on_device || (status != LATHE_OK && u->backend->is_remote);
    return status;
}

static lathe_status map(lt_slot *slot, uint64_t first, uint64_t end, lt_access access) {
    lt_unit *u = &slot->unit;
    return of_device(
        u, u->backend->ops->map(u->backend, u->queue, &slot->data, first, end - first, access));
}

static lathe_status unmap(lt_slot *slot, uint64_t first, uint64_t end, lt_access access) {
    lt_unit *u = &slot->unit;
    return of_device(
        u, u->backend->ops->unmap(u->backend, u->queue, &slot->data, first, end - first, access));
}

static void use_cpu(lt_stream_job *j, lt_unit *u) {
    atomic_store(&j->fell_back, true);
    u->backend = j->streamer->engine->cpu;
    u->queue = NULL;
    u->failed_on_device = false;
}

void lt_stream_choose_backend(lt_stream_job *j, lt_slot *slot) {
    lt_unit *u = &slot->unit;
    if (j->is_for_cpu) {
        u->backend = j->streamer->engine->cpu;
        u->queue = NULL;
    } else if (slot->on_host && !j->is_for_device) {
        use_cpu(j, u);
    } else {
        u->backend = j->backend;
        u->queue = slot->queue;
    }
}

/* OK if the CPU is to do what has failed with `status`. The slot stays with it for this tensor. */
static lathe_status fall_back(lt_stream_job *j, lt_slot *slot, lathe_status status) {
    lt_unit *u = &slot->unit;
    if (!u->failed_on_device) {
        return status;
    }
    if (u->queue != NULL) { /* nothing of a failed unit is to be in flight */
        (void)u->backend->ops->finish(u->backend, u->queue);
    }
    if (j->is_for_device || j->streamer->engine->require_device) {
        return status;
    }
    slot->on_host = true;
    use_cpu(j, u);
    return LATHE_OK;
}

/* ---- the source */

/* Two units share the byte in which one's last element and the other's first lie; what lies between
 * two units is passed over. */
static lathe_status read_in_order(lt_stream_job *j, uint64_t first, uint8_t *out, uint64_t n) {
    const lt_source *source = j->source;
    lathe_status status = LATHE_OK;
    while (status == LATHE_OK && j->position < first) {
        uint64_t count = lt_min(first - j->position, n); /* overwritten by what is wanted */
        status = source->read(source->ctx, j->position, out, (size_t)count);
        j->position += count;
    }
    if (status == LATHE_OK && n > 0 && j->position > first) {
        *out++ = j->last_byte;
        n--;
    }
    if (status == LATHE_OK && n > 0) {
        status = source->read(source->ctx, j->position, out, (size_t)n);
        j->position += n;
        j->last_byte = out[n - 1];
    }
    return status;
}

/* True if a side's data is copied between memory of the host's and staging for a device that has
 * memory of its own. */
static bool is_staged(const lt_unit *u, const uint8_t *data) {
    return u->backend->is_remote && u->backend->staged_cost > 1 && data != NULL;
}

/* Copies such data, of large tensors past the caches: the processor does not look at it again. */
static void copy_staged(const lt_stream_job *j, const uint8_t *from, uint8_t *to,
                        uint64_t n_bytes) {
    lt_backend *cpu = j->streamer->engine->cpu;
    const lt_buffer src = {.host = (void *)(uintptr_t)from, .n_bytes = j->plan.pass.src.n_bytes};
    const lt_buffer dst = {.host = to, .n_bytes = j->plan.pass.dst.n_bytes};
    (void)cpu->ops->copy(cpu, NULL, &src, 0, &dst, 0, n_bytes); /* which does not fail */
}

static lathe_status read_data(lt_stream_job *j, const lt_unit *u, uint64_t first, uint8_t *out,
                              uint64_t n_bytes) {
    const lt_source *source = j->source;
    if (is_staged(u, source->data)) {
        copy_staged(j, source->data + first, out, n_bytes);
        return LATHE_OK;
    }
    return source->in_order ? read_in_order(j, first, out, n_bytes)
                            : source->read(source->ctx, first, out, (size_t)n_bytes);
}

static lathe_status read_scales(const lt_stream_job *j, const lt_slot *slot,
                                const lt_piece *piece) {
    const lt_part *src = &piece->src;
    float *scales = (float *)(void *)((uint8_t *)slot->data.host + piece->scales_at);
    lathe_status status =
        j->source->read_scales(j->source->ctx, src->first_scale, scales, (size_t)src->n_scales);
    return status == LATHE_OK ? lt_scales_check(scales, src->n_scales, src->first_scale) : status;
}

/* Reads the source's part of the unit into the slot, which is open to the host. */
static lathe_status read_source(lt_stream_job *j, lt_slot *slot, bool with_data) {
    const lt_unit *u = &slot->unit;
    uint8_t *host = slot->data.host;
    lathe_status status = LATHE_OK;
    for (uint32_t i = 0; status == LATHE_OK && i < u->n_pieces; i++) {
        const lt_piece *piece = &u->pieces[i];
        if (with_data && piece->src.n_bytes > 0) {
            status =
                read_data(j, u, piece->src.first_byte, host + piece->data_at, piece->src.n_bytes);
        }
        if (status == LATHE_OK && piece->src.n_scales > 0) {
            status = read_scales(j, slot, piece);
        }
    }
    return status;
}

/* Has the device fetch the data from the source's pinned memory; scales still go through the host.
 */
static lathe_status load_pinned(lt_stream_job *j, lt_slot *slot) {
    lt_unit *u = &slot->unit;
    const lt_backend_ops *ops = u->backend->ops;
    lathe_status status = LATHE_OK;
    for (uint32_t i = 0; status == LATHE_OK && i < u->n_pieces; i++) {
        const lt_piece *piece = &u->pieces[i];
        status = ops->upload(u->backend, u->queue, &slot->data, piece->data_at,
                             j->source->data + piece->src.first_byte, piece->src.n_bytes);
    }
    of_device(u, status);
    if (status != LATHE_OK || u->scales_at >= u->src_end) {
        return status;
    }
    status = map(slot, u->scales_at, u->src_end, LT_ACCESS_WRITE);
    if (status != LATHE_OK) {
        return status;
    }
    status = read_source(j, slot, false);
    lathe_status unmapped = unmap(slot, u->scales_at, u->src_end, LT_ACCESS_WRITE);
    return status == LATHE_OK ? unmapped : status;
}

lathe_status lt_stream_open_slot(lt_stream_job *j, lt_slot *slot) {
    lathe_status status = map(slot, 0, slot->unit.src_end, LT_ACCESS_WRITE);
    return status == LATHE_OK ? status : fall_back(j, slot, status);
}

lathe_status lt_stream_close_slot(lt_stream_job *j, lt_slot *slot) {
    lathe_status status = unmap(slot, 0, slot->unit.src_end, LT_ACCESS_WRITE);
    slot->unit.has_source = true;
    return status == LATHE_OK ? status : fall_back(j, slot, status);
}

/* Pinned memory needs no copy by the host, and the host's own none for the CPU. */
lathe_status lt_stream_load_slot(lt_stream_job *j, lt_slot *slot) {
    lathe_status status;
    if (slot->unit.backend->is_remote && j->source->is_pinned) {
        status = load_pinned(j, slot);
        return status == LATHE_OK ? status : fall_back(j, slot, status);
    }
    if (j->src_memory.host != NULL) {
        slot->unit.has_source = slot->unit.is_in_memory = true;
        return read_source(j, slot, false);
    }
    status = lt_stream_open_slot(j, slot);
    if (status == LATHE_OK) {
        status = read_source(j, slot, true);
        lathe_status closed = lt_stream_close_slot(j, slot);
        status = status == LATHE_OK ? closed : status;
    }
    return status;
}

/* ---- the sink */

/* `bytes` is NULL where the sink has the data already. */
static lathe_status write_sink(lt_stream_job *j, lt_slot *slot, const uint8_t *bytes) {
    const lt_unit *u = &slot->unit;
    const lt_sink *sink = j->sink;
    const uint8_t *host = slot->data.host;
    lathe_status status = LATHE_OK;
    if (!lt_stream_await_turn(j, u)) {
        return LATHE_OK;
    }
    if (bytes != NULL && is_staged(u, sink->data)) {
        copy_staged(j, bytes, sink->data + u->dst.first_byte, u->dst.n_bytes);
    } else if (bytes != NULL) {
        status = sink->write(sink->ctx, u->dst.first_byte, bytes, (size_t)u->dst.n_bytes);
    }
    if (status == LATHE_OK && u->dst.n_scales > 0) {
        status = sink->write_scales(sink->ctx, u->dst.first_scale,
                                    (const float *)(const void *)(host + u->dst_scales_at),
                                    (size_t)u->dst.n_scales);
    }
    if (status == LATHE_OK) {
        lt_stream_end_turn(j);
    }
    return status;
}

/* Waits for the conversion, and hands its result to the sink unless a fault was found. */
static lathe_status store(lt_stream_job *j, lt_slot *slot) {
    lt_unit *u = &slot->unit;
    const lt_backend_ops *ops = u->backend->ops;
    uint8_t *pinned = u->backend->is_remote && j->sink->is_pinned ? j->sink->data : NULL;
    uint64_t first = pinned != NULL ? u->dst_scales_at : u->dst_data_at;
    uint64_t end = u->dst_end;
    bool is_mapped = first < end;
    lathe_status status = LATHE_OK;
    if (pinned != NULL) {
        status = of_device(u, ops->download(u->backend, u->queue, &slot->data, u->dst_data_at,
                                            pinned + u->dst.first_byte, u->dst.n_bytes));
    }
    if (status == LATHE_OK && is_mapped) {
        status = map(slot, first, end, LT_ACCESS_READ);
    }
    if (status != LATHE_OK) {
        return status;
    }
    status = of_device(u, ops->finish(u->backend, u->queue));
    if (status == LATHE_OK && lt_outcome_element(&u->outcome) == LATHE_NO_ELEMENT) {
        bool is_there = pinned != NULL || j->dst_memory.host != NULL;
        status = write_sink(j, slot,
                            is_there ? NULL : (const uint8_t *)slot->data.host + u->dst_data_at);
        /* Whatever comes of it, the sink is not to get these bytes again: only the slot is lost. */
        bool is_lost = is_mapped && unmap(slot, first, end, LT_ACCESS_READ) != LATHE_OK;
        slot->on_host = slot->on_host || is_lost;
        u->failed_on_device = false;
        return status;
    }
    if (is_mapped) {
        (void)unmap(slot, first, end, LT_ACCESS_READ);
    }
    return status;
}

/* ---- works */

static lt_span src_span(const lt_stream_job *j, const lt_slot *slot, const lt_piece *piece) {
    bool is_in_memory = slot->unit.is_in_memory;
    return (lt_span){
        .data = is_in_memory ? &j->src_memory : &slot->data,
        .data_offset = is_in_memory ? piece->src.first_byte - j->src_memory_at : piece->data_at,
        .first_byte = piece->src.first_byte,
        .scales = piece->src.n_scales > 0 ? &slot->data : NULL,
        .scale_offset = piece->scales_at / sizeof(float),
        .first_scale = piece->src.first_scale,
    };
}

static lt_span dst_span(const lt_stream_job *j, const lt_slot *slot) {
    const lt_unit *u = &slot->unit;
    const lt_pass *pass = &j->plan.pass;
    bool is_in_memory = j->dst_memory.host != NULL;
    lt_span span = {
        .data = is_in_memory ? &j->dst_memory : &slot->data,
        .data_offset = is_in_memory ? u->dst.first_byte : u->dst_data_at,
        .first_byte = u->dst.first_byte,
    };
    if (pass->own_scales) {
        span.scales = &slot->data;
        span.scale_offset = u->dst_scales_at / sizeof(float);
        span.first_scale = u->dst.first_scale;
    } else if (pass->dst.n_scales > 0) {
        span.scales = u->backend->is_remote ? &j->scales : &j->host_scales;
    }
    return span;
}

/* What a device does for PRECISE scales of a chunk. */
typedef struct precise_chunk {
    lt_pass standard;
    lt_pass given;
    lt_work works[3];
} precise_chunk;

/* Starts the search, after a pass that leaves the standard scales, which it begins with in longer
 * scopes, and then the conversion. */
static lathe_status submit_precise(lt_unit *u, const lt_work *work, precise_chunk *p) {
    const lt_backend_ops *ops = u->backend->ops;
    const lt_tiling *tiling = &work->pass->tiling;
    struct lt_quality_sums *quality = u->outcome.quality;
    lathe_status status = LATHE_OK;
    p->standard = p->given = *work->pass;
    p->standard.quality = LATHE_BALANCED;
    p->standard.strict = false;
    p->given.own_scales = false;
    for (size_t i = 0; i < sizeof p->works / sizeof p->works[0]; i++) {
        p->works[i] = *work;
        p->works[i].pass = i == 0 ? &p->standard : &p->given;
    }
    p->works[1].first_tile = u->dst.first_scale * tiling->tiles_per_scope;
    p->works[1].n_tiles = u->dst.n_scales * tiling->tiles_per_scope;
    if (tiling->scope_elems > LT_PRECISE_ELEMS) {
        u->outcome.quality = NULL; /* what this pass makes is not the result */
        status = ops->submit_convert(u->backend, u->queue, &p->works[0]);
        u->outcome.quality = quality;
    }
    if (status == LATHE_OK) {
        status = ops->submit_scales(u->backend, u->queue, &p->works[1]);
    }
    return status == LATHE_OK ? ops->submit_convert(u->backend, u->queue, &p->works[2]) : status;
}

static lathe_status convert(lt_stream_job *j, lt_slot *slot) {
    lt_unit *u = &slot->unit;
    const lt_pass *pass = &j->plan.pass;
    const bool searches = u->backend->is_remote && pass->quality == LATHE_PRECISE;
    lt_work *work = &u->pieces[0].work;
    precise_chunk precise;
    work->src = src_span(j, slot, &u->pieces[0]);
    work->dst = dst_span(j, slot);
    work->outcome = &u->outcome;
    lathe_status status = searches ? submit_precise(u, work, &precise)
                                   : u->backend->ops->submit_convert(u->backend, u->queue, work);
    return of_device(u, status) == LATHE_OK ? store(j, slot) : status;
}

static lathe_status convert_along(lt_stream_job *j, lt_slot *slot) {
    lt_unit *u = &slot->unit;
    const lt_work *work = &u->pieces[0].work;
    const lt_range range = lt_ranges_at(work->ranges, work->first_range);
    struct lt_chain_work part = *j->chain;
    part.src = src_span(j, slot, &u->pieces[0]);
    part.dst = dst_span(j, slot);
    part.outcome = &u->outcome;
    part.first_elem = range.row * work->ranges->row_elems + range.col;
    part.n_elems = range.n_rows * range.n_cols;
    lathe_status status = of_device(u, u->backend->ops->submit_chain(u->backend, u->queue, &part));
    return status == LATHE_OK ? store(j, slot) : status;
}

static lathe_status find_stats(lt_stream_job *j, lt_slot *slot) {
    lt_unit *u = &slot->unit;
    const lt_backend_ops *ops = u->backend->ops;
    lathe_status status = LATHE_OK;
    for (uint32_t i = 0; status == LATHE_OK && i < u->n_pieces; i++) {
        lt_work *work = &u->pieces[i].work;
        work->src = src_span(j, slot, &u->pieces[i]);
        work->outcome = &u->outcome;
        status = of_device(u, ops->submit_stats(u->backend, u->queue, work));
    }
    return status == LATHE_OK ? of_device(u, ops->finish(u->backend, u->queue)) : status;
}

static lathe_status attempt(lt_stream_job *j, lt_slot *slot,
                            lathe_status (*step)(lt_stream_job *, lt_slot *)) {
    lt_outcome_init(&slot->unit.outcome);
    slot->unit.outcome.quality = j->outcome.quality;
    lathe_status status = step(j, slot);
    if (status == LATHE_OK) {
        lt_outcome_merge(&j->outcome, &slot->unit.outcome);
    }
    return status;
}

/* Does the unit's work on the slot's backend and, if the device fails, again on the CPU. What the
 * device may have written to the sink's own memory is written again. */
static lathe_status work_on(lt_stream_job *j, lt_slot *slot,
                            lathe_status (*step)(lt_stream_job *, lt_slot *)) {
    lt_unit *u = &slot->unit;
    bool is_remote = u->backend->is_remote;
    lathe_status status = LATHE_OK;
    if (is_remote) {
        status = attempt(j, slot, step);
        if (status == LATHE_OK) {
            return lt_stream_advance(j, u);
        }
        status = fall_back(j, slot, status);
    }
    if (status == LATHE_OK && !u->has_source) {
        status = read_source(j, slot, true);
    }
    if (status == LATHE_OK) {
        status = attempt(j, slot, step);
    }
    return status == LATHE_OK ? lt_stream_advance(j, u) : status;
}

lathe_status lt_stream_work_chunk(lt_stream_job *j, lt_slot *slot) {
    return work_on(j, slot, j->chain != NULL ? convert_along : convert);
}

lathe_status lt_stream_work_tiles(lt_stream_job *j, lt_slot *slot) {
    return work_on(j, slot, find_stats);
}

lathe_status lt_stream_work_copy(lt_stream_job *j, lt_slot *slot) {
    const lt_unit *u = &slot->unit;
    const uint8_t *bytes = slot->data.host;
    if (u->is_in_memory) {
        bytes = (const uint8_t *)j->src_memory.host + (u->dst.first_byte - j->src_memory_at);
    }
    lathe_status status = write_sink(j, slot, bytes);
    return status == LATHE_OK ? lt_stream_advance(j, u) : status;
}
