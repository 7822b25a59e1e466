/* SPDX-License-Identifier: Apache-2.0 */
/* Times something beside what it is compared with, in turns. */
#include "bench.h"
#include <stdlib.h>

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, size_t n) {
    qsort(values, n, sizeof(*values), compare_doubles);
    return n % 2 != 0 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double bench_seconds_since(uint64_t start_ns) {
    return (double)(cli_now_ns() - start_ns) * 1e-9;
}

/* How many rounds make a measurement long enough for the clock and the scheduler. */
static lathe_status choose_rounds(const bench_acts *acts, uint64_t *rounds) {
    const double least_seconds = 5e-3;
    for (uint64_t n = 1;; n *= 4) {
        uint64_t start_ns = cli_now_ns();
        lathe_status status = acts->run[0](acts->ctx, n);
        double seconds = bench_seconds_since(start_ns);
        if (status != LATHE_OK || seconds >= least_seconds) {
            *rounds = n;
            return status;
        }
    }
}

lathe_status bench_measure(const bench_acts *acts, uint64_t n_repeats, bench_times *times) {
    double seconds[BENCH_MOST_ACTS][BENCH_MOST_REPEATS];
    double ratios[BENCH_MOST_REPEATS];
    uint64_t rounds = 1;
    size_t n = (size_t)n_repeats;
    lathe_status status = choose_rounds(acts, &rounds);
    for (size_t act = 1; act < acts->n && status == LATHE_OK; act++) {
        status = acts->run[act](acts->ctx, 1); /* warms it up */
    }
    if (status != LATHE_OK) {
        return status;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t turn = 0; turn < acts->n && status == LATHE_OK; turn++) {
            size_t act = (i + turn + 1) % acts->n;
            uint64_t start_ns = cli_now_ns();
            status = acts->run[act](acts->ctx, rounds);
            seconds[act][i] = bench_seconds_since(start_ns) / (double)rounds;
        }
        if (status != LATHE_OK) {
            return status;
        }
    }
    for (size_t act = acts->n; act-- > 0;) { /* act 0 last: a median sorts */
        for (size_t i = 0; i < n; i++) {
            ratios[i] = seconds[act][i] / seconds[0][i];
        }
        times->ratio[act] = bench_median(ratios, n);
        times->seconds[act] = bench_median(seconds[act], n);
    }
    return LATHE_OK;
}
