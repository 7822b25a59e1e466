/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy. Each slot is driven by one host thread that reads a chunk, has it
 * converted and writes it, so that reading, converting and writing of different chunks overlap, and
 * a chunk stays in its core's cache from the read to the write. */
#include "engine/streaming.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/engine.h"
#include "engine/slots.h"
#include "lathe_constants.h"
#include "pool/pool.h"
#include <inttypes.h>
#include <pthread.h>

/* Both sides of a chunk together: half of a common second-level cache. */
#define IDEAL_CHUNK_BYTES (UINT64_C(768) << 10)
/* A slot larger than this would only hold longer rows; a smaller one cannot hold the least chunk.
 */
#define MAX_SLOT_BYTES (UINT64_C(4) << 20)
#define MIN_SLOT_BYTES (UINT64_C(384) << 10)
#define MIN_MEMORY_BYTES (UINT64_C(1) << 20)
/* Of a slot, one part in so many is for scales: the least chunk may have one for each element. */
#define SCALE_SHARE 4

struct lt_streamer {
    lathe_engine *engine;
    lt_slot_size slot_size;
    uint32_t n_slots;
    lt_slot slots[];
};

/* What the slots' threads share while they work on one tensor. */
typedef struct job {
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
    float *scales;       /* of the whole target, where a stats pass finds them */
    uint64_t copy_bytes; /* copy */
    uint64_t n_units;    /* chunks, tile runs or copies */
    lathe_status (*run_unit)(struct job *job, const lt_slot *slot, uint64_t unit);
    atomic_uint_fast64_t next_unit;
    atomic_bool stop;
    lt_outcome outcome;
    pthread_mutex_t mutex; /* guards what follows, and calls to progress */
    lathe_error error;     /* of the source, the sink, the device or a cancellation */
} job;

static lathe_status fit_slots(lt_streamer *streamer, uint64_t memory_bytes) {
    lathe_pool *pool = streamer->engine->pool;
    lt_backend *backend = streamer->engine->backend;
    /* The pool rounds up by an eighth at most. */
    uint64_t slot_bytes = lt_min(memory_bytes / streamer->n_slots * 7 / 8, MAX_SLOT_BYTES);
    uint64_t scale_bytes = slot_bytes / SCALE_SHARE;
    streamer->slot_size.data_bytes = slot_bytes - scale_bytes;
    streamer->slot_size.n_scales = scale_bytes / sizeof(float);
    lathe_status status = LATHE_OK;
    for (uint32_t i = 0; status == LATHE_OK && i < streamer->n_slots; i++) {
        lt_slot *slot = &streamer->slots[i];
        void *scales = NULL;
        status = lathe_pool_alloc(pool, (size_t)scale_bytes, &scales);
        slot->scales = scales;
        if (status == LATHE_OK) {
            status =
                backend->ops->buffer_create(backend, streamer->slot_size.data_bytes, &slot->data);
        }
    }
    return status;
}

lathe_status lt_streamer_create(lathe_engine *engine, uint64_t memory_bytes,
                                lt_streamer **streamer) {
    if (memory_bytes < MIN_MEMORY_BYTES) {
        lathe_status status =
            lt_fail(LATHE_INVALID_ARGUMENT,
                    "%" PRIu64 " bytes of memory are too few: 1 MiB is needed", memory_bytes);
        lt_error()->required_bytes = MIN_MEMORY_BYTES;
        lt_error()->available_bytes = memory_bytes;
        return status;
    }
    memory_bytes -= LT_STATS_WINDOW * sizeof(double);
    uint64_t n_slots = lt_min(engine->backend->n_threads, memory_bytes * 7 / 8 / MIN_SLOT_BYTES);
    lt_streamer *made =
        lt_pool_new(engine->pool, sizeof *made + (size_t)n_slots * sizeof made->slots[0]);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->engine = engine;
    made->n_slots = (uint32_t)n_slots;
    lathe_status status = fit_slots(made, memory_bytes);
    if (status != LATHE_OK) {
        lt_streamer_free(made);
        return status;
    }
    *streamer = made;
    return LATHE_OK;
}

