/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs of tensors. */
#include "engine/batch/slab_state.h"

#include "core/checked.h"
#include "core/error.h"
#include "pool/pool.h"
#include <lathe/batch.h>
#include <stddef.h>
#include <string.h>

static uint64_t rounded(uint64_t n_bytes) {
    return (n_bytes + LT_SLAB_ALIGNMENT - 1) / LT_SLAB_ALIGNMENT * LT_SLAB_ALIGNMENT;
}

/* A host's slab, the structs in it included, is as many huge pages: structs in small ones cost a
 * walk through the page tables each. */
bool lt_slab_is_too_large(bool on_host, uint64_t n_tensors, uint64_t n_bytes) {
    const uint64_t host_bytes = UINT64_C(4) << 20;
    const uint64_t device_bytes = UINT64_C(64) << 20;
    uint64_t struct_bytes = rounded(sizeof(lt_slab)) + n_tensors * sizeof(lathe_tensor);
    return on_host ? n_bytes > host_bytes - lt_min(struct_bytes, host_bytes)
                   : n_bytes > device_bytes;
}

uint64_t lt_slab_data_bytes(const lt_layout *layout) {
    return rounded(layout->n_bytes);
}

uint64_t lt_slab_scale_bytes(const lt_layout *layout) {
    return rounded(layout->n_scales * sizeof(float));
}

