/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): the kernels that do several conversions at once, against the
 * scalar reference called for each of them, between guard pages. */
#include "check.h"
#include "core/dtype.h"
#include "core/scale.h"
#include "cpu/fused.h"
#include "kernel_case.h"
#include <math.h>
#include <string.h>

enum { MAX_ELEMS = 1100, MAX_GROUPS = LT_FUSED_SCOPES, CANARY = 0xa7 };

static void setup(void) {
    open_kernels(LATHE_ISA_AVX2, 2 * MAX_ELEMS * sizeof(float), 2 * MAX_ELEMS);
}

TestSuite(fused_kernels, .init = setup, .fini = close_kernels);

static const size_t group_sizes[] = {32, 64, 96, 128, 160, 256, 800};
enum { N_GROUP_SIZES = sizeof group_sizes / sizeof group_sizes[0] };

/* Every length around the steps of the kernels, then a few long ones. */
static size_t length_of(size_t round) {
    return round < 300 ? round + 1 : 300 + (round - 300) * 37;
}
enum { N_LENGTHS = 321 };

/* Quantized types one after another. */
typedef struct types {
    unsigned n;
    lathe_dtype of[3];
} types;

static const types all_types[] = {
    {1, {LATHE_I8}},           {1, {LATHE_I4}},           {1, {LATHE_I2}},
    {2, {LATHE_I8, LATHE_I4}}, {2, {LATHE_I8, LATHE_I2}}, {2, {LATHE_I4, LATHE_I2}},
    {2, {LATHE_I8, LATHE_I8}}, {2, {LATHE_I2, LATHE_I8}}, {3, {LATHE_I8, LATHE_I4, LATHE_I2}},
};
enum { N_TYPES = sizeof all_types / sizeof all_types[0] };

static lt_fused_rule rule_of(lathe_dtype as, const types *t) {
    lt_fused_rule rule = {.as = as, .n_types = t->n};
    for (unsigned k = 0; k < t->n; k++) {
        rule.max_codes[k] = lt_dtype_traits_of(t->of[k])->max_code;
    }
    return rule;
}

/* ---- what is expected */

typedef struct expectation {
    bool is_plain; /* the kernel takes these groups */
    float inverses[MAX_GROUPS];
    float scales[MAX_GROUPS];
    uint8_t bytes[MAX_ELEMS];
} expectation;

static float greatest(const float *x, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    }
    return most;
}

/* One group: encoded and decoded type after type; the last one's codes in `to`. */
static void expect_group(const types *t, lathe_dtype to, float *x, size_t n, size_t group,
                         expectation *e, uint8_t *out) {
    int8_t codes[MAX_ELEMS];
    for (unsigned k = 0; k < t->n; k++) {
        const float scale = lt_scale_from_stat(t->of[k], (double)greatest(x, n), n);
        const lt_kernel_params params = {.scale = scale,
                                         .inv_scale = lt_inverse_scale(scale),
                                         .max_code = lt_dtype_traits_of(t->of[k])->max_code};
        if (k == 0) {
            e->inverses[group] = params.inv_scale;
            e->is_plain =
                e->is_plain &&
                (scale == 0 || (scale > LT_FUSED_LEAST_SCALE && scale < LT_FUSED_MOST_SCALE));
        }
        e->scales[group] = scale;
        if (k + 1 == t->n) {
            reference.convert[LT_HOT][LATHE_F32][to](x, out, n, &params);
        }
        reference.convert[LT_HOT][LATHE_F32][LATHE_I8](x, codes, n, &params);
        reference.convert[LT_HOT][LATHE_I8][LATHE_F32](codes, x, n, &params);
    }
}

static void expect(lathe_dtype from, lathe_dtype as, const types *t, lathe_dtype to,
                   const uint8_t *src, size_t n_elems, size_t group, expectation *e) {
    static float x[MAX_ELEMS];
    static uint16_t narrow[MAX_ELEMS];
    e->is_plain = true;
    if (from == LATHE_F32) {
        memcpy(x, src, n_elems * sizeof(float));
    } else {
        reference.convert[LT_HOT][from][LATHE_F32](src, x, n_elems, NULL);
    }
    if (as != from) {
        reference.convert[LT_HOT][from][as](x, narrow, n_elems, NULL);
        reference.convert[LT_HOT][as][LATHE_F32](narrow, x, n_elems, NULL);
    }
    for (size_t i = 0, g = 0; i < n_elems; i += group, g++) {
        const size_t n = n_elems - i < group ? n_elems - i : group;
        e->is_plain = e->is_plain && greatest(x + i, n) <= 3.4e38F;
        expect_group(t, to, x + i, n, g, e, e->bytes + bytes_of(to, i));
    }
}

/* ---- kernels */

