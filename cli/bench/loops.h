/* SPDX-License-Identifier: Apache-2.0 */
/* The fastest plain copies, reads and writes of memory that this processor's instructions give. */
#ifndef LATHE_CLI_BENCH_LOOPS_H
#define LATHE_CLI_BENCH_LOOPS_H

#include <stddef.h>
#include <stdint.h>

/* Destinations begin a cache line. What a read returns depends on every byte. NULL: there is no
 * such loop beyond memcpy, or memset. */
typedef struct bench_loops {
    void (*copy_prefetch)(void *dst, const void *src, size_t n_bytes); /* both sides, ahead */
    void (*copy_stream)(void *dst, const void *src, size_t n_bytes);   /* stores past the cache */
    uint64_t (*read)(const void *src, size_t n_bytes);
    uint64_t (*read_prefetch)(const void *src, size_t n_bytes); /* four pages at a time */
    void (*write_stream)(void *dst, size_t n_bytes);
} bench_loops;

extern const bench_loops bench_loops_portable;
#if defined(__x86_64__)
extern const bench_loops bench_loops_avx2;
extern const bench_loops bench_loops_avx512;
#endif

#endif
