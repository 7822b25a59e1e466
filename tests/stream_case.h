/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the public streaming API share: sources and sinks that watch how they are used,
 * and both forms of a conversion against lathe_convert. */
#ifndef TESTS_STREAM_CASE_H
#define TESTS_STREAM_CASE_H

#include "convert_case.h"
#include <stdatomic.h>

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1) << 20)

/* ---- ends that watch */

typedef struct watched {
    const uint8_t *bytes; /* of a source */
    const float *scales;
    uint8_t *out; /* of a sink */
    float *out_scales;
    uint64_t n_bytes;
    uint64_t n_scales;
    bool in_order;
    atomic_uint_fast64_t next; /* in order */
    atomic_uint_fast64_t next_scale;
    atomic_uint_fast64_t done; /* bytes so far */
    atomic_int inside;
    atomic_int most_inside;
    atomic_uint_fast64_t n_calls;
    uint64_t fail_at; /* call; UINT64_MAX: none */
    atomic_bool misused;
} watched;

static inline bool enter(watched *w, uint64_t offset, uint64_t n, uint64_t limit,
                         atomic_uint_fast64_t *next) {
    int inside = atomic_fetch_add(&w->inside, 1) + 1;
    int most = atomic_load(&w->most_inside);
    while (inside > most && !atomic_compare_exchange_weak(&w->most_inside, &most, inside)) {
    }
    bool is_wrong = offset > limit || n > limit - offset;
    if (w->in_order) {
        is_wrong = is_wrong || inside > 1 || (next != NULL && atomic_load(next) != offset);
    }
    if (is_wrong) {
        atomic_store(&w->misused, true);
    }
    if (next != NULL) {
        atomic_store(next, offset + n);
    }
    return !is_wrong && atomic_fetch_add(&w->n_calls, 1) != w->fail_at;
}

static inline lathe_status leave(watched *w, bool is_ok) {
    (void)atomic_fetch_sub(&w->inside, 1);
    return is_ok ? LATHE_OK : LATHE_IO;
}

static inline lathe_status watched_read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    watched *w = ctx;
    bool ok = enter(w, offset, n_bytes, w->n_bytes, &w->next);
    if (ok) {
        memcpy(buffer, w->bytes + offset, n_bytes);
        (void)atomic_fetch_add(&w->done, n_bytes);
    }
    return leave(w, ok);
}

/* Scales may be asked for in any order. */
static inline lathe_status watched_read_scales(void *ctx, uint64_t first, float *scales, size_t n) {
    watched *w = ctx;
    bool ok = first <= w->n_scales && n <= w->n_scales - first &&
              atomic_fetch_add(&w->n_calls, 1) != w->fail_at;
    if (ok) {
        memcpy(scales, w->scales + first, n * sizeof *scales);
    }
    return ok ? LATHE_OK : LATHE_IO;
}

static inline lathe_status watched_write(void *ctx, uint64_t offset, const void *bytes,
                                         size_t n_bytes) {
    watched *w = ctx;
    bool ok = enter(w, offset, n_bytes, w->n_bytes, &w->next);
    if (ok) {
        memcpy(w->out + offset, bytes, n_bytes);
        (void)atomic_fetch_add(&w->done, n_bytes);
    }
    return leave(w, ok);
}

static inline lathe_status watched_write_scales(void *ctx, uint64_t first, const float *scales,
                                                size_t n) {
    watched *w = ctx;
    bool ok = enter(w, first, n, w->n_scales, &w->next_scale);
    if (ok) {
        memcpy(w->out_scales + first, scales, n * sizeof *scales);
    }
    return leave(w, ok);
}

static inline lathe_source source_of(watched *w) {
    return (lathe_source){.struct_size = sizeof(lathe_source),
                          .kind = LATHE_END_CALLBACK,
                          .ctx = w,
                          .read = watched_read,
                          .read_scales = watched_read_scales,
                          .in_order = w->in_order};
}

