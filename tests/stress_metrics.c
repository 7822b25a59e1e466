/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program for the thread sanitizer: 64 threads record conversions while others take
 * snapshots, list the last conversions and reset. Prints what went wrong; exits 0 if nothing did.
 */
#include "metrics/metrics.h"
#include "stress_case.h"

enum { N_WRITERS = 64, N_READERS = 3, ROUNDS = TEST_SANITIZED ? 2000 : 20000, N_RECENT = 32 };

static lt_metrics *metrics;
static atomic_bool done;
static bool resets; /* the first reader does, now and then */

static void *record(void *ctx) {
    const uint64_t key = (uint64_t)(uintptr_t)ctx;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        const uint64_t n = key * ROUNDS + i;
        const lt_metric metric = {.strategy = (lathe_strategy)(1 + n % 6),
                                  .on_device = n % 3 == 0,
                                  .from = LATHE_F32,
                                  .to = (lathe_dtype)(1 + n % 8),
                                  .src_bytes = n,
                                  .dst_bytes = 2 * n,
                                  .ns = 3 * n,
                                  .status = n % 7 == 0 ? LATHE_DATA_LOSS : LATHE_OK};
        lt_metrics_record(metrics, &metric);
    }
    return NULL;
}

/* Each conversion has bytes and a time that follow from each other. */
static void check_recent(void) {
    lathe_recent_conversion recent[N_RECENT];
    const size_t n = lt_metrics_recent(metrics, recent, N_RECENT);
    for (size_t i = 0; i < n; i++) {
        if (recent[i].dst_bytes != 2 * recent[i].src_bytes ||
            recent[i].ns != 3 * recent[i].src_bytes ||
            (int)recent[i].to != (int)(1 + recent[i].src_bytes % 8)) {
            fail("an entry is torn");
        }
        if (i > 0 && recent[i].age_ns < recent[i - 1].age_ns) {
            fail("the entries are out of order");
        }
    }
}

static void check_snapshot(lathe_metrics *now) {
    lt_metrics_read(metrics, now);
    if (now->total.n_done > (uint64_t)N_WRITERS * ROUNDS) {
        fail("too many conversions");
    }
    check_recent();
}

static void *read_all(void *ctx) {
    lathe_metrics *now = malloc(sizeof *now);
    const bool is_first = (uintptr_t)ctx == 1;
    while (now != NULL && !atomic_load(&done)) {
        check_snapshot(now);
        if (is_first && resets) {
            lt_metrics_reset(metrics);
        }
    }
    free(now);
    return NULL;
}

/* With a reset now and then nothing is known of the sums. */
static void run(lathe_pool *pool, uint32_t n_shards) {
    pthread_t writers[N_WRITERS];
    pthread_t readers[N_READERS];
    metrics = lt_metrics_create(pool, n_shards, N_RECENT);
    lathe_metrics *now = malloc(sizeof *now);
    if (metrics == NULL || now == NULL) {
        fail("no memory");
        free(now);
        return;
    }
    atomic_store(&done, false);
    start_threads(readers, N_READERS, read_all);
    start_threads(writers, N_WRITERS, record);
    join_threads(writers, N_WRITERS);
    atomic_store(&done, true);
    join_threads(readers, N_READERS);
    check_snapshot(now);
    const uint64_t n_all = now->total.n_done + now->total.n_failed;
    if (!resets && n_all != (uint64_t)N_WRITERS * ROUNDS) {
        fail("conversions were lost");
    }
    if (resets) {
        lt_metrics_reset(metrics);
        lt_metrics_read(metrics, now);
        if (now->total.n_done != 0 || now->total.n_failed != 0) {
            fail("a reset left something");
        }
    }
    free(now);
    lt_metrics_destroy(metrics, pool);
}

int main(void) {
    lathe_pool *pool = NULL;
    if (lathe_pool_create(NULL, &pool) != LATHE_OK) {
        return 1;
    }
    run(pool, 2);
    run(pool, 64);
    resets = true;
    run(pool, 4);
    lathe_pool_release(pool);
    return exit_status();
}
