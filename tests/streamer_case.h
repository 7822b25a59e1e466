/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the streamer share: sources and sinks in memory that watch what is read and
 * written, engines, and one tensor through one streamer, whose result must be lathe_convert's.
 * INTERNAL: includes headers of src/. */
#ifndef TESTS_STREAMER_CASE_H
#define TESTS_STREAMER_CASE_H

#include "check.h"
#include "core/error.h"
#include "engine/stream/slots.h"
#include "engine/stream/streaming.h"
#include "oracle.h"
#include "support.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* ---- the ends of the stream */

typedef struct memory_source {
    const uint8_t *bytes;
    uint64_t n_bytes;
    const float *scales;
    uint64_t n_scales;
    atomic_uint_fast64_t n_calls;
    atomic_uint_fast64_t n_bytes_read;
    uint64_t fail_at; /* this call fails, counted from 0 over both functions */
    atomic_bool misused;
} memory_source;

static inline bool fails(atomic_uint_fast64_t *n_calls, uint64_t fail_at) {
    return atomic_fetch_add(n_calls, 1) == fail_at;
}

static inline lathe_status source_read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    memory_source *self = ctx;
    if (offset > self->n_bytes || n_bytes > self->n_bytes - offset) {
        atomic_store(&self->misused, true);
        return lt_fail(LATHE_IO, "read past the end");
    }
    if (fails(&self->n_calls, self->fail_at)) {
        return lt_fail(LATHE_IO, "the disk is on fire");
    }
    (void)atomic_fetch_add(&self->n_bytes_read, n_bytes);
    if (n_bytes > 0) {
        memcpy(buffer, self->bytes + offset, n_bytes);
    }
    return LATHE_OK;
}

static inline lathe_status source_read_scales(void *ctx, uint64_t first, float *scales,
                                              size_t n_scales) {
    memory_source *self = ctx;
    if (first > self->n_scales || n_scales > self->n_scales - first) {
        atomic_store(&self->misused, true);
        return lt_fail(LATHE_IO, "read past the end");
    }
    if (fails(&self->n_calls, self->fail_at)) {
        return lt_fail(LATHE_IO, "the disk is on fire");
    }
    if (n_scales > 0) {
        memcpy(scales, self->scales + first, n_scales * sizeof *scales);
    }
    return LATHE_OK;
}

typedef struct memory_sink {
    uint8_t *bytes;
    uint8_t *byte_count; /* how often each byte was written */
    uint64_t n_bytes;
    float *scales;
    uint8_t *scale_count;
    uint64_t n_scales;
    atomic_uint_fast64_t n_calls;
    uint64_t fail_at;
    atomic_bool misused;
} memory_sink;

static inline lathe_status sink_write(void *ctx, uint64_t offset, const void *bytes,
                                      size_t n_bytes) {
    memory_sink *self = ctx;
    if (offset > self->n_bytes || n_bytes > self->n_bytes - offset) {
        atomic_store(&self->misused, true);
        return lt_fail(LATHE_IO, "write past the end");
    }
    if (fails(&self->n_calls, self->fail_at)) {
        return lt_fail(LATHE_IO, "the disk is full");
    }
    for (size_t i = 0; i < n_bytes; i++) {
        self->byte_count[offset + i]++;
    }
    if (n_bytes > 0) {
        memcpy(self->bytes + offset, bytes, n_bytes);
    }
    return LATHE_OK;
}

static inline lathe_status sink_write_scales(void *ctx, uint64_t first, const float *scales,
                                             size_t n_scales) {
    memory_sink *self = ctx;
    if (first > self->n_scales || n_scales > self->n_scales - first) {
        atomic_store(&self->misused, true);
        return lt_fail(LATHE_IO, "write past the end");
    }
    if (fails(&self->n_calls, self->fail_at)) {
        return lt_fail(LATHE_IO, "the disk is full");
    }
    for (size_t i = 0; i < n_scales; i++) {
        self->scale_count[first + i]++;
    }
    if (n_scales > 0) {
        memcpy(self->scales + first, scales, n_scales * sizeof *scales);
    }
    return LATHE_OK;
}

static inline memory_sink sink_new(uint64_t n_bytes, uint64_t n_scales) {
    memory_sink sink = {.n_bytes = n_bytes, .n_scales = n_scales, .fail_at = UINT64_MAX};
    sink.bytes = calloc((size_t)n_bytes + 1, 1);
    sink.byte_count = calloc((size_t)n_bytes + 1, 1);
    sink.scales = calloc((size_t)n_scales + 1, sizeof(float));
    sink.scale_count = calloc((size_t)n_scales + 1, 1);
    CHECK(sink.bytes && sink.byte_count && sink.scales && sink.scale_count, "memory");
    return sink;
}

