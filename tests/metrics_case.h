/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of metrics share: metrics in a pool of their own, and some that are known. */
#ifndef TESTS_METRICS_CASE_H
#define TESTS_METRICS_CASE_H

#include "check.h"
#include "metrics/metrics.h"
#include "support.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_RECENT = 16, MIB = 1 << 20 };

typedef struct fixture {
    lathe_pool *pool;
    lt_metrics *metrics;
    lathe_metrics now;
} fixture;

static fixture *set_up(uint64_t budget) {
    fixture *f = calloc(1, sizeof *f);
    const lathe_pool_config config = {.struct_size = sizeof config, .budget_bytes = budget};
    CHECK(f != NULL, "memory");
    CHECK_OK(lathe_pool_create(&config, &f->pool));
    f->metrics = lt_metrics_create(f->pool, 64, N_RECENT);
    CHECK(f->metrics != NULL, "%s", lathe_last_error()->message);
    f->now.struct_size = sizeof f->now;
    return f;
}

static void tear_down(fixture *f) {
    lt_metrics_destroy(f->metrics, f->pool);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(f->pool, &stats));
    CHECK(stats.n_live == 0, "%d blocks are left", (int)stats.n_live);
    lathe_pool_release(f->pool);
    free(f);
}
/* Two of everything that a summary looks at. */
static void fill_known(fixture *f) {
    const lt_metric metrics[] = {
        {.strategy = LATHE_STRATEGY_ZERO_COPY,
         .from = LATHE_F32,
         .to = LATHE_F32,
         .src_bytes = 1 << 20,
         .dst_bytes = 1 << 20,
         .ns = 10},
        {.strategy = LATHE_STRATEGY_DIRECT,
         .from = LATHE_F32,
         .to = LATHE_F16,
         .src_bytes = 4000,
         .dst_bytes = 2000,
         .ns = 1000},
        {.strategy = LATHE_STRATEGY_DIRECT,
         .from = LATHE_F32,
         .to = LATHE_I8,
         .src_bytes = 4000,
         .dst_bytes = 1004,
         .ns = 3000,
         .n_saturated = 7},
        {.strategy = LATHE_STRATEGY_IN_PLACE,
         .from = LATHE_F32,
         .to = LATHE_F16,
         .src_bytes = 4000,
         .dst_bytes = 2000,
         .ns = 500,
         .on_device = true},
        {.strategy = LATHE_STRATEGY_DIRECT,
         .from = LATHE_F32,
         .to = LATHE_I8,
         .ns = 100,
         .status = LATHE_NON_FINITE},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
        lt_metrics_record(f->metrics, &metrics[i]);
    }
    f->now = (lathe_metrics){.struct_size = sizeof f->now};
    lt_metrics_read(f->metrics, &f->now);
    f->now.pool = (lathe_pool_stats){.struct_size = sizeof f->now.pool};
    CHECK_OK(lathe_pool_get_stats(f->pool, &f->now.pool));
    f->now.engine = (lathe_engine_stats){.struct_size = sizeof f->now.engine,
                                         .n_launches = 12,
                                         .uploaded_bytes = 34,
                                         .program_build_ns = 1500000001};
    (void)snprintf(f->now.device, sizeof f->now.device, "opencl:0");
    (void)snprintf(f->now.device_name, sizeof f->now.device_name, "a \"b\" \\c\nd \xc3\xa9\x01");
}

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-9 * fabs(b);
}

#endif
