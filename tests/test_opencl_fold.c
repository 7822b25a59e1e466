/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what an OpenCL device makes of many tiles' statistics: the scales must be those that the
 * CPU gets by folding tiles one after another, whether the device's sum can be used or not. */
#include "core/error.h"
#include "core/scale.h"
#include "core/tensor.h"
#include "engine/direct/direct.h"
#include "opencl_support.h"
#include <criterion/criterion.h>
#include <math.h>

enum { TILE = 4096, N_TILES = 4096 + 3, N_ELEMS = N_TILES * TILE - 17 };

static lathe_engine *cpu;
static lathe_engine *device;

static void setup(void) {
    const lathe_config host = {.struct_size = sizeof host, .n_threads = 2, .device = "cpu"};
    const lathe_config config = test_opencl_config();
    cr_assert_eq(lathe_engine_create(&host, &cpu), LATHE_OK);
    cr_assert_eq(lathe_engine_create(&config, &device), LATHE_OK, "%s",
                 lathe_last_error()->message);
}

static void teardown(void) {
    lathe_engine_free(device);
    lathe_engine_free(cpu);
}

TestSuite(opencl_fold, .init = setup, .fini = teardown);

/* What a tile's elements are multiplied by. */
typedef float tile_size(uint64_t tile);

static float alike(uint64_t tile) {
    (void)tile;
    return 1;
}

/* From 2^-60 to 2^59, so that most additions round. */
static float wild(uint64_t tile) {
    return ldexpf(1, (int)(tile * 2654435761u % 120) - 60);
}

/* The last ones far above all others, one of them with a sum beyond F32. */
static float rising(uint64_t tile) {
    return tile + 2 < N_TILES ? 0x1p-40f : tile + 1 < N_TILES ? 0x1p127f : 0x1p-100f;
}

static float none(uint64_t tile) {
    (void)tile;
    return 0;
}

static float scale_of(lathe_engine *engine, lathe_tensor *source, lathe_dtype dtype) {
    const lathe_target target = {.struct_size = sizeof target, .dtype = dtype};
    lathe_tensor *result = NULL;
    cr_assert_eq(lathe_convert(engine, source, &target, &result, NULL), LATHE_OK, "%s",
                 lathe_last_error()->message);
    float scale = lathe_tensor_scales(result)[0];
    lathe_tensor_release(result);
    return scale;
}

static void check(tile_size *size, const char *name) {
    const uint64_t shape[] = {N_ELEMS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    test_rng rng = {7};
    lathe_tensor *source = NULL;
    cr_assert_eq(lathe_engine_tensor_create(device, LATHE_MEMORY_HOST, &desc, &source), LATHE_OK);
    float *x = lathe_tensor_mutable_data(source);
    for (uint64_t i = 0; i < N_ELEMS; i++) {
        x[i] = (float)(1 + test_random_below(&rng, 1000)) / 1000 * size(i / TILE);
    }
    static const lathe_dtype dtypes[] = {LATHE_I1, LATHE_I8};
    for (size_t i = 0; i < 2; i++) {
        float want = scale_of(cpu, source, dtypes[i]);
        float got = scale_of(device, source, dtypes[i]);
        cr_assert_eq(memcmp(&got, &want, sizeof got), 0, "%s, %s: %a, not %a", name,
                     lathe_dtype_name(dtypes[i]), (double)got, (double)want);
    }
    lathe_tensor_release(source);
}

Test(opencl_fold, sums_that_do_not_round) {
    check(alike, "alike");
}

Test(opencl_fold, sums_that_round) {
    check(wild, "wild");
}

Test(opencl_fold, sums_beyond_f32) {
    check(rising, "rising");
}

Test(opencl_fold, zeros) {
    check(none, "zeros");
}

/* ---- the condition itself, with two windows of a scope */

static lt_tile_sum sum_of(const double *stats, uint64_t n) {
    lt_tile_sum sum = {.is_set = true, .is_exact = true, .lowest = INT32_MAX};
    for (uint64_t i = 0; i < n; i++) {
        int exponent = 0;
        uint64_t number = (uint64_t)ldexp(frexp(stats[i], &exponent), 53);
        int32_t lowest = exponent - 53 + (int32_t)__builtin_ctzll(number);
        sum.lowest = lowest < sum.lowest ? lowest : sum.lowest;
        sum.value += stats[i];
    }
    return sum;
}

/* Folds two windows, the second one from its sum; returns whether that could be used. */
static bool folds(const double *first, const double *second, uint64_t n) {
    const lt_tiling tiling = {.n_elems = 2 * n * TILE,
                              .scope_elems = 2 * n * TILE,
                              .scopes_per_row = 1,
                              .tiles_per_scope = 2 * n,
                              .n_tiles = 2 * n};
    const lt_tile_sum sum = sum_of(second, n);
    float want = 0;
    float got = 0;
    lt_fold one = {0};
    lt_fold_tiles(&one, &tiling, LATHE_I1, first, n, &want);
    lt_fold other = one;
    lt_fold_tiles(&one, &tiling, LATHE_I1, second, n, &want);
    bool used = lt_fold_sum(&other, &tiling, LATHE_I1, &sum, n, &got);
    cr_assert(!used || memcmp(&got, &want, sizeof got) == 0, "%a, not %a", (double)got,
              (double)want);
    cr_assert(used || other.n_tiles == n, "something was folded");
    return used;
}

Test(opencl_fold, condition) {
    const double small[] = {1, 0x1p-20, 3};
    const double large[] = {0x1p31, 0x1p31, 0x1p31};
    const double larger[] = {0x1p32, 0x1p32, 0x1p31};
    cr_assert(folds(small, small, 3));
    cr_assert(folds(small, large, 3));
    cr_assert(folds(large, small, 3));
    cr_assert(!folds(small, larger, 3), "2^33 and 2^-20 take 54 bits");
    cr_assert(!folds(larger, small, 3), "what was folded before counts, too");
}
