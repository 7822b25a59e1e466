/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine's memory can do: copies, reads and writes of the CPU, with a team of threads. */
#ifndef LATHE_CLI_BENCH_YARDSTICKS_H
#define LATHE_CLI_BENCH_YARDSTICKS_H

#include "loops.h"
#include "team.h"
#include <lathe/lathe.h>
#include <stdbool.h>

typedef enum bench_yardstick {
    BENCH_MEMCPY,
    BENCH_COPY_PREFETCH,
    BENCH_COPY_STREAM,
    BENCH_READ,
    BENCH_READ_PREFETCH,
    BENCH_MEMSET,
    BENCH_WRITE_STREAM,
    BENCH_N_YARDSTICKS,
} bench_yardstick;

/* The fastest of each kind for some number of bytes. */
typedef struct bench_best {
    bool is_known;
    bench_yardstick copy;
    bench_yardstick read;
    bench_yardstick write;
} bench_best;

typedef struct bench_yardsticks {
    lathe_pool *pool;
    bench_team *team;
    const bench_loops *loops;
    unsigned char *src; /* half of buffer_bytes; what is read and written lies in both */
    unsigned char *dst;
    size_t buffer_bytes;
    size_t bytes; /* that every yardstick moves: a copy reads half of them, and writes half */
    bench_best best[64]; /* by the power of two of the bytes */
    bench_best now;      /* for `bytes` */
} bench_yardsticks;

/* Errors: INSUFFICIENT_MEMORY (threads, too). */
lathe_status bench_yardsticks_open(bench_yardsticks *y, lathe_pool *pool, uint32_t n_threads);

/* Legal after a failed bench_yardsticks_open, and on a zeroed struct. */
void bench_yardsticks_close(bench_yardsticks *y);

/* Makes room for `bytes`, and finds the fastest of each kind: y->now. Errors: INSUFFICIENT_MEMORY.
 */
lathe_status bench_yardsticks_set(bench_yardsticks *y, uint64_t bytes);

const char *bench_yardstick_name(bench_yardstick which);

/* bench_fns, whose ctx is the struct: memcpy, and the fastest copy, read and write. */
lathe_status bench_run_memcpy(void *ctx, uint64_t rounds);
lathe_status bench_run_copy(void *ctx, uint64_t rounds);
lathe_status bench_run_read(void *ctx, uint64_t rounds);
lathe_status bench_run_write(void *ctx, uint64_t rounds);

#endif
