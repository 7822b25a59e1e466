/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/metrics.h: counting from many threads, percentiles, the last conversions, sums. */
#include "metrics_case.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- times */

Test(metrics, entries_of_times_have_no_gaps) {
    for (size_t i = 0; i < LATHE_METRICS_TIMES; i++) {
        const uint64_t first = lathe_metrics_time_ns(i);
        const uint64_t next = lathe_metrics_time_ns(i + 1);
        CHECK(lt_metrics_time_index(first) == i, "entry %zu", i);
        CHECK(next > first && lt_metrics_time_index(next - 1) == i, "the end of entry %zu", i);
        if (next != UINT64_MAX) {
            CHECK(first < 16 ? next - first == 1 : (next - first) * 8 <= first, "width of %zu", i);
        }
    }
    CHECK(lathe_metrics_time_ns(LATHE_METRICS_TIMES) == UINT64_MAX, "beyond the last");
    CHECK(lt_metrics_time_index(UINT64_MAX) == LATHE_METRICS_TIMES - 1, "the longest");
}

/* ---- counting */

enum { N_METRICS = 5000 };

static lt_metric random_metric(test_rng *rng) {
    const bool has_failed = test_random_below(rng, 8) == 0;
    const uint64_t place = test_random_below(rng, 3);
    return (lt_metric){
        .strategy = (lathe_strategy)(1 + test_random_below(rng, LATHE_METRICS_STRATEGIES - 1)),
        .on_device = place == 1,
        .fell_back = place == 2,
        .from = (lathe_dtype)(1 + test_random_below(rng, LATHE_DTYPE_LAST)),
        .to = (lathe_dtype)(1 + test_random_below(rng, LATHE_DTYPE_LAST)),
        .src_bytes = test_random_below(rng, 1 << 30),
        .dst_bytes = test_random_below(rng, 1 << 30),
        .n_saturated = test_random_below(rng, 3),
        .ns = test_random_below(rng, UINT64_C(1) << (1 + test_random_below(rng, 36))),
        .status = has_failed
                      ? (lathe_status)(1 + test_random_below(rng, LATHE_METRICS_STATUSES - 1))
                      : LATHE_OK,
    };
}

static void add_plainly(lathe_metrics_group *group, const lt_metric *m) {
    if (m->status != LATHE_OK) {
        group->n_failed++;
        return;
    }
    group->n_done++;
    group->src_bytes += m->src_bytes;
    group->dst_bytes += m->dst_bytes;
    group->ns += m->ns;
    group->n_saturated += m->n_saturated;
}

static void check_group(const char *what, size_t i, const lathe_metrics_group *got,
                        const lathe_metrics_group *expected) {
    CHECK(memcmp(got, expected, sizeof *got) == 0, "%s %zu", what, i);
}

