/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot as JSON. */
#include "core/error.h"
#include "metrics/counters.h"
#include "metrics/report.h"

const char *const lt_pool_kind_names[LATHE_POOL_KINDS] = {
    [LATHE_POOL_HOST] = "host", [LATHE_POOL_PINNED] = "pinned", [LATHE_POOL_DEVICE] = "device"};

lathe_status lt_metrics_report(const lathe_metrics *metrics, lathe_pool *pool,
                               void (*write)(const lathe_metrics *metrics, lt_text *out),
                               char **text) {
    if (metrics == NULL || metrics->struct_size != sizeof *metrics || pool == NULL ||
        text == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "metrics, pool or text is NULL, or struct_size is "
                                               "not sizeof(lathe_metrics)");
    }
    void *block = NULL;
    lt_text out = {.bytes = NULL};
    write(metrics, &out);
    lathe_status status = lathe_pool_alloc(pool, out.n_bytes + 1, &block);
    if (status == LATHE_OK) {
        out = (lt_text){.bytes = block};
        write(metrics, &out);
        *text = block;
    }
    return status;
}

static void put_fixed(lt_text *out, const char *name, double number) {
    lt_text_put_name(out, name);
    lt_text_put_fixed(out, number);
}

static void put_group(lt_text *out, const lathe_metrics_group *group) {
    lt_text_put_count(out, "n_done", group->n_done);
    lt_text_put_count(out, "n_failed", group->n_failed);
    lt_text_put_count(out, "src_bytes", group->src_bytes);
    lt_text_put_count(out, "dst_bytes", group->dst_bytes);
    lt_text_put_count(out, "ns", group->ns);
    lt_text_put_count(out, "n_saturated", group->n_saturated);
}

static bool is_used(const lathe_metrics_group *group) {
    return group->n_done != 0 || group->n_failed != 0;
}

static void open_object(lt_text *out, const char *name) {
    lt_text_put_name(out, name);
    lt_text_put(out, "{");
}

static void put_percentiles(lt_text *out, const lathe_metrics *metrics, lathe_strategy strategy) {
    lt_text_put_count(out, "p50_ns", lathe_metrics_percentile_ns(metrics, strategy, 0.50));
    lt_text_put_count(out, "p90_ns", lathe_metrics_percentile_ns(metrics, strategy, 0.90));
    lt_text_put_count(out, "p99_ns", lathe_metrics_percentile_ns(metrics, strategy, 0.99));
}

static const char *name_or_null(lathe_strategy strategy) {
    return strategy == LATHE_STRATEGY_AUTO ? NULL : lathe_strategy_name(strategy);
}

static void put_summary(lt_text *out, const lathe_metrics *metrics) {
    lathe_metrics_summary summary = {.struct_size = sizeof summary};
    (void)lathe_metrics_summarize(metrics, &summary);
    open_object(out, "summary");
    put_fixed(out, "success_rate", summary.success_rate);
    put_fixed(out, "average_ns", summary.average_ns);
    put_percentiles(out, metrics, LATHE_STRATEGY_AUTO);
    put_fixed(out, "bytes_per_second", summary.bytes_per_second);
    put_fixed(out, "zero_copy_fraction", summary.zero_copy_fraction);
    put_fixed(out, "in_place_fraction", summary.in_place_fraction);
    lt_text_put_string(out, "most_used", name_or_null(summary.most_used));
    lt_text_put_string(out, "fastest", name_or_null(summary.fastest));
    lt_text_put(out, "}");
}

static void put_strategies(lt_text *out, const lathe_metrics *metrics) {
    open_object(out, "strategies");
    for (size_t i = 0; i < LATHE_METRICS_STRATEGIES; i++) {
        if (is_used(&metrics->by_strategy[i])) {
            open_object(out, lathe_strategy_name((lathe_strategy)i));
            put_group(out, &metrics->by_strategy[i]);
            put_percentiles(out, metrics, (lathe_strategy)i);
            lt_text_put(out, "}");
        }
    }
    lt_text_put(out, "}");
}

static void put_processors(lt_text *out, const lathe_metrics *metrics) {
    open_object(out, "processors");
    for (size_t i = 0; i < LATHE_METRICS_PROCESSORS; i++) {
        if (is_used(&metrics->by_processor[i])) {
            open_object(out, lathe_processor_name((lathe_processor)i));
            put_group(out, &metrics->by_processor[i]);
            lt_text_put(out, "}");
        }
    }
    lt_text_put(out, "}");
}

