/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the streaming strategy share: the slots, the job, and the units that slots run.
 */
#ifndef LT_ENGINE_STREAM_JOB_H
#define LT_ENGINE_STREAM_JOB_H

#include "core/precise.h"
#include "core/quality.h"
#include "engine/engine.h"
#include "engine/stream/slots.h"
#include "engine/stream/streaming.h"
#include <pthread.h>

typedef struct lt_stream_job lt_stream_job;

typedef enum lt_slot_state {
    LT_SLOT_FREE = 0,
    LT_SLOT_READING, /* its source is on its way in */
    LT_SLOT_READY,   /* it is in */
    LT_SLOT_WORKING, /* its unit is converted and written */
} lt_slot_state;

/* Consecutive bytes of a unit's source, and the scales of their elements. */
typedef struct lt_piece {
    lt_part src;
    uint64_t data_at;   /* bytes into the slot */
    uint64_t scales_at; /* likewise */
    lt_work work;
} lt_piece;

/* A unit on its way through a slot. */
typedef struct lt_unit {
    uint64_t index;
    lt_backend *backend;   /* the device's, or the CPU's */
    lt_queue *queue;       /* of that backend */
    bool has_source;       /* the host sees the source's part, in the slot's memory or its own */
    bool is_in_memory;     /* the latter: the job's src_memory has its data */
    bool failed_on_device; /* the error is of the backend, not of the source or the sink */
    uint32_t n_pieces;
    lt_piece pieces[LT_SAMPLED_TILES];
    uint64_t scales_at; /* of all pieces, behind their data */
    uint64_t src_end;
    lt_part dst; /* n_scales is 0 where the target's scales are known */
    uint64_t dst_data_at;
    uint64_t dst_scales_at;
    uint64_t dst_end;
    lt_ranges merged;   /* of several chunks at once */
    lt_outcome outcome; /* of the attempt that is under way */
} lt_unit;

/* A slot: memory for the two sides of a chunk, and the queue that it is worked on with. */
typedef struct lt_slot {
    lt_buffer data;
    lt_queue *queue;
    bool on_host; /* the device has failed here: the CPU goes on */
    lt_slot_state state;
    lt_unit unit;
    pthread_t helper; /* of the thread with the slot's number; nothing to do with what is in it */
} lt_slot;

struct lt_streamer {
    lathe_engine *engine;
    lt_backend *backend;
    uint64_t slot_bytes;
    uint64_t chunk_bytes; /* that the caller wants; 0: good_bytes, or what suits the backend */
    uint64_t good_bytes;
    uint32_t n_slots;
    uint32_t n_parallel;       /* that are worked on at once; the others are read ahead */
    lt_stream_sides in_memory; /* slots hold none of their data */
    bool fell_back;            /* in the last conversion */
    bool was_for_cpu;          /* likewise: none of it was the device's work */
    lt_slot slots[];
};

/* What is done with units: each is read into a slot, by one thread, and then worked on, by any. */
typedef struct lt_stream_phase {
    uint64_t n_units;
    void (*prepare)(lt_stream_job *job, lt_slot *slot, uint64_t unit);
    lathe_status (*load)(lt_stream_job *job, lt_slot *slot); /* NULL: lt_stream_load_slot */
    lathe_status (*work)(lt_stream_job *job, lt_slot *slot);
} lt_stream_phase;

/* How one conversion goes through slots. */
typedef struct lt_stream_plan {
    lt_plan plan;
    lt_ranges chunks;        /* of the convert pass */
    uint64_t tiles_per_unit; /* of the stats pass */
    uint64_t slot_bytes;     /* that units need */
    uint64_t n_units;        /* of the longer phase */
} lt_stream_plan;

/* The slots that a conversion is planned for. */
typedef struct lt_slot_limits {
    const lt_backend *backend;
    uint64_t slot_bytes;
    uint64_t chunk_bytes; /* 0: good_bytes, as far as rows and scopes are no longer */
    uint64_t good_bytes;  /* 0: what suits the backend and the number of slots */
    uint64_t n_slots;
    lt_stream_sides in_memory;
} lt_slot_limits;

/* Plans for the slots: a single pass if every scope fits, else statistics first. Errors: those of
 * the description and the target; INSUFFICIENT_MEMORY. */
