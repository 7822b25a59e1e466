/* SPDX-License-Identifier: Apache-2.0 */
/* Chains between tensors that the device does not reach: their passes over the slots of a streamer.
 */
#include "engine/stream/chain_stream.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/stream/stream_job.h"
#include "engine/stream/tensor_stream.h"

lathe_status lt_chain_stream_open(lathe_engine *engine, lt_stream_scales scales,
                                  lt_chain_stream *stream) {
    const lathe_tensor_desc from = lt_tensor_desc_of(stream->source);
    lt_streamer_options options = lt_tensor_slots(engine, &from, stream->target);
    options.scales = scales;
    options.device_only = true;
    lt_chain_stream_close(stream);
    return lt_streamer_open(engine, &options, &stream->streamer);
}

void lt_chain_stream_close(lt_chain_stream *stream) {
    lt_streamer_free(stream->streamer);
    stream->streamer = NULL;
}

/* A pass on its way. */
typedef struct chain_pass {
    lt_stream_job job;
    lt_source source;
    lt_sink sink;
} chain_pass;

static lathe_status begin(const lt_chain_stream *stream, lt_stream_scales scales,
                          chain_pass *pass) {
    const lathe_tensor_desc from = lt_tensor_desc_of(stream->source);
    lathe_status status =
        lt_stream_job_init(&pass->job, stream->streamer, &from, stream->target, scales);
    if (status != LATHE_OK) {
        return status;
    }
    pass->source = lt_tensor_source(stream->source);
    pass->sink = lt_tensor_sink(stream->result);
    pass->job.is_for_device = true;
    lt_stream_job_connect(&pass->job, &pass->source, &pass->sink, NULL);
    for (uint32_t i = 0; i < stream->streamer->n_slots; i++) {
        if (stream->streamer->slots[i].on_host) {
            lt_stream_job_destroy(&pass->job);
            return lt_fail(LATHE_DEVICE, "a queue that has failed cannot be opened again");
        }
    }
    return LATHE_OK;
}

/* Faults are handed on: which step they are of is not the stream's to say. */
static lathe_status end(lt_stream_job *job, lathe_status status, lt_outcome *outcome) {
    if (job->error.status == LATHE_OK && lt_outcome_element(&job->outcome) != LATHE_NO_ELEMENT) {
        status = LATHE_OK;
    }
    lt_outcome_merge(outcome, &job->outcome);
    lt_stream_job_destroy(job);
    return status;
}

lathe_status lt_chain_stream_stats(const lt_chain_stream *stream, const lt_chain_work *work) {
    chain_pass pass;
    lt_stream_job *job = &pass.job;
    lathe_status status = begin(stream, LT_STREAM_SCALES_BEFORE, &pass);
    if (status != LATHE_OK) {
        return status;
    }
    job->plan.pass = *work->pass;
    job->stats = work->stats;
    const lt_stream_phase phase = lt_stream_stats_window(job, work->first_tile);
    status = lt_stream_drive(job, &phase);
    job->stats = NULL; /* the caller's */
    return end(job, status, work->outcome);
}

lathe_status lt_chain_stream_convert(const lt_chain_stream *stream, const lt_chain_work *work,
                                     const float *scales) {
    chain_pass pass;
    lt_stream_job *job = &pass.job;
    lathe_status status = begin(
        stream, work->own_scales ? LT_STREAM_SCALES_IN_CHUNK : LT_STREAM_SCALES_BEFORE, &pass);
    if (status != LATHE_OK) {
        return status;
    }
    job->chain = work;
    if (scales != NULL) {
        status = lt_stream_take_scales(job, scales);
    }
    if (status == LATHE_OK) {
        const lt_stream_phase phase = lt_stream_main_phase(job);
        status = lt_stream_drive(job, &phase);
    }
    return end(job, status, work->outcome);
}

lathe_status lt_chain_stream_rounded(const lt_chain_stream *stream, const lathe_dtype *rounds,
                                     lt_outcome *outcome) {
    chain_pass pass;
    lt_stream_job *job = &pass.job;
    lathe_status status = begin(stream, LT_STREAM_SCALES_FOUND, &pass);
    if (status != LATHE_OK) {
        return status;
    }
    for (size_t i = 0; i < LT_MOST_ROUNDS; i++) {
        job->plan.pass.rounds[i] = rounds[i];
    }
    status = lt_stream_passes(job, NULL);
    return end(job, status, outcome);
}
