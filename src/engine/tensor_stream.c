/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy between two tensors. */
#include "engine/tensor_stream.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/device_tensor.h"
#include "engine/streaming.h"

#define LEAST_MEMORY_BYTES (UINT64_C(1) << 20)
/* Scales, on the host and on the device, the self-check's tensors, and records. */
#define BESIDE_SLOTS_BYTES (UINT64_C(512) << 10)

static lathe_status read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    return lt_tensor_read(ctx, offset, buffer, n_bytes);
}

static lathe_status read_scales(void *ctx, uint64_t first, float *scales, size_t n_scales) {
    return lt_tensor_read_scales(ctx, first, scales, n_scales);
}

static lathe_status write(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    return lt_tensor_write(ctx, offset, bytes, n_bytes);
}

static lathe_status write_scales(void *ctx, uint64_t first, const float *scales, size_t n_scales) {
    return lt_tensor_write_scales(ctx, first, scales, n_scales);
}

/* What the pool has left, less what a conversion needs beside its slots; never under the least. */
static uint64_t left_in_pool(lathe_pool *pool) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    (void)lathe_pool_get_stats(pool, &stats);
    uint64_t left = stats.budget_bytes - stats.in_use_bytes;
    return lt_max(left - lt_min(left, BESIDE_SLOTS_BYTES), LEAST_MEMORY_BYTES);
}

/* Memory for slots: as many chunks as the device works on at once, but no more than the tensors
 * need, and half of it again and again where others take the budget meanwhile. */
static lathe_status open_streamer(lathe_engine *engine, uint64_t n_bytes, lt_streamer **streamer) {
    const lt_backend *device = engine->device;
    uint64_t slots = device->n_threads * (device->chunk_bytes + device->chunk_bytes / 8);
    uint64_t memory = lt_min(slots, n_bytes) * device->staged_cost;
    /* What the pool rounds up by, and the rest of a streamer. */
    memory = memory + memory / 4 + LEAST_MEMORY_BYTES + device->n_threads * device->queue_bytes;
    memory = lt_min(memory, left_in_pool(engine->pool));
    for (;;) {
        lathe_status status = lt_streamer_create(engine, memory, streamer);
        bool is_short = status == LATHE_INSUFFICIENT_MEMORY && memory > LEAST_MEMORY_BYTES;
        if (!is_short) {
            return status;
        }
        memory = lt_max(memory / 2, LEAST_MEMORY_BYTES);
    }
}

lathe_status lt_tensor_stream(lathe_engine *engine, const lathe_tensor *source,
                              const lathe_target *target, lathe_tensor *result,
                              uint64_t *n_saturated) {
    lt_streamer *streamer = NULL;
    lathe_status status = open_streamer(
        engine, lt_min(source->layout.n_bytes, UINT64_MAX / 64) + result->layout.n_bytes,
        &streamer);
    if (status != LATHE_OK) {
        return status;
    }
    bool is_source_pinned = source->memory == LATHE_MEMORY_PINNED;
    bool is_result_pinned = result->memory == LATHE_MEMORY_PINNED;
    const lt_source from = {
        .ctx = (void *)(uintptr_t)source,
        .read = read,
        .read_scales = read_scales,
        .pinned = is_source_pinned ? source->data : NULL,
    };
    const lt_sink to = {
        .ctx = result,
        .write = write,
        .write_scales = write_scales,
        .pinned = is_result_pinned ? result->data : NULL,
    };
    const lathe_tensor_desc desc = lt_tensor_desc_of(source);
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    status = lt_streamer_convert(streamer, &desc, target, &from, &to, NULL, &stats);
    *n_saturated = stats.n_saturated;
    lt_streamer_free(streamer);
    return status;
}
