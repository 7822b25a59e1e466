/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): the kernels for many groups in one call, against the scalar
 * reference called group by group, between guard pages. */
#include "check.h"
#include "core/scale.h"
#include "kernel_case.h"
#include "lathe_constants.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { MAX_ELEMS = 4400, MAX_GROUPS = MAX_ELEMS / LATHE_GROUP_MULTIPLE + 1, CANARY = 0xa7 };

static const size_t group_sizes[] = {32, 64, 96, 128, 224, 256, 800};
enum { N_GROUP_SIZES = sizeof group_sizes / sizeof group_sizes[0] };

static void setup(void) {
    open_kernels(LATHE_ISA_AVX2, MAX_ELEMS * sizeof(float), (MAX_ELEMS + 64) * sizeof(float));
}

TestSuite(group_kernels, .init = setup, .fini = close_kernels);

/* Every length around the steps of the kernels, then a few long ones. */
static size_t length_of(size_t round) {
    return round < 700 ? round + 1 : 700 + (round - 700) * 181;
}
enum { N_LENGTHS = 721 };

/* The inverse of the scale that elements lead to. */
static float own_inverse(lathe_dtype to, const float *elems, size_t n_elems) {
    double sum = 0;
    double most = 0;
    for (size_t i = 0; i < n_elems; i++) {
        double magnitude = fabs((double)elems[i]);
        sum += magnitude;
        most = most > magnitude ? most : magnitude;
    }
    bool is_mean = to == LATHE_BITNET158;
    return lt_inverse_scale(lt_scale_from_stat(to, is_mean ? sum : most, n_elems));
}

/* Elements and their inverse scales, group by group, and what the reference makes of them. */
static void make_groups(lathe_dtype from, lathe_dtype to, size_t group, const uint8_t *src,
                        size_t n_elems, float *inverses, uint8_t *expected) {
    const float max_code = to == LATHE_I8 ? LATHE_I8_MAX : to == LATHE_I4 ? LATHE_I4_MAX : 1;
    static float decoded[MAX_ELEMS];
    static int8_t codes[MAX_ELEMS];
    lathe_dtype coded = to == LATHE_BITNET158 ? LATHE_I8 : to; /* groups may share bytes */
    uint8_t *coded_at = to == LATHE_BITNET158 ? (uint8_t *)codes : expected;
    /* A table has F32 encoders at least; the other floats are decoded first. */
    if (from == LATHE_F32) {
        memcpy(decoded, src, n_elems * sizeof(float));
    } else {
        reference.convert[LT_HOT][from][LATHE_F32](src, decoded, n_elems, NULL);
    }
    for (size_t i = 0, g = 0; i < n_elems; i += group, g++) {
        size_t count = n_elems - i < group ? n_elems - i : group;
        inverses[g] = own_inverse(to, decoded + i, count);
        const lt_kernel_params params = {.inv_scale = inverses[g], .max_code = max_code};
        reference.convert[LT_HOT][LATHE_F32][coded](decoded + i, coded_at + bytes_of(coded, i),
                                                    count, &params);
    }
    if (to == LATHE_BITNET158) {
        reference.pack_bitnet158(codes, expected, n_elems);
    }
}

static void check_encoder(const char *name, lathe_dtype from, lathe_dtype to, size_t group,
                          size_t n_elems, test_rng *rng) {
    static float inverses[MAX_GROUPS];
    static uint8_t expected[MAX_ELEMS];
    size_t src_bytes = bytes_of(from, n_elems);
    size_t dst_bytes = bytes_of(to, n_elems);
    bool at_end = n_elems % 2 == 0;
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, at_end);
    test_data data = (test_data)test_random_below(rng, TEST_DATA_FINITE_COUNT);
    static _Alignas(64) uint8_t filled[MAX_ELEMS * sizeof(float)];
    test_fill_floats(rng, from, data, filled, n_elems);
    memcpy(src, filled, src_bytes);
    make_groups(from, to, group, src, n_elems, inverses, expected);
    for (size_t t = 0; t < n_tables; t++) {
        for (int heat = 0; heat < LT_HEAT_COUNT; heat++) {
            /* Every third time where streaming stores can write. */
            size_t offset = n_elems % 3 == 0 ? 64 : n_elems % 59;
            uint8_t *dst = place(&dst_memory, dst_bytes, offset, at_end && n_elems % 3 != 0);
            bool is_last = dst + dst_bytes == dst_memory.bytes + dst_memory.n_bytes;
            lt_group_encode_fn *encode = tables[t].group_encode[heat][from][to];
            if (encode == NULL) {
                CHECK(to == LATHE_BITNET158 && tables[t].isa == LATHE_ISA_NEON, "%s", name);
                continue;
            }
            memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
            encode(src, dst, n_elems, group, inverses, (lt_prefetch){src, 64});
            CHECK(memcmp(dst, expected, dst_bytes) == 0, "%s %s: %zu elements in groups of %zu",
                  name, lathe_isa_name(tables[t].isa), n_elems, group);
            bool outside = (dst > dst_memory.bytes && dst[-1] != CANARY) ||
                           (!is_last && dst[dst_bytes] != CANARY);
            CHECK(!outside, "%s %s: %zu elements in groups of %zu: wrote outside", name,
                  lathe_isa_name(tables[t].isa), n_elems, group);
        }
    }
}

