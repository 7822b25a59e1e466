/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program in which many threads convert through one engine on an OpenCL device while others
 * trim its pool and read its counters; then through two engines, on two devices where POCL_DEVICES
 * makes two. Prints what went wrong; exits 0 if nothing did, 77 where there is no device. */
#include "opencl_support.h"
#include <lathe/async.h>
#include <stdatomic.h>
#include <time.h>

enum {
    N_CALLERS = 8,
    N_TARGETS = 8,
    N_SOURCES = 4,
    ROUNDS = TEST_SANITIZED ? 8 : 30,
    COLS = 1001,
    ROWS = 70
};

static lathe_engine *cpu;
static lathe_engine *engines[2];
static size_t n_engines;
static lathe_tensor *sources[N_SOURCES]; /* F32, F16, one with a NaN in it, I8 */
static lathe_tensor *expected[N_SOURCES][N_TARGETS];
static atomic_bool done;
static atomic_int n_failures;

static void fail(const char *what) {
    (void)fprintf(stderr, "stress_opencl: %s (%s)\n", what, lathe_last_error()->message);
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

/* What came of a conversion of source s to target t. */
static void judge(size_t s, size_t t, lathe_status status, const lathe_tensor *result) {
    if (expected[s][t] == NULL) {
        if (status != LATHE_NON_FINITE || lathe_last_error()->element != 12345) {
            fail("a NaN was not reported");
        }
    } else if (status != LATHE_OK) {
        fail("a conversion failed");
    } else if (!test_same(result, expected[s][t])) {
        fail("a result differs");
    }
}

/* Through a tensor on the device. */
static lathe_status convert_there(lathe_engine *engine, lathe_tensor *source,
                                  const lathe_target *target, lathe_tensor **result) {
    lathe_tensor *there = NULL;
    lathe_tensor *made = NULL;
    lathe_tensor_desc desc = {.struct_size = sizeof desc,
                              .dtype = lathe_tensor_dtype(source),
                              .n_dims = lathe_tensor_n_dims(source),
                              .shape = lathe_tensor_shape(source)};
    lathe_status status = lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &desc, &there);
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(engine, source, there);
    }
    if (status == LATHE_OK) {
        status = lathe_convert(engine, there, target, &made, NULL);
    }
    if (status == LATHE_OK &&
        lathe_target_desc(target, desc.n_dims, desc.shape, &desc) == LATHE_OK) {
        status = lathe_tensor_create(lathe_engine_pool(cpu), &desc, result);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(engine, made, *result);
    }
    lathe_tensor_release(made);
    lathe_tensor_release(there);
    return status;
}

static void *call(void *ctx) {
    test_rng rng = {(uint64_t)(uintptr_t)ctx};
    for (int round = 0; round < ROUNDS; round++) {
        const size_t s = (size_t)test_random_below(&rng, N_SOURCES);
        const size_t t = (size_t)test_random_below(&rng, N_TARGETS);
        const lathe_target target = target_of(t);
        lathe_engine *engine = engines[test_random_below(&rng, n_engines)];
        lathe_tensor *result = NULL;
        lathe_event *event = NULL;
        lathe_status status = LATHE_OK;
        switch (test_random_below(&rng, 3)) {
        case 0:
            status = lathe_convert_async(engine, sources[s], &target, &event);
            status = status == LATHE_OK ? lathe_event_status(event) : status;
            result = event == NULL ? NULL : lathe_event_result(event);
            break;
        case 1:
            status = convert_there(engine, sources[s], &target, &result);
            break;
        default:
            status = lathe_convert(engine, sources[s], &target, &result, NULL);
        }
        judge(s, t, status, result);
        lathe_event_release(event);
        lathe_tensor_release(result);
    }
    return NULL;
}

