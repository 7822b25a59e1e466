/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines: chains of conversions whose intermediate tensors are not stored. */
#ifndef LATHE_PIPELINE_H
#define LATHE_PIPELINE_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/plan.h>
#include <lathe/pool.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* A chain of targets. Running it gives the bytes and scales that lathe_convert gives for the stages
 * one by one, each taking the result of the one before. A pipeline does not change once it is made
 * (but see lathe_pipeline_optimize); any number of threads may run it at once. */
typedef struct lathe_pipeline lathe_pipeline;

/* The most stages of a pipeline. */
#define LATHE_PIPELINE_MAX_STAGES 16

/* One stage. Begins with struct_size; zero means default. */
typedef struct lathe_pipeline_stage {
    size_t struct_size;
    lathe_target target;
    /* How the stage's result gets to the next one. AUTO (the default) or PIPELINE: value by value,
     * while in cache. DIRECT: as a tensor in memory, made by a conversion of its own.
     * A stage of quality PRECISE is converted by itself in any case. */
    lathe_strategy strategy;
    /* 1: the stage's result is kept in the pipeline's cache, for the next run with the same source.
     * An intermediate stage is then stored as with DIRECT. */
    uint32_t cache;
} lathe_pipeline_stage;

/* Begins with struct_size; zero means default. */
typedef struct lathe_pipeline_options {
    size_t struct_size;
    /* Results that the cache keeps, at most, in bytes of data and scales; the one used longest ago
     * goes first. Default: the pipeline_cache_bytes of the engine that runs the pipeline. When the
     * pipeline's pool says that memory is short, half of them go at HIGH, all at CRITICAL, and none
     * is kept until that has passed. */
    uint64_t cache_bytes;
} lathe_pipeline_options;

/* Makes a pipeline of n_stages stages, 1 to LATHE_PIPELINE_MAX_STAGES, which are copied; its memory
 * comes from the pool. `options` may be NULL. The caller frees it with lathe_pipeline_free.
 * Errors: INVALID_ARGUMENT, NOT_SUPPORTED (both naming the stage), INSUFFICIENT_MEMORY;
 * NOT_SUPPORTED too where a stage caches and the pool has LATHE_POOL_MAX_CALLBACKS callbacks;
 * *pipeline is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_pipeline_create(lathe_pool *pool, uint32_t n_stages,
                                             const lathe_pipeline_stage *stages,
                                             const lathe_pipeline_options *options,
                                             lathe_pipeline **pipeline);

/* Frees a pipeline that no call is using, and drops what its cache holds. NULL is legal. */
LATHE_API void lathe_pipeline_free(lathe_pipeline *pipeline);

/* How many it has; 0 for NULL. Thread-safe. */
LATHE_API uint32_t lathe_pipeline_n_stages(const lathe_pipeline *pipeline);

/* Stage `index`, counted from 0; NULL if there is none. Lives as long as the pipeline, or until it
 * is optimized. Thread-safe. */
LATHE_API const lathe_pipeline_stage *lathe_pipeline_get_stage(const lathe_pipeline *pipeline,
                                                               uint32_t index);

/* What one run did. The caller sets struct_size. */
typedef struct lathe_pipeline_run_stats {
    size_t struct_size;
    uint64_t n_saturated;    /* FAST quality: over all stages that were run */
    uint64_t saved_bytes;    /* of intermediate results that were not stored */
    uint32_t n_stages;       /* that were run: less than the pipeline's after a cache hit */
    uint32_t n_passes;       /* over the data of a tensor, reading or converting it */
    uint32_t n_derived;      /* stages whose scales needed no pass of their own */
    uint32_t n_cache_hits;   /* 1: a stage's result came from the cache */
    uint32_t n_cache_misses; /* stages to be cached whose results had to be made */
} lathe_pipeline_run_stats;

/* Runs the pipeline. The source is only read. The result, which the caller releases, is a new
 * tensor; where no stage changes anything it is the source itself with one more reference, as
 * lathe_convert gives it, and where it comes from the cache it is shared with that: writing to it
 * drops it from the cache. `stats` may be NULL.
 *
 * Besides the result and the stages' scales a run takes one tile of memory for each thread of the
 * engine, which holds a block of the values between stages (some KiB; where scales of rows or
 * groups are found in passing, at most 65,536 elements of two stages), and 32 KiB of statistics.
 *
 * On an engine with a device the chain runs there as one kernel, if it has at most four stages, the
 * scales of all but the first follow from statistics of the source, no stage but the last is strict
 * or of FAST quality, the last is not BITNET158, and rows lie alike; a tensor in host memory goes
 * through it in chunks, or there as a whole where a stage has one scale for the tensor. Other
 * chains are run there stage by stage, through tensors of their own.
 *
 * Errors: those of lathe_convert for the first stage that fails; lathe_last_error says which in
 * `stage` ("stage 1", ...) and in the message, and the element. *result is then left alone.
 * Thread-safe. */
