/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program for the thread sanitizer. Four threads start conversions on one engine and wait
 * for them, poll, leave them to callbacks that start others, hand their events to each other, or
 * let them go; then the engine is freed while some still run. Prints what went wrong; exits 0 if
 * nothing did. */
#include "support.h"
#include <lathe/async.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_CALLERS = 4, N_SLOTS = 4, ROWS = 40, COLS = 3001, BAD = 54321 };
enum { N_TARGETS = LATHE_DTYPE_LAST - LATHE_DTYPE_FIRST + 1 };
enum { ROUNDS = TEST_SANITIZED ? 100 : 400 };

static lathe_engine *engine;
static lathe_tensor *sources[2]; /* the second one has a NaN */
static lathe_tensor *expected[2][N_TARGETS];
static atomic_int n_failures;
static atomic_int n_callbacks_due;
static atomic_int n_callbacks;
static _Atomic(lathe_event *) slots[N_SLOTS]; /* one target each */

static void fail(const char *what) {
    (void)fprintf(stderr, "stress_async: %s (%s)\n", what, lathe_last_error()->message);
    (void)atomic_fetch_add(&n_failures, 1);
}

static lathe_target target_of(size_t i) {
    static const lathe_granularity granularities[] = {LATHE_PER_TENSOR, LATHE_PER_ROW,
                                                      LATHE_PER_GROUP};
    lathe_granularity granularity = granularities[i % 3];
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = (lathe_dtype)(LATHE_DTYPE_FIRST + (int)i),
                          .granularity = granularity,
                          .group_size = granularity == LATHE_PER_GROUP ? 64 : 0};
}

static bool same(const lathe_tensor *a, const lathe_tensor *b) {
    size_t n_scales = (size_t)lathe_tensor_n_scales(a);
    return lathe_tensor_n_bytes(a) == lathe_tensor_n_bytes(b) &&
           memcmp(lathe_tensor_data(a), lathe_tensor_data(b), (size_t)lathe_tensor_n_bytes(a)) ==
               0 &&
           (n_scales == 0 ||
            memcmp(lathe_tensor_scales(a), lathe_tensor_scales(b), n_scales * sizeof(float)) == 0);
}

/* Looks at a conversion that is over. */
static void check(lathe_event *event, size_t s, size_t t) {
    lathe_status status = lathe_event_status(event);
    lathe_tensor *result = lathe_event_result(event);
    if (expected[s][t] == NULL) {
        if (status != LATHE_NON_FINITE || lathe_last_error()->element != BAD || result != NULL) {
            fail("a NaN was not reported");
        }
    } else if (status != LATHE_OK || result == NULL || !same(result, expected[s][t])) {
        fail("a result differs");
    }
    lathe_tensor_release(result);
}

/* What a callback needs to know; it frees this, and releases its event. */
typedef struct due {
    size_t s;
    size_t t;
    int n_more; /* conversions to start, one after another */
} due;

static void start_with_callback(size_t s, size_t t, int n_more);

static void called(void *ctx, lathe_event *event, lathe_status status) {
    due *self = ctx;
    if (status != lathe_event_status(event) || !lathe_event_is_done(event)) {
        fail("a callback was told something else");
    }
    check(event, self->s, self->t);
    if (self->n_more > 0) {
        start_with_callback(self->s, (self->t + 3) % N_TARGETS, self->n_more - 1);
    }
    lathe_event_release(event);
    free(self);
    (void)atomic_fetch_add(&n_callbacks, 1);
}

static void start_with_callback(size_t s, size_t t, int n_more) {
    lathe_target target = target_of(t);
    lathe_event *event = NULL;
    due *ctx = malloc(sizeof *ctx);
    if (ctx == NULL || lathe_convert_async(engine, sources[s], &target, &event) != LATHE_OK) {
        fail("a conversion was not started");
        free(ctx);
        return;
    }
    *ctx = (due){s, t, n_more};
    (void)atomic_fetch_add(&n_callbacks_due, 1);
    if (lathe_event_on_done(event, called, ctx) != LATHE_OK) {
        fail("a callback was refused");
    }
}

