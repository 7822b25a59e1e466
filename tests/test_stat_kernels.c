/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): every CPU kernel for statistics, on every ISA and for both
 * heats, against the scalar reference bit for bit, and that against the oracle. */
#include "check.h"
#include "kernel_variants.h"
#include "lathe_constants.h"
#include <math.h>

typedef struct stat_entry {
    const char *name;
    lathe_dtype dtype;
    lt_stat stat;
} stat_entry;

static const stat_entry stat_entries[] = {
#define ENTRY(name, dtype, stat) {#name, dtype, stat},
    LT_STAT_KERNELS(ENTRY)
#undef ENTRY
};
enum { N_STAT_ENTRIES = sizeof stat_entries / sizeof stat_entries[0] };

static void setup(void) {
    const size_t n_bytes = LATHE_STAT_TILE * sizeof(float) + 2 * MARGIN;
    open_kernels(LATHE_ISA_SCALAR, n_bytes, n_bytes);
}

TestSuite(stat_kernels, .init = setup, .fini = close_kernels);

static size_t stat_variants(const stat_entry *entry, variant *variants) {
    size_t n = 0;
    for (size_t t = 0; t < n_tables; t++) {
        for (int heat = 0; heat < LT_HEAT_COUNT; heat++) {
            any_function *function =
                (any_function *)tables[t].stat[heat][entry->stat][entry->dtype];
            n = add_variant(variants, n, function, tables[t].isa, heat);
        }
    }
    return n;
}

static float call_stat(const variant *v, const uint8_t *source, size_t n_bytes, size_t at,
                       size_t n_elems) {
    uint8_t *src = src_memory.bytes + at;
    memcpy(src, source, n_bytes);
    return ((lt_stat_fn *)v->function)(src, n_elems);
}

static void check_stat(const stat_entry *entry, const variant *variants, size_t n_variants,
                       const uint8_t *source, size_t n_elems, test_rng *rng) {
    static float x[LATHE_STAT_TILE];
    bool finite = true;
    for (size_t i = 0; i < n_elems; i++) {
        x[i] = load(entry->dtype, source, i, 1.0F);
        finite = finite && isfinite(x[i]);
    }
    float expected =
        entry->stat == LT_STAT_ABSMAX ? oracle_absmax(x, n_elems) : oracle_tile_sum(x, n_elems);
    float scalar = ((lt_stat_fn *)variants[0].function)(source, n_elems);
    CHECK(finite ? test_bits(scalar) == test_bits(expected) : !isfinite(scalar),
          "%s scalar: %zu elements: %a, not %a", entry->name, n_elems, (double)scalar,
          (double)expected);
    size_t n_bytes = bytes_of(entry->dtype, n_elems);
    for (size_t i = 1; i < n_variants; i++) {
        size_t places[] = {0, src_memory.n_bytes - n_bytes,
                           MARGIN + (size_t)test_random_below(rng, 64)};
        for (size_t p = 0; p < 3; p++) {
            float got = call_stat(&variants[i], source, n_bytes, places[p], n_elems);
            CHECK(test_bits(got) == test_bits(scalar), "%s %s %s: %zu elements at %zu: %a, not %a",
                  entry->name, lathe_isa_name(variants[i].isa),
                  variants[i].heat == LT_HOT ? "hot" : "cold", n_elems, places[p], (double)got,
                  (double)scalar);
        }
    }
}

Test(stat_kernels, statistics) {
    static uint8_t source[4 * LATHE_STAT_TILE];
    static const size_t lengths[] = {511, 512, 513, 1024, 2000, 4031, 4032, 4033, 4095, 4096};
    test_rng rng = {5};
    for (size_t e = 0; e < N_STAT_ENTRIES; e++) {
        variant variants[MAX_VARIANTS];
        size_t n = stat_variants(&stat_entries[e], variants);
        lathe_dtype dtype = stat_entries[e].dtype;
        for (int data = 0; data < TEST_DATA_COUNT; data++) {
            for (size_t n_elems = 0; n_elems <= MAX_SHORT; n_elems++) {
                test_fill_floats(&rng, dtype, (test_data)data, source, n_elems);
                check_stat(&stat_entries[e], variants, n, source, n_elems, &rng);
            }
            for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
                test_fill_floats(&rng, dtype, (test_data)data, source, lengths[i]);
                check_stat(&stat_entries[e], variants, n, source, lengths[i], &rng);
            }
        }
    }
}

/* A single infinity or NaN anywhere in a tile must show. */
Test(stat_kernels, statistics_show_any_nonfinite_element) {
    static uint8_t source[4 * LATHE_STAT_TILE];
    static const uint32_t bad[] = {0x7f800000u, 0xff800000u, 0x7fc00000u,
                                   0xffc00000u, 0x7f800001u, 0xffffffffu};
    test_rng rng = {6};
    for (size_t e = 0; e < N_STAT_ENTRIES; e++) {
        variant variants[MAX_VARIANTS];
        size_t n = stat_variants(&stat_entries[e], variants);
        lathe_dtype dtype = stat_entries[e].dtype;
        size_t elem_bytes = dtype == LATHE_F32 ? 4 : 2;
        test_fill_floats(&rng, dtype, TEST_DATA_NORMAL, source, LATHE_STAT_TILE);
        for (size_t at = 0; at < LATHE_STAT_TILE; at += TEST_SANITIZED ? 37 : 1) {
            uint8_t before[4];
            uint32_t f32 = bad[at % 6];
            uint16_t narrow = dtype == LATHE_F16 ? oracle_f32_to_f16(f32) : oracle_f32_to_bf16(f32);
            memcpy(before, source + at * elem_bytes, elem_bytes);
            memcpy(source + at * elem_bytes, dtype == LATHE_F32 ? (void *)&f32 : (void *)&narrow,
                   elem_bytes);
            for (size_t i = 0; i < n; i++) {
                float got = ((lt_stat_fn *)variants[i].function)(source, LATHE_STAT_TILE);
                CHECK(!isfinite(got), "%s %s: element %zu", stat_entries[e].name,
                      lathe_isa_name(variants[i].isa), at);
            }
            memcpy(source + at * elem_bytes, before, elem_bytes);
        }
    }
}
