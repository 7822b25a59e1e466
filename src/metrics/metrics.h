/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine's conversions cost, recorded without locks. */
#ifndef LT_METRICS_METRICS_H
#define LT_METRICS_METRICS_H

#include <lathe/plan.h>
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

/* NULL where there is no memory: the last error says so. */
lt_metrics *lt_metrics_create(lathe_pool *pool);

/* NULL is legal. */
void lt_metrics_destroy(lt_metrics *metrics, lathe_pool *pool);

/* Thread-safe, and lock-free. */
void lt_metrics_record(lt_metrics *metrics, const lt_metric *metric);

/* A monotonic clock. */
uint64_t lt_now_ns(void);

#endif
