/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): F32 to F16 and BF16 for all 2^32 patterns, and back for all
 * 65,536, on every ISA, against the oracle. Rounding is monotone, so the oracle's answer is a list
 * of intervals (derived from where the ties lie), and a kernel's output must be constant on each.
 */
#include "check.h"
#include "cpu/kernels.h"
#include "oracle.h"
#include "support.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BITS = 15, BLOCK = 1 << BLOCK_BITS, N_THREADS = 4 };

/* Under a sanitizer, in an emulator, or without optimisation, only every so many blocks are tried;
 * interval ends keep their own test. */
#if defined(__OPTIMIZE__)
static const uint32_t block_stride = TEST_SANITIZED ? 61 : 1;
#else
static const uint32_t block_stride = 61;
#endif

static void table_for(lt_kernels *kernels, lathe_isa isa, bool stream_stores) {
    lt_cpu_features features;
    lt_cpu_features_detect(&features);
    features.stream_stores = stream_stores;
    lt_kernels_init(kernels, isa, &features);
}

static bool has_isa(lathe_isa isa) {
    lt_cpu_features features;
    lt_cpu_features_detect(&features);
    return lt_cpu_has_isa(&features, isa);
}

/* ---- the intervals themselves */

static uint16_t oracle_narrow(lathe_dtype dtype, uint32_t f32) {
    return dtype == LATHE_F16 ? oracle_f32_to_f16(f32) : oracle_f32_to_bf16(f32);
}

Test(exhaustive_floats, intervals_agree_with_rounding_by_search) {
    for (int dtype = LATHE_F16; dtype <= LATHE_BF16; dtype++) {
        size_t n = 0;
        oracle_interval *intervals = oracle_intervals((lathe_dtype)dtype, &n);
        for (size_t i = 0; i < n; i++) {
            uint32_t first = intervals[i].first;
            uint32_t last = intervals[i + 1].first - 1;
            CHECK(first <= last, "interval %zu is empty", i);
            CHECK(oracle_narrow((lathe_dtype)dtype, first) == intervals[i].value, "%08x", first);
            CHECK(oracle_narrow((lathe_dtype)dtype, last) == intervals[i].value, "%08x", last);
            uint32_t middle = first + (last - first) / 2;
            CHECK(oracle_narrow((lathe_dtype)dtype, middle) == intervals[i].value, "%08x", middle);
        }
        CHECK(intervals[0].first == 0 && intervals[n].first == 0x80000000u, "the ends");
        free(intervals);
    }
}

/* ---- all patterns */

enum { MAX_KERNELS = 3 };

typedef struct sweep {
    lt_convert_fn
        *kernels[MAX_KERNELS]; /* the others must equal the first, which meets the oracle */
    size_t n_kernels;
    const oracle_interval *intervals; /* n of them */
    size_t n;
    atomic_uint next_block;
    atomic_bool failed;
    uint32_t wrong_pattern; /* valid if failed */
    uint16_t got;
} sweep;

static size_t interval_of(const sweep *s, uint32_t magnitude) {
    size_t low = 0;
    size_t high = s->n; /* intervals[high].first > magnitude */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->intervals[middle].first <= magnitude) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool all_equal(const uint16_t *values, size_t n, uint16_t expected) {
    unsigned different = 0;
    for (size_t i = 0; i < n; i++) {
        different |= (unsigned)values[i] ^ (unsigned)expected;
    }
    return different == 0;
}

static void check_block(sweep *s, uint32_t first, const uint16_t *got) {
    uint16_t sign = (uint16_t)(first >= 0x80000000u ? 0x8000 : 0);
    uint32_t magnitude = first & 0x7fffffffu; /* a block never crosses the sign */
    size_t interval = interval_of(s, magnitude);
    for (size_t at = 0; at < BLOCK; interval++) {
        uint32_t end = s->intervals[interval + 1].first - magnitude;
        size_t run = (end < BLOCK ? end : BLOCK) - at;
        uint16_t expected = (uint16_t)(s->intervals[interval].value + sign);
        if (!all_equal(got + at, run, expected)) {
            while (got[at] == expected) {
                at++;
            }
            if (!atomic_exchange(&s->failed, true)) {
                s->wrong_pattern = first + (uint32_t)at;
                s->got = got[at];
            }
            return;
        }
        at += run;
    }
}

static void *sweep_thread(void *ctx) {
    sweep *s = ctx;
    uint32_t *patterns = malloc(BLOCK * sizeof *patterns);
    uint16_t *got = malloc(BLOCK * sizeof *got);
    uint16_t *again = malloc(BLOCK * sizeof *again);
    if (patterns == NULL || got == NULL || again == NULL) {
        abort();
    }
    const uint32_t n_blocks = 1u << (32 - BLOCK_BITS);
    for (;;) {
        uint32_t block = atomic_fetch_add(&s->next_block, block_stride);
        if (block >= n_blocks || atomic_load(&s->failed)) {
            break;
        }
        uint32_t first = block << BLOCK_BITS;
        for (uint32_t i = 0; i < BLOCK; i++) {
            patterns[i] = first + i;
        }
        s->kernels[0](patterns, got, BLOCK, NULL);
        check_block(s, first, got);
        for (size_t k = 1; k < s->n_kernels; k++) {
            s->kernels[k](patterns, again, BLOCK, NULL);
            if (memcmp(got, again, BLOCK * sizeof *got) != 0) {
                check_block(s, first, again);
            }
        }
    }
    free(patterns);
    free(got);
    free(again);
    return NULL;
}

