/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the bench. */
#ifndef LATHE_CLI_BENCH_CASES_H
#define LATHE_CLI_BENCH_CASES_H

#include <lathe/lathe.h>
#include <stdbool.h>

enum { BENCH_NAME = 48 };

/* What a case measures. */
typedef enum bench_kind {
    BENCH_CONVERT, /* from one tensor in the device's own memory into another */
    BENCH_ENCODE,  /* kernels alone: codes with a scale that is given */
    BENCH_STATS,   /* a pass that finds the statistics for the target's scales */
    BENCH_STREAM,  /* OpenCL: from and to the host's memory */
    BENCH_START,   /* OpenCL: a new engine, and its first conversion */
} bench_kind;

/* How many cases: a dozen, those for which kernels are tuned, or all. */
typedef enum bench_extent { BENCH_CORE, BENCH_USUAL, BENCH_ALL } bench_extent;

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

/* What to list. */
typedef struct bench_selection {
    bool on_opencl;
    bool kernels;
    bench_extent extent;
    const char *filter; /* NULL: everything */
    uint64_t group_size;
} bench_selection;

/* The conversions, sorted by source, and the other kinds after them. A filter keeps, of all cases,
 * those whose pair or name it is, or, if there are none, those whose name contains it. The caller
 * frees the list with free. */
bench_case *bench_cases(const bench_selection *selection, size_t *n_cases);

/* How many times a conversion has to read its source: one scale for the tensor takes all of it. */
uint64_t bench_case_reads(const bench_case *c);

#endif
