/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the engine: its configuration, its threads and the caller's, many callers at once, and
 * what it does when memory runs out. */
#include "check.h"
#include "oracle.h"
#include "support.h"
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t medium[] = {60, 3001};
static const uint64_t large[] = {200, 4001}; /* enough for several threads */

static lathe_tensor_desc desc_of(lathe_dtype dtype, const uint64_t *shape) {
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc), .dtype = dtype, .n_dims = 2, .shape = shape};
}

static lathe_target target_of(lathe_dtype dtype, lathe_granularity granularity) {
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = dtype,
                          .granularity = granularity,
                          .group_size = granularity == LATHE_PER_GROUP ? 64 : 0};
}

static lathe_engine *engine_of(const lathe_config *config) {
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(config, &engine));
    return engine;
}

static lathe_device_info device_of(lathe_engine *engine) {
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engine, &info));
    return info;
}

/* A source tensor of the pool with reproducible contents. */
static lathe_tensor *source_of(lathe_pool *pool, lathe_dtype dtype, const uint64_t *shape,
                               uint64_t seed) {
    lathe_tensor_desc desc = desc_of(dtype, shape);
    lathe_tensor *tensor = NULL;
    test_rng rng = {seed};
    CHECK_OK(lathe_tensor_create(pool, &desc, &tensor));
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(tensor),
                     lathe_tensor_mutable_scales(tensor));
    return tensor;
}

static bool equals(const lathe_tensor *result, const oracle_result *expected) {
    size_t n_bytes = (size_t)expected->layout.n_bytes;
    size_t n_scale_bytes = (size_t)expected->layout.n_scales * sizeof(float);
    return expected->status == LATHE_OK && lathe_tensor_n_bytes(result) == n_bytes &&
           memcmp(lathe_tensor_data(result), expected->bytes, n_bytes) == 0 &&
           (n_scale_bytes == 0 ||
            memcmp(lathe_tensor_scales(result), expected->scales, n_scale_bytes) == 0);
}

static bool equals_oracle(const lathe_tensor *source, const lathe_target *target,
                          const lathe_tensor *result) {
    lathe_tensor_desc desc = desc_of(lathe_tensor_dtype(source), lathe_tensor_shape(source));
    oracle_result expected;
    oracle_convert(&desc, lathe_tensor_data(source), lathe_tensor_scales(source), target,
                   &expected);
    bool equal = equals(result, &expected);
    oracle_result_free(&expected);
    return equal;
}

/* The same conversions every time, so that the oracle works once. */
static void check_converts(lathe_engine *engine) {
    static oracle_result expected[LATHE_DTYPE_LAST + 1];
    lathe_tensor *source = source_of(lathe_engine_pool(engine), LATHE_F32, large, 1);
    for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
        lathe_target target = target_of((lathe_dtype)to, LATHE_PER_TENSOR);
        lathe_tensor *result = NULL;
        if (expected[to].bytes == NULL) {
            lathe_tensor_desc desc = desc_of(LATHE_F32, large);
            oracle_convert(&desc, lathe_tensor_data(source), NULL, &target, &expected[to]);
        }
        CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
        CHECK(equals(result, &expected[to]), "f32 to %s", lathe_dtype_name((lathe_dtype)to));
        lathe_tensor_release(result);
    }
    lathe_tensor_release(source);
}

static size_t n_process_threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    size_t n = 0;
    if (tasks == NULL) {
        return 0;
    }
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        n += entry->d_name[0] != '.';
    }
    (void)closedir(tasks);
    return n;
}

/* ---- configuration */

Test(engine, defaults) {
    lathe_engine *engine = engine_of(NULL);
    lathe_device_info info = device_of(engine);
    cpu_set_t cpus;
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0, "affinity");
    CHECK(info.threads == (uint32_t)CPU_COUNT(&cpus), "%u threads on %d CPUs", info.threads,
          CPU_COUNT(&cpus));
    CHECK(strcmp(info.kind, "cpu") == 0 && info.name[0] != '\0', "%s", info.kind);
    CHECK(info.isa >= LATHE_ISA_SCALAR && info.shares_host_memory == 1, "isa");
    CHECK(info.memory_bytes > 0, "memory");
    CHECK(lathe_engine_pool(engine) != NULL, "pool");
    check_converts(engine);
    lathe_engine_free(engine);
    lathe_engine_free(NULL);
}

