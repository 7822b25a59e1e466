/* SPDX-License-Identifier: Apache-2.0 */
/* What a slot does with a unit of work: read, have it converted, write; on the device or, where
 * that fails, on the CPU. */
#include "core/checked.h"
#include "core/error.h"
#include "core/tensor.h"
#include "engine/stream_job.h"

/* A unit on its way through a slot. */
typedef struct unit {
    lt_stream_job *job;
    lt_slot *slot;
    lt_backend *backend; /* the device's, or the CPU's */
    lt_queue *queue;     /* of that backend */
    lt_part src;
    lt_part dst; /* n_scales is 0 where the target's scales are known */
    lt_slot_map map;
    lt_work work;
    lt_outcome outcome;    /* of the attempt that is under way */
    bool failed_on_device; /* the error is of the backend, not of the source or the sink */
} unit;

static lathe_status advance(lt_stream_job *j, uint64_t n_bytes) {
    if (j->progress == NULL) {
        return LATHE_OK;
    }
    (void)pthread_mutex_lock(&j->mutex);
    int answer = j->progress->advance(j->progress->ctx, n_bytes);
    (void)pthread_mutex_unlock(&j->mutex);
    return answer == 0 ? LATHE_OK : lt_fail(LATHE_CANCELLED, "the conversion was cancelled");
}

/* Notes whose error a failure is. */
static lathe_status of_device(unit *u, lathe_status status) {
    u->failed_on_device = u->failed_on_device || (status != LATHE_OK && u->backend->is_remote);
    return status;
}

static lathe_status map(unit *u, uint64_t first, uint64_t end, lt_access access) {
    return of_device(
        u, u->backend->ops->map(u->backend, u->queue, &u->slot->data, first, end - first, access));
}

static lathe_status unmap(unit *u, uint64_t first, uint64_t end, lt_access access) {
    return of_device(u, u->backend->ops->unmap(u->backend, u->queue, &u->slot->data, first,
                                               end - first, access));
}

/* Reads the source's part of the unit into the mapped slot; its data only if it is to be copied. */
static lathe_status read_source(unit *u, bool with_data) {
    const lt_source *source = u->job->source;
    uint8_t *host = u->slot->data.host;
    lathe_status status = LATHE_OK;
    if (with_data) {
        status = source->read(source->ctx, u->src.first_byte, host, (size_t)u->src.n_bytes);
    }
    if (status == LATHE_OK && u->src.n_scales > 0) {
        float *scales = (float *)(void *)(host + u->map.src_scales);
        status =
            source->read_scales(source->ctx, u->src.first_scale, scales, (size_t)u->src.n_scales);
        if (status == LATHE_OK) {
            status = lt_scales_check(scales, u->src.n_scales, u->src.first_scale);
        }
    }
    return status;
}

/* Brings the source's part into the slot. Pinned memory needs no copy by the host. */
static lathe_status load(unit *u) {
    const uint8_t *pinned = u->backend->is_remote ? u->job->source->pinned : NULL;
    uint64_t first = pinned != NULL ? u->map.src_scales : 0;
    uint64_t end = u->map.src_end;
    lathe_status status = LATHE_OK;
    if (pinned != NULL) {
        status = of_device(u, u->backend->ops->upload(u->backend, u->queue, &u->slot->data, 0,
                                                      pinned + u->src.first_byte, u->src.n_bytes));
    }
    if (status != LATHE_OK || first >= end) {
        return status;
    }
    status = map(u, first, end, LT_ACCESS_WRITE);
    if (status != LATHE_OK) {
        return status;
    }
    status = read_source(u, pinned == NULL);
    lathe_status unmapped = unmap(u, first, end, LT_ACCESS_WRITE);
    return status == LATHE_OK ? unmapped : status;
}

