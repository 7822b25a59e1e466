/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in pinned memory and in a device's own: making, copying and mapping them. */
#include "engine/device/device_tensor.h"

#include "core/error.h"
#include "engine/batch/bins.h"
#include "engine/device/staged_copy.h"
#include "engine/engine.h"
#include "pool/pool.h"
#include <string.h>

static void free_device_memory(void *ctx, void *data, float *scales) {
    lt_device_memory *memory = ctx;
    lt_backend *backend = memory->backend;
    (void)data;
    (void)scales;
    lt_pool_delete(memory->pool, memory->mapped);
    if (memory->map_queue != NULL) {
        backend->ops->queue_close(backend, memory->map_queue);
    }
    backend->ops->buffer_destroy(backend, &memory->data);
    backend->ops->buffer_destroy(backend, &memory->scales);
    lt_pool_delete(memory->pool, memory);
    lt_backend_release(backend);
}

lathe_status lt_device_tensor_new(lt_backend *backend, lathe_pool *pool, lathe_memory memory,
                                  const lathe_tensor_desc *desc, lathe_tensor **tensor) {
    lt_layout layout;
    lathe_status status = lt_layout_of(desc, &layout);
    if (status != LATHE_OK) {
        return status;
    }
    lathe_tensor *made = lt_tensor_new(pool, desc, &layout);
    lt_device_memory *on_device = made == NULL ? NULL : lt_pool_new(pool, sizeof *on_device);
    if (on_device == NULL) {
        lathe_tensor_release(made);
        return lt_error()->status;
    }
    on_device->pool = pool;
    on_device->backend = lt_backend_retain(backend);
    made->memory = (uint8_t)memory;
    made->on_device = on_device;
    made->free_fn = free_device_memory;
    made->free_ctx = on_device;
    *tensor = made;
    return LATHE_OK;
}

/* A device that shares the host's memory gives buffers that both can reach. */
lt_memory lt_device_memory_kind(const lt_backend *backend, lathe_memory memory) {
    if (memory == LATHE_MEMORY_PINNED) {
        return LT_MEMORY_PINNED;
    }
    return backend->staged_cost == 1 ? LT_MEMORY_STAGED : LT_MEMORY_DEVICE;
}

/* A tensor with buffers of its own. */
static lathe_status create_alone(lathe_engine *engine, lathe_memory memory,
                                 const lathe_tensor_desc *desc, lathe_tensor **tensor) {
    lt_backend *backend = engine->device;
    lathe_tensor *made = NULL;
    lathe_status status = lt_device_tensor_new(backend, engine->pool, memory, desc, &made);
    if (status != LATHE_OK) {
        return status;
    }
    made->owns_memory = true;
    lt_memory kind = lt_device_memory_kind(backend, memory);
    lt_device_memory *on_device = made->on_device;
    if (made->layout.n_bytes > 0) {
        status = backend->ops->buffer_create(backend, kind, made->layout.n_bytes, &on_device->data);
    }
    if (status == LATHE_OK && made->layout.n_scales > 0) {
        status = backend->ops->buffer_create(backend, kind, made->layout.n_scales * sizeof(float),
                                             &on_device->scales);
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return status;
    }
    if (memory == LATHE_MEMORY_PINNED) {
        made->data = on_device->data.host;
        made->scales = on_device->scales.host;
    }
    *tensor = made;
    return LATHE_OK;
}

lathe_status lathe_engine_tensor_create(lathe_engine *engine, lathe_memory memory,
                                        const lathe_tensor_desc *desc, lathe_tensor **tensor) {
    if (engine == NULL || tensor == NULL || (int)memory < LATHE_MEMORY_HOST ||
        (int)memory > LATHE_MEMORY_DEVICE) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine or tensor is NULL, or memory is none");
    }
    lt_backend *backend = engine->device;
    if (memory == LATHE_MEMORY_HOST || backend == NULL) {
        return lathe_tensor_create(engine->pool, desc, tensor);
    }
    lt_layout layout;
    lathe_status status = lt_layout_of(desc, &layout);
    if (status != LATHE_OK) {
        return status;
    }
    bool in_bin =
        lt_device_memory_kind(backend, memory) == LT_MEMORY_DEVICE && lt_bins_suit(&layout);
    return in_bin ? lt_bins_make(engine, desc, &layout, tensor)
                  : create_alone(engine, memory, desc, tensor);
}

