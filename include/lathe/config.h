/* SPDX-License-Identifier: Apache-2.0 */
/* How an engine is configured: its threads, memory, device, and the defaults of its strategies. */
#ifndef LATHE_CONFIG_H
#define LATHE_CONFIG_H

#include <lathe/device.h>
#include <lathe/export.h>
#include <lathe/pool.h>
#include <lathe/status.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* The caller's own threads. parallel_for calls task(task_ctx, i) once for every i in [0, n_tasks),
 * in any order, on any threads, and returns when all have returned. It may be called from several
 * threads at once, and is not called at all where the work is a single task or n_threads is 1. */
typedef struct lathe_executor {
    void *ctx;
    void (*parallel_for)(void *ctx, size_t n_tasks, void (*task)(void *task_ctx, size_t i),
                         void *task_ctx);
    uint32_t n_threads; /* how many tasks run at once, at least 1 */
} lathe_executor;

/* What an engine has to say. */
typedef enum lathe_notice_level {
    LATHE_NOTICE_INFO = 0,    /* for the curious: why the CPU is used, say */
    LATHE_NOTICE_WARNING = 1, /* something is wrong with a device; conversions go on without it */
} lathe_notice_level;

/* Receives one line of text, which lives until it returns. Called from any thread, several at once;
 * it must not use the engine. */
typedef void lathe_notice_fn(void *ctx, lathe_notice_level level, const char *text);

/* The caller's own OpenCL context: lathe/opencl.h. */
struct lathe_opencl_device;

/* A switch whose zero is the default. */
typedef enum lathe_toggle {
    LATHE_BY_DEFAULT = 0,
    LATHE_ON = 1,
    LATHE_OFF = 2,
} lathe_toggle;

/* Streaming: chunks that rotate through slots. Zero fields are chosen to suit the device. */
typedef struct lathe_streaming_config {
    uint64_t chunk_bytes;     /* of a chunk, source and result together; 64 KiB at least */
    uint32_t parallel_chunks; /* that are converted at once; default: the device's threads or queues
                               */
    uint32_t prefetch_chunks; /* that are read ahead of those; default 0 on the CPU, where a chunk
                                 is to be in the cache */
    uint64_t buffer_bytes;    /* of all slots together, at most; 1 MiB at least; default 64 MiB */
} lathe_streaming_config;

/* Batches: many tensors in one call. */
typedef struct lathe_batch_config {
    uint64_t max_tensors; /* that are worked on at a time; default: no limit */
    uint64_t max_bytes; /* of results that are made before the next are begun; default: no limit */
    lathe_toggle group; /* tensors of the same kernel follow each other; default on */
    lathe_toggle sort_by_size; /* the largest first, so that the last ones are short; default on */
    lathe_toggle parallel;     /* several tensors at once; default on */
} lathe_batch_config;

/* Begins with struct_size = sizeof(lathe_config); a zero field means its default. */
typedef struct lathe_config {
    size_t struct_size;
    uint32_t n_threads; /* CPU threads, the caller's included; default: as many as the process may
                           use. Not with an executor. */
    lathe_isa isa;      /* the highest CPU kernels to use; default: the best there are */
    uint64_t memory_budget_bytes; /* of the engine's pool; default: no limit. Not with a pool. */
    const lathe_allocator *allocator; /* of the engine's pool; copied. Not with a pool. */
    lathe_pool *pool;                 /* default: a pool of the engine's own. Retained. */
    const lathe_executor *executor;   /* default: threads of the engine's own. Copied; its ctx must
                                         outlive the engine. */
    /* Where to convert. "cpu"; "opencl": a GPU before any other device, and the CPU where there is
     * none; "opencl:N", "opencl:gpu", "opencl:cpu", "opencl:accelerator" or "opencl:TEXT", TEXT
     * being part of a device's or its platform's name in any case: that one, or NOT_FOUND. NULL or
     * "auto" is the CPU: data in the host's memory is converted there before it has crossed a bus
     * and back.
     */
    const char *device;
    /* 1: what the device cannot do fails with DEVICE; default: the CPU does it then. With "opencl",
     * also that there is no device. */
    uint32_t require_device;
    /* A folder for compiled OpenCL programs, made if need be, safe to share and to delete. Default:
     * none, and programs are compiled anew by each engine. Users expect
     * $XDG_CACHE_HOME/lathe (~/.cache/lathe), which is what the tool gives. */
    const char *program_cache_dir;
    const struct lathe_opencl_device *opencl_device; /* a context to use; not with `device` */
    lathe_notice_fn *notice;                         /* default: nobody listens */
    void *notice_ctx;
    lathe_streaming_config streaming;
    lathe_batch_config batch;
    uint64_t pipeline_cache_bytes; /* results that a pipeline keeps, at most; default: none */
    /* A file that keeps what the planner has measured on this machine; made if need be. Default:
     * none, and measurements last as long as the engine. */
    const char *calibration_file;
} lathe_config;

LATHE_END_DECLS

#endif
