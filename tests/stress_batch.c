/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program for the thread sanitizer. Threads run batches on one engine, of sources that they
 * share, with rounds and failures, and release each other's results, which lie in shared blocks.
 * Prints what went wrong; exits 0 if nothing did. */
#include "stress_case.h"

enum { N_CALLERS = 4, ROUNDS = 12, N_TENSORS = 60, BAD = 17 };

static lathe_engine *engine;
static lathe_tensor *sources[N_TENSORS];
static lathe_tensor *expected[2][N_TENSORS]; /* F16, I8 */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static lathe_tensor *left[N_TENSORS]; /* by whoever came before */

static const lathe_dtype dtypes[] = {LATHE_F16, LATHE_I8};

/* Leaves the results to the next caller, and releases what is there. */
static void exchange(lathe_tensor **results) {
    for (size_t i = 0; i < N_TENSORS; i++) {
        (void)pthread_mutex_lock(&mutex);
        lathe_tensor *before = left[i];
        left[i] = results[i];
        (void)pthread_mutex_unlock(&mutex);
        lathe_tensor_release(before);
    }
}

static void check(size_t kind, lathe_status status, lathe_tensor **results) {
    /* F16 has NaNs. */
    lathe_status wanted = kind == 0 ? LATHE_OK : LATHE_NON_FINITE;
    if (status != wanted) {
        fail("an unexpected status");
        return;
    }
    for (size_t i = 0; i < N_TENSORS; i++) {
        bool is_bad = kind == 1 && i == BAD;
        if ((results[i] == NULL) != is_bad ||
            (!is_bad && !test_same(results[i], expected[kind][i]))) {
            fail("other bytes");
        }
    }
}

static void *call(void *ctx) {
    test_rng rng = {100 + (uint64_t)(uintptr_t)ctx};
    for (int round = 0; round < ROUNDS; round++) {
        size_t kind = (size_t)test_random_below(&rng, 2);
        lathe_tensor *results[N_TENSORS] = {NULL};
        const lathe_target target = {.struct_size = sizeof target, .dtype = dtypes[kind]};
        const lathe_batch_options options = {
            .struct_size = sizeof options,
            .limits = {.max_tensors = test_random_below(&rng, 3) * 13,
                       .parallel = test_random_below(&rng, 4) == 0 ? LATHE_OFF : LATHE_ON},
        };
        check(kind,
              lathe_convert_batch(engine, N_TENSORS, sources, &target, 1, &options, results, NULL,
                                  NULL),
              results);
        exchange(results);
    }
    return NULL;
}

static void prepare(void) {
    const lathe_config config = {.struct_size = sizeof config, .n_threads = 3};
    test_rng rng = {90};
    require(lathe_engine_create(&config, &engine), "no engine");
    for (size_t i = 0; i < N_TENSORS; i++) {
        const uint64_t shape[] = {1 + i % 7, 100 + 40 * (i % 5)};
        make_source(lathe_engine_pool(engine), LATHE_F32, shape, &rng, &sources[i]);
        if (i == BAD) {
            ((float *)lathe_tensor_mutable_data(sources[i]))[3] = test_float(0x7fc00000u);
        }
        for (size_t kind = 0; kind < 2; kind++) {
            const lathe_target target = {.struct_size = sizeof target, .dtype = dtypes[kind]};
            lathe_status status =
                lathe_convert(engine, sources[i], &target, &expected[kind][i], NULL);
            require(i == BAD ? LATHE_OK : status, "no first result");
        }
    }
}

int main(void) {
    pthread_t threads[N_CALLERS];
    prepare();
    start_threads(threads, N_CALLERS, call);
    join_threads(threads, N_CALLERS);
    for (size_t i = 0; i < N_TENSORS; i++) {
        lathe_tensor_release(left[i]);
        lathe_tensor_release(sources[i]);
        lathe_tensor_release(expected[0][i]);
        lathe_tensor_release(expected[1][i]);
    }
    lathe_engine_free(engine);
    return exit_status();
}
