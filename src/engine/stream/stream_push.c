/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that their producer feeds: the public functions. */
#include "engine/stream/stream_push.h"

#include "core/error.h"
#include "core/fpenv.h"
#include "pool/pool.h"
#include <inttypes.h>
#include <string.h>

/* Both sides of a chunk: what is fed is mostly some of them and a part, which has to be copied. */
#define FED_CHUNK_BYTES (UINT64_C(128) << 10)

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
        lt_fed_begin_phase(s, lt_stream_stats_window(j, 0));
    } else {
        status = given != NULL ? lt_stream_take_scales(j, given) : LATHE_OK;
        lt_fed_begin_phase(s, lt_stream_main_phase(j));
    }
    s->call.options.target_scales = NULL;
    return status;
}

static lathe_status read_scales(void *ctx, uint64_t first, float *scales, size_t n_scales) {
    const lathe_stream *s = ctx;
    memcpy(scales, s->scales + first, n_scales * sizeof *scales);
    return LATHE_OK;
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
        status = lt_stream_job_init(&s->job, s->streamer, &call->from, &call->target, slots.scales);
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
    if (!s->job.plan.is_copy) { /* which takes them over as they are */
        status = lt_scales_check(scales, n_scales, s->n_scales_fed);
    }
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
    status = lt_fed_bring(s, bytes, n_bytes);
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
    status = lt_fed_bring(s, NULL, 0);
    if (status == LATHE_OK) {
        status = lt_stream_end_stats(&s->job);
    }
    if (status == LATHE_OK) {
        s->round = 1;
        s->position = 0;
        lt_fed_begin_phase(s, lt_stream_main_phase(&s->job));
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
    status = lt_fed_bring(s, NULL, 0);
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