void lt_streamer_free(lt_streamer *streamer) {
    if (streamer == NULL) {
        return;
    }
    lathe_engine *engine = streamer->engine;
    for (uint32_t i = 0; i < streamer->n_slots; i++) {
        engine->backend->ops->buffer_destroy(engine->backend, &streamer->slots[i].data);
        lt_pool_delete(engine->pool, streamer->slots[i].scales);
    }
    lt_pool_delete(engine->pool, streamer);
}

/* Keeps the first error that happens and stops the other slots. */
static void fail_job(job *j) {
    (void)pthread_mutex_lock(&j->mutex);
    if (j->error.status == LATHE_OK) {
        j->error = *lt_error();
    }
    (void)pthread_mutex_unlock(&j->mutex);
    atomic_store(&j->stop, true);
}

static lathe_status advance(job *j, uint64_t n_bytes) {
    if (j->progress == NULL) {
        return LATHE_OK;
    }
    (void)pthread_mutex_lock(&j->mutex);
    int answer = j->progress->advance(j->progress->ctx, n_bytes);
    (void)pthread_mutex_unlock(&j->mutex);
    return answer == 0 ? LATHE_OK : lt_fail(LATHE_CANCELLED, "the conversion was cancelled");
}

/* The loop of one slot. Units are claimed in ascending order, so that when one fails all earlier
 * ones are done or under way: the first faulty element is always found. */
static void drive_slot(void *ctx, size_t i) {
    job *j = ctx;
    while (!atomic_load(&j->stop)) {
        uint64_t unit = atomic_fetch_add(&j->next_unit, 1);
        if (unit >= j->n_units) {
            return;
        }
        if (j->run_unit(j, &j->streamer->slots[i], unit) != LATHE_OK) {
            fail_job(j);
            return;
        }
        if (lt_outcome_element(&j->outcome) != LATHE_NO_ELEMENT) {
            atomic_store(&j->stop, true);
        }
    }
}

/* Runs all units of a phase over the slots. */
static lathe_status drive(job *j, uint64_t n_units,
                          lathe_status (*run_unit)(job *, const lt_slot *, uint64_t)) {
    j->n_units = n_units;
    j->run_unit = run_unit;
    atomic_store(&j->next_unit, 0);
    size_t n_tasks = (size_t)lt_min(j->streamer->n_slots, n_units);
    j->backend->ops->parallel_for(j->backend, n_tasks, drive_slot, j);
    if (j->error.status != LATHE_OK) {
        return lt_fail_with(&j->error);
    }
    return lt_outcome_status(&j->outcome, j->plan.pass.src.dtype, j->plan.pass.dst.dtype);
}

/* Reads the source's part of a chunk into the slot and describes it as the work's source. */
static lathe_status load(job *j, const lt_slot *slot, const lt_part *part, lt_work *work) {
    const lt_backend_ops *ops = j->backend->ops;
    void *host = NULL;
    lathe_status status =
        ops->map(j->backend, &slot->data, 0, part->n_bytes, LT_ACCESS_WRITE, &host);
    if (status != LATHE_OK) {
        return status;
    }
    status = j->source->read(j->source->ctx, part->first_byte, host, (size_t)part->n_bytes);
    ops->unmap(j->backend, &slot->data, host);
    if (status == LATHE_OK && part->n_scales > 0) {
        status = j->source->read_scales(j->source->ctx, part->first_scale, slot->scales,
                                        (size_t)part->n_scales);
        if (status == LATHE_OK) {
            status = lt_scales_check(slot->scales, part->n_scales, part->first_scale);
        }
    }
    work->src = (lt_span){
        .buffer = &slot->data,
        .first_byte = part->first_byte,
        .scales = slot->scales,
        .first_scale = part->first_scale,
    };
    return status;
}

/* Writes the target's part of a chunk. */
static lathe_status store(job *j, const lt_work *work, const lt_part *part) {
    const lt_backend_ops *ops = j->backend->ops;
    void *host = NULL;
    lathe_status status = ops->map(j->backend, work->dst.buffer, work->dst.buffer_offset,
                                   part->n_bytes, LT_ACCESS_READ, &host);
    if (status != LATHE_OK) {
        return status;
    }
    status = j->sink->write(j->sink->ctx, part->first_byte, host, (size_t)part->n_bytes);
    ops->unmap(j->backend, work->dst.buffer, host);
    if (status == LATHE_OK && j->plan.pass.own_scales) {
        status = j->sink->write_scales(j->sink->ctx, part->first_scale, work->dst.scales,
                                       (size_t)part->n_scales);
    }
    return status;
}

