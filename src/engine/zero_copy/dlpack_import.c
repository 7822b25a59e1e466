/* SPDX-License-Identifier: Apache-2.0 */
/* DLPack structs as tensors. */
#include "core/error.h"
#include "core/tensor.h"
#include "engine/engine.h"
#include "engine/zero_copy/dlpack_abi.h"
#include "pool/pool.h"
#include <inttypes.h>
#include <lathe/dlpack.h>
#include <string.h>
#if LT_HAVE_OPENCL
#include <lathe/opencl.h>
#endif

/* What an imported tensor owns. */
typedef struct imported {
    lathe_pool *pool;
    lt_dl_versioned *versioned; /* one of the two */
    lt_dl_legacy *legacy;
    float *scales;          /* a copy; NULL: none */
    lathe_free_fn *free_fn; /* of a device tensor, which has more to free */
    void *free_ctx;
} imported;

/* What is imported, and as what. */
typedef struct request {
    lathe_engine *engine;
    const lt_dl_tensor *tensor;
    const lathe_dlpack_options *options; /* not NULL */
    uint32_t flags;
    lathe_tensor_desc desc;
    uint64_t shape[LATHE_MAX_DIMS];
    lt_layout layout;
} request;

static void free_imported(void *ctx, void *data, float *scales) {
    imported *own = ctx;
    lathe_pool *pool = own->pool;
    if (own->free_fn != NULL) {
        own->free_fn(own->free_ctx, data, scales);
    }
    if (own->versioned != NULL && own->versioned->deleter != NULL) {
        own->versioned->deleter(own->versioned);
    }
    if (own->legacy != NULL && own->legacy->deleter != NULL) {
        own->legacy->deleter(own->legacy);
    }
    lt_pool_delete(pool, own->scales);
    lt_pool_delete(pool, own);
}

/* ---- what the struct says */

/* 0 if Lathe has none for it. */
static lathe_dtype dtype_of(lt_dl_type type) {
    if (type.lanes != 1) {
        return (lathe_dtype)0;
    }
    switch (type.code << 8 | type.bits) {
    case LT_DL_FLOAT << 8 | 32:
        return LATHE_F32;
    case LT_DL_FLOAT << 8 | 16:
        return LATHE_F16;
    case LT_DL_BFLOAT << 8 | 16:
        return LATHE_BF16;
    case LT_DL_INT << 8 | 8:
        return LATHE_I8;
    case LT_DL_INT << 8 | 4:
        return LATHE_I4;
    case LT_DL_INT << 8 | 2:
        return LATHE_I2;
    default:
        return (lathe_dtype)0;
    }
}

static lathe_status take_shape(request *r) {
    const lt_dl_tensor *t = r->tensor;
    if (t->n_dims < 0 || t->n_dims > LATHE_MAX_DIMS || (t->n_dims > 0 && t->shape == NULL)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "DLPack: %" PRId32 " dimensions are over %d, or the shape is missing",
                       t->n_dims, LATHE_MAX_DIMS);
    }
    for (int32_t i = 0; i < t->n_dims; i++) {
        if (t->shape[i] < 0) {
            return lt_fail(LATHE_INVALID_ARGUMENT, "DLPack: extent %" PRId32 " is negative", i);
        }
        r->shape[i] = (uint64_t)t->shape[i];
    }
    return LATHE_OK;
}

/* Strides matter only where there is more than one element along them. */
static lathe_status check_strides(const request *r) {
    const lt_dl_tensor *t = r->tensor;
    uint64_t expected = 1;
    if (t->strides == NULL || r->layout.n_elems == 0) {
        return LATHE_OK;
    }
    for (int32_t i = t->n_dims; i-- > 0;) {
        if (r->shape[i] != 1 && (uint64_t)t->strides[i] != expected) {
            return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                           "DLPack: stride %" PRId32 " is %" PRId64 ", not the %" PRIu64
                           " of contiguous row-major data",
                           i, t->strides[i], expected);
        }
        expected *= r->shape[i]; /* at most n_elems, which fits */
    }
    return LATHE_OK;
}

static lathe_status check_scales(const request *r) {
    const lathe_dlpack_options *options = r->options;
    if (!lathe_dtype_is_quantized(r->layout.dtype)) {
        return LATHE_OK;
    }
    if (r->layout.n_scales > 0 && options->scales == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "DLPack: integers are codes, which take scales: options->scales");
    }
    if (options->n_scales != r->layout.n_scales) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "DLPack: %" PRIu64 " scales are given, %" PRIu64 " needed",
                       options->n_scales, r->layout.n_scales);
    }
    return LATHE_OK;
}

static lathe_status describe(request *r, bool is_padded) {
    const lt_dl_tensor *t = r->tensor;
    lathe_dtype dtype = dtype_of(t->type);
    if (dtype == (lathe_dtype)0) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                       "DLPack: no dtype for type code %d of %d bits and %d lanes", t->type.code,
                       t->type.bits, t->type.lanes);
    }
    lathe_status status = take_shape(r);
    if (status != LATHE_OK) {
        return status;
    }
    bool is_quantized = lathe_dtype_is_quantized(dtype);
    r->desc = (lathe_tensor_desc){
        .struct_size = sizeof r->desc,
        .dtype = dtype,
        .n_dims = (uint32_t)t->n_dims,
        .shape = r->shape,
        .granularity = is_quantized ? r->options->granularity : LATHE_PER_TENSOR,
        .group_size = is_quantized ? r->options->group_size : 0,
        .row_dims = r->options->row_dims,
    };
    status = lt_layout_of(&r->desc, &r->layout);
    if (status == LATHE_OK && t->type.bits < 8 && (is_padded || !lt_layout_is_dense(&r->layout))) {
        status = lt_fail(LATHE_INCOMPATIBLE_TYPES,
                         "DLPack: %s elements are padded, or rows end "
                         "inside a byte",
                         lathe_dtype_name(dtype));
    }
    if (status == LATHE_OK) {
        status = check_strides(r);
    }
    return status == LATHE_OK ? check_scales(r) : status;
}

