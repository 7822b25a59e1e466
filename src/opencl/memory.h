/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory and pinned staging: blocks of the pool, under its one budget. */
#ifndef LT_OPENCL_MEMORY_H
#define LT_OPENCL_MEMORY_H

#include "backend.h"
#include "metrics/counters.h"
#include "opencl/device.h"
#include "pool/pool.h"

typedef struct lt_cl_memory {
    const lt_cl_device *device;
    lathe_pool *pool;
    lt_counters *counters;
    bool shares_memory;     /* the device says so, and its driver maps memory where it is */
    bool is_pageable;       /* staging is ordinary memory */
    cl_command_queue queue; /* for getting and giving back memory only, with the pool locked */
    lt_pool_source buffers; /* blocks are cl_mem */
    lt_pool_source pinned;  /* blocks are mapped ALLOC_HOST_PTR memory */
    lt_pool_source pages;   /* blocks are the host's memory, whole pages as far as alignment goes */
} lt_cl_memory;

/* Errors: DEVICE, INSUFFICIENT_MEMORY; there is then nothing to destroy. */
lathe_status lt_cl_memory_init(lt_cl_memory *memory, const lt_cl_device *device, lathe_pool *pool,
                               lt_counters *counters);

/* From now on staging is ordinary memory, where the device has its own. Before any is in use. */
void lt_cl_memory_set_pageable(lt_cl_memory *memory);

/* Gives all cached blocks back; none may be live. */
void lt_cl_memory_destroy(lt_cl_memory *memory);

/* As lt_backend_ops says. */
lathe_status lt_cl_buffer_create(lt_cl_memory *memory, lt_memory kind, uint64_t n_bytes,
                                 lt_buffer *buffer);
lathe_status lt_cl_buffer_wrap(lt_cl_memory *memory, void *host, uint64_t n_bytes,
                               lt_buffer *buffer);
void lt_cl_buffer_destroy(lt_cl_memory *memory, lt_buffer *buffer);

#endif