static lathe_status convert_unit(job *j, const lt_slot *slot, uint64_t unit) {
    const lt_pass *pass = &j->plan.pass;
    lt_range range = lt_ranges_at(&j->chunks, unit);
    uint64_t elem = range.row * pass->dst.row_elems + range.col;
    uint64_t n_elems = range.n_rows * range.n_cols;
    lt_part src = lt_part_of(&pass->src, elem, n_elems);
    lt_part dst = lt_part_of(&pass->dst, elem, n_elems);
    lt_work work = {
        .pass = pass,
        .ranges = &j->chunks,
        .first_range = unit,
        .n_ranges = 1,
        .outcome = &j->outcome,
        .on_this_thread = true,
    };
    lathe_status status = load(j, slot, &src, &work);
    if (status != LATHE_OK) {
        return status;
    }
    work.dst = (lt_span){
        .buffer = &slot->data,
        .buffer_offset = lt_slot_dst_offset(src.n_bytes),
        .first_byte = dst.first_byte,
        .scales = pass->own_scales ? slot->scales + src.n_scales : j->scales,
        .first_scale = pass->own_scales ? dst.first_scale : 0,
    };
    lt_event *event = NULL;
    status = j->backend->ops->submit_convert(j->backend, &work, &event);
    if (status == LATHE_OK) {
        status = j->backend->ops->wait(j->backend, event);
    }
    if (status == LATHE_OK && lt_outcome_element(&j->outcome) == LATHE_NO_ELEMENT) {
        status = store(j, &work, &dst);
    }
    return status == LATHE_OK ? advance(j, src.n_bytes) : status;
}

/* One run of tiles; a sampled tile is a run of its own, since what lies between is not read. */
static lathe_status stats_unit(job *j, const lt_slot *slot, uint64_t unit) {
    const lt_pass *pass = &j->plan.pass;
    uint64_t first = unit * j->tiles_per_unit;
    lt_work work = {
        .pass = pass,
        .stats = j->stats + first,
        .first_tile = j->first_tile + first,
        .n_tiles = lt_min(j->tiles_per_unit, j->n_tiles - first),
        .outcome = &j->outcome,
        .on_this_thread = true,
    };
    uint64_t elem;
    uint64_t last_elem;
    uint64_t n_last;
    uint64_t n_first;
    lt_tiling_tile(&pass->tiling, work.first_tile, &elem, &n_first);
    lt_tiling_tile(&pass->tiling, work.first_tile + work.n_tiles - 1, &last_elem, &n_last);
    lt_part part = lt_part_of(&pass->src, elem, last_elem + n_last - elem);
    lathe_status status = part.n_bytes > 0 ? load(j, slot, &part, &work) : LATHE_OK;
    if (part.n_bytes == 0) {
        work.src = (lt_span){.buffer = &slot->data, .scales = slot->scales};
    }
    lt_event *event = NULL;
    if (status == LATHE_OK) {
        status = j->backend->ops->submit_stats(j->backend, &work, &event);
    }
    if (status == LATHE_OK) {
        status = j->backend->ops->wait(j->backend, event);
    }
    return status == LATHE_OK ? advance(j, part.n_bytes) : status;
}

/* Finds all scales of the target and hands them to the sink. */
static lathe_status stream_stats(job *j) {
    const lt_tiling *tiling = &j->plan.pass.tiling;
    lathe_pool *pool = j->streamer->engine->pool;
    uint64_t window = lt_min(tiling->n_tiles, LT_STATS_WINDOW);
    lt_fold fold = {0};
    lathe_status status = LATHE_OK;
    j->stats = lt_pool_new_array(pool, (size_t)window, sizeof(double));
    if (j->stats == NULL) {
        return lt_error()->status;
    }
    for (uint64_t tile = 0; status == LATHE_OK && tile < tiling->n_tiles; tile += window) {
        j->first_tile = tile;
        j->n_tiles = lt_min(window, tiling->n_tiles - tile);
        status = drive(j, lt_ceil_div(j->n_tiles, j->tiles_per_unit), stats_unit);
        if (status == LATHE_OK) {
            lt_fold_tiles(&fold, tiling, j->plan.pass.dst.dtype, j->stats, j->n_tiles, j->scales);
        }
    }
    if (status == LATHE_OK) {
        status =
            j->sink->write_scales(j->sink->ctx, 0, j->scales, (size_t)j->plan.pass.dst.n_scales);
    }
    lt_pool_delete(pool, j->stats);
    j->stats = NULL;
    return status;
}

