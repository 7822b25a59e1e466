/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program for the thread sanitizer: eight threads convert through one engine, while others
 * trim its pool, read its statistics and share a tensor. Prints what went wrong; exits 0 if nothing
 * did. */
#include "support.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_CALLERS = 8, N_TARGETS = 8, ROUNDS = 30, COLS = 4001, ROWS = 150 };

static lathe_engine *engine;
static lathe_tensor *sources[3];             /* F32, F16 and one with a NaN in it */
static lathe_tensor *expected[3][N_TARGETS]; /* made before the threads start */
static atomic_bool done;
static atomic_int n_failures;

static void fail(const char *what) {
    (void)fprintf(stderr, "stress_engine: %s (%s)\n", what, lathe_last_error()->message);
    (void)atomic_fetch_add(&n_failures, 1);
}

static lathe_target target_of(size_t i) {
    static const lathe_granularity granularities[] = {LATHE_PER_TENSOR, LATHE_PER_ROW,
                                                      LATHE_PER_GROUP};
    lathe_granularity granularity = granularities[i % 3];
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = (lathe_dtype)(LATHE_DTYPE_FIRST + i),
                          .granularity = granularity,
                          .group_size = granularity == LATHE_PER_GROUP ? 64 : 0,
                          .quality = i % 2 == 0 ? LATHE_BALANCED : LATHE_FAST};
}

static bool same(const lathe_tensor *a, const lathe_tensor *b) {
    size_t n_scales = (size_t)lathe_tensor_n_scales(a);
    return lathe_tensor_n_bytes(a) == lathe_tensor_n_bytes(b) &&
           memcmp(lathe_tensor_data(a), lathe_tensor_data(b), (size_t)lathe_tensor_n_bytes(a)) ==
               0 &&
           (n_scales == 0 ||
            memcmp(lathe_tensor_scales(a), lathe_tensor_scales(b), n_scales * sizeof(float)) == 0);
}

static void *call(void *ctx) {
    test_rng rng = {(uint64_t)(uintptr_t)ctx};
    for (int round = 0; round < ROUNDS; round++) {
        size_t s = (size_t)test_random_below(&rng, 3);
        size_t t = (size_t)test_random_below(&rng, N_TARGETS);
        lathe_target target = target_of(t);
        lathe_tensor *source = lathe_tensor_retain(sources[s]);
        lathe_tensor *result = NULL;
        lathe_status status = lathe_convert(engine, source, &target, &result, NULL);
        if (expected[s][t] == NULL) {
            if (status != LATHE_NON_FINITE || lathe_last_error()->element != 12345) {
                fail("a NaN was not reported");
            }
        } else if (status != LATHE_OK) {
            fail("a conversion failed");
        } else if (!same(result, expected[s][t])) {
            fail("a result differs");
        }
        lathe_tensor_release(result);
        lathe_tensor_release(source);
    }
    return NULL;
}

static void *disturb(void *ctx) {
    lathe_pool *pool = lathe_engine_pool(engine);
    (void)ctx;
    while (!atomic_load(&done)) {
        lathe_pool_stats stats = {.struct_size = sizeof stats};
        void *block = NULL;
        (void)lathe_pool_trim(pool, 1 << 16);
        if (lathe_pool_get_stats(pool, &stats) != LATHE_OK ||
            stats.in_use_bytes + stats.cached_bytes > stats.budget_bytes) {
            fail("the statistics are wrong");
        }
        if (lathe_pool_alloc(pool, 5000, &block) == LATHE_OK) {
            memset(block, 1, 5000);
            if (lathe_pool_free(pool, block) != LATHE_OK) {
                fail("a block could not be freed");
            }
        }
        lathe_device_info info = {.struct_size = sizeof info};
        if (lathe_engine_device(engine, &info) != LATHE_OK) {
            fail("the device has no description");
        }
    }
    return NULL;
}

static void make_sources(void) {
    static const uint64_t shape[] = {ROWS, COLS};
    test_rng rng = {1};
    for (size_t s = 0; s < 3; s++) {
        lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                  .dtype = s == 1 ? LATHE_F16 : LATHE_F32,
                                  .n_dims = 2,
                                  .shape = shape};
        if (lathe_tensor_create(lathe_engine_pool(engine), &desc, &sources[s]) != LATHE_OK) {
            fail("no source");
            exit(1);
        }
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(sources[s]),
                         NULL);
    }
    uint32_t nan = 0x7fc00000u;
    memcpy((uint8_t *)lathe_tensor_mutable_data(sources[2]) + (size_t)4 * 12345, &nan, 4);
    for (size_t s = 0; s < 3; s++) {
        for (size_t t = 0; t < N_TARGETS; t++) {
            lathe_target target = target_of(t);
            lathe_status status = lathe_convert(engine, sources[s], &target, &expected[s][t], NULL);
            bool nan_expected = s == 2 && lathe_dtype_is_quantized(target.dtype);
            if (status != (nan_expected ? LATHE_NON_FINITE : LATHE_OK)) {
                fail("a first conversion failed");
            }
        }
    }
}

static void run(const lathe_config *config) {
    pthread_t callers[N_CALLERS];
    pthread_t disturber;
    memset(expected, 0, sizeof expected);
    atomic_store(&done, false);
    if (lathe_engine_create(config, &engine) != LATHE_OK) {
        fail("no engine");
        exit(1);
    }
    make_sources();
    if (pthread_create(&disturber, NULL, disturb, NULL) != 0) {
        abort();
    }
    for (size_t i = 0; i < N_CALLERS; i++) {
        if (pthread_create(&callers[i], NULL, call, (void *)(uintptr_t)(i + 1)) != 0) {
            abort();
        }
    }
    for (size_t i = 0; i < N_CALLERS; i++) {
        (void)pthread_join(callers[i], NULL);
    }
    atomic_store(&done, true);
    (void)pthread_join(disturber, NULL);
    for (size_t s = 0; s < 3; s++) {
        lathe_tensor_release(sources[s]);
        for (size_t t = 0; t < N_TARGETS; t++) {
            lathe_tensor_release(expected[s][t]);
        }
    }
    lathe_engine_free(engine);
}

int main(void) {
    test_allocator allocator;
    test_executor executor;
    test_allocator_init(&allocator);
    test_executor_init(&executor, 3);
    const lathe_config configs[] = {
        {.struct_size = sizeof(lathe_config), .n_threads = 4, .allocator = &allocator.interface},
        {.struct_size = sizeof(lathe_config), .n_threads = 1, .memory_budget_bytes = 256 << 20},
        {.struct_size = sizeof(lathe_config), .executor = &executor.interface},
    };
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        run(&configs[i]);
    }
    if (allocator.n_live != 0 || allocator.misused) {
        fail("memory is left");
    }
    return atomic_load(&n_failures) == 0 ? 0 : 1;
}
