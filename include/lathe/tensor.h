/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors, and the targets that say what to convert them to. */
#ifndef LATHE_TENSOR_H
#define LATHE_TENSOR_H

#include <lathe/dtype.h>
#include <lathe/export.h>
#include <lathe/pool.h>
#include <lathe/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* The most dimensions that a shape can have. */
#define LATHE_MAX_DIMS 16

/* How many elements of a quantized tensor share a scale. A row's last group may be short. */
typedef enum lathe_granularity {
    LATHE_PER_TENSOR = 0, /* one scale */
    LATHE_PER_ROW = 1,    /* one for each row */
    LATHE_PER_GROUP = 2,  /* one for each group_size consecutive elements of a row */
} lathe_granularity;

/* How the scale of a quantized target is found. */
typedef enum lathe_quality {
    LATHE_BALANCED = 0, /* the standard formula over every element */
    LATHE_FAST = 1,     /* the standard formula over the sample that docs/numerics.md defines */
    LATHE_PRECISE = 2,  /* the scale with the least squared error, never more than BALANCED's; I4
                           and I2 use all their codes */
} lathe_quality;

/* What a NaN or an infinity does on its way to a quantized type. */
typedef enum lathe_nonfinite {
    LATHE_NONFINITE_ERROR = 0,    /* fail with NON_FINITE, naming the first such element */
    LATHE_NONFINITE_SATURATE = 1, /* NaN becomes 0, an infinity the largest code of its sign; both
                                     count as 0 in the statistics */
} lathe_nonfinite;

/* What to convert to. Begins with struct_size = sizeof(lathe_target); a zero field means its
 * default. Granularity, group_size, quality and nonfinite matter to quantized dtypes only. */
typedef struct lathe_target {
    size_t struct_size;
    lathe_dtype dtype; /* required */
    lathe_granularity granularity;
    uint64_t group_size; /* PER_GROUP: elements, a multiple of 32; 0 otherwise */
    uint32_t row_dims;   /* trailing dimensions that make a row; 0 means 1 */
    lathe_quality quality;
    lathe_nonfinite nonfinite;
    uint32_t strict; /* 1: fail with DATA_LOSS unless decoding gives every source value back */
} lathe_target;

/* A tensor is a reference-counted object: a dtype, a shape, row-major data and, if the dtype is
 * quantized, its scales. Reference counting and the queries are thread-safe; the data is the
 * caller's to synchronise. */
typedef struct lathe_tensor lathe_tensor;

/* Everything that lathe_tensor_wrap needs to know. Begins with struct_size; zero means default. */
typedef struct lathe_tensor_desc {
    size_t struct_size;
    lathe_dtype dtype;             /* required */
    uint32_t n_dims;               /* at most LATHE_MAX_DIMS; 0 is a scalar */
    const uint64_t *shape;         /* n_dims extents in elements, outermost first; copied */
    lathe_granularity granularity; /* quantized dtypes */
    uint64_t group_size;           /* PER_GROUP: elements, a multiple of 32 */
    uint32_t row_dims;             /* trailing dimensions that make a row; 0 means 1 */
} lathe_tensor_desc;

/* Sizes that a description implies. Errors: INVALID_ARGUMENT, SIZE_OVERFLOW; outputs are then left
 * alone. Any output may be NULL. Thread-safe.
 *   n_elems: elements; n_bytes: bytes of data; n_scales: F32 scales */
LATHE_API lathe_status lathe_tensor_desc_sizes(const lathe_tensor_desc *desc, uint64_t *n_elems,
                                               uint64_t *n_bytes, uint64_t *n_scales);

/* The description of what converting a tensor of this shape to the target gives. `shape` must
 * outlive *desc, which points to it. Errors: INVALID_ARGUMENT, SIZE_OVERFLOW; *desc is then left
 * alone. Thread-safe. */
LATHE_API lathe_status lathe_target_desc(const lathe_target *target, uint32_t n_dims,
                                         const uint64_t *shape, lathe_tensor_desc *desc);

/* Makes a tensor with one reference, data and scales in blocks of the pool; the contents are
 * unspecified. Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, INSUFFICIENT_MEMORY; *tensor is then left
 * alone. Thread-safe. */
LATHE_API lathe_status lathe_tensor_create(lathe_pool *pool, const lathe_tensor_desc *desc,
                                           lathe_tensor **tensor);

