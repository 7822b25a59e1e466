/* SPDX-License-Identifier: Apache-2.0 */
/* The one interface that every device implements. A strategy decides what is converted in which
 * order and where it lies; a backend runs a pass over it. */
#ifndef LT_BACKEND_H
#define LT_BACKEND_H

#include "core/layout.h"
#include "core/outcome.h"
#include "core/ranges.h"
#include "core/scale.h"
#include "metrics/counters.h"
#include <lathe/device.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct lt_backend lt_backend;

struct lt_scan;
struct lt_slab;

/* What the host can do with a buffer. */
typedef enum lt_memory {
    LT_MEMORY_DEVICE, /* transfers only: upload and download */
    LT_MEMORY_STAGED, /* mapping as well, through pinned memory where the device has its own */
    LT_MEMORY_PINNED, /* the host's, always mapped, for fast transfers; passes do not reach it */
} lt_memory;

/* Memory that a backend can work on. */
typedef struct lt_buffer {
    void *host;    /* what map gives, offset 0; NULL: the host cannot map it */
    void *device;  /* the backend's own handle; NULL on the CPU */
    void *staging; /* the backend's own handle of pinned memory behind `host`; NULL: none */
    uint64_t n_bytes;
    bool is_owned; /* made by buffer_create, not of the caller's memory */
} lt_buffer;

typedef enum lt_access { LT_ACCESS_READ = 1, LT_ACCESS_WRITE = 2 } lt_access;

/* One side of a conversion: the part of a tensor that a work unit needs. */
typedef struct lt_span {
    const lt_buffer *data;
    uint64_t data_offset;    /* bytes */
    uint64_t first_byte;     /* of the tensor's data: what lies at data_offset */
    const lt_buffer *scales; /* NULL where the layout has none */
    uint64_t scale_offset;   /* floats */
    uint64_t first_scale;    /* of the tensor's scales: what lies at scale_offset */
} lt_span;

/* Where the host sees a span's bytes and scales. */
static inline uint8_t *lt_span_bytes(const lt_span *span) {
    return (uint8_t *)span->data->host + span->data_offset;
}

static inline float *lt_span_scales(const lt_span *span) {
    return span->scales == NULL ? NULL : (float *)span->scales->host + span->scale_offset;
}

/* The most roundings that a pass begins with. */
enum { LT_MOST_ROUNDS = 3 };

/* What is done to each element. */
typedef struct lt_pass {
    lt_layout src;
    lt_layout dst; /* as many elements as src; rows may differ */
    /* F16 or BF16, to which elements of F32 are rounded first, one after another; 0: no more. Of
     * stats and convert passes of a device to a quantized type, not PRECISE. */
    lathe_dtype rounds[LT_MOST_ROUNDS];
    lathe_quality quality; /* PRECISE only where that differs from BALANCED */
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
    lt_span dst; /* convert, and submit_many; its scales are written where the pass has own_scales,
                    else read */
    double *stats;       /* stats only: one for each tile */
    const float *scales; /* submit_many, convert: the target's, to be written and not read. NULL:
                            not so */
    /* Stats, of tiles of one scope: filled, in place of `stats`, if the backend can fold them; then
     * fetch_stats gets those. Zero-initialised. NULL: not wanted. */
    lt_tile_sum *sum;
    /* Stats: gathers what PRECISE looks for instead (core/precise.h); tiles of one scope, any
     * number of them. The CPU only, see submit_scales. NULL: statistics. */
    struct lt_scan *scan;
    uint64_t first_tile;     /* stats: tiles [first_tile, first_tile + n_tiles) of the tiling */
    uint64_t n_tiles;        /* at most LT_STATS_WINDOW, but for submit_scales */
    const lt_ranges *ranges; /* convert: ranges [first_range, first_range + n_ranges) */
    uint64_t first_range;
    uint64_t n_ranges;
    lt_outcome *outcome; /* faults found in the data are no failure of the backend */
    bool measure_only;   /* convert: dst holds the result already; its quality is measured, and
                            nothing is written. A device does not look for corrupt bytes. */
    bool on_this_thread; /* the caller runs several works at once: do not spread this one */
    bool is_trial;       /* of the self-check: runs kernels that have not passed it yet */
} lt_work;

/* How many tiles' statistics are gathered before they are folded, at least: 128 KiB of them. */
enum { LT_STATS_WINDOW = 16384 };

/* Fewer tiles of a scope than these are folded by the host, unless a device is being checked. */
enum { LT_LEAST_FOLDED = 2048 };

/* Transfers and passes that run one after another. Used by one thread at a time. NULL is the CPU's:
 * there everything is done when a call returns. */
typedef struct lt_queue lt_queue;

