/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot in the Prometheus text format: base units, totals that only grow, and every series of
 * a family in one piece behind its HELP and TYPE. */
#include "metrics/report.h"
#include <inttypes.h>
#include <lathe/version.h>

/* Boundaries of the histogram, in entries of lathe_metrics_times: from about 1 us, fourfold each.
 */
enum { FIRST_BOUND_NS = 1024, BOUND_STEP = 4, N_BOUNDS = 15 };

typedef enum series_type { COUNTER, GAUGE, HISTOGRAM } series_type;

static void put_family(lt_text *out, const char *name, series_type type, const char *help) {
    static const char *const types[] = {
        [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};
    lt_text_put(out, "# HELP lathe_%s %s\n", name, help);
    lt_text_put(out, "# TYPE lathe_%s %s\n", name, types[type]);
}

static void put_plain(lt_text *out, const char *name, series_type type, const char *help,
                      uint64_t value) {
    put_family(out, name, type, help);
    lt_text_put(out, "lathe_%s %" PRIu64 "\n", name, value);
}

static void put_plain_seconds(lt_text *out, const char *name, series_type type, const char *help,
                              uint64_t ns) {
    put_family(out, name, type, help);
    lt_text_put(out, "lathe_%s ", name);
    lt_text_put_seconds(out, ns);
    lt_text_put(out, "\n");
}

/* ---- groups: a family for each field, a series for each group */

typedef struct group_field {
    const char *name;
    const char *help;
    size_t offset;
    bool is_time;
} group_field;

static const group_field group_fields[] = {
    {"conversions_total", "Conversions that succeeded.", offsetof(lathe_metrics_group, n_done),
     false},
    {"failures_total", "Conversions that failed.", offsetof(lathe_metrics_group, n_failed), false},
    {"source_bytes_total", "Bytes of the sources of conversions that succeeded.",
     offsetof(lathe_metrics_group, src_bytes), false},
    {"result_bytes_total", "Bytes of the results.", offsetof(lathe_metrics_group, dst_bytes),
     false},
    {"conversion_seconds_total", "Time inside conversions that succeeded.",
     offsetof(lathe_metrics_group, ns), true},
    {"saturated_elements_total", "Elements beyond the clamp bound of a sampled scale.",
     offsetof(lathe_metrics_group, n_saturated), false},
};

enum { N_GROUP_FIELDS = sizeof group_fields / sizeof group_fields[0] };

static void put_value(lt_text *out, const group_field *field, const lathe_metrics_group *group) {
    uint64_t value = *(const uint64_t *)((const char *)group + field->offset);
    lt_text_put(out, " ");
    if (field->is_time) {
        lt_text_put_seconds(out, value);
    } else {
        lt_text_put(out, "%" PRIu64, value);
    }
    lt_text_put(out, "\n");
}

static void put_strategies(lt_text *out, const lathe_metrics *metrics) {
    for (size_t f = 0; f < N_GROUP_FIELDS; f++) {
        put_family(out, group_fields[f].name, COUNTER, group_fields[f].help);
        for (size_t i = LATHE_STRATEGY_AUTO + 1; i < LATHE_METRICS_STRATEGIES; i++) {
            lt_text_put(out, "lathe_%s{strategy=\"%s\"}", group_fields[f].name,
                        lathe_strategy_name((lathe_strategy)i));
            put_value(out, &group_fields[f], &metrics->by_strategy[i]);
        }
    }
}

static void put_processors(lt_text *out, const lathe_metrics *metrics) {
    for (size_t f = 0; f < N_GROUP_FIELDS; f++) {
        char name[64];
        lt_text text = {.bytes = name};
        lt_text_put(&text, "processor_%s", group_fields[f].name);
        put_family(out, name, COUNTER, group_fields[f].help);
        for (size_t i = 0; i < LATHE_METRICS_PROCESSORS; i++) {
            lt_text_put(out, "lathe_%s{processor=\"%s\"}", name,
                        lathe_processor_name((lathe_processor)i));
            put_value(out, &group_fields[f], &metrics->by_processor[i]);
        }
    }
}

/* Only the pairs that there were: 64 of each would be mostly zeros. */
static void put_dtypes(lt_text *out, const lathe_metrics *metrics) {
    for (size_t f = 0; f < N_GROUP_FIELDS; f++) {
        char name[64];
        lt_text text = {.bytes = name};
        lt_text_put(&text, "dtypes_%s", group_fields[f].name);
        put_family(out, name, COUNTER, group_fields[f].help);
        for (size_t i = 0; i < LATHE_METRICS_DTYPES * LATHE_METRICS_DTYPES; i++) {
            const size_t from = i / LATHE_METRICS_DTYPES;
            const size_t to = i % LATHE_METRICS_DTYPES;
            const lathe_metrics_group *group = &metrics->by_dtypes[from][to];
            if (group->n_done != 0 || group->n_failed != 0) {
                lt_text_put(out, "lathe_%s{from=\"%s\",to=\"%s\"}", name,
                            lathe_dtype_name((lathe_dtype)from), lathe_dtype_name((lathe_dtype)to));
                put_value(out, &group_fields[f], group);
            }
        }
    }
}

/* ---- the rest */

/* An entry never crosses a boundary, which is a power of two. */
static uint64_t count_below(const lathe_metrics_times *times, uint64_t bound_ns) {
    uint64_t n = 0;
    for (size_t i = 0; i < LATHE_METRICS_TIMES && lathe_metrics_time_ns(i) < bound_ns; i++) {
        n += times->n[i];
    }
    return n;
}

static void put_times(lt_text *out, const lathe_metrics *metrics) {
    const char *name = "conversion_duration_seconds";
    put_family(out, name, HISTOGRAM, "How long conversions that succeeded took.");
    for (size_t i = LATHE_STRATEGY_AUTO + 1; i < LATHE_METRICS_STRATEGIES; i++) {
        const char *strategy = lathe_strategy_name((lathe_strategy)i);
        uint64_t bound_ns = FIRST_BOUND_NS;
        for (int b = 0; b < N_BOUNDS; b++, bound_ns *= BOUND_STEP) {
            lt_text_put(out, "lathe_%s_bucket{strategy=\"%s\",le=\"", name, strategy);
            lt_text_put_seconds(out, bound_ns - 1); /* times are whole nanoseconds */
            lt_text_put(out, "\"} %" PRIu64 "\n", count_below(&metrics->times[i], bound_ns));
        }
        const uint64_t all = count_below(&metrics->times[i], UINT64_MAX);
        lt_text_put(out, "lathe_%s_bucket{strategy=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name,
                    strategy, all);
        lt_text_put(out, "lathe_%s_sum{strategy=\"%s\"} ", name, strategy);
        lt_text_put_seconds(out, metrics->by_strategy[i].ns);
        lt_text_put(out, "\nlathe_%s_count{strategy=\"%s\"} %" PRIu64 "\n", name, strategy, all);
    }
}

static void put_failures(lt_text *out, const lathe_metrics *metrics) {
    put_family(out, "errors_total", COUNTER, "Conversions that failed, by status.");
    for (size_t i = LATHE_OK + 1; i < LATHE_METRICS_STATUSES; i++) {
        lt_text_put(out, "lathe_errors_total{status=\"%s\"} %" PRIu64 "\n",
                    lathe_status_name((lathe_status)i), metrics->failed_by_status[i]);
    }
}

static void put_pool(lt_text *out, const lathe_pool_stats *pool) {
    if (pool->budget_bytes != UINT64_MAX) {
        put_plain(out, "pool_budget_bytes", GAUGE, "The pool's budget.", pool->budget_bytes);
    }
    put_plain(out, "pool_in_use_bytes", GAUGE, "Bytes in live blocks.", pool->in_use_bytes);
    put_plain(out, "pool_cached_bytes", GAUGE, "Bytes in blocks kept for reuse.",
              pool->cached_bytes);
    put_plain(out, "pool_peak_bytes", GAUGE, "The most bytes in use and cached so far.",
              pool->peak_bytes);
    put_family(out, "pool_kind_in_use_bytes", GAUGE, "Bytes in live blocks, by kind of memory.");
    for (size_t i = 0; i < LATHE_POOL_KINDS; i++) {
        lt_text_put(out, "lathe_pool_kind_in_use_bytes{kind=\"%s\"} %" PRIu64 "\n",
                    lt_pool_kind_names[i], pool->kinds[i].in_use_bytes);
    }
    put_plain(out, "pool_pressure_level", GAUGE, "The pool's pressure: 0, none, to 4, critical.",
              (uint64_t)pool->pressure);
    put_plain(out, "pool_hits_total", COUNTER, "Allocations served from the cache.", pool->n_hits);
    put_plain(out, "pool_misses_total", COUNTER, "Allocations served by the allocator.",
              pool->n_misses);
    put_plain(out, "pool_refusals_total", COUNTER, "Allocations that failed.", pool->n_refused);
}

static void put_engine(lt_text *out, const lathe_engine_stats *engine) {
    put_plain(out, "device_errors_total", COUNTER, "OpenCL calls that failed.",
              engine->n_device_errors);
    put_plain(out, "device_uploaded_bytes_total", COUNTER, "Bytes copied to the device.",
              engine->uploaded_bytes);
    put_plain(out, "device_downloaded_bytes_total", COUNTER, "Bytes copied from the device.",
              engine->downloaded_bytes);
    put_plain(out, "device_wrapped_buffers_total", COUNTER,
              "Host buffers that the device used in place.", engine->n_wrapped);
    put_plain(out, "device_kernel_launches_total", COUNTER, "Kernels started.", engine->n_launches);
    put_plain(out, "programs_built_total", COUNTER, "OpenCL programs compiled from source.",
              engine->n_programs_built);
    put_plain(out, "programs_loaded_total", COUNTER, "OpenCL programs loaded from the cache.",
              engine->n_programs_loaded);
    put_plain_seconds(out, "program_build_seconds_total", COUNTER, "Time spent compiling.",
                      engine->program_build_ns);
    put_plain_seconds(out, "program_load_seconds_total", COUNTER, "Time spent loading.",
                      engine->program_load_ns);
}

static void write_prometheus(const lathe_metrics *metrics, lt_text *out) {
    put_family(out, "info", GAUGE, "The library's version and the engine's device.");
    lt_text_put(out, "lathe_info{version=\"%s\",device=", lathe_version());
    lt_text_put_quoted(out, metrics->device);
    lt_text_put(out, ",device_name=");
    lt_text_put_quoted(out, metrics->device_name);
    lt_text_put(out, "} 1\n");
    put_plain_seconds(out, "window_seconds", GAUGE, "Time since the metrics began or were reset.",
                      metrics->window_ns);
    put_strategies(out, metrics);
    put_times(out, metrics);
    put_failures(out, metrics);
    put_processors(out, metrics);
    put_dtypes(out, metrics);
    put_pool(out, &metrics->pool);
    put_engine(out, &metrics->engine);
}

lathe_status lathe_metrics_to_prometheus(const lathe_metrics *metrics, lathe_pool *pool,
                                         char **text) {
    return lt_metrics_report(metrics, pool, write_prometheus, text);
}
