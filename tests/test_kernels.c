/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): every CPU kernel of the list, on every ISA and for both
 * heats, against the scalar reference byte for byte, and the scalar reference against the oracle.
 */
#include "check.h"
#include "kernel_variants.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ELEMS = 21000, CANARY = 0xc5 };

typedef struct kernel_entry {
    const char *name;
    lathe_dtype from;
    lathe_dtype to;
} kernel_entry;

static const kernel_entry entries[] = {
#define ENTRY(name, from, to) {#name, from, to},
    LT_CORE_KERNELS(ENTRY) LT_DIRECT_KERNELS(ENTRY)
#undef ENTRY
};
enum { N_ENTRIES = sizeof entries / sizeof entries[0] };

/* ---- the tables */

static size_t convert_variants(lathe_dtype from, lathe_dtype to, variant *variants) {
    size_t n = 0;
    for (size_t t = 0; t < n_tables; t++) {
        for (int heat = 0; heat < LT_HEAT_COUNT; heat++) {
            any_function *function = (any_function *)tables[t].convert[heat][from][to];
            n = add_variant(variants, n, function, tables[t].isa, heat);
        }
    }
    return n;
}

/* ---- parameters, sources and expectations */

static const float inverses[] = {1.0F, 0.0F, 127.0F, 0.37F, 1e30F, 1e-30F, FLT_MAX, 1e-44F};
static const float scales[] = {1.0F, 0.0F, 1e-5F, 0.37F, 1e36F, FLT_MAX, 1e-44F, 600.0F};
enum { N_PARAMS = sizeof inverses / sizeof inverses[0] };

static lt_kernel_params params_of(const kernel_entry *entry, size_t i) {
    return (lt_kernel_params){.scale = scales[i % N_PARAMS],
                              .inv_scale = inverses[i % N_PARAMS],
                              .max_code = (float)oracle_max_code(entry->to)};
}

static bool is_quantized(lathe_dtype dtype) {
    return lathe_dtype_is_quantized(dtype);
}

/* How many parameter sets make a difference. */
static size_t n_params_of(const kernel_entry *entry) {
    return is_quantized(entry->from) || is_quantized(entry->to) ? N_PARAMS : 1;
}

/* Floats: all kinds of data, non-finite ones too. Codes: any bytes at all. */
static void fill_source(test_rng *rng, lathe_dtype dtype, uint8_t *src, size_t n_elems) {
    if (is_quantized(dtype)) {
        test_random_bytes(rng, src, bytes_of(dtype, n_elems));
        return;
    }
    static const test_data kinds[] = {TEST_DATA_NONFINITE, TEST_DATA_SPECIAL, TEST_DATA_WIDE,
                                      TEST_DATA_NORMAL};
    test_fill_floats(rng, dtype, kinds[test_random_below(rng, 4)], src, n_elems);
}

/* What the scalar reference gives, through an F32 tile where it has no kernel of its own. */
static void convert_scalar(const kernel_entry *entry, const uint8_t *src, uint8_t *dst,
                           size_t n_elems, const lt_kernel_params *params) {
    static float tile[1 << 16];
    lt_convert_fn *(*convert)[LT_DTYPE_SLOTS] = tables[0].convert[LT_HOT];
    if (convert[entry->from][entry->to] != NULL) {
        convert[entry->from][entry->to](src, dst, n_elems, params);
        return;
    }
    convert[entry->from][LATHE_F32](src, tile, n_elems, params);
    convert[LATHE_F32][entry->to](tile, dst, n_elems, params);
}

/* ---- memory: guard pages outside, canaries around the output inside */

static void setup(void) {
    open_kernels(LATHE_ISA_SCALAR, 8 * MAX_ELEMS + 2 * MARGIN, 8 * MAX_ELEMS + 2 * MARGIN);
}

TestSuite(kernels, .init = setup, .fini = close_kernels);

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t n) {
    size_t i = 0;
    while (i < n && a[i] == b[i]) {
        i++;
    }
    return i;
}

static bool all_canaries(const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != CANARY) {
            return false;
        }
    }
    return true;
}

