/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): a plain program for the thread sanitizer. Four threads
 * stream tensors on one engine, through streamers of their own, the public functions and streams
 * that they feed, read ahead and in order or not, some with faults in the data, failing sinks or
 * cancellation; one pool has a budget, and tells about pressure. Prints what went wrong; exits 0 if
 * nothing did. */
#include "core/error.h"
#include "engine/stream/streaming.h"
#include "stress_case.h"

enum { N_CALLERS = 4, ROUNDS = 6, ROWS = 90, COLS = 10007, N_ELEMS = ROWS * COLS };

static lathe_engine *engine;

/* What one caller streams, and into what. */
typedef struct caller {
    uint64_t seed;
    const uint8_t *bytes; /* F32, shared by all callers */
    uint8_t *out;
    float *scales;
    bool sink_fails;
    bool cancels;
    uint64_t n_done;
} caller;

static lathe_status read_bytes(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    memcpy(buffer, ((caller *)ctx)->bytes + offset, n_bytes);
    return LATHE_OK;
}

static lathe_status read_no_scales(void *ctx, uint64_t first, float *scales, size_t n_scales) {
    (void)ctx;
    (void)first;
    (void)scales;
    return n_scales == 0 ? LATHE_OK : lt_fail(LATHE_IO, "F32 has no scales");
}

static lathe_status write_bytes(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    caller *self = ctx;
    if (self->sink_fails && offset > 100000) {
        return lt_fail(LATHE_IO, "the disk is full");
    }
    memcpy(self->out + offset, bytes, n_bytes);
    return LATHE_OK;
}

static lathe_status write_scales(void *ctx, uint64_t first, const float *scales, size_t n_scales) {
    memcpy(((caller *)ctx)->scales + first, scales, n_scales * sizeof *scales);
    return LATHE_OK;
}

/* Not atomic: the streamer promises one call at a time. */
static int advance(void *ctx, uint64_t n_bytes) {
    caller *self = ctx;
    self->n_done += n_bytes;
    return self->cancels && self->n_done > 1000000;
}

static bool equals_direct(const caller *self, const lathe_tensor_desc *desc,
                          const lathe_target *target) {
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    lathe_pool *pool = lathe_engine_pool(engine);
    bool equal = lathe_tensor_wrap(pool, desc, (void *)(uintptr_t)self->bytes, NULL,
                                   LATHE_WRAP_READ_ONLY, NULL, NULL, &source) == LATHE_OK &&
                 lathe_convert(engine, source, target, &result, NULL) == LATHE_OK;
    if (equal) {
        size_t n_bytes = (size_t)lathe_tensor_n_bytes(result);
        size_t n_scales = (size_t)lathe_tensor_n_scales(result);
        equal = memcmp(self->out, lathe_tensor_data(result), n_bytes) == 0 &&
                (n_scales == 0 ||
                 memcmp(self->scales, lathe_tensor_scales(result), n_scales * sizeof(float)) == 0);
    }
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    return equal;
}

