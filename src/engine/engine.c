/* SPDX-License-Identifier: Apache-2.0 */
/* Making and freeing an engine. */
#include "engine/engine.h"

#include "core/error.h"
#include "cpu/cpu.h"
#include "pool/pool.h"

static lathe_status take_pool(const lathe_config *config, lathe_pool **pool) {
    if (config->pool != NULL) {
        *pool = lathe_pool_retain(config->pool);
        return LATHE_OK;
    }
    const lathe_pool_config pool_config = {
        .struct_size = sizeof pool_config,
        .budget_bytes = config->memory_budget_bytes,
        .allocator = config->allocator,
    };
    return lathe_pool_create(&pool_config, pool);
}

lathe_status lathe_engine_create(const lathe_config *config, lathe_engine **engine) {
    const lathe_config defaults = {.struct_size = sizeof defaults};
    if (config == NULL) {
        config = &defaults;
    }
    if (engine == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine is NULL");
    }
    lathe_pool *pool = NULL;
    lathe_status status = lt_config_check(config);
    if (status == LATHE_OK) {
        status = take_pool(config, &pool);
    }
    if (status != LATHE_OK) {
        return status;
    }
    lathe_engine *made = lt_pool_new(pool, sizeof *made);
    status =
        made == NULL ? lt_error()->status : lt_cpu_backend_create(config, pool, &made->backend);
    if (status != LATHE_OK) {
        lt_pool_delete(pool, made);
        lathe_pool_release(pool);
        return status;
    }
    made->pool = pool;
    *engine = made;
    return LATHE_OK;
}

void lathe_engine_free(lathe_engine *engine) {
    if (engine != NULL) {
        lathe_pool *pool = engine->pool;
        engine->backend->ops->destroy(engine->backend);
        lt_pool_delete(pool, engine);
        lathe_pool_release(pool);
    }
}

lathe_pool *lathe_engine_pool(lathe_engine *engine) {
    return engine == NULL ? NULL : engine->pool;
}

lathe_status lathe_engine_device(lathe_engine *engine, lathe_device_info *info) {
    if (engine == NULL || info == NULL || info->struct_size != sizeof *info) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "engine or info is NULL, or struct_size is not sizeof(lathe_device_info)");
    }
    engine->backend->ops->describe(engine->backend, info);
    return LATHE_OK;
}
