/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench: measures conversions against memcpy of the same number of bytes. */
#include "bench_cases.h"
#include "cli.h"
#include "copy_team.h"
#include <stdlib.h>
#include <string.h>

enum { ROW_ELEMS = 4096, MOST_THREADS = 32, MOST_REPEATS = 1000 };

typedef struct bench_options {
    const char *filter;
    uint32_t threads[MOST_THREADS];
    size_t n_threads;
    uint64_t size;
    uint64_t repeat;
    lathe_isa isa;
    bool quick;
    bool json;
} bench_options;

enum { KEY_FILTER = 256, KEY_THREADS, KEY_SIZE, KEY_ISA, KEY_REPEAT, KEY_QUICK };

static const struct argp_option option_list[] = {
    {"filter", KEY_FILTER, "TEXT", 0,
     "Only the conversion TEXT, such as f32->i8 or f32->i8/row; else those whose name contains it",
     0},
    {"threads", KEY_THREADS, "N,M,...", 0, "Measure with N threads, then M, ... (default 1)", 0},
    {"size", KEY_SIZE, "SIZE", 0, "Bytes of the tensor in F32 (default 256MiB)", 0},
    {"isa", KEY_ISA, "auto|scalar|avx2|avx512", 0, "The highest CPU kernels to use (default auto)",
     0},
    {"repeat", KEY_REPEAT, "N", 0, "Take the median of N repetitions (default 9)", 0},
    {"quick", KEY_QUICK, NULL, 0, "Less of both: --size 64MiB --repeat 5 unless given", 0},
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {0},
};

static void take_threads(bench_options *options, struct argp_state *state, char *arg) {
    char *rest = NULL;
    options->n_threads = 0;
    for (char *part = strtok_r(arg, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest)) {
        if (options->n_threads == MOST_THREADS) {
            argp_error(state, "--threads: more than %d numbers", MOST_THREADS);
            return;
        }
        options->threads[options->n_threads++] = cli_option_threads(state, part);
    }
    if (options->n_threads == 0) {
        argp_error(state, "--threads: a number is missing");
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    bench_options *options = state->input;
    switch (key) {
    case KEY_FILTER:
        options->filter = arg;
        return 0;
    case KEY_THREADS:
        take_threads(options, state, arg);
        return 0;
    case KEY_SIZE:
        options->size = cli_option_size(state, "--size", arg);
        if (options->size < ROW_ELEMS * 4 || options->size > UINT64_C(1) << 46) {
            argp_error(state, "--size: '%s' is not between 16KiB and 64TiB", arg);
        }
        return 0;
    case KEY_ISA:
        options->isa = cli_option_isa(state, arg);
        return 0;
    case KEY_REPEAT:
        options->repeat = cli_option_count(state, "--repeat", arg, 1, MOST_REPEATS);
        return 0;
    case KEY_QUICK:
        options->quick = true;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "too many arguments");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .doc = "Measure conversions of a tensor with rows of 4096 elements."
           "\v"
           "Every repetition times the conversion into a result that exists already, and beside it "
           "memcpy moving the same number of bytes (reads and writes) with as many threads. Speeds "
           "are medians; the ratio is the median of the repetitions' own ratios.",
};

/* What all measurements share. */
typedef struct bench {
    const bench_options *options;
    lathe_pool *pool;
    lathe_engine *setup;  /* makes the sources, on all processors */
    lathe_tensor *base;   /* the F32 tensor */
    lathe_tensor *source; /* the base in the dtype of the last case */
    void *copy_src;       /* copy_bytes each */
    void *copy_dst;
    size_t copy_bytes;
    uint64_t shape[2];
    json_t *results; /* with --json */
} bench;

/* The medians of one case. */
typedef struct measurement {
    uint64_t bytes;
    double seconds;
    double copy_seconds;
    double ratio;
} measurement;

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof(*values), compare_doubles);
    return n % 2 != 0 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double seconds_since(uint64_t start_ns) {
    return (double)(cli_now_ns() - start_ns) * 1e-9;
}

static lathe_status make_base(bench *b) {
    lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = b->shape};
    lathe_status status = lathe_tensor_create(b->pool, &desc, &b->base);
    if (status == LATHE_OK) {
        cli_weights(0, 0, (size_t)(b->shape[0] * b->shape[1]), lathe_tensor_mutable_data(b->base));
    }
    return status;
}

static lathe_target case_target(const bench_case *c, lathe_dtype dtype) {
    lathe_target target = {.struct_size = sizeof(target), .dtype = dtype};
    if (lathe_dtype_is_quantized(dtype)) {
        target.granularity = c->granularity;
        target.group_size = c->group_size;
    }
    return target;
}

