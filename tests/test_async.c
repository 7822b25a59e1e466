/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of asynchronous conversions on the CPU: the bytes, waiting, callbacks, references, errors,
 * and what happens when memory or threads run out. */
#include "check.h"
#include "support.h"
#include <lathe/async.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MS UINT64_C(1000000)

static const uint64_t small[] = {7, 100};
static const uint64_t medium[] = {60, 3001};
static const uint64_t large[] = {200, 4001}; /* enough for several threads */

static lathe_tensor_desc desc_of(lathe_dtype dtype, const uint64_t *shape) {
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc), .dtype = dtype, .n_dims = 2, .shape = shape};
}

static lathe_target target_of(lathe_dtype dtype) {
    lathe_granularity granularity = (lathe_granularity)((int)dtype % 3);
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

static lathe_tensor *source_of(lathe_engine *engine, lathe_dtype dtype, const uint64_t *shape,
                               uint64_t seed) {
    lathe_tensor_desc desc = desc_of(dtype, shape);
    lathe_tensor *tensor = NULL;
    test_rng rng = {seed};
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &tensor));
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(tensor),
                     lathe_tensor_mutable_scales(tensor));
    return tensor;
}

static bool same(const lathe_tensor *a, const lathe_tensor *b) {
    size_t n_scales = (size_t)lathe_tensor_n_scales(a);
    return lathe_tensor_dtype(a) == lathe_tensor_dtype(b) &&
           lathe_tensor_n_bytes(a) == lathe_tensor_n_bytes(b) &&
           memcmp(lathe_tensor_data(a), lathe_tensor_data(b), (size_t)lathe_tensor_n_bytes(a)) ==
               0 &&
           (n_scales == 0 ||
            memcmp(lathe_tensor_scales(a), lathe_tensor_scales(b), n_scales * sizeof(float)) == 0);
}

static uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* An executor behind a gate: conversions of large tensors stand still until it opens. */
typedef struct gate {
    lathe_executor interface;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_open;
    int n_waiting;
} gate;

static void gate_parallel_for(void *ctx, size_t n_tasks, void (*task)(void *ctx, size_t i),
                              void *task_ctx) {
    gate *self = ctx;
    (void)pthread_mutex_lock(&self->mutex);
    self->n_waiting++;
    (void)pthread_cond_broadcast(&self->changed);
    while (!self->is_open) {
        (void)pthread_cond_wait(&self->changed, &self->mutex);
    }
    self->n_waiting--;
    (void)pthread_mutex_unlock(&self->mutex);
    for (size_t i = 0; i < n_tasks; i++) {
        task(task_ctx, i);
    }
}

static void gate_init(gate *self) {
    *self = (gate){.interface = {self, gate_parallel_for, 4}};
    (void)pthread_mutex_init(&self->mutex, NULL);
    (void)pthread_cond_init(&self->changed, NULL);
}

static void gate_open(gate *self) {
    (void)pthread_mutex_lock(&self->mutex);
    self->is_open = true;
    (void)pthread_cond_broadcast(&self->changed);
    (void)pthread_mutex_unlock(&self->mutex);
}

/* Returns when n conversions have come to the gate. */
static void gate_await(gate *self, int n) {
    (void)pthread_mutex_lock(&self->mutex);
    while (self->n_waiting < n) {
        (void)pthread_cond_wait(&self->changed, &self->mutex);
    }
    (void)pthread_mutex_unlock(&self->mutex);
}

static lathe_engine *engine_behind(gate *behind) {
    gate_init(behind);
    lathe_config config = {.struct_size = sizeof config, .executor = &behind->interface};
    return engine_of(&config);
}

/* ---- the bytes */

