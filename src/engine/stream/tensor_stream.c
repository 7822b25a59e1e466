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

lt_source lt_tensor_source(const lathe_tensor *tensor) {
    bool is_pinned = tensor->memory == LATHE_MEMORY_PINNED;
    return (lt_source){
        .ctx = (void *)(uintptr_t)tensor,
        .read = read,
        .read_scales = read_scales,
        .data = tensor->memory != LATHE_MEMORY_DEVICE ? tensor->data : NULL,
        .is_pinned = is_pinned,
    };
}

lt_sink lt_tensor_sink(lathe_tensor *tensor) {
    bool is_pinned = tensor->memory == LATHE_MEMORY_PINNED;
    return (lt_sink){
        .ctx = tensor,
        .write = write,
        .write_scales = write_scales,
        .data = tensor->memory != LATHE_MEMORY_DEVICE ? tensor->data : NULL,
        .is_pinned = is_pinned,
    };
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

lt_streamer_options lt_tensor_slots(const lathe_engine *engine, const lathe_tensor_desc *from,
                                    const lathe_target *target) {
    lt_streamer_options options = {.from = from, .target = target};
    if (engine->streaming.buffer_bytes == 0) {
        options.config.buffer_bytes = buffer_bytes(engine);
    }
    return options;
}

lathe_status lt_tensor_stream(lathe_engine *engine, const lathe_tensor *source,
                              const lathe_target *target, lathe_tensor *result,
                              uint64_t *n_saturated, lathe_quality_report *report,
                              bool *fell_back) {
    const lathe_tensor_desc desc = lt_tensor_desc_of(source);
    const lt_streamer_options options = lt_tensor_slots(engine, &desc, target);
    lt_streamer *streamer = NULL;
    lathe_status status = lt_streamer_open(engine, &options, &streamer);
    if (status != LATHE_OK) {
        return status;
    }
    const lt_source from = lt_tensor_source(source);
    const lt_sink to = lt_tensor_sink(result);
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = report};
    status = lt_streamer_convert(streamer, &desc, target, &from, &to, NULL, &stats);
    *n_saturated = stats.n_saturated;
    *fell_back = streamer->fell_back;
    lt_streamer_free(streamer);
    return status;
}
