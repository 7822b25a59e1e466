/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory, pinned memory, and host memory that a device uses in place. */
#include "opencl/memory.h"

#include "core/checked.h"
#include "core/error.h"
#include "opencl/release.h"
#include <inttypes.h>
#include <string.h>

/* Host memory can be used in place by integrated GPUs where it is whole pages and cache lines. */
enum { PAGE_ALIGNMENT = 4096, SIZE_ALIGNMENT = 64 };

/* Behind a block of pinned memory lies the cl_mem that it belongs to. */
enum { PINNED_RECORD_BYTES = 64 };

/* Where that is. The pool's rounding must not lead beyond what a buffer can have. */
static size_t record_offset(const lt_cl_memory *memory, size_t n_bytes) {
    return (size_t)lt_min(n_bytes, memory->device->max_alloc_bytes - PINNED_RECORD_BYTES);
}

static cl_int noted(const lt_cl_memory *memory, cl_int error) {
    if (error != CL_SUCCESS) {
        lt_count(&memory->counters->n_device_errors, 1);
    }
    return error;
}

/* A memory object; NULL where the driver has none. */
static cl_mem create_object(const lt_cl_memory *memory, cl_mem_flags flags, size_t n_bytes,
                            void *host, cl_int *error) {
    *error = CL_OUT_OF_HOST_MEMORY;
    cl_mem object =
        clCreateBuffer(memory->device->context, CL_MEM_READ_WRITE | flags, n_bytes, host, error);
    return noted(memory, *error) == CL_SUCCESS ? object : NULL;
}

/* ---- sources of the pool */

/* A driver may take a buffer's memory only when a command uses it, which is too late for the pool
 * to make room: hence a command that asks for no more than that. */
static bool take_now(const lt_cl_memory *memory, cl_mem object) {
    cl_int error = clEnqueueMigrateMemObjects(
        memory->queue, 1, &object, CL_MIGRATE_MEM_OBJECT_CONTENT_UNDEFINED, 0, NULL, NULL);
    if (error == CL_SUCCESS) {
        error = clFinish(memory->queue);
    }
    return noted(memory, error) == CL_SUCCESS;
}

static void *buffer_allocate(void *ctx, size_t n_bytes, size_t alignment) {
    const lt_cl_memory *memory = ctx;
    (void)alignment; /* the device's own suits it */
    cl_int error;
    /* The pool rounds up; what was asked for is within the limit. */
    size_t size = (size_t)lt_min(n_bytes, memory->device->max_alloc_bytes);
    cl_mem object = create_object(memory, 0, size, NULL, &error);
    if (object != NULL && !take_now(memory, object)) {
        lt_cl_finish_queue(memory->queue);
        lt_cl_release_mem(object);
        return NULL;
    }
    return object;
}

static void buffer_release(void *ctx, void *block, size_t n_bytes) {
    (void)ctx;
    (void)n_bytes;
    lt_cl_release_mem(block);
}

static void *pinned_allocate(void *ctx, size_t n_bytes, size_t alignment) {
    const lt_cl_memory *memory = ctx;
    (void)alignment; /* drivers give whole pages */
    cl_int error;
    size_t record = record_offset(memory, n_bytes);
    size_t size = record + PINNED_RECORD_BYTES;
    cl_mem object = create_object(memory, CL_MEM_ALLOC_HOST_PTR, size, NULL, &error);
    if (object == NULL) {
        return NULL;
    }
    uint8_t *host = clEnqueueMapBuffer(memory->queue, object, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE,
                                       0, size, 0, NULL, NULL, &error);
    if (noted(memory, error) != CL_SUCCESS) {
        lt_cl_finish_queue(memory->queue);
        lt_cl_release_mem(object);
        return NULL;
    }
    memcpy(host + record, &object, sizeof object);
    return host;
}

static void pinned_release(void *ctx, void *block, size_t n_bytes) {
    const lt_cl_memory *memory = ctx;
    cl_mem object;
    memcpy(&object, (uint8_t *)block + record_offset(memory, n_bytes), sizeof object);
    for (int i = 0; i < LT_CL_TRIES; i++) {
        if (clEnqueueUnmapMemObject(memory->queue, object, block, 0, NULL, NULL) == CL_SUCCESS) {
            break;
        }
    }
    lt_cl_finish_queue(memory->queue);
    lt_cl_release_mem(object);
}

