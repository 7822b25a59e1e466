/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the public streaming API: all pairs, pulled and fed, in and out of order, against
 * lathe_convert; scales that are given; progress, cancelling, faults and mistakes. */
#include "stream_case.h"
#include <math.h>

TestSuite(stream_api, .init = setup_engines, .fini = teardown_engines);

static uint32_t random_row_dims(test_rng *rng, const shape_option *shape) {
    uint32_t row_dims = (uint32_t)test_random_below(rng, 3);
    return row_dims < shape->n_dims ? row_dims : shape->n_dims;
}

static void check_all_pairs(const shape_option *shape, size_t n_targets, uint64_t seed) {
    test_rng rng = {seed};
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        uint64_t held = test_random_below(&rng, N_LAYOUTS);
        lathe_tensor_desc desc =
            desc_of((lathe_dtype)from, shape, &layout_options[held], random_row_dims(&rng, shape));
        convert_case c = case_new(&desc, 3);
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            for (size_t i = 0; i < n_targets; i++) {
                uint64_t layout = test_random_below(&rng, N_LAYOUTS);
                lathe_target target = target_of((lathe_dtype)to, &layout_options[layout],
                                                random_row_dims(&rng, shape));
                target.quality = (lathe_quality)test_random_below(&rng, 3);
                target.strict = test_random_below(&rng, 8) == 0;
                check_streams(&c, &target, &rng);
            }
        }
        case_free(&c);
    }
}

Test(stream_api, small_tensors) {
    static const shape_option shapes[] = {
        {0, {0}}, {2, {0, 3}}, {2, {3, 0}}, {1, {1}}, {2, {7, 33}}, {3, {3, 5, 101}},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check_all_pairs(&shapes[i], 1, i + 1);
    }
}

Test(stream_api, tensors_of_many_chunks) {
    static const shape_option shapes[] = {{2, {311, 999}}, {1, {300001}}, {2, {3, 100003}}};
    for (size_t i = 0; i < (TEST_SANITIZED ? 1 : 3); i++) {
        check_all_pairs(&shapes[i], 1, 50 + i);
    }
}

/* Sampled statistics: tiles far apart, several in a slot. */
Test(stream_api, fast_quality) {
    static const shape_option shapes[] = {{1, {700001}}, {2, {2, 310007}}};
    test_rng rng = {71};
    for (size_t s = 0; s < 2; s++) {
        for (int from = LATHE_F32; from <= LATHE_BITNET158; from += 7) {
            lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shapes[s], &layout_options[2], 0);
            convert_case c = case_new(&desc, 1);
            test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
            for (size_t layout = 0; layout < 2; layout++) {
                for (int to = LATHE_I8; to <= LATHE_BITNET158; to += TEST_SANITIZED ? 4 : 1) {
                    lathe_target target = target_of((lathe_dtype)to, &layout_options[layout], 0);
                    target.quality = LATHE_FAST;
                    check_streams(&c, &target, &rng);
                }
            }
            case_free(&c);
        }
    }
}
/* ---- what is counted */

