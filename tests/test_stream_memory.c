/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what a public stream takes: memory as documented and as the budget leaves it, as many
 * chunks at once and ahead as asked for, and allocations that fail. */
#include "stream_case.h"
#include <time.h>

TestSuite(stream_memory, .init = setup_engines, .fini = teardown_engines);

/* ---- memory */

static lathe_pool_stats stats_of(lathe_engine *engine) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    return stats;
}

#ifndef TEST_OPENCL
/* (parallel + prefetch) times a chunk, and what the documentation says is beside that. */
static void check_memory(const convert_case *c, const lathe_target *target, uint32_t parallel,
                         uint32_t prefetch, uint64_t chunk, bool is_fed) {
    lathe_config config = {.struct_size = sizeof config, .n_threads = 3};
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    uint64_t before = stats_of(engine).peak_bytes;
    const lathe_stream_options options = {.struct_size = sizeof options,
                                          .streaming = {.chunk_bytes = chunk,
                                                        .parallel_chunks = parallel,
                                                        .prefetch_chunks = prefetch}};
    watched from = watch_source(c, false);
    watched to = watch_sink(target, c, false);
    const lathe_source source = source_of(&from);
    const lathe_sink sink = sink_of(&to);
    if (is_fed) {
        test_rng rng = {5};
        lathe_stream *stream = NULL;
        CHECK_OK(lathe_stream_begin(engine, &c->from, target, &sink, &options, &stream));
        CHECK_OK(feed_all(stream, c, &rng));
        CHECK_OK(lathe_stream_finish(stream, NULL));
        lathe_stream_free(stream);
        parallel = parallel < 3 ? parallel : 3;
        prefetch = prefetch == 0 ? 1 : prefetch;
    } else {
        CHECK_OK(lathe_stream_convert(engine, &c->from, target, &source, &sink, &options, NULL));
    }
    uint64_t extra = stats_of(engine).peak_bytes - before;
    uint64_t slots = (parallel + prefetch) * chunk;
    uint64_t beside =
        (to.n_scales + (is_fed ? c->layout.n_scales : 0)) * sizeof(float) + 128 * KIB + 24 * KIB;
    CHECK(extra <= slots + slots / 8 + beside + beside / 8,
          "%s: %d bytes, not %d slots of %d and %d", describe(c, target, 0), (int)extra,
          (int)(parallel + prefetch), (int)chunk, (int)beside);
    CHECK(extra >= chunk / 2, "%d bytes", (int)extra);
    lathe_engine_free(engine);
    forget(&to);
}

Test(stream_memory, memory_is_slots_times_chunk) {
    static const shape_option shape = {2, {500, 3001}};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 86);
    convert_case q = normal_case(LATHE_I4, &shape, 2, 87);
    for (size_t i = 0; i < 4; i++) {
        static const uint64_t chunks[] = {128 * KIB, 200 * KIB, 512 * KIB, MIB};
        lathe_target target =
            target_of(i % 2 == 0 ? LATHE_I8 : LATHE_F16, &layout_options[i % 3], 0);
        for (uint32_t parallel = 1; parallel <= 3; parallel++) {
            for (uint32_t prefetch = 0; prefetch <= 2; prefetch++) {
                check_memory(&c, &target, parallel, prefetch, chunks[i], false);
                check_memory(&c, &target, parallel, prefetch, chunks[i], true);
                check_memory(&q, &target, parallel, prefetch, chunks[i], prefetch == 1);
            }
        }
    }
    case_free(&c);
    case_free(&q);
}
#endif

#ifndef TEST_OPENCL
/* What lies in a tensor takes no part of a chunk. */
Test(stream_memory, tensors_of_the_host_take_none) {
    static const shape_option shape = {2, {2000, 1500}};
    const uint64_t records = 32 * KIB;
    convert_case c = normal_case(LATHE_F32, &shape, 0, 94);
    lathe_tensor_desc desc;
    for (size_t i = 0; i < 3; i++) {
        const lathe_target target =
            target_of(i == 0 ? LATHE_F16 : LATHE_I8, &layout_options[i == 0 ? 0 : i - 1], 0);
        lathe_config config = {.struct_size = sizeof config, .n_threads = 3};
        lathe_engine *engine = NULL;
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_engine_create(&config, &engine));
        CHECK_OK(lathe_target_desc(&target, c.from.n_dims, c.from.shape, &desc));
        CHECK_OK(lathe_tensor_create(pool, &desc, &result));
        const uint64_t before = stats_of(engine).in_use_bytes;
        const lathe_source source = {
            .struct_size = sizeof source, .kind = LATHE_END_TENSOR, .tensor = c.tensor};
        const lathe_sink sink = {
            .struct_size = sizeof sink, .kind = LATHE_END_TENSOR, .tensor = result};
        CHECK_OK(lathe_stream_convert(engine, NULL, &target, &source, &sink, NULL, NULL));
        /* 768 KiB a chunk otherwise; i = 1: a statistic of each tile of 4,096 elements */
        const uint64_t scales = lathe_tensor_n_scales(result) * sizeof(float);
        const uint64_t tiles = i == 1 ? 3000000 / 4096 * sizeof(double) : 0;
        const uint64_t extra = stats_of(engine).peak_bytes - before;
        CHECK(extra <= records + 2 * (scales + tiles), "%d: %d bytes", (int)i, (int)extra);
        lathe_tensor_release(result);
        lathe_engine_free(engine);
    }
    case_free(&c);
}
#endif

