/* SPDX-License-Identifier: Apache-2.0 */
/* The one interface that every device implements. A strategy decides what is converted in which
 * order and where it lies; a backend runs a pass over it. */
#ifndef LT_BACKEND_H
#define LT_BACKEND_H

#include "core/layout.h"
#include "core/outcome.h"
#include "core/ranges.h"
#include "core/scale.h"
#include <lathe/device.h>

typedef struct lt_backend lt_backend;

/* Memory that a backend can work on. It may live elsewhere: the host reaches it by mapping only. */
typedef struct lt_buffer {
    void *handle; /* the backend's own */
    uint64_t n_bytes;
    bool is_owned; /* made by buffer_create, not of the caller's memory */
} lt_buffer;

typedef enum lt_access { LT_ACCESS_READ = 1, LT_ACCESS_WRITE = 2 } lt_access;

/* One side of a conversion: the part of a tensor that a work unit needs. Scales are few and always
 * lie in host memory. */
typedef struct lt_span {
    const lt_buffer *buffer;
    uint64_t buffer_offset; /* bytes */
    uint64_t first_byte;    /* of the tensor's data: what lies at buffer_offset */
    float *scales;
    uint64_t first_scale; /* of the tensor's scales: what lies at scales[0] */
} lt_span;

/* What is done to each element. */
typedef struct lt_pass {
    lt_layout src;
    lt_layout dst; /* as many elements as src; rows may differ */
    lathe_quality quality;
    lathe_nonfinite nonfinite;
    bool strict;
    /* Convert: the scopes lie whole inside the ranges, so that the pass finds their scales itself
     * and each range is read from memory once. */
    bool own_scales;
    bool beyond_cache; /* the data is larger than the caches */
    lt_tiling tiling;  /* of dst, if it is quantized */
} lt_pass;

/* Some tiles or ranges of a pass, and where their memory is. */
typedef struct lt_work {
    const lt_pass *pass;
    lt_span src;
    lt_span dst; /* convert only; its scales are written where the pass has own_scales, else read */
    double *stats;       /* stats only: one for each tile */
    uint64_t first_tile; /* stats: tiles [first_tile, first_tile + n_tiles) of the tiling */
    uint64_t n_tiles;
    const lt_ranges *ranges; /* convert: ranges [first_range, first_range + n_ranges) */
    uint64_t first_range;
    uint64_t n_ranges;
    lt_outcome *outcome; /* faults found in the data are no failure of the backend */
    bool on_this_thread; /* the caller runs several works at once: do not spread this one */
} lt_work;

/* Work in flight. NULL is work that is done. */
typedef struct lt_event lt_event;

typedef struct lt_backend_ops {
    void (*destroy)(lt_backend *backend);

    /* Fills *info, struct_size apart. */
    void (*describe)(const lt_backend *backend, lathe_device_info *info);

    /* Makes a buffer that the host can map. Errors: INSUFFICIENT_MEMORY, DEVICE. */
    lathe_status (*buffer_create)(lt_backend *backend, uint64_t n_bytes, lt_buffer *buffer);

    /* Makes a buffer of host memory without a copy, where the device shares it; the memory must
     * outlive the buffer. NOT_SUPPORTED where it does not: copy through a created buffer then. */
    lathe_status (*buffer_wrap)(lt_backend *backend, void *host, uint64_t n_bytes,
                                lt_buffer *buffer);

    /* Frees what create or wrap made; not the wrapped memory. A zeroed buffer is legal. */
    void (*buffer_destroy)(lt_backend *backend, lt_buffer *buffer);

    /* Gives the host access to bytes [offset, offset + n_bytes) until unmap. Errors: DEVICE. */
    lathe_status (*map)(lt_backend *backend, const lt_buffer *buffer, uint64_t offset,
                        uint64_t n_bytes, lt_access access, void **host);
    void (*unmap)(lt_backend *backend, const lt_buffer *buffer, void *host);

    /* Starts the work. The work and what it points to must live until wait has returned.
     * Thread-safe. Errors: DEVICE, INSUFFICIENT_MEMORY. */
    lathe_status (*submit_stats)(lt_backend *backend, const lt_work *work, lt_event **event);
    lathe_status (*submit_convert)(lt_backend *backend, const lt_work *work, lt_event **event);

    /* Waits for the work and frees the event. NULL is legal. */
    lathe_status (*wait)(lt_backend *backend, lt_event *event);

    /* Calls task(ctx, i) for i in [0, n_tasks), n_threads at a time, and returns when all are done.
     * Host threads, on every backend. */
    void (*parallel_for)(lt_backend *backend, size_t n_tasks, void (*task)(void *ctx, size_t i),
                         void *ctx);
} lt_backend_ops;

/* A backend begins with this. */
struct lt_backend {
    const lt_backend_ops *ops;
    uint32_t n_threads;       /* works that it runs at once */
    uint64_t cache_bytes;     /* data larger than this counts as beyond the caches */
    uint64_t elems_per_range; /* a good size of range for this device */
};

#endif