/* Once for each call, with its bytes, whatever comes of it. */
Test(stream_api, metrics) {
    static const shape_option shape = {2, {40, 501}};
    static lathe_metrics before = {.struct_size = sizeof before};
    static lathe_metrics after = {.struct_size = sizeof after};
    test_rng rng = {97};
    convert_case c = normal_case(LATHE_I8, &shape, 1, 97);
    lathe_target target = target_of(LATHE_I4, &layout_options[0], 0);
    expected e = convert_case_with(&c, &target);
    const lathe_stream_options options = {.struct_size = sizeof options};
    for (size_t i = 0; i < n_engines; i++) {
        CHECK_OK(lathe_engine_metrics(engines[i], &before));
        pull(&c, &target, i, &options, false, false, &e);
        push(&c, &target, i, &options, false, &e, &rng);
        watched to = watch_sink(&target, &c, false);
        const lathe_sink sink = sink_of(&to);
        lathe_stream *stream = NULL;
        CHECK_OK(lathe_stream_begin(engines[i], &c.from, &target, &sink, NULL, &stream));
        lathe_stream_free(stream); /* given up */
        forget(&to);
        CHECK_OK(lathe_engine_metrics(engines[i], &after));
        const lathe_metrics_group *was = &before.by_strategy[LATHE_STRATEGY_STREAMING];
        const lathe_metrics_group *is = &after.by_strategy[LATHE_STRATEGY_STREAMING];
        uint64_t src_bytes = c.layout.n_bytes + c.layout.n_scales * 4;
        uint64_t dst_bytes = lathe_tensor_n_bytes(e.tensor) + lathe_tensor_n_scales(e.tensor) * 4;
        CHECK(is->n_done == was->n_done + 2 && is->n_failed == was->n_failed + 1, "counts");
        CHECK(is->src_bytes == was->src_bytes + 2 * src_bytes, "bytes of the source");
        CHECK(is->dst_bytes == was->dst_bytes + 2 * dst_bytes, "bytes of the result");
        CHECK(is->ns > was->ns, "time");
        CHECK(after.total.n_done == before.total.n_done + 2, "the total");
        CHECK(after.failed_by_status[LATHE_CANCELLED] ==
                  before.failed_by_status[LATHE_CANCELLED] + 1,
              "given up");
        CHECK(after.engine.n_conversions == before.engine.n_conversions + 2, "conversions");
    }
    lathe_tensor_release(e.tensor);
    case_free(&c);
}

/* The report is the one that lathe_convert gives. */
Test(stream_api, quality_reports) {
    static const shape_option shape = {2, {40, 5001}};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 98);
    for (size_t layout = 0; layout < 3; layout++) {
        lathe_target target = target_of(LATHE_I4, &layout_options[layout], 0);
        lathe_quality_report direct = {.struct_size = sizeof direct};
        lathe_quality_report streamed = {.struct_size = sizeof streamed};
        lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &direct};
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, &stats));
        lathe_tensor_release(result);
        stats.quality = &streamed;
        const lathe_stream_options options = {.struct_size = sizeof options,
                                              .streaming = {.chunk_bytes = 128 * KIB}};
        for (size_t i = 0; i < n_engines; i++) {
            watched from = watch_source(&c, false);
            watched to = watch_sink(&target, &c, false);
            const lathe_source source = source_of(&from);
            const lathe_sink sink = sink_of(&to);
            CHECK_OK(lathe_stream_convert(engines[i], &c.from, &target, &source, &sink, &options,
                                          &stats));
            CHECK(memcmp(&direct, &streamed, sizeof direct) == 0, "%s: mse %g, not %g",
                  describe(&c, &target, i), streamed.mse, direct.mse);
            lathe_stream *stream = NULL;
            test_rng rng = {98};
            CHECK_OK(lathe_stream_begin(engines[i], &c.from, &target, &sink, NULL, &stream));
            CHECK_OK(feed_all(stream, &c, &rng));
            CHECK_STATUS(lathe_stream_finish(stream, &stats), LATHE_NOT_SUPPORTED);
            CHECK_OK(lathe_stream_finish(stream, NULL));
            lathe_stream_free(stream);
            lathe_stream_options asking = options;
            asking.quality_report = 1;
            streamed = (lathe_quality_report){.struct_size = sizeof streamed};
            CHECK_OK(lathe_stream_begin(engines[i], &c.from, &target, &sink, &asking, &stream));
            CHECK_OK(feed_all(stream, &c, &rng));
            CHECK_OK(lathe_stream_finish(stream, &stats));
            CHECK(memcmp(&direct, &streamed, sizeof direct) == 0, "%s fed: mse %g, not %g",
                  describe(&c, &target, i), streamed.mse, direct.mse);
            lathe_stream_free(stream);
            forget(&to);
        }
        lathe_stream *none = NULL;
        const lathe_stream_options asking = {.struct_size = sizeof asking, .quality_report = 1};
        watched to = watch_sink(&target, &c, false);
        const lathe_sink sink = sink_of(&to);
        lathe_target copy = target_of(LATHE_F32, &layout_options[0], 0);
        CHECK_STATUS(lathe_stream_begin(engines[0], &c.from, &copy, &sink, &asking, &none),
                     LATHE_NOT_SUPPORTED);
        forget(&to);
    }
    case_free(&c);
}

/* ---- scales that are given */