/* A budget that leaves little: fewer and smaller slots, and below that a clear error. */
Test(stream_memory, what_the_budget_leaves) {
    static const shape_option shape = {2, {500, 3001}};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 88);
    lathe_target target = target_of(LATHE_I8, &layout_options[1], 0);
    expected e = convert_case_with(&c, &target);
    bool failed = false;
    bool succeeded = false;
    for (uint64_t budget = 8 * MIB; budget >= 32 * KIB; budget = budget * 2 / 3) {
        lathe_config config = {
            .struct_size = sizeof config, .n_threads = 2, .memory_budget_bytes = budget};
        lathe_engine *engine = NULL;
        if (lathe_engine_create(&config, &engine) != LATHE_OK) {
            failed = true;
            break;
        }
        watched from = watch_source(&c, false);
        watched to = watch_sink(&target, &c, true);
        const lathe_source source = source_of(&from);
        const lathe_sink sink = sink_of(&to);
        lathe_status status =
            lathe_stream_convert(engine, &c.from, &target, &source, &sink, NULL, NULL);
        CHECK(stats_of(engine).peak_bytes <= budget, "over budget");
        if (status == LATHE_INSUFFICIENT_MEMORY) {
            CHECK(lathe_last_error()->required_bytes > 0, "required");
            failed = true;
        } else {
            CHECK(!failed, "a larger budget was too small");
            check_result(&c, &target, 0, &e, status, &to, NULL);
            succeeded = true;
        }
        CHECK(budget < 300 * KIB || status == LATHE_OK, "%d KiB are enough: %s",
              (int)(budget / 1024), lathe_last_error()->message);
        lathe_engine_free(engine);
        forget(&to);
    }
    CHECK(failed && succeeded, "both were to be seen");
    lathe_tensor_release(e.tensor);
    case_free(&c);
}

/* ---- options that a caller can see */

#ifndef TEST_OPENCL
static int most_readers(uint32_t parallel, uint32_t prefetch, const convert_case *c,
                        const lathe_target *target, uint64_t *n_calls) {
    lathe_config config = {.struct_size = sizeof config,
                           .n_threads = 2,
                           .streaming = {.parallel_chunks = parallel}}; /* the engine's own */
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    const lathe_stream_options options = {
        .struct_size = sizeof options,
        .streaming = {.chunk_bytes = 64 * KIB, .prefetch_chunks = prefetch}};
    watched from = watch_source(c, false);
    watched to = watch_sink(target, c, false);
    const lathe_source source = source_of(&from);
    const lathe_sink sink = sink_of(&to);
    CHECK_OK(lathe_stream_convert(engine, &c->from, target, &source, &sink, &options, NULL));
    *n_calls = atomic_load(&from.n_calls);
    int most = atomic_load(&to.most_inside);
    lathe_engine_free(engine);
    forget(&to);
    return most;
}

Test(stream_memory, chunks_are_as_many_as_asked_for) {
    static const shape_option shape = {2, {2000, 500}};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 89);
    lathe_target target = target_of(LATHE_F16, &layout_options[0], 0);
    uint64_t n_small = 0;
    for (uint32_t prefetch = 0; prefetch < 3; prefetch++) {
        CHECK(most_readers(1, prefetch, &c, &target, &n_small) == 1, "two chunks at once");
    }
    /* In the least chunks, and in one. */
    CHECK(n_small >= 1000000 / 20480, "%d chunks", (int)n_small);
    const lathe_stream_options options = {.struct_size = sizeof options,
                                          .streaming = {.chunk_bytes = 16 * MIB}};
    watched from = watch_source(&c, false);
    watched to = watch_sink(&target, &c, false);
    const lathe_source source = source_of(&from);
    const lathe_sink sink = sink_of(&to);
    CHECK_OK(lathe_stream_convert(engines[0], &c.from, &target, &source, &sink, &options, NULL));
    CHECK(atomic_load(&from.n_calls) == 1, "%d calls", (int)from.n_calls);
    forget(&to);
    case_free(&c);
}

/* The sink holds on to a chunk until the next one has been read. */
typedef struct overlap {
    watched from;
    watched to;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t n_read;
    bool has_waited_in_vain;
} overlap;

static lathe_status overlap_read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    overlap *o = ctx;
    lathe_status status = watched_read(&o->from, offset, buffer, n_bytes);
    (void)pthread_mutex_lock(&o->mutex);
    o->n_read += n_bytes;
    (void)pthread_cond_broadcast(&o->changed);
    (void)pthread_mutex_unlock(&o->mutex);
    return status;
}