/* One call, with the source at src_at and the output at dst_at of their memories. */
static void run_at(const kernel_entry *entry, const variant *v, const uint8_t *source,
                   const uint8_t *expected, size_t n_elems, const lt_kernel_params *params,
                   size_t src_at, size_t dst_at) {
    size_t src_bytes = bytes_of(entry->from, n_elems);
    size_t dst_bytes = bytes_of(entry->to, n_elems);
    size_t before = dst_at < MARGIN ? dst_at : MARGIN;
    size_t behind = dst_memory.n_bytes - dst_at - dst_bytes;
    behind = behind < MARGIN ? behind : MARGIN;
    uint8_t *src = src_memory.bytes + src_at;
    uint8_t *dst = dst_memory.bytes + dst_at;
    memcpy(src, source, src_bytes);
    memset(dst - before, CANARY, before + dst_bytes + behind);
    ((lt_convert_fn *)v->function)(src, dst, n_elems, params);
    size_t wrong = first_difference(dst, expected, dst_bytes);
    CHECK(wrong == dst_bytes,
          "%s %s %s: %zu elements, source at %zu, output at %zu, scale %g inverse %g: byte %zu is "
          "0x%02x, not 0x%02x",
          entry->name, lathe_isa_name(v->isa), v->heat == LT_HOT ? "hot" : "cold", n_elems, src_at,
          dst_at, (double)params->scale, (double)params->inv_scale, wrong, dst[wrong],
          expected[wrong]);
    CHECK(all_canaries(dst - before, before) && all_canaries(dst + dst_bytes, behind),
          "%s %s %s: %zu elements, output at %zu: wrote outside", entry->name,
          lathe_isa_name(v->isa), v->heat == LT_HOT ? "hot" : "cold", n_elems, dst_at);
    CHECK(memcmp(src, source, src_bytes) == 0, "%s: wrote to its source", entry->name);
}

/* Up against both guard pages, and at some places between them. */
static void run_placements(const kernel_entry *entry, const variant *v, const uint8_t *source,
                           const uint8_t *expected, size_t n_elems, const lt_kernel_params *params,
                           test_rng *rng) {
    size_t src_end = src_memory.n_bytes - bytes_of(entry->from, n_elems);
    size_t dst_end = dst_memory.n_bytes - bytes_of(entry->to, n_elems);
    run_at(entry, v, source, expected, n_elems, params, 0, 0);
    run_at(entry, v, source, expected, n_elems, params, src_end, dst_end);
    for (int i = 0; i < 2; i++) {
        size_t src_at = MARGIN + (size_t)test_random_below(rng, 64);
        size_t dst_at = MARGIN + (size_t)test_random_below(rng, 64);
        run_at(entry, v, source, expected, n_elems, params, src_at, dst_at);
    }
}

static void run_length(const kernel_entry *entry, const variant *variants, size_t n_variants,
                       size_t n_elems, size_t first_params, size_t n_params, test_rng *rng) {
    static uint8_t source[4 * MAX_ELEMS];
    static uint8_t expected[4 * MAX_ELEMS];
    fill_source(rng, entry->from, source, n_elems);
    for (size_t p = 0; p < n_params; p++) {
        lt_kernel_params params = params_of(entry, first_params + p);
        convert_scalar(entry, source, expected, n_elems, &params);
        for (size_t i = 0; i < n_variants; i++) {
            run_placements(entry, &variants[i], source, expected, n_elems, &params, rng);
        }
    }
}

