/* SPDX-License-Identifier: Apache-2.0 */
/* Making pipelines, and what they say about themselves. */
#include "engine/pipeline/pipeline.h"

#include "core/error.h"
#include "core/layout.h"
#include "pool/pool.h"
#include <string.h>

const char *lt_pipeline_stage_name(uint32_t index) {
    static const char *const names[LATHE_PIPELINE_MAX_STAGES] = {
        "stage 1",  "stage 2",  "stage 3",  "stage 4",  "stage 5",  "stage 6",
        "stage 7",  "stage 8",  "stage 9",  "stage 10", "stage 11", "stage 12",
        "stage 13", "stage 14", "stage 15", "stage 16",
    };
    return names[index];
}

static lathe_status check_stage(const lathe_pipeline_stage *stage) {
    if (stage->struct_size != sizeof *stage) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "struct_size is not sizeof(lathe_pipeline_stage)");
    }
    if (stage->strategy != LATHE_STRATEGY_AUTO && stage->strategy != LATHE_STRATEGY_DIRECT &&
        stage->strategy != LATHE_STRATEGY_PIPELINE) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "strategy %d is none of auto, direct, pipeline",
                       (int)stage->strategy);
    }
    if (stage->cache > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "cache %u is neither 0 nor 1",
                       (unsigned)stage->cache);
    }
    return lt_target_check(&stage->target);
}

static lathe_status check_stages(uint32_t n_stages, const lathe_pipeline_stage *stages) {
    if (stages == NULL || n_stages < 1 || n_stages > LATHE_PIPELINE_MAX_STAGES) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "stages is NULL, or n_stages %u is not 1 to %d",
                       (unsigned)n_stages, LATHE_PIPELINE_MAX_STAGES);
    }
    for (uint32_t i = 0; i < n_stages; i++) {
        if (check_stage(&stages[i]) != LATHE_OK) {
            lt_error()->stage = lt_pipeline_stage_name(i);
            return lt_fail_prefix("stage %u", (unsigned)(i + 1));
        }
    }
    return LATHE_OK;
}

lathe_status lathe_pipeline_create(lathe_pool *pool, uint32_t n_stages,
                                   const lathe_pipeline_stage *stages,
                                   const lathe_pipeline_options *options,
                                   lathe_pipeline **pipeline) {
    if (pool == NULL || pipeline == NULL ||
        (options != NULL && options->struct_size != sizeof *options)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool or pipeline is NULL, or options struct_size "
                                               "is not sizeof(lathe_pipeline_options)");
    }
    lathe_status status = check_stages(n_stages, stages);
    if (status != LATHE_OK) {
        return status;
    }
    lathe_pipeline *made = lt_pool_new(pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->pool = pool; /* which this block keeps alive */
    made->n_stages = n_stages;
    memcpy(made->stages, stages, n_stages * sizeof *stages);
    made->cache_bytes = options == NULL ? 0 : options->cache_bytes;
    bool is_caching = false;
    for (uint32_t i = 0; i < n_stages; i++) {
        is_caching = is_caching || stages[i].cache != 0;
    }
    status = lt_result_cache_init(&made->cache, pool, is_caching);
    if (status != LATHE_OK) {
        lt_pool_delete(pool, made);
        return status;
    }
    *pipeline = made;
    return LATHE_OK;
}

void lathe_pipeline_free(lathe_pipeline *pipeline) {
    if (pipeline != NULL) {
        lt_result_cache_destroy(&pipeline->cache);
        lt_pool_delete(pipeline->pool, pipeline);
    }
}

uint32_t lathe_pipeline_n_stages(const lathe_pipeline *pipeline) {
    return pipeline == NULL ? 0 : pipeline->n_stages;
}

const lathe_pipeline_stage *lathe_pipeline_get_stage(const lathe_pipeline *pipeline,
                                                     uint32_t index) {
    return pipeline == NULL || index >= pipeline->n_stages ? NULL : &pipeline->stages[index];
}

lathe_status lathe_pipeline_get_stats(lathe_pipeline *pipeline, lathe_pipeline_stats *stats) {
    if (pipeline == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pipeline or stats is NULL, or struct_size is not "
                                               "sizeof(lathe_pipeline_stats)");
    }
    stats->n_runs = atomic_load(&pipeline->n_runs);
    stats->n_failed = atomic_load(&pipeline->n_failed);
    stats->n_stages = atomic_load(&pipeline->n_run_stages);
    stats->n_cache_hits = atomic_load(&pipeline->n_hits);
    stats->n_cache_misses = atomic_load(&pipeline->n_misses);
    stats->saved_bytes = atomic_load(&pipeline->saved_bytes);
    stats->ns = atomic_load(&pipeline->ns);
    (void)pthread_mutex_lock(&pipeline->cache.mutex);
    stats->n_evicted = pipeline->cache.n_evicted;
    stats->cached_bytes = pipeline->cache.n_bytes;
    (void)pthread_mutex_unlock(&pipeline->cache.mutex);
    return LATHE_OK;
}

void lathe_pipeline_clear_cache(lathe_pipeline *pipeline) {
    if (pipeline != NULL) {
        lt_result_cache_clear(&pipeline->cache);
    }
}
