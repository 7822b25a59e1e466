/* SPDX-License-Identifier: Apache-2.0 */
/* What the cases of lathe bench --strategies share. */
#ifndef LATHE_CLI_BENCH_STRATEGIES_H
#define LATHE_CLI_BENCH_STRATEGIES_H

#include "report.h"
#include "tensors.h"

/* X(name): each case is bench_NAME(b) in NAME.c. It measures with b->options, prints rows,
 * and fails with what the library failed with. */
#define BENCH_STRATEGY_LIST(X)                                                                     \
    X(small)                                                                                       \
    X(batch)                                                                                       \
    X(copy)                                                                                        \
    X(zero_copy)                                                                                   \
    X(in_place)                                                                                    \
    X(stream)                                                                                      \
    X(file)                                                                                        \
    X(pipeline)                                                                                    \
    X(plan)                                                                                        \
    X(quality)                                                                                     \
    X(metrics)

#define BENCH_STRATEGY_PROTOTYPE(name) lathe_status bench_##name(bench *b);
BENCH_STRATEGY_LIST(BENCH_STRATEGY_PROTOTYPE)
#undef BENCH_STRATEGY_PROTOTYPE

/* Whether --strategies has a case of that name, and the names of all. */
bool bench_is_strategy(const char *name);
const char *bench_strategy_names(void);

/* The cases that b->options->strategy asks for. Returns the exit status. */
int bench_run_strategies(bench *b);

/* Prints a row of the running case: `what`, which took times->seconds[0], beside `against`, which
 * took times->seconds[1], and times->ratio[1], how many times as long as `what` that is. */
void bench_strategy_row(bench *b, const char *what, const char *against, const bench_times *times);

/* An engine on b->device with b->n_threads threads and the bench's pool; freed by the caller. */
lathe_status bench_strategy_engine(bench *b, lathe_engine **engine);

#endif
