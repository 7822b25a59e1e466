/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy: the passes of one conversion over the slots. One host thread reads a
 * chunk, and one, mostly the same, has it converted and writes it, so that reading, converting and
 * writing of different chunks overlap. On the CPU a chunk stays in its core's cache from the read
 * to the write; on a device each slot has its own queue, so that transfers and kernels of different
 * chunks overlap. */
#include "engine/stream/streaming.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/direct/precise_scales.h"
#include "engine/stream/stream_job.h"
#include "pool/pool.h"
#include <string.h>

static const lt_stream_phase copy_phase = {.prepare = lt_stream_prepare_copy,
                                           .work = lt_stream_work_copy};

static lt_slot_limits limits_of(const lt_streamer *streamer) {
    return (lt_slot_limits){
        .backend = streamer->backend,
        .slot_bytes = streamer->slot_bytes,
        .chunk_bytes = streamer->chunk_bytes,
        .good_bytes = streamer->good_bytes,
        .n_slots = streamer->n_slots,
        .in_memory = streamer->in_memory,
    };
}

uint64_t lt_streamer_read_bytes(const lt_streamer *streamer, const lathe_tensor_desc *from,
                                const lathe_target *target) {
    const lt_slot_limits limits = limits_of(streamer);
    lt_stream_plan planned;
    if (lt_stream_plan_for(&limits, from, target, LT_STREAM_SCALES_FOUND, &planned) != LATHE_OK) {
        return 0;
    }
    return lt_stream_read_bytes(&planned.plan);
}

uint64_t lt_stream_read_bytes(const lt_plan *plan) {
    const lt_layout *src = &plan->pass.src;
    if (!plan->stats_first || src->n_elems == 0) {
        return src->n_bytes;
    }
    if (plan->pass.quality == LATHE_PRECISE) {
        return (2 + LT_PRECISE_SCANS) * src->n_bytes;
    }
    /* The tiles' share of the bytes; rows may be padded. */
    double share = (double)lt_tiling_elems(&plan->pass.tiling) / (double)src->n_elems;
    return src->n_bytes + (uint64_t)((double)src->n_bytes * share);
}

/* ---- the job */

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
        slot->state = LT_SLOT_FREE;
    }
    streamer->fell_back = false;
}

void lt_stream_job_begin(lt_stream_job *j, lt_streamer *streamer) {
    *j = (lt_stream_job){.streamer = streamer, .backend = streamer->backend};
    renew_queues(streamer);
    j->stop_at = UINT64_MAX;
    j->at_once = 1;
    j->error = (lathe_error){.status = LATHE_OK, .element = LATHE_NO_ELEMENT};
    atomic_init(&j->fell_back, false);
    lt_outcome_init(&j->outcome);
    (void)pthread_mutex_init(&j->progress_mutex, NULL);
    (void)pthread_mutex_init(&j->mutex, NULL);
    (void)pthread_cond_init(&j->changed, NULL);
}

lathe_status lt_stream_job_init(lt_stream_job *j, lt_streamer *streamer,
                                const lathe_tensor_desc *from, const lathe_target *target,
                                lt_stream_scales scales) {
    const lt_slot_limits limits = limits_of(streamer);
    lt_stream_plan planned;
    lathe_status status = lt_stream_plan_for(&limits, from, target, scales, &planned);
    if (status != LATHE_OK) {
        return status;
    }
    lt_stream_job_begin(j, streamer);
    j->plan = planned.plan;
    j->chunks = planned.chunks;
    j->tiles_per_unit = planned.tiles_per_unit;
    j->copy_bytes = planned.plan.pass.src.n_bytes;
    j->is_for_cpu = j->plan.pass.quality == LATHE_PRECISE && !j->plan.pass.own_scales;
    return LATHE_OK;
}

lathe_status lt_stream_measure(lt_stream_job *j) {
    if (j->plan.is_copy) {
        return lt_fail(LATHE_NOT_SUPPORTED,
                       "quality report: bytes are copied, and nothing is converted or measured");
    }
    j->outcome.quality = &j->quality;
    return LATHE_OK;
}

