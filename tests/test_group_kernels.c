/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): the kernels for many groups in one call, against the scalar
 * reference called group by group, between guard pages. */
#include "check.h"
#include "cpu/kernels.h"
#include "lathe_constants.h"
#include "support.h"
#include <string.h>

enum { MAX_ELEMS = 2100, MAX_GROUPS = MAX_ELEMS / LATHE_GROUP_MULTIPLE + 1, CANARY = 0xa7 };

static const size_t group_sizes[] = {32, 64, 96, 128, 160, 256, 800};
enum { N_GROUP_SIZES = sizeof group_sizes / sizeof group_sizes[0] };

static lt_kernels reference;
static lt_kernels tables[LATHE_ISA_AVX512];
static size_t n_tables;
static test_guarded src_memory;
static test_guarded dst_memory;

static void setup(void) {
    lt_cpu_features features;
    lt_cpu_features_detect(&features);
    lt_kernels_init(&reference, LATHE_ISA_SCALAR, &features);
    n_tables = 0;
    for (int isa = LATHE_ISA_SCALAR + 1; isa <= (int)lt_cpu_best_isa(&features); isa++) {
        lt_kernels_init(&tables[n_tables++], (lathe_isa)isa, &features);
    }
    src_memory = test_guarded_new(MAX_ELEMS * sizeof(float));
    dst_memory = test_guarded_new(MAX_ELEMS);
}

static void teardown(void) {
    test_guarded_free(&src_memory);
    test_guarded_free(&dst_memory);
}

TestSuite(group_kernels, .init = setup, .fini = teardown);

/* n bytes at the end of the memory, or `offset` bytes from its beginning. */
static uint8_t *place(const test_guarded *memory, size_t n_bytes, size_t offset, bool at_end) {
    return at_end ? memory->bytes + memory->n_bytes - n_bytes : memory->bytes + offset;
}

static size_t bytes_of(lathe_dtype dtype, size_t n_elems) {
    uint64_t n_bytes = 0;
    (void)lathe_dtype_row_bytes(dtype, n_elems, &n_bytes);
    return (size_t)n_bytes;
}

/* Every length around the steps of the kernels, then a few long ones. */
static size_t length_of(size_t round) {
    return round < 700 ? round + 1 : 700 + (round - 700) * 37;
}
enum { N_LENGTHS = 735 };

static void check_encoder(const char *name, lathe_dtype from, lathe_dtype to, size_t group,
                          size_t n_elems, test_rng *rng) {
    static float inverses[MAX_GROUPS];
    static uint8_t expected[MAX_ELEMS];
    const float max_code = to == LATHE_I8 ? LATHE_I8_MAX : to == LATHE_I4 ? LATHE_I4_MAX : 1;
    size_t src_bytes = bytes_of(from, n_elems);
    size_t dst_bytes = bytes_of(to, n_elems);
    bool at_end = n_elems % 2 == 0;
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, at_end);
    test_data data = (test_data)test_random_below(rng, TEST_DATA_COUNT);
    static _Alignas(64) uint8_t filled[MAX_ELEMS * sizeof(float)];
    test_fill_floats(rng, from, data, filled, n_elems);
    memcpy(src, filled, src_bytes);
    for (size_t i = 0, g = 0; i < n_elems; i += group, g++) {
        static const float some[] = {1.0F, 0.0F, 127.0F, 0.37F, 1e30F, 1e-44F};
        inverses[g] = some[test_random_below(rng, sizeof some / sizeof some[0])];
        const lt_kernel_params params = {.inv_scale = inverses[g], .max_code = max_code};
        size_t count = n_elems - i < group ? n_elems - i : group;
        /* A table has F32 encoders at least; the other floats are decoded first. */
        float decoded[800];
        const uint8_t *elems = src + bytes_of(from, i);
        if (from == LATHE_F32) {
            memcpy(decoded, elems, count * sizeof(float));
        } else {
            reference.convert[LT_HOT][from][LATHE_F32](elems, decoded, count, NULL);
        }
        reference.convert[LT_HOT][LATHE_F32][to](decoded, expected + bytes_of(to, i), count,
                                                 &params);
    }
    for (size_t t = 0; t < n_tables; t++) {
        uint8_t *dst = place(&dst_memory, dst_bytes, n_elems % 59, at_end);
        memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
        tables[t].group_encode[from][to](src, dst, n_elems, group, inverses, max_code);
        CHECK(memcmp(dst, expected, dst_bytes) == 0, "%s %s: %zu elements in groups of %zu", name,
              lathe_isa_name(tables[t].isa), n_elems, group);
        bool outside =
            (dst > dst_memory.bytes && dst[-1] != CANARY) || (!at_end && dst[dst_bytes] != CANARY);
        CHECK(!outside, "%s %s: %zu elements in groups of %zu: wrote outside", name,
              lathe_isa_name(tables[t].isa), n_elems, group);
    }
}

Test(group_kernels, encoders) {
    test_rng rng = {21};
    for (size_t round = 0; round < N_LENGTHS; round += TEST_SANITIZED ? 7 : 1) {
        for (size_t g = 0; g < N_GROUP_SIZES; g++) {
#define CHECK_ENCODER(name, from, to)                                                              \
    check_encoder(#name, from, to, group_sizes[g], length_of(round), &rng);
            LT_GROUP_KERNELS(CHECK_ENCODER)
#undef CHECK_ENCODER
        }
    }
}

static void check_stat(const char *name, lathe_dtype dtype, lt_stat stat, size_t group,
                       size_t n_elems, test_rng *rng) {
    static float expected[MAX_GROUPS];
    static float got[MAX_GROUPS];
    size_t n_groups = (n_elems + group - 1) / group;
    size_t src_bytes = bytes_of(dtype, n_elems);
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, n_elems % 2 == 0);
    test_data data = (test_data)test_random_below(rng, TEST_DATA_COUNT);
    static _Alignas(64) uint8_t filled[MAX_ELEMS * sizeof(float)];
    test_fill_floats(rng, dtype, data, filled, n_elems);
    memcpy(src, filled, src_bytes);
    for (size_t g = 0; g < n_groups; g++) {
        size_t first = g * group;
        size_t count = n_elems - first < group ? n_elems - first : group;
        expected[g] = reference.stat[LT_HOT][stat][dtype](src + bytes_of(dtype, first), count);
    }
    for (size_t t = 0; t < n_tables; t++) {
        memset(got, CANARY, sizeof got);
        tables[t].group_stat[stat][dtype](src, n_elems, group, got);
        CHECK(memcmp(got, expected, n_groups * sizeof(float)) == 0,
              "%s %s: %zu elements in groups of %zu", name, lathe_isa_name(tables[t].isa), n_elems,
              group);
        CHECK(((const uint8_t *)&got[n_groups])[0] == CANARY, "%s wrote outside", name);
    }
}

Test(group_kernels, statistics) {
    test_rng rng = {22};
    for (size_t round = 0; round < N_LENGTHS; round += TEST_SANITIZED ? 7 : 1) {
        for (size_t g = 0; g < N_GROUP_SIZES; g++) {
#define CHECK_STAT(name, dtype, stat)                                                              \
    check_stat(#name, dtype, stat, group_sizes[g], length_of(round), &rng);
            LT_STAT_KERNELS(CHECK_STAT)
#undef CHECK_STAT
        }
    }
}
