/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program for the thread sanitizer: eight threads convert through one engine, while others
 * trim its pool, read its statistics and share a tensor. Prints what went wrong; exits 0 if nothing
 * did. */
#include "stress_case.h"

enum { N_CALLERS = 8, N_SOURCES = 3, ROUNDS = 30 };

static lathe_engine *engine;
static stress_tensors tensors; /* made before the threads start */
static atomic_bool done;

static void *call(void *ctx) {
    test_rng rng = {(uint64_t)(uintptr_t)ctx};
    for (int round = 0; round < ROUNDS; round++) {
        size_t s = (size_t)test_random_below(&rng, N_SOURCES);
        size_t t = (size_t)test_random_below(&rng, N_TARGETS);
        lathe_target target = target_at(t);
        lathe_tensor *source = lathe_tensor_retain(tensors.sources[s]);
        lathe_tensor *result = NULL;
        lathe_status status = lathe_convert(engine, source, &target, &result, NULL);
        judge(&tensors, s, t, status, result);
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

static void run(const lathe_config *config) {
    static const uint64_t shape[] = {150, 4001};
    pthread_t callers[N_CALLERS];
    pthread_t disturber;
    atomic_store(&done, false);
    require(lathe_engine_create(config, &engine), "no engine");
    make_tensors(engine, N_SOURCES, shape, &tensors);
    start_threads(&disturber, 1, disturb);
    start_threads(callers, N_CALLERS, call);
    join_threads(callers, N_CALLERS);
    atomic_store(&done, true);
    join_threads(&disturber, 1);
    release_tensors(&tensors);
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
    return exit_status();
}
