/* SPDX-License-Identifier: Apache-2.0 */
/* The options of lathe bench. */
#include "options.h"
#include "measure.h"
#include "peers.h"
#include "strategies.h"
#include <string.h>

enum {
    KEY_FILTER = 256,
    KEY_THREADS,
    KEY_SIZE,
    KEY_SIZES,
    KEY_ROW,
    KEY_GROUP,
    KEY_ISA,
    KEY_REPEAT,
    KEY_QUICK,
    KEY_ALL,
    KEY_STRATEGIES,
    KEY_FOLDER,
    KEY_KERNELS,
    KEY_PEERS,
    KEY_CSV,
    KEY_COMPARE,
    KEY_THRESHOLD,
    KEY_PLOT,
    KEY_BUILD,
};

static const struct argp_option option_list[] = {
    {"filter", KEY_FILTER, "TEXT", 0,
     "Only the conversion TEXT, such as f32->i8 or f32->i8/row; else those whose name contains it",
     0},
    {"all", KEY_ALL, NULL, 0,
     "Every pair of types with every granularity, in place of those that are usual", 0},
    {"quick", KEY_QUICK, NULL, 0,
     "A dozen conversions, --size 64MiB, --repeat 5, unless given; for CI", 0},
    {"strategies", KEY_STRATEGIES, "NAME", OPTION_ARG_OPTIONAL,
     "In place of conversions, measure what the strategies are worth, or the one of that name", 0},
    {"folder", KEY_FOLDER, "FOLDER", 0,
     "With --strategies: convert checkpoints in FOLDER, too; they take up to three times --size",
     0},
    {"kernels", KEY_KERNELS, NULL, 0,
     "Without what a call of the library costs: the CPU's kernels on one thread", 0},
    {"peers", KEY_PEERS, NULL, 0,
     "--kernels, with other libraries' conversions in the same repetitions", 0},
    {"threads", KEY_THREADS, "N,M,...", 0,
     "Measure with N threads, then M, ... (default 1; with an OpenCL device, as many as there are "
     "processors)",
     0},
    {"size", KEY_SIZE, "SIZE,...", 0, "Bytes of the tensor in F32 (default 256MiB)", 0},
    {"sizes", KEY_SIZES, "sweep|SIZE,...", 0,
     "The same; sweep: from 4KiB to beyond the last cache, by factors of 4", 0},
    {"row", KEY_ROW, "N", 0, "Rows of N elements (default 4096)", 0},
    {"group", KEY_GROUP, "N", 0, "Groups of N elements, a multiple of 32 (default 128)", 0},
    {"isa", KEY_ISA, "ISA,...", 0,
     "The highest CPU kernels to use: auto (default), scalar, avx2, avx512, neon; one after "
     "another",
     0},
    {"repeat", KEY_REPEAT, "N", 0, "Take the median of N repetitions (default 9)", 0},
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {"csv", KEY_CSV, NULL, 0, "Print a table of comma-separated values", 0},
    {"compare", KEY_COMPARE, "OLD.json", 0,
     "Say what is slower than in earlier results, and exit with 1 if anything is", 0},
    {"threshold", KEY_THRESHOLD, "PERCENT", 0,
     "With --compare: ignore changes up to this (default 10)", 0},
    {"plot", KEY_PLOT, "OUT.svg", 0, "Draw the speeds against the sizes", 0},
    {"build-programs", KEY_BUILD, NULL, OPTION_HIDDEN, "For the bench itself (programs.c)", 0},
    {0},
};