static inline lathe_sink sink_of(watched *w) {
    return (lathe_sink){.struct_size = sizeof(lathe_sink),
                        .kind = LATHE_END_CALLBACK,
                        .ctx = w,
                        .write = watched_write,
                        .write_scales = watched_write_scales,
                        .in_order = w->in_order};
}

static inline watched watch_source(const convert_case *c, bool in_order) {
    return (watched){.bytes = c->bytes,
                     .scales = c->scales,
                     .n_bytes = c->layout.n_bytes,
                     .n_scales = c->layout.n_scales,
                     .in_order = in_order,
                     .fail_at = UINT64_MAX};
}

static inline watched watch_sink(const lathe_target *target, const convert_case *c, bool in_order) {
    lathe_tensor_desc to;
    watched w = {.in_order = in_order, .fail_at = UINT64_MAX};
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &to));
    CHECK_OK(lathe_tensor_desc_sizes(&to, NULL, &w.n_bytes, &w.n_scales));
    w.out = malloc((size_t)w.n_bytes + 1);
    w.out_scales = malloc((size_t)w.n_scales * sizeof(float) + 1);
    CHECK(w.out != NULL && w.out_scales != NULL, "memory");
    memset(w.out, CANARY, (size_t)w.n_bytes + 1);
    memset(w.out_scales, CANARY, (size_t)w.n_scales * sizeof(float) + 1);
    return w;
}

static inline void forget(watched *w) {
    free(w->out);
    free(w->out_scales);
}

/* ---- what lathe_convert gives */

typedef struct expected {
    lathe_status status;
    uint64_t element;
    uint64_t n_saturated;
    lathe_tensor *tensor;
} expected;

static inline expected convert_case_with(const convert_case *c, const lathe_target *target) {
    expected e = {.element = LATHE_NO_ELEMENT};
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    e.status = lathe_convert(engines[0], c->tensor, target, &e.tensor, &stats);
    e.element = e.status == LATHE_OK ? e.element : lathe_last_error()->element;
    e.n_saturated = stats.n_saturated;
    return e;
}

static inline void check_result(const convert_case *c, const lathe_target *target, size_t engine,
                                const expected *e, lathe_status status, const watched *sink,
                                const lathe_convert_stats *stats) {
    CHECK(status == e->status, "%s: %s (%s), not %s", describe(c, target, engine),
          lathe_status_name(status), lathe_last_error()->message, lathe_status_name(e->status));
    CHECK(!atomic_load(&sink->misused), "%s: the sink is misused", describe(c, target, engine));
    if (status != LATHE_OK) {
        CHECK(lathe_last_error()->element == e->element, "%s: element %lld, not %lld",
              describe(c, target, engine), (long long)lathe_last_error()->element,
              (long long)e->element);
        CHECK(lathe_last_error()->from == c->from.dtype && lathe_last_error()->to == target->dtype,
              "%s: the error's types", describe(c, target, engine));
        return;
    }
    size_t n_bytes = (size_t)sink->n_bytes;
    size_t n_scales = (size_t)sink->n_scales;
    CHECK(atomic_load(&sink->done) == n_bytes, "%s: %d of %d bytes written",
          describe(c, target, engine), (int)sink->done, (int)n_bytes);
    CHECK(n_bytes == 0 || memcmp(sink->out, lathe_tensor_data(e->tensor), n_bytes) == 0,
          "%s: bytes", describe(c, target, engine));
    CHECK(n_scales == 0 || memcmp(sink->out_scales, lathe_tensor_scales(e->tensor),
                                  n_scales * sizeof(float)) == 0,
          "%s: scales", describe(c, target, engine));
    CHECK(stats == NULL || stats->n_saturated == e->n_saturated, "%s: saturated",
          describe(c, target, engine));
}

/* ---- the two forms */