lt_span lt_device_tensor_span(const lathe_tensor *tensor) {
    const lt_device_memory *memory = tensor->on_device;
    return (lt_span){
        .data = &memory->data,
        .data_offset = memory->data_offset,
        .scales = tensor->layout.n_scales > 0 ? &memory->scales : NULL,
        .scale_offset = memory->scale_offset,
    };
}

static bool is_remote(const lathe_tensor *tensor) {
    return tensor->memory == LATHE_MEMORY_DEVICE;
}

/* Between the host, at `from` or at `to`, and the tensor: `offset` bytes into its data, or into its
 * scales. */
static lathe_status pass(const lathe_tensor *tensor, bool is_scales, uint64_t offset,
                         const void *from, void *to, size_t n_bytes) {
    const lt_device_memory *memory = tensor->on_device;
    if (n_bytes == 0) {
        return LATHE_OK;
    }
    if (is_remote(tensor)) {
        offset += is_scales ? memory->scale_offset * sizeof(float) : memory->data_offset;
        return lt_transfer(memory->backend, is_scales ? &memory->scales : &memory->data, offset,
                           from, to, n_bytes);
    }
    uint8_t *host = (is_scales ? (uint8_t *)tensor->scales : (uint8_t *)tensor->data) + offset;
    memcpy(to != NULL ? to : host, to != NULL ? host : from, n_bytes);
    return LATHE_OK;
}

lathe_status lt_tensor_read(const lathe_tensor *tensor, uint64_t offset, void *bytes,
                            size_t n_bytes) {
    return pass(tensor, false, offset, NULL, bytes, n_bytes);
}

lathe_status lt_tensor_read_scales(const lathe_tensor *tensor, uint64_t first, float *scales,
                                   size_t n_scales) {
    return pass(tensor, true, first * sizeof *scales, NULL, scales, n_scales * sizeof *scales);
}

lathe_status lt_tensor_write(const lathe_tensor *tensor, uint64_t offset, const void *bytes,
                             size_t n_bytes) {
    return pass(tensor, false, offset, bytes, NULL, n_bytes);
}

lathe_status lt_tensor_write_scales(const lathe_tensor *tensor, uint64_t first, const float *scales,
                                    size_t n_scales) {
    return pass(tensor, true, first * sizeof *scales, scales, NULL, n_scales * sizeof *scales);
}

/* Between two device tensors of one backend nothing passes through the host. */
static lathe_status copy_on_device(const lathe_tensor *from, const lathe_tensor *to) {
    const lt_device_memory *a = from->on_device;
    const lt_device_memory *b = to->on_device;
    lt_backend *backend = a->backend;
    lt_queue *queue = NULL;
    lathe_status status = backend->ops->queue_open(backend, &queue);
    if (status != LATHE_OK) {
        return status;
    }
    if (from->layout.n_bytes > 0) {
        status = backend->ops->copy(backend, queue, &a->data, a->data_offset, &b->data,
                                    b->data_offset, from->layout.n_bytes);
    }
    if (status == LATHE_OK && from->layout.n_scales > 0) {
        status = backend->ops->copy(backend, queue, &a->scales, a->scale_offset * sizeof(float),
                                    &b->scales, b->scale_offset * sizeof(float),
                                    from->layout.n_scales * sizeof(float));
    }
    if (status == LATHE_OK) {
        status = backend->ops->finish(backend, queue);
    }
    backend->ops->queue_close(backend, queue);
    return status;
}

