/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's own OpenCL objects: its context, and tensors of its memory. */
#include <lathe/opencl.h>

#include "core/checked.h"
#include "core/error.h"
#include "engine/device/device_tensor.h"
#include "engine/engine.h"
#include "opencl/opencl.h"
#include "opencl/release.h"
#include "pool/pool.h"
#include <inttypes.h>

static lathe_status fail_without_device(void) {
    return lt_fail(LATHE_NOT_SUPPORTED, "the engine runs on the CPU, not on an OpenCL device");
}

lathe_status lathe_opencl_device_of(lathe_engine *engine, cl_context *context,
                                    cl_device_id *device) {
    if (engine == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine is NULL");
    }
    if (engine->device == NULL) {
        return fail_without_device();
    }
    const lt_cl_device *ours = lt_cl_backend_device(engine->device);
    if (context != NULL) {
        *context = ours->context;
    }
    if (device != NULL) {
        *device = ours->id;
    }
    return LATHE_OK;
}

/* ---- tensors of the caller's memory objects */

/* The memory objects of a wrapped tensor, and what frees the rest of it. */
typedef struct wrapped_memory {
    lathe_pool *pool;
    lt_device_memory *on_device;
    lathe_free_fn *free_fn;
    void *free_ctx;
} wrapped_memory;

static void free_wrapped(void *ctx, void *data, float *scales) {
    wrapped_memory *wrapped = ctx;
    lt_buffer *buffers[] = {&wrapped->on_device->data, &wrapped->on_device->scales};
    for (int i = 0; i < 2; i++) {
        lt_cl_release_mem(buffers[i]->device);
        buffers[i]->device = NULL;
    }
    wrapped->free_fn(wrapped->free_ctx, data, scales);
    lt_pool_delete(wrapped->pool, wrapped);
}

/* What is asked about a memory object. */
typedef struct memory_facts {
    cl_mem_object_type type;
    cl_context context;
    cl_mem_flags flags;
    size_t n_bytes;
} memory_facts;

static cl_int ask(cl_mem memory, memory_facts *facts) {
    const struct {
        cl_mem_info name;
        size_t n_bytes;
        void *fact;
    } questions[] = {
        {CL_MEM_TYPE, sizeof facts->type, &facts->type},
        {CL_MEM_CONTEXT, sizeof facts->context, &facts->context},
        {CL_MEM_FLAGS, sizeof facts->flags, &facts->flags},
        {CL_MEM_SIZE, sizeof facts->n_bytes, &facts->n_bytes},
    };
    cl_int error = CL_SUCCESS;
    for (size_t i = 0; error == CL_SUCCESS && i < sizeof questions / sizeof questions[0]; i++) {
        error = clGetMemObjectInfo(memory, questions[i].name, questions[i].n_bytes,
                                   questions[i].fact, NULL);
    }
    return error;
}

/* Checks that a memory object of the engine's context holds n_bytes from its offset on. */
static lathe_status check_memory(const lt_cl_device *device, const char *what,
                                 const lathe_opencl_memory *memory, uint64_t n_bytes,
                                 uint32_t flags) {
    memory_facts facts = {0};
    if (n_bytes == 0) {
        return LATHE_OK;
    }
    if (memory->memory == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s has no memory object, but a size", what);
    }
    cl_int error = ask(memory->memory, &facts);
    if (error == CL_INVALID_MEM_OBJECT) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s is no memory object", what);
    }
    if (error != CL_SUCCESS) {
        return lt_cl_fail(device, "clGetMemObjectInfo", error);
    }
    if (facts.type != CL_MEM_OBJECT_BUFFER || facts.context != device->context) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s is no buffer of the engine's context", what);
    }
    if ((facts.flags & CL_MEM_READ_ONLY) != 0 && (flags & LATHE_WRAP_READ_ONLY) == 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s is a read-only buffer of a writable tensor",
                       what);
    }
    if (memory->offset > facts.n_bytes || n_bytes > facts.n_bytes - memory->offset) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "%s takes %" PRIu64 " bytes at offset %zu of a buffer of %zu", what, n_bytes,
                       memory->offset, facts.n_bytes);
    }
    return LATHE_OK;
}

