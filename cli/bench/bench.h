/* SPDX-License-Identifier: Apache-2.0 */
/* What all measurements of lathe bench share, and what they are made on. */
#ifndef LATHE_CLI_BENCH_H
#define LATHE_CLI_BENCH_H

#include "cases.h"
#include "options.h"

/* What all measurements share. */
typedef struct bench {
    const bench_options *options;
    int argc; /* the command line */
    char **argv;
    lathe_pool *pool;
    lathe_engine *setup;  /* makes the sources, on all processors */
    lathe_tensor *base;   /* the F32 tensor of `size` bytes */
    lathe_tensor *source; /* the base in the dtype of the last case */
    uint64_t sizes[BENCH_MOST_SIZES];
    size_t n_sizes;
    uint64_t size; /* of F32 bytes, that is being measured */
    uint64_t shape[2];
    uint32_t n_processors;
    const bench_case *cases;
    size_t n_cases;
    const char *strategy;     /* the case of --strategies that is running */
    bool has_complained;      /* it has said itself why it failed */
    lathe_device_info device; /* that is being measured */
    uint32_t n_threads;       /* of the host */
    json_t *machine;
    json_t *devices; /* that were measured */
    json_t *results;
    json_t *start; /* on an OpenCL device */
    cli_progress progress;
    size_t n_done; /* rows, of n_rows */
    size_t n_rows; /* 0: unknown */
} bench;

/* Whether rows are printed as they come: not with --json or --csv. */
static inline bool bench_has_table(const bench *b) {
    return !b->options->json && !b->options->csv;
}

/* The cases on the CPU, with b->n_threads threads and the kernels of isa, for b->size. Returns the
 * exit status. */
int bench_run_cpu(bench *b, lathe_isa isa);

/* The cases on b->device. first_engine_ns is how long the process's first engine took to make.
 * Returns the exit status. opencl.c, or no_opencl.c in a build without. */
int bench_run_opencl(bench *b, uint64_t first_engine_ns);

#endif
