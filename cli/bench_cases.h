/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the bench. */
#ifndef LATHE_CLI_BENCH_CASES_H
#define LATHE_CLI_BENCH_CASES_H

#include <lathe/lathe.h>
#include <stdbool.h>

enum { BENCH_NAME = 48 };

/* What a case measures; all but the first on an OpenCL device only. */
typedef enum bench_kind {
    BENCH_CONVERT, /* from one tensor in the device's own memory into another */
    BENCH_STATS,   /* a pass that finds the statistics for the target's scales */
    BENCH_STREAM,  /* from and to the host's memory */
    BENCH_START,   /* a new engine, and its first conversion */
} bench_kind;

/* One measurement. The granularity is that of the quantized side. */
typedef struct bench_case {
    bench_kind kind;
    lathe_memory memory;   /* BENCH_STREAM: where both sides are */
    char pair[BENCH_NAME]; /* "f32->i8" */
    char name[BENCH_NAME]; /* "f32->i8/row", or the pair where nothing is quantized */
    lathe_dtype from;
    lathe_dtype to;
    lathe_granularity granularity;
    uint64_t group_size;
} bench_case;

/* The conversions, sorted by source, and for an OpenCL device the other kinds after them; the
 * caller frees the list with free. */
bench_case *bench_cases(bool with_opencl, size_t *n_cases);

/* Keeps what the filter names: the cases whose pair or name it is, or, if there are none, those
 * whose name contains it. Returns how many are left. */
size_t bench_filter(bench_case *cases, size_t n_cases, const char *filter);

#endif
