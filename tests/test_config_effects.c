/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what the fields of lathe_config do, of those that no other test looks at. */
#include "check.h"
#include "metrics/metrics.h"
#include "support.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static lathe_engine *engine_of(const lathe_config *config) {
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(config, &engine));
    return engine;
}

Test(config, threads_and_isa_show_in_the_device) {
    lathe_isa isas[TEST_MAX_ISAS];
    const size_t n_isas = test_isas(isas);
    lathe_device_info info = {.struct_size = sizeof info};
    for (size_t i = 0; i < n_isas; i++) {
        const lathe_config config = {
            .struct_size = sizeof config, .n_threads = (uint32_t)i + 1, .isa = isas[i]};
        lathe_engine *engine = engine_of(&config);
        CHECK_OK(lathe_engine_device(engine, &info));
        CHECK(info.threads == i + 1 && info.isa == isas[i], "%d threads, %s", (int)info.threads,
              lathe_isa_name(info.isa));
        lathe_engine_free(engine);
    }
}

Test(config, the_budget_is_the_pools) {
    const lathe_config config = {.struct_size = sizeof config, .memory_budget_bytes = 5 * MIB};
    lathe_engine *engine = engine_of(&config);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    CHECK(stats.budget_bytes == 5 * MIB, "budget");
    void *block = NULL;
    CHECK_STATUS(lathe_pool_alloc(lathe_engine_pool(engine), 5 * MIB, &block),
                 LATHE_INSUFFICIENT_MEMORY);
    lathe_engine_free(engine);
}

static lathe_status read_zeros(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    (void)ctx;
    (void)offset;
    memset(buffer, 0, n_bytes);
    return LATHE_OK;
}

static lathe_status write_nowhere(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    (void)ctx;
    (void)offset;
    (void)bytes;
    (void)n_bytes;
    return LATHE_OK;
}

/* The bytes that the slots of a stream took at most, between callbacks: tensors need none. */
static uint64_t stream_memory(const lathe_streaming_config *streaming) {
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 4, .streaming = *streaming};
    const uint64_t shape[] = {4000, 1000};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
    const lathe_source from = {
        .struct_size = sizeof from, .kind = LATHE_END_CALLBACK, .read = read_zeros};
    const lathe_sink to = {
        .struct_size = sizeof to, .kind = LATHE_END_CALLBACK, .write = write_nowhere};
    lathe_engine *engine = engine_of(&config);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    const uint64_t before = stats.in_use_bytes;
    CHECK_OK(lathe_stream_convert(engine, &desc, &target, &from, &to, NULL, NULL));
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    lathe_engine_free(engine);
    return stats.peak_in_use_bytes - before;
}

/* test_stream_api.c looks closer, through the options of a call. */
Test(config, streaming_fields_bound_the_slots) {
    const lathe_streaming_config one = {.chunk_bytes = 256 << 10, .parallel_chunks = 1};
    lathe_streaming_config other = one;
    const uint64_t slot = stream_memory(&one);
    CHECK(slot > 128 << 10 && slot < 400 << 10, "one slot: %d bytes", (int)slot);
    other.parallel_chunks = 3;
    uint64_t taken = stream_memory(&other);
    CHECK(taken > 5 * slot / 2 && taken < 7 * slot / 2, "three at once: %d bytes", (int)taken);
    other = one;
    other.prefetch_chunks = 2;
    taken = stream_memory(&other);
    CHECK(taken > 5 * slot / 2 && taken < 7 * slot / 2, "two ahead: %d bytes", (int)taken);
    other = one;
    other.chunk_bytes = 4 * MIB;
    taken = stream_memory(&other);
    CHECK(taken > 4 * slot && taken < 5 * MIB, "a larger chunk: %d bytes", (int)taken);
    other.parallel_chunks = 4;
    CHECK(stream_memory(&other) > 6 * MIB, "four of them");
    other.chunk_bytes = MIB;
    other.buffer_bytes = MIB;
    taken = stream_memory(&other);
    CHECK(taken <= MIB, "a small buffer: %d bytes", (int)taken);
}

