/* SPDX-License-Identifier: Apache-2.0 */
/* lathe plan: says how a tensor would be converted, and what that would cost. */
#include "cli.h"
#include <string.h>

enum {
    KEY_FROM = 256,
    KEY_TO,
    KEY_SHAPE,
    KEY_GRANULARITY,
    KEY_QUALITY,
    KEY_STRICT,
    KEY_MEMORY,
    KEY_STRATEGY,
    KEY_CONSUME,
    KEY_THREADS,
};

typedef struct plan_options {
    cli_engine_options engine;
    lathe_dtype from;
    lathe_target target;
    lathe_plan_options plan;
    uint64_t shape[LATHE_MAX_DIMS];
    uint32_t n_dims;
    bool has_shape;
    bool json;
} plan_options;

static const struct argp_option option_list[] = {
    {"from", KEY_FROM, "DTYPE", 0, "The tensor's type", 0},
    {"to", KEY_TO, "DTYPE", 0, "The type to convert it to", 0},
    {"shape", KEY_SHAPE, "NxN...", 0, "Its dimensions, such as 4096x4096", 0},
    {"granularity", KEY_GRANULARITY, "tensor|row|group:N", 0,
     "What shares a scale (default tensor)", 0},
    {"quality", KEY_QUALITY, "fast|balanced|precise", 0, "How scales are found (default balanced)",
     0},
    {"strict", KEY_STRICT, NULL, 0, "Every value is to survive exactly", 0},
    {"memory", KEY_MEMORY, "SIZE", 0, "Memory beside the source, at most (default: no limit)", 0},
    {"strategy", KEY_STRATEGY, "NAME", 0,
     "Plan with auto (default), zero_copy, in_place, direct or streaming", 0},
    {"consume", KEY_CONSUME, NULL, 0, "The source's memory may become the result's", 0},
    {"threads", KEY_THREADS, "N", 0, "CPU threads (default: all processors)", 0},
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {0},
};

static void take_shape(plan_options *options, struct argp_state *state, char *arg) {
    char copy[512];
    char *rest = NULL;
    int length = snprintf(copy, sizeof(copy), "%s", arg);
    bool is_bad = length <= 0 || (size_t)length >= sizeof(copy) || arg[0] == 'x' ||
                  arg[length - 1] == 'x' || strstr(arg, "xx") != NULL;
    options->n_dims = 0;
    for (char *part = strtok_r(copy, "x", &rest); part != NULL && !is_bad;
         part = strtok_r(NULL, "x", &rest)) {
        is_bad = options->n_dims == LATHE_MAX_DIMS ||
                 !cli_parse_count(part, 0, UINT64_MAX, &options->shape[options->n_dims++]);
    }
    if (is_bad) {
        argp_error(state, "--shape: '%s' is not 1 to %d numbers with an x between them", arg,
                   LATHE_MAX_DIMS);
    }
    options->has_shape = true;
}

static lathe_strategy take_strategy(struct argp_state *state, const char *name) {
    for (int i = LATHE_STRATEGY_AUTO; i <= LATHE_STRATEGY_STREAMING; i++) {
        if (strcmp(lathe_strategy_name((lathe_strategy)i), name) == 0) {
            return (lathe_strategy)i;
        }
    }
    argp_error(state, "--strategy: '%s' is none of auto zero_copy in_place direct streaming", name);
    return LATHE_STRATEGY_AUTO;
}

static void check_options(const plan_options *options, struct argp_state *state) {
    if (options->from == 0 || options->target.dtype == 0 || !options->has_shape) {
        argp_error(state, "--from, --to or --shape is missing");
    }
}

static error_t parse_tensor_option(int key, char *arg, struct argp_state *state) {
    plan_options *options = state->input;
    switch (key) {
    case KEY_FROM:
        options->from = cli_option_dtype(state, "--from", arg, false);
        return 0;
    case KEY_TO:
        options->target.dtype = cli_option_dtype(state, "--to", arg, false);
        return 0;
    case KEY_SHAPE:
        take_shape(options, state, arg);
        return 0;
    case KEY_GRANULARITY:
        if (!cli_parse_granularity(arg, &options->target)) {
            argp_error(state,
                       "--granularity: '%s' is none of tensor row group:N (N a multiple of 32)",
                       arg);
        }
        return 0;
    case KEY_QUALITY:
        if (!cli_parse_quality(arg, &options->target.quality)) {
            argp_error(state, "--quality: '%s' is none of fast balanced precise", arg);
        }
        return 0;
    case KEY_STRICT:
        options->target.strict = 1;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    plan_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->engine;
        return 0;
    case KEY_MEMORY:
        options->plan.memory_bytes = cli_option_size(state, "--memory", arg);
        if (options->plan.memory_bytes == 0) {
            argp_error(state, "--memory: '%s' is no memory at all", arg);
        }
        return 0;
    case KEY_STRATEGY:
        options->plan.strategy = take_strategy(state, arg);
        return 0;
    case KEY_CONSUME:
        options->plan.may_consume = 1;
        return 0;
    case KEY_THREADS:
        options->engine.config.n_threads = cli_option_threads(state, arg);
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
        return parse_tensor_option(key, arg, state);
    }
}

static const struct argp_child children[] = {{.argp = &cli_engine_argp}, {0}};

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .children = children,
    .doc = "Say how a tensor in memory would be converted, where, and what it would cost."
           "\v"
           "What the plan needs to know about this machine is measured once and kept in "
           "~/.cache/lathe. Nothing is converted.",
};

static lathe_status print_plan(lathe_engine *engine, const plan_options *options) {
    /* A quantized source has one scale. */
    const lathe_tensor_desc source = {.struct_size = sizeof(source),
                                      .dtype = options->from,
                                      .n_dims = options->n_dims,
                                      .shape = options->shape};
    lathe_plan plan = {.struct_size = sizeof(plan)};
    lathe_pool *pool = lathe_engine_pool(engine);
    char *text = NULL;
    lathe_status status = lathe_plan_make(engine, &source, LATHE_MEMORY_HOST, &options->target,
                                          &options->plan, &plan);
    if (status == LATHE_OK) {
        status = options->json ? lathe_plan_json(&plan, pool, &text)
                               : lathe_plan_text(&plan, pool, &text);
    }
    if (status == LATHE_OK) {
        puts(text);
    }
    lathe_pool_free(pool, text);
    return status;
}

int cli_plan(int argc, char **argv) {
    plan_options options = {
        .target = {.struct_size = sizeof(options.target)},
        .plan = {.struct_size = sizeof(options.plan)},
    };
    lathe_engine *engine = NULL;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    int status = CLI_OK;
    if (cli_engine_create(&options.engine, &engine) != LATHE_OK ||
        print_plan(engine, &options) != LATHE_OK) {
        status = cli_fail_last();
    }
    lathe_engine_free(engine);
    return status;
}
