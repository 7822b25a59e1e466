/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline object. */
#ifndef LT_ENGINE_PIPELINE_H
#define LT_ENGINE_PIPELINE_H

#include "engine/engine.h"
#include "engine/pipeline/chain_plan.h"
#include "engine/pipeline/result_cache.h"
#include <lathe/pipeline.h>
#include <stdatomic.h>

struct lathe_pipeline {
    lathe_pool *pool;
    uint32_t n_stages;
    lathe_pipeline_stage stages[LATHE_PIPELINE_MAX_STAGES];
    uint64_t cache_bytes; /* 0: the engine's */
    bool is_optimized;    /* for sources of the kind that follows alone */
    lathe_tensor_desc source;
    lt_result_cache cache;
    atomic_uint_fast64_t n_runs;
    atomic_uint_fast64_t n_failed;
    atomic_uint_fast64_t n_run_stages;
    atomic_uint_fast64_t n_hits;
    atomic_uint_fast64_t n_misses;
    atomic_uint_fast64_t saved_bytes;
    atomic_uint_fast64_t ns;
};

_Static_assert(LATHE_PIPELINE_MAX_STAGES == LT_CHAIN_MAX_STEPS, "a chain holds every pipeline");

/* The static name of a stage, counted from 0: "stage 1", ... */
const char *lt_pipeline_stage_name(uint32_t index);

/* The pipeline and its engine have been checked. Runs into `into`, or makes a result where that is
 * NULL, and counts it. Errors: those of lathe_pipeline_run_into. */
lathe_status lt_pipeline_run(lathe_engine *engine, lathe_pipeline *pipeline,
                             const lathe_tensor *source, lathe_tensor *into, lathe_tensor **result,
                             lathe_pipeline_run_stats *stats);

#endif