static lathe_status check_wrap(const lathe_engine *engine, const lathe_tensor_desc *desc,
                               const lathe_opencl_memory *data, const lathe_opencl_memory *scales,
                               uint32_t flags, lt_layout *layout) {
    if (engine->device == NULL) {
        return fail_without_device();
    }
    if ((flags & ~(uint32_t)LATHE_WRAP_READ_ONLY) != 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "flags 0x%x has an unknown bit", flags);
    }
    if (scales->offset % sizeof(float) != 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the scales' offset %zu is no multiple of 4",
                       scales->offset);
    }
    const lt_cl_device *device = lt_cl_backend_device(engine->device);
    lathe_status status = lt_layout_of(desc, layout);
    if (status == LATHE_OK) {
        status = check_memory(device, "data", data, layout->n_bytes, flags);
    }
    if (status == LATHE_OK) {
        status = check_memory(device, "scales", scales, layout->n_scales * sizeof(float), flags);
    }
    return status;
}

/* A buffer of the caller's memory object, which gets another reference. */
static lathe_status adopt_memory(const lt_cl_device *device, const lathe_opencl_memory *memory,
                                 uint64_t n_bytes, lt_buffer *buffer) {
    if (n_bytes == 0) {
        return LATHE_OK;
    }
    cl_int error = clRetainMemObject(memory->memory);
    if (error != CL_SUCCESS) {
        return lt_cl_fail(device, "clRetainMemObject", error);
    }
    *buffer = (lt_buffer){.device = memory->memory, .n_bytes = memory->offset + n_bytes};
    return LATHE_OK;
}

/* Makes the tensor's last release give the memory objects back. */
static lathe_status add_free(lathe_tensor *tensor) {
    wrapped_memory *wrapped = lt_pool_new(tensor->pool, sizeof *wrapped);
    if (wrapped == NULL) {
        return lt_error()->status;
    }
    *wrapped = (wrapped_memory){
        .pool = tensor->pool,
        .on_device = tensor->on_device,
        .free_fn = tensor->free_fn,
        .free_ctx = tensor->free_ctx,
    };
    tensor->free_fn = free_wrapped;
    tensor->free_ctx = wrapped;
    return LATHE_OK;
}

lathe_status lathe_opencl_tensor_wrap(lathe_engine *engine, const lathe_tensor_desc *desc,
                                      lathe_opencl_memory data, lathe_opencl_memory scales,
                                      uint32_t flags, lathe_tensor **tensor) {
    lt_layout layout;
    lathe_tensor *made = NULL;
    if (engine == NULL || tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine or tensor is NULL");
    }
    lathe_status status = check_wrap(engine, desc, &data, &scales, flags, &layout);
    if (status == LATHE_OK) {
        status =
            lt_device_tensor_new(engine->device, engine->pool, LATHE_MEMORY_DEVICE, desc, &made);
    }
    if (status == LATHE_OK) {
        status = add_free(made);
    }
    if (status == LATHE_OK) {
        const lt_cl_device *device = lt_cl_backend_device(engine->device);
        lt_device_memory *on_device = made->on_device;
        made->read_only = (flags & LATHE_WRAP_READ_ONLY) != 0;
        on_device->data_offset = data.offset;
        on_device->scale_offset = scales.offset / sizeof(float);
        status = adopt_memory(device, &data, layout.n_bytes, &on_device->data);
        if (status == LATHE_OK) {
            status =
                adopt_memory(device, &scales, layout.n_scales * sizeof(float), &on_device->scales);
        }
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return status;
    }
    *tensor = made;
    return LATHE_OK;
}

lathe_status lathe_opencl_tensor_memory(const lathe_tensor *tensor, lathe_opencl_memory *data,
                                        lathe_opencl_memory *scales) {
    if (tensor == NULL || tensor->memory != LATHE_MEMORY_DEVICE) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the tensor is NULL or not on a device");
    }
    const lt_device_memory *on_device = tensor->on_device;
    if (data != NULL) {
        *data = (lathe_opencl_memory){on_device->data.device, (size_t)on_device->data_offset};
    }
    if (scales != NULL) {
        *scales = (lathe_opencl_memory){on_device->scales.device,
                                        (size_t)on_device->scale_offset * sizeof(float)};
    }
    return LATHE_OK;
}
