/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors as DLPack structs. */
#include "core/error.h"
#include "core/tensor.h"
#include "engine/device/device_tensor.h"
#include "engine/zero_copy/dlpack_abi.h"
#include "pool/pool.h"
#include <lathe/dlpack.h>

/* What is exported: one block. */
typedef struct exported {
    union {
        lt_dl_versioned versioned;
        lt_dl_legacy legacy;
    } managed;
    lathe_pool *pool;
    lathe_tensor *tensor; /* a reference */
    int64_t shape[LATHE_MAX_DIMS];
    int64_t strides[LATHE_MAX_DIMS];
} exported;

static void drop(exported *e) {
    lathe_pool *pool = e->pool;
    lathe_tensor_release(e->tensor);
    lt_pool_delete(pool, e);
}

static void delete_versioned(lt_dl_versioned *self) {
    if (self != NULL) {
        drop(self->ctx);
    }
}

static void delete_legacy(lt_dl_legacy *self) {
    if (self != NULL) {
        drop(self->ctx);
    }
}

/* The DLPack type of a part; false if there is none. */
static bool type_of(lathe_dtype dtype, lathe_dlpack_part part, lt_dl_type *type) {
    static const struct {
        lathe_dtype dtype;
        lathe_dlpack_part part;
        lt_dl_type type;
    } types[] = {
        {LATHE_F32, LATHE_DLPACK_VALUES, {LT_DL_FLOAT, 32, 1}},
        {LATHE_F16, LATHE_DLPACK_VALUES, {LT_DL_FLOAT, 16, 1}},
        {LATHE_BF16, LATHE_DLPACK_VALUES, {LT_DL_BFLOAT, 16, 1}},
        {LATHE_I8, LATHE_DLPACK_CODES, {LT_DL_INT, 8, 1}},
        {LATHE_I4, LATHE_DLPACK_CODES, {LT_DL_INT, 4, 1}},
        {LATHE_I2, LATHE_DLPACK_CODES, {LT_DL_INT, 2, 1}},
    };
    if (part == LATHE_DLPACK_SCALES && lathe_dtype_is_quantized(dtype)) {
        *type = types[0].type;
        return true;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].dtype == dtype && types[i].part == part) {
            *type = types[i].type;
            return true;
        }
    }
    return false;
}

static lathe_status check_part(const lathe_tensor *tensor, lathe_dlpack_part part,
                               lt_dl_type *type) {
    const char *name = lathe_dtype_name(tensor->layout.dtype);
    if ((int)part < LATHE_DLPACK_VALUES || (int)part > LATHE_DLPACK_SCALES) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "part %d is none", (int)part);
    }
    if (!type_of(tensor->layout.dtype, part, type)) {
        bool is_quantized = lathe_dtype_is_quantized(tensor->layout.dtype);
        return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                       !is_quantized ? "%s has values, and no codes and scales"
                       : part == LATHE_DLPACK_VALUES
                           ? "DLPack has no type for %s: export its codes and its scales"
                           : "DLPack has no type for codes of %s",
                       name);
    }
    if (part == LATHE_DLPACK_CODES && !lt_layout_is_dense(&tensor->layout)) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                       "rows of %s end inside a byte: DLPack has no such layout", name);
    }
    return LATHE_OK;
}

/* The extents, and the strides that follow from them. */
static lathe_status fill_shape(exported *e, lt_dl_tensor *out, const uint64_t *shape,
                               uint32_t n_dims) {
    int64_t stride = 1;
    for (uint32_t i = n_dims; i-- > 0;) {
        if (shape[i] > INT64_MAX) {
            return lt_fail(LATHE_SIZE_OVERFLOW, "DLPack's extents have 63 bits");
        }
        e->shape[i] = (int64_t)shape[i];
        e->strides[i] = stride;
        if (shape[i] != 0 && __builtin_mul_overflow(stride, e->shape[i], &stride)) {
            return lt_fail(LATHE_SIZE_OVERFLOW, "DLPack's strides have 63 bits");
        }
    }
    out->n_dims = (int32_t)n_dims;
    out->shape = e->shape;
    out->strides = e->strides;
    return LATHE_OK;
}

/* The struct's memory. */
static void fill_memory(const lathe_tensor *tensor, lathe_dlpack_part part, lt_dl_tensor *out) {
    bool is_scales = part == LATHE_DLPACK_SCALES;
    if (tensor->memory != LATHE_MEMORY_DEVICE) {
        out->data = is_scales ? (void *)tensor->scales : tensor->data;
        out->device = (lt_dl_device){.type = LT_DL_CPU};
        return;
    }
    const lt_device_memory *memory = tensor->on_device;
    out->data = is_scales ? memory->scales.device : memory->data.device;
    out->byte_offset = is_scales ? memory->scale_offset * sizeof(float) : memory->data_offset;
    out->device = (lt_dl_device){.type = LT_DL_OPENCL};
}

static lathe_status make(lathe_tensor *tensor, lathe_dlpack_part part, lt_dl_tensor *out,
                         exported **made) {
    lt_dl_type type = {0};
    lathe_status status = check_part(tensor, part, &type);
    if (status != LATHE_OK) {
        return status;
    }
    exported *e = lt_pool_new(tensor->pool, sizeof *e);
    if (e == NULL) {
        return lt_error()->status;
    }
    e->pool = tensor->pool;
    *out = (lt_dl_tensor){.type = type};
    fill_memory(tensor, part, out);
    bool is_scales = part == LATHE_DLPACK_SCALES;
    status = fill_shape(e, out, is_scales ? &tensor->layout.n_scales : tensor->shape,
                        is_scales ? 1 : tensor->n_dims);
    if (status != LATHE_OK) {
        lt_pool_delete(e->pool, e);
        return status;
    }
    e->tensor = lathe_tensor_retain(tensor);
    if (!tensor->read_only) {
        lt_tensor_touch(tensor); /* the consumer may write to it */
    }
    *made = e;
    return LATHE_OK;
}

lathe_status lathe_dlpack_export(lathe_tensor *tensor, lathe_dlpack_part part,
                                 struct DLManagedTensorVersioned **managed) {
    lt_dl_tensor shown;
    exported *made = NULL;
    if (tensor == NULL || managed == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "tensor or managed is NULL");
    }
    lathe_status status = make(tensor, part, &shown, &made);
    if (status != LATHE_OK) {
        return status;
    }
    made->managed.versioned = (lt_dl_versioned){
        .major = LT_DL_MAJOR,
        .minor = LT_DL_MINOR,
        .ctx = made,
        .deleter = delete_versioned,
        .flags = tensor->read_only ? LT_DL_READ_ONLY : 0,
        .tensor = shown,
    };
    *managed = (struct DLManagedTensorVersioned *)(void *)&made->managed.versioned;
    return LATHE_OK;
}

lathe_status lathe_dlpack_export_legacy(lathe_tensor *tensor, lathe_dlpack_part part,
                                        struct DLManagedTensor **managed) {
    lt_dl_tensor shown;
    exported *made = NULL;
    if (tensor == NULL || managed == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "tensor or managed is NULL");
    }
    if (tensor->read_only) {
        return lt_fail(LATHE_READ_ONLY, "DLPack's older struct cannot say that it is read-only");
    }
    lathe_status status = make(tensor, part, &shown, &made);
    if (status != LATHE_OK) {
        return status;
    }
    made->managed.legacy = (lt_dl_legacy){.tensor = shown, .ctx = made, .deleter = delete_legacy};
    *managed = (struct DLManagedTensor *)(void *)&made->managed.legacy;
    return LATHE_OK;
}