/* Makes b->source what the case starts from, unless it is already. */
static lathe_status make_source(bench *b, const bench_case *c) {
    lathe_target target = case_target(c, c->from);
    if (b->source != NULL && lathe_tensor_dtype(b->source) == c->from &&
        lathe_tensor_granularity(b->source) == target.granularity) {
        return LATHE_OK;
    }
    lathe_tensor_release(b->source);
    b->source = NULL;
    if (c->from == LATHE_F32) {
        b->source = lathe_tensor_retain(b->base);
        return LATHE_OK;
    }
    return lathe_convert(b->setup, b->base, &target, &b->source, NULL);
}

/* Makes the buffers of the yardstick large enough, and touches them. */
static lathe_status make_copy_buffers(bench *b, size_t n_bytes) {
    if (n_bytes <= b->copy_bytes) {
        return LATHE_OK;
    }
    lathe_pool_free(b->pool, b->copy_src);
    lathe_pool_free(b->pool, b->copy_dst);
    b->copy_src = NULL;
    b->copy_dst = NULL;
    b->copy_bytes = 0;
    lathe_status status = lathe_pool_alloc(b->pool, n_bytes, &b->copy_src);
    if (status == LATHE_OK) {
        status = lathe_pool_alloc(b->pool, n_bytes, &b->copy_dst);
    }
    if (status == LATHE_OK) {
        b->copy_bytes = n_bytes;
        memset(b->copy_src, 1, n_bytes);
        memset(b->copy_dst, 2, n_bytes);
    }
    return status;
}

static lathe_status convert_rounds(lathe_engine *engine, const bench *b, const lathe_target *target,
                                   lathe_tensor *result, uint64_t rounds) {
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_into(engine, b->source, target, result, NULL);
    }
    return status;
}

/* How many conversions make a measurement long enough for the clock and the scheduler. */
static lathe_status choose_rounds(lathe_engine *engine, const bench *b, const lathe_target *target,
                                  lathe_tensor *result, uint64_t *rounds) {
    const double least_seconds = 5e-3;
    for (uint64_t n = 1;; n *= 4) {
        uint64_t start_ns = cli_now_ns();
        lathe_status status = convert_rounds(engine, b, target, result, n);
        double seconds = seconds_since(start_ns);
        if (status != LATHE_OK || seconds >= least_seconds) {
            *rounds = n;
            return status;
        }
    }
}

/* The repetitions: conversion and copy back to back, taking turns at going first. */
static lathe_status repeat(lathe_engine *engine, bench *b, copy_team *team,
                           const lathe_target *target, lathe_tensor *result, measurement *m) {
    uint64_t rounds = 1;
    size_t n = (size_t)b->options->repeat;
    double times[MOST_REPEATS];
    double copy_times[MOST_REPEATS];
    double ratios[MOST_REPEATS];
    lathe_status status = choose_rounds(engine, b, target, result, &rounds);
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        for (size_t turn = 0; turn < 2 && status == LATHE_OK; turn++) {
            uint64_t start_ns = cli_now_ns();
            if ((i + turn) % 2 == 0) {
                copy_team_run(team, b->copy_dst, b->copy_src, (size_t)(m->bytes / 2), rounds);
                copy_times[i] = seconds_since(start_ns) / (double)rounds;
            } else {
                status = convert_rounds(engine, b, target, result, rounds);
                times[i] = seconds_since(start_ns) / (double)rounds;
            }
        }
        ratios[i] = copy_times[i] / times[i];
    }
    if (status == LATHE_OK) {
        m->seconds = median(times, n);
        m->copy_seconds = median(copy_times, n);
        m->ratio = median(ratios, n);
    }
    return status;
}

static lathe_status measure(bench *b, const bench_case *c, lathe_engine *engine, copy_team *team,
                            measurement *m) {
    lathe_target target = case_target(c, c->to);
    lathe_tensor *result = NULL;
    lathe_status status = make_source(b, c);
    if (status == LATHE_OK) {
        status = lathe_convert(engine, b->source, &target, &result, NULL);
    }
    if (status == LATHE_OK) {
        m->bytes = lathe_tensor_n_bytes(b->source) + lathe_tensor_n_bytes(result);
        status = make_copy_buffers(b, (size_t)(m->bytes / 2));
    }
    if (status == LATHE_OK) {
        status = repeat(engine, b, team, &target, result, m);
    }
    lathe_tensor_release(result);
    return status;
}