void lt_stream_job_connect(lt_stream_job *j, const lt_source *source, const lt_sink *sink,
                           const lt_progress *progress) {
    const lt_stream_sides *in_memory = &j->streamer->in_memory;
    j->source = source;
    j->sink = sink;
    j->src_memory.host = in_memory->has_source ? (void *)(uintptr_t)source->data : NULL;
    j->dst_memory.host = in_memory->has_sink ? sink->data : NULL;
    j->progress = progress;
}

/* True if a unit of the job, or the whole of it, was done by the CPU in the device's place. */
static bool fell_back(const lt_stream_job *j) {
    bool has_device = j->streamer->engine->device != NULL;
    bool has_left_device = has_device && !j->backend->is_remote && !j->is_for_cpu;
    return atomic_load(&j->fell_back) || has_left_device;
}

void lt_stream_update_fallback(lt_stream_job *j) {
    j->streamer->fell_back = fell_back(j);
    j->streamer->was_for_cpu = j->is_for_cpu;
}

void lt_stream_job_destroy(lt_stream_job *j) {
    lt_stream_update_fallback(j);
    lt_backend *cpu = j->streamer->engine->cpu;
    j->backend->ops->buffer_destroy(j->backend, &j->scales);
    cpu->ops->buffer_destroy(cpu, &j->host_scales);
    lt_pool_delete(j->streamer->engine->pool, j->stats);
    (void)pthread_cond_destroy(&j->changed);
    (void)pthread_mutex_destroy(&j->mutex);
    (void)pthread_mutex_destroy(&j->progress_mutex);
}

/* ---- scales that are known before the convert pass */

static lathe_status make_host_scales(lt_stream_job *j) {
    lt_backend *cpu = j->streamer->engine->cpu;
    return cpu->ops->buffer_create(cpu, LT_MEMORY_DEVICE, j->plan.pass.dst.n_scales * sizeof(float),
                                   &j->host_scales);
}

/* Gives the device the scales. If it cannot take them, the CPU converts. */
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
    if (status == LATHE_OK || j->is_for_device || streamer->engine->require_device) {
        return status;
    }
    for (uint32_t i = 0; i < streamer->n_slots; i++) {
        streamer->slots[i].on_host = true;
    }
    return LATHE_OK;
}

/* Hands the target's scales to the sink, and to the device. */
static lathe_status spread_scales(lt_stream_job *j) {
    uint64_t n_scales = j->plan.pass.dst.n_scales;
    lathe_status status =
        j->sink->write_scales(j->sink->ctx, 0, j->host_scales.host, (size_t)n_scales);
    bool is_for_device = j->backend->is_remote && !j->is_for_cpu;
    return status == LATHE_OK && is_for_device && j->plan.pass.dst.n_elems > 0 ? upload_scales(j)
                                                                               : status;
}

lathe_status lt_stream_take_scales(lt_stream_job *j, const float *scales) {
    uint64_t n_scales = j->plan.pass.dst.n_scales;
    lathe_status status = lt_scales_check(scales, n_scales, 0);
    if (status != LATHE_OK || n_scales == 0) {
        return status;
    }
    status = make_host_scales(j);
    if (status == LATHE_OK) {
        memcpy(j->host_scales.host, scales, (size_t)n_scales * sizeof(float));
        status = spread_scales(j);
    }
    return status;
}

/* Nothing is decoded with them, but the source's scales are to be what an encoder writes. */
static lathe_status check_empty_source(lt_stream_job *j) {
    const uint64_t n_scales = j->plan.pass.src.n_scales;
    const uint64_t most = j->streamer->slot_bytes / sizeof(float);
    float *scales = j->streamer->slots[0].data.host;
    lathe_status status = LATHE_OK;
    for (uint64_t first = 0; status == LATHE_OK && first < n_scales; first += most) {
        size_t count = (size_t)lt_min(most, n_scales - first);
        status = j->source->read_scales(j->source->ctx, first, scales, count);
        if (status == LATHE_OK) {
            status = lt_scales_check(scales, count, first);
        }
    }
    return status;
}