Test(stream_api, scales_that_are_given) {
    static const shape_option shape = {2, {50, 4003}};
    test_rng rng = {85};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 85);
    for (size_t layout = 0; layout < 3; layout++) {
        lathe_target target = target_of(LATHE_I8, &layout_options[layout], 0);
        expected e = convert_case_with(&c, &target);
        /* The standard ones: the same codes, in one reading. */
        lathe_stream_options options = {.struct_size = sizeof options,
                                        .target_scales = lathe_tensor_scales(e.tensor)};
        for (size_t i = 0; i < n_engines; i++) {
            pull(&c, &target, i, &options, true, true, &e);
            watched to = watch_sink(&target, &c, false);
            const lathe_sink sink = sink_of(&to);
            lathe_stream *stream = NULL;
            CHECK_OK(lathe_stream_begin(engines[i], &c.from, &target, &sink, &options, &stream));
            CHECK(lathe_stream_n_rounds(stream) == 1, "rounds");
            CHECK_OK(feed_all(stream, &c, &rng));
            lathe_convert_stats stats = {.struct_size = sizeof stats};
            CHECK_OK(lathe_stream_finish(stream, &stats));
            check_result(&c, &target, i, &e, LATHE_OK, &to, &stats);
            lathe_stream_free(stream);
            forget(&to);
        }
        /* Others: elements beyond the largest code are counted, and NaN is found. */
        size_t n_scales = (size_t)lathe_tensor_n_scales(e.tensor);
        float *scales = malloc(n_scales * sizeof *scales);
        CHECK(scales != NULL, "memory");
        for (size_t i = 0; i < n_scales; i++) {
            scales[i] = lathe_tensor_scales(e.tensor)[i] / 2;
        }
        options.target_scales = scales;
        watched from = watch_source(&c, true);
        watched to = watch_sink(&target, &c, false);
        const lathe_source source = source_of(&from);
        const lathe_sink sink = sink_of(&to);
        lathe_convert_stats stats = {.struct_size = sizeof stats};
        CHECK_OK(
            lathe_stream_convert(engines[0], &c.from, &target, &source, &sink, &options, &stats));
        CHECK(stats.n_saturated > 0, "saturated");
        CHECK(memcmp(to.out_scales, scales, n_scales * sizeof *scales) == 0, "scales");
        uint32_t nan = 0x7fc00000u;
        uint32_t before;
        memcpy(&before, c.bytes + 4 * 170001, 4);
        memcpy(c.bytes + 4 * 170001, &nan, 4);
        from.next = 0;
        CHECK_STATUS(
            lathe_stream_convert(engines[0], &c.from, &target, &source, &sink, &options, NULL),
            LATHE_NON_FINITE);
        CHECK(lathe_last_error()->element == 170001, "element");
        memcpy(c.bytes + 4 * 170001, &before, 4);
        scales[n_scales - 1] = -1;
        from.next = 0;
        CHECK_STATUS(
            lathe_stream_convert(engines[0], &c.from, &target, &source, &sink, &options, NULL),
            LATHE_CORRUPT_DATA);
        free(scales);
        forget(&to);
        lathe_tensor_release(e.tensor);
    }
    case_free(&c);
}
/* ---- progress, faults and mistakes */

typedef struct observer {
    uint64_t done;
    uint64_t total;
    uint64_t n_calls;
    uint64_t cancel_at;
} observer;

static int observe(void *ctx, uint64_t done, uint64_t total) {
    observer *o = ctx;
    CHECK(done >= o->done && done <= total && (o->n_calls == 0 || total == o->total), "progress");
    o->done = done;
    o->total = total;
    return o->n_calls++ >= o->cancel_at;
}

