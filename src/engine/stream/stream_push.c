/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that their producer feeds. Into a tensor on the host, the CPU converts whole chunks where
 * the producer has them, on the engine's threads, while it waits. Otherwise, and where a call
 * brings less, bytes are copied into slots, which threads of the stream's own work on. */
#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/plan/planner.h"
#include "engine/stream/stream_api.h"
#include "engine/stream/stream_job.h"
#include "pool/pool.h"
#include <inttypes.h>
#include <string.h>

/* Both sides of a chunk: what is fed is mostly some of them and a part, which has to be copied. */
#define FED_CHUNK_BYTES (UINT64_C(128) << 10)

struct lathe_stream {
    lathe_engine *engine;
    lt_stream_call call;
    uint64_t shape[LATHE_MAX_DIMS];
    lt_sink_end sink;
    lt_streamer *streamer;
    lt_stream_job job;
    lt_source source; /* of scales alone */
    bool has_job;
    bool wants_workers;
    uint32_t n_workers;
    uint32_t n_rounds;
    uint32_t round;    /* from 0 */
    uint64_t position; /* in this round's bytes */
    uint64_t next_unit;
    lt_slot *slot;     /* that is being filled; NULL: none */
    uint32_t piece;    /* of it */
    uint64_t filled;   /* bytes of the piece */
    uint8_t last_byte; /* that was fed: the next unit may need its part of it */
    float *scales;     /* of the source */
    uint64_t n_scales_fed;
    bool is_finished;
    lathe_error error; /* that ended the conversion */
    uint64_t begin_ns;
};

/* ---- which threads */

static bool finds_stats(const lathe_stream *s) {
    return s->n_rounds == 2 && s->round == 0;
}

/* Work on n_bytes of the source as the planner knows it: the scales are known, or soon are. */
static lt_case case_of(const lathe_stream *s, uint64_t n_bytes) {
    const lt_pass *pass = &s->job.plan.pass;
    lt_case c = lt_case_of(&pass->src, &pass->dst, &s->call.target);
    double share = (double)n_bytes / (double)pass->src.n_bytes;
    c.n_bytes = (uint64_t)((double)c.n_bytes * share);
    if (s->n_rounds == 2) {
        c.kind = LT_WORK_PLAIN;
    }
    return c;
}

/* Waking threads takes as long as some hundred kilobytes: whether it pays was seen before. */
static void choose_threads(lathe_stream *s, uint64_t n_bytes) {
    const lt_case c = case_of(s, n_bytes);
    s->job.on_this_thread = !lt_costs_spread(s->engine->planner->costs, &c, !finds_stats(s));
}

/* ---- filling slots */

/* A slot for the next unit, open for its bytes, with the scales in it. */
static lathe_status open_unit(lathe_stream *s) {
    lt_stream_job *j = &s->job;
    choose_threads(s, j->streamer->n_slots * j->streamer->slot_bytes);
    lt_slot *slot = lt_stream_take_slot(j);
    if (slot == NULL) {
        return lt_stream_drain(j);
    }
    j->phase.prepare(j, slot, s->next_unit);
    lathe_status status = lt_stream_open_slot(j, slot);
    if (status != LATHE_OK) {
        lt_stream_give_slot(j, slot, status);
        return status;
    }
    for (uint32_t i = 0; i < slot->unit.n_pieces; i++) {
        const lt_piece *piece = &slot->unit.pieces[i];
        if (piece->src.n_scales > 0) {
            memcpy((uint8_t *)slot->data.host + piece->scales_at,
                   s->scales + piece->src.first_scale, piece->src.n_scales * sizeof(float));
        }
    }
    s->slot = slot;
    s->piece = 0;
    s->filled = 0;
    s->next_unit++;
    return LATHE_OK;
}

static lathe_status close_unit(lathe_stream *s) {
    lt_slot *slot = s->slot;
    s->slot = NULL;
    lathe_status status = lt_stream_close_slot(&s->job, slot);
    lt_stream_give_slot(&s->job, slot, status);
    return status;
}

/* Takes up to n_bytes bytes that are next in the round, passing over those that no unit needs;
 * returns how many. *is_full: the slot has all its bytes. */