static void check_many(const lathe_config *config, const uint64_t *shape) {
    enum { N_PAIRS = (LATHE_DTYPE_LAST - LATHE_DTYPE_FIRST + 1) * 3 };
    static const lathe_dtype from[] = {LATHE_F32, LATHE_BF16, LATHE_I4};
    lathe_engine *engine = engine_of(config);
    lathe_tensor *sources[3];
    lathe_event *events[N_PAIRS];
    size_t n = 0;
    for (size_t s = 0; s < 3; s++) {
        sources[s] = source_of(engine, from[s], shape, s);
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            lathe_target target = target_of((lathe_dtype)to);
            CHECK_OK(lathe_convert_async(engine, sources[s], &target, &events[n]));
            n++;
        }
    }
    while (n-- > 0) {
        lathe_target target = target_of(LATHE_DTYPE_FIRST + (lathe_dtype)(n % 8));
        lathe_tensor *expected = NULL;
        CHECK_OK(lathe_convert(engine, sources[n / 8], &target, &expected, NULL));
        CHECK(lathe_event_wait(events[n], LATHE_FOREVER), "forever is long enough");
        CHECK_OK(lathe_event_status(events[n]));
        lathe_tensor *result = lathe_event_result(events[n]);
        CHECK(same(result, expected), "%s to %s", lathe_dtype_name(from[n / 8]),
              lathe_dtype_name(target.dtype));
        CHECK((result == sources[n / 8]) == (expected == sources[n / 8]), "the source itself");
        lathe_tensor_release(result);
        lathe_tensor_release(expected);
        lathe_event_release(events[n]);
    }
    for (size_t s = 0; s < 3; s++) {
        lathe_tensor_release(sources[s]);
    }
    lathe_engine_free(engine);
}

Test(async, many_at_once_give_the_bytes_of_convert) {
    test_allocator allocator;
    test_executor executor;
    test_allocator_init(&allocator);
    test_executor_init(&executor, 3);
    const lathe_config configs[] = {
        {.struct_size = sizeof(lathe_config), .allocator = &allocator.interface},
        {.struct_size = sizeof(lathe_config), .n_threads = 1, .allocator = &allocator.interface},
        {.struct_size = sizeof(lathe_config), .n_threads = 7},
        {.struct_size = sizeof(lathe_config), .executor = &executor.interface},
    };
    for (size_t i = 0; i < 4; i++) {
        check_many(&configs[i], small);
        check_many(&configs[i], large);
    }
    CHECK(allocator.n_live == 0 && !allocator.misused, "memory is left");
}

Test(async, into_an_existing_tensor) {
    lathe_engine *engine = engine_of(NULL);
    lathe_tensor *source = source_of(engine, LATHE_F32, medium, 1);
    lathe_target target = target_of(LATHE_I8);
    lathe_tensor *expected = NULL;
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    lathe_convert_stats expected_stats = {.struct_size = sizeof expected_stats};
    target.quality = LATHE_FAST;
    CHECK_OK(lathe_convert(engine, source, &target, &expected, &expected_stats));
    lathe_tensor_desc desc = desc_of(LATHE_I8, medium);
    desc.granularity = target.granularity;
    desc.group_size = target.group_size;
    lathe_tensor *into = NULL;
    lathe_event *event = NULL;
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &into));
    CHECK_OK(lathe_convert_into_async(engine, source, &target, into, &event));
    CHECK_OK(lathe_event_status(event));
    lathe_tensor *result = lathe_event_result(event);
    CHECK(result == into && same(into, expected), "the bytes");
    CHECK_OK(lathe_event_stats(event, &stats));
    CHECK(stats.n_saturated == expected_stats.n_saturated, "the statistics");
    lathe_tensor_release(result);
    lathe_event_release(event);
    lathe_tensor_release(into);
    lathe_tensor_release(expected);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

/* ---- waiting */

