/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the streaming strategy share: the job, and the units that slots run. */
#ifndef LT_ENGINE_STREAM_JOB_H
#define LT_ENGINE_STREAM_JOB_H

#include "engine/engine.h"
#include "engine/slots.h"
#include "engine/streaming.h"
#include <pthread.h>

/* A slot: memory for the two sides of a chunk, and the queue that it is worked on with. */
typedef struct lt_slot {
    lt_buffer data;
    lt_queue *queue;
    bool on_host; /* the device has failed here: the CPU goes on */
} lt_slot;

struct lt_streamer {
    lathe_engine *engine;
    lt_backend *backend;
    uint64_t slot_bytes;
    uint32_t n_slots;
    lt_slot slots[];
};

/* What the slots' threads share while they work on one tensor. */
typedef struct lt_stream_job {
    lt_streamer *streamer;
    lt_backend *backend;
    lt_plan plan;
    const lt_source *source;
    const lt_sink *sink;
    const lt_progress *progress;
    lt_ranges chunks;        /* convert */
    uint64_t tiles_per_unit; /* stats */
    uint64_t first_tile;
    uint64_t n_tiles;
    double *stats;
    lt_buffer scales;      /* of the whole target, where a stats pass finds them */
    lt_buffer host_scales; /* the same as the CPU sees them */
    uint64_t copy_bytes;   /* copy */
    uint64_t n_units;      /* chunks, tile runs or copies */
    lathe_status (*run_unit)(struct lt_stream_job *job, lt_slot *slot, uint64_t unit);
    atomic_uint_fast64_t next_unit;
    atomic_bool stop;
    atomic_bool fell_back; /* the CPU did some of the device's work */
    lt_outcome outcome;
    pthread_mutex_t mutex; /* guards what follows, and calls to progress */
    lathe_error error;     /* of the source, the sink, the device or a cancellation */
} lt_stream_job;

/* Units: a chunk of the convert pass, a run of tiles of the stats pass (a sampled tile is a run of
 * its own, since what lies between is not read), a piece of a copy. */
lathe_status lt_stream_convert_unit(lt_stream_job *job, lt_slot *slot, uint64_t unit);
lathe_status lt_stream_stats_unit(lt_stream_job *job, lt_slot *slot, uint64_t unit);
lathe_status lt_stream_copy_unit(lt_stream_job *job, lt_slot *slot, uint64_t unit);

/* The bytes of a copy unit, but for the last. */
uint64_t lt_stream_copy_chunk(const lt_stream_job *job);

#endif