static size_t fill(lathe_stream *s, const uint8_t *bytes, size_t n_bytes, bool *is_full) {
    const lt_unit *u = &s->slot->unit;
    size_t used = 0;
    while (s->piece < u->n_pieces) {
        const lt_piece *piece = &u->pieces[s->piece];
        uint64_t wanted = piece->src.first_byte + s->filled;
        uint8_t *out = (uint8_t *)s->slot->data.host + piece->data_at + s->filled;
        if (s->filled == piece->src.n_bytes) {
            s->piece++;
            s->filled = 0;
        } else if (s->position > wanted) { /* two units share a byte */
            *out = s->last_byte;
            s->filled++;
        } else if (used == n_bytes) {
            break;
        } else {
            bool is_needed = s->position == wanted;
            uint64_t most = is_needed ? piece->src.n_bytes - s->filled : wanted - s->position;
            size_t count = (size_t)lt_min(most, n_bytes - used);
            if (is_needed) {
                memcpy(out, bytes + used, count);
                s->filled += count;
            }
            used += count;
            s->position += count;
            s->last_byte = bytes[used - 1];
        }
    }
    *is_full = s->piece == u->n_pieces;
    return used;
}

/* ---- units that are converted where their bytes are */

/* The bytes of the source that a unit needs, and what lies between them: [*first, *end). Sampled
 * tiles may be empty. */
static void unit_bytes(lathe_stream *s, uint64_t unit, uint64_t *first, uint64_t *end) {
    lt_slot probe = {.on_host = false};
    s->job.phase.prepare(&s->job, &probe, unit);
    *first = UINT64_MAX;
    *end = 0;
    for (uint32_t i = 0; i < probe.unit.n_pieces; i++) {
        const lt_part *src = &probe.unit.pieces[i].src;
        *first = src->n_bytes > 0 ? lt_min(*first, src->first_byte) : *first;
        *end = src->n_bytes > 0 ? lt_max(*end, src->first_byte + src->n_bytes) : *end;
    }
}

static uint64_t end_of_unit(lathe_stream *s, uint64_t unit) {
    uint64_t first;
    uint64_t end;
    unit_bytes(s, unit, &first, &end);
    return first < end ? end : UINT64_MAX;
}

/* How many units from the next one on lie whole in the next n_bytes bytes. Most are as long as the
 * first. */
static uint64_t count_whole(lathe_stream *s, size_t n_bytes) {
    const lt_stream_job *j = &s->job;
    const uint64_t limit = s->position + n_bytes;
    const uint64_t unit = s->next_unit;
    uint64_t first;
    uint64_t end;
    if (j->has_workers || j->backend->is_remote || j->dst_memory.host == NULL) {
        return 0;
    }
    unit_bytes(s, unit, &first, &end);
    if (first < s->position || end > limit || first >= end) {
        return 0;
    }
    uint64_t n_left = j->phase.n_units - unit;
    uint64_t n_units = lt_max(lt_min((limit - first) / (end - first), n_left), 1);
    while (n_units > 1 && end_of_unit(s, unit + n_units - 1) > limit) {
        n_units--;
    }
    while (n_units < n_left && end_of_unit(s, unit + n_units) <= limit) {
        n_units++;
    }
    return n_units;
}

/* Converts such units; *used gets how many bytes that takes. */
static lathe_status convert_whole(lathe_stream *s, const uint8_t *bytes, size_t n_bytes,
                                  size_t *used) {
    lt_stream_job *j = &s->job;
    const uint64_t n_units = count_whole(s, n_bytes);
    *used = 0;
    if (n_units == 0) {
        return LATHE_OK;
    }
    const uint64_t end = end_of_unit(s, s->next_unit + n_units - 1);
    *used = (size_t)(end - s->position);
    j->src_memory = (lt_buffer){.host = (void *)(uintptr_t)bytes, .n_bytes = n_bytes};
    j->src_memory_at = s->position;
    choose_threads(s, *used);
    uint64_t start_ns = lt_now_ns();
    lathe_status status = lt_stream_run(j, s->next_unit, s->next_unit + n_units);
    if (status == LATHE_OK && !finds_stats(s)) {
        const lt_case c = case_of(s, *used);
        lt_costs_observe(s->engine->planner->costs,
                         j->on_this_thread ? LT_ON_CALLER : LT_ON_THREADS, &c,
                         lt_now_ns() - start_ns);
    }
    j->src_memory = (lt_buffer){.host = NULL};
    s->next_unit += n_units;
    s->position = end;
    s->last_byte = bytes[*used - 1];
    return status;
}

static lathe_status read_scales(void *ctx, uint64_t first, float *scales, size_t n_scales) {
    const lathe_stream *s = ctx;
    memcpy(scales, s->scales + first, n_scales * sizeof *scales);
    return LATHE_OK;
}

/* ---- windows and rounds */

static void begin_phase(lathe_stream *s, lt_stream_phase phase) {
    s->next_unit = 0;
    lt_stream_begin_phase(&s->job, &phase);
}