Test(async, waiting_and_polling) {
    gate closed;
    lathe_engine *engine = engine_behind(&closed);
    lathe_tensor *source = source_of(engine, LATHE_F32, large, 1);
    lathe_target target = target_of(LATHE_F16);
    lathe_event *event = NULL;
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_convert_async(engine, source, &target, &event));
    gate_await(&closed, 1);
    CHECK(!lathe_event_is_done(event), "it is at the gate");
    CHECK(!lathe_event_wait(event, 0), "no wait");
    for (uint64_t timeout = MS; timeout < 100 * MS; timeout *= 4) {
        uint64_t start = now_ns();
        CHECK(!lathe_event_wait(event, timeout), "a short wait");
        CHECK(now_ns() - start >= timeout, "it was shorter than it should");
        CHECK(now_ns() - start < timeout + 5000 * MS, "it was longer than it should");
    }
    CHECK(lathe_event_result(event) == NULL, "there is none yet");
    CHECK_STATUS(lathe_event_stats(event, &stats), LATHE_INVALID_ARGUMENT);
    gate_open(&closed);
    CHECK(lathe_event_wait(event, UINT64_MAX - 1), "a very long wait");
    CHECK(lathe_event_is_done(event) && lathe_event_wait(event, 0), "done");
    CHECK_OK(lathe_event_stats(event, &stats));
    lathe_event_release(event);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

static void *wait_for(void *event) {
    return lathe_event_wait(event, 60000 * MS) && lathe_event_status(event) == LATHE_OK ? event
                                                                                        : NULL;
}