static inline void sink_free(memory_sink *sink) {
    free(sink->bytes);
    free(sink->byte_count);
    free(sink->scales);
    free(sink->scale_count);
}

static inline bool all_once(const uint8_t *counts, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        if (counts[i] != 1) {
            return false;
        }
    }
    return true;
}

typedef struct watcher {
    uint64_t n_bytes;
    uint64_t n_calls;
    uint64_t cancel_at; /* this call cancels */
    atomic_bool inside;
    bool misused;
} watcher;

static inline int watch(void *ctx, uint64_t n_bytes) {
    watcher *self = ctx;
    if (atomic_exchange(&self->inside, true)) {
        self->misused = true; /* two threads at a time */
    }
    self->n_bytes += n_bytes;
    int answer = self->n_calls++ >= self->cancel_at;
    atomic_store(&self->inside, false);
    return answer;
}

/* ---- engines and streamers */

enum { MAX_ENGINES = 5 };
static lathe_engine *engines[MAX_ENGINES];
static size_t n_engines;
static test_executor executor;

static inline void setup(void) {
    static const uint32_t n_threads[] = {1, 2, 3, 7};
    for (n_engines = 0; n_engines < 4; n_engines++) {
        lathe_config config = {.struct_size = sizeof config, .n_threads = n_threads[n_engines]};
        CHECK_OK(lathe_engine_create(&config, &engines[n_engines]));
    }
    test_executor_init(&executor, 4);
    lathe_config config = {.struct_size = sizeof config, .executor = &executor.interface};
    CHECK_OK(lathe_engine_create(&config, &engines[n_engines++]));
}

static inline void teardown(void) {
    for (size_t i = 0; i < n_engines; i++) {
        lathe_engine_free(engines[i]);
    }
}

TestSuite(stream, .init = setup, .fini = teardown);

static inline lathe_pool_stats stats_of(lathe_engine *engine) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    return stats;
}

/* ---- one tensor through one streamer */

typedef struct stream_case {
    lathe_tensor_desc from;
    oracle_layout layout;
    uint8_t *bytes;
    float *scales;
} stream_case;

static inline stream_case case_new(lathe_dtype dtype, uint32_t n_dims, const uint64_t *shape,
                                   lathe_granularity granularity, uint64_t group_size) {
    bool quantized = lathe_dtype_is_quantized(dtype);
    stream_case c = {.from = {.struct_size = sizeof c.from,
                              .dtype = dtype,
                              .n_dims = n_dims,
                              .shape = shape,
                              .granularity = quantized ? granularity : LATHE_PER_TENSOR,
                              .group_size = quantized ? group_size : 0}};
    CHECK(oracle_layout_of(&c.from, &c.layout), "description");
    c.bytes = malloc((size_t)c.layout.n_bytes + 1);
    c.scales = malloc((size_t)c.layout.n_scales * sizeof(float) + 1);
    CHECK(c.bytes != NULL && c.scales != NULL, "memory");
    return c;
}

static inline void case_free(stream_case *c) {
    free(c->bytes);
    free(c->scales);
}

static inline memory_source source_of(const stream_case *c) {
    return (memory_source){.bytes = c->bytes,
                           .n_bytes = c->layout.n_bytes,
                           .scales = c->scales,
                           .n_scales = c->layout.n_scales,
                           .fail_at = UINT64_MAX};
}

static inline lathe_status stream(lt_streamer *streamer, const stream_case *c,
                                  const lathe_target *target, memory_source *source,
                                  memory_sink *sink, watcher *w, lathe_convert_stats *stats) {
    lt_source from = {.ctx = source, .read = source_read, .read_scales = source_read_scales};
    lt_sink to = {.ctx = sink, .write = sink_write, .write_scales = sink_write_scales};
    lt_progress progress = {.ctx = w, .advance = watch};
    return lt_streamer_convert(streamer, &c->from, target, &from, &to, w == NULL ? NULL : &progress,
                               stats);
}

/* What the direct conversion gives: itself tested against the oracle elsewhere. */
typedef struct direct_result {
    lathe_status status;
    uint64_t element;
    uint64_t n_saturated;
    lathe_tensor *tensor;
} direct_result;

static inline direct_result direct_of(const stream_case *c, const lathe_target *target) {
    direct_result direct = {.element = LATHE_NO_ELEMENT};
    lathe_tensor *source = NULL;
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_tensor_wrap(lathe_engine_pool(engines[0]), &c->from, c->bytes, c->scales, 0,
                               NULL, NULL, &source));
    direct.status = lathe_convert(engines[0], source, target, &direct.tensor, &stats);
    if (direct.status != LATHE_OK) {
        direct.element = lathe_last_error()->element;
    }
    direct.n_saturated = stats.n_saturated;
    lathe_tensor_release(source);
    return direct;
}

