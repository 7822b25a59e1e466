/* SPDX-License-Identifier: Apache-2.0 */
/* The tensor object. Its memory is the business of pool/tensor_memory.c. */
#ifndef LT_CORE_TENSOR_H
#define LT_CORE_TENSOR_H

#include "core/layout.h"
#include <lathe/tensor.h>
#include <stdatomic.h>
#include <stddef.h>

struct lt_device_memory;

enum { LT_TENSOR_LINE_BYTES = 64 };

/* Whole lines of the cache, so that of many in a row each begins one. What is touched when a tensor
 * is read, written or released is in the first line; its layout's numbers are the second; and what
 * tells it from others, up to two dimensions, is the third, the layout's dtype included. */
struct lathe_tensor {
    _Alignas(LT_TENSOR_LINE_BYTES) atomic_uint n_references;
    bool is_part; /* this struct lies in a block with others', which free_fn looks after */
    bool read_only;
    bool mapped_read_only;
    bool owns_memory; /* data and scales are blocks or buffers of its own, which free_fn frees */
    lathe_pool *pool; /* that this struct is a block of */
    void *data;       /* DEVICE: while it is mapped */
    float *scales;    /* likewise */
    lathe_free_fn *free_fn; /* NULL: nothing to free */
    void *free_ctx;
    lathe_tensor *root; /* of a view: whose memory it shows, and of which it is a reference */
    struct lt_device_memory
        *on_device; /* PINNED and DEVICE: engine/device/device_tensor.h; else NULL */
    lt_layout layout;
    uint8_t memory;      /* a lathe_memory */
    uint8_t granularity; /* a lathe_granularity */
    uint8_t n_dims;
    uint8_t row_dims; /* at least 1 */
    uint64_t group_size;
    uint64_t id;                  /* no other tensor of the process has it, now or later */
    atomic_uint_fast64_t version; /* of the contents: how often they have been open to change */
    uint64_t capacity;            /* bytes from the data's beginning on that are the tensor's */
    uint64_t shape[LATHE_MAX_DIMS];
};

/* The bytes of a struct, whole lines, that a tensor of so many dimensions uses. */
static inline size_t lt_tensor_used_bytes(uint32_t n_dims) {
    const size_t n_bytes = offsetof(lathe_tensor, shape) + n_dims * sizeof(uint64_t);
    return (n_bytes + LT_TENSOR_LINE_BYTES - 1) / LT_TENSOR_LINE_BYTES * LT_TENSOR_LINE_BYTES;
}

/* A tensor of that description and layout, with one reference and no memory yet. NULL if there is
 * none for it. */
lathe_tensor *lt_tensor_new(lathe_pool *pool, const lathe_tensor_desc *desc,
                            const lt_layout *layout);

/* The same in memory of the caller's, which is zeroed. */
void lt_tensor_init(lathe_tensor *tensor, lathe_pool *pool, const lathe_tensor_desc *desc,
                    const lt_layout *layout);

/* The first of n ids that no tensor has. */
uint64_t lt_tensor_new_ids(uint64_t n);

/* True if the tensor is what the description, whose layout is given, says: a conversion to it would
 * change nothing. Shapes are not looked at. */
bool lt_tensor_is(const lathe_tensor *tensor, const lathe_tensor_desc *desc,
                  const lt_layout *layout);

/* Counts a change of the contents, and the version after it. A view's are its root's. const says
 * that the tensor stays what it is, not what it holds. */
void lt_tensor_touch(const lathe_tensor *tensor);
uint64_t lt_tensor_version(const lathe_tensor *tensor);

/* The description of an existing tensor; its shape points into the tensor. */
lathe_tensor_desc lt_tensor_desc_of(const lathe_tensor *tensor);

/* Checks scales, the first of which is the tensor's scale number `first`. Errors: CORRUPT_DATA if
 * one is negative or not finite. */
lathe_status lt_scales_check(const float *scales, uint64_t n_scales, uint64_t first);

/* The index of the first of n_bytes bytes that no encoder of the dtype emits; n_bytes if there is
 * none. */
size_t lt_first_invalid_byte(lathe_dtype dtype, const uint8_t *bytes, size_t n_bytes);

#endif
