/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy between two tensors. */
#include "engine/stream/tensor_stream.h"

#include "core/checked.h"
#include "engine/device/device_tensor.h"
#include "engine/stream/stream_job.h"

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

/* Memory for slots: as many chunks as the device works on at once. */
static uint64_t buffer_bytes(const lathe_engine *engine) {
    const lt_backend *device = engine->device;
    uint64_t slot = (device->chunk_bytes + device->chunk_bytes / 8) * device->staged_cost;
    return (slot + slot / 4 + device->queue_bytes) * device->n_threads;
}

uint64_t lt_tensor_stream_bytes(const lathe_engine *engine, uint64_t n_bytes) {
    const uint64_t records = UINT64_C(1) << 20;
    const lt_backend *device = engine->device;
    uint64_t configured = engine->streaming.buffer_bytes;
    uint64_t most = configured != 0 ? configured : buffer_bytes(engine);
    /* Slots together are no larger than the tensors, but for what the pool rounds up by. */
    uint64_t whole = lt_min(n_bytes, UINT64_MAX / 64) * device->staged_cost;
    return lt_min(most, whole + whole / 4 + device->n_threads * device->queue_bytes + records);
}

lathe_status lt_tensor_stream(lathe_engine *engine, const lathe_tensor *source,
                              const lathe_target *target, lathe_tensor *result,
                              uint64_t *n_saturated, bool *fell_back) {
    const lathe_tensor_desc desc = lt_tensor_desc_of(source);
    lt_streamer_options options = {.from = &desc, .target = target};
    if (engine->streaming.buffer_bytes == 0) {
        options.config.buffer_bytes = buffer_bytes(engine);
    }
    lt_streamer *streamer = NULL;
    lathe_status status = lt_streamer_open(engine, &options, &streamer);
    if (status != LATHE_OK) {
        return status;
    }
    bool is_source_pinned = source->memory == LATHE_MEMORY_PINNED;
    bool is_result_pinned = result->memory == LATHE_MEMORY_PINNED;
    const lt_source from = {
        .ctx = (void *)(uintptr_t)source,
        .read = read,
        .read_scales = read_scales,
        .data = is_source_pinned ? source->data : NULL,
        .is_pinned = is_source_pinned,
    };
    const lt_sink to = {
        .ctx = result,
        .write = write,
        .write_scales = write_scales,
        .data = is_result_pinned ? result->data : NULL,
        .is_pinned = is_result_pinned,
    };
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    status = lt_streamer_convert(streamer, &desc, target, &from, &to, NULL, &stats);
    *n_saturated = stats.n_saturated;
    *fell_back = streamer->fell_back;
    lt_streamer_free(streamer);
    return status;
}
