/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the bench. */
#ifndef LATHE_CLI_BENCH_CASES_H
#define LATHE_CLI_BENCH_CASES_H

#include <lathe/lathe.h>

enum { BENCH_NAME = 48 };

/* One conversion. The granularity is that of its quantized side. */
typedef struct bench_case {
    char pair[BENCH_NAME]; /* "f32->i8" */
    char name[BENCH_NAME]; /* "f32->i8/row", or the pair where nothing is quantized */
    lathe_dtype from;
    lathe_dtype to;
    lathe_granularity granularity;
    uint64_t group_size;
} bench_case;

/* The list, sorted by source; the caller frees it with free. */
bench_case *bench_cases(size_t *n_cases);

/* Keeps what the filter names: the cases whose pair or name it is, or, if there are none, those
 * whose name contains it. Returns how many are left. */
size_t bench_filter(bench_case *cases, size_t n_cases, const char *filter);

#endif