static inline void pull(const convert_case *c, const lathe_target *target, size_t engine,
                        const lathe_stream_options *options, bool source_in_order,
                        bool sink_in_order, const expected *e) {
    watched from = watch_source(c, source_in_order);
    watched to = watch_sink(target, c, sink_in_order);
    const lathe_source source = source_of(&from);
    const lathe_sink sink = sink_of(&to);
    lathe_convert_stats stats = {.struct_size = sizeof stats, .n_saturated = 777};
    lathe_status status =
        lathe_stream_convert(engines[engine], &c->from, target, &source, &sink, options, &stats);
    CHECK(!atomic_load(&from.misused), "%s: the source is misused", describe(c, target, engine));
    if (source_in_order && status == LATHE_NOT_SUPPORTED) {
        CHECK(strstr(lathe_last_error()->message, "read twice") != NULL, "%s",
              lathe_last_error()->message);
        CHECK(atomic_load(&from.n_calls) == 0, "it was started");
    } else {
        check_result(c, target, engine, e, status, &to, &stats);
    }
    forget(&to);
}

/* With tensors at one end or both, which the CPU reads and writes where they lie. */
static inline void pull_tensors(const convert_case *c, const lathe_target *target, size_t engine,
                                const lathe_stream_options *options, bool from_tensor,
                                bool to_tensor, const expected *e) {
    watched from = watch_source(c, false);
    watched to = watch_sink(target, c, false);
    lathe_tensor_desc desc;
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &desc));
    CHECK_OK(lathe_tensor_wrap(pool, &desc, to.out, to.out_scales, 0, NULL, NULL, &result));
    const lathe_source tensor_source = {
        .struct_size = sizeof tensor_source, .kind = LATHE_END_TENSOR, .tensor = c->tensor};
    const lathe_sink tensor_sink = {
        .struct_size = sizeof tensor_sink, .kind = LATHE_END_TENSOR, .tensor = result};
    const lathe_source source = from_tensor ? tensor_source : source_of(&from);
    const lathe_sink sink = to_tensor ? tensor_sink : sink_of(&to);
    lathe_convert_stats stats = {.struct_size = sizeof stats, .n_saturated = 777};
    lathe_status status =
        lathe_stream_convert(engines[engine], &c->from, target, &source, &sink, options, &stats);
    if (to_tensor) { /* nobody has watched */
        to.done = to.n_bytes;
        CHECK(to.out[to.n_bytes] == CANARY, "%s: past the end", describe(c, target, engine));
    }
    check_result(c, target, engine, e, status, &to, &stats);
    lathe_tensor_release(result);
    forget(&to);
}

static inline lathe_status feed_round(lathe_stream *stream, const convert_case *c, test_rng *rng) {
    uint64_t n = c->layout.n_bytes;
    lathe_status status = LATHE_OK;
    for (uint64_t at = 0; at < n && status == LATHE_OK;) {
        uint64_t piece = test_random_below(rng, 4) == 0 ? 1 + test_random_below(rng, 7)
                                                        : 1 + test_random_below(rng, n / 3 + 5);
        piece = piece < n - at ? piece : n - at;
        CHECK(lathe_stream_missing_bytes(stream) == n - at, "missing");
        status = lathe_stream_feed(stream, c->bytes + at, (size_t)piece);
        at += piece;
    }
    return status;
}

static inline lathe_status feed_all(lathe_stream *stream, const convert_case *c, test_rng *rng) {
    uint64_t n_scales = c->layout.n_scales;
    uint64_t half = n_scales / 2;
    lathe_status status = lathe_stream_feed_scales(stream, c->scales, (size_t)half);
    if (status == LATHE_OK) {
        status = lathe_stream_feed_scales(stream, c->scales + half, (size_t)(n_scales - half));
    }
    if (status == LATHE_OK) {
        status = feed_round(stream, c, rng);
    }
    if (status == LATHE_OK && lathe_stream_n_rounds(stream) == 2) {
        status = lathe_stream_rewind(stream);
        if (status == LATHE_OK) {
            status = feed_round(stream, c, rng);
        }
    }
    return status;
}

