/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from snapshots: names, sums of two, and the figures that people ask for. */
#include "core/error.h"
#include "metrics/counters.h"
#include "metrics/metrics.h"
#include <string.h>

const char *lathe_processor_name(lathe_processor processor) {
    switch (processor) {
    case LATHE_PROCESSOR_CPU:
        return "cpu";
    case LATHE_PROCESSOR_DEVICE:
        return "device";
    case LATHE_PROCESSOR_BOTH:
        return "both";
    }
    return "invalid";
}

static void merge_group(lathe_metrics_group *into, const lathe_metrics_group *from) {
    into->n_done += from->n_done;
    into->n_failed += from->n_failed;
    into->src_bytes += from->src_bytes;
    into->dst_bytes += from->dst_bytes;
    into->ns += from->ns;
    into->n_saturated += from->n_saturated;
}

static void merge_groups(lathe_metrics *into, const lathe_metrics *from) {
    merge_group(&into->total, &from->total);
    for (size_t i = 0; i < LATHE_METRICS_STRATEGIES; i++) {
        merge_group(&into->by_strategy[i], &from->by_strategy[i]);
        for (size_t t = 0; t < LATHE_METRICS_TIMES; t++) {
            into->times[i].n[t] += from->times[i].n[t];
        }
    }
    for (size_t i = 0; i < LATHE_METRICS_PROCESSORS; i++) {
        merge_group(&into->by_processor[i], &from->by_processor[i]);
    }
    for (size_t i = 0; i < LATHE_METRICS_DTYPES; i++) {
        for (size_t to = 0; to < LATHE_METRICS_DTYPES; to++) {
            merge_group(&into->by_dtypes[i][to], &from->by_dtypes[i][to]);
        }
    }
    for (size_t i = 0; i < LATHE_METRICS_STATUSES; i++) {
        into->failed_by_status[i] += from->failed_by_status[i];
    }
}

static void merge_engine(lathe_engine_stats *into, const lathe_engine_stats *from) {
#define ADD_COUNTER(name) into->name += from->name;
    LT_COUNTERS(ADD_COUNTER)
#undef ADD_COUNTER
    into->n_conversions += from->n_conversions;
    into->n_on_device += from->n_on_device;
    into->n_fallbacks += from->n_fallbacks;
}

static void merge_text(char *into, const char *from) {
    if (strcmp(into, from) != 0) {
        into[0] = '\0';
    }
}

lathe_status lathe_metrics_merge(lathe_metrics *into, const lathe_metrics *from) {
    if (into == NULL || from == NULL || into->struct_size != sizeof *into ||
        from->struct_size != sizeof *from) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "a snapshot is NULL, or its struct_size is not sizeof(lathe_metrics)");
    }
    merge_groups(into, from);
    merge_engine(&into->engine, &from->engine);
    if (from->pool.peak_bytes > into->pool.peak_bytes) {
        into->pool = from->pool;
    }
    into->window_ns = into->window_ns > from->window_ns ? into->window_ns : from->window_ns;
    merge_text(into->device, from->device);
    merge_text(into->device_name, from->device_name);
    return LATHE_OK;
}

static double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

static double speed(const lathe_metrics_group *group) {
    return ratio((double)group->src_bytes + (double)group->dst_bytes, (double)group->ns * 1e-9);
}

static void choose_strategies(const lathe_metrics *metrics, lathe_metrics_summary *summary) {
    uint64_t most = 0;
    double best = 0;
    for (size_t i = 0; i < LATHE_METRICS_STRATEGIES; i++) {
        const lathe_metrics_group *group = &metrics->by_strategy[i];
        if (group->n_done > most) {
            most = group->n_done;
            summary->most_used = (lathe_strategy)i;
        }
        if (i != LATHE_STRATEGY_ZERO_COPY && speed(group) > best) {
            best = speed(group);
            summary->fastest = (lathe_strategy)i;
        }
    }
}

lathe_status lathe_metrics_summarize(const lathe_metrics *metrics, lathe_metrics_summary *summary) {
    if (metrics == NULL || summary == NULL || metrics->struct_size != sizeof *metrics ||
        summary->struct_size != sizeof *summary) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "metrics or summary is NULL, or a struct_size is "
                                               "not the size of its struct");
    }
    const lathe_metrics_group *total = &metrics->total;
    const double n_done = (double)total->n_done;
    const lathe_strategy all = LATHE_STRATEGY_AUTO;
    *summary = (lathe_metrics_summary){
        .struct_size = sizeof *summary,
        .success_rate = total->n_failed == 0 ? 1 : ratio(n_done, n_done + (double)total->n_failed),
        .average_ns = ratio((double)total->ns, n_done),
        .p50_ns = lathe_metrics_percentile_ns(metrics, all, 0.50),
        .p90_ns = lathe_metrics_percentile_ns(metrics, all, 0.90),
        .p99_ns = lathe_metrics_percentile_ns(metrics, all, 0.99),
        .bytes_per_second = speed(total),
        .zero_copy_fraction =
            ratio((double)metrics->by_strategy[LATHE_STRATEGY_ZERO_COPY].n_done, n_done),
        .in_place_fraction =
            ratio((double)metrics->by_strategy[LATHE_STRATEGY_IN_PLACE].n_done, n_done),
    };
    choose_strategies(metrics, summary);
    return LATHE_OK;
}
