/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): the kernels between quantized types, against the scalar
 * reference, which decodes and encodes group by group, between guard pages. */
#include "check.h"
#include "core/scale.h"
#include "cpu/recode.h"
#include "kernel_case.h"
#include "lathe_constants.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { MAX_ELEMS = 5120, MAX_GROUPS = MAX_ELEMS / LATHE_GROUP_MULTIPLE + 1, CANARY = 0xa7 };

/* Groups; the last number: one for all. */
static const size_t group_sizes[] = {32, 64, 96, 128, 160, 256, 1024, MAX_ELEMS};
enum { N_GROUP_SIZES = sizeof group_sizes / sizeof group_sizes[0] };

static void setup(void) {
    open_kernels(LATHE_ISA_AVX2, MAX_ELEMS + 64, MAX_ELEMS + 128);
}

TestSuite(recode, .init = setup, .fini = close_kernels);

/* Every length around the steps of the kernels, then a few long ones. */
static size_t length_of(size_t round) {
    return round < 400 ? round + 1 : 400 + (round - 400) * 157;
}
enum { N_LENGTHS = 430, ROUND_STEP = TEST_SANITIZED ? 7 : 1 };

/* ---- sources */

/* Any bytes, or codes from -greatest to greatest - 1. */
static void fill_codes(test_rng *rng, uint8_t *src, size_t n_bytes, int greatest) {
    test_random_bytes(rng, src, n_bytes);
    for (size_t i = 0; greatest != 0 && i < n_bytes; i++) {
        src[i] = (uint8_t)((int)test_random_below(rng, 2 * (uint64_t)greatest) - greatest);
    }
}

/* The scales of groups, and the inverses that their codes are made with: those that their own
 * greatest code leads to, or any. */
static void fill_scales(test_rng *rng, float max_code, float *scales, float *inverses) {
    const bool are_alike = test_random_below(rng, 3) == 0; /* all groups have one greatest code */
    const float of_all = (float)(1 + test_random_below(rng, 128));
    static const float some[] = {1.0F, 0.0F, 1e-5F, 0.37F, 1e36F, FLT_MAX, 1e-44F, 600.0F};
    for (size_t g = 0; g < MAX_GROUPS; g++) {
        const bool is_odd = test_random_below(rng, 4) == 0;
        const float any = (float)(1 + test_random_below(rng, 1 << 20)) * 0x1p-12F;
        const float greatest = (float)(1 + test_random_below(rng, 128));
        scales[g] = is_odd ? some[test_random_below(rng, 8)] : any;
        inverses[g] = lt_inverse_scale(greatest * scales[g] / max_code);
        if (are_alike) {
            scales[g] = any;
            inverses[g] = lt_inverse_scale(of_all * any / max_code);
        } else if (test_random_below(rng, 3) == 0) {
            inverses[g] = (float)test_random_below(rng, 1 << 16) * 0x1p-10F / any;
        }
    }
}

/* What codes are packed as in these tests: I8, of which some are narrow, or a packed dtype. */
typedef struct source {
    lathe_dtype dtype;
    bool are_narrow;
} source;

/* What the reference makes of elements that begin at `first`, a byte's first. */
static void expect(lathe_dtype from, lathe_dtype to, const uint8_t *src, size_t n_elems,
                   const lt_recode *how, uint8_t *expected) {
    static float decoded[MAX_ELEMS];
    for (size_t i = 0, g = 0; i < n_elems; i += how->group_elems, g++) {
        size_t count = n_elems - i < how->group_elems ? n_elems - i : how->group_elems;
        const lt_kernel_params params = {.scale = how->scales[g],
                                         .inv_scale = how->inverses[g],
                                         .max_code = how->max_code,
                                         .extra_codes = how->extra_codes};
        reference.convert[LT_HOT][from][LATHE_F32](src + bytes_of(from, i), decoded, count,
                                                   &params);
        reference.convert[LT_HOT][LATHE_F32][to](decoded, expected + bytes_of(to, i), count,
                                                 &params);
    }
}