Test(engine, threads_and_isa_are_what_was_asked) {
    lathe_isa isas[TEST_MAX_ISAS];
    size_t n_isas = test_isas(isas);
    for (size_t i = 0; i < n_isas; i++) {
        for (uint32_t n_threads = 1; n_threads <= 5; n_threads += 2) {
            lathe_config config = {
                .struct_size = sizeof config, .isa = isas[i], .n_threads = n_threads};
            lathe_engine *engine = engine_of(&config);
            lathe_device_info info = device_of(engine);
            CHECK(info.isa == isas[i] && info.threads == n_threads, "%s %u",
                  lathe_isa_name(info.isa), info.threads);
            check_converts(engine);
            lathe_engine_free(engine);
        }
    }
}

Test(engine, bad_configurations_are_refused) {
    test_executor executor;
    test_allocator allocator;
    lathe_pool *pool = NULL;
    lathe_engine *engine = NULL;
    test_executor_init(&executor, 2);
    test_allocator_init(&allocator);
    CHECK_OK(lathe_pool_create(NULL, &pool));
    const lathe_config good = {.struct_size = sizeof good};
    volatile int number = 1000;
#define REFUSED(expected, change)                                                                  \
    do {                                                                                           \
        lathe_config bad = good;                                                                   \
        change;                                                                                    \
        CHECK_STATUS(lathe_engine_create(&bad, &engine), expected);                                \
        CHECK(engine == NULL, "the output was touched");                                           \
    } while (0)
    REFUSED(LATHE_INVALID_ARGUMENT, bad.struct_size = 0);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.struct_size = sizeof bad - 8);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.isa = (lathe_isa)number);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.executor = &executor.interface; bad.n_threads = 2);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.pool = pool; bad.memory_budget_bytes = 1 << 20);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.pool = pool; bad.allocator = &allocator.interface);
    lathe_executor broken = executor.interface;
    broken.n_threads = 0;
    REFUSED(LATHE_INVALID_ARGUMENT, bad.executor = &broken);
    broken = executor.interface;
    broken.parallel_for = NULL;
    REFUSED(LATHE_INVALID_ARGUMENT, bad.executor = &broken);
    lathe_allocator half = allocator.interface;
    half.release = NULL;
    REFUSED(LATHE_INVALID_ARGUMENT, bad.allocator = &half);
#undef REFUSED
    CHECK_STATUS(lathe_engine_create(&good, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_engine_create(&good, &engine));
    lathe_device_info info = {.struct_size = 3};
    CHECK_STATUS(lathe_engine_device(engine, &info), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_engine_device(engine, NULL), LATHE_INVALID_ARGUMENT);
    info.struct_size = sizeof info;
    CHECK_STATUS(lathe_engine_device(NULL, &info), LATHE_INVALID_ARGUMENT);
    lathe_engine_free(engine);
    lathe_pool_release(pool);
}

Test(engine, an_isa_that_is_missing_is_not_supported) {
    for (int isa = LATHE_ISA_SCALAR; isa <= LATHE_ISA_NEON; isa++) {
        lathe_config config = {.struct_size = sizeof config, .isa = (lathe_isa)isa};
        lathe_engine *engine = NULL;
        lathe_status status = lathe_engine_create(&config, &engine);
        CHECK(status == LATHE_OK || (status == LATHE_NOT_SUPPORTED && isa != LATHE_ISA_SCALAR),
              "%s: %s", lathe_isa_name((lathe_isa)isa), lathe_status_name(status));
        lathe_engine_free(engine);
    }
}

Test(engine, uses_the_pool_that_it_is_given) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    lathe_pool_config pool_config = {.struct_size = sizeof pool_config,
                                     .allocator = &allocator.interface};
    lathe_pool *pool = NULL;
    CHECK_OK(lathe_pool_create(&pool_config, &pool));
    lathe_config config = {.struct_size = sizeof config, .pool = pool};
    lathe_engine *engine = engine_of(&config);
    CHECK(lathe_engine_pool(engine) == pool, "pool");
    lathe_pool_release(pool); /* the engine has its own reference */
    check_converts(engine);
    lathe_engine_free(engine);
    CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks left", (int)allocator.n_live);
}

Test(engine, results_outlive_it) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    lathe_config config = {.struct_size = sizeof config, .allocator = &allocator.interface};
    lathe_engine *engine = engine_of(&config);
    lathe_tensor *source = source_of(lathe_engine_pool(engine), LATHE_F32, medium, 2);
    lathe_target target = target_of(LATHE_I4, LATHE_PER_GROUP);
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
    lathe_engine_free(engine);
    CHECK(equals_oracle(source, &target, result), "the result");
    lathe_tensor_release(source);
    lathe_tensor_release(result);
    CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks left", (int)allocator.n_live);
}

