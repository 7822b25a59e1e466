/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench: measures conversions against copies of the same number of bytes. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

enum {
    KEY_FILTER = 256,
    KEY_THREADS,
    KEY_SIZE,
    KEY_ISA,
    KEY_REPEAT,
    KEY_QUICK,
    KEY_STRATEGIES,
};

static const struct argp_option option_list[] = {
    {"filter", KEY_FILTER, "TEXT", 0,
     "Only the conversion TEXT, such as f32->i8 or f32->i8/row; else those whose name contains it",
     0},
    {"strategies", KEY_STRATEGIES, "NAME", OPTION_ARG_OPTIONAL,
     "In place of conversions, measure what the strategies are worth, or the one of that name", 0},
    {"threads", KEY_THREADS, "N,M,...", 0,
     "Measure with N threads, then M, ... (default 1; with an OpenCL device, as many as there are "
     "processors)",
     0},
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
        if (options->n_threads == BENCH_MOST_THREADS) {
            argp_error(state, "--threads: more than %d numbers", BENCH_MOST_THREADS);
            return;
        }
        options->threads[options->n_threads++] = cli_option_threads(state, part);
    }
    if (options->n_threads == 0) {
        argp_error(state, "--threads: a number is missing");
    }
}

static void take_strategy(bench_options *options, struct argp_state *state, const char *name) {
    options->strategy = name != NULL ? name : "";
    if (name != NULL && !bench_is_strategy(name)) {
        argp_error(state, "--strategies: '%s' is none of %s", name, bench_strategy_names());
    }
}

static void check_options(const bench_options *options, struct argp_state *state) {
    if (options->strategy != NULL && (options->filter != NULL || options->n_threads > 1)) {
        argp_error(state, "--strategies: does not go with --filter or several numbers of threads");
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    bench_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->engine;
        return 0;
    case KEY_FILTER:
        options->filter = arg;
        return 0;
    case KEY_THREADS:
        take_threads(options, state, arg);
        return 0;
    case KEY_SIZE:
        options->size = cli_option_size(state, "--size", arg);
        if (options->size < BENCH_ROW_ELEMS * 4 || options->size > UINT64_C(1) << 46) {
            argp_error(state, "--size: '%s' is not between 16KiB and 64TiB", arg);
        }
        return 0;
    case KEY_ISA:
        options->engine.config.isa = cli_option_isa(state, arg);
        return 0;
    case KEY_REPEAT:
        options->repeat = cli_option_count(state, "--repeat", arg, 1, BENCH_MOST_REPEATS);
        return 0;
    case KEY_QUICK:
        options->quick = true;
        return 0;
    case KEY_STRATEGIES:
        take_strategy(options, state, arg);
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "too many arguments");
        return 0;
    case ARGP_KEY_END:
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{.argp = &cli_engine_argp}, {0}};

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .children = children,
    .doc = "Measure conversions of a tensor with rows of 4096 elements."
           "\v"
           "Every repetition times the conversion into a result that exists already, and beside it "
           "a copy of the same number of bytes (reads and writes): memcpy with as many threads, or "
           "the OpenCL device's own. Speeds are medians; the ratio is the median of the "
           "repetitions' own ratios.",
};

lathe_status bench_make_base(bench *b) {
    if (b->base != NULL) {
        return LATHE_OK;
    }
    lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = b->shape};
    b->shape[0] = b->options->size / 4 / BENCH_ROW_ELEMS;
    b->shape[1] = BENCH_ROW_ELEMS;
    lathe_status status = lathe_tensor_create(b->pool, &desc, &b->base);
    if (status == LATHE_OK) {
        cli_weights(0, 0, (size_t)(b->shape[0] * b->shape[1]), lathe_tensor_mutable_data(b->base));
    }
    return status;
}

lathe_target bench_target(const bench_case *c, lathe_dtype dtype) {
    lathe_target target = {.struct_size = sizeof(target), .dtype = dtype};
    if (lathe_dtype_is_quantized(dtype)) {
        target.granularity = c->granularity;
        target.group_size = c->group_size;
    }
    return target;
}