/* Plans for the slots: a single pass if every scope fits, else statistics first. */
static lathe_status plan_for_slots(const lt_streamer *streamer, const lathe_tensor_desc *from,
                                   const lathe_target *target, lt_plan *plan, lt_ranges *chunks) {
    lathe_tensor_desc to;
    lt_layout src;
    lt_layout dst;
    lathe_status status = lt_layout_of(from, &src);
    if (status == LATHE_OK) {
        status = lathe_target_desc(target, from->n_dims, from->shape, &to);
    }
    if (status == LATHE_OK) {
        status = lt_layout_of(&to, &dst);
    }
    if (status != LATHE_OK) {
        return status;
    }
    const uint64_t scope_limits[] = {UINT64_MAX, 0}; /* every scope fits; none does */
    for (int i = 0; i < 2; i++) {
        *plan = lt_plan_make(streamer->engine->backend, &src, &dst, target, scope_limits[i]);
        plan->pass.beyond_cache = false; /* a chunk is in the cache when it has been read */
        if (plan->is_copy || dst.n_elems == 0 ||
            lt_chunks_cut(plan, &streamer->slot_size, IDEAL_CHUNK_BYTES, chunks)) {
            return LATHE_OK;
        }
    }
    return lt_fail(LATHE_INSUFFICIENT_MEMORY, "a slot cannot hold the least chunk");
}

uint64_t lt_streamer_read_bytes(const lt_streamer *streamer, const lathe_tensor_desc *from,
                                const lathe_target *target) {
    lt_plan plan;
    lt_ranges chunks;
    if (plan_for_slots(streamer, from, target, &plan, &chunks) != LATHE_OK) {
        return 0;
    }
    const lt_layout *src = &plan.pass.src;
    if (!plan.stats_first || src->n_elems == 0) {
        return src->n_bytes;
    }
    /* The tiles' share of the bytes; rows may be padded. */
    double share = (double)lt_tiling_elems(&plan.pass.tiling) / (double)src->n_elems;
    return src->n_bytes + (uint64_t)((double)src->n_bytes * share);
}

static uint64_t tiles_per_unit(const job *j) {
    if (j->plan.pass.tiling.sampled) {
        return 1;
    }
    uint64_t n_elems = j->chunks.rows_per_range * j->chunks.cols_per_range;
    return lt_max(n_elems / LATHE_STAT_TILE, 1);
}

/* A tensor without elements still has the scales of empty scopes. */
static lathe_status write_empty_scales(job *j) {
    const lt_pass *pass = &j->plan.pass;
    const lt_slot *slot = &j->streamer->slots[0];
    size_t most = (size_t)lt_min(j->streamer->slot_size.n_scales, pass->dst.n_scales);
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < most; i++) {
        slot->scales[i] = lt_scale_from_stat(pass->dst.dtype, 0, 0);
    }
    for (uint64_t first = 0; status == LATHE_OK && first < pass->dst.n_scales; first += most) {
        size_t count = (size_t)lt_min(most, pass->dst.n_scales - first);
        status = j->sink->write_scales(j->sink->ctx, first, slot->scales, count);
    }
    return status;
}

static lathe_status stream_passes(job *j) {
    lathe_pool *pool = j->streamer->engine->pool;
    lathe_status status = LATHE_OK;
    if (j->plan.pass.dst.n_elems == 0) {
        return write_empty_scales(j);
    }
    if (j->plan.stats_first) {
        j->scales = lt_pool_new_array(pool, (size_t)j->plan.pass.dst.n_scales, sizeof(float));
        if (j->scales == NULL) {
            return lt_error()->status;
        }
        j->tiles_per_unit = tiles_per_unit(j);
        status = stream_stats(j);
    }
    if (status == LATHE_OK) {
        status = drive(j, j->chunks.n_ranges, convert_unit);
    }
    lt_pool_delete(pool, j->scales);
    return status;
}

