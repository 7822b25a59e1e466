/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of asynchronous conversions on the CPU that go wrong: errors, bad arguments, and what
 * happens when memory or threads run out; and their reports. */
#include "async_case.h"

#include <sys/resource.h>

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
    CHECK(result != NULL && test_same(result, expected), "the bytes");
    lathe_event_release(event);
    CHECK_OK(lathe_convert_async(engine, source, &target, &event)); /* threads are back */
    CHECK_OK(lathe_event_status(event));
    lathe_event_release(event);
    lathe_tensor_release(result);
    lathe_tensor_release(expected);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}