static lathe_status write_sink(const unit *u, bool with_data) {
    const lt_sink *sink = u->job->sink;
    const uint8_t *host = u->slot->data.host;
    lathe_status status = LATHE_OK;
    if (with_data) {
        status = sink->write(sink->ctx, u->dst.first_byte, host + u->map.dst_data,
                             (size_t)u->dst.n_bytes);
    }
    if (status == LATHE_OK && u->dst.n_scales > 0) {
        status = sink->write_scales(sink->ctx, u->dst.first_scale,
                                    (const float *)(const void *)(host + u->map.dst_scales),
                                    (size_t)u->dst.n_scales);
    }
    return status;
}

/* Waits for the conversion, and hands its result to the sink unless a fault was found. */
static lathe_status store(unit *u) {
    uint8_t *pinned = u->backend->is_remote ? u->job->sink->pinned : NULL;
    uint64_t first = pinned != NULL ? u->map.dst_scales : u->map.dst_data;
    uint64_t end = u->map.dst_end;
    bool is_mapped = first < end;
    lathe_status status = LATHE_OK;
    if (pinned != NULL) {
        status = of_device(u, u->backend->ops->download(u->backend, u->queue, &u->slot->data,
                                                        u->map.dst_data, pinned + u->dst.first_byte,
                                                        u->dst.n_bytes));
    }
    if (status == LATHE_OK && is_mapped) {
        status = map(u, first, end, LT_ACCESS_READ);
    }
    if (status != LATHE_OK) {
        return status;
    }
    status = of_device(u, u->backend->ops->finish(u->backend, u->queue));
    if (status == LATHE_OK && lt_outcome_element(&u->outcome) == LATHE_NO_ELEMENT) {
        status = write_sink(u, pinned == NULL);
    }
    if (is_mapped && unmap(u, first, end, LT_ACCESS_READ) != LATHE_OK && status == LATHE_OK) {
        /* The sink has its bytes, each of which it takes once: only the slot is lost. */
        u->slot->on_host = true;
    }
    return status;
}

static lt_span src_span(const unit *u) {
    return (lt_span){
        .data = &u->slot->data,
        .first_byte = u->src.first_byte,
        .scales = u->src.n_scales > 0 ? &u->slot->data : NULL,
        .scale_offset = u->map.src_scales / sizeof(float),
        .first_scale = u->src.first_scale,
    };
}

static lt_span dst_span(const unit *u) {
    const lt_pass *pass = &u->job->plan.pass;
    lt_span span = {
        .data = &u->slot->data,
        .data_offset = u->map.dst_data,
        .first_byte = u->dst.first_byte,
    };
    if (pass->own_scales) {
        span.scales = &u->slot->data;
        span.scale_offset = u->map.dst_scales / sizeof(float);
        span.first_scale = u->dst.first_scale;
    } else if (pass->dst.n_scales > 0) {
        span.scales = u->backend->is_remote ? &u->job->scales : &u->job->host_scales;
    }
    return span;
}

static lathe_status convert(unit *u) {
    lathe_status status = load(u);
    u->work.src = src_span(u);
    u->work.dst = dst_span(u);
    if (status == LATHE_OK) {
        status = of_device(u, u->backend->ops->submit_convert(u->backend, u->queue, &u->work));
    }
    return status == LATHE_OK ? store(u) : status;
}

static lathe_status find_stats(unit *u) {
    lathe_status status = u->src.n_bytes > 0 ? load(u) : LATHE_OK;
    u->work.src = src_span(u);
    if (status == LATHE_OK) {
        status = of_device(u, u->backend->ops->submit_stats(u->backend, u->queue, &u->work));
    }
    return status == LATHE_OK ? of_device(u, u->backend->ops->finish(u->backend, u->queue))
                              : status;
}

static lathe_status attempt(unit *u, lathe_status (*step)(unit *u)) {
    lt_outcome_init(&u->outcome);
    u->work.outcome = &u->outcome;
    lathe_status status = step(u);
    if (status == LATHE_OK) {
        lt_outcome_merge(&u->job->outcome, &u->outcome);
    }
    return status;
}

