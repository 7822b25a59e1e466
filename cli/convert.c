/* SPDX-License-Identifier: Apache-2.0 */
/* lathe convert: converts a checkpoint into another. */
#include "cli.h"
#include "convert_report.h"
#include <stdlib.h>
#include <string.h>

typedef struct convert_options {
    const char *input;
    const char *output;
    const char *to;
    lathe_checkpoint_options checkpoint;
    lathe_rule *rules;
    cli_engine_options engine;
    unsigned given; /* what of the target the options say: GIVEN_... */
    bool json;
    bool quiet;
    bool stats;
} convert_options;

/* Parts of the target, which a file may name too. */
enum {
    GIVEN_GRANULARITY = 1,
    GIVEN_ROW_DIMS = 2,
    GIVEN_QUALITY = 4,
    GIVEN_NONFINITE = 8,
    GIVEN_STRICT = 16,
};

enum {
    KEY_TO = 256,
    KEY_GRANULARITY,
    KEY_ROW_DIMS,
    KEY_QUALITY,
    KEY_STRICT,
    KEY_NONFINITE,
    KEY_RULE,
    KEY_SHARD_SIZE,
    KEY_MEMORY,
    KEY_THREADS,
    KEY_ISA,
    KEY_STATS,
};

static const struct argp_option option_list[] = {
    {NULL, 0, NULL, 0, "What to write:", 1},
    {"output", 'o', "OUT", 0,
     "The file to write; a name that ends in .index.json is sharded as the input is", 1},
    {"to", KEY_TO, "DTYPE", 0,
     "Convert to f32, f16, bf16, i8, i4, i2, i1 or bitnet158, or keep what no rule matches", 1},
    {"rule", KEY_RULE, "GLOB=DTYPE", 0,
     "Convert tensors whose name matches GLOB to DTYPE, or keep them; may be repeated, the first "
     "match wins",
     1},
    {"shard-size", KEY_SHARD_SIZE, "SIZE", 0,
     "Write shards with at most SIZE of tensors each, and their index OUT.index.json", 1},
    {"force", 'f', NULL, 0, "Replace OUT if it exists", 1},
    {NULL, 0, NULL, 0, "How to quantize:", 2},
    {"granularity", KEY_GRANULARITY, "tensor|row|group:N", 0,
     "One scale per tensor (default), row, or N elements of a row; N is a multiple of 32", 2},
    {"row-dims", KEY_ROW_DIMS, "N", 0, "The last N dimensions make a row (default 1)", 2},
    {"quality", KEY_QUALITY, "fast|balanced|precise", 0,
     "Take the scales from a sample, from every element (default), or with the least error", 2},
    {"strict", KEY_STRICT, NULL, 0, "Fail unless every value survives exactly", 2},
    {"nonfinite", KEY_NONFINITE, "error|saturate", 0,
     "What a NaN or infinity does on its way to a quantized type (default error)", 2},
    {NULL, 0, NULL, 0, "How to run:", 3},
    {"memory", KEY_MEMORY, "SIZE", 0, "Use at most SIZE for buffers (default 64MiB)", 3},
    {"threads", KEY_THREADS, "N", 0, "Use N threads (default: one for each processor)", 3},
    {"isa", KEY_ISA, "auto|scalar|avx2|avx512|neon", 0,
     "The highest CPU kernels to use (default auto)", 3},
    {NULL, 0, NULL, 0, "What to print:", 4},
    {"json", 'j', NULL, 0, "Print one JSON object", 4},
    {"stats", KEY_STATS, NULL, 0, "Say how long the conversions of each kind took", 4},
    {"quiet", 'q', NULL, 0, "Print nothing but errors", 4},
    {0},
};

static void add_rule(convert_options *options, struct argp_state *state, char *arg) {
    char *equals = strrchr(arg, '=');
    if (equals == NULL || equals == arg) {
        argp_error(state, "--rule: '%s' is not of the form GLOB=DTYPE", arg);
        return;
    }
    lathe_rule rule = {.glob = arg};
    if (strcmp(equals + 1, "keep") != 0) {
        rule.dtype = cli_option_dtype(state, "--rule", equals + 1, true);
    }
    *equals = '\0';
    size_t n_rules = options->checkpoint.n_rules;
    options->rules = cli_reallocate(options->rules, n_rules + 1, sizeof(lathe_rule));
    options->rules[n_rules] = rule;
    options->checkpoint.n_rules++;
}