Test(async, many_wait_for_one) {
    enum { N = 8 };
    gate closed;
    lathe_engine *engine = engine_behind(&closed);
    lathe_tensor *source = source_of(engine, LATHE_F32, large, 1);
    lathe_target target = target_of(LATHE_BITNET158);
    lathe_event *event = NULL;
    pthread_t threads[N];
    CHECK_OK(lathe_convert_async(engine, source, &target, &event));
    for (size_t i = 0; i < N; i++) {
        CHECK(pthread_create(&threads[i], NULL, wait_for, event) == 0, "pthread_create");
    }
    gate_await(&closed, 1);
    gate_open(&closed);
    for (size_t i = 0; i < N; i++) {
        void *woken = NULL;
        CHECK(pthread_join(threads[i], &woken) == 0 && woken == event, "thread %zu", i);
    }
    lathe_event_release(event);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

/* ---- callbacks */

typedef struct journal {
    pthread_mutex_t mutex;
    int entries[16];
    int n_entries;
    lathe_status statuses[16];
    pthread_t thread;
    lathe_event *follow_up;
    lathe_engine *engine;
    bool was_wrong;
} journal;

typedef struct entry {
    journal *journal;
    int number;
} entry;

static void enter(void *ctx, lathe_event *event, lathe_status status) {
    const entry *self = ctx;
    journal *to = self->journal;
    (void)pthread_mutex_lock(&to->mutex);
    to->statuses[to->n_entries] = status;
    to->entries[to->n_entries++] = self->number;
    to->thread = pthread_self();
    to->was_wrong |= !lathe_event_is_done(event) || !lathe_event_wait(event, 0) ||
                     lathe_event_status(event) != status;
    (void)pthread_mutex_unlock(&to->mutex);
}

/* Adds another callback to the event, starts a conversion, waits for it, and lets go of the event.
 */
static void enter_and_go_on(void *ctx, lathe_event *event, lathe_status status) {
    static entry later;
    const entry *self = ctx;
    journal *to = self->journal;
    lathe_target target = target_of(LATHE_BF16);
    enter(ctx, event, status);
    later = (entry){to, self->number + 100};
    lathe_tensor *result = lathe_event_result(event);
    to->was_wrong |= lathe_event_on_done(event, enter, &later) != LATHE_OK || result == NULL ||
                     lathe_convert_async(to->engine, result, &target, &to->follow_up) != LATHE_OK ||
                     !lathe_event_wait(to->follow_up, 60000 * MS);
    lathe_tensor_release(result);
    lathe_event_release(event);
}

Test(async, callbacks_come_in_order_and_once) {
    gate closed;
    lathe_engine *engine = engine_behind(&closed);
    lathe_tensor *source = source_of(engine, LATHE_F32, large, 1);
    lathe_target target = target_of(LATHE_F16);
    lathe_event *event = NULL;
    journal entered = {.mutex = PTHREAD_MUTEX_INITIALIZER, .engine = engine};
    entry entries[6];
    CHECK_OK(lathe_convert_async(engine, source, &target, &event));
    for (int i = 0; i < 6; i++) {
        entries[i] = (entry){&entered, i};
    }
    for (int i = 0; i < 5; i++) {
        CHECK_OK(lathe_event_on_done(event, i == 2 ? enter_and_go_on : enter, &entries[i]));
    }
    (void)lathe_event_retain(event); /* which callback 2 releases */
    CHECK(entered.n_entries == 0, "none yet");
    gate_open(&closed);
    CHECK_OK(lathe_event_status(event));
    while (lathe_event_wait(event, 0)) {
        (void)pthread_mutex_lock(&entered.mutex);
        int n = entered.n_entries;
        (void)pthread_mutex_unlock(&entered.mutex);
        if (n == 6) {
            break;
        }
    }
    CHECK(!pthread_equal(entered.thread, pthread_self()), "on the thread that ran it");
    lathe_event_release(entered.follow_up);
    lathe_engine_free(engine); /* now all callbacks have returned */
    CHECK_OK(lathe_event_on_done(event, enter, &entries[5]));
    static const int expected[] = {0, 1, 2, 3, 4, 102, 5};
    CHECK(entered.n_entries == 7, "%d entries", entered.n_entries);
    CHECK(pthread_equal(entered.thread, pthread_self()), "at once");
    for (int i = 0; i < 7; i++) {
        CHECK(entered.entries[i] == expected[i], "entry %d is %d", i, entered.entries[i]);
        CHECK(entered.statuses[i] == LATHE_OK, "status %d", (int)entered.statuses[i]);
    }
    CHECK(!entered.was_wrong, "something failed in a callback");
    lathe_event_release(event);
    lathe_tensor_release(source);
}

/* Callbacks that are added while the conversion ends. */
Test(async, callbacks_are_never_lost) {
    lathe_engine *engine = engine_of(NULL);
    lathe_tensor *source = source_of(engine, LATHE_F32, small, 1);
    lathe_target target = target_of(LATHE_F16);
    journal entered = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    entry one = {&entered, 1};
    for (int round = 0; round < (TEST_SANITIZED ? 200 : 3000); round++) {
        lathe_event *event = NULL;
        CHECK_OK(lathe_convert_async(engine, source, &target, &event));
        for (int i = 0; i < round % 3; i++) {
            CHECK(!lathe_event_wait(event, (uint64_t)round % 7) || lathe_event_is_done(event),
                  "done is done");
        }
        CHECK_OK(lathe_event_on_done(event, enter, &one));
        CHECK_OK(lathe_event_status(event));
        lathe_event_release(event);
        for (;;) {
            (void)pthread_mutex_lock(&entered.mutex);
            int n = entered.n_entries;
            (void)pthread_mutex_unlock(&entered.mutex);
            if (n == 1) {
                break;
            }
        }
        entered.n_entries = 0;
    }
    CHECK(!entered.was_wrong, "something failed in a callback");
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

/* ---- references */

static void count_free(void *ctx, void *data, float *scales) {
    (void)scales;
    free(data);
    (void)atomic_fetch_add((atomic_int *)ctx, 1);
}

Test(async, everything_may_be_released_early) {
    test_allocator allocator;
    gate closed;
    atomic_int n_freed = 0;
    gate_init(&closed);
    test_allocator_init(&allocator);
    lathe_config config = {.struct_size = sizeof config,
                           .executor = &closed.interface,
                           .allocator = &allocator.interface};
    lathe_engine *engine = engine_of(&config);
    lathe_target target = target_of(LATHE_I2);
    lathe_tensor_desc desc = desc_of(LATHE_F32, large);
    for (int i = 0; i < 12; i++) {
        lathe_event *event = NULL;
        lathe_tensor *source = NULL;
        float *data = calloc(200 * 4001, sizeof *data);
        CHECK(data != NULL, "memory");
        CHECK_OK(lathe_tensor_wrap(lathe_engine_pool(engine), &desc, data, NULL, 0, count_free,
                                   &n_freed, &source));
        CHECK_OK(lathe_convert_async(engine, source, &target, &event));
        lathe_tensor_release(source);
        lathe_event_release(event);
    }
    CHECK(atomic_load(&n_freed) == 0, "the sources are needed");
    gate_open(&closed);
    lathe_engine_free(engine);
    CHECK(atomic_load(&n_freed) == 12, "all sources are gone: %d", atomic_load(&n_freed));
    CHECK(allocator.n_live == 0 && !allocator.misused, "memory is left");
}

static void *open_later(void *ctx) {
    const struct timespec pause = {0, 50000000};
    (void)nanosleep(&pause, NULL);
    gate_open(ctx);
    return NULL;
}

Test(async, freeing_the_engine_waits) {
    enum { N = 20 };
    gate closed;
    lathe_engine *engine = engine_behind(&closed);
    lathe_tensor *source = source_of(engine, LATHE_F32, large, 1);
    lathe_engine *other = engine_of(NULL);
    lathe_target target = target_of(LATHE_I8);
    lathe_tensor *expected = NULL;
    lathe_event *events[N];
    pthread_t opener;
    for (size_t i = 0; i < N; i++) {
        CHECK_OK(lathe_convert_async(engine, source, &target, &events[i]));
    }
    gate_await(&closed, 2); /* several at a time */
    CHECK(pthread_create(&opener, NULL, open_later, &closed) == 0, "pthread_create");
    lathe_engine_free(engine);
    CHECK_OK(lathe_convert(other, source, &target, &expected, NULL));
    for (size_t i = 0; i < N; i++) {
        CHECK(lathe_event_is_done(events[i]), "event %zu", i);
        lathe_tensor *result = lathe_event_result(events[i]);
        CHECK(result != NULL && same(result, expected), "result %zu", i);
        lathe_event_release(events[i]);
        lathe_tensor_release(result);
    }
    CHECK(pthread_join(opener, NULL) == 0, "pthread_join");
    lathe_tensor_release(expected);
    lathe_tensor_release(source);
    lathe_engine_free(other);
}

/* ---- errors */

Test(async, the_conversions_error_is_carried) {
    lathe_engine *engine = engine_of(NULL);
    lathe_tensor *source = source_of(engine, LATHE_F32, large, 1);
    uint32_t nan = 0x7fc00000u;
    memcpy((uint8_t *)lathe_tensor_mutable_data(source) + (size_t)4 * 123456, &nan, 4);
    lathe_target target = target_of(LATHE_I8);
    lathe_event *event = NULL;
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_convert_async(engine, source, &target, &event));
    CHECK(lathe_event_wait(event, LATHE_FOREVER), "forever");
    CHECK(lathe_last_error()->status == LATHE_OK, "nobody has asked yet");
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(lathe_event_status(event), LATHE_NON_FINITE);
        CHECK(lathe_last_error()->element == 123456, "element");
        CHECK(lathe_last_error()->from == LATHE_F32 && lathe_last_error()->to == LATHE_I8, "types");
        CHECK(lathe_event_result(event) == NULL, "a result");
        CHECK_STATUS(lathe_event_stats(event, &stats), LATHE_INVALID_ARGUMENT);
    }
    journal entered = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    entry one = {&entered, 1};
    lathe_engine_free(engine);
    CHECK_OK(lathe_event_on_done(event, enter, &one));
    CHECK(entered.n_entries == 1 && entered.statuses[0] == LATHE_NON_FINITE && !entered.was_wrong,
          "the callback learns it");
    lathe_event_release(event);
    lathe_tensor_release(source);
}

