/* SPDX-License-Identifier: Apache-2.0 */
/* The yardstick of the bench: memcpy, split over threads that wait for their turn. */
#ifndef LATHE_CLI_COPY_TEAM_H
#define LATHE_CLI_COPY_TEAM_H

#include <stddef.h>
#include <stdint.h>

typedef struct copy_team copy_team;

/* Starts a team of n_threads, the caller's thread included. NULL if a thread cannot be started. */
copy_team *copy_team_start(uint32_t n_threads);

/* Copies n_bytes `rounds` times, each thread its own part, and returns when all have finished. */
void copy_team_run(copy_team *team, void *dst, const void *src, size_t n_bytes, uint64_t rounds);

/* Ends the team. NULL is legal. */
void copy_team_end(copy_team *team);

#endif