/* To a tensor, or else to a callback. */
static inline void push_to(const convert_case *c, const lathe_target *target, size_t engine,
                           const lathe_stream_options *options, bool to_tensor, bool sink_in_order,
                           const expected *e, test_rng *rng) {
    watched to = watch_sink(target, c, sink_in_order);
    lathe_tensor_desc desc;
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &desc));
    CHECK_OK(lathe_tensor_wrap(pool, &desc, to.out, to.out_scales, 0, NULL, NULL, &result));
    const lathe_sink tensor_sink = {
        .struct_size = sizeof tensor_sink, .kind = LATHE_END_TENSOR, .tensor = result};
    const lathe_sink sink = to_tensor ? tensor_sink : sink_of(&to);
    lathe_convert_stats stats = {.struct_size = sizeof stats, .n_saturated = 777};
    lathe_stream *stream = NULL;
    lathe_status status =
        lathe_stream_begin(engines[engine], &c->from, target, &sink, options, &stream);
    if (status == LATHE_NOT_SUPPORTED && target->quality == LATHE_PRECISE) {
        CHECK(strstr(lathe_last_error()->message, "more than twice") != NULL, "%s",
              lathe_last_error()->message);
        lathe_tensor_release(result);
        forget(&to);
        return;
    }
    CHECK_OK(status);
    status = feed_all(stream, c, rng);
    if (status == LATHE_OK) {
        status = lathe_stream_finish(stream, &stats);
    } else { /* and it stays so */
        CHECK_STATUS(lathe_stream_feed(stream, c->bytes, 1), status);
        CHECK_STATUS(lathe_stream_finish(stream, NULL), status);
    }
    if (to_tensor) { /* nobody has watched */
        to.done = to.n_bytes;
        CHECK(to.out[to.n_bytes] == CANARY, "%s: past the end", describe(c, target, engine));
    }
    check_result(c, target, engine, e, status, &to, &stats);
    lathe_stream_free(stream);
    lathe_tensor_release(result);
    forget(&to);
}

static inline void push(const convert_case *c, const lathe_target *target, size_t engine,
                        const lathe_stream_options *options, bool sink_in_order, const expected *e,
                        test_rng *rng) {
    push_to(c, target, engine, options, false, sink_in_order, e, rng);
}

static const uint64_t chunk_sizes[] = {0, 64 * KIB, 100 * KIB, 256 * KIB, 3 * MIB};
enum { N_CHUNK_SIZES = sizeof chunk_sizes / sizeof chunk_sizes[0] };

static inline lathe_stream_options random_options(test_rng *rng) {
    return (lathe_stream_options){
        .struct_size = sizeof(lathe_stream_options),
        .streaming = {.chunk_bytes = chunk_sizes[test_random_below(rng, N_CHUNK_SIZES)],
                      .parallel_chunks = (uint32_t)test_random_below(rng, 4),
                      .prefetch_chunks = (uint32_t)test_random_below(rng, 3),
                      .buffer_bytes = test_random_below(rng, 3) * 3 * MIB}};
}

/* Both forms on some engine, with whatever options. */
static inline void check_streams(const convert_case *c, const lathe_target *target, test_rng *rng) {
    static size_t turn;
    expected e = convert_case_with(c, target);
    size_t engine = turn++ % n_engines;
    lathe_stream_options options = random_options(rng);
    pull(c, target, engine, &options, test_random_below(rng, 2) == 0,
         test_random_below(rng, 2) == 0, &e);
    options = random_options(rng);
    bool from_tensor = test_random_below(rng, 2) == 0;
    pull_tensors(c, target, engine, &options, from_tensor,
                 !from_tensor || test_random_below(rng, 2) == 0, &e);
    options = random_options(rng);
    push(c, target, engine, &options, test_random_below(rng, 2) == 0, &e, rng);
    options = random_options(rng);
    options.streaming.prefetch_chunks = (uint32_t)test_random_below(rng, 2);
    push_to(c, target, engine, &options, true, false, &e, rng);
    lathe_tensor_release(e.tensor);
}
static inline convert_case normal_case(lathe_dtype dtype, const shape_option *shape, size_t layout,
                                       uint64_t seed) {
    test_rng rng = {seed};
    lathe_tensor_desc desc = desc_of(dtype, shape, &layout_options[layout], 0);
    convert_case c = case_new(&desc, 1);
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    return c;
}

#endif