Test(kernels, tables_are_complete) {
    for (size_t t = 0; t < n_tables; t++) {
        for (int heat = 0; heat < LT_HEAT_COUNT; heat++) {
#define EXPECT(name, from, to)                                                                     \
    CHECK(tables[t].convert[heat][from][to] != NULL, "%s in table %zu", #name, t);
            LT_CORE_KERNELS(EXPECT)
            if (tables[t].isa != LATHE_ISA_SCALAR) {
                LT_DIRECT_KERNELS(EXPECT)
            }
#undef EXPECT
#define EXPECT(name, dtype, which)                                                                 \
    CHECK(tables[t].stat[heat][which][dtype] != NULL, "%s in table %zu", #name, t);
            LT_STAT_KERNELS(EXPECT)
#undef EXPECT
        }
#define EXPECT(name) CHECK(tables[t].name != NULL, "%s in table %zu", #name, t);
        LT_PACK_KERNELS(EXPECT)
#undef EXPECT
        CHECK(tables[t].saturated_f32 != NULL, "saturated_f32 in table %zu", t);
        CHECK(tables[t].copy != NULL, "copy in table %zu", t);
    }
    CHECK(tables[0].isa == LATHE_ISA_SCALAR, "the first table is the reference");
}

Test(kernels, every_length) {
    test_rng rng = {1};
    for (size_t e = 0; e < N_ENTRIES; e++) {
        variant variants[MAX_VARIANTS];
        size_t n = convert_variants(entries[e].from, entries[e].to, variants);
        size_t n_params = n_params_of(&entries[e]) == 1 ? 1 : 4;
        for (size_t n_elems = 0; n_elems <= MAX_SHORT; n_elems++) {
            run_length(&entries[e], variants, n, n_elems, 4 * n_elems, n_params, &rng);
        }
    }
}

Test(kernels, long_runs) {
    static const size_t lengths[] = {511,  512,  513,  1000, 2047,  2560,
                                     4095, 4096, 4097, 5000, 20480, 20999};
    test_rng rng = {2};
    for (size_t e = 0; e < N_ENTRIES; e++) {
        variant variants[MAX_VARIANTS];
        size_t n = convert_variants(entries[e].from, entries[e].to, variants);
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            run_length(&entries[e], variants, n, lengths[i], 0, n_params_of(&entries[e]), &rng);
        }
    }
}

Test(kernels, every_misalignment) {
    static const size_t lengths[] = {75, 201, 330};
    static uint8_t source[4 * MAX_ELEMS];
    static uint8_t expected[4 * MAX_ELEMS];
    test_rng rng = {3};
    const size_t step = TEST_SANITIZED ? 7 : 1;
    for (size_t e = 0; e < N_ENTRIES; e++) {
        variant variants[MAX_VARIANTS];
        size_t n = convert_variants(entries[e].from, entries[e].to, variants);
        for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
            lt_kernel_params params = params_of(&entries[e], 2 * k);
            fill_source(&rng, entries[e].from, source, lengths[k]);
            convert_scalar(&entries[e], source, expected, lengths[k], &params);
            for (size_t place = k; place < (size_t)64 * 64; place += step) {
                for (size_t i = 0; i < n; i++) {
                    run_at(&entries[e], &variants[i], source, expected, lengths[k], &params,
                           MARGIN + place / 64, MARGIN + place % 64);
                }
            }
        }
    }
}

/* Bytes as they are, of every length up to some steps and at every place in a line. */
Test(kernels, copies) {
    static uint8_t source[MAX_ELEMS];
    static const size_t long_ones[] = {2047, 4096, 4097, 20999};
    const kernel_entry entry = {"copy", LATHE_I8, LATHE_I8};
    const lt_kernel_params params = {.ahead = 0};
    test_rng rng = {5};
    test_random_bytes(&rng, source, sizeof source);
    for (size_t t = 0; t < n_tables; t++) {
        const variant v = {(void (*)(void))tables[t].copy, tables[t].isa, LT_COLD};
        for (size_t n = 0; n <= 4 * MAX_SHORT; n++) {
            run_at(&entry, &v, source, source, n, &params, MARGIN + n % 61, MARGIN + n % 64);
            run_placements(&entry, &v, source, source, n, &params, &rng);
        }
        for (size_t i = 0; i < sizeof long_ones / sizeof long_ones[0]; i++) {
            run_placements(&entry, &v, source, source, long_ones[i], &params, &rng);
        }
    }
}

/* Long enough for every 16-bit pattern, in an order in which neighbours differ. */
Test(kernels, every_16_bit_pattern) {
    enum { N = 1 << 16 };
    uint16_t *source = malloc(N * sizeof *source);
    uint8_t *expected = malloc(4 * N);
    uint8_t *got = malloc(4 * N);
    CHECK(source != NULL && expected != NULL && got != NULL, "memory");
    for (uint32_t i = 0; i < N; i++) {
        source[i] = (uint16_t)(i * 40503u);
    }
    for (size_t e = 0; e < N_ENTRIES; e++) {
        if (entries[e].from != LATHE_F16 && entries[e].from != LATHE_BF16) {
            continue;
        }
        variant variants[MAX_VARIANTS];
        size_t n = convert_variants(entries[e].from, entries[e].to, variants);
        for (size_t p = 0; p < n_params_of(&entries[e]); p++) {
            lt_kernel_params params = params_of(&entries[e], p);
            size_t n_bytes = bytes_of(entries[e].to, N);
            convert_scalar(&entries[e], (const uint8_t *)source, expected, N, &params);
            for (size_t i = 0; i < n; i++) {
                memset(got, CANARY, n_bytes);
                ((lt_convert_fn *)variants[i].function)(source, got, N, &params);
                size_t wrong = first_difference(got, expected, n_bytes);
                CHECK(wrong == n_bytes, "%s %s inverse %g: byte %zu", entries[e].name,
                      lathe_isa_name(variants[i].isa), (double)params.inv_scale, wrong);
            }
        }
    }
    free(source);
    free(expected);
    free(got);
}

/* ---- the scalar reference against the oracle */