static void *pages_allocate(void *ctx, size_t n_bytes, size_t alignment) {
    const lathe_allocator *allocator = lt_pool_allocator(((lt_cl_memory *)ctx)->pool);
    return allocator->allocate(allocator->ctx, n_bytes,
                               alignment > PAGE_ALIGNMENT ? alignment : PAGE_ALIGNMENT);
}

static void pages_release(void *ctx, void *block, size_t n_bytes) {
    const lathe_allocator *allocator = lt_pool_allocator(((lt_cl_memory *)ctx)->pool);
    allocator->release(allocator->ctx, block, n_bytes);
}

/* ---- buffers */

static lathe_status check_size(const lt_cl_memory *memory, uint64_t n_bytes) {
    const lt_cl_device *device = memory->device;
    if (n_bytes <= device->max_alloc_bytes) {
        return LATHE_OK;
    }
    lathe_status status = lt_fail(LATHE_INSUFFICIENT_MEMORY,
                                  "%s has no buffers of %" PRIu64 " bytes, only of %" PRIu64,
                                  device->info.name, n_bytes, device->max_alloc_bytes);
    lt_error()->required_bytes = n_bytes;
    lt_error()->available_bytes = device->max_alloc_bytes;
    lt_error()->stage = "allocate";
    return status;
}

static lathe_status create_on_device(lt_cl_memory *memory, lt_buffer *buffer) {
    lathe_status status = check_size(memory, buffer->n_bytes);
    return status == LATHE_OK ? lt_pool_source_alloc(memory->pool, &memory->buffers,
                                                     buffer->n_bytes, &buffer->device)
                              : status;
}

static lathe_status create_pinned(lt_cl_memory *memory, lt_buffer *buffer) {
    bool is_plain = memory->shares_memory || memory->is_pageable;
    lt_pool_source *source = is_plain ? &memory->pages : &memory->pinned;
    lathe_status status =
        is_plain ? LATHE_OK : check_size(memory, buffer->n_bytes + PINNED_RECORD_BYTES);
    if (status == LATHE_OK) {
        status = lt_pool_source_alloc(memory->pool, source, buffer->n_bytes, &buffer->staging);
    }
    buffer->host = buffer->staging;
    return status;
}

/* The host's memory, which the device uses in place. */
static lathe_status create_shared(lt_cl_memory *memory, lt_buffer *buffer) {
    uint64_t n_bytes = lt_max(buffer->n_bytes, 1);
    lathe_status status = check_size(memory, n_bytes);
    if (status == LATHE_OK) {
        /* Capacities are multiples of SIZE_ALIGNMENT. */
        n_bytes = lt_ceil_div(n_bytes, SIZE_ALIGNMENT) * SIZE_ALIGNMENT;
        status = lt_pool_source_alloc(memory->pool, &memory->pages, n_bytes, &buffer->staging);
    }
    if (status != LATHE_OK) {
        return status;
    }
    cl_int error;
    buffer->host = buffer->staging;
    buffer->device =
        create_object(memory, CL_MEM_USE_HOST_PTR, (size_t)n_bytes, buffer->host, &error);
    return buffer->device != NULL ? LATHE_OK : lt_cl_fail(memory->device, "clCreateBuffer", error);
}

lathe_status lt_cl_buffer_create(lt_cl_memory *memory, lt_memory kind, uint64_t n_bytes,
                                 lt_buffer *buffer) {
    lt_buffer made = {.n_bytes = n_bytes, .is_owned = true};
    lathe_status status;
    if (kind == LT_MEMORY_PINNED) {
        status = create_pinned(memory, &made);
    } else if (kind == LT_MEMORY_STAGED && memory->shares_memory) {
        status = create_shared(memory, &made);
    } else {
        status = create_on_device(memory, &made);
        if (status == LATHE_OK && kind == LT_MEMORY_STAGED) {
            status = create_pinned(memory, &made);
        }
    }
    if (status == LATHE_OK) {
        *buffer = made;
    } else {
        lt_cl_buffer_destroy(memory, &made);
    }
    return status;
}

static bool can_wrap(const lt_cl_memory *memory, const void *host, uint64_t n_bytes) {
    const lt_cl_device *device = memory->device;
    if (!memory->shares_memory || host == NULL || n_bytes == 0 ||
        n_bytes > device->max_alloc_bytes) {
        return false;
    }
    uint64_t alignment = device->is_cpu ? device->base_align_bytes : PAGE_ALIGNMENT;
    return (uintptr_t)host % lt_max(alignment, 1) == 0 &&
           (device->is_cpu || n_bytes % SIZE_ALIGNMENT == 0);
}

