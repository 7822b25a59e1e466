/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of lathe bench share. */
#ifndef LATHE_CLI_BENCH_H
#define LATHE_CLI_BENCH_H

#include "bench_cases.h"
#include "cli.h"

enum { BENCH_ROW_ELEMS = 4096, BENCH_MOST_THREADS = 32, BENCH_MOST_REPEATS = 1000 };

typedef struct bench_options {
    cli_engine_options engine;
    const char *filter;
    const char *strategy; /* NULL: conversions; "": every case of --strategies; else this one */
    uint32_t threads[BENCH_MOST_THREADS];
    size_t n_threads; /* 0: by default */
    uint64_t size;
    uint64_t repeat;
    bool quick;
    bool json;
} bench_options;

/* What all measurements share. */
typedef struct bench {
    const bench_options *options;
    lathe_pool *pool;
    lathe_engine *setup;  /* makes the sources, on all processors */
    lathe_tensor *base;   /* the F32 tensor */
    lathe_tensor *source; /* the base in the dtype of the last case */
    uint64_t shape[2];
    const bench_case *cases;
    size_t n_cases;
    const char *strategy;     /* the case of --strategies that is running */
    lathe_device_info device; /* that is being measured */
    uint32_t n_threads;       /* of the host */
    json_t *results;          /* with --json */
    json_t *start;            /* with --json, on an OpenCL device */
} bench;

/* Makes b->source what the case starts from, unless it is already. */
lathe_status bench_make_source(bench *b, const bench_case *c);

/* Makes b->base, the F32 tensor of b->options->size bytes, unless it is there already. */
lathe_status bench_make_base(bench *b);

/* The target of a case whose dtype is this one. */
lathe_target bench_target(const bench_case *c, lathe_dtype dtype);

/* The cases on the CPU, with b->n_threads threads. Returns the exit status. */
int bench_run_cpu(bench *b);

/* The cases on b->device. first_engine_ns is how long the process's first engine took to make.
 * Returns the exit status. bench_opencl.c, or bench_no_opencl.c in a build without. */
int bench_run_opencl(bench *b, uint64_t first_engine_ns);

/* bench_strategies.c */

/* Whether --strategies has a case of that name, and the names of all. */
bool bench_is_strategy(const char *name);
const char *bench_strategy_names(void);

/* The cases that b->options->strategy asks for. Returns the exit status. */
int bench_run_strategies(bench *b);

/* bench_measure.c */

/* Something to be timed: it is done `rounds` times. */
typedef lathe_status bench_fn(void *ctx, uint64_t rounds);

/* Act 0 is what is measured; the others are what it is compared with. */
enum { BENCH_MOST_ACTS = 6 };
typedef struct bench_acts {
    void *ctx;
    size_t n;
    bench_fn *run[BENCH_MOST_ACTS];
} bench_acts;

/* Medians over the repetitions, for each act: seconds of one round, and those seconds over act 0's
 * in the same repetition. */
typedef struct bench_times {
    double seconds[BENCH_MOST_ACTS];
    double ratio[BENCH_MOST_ACTS];
} bench_times;

/* Runs the acts back to back, taking turns at going first. */
lathe_status bench_measure(const bench_acts *acts, uint64_t n_repeats, bench_times *times);

double bench_median(double *values, size_t n);

double bench_seconds_since(uint64_t start_ns);

/* bench_report.c */

typedef struct bench_row {
    const bench_case *bench_case;
    uint64_t bytes;        /* that every act moves */
    const char *yardstick; /* act 1 */
    const char *other;     /* act 2; NULL: there is none */
    bench_times times;
} bench_row;

/* The head of the table; nothing with --json. */
void bench_report_head(const bench *b);

void bench_report_row(bench *b, const bench_row *row);

#endif
