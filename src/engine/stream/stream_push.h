/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that their producer feeds: what their two parts share. stream_push.c has the public
 * functions, stream_feed.c what becomes of the bytes. */
#ifndef LT_ENGINE_STREAM_PUSH_H
#define LT_ENGINE_STREAM_PUSH_H

#include "core/tensor.h"
#include "engine/stream/stream_api.h"
#include "engine/stream/stream_job.h"

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

/* Begins with the units of a phase. */
void lt_fed_begin_phase(lathe_stream *s, lt_stream_phase phase);

/* Brings n_bytes bytes to their units; with none, ends the round's last units. */
lathe_status lt_fed_bring(lathe_stream *s, const uint8_t *bytes, size_t n_bytes);

#endif