lathe_status bench_make_source(bench *b, const bench_case *c) {
    lathe_target target = bench_target(c, c->from);
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

/* Finds out which device --device means here. */
static lathe_status find_device(bench *b, uint64_t *first_engine_ns) {
    lathe_engine *engine = NULL;
    uint64_t start_ns = cli_now_ns();
    lathe_status status = cli_engine_create(&b->options->engine, &engine);
    *first_engine_ns = cli_now_ns() - start_ns;
    if (status == LATHE_OK) {
        status = lathe_engine_device(engine, &b->device);
    }
    lathe_engine_free(engine);
    return status;
}

/* The engine that makes the sources. */
static lathe_status make_setup(bench *b, uint32_t *n_threads) {
    lathe_device_info cpu = {.struct_size = sizeof(cpu)};
    lathe_status status = lathe_pool_create(NULL, &b->pool);
    if (status == LATHE_OK) {
        const cli_engine_options options = {.config = {.pool = b->pool}};
        status = cli_engine_create(&options, &b->setup);
    }
    if (status == LATHE_OK) {
        status = lathe_engine_device(b->setup, &cpu);
    }
    *n_threads = cpu.threads;
    return status;
}

static int run_conversions(bench *b, uint32_t n_processors, uint64_t first_engine_ns) {
    const bench_options *options = b->options;
    bool on_cpu = strcmp(b->device.selector, "cpu") == 0;
    const uint32_t default_threads = on_cpu ? 1 : n_processors;
    const uint32_t *threads = options->n_threads != 0 ? options->threads : &default_threads;
    size_t n = options->n_threads != 0 ? options->n_threads : 1;
    int status = CLI_OK;
    bench_report_head(b);
    for (size_t i = 0; i < n && status == CLI_OK; i++) {
        b->n_threads = threads[i];
        status = on_cpu ? bench_run_cpu(b) : bench_run_opencl(b, first_engine_ns);
    }
    return status;
}

static int run_all(bench *b, uint32_t n_processors, uint64_t first_engine_ns) {
    if (b->options->strategy == NULL) {
        return bench_make_base(b) == LATHE_OK ? run_conversions(b, n_processors, first_engine_ns)
                                              : cli_fail_last();
    }
    b->n_threads = b->options->n_threads != 0 ? b->options->threads[0] : n_processors;
    return bench_run_strategies(b);
}

static int print_json(const bench *b) {
    json_t *object = json_pack("{s:O, s:s, s:o}", "results", b->results, "device",
                               b->device.selector, "device_name", cli_json_text(b->device.name));
    if (b->start != NULL) {
        json_object_set(object, "start", b->start);
    }
    return cli_print_json(object);
}

static int run(bench *b) {
    const bench_options *options = b->options;
    uint64_t first_engine_ns = 0;
    uint32_t n_processors = 0;
    if (find_device(b, &first_engine_ns) != LATHE_OK) {
        return cli_fail_last();
    }
    bench_case *cases = bench_cases(strcmp(b->device.selector, "cpu") != 0, &b->n_cases);
    if (options->filter != NULL) {
        b->n_cases = bench_filter(cases, b->n_cases, options->filter);
    }
    b->cases = cases;
    int status = CLI_OK;
    if (b->n_cases == 0) {
        status = cli_fail("no conversion is named like '%s'", options->filter);
    } else if (make_setup(b, &n_processors) != LATHE_OK) {
        status = cli_fail_last();
    } else {
        b->results = options->json ? json_array() : NULL;
        status = run_all(b, n_processors, first_engine_ns);
    }
    bool has_results = status == CLI_OK || json_array_size(b->results) != 0;
    if (b->results != NULL && has_results && print_json(b) != CLI_OK) {
        status = CLI_FAILURE;
    }
    free(cases);
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
    bench_options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    set_defaults(&options);

    bench b = {.options = &options, .device = {.struct_size = sizeof(b.device)}};
    int status = run(&b);
    lathe_tensor_release(b.source);
    lathe_tensor_release(b.base);
    lathe_engine_free(b.setup);
    lathe_pool_release(b.pool);
    json_decref(b.results);
    json_decref(b.start);
    return status;
}
