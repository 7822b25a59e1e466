/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of asynchronous conversions on the CPU: the bytes, waiting, callbacks, and references. */
#include "async_case.h"

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
        CHECK(test_same(result, expected), "%s to %s", lathe_dtype_name(from[n / 8]),
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
    CHECK(result == into && test_same(into, expected), "the bytes");
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
        CHECK(result != NULL && test_same(result, expected), "result %zu", i);
        lathe_event_release(events[i]);
        lathe_tensor_release(result);
    }
    CHECK(pthread_join(opener, NULL) == 0, "pthread_join");
    lathe_tensor_release(expected);
    lathe_tensor_release(source);
    lathe_engine_free(other);
}