/* From one device to another, through the host's memory, a piece at a time. */
static lathe_status copy_through_host(const lathe_tensor *from, const lathe_tensor *to) {
    enum { PIECE_BYTES = 4 * 1024 * 1024 };
    lathe_pool *pool = to->pool;
    void *piece = NULL;
    lathe_status status = lathe_pool_alloc(pool, PIECE_BYTES, &piece);
    for (uint64_t done = 0; status == LATHE_OK && done < from->layout.n_bytes;) {
        uint64_t left = from->layout.n_bytes - done;
        size_t n_bytes = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        status = lt_tensor_read(from, done, piece, n_bytes);
        status = status == LATHE_OK ? lt_tensor_write(to, done, piece, n_bytes) : status;
        done += n_bytes;
    }
    for (uint64_t done = 0; status == LATHE_OK && done < from->layout.n_scales;) {
        uint64_t left = from->layout.n_scales - done;
        size_t most = PIECE_BYTES / sizeof(float);
        size_t count = left < most ? (size_t)left : most;
        status = lt_tensor_read_scales(from, done, piece, count);
        status = status == LATHE_OK ? lt_tensor_write_scales(to, done, piece, count) : status;
        done += count;
    }
    lt_pool_delete(pool, piece);
    return status;
}

/* A device tensor's data to a tensor of the host's; pinned memory is transferred to as it is. */
static lathe_status download_data(const lathe_tensor *from, const lathe_tensor *to) {
    const lt_device_memory *memory = from->on_device;
    uint64_t n_bytes = from->layout.n_bytes;
    return to->memory == LATHE_MEMORY_HOST && lt_staged_copy_suits(memory->backend, n_bytes)
               ? lt_staged_download(memory->backend, &memory->data, memory->data_offset, to->data,
                                    n_bytes)
               : lt_tensor_read(from, 0, to->data, (size_t)n_bytes);
}

/* The other way, likewise. */
static lathe_status upload_data(const lathe_tensor *from, const lathe_tensor *to) {
    const lt_device_memory *memory = to->on_device;
    uint64_t n_bytes = from->layout.n_bytes;
    return from->memory == LATHE_MEMORY_HOST && is_remote(to) &&
                   lt_staged_copy_suits(memory->backend, n_bytes)
               ? lt_staged_upload(memory->backend, &memory->data, memory->data_offset, from->data,
                                  n_bytes)
               : lt_tensor_write(to, 0, from->data, (size_t)n_bytes);
}

lathe_status lt_tensor_copy_contents(const lathe_tensor *from, const lathe_tensor *to) {
    if (is_remote(from) && is_remote(to)) {
        bool same_backend = from->on_device->backend == to->on_device->backend;
        return same_backend ? copy_on_device(from, to) : copy_through_host(from, to);
    }
    if (is_remote(from)) {
        lathe_status status = download_data(from, to);
        return status != LATHE_OK
                   ? status
                   : lt_tensor_read_scales(from, 0, to->scales, (size_t)from->layout.n_scales);
    }
    lathe_status status = upload_data(from, to);
    return status != LATHE_OK
               ? status
               : lt_tensor_write_scales(to, 0, from->scales, (size_t)from->layout.n_scales);
}

/* ---- mapping */

typedef lathe_status map_fn(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                            uint64_t offset, uint64_t n_bytes, lt_access access);

/* Maps or unmaps what the tensor has of the two buffers. */
static lathe_status for_both(const lathe_tensor *tensor, map_fn *fn, lt_access access) {
    const lt_device_memory *memory = tensor->on_device;
    uint64_t scale_bytes = tensor->layout.n_scales * sizeof(float);
    lathe_status status = LATHE_OK;
    if (tensor->layout.n_bytes > 0) {
        status = fn(memory->backend, memory->map_queue, &memory->data, memory->data_offset,
                    tensor->layout.n_bytes, access);
    }
    if (status == LATHE_OK && scale_bytes > 0) {
        status = fn(memory->backend, memory->map_queue, &memory->scales,
                    memory->scale_offset * sizeof(float), scale_bytes, access);
    }
    return status;
}

static lt_access access_of(bool write) {
    return write ? LT_ACCESS_READ | LT_ACCESS_WRITE : LT_ACCESS_READ;
}

static void close_map_queue(lt_device_memory *memory) {
    memory->backend->ops->queue_close(memory->backend, memory->map_queue);
    memory->map_queue = NULL;
}