static void set_nonfinite(convert_options *options, struct argp_state *state, const char *arg) {
    options->given |= GIVEN_NONFINITE;
    if (strcmp(arg, "saturate") == 0) {
        options->checkpoint.target.nonfinite = LATHE_NONFINITE_SATURATE;
    } else if (strcmp(arg, "error") == 0) {
        options->checkpoint.target.nonfinite = LATHE_NONFINITE_ERROR;
    } else {
        argp_error(state, "--nonfinite: '%s' is none of error saturate", arg);
    }
}

static void check_options(const convert_options *options, struct argp_state *state) {
    if (options->input == NULL) {
        argp_error(state, "the input is missing");
    } else if (options->output == NULL) {
        argp_error(state, "--output is missing");
    } else if (options->to == NULL && options->checkpoint.target.dtype == 0) {
        argp_error(state, "--to is missing (--to keep converts by rules alone)");
    }
}

/* What a file says about the target, where the options say nothing. */
static void take_file_target(convert_options *options) {
    const lathe_target *file = cli_config_target();
    lathe_target *target = &options->checkpoint.target;
    const unsigned given = options->given;
    if (file == NULL) {
        return;
    }
    target->dtype = options->to == NULL ? file->dtype : target->dtype;
    if ((given & GIVEN_GRANULARITY) == 0) {
        target->granularity = file->granularity;
        target->group_size = file->group_size;
    }
    target->row_dims = given & GIVEN_ROW_DIMS ? target->row_dims : file->row_dims;
    target->quality = given & GIVEN_QUALITY ? target->quality : file->quality;
    target->nonfinite = given & GIVEN_NONFINITE ? target->nonfinite : file->nonfinite;
    target->strict = given & GIVEN_STRICT ? target->strict : file->strict;
}

static error_t parse_run_option(int key, char *arg, struct argp_state *state) {
    convert_options *options = state->input;
    switch (key) {
    case KEY_MEMORY:
        options->checkpoint.memory_bytes = cli_option_size(state, "--memory", arg);
        if (options->checkpoint.memory_bytes < 1 << 20) {
            argp_error(state, "--memory: '%s' is less than 1MiB", arg);
        }
        return 0;
    case KEY_THREADS:
        options->engine.config.n_threads = cli_option_threads(state, arg);
        return 0;
    case KEY_ISA:
        options->engine.config.isa = cli_option_isa(state, arg);
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case KEY_STATS:
        options->stats = true;
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->input != NULL) {
            argp_error(state, "too many arguments");
        }
        options->input = arg;
        return 0;
    case ARGP_KEY_END:
        take_file_target(options);
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    convert_options *options = state->input;
    lathe_target *target = &options->checkpoint.target;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->engine;
        return 0;
    case 'o':
        options->output = cli_option_output(state, arg);
        return 0;
    case KEY_TO:
        options->to = arg;
        target->dtype = strcmp(arg, "keep") == 0 ? 0 : cli_option_dtype(state, "--to", arg, true);
        return 0;
    case KEY_RULE:
        add_rule(options, state, arg);
        return 0;
    case 'f':
        options->checkpoint.overwrite = 1;
        return 0;
    case KEY_GRANULARITY:
        options->given |= GIVEN_GRANULARITY;
        if (!cli_parse_granularity(arg, target)) {
            argp_error(state,
                       "--granularity: '%s' is none of tensor row group:N (N a multiple of 32)",
                       arg);
        }
        return 0;
    case KEY_ROW_DIMS:
        options->given |= GIVEN_ROW_DIMS;
        target->row_dims = (uint32_t)cli_option_count(state, "--row-dims", arg, 1, LATHE_MAX_DIMS);
        return 0;
    case KEY_QUALITY:
        options->given |= GIVEN_QUALITY;
        if (!cli_parse_quality(arg, &target->quality)) {
            argp_error(state, "--quality: '%s' is none of fast balanced precise", arg);
        }
        return 0;
    case KEY_SHARD_SIZE:
        options->checkpoint.shard_bytes = cli_option_size(state, "--shard-size", arg);
        if (options->checkpoint.shard_bytes == 0) {
            argp_error(state, "--shard-size: '%s' is no size of a shard", arg);
        }
        return 0;
    case KEY_STRICT:
        options->given |= GIVEN_STRICT;
        target->strict = 1;
        return 0;
    case KEY_NONFINITE:
        set_nonfinite(options, state, arg);
        return 0;
    default:
        return parse_run_option(key, arg, state);
    }
}