Test(group_kernels, encoders) {
    test_rng rng = {21};
    for (size_t round = 0; round < N_LENGTHS; round += TEST_SANITIZED ? 7 : 1) {
        for (size_t g = 0; g < N_GROUP_SIZES; g++) {
#define CHECK_ENCODER(name, from, to)                                                              \
    check_encoder(#name, from, to, group_sizes[g], length_of(round), &rng);
            LT_GROUP_KERNELS(CHECK_ENCODER)
            LT_TERNARY_ENCODERS(CHECK_ENCODER)
#undef CHECK_ENCODER
        }
    }
}

static void check_decoder(const char *name, lathe_dtype from, lathe_dtype to, size_t group,
                          size_t n_elems, test_rng *rng) {
    static float scales[MAX_GROUPS];
    static uint8_t expected[MAX_ELEMS * sizeof(float)];
    static float decoded[MAX_ELEMS];
    static int8_t codes[MAX_ELEMS];
    size_t src_bytes = bytes_of(from, n_elems);
    size_t dst_bytes = bytes_of(to, n_elems);
    bool at_end = n_elems % 2 == 0;
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, at_end);
    lathe_dtype coded = from == LATHE_BITNET158 ? LATHE_I8 : from; /* groups may share bytes */
    for (size_t i = 0; i < src_bytes; i++) {
        src[i] = (uint8_t)test_random_below(rng, from == LATHE_BITNET158 ? 243 : 256);
    }
    reference.unpack_bitnet158(src, codes, from == LATHE_BITNET158 ? n_elems : 0);
    for (size_t i = 0, g = 0; i < n_elems; i += group, g++) {
        static const float some[] = {1.0F, 0.0F, 1e-5F, 0.37F, 1e36F, 1e-44F, 600.0F};
        scales[g] = some[test_random_below(rng, sizeof some / sizeof some[0])];
        const lt_kernel_params params = {.scale = scales[g]};
        size_t count = n_elems - i < group ? n_elems - i : group;
        const uint8_t *elems = from == LATHE_BITNET158 ? (const uint8_t *)codes : src;
        reference.convert[LT_HOT][coded][LATHE_F32](elems + bytes_of(coded, i), decoded + i, count,
                                                    &params);
    }
    if (to == LATHE_F32) {
        memcpy(expected, decoded, dst_bytes);
    } else {
        reference.convert[LT_HOT][LATHE_F32][to](decoded, expected, n_elems, NULL);
    }
    for (size_t t = 0; t < 2 * n_tables; t++) {
        const lt_kernels *table = &tables[t % n_tables];
        lt_group_decode_fn *decode = table->group_decode[t < n_tables ? LT_HOT : LT_COLD][from][to];
        /* Every third time where streaming stores can write. */
        size_t offset = n_elems % 3 == 0 ? 64 : n_elems % 59;
        uint8_t *dst = place(&dst_memory, dst_bytes, offset, at_end && n_elems % 3 != 0);
        bool is_last = dst + dst_bytes == dst_memory.bytes + dst_memory.n_bytes;
        if (decode == NULL) {
            CHECK(from == LATHE_BITNET158 && table->isa == LATHE_ISA_NEON, "%s", name);
            continue;
        }
        memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
        decode(src, dst, n_elems, group, scales);
        CHECK(memcmp(dst, expected, dst_bytes) == 0, "%s %s: %zu elements in groups of %zu", name,
              lathe_isa_name(table->isa), n_elems, group);
        bool outside =
            (dst > dst_memory.bytes && dst[-1] != CANARY) || (!is_last && dst[dst_bytes] != CANARY);
        CHECK(!outside, "%s %s: %zu elements in groups of %zu: wrote outside", name,
              lathe_isa_name(table->isa), n_elems, group);
    }
}