static void report(bench *b, const bench_case *c, const lathe_device_info *device,
                   const measurement *m) {
    double gbps = (double)m->bytes / m->seconds * 1e-9;
    double copy_gbps = (double)m->bytes / m->copy_seconds * 1e-9;
    if (b->results != NULL) {
        json_array_append_new(b->results,
                              json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:f, s:f, s:f, s:f}",
                                        "name", c->name, "device", device->kind, "isa",
                                        lathe_isa_name(device->isa), "threads",
                                        cli_json_count(device->threads), "elements",
                                        cli_json_count(lathe_tensor_n_elems(b->base)), "bytes",
                                        cli_json_count(m->bytes), "gbps", gbps, "copy_gbps",
                                        copy_gbps, "ratio", m->ratio, "seconds", m->seconds));
        return;
    }
    printf("%-26s %-7s %7u %10.2f %10.2f %7.2f\n", c->name, lathe_isa_name(device->isa),
           (unsigned)device->threads, gbps, copy_gbps, m->ratio);
    fflush(stdout);
}

/* All cases with one number of threads. */
static int run_cases(bench *b, const bench_case *cases, size_t n_cases, uint32_t n_threads) {
    int status = CLI_OK;
    lathe_engine *engine = NULL;
    copy_team *team = NULL;
    lathe_device_info device = {.struct_size = sizeof(device)};
    lathe_config config = {.struct_size = sizeof(config),
                           .n_threads = n_threads,
                           .isa = b->options->isa,
                           .pool = b->pool};
    if (lathe_engine_create(&config, &engine) != LATHE_OK ||
        lathe_engine_device(engine, &device) != LATHE_OK) {
        status = cli_fail_last();
        goto out;
    }
    team = copy_team_start(n_threads);
    if (team == NULL) {
        status = cli_fail("cannot start %u threads", (unsigned)n_threads);
        goto out;
    }
    for (size_t i = 0; i < n_cases && status == CLI_OK; i++) {
        measurement m = {0};
        if (measure(b, &cases[i], engine, team, &m) != LATHE_OK) {
            status = cli_fail("%s: %s", cases[i].name, lathe_last_error()->message);
        } else {
            report(b, &cases[i], &device, &m);
        }
    }
out:
    copy_team_end(team);
    lathe_engine_free(engine);
    return status;
}

static int run(bench *b, const bench_case *cases, size_t n_cases) {
    const bench_options *options = b->options;
    b->shape[0] = options->size / 4 / ROW_ELEMS;
    b->shape[1] = ROW_ELEMS;
    if (lathe_pool_create(NULL, &b->pool) != LATHE_OK) {
        return cli_fail_last();
    }
    lathe_config config = {.struct_size = sizeof(config), .pool = b->pool};
    if (lathe_engine_create(&config, &b->setup) != LATHE_OK || make_base(b) != LATHE_OK) {
        return cli_fail_last();
    }
    if (options->json) {
        b->results = json_array();
    } else {
        printf("%-26s %-7s %7s %10s %10s %7s\n", "conversion", "isa", "threads", "GB/s",
               "copy GB/s", "ratio");
    }
    int status = CLI_OK;
    for (size_t i = 0; i < options->n_threads && status == CLI_OK; i++) {
        status = run_cases(b, cases, n_cases, options->threads[i]);
    }
    if (status == CLI_OK && options->json) {
        status = cli_print_json(json_pack("{s:O}", "results", b->results));
    }
    return status;
}

static void set_defaults(bench_options *options) {
    if (options->size == 0) {
        options->size = UINT64_C(1) << (options->quick ? 26 : 28);
    }
    if (options->repeat == 0) {
        options->repeat = options->quick ? 5 : 9;
    }
}

int cli_bench(int argc, char **argv) {
    bench_options options = {.threads = {1}, .n_threads = 1};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    set_defaults(&options);

    bench b = {.options = &options};
    size_t n_cases = 0;
    bench_case *cases = bench_cases(&n_cases);
    if (options.filter != NULL) {
        n_cases = bench_filter(cases, n_cases, options.filter);
    }
    int status = n_cases != 0 ? run(&b, cases, n_cases)
                              : cli_fail("no conversion is named like '%s'", options.filter);
    lathe_pool_free(b.pool, b.copy_src);
    lathe_pool_free(b.pool, b.copy_dst);
    lathe_tensor_release(b.source);
    lathe_tensor_release(b.base);
    lathe_engine_free(b.setup);
    lathe_pool_release(b.pool);
    json_decref(b.results);
    free(cases);
    return status;
}
