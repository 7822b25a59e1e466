/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program for the thread sanitizer: 64 threads share one engine and mix all strategies,
 * while others trim its pool, take and reset its metrics and make plans. Runs for as many seconds
 * as its argument says. Every result is compared with one made before. Prints what went wrong;
 * exits 0 if nothing did. */
#include "stress_case.h"
#include <time.h>

enum { N_CALLERS = 64, ROWS = 24, COLS = 1501, N_BATCH = 5 };

static const uint64_t shape[] = {ROWS, COLS};
static const lathe_tensor_desc source_desc = {
    .struct_size = sizeof(lathe_tensor_desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};

static lathe_engine *engine;
static lathe_tensor *source; /* F32, shared by all */
static lathe_tensor *expected[N_TARGETS];
static lathe_pipeline *pipeline; /* F16, then I8 rows; its results are cached */
static lathe_tensor *expected_of_pipeline;
static atomic_bool done;
static atomic_uint n_calls;

/* Checks a result that is the caller's, and releases it. */
static void check(lathe_status status, lathe_tensor *result, const lathe_tensor *wanted,
                  const char *what) {
    if (status != LATHE_OK) {
        fail(what);
        return;
    }
    if (!test_same(result, wanted)) {
        fail(what);
    }
    lathe_tensor_release(result);
}

static lathe_tensor *new_result(const lathe_target *target) {
    lathe_tensor_desc desc;
    lathe_tensor *result = NULL;
    if (lathe_target_desc(target, 2, shape, &desc) != LATHE_OK ||
        lathe_tensor_create(lathe_engine_pool(engine), &desc, &result) != LATHE_OK) {
        fail("no memory for a result");
    }
    return result;
}

/* ---- the strategies, each with a random target */

static void direct(test_rng *rng, size_t t) {
    (void)rng;
    const lathe_target target = target_at(t);
    lathe_tensor *result = NULL;
    const lathe_status status = lathe_convert(engine, source, &target, &result, NULL);
    check(status, result, expected[t], "direct");
}

static void async(test_rng *rng, size_t t) {
    (void)rng;
    const lathe_target target = target_at(t);
    lathe_event *event = NULL;
    if (lathe_convert_async(engine, source, &target, &event) != LATHE_OK) {
        fail("async");
        return;
    }
    const lathe_status status = lathe_event_status(event);
    check(status, lathe_event_result(event), expected[t], "async");
    lathe_event_release(event);
}

static void view(test_rng *rng, size_t t) {
    const uint64_t row = test_random_below(rng, ROWS);
    const lathe_target f32 = target_at(0);
    lathe_tensor *same = NULL;
    lathe_tensor *rows = NULL;
    (void)t;
    if (lathe_zero_copy_convert(engine, source, &f32, &same) != LATHE_OK ||
        lathe_tensor_view_rows(same, row, 1, &rows) != LATHE_OK ||
        lathe_tensor_data(rows) != (const float *)lathe_tensor_data(source) + row * COLS) {
        fail("view");
    }
    lathe_tensor_release(same);
    lathe_tensor_release(rows);
}

static void in_place(test_rng *rng, size_t t) {
    const lathe_target target = target_at(t);
    lathe_tensor *copy = NULL;
    (void)rng;
    if (lathe_tensor_materialize(engine, source, &copy) != LATHE_OK) {
        fail("a copy");
        return;
    }
    const lathe_status status = lathe_convert_in_place(engine, copy, &target, NULL);
    check(status, copy, expected[t], "in place");
}

static void stream(test_rng *rng, size_t t) {
    const lathe_target target = target_at(t);
    lathe_tensor *result = new_result(&target);
    const lathe_source from = {
        .struct_size = sizeof from, .kind = LATHE_END_TENSOR, .tensor = source};
    const lathe_sink into = {
        .struct_size = sizeof into, .kind = LATHE_END_TENSOR, .tensor = result};
    const lathe_stream_options options = {
        .struct_size = sizeof options,
        .streaming = {.chunk_bytes = 65536, .prefetch_chunks = (uint32_t)test_random_below(rng, 2)},
    };
    check(lathe_stream_convert(engine, NULL, &target, &from, &into, &options, NULL), result,
          expected[t], "stream");
}

static lathe_status feed_all(lathe_stream *fed, test_rng *rng) {
    const uint8_t *bytes = lathe_tensor_data(source);
    uint64_t left = lathe_tensor_n_bytes(source);
    lathe_status status = LATHE_OK;
    while (status == LATHE_OK && left > 0) {
        uint64_t n = 1 + test_random_below(rng, 70000);
        n = n < left ? n : left;
        status = lathe_stream_feed(fed, bytes, (size_t)n);
        bytes += n;
        left -= n;
    }
    return status;
}

static void push(test_rng *rng, size_t t) {
    const lathe_target target = target_at(t);
    lathe_tensor *result = new_result(&target);
    lathe_stream *fed = NULL;
    const lathe_sink into = {
        .struct_size = sizeof into, .kind = LATHE_END_TENSOR, .tensor = result};
    lathe_status status = lathe_stream_begin(engine, &source_desc, &target, &into, NULL, &fed);
    if (status == LATHE_OK) {
        status = feed_all(fed, rng);
    }
    if (status == LATHE_OK && lathe_stream_n_rounds(fed) == 2) {
        status = lathe_stream_rewind(fed);
        status = status == LATHE_OK ? feed_all(fed, rng) : status;
    }
    if (status == LATHE_OK) {
        status = lathe_stream_finish(fed, NULL);
    }
    lathe_stream_free(fed);
    check(status, result, expected[t], "push");
}

static void batch(test_rng *rng, size_t t) {
    lathe_tensor *sources[N_BATCH];
    lathe_tensor *results[N_BATCH];
    lathe_target targets[N_BATCH];
    (void)rng;
    for (size_t i = 0; i < N_BATCH; i++) {
        sources[i] = source;
        targets[i] = target_at((t + i) % N_TARGETS);
    }
    const lathe_status status =
        lathe_convert_batch(engine, N_BATCH, sources, targets, N_BATCH, NULL, results, NULL, NULL);
    for (size_t i = 0; i < N_BATCH; i++) {
        check(status, results[i], expected[(t + i) % N_TARGETS], "batch");
    }
}

static void pipe_through(test_rng *rng, size_t t) {
    lathe_tensor *result = NULL;
    (void)rng;
    (void)t;
    const lathe_status status = lathe_pipeline_run(engine, pipeline, source, &result, NULL);
    check(status, result, expected_of_pipeline, "pipeline");
}

static void *call(void *ctx) {
    static void (*const strategies[])(test_rng *, size_t) = {direct, async, view,  in_place,
                                                             stream, push,  batch, pipe_through};
    test_rng rng = {(uint64_t)(uintptr_t)ctx};
    while (!atomic_load(&done)) {
        const size_t s = (size_t)test_random_below(&rng, sizeof strategies / sizeof strategies[0]);
        strategies[s](&rng, (size_t)test_random_below(&rng, N_TARGETS));
        (void)atomic_fetch_add(&n_calls, 1);
    }
    return NULL;
}

/* ---- what happens meanwhile */

static void *disturb(void *ctx) {
    lathe_pool *pool = lathe_engine_pool(engine);
    lathe_metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics == NULL) {
        abort();
    }
    metrics->struct_size = sizeof *metrics;
    for (size_t i = (size_t)(uintptr_t)ctx; !atomic_load(&done); i++) {
        const lathe_target target = target_at(i % N_TARGETS);
        lathe_plan plan = {.struct_size = sizeof plan};
        lathe_pool_stats stats = {.struct_size = sizeof stats};
        (void)lathe_pool_trim(pool, (uint64_t)(i % 4) << 20);
        if (lathe_engine_metrics(engine, metrics) != LATHE_OK ||
            (i % 64 == 63 && lathe_engine_reset_metrics(engine) != LATHE_OK)) {
            fail("metrics");
        }
        if (metrics->total.n_failed != 0) {
            fail("a conversion was counted as failed");
        }
        if (lathe_pool_get_stats(pool, &stats) != LATHE_OK ||
            stats.in_use_bytes + stats.cached_bytes > stats.budget_bytes) {
            fail("the pool's statistics are wrong");
        }
        if (lathe_plan_make(engine, &source_desc, LATHE_MEMORY_HOST, &target, NULL, &plan) !=
            LATHE_OK) {
            fail("plan");
        }
    }
    free(metrics);
    return NULL;
}