static void sweep_isa(lathe_dtype dtype, lathe_isa isa) {
    if (!has_isa(isa)) {
        return;
    }
    lt_kernels plain;
    lt_kernels streaming;
    table_for(&plain, isa, false);
    table_for(&streaming, isa, true);
    size_t n = 0;
    oracle_interval *intervals = oracle_intervals(dtype, &n);
    sweep s = {
        .kernels = {plain.convert[LT_HOT][LATHE_F32][dtype],
                    plain.convert[LT_COLD][LATHE_F32][dtype],
                    streaming.convert[LT_COLD][LATHE_F32][dtype]},
        .n_kernels = isa == LATHE_ISA_SCALAR ? 1 : MAX_KERNELS,
        .intervals = intervals,
        .n = n,
    };
    pthread_t threads[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, sweep_thread, &s) == 0, "pthread_create");
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0, "pthread_join");
    }
    CHECK(!atomic_load(&s.failed), "f32 to %s, %s: pattern %08x gives %04x, not %04x",
          lathe_dtype_name(dtype), lathe_isa_name(isa), s.wrong_pattern, s.got,
          oracle_narrow(dtype, s.wrong_pattern));
    free(intervals);
}

Test(exhaustive_floats, f32_to_f16_scalar) {
    sweep_isa(LATHE_F16, LATHE_ISA_SCALAR);
}

Test(exhaustive_floats, f32_to_f16_avx2) {
    sweep_isa(LATHE_F16, LATHE_ISA_AVX2);
}

Test(exhaustive_floats, f32_to_f16_avx512) {
    sweep_isa(LATHE_F16, LATHE_ISA_AVX512);
}

Test(exhaustive_floats, f32_to_f16_neon) {
    sweep_isa(LATHE_F16, LATHE_ISA_NEON);
}

Test(exhaustive_floats, f32_to_bf16_scalar) {
    sweep_isa(LATHE_BF16, LATHE_ISA_SCALAR);
}

Test(exhaustive_floats, f32_to_bf16_avx2) {
    sweep_isa(LATHE_BF16, LATHE_ISA_AVX2);
}

Test(exhaustive_floats, f32_to_bf16_avx512) {
    sweep_isa(LATHE_BF16, LATHE_ISA_AVX512);
}

Test(exhaustive_floats, f32_to_bf16_neon) {
    sweep_isa(LATHE_BF16, LATHE_ISA_NEON);
}

/* ---- the interval ends, and the way back: few enough to try everywhere, sanitizers or not */

Test(exhaustive_floats, both_sides_of_every_interval_end) {
    for (int dtype = LATHE_F16; dtype <= LATHE_BF16; dtype++) {
        size_t n = 0;
        oracle_interval *intervals = oracle_intervals((lathe_dtype)dtype, &n);
        uint32_t *patterns = malloc(4 * n * sizeof *patterns);
        uint16_t *got = malloc(4 * n * sizeof *got);
        CHECK(patterns != NULL && got != NULL, "memory");
        for (size_t i = 0; i < n; i++) {
            patterns[4 * i] = intervals[i].first;
            patterns[4 * i + 1] = intervals[i + 1].first - 1;
            patterns[4 * i + 2] = patterns[4 * i] | 0x80000000u;
            patterns[4 * i + 3] = patterns[4 * i + 1] | 0x80000000u;
        }
        for (int isa = LATHE_ISA_SCALAR; isa <= LATHE_ISA_NEON; isa++) {
            for (int heat = 0; has_isa((lathe_isa)isa) && heat < LT_HEAT_COUNT; heat++) {
                lt_kernels kernels;
                table_for(&kernels, (lathe_isa)isa, false);
                kernels.convert[heat][LATHE_F32][dtype](patterns, got, 4 * n, NULL);
                for (size_t i = 0; i < 4 * n; i++) {
                    uint16_t expected = (uint16_t)(intervals[i / 4].value | (i & 2 ? 0x8000 : 0));
                    CHECK(got[i] == expected, "%s: %08x gives %04x, not %04x",
                          lathe_isa_name((lathe_isa)isa), patterns[i], got[i], expected);
                }
            }
        }
        free(intervals);
        free(patterns);
        free(got);
    }
}

Test(exhaustive_floats, f16_and_bf16_to_f32) {
    enum { N = 1 << 16 };
    uint16_t *patterns = malloc(N * sizeof *patterns);
    uint32_t *got = malloc(N * sizeof *got);
    CHECK(patterns != NULL && got != NULL, "memory");
    for (uint32_t i = 0; i < N; i++) {
        patterns[i] = (uint16_t)i;
    }
    for (int isa = LATHE_ISA_SCALAR; isa <= LATHE_ISA_NEON; isa++) {
        for (int variant = 0; has_isa((lathe_isa)isa) && variant < 4; variant++) {
            int heat = variant & 1 ? LT_COLD : LT_HOT;
            lt_kernels kernels;
            table_for(&kernels, (lathe_isa)isa, (variant & 2) != 0);
            kernels.convert[heat][LATHE_F16][LATHE_F32](patterns, got, N, NULL);
            for (uint32_t i = 0; i < N; i++) {
                CHECK(got[i] == oracle_f16_to_f32((uint16_t)i), "%s: f16 %04x gives %08x, not %08x",
                      lathe_isa_name((lathe_isa)isa), i, got[i], oracle_f16_to_f32((uint16_t)i));
            }
            kernels.convert[heat][LATHE_BF16][LATHE_F32](patterns, got, N, NULL);
            for (uint32_t i = 0; i < N; i++) {
                CHECK(got[i] == oracle_bf16_to_f32((uint16_t)i), "%s: bf16 %04x gives %08x",
                      lathe_isa_name((lathe_isa)isa), i, got[i]);
            }
        }
    }
    free(patterns);
    free(got);
}