Test(stream_api, progress_and_cancelling) {
    static const shape_option shape = {2, {40, 10001}};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 92);
    for (size_t i = 0; i < n_engines; i++) {
        for (size_t layout = 0; layout < 2; layout++) {
            lathe_target target = target_of(LATHE_I8, &layout_options[layout], 0);
            for (uint64_t cancel_at = 0; cancel_at < 6; cancel_at += 2) {
                observer o = {.cancel_at = cancel_at == 4 ? UINT64_MAX : cancel_at};
                const lathe_stream_options options = {.struct_size = sizeof options,
                                                      .streaming = {.chunk_bytes = 128 * KIB},
                                                      .progress = observe,
                                                      .progress_ctx = &o};
                watched from = watch_source(&c, false);
                watched to = watch_sink(&target, &c, false);
                const lathe_source source = source_of(&from);
                const lathe_sink sink = sink_of(&to);
                lathe_status status = lathe_stream_convert(engines[i], &c.from, &target, &source,
                                                           &sink, &options, NULL);
                CHECK(status == (cancel_at == 4 ? LATHE_OK : LATHE_CANCELLED), "%s",
                      lathe_status_name(status));
                CHECK(status != LATHE_OK || o.done == o.total, "%d of %d", (int)o.done,
                      (int)o.total);
                o = (observer){.cancel_at = o.cancel_at};
                lathe_stream *stream = NULL;
                test_rng rng = {8};
                CHECK_OK(
                    lathe_stream_begin(engines[i], &c.from, &target, &sink, &options, &stream));
                atomic_store(&to.done, 0);
                lathe_status fed = feed_all(stream, &c, &rng);
                fed = fed == LATHE_OK ? lathe_stream_finish(stream, NULL) : fed;
                CHECK(fed == status, "fed: %s", lathe_status_name(fed));
                lathe_stream_free(stream);
                forget(&to);
            }
        }
    }
    case_free(&c);
}

Test(stream_api, faults_in_the_data) {
    static const shape_option shape = {2, {90, 4001}};
    test_rng rng = {93};
    for (int round = 0; round < (TEST_SANITIZED ? 3 : 8); round++) {
        convert_case c = normal_case(round % 2 == 0 ? LATHE_F32 : LATHE_BITNET158, &shape, 1,
                                     93 + (uint64_t)round);
        for (int k = 0; k < 3; k++) {
            uint32_t nan = 0x7fc00001u;
            if (round % 2 == 0) {
                memcpy(c.bytes + 4 * test_random_below(&rng, c.layout.n_elems), &nan, 4);
            } else {
                c.bytes[test_random_below(&rng, c.layout.n_bytes)] = 255;
            }
        }
        for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
            lathe_target target = target_of((lathe_dtype)to, &layout_options[round % 4], 0);
            target.quality = round % 3 == 2 ? LATHE_FAST : LATHE_BALANCED;
            if (!(to == LATHE_BITNET158 && round % 4 == 1)) { /* a copy */
                check_streams(&c, &target, &rng);
            }
        }
        case_free(&c);
    }
}

/* Scales that no encoder writes, of tensors with and without elements: what lathe_convert says. */
Test(stream_api, corrupt_scales) {
    static const shape_option shapes[] = {{1, {0}}, {3, {2, 0, 128}}, {2, {3, 100}}};
    test_rng rng = {96};
    for (size_t i = 0; i < 12; i++) {
        const lathe_dtype dtype = i % 2 == 0 ? LATHE_I8 : LATHE_I2;
        const size_t layout = i < 6 ? 0 : 1;
        convert_case c = normal_case(dtype, &shapes[i % 3], layout, i);
        lathe_target targets[] = {target_of(LATHE_F16, &layout_options[0], 0),
                                  target_of(LATHE_I4, &layout_options[0], 0),
                                  target_of(dtype, &layout_options[layout], 0)};
        if (c.layout.n_scales > 0) {
            c.scales[c.layout.n_scales - 1] = i % 4 < 2 ? -1 : INFINITY;
        }
        for (size_t k = 0; k < sizeof targets / sizeof targets[0]; k++) {
            const expected e = convert_case_with(&c, &targets[k]);
            CHECK(e.status == (k < 2 && c.layout.n_scales > 0 ? LATHE_CORRUPT_DATA : LATHE_OK),
                  "case %zu, target %zu: %s", i, k, lathe_status_name(e.status));
            lathe_tensor_release(e.tensor);
            check_streams(&c, &targets[k], &rng);
        }
        case_free(&c);
    }
}