/* test_batch.c looks closer, through the options of a call. */
Test(config, batch_fields_cut_rounds) {
    enum { N = 12 };
    const uint64_t shape = 1000;
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &shape};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
    const struct {
        lathe_batch_config batch;
        uint64_t n_rounds;
    } cases[] = {{{0}, 1}, {{.max_tensors = 4}, 3}, {{.max_bytes = 2 * 2048}, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const lathe_config config = {
            .struct_size = sizeof config, .n_threads = 2, .batch = cases[i].batch};
        lathe_engine *engine = engine_of(&config);
        lathe_tensor *sources[N];
        lathe_tensor *results[N];
        lathe_batch_stats stats = {.struct_size = sizeof stats};
        for (size_t t = 0; t < N; t++) {
            CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &sources[t]));
            memset(lathe_tensor_mutable_data(sources[t]), 0, 4000);
        }
        CHECK_OK(lathe_convert_batch(engine, N, sources, &target, 1, NULL, results, NULL, &stats));
        CHECK(stats.n_rounds == cases[i].n_rounds, "case %zu: %d rounds", i, (int)stats.n_rounds);
        for (size_t t = 0; t < N; t++) {
            lathe_tensor_release(sources[t]);
            lathe_tensor_release(results[t]);
        }
        lathe_engine_free(engine);
    }
}

/* Three tensors of two kernels, the largest last, in the order in which a batch works: results of a
 * round lie so. */
static void expect_order(const lathe_batch_config *batch, bool is_largest_first, bool is_grouped) {
    const lathe_config config = {.struct_size = sizeof config, .n_threads = 1, .batch = *batch};
    const lathe_target targets[3] = {{.struct_size = sizeof targets[0], .dtype = LATHE_F16},
                                     {.struct_size = sizeof targets[0], .dtype = LATHE_BF16},
                                     {.struct_size = sizeof targets[0], .dtype = LATHE_F16}};
    const uint64_t shapes[3] = {100, 100, 9000};
    lathe_engine *engine = engine_of(&config);
    lathe_tensor *sources[3];
    lathe_tensor *results[3];
    for (size_t t = 0; t < 3; t++) {
        const lathe_tensor_desc desc = {
            .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &shapes[t]};
        CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &sources[t]));
        memset(lathe_tensor_mutable_data(sources[t]), 0, shapes[t] * sizeof(float));
    }
    CHECK_OK(lathe_convert_batch(engine, 3, sources, targets, 3, NULL, results, NULL, NULL));
    const uint8_t *at[3];
    for (size_t t = 0; t < 3; t++) {
        at[t] = lathe_tensor_data(results[t]);
    }
    CHECK((at[2] < at[0]) == is_largest_first, "the largest of a kernel first");
    CHECK((at[2] < at[1]) == is_grouped, "what is of the same kernel follows");
    for (size_t t = 0; t < 3; t++) {
        lathe_tensor_release(sources[t]);
        lathe_tensor_release(results[t]);
    }
    lathe_engine_free(engine);
}

Test(config, batch_fields_order_the_work) {
    const lathe_batch_config cases[] = {
        {0},
        {.group = LATHE_OFF},
        {.sort_by_size = LATHE_OFF},
        {.group = LATHE_OFF, .sort_by_size = LATHE_OFF},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_order(&cases[i], i < 2, i < 3);
    }
}

typedef struct counting_executor {
    int n_calls;
} counting_executor;

static void count_and_run(void *ctx, size_t n_tasks, void (*task)(void *task_ctx, size_t i),
                          void *task_ctx) {
    ((counting_executor *)ctx)->n_calls++;
    for (size_t i = 0; i < n_tasks; i++) {
        task(task_ctx, i);
    }
}

Test(config, batches_are_parallel_or_not) {
    enum { N = 50 };
    const uint64_t shape = 20000;
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &shape};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
    for (int is_on = 0; is_on < 2; is_on++) {
        counting_executor counter = {0};
        const lathe_executor executor = {
            .ctx = &counter, .parallel_for = count_and_run, .n_threads = 2};
        const lathe_config config = {.struct_size = sizeof config,
                                     .executor = &executor,
                                     .batch.parallel = is_on ? LATHE_ON : LATHE_OFF};
        lathe_engine *engine = engine_of(&config);
        lathe_tensor *sources[N];
        lathe_tensor *results[N];
        for (size_t t = 0; t < N; t++) {
            CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &sources[t]));
            memset(lathe_tensor_mutable_data(sources[t]), 0, shape * sizeof(float));
        }
        CHECK_OK(lathe_convert_batch(engine, N, sources, &target, 1, NULL, results, NULL, NULL));
        CHECK((counter.n_calls > 0) == (is_on == 1), "%d: %d calls", is_on, counter.n_calls);
        for (size_t t = 0; t < N; t++) {
            lathe_tensor_release(sources[t]);
            lathe_tensor_release(results[t]);
        }
        lathe_engine_free(engine);
    }
}