lathe_status lt_stream_plan_for(const lt_slot_limits *limits, const lathe_tensor_desc *from,
                                const lathe_target *target, lt_stream_scales scales,
                                lt_stream_plan *planned);

/* What the threads share while they work on one tensor. */
struct lt_stream_job {
    lt_streamer *streamer;
    lt_backend *backend;
    lt_plan plan;
    const lt_source *source;
    const lt_sink *sink;
    lt_buffer src_memory;   /* the source's data where it is in the host's memory, or some of it */
    uint64_t src_memory_at; /* the byte of the source that it begins with */
    lt_buffer dst_memory;   /* the sink's data, where the streamer says so */
    const lt_progress *progress;
    pthread_mutex_t progress_mutex; /* held in calls to progress */
    lt_ranges chunks;               /* convert */
    uint64_t tiles_per_unit;        /* stats: of the window [first_tile, first_tile + n_tiles) */
    uint64_t first_tile;
    uint64_t n_tiles;
    double *stats;
    lt_scan *scan; /* PRECISE: what the tiles are for instead; NULL: statistics */
    lt_fold fold;
    lt_buffer scales;      /* of the whole target, where they are known before it is converted */
    lt_buffer host_scales; /* the same as the CPU sees them */
    uint64_t copy_bytes;   /* copy */
    struct lt_stream_list_run *list; /* of small tensors: stream_list.c */
    uint64_t position;               /* in order: how much of the source has been read */
    uint8_t last_byte;               /* that was read, of which the next unit may need its part */
    const lt_chain_work *chain;      /* what chunks go through instead of the plan's pass; NULL */
    atomic_bool fell_back;           /* the CPU did some of the device's work */
    bool is_for_cpu;         /* PRECISE scales of more than a chunk: all of it is the CPU's work */
    bool is_for_device;      /* of chains: the CPU takes nothing over */
    lt_quality_sums quality; /* that a report is made of */
    lt_outcome outcome;
    pthread_mutex_t mutex; /* guards what follows, and the slots' states */
    pthread_cond_t changed;
    lt_stream_phase phase;
    uint64_t next_read;  /* unit */
    uint64_t read_end;   /* units before this one are read by those who work on them */
    uint64_t at_once;    /* so many of these make one; 1 unless they lie in memory */
    uint64_t next_work;  /* in order */
    uint64_t next_write; /* likewise */
    bool is_reading;     /* in order */
    bool has_workers;    /* threads that wait for units which somebody else reads */
    bool on_this_thread; /* without them: the work is too little for the engine's threads */
    bool is_closed;      /* and no more will be */
    uint64_t stop_at;    /* units from this one on are of no use any more; UINT64_MAX: none */
    lathe_error error;   /* of the source, the sink, the device or a cancellation */
};

/* ---- stream_prepare.c: units are chunks of the convert pass, runs of tiles of the stats pass (or
 * some sampled tiles), pieces of a copy */

/* What a unit needs of the source, and where it goes in the slot. */
void lt_stream_prepare_chunk(lt_stream_job *job, lt_slot *slot, uint64_t index);
void lt_stream_prepare_tiles(lt_stream_job *job, lt_slot *slot, uint64_t index);
void lt_stream_prepare_copy(lt_stream_job *job, lt_slot *slot, uint64_t index);

/* How many units whose data no slot holds can be one: as their scales fit. */
uint64_t lt_stream_most_at_once(const lt_stream_job *job);

/* The bytes of a copy unit, but for the last. */
uint64_t lt_stream_copy_chunk(const lt_streamer *streamer);

/* ---- stream_unit.c */

/* Says who does a unit: the slot's device, or the CPU. */
void lt_stream_choose_backend(lt_stream_job *job, lt_slot *slot);

/* Brings the source's part of a prepared unit into the slot. */
lathe_status lt_stream_load_slot(lt_stream_job *job, lt_slot *slot);

/* The same for one who has the bytes: opens the slot for the host to write the pieces to it, and
 * closes it again. */
lathe_status lt_stream_open_slot(lt_stream_job *job, lt_slot *slot);
lathe_status lt_stream_close_slot(lt_stream_job *job, lt_slot *slot);

