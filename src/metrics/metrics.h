/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine's conversions cost, recorded without locks. */
#ifndef LT_METRICS_METRICS_H
#define LT_METRICS_METRICS_H

#include <lathe/metrics.h>
#include <stdbool.h>

typedef struct lt_metrics lt_metrics;

/* One conversion of one tensor that is over, one way or the other. */
typedef struct lt_metric {
    lathe_strategy strategy; /* not AUTO */
    bool on_device;          /* an OpenCL device did all of it */
    bool fell_back;          /* the CPU did what the device failed at */
    lathe_dtype from;
    lathe_dtype to;
    uint64_t src_bytes; /* data and scales */
    uint64_t dst_bytes;
    uint64_t n_saturated;
    uint64_t ns; /* that it took */
    lathe_status status;
} lt_metric;

/* How many conversions are remembered, unless the config says it; and the most. */
enum { LT_RECENT_DEFAULT = 64, LT_RECENT_MOST = 4096 };

/* For so many threads that record at once without getting in each other's way, as far as the pool's
 * budget allows. n_recent is from 1 to LT_RECENT_MOST. NULL where there is no memory: the last
 * error says so. */
lt_metrics *lt_metrics_create(lathe_pool *pool, uint32_t n_threads, uint32_t n_recent);

/* NULL is legal. */
void lt_metrics_destroy(lt_metrics *metrics, lathe_pool *pool);

/* Counts a conversion: the only place where any is counted. Thread-safe, and lock-free: it waits
 * for nobody. */
void lt_metrics_record(lt_metrics *metrics, const lt_metric *metric);

/* The same for n alike, each of which took metric->ns, and which were over at end_ns. */
void lt_metrics_record_alike(lt_metrics *metrics, const lt_metric *metric, uint64_t n,
                             uint64_t end_ns);

/* The same for one that began at start_ns, by lt_now_ns, and is over now: sets metric->ns. */
void lt_metrics_record_since(lt_metrics *metrics, lt_metric *metric, uint64_t start_ns);

/* Fills window_ns, the groups, failed_by_status and the times. */
void lt_metrics_read(lt_metrics *metrics, lathe_metrics *out);

/* Fills the groups of processors alone, LATHE_METRICS_PROCESSORS of them. */
void lt_metrics_read_processors(lt_metrics *metrics, lathe_metrics_group *groups);

/* All counts become 0. */
void lt_metrics_reset(lt_metrics *metrics);

/* lathe_engine_recent. Returns how many. */
size_t lt_metrics_recent(lt_metrics *metrics, lathe_recent_conversion *recent, size_t capacity);

/* The entry of lathe_metrics_times that counts this time. */
size_t lt_metrics_time_index(uint64_t ns);

/* A monotonic clock. */
uint64_t lt_now_ns(void);

#endif