static void store(lathe_dtype dtype, uint8_t *dst, size_t i, float x, float inverse) {
    uint16_t narrow = 0;
    switch (dtype) {
    case LATHE_F32:
        memcpy(dst + 4 * i, &x, 4);
        return;
    case LATHE_F16:
    case LATHE_BF16:
        narrow =
            dtype == LATHE_F16 ? oracle_f32_to_f16(test_bits(x)) : oracle_f32_to_bf16(test_bits(x));
        memcpy(dst + 2 * i, &narrow, 2);
        return;
    default:
        oracle_put_code(dtype, dst, i, oracle_encode(dtype, x, inverse));
    }
}

Test(kernels, scalar_equals_oracle) {
    static uint8_t source[4 * MAX_ELEMS];
    static uint8_t got[4 * MAX_ELEMS];
    static uint8_t expected[4 * MAX_ELEMS];
    test_rng rng = {4};
    for (size_t e = 0; e < N_ENTRIES; e++) {
        for (size_t round = 0; round < 400; round++) {
            size_t n_elems = round <= MAX_SHORT ? round : 5000 - round;
            lt_kernel_params params = params_of(&entries[e], round);
            size_t n_bytes = bytes_of(entries[e].to, n_elems);
            fill_source(&rng, entries[e].from, source, n_elems);
            convert_scalar(&entries[e], source, got, n_elems, &params);
            if (is_quantized(entries[e].to)) {
                oracle_clear_row(entries[e].to, expected, n_bytes);
            }
            for (size_t i = 0; i < n_elems; i++) {
                float x = load(entries[e].from, source, i, params.scale);
                store(entries[e].to, expected, i, x, params.inv_scale);
            }
            size_t wrong = first_difference(got, expected, n_bytes);
            CHECK(wrong == n_bytes,
                  "%s: %zu elements, scale %g inverse %g: byte %zu: %02x, not %02x",
                  entries[e].name, n_elems, (double)params.scale, (double)params.inv_scale, wrong,
                  got[wrong], expected[wrong]);
        }
    }
}

enum { N_TIES = 255 * 9 * 2 };

/* The code of a finite element where `extra` more codes lie below -max. */
static int code_of(lathe_dtype to, float x, float inverse, int extra) {
    double scaled = (double)(float)((double)x * (double)inverse);
    int max = oracle_max_code(to);
    return extra != 0 && scaled < -max ? (int)fmax(rint(scaled), -max - extra)
                                       : oracle_encode(to, x, inverse);
}

static void check_codes(lathe_dtype to, const float *x, size_t n, float inverse, int extra) {
    static uint8_t got[N_TIES];
    static uint8_t expected[N_TIES];
    const lt_kernel_params params = {.scale = 1.0F,
                                     .inv_scale = inverse,
                                     .max_code = (float)oracle_max_code(to),
                                     .extra_codes = (float)extra};
    size_t n_bytes = bytes_of(to, n);
    oracle_clear_row(to, expected, n_bytes);
    for (size_t i = 0; i < n; i++) {
        oracle_put_code(to, expected, i, code_of(to, x[i], inverse, extra));
    }
    variant variants[MAX_VARIANTS];
    size_t n_variants = convert_variants(LATHE_F32, to, variants);
    for (size_t i = 0; i < n_variants; i++) {
        memset(got, CANARY, sizeof got);
        ((lt_convert_fn *)variants[i].function)(x, got, n, &params);
        size_t wrong = first_difference(got, expected, n_bytes);
        CHECK(wrong == n_bytes, "ties %s to %s, %d extra codes: byte %zu",
              lathe_isa_name(variants[i].isa), lathe_dtype_name(to), extra, wrong);
    }
}

/* Codes around every tie of every type, whatever the multiplication rounds to. */
Test(kernels, codes_near_ties) {
    static float x[N_TIES];
    static const lathe_dtype to[] = {LATHE_I8, LATHE_I4, LATHE_I2, LATHE_BITNET158, LATHE_I1};
    for (size_t p = 0; p < 40; p++) {
        float inverse = p < 8 ? ldexpf(1.0F, (int)p - 4) : 1.0F + 0.01234F * (float)p;
        size_t n = 0;
        for (int tie = 0; tie < 255; tie++) {
            uint32_t bits = test_bits(((float)tie + 0.5F) / inverse);
            for (uint32_t k = 0; k < 9; k++) {
                x[n++] = test_float(bits + k - 4);
                x[n++] = test_float((bits + k - 4) | 0x80000000u);
            }
        }
        for (size_t t = 0; t < sizeof to / sizeof to[0]; t++) {
            check_codes(to[t], x, n, inverse, 0);
            if (to[t] == LATHE_I4 || to[t] == LATHE_I2) {
                check_codes(to[t], x, n, inverse, 1);
            }
        }
    }
}

