/* SPDX-License-Identifier: Apache-2.0 */
/* Times something beside what it is compared with, in turns. */
#include "measure.h"
#include "cli.h"
#include <stdlib.h>

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A quantile of sorted values, between two of them where it falls there. */
static double quantile(const double *sorted, size_t n, double q) {
    const double at = q * (double)(n - 1);
    const size_t below = (size_t)at;
    const size_t above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

double bench_median(double *values, size_t n) {
    qsort(values, n, sizeof(*values), compare_doubles);
    return quantile(values, n, 0.5);
}

double bench_quartiles(double *values, size_t n, double quartiles[2]) {
    const double median = bench_median(values, n);
    quartiles[0] = quantile(values, n, 0.25);
    quartiles[1] = quantile(values, n, 0.75);
    return median;
}

double bench_seconds_since(uint64_t start_ns) {
    return (double)(cli_now_ns() - start_ns) * 1e-9;
}

static lathe_status run_act(const bench_acts *acts, size_t act, uint64_t rounds) {
    return acts->run[act](acts->each[act] != NULL ? acts->each[act] : acts->ctx, rounds);
}

/* How many rounds make a measurement long enough for the clock and the scheduler; they warm the
 * act up as well. A single round that is just long enough counts only the second time: the first
 * one may have waited for new pages, or for another program. */
static lathe_status choose_rounds(const bench_acts *acts, size_t act, uint64_t *rounds) {
    const double least_seconds = 2e-3;
    bool is_cold = true;
    for (uint64_t n = 1;;) {
        const uint64_t start_ns = cli_now_ns();
        const lathe_status status = run_act(acts, act, n);
        const double seconds = bench_seconds_since(start_ns);
        const bool is_in_doubt = is_cold && seconds < 8 * least_seconds;
        is_cold = false;
        if (status != LATHE_OK || (seconds >= least_seconds && !is_in_doubt)) {
            *rounds = n;
            return status;
        }
        if (seconds >= least_seconds) {
            continue;
        }
        /* Close to enough, the rest is computed: 2 ms are not exceeded eightfold. */
        n = seconds > least_seconds / 8 ? (uint64_t)((double)n * 1.2 * least_seconds / seconds) + 1
                                        : 8 * n;
    }
}

/* The medians and quartiles of what has been measured. */
static void sum_up(const bench_acts *acts, size_t n, double (*seconds)[BENCH_MOST_REPEATS],
                   bench_times *times) {
    double values[BENCH_MOST_REPEATS] = {0};
    for (size_t i = 0; i < n; i++) {
        double limit = 0;
        for (size_t act = 0; act < acts->n; act++) {
            limit += acts->limit_share[act] * seconds[act][i];
        }
        values[i] = limit / seconds[0][i];
    }
    times->limit = bench_median(values, n);
    for (size_t act = acts->n; act-- > 0;) { /* act 0 last: a median sorts */
        for (size_t i = 0; i < n; i++) {
            values[i] = seconds[act][i] / seconds[0][i];
        }
        times->ratio[act] = bench_quartiles(values, n, times->ratio_quartiles[act]);
        times->seconds[act] = bench_quartiles(seconds[act], n, times->quartiles[act]);
    }
}

/* Seconds of a round. Where it takes many of them, one comes first that is not timed: it finds in
 * the caches what the act before it has left there. */
static lathe_status time_act(const bench_acts *acts, size_t act, uint64_t rounds, double *seconds) {
    lathe_status status = rounds > 1 ? run_act(acts, act, 1) : LATHE_OK;
    if (status == LATHE_OK) {
        const uint64_t start_ns = cli_now_ns();
        status = run_act(acts, act, rounds);
        *seconds = bench_seconds_since(start_ns) / (double)rounds;
    }
    return status;
}

lathe_status bench_measure(const bench_acts *acts, uint64_t n_repeats, bench_times *times) {
    double seconds[BENCH_MOST_ACTS][BENCH_MOST_REPEATS];
    uint64_t rounds[BENCH_MOST_ACTS];
    const size_t n = (size_t)n_repeats;
    lathe_status status = LATHE_OK;
    for (size_t act = 0; act < acts->n && status == LATHE_OK; act++) {
        status = choose_rounds(acts, act, &rounds[act]);
    }
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        for (size_t turn = 0; turn < acts->n && status == LATHE_OK; turn++) {
            const size_t act = (i + turn + 1) % acts->n;
            status = time_act(acts, act, rounds[act], &seconds[act][i]);
        }
    }
    if (status == LATHE_OK) {
        sum_up(acts, n, seconds, times);
    }
    return status;
}