static void stream_one(caller *self, lt_streamer *streamer, test_rng *rng) {
    static const uint64_t shape[] = {ROWS, COLS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    lathe_target target = {.struct_size = sizeof target,
                           .dtype = (lathe_dtype)(LATHE_F16 + test_random_below(rng, 7)),
                           .granularity = (lathe_granularity)test_random_below(rng, 2),
                           .quality = (lathe_quality)test_random_below(rng, 2)};
    uint64_t kind = test_random_below(rng, 4);
    self->sink_fails = kind == 1;
    self->cancels = kind == 2;
    self->n_done = 0;
    lt_source source = {.ctx = self, .read = read_bytes, .read_scales = read_no_scales};
    lt_sink sink = {.ctx = self, .write = write_bytes, .write_scales = write_scales};
    lt_progress progress = {.ctx = self, .advance = advance};
    lathe_status status =
        lt_streamer_convert(streamer, &desc, &target, &source, &sink, &progress, NULL);
    if (kind == 2 && status != LATHE_CANCELLED) {
        fail("a cancelled stream went on");
    }
    if (kind == 1 && status != LATHE_IO && self->sink_fails &&
        lathe_dtype_is_quantized(target.dtype) == false) {
        fail("a failing sink was not noticed");
    }
    if (kind == 0 || kind == 3) {
        if (status != LATHE_OK) {
            fail("a stream failed");
        } else if (!equals_direct(self, &desc, &target)) {
            fail("a stream gives other bytes than a direct conversion");
        }
    }
}

/* ---- the public forms */

static lathe_status public_write(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    return write_bytes(ctx, offset, bytes, n_bytes);
}

static int public_progress(void *ctx, uint64_t done, uint64_t total) {
    caller *self = ctx;
    (void)total;
    self->n_done = done;
    return self->cancels && done > 1000000;
}

/* A producer may convert with the same engine while its stream waits for bytes. */
static lathe_status convert_meanwhile(const caller *self) {
    static const uint64_t shape[] = {N_ELEMS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    lathe_status status =
        lathe_tensor_wrap(lathe_engine_pool(engine), &desc, (void *)(uintptr_t)self->bytes, NULL,
                          LATHE_WRAP_READ_ONLY, NULL, NULL, &source);
    if (status == LATHE_OK) {
        status = lathe_convert(engine, source, &target, &result, NULL);
    }
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    return status;
}

static lathe_status feed(lathe_stream *stream, const caller *self, test_rng *rng) {
    const uint64_t n = (uint64_t)N_ELEMS * 4;
    lathe_status status = LATHE_OK;
    for (uint64_t at = 0; at < n && status == LATHE_OK;) {
        uint64_t piece = 1 + test_random_below(rng, 300001);
        piece = piece < n - at ? piece : n - at;
        status = lathe_stream_feed(stream, self->bytes + at, (size_t)piece);
        if (status == LATHE_OK && at == 0) {
            status = convert_meanwhile(self);
        }
        at += piece;
    }
    return status;
}

static lathe_status feed_rounds(const lathe_tensor_desc *desc, const lathe_target *target,
                                const lathe_sink *sink, const lathe_stream_options *options,
                                const caller *self, test_rng *rng) {
    lathe_stream *stream = NULL;
    lathe_status status = lathe_stream_begin(engine, desc, target, sink, options, &stream);
    if (status != LATHE_OK) {
        return status;
    }
    status = feed(stream, self, rng);
    if (status == LATHE_OK && lathe_stream_n_rounds(stream) == 2) {
        status = lathe_stream_rewind(stream);
        status = status == LATHE_OK ? feed(stream, self, rng) : status;
    }
    bool is_finished = status != LATHE_OK || lathe_stream_finish(stream, NULL) == LATHE_OK;
    lathe_stream_free(stream);
    return is_finished ? status : lathe_last_error()->status;
}

static void stream_in_public(caller *self, test_rng *rng) {
    static const uint64_t shape[] = {ROWS, COLS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_target target = {.struct_size = sizeof target,
                                 .dtype = (lathe_dtype)(LATHE_F16 + test_random_below(rng, 7)),
                                 .granularity = (lathe_granularity)test_random_below(rng, 2)};
    const lathe_source source = {.struct_size = sizeof source,
                                 .kind = LATHE_END_CALLBACK,
                                 .ctx = self,
                                 .read = read_bytes,
                                 .read_scales = read_no_scales};
    const lathe_sink sink = {.struct_size = sizeof sink,
                             .kind = LATHE_END_CALLBACK,
                             .ctx = self,
                             .write = public_write,
                             .write_scales = write_scales,
                             .in_order = (uint32_t)test_random_below(rng, 2)};
    const lathe_stream_options options = {
        .struct_size = sizeof options,
        .streaming = {.chunk_bytes = 65536 + test_random_below(rng, 1000000),
                      .parallel_chunks = (uint32_t)test_random_below(rng, 4),
                      .prefetch_chunks = (uint32_t)test_random_below(rng, 3),
                      .buffer_bytes = UINT64_C(4) << 20},
        .progress = public_progress,
        .progress_ctx = self};
    self->sink_fails = false;
    self->cancels = test_random_below(rng, 4) == 0;
    lathe_status status =
        test_random_below(rng, 2) == 0
            ? lathe_stream_convert(engine, &desc, &target, &source, &sink, &options, NULL)
            : feed_rounds(&desc, &target, &sink, &options, self, rng);
    if (self->cancels ? status != LATHE_CANCELLED : status != LATHE_OK) {
        fail("a public stream ended otherwise");
    } else if (!self->cancels && !equals_direct(self, &desc, &target)) {
        fail("a public stream gives other bytes than a direct conversion");
    }
}

static void *call(void *ctx) {
    caller *self = ctx;
    test_rng rng = {self->seed};
    for (int round = 0; round < ROUNDS; round++) {
        lt_streamer *streamer = NULL;
        uint64_t memory = (UINT64_C(1) << 20) * (1 + test_random_below(&rng, 4));
        if (lt_streamer_create(engine, memory, &streamer) != LATHE_OK) {
            fail("no streamer");
            break;
        }
        stream_one(self, streamer, &rng);
        stream_one(self, streamer, &rng);
        lt_streamer_free(streamer);
        stream_in_public(self, &rng);
    }
    return NULL;
}

static void listen(void *ctx, lathe_pool *pool, lathe_pressure level) {
    uint64_t *n_told = ctx; /* not atomic: one call at a time */
    (*n_told)++;
    (void)lathe_pool_trim_level(pool, level);
}

static void run(const lathe_config *config, const uint8_t *bytes) {
    pthread_t threads[N_CALLERS];
    caller callers[N_CALLERS];
    require(lathe_engine_create(config, &engine), "no engine");
    for (size_t i = 0; i < N_CALLERS; i++) {
        callers[i] = (caller){.seed = i + 1,
                              .bytes = bytes,
                              .out = malloc((size_t)N_ELEMS * 4),
                              .scales = malloc(ROWS * sizeof(float))};
        if (callers[i].out == NULL || callers[i].scales == NULL ||
            pthread_create(&threads[i], NULL, call, &callers[i]) != 0) {
            abort();
        }
    }
    for (size_t i = 0; i < N_CALLERS; i++) {
        (void)pthread_join(threads[i], NULL);
        free(callers[i].out);
        free(callers[i].scales);
    }
    lathe_engine_free(engine);
}

int main(void) {
    test_executor executor;
    test_allocator allocator;
    test_executor_init(&executor, 3);
    test_allocator_init(&allocator);
    test_rng rng = {1};
    uint8_t *bytes = malloc((size_t)N_ELEMS * 4);
    if (bytes == NULL) {
        abort();
    }
    test_fill_floats(&rng, LATHE_F32, TEST_DATA_NORMAL, bytes, N_ELEMS);
    const lathe_config configs[] = {
        {.struct_size = sizeof(lathe_config), .n_threads = 3, .allocator = &allocator.interface},
        {.struct_size = sizeof(lathe_config), .executor = &executor.interface},
    };
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        run(&configs[i], bytes);
    }
    uint64_t n_told = 0;
    const lathe_pool_config budget = {.struct_size = sizeof budget,
                                      .budget_bytes = UINT64_C(36) << 20,
                                      .pressure_files = 1,
                                      .pressure_interval_ms = 1};
    lathe_config config = {.struct_size = sizeof config, .n_threads = 2};
    if (lathe_pool_create(&budget, &config.pool) != LATHE_OK ||
        lathe_pool_on_pressure(config.pool, listen, &n_told) != LATHE_OK) {
        abort();
    }
    run(&config, bytes);
    if (lathe_pool_off_pressure(config.pool, listen, &n_told) != LATHE_OK || n_told == 0) {
        fail("nobody was told about pressure");
    }
    lathe_pool_release(config.pool);
    free(bytes);
    if (allocator.n_live != 0 || allocator.misused) {
        fail("memory is left");
    }
    return exit_status();
}