/* Called once, when the last reference to a wrapped tensor goes, on the thread that drops it. */
typedef void lathe_free_fn(void *ctx, void *data, float *scales);

enum {
    LATHE_WRAP_READ_ONLY = 1, /* conversions never write to the tensor */
};

/* Makes a tensor of the caller's memory, without a copy; its struct alone is a block of the pool.
 * `data` holds the n_bytes that lathe_tensor_desc_sizes gives, with any alignment; `scales`, which
 * quantized dtypes require, its n_scales floats. Either may be NULL where its size is 0. `flags` is
 * 0 or LATHE_WRAP_READ_ONLY. On success the tensor keeps both until its last reference goes and
 * then calls `free_fn` (NULL: nothing to do); on failure they stay the caller's, free_fn is not
 * called, and *tensor is left alone.
 * Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, INSUFFICIENT_MEMORY. Thread-safe. */
LATHE_API lathe_status lathe_tensor_wrap(lathe_pool *pool, const lathe_tensor_desc *desc,
                                         void *data, float *scales, uint32_t flags,
                                         lathe_free_fn *free_fn, void *free_ctx,
                                         lathe_tensor **tensor);

/* Adds a reference and returns the tensor. NULL is legal and returns NULL. */
LATHE_API lathe_tensor *lathe_tensor_retain(lathe_tensor *tensor);

/* Drops a reference; the last one frees the tensor. NULL is legal. */
LATHE_API void lathe_tensor_release(lathe_tensor *tensor);

/* Where a tensor's data and scales are. */
typedef enum lathe_memory {
    LATHE_MEMORY_HOST = 0,   /* ordinary memory */
    LATHE_MEMORY_PINNED = 1, /* host memory that the device can reach by itself */
    LATHE_MEMORY_DEVICE =
        2, /* the device's: the host sees it while it is mapped (lathe_tensor_map) */
} lathe_memory;

LATHE_API lathe_memory lathe_tensor_memory(const lathe_tensor *tensor);

/* Queries. The tensor must not be NULL. Pointers live as long as the tensor. */
LATHE_API lathe_dtype lathe_tensor_dtype(const lathe_tensor *tensor);
LATHE_API uint32_t lathe_tensor_n_dims(const lathe_tensor *tensor);
LATHE_API const uint64_t *lathe_tensor_shape(const lathe_tensor *tensor);
LATHE_API lathe_granularity lathe_tensor_granularity(const lathe_tensor *tensor);
LATHE_API uint64_t lathe_tensor_group_size(const lathe_tensor *tensor); /* 0 unless PER_GROUP */
LATHE_API uint32_t lathe_tensor_row_dims(const lathe_tensor *tensor);
LATHE_API uint64_t lathe_tensor_n_elems(const lathe_tensor *tensor);
LATHE_API uint64_t lathe_tensor_n_bytes(const lathe_tensor *tensor);  /* of data, without scales */
LATHE_API uint64_t lathe_tensor_n_scales(const lathe_tensor *tensor); /* floats */
LATHE_API bool lathe_tensor_is_read_only(const lathe_tensor *tensor);

/* The data for reading, row-major as docs/formats.md lays it out; NULL if n_bytes is 0, and for a
 * device tensor that is not mapped. */
LATHE_API const void *lathe_tensor_data(const lathe_tensor *tensor);

/* The same for writing; NULL if the tensor is read-only, or mapped for reading. */
LATHE_API void *lathe_tensor_mutable_data(lathe_tensor *tensor);

/* The scales: 1 (PER_TENSOR), one a row, or ceil(row / group_size) a row, in row order; NULL if
 * there are none. */
LATHE_API const float *lathe_tensor_scales(const lathe_tensor *tensor);

/* The same for writing; NULL if the tensor is read-only. */
LATHE_API float *lathe_tensor_mutable_scales(lathe_tensor *tensor);

/* Reads all of a quantized tensor and looks for what no encoder writes: a BITNET158 byte of 243 or
 * more, unused bits that are not zero, a scale that is negative or not finite. Other tensors are
 * always valid. Errors: INVALID_ARGUMENT (a device tensor that is not mapped, too), CORRUPT_DATA
 * (naming the element, or the scale). Thread-safe. */
LATHE_API lathe_status lathe_tensor_validate(const lathe_tensor *tensor);

LATHE_END_DECLS

#endif