static void check_kernel(const char *name, const lt_kernels *table, lt_recode_fn *kernel,
                         lathe_dtype from, lathe_dtype to, const uint8_t *codes, size_t n_elems,
                         const lt_recode *how, const uint8_t *expected) {
    size_t src_bytes = bytes_of(from, n_elems);
    size_t dst_bytes = bytes_of(to, n_elems);
    bool at_end = n_elems % 2 == 0;
    /* Every third time where streaming stores can write. */
    size_t offset = n_elems % 3 == 0 ? 64 : n_elems % 59;
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, at_end);
    uint8_t *dst = place(&dst_memory, dst_bytes, offset, at_end && n_elems % 3 != 0);
    bool is_last = dst + dst_bytes == dst_memory.bytes + dst_memory.n_bytes;
    memcpy(src, codes, src_bytes);
    memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
    kernel(src, dst, n_elems, how);
    CHECK(memcmp(dst, expected, dst_bytes) == 0, "%s %s: %zu elements in groups of %zu", name,
          lathe_isa_name(table->isa), n_elems, how->group_elems);
    bool outside =
        (dst > dst_memory.bytes && dst[-1] != CANARY) || (!is_last && dst[dst_bytes] != CANARY);
    CHECK(!outside, "%s %s: %zu elements in groups of %zu: wrote outside", name,
          lathe_isa_name(table->isa), n_elems, how->group_elems);
}

static float max_code_of(lathe_dtype dtype) {
    return dtype == LATHE_I8 ? LATHE_I8_MAX : dtype == LATHE_I4 ? LATHE_I4_MAX : 1;
}

/* A kernel of every table: of packed codes, or of bytes, narrow or not. */
static void check_recoders(const char *name, source from, lathe_dtype to, size_t group,
                           size_t n_elems, test_rng *rng) {
    static _Alignas(64) uint8_t codes[MAX_ELEMS];
    static uint8_t expected[MAX_ELEMS];
    static float scales[MAX_GROUPS];
    static float inverses[MAX_GROUPS];
    bool is_ternary = to == LATHE_I8 && test_random_below(rng, 4) == 0;
    const lt_recode how = {
        .scales = scales,
        .inverses = inverses,
        .group_elems = group,
        .max_code = is_ternary ? LATHE_BITNET158_MAX : max_code_of(to),
        .extra_codes = (to == LATHE_I4 || to == LATHE_I2) && test_random_below(rng, 4) == 0,
        .are_narrow = from.are_narrow,
    };
    fill_codes(rng, codes, bytes_of(from.dtype, n_elems),
               from.dtype == LATHE_I8 && from.are_narrow ? 8 : 0);
    fill_scales(rng, how.max_code, scales, inverses);
    expect(from.dtype, to, codes, n_elems, &how, expected);
    for (size_t t = 0; t < 2 * n_tables; t++) {
        const lt_kernels *table = &tables[t % n_tables];
        lt_heat heat = t < n_tables ? LT_HOT : LT_COLD;
        lt_recode_fn *kernel =
            from.dtype == LATHE_I8 ? table->recode[heat][to] : table->lookup[heat][from.dtype][to];
        if (kernel == NULL) {
            CHECK(table->isa == LATHE_ISA_NEON, "%s", name);
            continue;
        }
        check_kernel(name, table, kernel, from.dtype, to, codes, n_elems, &how, expected);
    }
}