/* Statistics of a source, as kernels take them. */
static void take_stats(lathe_dtype from, const uint8_t *src, size_t n_elems, size_t group,
                       float *stats) {
    for (size_t i = 0, g = 0; i < n_elems; i += group, g++) {
        const size_t n = n_elems - i < group ? n_elems - i : group;
        stats[g] = reference.stat[LT_HOT][LT_STAT_ABSMAX][from](src + bytes_of(from, i), n);
    }
}

static void check_table(const char *name, const lt_kernels *table, lt_fused_fn *run, const types *t,
                        lathe_dtype to, const uint8_t *src, size_t n_elems, lt_fused how,
                        const expectation *e, const float *next_stats) {
    const size_t dst_bytes = bytes_of(to, n_elems);
    const size_t n_groups = (n_elems + how.group_elems - 1) / how.group_elems;
    float stats[MAX_GROUPS];
    for (int streams = 0; streams < 2; streams++) {
        /* Every third time where streaming stores can write. */
        const size_t offset = n_elems % 3 == 0 ? 64 : n_elems % 59;
        uint8_t *dst = n_elems % 2 == 0 && n_elems % 3 != 0
                           ? dst_memory.bytes + dst_memory.n_bytes - dst_bytes
                           : dst_memory.bytes + offset;
        const bool is_last = dst + dst_bytes == dst_memory.bytes + dst_memory.n_bytes;
        memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
        memset(stats, CANARY, sizeof stats);
        how.streams = streams != 0;
        how.ahead = streams != 0 ? 4096 : 0;
        how.next_stats = stats;
        run(src, dst, n_elems, &how);
        CHECK(memcmp(dst, e->bytes, dst_bytes) == 0,
              "%s %s: %u types, %zu elements in groups of %zu", name, lathe_isa_name(table->isa),
              t->n, n_elems, how.group_elems);
        CHECK(memcmp(stats, next_stats, n_groups * sizeof(float)) == 0,
              "%s %s: statistics of %zu elements in groups of %zu", name,
              lathe_isa_name(table->isa), n_elems, how.group_elems);
        const bool outside =
            (dst > dst_memory.bytes && dst[-1] != CANARY) || (!is_last && dst[dst_bytes] != CANARY);
        CHECK(!outside, "%s %s: %zu elements: wrote outside", name, lathe_isa_name(table->isa),
              n_elems);
    }
}

static void check_kernel(const char *name, lathe_dtype from, lathe_dtype as, lathe_dtype to,
                         const types *t, size_t n_elems, size_t group, test_rng *rng) {
    static _Alignas(64) uint8_t filled[MAX_ELEMS * sizeof(float)];
    static expectation e;
    float next_stats[MAX_GROUPS];
    float inverses[MAX_GROUPS];
    float scales[MAX_GROUPS];
    float stats[MAX_GROUPS];
    const lt_fused_rule rule = rule_of(as, t);
    const int factor = lt_fused_factor(&rule);
    const size_t src_bytes = bytes_of(from, n_elems);
    const size_t n_groups = (n_elems + group - 1) / group;
    uint8_t *src = n_elems % 2 == 0 ? src_memory.bytes + src_memory.n_bytes - 2 * src_bytes
                                    : src_memory.bytes + n_elems % 61;
    test_fill_floats(rng, from, (test_data)test_random_below(rng, TEST_DATA_FINITE_COUNT), filled,
                     n_elems);
    memcpy(src, filled, src_bytes);
    test_fill_floats(rng, from, (test_data)test_random_below(rng, TEST_DATA_COUNT), filled,
                     n_elems);
    memcpy(src + src_bytes, filled, src_bytes);
    take_stats(from, src, n_elems, group, stats);
    take_stats(from, src + src_bytes, n_elems, group, next_stats);
    expect(from, as, t, to, src, n_elems, group, &e);
    for (size_t i = 0; i < n_tables; i++) {
        lt_fused_fn *run = tables[i].fused[from][as][to];
        CHECK(run != NULL, "%s %s: no kernel", name, lathe_isa_name(tables[i].isa));
        const bool is_plain = tables[i].fused_scales(&rule, stats, n_groups, inverses, scales);
        CHECK(is_plain == e.is_plain, "%s: %d groups of %zu are taken", name, is_plain, group);
        if (!is_plain || factor < 0) {
            continue;
        }
        CHECK(memcmp(inverses, e.inverses, n_groups * sizeof(float)) == 0 &&
                  memcmp(scales, e.scales, n_groups * sizeof(float)) == 0,
              "%s %s: scales of %zu groups", name, lathe_isa_name(tables[i].isa), n_groups);
        const lt_fused how = {.inverses = inverses,
                              .group_elems = group,
                              .factor = (short)factor,
                              .next = src + src_bytes};
        check_table(name, &tables[i], run, t, to, src, n_elems, how, &e, next_stats);
    }
}

/* A kernel for codes a byte each also makes those of narrower types. */
static bool makes(lathe_dtype to, const types *t) {
    const lathe_dtype last = t->of[t->n - 1];
    return to == last || (to == LATHE_I8 && last != LATHE_I8);
}

