/* SPDX-License-Identifier: Apache-2.0 */
/* A streamer's slots: how many, how large, whose, and within which memory. */
#include "core/checked.h"
#include "core/error.h"
#include "engine/stream/stream_job.h"
#include "pool/pool.h"
#include <inttypes.h>

/* A slot larger than this would only hold longer rows; a smaller one cannot hold the least chunk.
 */
#define MAX_SLOT_BYTES (UINT64_C(4) << 20)
#define MIN_SLOT_BYTES (UINT64_C(384) << 10)
#define MIN_MEMORY_BYTES (UINT64_C(1) << 20)
#define DEFAULT_MEMORY_BYTES (UINT64_C(64) << 20)
/* Where the pool has less than a slot of this left, there is no use in trying smaller ones. */
#define LEAST_MEMORY_BYTES (UINT64_C(16) << 10)
/* What a conversion takes beside its slots and its scales: records, and on a device the tensors of
 * its self-check. */
#define RECORD_BYTES (UINT64_C(16) << 10)
#define CHECK_BYTES (UINT64_C(384) << 10)
/* What programs of many kinds take while a device's driver is given them and checks them: some 5
 * MiB where they are built anew, less where they come from the disk. */
#define PROGRAM_BYTES (UINT64_C(6) << 20)

/* What the slots are to be. */
typedef struct sizing {
    const lathe_tensor_desc *from; /* NULL: any tensor */
    const lathe_target *target;
    lt_stream_scales scales;
    lt_stream_sides in_memory;
    uint64_t good_bytes;
    lathe_streaming_config config;
} sizing;

/* ---- making the slots */

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

static lathe_status make_slots(lathe_engine *engine, const lt_slot_limits *limits,
                               lt_backend *backend, uint64_t n_parallel, lt_streamer **streamer) {
    lt_streamer *made =
        lt_pool_new(engine->pool, sizeof *made + (size_t)limits->n_slots * sizeof made->slots[0]);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->engine = engine;
    made->backend = backend;
    made->slot_bytes = limits->slot_bytes;
    made->chunk_bytes = limits->chunk_bytes;
    made->good_bytes = limits->good_bytes;
    made->n_slots = (uint32_t)limits->n_slots;
    made->in_memory = limits->in_memory;
    made->n_parallel = (uint32_t)lt_min(n_parallel, limits->n_slots);
    lathe_status status = fill_slots(made);
    if (status != LATHE_OK) {
        lt_streamer_free(made);
        return status;
    }
    *streamer = made;
    return LATHE_OK;
}

/* ---- sizing them */

/* As many of the wanted slots as memory holds with at least least_bytes each. */
static uint64_t fitting_slots(const lt_backend *backend, uint64_t wanted, uint64_t least_bytes,
                              uint64_t memory_bytes) {
    uint64_t least = least_bytes * backend->staged_cost * 8 / 7 + backend->queue_bytes;
    return lt_max(lt_min(wanted, memory_bytes / least), 1);
}

/* The size of each of n_slots slots. The pool rounds up by an eighth at most. */
static uint64_t slot_share(const lt_backend *backend, uint64_t n_slots, uint64_t memory_bytes) {
    memory_bytes -= lt_min(n_slots * backend->queue_bytes, memory_bytes);
    uint64_t share = memory_bytes / n_slots / backend->staged_cost;
    return lt_min(share - lt_ceil_div(share, 8), backend->max_buffer_bytes);
}

/* Cuts the limits down to what one conversion needs. A chunk size that the caller has chosen is
 * kept to unless rows, or the least chunk, do not fit. */
static lathe_status fit_conversion(const sizing *s, lt_slot_limits *limits) {
    const uint64_t share = limits->slot_bytes;
    lt_stream_plan planned;
    lathe_status status = LATHE_OK;
    if (limits->chunk_bytes != 0) {
        limits->slot_bytes = lt_min(share, limits->chunk_bytes);
        status = lt_stream_plan_for(limits, s->from, s->target, s->scales, &planned);
        if (status == LATHE_INSUFFICIENT_MEMORY) {
            limits->slot_bytes = lt_min(share, lt_max(MIN_SLOT_BYTES, limits->chunk_bytes));
        }
    }
    if (limits->chunk_bytes == 0 || status == LATHE_INSUFFICIENT_MEMORY) {
        status = lt_stream_plan_for(limits, s->from, s->target, s->scales, &planned);
    }
    if (status == LATHE_OK) {
        limits->slot_bytes = lt_max(planned.slot_bytes, 1);
        limits->n_slots = lt_max(lt_min(limits->n_slots, planned.n_units), 1);
    }
    return status;
}

