/* SPDX-License-Identifier: Apache-2.0 */
/* lathe convert: converts a checkpoint into another. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

typedef struct convert_options {
    const char *input;
    const char *output;
    const char *to;
    lathe_checkpoint_options checkpoint;
    lathe_rule *rules;
    lathe_config config;
    const char *device;
    bool json;
    bool quiet;
} convert_options;

enum {
    KEY_TO = 256,
    KEY_GRANULARITY,
    KEY_ROW_DIMS,
    KEY_QUALITY,
    KEY_STRICT,
    KEY_NONFINITE,
    KEY_RULE,
    KEY_MEMORY,
    KEY_DEVICE,
    KEY_THREADS,
    KEY_ISA,
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
    {"device", KEY_DEVICE, "auto|cpu", 0, "The device to run on (default auto)", 3},
    {"threads", KEY_THREADS, "N", 0, "Use N threads (default: one for each processor)", 3},
    {"isa", KEY_ISA, "auto|scalar|avx2|avx512", 0, "The highest CPU kernels to use (default auto)",
     3},
    {NULL, 0, NULL, 0, "What to print:", 4},
    {"json", 'j', NULL, 0, "Print one JSON object", 4},
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
        rule.dtype = cli_option_dtype(state, "--rule", equals + 1);
    }
    *equals = '\0';
    size_t n_rules = options->checkpoint.n_rules;
    options->rules = cli_reallocate(options->rules, n_rules + 1, sizeof(lathe_rule));
    options->rules[n_rules] = rule;
    options->checkpoint.n_rules++;
}

static void set_nonfinite(convert_options *options, struct argp_state *state, const char *arg) {
    if (strcmp(arg, "saturate") == 0) {
        options->checkpoint.target.nonfinite = LATHE_NONFINITE_SATURATE;
    } else if (strcmp(arg, "error") == 0) {
        options->checkpoint.target.nonfinite = LATHE_NONFINITE_ERROR;
    } else {
        argp_error(state, "--nonfinite: '%s' is none of error saturate", arg);
    }
}

static void set_device(convert_options *options, struct argp_state *state, const char *arg) {
    if (strcmp(arg, "auto") != 0 && strcmp(arg, "cpu") != 0 && strcmp(arg, "opencl") != 0 &&
        strncmp(arg, "opencl:", 7) != 0) {
        argp_error(state, "--device: '%s' is none of auto cpu", arg);
    }
    options->device = arg;
}

static void check_options(const convert_options *options, struct argp_state *state) {
    if (options->input == NULL) {
        argp_error(state, "the input is missing");
    } else if (options->output == NULL) {
        argp_error(state, "--output is missing");
    } else if (options->to == NULL) {
        argp_error(state, "--to is missing (--to keep converts by rules alone)");
    }
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
    case KEY_DEVICE:
        set_device(options, state, arg);
        return 0;
    case KEY_THREADS:
        options->config.n_threads = cli_option_threads(state, arg);
        return 0;
    case KEY_ISA:
        options->config.isa = cli_option_isa(state, arg);
        return 0;
    case 'j':
        options->json = true;
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
    case 'o':
        options->output = arg;
        return 0;
    case KEY_TO:
        options->to = arg;
        target->dtype = strcmp(arg, "keep") == 0 ? 0 : cli_option_dtype(state, "--to", arg);
        return 0;
    case KEY_RULE:
        add_rule(options, state, arg);
        return 0;
    case 'f':
        options->checkpoint.overwrite = 1;
        return 0;
    case KEY_GRANULARITY:
        if (!cli_parse_granularity(arg, target)) {
            argp_error(state,
                       "--granularity: '%s' is none of tensor row group:N (N a multiple of 32)",
                       arg);
        }
        return 0;
    case KEY_ROW_DIMS:
        target->row_dims = (uint32_t)cli_option_count(state, "--row-dims", arg, 1, LATHE_MAX_DIMS);
        return 0;
    case KEY_QUALITY:
        if (!cli_parse_quality(arg, &target->quality)) {
            argp_error(state, "--quality: '%s' is none of fast balanced precise", arg);
        }
        return 0;
    case KEY_STRICT:
        target->strict = 1;
        return 0;
    case KEY_NONFINITE:
        set_nonfinite(options, state, arg);
        return 0;
    default:
        return parse_run_option(key, arg, state);
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "IN",
    .doc =
        "Convert the checkpoint IN, a safetensors file or a *.safetensors.index.json, in bounded "
        "memory."
        "\v"
        "Tensors of one dimension, and those that are neither floating-point nor quantized by "
        "lathe, are kept as they are unless a rule names them. OUT appears under its name when "
        "it is complete and synced, and not at all otherwise; it may be IN itself, with --force.",
};

/* The tensors that share their types. */
typedef struct type_group {
    const char *from;
    const char *to;
    bool converted;
    uint64_t n_tensors;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t n_saturated;
} type_group;