/* All units of a window of statistics, or of the pass, have been brought: folds the window. Sets
 * *is_over unless there is another one, which it begins. */
static lathe_status end_window(lathe_stream *s, bool *is_over) {
    lt_stream_job *j = &s->job;
    lathe_status status = lt_stream_drain(j);
    *is_over = true;
    if (status == LATHE_OK && finds_stats(s)) {
        uint64_t next = j->first_tile + j->n_tiles;
        if (j->n_tiles > 0) {
            lt_stream_fold_window(j);
        }
        *is_over = next >= j->plan.pass.tiling.n_tiles;
        if (*is_over) {
            j->first_tile = next;
            j->n_tiles = 0;
        } else {
            begin_phase(s, lt_stream_stats_window(j, next));
        }
    }
    return status;
}

/* Brings n_bytes bytes to their units; with none, ends the round's last units. */
static lathe_status bring(lathe_stream *s, const uint8_t *bytes, size_t n_bytes) {
    const bool ends_round = n_bytes == 0;
    bool is_over = false;
    lathe_status status = LATHE_OK;
    while (status == LATHE_OK && !is_over && (ends_round || n_bytes > 0)) {
        if (s->slot == NULL && s->next_unit == s->job.phase.n_units) {
            status = end_window(s, &is_over);
            continue;
        }
        if (s->slot == NULL) {
            size_t used;
            status = convert_whole(s, bytes, n_bytes, &used);
            n_bytes -= used;
            if (used > 0) {
                bytes += used;
                continue;
            }
            status = open_unit(s);
        }
        if (s->slot != NULL) {
            bool is_full = false;
            size_t used = fill(s, bytes, n_bytes, &is_full);
            n_bytes -= used;
            bytes = used > 0 ? bytes + used : bytes;
            status = is_full ? close_unit(s) : LATHE_OK;
        }
    }
    s->position += n_bytes; /* what lies behind the last sampled tile */
    return status;
}

/* ---- ends */

static void record(const lathe_stream *s, lathe_status status) {
    lt_streamer_record(s->streamer, &s->call.from, &s->call.target,
                       atomic_load(&s->job.outcome.n_saturated), lt_now_ns() - s->begin_ns, status);
}

/* The conversion has failed with the thread's last error, or with an earlier one of the job. */
static lathe_status die(lathe_stream *s) {
    const lathe_error own = *lt_error();
    lt_stream_job *j = &s->job;
    lathe_status status = lt_stream_drain(j); /* names the first faulty element */
    if (status == LATHE_OK) {
        (void)lt_fail_with(&own);
    }
    lt_stream_stop(j);
    status = lt_stream_call_fail(&s->call);
    s->error = *lt_error();
    lt_stream_update_fallback(j);
    record(s, status);
    lt_sink_close(&s->sink);
    return lt_fail_with(&s->error);
}

static lathe_status check_alive(const lathe_stream *s) {
    if (s == NULL || s->is_finished) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the stream is %s", s == NULL ? "NULL" : "finished");
    }
    return s->error.status == LATHE_OK ? LATHE_OK : lt_fail_with(&s->error);
}

static lathe_status check_scales(const lathe_stream *s) {
    uint64_t n_scales = s->call.src.n_scales;
    return s->n_scales_fed == n_scales
               ? LATHE_OK
               : lt_fail(LATHE_INVALID_ARGUMENT,
                         "%" PRIu64 " of %" PRIu64 " scales have been fed, which come before the "
                         "data",
                         s->n_scales_fed, n_scales);
}

static lathe_status check_round(const lathe_stream *s, uint32_t round) {
    uint64_t missing = lathe_stream_missing_bytes(s);
    if (missing > 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "%" PRIu64 " of the round's %" PRIu64 " bytes are missing", missing,
                       s->call.src.n_bytes);
    }
    if (s->round != round) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the data is to be fed %s",
                       s->round + 1 == s->n_rounds ? "no more" : "once more, after a rewind");
    }
    return check_scales(s);
}

/* ---- the public functions */

static lathe_status copy_call(lathe_stream *s, const lt_stream_call *call) {
    s->call = *call;
    if (call->from.n_dims > 0) {
        memcpy(s->shape, call->from.shape, call->from.n_dims * sizeof s->shape[0]);
    }
    s->call.from.shape = s->call.to.shape = s->shape;
    if (call->src.n_scales == 0) {
        return LATHE_OK;
    }
    s->scales = lt_pool_new_array(s->engine->pool, (size_t)call->src.n_scales, sizeof(float));
    return s->scales != NULL ? LATHE_OK : lt_error()->status;
}

