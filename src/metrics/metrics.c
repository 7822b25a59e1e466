/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine's conversions cost. */
#include "metrics/metrics.h"

#include "metrics/counters.h"
#include "pool/pool.h"
#include <time.h>

struct lt_metrics {
    atomic_uint_fast64_t n_recorded;
};

lt_metrics *lt_metrics_create(lathe_pool *pool) {
    return lt_pool_new(pool, sizeof(lt_metrics));
}

void lt_metrics_destroy(lt_metrics *metrics, lathe_pool *pool) {
    lt_pool_delete(pool, metrics);
}

void lt_metrics_record(lt_metrics *metrics, const lt_metric *metric) {
    (void)metric;
    lt_count(&metrics->n_recorded, 1);
}

uint64_t lt_now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}