lathe_status lt_cl_buffer_wrap(lt_cl_memory *memory, void *host, uint64_t n_bytes,
                               lt_buffer *buffer) {
    if (!can_wrap(memory, host, n_bytes)) {
        return lt_fail(LATHE_NOT_SUPPORTED, "%s cannot use this memory in place",
                       memory->device->info.name);
    }
    cl_int error;
    cl_mem object = create_object(memory, CL_MEM_USE_HOST_PTR, (size_t)n_bytes, host, &error);
    if (object == NULL) {
        return lt_cl_fail(memory->device, "clCreateBuffer", error);
    }
    *buffer = (lt_buffer){.host = host, .device = object, .n_bytes = n_bytes};
    lt_count(&memory->counters->n_wrapped, 1);
    return LATHE_OK;
}

void lt_cl_buffer_destroy(lt_cl_memory *memory, lt_buffer *buffer) {
    bool is_in_place = memory->shares_memory && buffer->host != NULL;
    if (is_in_place) {
        lt_cl_release_mem(buffer->device);
    } else if (buffer->is_owned) {
        lt_pool_delete(memory->pool, buffer->device);
    }
    lt_pool_delete(memory->pool, buffer->staging);
    *buffer = (lt_buffer){0};
}

/* ---- the whole */

/* Whether a mapping of the host's memory appears where that memory is, as in-place use needs. */
static lathe_status probe_sharing(lt_cl_memory *memory) {
    lt_buffer buffer;
    memory->shares_memory = true;
    lathe_status status = lt_cl_buffer_create(memory, LT_MEMORY_STAGED, PAGE_ALIGNMENT, &buffer);
    if (status != LATHE_OK) {
        return status;
    }
    cl_int error = CL_SUCCESS;
    void *mapped =
        clEnqueueMapBuffer(memory->queue, buffer.device, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0,
                           PAGE_ALIGNMENT, 0, NULL, NULL, &error);
    bool is_in_place = mapped == buffer.host;
    if (error == CL_SUCCESS) {
        for (int i = 0; i < LT_CL_TRIES; i++) {
            error = clEnqueueUnmapMemObject(memory->queue, buffer.device, mapped, 0, NULL, NULL);
            if (error == CL_SUCCESS) {
                break;
            }
        }
    }
    lt_cl_finish_queue(memory->queue);
    lt_cl_buffer_destroy(memory, &buffer);
    if (noted(memory, error) != CL_SUCCESS) {
        return lt_cl_fail(memory->device, "clEnqueueMapBuffer", error);
    }
    memory->shares_memory = is_in_place;
    return LATHE_OK;
}

static lt_pool_source source_of(lt_cl_memory *memory, lathe_pool_kind kind,
                                void *(*allocate)(void *, size_t, size_t),
                                void (*release)(void *, void *, size_t)) {
    return (lt_pool_source){.allocator = {.ctx = memory, .allocate = allocate, .release = release},
                            .kind = kind};
}

lathe_status lt_cl_memory_init(lt_cl_memory *memory, const lt_cl_device *device, lathe_pool *pool,
                               lt_counters *counters) {
    *memory = (lt_cl_memory){.device = device, .pool = pool, .counters = counters};
    memory->buffers = source_of(memory, LATHE_POOL_DEVICE, buffer_allocate, buffer_release);
    memory->pinned = source_of(memory, LATHE_POOL_PINNED, pinned_allocate, pinned_release);
    memory->pages = source_of(memory, LATHE_POOL_PINNED, pages_allocate, pages_release);
    cl_int error = CL_OUT_OF_HOST_MEMORY;
    memory->queue = clCreateCommandQueue(device->context, device->id, 0, &error);
    if (noted(memory, error) != CL_SUCCESS) {
        return lt_cl_fail(device, "clCreateCommandQueue", error);
    }
    lathe_status status = device->shares_memory ? probe_sharing(memory) : LATHE_OK;
    if (status != LATHE_OK) {
        lt_cl_memory_destroy(memory);
    }
    return status;
}

void lt_cl_memory_set_pageable(lt_cl_memory *memory) {
    if (!memory->shares_memory) {
        memory->is_pageable = true;
        memory->pages.kind = LATHE_POOL_HOST;
    }
}

void lt_cl_memory_destroy(lt_cl_memory *memory) {
    lt_pool_source_close(memory->pool, &memory->buffers);
    lt_pool_source_close(memory->pool, &memory->pinned);
    lt_pool_source_close(memory->pool, &memory->pages);
    lt_cl_release_queue(memory->queue);
    memory->queue = NULL;
}