static void prepare(void) {
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 4, .memory_budget_bytes = UINT64_C(2) << 30};
    lathe_pipeline_stage stages[2] = {
        {.struct_size = sizeof stages[0], .target = target_at(1)},
        {.struct_size = sizeof stages[1], .target = target_at(3), .cache = 1},
    };
    const lathe_pipeline_options options = {.struct_size = sizeof options, .cache_bytes = 1 << 20};
    test_rng rng = {1};
    stages[1].target.granularity = LATHE_PER_ROW;
    stages[1].target.group_size = 0;
    require(lathe_engine_create(&config, &engine), "no engine");
    make_source(lathe_engine_pool(engine), LATHE_F32, shape, &rng, &source);
    for (size_t t = 0; t < N_TARGETS; t++) {
        const lathe_target target = target_at(t);
        require(lathe_convert(engine, source, &target, &expected[t], NULL), "no first result");
    }
    require(lathe_pipeline_create(lathe_engine_pool(engine), 2, stages, &options, &pipeline),
            "no pipeline");
    lathe_tensor *between = NULL;
    require(lathe_convert(engine, source, &stages[0].target, &between, NULL), "stage 1");
    require(lathe_convert(engine, between, &stages[1].target, &expected_of_pipeline, NULL),
            "stage 2");
    lathe_tensor_release(between);
}

static void release_all(void) {
    lathe_pipeline_free(pipeline);
    lathe_tensor_release(expected_of_pipeline);
    for (size_t t = 0; t < N_TARGETS; t++) {
        lathe_tensor_release(expected[t]);
    }
    lathe_tensor_release(source);
    lathe_pool *pool = lathe_pool_retain(lathe_engine_pool(engine));
    lathe_engine_free(engine);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    if (lathe_pool_get_stats(pool, &stats) != LATHE_OK || stats.n_live != 0) {
        fail("blocks are left in the pool");
    }
    lathe_pool_release(pool);
}

int main(int argc, char **argv) {
    pthread_t callers[N_CALLERS];
    pthread_t disturbers[2];
    const long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
    prepare();
    start_threads(disturbers, 2, disturb);
    start_threads(callers, N_CALLERS, call);
    const struct timespec duration = {.tv_sec = seconds};
    (void)nanosleep(&duration, NULL);
    atomic_store(&done, true);
    join_threads(callers, N_CALLERS);
    join_threads(disturbers, 2);
    release_all();
    printf("stress_mixed: %u calls, %d failures\n", atomic_load(&n_calls),
           atomic_load(&n_failures));
    return exit_status();
}