/* A streamer whose slots are that backend's, within memory_bytes. */
static lathe_status create_on(lathe_engine *engine, lt_backend *backend, const sizing *s,
                              uint64_t memory_bytes, lt_streamer **streamer) {
    const lathe_streaming_config *config = &s->config;
    uint64_t n_parallel = backend->n_threads;
    if (config->parallel_chunks != 0) {
        n_parallel = lt_min(n_parallel, config->parallel_chunks);
    }
    uint64_t wanted = n_parallel + config->prefetch_chunks;
    bool has_choice = config->chunk_bytes != 0;
    uint64_t least = has_choice ? lt_min(config->chunk_bytes, MIN_SLOT_BYTES) : MIN_SLOT_BYTES;
    lt_slot_limits limits = {
        .backend = backend,
        .chunk_bytes = config->chunk_bytes,
        .good_bytes = s->good_bytes,
        .n_slots = fitting_slots(backend, wanted, least, memory_bytes),
    };
    if (!backend->is_remote) {
        limits.in_memory = s->in_memory;
    }
    limits.slot_bytes = slot_share(backend, limits.n_slots, memory_bytes);
    uint64_t most = has_choice
                        ? lt_max(MIN_SLOT_BYTES, config->chunk_bytes)
                        : lt_max(MAX_SLOT_BYTES, backend->chunk_bytes + backend->chunk_bytes / 8);
    limits.slot_bytes = lt_min(limits.slot_bytes, most);
    lathe_status status = s->from != NULL ? fit_conversion(s, &limits) : LATHE_OK;
    return status == LATHE_OK ? make_slots(engine, &limits, backend, n_parallel, streamer) : status;
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
    const sizing any = {.config = engine->streaming};
    memory_bytes -= LT_STATS_WINDOW * sizeof(double);
    lathe_status status = LATHE_OK;
    if (engine->device != NULL) {
        const uint64_t beside =
            engine->device->is_remote ? lt_min(PROGRAM_BYTES, memory_bytes / 2) : 0;
        status = create_on(engine, engine->device, &any, memory_bytes - beside, streamer);
        if (status == LATHE_OK || engine->require_device) {
            return status;
        }
        lt_engine_notice(engine, LATHE_NOTICE_INFO, "the device cannot hold chunks: %s",
                         lt_error()->message);
    }
    return create_on(engine, engine->cpu, &any, memory_bytes, streamer);
}

/* ---- for one conversion */

/* What the pool has left for slots, less what the conversion needs beside them. */
static lathe_status left_for_slots(lathe_engine *engine, const lt_backend *backend, const sizing *s,
                                   uint64_t *left) {
    lathe_tensor_desc to;
    lt_layout dst;
    lathe_status status = lathe_target_desc(s->target, s->from->n_dims, s->from->shape, &to);
    if (status == LATHE_OK) {
        status = lt_layout_of(&to, &dst);
    }
    if (status != LATHE_OK) {
        return status;
    }
    uint64_t n_tiles = 0;
    if (lathe_dtype_is_quantized(dst.dtype)) {
        n_tiles = lt_min(lt_tiling_of(&dst, s->target->quality).n_tiles, LT_STATS_WINDOW);
    }
    uint64_t beside = n_tiles * sizeof(double) + dst.n_scales * sizeof(float);
    beside = beside * (backend->is_remote ? 2 : 1);
    beside += beside / 8 + RECORD_BYTES + (backend->is_remote ? CHECK_BYTES : 0);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    (void)lathe_pool_get_stats(engine->pool, &stats);
    *left = stats.budget_bytes - stats.in_use_bytes;
    *left -= lt_min(*left, beside);
    return LATHE_OK;
}

/* With half of the memory again and again where others take the budget meanwhile. */
static lathe_status open_on(lathe_engine *engine, lt_backend *backend, const sizing *s,
                            lt_streamer **streamer) {
    uint64_t memory_bytes = 0;
    lathe_status status = left_for_slots(engine, backend, s, &memory_bytes);
    memory_bytes = lt_max(lt_min(memory_bytes, s->config.buffer_bytes), LEAST_MEMORY_BYTES);
    while (status == LATHE_OK) {
        status = create_on(engine, backend, s, memory_bytes, streamer);
        if (status != LATHE_INSUFFICIENT_MEMORY || memory_bytes <= LEAST_MEMORY_BYTES) {
            break;
        }
        memory_bytes = lt_max(memory_bytes / 2, LEAST_MEMORY_BYTES);
        status = LATHE_OK;
    }
    return status;
}

static lathe_streaming_config merged(const lathe_streaming_config *call,
                                     const lathe_streaming_config *engine) {
    lathe_streaming_config config = *call;
    config.chunk_bytes = config.chunk_bytes != 0 ? config.chunk_bytes : engine->chunk_bytes;
    config.parallel_chunks =
        config.parallel_chunks != 0 ? config.parallel_chunks : engine->parallel_chunks;
    config.prefetch_chunks =
        config.prefetch_chunks != 0 ? config.prefetch_chunks : engine->prefetch_chunks;
    config.buffer_bytes = config.buffer_bytes != 0 ? config.buffer_bytes : engine->buffer_bytes;
    config.buffer_bytes = config.buffer_bytes != 0 ? config.buffer_bytes : DEFAULT_MEMORY_BYTES;
    return config;
}

lathe_status lt_streamer_open(lathe_engine *engine, const lt_streamer_options *options,
                              lt_streamer **streamer) {
    const sizing s = {
        .from = options->from,
        .target = options->target,
        .scales = options->scales,
        .in_memory = options->in_memory,
        .good_bytes = options->good_bytes,
        .config = merged(&options->config, &engine->streaming),
    };
    if (engine->device != NULL) {
        lathe_status status = open_on(engine, engine->device, &s, streamer);
        if (options->device_only || !lt_engine_may_fall_back(engine, status)) {
            return status;
        }
        lt_engine_notice(engine, LATHE_NOTICE_INFO, "the device cannot hold chunks: %s",
                         lt_error()->message);
    }
    return open_on(engine, engine->cpu, &s, streamer);
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
