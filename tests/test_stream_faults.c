/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): streams whose memory, source or sink fails, which are
 * cancelled, or whose data is at fault: the error is the right one, and nothing is left behind. */
#include "streamer_case.h"

Test(stream, survives_any_failing_allocation) {
    static const uint64_t shape[] = {3, 100000};
    test_rng rng = {9};
    stream_case c = case_new(LATHE_F32, 2, shape, LATHE_PER_TENSOR, 0);
    test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
    for (size_t o = 0; o < 2; o++) {
        lathe_target target = target_of(LATHE_I8, &options[o]);
        bool succeeded = false;
        for (uint64_t fail_at = 0; !succeeded; fail_at++) {
            CHECK(fail_at < 500, "it never succeeds");
            test_allocator allocator;
            test_allocator_init(&allocator);
            test_allocator_reset(&allocator, fail_at);
            lathe_config config = {
                .struct_size = sizeof config, .n_threads = 2, .allocator = &allocator.interface};
            lathe_engine *engine = NULL;
            lt_streamer *streamer = NULL;
            memory_source source = source_of(&c);
            memory_sink sink = sink_new(300000, 3);
            lathe_status status = lathe_engine_create(&config, &engine);
            if (status == LATHE_OK) {
                status = lt_streamer_create(engine, MIB, &streamer);
            }
            if (status == LATHE_OK) {
                status = stream(streamer, &c, &target, &source, &sink, NULL, NULL);
            }
            succeeded = status == LATHE_OK && allocator.n_calls <= fail_at;
            CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "%s",
                  lathe_status_name(status));
            CHECK(status == LATHE_OK || lathe_last_error()->status == status, "last error");
            lt_streamer_free(streamer);
            lathe_engine_free(engine);
            sink_free(&sink);
            CHECK(allocator.n_live == 0 && !allocator.misused, "allocation %d leaks", (int)fail_at);
        }
    }
    case_free(&c);
}

/* ---- errors */

/* The stream must end with the callback's own error, and the streamer must work afterwards. */
static void fail_each_call(const granularity_option *option, lathe_dtype from, size_t engine,
                           bool in_sink) {
    static const uint64_t shape[] = {30, 30001};
    test_rng rng = {10};
    stream_case c = case_new(from, 2, shape, LATHE_PER_ROW, 0);
    test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
    lathe_target target = target_of(LATHE_I8, option);
    direct_result direct = direct_of(&c, &target);
    lt_streamer *streamer = NULL;
    CHECK_OK(lt_streamer_create(engines[engine], MIB, &streamer));
    bool succeeded = false;
    for (uint64_t fail_at = 0; !succeeded; fail_at++) {
        memory_source source = source_of(&c);
        memory_sink sink =
            sink_new(lathe_tensor_n_bytes(direct.tensor), lathe_tensor_n_scales(direct.tensor));
        source.fail_at = in_sink ? UINT64_MAX : fail_at;
        sink.fail_at = in_sink ? fail_at : UINT64_MAX;
        lathe_status status = stream(streamer, &c, &target, &source, &sink, NULL, NULL);
        uint64_t n_calls = atomic_load(in_sink ? &sink.n_calls : &source.n_calls);
        if (n_calls > fail_at) {
            CHECK(status == LATHE_IO, "call %d: %s", (int)fail_at, lathe_status_name(status));
            CHECK(lathe_last_error()->status == LATHE_IO, "last error");
            CHECK(strstr(lathe_last_error()->message, "the disk is") != NULL, "%s",
                  lathe_last_error()->message);
        } else {
            CHECK_OK(status);
            succeeded = true;
            CHECK(memcmp(sink.bytes, lathe_tensor_data(direct.tensor), (size_t)sink.n_bytes) == 0,
                  "bytes after errors");
        }
        sink_free(&sink);
    }
    lt_streamer_free(streamer);
    lathe_tensor_release(direct.tensor);
    case_free(&c);
}