static lathe_status copy_unit(job *j, const lt_slot *slot, uint64_t unit) {
    const lt_backend_ops *ops = j->backend->ops;
    uint64_t chunk = lt_min(j->streamer->slot_size.data_bytes, IDEAL_CHUNK_BYTES);
    uint64_t offset = unit * chunk;
    uint64_t n_bytes = lt_min(chunk, j->copy_bytes - offset);
    void *host = NULL;
    lathe_status status =
        ops->map(j->backend, &slot->data, 0, n_bytes, LT_ACCESS_READ | LT_ACCESS_WRITE, &host);
    if (status != LATHE_OK) {
        return status;
    }
    status = j->source->read(j->source->ctx, offset, host, (size_t)n_bytes);
    if (status == LATHE_OK) {
        status = j->sink->write(j->sink->ctx, offset, host, (size_t)n_bytes);
    }
    ops->unmap(j->backend, &slot->data, host);
    return status == LATHE_OK ? advance(j, n_bytes) : status;
}

static lathe_status copy_bytes(job *j, uint64_t n_bytes) {
    j->copy_bytes = n_bytes;
    uint64_t chunk = lt_min(j->streamer->slot_size.data_bytes, IDEAL_CHUNK_BYTES);
    return drive(j, lt_ceil_div(n_bytes, chunk), copy_unit);
}

static lathe_status copy_scales(job *j) {
    const lt_slot *slot = &j->streamer->slots[0];
    uint64_t n_scales = j->plan.pass.dst.n_scales;
    lathe_status status = LATHE_OK;
    for (uint64_t first = 0; status == LATHE_OK && first < n_scales;) {
        size_t count = (size_t)lt_min(j->streamer->slot_size.n_scales, n_scales - first);
        status = j->source->read_scales(j->source->ctx, first, slot->scales, count);
        if (status == LATHE_OK) {
            status = j->sink->write_scales(j->sink->ctx, first, slot->scales, count);
        }
        first += count;
    }
    return status;
}

static void job_init(job *j, lt_streamer *streamer, const lt_source *source, const lt_sink *sink,
                     const lt_progress *progress) {
    j->streamer = streamer;
    j->backend = streamer->engine->backend;
    j->source = source;
    j->sink = sink;
    j->progress = progress;
    j->error = (lathe_error){.status = LATHE_OK, .element = LATHE_NO_ELEMENT};
    atomic_init(&j->next_unit, 0);
    atomic_init(&j->stop, false);
    lt_outcome_init(&j->outcome);
    (void)pthread_mutex_init(&j->mutex, NULL);
}

lathe_status lt_streamer_convert(lt_streamer *streamer, const lathe_tensor_desc *from,
                                 const lathe_target *target, const lt_source *source,
                                 const lt_sink *sink, const lt_progress *progress,
                                 lathe_convert_stats *stats) {
    job j = {0};
    lathe_status status = plan_for_slots(streamer, from, target, &j.plan, &j.chunks);
    if (status != LATHE_OK) {
        return status;
    }
    job_init(&j, streamer, source, sink, progress);
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    if (j.plan.is_copy) {
        status = copy_bytes(&j, j.plan.pass.src.n_bytes);
        status = status == LATHE_OK ? copy_scales(&j) : status;
    } else {
        status = stream_passes(&j);
    }
    lt_fpenv_leave(&saved);
    if (status == LATHE_OK && stats != NULL) {
        stats->n_saturated = atomic_load(&j.outcome.n_saturated);
    }
    (void)pthread_mutex_destroy(&j.mutex);
    return status;
}

lathe_status lt_streamer_copy(lt_streamer *streamer, uint64_t n_bytes, const lt_source *source,
                              const lt_sink *sink, const lt_progress *progress) {
    job j = {0};
    job_init(&j, streamer, source, sink, progress);
    lathe_status status = copy_bytes(&j, n_bytes);
    (void)pthread_mutex_destroy(&j.mutex);
    return status;
}