/* ---- threads */

Test(threads, engines_end_their_threads) {
    lathe_config config = {.struct_size = sizeof config, .n_threads = 4};
    lathe_engine *engine = engine_of(&config);
    check_converts(engine);
    lathe_engine_free(engine);
    size_t before = n_process_threads();
    for (int i = 0; i < 10; i++) {
        engine = engine_of(&config);
        check_converts(engine);
        lathe_engine_free(engine);
    }
    CHECK(n_process_threads() <= before, "%zu threads, then %zu", before, n_process_threads());
}

Test(threads, the_callers_executor_does_the_work) {
    for (uint32_t n_threads = 1; n_threads <= 4; n_threads++) {
        test_executor executor;
        test_executor_init(&executor, n_threads);
        lathe_config config = {.struct_size = sizeof config, .executor = &executor.interface};
        size_t before = n_process_threads();
        lathe_engine *engine = engine_of(&config);
        CHECK(device_of(engine).threads == n_threads, "threads");
        CHECK(n_process_threads() <= before, "the engine made threads of its own");
        check_converts(engine);
        CHECK(executor.n_calls > 0 || n_threads == 1, "the executor was not called");
        CHECK(n_process_threads() <= before, "the engine made threads of its own");
        lathe_engine_free(engine);
    }
}

/* A child of a process that has used its engine makes an engine of its own. */
Test(threads, a_forked_child_makes_its_own_engine) {
    lathe_config config = {.struct_size = sizeof config, .n_threads = 3};
    lathe_engine *engine = engine_of(&config);
    check_converts(engine);
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(60);
        lathe_engine *own = NULL;
        if (lathe_engine_create(&config, &own) != LATHE_OK) {
            _exit(2);
        }
        lathe_tensor *source = source_of(lathe_engine_pool(own), LATHE_F32, large, 1);
        lathe_target target = target_of(LATHE_I8, LATHE_PER_TENSOR);
        lathe_tensor *result = NULL;
        bool good = lathe_convert(own, source, &target, &result, NULL) == LATHE_OK &&
                    equals_oracle(source, &target, result);
        lathe_tensor_release(result);
        lathe_tensor_release(source);
        lathe_engine_free(own);
        _exit(good ? 0 : 3);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "fork");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x",
          (unsigned)status);
    check_converts(engine);
    lathe_engine_free(engine);
}

typedef struct caller {
    lathe_engine *engine;
    const lathe_tensor *source;
    lathe_target target;
    const oracle_result *expected;
    int rounds;
    const char *failure;
} caller;

static void *call(void *ctx) {
    caller *self = ctx;
    for (int i = 0; i < self->rounds && self->failure == NULL; i++) {
        lathe_tensor *result = NULL;
        lathe_status status =
            lathe_convert(self->engine, self->source, &self->target, &result, NULL);
        if (status != self->expected->status) {
            self->failure = "another status";
        } else if (status != LATHE_OK) {
            const lathe_error *error = lathe_last_error();
            if (error->status != status || error->element != self->expected->element) {
                self->failure = "another error than this thread's";
            }
        } else if (memcmp(lathe_tensor_data(result), self->expected->bytes,
                          (size_t)self->expected->layout.n_bytes) != 0) {
            self->failure = "other bytes";
        }
        lathe_tensor_release(result);
    }
    return NULL;
}

static void many_callers(lathe_engine *engine) {
    enum { N = 8 };
    static const lathe_dtype to[N] = {LATHE_F16, LATHE_I8,        LATHE_BITNET158, LATHE_I1,
                                      LATHE_I4,  LATHE_BITNET158, LATHE_I2,        LATHE_BF16};
    pthread_t threads[N];
    caller callers[N];
    oracle_result expected[N];
    lathe_tensor *sources[N];
    for (size_t i = 0; i < N; i++) {
        lathe_tensor_desc desc = desc_of(LATHE_F32, large);
        sources[i] = source_of(lathe_engine_pool(engine), LATHE_F32, large, i);
        if (i % 3 == 1) { /* some of the callers get errors */
            uint32_t nan = 0x7fc00000u;
            memcpy((uint8_t *)lathe_tensor_mutable_data(sources[i]) + 400000 * i, &nan, 4);
        }
        callers[i] = (caller){
            .engine = engine,
            .source = sources[i],
            .target = target_of(to[i], (lathe_granularity)(i % 3)),
            .expected = &expected[i],
            .rounds = TEST_SANITIZED ? 10 : 50,
        };
        oracle_convert(&desc, lathe_tensor_data(sources[i]), NULL, &callers[i].target,
                       &expected[i]);
    }
    for (size_t i = 0; i < N; i++) {
        CHECK(pthread_create(&threads[i], NULL, call, &callers[i]) == 0, "pthread_create");
    }
    for (size_t i = 0; i < N; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0, "pthread_join");
    }
    for (size_t i = 0; i < N; i++) {
        CHECK(callers[i].failure == NULL, "caller %zu: %s", i, callers[i].failure);
        oracle_result_free(&expected[i]);
        lathe_tensor_release(sources[i]);
    }
}

