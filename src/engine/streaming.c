/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy. Each slot is driven by one host thread that reads a chunk, has it
 * converted and writes it, so that reading, converting and writing of different chunks overlap. On
 * the CPU a chunk stays in its core's cache from the read to the write; on a device each slot has
 * its own queue, so that transfers and kernels of different chunks overlap. */
#include "engine/streaming.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/stream_job.h"
#include "lathe_constants.h"
#include "pool/pool.h"
#include <inttypes.h>

/* A slot larger than this would only hold longer rows; a smaller one cannot hold the least chunk.
 */
#define MAX_SLOT_BYTES (UINT64_C(4) << 20)
#define MIN_SLOT_BYTES (UINT64_C(384) << 10)
#define MIN_MEMORY_BYTES (UINT64_C(1) << 20)
/* Where transfers and kernels of several chunks are to overlap, a tensor is cut into as many as
 * fill every slot twice, but not into smaller ones than this: launches cost microseconds. */
#define MIN_REMOTE_CHUNK_BYTES (UINT64_C(1) << 20)

static lathe_status fill_slots(lt_streamer *streamer) {
    lt_backend *backend = streamer->backend;
    lathe_status status = LATHE_OK;
    for (uint32_t i = 0; status == LATHE_OK && i < streamer->n_slots; i++) {
        lt_slot *slot = &streamer->slots[i];
        status = backend->ops->buffer_create(backend, LT_MEMORY_STAGED, streamer->slot_bytes,
                                             &slot->data);
        if (status == LATHE_OK) {
            status = backend->ops->queue_open(backend, &slot->queue);
        }
    }
    return status;
}

/* A streamer whose slots are that backend's. memory_bytes is what is left for them. */
static lathe_status create_on(lathe_engine *engine, lt_backend *backend, uint64_t memory_bytes,
                              lt_streamer **streamer) {
    uint64_t least = MIN_SLOT_BYTES * backend->staged_cost * 8 / 7 + backend->queue_bytes;
    uint64_t n_slots = lt_max(lt_min(backend->n_threads, memory_bytes / least), 1);
    memory_bytes -= lt_min(n_slots * backend->queue_bytes, memory_bytes);
    lt_streamer *made =
        lt_pool_new(engine->pool, sizeof *made + (size_t)n_slots * sizeof made->slots[0]);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->engine = engine;
    made->backend = backend;
    made->n_slots = (uint32_t)n_slots;
    /* The pool rounds up by an eighth at most. */
    uint64_t share = memory_bytes / n_slots / backend->staged_cost * 7 / 8;
    uint64_t most = lt_max(MAX_SLOT_BYTES, backend->chunk_bytes + backend->chunk_bytes / 8);
    made->slot_bytes = lt_min(lt_min(share, most), backend->max_buffer_bytes);
    lathe_status status = fill_slots(made);
    if (status != LATHE_OK) {
        lt_streamer_free(made);
        return status;
    }
    *streamer = made;
    return LATHE_OK;
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
    lathe_status status = LATHE_OK;
    if (engine->device != NULL) {
        status = create_on(engine, engine->device, memory_bytes, streamer);
        if (status == LATHE_OK || engine->require_device) {
            return status;
        }
        lt_engine_notice(engine, LATHE_NOTICE_INFO, "the device cannot hold chunks: %s",
                         lt_error()->message);
    }
    return create_on(engine, engine->cpu, memory_bytes, streamer);
}

void lt_streamer_free(lt_streamer *streamer) {
    if (streamer == NULL) {
        return;
    }
    lt_backend *backend = streamer->backend;
    for (uint32_t i = 0; i < streamer->n_slots; i++) {
        lt_slot *slot = &streamer->slots[i];
        backend->ops->queue_close(backend, slot->queue);
        backend->ops->buffer_destroy(backend, &slot->data);
    }
    lt_pool_delete(streamer->engine->pool, streamer);
}

/* Keeps the first error that happens and stops the other slots. */
static void fail_job(lt_stream_job *j) {
    (void)pthread_mutex_lock(&j->mutex);
    if (j->error.status == LATHE_OK) {
        j->error = *lt_error();
    }
    (void)pthread_mutex_unlock(&j->mutex);
    atomic_store(&j->stop, true);
}

/* The loop of one slot. Units are claimed in ascending order, so that when one fails all earlier
 * ones are done or under way: the first faulty element is always found. */