static const struct argp_child children[] = {{.argp = &cli_engine_argp}, {0}};

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .children = children,
    .args_doc = "IN",
    .doc =
        "Convert the checkpoint IN, a safetensors file or a *.safetensors.index.json, in bounded "
        "memory."
        "\v"
        "Tensors of one dimension, and those that are neither floating-point nor quantized by "
        "lathe, are kept as they are unless a rule names them. OUT appears under its name when "
        "it is complete and synced, and not at all otherwise; it may be IN itself, with --force.",
};

static int print_result(lathe_engine *engine, const convert_options *options,
                        const lathe_checkpoint_report *report) {
    convert_result result = {
        .report = report,
        .options = &options->checkpoint,
        .wanted_device = cli_config_merged(&options->engine.config).device,
        .device = {.struct_size = sizeof(result.device)},
        .metrics = cli_allocate(1, sizeof(*result.metrics)),
        .stats = options->stats,
    };
    int status = CLI_OK;
    *result.metrics = (lathe_metrics){.struct_size = sizeof(*result.metrics)};
    if (lathe_engine_device(engine, &result.device) != LATHE_OK ||
        lathe_engine_metrics(engine, result.metrics) != LATHE_OK) {
        status = cli_fail_last();
    } else if (options->json) {
        status = cli_print_json(convert_result_json(&result));
    } else if (!options->quiet) {
        convert_result_print(&result);
    }
    free(result.metrics);
    return status;
}

static int run(convert_options *options) {
    int status = CLI_FAILURE;
    lathe_engine *engine = NULL;
    lathe_checkpoint_report *report = NULL;
    if (cli_engine_create(&options->engine, &engine) != LATHE_OK) {
        return cli_fail_last();
    }

    cli_progress progress;
    cli_catch_signals();
    cli_progress_start(&progress, !options->quiet && !options->json);
    options->checkpoint.progress = cli_progress_update;
    options->checkpoint.progress_ctx = &progress;
    lathe_status converted = lathe_checkpoint_convert(engine, options->input, options->output,
                                                      &options->checkpoint, &report);
    cli_progress_end(&progress);
    if (converted == LATHE_OK) {
        status = print_result(engine, options, report);
    } else {
        status = cli_caught_signal() != 0 ? cli_interrupted() : cli_fail_last();
    }
    lathe_checkpoint_report_free(report);
    lathe_engine_free(engine);
    return status;
}

/* The library keeps tensors by rules alone: --to keep is one more rule, the last. */
static void apply_keep(convert_options *options) {
    lathe_checkpoint_options *checkpoint = &options->checkpoint;
    if (options->to != NULL && strcmp(options->to, "keep") == 0) {
        options->rules =
            cli_reallocate(options->rules, checkpoint->n_rules + 1, sizeof(lathe_rule));
        options->rules[checkpoint->n_rules++] = (lathe_rule){.glob = "*"};
        checkpoint->target.dtype = LATHE_F32;
    }
    checkpoint->rules = options->rules;
}

int cli_convert(int argc, char **argv) {
    convert_options options = {
        .checkpoint = {.struct_size = sizeof(options.checkpoint),
                       .target = {.struct_size = sizeof(options.checkpoint.target)}},
    };
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    apply_keep(&options);
    int status = run(&options);
    free(options.rules);
    return status;
}