static int compare_u64(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void check_percentiles(const lathe_metrics *now, const lt_metric *metrics,
                              lathe_strategy strategy) {
    static uint64_t times[N_METRICS];
    static const double fractions[] = {0, 0.01, 0.5, 0.9, 0.99, 1};
    size_t n = 0;
    for (size_t i = 0; i < N_METRICS; i++) {
        bool counts = strategy == LATHE_STRATEGY_AUTO || strategy == metrics[i].strategy;
        if (counts && metrics[i].status == LATHE_OK) {
            times[n++] = metrics[i].ns;
        }
    }
    qsort(times, n, sizeof times[0], compare_u64);
    for (size_t i = 0; i < sizeof fractions / sizeof fractions[0]; i++) {
        double rank = ceil(fractions[i] * (double)n);
        const double exact = (double)times[rank < 1 ? 0 : (size_t)rank - 1];
        const double got = (double)lathe_metrics_percentile_ns(now, strategy, fractions[i]);
        CHECK(fabs(got - exact) <= exact * 0.0625 + 0.5, "%s %.2f: %.0f, not %.0f",
              lathe_strategy_name(strategy), fractions[i], got, exact);
    }
}

Test(metrics, count_every_conversion_in_every_group) {
    static lt_metric metrics[N_METRICS];
    static lathe_metrics expected;
    fixture *f = set_up(0);
    test_rng rng = {1};
    for (size_t i = 0; i < N_METRICS; i++) {
        metrics[i] = random_metric(&rng);
        const lt_metric *m = &metrics[i];
        const lathe_processor processor = m->fell_back   ? LATHE_PROCESSOR_BOTH
                                          : m->on_device ? LATHE_PROCESSOR_DEVICE
                                                         : LATHE_PROCESSOR_CPU;
        add_plainly(&expected.total, m);
        add_plainly(&expected.by_strategy[m->strategy], m);
        add_plainly(&expected.by_processor[processor], m);
        add_plainly(&expected.by_dtypes[m->from][m->to], m);
        expected.failed_by_status[m->status] += m->status != LATHE_OK;
        lt_metrics_record(f->metrics, m);
    }
    lt_metrics_read(f->metrics, &f->now);
    check_group("total", 0, &f->now.total, &expected.total);
    for (size_t i = 0; i < LATHE_METRICS_STRATEGIES; i++) {
        check_group("strategy", i, &f->now.by_strategy[i], &expected.by_strategy[i]);
        if (i != LATHE_STRATEGY_AUTO) {
            check_percentiles(&f->now, metrics, (lathe_strategy)i);
        }
    }
    check_percentiles(&f->now, metrics, LATHE_STRATEGY_AUTO);
    lathe_metrics_group processors[LATHE_METRICS_PROCESSORS];
    lt_metrics_read_processors(f->metrics, processors);
    for (size_t i = 0; i < LATHE_METRICS_PROCESSORS; i++) {
        check_group("processor", i, &f->now.by_processor[i], &expected.by_processor[i]);
        check_group("processor alone", i, &processors[i], &expected.by_processor[i]);
    }
    for (size_t from = 0; from < LATHE_METRICS_DTYPES; from++) {
        for (size_t to = 0; to < LATHE_METRICS_DTYPES; to++) {
            check_group("pair", from * 10 + to, &f->now.by_dtypes[from][to],
                        &expected.by_dtypes[from][to]);
        }
    }
    for (size_t i = 0; i < LATHE_METRICS_STATUSES; i++) {
        CHECK(f->now.failed_by_status[i] == expected.failed_by_status[i], "status %zu", i);
    }
    const uint64_t before_ns = lt_now_ns();
    lt_metrics_reset(f->metrics);
    lt_metrics_read(f->metrics, &f->now);
    const uint64_t after_ns = lt_now_ns();
    check_group("after the reset", 0, &f->now.total, &(lathe_metrics_group){0});
    CHECK(f->now.window_ns <= after_ns - before_ns, "the window goes on");
    CHECK(lathe_metrics_percentile_ns(&f->now, LATHE_STRATEGY_AUTO, 0.5) == 0, "times are left");
    tear_down(f);
}

/* ---- many threads */

enum { N_THREADS = 8, N_EACH = TEST_SANITIZED ? 20000 : 100000 };

static void *record_many(void *ctx) {
    for (int i = 0; i < N_EACH; i++) {
        const lt_metric metric = {.strategy = LATHE_STRATEGY_DIRECT,
                                  .from = LATHE_F32,
                                  .to = LATHE_F16,
                                  .src_bytes = 4,
                                  .dst_bytes = 2,
                                  .ns = 100,
                                  .status = i % 4 == 0 ? LATHE_NON_FINITE : LATHE_OK};
        lt_metrics_record(ctx, &metric);
    }
    return NULL;
}

/* With one shard the threads collide all the time, with many next to never. */
static void count_from_threads(uint64_t budget) {
    fixture *f = set_up(budget);
    pthread_t threads[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, record_many, f->metrics) == 0, "thread %zu", i);
    }
    uint64_t before = 0;
    for (int i = 0; i < 50; i++) {
        lt_metrics_read(f->metrics, &f->now);
        CHECK(f->now.total.n_done >= before, "counts go back");
        CHECK(f->now.total.n_done <= (uint64_t)N_THREADS * N_EACH, "too many");
        before = f->now.total.n_done;
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0, "join");
    }
    const uint64_t n_failed = (uint64_t)N_THREADS * N_EACH / 4;
    const uint64_t n_done = 3 * n_failed;
    const lathe_metrics_group expected = {.n_done = n_done,
                                          .n_failed = n_failed,
                                          .src_bytes = 4 * n_done,
                                          .dst_bytes = 2 * n_done,
                                          .ns = 100 * n_done};
    lt_metrics_read(f->metrics, &f->now);
    check_group("total", 0, &f->now.total, &expected);
    check_group("pair", 0, &f->now.by_dtypes[LATHE_F32][LATHE_F16], &expected);
    CHECK(f->now.failed_by_status[LATHE_NON_FINITE] == n_failed, "failures");
    CHECK(f->now.times[LATHE_STRATEGY_DIRECT].n[lt_metrics_time_index(100)] == n_done, "times");
    tear_down(f);
}