/* Where the buffers can be mapped themselves. The queue keeps the mappings. */
static lathe_status map_buffers(lathe_tensor *tensor, bool write) {
    lt_device_memory *memory = tensor->on_device;
    const lt_backend_ops *ops = memory->backend->ops;
    lathe_status status = ops->queue_open(memory->backend, &memory->map_queue);
    if (status != LATHE_OK) {
        return status;
    }
    status = for_both(tensor, ops->map, access_of(write));
    if (status != LATHE_OK) {
        close_map_queue(memory);
        return status;
    }
    tensor->data = (uint8_t *)memory->data.host + memory->data_offset;
    if (tensor->layout.n_scales > 0) {
        tensor->scales = (float *)memory->scales.host + memory->scale_offset;
    }
    return LATHE_OK;
}

static lathe_status unmap_buffers(const lathe_tensor *tensor) {
    lt_device_memory *memory = tensor->on_device;
    const lt_backend_ops *ops = memory->backend->ops;
    lathe_status status = for_both(tensor, ops->unmap, access_of(memory->mapped_for_writing));
    if (status == LATHE_OK) {
        status = ops->finish(memory->backend, memory->map_queue);
    }
    close_map_queue(memory);
    return status;
}

/* A copy of the tensor on the host: data, then scales. */
static lathe_status map_copy(lathe_tensor *tensor) {
    lt_device_memory *memory = tensor->on_device;
    uint64_t scales_at = (tensor->layout.n_bytes + 63) / 64 * 64;
    uint64_t n_bytes = scales_at + tensor->layout.n_scales * sizeof(float);
    lathe_status status = lathe_pool_alloc(memory->pool, (size_t)n_bytes, &memory->mapped);
    if (status != LATHE_OK) {
        return status;
    }
    uint8_t *bytes = memory->mapped;
    float *scales = (float *)(void *)(bytes + scales_at);
    status = lt_tensor_read(tensor, 0, bytes, (size_t)tensor->layout.n_bytes);
    if (status == LATHE_OK) {
        status = lt_tensor_read_scales(tensor, 0, scales, (size_t)tensor->layout.n_scales);
    }
    if (status != LATHE_OK) {
        lt_pool_delete(memory->pool, memory->mapped);
        memory->mapped = NULL;
        return status;
    }
    tensor->data = bytes;
    tensor->scales = scales;
    return LATHE_OK;
}

lathe_status lathe_tensor_map(lathe_engine *engine, lathe_tensor *tensor, bool write) {
    if (engine == NULL || tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine or tensor is NULL");
    }
    if (write && tensor->read_only) {
        return lt_fail(LATHE_READ_ONLY, "the tensor is read-only");
    }
    if (write) {
        lt_tensor_touch(tensor);
    }
    if (!is_remote(tensor)) {
        return LATHE_OK;
    }
    if (tensor->data != NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the tensor is mapped already");
    }
    lt_device_memory *memory = tensor->on_device;
    lathe_status status = LATHE_OK;
    if (memory->data.host != NULL) {
        status = map_buffers(tensor, write);
    } else {
        status = map_copy(tensor);
    }
    if (status == LATHE_OK) {
        memory->mapped_for_writing = write;
        tensor->mapped_read_only = !write;
    }
    return status;
}

lathe_status lathe_tensor_unmap(lathe_engine *engine, lathe_tensor *tensor) {
    if (engine == NULL || tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine or tensor is NULL");
    }
    if (!is_remote(tensor)) {
        return LATHE_OK;
    }
    if (tensor->data == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the tensor is not mapped");
    }
    lt_device_memory *memory = tensor->on_device;
    void *bytes = tensor->data;
    const float *scales = tensor->scales;
    bool write = memory->mapped_for_writing;
    lathe_status status = LATHE_OK;
    if (write) {
        lt_tensor_touch(tensor);
    }
    tensor->data = NULL;
    tensor->scales = NULL;
    tensor->mapped_read_only = false;
    if (memory->mapped == NULL) {
        return unmap_buffers(tensor);
    }
    if (write) {
        status = lt_tensor_write(tensor, 0, bytes, (size_t)tensor->layout.n_bytes);
        if (status == LATHE_OK) {
            status = lt_tensor_write_scales(tensor, 0, scales, (size_t)tensor->layout.n_scales);
        }
    }
    lt_pool_delete(memory->pool, memory->mapped);
    memory->mapped = NULL;
    return status;
}
