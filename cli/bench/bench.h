/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of lathe bench share. */
#ifndef LATHE_CLI_BENCH_H
#define LATHE_CLI_BENCH_H

#include "cases.h"
#include "cli.h"

enum {
    BENCH_ROW_ELEMS = 4096, /* unless the options say otherwise */
    BENCH_GROUP_SIZE = 128,
    BENCH_MOST_THREADS = 32,
    BENCH_MOST_SIZES = 32,
    BENCH_MOST_ISAS = 8,
    BENCH_MOST_REPEATS = 1000,
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

/* options.c: argp ends the tool where the command line is wrong. */
void bench_parse_options(int argc, char **argv, bench_options *options);

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

/* Makes b->source what the case starts from, unless it is already. */
lathe_status bench_make_source(bench *b, const bench_case *c);

/* Makes b->base, the F32 tensor of b->size bytes, unless it is there already. */
lathe_status bench_make_base(bench *b);

/* Frees both. */
void bench_drop_tensors(bench *b);

/* The target of a case whose dtype is this one. */
lathe_target bench_target(const bench_case *c, lathe_dtype dtype);

/* The cases on the CPU, with b->n_threads threads and the kernels of isa, for b->size. Returns the
 * exit status. */
int bench_run_cpu(bench *b, lathe_isa isa);

/* The cases on b->device. first_engine_ns is how long the process's first engine took to make.
 * Returns the exit status. opencl.c, or no_opencl.c in a build without. */
int bench_run_opencl(bench *b, uint64_t first_engine_ns);

/* programs.c */

/* Has the programs of b->cases built by other processes, if there are many and b->device is a GPU,
 * and waits for them. Where that fails they are built later. */
void bench_spawn_builders(bench *b);

/* Builds, in such a process, the programs of the pairs that its standard input names. */
lathe_status bench_build_programs(bench *b);

/* strategies.c */

/* Whether --strategies has a case of that name, and the names of all. */
bool bench_is_strategy(const char *name);
const char *bench_strategy_names(void);

/* The cases that b->options->strategy asks for. Returns the exit status. */
int bench_run_strategies(bench *b);

/* measure.c */

/* Something to be timed: it is done `rounds` times. */
typedef lathe_status bench_fn(void *ctx, uint64_t rounds);

/* Act 0 is what is measured; the others are what it is compared with. */
enum { BENCH_MOST_ACTS = 16 };
typedef struct bench_acts {
    void *ctx;
    size_t n;
    bench_fn *run[BENCH_MOST_ACTS];
    void *each[BENCH_MOST_ACTS];         /* an act's own ctx; NULL: ctx */
    double limit_share[BENCH_MOST_ACTS]; /* how much of each act's time act 0 needs at least */
} bench_acts;

/* Medians over the repetitions, for each act: seconds of one round, and those seconds over act 0's
 * in the same repetition; and the quartiles of both. */
typedef struct bench_times {
    double seconds[BENCH_MOST_ACTS];
    double ratio[BENCH_MOST_ACTS];
    double quartiles[BENCH_MOST_ACTS][2];
    double ratio_quartiles[BENCH_MOST_ACTS][2];
    double limit; /* the part of its limit that act 0 reaches; 0: nothing limits it */
} bench_times;

/* Runs the acts back to back, taking turns at going first. */
lathe_status bench_measure(const bench_acts *acts, uint64_t n_repeats, bench_times *times);

/* Both sort the values. */
double bench_median(double *values, size_t n);
double bench_quartiles(double *values, size_t n, double quartiles[2]);

double bench_seconds_since(uint64_t start_ns);

/* report.c */

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

/* Whether rows are printed as they come: not with --json or --csv. */
static inline bool bench_has_table(const bench *b) {
    return !b->options->json && !b->options->csv;
}

/* The head of the table, if there is one. */
void bench_report_head(const bench *b);

/* The case failed: says so on stderr. Returns the exit status. */
int bench_report_failure(const char *name);

/* Before a case: the progress line. */
void bench_report_progress(bench *b, const char *name);

/* Adds a row of results, and prints `line` of the table. */
void bench_report_add(bench *b, json_t *row, const char *line);

/* document.c */

/* Where and with what was measured: version, compiler, CPU, date. */
json_t *bench_machine(void);

/* Adds b->device to what has been measured. */
void bench_add_device(bench *b);

/* The lines of the table's head. */
void bench_print_machine(const bench *b);
void bench_print_device(const bench *b);

/* The results with the machine and the devices, as --json prints it and --compare reads it. */
json_t *bench_document(const bench *b);

/* Returns the exit status. */
int bench_print_csv(const json_t *document);

/* compare.c */

/* Reads the document of --json. NULL: it is none, and the message is out. */
json_t *bench_load(const char *path);

/* Says on `out` what became slower or faster by more than the threshold, a part of the time, and
 * which rows only one of the documents has. Returns the exit status: CLI_FAILURE if one is slower,
 * or if they have no row in common. */
int bench_compare(const json_t *older, const json_t *newer, double threshold, FILE *out);

/* plot.c */

/* Draws the speeds of a document against the size, as SVG. Returns the exit status. */
int bench_plot(const json_t *document, const char *path);

#endif