Test(metrics, lose_nothing_between_threads) {
    count_from_threads(0);
}

Test(metrics, lose_nothing_where_threads_collide) {
    count_from_threads(MIB / 4);
}

/* Shards for as many threads as there may be are no reason to exceed a small budget. */
Test(metrics, take_little_of_a_small_budget) {
    fixture *f = set_up(MIB);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(f->pool, &stats));
    CHECK(stats.in_use_bytes <= MIB / 12, "%d bytes", (int)stats.in_use_bytes);
    tear_down(f);
}

/* ---- the last conversions */

Test(metrics, the_last_conversions_come_newest_first) {
    fixture *f = set_up(0);
    lathe_recent_conversion recent[2 * N_RECENT];
    CHECK(lt_metrics_recent(f->metrics, recent, N_RECENT) == 0, "there were none");
    for (uint64_t n = 1; n <= 3 * N_RECENT; n++) {
        const lt_metric metric = {.strategy = LATHE_STRATEGY_BATCH,
                                  .fell_back = n % 2 == 0,
                                  .from = LATHE_BF16,
                                  .to = LATHE_I8,
                                  .src_bytes = n,
                                  .dst_bytes = 2 * n,
                                  .n_saturated = 3 * n,
                                  .ns = 4 * n,
                                  .status = n % 3 == 0 ? LATHE_IO : LATHE_OK};
        lt_metrics_record(f->metrics, &metric);
        const size_t expected = n < N_RECENT ? (size_t)n : N_RECENT;
        CHECK(lt_metrics_recent(f->metrics, recent, 2 * N_RECENT) == expected, "how many");
        for (size_t i = 0; i < expected; i++) {
            const uint64_t m = n - i;
            CHECK(recent[i].src_bytes == m && recent[i].dst_bytes == 2 * m &&
                      recent[i].n_saturated == 3 * m && recent[i].ns == 4 * m,
                  "entry %zu of %d", i, (int)n);
            CHECK(recent[i].strategy == LATHE_STRATEGY_BATCH && recent[i].from == LATHE_BF16 &&
                      recent[i].to == LATHE_I8,
                  "entry %zu", i);
            CHECK(recent[i].processor == (m % 2 == 0 ? LATHE_PROCESSOR_BOTH : LATHE_PROCESSOR_CPU),
                  "processor");
            CHECK(recent[i].status == (m % 3 == 0 ? LATHE_IO : LATHE_OK), "status");
            CHECK(i == 0 || recent[i].age_ns >= recent[i - 1].age_ns, "ages");
        }
        CHECK(lt_metrics_recent(f->metrics, recent, 3) == (n < 3 ? n : 3), "a short array");
        CHECK(recent[0].src_bytes == n, "the newest of a short array");
        CHECK(lt_metrics_recent(f->metrics, NULL, 0) == 0, "no array");
    }
    lt_metrics_reset(f->metrics);
    CHECK(lt_metrics_recent(f->metrics, recent, N_RECENT) == 0, "they outlive a reset");
    tear_down(f);
}

