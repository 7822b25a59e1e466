/* SPDX-License-Identifier: Apache-2.0 */
/* lathe devices: what conversions can run on. */
#include "cli.h"

typedef struct devices_options {
    cli_engine_options engine;
    bool json;
    bool no_check;
} devices_options;

enum { KEY_NO_CHECK = 256 };

static const struct argp_option option_list[] = {
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {"no-check", KEY_NO_CHECK, NULL, 0, "Do not run the self-check of OpenCL devices", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    devices_options *options = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->engine;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case KEY_NO_CHECK:
        options->no_check = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "too many arguments");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{.argp = &cli_program_argp}, {0}};

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .children = children,
    .doc = "List the devices that conversions can run on."
           "\v"
           "The self-check runs every kind of kernel on an OpenCL device and compares the bytes "
           "with the CPU's. A device that fails it is not used.",
};

/* A device, and why it failed its check. */
typedef struct device {
    lathe_device_info info;
    char failure[sizeof(((lathe_error *)0)->message)];
} device;

/* Runs the self-check on an engine of the device's own. A device that cannot be opened has failed.
 */
static void check_device(const devices_options *options, device *d) {
    cli_engine_options engine_options = options->engine;
    lathe_engine *engine = NULL;
    engine_options.config.device = d->info.selector;
    engine_options.config.require_device = 1;
    if (cli_engine_create(&engine_options, &engine) == LATHE_OK &&
        lathe_engine_self_check(engine) == LATHE_OK) {
        d->info.self_check = LATHE_CHECK_PASSED;
    } else {
        d->info.self_check = LATHE_CHECK_FAILED;
        snprintf(d->failure, sizeof(d->failure), "%s", lathe_last_error()->message);
    }
    lathe_engine_free(engine);
}

static const char *check_name(lathe_self_check check) {
    switch (check) {
    case LATHE_CHECK_PASSED:
        return "passed";
    case LATHE_CHECK_FAILED:
        return "failed";
    default:
        return "none";
    }
}

static json_t *device_json(const device *d) {
    const lathe_device_info *info = &d->info;
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:s, s:o}", "selector",
        info->selector, "kind", info->kind, "name", cli_json_text(info->name), "platform",
        cli_json_text(info->platform), "driver", cli_json_text(info->driver), "isa",
        cli_isa_json(info), "threads", cli_json_count(info->threads), "memory_bytes",
        cli_json_count(info->memory_bytes), "max_alloc_bytes",
        cli_json_count(info->max_alloc_bytes), "l1d_bytes", cli_json_count(info->l1d_bytes),
        "l2_bytes", cli_json_count(info->l2_bytes), "l3_bytes", cli_json_count(info->l3_bytes),
        "shares_host_memory", (int)info->shares_host_memory, "self_check",
        check_name(info->self_check), "self_check_message",
        d->failure[0] != '\0' ? cli_json_text(d->failure) : json_null());
}

static void size_cell(cli_table *table, uint64_t n_bytes) {
    char text[CLI_BYTES_TEXT];
    cli_table_cell(table, "%s", n_bytes != 0 ? cli_bytes_text(n_bytes, text) : "-");
}

static void print_cpu(const lathe_device_info *info) {
    static const char *const headings[] = {"device", "name", "isa", "threads",
                                           "memory", "L1d",  "L2",  "L3"};
    const uint64_t sizes[] = {info->memory_bytes, info->l1d_bytes, info->l2_bytes, info->l3_bytes};
    cli_table *table = cli_table_new("lllrrrrr", headings);
    cli_table_cell(table, "%s", info->selector);
    cli_table_cell(table, "%s", info->name);
    cli_table_cell(table, "%s", lathe_isa_name(info->isa));
    cli_table_cell(table, "%u", (unsigned)info->threads);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_cell(table, sizes[i]);
    }
    cli_table_print(table);
}

/* Names, platforms and drivers can be long: a block for each device. */
static void print_opencl(const device *d) {
    const lathe_device_info *info = &d->info;
    char memory[CLI_BYTES_TEXT];
    char block[CLI_BYTES_TEXT];
    const char *const headings[] = {info->selector, info->name};
    cli_table *table = cli_table_new("ll", headings);
    cli_table_cell(table, "  kind");
    cli_table_cell(table, "%s, %u compute units", info->kind, (unsigned)info->threads);
    cli_table_cell(table, "  platform");
    cli_table_cell(table, "%s", info->platform);
    cli_table_cell(table, "  driver");
    cli_table_cell(table, "%s", info->driver);
    cli_table_cell(table, "  memory");
    cli_table_cell(table, "%s, at most %s in one block", cli_bytes_text(info->memory_bytes, memory),
                   cli_bytes_text(info->max_alloc_bytes, block));
    cli_table_cell(table, "  shares host memory");
    cli_table_cell(table, "%s", info->shares_host_memory != 0 ? "yes" : "no");
    cli_table_cell(table, "  self-check");
    if (info->self_check == LATHE_CHECK_FAILED) {
        cli_table_cell(table, "FAILED: %s", d->failure);
    } else {
        cli_table_cell(table, "%s", info->self_check == LATHE_CHECK_PASSED ? "passed" : "-");
    }
    putchar('\n');
    cli_table_print(table);
}

static int list(const devices_options *options, json_t *objects) {
    size_t n_devices = lathe_device_count();
    if (n_devices == 1 && options->engine.verbose) {
        cli_notice(false, "there is no OpenCL device");
    }
    for (size_t i = 0; i < n_devices; i++) {
        device d = {.info = {.struct_size = sizeof(d.info)}};
        if (lathe_device_at(i, &d.info) != LATHE_OK) {
            return cli_fail_last();
        }
        if (i != 0 && !options->no_check) {
            check_device(options, &d);
        }
        if (options->json) {
            json_array_append_new(objects, device_json(&d));
        } else if (i == 0) {
            print_cpu(&d.info);
        } else {
            print_opencl(&d);
        }
        fflush(stdout); /* the next check takes a while */
    }
    return CLI_OK;
}

int cli_devices(int argc, char **argv) {
    devices_options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    json_t *objects = json_array();
    int status = list(&options, objects);
    if (status == CLI_OK && options.json) {
        status = cli_print_json(json_pack("{s:O}", "devices", objects));
    }
    json_decref(objects);
    return status;
}