static inline const char *describe(const stream_case *c, const lathe_target *t) {
    static char text[256]; /* not test_text's, which CHECK uses */
    (void)snprintf(
        text, sizeof text,
        "%s [%d rows of %d, granularity %d:%d] to %s granularity %d:%d row_dims %u quality "
        "%d strict %u",
        lathe_dtype_name(c->from.dtype), (int)c->layout.n_rows, (int)c->layout.row_elems,
        (int)c->from.granularity, (int)c->from.group_size, lathe_dtype_name(t->dtype),
        (int)t->granularity, (int)t->group_size, t->row_dims, (int)t->quality, t->strict);
    return text;
}

static inline void check_streamed(lt_streamer *streamer, const stream_case *c,
                                  const lathe_target *target, const direct_result *direct) {
    lathe_tensor_desc to;
    uint64_t n_bytes = 0;
    uint64_t n_scales = 0;
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &to));
    CHECK_OK(lathe_tensor_desc_sizes(&to, NULL, &n_bytes, &n_scales));
    memory_source source = source_of(c);
    memory_sink sink = sink_new(n_bytes, n_scales);
    watcher w = {.cancel_at = UINT64_MAX};
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    lathe_status status = stream(streamer, c, target, &source, &sink, &w, &stats);
    CHECK(!atomic_load(&source.misused) && !atomic_load(&sink.misused) && !w.misused, "%s: misuse",
          describe(c, target));
    CHECK(status == direct->status, "%s: %s (%s), not %s", describe(c, target),
          lathe_status_name(status), lathe_last_error()->message,
          lathe_status_name(direct->status));
    if (status != LATHE_OK) {
        CHECK(lathe_last_error()->status == status &&
                  lathe_last_error()->element == direct->element,
              "%s: %s at %lld, not %lld", describe(c, target), lathe_status_name(status),
              (long long)lathe_last_error()->element, (long long)direct->element);
    } else {
        const void *data = lathe_tensor_data(direct->tensor);
        const float *scales = lathe_tensor_scales(direct->tensor);
        CHECK(all_once(sink.byte_count, n_bytes), "%s: not every byte once", describe(c, target));
        CHECK(all_once(sink.scale_count, n_scales), "%s: not every scale once",
              describe(c, target));
        CHECK(n_bytes == 0 || memcmp(sink.bytes, data, (size_t)n_bytes) == 0, "%s: bytes",
              describe(c, target));
        CHECK(n_scales == 0 || memcmp(sink.scales, scales, (size_t)n_scales * 4) == 0, "%s: scales",
              describe(c, target));
        CHECK(stats.n_saturated == direct->n_saturated, "%s: saturated", describe(c, target));
        uint64_t announced = lt_streamer_read_bytes(streamer, &c->from, target);
        CHECK(w.n_bytes == atomic_load(&source.n_bytes_read), "%s: progress of %d, %d read",
              describe(c, target), (int)w.n_bytes, (int)atomic_load(&source.n_bytes_read));
        CHECK(w.n_bytes <= announced + announced / 8 + 16384 &&
                  w.n_bytes + announced / 8 + 16384 >= announced,
              "%s: %d bytes announced, %d read", describe(c, target), (int)announced,
              (int)w.n_bytes);
    }
    sink_free(&sink);
}

static const uint64_t memories[] = {MIB, MIB + 12345, 2 * MIB, 3 * MIB, 8 * MIB, 64 * MIB};
enum { N_MEMORIES = sizeof memories / sizeof memories[0] };

/* Through streamers of some sizes on some engines; which ones changes from call to call. */
static inline void check_case(const stream_case *c, const lathe_target *target, size_t n_tries) {
    static size_t turn;
    direct_result direct = direct_of(c, target);
    for (size_t i = 0; i < n_tries; i++, turn++) {
        lt_streamer *streamer = NULL;
        CHECK_OK(
            lt_streamer_create(engines[turn % n_engines], memories[turn % N_MEMORIES], &streamer));
        check_streamed(streamer, c, target, &direct);
        lt_streamer_free(streamer);
    }
    lathe_tensor_release(direct.tensor);
}

typedef struct granularity_option {
    lathe_granularity granularity;
    uint64_t group_size;
} granularity_option;

static const granularity_option options[] = {
    {LATHE_PER_TENSOR, 0}, {LATHE_PER_ROW, 0},        {LATHE_PER_GROUP, 32},
    {LATHE_PER_GROUP, 96}, {LATHE_PER_GROUP, 131072}, {LATHE_PER_GROUP, 1 << 30},
};
enum { N_OPTIONS = sizeof options / sizeof options[0] };

static inline lathe_target target_of(lathe_dtype dtype, const granularity_option *option) {
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = dtype,
                          .granularity = option->granularity,
                          .group_size = option->group_size};
}

#endif
