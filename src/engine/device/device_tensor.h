/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in pinned memory and in a device's own. */
#ifndef LT_ENGINE_DEVICE_TENSOR_H
#define LT_ENGINE_DEVICE_TENSOR_H

#include "backend.h"
#include "core/tensor.h"

/* Where the memory of a PINNED or DEVICE tensor is. */
typedef struct lt_device_memory {
    lathe_pool *pool;
    lt_backend *backend; /* a reference */
    lt_buffer data;
    lt_buffer scales;
    uint64_t data_offset;  /* bytes */
    uint64_t scale_offset; /* floats */
    lt_queue *map_queue;   /* while the buffers are mapped */
    void *mapped;          /* a copy on the host, where the buffers themselves cannot be mapped */
    bool mapped_for_writing;
} lt_device_memory;

/* The kind of buffers that a PINNED or DEVICE tensor is made of. */
lt_memory lt_device_memory_kind(const lt_backend *backend, lathe_memory memory);

/* Makes a tensor of the backend's whose buffers the caller fills in: on_device->data and so on,
 * which its last release destroys. Errors: those of lathe_tensor_create. */
lathe_status lt_device_tensor_new(lt_backend *backend, lathe_pool *pool, lathe_memory memory,
                                  const lathe_tensor_desc *desc, lathe_tensor **tensor);

/* The tensor's data and scales as one side of a pass on its own backend. */
lt_span lt_device_tensor_span(const lathe_tensor *tensor);

/* Bytes of a HOST, PINNED or DEVICE tensor's data to and from the host's memory; likewise scales.
 * Thread-safe. Errors: DEVICE, INSUFFICIENT_MEMORY. */
lathe_status lt_tensor_read(const lathe_tensor *tensor, uint64_t offset, void *bytes,
                            size_t n_bytes);
lathe_status lt_tensor_read_scales(const lathe_tensor *tensor, uint64_t first, float *scales,
                                   size_t n_scales);
lathe_status lt_tensor_write(const lathe_tensor *tensor, uint64_t offset, const void *bytes,
                             size_t n_bytes);
lathe_status lt_tensor_write_scales(const lathe_tensor *tensor, uint64_t first, const float *scales,
                                    size_t n_scales);

/* Copies data and scales between tensors of equal layout. */
lathe_status lt_tensor_copy_contents(const lathe_tensor *from, const lathe_tensor *to);

#endif