/* What was alike is recorded once, and listed as often as it was. */
Test(metrics, the_last_conversions_may_be_alike) {
    fixture *f = set_up(0);
    lathe_recent_conversion recent[N_RECENT];
    const uint64_t n_alike[] = {1, 2, N_RECENT - 1, N_RECENT, 3 * N_RECENT};
    uint64_t end_ns = lt_now_ns();
    for (size_t k = 0; k < sizeof n_alike / sizeof n_alike[0]; k++) {
        const lt_metric older = {.from = LATHE_F32, .to = LATHE_F16, .src_bytes = 1};
        const lt_metric newer = {.from = LATHE_F32, .to = LATHE_F16, .src_bytes = 2};
        lt_metrics_record_alike(f->metrics, &older, N_RECENT, ++end_ns);
        lt_metrics_record_alike(f->metrics, &newer, n_alike[k], ++end_ns);
        CHECK(lt_metrics_recent(f->metrics, recent, N_RECENT) == N_RECENT, "how many");
        for (uint64_t i = 0; i < N_RECENT; i++) {
            CHECK(recent[i].src_bytes == (i < n_alike[k] ? 2 : 1), "entry %d", (int)i);
        }
    }
    tear_down(f);
}

static void *record_one(void *ctx) {
    const lt_metric metric = {
        .strategy = LATHE_STRATEGY_DIRECT, .from = LATHE_F32, .to = LATHE_F16, .src_bytes = 1000};
    lt_metrics_record(ctx, &metric);
    return NULL;
}

/* Each thread has a shard of its own. */
Test(metrics, the_last_conversions_come_from_all_threads) {
    fixture *f = set_up(0);
    lathe_recent_conversion recent[N_RECENT];
    for (uint64_t n = 1; n <= N_RECENT / 2; n++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, record_one, f->metrics) == 0, "thread");
        CHECK(pthread_join(thread, NULL) == 0, "join");
        const lt_metric metric = {
            .strategy = LATHE_STRATEGY_DIRECT, .from = LATHE_F32, .to = LATHE_F16, .src_bytes = n};
        lt_metrics_record(f->metrics, &metric);
    }
    CHECK(lt_metrics_recent(f->metrics, recent, N_RECENT) == N_RECENT, "how many");
    for (uint64_t i = 0; i < N_RECENT; i++) {
        const uint64_t expected = i % 2 != 0 ? 1000 : N_RECENT / 2 - i / 2;
        CHECK(recent[i].src_bytes == expected, "entry %d", (int)i);
    }
    tear_down(f);
}

/* ---- sums and figures */

Test(metrics, summary) {
    fixture *f = set_up(0);
    lathe_metrics_summary s = {.struct_size = sizeof s};
    lt_metrics_read(f->metrics, &f->now);
    CHECK_OK(lathe_metrics_summarize(&f->now, &s));
    CHECK(s.success_rate == 1 && s.average_ns == 0 && s.p99_ns == 0 && s.bytes_per_second == 0 &&
              s.most_used == LATHE_STRATEGY_AUTO && s.fastest == LATHE_STRATEGY_AUTO,
          "before any conversion");
    fill_known(f);
    CHECK_OK(lathe_metrics_summarize(&f->now, &s));
    CHECK(near(s.success_rate, 0.8), "success rate %f", s.success_rate);
    CHECK(near(s.average_ns, 4510 / 4.0), "average %f", s.average_ns);
    CHECK(near(s.bytes_per_second, (17004 + 2.0 * MIB) / 4510e-9), "%f", s.bytes_per_second);
    CHECK(near(s.zero_copy_fraction, 0.25) && near(s.in_place_fraction, 0.25), "fractions");
    CHECK(s.most_used == LATHE_STRATEGY_DIRECT, "%s", lathe_strategy_name(s.most_used));
    CHECK(s.fastest == LATHE_STRATEGY_IN_PLACE, "%s", lathe_strategy_name(s.fastest));
    CHECK(fabs((double)s.p50_ns - 500) <= 500 * 0.0625, "%d", (int)s.p50_ns);
    CHECK(s.p90_ns == s.p99_ns && fabs((double)s.p90_ns - 3000) <= 3000 * 0.0625, "p90");
    CHECK_STATUS(lathe_metrics_summarize(NULL, &s), LATHE_INVALID_ARGUMENT);
    s.struct_size--;
    CHECK_STATUS(lathe_metrics_summarize(&f->now, &s), LATHE_INVALID_ARGUMENT);
    CHECK(lathe_metrics_percentile_ns(NULL, LATHE_STRATEGY_AUTO, 0.5) == 0, "NULL");
    CHECK(lathe_metrics_percentile_ns(&f->now, (lathe_strategy)77, 0.5) == 0, "no strategy");
    tear_down(f);
}