Test(threads, many_callers_of_one_engine) {
    lathe_config config = {.struct_size = sizeof config, .n_threads = 3};
    lathe_engine *engine = engine_of(&config);
    many_callers(engine);
    lathe_engine_free(engine);
}

Test(threads, many_callers_of_a_single_threaded_engine) {
    lathe_config config = {.struct_size = sizeof config, .n_threads = 1};
    lathe_engine *engine = engine_of(&config);
    many_callers(engine);
    lathe_engine_free(engine);
}

Test(threads, many_callers_through_one_executor) {
    test_executor executor;
    test_executor_init(&executor, 3);
    lathe_config config = {.struct_size = sizeof config, .executor = &executor.interface};
    lathe_engine *engine = engine_of(&config);
    many_callers(engine);
    lathe_engine_free(engine);
}

static void *retain_and_release(void *ctx) {
    for (int i = 0; i < 10000; i++) {
        lathe_tensor_release(lathe_tensor_retain(ctx));
    }
    return NULL;
}

Test(threads, references_are_counted_by_all) {
    enum { N = 8 };
    test_allocator allocator;
    test_allocator_init(&allocator);
    lathe_pool_config config = {.struct_size = sizeof config, .allocator = &allocator.interface};
    lathe_pool *pool = NULL;
    pthread_t threads[N];
    CHECK_OK(lathe_pool_create(&config, &pool));
    lathe_tensor *tensor = source_of(pool, LATHE_I8, medium, 1);
    for (size_t i = 0; i < N; i++) {
        CHECK(pthread_create(&threads[i], NULL, retain_and_release, tensor) == 0, "pthread_create");
    }
    for (size_t i = 0; i < N; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0, "pthread_join");
    }
    CHECK(lathe_tensor_n_elems(tensor) == 180060, "still alive");
    lathe_tensor_release(tensor);
    lathe_pool_release(pool);
    CHECK(allocator.n_live == 0, "and gone in the end");
}

/* ---- memory */

Test(memory, a_budget_that_is_too_small) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    const uint64_t budget = 2 << 20;
    lathe_config config = {.struct_size = sizeof config,
                           .n_threads = 2,
                           .memory_budget_bytes = budget,
                           .allocator = &allocator.interface};
    lathe_engine *engine = engine_of(&config);
    lathe_tensor *source = source_of(lathe_engine_pool(engine), LATHE_F16, medium, 3); /* 360 KB */
    lathe_tensor *results[4] = {0};
    lathe_target target = target_of(LATHE_F32, LATHE_PER_TENSOR); /* 720 KB each */
    CHECK_OK(lathe_convert(engine, source, &target, &results[0], NULL));
    CHECK_OK(lathe_convert(engine, source, &target, &results[1], NULL));
    CHECK_STATUS(lathe_convert(engine, source, &target, &results[2], NULL),
                 LATHE_INSUFFICIENT_MEMORY);
    CHECK(results[2] == NULL, "the output was touched");
    CHECK(lathe_last_error()->required_bytes >= 720240, "required");
    CHECK(lathe_last_error()->available_bytes < 720240, "available");
    CHECK(lathe_last_error()->required_bytes > lathe_last_error()->available_bytes, "numbers");
    CHECK(equals_oracle(source, &target, results[1]), "earlier results are intact");
    lathe_tensor_release(results[0]);
    CHECK_OK(lathe_convert(engine, source, &target, &results[2], NULL));
    CHECK(equals_oracle(source, &target, results[2]), "the source is intact");
    CHECK(allocator.peak_bytes <= budget + (256 << 10), "over budget");
    lathe_tensor_release(results[1]);
    lathe_tensor_release(results[2]);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
    CHECK(allocator.n_live == 0 && !allocator.misused, "memory left");
}

