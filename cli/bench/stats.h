/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics pass of a conversion by itself, for the bench: it has no public function. */
#ifndef LATHE_CLI_BENCH_STATS_H
#define LATHE_CLI_BENCH_STATS_H

#include <lathe/lathe.h>

typedef struct bench_stats bench_stats;

/* Prepares the pass over a host tensor, or, for LATHE_MEMORY_DEVICE, over a copy of it in the
 * memory of the engine's device, for one scale of a target of this dtype. The engine outlives it,
 * and the tensor too where it is not copied. Errors: those of the backend. */
lathe_status bench_stats_open(lathe_engine *engine, const lathe_tensor *source, lathe_memory memory,
                              lathe_dtype to, bench_stats **stats);

/* Runs it once. Errors: those of the backend, NON_FINITE. */
lathe_status bench_stats_run(bench_stats *stats);

/* NULL is legal. */
void bench_stats_close(bench_stats *stats);

#endif