Test(async, a_result_that_does_not_fit) {
    lathe_engine *engine = engine_of(NULL);
    lathe_tensor *source = source_of(engine, LATHE_F32, small, 1);
    lathe_tensor *wrong = source_of(engine, LATHE_BF16, small, 1);
    lathe_target target = target_of(LATHE_F16);
    lathe_event *event = NULL;
    CHECK_OK(lathe_convert_into_async(engine, source, &target, wrong, &event));
    CHECK_STATUS(lathe_event_status(event), LATHE_INCOMPATIBLE_TYPES);
    CHECK(lathe_event_result(event) == NULL, "a result");
    lathe_event_release(event);
    lathe_tensor_release(wrong);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

Test(async, bad_arguments) {
    lathe_engine *engine = engine_of(NULL);
    lathe_tensor *source = source_of(engine, LATHE_F32, small, 1);
    lathe_target target = target_of(LATHE_F16);
    lathe_target bad = target;
    lathe_event *event = NULL;
    CHECK_STATUS(lathe_convert_async(NULL, source, &target, &event), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert_async(engine, NULL, &target, &event), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert_async(engine, source, NULL, &event), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert_async(engine, source, &target, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert_into_async(engine, source, &target, NULL, &event),
                 LATHE_INVALID_ARGUMENT);
    bad.struct_size = 0;
    CHECK_STATUS(lathe_convert_async(engine, source, &bad, &event), LATHE_INVALID_ARGUMENT);
    bad = (lathe_target){.struct_size = sizeof bad, .dtype = (lathe_dtype)99};
    CHECK_STATUS(lathe_convert_async(engine, source, &bad, &event), LATHE_INVALID_ARGUMENT);
    CHECK(event == NULL, "the output was touched");
    CHECK(!lathe_event_is_done(NULL) && !lathe_event_wait(NULL, 0), "no event");
    CHECK_STATUS(lathe_event_status(NULL), LATHE_INVALID_ARGUMENT);
    CHECK(lathe_event_result(NULL) == NULL && lathe_event_retain(NULL) == NULL, "no event");
    CHECK_STATUS(lathe_event_on_done(NULL, enter, NULL), LATHE_INVALID_ARGUMENT);
    lathe_event_release(NULL);
    CHECK_OK(lathe_convert_async(engine, source, &target, &event));
    lathe_convert_stats stats = {.struct_size = 3};
    CHECK_STATUS(lathe_event_on_done(event, NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_event_stats(event, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_event_stats(event, &stats), LATHE_INVALID_ARGUMENT);
    stats.struct_size = sizeof stats;
    CHECK_STATUS(lathe_event_stats(NULL, &stats), LATHE_INVALID_ARGUMENT);
    lathe_event_release(event);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

/* ---- when there is not enough */

/* Every allocation on the way fails once: the call or the event says so, and nothing leaks. */
Test(async, survives_any_failing_allocation) {
    bool succeeded = false;
    for (uint64_t fail_at = 0; !succeeded; fail_at++) {
        CHECK(fail_at < 500, "it never succeeds");
        test_allocator allocator;
        journal entered = {.mutex = PTHREAD_MUTEX_INITIALIZER};
        entry one = {&entered, 1};
        test_allocator_init(&allocator);
        test_allocator_reset(&allocator, fail_at);
        allocator.fail_ever_after = fail_at % 2 == 1;
        lathe_config config = {
            .struct_size = sizeof config, .n_threads = 2, .allocator = &allocator.interface};
        lathe_engine *engine = NULL;
        lathe_event *event = NULL;
        lathe_tensor *source = NULL;
        float *data = calloc(60 * 3001, sizeof *data);
        lathe_tensor_desc desc = desc_of(LATHE_F32, medium);
        lathe_target target = target_of(LATHE_I8);
        lathe_status status = lathe_engine_create(&config, &engine);
        if (status == LATHE_OK) {
            status = lathe_tensor_wrap(lathe_engine_pool(engine), &desc, data, NULL, 0, NULL, NULL,
                                       &source);
        }
        if (status == LATHE_OK) {
            status = lathe_convert_async(engine, source, &target, &event);
            CHECK((status == LATHE_OK) == (event != NULL), "the output");
        }
        bool added = false;
        if (status == LATHE_OK) {
            status = lathe_event_on_done(event, enter, &one);
            added = status == LATHE_OK;
            lathe_status converted = lathe_event_status(event);
            status = status == LATHE_OK ? converted : status;
        }
        CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "allocation %d: %s",
              (int)fail_at, lathe_status_name(status));
        CHECK(status == LATHE_OK || lathe_last_error()->required_bytes > 0, "allocation %d",
              (int)fail_at);
        lathe_engine_free(engine);
        succeeded = status == LATHE_OK && allocator.n_calls <= fail_at;
        CHECK(entered.n_entries == added && !entered.was_wrong, "callbacks");
        lathe_event_release(event);
        lathe_tensor_release(source);
        free(data);
        CHECK(allocator.n_live == 0 && !allocator.misused, "allocation %d leaks", (int)fail_at);
    }
}

/* A report, of a new result and of a given one; and none where none was asked for. */
Test(async, reports) {
    lathe_config config = {.struct_size = sizeof config, .n_threads = 2};
    lathe_engine *engine = engine_of(&config);
    lathe_tensor *source = source_of(engine, LATHE_F32, small, 3);
    lathe_target target = target_of(LATHE_I4);
    lathe_quality_report expected = {.struct_size = sizeof expected};
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &expected};
    lathe_tensor *into = NULL;
    lathe_event *event = NULL;
    CHECK_OK(lathe_convert(engine, source, &target, &into, &stats));
    for (int i = 0; i < 2; i++) {
        lathe_quality_report report = {.struct_size = sizeof report};
        CHECK_OK(
            lathe_convert_measured_async(engine, source, &target, i == 0 ? NULL : into, &event));
        CHECK_OK(lathe_event_status(event));
        stats.quality = &report;
        CHECK_OK(lathe_event_stats(event, &stats));
        CHECK(memcmp(&report, &expected, sizeof report) == 0, "another report");
        report.struct_size = 1;
        CHECK_STATUS(lathe_event_stats(event, &stats), LATHE_INVALID_ARGUMENT);
        stats.quality = NULL;
        CHECK_OK(lathe_event_stats(event, &stats));
        CHECK(stats.quality == NULL, "nobody asked");
        lathe_event_release(event);
    }
    CHECK_OK(lathe_convert_async(engine, source, &target, &event));
    CHECK_OK(lathe_event_status(event));
    stats.quality = &expected;
    CHECK_STATUS(lathe_event_stats(event, &stats), LATHE_INVALID_ARGUMENT);
    lathe_event_release(event);
    CHECK_STATUS(lathe_convert_measured_async(engine, NULL, &target, NULL, &event),
                 LATHE_INVALID_ARGUMENT);
    lathe_tensor_release(into);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

static size_t address_space_bytes(void) {
    char line[256];
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL && fgets(line, sizeof line, statm) != NULL, "statm");
    (void)fclose(statm);
    return (size_t)strtoull(line, NULL, 10) * 4096;
}

/* Without a thread to be had, the conversion runs on the caller's. */
Test(async, survives_without_threads) {
    if (TEST_SANITIZED) {
        cr_skip_test("sanitizers and emulators need address space of their own");
    }
    struct rlimit before;
    lathe_config config = {.struct_size = sizeof config, .n_threads = 1};
    lathe_engine *engine = engine_of(&config);
    lathe_tensor *source = source_of(engine, LATHE_F32, small, 1);
    lathe_target target = target_of(LATHE_I8);
    lathe_tensor *expected = NULL;
    lathe_event *event = NULL;
    CHECK_OK(lathe_convert(engine, source, &target, &expected, NULL));
    CHECK(getrlimit(RLIMIT_AS, &before) == 0, "getrlimit");
    struct rlimit tight = before;
    tight.rlim_cur = address_space_bytes() + (1 << 20); /* no room for a stack */
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0, "setrlimit");
    pthread_t thread;
    int no_thread = pthread_create(&thread, NULL, wait_for, NULL);
    lathe_status status = lathe_convert_async(engine, source, &target, &event);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0, "setrlimit");
    CHECK(no_thread != 0, "the limit does not work");
    CHECK(status == LATHE_OK && lathe_event_is_done(event), "it ran here");
    lathe_tensor *result = lathe_event_result(event);
    CHECK(result != NULL && same(result, expected), "the bytes");
    lathe_event_release(event);
    CHECK_OK(lathe_convert_async(engine, source, &target, &event)); /* threads are back */
    CHECK_OK(lathe_event_status(event));
    lathe_event_release(event);
    lathe_tensor_release(result);
    lathe_tensor_release(expected);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}
