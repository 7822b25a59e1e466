/* SPDX-License-Identifier: Apache-2.0 */
/* Times of several acts, measured in the same repetitions. */
#ifndef LATHE_CLI_BENCH_MEASURE_H
#define LATHE_CLI_BENCH_MEASURE_H

#include <lathe/status.h>
#include <stddef.h>
#include <stdint.h>

/* Something to be timed: it is done `rounds` times. */
typedef lathe_status bench_fn(void *ctx, uint64_t rounds);

enum { BENCH_MOST_ACTS = 16, BENCH_MOST_REPEATS = 1000 };

/* Act 0 is what is measured; the others are what it is compared with. */
typedef struct bench_acts {
    void *ctx;
    size_t n;
    bench_fn *run[BENCH_MOST_ACTS];
    void *each[BENCH_MOST_ACTS];         /* an act's own ctx; NULL: ctx */
    double limit_share[BENCH_MOST_ACTS]; /* how much of each act's time act 0 needs at least */
} bench_acts;

/* Medians over the repetitions, for each act: seconds of one round, and those seconds over act 0's
 * in the same repetition; and the quartiles of both. */
typedef struct bench_times {
    double seconds[BENCH_MOST_ACTS];
    double ratio[BENCH_MOST_ACTS];
    double quartiles[BENCH_MOST_ACTS][2];
    double ratio_quartiles[BENCH_MOST_ACTS][2];
    double limit; /* the part of its limit that act 0 reaches; 0: nothing limits it */
} bench_times;

/* Runs the acts back to back, taking turns at going first. */
lathe_status bench_measure(const bench_acts *acts, uint64_t n_repeats, bench_times *times);

/* Both sort the values. */
double bench_median(double *values, size_t n);
double bench_quartiles(double *values, size_t n, double quartiles[2]);

double bench_seconds_since(uint64_t start_ns);

#endif
