/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): streaming through memory sources and sinks that watch what
 * is read and written. The bytes must be those of lathe_convert, whatever the memory and the
 * threads. */
#include "check.h"
#include "core/error.h"
#include "engine/stream/slots.h"
#include "engine/stream/streaming.h"
#include "lathe_constants.h"
#include "oracle.h"
#include "support.h"
#include <pthread.h>
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

static bool fails(atomic_uint_fast64_t *n_calls, uint64_t fail_at) {
    return atomic_fetch_add(n_calls, 1) == fail_at;
}

static lathe_status source_read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
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

static lathe_status source_read_scales(void *ctx, uint64_t first, float *scales, size_t n_scales) {
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

static lathe_status sink_write(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
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

static lathe_status sink_write_scales(void *ctx, uint64_t first, const float *scales,
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

static memory_sink sink_new(uint64_t n_bytes, uint64_t n_scales) {
    memory_sink sink = {.n_bytes = n_bytes, .n_scales = n_scales, .fail_at = UINT64_MAX};
    sink.bytes = calloc((size_t)n_bytes + 1, 1);
    sink.byte_count = calloc((size_t)n_bytes + 1, 1);
    sink.scales = calloc((size_t)n_scales + 1, sizeof(float));
    sink.scale_count = calloc((size_t)n_scales + 1, 1);
    CHECK(sink.bytes && sink.byte_count && sink.scales && sink.scale_count, "memory");
    return sink;
}

static void sink_free(memory_sink *sink) {
    free(sink->bytes);
    free(sink->byte_count);
    free(sink->scales);
    free(sink->scale_count);
}

static bool all_once(const uint8_t *counts, uint64_t n) {
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

static int watch(void *ctx, uint64_t n_bytes) {
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

static void setup(void) {
    static const uint32_t n_threads[] = {1, 2, 3, 7};
    for (n_engines = 0; n_engines < 4; n_engines++) {
        lathe_config config = {.struct_size = sizeof config, .n_threads = n_threads[n_engines]};
        CHECK_OK(lathe_engine_create(&config, &engines[n_engines]));
    }
    test_executor_init(&executor, 4);
    lathe_config config = {.struct_size = sizeof config, .executor = &executor.interface};
    CHECK_OK(lathe_engine_create(&config, &engines[n_engines++]));
}

static void teardown(void) {
    for (size_t i = 0; i < n_engines; i++) {
        lathe_engine_free(engines[i]);
    }
}

TestSuite(stream, .init = setup, .fini = teardown);

static lathe_pool_stats stats_of(lathe_engine *engine) {
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

static stream_case case_new(lathe_dtype dtype, uint32_t n_dims, const uint64_t *shape,
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

static void case_free(stream_case *c) {
    free(c->bytes);
    free(c->scales);
}

static memory_source source_of(const stream_case *c) {
    return (memory_source){.bytes = c->bytes,
                           .n_bytes = c->layout.n_bytes,
                           .scales = c->scales,
                           .n_scales = c->layout.n_scales,
                           .fail_at = UINT64_MAX};
}

static lathe_status stream(lt_streamer *streamer, const stream_case *c, const lathe_target *target,
                           memory_source *source, memory_sink *sink, watcher *w,
                           lathe_convert_stats *stats) {
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

static direct_result direct_of(const stream_case *c, const lathe_target *target) {
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

static const char *describe(const stream_case *c, const lathe_target *t) {
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

static void check_streamed(lt_streamer *streamer, const stream_case *c, const lathe_target *target,
                           const direct_result *direct) {
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
static void check_case(const stream_case *c, const lathe_target *target, size_t n_tries) {
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

static lathe_target target_of(lathe_dtype dtype, const granularity_option *option) {
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = dtype,
                          .granularity = option->granularity,
                          .group_size = option->group_size};
}

static void check_pairs(uint32_t n_dims, const uint64_t *shape, size_t n_targets, uint64_t seed) {
    test_rng rng = {seed};
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        const granularity_option *held = &options[test_random_below(&rng, N_OPTIONS)];
        stream_case c =
            case_new((lathe_dtype)from, n_dims, shape, held->granularity, held->group_size);
        test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
        for (size_t i = 0; i < n_targets; i++) {
            lathe_dtype to = (lathe_dtype)(1 + test_random_below(&rng, 8));
            lathe_target target = target_of(to, &options[test_random_below(&rng, N_OPTIONS)]);
            target.quality = test_random_below(&rng, 3) == 0 ? LATHE_FAST : LATHE_BALANCED;
            target.strict = test_random_below(&rng, 8) == 0;
            if (n_dims > 1) {
                target.row_dims = (uint32_t)test_random_below(&rng, n_dims + 1);
            }
            check_case(&c, &target, 2);
        }
        case_free(&c);
    }
}

Test(stream, small_tensors) {
    static const uint64_t shapes[][3] = {{1, 1, 1},  {0, 3, 4},  {3, 0, 4},  {3, 4, 0},
                                         {2, 3, 33}, {1, 7, 97}, {40, 1, 3}, {3, 5, 1001}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (uint32_t n_dims = 0; n_dims <= 3; n_dims++) {
            check_pairs(n_dims, shapes[i], 12, i + 1);
        }
    }
}

Test(stream, tensors_of_many_chunks) {
    static const uint64_t shapes[][2] = {
        {1, 1000003}, {1000003, 1}, {3, 400001},  {2, 1 << 20},
        {1000, 1777}, {7, 171072},  {129, 20480},
    };
    enum { N = sizeof shapes / sizeof shapes[0] };
    for (size_t i = 0; i < (TEST_SANITIZED ? 3 : N); i++) {
        check_pairs(2, shapes[i], TEST_SANITIZED ? 2 : 5, 100 + i);
    }
}

/* Every memory size on every engine, for the pairs that checkpoints are converted with. */
Test(stream, any_memory_and_threads) {
    static const uint64_t shape[] = {37, 12345};
    static const lathe_dtype to[] = {LATHE_F16, LATHE_I8, LATHE_BITNET158, LATHE_I4};
    test_rng rng = {7};
    stream_case c = case_new(LATHE_F32, 2, shape, LATHE_PER_TENSOR, 0);
    test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
    for (size_t t = 0; t < 4; t++) {
        for (size_t o = 0; o < 3; o++) {
            lathe_target target = target_of(to[t], &options[o]);
            direct_result direct = direct_of(&c, &target);
            for (size_t e = 0; e < n_engines; e++) {
                for (size_t m = 0; m < N_MEMORIES; m += TEST_SANITIZED ? 3 : 1) {
                    lt_streamer *streamer = NULL;
                    CHECK_OK(lt_streamer_create(engines[e], memories[m], &streamer));
                    check_streamed(streamer, &c, &target, &direct);
                    lt_streamer_free(streamer);
                }
            }
            lathe_tensor_release(direct.tensor);
        }
    }
    case_free(&c);
}

/* ---- memory */

Test(stream, stays_within_its_memory) {
    static const uint64_t shapes[][2] = {{1, 3000000}, {3000, 1001}, {2, 1500000}};
    test_rng rng = {8};
    for (size_t s = 0; s < 3; s++) {
        for (int from = LATHE_F32; from <= LATHE_BITNET158; from += 3) {
            for (size_t m = 0; m < N_MEMORIES; m++) {
                stream_case c = case_new((lathe_dtype)from, 2, shapes[s], LATHE_PER_ROW, 0);
                test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
                lathe_target target =
                    target_of(m % 2 == 0 ? LATHE_BITNET158 : LATHE_I8, &options[(s + m) % 3]);
                lathe_tensor_desc to;
                uint64_t n_bytes = 0;
                uint64_t n_scales = 0;
                CHECK_OK(lathe_target_desc(&target, 2, shapes[s], &to));
                CHECK_OK(lathe_tensor_desc_sizes(&to, NULL, &n_bytes, &n_scales));
                lathe_config config = {.struct_size = sizeof config, .n_threads = 1 + (uint32_t)m};
                lathe_engine *engine = NULL;
                lt_streamer *streamer = NULL;
                CHECK_OK(lathe_engine_create(&config, &engine));
                uint64_t before = stats_of(engine).in_use_bytes;
                CHECK_OK(lt_streamer_create(engine, memories[m], &streamer));
                memory_source source = source_of(&c);
                memory_sink sink = sink_new(n_bytes, n_scales);
                CHECK_OK(stream(streamer, &c, &target, &source, &sink, NULL, NULL));
                uint64_t peak = stats_of(engine).peak_bytes;
                CHECK(peak - before <= memories[m], "%s within %d: %d bytes", describe(&c, &target),
                      (int)memories[m], (int)(peak - before));
                lt_streamer_free(streamer);
                CHECK(stats_of(engine).in_use_bytes == before, "blocks left");
                lathe_engine_free(engine);
                sink_free(&sink);
                case_free(&c);
            }
        }
    }
}

Test(stream, too_little_memory) {
    lt_streamer *streamer = NULL;
    CHECK_STATUS(lt_streamer_create(engines[1], 0, &streamer), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lt_streamer_create(engines[1], MIB - 1, &streamer), LATHE_INVALID_ARGUMENT);
    lathe_config config = {
        .struct_size = sizeof config, .n_threads = 2, .memory_budget_bytes = MIB};
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    uint64_t before = stats_of(engine).in_use_bytes;
    CHECK_STATUS(lt_streamer_create(engine, 8 * MIB, &streamer), LATHE_INSUFFICIENT_MEMORY);
    CHECK(streamer == NULL, "the output was touched");
    CHECK(stats_of(engine).in_use_bytes == before, "blocks left");
    lathe_engine_free(engine);
    lt_streamer_free(NULL);
}

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

/* ---- what is fed */

/* Chunks end where pieces of a power of two do, where bytes and scales let them. */
Test(stream, chunks_of_fed_streams) {
    const uint64_t shape[] = {1000003};
    const lt_stream_sides in_memory = {.has_sink = true};
    const lathe_target target = {.struct_size = sizeof target};
    const uint64_t ideal = UINT64_C(128) << 10;
    lt_backend backend = {.cache_bytes = UINT64_MAX};
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            const lathe_tensor_desc descs[] = {
                {.struct_size = sizeof descs[0],
                 .dtype = (lathe_dtype)from,
                 .n_dims = 1,
                 .shape = shape},
                {.struct_size = sizeof descs[0],
                 .dtype = (lathe_dtype)to,
                 .n_dims = 1,
                 .shape = shape},
            };
            lt_layout layouts[2];
            lt_ranges chunks;
            CHECK_OK(lt_layout_of(&descs[0], &layouts[0]));
            CHECK_OK(lt_layout_of(&descs[1], &layouts[1]));
            const lt_plan plan = lt_plan_make(&backend, &layouts[0], &layouts[1], &target, 0);
            CHECK(lt_chunks_cut(&plan, in_memory, UINT64_MAX, ideal, true, &chunks), "fits");
            const bool in_fives = from == LATHE_BITNET158 || to == LATHE_BITNET158;
            const uint64_t cols = chunks.cols_per_range;
            CHECK(cols % LATHE_STAT_TILE == 0, "%d elements", (int)cols);
            CHECK(in_fives ? cols % 5 == 0 : (cols & (cols - 1)) == 0, "%s to %s: %d elements",
                  lathe_dtype_name((lathe_dtype)from), lathe_dtype_name((lathe_dtype)to),
                  (int)cols);
            CHECK(chunks.n_ranges == (shape[0] + cols - 1) / cols, "as many as it takes");
        }
    }
}

/* ---- copies */

static lathe_status copy(lt_streamer *streamer, memory_source *source, memory_sink *sink,
                         watcher *w) {
    lt_source from = {.ctx = source, .read = source_read, .read_scales = source_read_scales};
    lt_sink to = {.ctx = sink, .write = sink_write, .write_scales = sink_write_scales};
    lt_progress progress = {.ctx = w, .advance = watch};
    return lt_streamer_copy(streamer, source->n_bytes, &from, &to, w == NULL ? NULL : &progress);
}

Test(stream, copies) {
    static const uint64_t sizes[] = {0, 1, 63, 4097, 786432, 786433, 5000001};
    test_rng rng = {13};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = malloc((size_t)sizes[i] + 1);
        CHECK(bytes != NULL, "memory");
        test_random_bytes(&rng, bytes, (size_t)sizes[i]);
        for (size_t e = 0; e < n_engines; e++) {
            lt_streamer *streamer = NULL;
            CHECK_OK(lt_streamer_create(engines[e], memories[(i + e) % N_MEMORIES], &streamer));
            memory_source source = {.bytes = bytes, .n_bytes = sizes[i], .fail_at = UINT64_MAX};
            memory_sink sink = sink_new(sizes[i], 0);
            watcher w = {.cancel_at = UINT64_MAX};
            CHECK_OK(copy(streamer, &source, &sink, &w));
            CHECK(all_once(sink.byte_count, sizes[i]), "not every byte once");
            CHECK(memcmp(sink.bytes, bytes, (size_t)sizes[i]) == 0, "bytes");
            CHECK(w.n_bytes == sizes[i] && !w.misused, "progress");
            if (sizes[i] > 0) {
                atomic_store(&source.n_calls, 0);
                source.fail_at = 0;
                CHECK_STATUS(copy(streamer, &source, &sink, NULL), LATHE_IO);
                source.fail_at = UINT64_MAX;
                atomic_store(&sink.n_calls, 0);
                sink.fail_at = 0;
                CHECK_STATUS(copy(streamer, &source, &sink, NULL), LATHE_IO);
                sink.fail_at = UINT64_MAX;
                w = (watcher){.cancel_at = 0};
                CHECK_STATUS(copy(streamer, &source, &sink, &w), LATHE_CANCELLED);
            }
            sink_free(&sink);
            lt_streamer_free(streamer);
        }
        free(bytes);
    }
}
