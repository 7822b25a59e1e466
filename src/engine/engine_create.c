/* SPDX-License-Identifier: Apache-2.0 */
/* Making an engine of its parts, and freeing it. */
#include "engine/engine.h"

#include "core/error.h"
#include "cpu/cpu.h"
#include "cpu/features.h"
#include "engine/async/async.h"
#include "engine/config/config.h"
#include "engine/plan/planner.h"
#include "pool/pool.h"
#include "pool/system_allocator.h"

static lathe_status take_pool(const lathe_config *config, lathe_pool **pool) {
    if (config->pool != NULL) {
        *pool = lathe_pool_retain(config->pool);
        return LATHE_OK;
    }
    const lathe_allocator *allocator = config->allocator;
    if (allocator == NULL && config->huge_pages == LATHE_OFF) {
        allocator = &lt_small_page_allocator;
    }
    const lathe_pool_config pool_config = {
        .struct_size = sizeof pool_config,
        .budget_bytes = config->memory_budget_bytes,
        .allocator = allocator,
    };
    return lathe_pool_create(&pool_config, pool);
}

static lathe_status fill(lathe_engine *engine, const lathe_config *config) {
    engine->require_device = config->require_device != 0;
    engine->notice = config->notice;
    engine->notice_ctx = config->notice_ctx;
    engine->streaming = config->streaming;
    engine->batch = config->batch;
    engine->pipeline_cache_bytes = config->pipeline_cache_bytes;
    engine->pageable_staging = config->pinned_staging == LATHE_OFF;
    engine->metrics = lt_metrics_create(engine->pool, lt_usable_cpus(),
                                        config->recent_conversions != 0 ? config->recent_conversions
                                                                        : LT_RECENT_DEFAULT);
    if (engine->metrics == NULL) {
        return lt_error()->status;
    }
    lathe_status status = lt_cpu_backend_create(config, engine->pool, &engine->cpu);
    if (status == LATHE_OK) {
        status = lt_engine_open_device(engine, config);
    }
    if (status == LATHE_OK) {
        status = lt_planner_create(engine, config);
    }
    if (status == LATHE_OK) {
        status = lt_async_create(engine->pool, engine->cpu->n_threads, &engine->async);
    }
    return status;
}

lathe_status lathe_engine_create(const lathe_config *given, lathe_engine **engine) {
    const lathe_config defaults = {.struct_size = sizeof defaults};
    if (given == NULL) {
        given = &defaults;
    }
    if (engine == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine is NULL");
    }
    lathe_config config;
    lathe_pool *pool = NULL;
    lathe_status status = lathe_config_validate(given, NULL, NULL);
    if (status == LATHE_OK) {
        status = lt_config_take(given, &config);
    }
    if (status == LATHE_OK) {
        status = take_pool(&config, &pool);
    }
    if (status != LATHE_OK) {
        return status;
    }
    lathe_engine *made = lt_pool_new(pool, sizeof *made);
    if (made == NULL) {
        lathe_pool_release(pool);
        return lt_error()->status;
    }
    made->pool = pool;
    status = fill(made, &config);
    if (status != LATHE_OK) {
        const lathe_error error = *lt_error();
        lathe_engine_free(made);
        return lt_fail_with(&error);
    }
    *engine = made;
    return LATHE_OK;
}

void lathe_engine_free(lathe_engine *engine) {
    if (engine != NULL) {
        lathe_pool *pool = engine->pool;
        lt_async_destroy(engine->async);
        lt_planner_destroy(engine->planner);
        lt_backend_release(engine->device);
        lt_backend_release(engine->cpu);
        lt_metrics_destroy(engine->metrics, pool);
        lt_pool_delete(pool, engine);
        lathe_pool_release(pool);
    }
}

lathe_status lathe_engine_device(lathe_engine *engine, lathe_device_info *info) {
    if (engine == NULL || info == NULL || info->struct_size != sizeof *info) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "engine or info is NULL, or struct_size is not sizeof(lathe_device_info)");
    }
    engine = lt_planner_used_engine(engine);
    const lt_backend *backend = engine->device != NULL ? engine->device : engine->cpu;
    backend->ops->describe(backend, info);
    return LATHE_OK;
}