/* ---- the rest of the table */

Test(kernels, saturation_counts) {
    static float x[MAX_ELEMS];
    test_rng rng = {7};
    static const float bounds[] = {127.0F, 7.0F, 1.0F};
    for (size_t round = 0; round < 3000; round++) {
        size_t n_elems = round % (MAX_SHORT + 1);
        if (round % 50 == 0) {
            n_elems = 5000 - round;
        }
        const lt_kernel_params params = {
            .scale = 1.0F, .inv_scale = inverses[round % N_PARAMS], .max_code = bounds[round % 3]};
        fill_source(&rng, LATHE_F32, (uint8_t *)x, n_elems);
        uint64_t expected = 0;
        for (size_t i = 0; i < n_elems; i++) {
            double scaled = (double)(float)((double)x[i] * (double)params.inv_scale);
            expected += fabs(scaled) >= (double)params.max_code + 0.5;
        }
        float *end = (float *)(void *)(src_memory.bytes + src_memory.n_bytes) - n_elems;
        memcpy(end, x, n_elems * sizeof *x);
        for (size_t t = 0; t < n_tables; t++) {
            CHECK(tables[t].saturated_f32(x, n_elems, &params) == expected, "%s: %zu elements",
                  lathe_isa_name(tables[t].isa), n_elems);
            CHECK(tables[t].saturated_f32(end, n_elems, &params) == expected, "%s: %zu elements",
                  lathe_isa_name(tables[t].isa), n_elems);
        }
    }
}

Test(kernels, ternary_packing) {
    static int8_t codes[MAX_ELEMS];
    static uint8_t packed[MAX_ELEMS];
    test_rng rng = {8};
    for (size_t round = 0; round < 1200; round++) {
        size_t n_elems = round <= 2 * MAX_SHORT ? round / 2 : 5000 - round;
        size_t n_bytes = bytes_of(LATHE_BITNET158, n_elems);
        oracle_clear_row(LATHE_BITNET158, packed, n_bytes);
        for (size_t i = 0; i < n_elems; i++) {
            codes[i] = (int8_t)((int)test_random_below(&rng, 3) - 1);
            oracle_put_code(LATHE_BITNET158, packed, i, codes[i]);
        }
        size_t place = (size_t)test_random_below(&rng, 65);
        for (size_t t = 0; t < n_tables; t++) {
            uint8_t *src = place == 64 ? src_memory.bytes + src_memory.n_bytes - n_elems
                                       : src_memory.bytes + place;
            uint8_t *dst = place == 64 ? dst_memory.bytes + dst_memory.n_bytes - n_bytes
                                       : dst_memory.bytes + MARGIN + (place * 7 & 63);
            memcpy(src, codes, n_elems);
            memset(dst - MARGIN, CANARY, MARGIN + n_bytes + (place == 64 ? 0 : MARGIN));
            tables[t].pack_bitnet158(src, dst, n_elems);
            CHECK(memcmp(dst, packed, n_bytes) == 0, "pack %s: %zu elements",
                  lathe_isa_name(tables[t].isa), n_elems);
            CHECK(all_canaries(dst - MARGIN, MARGIN) &&
                      (place == 64 || all_canaries(dst + n_bytes, MARGIN)),
                  "pack %s: %zu elements: wrote outside", lathe_isa_name(tables[t].isa), n_elems);
            src = place == 64 ? src_memory.bytes + src_memory.n_bytes - n_bytes
                              : src_memory.bytes + place;
            dst = place == 64 ? dst_memory.bytes + dst_memory.n_bytes - n_elems
                              : dst_memory.bytes + MARGIN + (place * 11 & 63);
            memcpy(src, packed, n_bytes);
            memset(dst - MARGIN, CANARY, MARGIN + n_elems + (place == 64 ? 0 : MARGIN));
            tables[t].unpack_bitnet158(src, dst, n_elems);
            CHECK(memcmp(dst, codes, n_elems) == 0, "unpack %s: %zu elements",
                  lathe_isa_name(tables[t].isa), n_elems);
            CHECK(all_canaries(dst - MARGIN, MARGIN) &&
                      (place == 64 || all_canaries(dst + n_elems, MARGIN)),
                  "unpack %s: %zu elements: wrote outside", lathe_isa_name(tables[t].isa), n_elems);
        }
    }
}