/* Converts and writes what is in the slot. */
lathe_status lt_stream_work_chunk(lt_stream_job *job, lt_slot *slot);
lathe_status lt_stream_work_tiles(lt_stream_job *job, lt_slot *slot);
lathe_status lt_stream_work_copy(lt_stream_job *job, lt_slot *slot);

/* Tells the progress what the unit has read. Errors: CANCELLED. */
lathe_status lt_stream_advance(lt_stream_job *job, const lt_unit *unit);

/* ---- stream_drive.c */

/* Runs all units of a phase over the slots. */
lathe_status lt_stream_drive(lt_stream_job *job, const lt_stream_phase *phase);

/* Begins a phase whose units lt_stream_take_slot and lt_stream_give_slot bring, or lt_stream_run.
 */
void lt_stream_begin_phase(lt_stream_job *job, const lt_stream_phase *phase);

/* Starts threads that work on what is brought until lt_stream_close; how many. Without them the
 * engine's threads do the work, while the functions below wait for it. */
uint32_t lt_stream_start_workers(lt_stream_job *job);
void lt_stream_close(lt_stream_job *job, uint32_t n_workers);

/* Has the engine's threads do what has been brought, and read and do units [first, end), several at
 * once, whose data src_memory has and the sink gets in dst_memory. Not for a job that has workers.
 * The job's status. */
lathe_status lt_stream_run(lt_stream_job *job, uint64_t first, uint64_t end);

/* A free slot for the next unit, once there is one; NULL if the job is stopped. */
lt_slot *lt_stream_take_slot(lt_stream_job *job);

/* The slot's source is in, or `status` says why not. */
void lt_stream_give_slot(lt_stream_job *job, lt_slot *slot, lathe_status status);

/* Whatever is not under way is not done any more. */
void lt_stream_stop(lt_stream_job *job);

/* Waits until nothing is under way. The job's status. */
lathe_status lt_stream_drain(lt_stream_job *job);

/* ---- stream_turn.c */

/* In order: waits until the units before this one are written. False: it is of no use any more. */
bool lt_stream_await_turn(lt_stream_job *job, const lt_unit *unit);
void lt_stream_end_turn(lt_stream_job *job);

/* ---- streaming.c, for one conversion in steps */

/* Begins a job of any kind. */
void lt_stream_job_begin(lt_stream_job *job, lt_streamer *streamer);

/* Begins a job that converts so. Source and progress may be NULL. */
lathe_status lt_stream_job_init(lt_stream_job *job, lt_streamer *streamer,
                                const lathe_tensor_desc *from, const lathe_target *target,
                                lt_stream_scales scales);
void lt_stream_job_connect(lt_stream_job *job, const lt_source *source, const lt_sink *sink,
                           const lt_progress *progress);
void lt_stream_job_destroy(lt_stream_job *job);

/* Notes for lt_streamer_record whether the CPU did some of the device's work so far. */
void lt_stream_update_fallback(lt_stream_job *job);

/* Bytes of source that are read in all. */
uint64_t lt_stream_read_bytes(const lt_plan *plan);

/* What comes before the stats pass, and how much one window of it takes; what comes after each
 * window; and the scales' way to the sink and the device. */
lathe_status lt_stream_begin_stats(lt_stream_job *job);
lt_stream_phase lt_stream_stats_window(lt_stream_job *job, uint64_t first_tile);
void lt_stream_fold_window(lt_stream_job *job);
lathe_status lt_stream_end_stats(lt_stream_job *job);

/* The convert pass, or the copy, whichever it is. */
lt_stream_phase lt_stream_main_phase(const lt_stream_job *job);

/* All that a connected job has to do; with the target's scales, unless they are NULL. */
lathe_status lt_stream_passes(lt_stream_job *job, const float *scales);

/* Scales of a tensor without elements. */
lathe_status lt_stream_write_empty_scales(lt_stream_job *job);

/* Has the convert pass measure what a quality report says. Errors: NOT_SUPPORTED (a copy). */
lathe_status lt_stream_measure(lt_stream_job *job);

/* Takes the given scales of the target, and hands them to the sink. */
lathe_status lt_stream_take_scales(lt_stream_job *job, const float *scales);

/* The end of a conversion that has succeeded: counts it. */
void lt_stream_count(lt_stream_job *job, lathe_convert_stats *stats);

#endif