/* How many of two runs with the same source find their result in the cache. */
static uint64_t cache_hits(uint64_t cache_bytes) {
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 1, .pipeline_cache_bytes = cache_bytes};
    const uint64_t shape = 1000;
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &shape};
    const lathe_pipeline_stage stage = {
        .struct_size = sizeof stage,
        .target = {.struct_size = sizeof stage.target, .dtype = LATHE_F16},
        .cache = 1};
    lathe_engine *engine = engine_of(&config);
    lathe_pipeline *pipeline = NULL;
    lathe_pipeline_stats stats = {.struct_size = sizeof stats};
    lathe_tensor *source = NULL;
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source));
    memset(lathe_tensor_mutable_data(source), 0, 4000);
    CHECK_OK(lathe_pipeline_create(lathe_engine_pool(engine), 1, &stage, NULL, &pipeline));
    for (int i = 0; i < 2; i++) {
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_pipeline_run(engine, pipeline, source, &result, NULL));
        lathe_tensor_release(result);
    }
    CHECK_OK(lathe_pipeline_get_stats(pipeline, &stats));
    lathe_pipeline_free(pipeline);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
    return stats.n_cache_hits;
}

Test(config, pipeline_cache_bytes_bound_what_is_kept) {
    CHECK(cache_hits(0) == 0, "nothing is kept by default");
    CHECK(cache_hits(1999) == 0, "the result takes 2000 bytes");
    CHECK(cache_hits(MIB) == 1, "there is room for it");
}

/* What the kernel knows about the pages of a block: "hg" asked for huge ones, "nh" never. */
static bool has_page_flag(const void *block, const char *flag) {
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool is_here = false;
    bool found = false;
    CHECK(maps != NULL, "no /proc/self/smaps");
    while (fgets(line, sizeof line, maps) != NULL) {
        char *rest = NULL;
        const uintptr_t first = (uintptr_t)strtoull(line, &rest, 16);
        if (rest > line && *rest == '-') {
            is_here = first <= (uintptr_t)block && (uintptr_t)block < strtoull(rest + 1, NULL, 16);
        } else if (is_here && strncmp(line, "VmFlags:", 8) == 0) {
            found = strstr(line, flag) != NULL;
        }
    }
    (void)fclose(maps);
    return found;
}

Test(config, huge_pages_are_asked_for_or_not) {
    static const lathe_toggle toggles[] = {LATHE_BY_DEFAULT, LATHE_ON, LATHE_OFF};
    if (TEST_EMULATED) {
        return; /* the flags that it shows are its own */
    }
    const bool knows_them = access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) == 0;
    for (size_t i = 0; i < 3; i++) {
        const lathe_config config = {.struct_size = sizeof config, .huge_pages = toggles[i]};
        lathe_engine *engine = engine_of(&config);
        void *block = NULL;
        CHECK_OK(lathe_pool_alloc(lathe_engine_pool(engine), 8 * MIB, &block));
        memset(block, 1, 8 * MIB);
        const bool asked = has_page_flag(block, " hg");
        const bool declined = has_page_flag(block, " nh");
        CHECK(asked == (knows_them && toggles[i] != LATHE_OFF), "toggle %zu, asked", i);
        CHECK(declined == (knows_them && toggles[i] == LATHE_OFF), "toggle %zu, declined", i);
        CHECK_OK(lathe_pool_free(lathe_engine_pool(engine), block));
        lathe_engine_free(engine);
    }
}

Test(config, the_last_conversions_are_as_many_as_wanted) {
    for (uint32_t wanted = 0; wanted <= 5; wanted += 5) {
        const lathe_config config = {.struct_size = sizeof config, .recent_conversions = wanted};
        lathe_engine *engine = engine_of(&config);
        const uint64_t shape = 8;
        const lathe_tensor_desc desc = {
            .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &shape};
        const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
        lathe_recent_conversion recent[100];
        lathe_tensor *source = NULL;
        size_t n = 0;
        CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source));
        memset(lathe_tensor_mutable_data(source), 0, 32);
        for (int i = 0; i < 100; i++) {
            lathe_tensor *result = NULL;
            CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
            lathe_tensor_release(result);
        }
        CHECK_OK(lathe_engine_recent(engine, recent, 100, &n));
        CHECK(n == (wanted == 0 ? 64 : wanted), "%zu, not %d", n, (int)wanted);
        CHECK_STATUS(lathe_engine_recent(engine, NULL, 1, &n), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_engine_recent(NULL, recent, 1, &n), LATHE_INVALID_ARGUMENT);
        lathe_tensor_release(source);
        lathe_engine_free(engine);
    }
}