Test(stream_api, failing_callbacks) {
    static const shape_option shape = {2, {60, 3001}};
    convert_case c = normal_case(LATHE_I8, &shape, 1, 94);
    for (int which = 0; which < 4; which++) {
        lathe_target target = target_of(LATHE_I4, &layout_options[which / 2], 0);
        size_t engine = (size_t)which % n_engines;
        for (uint64_t fail_at = 0;; fail_at++) {
            const lathe_stream_options options = {
                .struct_size = sizeof options,
                .streaming = {.chunk_bytes = 64 * KIB, .prefetch_chunks = (uint32_t)which % 2}};
            watched from = watch_source(&c, false);
            watched to = watch_sink(&target, &c, which % 2 == 0);
            *(which % 2 == 0 ? &from.fail_at : &to.fail_at) = fail_at;
            const lathe_source source = source_of(&from);
            const lathe_sink sink = sink_of(&to);
            lathe_status status = lathe_stream_convert(engines[engine], &c.from, &target, &source,
                                                       &sink, &options, NULL);
            bool has_failed = atomic_load(which % 2 == 0 ? &from.n_calls : &to.n_calls) > fail_at;
            CHECK(status == (has_failed ? LATHE_IO : LATHE_OK), "%s", lathe_status_name(status));
            CHECK(status == LATHE_OK ||
                      strstr(lathe_last_error()->message, " failed at byte ") != NULL ||
                      strstr(lathe_last_error()->message, "_scales failed at scale ") != NULL,
                  "%s", lathe_last_error()->message);
            if (which % 2 == 1) { /* the same when it is fed */
                lathe_stream *stream = NULL;
                test_rng rng = {9};
                to.n_calls = to.next = to.next_scale = 0;
                CHECK_OK(lathe_stream_begin(engines[engine], &c.from, &target, &sink, &options,
                                            &stream));
                lathe_status fed = feed_all(stream, &c, &rng);
                fed = fed == LATHE_OK ? lathe_stream_finish(stream, NULL) : fed;
                CHECK(fed == status, "fed: %s", lathe_status_name(fed));
                lathe_stream_free(stream);
            }
            forget(&to);
            if (!has_failed) {
                break;
            }
        }
    }
    case_free(&c);
}