Test(recode, bytes) {
    test_rng rng = {31};
    for (size_t round = 0; round < N_LENGTHS; round += ROUND_STEP) {
        for (size_t g = 0; g < N_GROUP_SIZES; g++) {
#define CHECK_BYTES(name, to)                                                                      \
    check_recoders(#name, (source){LATHE_I8, false}, to, group_sizes[g], length_of(round), &rng);  \
    check_recoders(#name, (source){LATHE_I8, true}, to, group_sizes[g], length_of(round), &rng);
            LT_RECODE_KERNELS(CHECK_BYTES)
#undef CHECK_BYTES
        }
    }
}

Test(recode, packed_codes) {
    test_rng rng = {32};
    for (size_t round = 0; round < N_LENGTHS; round += ROUND_STEP) {
        for (size_t g = 0; g < N_GROUP_SIZES; g++) {
#define CHECK_PACKED(name, from, to)                                                               \
    check_recoders(#name, (source){from, true}, to, group_sizes[g], length_of(round), &rng);
            LT_LOOKUP_KERNELS(CHECK_PACKED)
#undef CHECK_PACKED
        }
    }
}

/* All codes of I8 with every greatest code and scale that quantization leads to: what the integer
 * products and thresholds rest on. */
Test(recode, every_code_of_every_own_scale) {
    enum { N = 256 };
    static uint8_t codes[N];
    static uint8_t expected[N];
    static uint8_t got[N];
    test_rng rng = {33};
    for (int i = 0; i < N; i++) {
        codes[i] = (uint8_t)i;
    }
    for (int round = 0; round < (TEST_SANITIZED ? 20 : 200); round++) {
        for (int greatest = 1; greatest <= 128; greatest++) {
            for (int to = LATHE_I8; to <= LATHE_I2; to++) {
                const float scale = (float)(1 + test_random_below(&rng, 1 << 24)) * 0x1p-30F;
                const float max_code = max_code_of((lathe_dtype)to);
                const float inverse = lt_inverse_scale((float)greatest * scale / max_code);
                const lt_recode how = {
                    .scales = &scale, .inverses = &inverse, .group_elems = N, .max_code = max_code};
                expect(LATHE_I8, (lathe_dtype)to, codes, N, &how, expected);
                for (size_t t = 0; t < n_tables; t++) {
                    lt_recode_fn *kernel = tables[t].recode[LT_HOT][to];
                    if (kernel != NULL) {
                        kernel(codes, got, N, &how);
                        CHECK(memcmp(got, expected, bytes_of((lathe_dtype)to, N)) == 0,
                              "%s to %s: scale %a, greatest code %d", lathe_isa_name(tables[t].isa),
                              lathe_dtype_name((lathe_dtype)to), (double)scale, greatest);
                    }
                }
            }
        }
    }
}

static void check_unpacker(const char *name, lathe_dtype from, lt_pack_fn *kernel, lathe_isa isa,
                           const uint8_t *packed, size_t n_elems) {
    static float decoded[MAX_ELEMS];
    const lt_kernel_params params = {.scale = 1};
    size_t src_bytes = bytes_of(from, n_elems);
    bool at_end = n_elems % 2 == 0;
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, at_end);
    int8_t *dst = (int8_t *)place(&dst_memory, n_elems, 1 + n_elems % 59, at_end);
    memcpy(src, packed, src_bytes);
    memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
    kernel(src, dst, n_elems);
    reference.convert[LT_HOT][from][LATHE_F32](src, decoded, n_elems, &params);
    for (size_t i = 0; i < n_elems; i++) {
        CHECK((float)dst[i] == decoded[i], "%s %s: element %zu of %zu is %d", name,
              lathe_isa_name(isa), i, n_elems, dst[i]);
    }
    CHECK((uint8_t)dst[-1] == CANARY && (at_end || (uint8_t)dst[n_elems] == CANARY),
          "%s %s: %zu elements: wrote outside", name, lathe_isa_name(isa), n_elems);
}

Test(recode, unpacking) {
    static uint8_t packed[MAX_ELEMS];
    test_rng rng = {34};
    for (size_t round = 0; round < N_LENGTHS; round += ROUND_STEP) {
        test_random_bytes(&rng, packed, sizeof packed);
        for (size_t t = 0; t < n_tables; t++) {
#define CHECK_UNPACKER(name, from)                                                                 \
    if (tables[t].unpack[from] != NULL) {                                                          \
        check_unpacker(#name, from, tables[t].unpack[from], tables[t].isa, packed,                 \
                       length_of(round));                                                          \
    }
            LT_UNPACK_KERNELS(CHECK_UNPACKER)
#undef CHECK_UNPACKER
        }
    }
}

/* What a lane of so many times a scale comes to. */
static void find_lane_sums(const float *scales, size_t n_groups, float *sums) {
    for (size_t g = 0; g < n_groups; g++) {
        float sum = 0;
        for (size_t k = 0; k < LATHE_STAT_LANES; k++) {
            sum += scales[g];
            sums[g * LATHE_STAT_LANES + k] = sum;
        }
    }
}

static void check_stat(const char *name, source from, lt_stat stat, size_t group, size_t n_elems,
                       test_rng *rng) {
    static _Alignas(64) uint8_t codes[MAX_ELEMS];
    static float decoded[MAX_ELEMS];
    static float scales[MAX_GROUPS];
    static float inverses[MAX_GROUPS];
    static float expected[MAX_GROUPS];
    static float got[MAX_GROUPS + 1];
    static float lane_sums[MAX_GROUPS * LATHE_STAT_LANES];
    size_t n_groups = (n_elems + group - 1) / group;
    size_t src_bytes = bytes_of(from.dtype, n_elems);
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, n_elems % 2 == 0);
    const lt_recode how = {.scales = scales,
                           .group_elems = group,
                           .are_narrow = from.are_narrow,
                           .lane_sums = lane_sums};
    fill_codes(rng, codes, src_bytes, from.dtype == LATHE_I8 && from.are_narrow ? 8 : 0);
    for (size_t i = 0; from.dtype == LATHE_I2 && n_elems % 2 == 0 && i < src_bytes; i++) {
        codes[i] &= (uint8_t)((codes[i] & 0x55) << 1 | 0x55); /* no -2 */
    }
    fill_scales(rng, 1, scales, inverses);
    find_lane_sums(scales, n_groups, lane_sums);
    memcpy(src, codes, src_bytes);
    for (size_t g = 0; g < n_groups; g++) {
        size_t count = n_elems - g * group < group ? n_elems - g * group : group;
        const lt_kernel_params params = {.scale = scales[g]};
        reference.convert[LT_HOT][from.dtype][LATHE_F32](src + bytes_of(from.dtype, g * group),
                                                         decoded, count, &params);
        expected[g] = reference.stat[LT_HOT][stat][LATHE_F32](decoded, count);
    }
    for (size_t t = 0; t < n_tables; t++) {
        lt_code_stat_fn *find = tables[t].code_stat[stat][from.dtype];
        if (find == NULL) {
            CHECK(tables[t].isa != LATHE_ISA_AVX512, "%s", name);
            continue;
        }
        memset(got, CANARY, sizeof got);
        find(src, n_elems, &how, got);
        CHECK(memcmp(got, expected, n_groups * sizeof(float)) == 0,
              "%s %s: %zu elements in groups of %zu", name, lathe_isa_name(tables[t].isa), n_elems,
              group);
        CHECK(((const uint8_t *)&got[n_groups])[0] == CANARY, "%s wrote outside", name);
    }
}

Test(recode, statistics) {
    test_rng rng = {35};
    for (size_t round = 0; round < N_LENGTHS; round += ROUND_STEP) {
        size_t n_elems = length_of(round) < LATHE_STAT_TILE ? length_of(round) : LATHE_STAT_TILE;
        for (size_t g = 0; g < N_GROUP_SIZES; g++) {
#define CHECK_STAT(name, dtype, stat)                                                              \
    check_stat(#name, (source){dtype, true}, stat, group_sizes[g], n_elems, &rng);                 \
    check_stat(#name, (source){dtype, (dtype) != LATHE_I8}, stat, group_sizes[g], n_elems, &rng);
            LT_CODE_STAT_KERNELS(CHECK_STAT)
            LT_CODE_SUM_KERNELS(CHECK_STAT)
#undef CHECK_STAT
        }
    }
}

/* Base-3 bytes as codes of I2, from any element of the first byte on. */
Test(recode, repacking) {
    enum { SKIPS = LATHE_BITNET158_PER_BYTE, ROOM = MAX_ELEMS / 4 + LT_REPACK_SLACK };
    static uint8_t packed[MAX_ELEMS / SKIPS + 2];
    static uint8_t crumbs[ROOM];
    static int8_t got[MAX_ELEMS];
    static float decoded[MAX_ELEMS + SKIPS];
    const lt_kernel_params params = {.scale = 1};
    test_rng rng = {36};
    for (size_t round = 0; round < N_LENGTHS; round += ROUND_STEP) {
        size_t n_elems = length_of(round);
        size_t skip = round % SKIPS;
        size_t src_bytes = bytes_of(LATHE_BITNET158, skip + n_elems);
        uint8_t *src = place(&src_memory, src_bytes, round % 61, round % 2 == 0);
        for (size_t i = 0; i < src_bytes; i++) {
            packed[i] = (uint8_t)test_random_below(&rng, 243);
        }
        memcpy(src, packed, src_bytes);
        reference.convert[LT_HOT][LATHE_BITNET158][LATHE_F32](packed, decoded, skip + n_elems,
                                                              &params);
        for (size_t t = 0; t < n_tables; t++) {
            if (tables[t].repack_bitnet158 == NULL) {
                CHECK(tables[t].isa == LATHE_ISA_NEON, "repack_bitnet158");
                continue;
            }
            tables[t].repack_bitnet158(src, crumbs, skip, n_elems);
            tables[t].unpack[LATHE_I2](crumbs, got, n_elems);
            for (size_t i = 0; i < n_elems; i++) {
                CHECK((float)got[i] == decoded[skip + i], "%s: element %zu of %zu, %zu skipped",
                      lathe_isa_name(tables[t].isa), i, n_elems, skip);
            }
        }
    }
}

/* Statistics of elements from any one on, of which few are not 0, or any: repacked with the bytes
 * that come before them and without. */
Test(recode, statistics_of_base_3) {
    enum { N_BYTES = 2 * MAX_ELEMS / LATHE_BITNET158_PER_BYTE, N = 2 * MAX_ELEMS };
    static uint8_t packed[N_BYTES];
    static float decoded[N];
    static const uint64_t shape[] = {N};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_BITNET158, .n_dims = 1, .shape = shape};
    const float scale = 0.37F;
    const lt_kernel_params params = {.scale = scale};
    lt_layout layout;
    test_rng rng = {39};
    CHECK_OK(lt_layout_of(&desc, &layout));
    for (int round = 0; round < (TEST_SANITIZED ? 100 : 1000); round++) {
        const size_t n_used = round % 5 == 0 ? N_BYTES : (size_t)(round % 5 - 1);
        const size_t any = test_random_below(&rng, N);
        const size_t first = round % 3 == 0 ? any % LATHE_BITNET158_PER_BYTE : any;
        const size_t left = N - first < LATHE_STAT_TILE ? N - first : LATHE_STAT_TILE;
        const size_t n_elems = round % 2 == 0 ? left : 1 + test_random_below(&rng, left);
        memset(packed, LATHE_BITNET158_BYTE_ZERO, sizeof packed);
        for (size_t i = 0; i < n_used; i++) { /* at the ends, where only part of a byte counts */
            const size_t end = i % 2 == 0 ? first : first + n_elems - 1;
            const size_t at = n_used == N_BYTES ? i : end / LATHE_BITNET158_PER_BYTE;
            packed[at] = (uint8_t)test_random_below(&rng, 243);
        }
        reference.convert[LT_HOT][LATHE_BITNET158][LATHE_F32](packed, decoded, N, &params);
        for (size_t t = 0; t < 2 * n_tables; t++) {
            const lt_kernels *table = &tables[t / 2];
            const lt_stat stat = t % 2 == 0 ? LT_STAT_ABSMAX : LT_STAT_ABSSUM;
            const float expected =
                reference.stat[LT_HOT][stat][LATHE_F32](decoded + first, n_elems);
            const lt_reader reader = {.kernels = table,
                                      .layout = &layout,
                                      .is_flat = true,
                                      .bytes = packed,
                                      .scales = &scale};
            float got = -1;
            if (!lt_recode_stat(&reader, stat, first, n_elems, &got)) {
                CHECK(table->code_stat[stat][LATHE_I8] == NULL, "statistics of base 3");
                continue;
            }
            CHECK(got == expected, "%s: %zu elements from %zu on: %a", lathe_isa_name(table->isa),
                  n_elems, first, (double)got);
        }
    }
}

/* Codes to base-3 bytes: of I8 all, of one and two bits where all groups make the same of them. */
static size_t check_ternary(lathe_dtype from, size_t n_elems, size_t group, test_rng *rng) {
    static uint8_t codes[MAX_ELEMS];
    static uint8_t made[MAX_ELEMS];
    static uint8_t expected[MAX_ELEMS];
    static float scales[MAX_GROUPS];
    static float inverses[MAX_GROUPS];
    const lt_recode how = {.scales = scales,
                           .inverses = inverses,
                           .group_elems = group,
                           .max_code = LATHE_BITNET158_MAX};
    size_t src_bytes = bytes_of(from, n_elems);
    size_t dst_bytes = bytes_of(LATHE_BITNET158, n_elems);
    uint8_t *src = place(&src_memory, src_bytes, n_elems % 61, n_elems % 2 == 0);
    size_t n_taken = 0;
    fill_codes(rng, codes, src_bytes, 0);
    fill_scales(rng, 1, scales, inverses);
    memcpy(src, codes, src_bytes);
    expect(from, LATHE_I8, codes, n_elems, &how, made); /* groups may share bytes of base 3 */
    reference.pack_bitnet158(made, expected, n_elems);
    for (size_t t = 0; t < n_tables; t++) {
        lt_ternary_fn *kernel = tables[t].ternary[from];
        uint8_t *dst = place(&dst_memory, dst_bytes, 1 + n_elems % 59, n_elems % 2 == 0);
        memset(dst_memory.bytes, CANARY, dst_memory.n_bytes);
        if (kernel != NULL && kernel(src, dst, n_elems, &how)) {
            n_taken++;
            CHECK(memcmp(dst, expected, dst_bytes) == 0, "%s: %zu elements",
                  lathe_isa_name(tables[t].isa), n_elems);
        }
        CHECK(dst[-1] == CANARY, "wrote outside");
        CHECK(n_elems % 2 == 0 || dst[dst_bytes] == CANARY, "wrote outside");
    }
    return n_taken;
}

Test(recode, ternary) {
    static const lathe_dtype sources[] = {LATHE_I8, LATHE_I2, LATHE_I1};
    static const size_t groups[] = {32, 64, 96, 128, 160};
    test_rng rng = {37};
    for (size_t i = 0; i < 3; i++) {
        size_t n_taken = 0;
        bool has_kernel = false;
        for (size_t round = 0; round < N_LENGTHS; round += ROUND_STEP) {
            const size_t group = groups[round / ROUND_STEP % 5];
            n_taken += check_ternary(sources[i], length_of(round), group, &rng);
        }
        for (size_t t = 0; t < n_tables; t++) {
            has_kernel = has_kernel || tables[t].ternary[sources[i]] != NULL;
        }
        CHECK(n_taken > 0 || !has_kernel, "no kernel ever took a case");
    }
}

/* Scales from many statistics, against one by one. */
Test(recode, scales) {
    static const lathe_dtype targets[] = {LATHE_I8, LATHE_I4, LATHE_I2, LATHE_I1, LATHE_BITNET158};
    enum { MOST = 70 };
    float stats[MOST];
    float scales[MOST + 1];
    float inverses[MOST + 1];
    test_rng rng = {38};
    for (size_t round = 0; round < 5 * (size_t)MOST; round++) {
        const lathe_dtype to = targets[round % 5];
        const size_t n = round / 5;
        const uint64_t n_elems = 1 + test_random_below(&rng, LATHE_STAT_TILE);
        const bool is_mean = to == LATHE_I1 || to == LATHE_BITNET158;
        const lt_scale_of how = {.max_code = is_mean ? 0 : max_code_of(to),
                                 .n_elems = (double)n_elems,
                                 .least = to == LATHE_BITNET158 ? LATHE_BITNET158_MIN_SCALE : 0};
        for (size_t i = 0; i < n; i++) {
            const uint32_t bits = (uint32_t)test_random_below(&rng, 0x7f800000);
            memcpy(&stats[i], &bits, sizeof bits);
        }
        for (size_t t = 0; t < n_tables; t++) {
            if (tables[t].scales == NULL) {
                CHECK(tables[t].isa == LATHE_ISA_NEON, "scales");
                continue;
            }
            scales[n] = inverses[n] = -1;
            tables[t].scales(&how, stats, n, scales, inverses);
            for (size_t i = 0; i < n; i++) {
                const float expected = lt_scale_from_stat(to, (double)stats[i], n_elems);
                CHECK(scales[i] == expected && inverses[i] == lt_inverse_scale(expected),
                      "%s to %s: %a over %llu", lathe_isa_name(tables[t].isa), lathe_dtype_name(to),
                      (double)stats[i], (unsigned long long)n_elems);
            }
            CHECK(scales[n] == -1 && inverses[n] == -1, "wrote outside");
        }
    }
}