/* The most buffers that the sources, or the results, of submit_many lie in. */
enum { LT_MANY_HOMES = 16 };

/* chain.h */
typedef struct lt_chain_work lt_chain_work;

/* Every function that returns a status may fail with DEVICE or INSUFFICIENT_MEMORY. What was put
 * into a queue before a failure is then over: nothing of the caller's memory is in use any more. */
typedef struct lt_backend_ops {
    void (*destroy)(lt_backend *backend);

    /* Fills *info, struct_size apart. */
    void (*describe)(const lt_backend *backend, lathe_device_info *info);

    lathe_status (*queue_open)(lt_backend *backend, lt_queue **queue);

    /* Waits for what is in the queue and gives it back. NULL is legal. */
    void (*queue_close)(lt_backend *backend, lt_queue *queue);

    /* Compares the kernels from src to dst with the reference, whether they have passed before or
     * not. OK on the CPU, which is the reference. Errors: DEVICE (they differ, too). */
    lathe_status (*self_check)(lt_backend *backend, lathe_dtype src, lathe_dtype dst);

    /* Makes a buffer under the pool's budget. */
    lathe_status (*buffer_create)(lt_backend *backend, lt_memory kind, uint64_t n_bytes,
                                  lt_buffer *buffer);

    /* Makes a buffer of host memory without a copy, where the device shares it; the memory must
     * outlive the buffer. The host reaches it between map and unmap, at the same address.
     * NOT_SUPPORTED where the device has its own memory, or the alignment does not suit it: copy
     * through a created buffer then. */
    lathe_status (*buffer_wrap)(lt_backend *backend, void *host, uint64_t n_bytes,
                                lt_buffer *buffer);

    /* Frees what create or wrap made; not the wrapped memory. A zeroed buffer is legal. No queue
     * uses it any more. */
    void (*buffer_destroy)(lt_backend *backend, lt_buffer *buffer);

    /* Gives the host bytes [offset, offset + n_bytes) at buffer->host + offset: with READ as the
     * queue's work so far has left them (waits for it), with WRITE alone unspecified ones. */
    lathe_status (*map)(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                        uint64_t offset, uint64_t n_bytes, lt_access access);

    /* Ends it, with the same arguments; with WRITE the queue's further work sees what the host has
     * written. */
    lathe_status (*unmap)(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                          uint64_t offset, uint64_t n_bytes, lt_access access);

    /* Copies between the host's memory and the buffer; the host's memory must live, and not be
     * touched, until finish. */
    lathe_status (*upload)(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                           uint64_t offset, const void *host, uint64_t n_bytes);
    lathe_status (*download)(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                             uint64_t offset, void *host, uint64_t n_bytes);

    /* Copies between two buffers of this backend, apart from each other. */
    lathe_status (*copy)(lt_backend *backend, lt_queue *queue, const lt_buffer *from,
                         uint64_t from_offset, const lt_buffer *to, uint64_t to_offset,
                         uint64_t n_bytes);

    /* Start a pass. The work and what it points to must live until finish, which delivers the
     * outcome and the statistics. Scales that it reads are in their buffers. */
    lathe_status (*submit_stats)(lt_backend *backend, lt_queue *queue, const lt_work *work);
    lathe_status (*submit_convert)(lt_backend *backend, lt_queue *queue, const lt_work *work);

    /* Converts a whole tensor whose scopes are longer than max_own_scope_elems and finds their
     * scales in the same pass, so that memory is read once, and waits for it. NOT_SUPPORTED: the
     * backend has no kernel that does, or an element or a scale is out of the ordinary; what has
     * been written then is to be written again. NULL: never. */
    lathe_status (*convert_rows)(lt_backend *backend, lt_queue *queue, const lt_work *work);

    /* False where that is sure to be NOT_SUPPORTED, which is said of the pass alone. NULL: never
     * true. */
    bool (*takes_rows)(const lt_backend *backend, const lt_pass *pass);

    /* Fills work->stats of the queue's last work, of which finish has delivered the sum. NULL: the
     * backend does not fold. */
    lathe_status (*fetch_stats)(lt_backend *backend, lt_queue *queue, const lt_work *work);

    /* Starts the search for PRECISE scales of a pass whose target's scales are not its own to find,
     * for the scopes of the work's tiles, which are whole ones: they are left where the convert
     * pass reads them, in work->dst, whose data is not looked at. Scopes of more than
     * LT_PRECISE_ELEMS elements have their standard scales there. Non-finite elements of shorter
     * ones are reported to the outcome. NOT_SUPPORTED, before anything is done: scopes that are too
     * large. NULL on the CPU, which scans (lt_work.scan). */
    lathe_status (*submit_scales)(lt_backend *backend, lt_queue *queue, const lt_work *work);

    /* The same for chains of conversions (chain.h). NOT_SUPPORTED for a chain, or a part of it,
     * that the backend has no kernels for. */
    lathe_status (*submit_chain_stats)(lt_backend *backend, lt_queue *queue,
                                       const lt_chain_work *work);
    lathe_status (*submit_chain)(lt_backend *backend, lt_queue *queue, const lt_chain_work *work);

    /* False where submit_chain, or the statistics that it needs first, is sure to be NOT_SUPPORTED,
     * which is said of the work's chain and own_scales alone: it has no sides yet. NULL: never. */
    bool (*takes_chain)(const lt_backend *backend, const lt_chain_work *work);

    /* Starts convert passes of whole small tensors, each by one range: on the CPU one after another
     * on this thread, and a pass may be that of several tensors which lie one after another, each
     * with a range. On a device, in as few launches as can be: all have the same two dtypes, and
     * fewer than LT_MANY_HOMES times one lies in other buffers than the one before it. There also
     * stats passes, all of them, of all tiles; their stats follow each other. */
    lathe_status (*submit_many)(lt_backend *backend, lt_queue *queue, const lt_work *works,
                                size_t n_works);

    /* Starts a convert pass of one range whose result lies in the source's own memory: in the same
     * buffer, no element behind where it was read, and no more bytes in all. Nothing is checked or
     * reported, as nothing is wrong with the data. All of it is one launch: after a failure nothing
     * of it has been done, unless the queue is not complete either. NULL, and NOT_SUPPORTED before
     * anything is done: in this way it cannot be done, but in others. */
    lathe_status (*submit_in_place)(lt_backend *backend, lt_queue *queue, const lt_work *work);

    /* Waits for all that is in the queue. */
    lathe_status (*finish)(lt_backend *backend, lt_queue *queue);

    /* After a function has failed: true if all that had been put into the queue before is known to
     * have been done, and the function itself has put nothing there. (One pass may be several
     * launches, of which the first ones may have run.) */
    bool (*is_complete)(lt_backend *backend, const lt_queue *queue);

    /* Calls task(ctx, i) for i in [0, n_tasks), n_threads at a time, and returns when all are done.
     * Host threads, on every backend. */
    void (*parallel_for)(lt_backend *backend, size_t n_tasks, void (*task)(void *ctx, size_t i),
                         void *ctx);
} lt_backend_ops;

