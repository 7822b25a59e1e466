/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: converts tensors. */
#ifndef LATHE_ENGINE_H
#define LATHE_ENGINE_H

#include <lathe/device.h>
#include <lathe/export.h>
#include <lathe/pool.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
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
} lathe_config;

/* An engine is thread-safe: any number of threads may convert through one. Its own threads do not
 * survive a fork: a child process makes its own engine. */
typedef struct lathe_engine lathe_engine;

/* Makes an engine, which the caller frees with lathe_engine_free. NULL config means all defaults.
 * Errors: INVALID_ARGUMENT (naming the field), NOT_SUPPORTED (an ISA that this CPU lacks),
 * INSUFFICIENT_MEMORY; *engine is then left alone. */
LATHE_API lathe_status lathe_engine_create(const lathe_config *config, lathe_engine **engine);

/* Frees the engine once no call is using it. Tensors that it made live on. NULL is legal. */
LATHE_API void lathe_engine_free(lathe_engine *engine);

/* The engine's pool. The engine owns the reference. */
LATHE_API lathe_pool *lathe_engine_pool(lathe_engine *engine);

/* Describes the device that the engine converts on; the caller has set info->struct_size.
 * Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_engine_device(lathe_engine *engine, lathe_device_info *info);

/* What a conversion counted. The caller sets struct_size. */
typedef struct lathe_convert_stats {
    size_t struct_size;
    uint64_t n_saturated; /* FAST quality: elements beyond the clamp bound; 0 otherwise */
} lathe_convert_stats;

/* Converts `source` to `target`. The source is only read. `stats` may be NULL.
 *
 * The result, which the caller releases, is a new tensor; but where the source already is what the
 * target asks for (same dtype, granularity, group_size and row_dims), it is the source itself with
 * one more reference, in no time and no memory. To have a copy of it, use lathe_convert_into.
 *
 * The result's bytes and scales depend on the source and the target alone, never on the threads,
 * the ISA or the device (docs/numerics.md).
 *
 * Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, INSUFFICIENT_MEMORY, NON_FINITE, DATA_LOSS, CORRUPT_DATA
 * (a BITNET158 byte of 243 or more, or a scale that is negative or not finite), NOT_SUPPORTED;
 * *result is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_convert(lathe_engine *engine, const lathe_tensor *source,
                                     const lathe_target *target, lathe_tensor **result,
                                     lathe_convert_stats *stats);

/* The same into an existing tensor that matches the target: same shape, dtype, granularity,
 * group_size and row_dims, not read-only, its memory apart from the source's. For recycled outputs.
 * Errors: as lathe_convert, and INCOMPATIBLE_TYPES, READ_ONLY. After NON_FINITE, DATA_LOSS or
 * CORRUPT_DATA the contents of `result` are unspecified; after any other error they are untouched.
 */
LATHE_API lathe_status lathe_convert_into(lathe_engine *engine, const lathe_tensor *source,
                                          const lathe_target *target, lathe_tensor *result,
                                          lathe_convert_stats *stats);

LATHE_END_DECLS

#endif
