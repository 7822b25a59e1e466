/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program in which many threads convert through one engine on an OpenCL device while others
 * trim its pool and read its counters; then through two engines, on two devices where POCL_DEVICES
 * makes two. Prints what went wrong; exits 0 if nothing did, 77 where there is no device. */
#include "opencl_support.h"
#include "stress_case.h"
#include <lathe/async.h>
#include <time.h>

enum { N_CALLERS = 8, N_SOURCES = 4, ROUNDS = TEST_SANITIZED ? 8 : 30 };

static lathe_engine *cpu;
static lathe_engine *engines[2];
static size_t n_engines;
static stress_tensors tensors;
static atomic_bool done;

/* Makes a tensor on the engine's device with what `from` holds, and lets go of that. */
static lathe_status move_to(lathe_engine *engine, lathe_tensor *from, lathe_tensor **there) {
    const lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                    .dtype = lathe_tensor_dtype(from),
                                    .n_dims = lathe_tensor_n_dims(from),
                                    .shape = lathe_tensor_shape(from)};
    lathe_status status = lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &desc, there);
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(engine, from, *there);
    }
    lathe_tensor_release(from);
    return status;
}

/* On the device, by way of the last one where there are two. */
static lathe_status convert_there(lathe_engine *engine, lathe_tensor *source,
                                  const lathe_target *target, lathe_tensor **result) {
    lathe_tensor *first = NULL;
    lathe_tensor *there = NULL;
    lathe_tensor *made = NULL;
    lathe_tensor_desc desc;
    lathe_status status = move_to(engines[n_engines - 1], lathe_tensor_retain(source), &first);
    if (status == LATHE_OK) {
        status = move_to(engine, first, &there);
    } else {
        lathe_tensor_release(first);
    }
    if (status == LATHE_OK) {
        status = lathe_convert(engine, there, target, &made, NULL);
    }
    if (status == LATHE_OK) {
        status = lathe_target_desc(target, lathe_tensor_n_dims(source), lathe_tensor_shape(source),
                                   &desc);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_create(lathe_engine_pool(cpu), &desc, result);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(engine, made, *result);
    }
    lathe_tensor_release(made);
    lathe_tensor_release(there);
    return status;
}

/* Small device tensors, which take places that those of other threads have left. */
static void use_places(lathe_engine *engine, uint32_t seed) {
    enum { N = 12, N_ELEMS = 64 };
    static const uint64_t shape[] = {N_ELEMS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    lathe_tensor *there[N] = {NULL};
    lathe_tensor *host = NULL;
    lathe_status status = lathe_tensor_create(lathe_engine_pool(cpu), &desc, &host);
    for (uint32_t i = 0; i < N && status == LATHE_OK; i++) {
        uint32_t *words = lathe_tensor_mutable_data(host);
        for (uint32_t k = 0; k < N_ELEMS; k++) {
            words[k] = seed + i;
        }
        status = lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &desc, &there[i]);
        status = status == LATHE_OK ? lathe_tensor_copy(engine, host, there[i]) : status;
    }
    for (uint32_t i = 0; i < N && status == LATHE_OK; i++) {
        const uint32_t *words = lathe_tensor_data(host);
        status = lathe_tensor_copy(engine, there[i], host);
        for (uint32_t k = 0; k < N_ELEMS && status == LATHE_OK; k++) {
            if (words[k] != seed + i) {
                fail("a small tensor holds another's bytes");
            }
        }
    }
    if (status != LATHE_OK) {
        fail("small tensors");
    }
    for (uint32_t i = 0; i < N; i++) {
        lathe_tensor_release(there[i]);
    }
    lathe_tensor_release(host);
}

static void *call(void *ctx) {
    test_rng rng = {(uint64_t)(uintptr_t)ctx};
    for (int round = 0; round < ROUNDS; round++) {
        const size_t s = (size_t)test_random_below(&rng, N_SOURCES);
        const size_t t = (size_t)test_random_below(&rng, N_TARGETS);
        const lathe_target target = target_at(t);
        lathe_engine *engine = engines[test_random_below(&rng, n_engines)];
        lathe_tensor *result = NULL;
        lathe_event *event = NULL;
        lathe_status status = LATHE_OK;
        switch (test_random_below(&rng, 3)) {
        case 0:
            status = lathe_convert_async(engine, tensors.sources[s], &target, &event);
            status = status == LATHE_OK ? lathe_event_status(event) : status;
            result = event == NULL ? NULL : lathe_event_result(event);
            break;
        case 1:
            status = convert_there(engine, tensors.sources[s], &target, &result);
            break;
        default:
            status = lathe_convert(engine, tensors.sources[s], &target, &result, NULL);
        }
        judge(&tensors, s, t, status, result);
        lathe_event_release(event);
        lathe_tensor_release(result);
        use_places(engine, (uint32_t)test_random_below(&rng, UINT32_MAX));
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

static void run(void) {
    pthread_t callers[N_CALLERS];
    pthread_t disturber;
    atomic_store(&done, false);
    start_threads(&disturber, 1, disturb);
    start_threads(callers, N_CALLERS, call);
    join_threads(callers, N_CALLERS);
    atomic_store(&done, true);
    join_threads(&disturber, 1);
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
    static const uint64_t shape[] = {70, 1001};
    const lathe_config host = {.struct_size = sizeof host};
    const lathe_config config = test_opencl_config();
    const test_cl_layer *layer = test_cl_layer_find();
    if (lathe_engine_create(&host, &cpu) != LATHE_OK) {
        return 1;
    }
    make_tensors(cpu, N_SOURCES, shape, &tensors);
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
    release_tensors(&tensors);
    lathe_engine_free(cpu);
    const char *left = layer == NULL ? NULL : test_cl_leftovers(layer);
    if (left != NULL) {
        fail(left);
    }
    return exit_status();
}