/* Begins the first round. */
static lathe_status begin_round(lathe_stream *s) {
    lt_stream_job *j = &s->job;
    const float *given = s->call.options.target_scales;
    lathe_status status = LATHE_OK;
    s->n_rounds = j->plan.stats_first && j->plan.pass.dst.n_elems > 0 ? 2 : 1;
    if (s->n_rounds == 2 && j->plan.pass.quality == LATHE_PRECISE) {
        return lt_fail(LATHE_NOT_SUPPORTED, "quality precise looks at a scope that is longer than "
                                            "a chunk more often than a stream is fed");
    }
    if (s->n_rounds == 2) {
        status = lt_stream_begin_stats(j);
        begin_phase(s, lt_stream_stats_window(j, 0));
    } else {
        status = given != NULL ? lt_stream_take_scales(j, given) : LATHE_OK;
        begin_phase(s, lt_stream_main_phase(j));
    }
    s->call.options.target_scales = NULL;
    return status;
}

static lathe_status begin(lathe_stream *s, const lathe_sink *sink) {
    lt_stream_call *call = &s->call;
    lt_streamer_options slots = lt_stream_call_slots(call, NULL, sink);
    if (slots.config.prefetch_chunks != 0 || s->engine->streaming.prefetch_chunks != 0) {
        s->wants_workers = true;
    } else if (s->engine->device != NULL || !slots.in_memory.has_sink) {
        s->wants_workers = true;
        slots.config.prefetch_chunks = 1;
    } else {
        slots.good_bytes = FED_CHUNK_BYTES;
    }
    lathe_status status = lt_streamer_open(s->engine, &slots, &s->streamer);
    if (status == LATHE_OK) {
        status =
            lt_stream_job_init(&s->job, s->streamer, &call->from, &call->target, slots.has_scales);
        s->has_job = status == LATHE_OK;
    }
    if (status == LATHE_OK && s->job.plan.stats_first &&
        s->job.plan.pass.quality == LATHE_PRECISE) {
        status = lt_fail(LATHE_NOT_SUPPORTED,
                         "the search for scales of more elements than fit in a chunk reads the "
                         "data more than twice: it is not to be fed");
    }
    if (status == LATHE_OK && call->options.quality_report != 0) {
        status = lt_stream_measure(&s->job);
    }
    if (status == LATHE_OK) {
        status = lt_sink_open(&s->sink, s->engine->pool, sink, &call->to, &call->dst);
    }
    if (status != LATHE_OK) {
        return status;
    }
    uint64_t total = lt_stream_read_bytes(&s->job.plan);
    s->source = (lt_source){.ctx = s, .read_scales = read_scales};
    lt_stream_job_connect(&s->job, &s->source, &s->sink.sink, lt_stream_call_progress(call, total));
    status = begin_round(s);
    if (status == LATHE_OK && s->wants_workers) {
        s->n_workers = lt_stream_start_workers(&s->job);
    }
    return status;
}

lathe_status lathe_stream_begin(lathe_engine *engine, const lathe_tensor_desc *from,
                                const lathe_target *target, const lathe_sink *sink,
                                const lathe_stream_options *options, lathe_stream **stream) {
    lt_stream_call call;
    if (engine == NULL || sink == NULL || stream == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, sink or stream is NULL");
    }
    if (sink->struct_size != sizeof *sink) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "sink struct_size is not sizeof(lathe_sink)");
    }
    lathe_status status = lt_stream_call_init(&call, from, target, options);
    if (status != LATHE_OK) {
        return lt_stream_call_fail(&call);
    }
    lathe_stream *made = lt_pool_new(engine->pool, sizeof *made);
    if (made == NULL) {
        return lt_stream_call_fail(&call);
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    made->engine = engine;
    made->begin_ns = lt_now_ns();
    status = copy_call(made, &call);
    if (status == LATHE_OK) {
        status = begin(made, sink);
    }
    lt_fpenv_leave(&saved);
    if (status != LATHE_OK) {
        const lathe_error error = *lt_error();
        made->is_finished = true; /* it has not begun */
        lathe_stream_free(made);
        (void)lt_fail_with(&error);
        return lt_stream_call_fail(&call);
    }
    *stream = made;
    return LATHE_OK;
}

uint32_t lathe_stream_n_rounds(const lathe_stream *stream) {
    return stream == NULL ? 0 : stream->n_rounds;
}

uint64_t lathe_stream_missing_bytes(const lathe_stream *stream) {
    return stream == NULL ? 0 : stream->call.src.n_bytes - stream->position;
}