lathe_status lt_stream_write_empty_scales(lt_stream_job *j) {
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

/* ---- the stats pass */

lathe_status lt_stream_begin_stats(lt_stream_job *j) {
    uint64_t window = lt_min(j->plan.pass.tiling.n_tiles, LT_STATS_WINDOW);
    lathe_status status = make_host_scales(j);
    if (status != LATHE_OK) {
        return status;
    }
    j->stats = lt_pool_new_array(j->streamer->engine->pool, (size_t)window, sizeof(double));
    return j->stats != NULL ? LATHE_OK : lt_error()->status;
}

lt_stream_phase lt_stream_stats_window(lt_stream_job *j, uint64_t first_tile) {
    j->first_tile = first_tile;
    j->n_tiles = lt_min(LT_STATS_WINDOW, j->plan.pass.tiling.n_tiles - first_tile);
    return (lt_stream_phase){
        .n_units = lt_ceil_div(j->n_tiles, j->tiles_per_unit),
        .prepare = lt_stream_prepare_tiles,
        .work = lt_stream_work_tiles,
    };
}

void lt_stream_fold_window(lt_stream_job *j) {
    lt_fold_tiles(&j->fold, &j->plan.pass.tiling, j->plan.pass.dst.dtype, j->stats, j->n_tiles,
                  j->host_scales.host);
}

lathe_status lt_stream_end_stats(lt_stream_job *j) {
    lt_pool_delete(j->streamer->engine->pool, j->stats);
    j->stats = NULL;
    return spread_scales(j);
}

/* One more pass over some tiles, for the search. */
static lathe_status scan_tiles(void *ctx, lt_scan *scan, uint64_t first_tile, uint64_t n_tiles) {
    lt_stream_job *j = ctx;
    j->scan = scan;
    j->first_tile = first_tile;
    j->n_tiles = n_tiles;
    const lt_stream_phase phase = {
        .n_units = lt_ceil_div(n_tiles, j->tiles_per_unit),
        .prepare = lt_stream_prepare_tiles,
        .work = lt_stream_work_tiles,
    };
    lathe_status status = lt_stream_drive(j, &phase);
    j->scan = NULL;
    return status;
}

/* Finds all scales of the target. */
static lathe_status stream_stats(lt_stream_job *j) {
    lathe_status status = lt_stream_begin_stats(j);
    uint64_t tile = 0;
    while (status == LATHE_OK && tile < j->plan.pass.tiling.n_tiles) {
        const lt_stream_phase phase = lt_stream_stats_window(j, tile);
        status = lt_stream_drive(j, &phase);
        if (status == LATHE_OK) {
            lt_stream_fold_window(j);
        }
        tile += j->n_tiles;
    }
    if (status == LATHE_OK && j->plan.pass.quality == LATHE_PRECISE) {
        status = lt_precise_scales(j->streamer->engine->pool, &j->plan.pass, j->host_scales.host,
                                   scan_tiles, j);
    }
    return status == LATHE_OK ? lt_stream_end_stats(j) : status;
}

/* ---- the convert pass, and copies */

lt_stream_phase lt_stream_main_phase(const lt_stream_job *j) {
    lt_stream_phase phase = copy_phase;
    if (j->plan.is_copy) {
        phase.n_units = lt_ceil_div(j->copy_bytes, lt_stream_copy_chunk(j->streamer));
        return phase;
    }
    return (lt_stream_phase){
        .n_units = j->plan.pass.dst.n_elems == 0 ? 0 : j->chunks.n_ranges,
        .prepare = lt_stream_prepare_chunk,
        .work = lt_stream_work_chunk,
    };
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

lathe_status lt_stream_passes(lt_stream_job *j, const float *scales) {
    const bool is_empty = j->plan.pass.dst.n_elems == 0 && !j->plan.is_copy;
    lathe_status status = is_empty ? check_empty_source(j) : LATHE_OK;
    if (status != LATHE_OK) {
        return status;
    }
    if (scales != NULL) {
        status = lt_stream_take_scales(j, scales);
    } else if (is_empty) {
        status = lt_stream_write_empty_scales(j);
    } else if (j->plan.stats_first) {
        status = stream_stats(j);
    }
    if (status == LATHE_OK) {
        const lt_stream_phase phase = lt_stream_main_phase(j);
        status = lt_stream_drive(j, &phase);
    }
    return status == LATHE_OK && j->plan.is_copy ? copy_scales(j) : status;
}

/* ---- whole conversions */

void lt_stream_count(lt_stream_job *j, lathe_convert_stats *stats) {
    if (stats != NULL) {
        stats->n_saturated = atomic_load(&j->outcome.n_saturated);
    }
    if (j->outcome.quality != NULL && stats != NULL && stats->quality != NULL) {
        lt_quality_fill(&j->quality, stats->quality);
    }
}

lathe_status lt_streamer_convert_with(lt_streamer *streamer, const lathe_tensor_desc *from,
                                      const lathe_target *target, const float *scales,
                                      const lt_source *source, const lt_sink *sink,
                                      const lt_progress *progress, lathe_convert_stats *stats) {
    lt_stream_job j;
    lathe_status status =
        lt_stream_job_init(&j, streamer, from, target,
                           scales != NULL ? LT_STREAM_SCALES_GIVEN : LT_STREAM_SCALES_FOUND);
    if (status != LATHE_OK) {
        return status;
    }
    if (source->in_order && j.plan.stats_first) {
        lt_stream_job_destroy(&j);
        return lt_fail(LATHE_NOT_SUPPORTED,
                       "the target's scales need all of the source before it is converted: it must "
                       "be read twice, which a source in order cannot");
    }
    lt_stream_job_connect(&j, source, sink, progress);
    if (stats != NULL && stats->quality != NULL) {
        status = lt_stream_measure(&j);
        if (status != LATHE_OK) {
            lt_stream_job_destroy(&j);
            return status;
        }
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    status = lt_stream_passes(&j, scales);
    lt_fpenv_leave(&saved);
    if (status == LATHE_OK) {
        lt_stream_count(&j, stats);
    }
    lt_stream_job_destroy(&j);
    return status;
}

lathe_status lt_streamer_convert(lt_streamer *streamer, const lathe_tensor_desc *from,
                                 const lathe_target *target, const lt_source *source,
                                 const lt_sink *sink, const lt_progress *progress,
                                 lathe_convert_stats *stats) {
    return lt_streamer_convert_with(streamer, from, target, NULL, source, sink, progress, stats);
}

void lt_streamer_record(const lt_streamer *streamer, const lathe_tensor_desc *from,
                        const lathe_target *target, uint64_t n_saturated, uint64_t ns,
                        lathe_status status) {
    lathe_tensor_desc to;
    lt_layout src = {0};
    lt_layout dst = {0};
    if (lt_layout_of(from, &src) != LATHE_OK ||
        lathe_target_desc(target, from->n_dims, from->shape, &to) != LATHE_OK ||
        lt_layout_of(&to, &dst) != LATHE_OK) {
        return; /* no conversion: the arguments are at fault */
    }
    const lt_metric metric = {
        .strategy = LATHE_STRATEGY_STREAMING,
        .on_device = streamer->backend->is_remote && !streamer->fell_back && !streamer->was_for_cpu,
        .fell_back = streamer->fell_back,
        .from = src.dtype,
        .to = dst.dtype,
        .src_bytes = src.n_bytes + src.n_scales * sizeof(float),
        .dst_bytes = dst.n_bytes + dst.n_scales * sizeof(float),
        .n_saturated = n_saturated,
        .ns = ns,
        .status = status,
    };
    lt_metrics_record(streamer->engine->metrics, &metric);
}

lathe_status lt_streamer_copy(lt_streamer *streamer, uint64_t n_bytes, const lt_source *source,
                              const lt_sink *sink, const lt_progress *progress) {
    lt_stream_job j;
    lt_stream_phase phase = copy_phase;
    lt_stream_job_begin(&j, streamer);
    lt_stream_job_connect(&j, source, sink, progress);
    j.copy_bytes = n_bytes;
    phase.n_units = lt_ceil_div(n_bytes, lt_stream_copy_chunk(streamer));
    lathe_status status = lt_stream_drive(&j, &phase);
    lt_stream_job_destroy(&j);
    return status;
}