Test(metrics, merge_adds_up) {
    fixture *f = set_up(0);
    fixture *g = set_up(0);
    fill_known(f);
    test_rng rng = {3};
    for (int i = 0; i < 1000; i++) {
        const lt_metric metric = random_metric(&rng);
        lt_metrics_record(g->metrics, &metric);
    }
    lt_metrics_read(g->metrics, &g->now);
    g->now.engine = (lathe_engine_stats){.struct_size = sizeof g->now.engine, .n_launches = 30};
    g->now.pool.peak_bytes = UINT64_C(1) << 50;
    g->now.window_ns = UINT64_C(1) << 60;
    lathe_metrics sum = f->now;
    CHECK_OK(lathe_metrics_merge(&sum, &g->now));
    for (size_t i = 0; i < LATHE_METRICS_STRATEGIES; i++) {
        for (size_t t = 0; t < LATHE_METRICS_TIMES; t++) {
            CHECK(sum.times[i].n[t] == f->now.times[i].n[t] + g->now.times[i].n[t], "times");
        }
        CHECK(sum.by_strategy[i].ns == f->now.by_strategy[i].ns + g->now.by_strategy[i].ns,
              "strategy %zu", i);
    }
    for (size_t i = 0; i < LATHE_METRICS_STATUSES; i++) {
        CHECK(sum.failed_by_status[i] == f->now.failed_by_status[i] + g->now.failed_by_status[i],
              "status %zu", i);
    }
    CHECK(sum.total.n_done == f->now.total.n_done + g->now.total.n_done, "total");
    CHECK(sum.by_processor[1].src_bytes ==
              f->now.by_processor[1].src_bytes + g->now.by_processor[1].src_bytes,
          "processor");
    CHECK(sum.by_dtypes[LATHE_F32][LATHE_I8].n_saturated ==
              f->now.by_dtypes[LATHE_F32][LATHE_I8].n_saturated +
                  g->now.by_dtypes[LATHE_F32][LATHE_I8].n_saturated,
          "pair");
    CHECK(sum.engine.n_launches == 42 && sum.engine.uploaded_bytes == 34, "engine");
    CHECK(sum.pool.peak_bytes == UINT64_C(1) << 50, "the greater peak");
    CHECK(sum.window_ns == UINT64_C(1) << 60, "the longer window");
    CHECK(sum.device[0] == '\0' && sum.device_name[0] == '\0', "devices that differ");
    sum = f->now;
    CHECK_OK(lathe_metrics_merge(&sum, &f->now));
    CHECK(strcmp(sum.device, "opencl:0") == 0, "the same device");
    g->now.struct_size = 8;
    CHECK_STATUS(lathe_metrics_merge(&sum, &g->now), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_metrics_merge(&sum, NULL), LATHE_INVALID_ARGUMENT);
    tear_down(g);
    tear_down(f);
}