static type_group *find_group(type_group *groups, size_t *n_groups,
                              const lathe_tensor_report *tensor) {
    for (size_t i = 0; i < *n_groups; i++) {
        if (strcmp(groups[i].from, tensor->from) == 0 && strcmp(groups[i].to, tensor->to) == 0 &&
            groups[i].converted == (tensor->converted != 0)) {
            return &groups[i];
        }
    }
    groups[*n_groups] =
        (type_group){.from = tensor->from, .to = tensor->to, .converted = tensor->converted != 0};
    return &groups[(*n_groups)++];
}

static void add_group_row(cli_table *table, const type_group *group, const char *to) {
    char in[CLI_BYTES_TEXT];
    char out[CLI_BYTES_TEXT];
    cli_table_cell(table, "%s", group->from);
    cli_table_cell(table, "%s", to);
    cli_table_cell(table, "%llu", (unsigned long long)group->n_tensors);
    cli_table_cell(table, "%s", cli_bytes_text(group->bytes_in, in));
    cli_table_cell(table, "%s", cli_bytes_text(group->bytes_out, out));
    if (group->bytes_out != 0) {
        cli_table_cell(table, "%.2f", (double)group->bytes_in / (double)group->bytes_out);
    } else {
        cli_table_cell(table, "-");
    }
}

static void print_groups(const lathe_checkpoint_report *report) {
    static const char *const headings[] = {"from", "to", "tensors", "in", "out", "ratio"};
    type_group *groups = cli_allocate((size_t)report->n_tensors, sizeof(*groups));
    size_t n_groups = 0;
    uint64_t n_saturated = 0;
    for (uint64_t i = 0; i < report->n_tensors; i++) {
        const lathe_tensor_report *tensor = &report->tensors[i];
        type_group *group = find_group(groups, &n_groups, tensor);
        group->n_tensors++;
        group->bytes_in += tensor->bytes_in;
        group->bytes_out += tensor->bytes_out;
        n_saturated += tensor->n_saturated;
    }
    cli_table *table = cli_table_new("llrrrr", headings);
    for (size_t i = 0; i < n_groups; i++) {
        add_group_row(table, &groups[i], groups[i].converted ? groups[i].to : "(kept)");
    }
    type_group files = {.from = "files",
                        .n_tensors = report->n_tensors,
                        .bytes_in = report->input_bytes,
                        .bytes_out = report->output_bytes};
    add_group_row(table, &files, "");
    cli_table_print(table);
    if (n_saturated != 0) {
        printf("%llu elements were beyond the sampled scale and saturated\n",
               (unsigned long long)n_saturated);
    }
    free(groups);
}

/* A rule that decided about no tensor may be misspelt. The rule of --to keep, which comes after
 * all, may well have nothing left. */
static void print_idle_rules(const lathe_checkpoint_report *report,
                             const lathe_checkpoint_options *options) {
    for (uint64_t i = 0; i < report->n_rules; i++) {
        if (report->rule_matches[i] == 0 && strcmp(options->rules[i].glob, "*") != 0) {
            printf("the rule for '%s' decided about no tensor\n", options->rules[i].glob);
        }
    }
}

static void print_summary(const lathe_checkpoint_report *report, const lathe_device_info *device,
                          uint64_t peak_bytes) {
    char peak[CLI_BYTES_TEXT];
    print_groups(report);
    printf("%.2f s, %.0f MB/s, %s %s, %u thread%s, %s of buffers at most\n", report->seconds,
           report->seconds > 0 ? (double)report->input_bytes / report->seconds * 1e-6 : 0,
           device->kind, lathe_isa_name(device->isa), (unsigned)device->threads,
           device->threads == 1 ? "" : "s", cli_bytes_text(peak_bytes, peak));
}

