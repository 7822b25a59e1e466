/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program for the thread sanitizer. Four threads start conversions on one engine and wait
 * for them, poll, leave them to callbacks that start others, hand their events to each other, or
 * let them go; then the engine is freed while some still run. Prints what went wrong; exits 0 if
 * nothing did. */
#include "stress_case.h"
#include <lathe/async.h>

enum { N_CALLERS = 4, N_SLOTS = 4, N_SOURCES = 3, ROUNDS = TEST_SANITIZED ? 100 : 400 };

static lathe_engine *engine;
static stress_tensors tensors;
static atomic_int n_callbacks_due;
static atomic_int n_callbacks;
static _Atomic(lathe_event *) slots[N_SLOTS]; /* one target each */

/* Looks at a conversion that is over. */
static void check(lathe_event *event, size_t s, size_t t) {
    lathe_status status = lathe_event_status(event);
    lathe_tensor *result = lathe_event_result(event);
    judge(&tensors, s, t, status, result);
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
    lathe_target target = target_at(t);
    lathe_event *event = NULL;
    due *ctx = malloc(sizeof *ctx);
    if (ctx == NULL ||
        lathe_convert_async(engine, tensors.sources[s], &target, &event) != LATHE_OK) {
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

/* One of the ways to be done with an event. Slots hold conversions of the first source to target 1.
 */
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
    lathe_target target = target_at(1);
    lathe_event *event = NULL;
    if (lathe_convert_async(engine, tensors.sources[0], &target, &event) != LATHE_OK) {
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
        size_t s = (size_t)test_random_below(&rng, N_SOURCES);
        size_t t = (size_t)test_random_below(&rng, N_TARGETS);
        lathe_target target = target_at(t);
        lathe_event *event = NULL;
        switch (test_random_below(&rng, 3)) {
        case 0:
            start_with_callback(s, t, (int)test_random_below(&rng, 4));
            break;
        case 1:
            use_slot(&rng);
            break;
        default:
            if (lathe_convert_async(engine, tensors.sources[s], &target, &event) != LATHE_OK) {
                fail("a conversion was not started");
            } else {
                finish(&rng, event, s, t);
            }
        }
    }
    return NULL;
}

static void run(const lathe_config *config) {
    static const uint64_t shape[] = {40, 3001};
    pthread_t callers[N_CALLERS];
    require(lathe_engine_create(config, &engine), "no engine");
    make_tensors(engine, N_SOURCES, shape, &tensors);
    start_threads(callers, N_CALLERS, call);
    join_threads(callers, N_CALLERS);
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
    release_tensors(&tensors);
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
    return exit_status();
}