static lathe_status overlap_write(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    overlap *o = ctx;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    (void)pthread_mutex_lock(&o->mutex);
    /* F32 to F16: more than the source of this chunk and of those before. */
    uint64_t wanted = 2 * (atomic_load(&o->to.done) + n_bytes) + 1;
    wanted = wanted < o->from.n_bytes ? wanted : o->from.n_bytes;
    int error = 0;
    while (o->n_read < wanted && error == 0) {
        error = pthread_cond_timedwait(&o->changed, &o->mutex, &until);
    }
    o->has_waited_in_vain = o->has_waited_in_vain || error != 0;
    (void)pthread_mutex_unlock(&o->mutex);
    return watched_write(&o->to, offset, bytes, n_bytes);
}

Test(stream_memory, reading_ahead_overlaps_with_one_thread) {
    static const shape_option shape = {2, {300, 500}};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 90);
    lathe_target target = target_of(LATHE_F16, &layout_options[0], 0);
    for (int in_order = 0; in_order < 2; in_order++) {
        overlap o = {.from = watch_source(&c, in_order != 0),
                     .to = watch_sink(&target, &c, in_order != 0)};
        (void)pthread_mutex_init(&o.mutex, NULL);
        (void)pthread_cond_init(&o.changed, NULL);
        lathe_source source = source_of(&o.from);
        lathe_sink sink = sink_of(&o.to);
        source.ctx = &o;
        source.read = overlap_read;
        sink.ctx = &o;
        sink.write = overlap_write;
        const lathe_stream_options options = {
            .struct_size = sizeof options,
            .streaming = {.chunk_bytes = 64 * KIB, .parallel_chunks = 1, .prefetch_chunks = 1}};
        CHECK_OK(
            lathe_stream_convert(engines[0], &c.from, &target, &source, &sink, &options, NULL));
        CHECK(!o.has_waited_in_vain, "nothing is read ahead");
        CHECK(atomic_load(&o.to.done) == o.to.n_bytes, "bytes");
        forget(&o.to);
    }
    case_free(&c);
}

#endif

/* An engine whose allocations can be made to fail; everything it needs is there already. */
static lathe_engine *failing_engine(test_allocator *allocator) {
    lathe_config config = {.struct_size = sizeof config, .n_threads = 2};
    lathe_engine *engine = NULL;
    test_allocator_init(allocator);
#ifdef TEST_OPENCL
    config = test_opencl_config();
#endif
    config.allocator = &allocator->interface;
    CHECK_OK(lathe_engine_create(&config, &engine));
    return engine;
}

static lathe_status stream_once(lathe_engine *engine, const convert_case *c,
                                const lathe_target *target, bool is_fed) {
    watched from = watch_source(c, false);
    watched to = watch_sink(target, c, false);
    const lathe_source source = source_of(&from);
    const lathe_sink sink = sink_of(&to);
    lathe_status status;
    if (is_fed) {
        test_rng rng = {6};
        lathe_stream *stream = NULL;
        status = lathe_stream_begin(engine, &c->from, target, &sink, NULL, &stream);
        status = status == LATHE_OK ? feed_all(stream, c, &rng) : status;
        status = status == LATHE_OK ? lathe_stream_finish(stream, NULL) : status;
        lathe_stream_free(stream);
    } else {
        status = lathe_stream_convert(engine, &c->from, target, &source, &sink, NULL, NULL);
    }
    forget(&to);
    return status;
}

Test(stream_memory, any_failing_allocation) {
    static const shape_option shape = {2, {30, 3001}};
    convert_case c = normal_case(LATHE_I8, &shape, 1, 91);
    test_allocator allocator;
    lathe_engine *engine = failing_engine(&allocator);
    for (int form = 0; form < 4; form++) {
        lathe_target target = target_of(LATHE_I4, &layout_options[form / 2], 0);
        CHECK_OK(stream_once(engine, &c, &target, form % 2 == 1)); /* programs are built */
        (void)lathe_pool_trim(lathe_engine_pool(engine), 0);
        const uint64_t in_use = stats_of(engine).in_use_bytes;
        const uint64_t n_live = allocator.n_live;
        bool succeeded = false;
        for (uint64_t fail_at = 0; !succeeded; fail_at++) {
            CHECK(fail_at < 300, "it never succeeds");
            test_allocator_reset(&allocator, fail_at);
            lathe_status status = stream_once(engine, &c, &target, form % 2 == 1);
            succeeded = allocator.n_calls <= fail_at;
            CHECK(status == LATHE_OK || (!succeeded && status == LATHE_INSUFFICIENT_MEMORY), "%s",
                  lathe_status_name(status));
            CHECK(status == LATHE_OK || lathe_last_error()->status == status, "the last error");
            (void)lathe_pool_trim(lathe_engine_pool(engine), 0);
            CHECK(stats_of(engine).in_use_bytes == in_use, "allocation %d leaks", (int)fail_at);
            CHECK(allocator.n_live <= n_live + 2, "allocation %d leaks", (int)fail_at);
        }
        test_allocator_reset(&allocator, UINT64_MAX);
    }
    lathe_engine_free(engine);
    CHECK(allocator.n_live == 0 && !allocator.misused, "a leak");
    case_free(&c);
}