Test(group_kernels, decoders) {
    test_rng rng = {23};
    for (size_t round = 0; round < N_LENGTHS; round += TEST_SANITIZED ? 7 : 1) {
        for (size_t g = 0; g < N_GROUP_SIZES; g++) {
#define CHECK_DECODER(name, from, to)                                                              \
    check_decoder(#name, from, to, group_sizes[g], length_of(round), &rng);
            LT_GROUP_DECODERS(CHECK_DECODER)
            LT_TERNARY_DECODERS(CHECK_DECODER)
#undef CHECK_DECODER
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
    for (size_t t = 0; t < 2 * n_tables; t++) {
        lt_heat heat = t < n_tables ? LT_HOT : LT_COLD;
        const lt_kernels *table = &tables[t % n_tables];
        memset(got, CANARY, sizeof got);
        table->group_stat[heat][stat][dtype](src, n_elems, group, got, (lt_prefetch){src, 128});
        CHECK(memcmp(got, expected, n_groups * sizeof(float)) == 0,
              "%s %s: %zu elements in groups of %zu", name, lathe_isa_name(table->isa), n_elems,
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

/* Signs and sums in one pass: both as other kernels give them. */
static void check_sign_sums(const char *name, lathe_dtype from, size_t group, size_t n_elems,
                            test_rng *rng) {
    static uint8_t expected[MAX_ELEMS];
    static float inverses[MAX_GROUPS];
    static float sums[MAX_GROUPS];
    float got[MAX_GROUPS + 1];
    const size_t src_bytes = bytes_of(from, n_elems);
    const size_t dst_bytes = bytes_of(LATHE_I1, n_elems);
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, n_elems % 2 == 0);
    static _Alignas(64) uint8_t filled[MAX_ELEMS * sizeof(float)];
    test_fill_floats(rng, from, (test_data)test_random_below(rng, TEST_DATA_FINITE_COUNT), filled,
                     n_elems);
    memcpy(src, filled, src_bytes);
    make_groups(from, LATHE_I1, group, src, n_elems, inverses, expected);
    size_t n_groups = 0;
    for (size_t first = 0; first < n_elems; first += group) {
        const size_t count = n_elems - first < group ? n_elems - first : group;
        sums[n_groups++] =
            reference.stat[LT_HOT][LT_STAT_ABSSUM][from](src + bytes_of(from, first), count);
    }
    for (size_t t = 0; t < 2 * n_tables; t++) {
        const lt_kernels *table = &tables[t % n_tables];
        lt_sign_sums_fn *kernel = table->sign_sums[t < n_tables ? LT_HOT : LT_COLD][from];
        const size_t offset = n_elems % 3 == 0 ? 64 : n_elems % 59;
        uint8_t *dst = place(&dst_memory, dst_bytes, offset, false);
        if (kernel == NULL) {
            CHECK(table->isa == LATHE_ISA_NEON, "%s", name);
            continue;
        }
        memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
        memset(got, CANARY, sizeof got);
        kernel(src, dst, n_elems, group, got, n_elems % 2 * 4096);
        CHECK(memcmp(dst, expected, dst_bytes) == 0, "%s %s: signs of %zu elements", name,
              lathe_isa_name(table->isa), n_elems);
        CHECK(memcmp(got, sums, n_groups * sizeof(float)) == 0,
              "%s %s: sums of %zu elements by %zu", name, lathe_isa_name(table->isa), n_elems,
              group);
        bool outside = (dst > dst_memory.bytes && dst[-1] != CANARY) || dst[dst_bytes] != CANARY;
        CHECK(!outside && ((const uint8_t *)&got[n_groups])[0] == CANARY, "%s wrote outside", name);
    }
}

Test(group_kernels, signs_and_sums) {
    static const size_t sizes[] = {64, 96, 128, 256, LATHE_STAT_TILE};
    test_rng rng = {26};
    for (size_t round = 0; round < N_LENGTHS; round += TEST_SANITIZED ? 7 : 1) {
        for (size_t g = 0; g < sizeof sizes / sizeof sizes[0]; g++) {
#define CHECK_SIGN_SUMS(name, from) check_sign_sums(#name, from, sizes[g], length_of(round), &rng);
            LT_SIGN_SUM_KERNELS(CHECK_SIGN_SUMS)
#undef CHECK_SIGN_SUMS
        }
    }
}

/* A scope encoded while the next one's statistics are taken: both lie at the end of the memory. */
static void check_scope(const char *name, lathe_dtype from, lathe_dtype to, size_t n_elems,
                        test_rng *rng) {
    static uint8_t expected[MAX_ELEMS];
    static float inverses[MAX_GROUPS];
    size_t scope_bytes = bytes_of(from, n_elems);
    size_t dst_bytes = bytes_of(to, n_elems);
    bool is_mean = to == LATHE_I1 || to == LATHE_BITNET158;
    lt_stat stat = is_mean ? LT_STAT_ABSSUM : LT_STAT_ABSMAX;
    uint8_t *src = place(&src_memory, 2 * scope_bytes, n_elems % 61, n_elems % 2 == 0);
    static _Alignas(64) uint8_t filled[MAX_ELEMS * sizeof(float)];
    test_fill_floats(rng, from, (test_data)test_random_below(rng, TEST_DATA_FINITE_COUNT), filled,
                     n_elems);
    memcpy(src, filled, scope_bytes);
    test_fill_floats(rng, from, (test_data)test_random_below(rng, TEST_DATA_COUNT), filled,
                     n_elems);
    memcpy(src + scope_bytes, filled, scope_bytes);
    make_groups(from, to, n_elems, src, n_elems, inverses, expected);
    float next[MAX_ELEMS / LATHE_STAT_TILE + 1];
    float got[MAX_ELEMS / LATHE_STAT_TILE + 1];
    size_t n_tiles = 0;
    for (size_t i = 0; i < n_elems; i += LATHE_STAT_TILE) {
        size_t count = n_elems - i < LATHE_STAT_TILE ? n_elems - i : LATHE_STAT_TILE;
        next[n_tiles++] =
            reference.stat[LT_HOT][stat][from](src + scope_bytes + bytes_of(from, i), count);
    }
    for (size_t t = 0; t < n_tables; t++) {
        lt_scope_encode_fn *encode = tables[t].scope_encode[from][to];
        uint8_t *dst = place(&dst_memory, dst_bytes, n_elems % 3 == 0 ? 64 : n_elems % 59, false);
        if (encode == NULL) {
            bool needs_vbmi = to == LATHE_BITNET158;
            CHECK(tables[t].isa != LATHE_ISA_AVX512 || needs_vbmi, "%s", name);
            continue;
        }
        memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
        encode(src, dst, n_elems, inverses[0], got, 4096);
        CHECK(memcmp(dst, expected, dst_bytes) == 0, "%s: a scope of %zu elements", name, n_elems);
        CHECK(memcmp(got, next, n_tiles * sizeof got[0]) == 0, "%s: the scope after %zu elements",
              name, n_elems);
        bool outside = (dst > dst_memory.bytes && dst[-1] != CANARY) || dst[dst_bytes] != CANARY;
        CHECK(!outside, "%s: %zu elements: wrote outside", name, n_elems);
    }
}

static void check_scopes(size_t n_elems, test_rng *rng) {
#define CHECK_SCOPE(name, from, to) check_scope(#name, from, to, n_elems, rng);
    LT_SCOPE_KERNELS(CHECK_SCOPE)
    LT_TERNARY_SCOPE_KERNELS(CHECK_SCOPE)
#undef CHECK_SCOPE
}

Test(group_kernels, scopes) {
    static const size_t around_tiles[] = {4032, 4095, 4096, 4097, 4159, 4160, 4161, 4223, 4300};
    test_rng rng = {24};
    for (size_t n_elems = 1; n_elems <= MAX_ELEMS / 2; n_elems += TEST_SANITIZED ? 7 : 1) {
        check_scopes(n_elems, &rng);
    }
    for (size_t i = 0; i < sizeof around_tiles / sizeof around_tiles[0]; i++) {
        check_scopes(around_tiles[i], &rng);
    }
}

/* ---- where codes of BITNET158 and I2 begin to be other than 0 */

enum { N_NEAR = 65536 };

/* Inverse scales that are none, subnormal, the least and greatest ones there are, powers of two and
 * their neighbours, and others. */
static float inverse_of_round(size_t round, test_rng *rng) {
    static const float special[] = {0,        0x1p-149f, 0x1p-148f, 0x1p-128f, 0x1p-127f, 0x1p-126f,
                                    0x1p-14f, 0x1p-1f,   1,         0x1p14f,   0x1p24f,   0x1p25f,
                                    1e5f,     0x1p126f,  0x1p127f,  FLT_MAX};
    enum { N_SPECIAL = sizeof special / sizeof special[0] };
    const float base = special[round / 3 % N_SPECIAL];
    if (round < 3 * (size_t)N_SPECIAL) {
        return round % 3 == 0 ? base : nextafterf(base, round % 3 == 1 ? FLT_MAX : 0);
    }
    return ldexpf(1 + (float)test_random_below(rng, 1 << 23) * 0x1p-23f,
                  (int)test_random_below(rng, 30) - 10);
}

/* Of 16 bits all there are; of F32 those around where the code changes, and around the greatest. */
static void make_near(lathe_dtype from, float inverse, uint8_t *src) {
    const float middle = inverse > 0 ? 0.5f / inverse : 1;
    for (uint32_t i = 0; i < N_NEAR; i++) {
        const float near = i % 3 != 0 ? middle : FLT_MAX;
        const uint16_t half = (uint16_t)i;
        uint32_t bits;
        memcpy(&bits, &near, sizeof bits);
        bits = (bits + i / 2 % 64 - 32) ^ i << 31;
        if (from == LATHE_F32) {
            memcpy(src + i * sizeof bits, &bits, sizeof bits);
        } else {
            memcpy(src + i * sizeof half, &half, sizeof half);
        }
    }
}

static void decode_near(lathe_dtype from, const uint8_t *src, float *values) {
    if (from == LATHE_F32) {
        memcpy(values, src, N_NEAR * sizeof(float));
    } else {
        reference.convert[LT_HOT][from][LATHE_F32](src, values, N_NEAR, NULL);
    }
}

/* Zeros in place of what encoders of groups need not know: their scales come of their elements. */
static void make_own(lathe_dtype from, lathe_dtype to, float inverse, uint8_t *src, float *values) {
    const float bound = to == LATHE_I2 ? 1.5f : 0x1p31f; /* codes of I2 are not clamped */
    const size_t elem_bytes = bytes_of(from, 1);
    for (size_t i = 0; i < N_NEAR; i++) {
        if (!isfinite(values[i]) || !(fabsf(values[i] * inverse) < bound)) {
            memset(src + i * elem_bytes, 0, elem_bytes);
            values[i] = 0;
        }
    }
}

static void check_near(lathe_dtype from, lathe_dtype to, float inverse) {
    static uint8_t src[N_NEAR * sizeof(float)];
    static float values[N_NEAR];
    static uint8_t expected[N_NEAR / 4];
    static uint8_t got[N_NEAR / 4];
    const size_t n_bytes = bytes_of(to, N_NEAR);
    const lt_kernel_params params = {.inv_scale = inverse, .max_code = 1};
    make_near(from, inverse, src);
    decode_near(from, src, values);
    for (int own = 0; own < 2; own++) {
        if (own) {
            make_own(from, to, inverse, src, values);
        }
        reference.convert[LT_HOT][LATHE_F32][to](values, expected, N_NEAR, &params);
        for (size_t t = 0; t < n_tables; t++) {
            lt_convert_fn *convert = tables[t].convert[LT_HOT][from][to];
            lt_group_encode_fn *encode = tables[t].group_encode[LT_COLD][from][to];
            memset(got, CANARY, sizeof got);
            if (own ? encode == NULL : convert == NULL) {
                continue;
            }
            if (own) {
                encode(src, got, N_NEAR, N_NEAR, &inverse, (lt_prefetch){src, 64});
            } else {
                convert(src, got, N_NEAR, &params);
            }
            CHECK(memcmp(got, expected, n_bytes) == 0, "%s to %s %s: inverse %a, own %d",
                  lathe_dtype_name(from), lathe_dtype_name(to), lathe_isa_name(tables[t].isa),
                  (double)inverse, own);
        }
    }
}

Test(group_kernels, ternary_thresholds) {
    test_rng rng = {158};
    for (size_t round = 0; round < (TEST_SANITIZED ? 60 : 120); round++) {
        const float inverse = inverse_of_round(round, &rng);
        if (isfinite(inverse)) {
            check_near(LATHE_F32, LATHE_BITNET158, inverse);
            check_near(LATHE_F16, LATHE_BITNET158, inverse);
            check_near(LATHE_BF16, LATHE_BITNET158, inverse);
            check_near(LATHE_F16, LATHE_I2, inverse);
            check_near(LATHE_BF16, LATHE_I2, inverse);
        }
    }
}
