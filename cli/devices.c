/* SPDX-License-Identifier: Apache-2.0 */
/* lathe devices: what conversions can run on. */
#include "cli.h"

typedef struct devices_options {
    bool json;
} devices_options;

static const struct argp_option option_list[] = {
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    devices_options *options = state->input;
    (void)arg;
    switch (key) {
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
    .doc = "List the devices that conversions can run on.",
};

static json_t *device_json(const lathe_device_info *info) {
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:b}", "kind", info->kind, "name", info->name,
        "isa", lathe_isa_name(info->isa), "threads", cli_json_count(info->threads), "memory_bytes",
        cli_json_count(info->memory_bytes), "l1d_bytes", cli_json_count(info->l1d_bytes),
        "l2_bytes", cli_json_count(info->l2_bytes), "l3_bytes", cli_json_count(info->l3_bytes),
        "shares_host_memory", (int)info->shares_host_memory);
}

static void print_table(const lathe_device_info *info) {
    static const char *const headings[] = {"device", "name", "isa", "threads",
                                           "memory", "L1d",  "L2",  "L3"};
    const uint64_t sizes[] = {info->memory_bytes, info->l1d_bytes, info->l2_bytes, info->l3_bytes};
    cli_table *table = cli_table_new("lllrrrrr", headings);
    cli_table_cell(table, "%s", info->kind);
    cli_table_cell(table, "%s", info->name);
    cli_table_cell(table, "%s", lathe_isa_name(info->isa));
    cli_table_cell(table, "%u", (unsigned)info->threads);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char text[CLI_BYTES_TEXT];
        cli_table_cell(table, "%s", sizes[i] != 0 ? cli_bytes_text(sizes[i], text) : "-");
    }
    cli_table_print(table);
}

int cli_devices(int argc, char **argv) {
    devices_options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    int status = CLI_OK;
    lathe_engine *engine = NULL;
    lathe_device_info info = {.struct_size = sizeof(info)};
    if (lathe_engine_create(NULL, &engine) != LATHE_OK ||
        lathe_engine_device(engine, &info) != LATHE_OK) {
        status = cli_fail_last();
    } else if (options.json) {
        status = cli_print_json(json_pack("{s:[o]}", "devices", device_json(&info)));
    } else {
        print_table(&info);
    }
    lathe_engine_free(engine);
    return status;
}