Test(fused_kernels, against_the_reference) {
    test_rng rng = {31};
    for (size_t round = 0; round < N_LENGTHS; round += TEST_SANITIZED ? 7 : 1) {
        const size_t n_elems = length_of(round);
        const size_t group = group_sizes[round % N_GROUP_SIZES];
        for (size_t t = 0; t < N_TYPES; t++) {
            /* Several groups, or one that is as long as all. */
            const size_t of_each = (round / N_GROUP_SIZES + t) % 3 == 0 ? n_elems : group;
#define CHECK_KERNEL(name, from, as, to)                                                           \
    if (makes(to, &all_types[t]))                                                                  \
        check_kernel(#name, from, as, to, &all_types[t], n_elems, of_each, &rng);
            LT_FUSED_KERNELS(CHECK_KERNEL)
#undef CHECK_KERNEL
        }
    }
}

/* Scales at which rounding is closest to making a difference: all numbers near powers of two, and
 * greatest magnitudes that leave all codes. */
Test(fused_kernels, every_code_of_every_scale) {
    test_rng rng = {32};
    const types *t = &all_types[3];
    const lt_fused_rule rule = rule_of(LATHE_F32, t);
    for (int round = 0; round < (TEST_SANITIZED ? 200 : 4000); round++) {
        static _Alignas(64) float x[256];
        static expectation e;
        float stat;
        float next;
        float inverse;
        float scale;
        uint8_t out[128];
        const float most = ldexpf(1.0F + (float)test_random_below(&rng, 1 << 23) * 0x1p-23F,
                                  (int)test_random_below(&rng, 160) - 80);
        for (int i = 0; i < 256; i++) { /* around all half codes of I8 */
            const float half = ((float)(i - 128) + 0.5F) * most / 127.0F;
            x[i] = fabsf(half) < most ? half : most;
        }
        x[255] = most;
        expect(LATHE_F32, LATHE_F32, t, LATHE_I4, (const uint8_t *)x, 256, 256, &e);
        take_stats(LATHE_F32, (const uint8_t *)x, 256, 256, &stat);
        for (size_t i = 0; i < n_tables; i++) {
            lt_fused_fn *run = tables[i].fused[LATHE_F32][LATHE_F32][LATHE_I4];
            CHECK(tables[i].fused_scales(&rule, &stat, 1, &inverse, &scale), "a scale of %g",
                  (double)most);
            const lt_fused how = {.inverses = &inverse,
                                  .group_elems = 256,
                                  .factor = (short)lt_fused_factor(&rule),
                                  .next = x,
                                  .next_stats = &next};
            run(x, out, 256, &how);
            CHECK(scale == e.scales[0] && memcmp(out, e.bytes, 128) == 0, "%s: up to %g",
                  lathe_isa_name(tables[i].isa), (double)most);
        }
    }
}

/* Sums of rounded values: those of what a rounding leaves, NaN and infinities included. */
Test(fused_kernels, rounded_sums) {
    test_rng rng = {33};
    for (size_t round = 0; round < N_LENGTHS; round += TEST_SANITIZED ? 7 : 1) {
        static _Alignas(64) uint8_t filled[MAX_ELEMS * sizeof(float)];
        static uint16_t narrow[MAX_ELEMS];
        const size_t n = length_of(round) % MAX_ELEMS;
        uint8_t *src = src_memory.bytes + src_memory.n_bytes - n * sizeof(float);
        test_fill_floats(&rng, LATHE_F32, (test_data)test_random_below(&rng, TEST_DATA_COUNT),
                         filled, n);
        if (n > 2 && round % 3 == 0) { /* a payload that rounding carries away */
            memcpy(filled + n / 2 * sizeof(float), &(uint32_t){0x7fffffff}, sizeof(float));
        }
        memcpy(src, filled, n * sizeof(float));
#define CHECK_SUM(name, as)                                                                        \
    reference.convert[LT_HOT][LATHE_F32][as](src, narrow, n, NULL);                                \
    const float sum_##as = reference.stat[LT_HOT][LT_STAT_ABSSUM][as](narrow, n);                  \
    for (size_t i = 0; i < n_tables; i++) {                                                        \
        const float found = tables[i].rounded_sum[as](src, n);                                     \
        CHECK(memcmp(&found, &sum_##as, sizeof found) == 0, "%s %s: %zu elements", #name,          \
              lathe_isa_name(tables[i].isa), n);                                                   \
    }
        LT_ROUNDED_SUM_KERNELS(CHECK_SUM)
#undef CHECK_SUM
    }
}

Test(fused_kernels, factors) {
    static const int expected[N_TYPES] = {0, 0, 0, 1806, 258, 4681, -1, -1, 258};
    for (size_t t = 0; t < N_TYPES; t++) {
        const lt_fused_rule rule = rule_of(LATHE_F32, &all_types[t]);
        CHECK(lt_fused_factor(&rule) == expected[t], "types %zu: %d", t, lt_fused_factor(&rule));
    }
}
