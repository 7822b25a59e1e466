/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine has counted: its metrics, and its device's counters. */
#include "core/error.h"
#include "engine/engine.h"
#include "engine/plan/planner.h"
#include <string.h>

static const lt_backend *shown_device(const lathe_engine *engine) {
    return engine->device != NULL ? engine->device : engine->cpu;
}

/* The conversions come from the metrics: they are counted once. */
static void read_stats(const lathe_engine *engine, const lathe_metrics_group *by_processor,
                       lathe_engine_stats *stats) {
    const lt_counters *counters = engine->cpu->counters;
    stats->n_on_device = by_processor[LATHE_PROCESSOR_DEVICE].n_done;
    stats->n_fallbacks = by_processor[LATHE_PROCESSOR_BOTH].n_done;
    stats->n_conversions =
        by_processor[LATHE_PROCESSOR_CPU].n_done + stats->n_on_device + stats->n_fallbacks;
#define READ_COUNTER(name)                                                                         \
    stats->name = atomic_load_explicit(&counters->name, memory_order_relaxed);
    LT_COUNTERS(READ_COUNTER)
#undef READ_COUNTER
}

lathe_status lathe_engine_get_stats(lathe_engine *engine, lathe_engine_stats *stats) {
    if (engine == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "engine or stats is NULL, or struct_size is not sizeof(lathe_engine_stats)");
    }
    lathe_metrics_group by_processor[LATHE_METRICS_PROCESSORS];
    lt_metrics_read_processors(engine->metrics, by_processor);
    read_stats(engine, by_processor, stats);
    return LATHE_OK;
}

lathe_status lathe_engine_metrics(lathe_engine *engine, lathe_metrics *metrics) {
    if (engine == NULL || metrics == NULL || metrics->struct_size != sizeof *metrics) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "engine or metrics is NULL, or struct_size is not sizeof(lathe_metrics)");
    }
    const lt_backend *device = shown_device(lt_planner_used_engine(engine));
    lathe_device_info info = {.struct_size = sizeof info};
    device->ops->describe(device, &info);
    memcpy(metrics->device, info.selector, sizeof metrics->device);
    memcpy(metrics->device_name, info.name, sizeof metrics->device_name);
    lt_metrics_read(engine->metrics, metrics);
    metrics->pool = (lathe_pool_stats){.struct_size = sizeof metrics->pool};
    metrics->engine = (lathe_engine_stats){.struct_size = sizeof metrics->engine};
    read_stats(engine, metrics->by_processor, &metrics->engine);
    return lathe_pool_get_stats(engine->pool, &metrics->pool);
}

lathe_status lathe_engine_reset_metrics(lathe_engine *engine) {
    if (engine == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine is NULL");
    }
    lt_counters *counters = engine->cpu->counters;
#define CLEAR_COUNTER(name) atomic_store_explicit(&counters->name, 0, memory_order_relaxed);
    LT_COUNTERS(CLEAR_COUNTER)
#undef CLEAR_COUNTER
    lt_metrics_reset(engine->metrics);
    return LATHE_OK;
}

lathe_status lathe_engine_recent(lathe_engine *engine, lathe_recent_conversion *recent,
                                 size_t capacity, size_t *n) {
    if (engine == NULL || n == NULL || (recent == NULL && capacity != 0)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, recent or n is NULL");
    }
    *n = lt_metrics_recent(engine->metrics, recent, capacity);
    return LATHE_OK;
}