static void drive_slot(void *ctx, size_t i) {
    lt_stream_job *j = ctx;
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
static lathe_status drive(lt_stream_job *j, uint64_t n_units,
                          lathe_status (*run_unit)(lt_stream_job *, lt_slot *, uint64_t)) {
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

/* Finds all scales of the target and hands them to the sink. */
static lathe_status stream_stats(lt_stream_job *j) {
    const lt_tiling *tiling = &j->plan.pass.tiling;
    lathe_pool *pool = j->streamer->engine->pool;
    uint64_t window = lt_min(tiling->n_tiles, LT_STATS_WINDOW);
    float *scales = j->host_scales.host;
    lt_fold fold = {0};
    lathe_status status = LATHE_OK;
    j->stats = lt_pool_new_array(pool, (size_t)window, sizeof(double));
    if (j->stats == NULL) {
        return lt_error()->status;
    }
    for (uint64_t tile = 0; status == LATHE_OK && tile < tiling->n_tiles; tile += window) {
        j->first_tile = tile;
        j->n_tiles = lt_min(window, tiling->n_tiles - tile);
        status = drive(j, lt_ceil_div(j->n_tiles, j->tiles_per_unit), lt_stream_stats_unit);
        if (status == LATHE_OK) {
            lt_fold_tiles(&fold, tiling, j->plan.pass.dst.dtype, j->stats, j->n_tiles, scales);
        }
    }
    if (status == LATHE_OK) {
        status = j->sink->write_scales(j->sink->ctx, 0, scales, (size_t)j->plan.pass.dst.n_scales);
    }
    lt_pool_delete(pool, j->stats);
    j->stats = NULL;
    return status;
}

static uint64_t ideal_chunk_bytes(const lt_streamer *streamer, const lt_layout *src,
                                  const lt_layout *dst) {
    const lt_backend *backend = streamer->backend;
    if (!backend->is_remote) {
        return backend->chunk_bytes;
    }
    uint64_t share = (src->n_bytes + dst->n_bytes) / (2 * (uint64_t)streamer->n_slots);
    return lt_min(lt_max(share, MIN_REMOTE_CHUNK_BYTES), backend->chunk_bytes);
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
    const lt_backend *backend = streamer->backend;
    const uint64_t scope_limits[] = {backend->max_chunk_scope_elems, 0}; /* 0: none is taken */
    for (int i = 0; i < 2; i++) {
        *plan = lt_plan_make(backend, &src, &dst, target, scope_limits[i]);
        plan->pass.beyond_cache = false; /* a chunk is in the cache when it has been read */
        if (plan->is_copy || dst.n_elems == 0 ||
            lt_chunks_cut(plan, streamer->slot_bytes, ideal_chunk_bytes(streamer, &src, &dst),
                          chunks)) {
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

static uint64_t tiles_per_unit(const lt_stream_job *j) {
    if (j->plan.pass.tiling.sampled) {
        return 1;
    }
    uint64_t n_elems = j->chunks.rows_per_range * j->chunks.cols_per_range;
    return lt_max(n_elems / LATHE_STAT_TILE, 1);
}

/* A tensor without elements still has the scales of empty scopes. */
static lathe_status write_empty_scales(lt_stream_job *j) {
    const lt_pass *pass = &j->plan.pass;
    float *scales = j->streamer->slots[0].data.host;
    size_t most = (size_t)lt_min(j->streamer->slot_bytes / sizeof(float), pass->dst.n_scales);
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < most; i++) {
        scales[i] = lt_scale_from_stat(pass->dst.dtype, 0, 0);
    }
    for (uint64_t first = 0; status == LATHE_OK && first < pass->dst.n_scales; first += most) {
        size_t count = (size_t)lt_min(most, pass->dst.n_scales - first);
        status = j->sink->write_scales(j->sink->ctx, first, scales, count);
    }
    return status;
}

/* Gives the device the scales that the statistics have led to. If it cannot take them, the CPU
 * converts. */
static lathe_status upload_scales(lt_stream_job *j) {
    const lt_backend_ops *ops = j->backend->ops;
    lt_streamer *streamer = j->streamer;
    uint64_t n_bytes = j->plan.pass.dst.n_scales * sizeof(float);
    lt_queue *queue = NULL;
    lathe_status status = ops->buffer_create(j->backend, LT_MEMORY_DEVICE, n_bytes, &j->scales);
    if (status == LATHE_OK) {
        status = ops->queue_open(j->backend, &queue);
    }
    if (status == LATHE_OK) {
        status = ops->upload(j->backend, queue, &j->scales, 0, j->host_scales.host, n_bytes);
    }
    if (status == LATHE_OK) {
        status = ops->finish(j->backend, queue);
    }
    ops->queue_close(j->backend, queue);
    if (status == LATHE_OK || streamer->engine->require_device) {
        return status;
    }
    for (uint32_t i = 0; i < streamer->n_slots; i++) {
        streamer->slots[i].on_host = true;
    }
    return LATHE_OK;
}

static lathe_status stream_passes(lt_stream_job *j) {
    lt_backend *cpu = j->streamer->engine->cpu;
    lathe_status status = LATHE_OK;
    if (j->plan.pass.dst.n_elems == 0) {
        return write_empty_scales(j);
    }
    if (j->plan.stats_first) {
        status = cpu->ops->buffer_create(
            cpu, LT_MEMORY_DEVICE, j->plan.pass.dst.n_scales * sizeof(float), &j->host_scales);
        j->tiles_per_unit = tiles_per_unit(j);
        if (status == LATHE_OK) {
            status = stream_stats(j);
        }
        if (status == LATHE_OK && j->backend->is_remote) {
            status = upload_scales(j);
        }
    }
    if (status == LATHE_OK) {
        status = drive(j, j->chunks.n_ranges, lt_stream_convert_unit);
    }
    j->backend->ops->buffer_destroy(j->backend, &j->scales);
    cpu->ops->buffer_destroy(cpu, &j->host_scales);
    return status;
}

static lathe_status copy_bytes(lt_stream_job *j, uint64_t n_bytes) {
    j->copy_bytes = n_bytes;
    return drive(j, lt_ceil_div(n_bytes, lt_stream_copy_chunk(j)), lt_stream_copy_unit);
}

static lathe_status copy_scales(lt_stream_job *j) {
    float *scales = j->streamer->slots[0].data.host;
    uint64_t n_scales = j->plan.pass.dst.n_scales;
    lathe_status status = LATHE_OK;
    for (uint64_t first = 0; status == LATHE_OK && first < n_scales;) {
        size_t count = (size_t)lt_min(j->streamer->slot_bytes / sizeof(float), n_scales - first);
        status = j->source->read_scales(j->source->ctx, first, scales, count);
        if (status == LATHE_OK) {
            status = j->sink->write_scales(j->sink->ctx, first, scales, count);
        }
        first += count;
    }
    return status;
}

/* A queue that has failed is of no more use; the next tensor gets a new one. */
static void renew_queues(lt_streamer *streamer) {
    const lt_backend_ops *ops = streamer->backend->ops;
    for (uint32_t i = 0; i < streamer->n_slots; i++) {
        lt_slot *slot = &streamer->slots[i];
        if (slot->on_host) {
            ops->queue_close(streamer->backend, slot->queue);
            slot->queue = NULL;
            slot->on_host = ops->queue_open(streamer->backend, &slot->queue) != LATHE_OK;
        }
    }
}

static void job_init(lt_stream_job *j, lt_streamer *streamer, const lt_source *source,
                     const lt_sink *sink, const lt_progress *progress) {
    renew_queues(streamer);
    j->streamer = streamer;
    j->backend = streamer->backend;
    j->source = source;
    j->sink = sink;
    j->progress = progress;
    j->error = (lathe_error){.status = LATHE_OK, .element = LATHE_NO_ELEMENT};
    atomic_init(&j->next_unit, 0);
    atomic_init(&j->stop, false);
    atomic_init(&j->fell_back, false);
    lt_outcome_init(&j->outcome);
    (void)pthread_mutex_init(&j->mutex, NULL);
}

/* True if a unit of the job, or the whole of it, was done by the CPU in the device's place. */
static bool fell_back(const lt_stream_job *j) {
    bool has_device = j->streamer->engine->device != NULL;
    return atomic_load(&j->fell_back) || (has_device && !j->backend->is_remote);
}

lathe_status lt_streamer_convert(lt_streamer *streamer, const lathe_tensor_desc *from,
                                 const lathe_target *target, const lt_source *source,
                                 const lt_sink *sink, const lt_progress *progress,
                                 lathe_convert_stats *stats) {
    lt_stream_job j = {0};
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
    if (status == LATHE_OK) {
        lt_engine_count(streamer->engine, j.backend, fell_back(&j));
    }
    if (status == LATHE_OK && stats != NULL) {
        stats->n_saturated = atomic_load(&j.outcome.n_saturated);
    }
    (void)pthread_mutex_destroy(&j.mutex);
    return status;
}

lathe_status lt_streamer_copy(lt_streamer *streamer, uint64_t n_bytes, const lt_source *source,
                              const lt_sink *sink, const lt_progress *progress) {
    lt_stream_job j = {0};
    job_init(&j, streamer, source, sink, progress);
    lathe_status status = copy_bytes(&j, n_bytes);
    (void)pthread_mutex_destroy(&j.mutex);
    return status;
}
