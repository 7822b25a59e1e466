/* SPDX-License-Identifier: Apache-2.0 */
/* The values of options: sizes, counts, and the names of types. */
#include "cli.h"
#include <inttypes.h>
#include <string.h>

/* Reads digits into *value and returns what follows them; NULL if there are none or too many. */
static const char *read_digits(const char *text, uint64_t *value) {
    const char *p = text;
    uint64_t sum = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (sum > (UINT64_MAX - digit) / 10) {
            return NULL;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return p != text ? p : NULL;
}

static bool parse_size(const char *text, uint64_t *n_bytes) {
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"K", UINT64_C(1) << 10},
        {"M", UINT64_C(1) << 20},
        {"G", UINT64_C(1) << 30},
        {"T", UINT64_C(1) << 40},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
        {"KB", UINT64_C(1000)},
        {"MB", UINT64_C(1000000)},
        {"GB", UINT64_C(1000000000)},
        {"TB", UINT64_C(1000000000000)},
    };
    uint64_t value = 0;
    const char *unit = read_digits(text, &value);
    for (size_t i = 0; unit != NULL && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].name) == 0 && value <= UINT64_MAX / units[i].factor) {
            *n_bytes = value * units[i].factor;
            return true;
        }
    }
    return false;
}

bool cli_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *count) {
    uint64_t value = 0;
    const char *rest = read_digits(text, &value);
    if (rest == NULL || *rest != '\0' || value < least || value > most) {
        return false;
    }
    *count = value;
    return true;
}

bool cli_parse_granularity(const char *text, lathe_target *target) {
    static const char group[] = "group:";
    uint64_t group_size = 0;
    lathe_granularity granularity = LATHE_PER_TENSOR;
    if (strcmp(text, "row") == 0) {
        granularity = LATHE_PER_ROW;
    } else if (strncmp(text, group, sizeof(group) - 1) == 0) {
        granularity = LATHE_PER_GROUP;
        if (!cli_parse_count(text + sizeof(group) - 1, 32, UINT64_MAX, &group_size) ||
            group_size % 32 != 0) {
            return false;
        }
    } else if (strcmp(text, "tensor") != 0) {
        return false;
    }
    target->granularity = granularity;
    target->group_size = group_size;
    return true;
}

bool cli_parse_quality(const char *text, lathe_quality *quality) {
    static const struct {
        const char *name;
        lathe_quality quality;
    } names[] = {{"fast", LATHE_FAST}, {"balanced", LATHE_BALANCED}, {"precise", LATHE_PRECISE}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i].name) == 0) {
            *quality = names[i].quality;
            return true;
        }
    }
    return false;
}

uint64_t cli_option_size(struct argp_state *state, const char *option, const char *text) {
    uint64_t n_bytes = 0;
    if (!parse_size(text, &n_bytes)) {
        argp_error(state, "%s: '%s' is not a size such as 64MiB", option, text);
    }
    return n_bytes;
}

const char *cli_option_output(struct argp_state *state, const char *text) {
    if (strcmp(text, "-") == 0) {
        argp_error(state,
                   "'-': the output is a file, not standard output (a file called - is ./-)");
    }
    return text;
}

uint64_t cli_option_count(struct argp_state *state, const char *option, const char *text,
                          uint64_t least, uint64_t most) {
    uint64_t count = 0;
    if (!cli_parse_count(text, least, most, &count)) {
        argp_error(state, "%s: '%s' is not a number from %" PRIu64 " to %" PRIu64, option, text,
                   least, most);
    }
    return count;
}

lathe_dtype cli_option_dtype(struct argp_state *state, const char *option, const char *text,
                             bool or_keep) {
    lathe_dtype dtype = lathe_dtype_from_name(text);
    if (dtype == 0) {
        argp_error(state, "%s: '%s' is none of f32 f16 bf16 i8 i4 i2 i1 bitnet158%s", option, text,
                   or_keep ? " keep" : "");
    }
    return dtype;
}

lathe_isa cli_option_isa(struct argp_state *state, const char *text) {
    lathe_isa isa = LATHE_ISA_AUTO;
    if (!lathe_isa_from_name(text, &isa)) {
        argp_error(state, "--isa: '%s' is none of auto scalar avx2 avx512 neon", text);
    }
    return isa;
}

uint32_t cli_option_threads(struct argp_state *state, const char *text) {
    return (uint32_t)cli_option_count(state, "--threads", text, 1, 1024);
}

const char *cli_option_device(struct argp_state *state, const char *text) {
    static const char prefix[] = "opencl:";
    bool one = strncmp(text, prefix, sizeof(prefix) - 1) == 0 && text[sizeof(prefix) - 1] != '\0';
    if (!one && strcmp(text, "auto") != 0 && strcmp(text, "cpu") != 0 &&
        strcmp(text, "opencl") != 0) {
        argp_error(state, "--device: '%s' is none of auto cpu opencl opencl:N opencl:TEXT", text);
    }
    return text;
}

const char *cli_granularity_text(lathe_granularity granularity, uint64_t group_size,
                                 char text[CLI_GRANULARITY_TEXT]) {
    if (granularity == LATHE_PER_GROUP) {
        snprintf(text, CLI_GRANULARITY_TEXT, "group:%" PRIu64, group_size);
    } else {
        snprintf(text, CLI_GRANULARITY_TEXT, "%s", granularity == LATHE_PER_ROW ? "row" : "tensor");
    }
    return text;
}
