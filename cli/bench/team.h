/* SPDX-License-Identifier: Apache-2.0 */
/* Work on memory, split over threads that wait for their turn. */
#ifndef LATHE_CLI_BENCH_TEAM_H
#define LATHE_CLI_BENCH_TEAM_H

#include <stddef.h>
#include <stdint.h>

typedef struct bench_team bench_team;

/* Does bytes [begin, end). */
typedef void bench_team_fn(void *ctx, size_t begin, size_t end);

/* Starts a team of n_threads, the caller's thread included. NULL if a thread cannot be started. */
bench_team *bench_team_start(uint32_t n_threads);

/* Does n_bytes `rounds` times, each thread its own part, and returns when all have finished. */
void bench_team_run(bench_team *team, bench_team_fn *fn, void *ctx, size_t n_bytes,
                    uint64_t rounds);

/* Ends the team. NULL is legal. */
void bench_team_end(bench_team *team);

#endif
