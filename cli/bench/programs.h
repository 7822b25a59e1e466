/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of a GPU, built by several processes. */
#ifndef LATHE_CLI_BENCH_PROGRAMS_H
#define LATHE_CLI_BENCH_PROGRAMS_H

#include "bench.h"

/* Has the programs of b->cases built by other processes, if there are many and b->device is a GPU,
 * and waits for them. Where that fails they are built later. */
void bench_spawn_builders(bench *b);

/* Builds, in such a process, the programs of the pairs that its standard input names. */
lathe_status bench_build_programs(bench *b);

#endif
