/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of results: measured, printed and collected. */
#ifndef LATHE_CLI_BENCH_REPORT_H
#define LATHE_CLI_BENCH_REPORT_H

#include "bench.h"
#include "measure.h"

/* What an act is to the row. */
typedef enum bench_role {
    BENCH_ROLE_SELF,      /* act 0 */
    BENCH_ROLE_YARDSTICK, /* the copy, or read, of the ratio */
    BENCH_ROLE_OTHER,     /* another one */
    BENCH_ROLE_COPY,      /* the fastest copy, read and write: of them the limit is made */
    BENCH_ROLE_READ,
    BENCH_ROLE_WRITE,
    BENCH_ROLE_PEER,
    BENCH_N_ROLES,
} bench_role;

typedef struct bench_row {
    const bench_case *bench_case;
    uint64_t bytes;      /* of both sides; each yardstick moves as many */
    uint64_t read_bytes; /* what has to be read and written: of the limit */
    uint64_t written_bytes;
    bench_role roles[BENCH_MOST_ACTS];
    const char *names[BENCH_MOST_ACTS];
    bench_acts acts;
    bench_times times;
} bench_row;

/* Counts what a conversion moves: data and scales, each side once; read_bytes by its reads. */
void bench_row_count_bytes(bench_row *row, const lathe_tensor *source, const lathe_tensor *result);

/* Adds an act. */
void bench_row_add(bench_row *row, bench_fn *run, void *ctx, bench_role role, const char *name);

/* Measures the row, whose first act is BENCH_ROLE_SELF, and reports it. */
lathe_status bench_row_measure(bench *b, bench_row *row);

/* The head of the table, if there is one. */
void bench_report_head(const bench *b);

/* The case failed: says so on stderr. Returns the exit status. */
int bench_report_failure(const char *name);

/* Before a case: the progress line. */
void bench_report_progress(bench *b, const char *name);

/* Adds a row of results, and prints `line` of the table. */
void bench_report_add(bench *b, json_t *row, const char *line);

#endif
