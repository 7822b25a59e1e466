/* SPDX-License-Identifier: Apache-2.0 */
/* The structs of DLPack 1.1 as its specification lays them out in memory, under names of our own:
 * whoever includes the real header as well has no conflict. */
#ifndef LT_ENGINE_DLPACK_ABI_H
#define LT_ENGINE_DLPACK_ABI_H

#include <stdint.h>

enum { LT_DL_MAJOR = 1, LT_DL_MINOR = 1 };

enum { LT_DL_CPU = 1, LT_DL_CUDA_HOST = 3, LT_DL_OPENCL = 4, LT_DL_ROCM_HOST = 11 };

enum { LT_DL_INT = 0, LT_DL_FLOAT = 2, LT_DL_BFLOAT = 4 };

#define LT_DL_READ_ONLY (UINT64_C(1) << 0)
#define LT_DL_PADDED (UINT64_C(1) << 2) /* each element of less than a byte has one of its own */

typedef struct lt_dl_type {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} lt_dl_type;

typedef struct lt_dl_device {
    int32_t type;
    int32_t id;
} lt_dl_device;

typedef struct lt_dl_tensor {
    void *data;
    lt_dl_device device;
    int32_t n_dims;
    lt_dl_type type;
    int64_t *shape;
    int64_t *strides; /* in elements */
    uint64_t byte_offset;
} lt_dl_tensor;

/* DLManagedTensor */
typedef struct lt_dl_legacy lt_dl_legacy;
struct lt_dl_legacy {
    lt_dl_tensor tensor;
    void *ctx;
    void (*deleter)(lt_dl_legacy *self);
};

/* DLManagedTensorVersioned */
typedef struct lt_dl_versioned lt_dl_versioned;
struct lt_dl_versioned {
    uint32_t major;
    uint32_t minor;
    void *ctx;
    void (*deleter)(lt_dl_versioned *self);
    uint64_t flags;
    lt_dl_tensor tensor;
};

#endif