void lt_slab_drop(lt_slab *slab) {
    if (slab == NULL ||
        atomic_fetch_sub_explicit(&slab->n_references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    lathe_pool *pool = slab->pool; /* which the block keeps alive */
    lt_backend *backend = slab->backend;
    if (backend != NULL) {
        backend->ops->buffer_destroy(backend, &slab->buffer);
    }
    lt_pool_delete(pool, slab->block);
    lt_backend_release(backend);
}

static void free_host_part(void *ctx, void *data, float *scales) {
    (void)data;
    (void)scales;
    lt_slab_drop(ctx);
}

void lt_slab_end_part(lt_slab_part *own) {
    lt_pool_delete(own->memory.pool, own->memory.mapped);
    own->memory.backend->ops->queue_close(own->memory.backend, own->memory.map_queue);
}

static void free_device_part(void *ctx, void *data, float *scales) {
    lt_slab_part *own = ctx;
    (void)data;
    (void)scales;
    lt_slab_end_part(own);
    lt_slab_drop(own->slab);
}

/* The block: a host slab's memory, then the slab, its tensors and its parts. */
lathe_status lt_slab_create(lathe_engine *engine, lathe_memory memory, size_t n_tensors,
                            uint64_t n_bytes, lt_slab **slab) {
    lt_backend *backend = memory == LATHE_MEMORY_HOST ? NULL : engine->device;
    uint64_t data_bytes = backend == NULL ? rounded(n_bytes) : 0;
    uint64_t part_bytes = sizeof(lathe_tensor) + (backend == NULL ? 0 : sizeof(lt_slab_part));
    uint64_t head_bytes = rounded(sizeof(lt_slab));
    uint64_t total = 0;
    void *block = NULL;
    if (!lt_mul(n_tensors, part_bytes, &total) || !lt_add(total, head_bytes, &total) ||
        !lt_add(total, data_bytes, &total) || total > SIZE_MAX / 2) {
        return lt_fail(LATHE_SIZE_OVERFLOW, "the tensors are larger than memory's address range");
    }
    lathe_status status = lathe_pool_alloc(engine->pool, (size_t)total, &block);
    if (status != LATHE_OK) {
        return status;
    }
    uint8_t *bytes = block;
    lt_slab *made = (lt_slab *)(void *)(bytes + data_bytes);
    *made = (lt_slab){
        .pool = engine->pool,
        .block = block,
        .memory = backend == NULL ? LATHE_MEMORY_HOST : memory,
        .data = bytes,
        .tensors = (lathe_tensor *)(void *)(bytes + data_bytes + head_bytes),
        .first_id = lt_tensor_new_ids(n_tensors),
    };
    atomic_init(&made->n_references, 1);
    if (backend != NULL) {
        lt_memory kind = memory == LATHE_MEMORY_PINNED ? LT_MEMORY_PINNED : LT_MEMORY_DEVICE;
        made->parts = (lt_slab_part *)(void *)(made->tensors + n_tensors);
        made->backend = lt_backend_retain(backend);
        status = backend->ops->buffer_create(backend, kind, lt_max(n_bytes, 1), &made->buffer);
        made->data = made->buffer.host;
    }
    if (status != LATHE_OK) {
        lt_slab_drop(made);
        return status;
    }
    atomic_init(&made->n_references, n_tensors);
    *slab = made;
    return LATHE_OK;
}

/* Gives a tensor of a device's slab its part of the buffer. Buffers of the device's are mapped
 * through a copy: a mapping would be that of the whole slab. */
static void place_on_device(lt_slab *slab, size_t index, lathe_tensor *tensor, uint64_t offset,
                            uint64_t scale_offset) {
    lt_slab_part *own = &slab->parts[index];
    *own = (lt_slab_part){
        .memory =
            {
                .pool = slab->pool,
                .backend = slab->backend,
                .data = slab->buffer,
                .data_offset = offset,
                .scale_offset = scale_offset / sizeof(float),
            },
        .slab = slab,
    };
    own->memory.data.host = NULL;
    own->memory.data.staging = NULL;
    own->memory.data.is_owned = false;
    if (tensor->layout.n_scales > 0) {
        own->memory.scales = own->memory.data;
    }
    tensor->on_device = &own->memory;
    tensor->free_fn = free_device_part;
    tensor->free_ctx = own;
}

const void *lt_slab_place(const lt_slab *slab, size_t index) {
    const uint8_t *tensors = (const uint8_t *)slab + rounded(sizeof(lt_slab));
    return tensors + index * sizeof(lathe_tensor);
}

/* Copies a tensor's struct, its shape as far as it has dimensions. In lines: for a copy of so many
 * bytes at once compilers take an instruction that takes long to start. */
static void copy_struct(lathe_tensor *to, const lathe_tensor *from) {
    const size_t n_bytes = lt_tensor_used_bytes(from->n_dims);
    for (size_t at = 0; at < n_bytes; at += LT_TENSOR_LINE_BYTES) {
        memcpy((uint8_t *)to + at, (const uint8_t *)from + at, LT_TENSOR_LINE_BYTES);
    }
}

lathe_tensor *lt_slab_take(lt_slab *slab, size_t index, const lathe_tensor *like, uint64_t offset,
                           uint64_t scale_offset) {
    lathe_tensor *tensor = &slab->tensors[index];
    copy_struct(tensor, like);
    atomic_init(&tensor->n_references, 1);
    tensor->id = slab->first_id + index;
    atomic_init(&tensor->version, 0);
    tensor->pool = slab->pool;
    tensor->memory = (uint8_t)slab->memory;
    tensor->is_part = true;
    if (slab->data != NULL) {
        void *scales = slab->data + scale_offset;
        tensor->data = slab->data + offset;
        tensor->scales = like->layout.n_scales > 0 ? scales : NULL;
    }
    if (slab->backend == NULL) {
        tensor->free_fn = free_host_part;
        tensor->free_ctx = slab;
    } else {
        place_on_device(slab, index, tensor, offset, scale_offset);
    }
    return tensor;
}

/* ---- making many */

/* The memory of tensors [first, ...) that go into one slab, that of their data, and how many those
 * are. */
static lathe_status count_slab(const lathe_tensor_desc *descs, size_t first, size_t end,
                               bool on_host, uint64_t *n_bytes, uint64_t *data_bytes,
                               size_t *count) {
    *n_bytes = 0;
    *data_bytes = 0;
    *count = 0;
    for (size_t i = first; i < end; i++) {
        lt_layout layout;
        uint64_t total = 0;
        lathe_status status = lt_layout_of(&descs[i], &layout);
        if (status == LATHE_OK && layout.n_bytes > SIZE_MAX / 4) {
            status =
                lt_fail(LATHE_SIZE_OVERFLOW, "the tensor is larger than memory's address range");
        }
        if (status != LATHE_OK) {
            return status;
        }
        const uint64_t own_bytes = lt_slab_data_bytes(&layout);
        if (!lt_add(*n_bytes, own_bytes + lt_slab_scale_bytes(&layout), &total) ||
            (*count > 0 && lt_slab_is_too_large(on_host, *count + 1, total))) {
            break;
        }
        *n_bytes = total;
        *data_bytes += own_bytes;
        (*count)++;
    }
    return LATHE_OK;
}

static lathe_status fill_slab(lt_slab *slab, const lathe_tensor_desc *descs, size_t count,
                              uint64_t scale_offset, lathe_tensor **tensors) {
    uint64_t offset = 0;
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < count; i++) {
        lathe_tensor like = {.free_fn = NULL};
        lt_layout layout;
        status = status == LATHE_OK ? lt_layout_of(&descs[i], &layout) : status;
        if (status == LATHE_OK) {
            lt_tensor_init(&like, slab->pool, &descs[i], &layout);
            tensors[i] = lt_slab_take(slab, i, &like, offset, scale_offset);
            offset += lt_slab_data_bytes(&layout);
            scale_offset += lt_slab_scale_bytes(&layout);
        } else {
            lt_slab_drop(slab);
        }
    }
    return status;
}

lathe_status lathe_engine_tensors_create(lathe_engine *engine, lathe_memory memory,
                                         size_t n_tensors, const lathe_tensor_desc *descs,
                                         lathe_tensor **tensors) {
    bool is_known = (int)memory >= LATHE_MEMORY_HOST && (int)memory <= LATHE_MEMORY_DEVICE;
    if (engine == NULL || !is_known || (n_tensors > 0 && (descs == NULL || tensors == NULL))) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "engine, descs or tensors is NULL, or memory is none");
    }
    lathe_tensor **made = lt_pool_new_array(engine->pool, lt_max(n_tensors, 1), sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    bool on_host = memory == LATHE_MEMORY_HOST || engine->device == NULL;
    lathe_status status = LATHE_OK;
    for (size_t first = 0; status == LATHE_OK && first < n_tensors;) {
        lt_slab *slab = NULL;
        uint64_t n_bytes;
        uint64_t data_bytes;
        size_t count;
        status = count_slab(descs, first, n_tensors, on_host, &n_bytes, &data_bytes, &count);
        if (status == LATHE_OK) {
            status = lt_slab_create(engine, memory, count, n_bytes, &slab);
        }
        if (status == LATHE_OK) {
            status = fill_slab(slab, descs + first, count, data_bytes, made + first);
        }
        first += count;
    }
    for (size_t i = 0; i < n_tensors; i++) {
        if (status == LATHE_OK) {
            tensors[i] = made[i];
        } else {
            lathe_tensor_release(made[i]);
        }
    }
    lt_pool_delete(engine->pool, made);
    return status;
}