static void *disturb(void *ctx) {
    (void)ctx;
    for (size_t i = 0; !atomic_load(&done); i++) {
        lathe_engine *engine = engines[i % n_engines];
        lathe_device_info info = {.struct_size = sizeof info};
        lathe_pool_stats stats = {.struct_size = sizeof stats};
        (void)lathe_pool_trim(lathe_engine_pool(engine), 1 << 16);
        if (lathe_pool_get_stats(lathe_engine_pool(engine), &stats) != LATHE_OK ||
            stats.in_use_bytes + stats.cached_bytes > stats.budget_bytes ||
            lathe_engine_device(engine, &info) != LATHE_OK) {
            fail("the statistics are wrong");
        }
        (void)test_engine_stats(engine);
        const struct timespec pause = {.tv_nsec = 200000};
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static void make_sources(void) {
    static const uint64_t shape[] = {ROWS, COLS};
    static const lathe_dtype dtypes[N_SOURCES] = {LATHE_F32, LATHE_F16, LATHE_F32, LATHE_I8};
    test_rng rng = {1};
    for (size_t s = 0; s < N_SOURCES; s++) {
        lathe_tensor_desc desc = {
            .struct_size = sizeof desc, .dtype = dtypes[s], .n_dims = 2, .shape = shape};
        if (lathe_tensor_create(lathe_engine_pool(cpu), &desc, &sources[s]) != LATHE_OK) {
            fail("no source");
            exit(1);
        }
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(sources[s]),
                         lathe_tensor_mutable_scales(sources[s]));
    }
    uint32_t nan = 0x7fc00000u;
    memcpy((uint8_t *)lathe_tensor_mutable_data(sources[2]) + (size_t)4 * 12345, &nan, 4);
    for (size_t s = 0; s < N_SOURCES; s++) {
        for (size_t t = 0; t < N_TARGETS; t++) {
            lathe_target target = target_of(t);
            lathe_status status = lathe_convert(cpu, sources[s], &target, &expected[s][t], NULL);
            bool nan_expected = s == 2 && lathe_dtype_is_quantized(target.dtype);
            if (status != (nan_expected ? LATHE_NON_FINITE : LATHE_OK)) {
                fail("a first conversion failed");
            }
        }
    }
}

static void run(void) {
    pthread_t callers[N_CALLERS];
    pthread_t disturber;
    atomic_store(&done, false);
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
    for (size_t i = 0; i < n_engines; i++) {
        const lathe_engine_stats stats = test_engine_stats(engines[i]);
        if (stats.n_fallbacks != 0 || stats.n_device_errors != 0 || stats.n_on_device == 0) {
            fail("a device failed, or did nothing");
        }
        lathe_engine_free(engines[i]);
    }
}

/* Two engines on the loader's first two devices; false where there is one only. */
static bool make_two(const test_cl_layer *layer, lathe_config config) {
    static const char *const selectors[] = {"opencl:0", "opencl:1"};
    n_engines = 0;
    for (size_t i = 0; i < 2; i++) {
        config.device = selectors[i];
        if (test_opencl_engine(&config, false, layer, &engines[i]) != LATHE_OK) {
            if (i > 0) {
                lathe_engine_free(engines[0]);
            }
            return false;
        }
        n_engines++;
    }
    return true;
}

int main(void) {
    const lathe_config host = {.struct_size = sizeof host};
    const lathe_config config = test_opencl_config();
    const test_cl_layer *layer = test_cl_layer_find();
    if (lathe_engine_create(&host, &cpu) != LATHE_OK) {
        return 1;
    }
    make_sources();
    for (size_t i = 0; i < (layer == NULL ? 1 : 2); i++) {
        n_engines = 1;
        if (test_opencl_engine(&config, i == 1, layer, &engines[0]) != LATHE_OK) {
            (void)fprintf(stderr, "stress_opencl: %s\n", lathe_last_error()->message);
            return i == 0 ? 77 : 1;
        }
        run();
    }
    if (make_two(layer, config)) {
        run();
    } else if (getenv("POCL_DEVICES") != NULL) {
        fail("there is one device only");
    }
    for (size_t s = 0; s < N_SOURCES; s++) {
        lathe_tensor_release(sources[s]);
        for (size_t t = 0; t < N_TARGETS; t++) {
            lathe_tensor_release(expected[s][t]);
        }
    }
    lathe_engine_free(cpu);
    const char *left = layer == NULL ? NULL : test_cl_leftovers(layer);
    if (left != NULL) {
        fail(left);
    }
    return atomic_load(&n_failures) == 0 ? 0 : 1;
}