Test(stream_api, mistakes_of_who_feeds) {
    static const shape_option shape = {2, {30, 3001}};
    convert_case c = normal_case(LATHE_I8, &shape, 1, 95);
    const size_t n = (size_t)c.layout.n_bytes;
    for (size_t i = 0; i < n_small_engines; i++) {
        lathe_target target = target_of(LATHE_I4, &layout_options[0], 0);
        expected e = convert_case_with(&c, &target);
        watched to = watch_sink(&target, &c, true);
        const lathe_sink sink = sink_of(&to);
        lathe_stream *s = NULL;
        CHECK_OK(lathe_stream_begin(engines[i], &c.from, &target, &sink, NULL, &s));
        CHECK(lathe_stream_n_rounds(s) == 2 && lathe_stream_missing_bytes(s) == n, "rounds");
        CHECK_STATUS(lathe_stream_feed(s, c.bytes, 1), LATHE_INVALID_ARGUMENT); /* no scales */
        CHECK_STATUS(lathe_stream_feed_scales(s, c.scales, 31), LATHE_INVALID_ARGUMENT);
        CHECK_OK(lathe_stream_feed_scales(s, c.scales, 30));
        CHECK_STATUS(lathe_stream_feed_scales(s, c.scales, 1), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_stream_feed(s, c.bytes, n + 1), LATHE_INVALID_ARGUMENT);
        CHECK_OK(lathe_stream_feed(s, c.bytes, n - 1));
        CHECK_STATUS(lathe_stream_rewind(s), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_stream_finish(s, NULL), LATHE_INVALID_ARGUMENT);
        CHECK_OK(lathe_stream_feed(s, c.bytes + n - 1, 1));
        CHECK_STATUS(lathe_stream_finish(s, NULL), LATHE_INVALID_ARGUMENT);
        CHECK_OK(lathe_stream_rewind(s));
        CHECK_OK(lathe_stream_feed(s, c.bytes, n - 7));
        CHECK_STATUS(lathe_stream_finish(s, NULL), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_stream_feed(s, c.bytes, 8), LATHE_INVALID_ARGUMENT);
        CHECK_OK(lathe_stream_feed(s, c.bytes + n - 7, 7));
        CHECK_STATUS(lathe_stream_rewind(s), LATHE_INVALID_ARGUMENT);
        CHECK_OK(lathe_stream_finish(s, NULL));
        CHECK_STATUS(lathe_stream_finish(s, NULL), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_stream_feed(s, c.bytes, 1), LATHE_INVALID_ARGUMENT);
        check_result(&c, &target, i, &e, LATHE_OK, &to, NULL);
        lathe_stream_free(s);
        forget(&to);
        lathe_tensor_release(e.tensor);
    }
    CHECK_STATUS(lathe_stream_feed(NULL, c.bytes, 1), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_stream_finish(NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK(lathe_stream_n_rounds(NULL) == 0 && lathe_stream_missing_bytes(NULL) == 0, "NULL");
    lathe_stream_free(NULL);
    case_free(&c);
}

Test(stream_api, bad_arguments) {
    static const shape_option shape = {1, {64}};
    convert_case c = normal_case(LATHE_I8, &shape, 0, 96);
    lathe_target target = target_of(LATHE_I4, &layout_options[0], 0);
    watched from = watch_source(&c, false);
    watched to = watch_sink(&target, &c, false);
    const lathe_source source = source_of(&from);
    const lathe_sink sink = sink_of(&to);
    const lathe_stream_options options = {.struct_size = sizeof options};
    float scale = 1;
#define REFUSED(from_, source_, sink_, options_)                                                   \
    CHECK_STATUS(lathe_stream_convert(engines[0], from_, &target, source_, sink_, options_, NULL), \
                 LATHE_INVALID_ARGUMENT)
    lathe_source s;
    lathe_sink k;
    lathe_stream_options o;
    REFUSED(NULL, &source, &sink, NULL);
    REFUSED(&c.from, NULL, &sink, NULL);
    REFUSED(&c.from, &source, NULL, NULL);
#define BAD_SOURCE(field, value)                                                                   \
    s = source;                                                                                    \
    s.field = value;                                                                               \
    REFUSED(&c.from, &s, &sink, NULL)
    BAD_SOURCE(struct_size, 1);
    BAD_SOURCE(kind, (lathe_end)0);
    BAD_SOURCE(kind, (lathe_end)4);
    BAD_SOURCE(kind, LATHE_END_TENSOR);
    BAD_SOURCE(read, NULL);
    BAD_SOURCE(read_scales, NULL);
    BAD_SOURCE(in_order, 2);
#define BAD_SINK(field, value)                                                                     \
    k = sink;                                                                                      \
    k.field = value;                                                                               \
    REFUSED(&c.from, &source, &k, NULL)
    BAD_SINK(struct_size, 1);
    BAD_SINK(kind, (lathe_end)0);
    BAD_SINK(kind, LATHE_END_TENSOR);
    BAD_SINK(write, NULL);
    BAD_SINK(write_scales, NULL);
    BAD_SINK(in_order, 2);
    k = sink;
    k.kind = LATHE_END_FILE;
    k.overwrite = 1;
    REFUSED(&c.from, &source, &k, NULL);
#define BAD_OPTION(field, value)                                                                   \
    o = options;                                                                                   \
    o.field = value;                                                                               \
    REFUSED(&c.from, &source, &sink, &o)
    BAD_OPTION(struct_size, 1);
    BAD_OPTION(streaming.chunk_bytes, 64 * KIB - 1);
    BAD_OPTION(streaming.buffer_bytes, MIB - 1);
    target.dtype = LATHE_F16;
    BAD_OPTION(target_scales, &scale);
    CHECK(atomic_load(&from.n_calls) == 0 && atomic_load(&to.n_calls) == 0, "it was started");
    lathe_stream *stream = NULL;
    CHECK_STATUS(lathe_stream_begin(NULL, &c.from, &target, &sink, NULL, &stream),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_stream_begin(engines[0], NULL, &target, &sink, NULL, &stream),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_stream_begin(engines[0], &c.from, NULL, &sink, NULL, &stream),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_stream_begin(engines[0], &c.from, &target, NULL, NULL, &stream),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_stream_begin(engines[0], &c.from, &target, &sink, NULL, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK(stream == NULL, "the output was touched");
    forget(&to);
    case_free(&c);
}
