/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the bench. */
#include "bench_cases.h"
#include "cli.h"
#include <string.h>

enum { GROUP_SIZE = 128 };

static const lathe_granularity granularities[] = {LATHE_PER_TENSOR, LATHE_PER_ROW, LATHE_PER_GROUP};

static bool is_wide(lathe_dtype dtype) {
    return !lathe_dtype_is_quantized(dtype);
}

static bool is_tuned(lathe_dtype dtype) {
    return dtype == LATHE_I8 || dtype == LATHE_I4 || dtype == LATHE_BITNET158;
}

/* All pairs of floats; floats to and from quantized types; and, to see what the way through F32
 * costs, I8 to the other quantized types, and, with scales found in the same pass, groups of I8 and
 * I4 to the types that kernels are tuned for. Floats have granularities beyond the tensor beside
 * those types. */
static bool is_listed(lathe_dtype from, lathe_dtype to, lathe_granularity granularity) {
    if (from == to) {
        return false;
    }
    if (is_wide(from) && is_wide(to)) {
        return granularity == LATHE_PER_TENSOR;
    }
    if (!is_wide(from) && !is_wide(to)) {
        bool has_groups = (from == LATHE_I8 || from == LATHE_I4) && is_tuned(to);
        return granularity == LATHE_PER_TENSOR ? from == LATHE_I8
                                               : granularity == LATHE_PER_GROUP && has_groups;
    }
    lathe_dtype wide = is_wide(from) ? from : to;
    lathe_dtype narrow = is_wide(from) ? to : from;
    return is_tuned(narrow) || wide == LATHE_F32 || granularity == LATHE_PER_TENSOR;
}

static void set_case(bench_case *c, lathe_dtype from, lathe_dtype to,
                     lathe_granularity granularity) {
    char text[CLI_GRANULARITY_TEXT];
    *c = (bench_case){.from = from,
                      .to = to,
                      .granularity = granularity,
                      .group_size = granularity == LATHE_PER_GROUP ? GROUP_SIZE : 0};
    snprintf(c->pair, sizeof(c->pair), "%s->%s", lathe_dtype_name(from), lathe_dtype_name(to));
    snprintf(c->name, sizeof(c->name), "%s->%s", lathe_dtype_name(from), lathe_dtype_name(to));
    if (!is_wide(from) || !is_wide(to)) {
        size_t length = strlen(c->name);
        snprintf(c->name + length, sizeof(c->name) - length, "/%s",
                 cli_granularity_text(granularity, c->group_size, text));
    }
}

/* What only an OpenCL device is measured for. */
static const bench_case opencl_cases[] = {
    {.kind = BENCH_STATS, .name = "stats absmax f32", .from = LATHE_F32, .to = LATHE_I8},
    {.kind = BENCH_STATS, .name = "stats absmax f16", .from = LATHE_F16, .to = LATHE_I8},
    {.kind = BENCH_STATS, .name = "stats abssum f32", .from = LATHE_F32, .to = LATHE_BITNET158},
    {.kind = BENCH_STATS, .name = "stats abssum f16", .from = LATHE_F16, .to = LATHE_BITNET158},
    {.kind = BENCH_STREAM,
     .memory = LATHE_MEMORY_PINNED,
     .name = "stream pinned f32->f16",
     .from = LATHE_F32,
     .to = LATHE_F16},
    {.kind = BENCH_STREAM,
     .memory = LATHE_MEMORY_HOST,
     .name = "stream pageable f32->f16",
     .from = LATHE_F32,
     .to = LATHE_F16},
    {.kind = BENCH_START, .name = "start f32->f16", .from = LATHE_F32, .to = LATHE_F16},
};
enum { N_OPENCL_CASES = sizeof(opencl_cases) / sizeof(opencl_cases[0]) };

bench_case *bench_cases(bool with_opencl, size_t *n_cases) {
    enum { N_DTYPES = LATHE_DTYPE_LAST - LATHE_DTYPE_FIRST + 1 };
    enum { N_GRANULARITIES = sizeof(granularities) / sizeof(granularities[0]) };
    bench_case *cases =
        cli_allocate(N_DTYPES * N_DTYPES * N_GRANULARITIES + N_OPENCL_CASES, sizeof(*cases));
    size_t n = 0;
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        for (size_t g = 0; g < N_GRANULARITIES; g++) {
            for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
                if (is_listed((lathe_dtype)from, (lathe_dtype)to, granularities[g])) {
                    set_case(&cases[n++], (lathe_dtype)from, (lathe_dtype)to, granularities[g]);
                }
            }
        }
    }
    for (size_t i = 0; with_opencl && i < N_OPENCL_CASES; i++) {
        cases[n++] = opencl_cases[i];
    }
    *n_cases = n;
    return cases;
}

size_t bench_filter(bench_case *cases, size_t n_cases, const char *filter) {
    bool exact = false;
    for (size_t i = 0; i < n_cases; i++) {
        exact = exact || strcmp(cases[i].pair, filter) == 0 || strcmp(cases[i].name, filter) == 0;
    }
    size_t n = 0;
    for (size_t i = 0; i < n_cases; i++) {
        const bench_case *c = &cases[i];
        if (exact ? strcmp(c->pair, filter) == 0 || strcmp(c->name, filter) == 0
                  : strstr(c->name, filter) != NULL) {
            cases[n++] = *c;
        }
    }
    return n;
}
