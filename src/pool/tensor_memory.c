/* SPDX-License-Identifier: Apache-2.0 */
/* Where a tensor's memory comes from and goes to: create, wrap, retain, release. */
#include "core/checked.h"
#include "core/error.h"
#include "core/tensor.h"
#include "pool/pool.h"
#include <string.h>

static void free_pool_blocks(void *ctx, void *data, float *scales) {
    lathe_pool *pool = ctx;
    lt_pool_delete(pool, data);
    lt_pool_delete(pool, scales);
}

uint64_t lt_tensor_new_ids(uint64_t n) {
    static atomic_uint_fast64_t n_made;
    return atomic_fetch_add_explicit(&n_made, n, memory_order_relaxed) + 1;
}

void lt_tensor_init(lathe_tensor *tensor, lathe_pool *pool, const lathe_tensor_desc *desc,
                    const lt_layout *layout) {
    atomic_init(&tensor->n_references, 1);
    tensor->id = lt_tensor_new_ids(1);
    tensor->pool = pool; /* which this block keeps alive */
    tensor->layout = *layout;
    tensor->capacity = layout->n_bytes;
    tensor->n_dims = (uint8_t)desc->n_dims; /* at most LATHE_MAX_DIMS, as the layout says */
    tensor->row_dims = (uint8_t)(desc->row_dims == 0 ? 1 : desc->row_dims);
    if (lathe_dtype_is_quantized(desc->dtype)) {
        tensor->granularity = (uint8_t)desc->granularity;
        tensor->group_size = desc->granularity == LATHE_PER_GROUP ? desc->group_size : 0;
    }
    if (desc->n_dims > 0) {
        memcpy(tensor->shape, desc->shape, desc->n_dims * sizeof desc->shape[0]);
    }
}

lathe_tensor *lt_tensor_new(lathe_pool *pool, const lathe_tensor_desc *desc,
                            const lt_layout *layout) {
    lathe_tensor *tensor = lt_pool_new(pool, sizeof *tensor);
    if (tensor != NULL) {
        lt_tensor_init(tensor, pool, desc, layout);
    }
    return tensor;
}

static lathe_status check(lathe_pool *pool, const lathe_tensor_desc *desc, lathe_tensor **tensor,
                          lt_layout *layout) {
    if (pool == NULL || tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool or tensor is NULL");
    }
    lathe_status status = lt_layout_of(desc, layout);
    if (status == LATHE_OK && layout->n_bytes > SIZE_MAX / 2) {
        return lt_fail(LATHE_SIZE_OVERFLOW, "the tensor is larger than memory's address range");
    }
    return status;
}

lathe_status lathe_tensor_create(lathe_pool *pool, const lathe_tensor_desc *desc,
                                 lathe_tensor **tensor) {
    lt_layout layout;
    lathe_status status = check(pool, desc, tensor, &layout);
    if (status != LATHE_OK) {
        return status;
    }
    lathe_tensor *made = lt_tensor_new(pool, desc, &layout);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->owns_memory = true;
    made->free_fn = free_pool_blocks;
    made->free_ctx = pool;
    if (layout.n_bytes > 0) {
        status = lathe_pool_alloc(pool, (size_t)layout.n_bytes, &made->data);
    }
    if (status == LATHE_OK && layout.n_scales > 0) {
        void *scales = NULL;
        status = lathe_pool_alloc(pool, (size_t)layout.n_scales * sizeof(float), &scales);
        made->scales = scales;
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return status;
    }
    *tensor = made;
    return LATHE_OK;
}

lathe_status lathe_tensor_wrap(lathe_pool *pool, const lathe_tensor_desc *desc, void *data,
                               float *scales, uint32_t flags, lathe_free_fn *free_fn,
                               void *free_ctx, lathe_tensor **tensor) {
    lt_layout layout;
    lathe_status status = check(pool, desc, tensor, &layout);
    if (status != LATHE_OK) {
        return status;
    }
    if ((data == NULL && layout.n_bytes > 0) || (scales == NULL && layout.n_scales > 0)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s is NULL, but the description gives it a size",
                       data == NULL && layout.n_bytes > 0 ? "data" : "scales");
    }
    if ((flags & ~(uint32_t)LATHE_WRAP_READ_ONLY) != 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "flags 0x%x has an unknown bit", flags);
    }
    lathe_tensor *made = lt_tensor_new(pool, desc, &layout);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->data = data;
    made->scales = scales;
    made->read_only = (flags & LATHE_WRAP_READ_ONLY) != 0;
    made->free_fn = free_fn;
    made->free_ctx = free_ctx;
    *tensor = made;
    return LATHE_OK;
}

lathe_tensor *lathe_tensor_retain(lathe_tensor *tensor) {
    if (tensor != NULL) {
        (void)atomic_fetch_add_explicit(&tensor->n_references, 1, memory_order_relaxed);
    }
    return tensor;
}

void lathe_tensor_release(lathe_tensor *tensor) {
    enum { AHEAD = 16 };
    if (tensor == NULL) {
        return;
    }
    /* Who has the only reference need not ask for others. */
    if (atomic_load_explicit(&tensor->n_references, memory_order_acquire) > 1 &&
        atomic_fetch_sub_explicit(&tensor->n_references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    bool is_part = tensor->is_part; /* whose struct may be gone after free_fn */
    if (is_part) { /* one of many that are mostly released in turn: a prefetch never faults */
        __builtin_prefetch((const char *)tensor + AHEAD * sizeof *tensor, 1);
    }
    if (tensor->free_fn != NULL) {
        tensor->free_fn(tensor->free_ctx, tensor->data, tensor->scales);
    }
    if (!is_part) {
        lt_pool_delete(tensor->pool, tensor);
    }
}