lathe_status lathe_stream_feed_scales(lathe_stream *s, const float *scales, size_t n_scales) {
    lathe_status status = check_alive(s);
    if (status != LATHE_OK || n_scales == 0) {
        return status;
    }
    uint64_t missing = s->call.src.n_scales - s->n_scales_fed;
    if (scales == NULL || n_scales > missing) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "scales is NULL, or more than %" PRIu64 " are fed",
                       s->call.src.n_scales);
    }
    status = lt_scales_check(scales, n_scales, s->n_scales_fed);
    if (status != LATHE_OK) {
        return die(s);
    }
    memcpy(s->scales + s->n_scales_fed, scales, n_scales * sizeof *scales);
    s->n_scales_fed += n_scales;
    return LATHE_OK;
}

lathe_status lathe_stream_feed(lathe_stream *s, const void *bytes, size_t n_bytes) {
    lathe_status status = check_alive(s);
    if (status != LATHE_OK || n_bytes == 0) {
        return status;
    }
    if (bytes == NULL || n_bytes > lathe_stream_missing_bytes(s)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "bytes is NULL, or more than the round's %" PRIu64 " are fed",
                       s->call.src.n_bytes);
    }
    status = check_scales(s);
    if (status != LATHE_OK) {
        return status;
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    status = bring(s, bytes, n_bytes);
    status = status == LATHE_OK ? LATHE_OK : die(s);
    lt_fpenv_leave(&saved);
    return status;
}

lathe_status lathe_stream_rewind(lathe_stream *s) {
    lathe_status status = check_alive(s);
    if (status == LATHE_OK) {
        status = s->n_rounds == 2
                     ? check_round(s, 0)
                     : lt_fail(LATHE_INVALID_ARGUMENT, "the data of this stream is fed once");
    }
    if (status != LATHE_OK) {
        return status;
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    status = bring(s, NULL, 0);
    if (status == LATHE_OK) {
        status = lt_stream_end_stats(&s->job);
    }
    if (status == LATHE_OK) {
        s->round = 1;
        s->position = 0;
        begin_phase(s, lt_stream_main_phase(&s->job));
    } else {
        status = die(s);
    }
    lt_fpenv_leave(&saved);
    return status;
}

/* What no unit brings to the sink. */
static lathe_status write_rest(lathe_stream *s) {
    lt_stream_job *j = &s->job;
    uint64_t n_scales = s->call.src.n_scales;
    if (j->plan.is_copy) {
        return n_scales == 0 ? LATHE_OK
                             : j->sink->write_scales(j->sink->ctx, 0, s->scales, (size_t)n_scales);
    }
    bool is_given = j->host_scales.host != NULL;
    return s->call.dst.n_elems == 0 && !is_given ? lt_stream_write_empty_scales(j) : LATHE_OK;
}

lathe_status lathe_stream_finish(lathe_stream *s, lathe_convert_stats *stats) {
    lathe_status status = check_alive(s);
    if (status == LATHE_OK) {
        status = lt_stream_check_stats(stats);
    }
    if (status == LATHE_OK && stats != NULL && stats->quality != NULL &&
        s->job.outcome.quality == NULL) {
        status = lt_fail(LATHE_NOT_SUPPORTED,
                         "stats quality: the stream's options did not ask for quality_report");
    }
    if (status == LATHE_OK) {
        status = check_round(s, s->n_rounds - 1);
    }
    if (status != LATHE_OK) {
        return status;
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    status = bring(s, NULL, 0);
    if (status == LATHE_OK) {
        status = write_rest(s);
    }
    if (status == LATHE_OK) {
        status = lt_sink_finish(&s->sink);
    }
    if (status == LATHE_OK) {
        s->is_finished = true;
        lt_stream_update_fallback(&s->job);
        lt_stream_count(&s->job, stats);
        record(s, LATHE_OK);
    } else {
        status = die(s);
    }
    lt_fpenv_leave(&saved);
    return status;
}

void lathe_stream_free(lathe_stream *s) {
    if (s == NULL) {
        return;
    }
    lathe_pool *pool = s->engine->pool;
    if (s->has_job) {
        lt_stream_stop(&s->job);
        lt_stream_close(&s->job, s->n_workers);
        if (s->slot != NULL) {
            (void)lt_stream_close_slot(&s->job, s->slot);
        }
        if (!s->is_finished && s->error.status == LATHE_OK) {
            lt_stream_update_fallback(&s->job);
            record(s, LATHE_CANCELLED);
        }
        lt_stream_job_destroy(&s->job);
    }
    lt_sink_close(&s->sink);
    lt_streamer_free(s->streamer);
    lt_pool_delete(pool, s->scales);
    lt_pool_delete(pool, s);
}