static json_t *rules_json(const lathe_checkpoint_report *report,
                          const lathe_checkpoint_options *options) {
    json_t *rules = json_array();
    for (uint64_t i = 0; i < report->n_rules; i++) {
        const lathe_rule *rule = &options->rules[i];
        json_array_append_new(rules,
                              json_pack("{s:s, s:s, s:o}", "glob", rule->glob, "to",
                                        rule->dtype == 0 ? "keep" : lathe_dtype_name(rule->dtype),
                                        "tensors", cli_json_count(report->rule_matches[i])));
    }
    return rules;
}

static json_t *report_json(const lathe_checkpoint_report *report,
                           const lathe_checkpoint_options *options, const lathe_device_info *device,
                           uint64_t peak_bytes) {
    json_t *tensors = json_array();
    for (uint64_t i = 0; i < report->n_tensors; i++) {
        const lathe_tensor_report *tensor = &report->tensors[i];
        json_array_append_new(
            tensors, json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o}", "name", tensor->name,
                               "from", tensor->from, "to", tensor->to, "converted",
                               (int)tensor->converted, "bytes_in", cli_json_count(tensor->bytes_in),
                               "bytes_out", cli_json_count(tensor->bytes_out), "scale_count",
                               cli_json_count(tensor->scale_count), "n_saturated",
                               cli_json_count(tensor->n_saturated)));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:f, s:o, s:s, s:s, s:o, s:o, s:o}", "input_bytes",
                     cli_json_count(report->input_bytes), "output_bytes",
                     cli_json_count(report->output_bytes), "n_tensors",
                     cli_json_count(report->n_tensors), "converted",
                     cli_json_count(report->n_converted), "seconds", report->seconds,
                     "peak_pool_bytes", cli_json_count(peak_bytes), "device", device->kind, "isa",
                     lathe_isa_name(device->isa), "threads", cli_json_count(device->threads),
                     "rules", rules_json(report, options), "tensors", tensors);
}

static int run(convert_options *options) {
    int status = CLI_FAILURE;
    lathe_engine *engine = NULL;
    lathe_checkpoint_report *report = NULL;
    lathe_device_info device = {.struct_size = sizeof(device)};
    lathe_pool_stats stats = {.struct_size = sizeof(stats)};
    if (lathe_engine_create(&options->config, &engine) != LATHE_OK ||
        lathe_engine_device(engine, &device) != LATHE_OK) {
        status = cli_fail_last();
        goto out;
    }

    cli_progress progress;
    cli_catch_signals();
    cli_progress_start(&progress, !options->quiet && !options->json);
    options->checkpoint.progress = cli_progress_update;
    options->checkpoint.progress_ctx = &progress;
    lathe_status converted = lathe_checkpoint_convert(engine, options->input, options->output,
                                                      &options->checkpoint, &report);
    cli_progress_end(&progress);
    if (converted != LATHE_OK) {
        status = cli_caught_signal() != 0 ? cli_interrupted() : cli_fail_last();
        goto out;
    }

    if (lathe_pool_get_stats(lathe_engine_pool(engine), &stats) != LATHE_OK) {
        status = cli_fail_last();
        goto out;
    }
    status = CLI_OK;
    if (options->json) {
        status =
            cli_print_json(report_json(report, &options->checkpoint, &device, stats.peak_bytes));
    } else if (!options->quiet) {
        print_summary(report, &device, stats.peak_bytes);
        print_idle_rules(report, &options->checkpoint);
    }
out:
    lathe_checkpoint_report_free(report);
    lathe_engine_free(engine);
    return status;
}

/* The library keeps tensors by rules alone: --to keep is one more rule, the last. */
static void apply_keep(convert_options *options) {
    lathe_checkpoint_options *checkpoint = &options->checkpoint;
    if (checkpoint->target.dtype == 0) {
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
        .config = {.struct_size = sizeof(options.config)},
        .device = "auto",
    };
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    apply_keep(&options);
    int status = CLI_FAILURE;
    if (strncmp(options.device, "opencl", 6) == 0) {
        status = cli_fail("device '%s': this build has no OpenCL", options.device);
    } else {
        status = run(&options);
    }
    free(options.rules);
    return status;
}
