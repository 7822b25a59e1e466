/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: how many conversions an engine has done, of what kind, and what they cost. */
#ifndef LATHE_METRICS_H
#define LATHE_METRICS_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/plan.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* Who did the work of a conversion. */
typedef enum lathe_processor {
    LATHE_PROCESSOR_CPU = 0,    /* the CPU, as planned */
    LATHE_PROCESSOR_DEVICE = 1, /* an OpenCL device, all of it */
    LATHE_PROCESSOR_BOTH = 2,   /* the CPU did what the device failed at */
} lathe_processor;

/* "cpu", "device" or "both"; "invalid" for any other number. Static. Thread-safe. */
LATHE_API const char *lathe_processor_name(lathe_processor processor);

/* The lengths of the arrays below, which are indexed by the enums' own numbers. */
#define LATHE_METRICS_ONE(name, number, text) +1
enum {
    LATHE_METRICS_STRATEGIES = 0 LATHE_STRATEGY_LIST(LATHE_METRICS_ONE),
    LATHE_METRICS_STATUSES = 0 LATHE_STATUS_LIST(LATHE_METRICS_ONE),
    LATHE_METRICS_DTYPES = LATHE_DTYPE_LAST + 1,
    LATHE_METRICS_PROCESSORS = LATHE_PROCESSOR_BOTH + 1,
    LATHE_METRICS_TIMES = 304,
};
#undef LATHE_METRICS_ONE

/* Conversions that have something in common. Each is one tensor's: a batch counts its tensors, a
 * pipeline the tensors that went through it. */
typedef struct lathe_metrics_group {
    uint64_t n_done;      /* that succeeded */
    uint64_t n_failed;    /* that did not; the fields below leave them out */
    uint64_t src_bytes;   /* of the sources, data and scales */
    uint64_t dst_bytes;   /* of the results, likewise */
    uint64_t ns;          /* inside the conversions; those of several threads at once add up */
    uint64_t n_saturated; /* elements beyond the clamp bound, as in lathe_convert_stats */
} lathe_metrics_group;

/* How many conversions took how long. Entry i counts the times from lathe_metrics_time_ns(i) to
 * lathe_metrics_time_ns(i + 1) - 1 ns: single nanoseconds below 16, then eight entries for each
 * doubling, so that an entry is an eighth of its lower bound wide; the last has all from 17 minutes
 * on. */
typedef struct lathe_metrics_times {
    uint64_t n[LATHE_METRICS_TIMES];
} lathe_metrics_times;

/* The lower bound of entry i; UINT64_MAX for LATHE_METRICS_TIMES and more. Thread-safe. */
LATHE_API uint64_t lathe_metrics_time_ns(size_t i);

/* A snapshot. About 20 KB: not for small stacks. */
typedef struct lathe_metrics {
    size_t struct_size;
    char device[16]; /* of the engine, as in lathe_device_info.selector and .name */
    char device_name[128];
    uint64_t window_ns; /* since the engine was made, or its metrics were reset */
    lathe_metrics_group total;
    lathe_metrics_group by_strategy[LATHE_METRICS_STRATEGIES];                 /* AUTO: none */
    lathe_metrics_group by_processor[LATHE_METRICS_PROCESSORS];                /* who did it */
    lathe_metrics_group by_dtypes[LATHE_METRICS_DTYPES][LATHE_METRICS_DTYPES]; /* [from][to] */
    uint64_t failed_by_status[LATHE_METRICS_STATUSES];                         /* OK: none */
    lathe_metrics_times times[LATHE_METRICS_STRATEGIES]; /* of those that succeeded */
    lathe_pool_stats pool;                               /* its peaks are since the pool was made */
    lathe_engine_stats engine;                           /* what the device did */
} lathe_metrics;

/* Takes a snapshot; the caller has set metrics->struct_size. Thread-safe, while conversions run:
 * a conversion is in all of the groups or in none, with all its bytes and its time, but for one
 * that had to give way to another snapshot, which may be counted while it is read. `pool` and
 * `engine` are read one after the other.
 * Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_engine_metrics(lathe_engine *engine, lathe_metrics *metrics);

/* Begins anew: all counts become 0, those of lathe_engine_get_stats too, and the last conversions
 * are forgotten; the pool's statistics stay. Thread-safe: what is over before is counted before.
 * Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_engine_reset_metrics(lathe_engine *engine);

/* Adds `from`, of another engine, to `into`: counts add up; the longer window stays, and the
 * statistics of the pool with the greater peak, as engines may share one; a device that differs
 * becomes "".
 * Errors: INVALID_ARGUMENT; *into is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_metrics_merge(lathe_metrics *into, const lathe_metrics *from);

/* The time below which the fraction (0 to 1) of the strategy's conversions stayed, AUTO meaning
 * all: the middle of its entry, so off by 6.25 % at most (below 16 ns: exact). 0 if there were
 * none, or `metrics` is NULL. Thread-safe. */
LATHE_API uint64_t lathe_metrics_percentile_ns(const lathe_metrics *metrics,
                                               lathe_strategy strategy, double fraction);

/* What follows from a snapshot. */
typedef struct lathe_metrics_summary {
    size_t struct_size;
    double success_rate; /* n_done over n_done + n_failed; 1 if there were none */
    double average_ns;
    uint64_t p50_ns; /* lathe_metrics_percentile_ns of all */
    uint64_t p90_ns;
    uint64_t p99_ns;
    double bytes_per_second;   /* of sources and results, over the time inside the conversions */
    double zero_copy_fraction; /* of the conversions that succeeded */
    double in_place_fraction;
    lathe_strategy most_used; /* AUTO: none */
    lathe_strategy fastest;   /* most bytes a second, zero-copy, which moves none, apart */
} lathe_metrics_summary;

/* Fills *summary, whose struct_size the caller has set. Errors: INVALID_ARGUMENT. Thread-safe. */
LATHE_API lathe_status lathe_metrics_summarize(const lathe_metrics *metrics,
                                               lathe_metrics_summary *summary);

/* The snapshot and its summary as a JSON object (docs/metrics.md), NUL-terminated, in a block of
 * the pool that the caller gives back with lathe_pool_free. Errors: INVALID_ARGUMENT,
 * INSUFFICIENT_MEMORY; *text is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_metrics_to_json(const lathe_metrics *metrics, lathe_pool *pool,
                                             char **text);

/* The snapshot in the Prometheus text format, version 0.0.4, likewise. */
LATHE_API lathe_status lathe_metrics_to_prometheus(const lathe_metrics *metrics, lathe_pool *pool,
                                                   char **text);

/* One conversion that is over. */
typedef struct lathe_recent_conversion {
    uint64_t age_ns; /* since it was over */
    uint64_t ns;     /* that it took */
    uint64_t src_bytes;
    uint64_t dst_bytes;
    uint64_t n_saturated;
    lathe_strategy strategy;
    lathe_dtype from;
    lathe_dtype to;
    lathe_processor processor;
    lathe_status status;
} lathe_recent_conversion;

/* Fills `recent` with the last conversions, newest first, `capacity` at most, and *n with how many:
 * no more than lathe_config.recent_conversions are remembered. One that had to give way to a
 * snapshot may be missing. Thread-safe. Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_engine_recent(lathe_engine *engine, lathe_recent_conversion *recent,
                                           size_t capacity, size_t *n);

LATHE_END_DECLS

#endif