LATHE_API lathe_status lathe_pipeline_run(lathe_engine *engine, lathe_pipeline *pipeline,
                                          const lathe_tensor *source, lathe_tensor **result,
                                          lathe_pipeline_run_stats *stats);

/* The same into an existing tensor, which matches the last stage's target as lathe_convert_into
 * asks for. What the cache holds of the last stage is not used, and nothing of it is kept.
 * Errors: as lathe_pipeline_run, and INCOMPATIBLE_TYPES, READ_ONLY; the contents of `result` are
 * unspecified after an error of the data or the device, else untouched. */
LATHE_API lathe_status lathe_pipeline_run_into(lathe_engine *engine, lathe_pipeline *pipeline,
                                               const lathe_tensor *source, lathe_tensor *result,
                                               lathe_pipeline_run_stats *stats);

/* Runs the pipeline for each of n sources, on the engine's threads, small tensors at the same time.
 * results[i] and statuses[i] belong to sources[i]; a tensor that fails leaves results[i] NULL, and
 * no other one alone. `statuses` may be NULL. Returns OK if all succeeded, else the status of the
 * first one that failed, whose details are the last error. Errors of the call itself:
 * INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_pipeline_run_batch(lathe_engine *engine, lathe_pipeline *pipeline,
                                                size_t n, const lathe_tensor *const *sources,
                                                lathe_tensor **results, lathe_status *statuses);

enum { LATHE_PIPELINE_REPORT_LINES = LATHE_PIPELINE_MAX_STAGES };

/* What lathe_pipeline_optimize changed. The caller sets struct_size. */
typedef struct lathe_pipeline_report {
    size_t struct_size;
    uint32_t n_before; /* stages */
    uint32_t n_after;
    uint32_t n_repeated; /* dropped: the tensor already is what the stage asks for */
    uint32_t n_widening; /* dropped: a wider float type before a stage that reads the same values */
    uint32_t n_lines;
    char lines[LATHE_PIPELINE_REPORT_LINES][160]; /* one for each stage dropped, and why */
} lathe_pipeline_report;

/* Drops stages where no byte, scale, error of the data or count of a run can change for any source
 * tensor of that dtype, granularity, group_size and row_dims (those of the description; its shape
 * is not looked at and may be missing), and says which in *report (NULL: nobody asks). Only for
 * sources so described may the pipeline be run afterwards: others fail with INCOMPATIBLE_TYPES.
 * Stages with DIRECT or `cache` are kept, and so is at least one stage. Empties the cache. No other
 * call may use the pipeline meanwhile. Errors: INVALID_ARGUMENT; nothing is changed then. */
LATHE_API lathe_status lathe_pipeline_optimize(lathe_pipeline *pipeline,
                                               const lathe_tensor_desc *source,
                                               lathe_pipeline_report *report);

/* What a pipeline has done so far. The caller sets struct_size. */
typedef struct lathe_pipeline_stats {
    size_t struct_size;
    uint64_t n_runs; /* failed ones included, each tensor of a batch counts */
    uint64_t n_failed;
    uint64_t n_stages;     /* run: the sum over all runs that succeeded */
    uint64_t n_cache_hits; /* as in lathe_pipeline_run_stats */
    uint64_t n_cache_misses;
    uint64_t n_evicted;    /* results that had to go for others, or were out of date */
    uint64_t cached_bytes; /* now */
    uint64_t saved_bytes;  /* of intermediate results that were not stored */
    uint64_t ns;           /* that runs took */
} lathe_pipeline_stats;

/* Fills *stats. Thread-safe. Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_pipeline_get_stats(lathe_pipeline *pipeline,
                                                lathe_pipeline_stats *stats);

/* Drops what the cache holds. Thread-safe. NULL is legal. */
LATHE_API void lathe_pipeline_clear_cache(lathe_pipeline *pipeline);

/* Says that the tensor's contents have changed. Needed after writing through a pointer that was
 * taken earlier (lathe_tensor_mutable_data, lathe_tensor_mutable_scales and a DLPack export count
 * as a change when they are called), after changing memory that the tensor only wraps, and after
 * changing a device tensor's memory objects: otherwise a cache may take the tensor for what it was.
 * NULL is legal. Thread-safe. */
LATHE_API void lathe_tensor_touch(lathe_tensor *tensor);

LATHE_END_DECLS

#endif