/* One of the ways to be done with an event. Slots hold conversions of sources[0] to target 1. */
static void finish(test_rng *rng, lathe_event *event, size_t s, size_t t) {
    switch (test_random_below(rng, 5)) {
    case 0:
        while (!lathe_event_wait(event, test_random_below(rng, 100000))) {
        }
        break;
    case 1:
        while (!lathe_event_is_done(event)) {
            (void)lathe_event_wait(event, 1000);
        }
        break;
    case 2:
        if (!lathe_event_wait(event, LATHE_FOREVER)) {
            fail("forever was not long enough");
        }
        break;
    case 3:
        break; /* lathe_event_status waits */
    default:
        lathe_event_release(event);
        return;
    }
    check(event, s, t);
    lathe_event_release(event);
}

static void use_slot(test_rng *rng) {
    lathe_target target = target_of(1);
    lathe_event *event = NULL;
    if (lathe_convert_async(engine, sources[0], &target, &event) != LATHE_OK) {
        fail("a conversion was not started");
        return;
    }
    size_t i = (size_t)test_random_below(rng, N_SLOTS);
    lathe_event *other = atomic_exchange(&slots[i], event);
    if (other != NULL) {
        finish(rng, lathe_event_retain(other), 0, 1);
        check(other, 0, 1);
        lathe_event_release(other);
    }
}

static void *call(void *ctx) {
    test_rng rng = {(uint64_t)(uintptr_t)ctx};
    for (int round = 0; round < ROUNDS; round++) {
        size_t s = (size_t)test_random_below(&rng, 2);
        size_t t = (size_t)test_random_below(&rng, N_TARGETS);
        lathe_target target = target_of(t);
        lathe_event *event = NULL;
        switch (test_random_below(&rng, 3)) {
        case 0:
            start_with_callback(s, t, (int)test_random_below(&rng, 4));
            break;
        case 1:
            use_slot(&rng);
            break;
        default:
            if (lathe_convert_async(engine, sources[s], &target, &event) != LATHE_OK) {
                fail("a conversion was not started");
            } else {
                finish(&rng, event, s, t);
            }
        }
    }
    return NULL;
}

static void make_sources(void) {
    static const uint64_t shape[] = {ROWS, COLS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    test_rng rng = {1};
    for (size_t s = 0; s < 2; s++) {
        if (lathe_tensor_create(lathe_engine_pool(engine), &desc, &sources[s]) != LATHE_OK) {
            fail("no source");
            exit(1);
        }
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(sources[s]),
                         NULL);
    }
    uint32_t nan = 0x7fc00000u;
    memcpy((uint8_t *)lathe_tensor_mutable_data(sources[1]) + (size_t)4 * BAD, &nan, 4);
    for (size_t s = 0; s < 2; s++) {
        for (size_t t = 0; t < N_TARGETS; t++) {
            lathe_target target = target_of(t);
            lathe_status status = lathe_convert(engine, sources[s], &target, &expected[s][t], NULL);
            bool nan_expected = s == 1 && lathe_dtype_is_quantized(target.dtype);
            if (status != (nan_expected ? LATHE_NON_FINITE : LATHE_OK)) {
                fail("a first conversion failed");
            }
        }
    }
}

static void run(const lathe_config *config) {
    pthread_t callers[N_CALLERS];
    memset(expected, 0, sizeof expected);
    if (lathe_engine_create(config, &engine) != LATHE_OK) {
        fail("no engine");
        exit(1);
    }
    make_sources();
    for (size_t i = 0; i < N_CALLERS; i++) {
        if (pthread_create(&callers[i], NULL, call, (void *)(uintptr_t)(i + 1)) != 0) {
            abort();
        }
    }
    for (size_t i = 0; i < N_CALLERS; i++) {
        (void)pthread_join(callers[i], NULL);
    }
    lathe_engine_free(engine);
    if (atomic_load(&n_callbacks) != atomic_load(&n_callbacks_due)) {
        fail("a callback was not called");
    }
    for (size_t i = 0; i < N_SLOTS; i++) {
        lathe_event *event = atomic_exchange(&slots[i], NULL);
        if (event != NULL && !lathe_event_is_done(event)) {
            fail("an engine was freed with a conversion under way");
        }
        lathe_event_release(event);
    }
    for (size_t s = 0; s < 2; s++) {
        lathe_tensor_release(sources[s]);
        for (size_t t = 0; t < N_TARGETS; t++) {
            lathe_tensor_release(expected[s][t]);
        }
    }
}

int main(void) {
    test_allocator allocator;
    test_executor executor;
    test_allocator_init(&allocator);
    test_executor_init(&executor, 3);
    const lathe_config configs[] = {
        {.struct_size = sizeof(lathe_config), .n_threads = 4, .allocator = &allocator.interface},
        {.struct_size = sizeof(lathe_config), .n_threads = 1},
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