/* Every allocation of create and convert fails once: no leak, no damage, the right error. */
static void fail_each_allocation(lathe_dtype from, lathe_dtype to, lathe_granularity granularity) {
    bool succeeded = false;
    for (uint64_t fail_at = 0; !succeeded; fail_at++) {
        CHECK(fail_at < 500, "it never succeeds");
        test_allocator allocator;
        test_allocator_init(&allocator);
        test_allocator_reset(&allocator, fail_at);
        allocator.fail_ever_after = fail_at % 2 == 1;
        lathe_config config = {
            .struct_size = sizeof config, .n_threads = 2, .allocator = &allocator.interface};
        lathe_engine *engine = NULL;
        lathe_status status = lathe_engine_create(&config, &engine);
        lathe_tensor_desc desc = desc_of(from, large);
        oracle_layout layout;
        (void)oracle_layout_of(&desc, &layout);
        uint8_t *bytes = malloc((size_t)layout.n_bytes);
        float scale = 1.0F;
        lathe_tensor *source = NULL;
        lathe_tensor *result = NULL;
        test_rng rng = {fail_at};
        CHECK(bytes != NULL, "memory");
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, bytes, &scale);
        if (status == LATHE_OK) {
            status = lathe_tensor_wrap(lathe_engine_pool(engine), &desc, bytes, &scale, 0, NULL,
                                       NULL, &source);
        }
        lathe_target target = target_of(to, granularity);
        if (status == LATHE_OK) {
            status = lathe_convert(engine, source, &target, &result, NULL);
        }
        succeeded = status == LATHE_OK && allocator.n_calls <= fail_at;
        CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "allocation %d: %s",
              (int)fail_at, lathe_status_name(status));
        CHECK(status == LATHE_OK || result == NULL, "the output was touched");
        if (status != LATHE_OK) {
            CHECK(lathe_last_error()->status == status, "last error");
            CHECK(lathe_last_error()->required_bytes > 0, "allocation %d: required", (int)fail_at);
        } else {
            CHECK(equals_oracle(source, &target, result), "allocation %d", (int)fail_at);
        }
        if (source != NULL) {
            test_rng again = {fail_at};
            uint8_t *before = malloc((size_t)layout.n_bytes);
            float same_scale = 1.0F;
            CHECK(before != NULL, "memory");
            test_fill_tensor(&again, &desc, TEST_DATA_NORMAL, before, &same_scale);
            CHECK(memcmp(before, bytes, (size_t)layout.n_bytes) == 0, "the source was changed");
            free(before);
        }
        lathe_tensor_release(result);
        lathe_tensor_release(source);
        lathe_engine_free(engine);
        free(bytes);
        CHECK(allocator.n_live == 0 && !allocator.misused, "allocation %d leaks", (int)fail_at);
    }
}

Test(memory, survives_any_failing_allocation) {
    fail_each_allocation(LATHE_F32, LATHE_F16, LATHE_PER_TENSOR);
    fail_each_allocation(LATHE_F32, LATHE_I8, LATHE_PER_TENSOR);
    fail_each_allocation(LATHE_F32, LATHE_BITNET158, LATHE_PER_ROW);
    fail_each_allocation(LATHE_BF16, LATHE_I4, LATHE_PER_GROUP);
    fail_each_allocation(LATHE_I8, LATHE_I1, LATHE_PER_TENSOR);
    fail_each_allocation(LATHE_BITNET158, LATHE_F32, LATHE_PER_TENSOR);
}

/* Recycled outputs: after the first round nothing new comes from the allocator. */
Test(memory, conversions_recycle) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    lathe_config config = {
        .struct_size = sizeof config, .n_threads = 2, .allocator = &allocator.interface};
    lathe_engine *engine = engine_of(&config);
    lathe_tensor *source = source_of(lathe_engine_pool(engine), LATHE_F32, large, 4);
    uint64_t n_calls = 0;
    for (int round = 0; round < 3; round++) {
        n_calls = allocator.n_calls;
        for (int to = LATHE_F16; to <= LATHE_DTYPE_LAST; to++) {
            lathe_target target = target_of((lathe_dtype)to, LATHE_PER_TENSOR);
            lathe_tensor *result = NULL;
            CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
            lathe_tensor_release(result);
        }
    }
    CHECK(allocator.n_calls == n_calls, "%d new blocks", (int)(allocator.n_calls - n_calls));
    lathe_tensor_release(source);
    lathe_engine_free(engine);
    CHECK(allocator.n_live == 0, "memory left");
}
