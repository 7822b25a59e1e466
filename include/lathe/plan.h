/* SPDX-License-Identifier: Apache-2.0 */
/* Planning: how a conversion would be done, where, and what it would cost. */
#ifndef LATHE_PLAN_H
#define LATHE_PLAN_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* X(name, number, text). The numbers are part of the ABI. */
#define LATHE_STRATEGY_LIST(X)                                                                     \
    X(AUTO, 0, "auto")           /* whichever is fastest within the memory there is */             \
    X(ZERO_COPY, 1, "zero_copy") /* the result shares the source's memory */                       \
    X(IN_PLACE, 2, "in_place")   /* the result takes the source's place */                         \
    X(DIRECT, 3, "direct")       /* all at once, from one tensor to another */                     \
    X(STREAMING, 4, "streaming") /* in chunks, through slots */                                    \
    X(BATCH, 5, "batch")         /* many tensors in one call */                                    \
    X(PIPELINE, 6, "pipeline")   /* a chain of targets without intermediates */

typedef enum lathe_strategy {
#define LATHE_STRATEGY_ENUM(name, number, text) LATHE_STRATEGY_##name = number,
    LATHE_STRATEGY_LIST(LATHE_STRATEGY_ENUM)
#undef LATHE_STRATEGY_ENUM
} lathe_strategy;

/* "auto", "zero_copy", ...; "invalid" for any other number. Static. Thread-safe. */
LATHE_API const char *lathe_strategy_name(lathe_strategy strategy);

/* What a plan may do. Begins with struct_size; zero means default. */
typedef struct lathe_plan_options {
    size_t struct_size;
    lathe_strategy strategy; /* AUTO: the best one; otherwise that one and no other */
    /* Memory that the conversion may take beside the source, in bytes; default: what the budget of
     * the engine's pool has left. */
    uint64_t memory_bytes;
    uint32_t may_consume; /* 1: the source's memory may become the result's, as IN_PLACE makes it */
} lathe_plan_options;

enum { LATHE_PLAN_MAX_PASSES = 4 };

/* How a conversion would be done. */
typedef struct lathe_plan {
    size_t struct_size;
    lathe_strategy strategy; /* never AUTO */
    char device[16];         /* as lathe_config.device would name it: "cpu", "opencl:0", ... */
    uint32_t n_threads;      /* of the CPU's that convert; 0 where a device does, or nobody */
    uint32_t n_passes;       /* over the source; 0: nothing is read */
    const char *passes[LATHE_PLAN_MAX_PASSES]; /* static: "stats", "histogram" and "errors", or
                                                  "search", find scales, then "convert"; or
                                                  "copy" */
    uint64_t estimated_ns; /* from what was measured on this machine, and what conversions took */
    uint64_t extra_bytes;  /* memory beside the source: the result, if it is kept, and the most that
                              is used on the way, but for some KiB of records */
    double compression;    /* the source's bytes over the result's, scales included */
    char reason[256];      /* why this strategy and device: a sentence */
} lathe_plan;

/* Plans the conversion of a tensor of that description, lying in `memory`, to the target. `options`
 * may be NULL; plan->struct_size has been set. What the engine has not measured yet on this machine
 * for this pair of types it measures now: some milliseconds, and memory of its pool, which it gives
 * back; seconds where an OpenCL device has to compile kernels first. lathe_convert chooses as the
 * plan does, but for what only the caller can do: STREAMING where the result does not fit, which is
 * for lathe_stream, and IN_PLACE. The plan binds nobody, and holds no memory.
 *
 * Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, NOT_SUPPORTED; INCOMPATIBLE_TYPES (the strategy asked
 * for cannot do this conversion), INSUFFICIENT_MEMORY (with required and available bytes); *plan is
 * then left alone. Thread-safe. */
LATHE_API lathe_status lathe_plan_make(lathe_engine *engine, const lathe_tensor_desc *source,
                                       lathe_memory memory, const lathe_target *target,
                                       const lathe_plan_options *options, lathe_plan *plan);

/* The plan as a sentence, NUL-terminated, in a block of the pool that the caller gives back with
 * lathe_pool_free. Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY; *text is then left alone.
 * Thread-safe. */
LATHE_API lathe_status lathe_plan_text(const lathe_plan *plan, lathe_pool *pool, char **text);

/* The plan as a JSON object on one line, likewise. Its keys are strategy, device, passes (an array
 * of names), estimated_ns, extra_bytes, compression and reason. */
LATHE_API lathe_status lathe_plan_json(const lathe_plan *plan, lathe_pool *pool, char **text);

LATHE_END_DECLS

#endif
