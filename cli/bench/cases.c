/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the bench. */
#include "cases.h"
#include "cli.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OTHERS = 16, N_DTYPES = LATHE_DTYPE_LAST - LATHE_DTYPE_FIRST + 1 };

static const lathe_granularity granularities[] = {LATHE_PER_TENSOR, LATHE_PER_ROW, LATHE_PER_GROUP};
enum { N_GRANULARITIES = sizeof(granularities) / sizeof(granularities[0]) };

static bool is_wide(lathe_dtype dtype) {
    return !lathe_dtype_is_quantized(dtype);
}

static bool is_tuned(lathe_dtype dtype) {
    return dtype == LATHE_I8 || dtype == LATHE_I4 || dtype == LATHE_BITNET158;
}

/* Usual are all pairs of floats; floats to and from quantized types; and, to see what the way
 * through F32 costs, I8 to the other quantized types, and, with scales found in the same pass,
 * groups of I8 and I4 to the types that kernels are tuned for. Floats have granularities beyond the
 * tensor beside those types. */
static bool is_usual(lathe_dtype from, lathe_dtype to, lathe_granularity granularity) {
    if (from == to) {
        return false;
    }
    if (is_wide(from) && is_wide(to)) {
        return true;
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

static bool is_core(const bench_case *c) {
    static const char *const names[] = {
        "f32->f16",           "f32->bf16",      "f16->f32",          "bf16->f32",
        "f16->bf16",          "f32->i8/tensor", "f32->i8/row",       "f32->i4/group:128",
        "f32->bitnet158/row", "i8->f32/row",    "i4->f32/group:128", "bitnet158->f32/tensor",
        "stats absmax f32",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(c->name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void set_case(bench_case *c, lathe_dtype from, lathe_dtype to, lathe_granularity granularity,
                     uint64_t group_size) {
    char text[CLI_GRANULARITY_TEXT];
    *c = (bench_case){.from = from,
                      .to = to,
                      .granularity = granularity,
                      .group_size = granularity == LATHE_PER_GROUP ? group_size : 0};
    snprintf(c->pair, sizeof(c->pair), "%s->%s", lathe_dtype_name(from), lathe_dtype_name(to));
    snprintf(c->name, sizeof(c->name), "%s->%s", lathe_dtype_name(from), lathe_dtype_name(to));
    if (!is_wide(from) || !is_wide(to)) {
        size_t length = strlen(c->name);
        snprintf(c->name + length, sizeof(c->name) - length, "/%s",
                 cli_granularity_text(granularity, c->group_size, text));
    }
}

/* Every conversion, and what else is measured. */
static size_t list_all(bench_case *cases, uint64_t group_size) {
    static const bench_case others[] = {
        {.kind = BENCH_ENCODE,
         .pair = "f32->i8",
         .name = "f32->i8/scale given",
         .from = LATHE_F32,
         .to = LATHE_I8},
        {.kind = BENCH_STATS, .name = "stats absmax f32", .from = LATHE_F32, .to = LATHE_I8},
        {.kind = BENCH_STATS, .name = "stats absmax f16", .from = LATHE_F16, .to = LATHE_I8},
        {.kind = BENCH_STATS, .name = "stats absmax bf16", .from = LATHE_BF16, .to = LATHE_I8},
        {.kind = BENCH_STATS, .name = "stats abssum f32", .from = LATHE_F32, .to = LATHE_BITNET158},
        {.kind = BENCH_STATS, .name = "stats abssum f16", .from = LATHE_F16, .to = LATHE_BITNET158},
        {.kind = BENCH_STATS,
         .name = "stats abssum bf16",
         .from = LATHE_BF16,
         .to = LATHE_BITNET158},
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
        {.kind = BENCH_STREAM,
         .memory = LATHE_MEMORY_PINNED,
         .name = "stream pinned f16->f32",
         .from = LATHE_F16,
         .to = LATHE_F32},
        {.kind = BENCH_STREAM,
         .memory = LATHE_MEMORY_HOST,
         .name = "stream pageable f16->f32",
         .from = LATHE_F16,
         .to = LATHE_F32},
        {.kind = BENCH_START, .name = "start f32->f16", .from = LATHE_F32, .to = LATHE_F16},
    };
    const size_t n_others = sizeof(others) / sizeof(others[0]);
    static_assert(sizeof(others) / sizeof(others[0]) <= MOST_OTHERS, "there is no room for them");
    size_t n = 0;
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        for (size_t g = 0; g < N_GRANULARITIES; g++) {
            for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
                const bool is_float = is_wide((lathe_dtype)from) && is_wide((lathe_dtype)to);
                if (g == 0 || !is_float) {
                    set_case(&cases[n++], (lathe_dtype)from, (lathe_dtype)to, granularities[g],
                             group_size);
                }
            }
        }
    }
    for (size_t i = 0; i < n_others; i++) {
        cases[n++] = others[i];
    }
    return n;
}

/* Whether the device, measured this way, has such a case. */
static bool is_there(const bench_case *c, const bench_selection *selection) {
    switch (c->kind) {
    case BENCH_CONVERT:
        return true;
    case BENCH_ENCODE:
        return selection->kernels && !selection->on_opencl;
    case BENCH_STATS:
        return !selection->kernels;
    default:
        return selection->on_opencl;
    }
}

static bool is_within(const bench_case *c, bench_extent extent) {
    switch (extent) {
    case BENCH_CORE:
        return is_core(c);
    case BENCH_USUAL:
        return c->kind != BENCH_CONVERT || is_usual(c->from, c->to, c->granularity);
    default:
        return true;
    }
}

static bool is_named(const bench_case *c, const char *filter) {
    return strcmp(c->pair, filter) == 0 || strcmp(c->name, filter) == 0;
}

bench_case *bench_cases(const bench_selection *selection, size_t *n_cases) {
    const char *filter = selection->filter;
    bench_case *cases =
        cli_allocate(N_DTYPES * N_DTYPES * N_GRANULARITIES + MOST_OTHERS, sizeof(*cases));
    const size_t n_all = list_all(cases, selection->group_size);
    bool exact = false;
    for (size_t i = 0; i < n_all && filter != NULL; i++) {
        exact = exact || (is_there(&cases[i], selection) && is_named(&cases[i], filter));
    }
    size_t n = 0;
    for (size_t i = 0; i < n_all; i++) {
        const bench_case *c = &cases[i];
        const bool is_wanted = filter == NULL ? is_within(c, selection->extent)
                               : exact        ? is_named(c, filter)
                                              : strstr(c->name, filter) != NULL;
        if (is_wanted && is_there(c, selection)) {
            cases[n++] = *c;
        }
    }
    *n_cases = n;
    return cases;
}

uint64_t bench_case_reads(const bench_case *c) {
    const bool has_scales = lathe_dtype_is_quantized(c->to) && c->from != c->to;
    return c->kind == BENCH_CONVERT && has_scales && c->granularity == LATHE_PER_TENSOR ? 2 : 1;
}