/* Runs the unit on the slot's backend and, if the device fails, again on the CPU, from the source
 * on. What the device may have written to the sink's own memory is written again. */
static lathe_status run(unit *u, lathe_status (*step)(unit *u)) {
    lathe_engine *engine = u->job->streamer->engine;
    lathe_status status = LATHE_OK;
    if (!u->slot->on_host) {
        u->backend = u->job->backend;
        u->queue = u->slot->queue;
        status = attempt(u, step);
        if (status == LATHE_OK) {
            return LATHE_OK;
        }
        if (u->queue != NULL) { /* nothing of a failed unit is to be in flight */
            (void)u->backend->ops->finish(u->backend, u->queue);
        }
        if (!u->failed_on_device || engine->require_device) {
            return status;
        }
        u->slot->on_host = true;
    }
    atomic_store(&u->job->fell_back, true);
    u->backend = engine->cpu;
    u->queue = NULL;
    return attempt(u, step);
}

lathe_status lt_stream_convert_unit(lt_stream_job *j, lt_slot *slot, uint64_t index) {
    const lt_pass *pass = &j->plan.pass;
    lt_range range = lt_ranges_at(&j->chunks, index);
    uint64_t elem = range.row * pass->dst.row_elems + range.col;
    uint64_t n_elems = range.n_rows * range.n_cols;
    unit u = {
        .job = j,
        .slot = slot,
        .src = lt_part_of(&pass->src, elem, n_elems),
        .dst = lt_part_of(&pass->dst, elem, n_elems),
        .work =
            {
                .pass = pass,
                .ranges = &j->chunks,
                .first_range = index,
                .n_ranges = 1,
                .on_this_thread = true,
            },
    };
    if (!pass->own_scales) {
        u.dst.n_scales = 0;
    }
    u.map = lt_slot_map_of(&u.src, &u.dst);
    lathe_status status = run(&u, convert);
    return status == LATHE_OK ? advance(j, u.src.n_bytes) : status;
}

lathe_status lt_stream_stats_unit(lt_stream_job *j, lt_slot *slot, uint64_t index) {
    const lt_pass *pass = &j->plan.pass;
    uint64_t first = index * j->tiles_per_unit;
    unit u = {
        .job = j,
        .slot = slot,
        .work =
            {
                .pass = pass,
                .stats = j->stats + first,
                .first_tile = j->first_tile + first,
                .n_tiles = lt_min(j->tiles_per_unit, j->n_tiles - first),
                .on_this_thread = true,
            },
    };
    uint64_t elem;
    uint64_t last_elem;
    uint64_t n_last;
    uint64_t n_first;
    lt_tiling_tile(&pass->tiling, u.work.first_tile, &elem, &n_first);
    lt_tiling_tile(&pass->tiling, u.work.first_tile + u.work.n_tiles - 1, &last_elem, &n_last);
    u.src = lt_part_of(&pass->src, elem, last_elem + n_last - elem);
    u.map = lt_slot_map_of(&u.src, &u.dst);
    lathe_status status = run(&u, find_stats);
    return status == LATHE_OK ? advance(j, u.src.n_bytes) : status;
}

uint64_t lt_stream_copy_chunk(const lt_stream_job *j) {
    return lt_min(j->streamer->slot_bytes, j->backend->chunk_bytes);
}

/* A copy is the host's business: the slot's memory is used without its device. */
lathe_status lt_stream_copy_unit(lt_stream_job *j, lt_slot *slot, uint64_t index) {
    uint64_t chunk = lt_stream_copy_chunk(j);
    uint64_t offset = index * chunk;
    size_t n_bytes = (size_t)lt_min(chunk, j->copy_bytes - offset);
    lathe_status status = j->source->read(j->source->ctx, offset, slot->data.host, n_bytes);
    if (status == LATHE_OK) {
        status = j->sink->write(j->sink->ctx, offset, slot->data.host, n_bytes);
    }
    return status == LATHE_OK ? advance(j, n_bytes) : status;
}
