/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of lathe bench. */
#ifndef LATHE_CLI_BENCH_OPTIONS_H
#define LATHE_CLI_BENCH_OPTIONS_H

#include "cli.h"

enum {
    BENCH_ROW_ELEMS = 4096, /* unless the options say otherwise */
    BENCH_GROUP_SIZE = 128,
    BENCH_MOST_THREADS = 32,
    BENCH_MOST_SIZES = 32,
    BENCH_MOST_ISAS = 8,
};

/* Of --size, in bytes; and a single row's elements: whole bytes of every dtype, and whole blocks of
 * every peer. */
#define BENCH_LEAST_SIZE UINT64_C(4096)
#define BENCH_ELEM_QUANTUM UINT64_C(256)

typedef struct bench_options {
    cli_engine_options engine;
    const char *filter;
    const char *strategy; /* NULL: conversions; "": every case of --strategies; else this one */
    const char *folder;   /* for the files of --strategies; NULL: none */
    uint32_t threads[BENCH_MOST_THREADS];
    size_t n_threads; /* 0: by default */
    uint64_t sizes[BENCH_MOST_SIZES];
    size_t n_sizes;
    bool sweep; /* the sizes depend on the caches */
    uint64_t row_elems;
    uint64_t group_size;
    lathe_isa isas[BENCH_MOST_ISAS];
    size_t n_isas; /* 0: the engine's */
    uint64_t repeat;
    bool quick;
    bool all;
    bool builds;  /* programs alone, of the pairs that its input names */
    bool kernels; /* on the calling thread, without what a call costs */
    bool peers;
    bool json;
    bool csv;
    const char *compare; /* NULL: nothing; else earlier results */
    double threshold;    /* of --compare: a part of the time */
    bool threshold_given;
    const char *plot;    /* NULL: nothing; else the file to write */
    const char *earlier; /* NULL: measure; else results to report again */
} bench_options;

/* argp ends the tool where the command line is wrong. */
void bench_parse_options(int argc, char **argv, bench_options *options);

#endif