static void put_dtypes(lt_text *out, const lathe_metrics *metrics) {
    lt_text_put_name(out, "dtypes");
    lt_text_put(out, "[");
    for (size_t i = 0; i < LATHE_METRICS_DTYPES * LATHE_METRICS_DTYPES; i++) {
        const size_t from = i / LATHE_METRICS_DTYPES;
        const size_t to = i % LATHE_METRICS_DTYPES;
        const lathe_metrics_group *group = &metrics->by_dtypes[from][to];
        if (is_used(group)) {
            open_object(out, NULL);
            lt_text_put_string(out, "from", lathe_dtype_name((lathe_dtype)from));
            lt_text_put_string(out, "to", lathe_dtype_name((lathe_dtype)to));
            put_group(out, group);
            lt_text_put(out, "}");
        }
    }
    lt_text_put(out, "]");
}

static void put_failures(lt_text *out, const lathe_metrics *metrics) {
    open_object(out, "failed");
    for (size_t i = 0; i < LATHE_METRICS_STATUSES; i++) {
        if (metrics->failed_by_status[i] != 0) {
            lt_text_put_count(out, lathe_status_name((lathe_status)i),
                              metrics->failed_by_status[i]);
        }
    }
    lt_text_put(out, "}");
}

static void put_pool(lt_text *out, const lathe_pool_stats *pool) {
    open_object(out, "pool");
    if (pool->budget_bytes == UINT64_MAX) {
        lt_text_put_string(out, "budget_bytes", NULL);
    } else {
        lt_text_put_count(out, "budget_bytes", pool->budget_bytes);
    }
    lt_text_put_count(out, "in_use_bytes", pool->in_use_bytes);
    lt_text_put_count(out, "cached_bytes", pool->cached_bytes);
    lt_text_put_count(out, "peak_bytes", pool->peak_bytes);
    lt_text_put_count(out, "peak_in_use_bytes", pool->peak_in_use_bytes);
    lt_text_put_count(out, "n_hits", pool->n_hits);
    lt_text_put_count(out, "n_misses", pool->n_misses);
    lt_text_put_count(out, "n_refused", pool->n_refused);
    lt_text_put_string(out, "pressure", lathe_pressure_name(pool->pressure));
    put_fixed(out, "fragmentation", pool->fragmentation);
    open_object(out, "kinds");
    for (size_t i = 0; i < LATHE_POOL_KINDS; i++) {
        open_object(out, lt_pool_kind_names[i]);
        lt_text_put_count(out, "in_use_bytes", pool->kinds[i].in_use_bytes);
        lt_text_put_count(out, "cached_bytes", pool->kinds[i].cached_bytes);
        lt_text_put_count(out, "peak_bytes", pool->kinds[i].peak_bytes);
        lt_text_put(out, "}");
    }
    lt_text_put(out, "}");
    lt_text_put(out, "}");
}

static void put_engine(lt_text *out, const lathe_engine_stats *engine) {
    open_object(out, "engine");
    lt_text_put_count(out, "n_conversions", engine->n_conversions);
    lt_text_put_count(out, "n_on_device", engine->n_on_device);
    lt_text_put_count(out, "n_fallbacks", engine->n_fallbacks);
#define PUT_COUNTER(name) lt_text_put_count(out, #name, engine->name);
    LT_COUNTERS(PUT_COUNTER)
#undef PUT_COUNTER
    lt_text_put(out, "}");
}

static void write_json(const lathe_metrics *metrics, lt_text *out) {
    lt_text_put(out, "{");
    lt_text_put_string(out, "device", metrics->device);
    lt_text_put_string(out, "device_name", metrics->device_name);
    lt_text_put_count(out, "window_ns", metrics->window_ns);
    put_summary(out, metrics);
    open_object(out, "total");
    put_group(out, &metrics->total);
    lt_text_put(out, "}");
    put_strategies(out, metrics);
    put_processors(out, metrics);
    put_dtypes(out, metrics);
    put_failures(out, metrics);
    put_pool(out, &metrics->pool);
    put_engine(out, &metrics->engine);
    lt_text_put(out, "}");
}

lathe_status lathe_metrics_to_json(const lathe_metrics *metrics, lathe_pool *pool, char **text) {
    return lt_metrics_report(metrics, pool, write_json, text);
}
