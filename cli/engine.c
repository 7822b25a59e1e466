/* SPDX-License-Identifier: Apache-2.0 */
/* The options that say where to convert, and the engine made of them. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

enum { KEY_CONFIG = 512, KEY_DEVICE, KEY_REQUIRE_DEVICE, KEY_PROGRAM_CACHE, KEY_VERBOSE };

static const struct argp_option option_list[] = {
    {"config", KEY_CONFIG, "FILE", 0,
     "Begin with the settings in FILE, a JSON object; options win over them", CLI_ENGINE_GROUP},
    {"device", KEY_DEVICE, "DEVICE", 0,
     "Where to run: auto (default), cpu, opencl (a GPU before any other device), opencl:N or "
     "opencl:TEXT, see 'lathe devices'",
     CLI_ENGINE_GROUP},
    {"require-device", KEY_REQUIRE_DEVICE, NULL, 0,
     "Fail rather than let the CPU take over from the device", CLI_ENGINE_GROUP},
    {"program-cache", KEY_PROGRAM_CACHE, "DIR|none", 0,
     "Keep compiled OpenCL programs, and what the planner measures, in DIR (default "
     "~/.cache/lathe)",
     CLI_ENGINE_GROUP},
    {"verbose", KEY_VERBOSE, NULL, 0, "Say on standard error what is noticed about devices",
     CLI_ENGINE_GROUP},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    cli_engine_options *options = state->input;
    switch (key) {
    case KEY_CONFIG:
        if (cli_config_load(arg) != CLI_OK) {
            exit(CLI_FAILURE);
        }
        return 0;
    case KEY_DEVICE:
        options->all_devices = options->takes_all_devices && strcmp(arg, "all") == 0;
        options->config.device = options->all_devices ? NULL : cli_option_device(state, arg);
        return 0;
    case KEY_REQUIRE_DEVICE:
        options->config.require_device = 1;
        return 0;
    case KEY_PROGRAM_CACHE:
        if (arg[0] == '\0') {
            argp_error(state, "--program-cache: the name of a folder is missing");
        }
        options->program_cache = arg;
        return 0;
    case KEY_VERBOSE:
        options->verbose = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cli_engine_argp = {.options = option_list, .parser = parse_option};
const struct argp cli_program_argp = {.options = option_list + 3, .parser = parse_option};

static void notice_all(void *ctx, lathe_notice_level level, const char *text) {
    (void)ctx;
    cli_notice(level == LATHE_NOTICE_WARNING, text);
}

static void notice_warnings(void *ctx, lathe_notice_level level, const char *text) {
    (void)ctx;
    if (level == LATHE_NOTICE_WARNING) {
        cli_notice(true, text);
    }
}

/* The planner's measurements lie beside the programs. */
static char *calibration_file(const char *folder) {
    const char *name = "/calibration.json";
    if (folder == NULL) {
        return NULL;
    }
    size_t size = strlen(folder) + strlen(name) + 1;
    char *path = cli_allocate(size, 1);
    snprintf(path, size, "%s%s", folder, name);
    return path;
}

/* The XDG base directory rules: a path that is not absolute does not count. */
static char *default_program_cache(void) {
    const char *base = getenv("XDG_CACHE_HOME");
    const char *below = "/lathe";
    if (base == NULL || base[0] != '/') {
        base = getenv("HOME");
        below = "/.cache/lathe";
    }
    if (base == NULL || base[0] != '/') {
        return NULL;
    }
    size_t size = strlen(base) + strlen(below) + 1;
    char *path = cli_allocate(size, 1);
    snprintf(path, size, "%s%s", base, below);
    return path;
}

lathe_status cli_engine_create(const cli_engine_options *options, lathe_engine **engine) {
    const cli_engine_options defaults = {0};
    if (options == NULL) {
        options = &defaults;
    }
    lathe_config config = cli_config_merged(&options->config);
    char *cache = NULL;
    config.notice = options->verbose ? notice_all : notice_warnings;
    if (options->program_cache == NULL && config.program_cache_dir == NULL) {
        cache = default_program_cache();
        config.program_cache_dir = cache;
    } else if (options->program_cache != NULL) {
        bool is_none = strcmp(options->program_cache, "none") == 0;
        config.program_cache_dir = is_none ? NULL : options->program_cache;
    }
    char *calibration = calibration_file(config.program_cache_dir);
    if (config.calibration_file == NULL) {
        config.calibration_file = calibration;
    }
    lathe_status status = lathe_engine_create(&config, engine);
    free(calibration);
    free(cache);
    return status;
}

json_t *cli_isa_json(const lathe_device_info *device) {
    return device->isa == LATHE_ISA_AUTO ? json_null() : json_string(lathe_isa_name(device->isa));
}

json_t *cli_engine_stats_json(const lathe_engine_stats *stats) {
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"n_conversions", stats->n_conversions},
        {"n_on_device", stats->n_on_device},
        {"n_fallbacks", stats->n_fallbacks},
        {"n_device_errors", stats->n_device_errors},
        {"uploaded_bytes", stats->uploaded_bytes},
        {"downloaded_bytes", stats->downloaded_bytes},
        {"n_wrapped", stats->n_wrapped},
        {"n_launches", stats->n_launches},
        {"n_programs_built", stats->n_programs_built},
        {"n_programs_loaded", stats->n_programs_loaded},
        {"program_build_ns", stats->program_build_ns},
        {"program_load_ns", stats->program_load_ns},
    };
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        json_object_set_new(object, fields[i].name, cli_json_count(fields[i].value));
    }
    return object;
}