/* Slabs whose places have one size; the greatest place of all bins has 256 KiB. */
typedef struct lt_bin {
    struct lt_slab *open; /* those that have places left */
    uint64_t n_places;    /* of all of its slabs */
} lt_bin;

/* By size class. */
enum { LT_BIN_COUNT = 80 };

/* Where small tensors in a device's memory lie: engine/batch/bins.h. */
typedef struct lt_bins {
    pthread_mutex_t mutex; /* guards the rest, and the slabs' places */
    lt_bin bins[LT_BIN_COUNT];
} lt_bins;

/* A backend begins with this. Tensors in its memory hold a reference, so that it outlives them. */
struct lt_backend {
    const lt_backend_ops *ops;
    atomic_size_t n_references;
    lt_counters *counters;        /* of the engine: the CPU backend's, which outlives the others */
    uint32_t n_threads;           /* works that it runs at once: slots of the streaming strategy */
    uint64_t cache_bytes;         /* data larger than this counts as beyond the caches */
    uint64_t wide_cache_bytes;    /* the same where the larger side is the one that is written */
    uint64_t elems_per_range;     /* a good size of range for this device */
    uint64_t max_own_scope_elems; /* larger scopes take a stats pass, in memory */
    uint64_t max_chunk_scope_elems; /* and when streaming */
    uint64_t chunk_bytes;           /* a good size of chunk, both sides together */
    uint64_t max_buffer_bytes;      /* the largest STAGED buffer */
    uint64_t queue_bytes;           /* of the budget, for each queue that is open */
    uint64_t stats_window;          /* tiles of a stats work, at most; LT_STATS_WINDOW or more */
    uint32_t staged_cost;           /* bytes of the budget for a byte of LT_MEMORY_STAGED */
    bool is_remote;                 /* host memory reaches it by transfers, or wrapped */
    lt_bins bins;                   /* where that is so */
};

static inline lt_backend *lt_backend_retain(lt_backend *backend) {
    (void)atomic_fetch_add(&backend->n_references, 1);
    return backend;
}

/* The last reference destroys the backend. NULL is legal. */
static inline void lt_backend_release(lt_backend *backend) {
    if (backend != NULL && atomic_fetch_sub(&backend->n_references, 1) == 1) {
        backend->ops->destroy(backend);
    }
}

#endif
