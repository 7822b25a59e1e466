/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=metrics: what it costs to count a conversion. */
#include "metrics/metrics.h"
#include "cpu/features.h"
#include "metrics/counters.h"
#include "strategies.h"
#include <pthread.h>
#include <time.h>

enum { N_THREADS = 64, N_EACH = 20000 };

typedef struct metrics_bench {
    lt_metrics *metrics;
    atomic_uint_fast64_t counter;
    atomic_uint_fast64_t cpu_ns; /* of the threads */
    void (*count)(struct metrics_bench *m, uint64_t n);
    lathe_metrics snapshot;
    lathe_engine *engine;
} metrics_bench;

/* With the clock that tells how long the conversion took. */
static void record(metrics_bench *m, uint64_t n) {
    lt_metric metric = {.strategy = LATHE_STRATEGY_DIRECT,
                        .from = LATHE_F32,
                        .to = LATHE_F16,
                        .src_bytes = 4096,
                        .dst_bytes = 2048};
    uint64_t start_ns = lt_now_ns();
    for (uint64_t i = 0; i < n; i++) {
        lt_metrics_record_since(m->metrics, &metric, start_ns);
        start_ns += metric.ns;
    }
}

static void count_shared(metrics_bench *m, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        lt_count(&m->counter, 1);
    }
}

static lathe_status record_here(void *ctx, uint64_t rounds) {
    record(ctx, rounds);
    return LATHE_OK;
}

static lathe_status count_here(void *ctx, uint64_t rounds) {
    count_shared(ctx, rounds);
    return LATHE_OK;
}

static void *count_each(void *ctx) {
    metrics_bench *m = ctx;
    struct timespec spent;
    m->count(m, N_EACH);
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    (void)atomic_fetch_add(&m->cpu_ns,
                           (uint64_t)spent.tv_sec * 1000000000 + (uint64_t)spent.tv_nsec);
    return NULL;
}

/* The processor time of one, in seconds, while all threads do nothing else: what others do on the
 * machine meanwhile does not count. */
static double seconds_by_threads(metrics_bench *m, void (*count)(metrics_bench *m, uint64_t n)) {
    pthread_t threads[N_THREADS];
    size_t n = 0;
    m->count = count;
    atomic_store(&m->cpu_ns, 0);
    while (n < N_THREADS && pthread_create(&threads[n], NULL, count_each, m) == 0) {
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    return n == 0 ? 0 : (double)atomic_load(&m->cpu_ns) * 1e-9 / (double)n / N_EACH;
}

static void compare_by_threads(bench *b, metrics_bench *m) {
    double seconds[BENCH_MOST_REPEATS];
    double other[BENCH_MOST_REPEATS];
    double ratios[BENCH_MOST_REPEATS];
    const size_t n = (size_t)b->options->repeat;
    for (size_t i = 0; i < n; i++) {
        seconds[i] = seconds_by_threads(m, record);
        other[i] = seconds_by_threads(m, count_shared);
        ratios[i] = seconds[i] > 0 ? other[i] / seconds[i] : 0;
    }
    bench_times times = {.ratio = {1, bench_median(ratios, n)}};
    times.seconds[0] = bench_quartiles(seconds, n, times.quartiles[0]);
    times.seconds[1] = bench_quartiles(other, n, times.quartiles[1]);
    bench_strategy_row(b, "record one, on each of 64 threads", "an atomic counter", &times);
}

static lathe_status take_snapshot(void *ctx, uint64_t rounds) {
    metrics_bench *m = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_engine_metrics(m->engine, &m->snapshot);
    }
    return status;
}

static lathe_status compare(bench *b, metrics_bench *m, const char *what, bench_fn *run,
                            const char *against, bench_fn *other) {
    const bench_acts acts = {.ctx = m, .n = 2, .run = {run, other}};
    bench_times times;
    lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    if (status == LATHE_OK) {
        bench_strategy_row(b, what, against, &times);
    }
    return status;
}

lathe_status bench_metrics(bench *b) {
    static metrics_bench m = {.snapshot = {.struct_size = sizeof(m.snapshot)}};
    lathe_status status = bench_strategy_engine(b, &m.engine);
    if (status != LATHE_OK) {
        return status;
    }
    m.metrics = lt_metrics_create(b->pool, lt_usable_cpus(), LT_RECENT_DEFAULT);
    status = m.metrics != NULL ? LATHE_OK : lathe_last_error()->status;
    if (status == LATHE_OK) {
        status =
            compare(b, &m, "record a conversion", record_here, "an atomic counter", count_here);
    }
    if (status == LATHE_OK) {
        compare_by_threads(b, &m);
    }
    if (status == LATHE_OK) {
        status =
            compare(b, &m, "take a snapshot", take_snapshot, "record a conversion", record_here);
    }
    lt_metrics_destroy(m.metrics, b->pool);
    lathe_engine_free(m.engine);
    return status;
}