/* ---- tensors of its memory */

static lathe_status copy_scales(const request *r, imported *own) {
    void *block = NULL;
    size_t n_bytes = (size_t)r->layout.n_scales * sizeof(float);
    if (n_bytes == 0) {
        return LATHE_OK;
    }
    lathe_status status = lathe_pool_alloc(own->pool, n_bytes, &block);
    if (status == LATHE_OK) {
        memcpy(block, r->options->scales, n_bytes);
        own->scales = block;
    }
    return status;
}

static lathe_status import_host(const request *r, imported *own, lathe_tensor **tensor) {
    uint8_t *data = r->tensor->data;
    lathe_status status = copy_scales(r, own);
    if (status != LATHE_OK) {
        return status;
    }
    if (data == NULL && r->layout.n_bytes > 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "DLPack: data is NULL");
    }
    return lathe_tensor_wrap(own->pool, &r->desc,
                             data == NULL ? NULL : data + r->tensor->byte_offset, own->scales,
                             r->flags, free_imported, own, tensor);
}

#if LT_HAVE_OPENCL
static lathe_status import_device(const request *r, imported *own, lathe_tensor **tensor) {
    const lathe_opencl_memory data = {r->tensor->data, (size_t)r->tensor->byte_offset};
    const lathe_opencl_memory none = {0};
    lathe_tensor *made = NULL;
    if (r->layout.n_scales > 0) {
        return lt_fail(LATHE_NOT_SUPPORTED, "DLPack: codes on a device; lathe_opencl_tensor_wrap "
                                            "takes them with their scales");
    }
    lathe_status status =
        lathe_opencl_tensor_wrap(r->engine, &r->desc, data, none, r->flags, &made);
    if (status != LATHE_OK) {
        return status;
    }
    own->free_fn = made->free_fn;
    own->free_ctx = made->free_ctx;
    made->free_fn = free_imported;
    made->free_ctx = own;
    *tensor = made;
    return LATHE_OK;
}
#endif

static lathe_status import_memory(const request *r, imported *own, lathe_tensor **tensor) {
    switch (r->tensor->device.type) {
    case LT_DL_CPU:
    case LT_DL_CUDA_HOST:
    case LT_DL_ROCM_HOST:
        return import_host(r, own, tensor);
#if LT_HAVE_OPENCL
    case LT_DL_OPENCL:
        return import_device(r, own, tensor);
#endif
    default:
        return lt_fail(LATHE_NOT_SUPPORTED, "DLPack: memory of device type %" PRId32,
                       r->tensor->device.type);
    }
}

static lathe_status check_options(const lathe_dlpack_options *options) {
    if (options->struct_size != sizeof *options) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options: struct_size is not sizeof(lathe_dlpack_options)");
    }
    return (options->flags & ~(uint32_t)LATHE_WRAP_READ_ONLY) == 0
               ? LATHE_OK
               : lt_fail(LATHE_INVALID_ARGUMENT, "flags 0x%x has an unknown bit", options->flags);
}

static lathe_status import(lathe_engine *engine, const imported *what, const lt_dl_tensor *shown,
                           uint64_t dl_flags, const lathe_dlpack_options *options,
                           lathe_tensor **tensor) {
    const lathe_dlpack_options defaults = {.struct_size = sizeof defaults};
    request r = {
        .engine = engine,
        .tensor = shown,
        .options = options == NULL ? &defaults : options,
    };
    lathe_status status = check_options(r.options);
    if (status == LATHE_OK) {
        r.flags = r.options->flags | ((dl_flags & LT_DL_READ_ONLY) != 0 ? LATHE_WRAP_READ_ONLY : 0);
        status = describe(&r, (dl_flags & LT_DL_PADDED) != 0);
    }
    if (status != LATHE_OK) {
        return status;
    }
    imported *own = lt_pool_new(engine->pool, sizeof *own);
    if (own == NULL) {
        return lt_error()->status;
    }
    *own = *what;
    own->pool = engine->pool;
    status = import_memory(&r, own, tensor);
    if (status != LATHE_OK) {
        lt_pool_delete(own->pool, own->scales);
        lt_pool_delete(own->pool, own);
    }
    return status;
}

lathe_status lathe_dlpack_import(lathe_engine *engine, struct DLManagedTensorVersioned *managed,
                                 const lathe_dlpack_options *options, lathe_tensor **tensor) {
    if (engine == NULL || managed == NULL || tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, managed or tensor is NULL");
    }
    const imported what = {.versioned = (lt_dl_versioned *)(void *)managed};
    if (what.versioned->major != LT_DL_MAJOR) {
        return lt_fail(LATHE_NOT_SUPPORTED, "DLPack: version %" PRIu32 ".%" PRIu32 " is not 1",
                       what.versioned->major, what.versioned->minor);
    }
    return import(engine, &what, &what.versioned->tensor, what.versioned->flags, options, tensor);
}

lathe_status lathe_dlpack_import_legacy(lathe_engine *engine, struct DLManagedTensor *managed,
                                        const lathe_dlpack_options *options,
                                        lathe_tensor **tensor) {
    if (engine == NULL || managed == NULL || tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, managed or tensor is NULL");
    }
    const imported what = {.legacy = (lt_dl_legacy *)(void *)managed};
    return import(engine, &what, &what.legacy->tensor, 0, options, tensor);
}