/* Calls `take` for each part of a list with commas; an empty part is an error of its own. */
static void take_list(bench_options *options, struct argp_state *state, char *arg,
                      void (*take)(bench_options *options, struct argp_state *state, char *part)) {
    for (char *part = arg; part != NULL;) {
        char *comma = strchr(part, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        take(options, state, part);
        part = comma != NULL ? comma + 1 : NULL;
    }
}

static void take_threads(bench_options *options, struct argp_state *state, char *part) {
    if (options->n_threads == BENCH_MOST_THREADS) {
        argp_error(state, "--threads: more than %d numbers", BENCH_MOST_THREADS);
        return;
    }
    options->threads[options->n_threads++] = cli_option_threads(state, part);
}

static void take_isa(bench_options *options, struct argp_state *state, char *part) {
    if (options->n_isas == BENCH_MOST_ISAS) {
        argp_error(state, "--isa: more than %d names", BENCH_MOST_ISAS);
        return;
    }
    options->isas[options->n_isas++] = cli_option_isa(state, part);
}

static void take_size(bench_options *options, struct argp_state *state, char *part) {
    if (options->n_sizes == BENCH_MOST_SIZES) {
        argp_error(state, "--size: more than %d sizes", BENCH_MOST_SIZES);
        return;
    }
    const uint64_t size = cli_option_size(state, "--size", part);
    if (size < BENCH_LEAST_SIZE || size > UINT64_C(1) << 46) {
        argp_error(state, "--size: '%s' is not between 4KiB and 64TiB", part);
    }
    options->sizes[options->n_sizes++] = size;
}

static void take_sizes(bench_options *options, struct argp_state *state, char *arg) {
    options->n_sizes = 0;
    options->sweep = strcmp(arg, "sweep") == 0;
    if (!options->sweep) {
        take_list(options, state, arg, take_size);
    }
}

static void take_strategy(bench_options *options, struct argp_state *state, const char *name) {
    options->strategy = name != NULL ? name : "";
    if (name != NULL && !bench_is_strategy(name)) {
        argp_error(state, "--strategies: '%s' is none of %s", name, bench_strategy_names());
    }
}

static void check_options(const bench_options *options, struct argp_state *state) {
    const bool is_one = options->n_threads <= 1 && options->n_isas <= 1 && options->n_sizes <= 1 &&
                        !options->sweep && !options->engine.all_devices;
    if (options->strategy != NULL && (options->filter != NULL || options->kernels || !is_one)) {
        argp_error(state, "--strategies: goes with one device, one size and one number of threads, "
                          "and with no conversions");
    }
    if (options->folder != NULL && options->strategy == NULL) {
        argp_error(state, "--folder: goes with --strategies");
    }
    if (options->folder == NULL && options->strategy != NULL &&
        strcmp(options->strategy, "file") == 0) {
        argp_error(state, "--strategies=file: --folder is missing");
    }
    if (options->kernels &&
        (options->n_threads > 1 || (options->n_threads == 1 && options->threads[0] != 1))) {
        argp_error(state, "--kernels, --peers: one thread only");
    }
    if (options->json && options->csv) {
        argp_error(state, "--json and --csv: one of them");
    }
    if (options->earlier != NULL && !options->json && !options->csv && options->compare == NULL &&
        options->plot == NULL) {
        argp_error(state, "%s: earlier results are for --csv, --compare, --plot or --json",
                   options->earlier);
    }
    if (options->threshold_given && options->compare == NULL) {
        argp_error(state, "--threshold: goes with --compare");
    }
}

static void set_defaults(bench_options *options) {
    if (options->n_sizes == 0 && !options->sweep) {
        options->sizes[options->n_sizes++] = UINT64_C(1) << (options->quick ? 26 : 28);
    }
    if (options->row_elems == 0) {
        options->row_elems = BENCH_ROW_ELEMS;
    }
    if (options->group_size == 0) {
        options->group_size = BENCH_GROUP_SIZE;
    }
    if (options->repeat == 0) {
        options->repeat = options->quick ? 5 : 9;
    }
    if (!options->threshold_given) {
        options->threshold = 0.1;
    }
}

/* The options that say what becomes of the results. */
static error_t parse_report_option(int key, char *arg, struct argp_state *state) {
    bench_options *options = state->input;
    switch (key) {
    case 'j':
        options->json = true;
        return 0;
    case KEY_CSV:
        options->csv = true;
        return 0;
    case KEY_COMPARE:
        options->compare = arg;
        return 0;
    case KEY_THRESHOLD:
        options->threshold = (double)cli_option_count(state, "--threshold", arg, 0, 10000) / 100;
        options->threshold_given = true;
        return 0;
    case KEY_PLOT:
        options->plot = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (options->earlier != NULL) {
            argp_error(state, "too many arguments");
        }
        options->earlier = arg;
        return 0;
    case ARGP_KEY_END:
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The options that say what is measured. */
static error_t parse_option(int key, char *arg, struct argp_state *state) {
    bench_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        options->engine.takes_all_devices = true;
        state->child_inputs[0] = &options->engine;
        return 0;
    case KEY_FILTER:
        options->filter = arg;
        return 0;
    case KEY_ALL:
        options->all = true;
        return 0;
    case KEY_QUICK:
        options->quick = true;
        return 0;
    case KEY_STRATEGIES:
        take_strategy(options, state, arg);
        return 0;
    case KEY_FOLDER:
        options->folder = arg;
        return 0;
    case KEY_PEERS:
        options->peers = true;
        options->kernels = true;
        if (bench_peer_libraries()[0] == '\0') {
            argp_error(state,
                       "--peers: this build has no other libraries (CMake: -DLATHE_PEERS=ON)");
        }
        return 0;
    case KEY_KERNELS:
        options->kernels = true;
        return 0;
    case KEY_THREADS:
        options->n_threads = 0;
        take_list(options, state, arg, take_threads);
        return 0;
    case KEY_SIZE:
    case KEY_SIZES:
        take_sizes(options, state, arg);
        return 0;
    case KEY_ROW:
        options->row_elems = cli_option_count(state, "--row", arg, 1, UINT64_C(1) << 30);
        return 0;
    case KEY_GROUP:
        options->group_size = cli_option_count(state, "--group", arg, 32, UINT64_C(1) << 30);
        if (options->group_size % 32 != 0) {
            argp_error(state, "--group: %s is no multiple of 32", arg);
        }
        return 0;
    case KEY_ISA:
        options->n_isas = 0;
        take_list(options, state, arg, take_isa);
        return 0;
    case KEY_REPEAT:
        options->repeat = cli_option_count(state, "--repeat", arg, 1, BENCH_MOST_REPEATS);
        return 0;
    case KEY_BUILD:
        options->builds = true;
        return 0;
    default:
        return parse_report_option(key, arg, state);
    }
}

static const struct argp_child children[] = {{.argp = &cli_engine_argp}, {0}};

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "[RESULTS.json]",
    .children = children,
    .doc = "Measure conversions of a tensor, or report RESULTS.json, "
           "which --json has printed, in another form."
           "\v"
           "Every repetition times the conversion into a result that exists already, and beside it "
           "a copy of the same number of bytes (reads and writes): memcpy with as many threads, or "
           "the OpenCL device's own. Speeds are medians; the ratio is the median of the "
           "repetitions' own ratios. The limit is the part that is reached of the speed at which "
           "the machine can copy, read and write what the conversion reads and writes.",
};

void bench_parse_options(int argc, char **argv, bench_options *options) {
    argp_parse(&argp, argc, argv, 0, NULL, options);
    set_defaults(options);
}