Test(stream, errors_of_the_source) {
    fail_each_call(&options[0], LATHE_F32, 0, false);
    fail_each_call(&options[1], LATHE_F32, 2, false);
    fail_each_call(&options[2], LATHE_BITNET158, 3, false);
}

Test(stream, errors_of_the_sink) {
    fail_each_call(&options[0], LATHE_F32, 0, true);
    fail_each_call(&options[1], LATHE_F32, 2, true);
    fail_each_call(&options[2], LATHE_BITNET158, 3, true);
}

Test(stream, cancelling) {
    static const uint64_t shape[] = {30, 30001};
    test_rng rng = {11};
    stream_case c = case_new(LATHE_F32, 2, shape, LATHE_PER_TENSOR, 0);
    test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
    for (size_t o = 0; o < 3; o++) {
        for (size_t e = 0; e < n_engines; e++) {
            lathe_target target = target_of(LATHE_BITNET158, &options[o]);
            lt_streamer *streamer = NULL;
            CHECK_OK(lt_streamer_create(engines[e], MIB, &streamer));
            for (uint64_t cancel_at = 0; cancel_at < 4; cancel_at++) {
                memory_source source = source_of(&c);
                memory_sink sink = sink_new(30 * 6001, 30 * 938);
                watcher w = {.cancel_at = cancel_at};
                lathe_status status = stream(streamer, &c, &target, &source, &sink, &w, NULL);
                CHECK(status == LATHE_CANCELLED, "%s", lathe_status_name(status));
                CHECK(lathe_last_error()->status == LATHE_CANCELLED, "last error");
                CHECK(w.n_calls <= cancel_at + 8, "it went on for %d calls", (int)w.n_calls);
                CHECK(!w.misused, "two threads at a time");
                sink_free(&sink);
            }
            lt_streamer_free(streamer);
        }
    }
    case_free(&c);
}

Test(stream, faults_in_the_data_are_those_of_convert) {
    static const uint64_t shape[] = {50, 20011};
    test_rng rng = {12};
    for (int round = 0; round < (TEST_SANITIZED ? 4 : 16); round++) {
        stream_case c =
            case_new(round % 2 == 0 ? LATHE_F32 : LATHE_BITNET158, 2, shape, LATHE_PER_ROW, 0);
        test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
        for (int k = 0; k < 3; k++) {
            uint32_t nan = 0xffc00001u;
            if (round % 2 == 0) {
                memcpy(c.bytes + 4 * test_random_below(&rng, c.layout.n_elems), &nan, 4);
            } else {
                c.bytes[test_random_below(&rng, c.layout.n_bytes)] = 250;
            }
        }
        for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
            size_t o = (size_t)test_random_below(&rng, 3);
            if (lathe_dtype_is_quantized(c.from.dtype) && o == 1) {
                o = 0; /* another layout than the source's */
            }
            lathe_target target = target_of((lathe_dtype)to, &options[o]);
            target.quality = round % 4 < 2 ? LATHE_BALANCED : LATHE_FAST;
            check_case(&c, &target, 2);
            target.nonfinite = LATHE_NONFINITE_SATURATE;
            check_case(&c, &target, 1);
        }
        case_free(&c);
    }
}

Test(stream, bad_targets_are_refused) {
    static const uint64_t shape[] = {4, 64};
    stream_case c = case_new(LATHE_F32, 2, shape, LATHE_PER_TENSOR, 0);
    memset(c.bytes, 0, (size_t)c.layout.n_bytes);
    lt_streamer *streamer = NULL;
    CHECK_OK(lt_streamer_create(engines[0], MIB, &streamer));
    memory_source source = source_of(&c);
    memory_sink sink = sink_new(1024, 16);
    lathe_target target = target_of(LATHE_I8, &options[2]);
    target.group_size = 33;
    CHECK_STATUS(stream(streamer, &c, &target, &source, &sink, NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK(atomic_load(&source.n_calls) == 0 && atomic_load(&sink.n_calls) == 0, "it was started");
    sink_free(&sink);
    lt_streamer_free(streamer);
    case_free(&c);
}
