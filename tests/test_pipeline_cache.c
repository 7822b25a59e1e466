/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of results that a pipeline keeps. */
#include "pipeline_case.h"

TestSuite(pipeline_cache, .init = setup_engines, .fini = teardown_engines);

static void check_cache(lathe_pipeline *pipeline, lathe_tensor *source, uint32_t n_hits,
                        uint32_t n_misses, uint32_t n_stages) {
    lathe_tensor *result = NULL;
    lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
    const lathe_pipeline_stage stages[] = {*lathe_pipeline_get_stage(pipeline, 0),
                                           *lathe_pipeline_get_stage(pipeline, 1)};
    CHECK_OK(lathe_pipeline_run(engines[1], pipeline, source, &result, &stats));
    CHECK(stats.n_cache_hits == n_hits && stats.n_cache_misses == n_misses &&
              stats.n_stages == n_stages,
          "%d hits, %d misses, %d stages", (int)stats.n_cache_hits, (int)stats.n_cache_misses,
          (int)stats.n_stages);
    outcome expected = one_by_one(engines[0], source, 2, stages);
    CHECK(test_same(result, expected.result), "other bytes");
    lathe_tensor_release(expected.result);
    lathe_tensor_release(result);
}

Test(pipeline_cache, results_are_cached_and_the_oldest_goes) {
    const uint64_t shape[] = {1000};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    lathe_tensor *sources[3];
    lathe_pipeline *pipeline = NULL;
    lathe_pipeline_stage stages[] = {stage_to(LATHE_F16, layout_options),
                                     stage_to(LATHE_I8, layout_options)};
    const lathe_pipeline_options options = {.struct_size = sizeof options,
                                            .cache_bytes = 2 * 1004 + 5};
    stages[1].cache = 1;
    for (int i = 0; i < 3; i++) {
        CHECK_OK(lathe_tensor_create(pool, &desc, &sources[i]));
        fill(sources[i], (float)i);
    }
    CHECK_OK(lathe_pipeline_create(pool, 2, stages, &options, &pipeline));
    check_cache(pipeline, sources[0], 0, 1, 2);
    check_cache(pipeline, sources[0], 1, 0, 0);
    check_cache(pipeline, sources[1], 0, 1, 2);
    check_cache(pipeline, sources[0], 1, 0, 0);
    check_cache(pipeline, sources[2], 0, 1, 2); /* there is room for two: 1 was used longest ago */
    check_cache(pipeline, sources[0], 1, 0, 0);
    check_cache(pipeline, sources[1], 0, 1, 2);
    check_cache(pipeline, sources[2], 0, 1, 2);
    lathe_pipeline_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pipeline_get_stats(pipeline, &stats));
    CHECK(stats.cached_bytes == 2 * 1004 && stats.n_evicted == 3 && stats.n_cache_hits == 3 &&
              stats.n_cache_misses == 5,
          "%d bytes, %d evicted", (int)stats.cached_bytes, (int)stats.n_evicted);
    lathe_pipeline_clear_cache(pipeline);
    check_cache(pipeline, sources[2], 0, 1, 2);
    lathe_pipeline_free(pipeline);
    for (int i = 0; i < 3; i++) {
        lathe_tensor_release(sources[i]);
    }
}

/* Every way of changing a source, or a result, makes what is kept out of date. */
Test(pipeline_cache, changed_tensors_are_not_taken_from_the_cache) {
    const uint64_t shape[] = {64};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    lathe_pipeline_stage stages[] = {stage_to(LATHE_F16, layout_options),
                                     stage_to(LATHE_I8, layout_options)};
    const lathe_pipeline_options options = {.struct_size = sizeof options, .cache_bytes = 4096};
    lathe_pipeline *pipeline = NULL;
    lathe_tensor *source = NULL;
    lathe_tensor *other = NULL;
    float mine[64] = {1, 2, 3};
    stages[0].cache = 1; /* an intermediate result, too */
    stages[1].cache = 1;
    CHECK_OK(lathe_tensor_create(pool, &desc, &source));
    CHECK_OK(lathe_tensor_wrap(pool, &desc, mine, NULL, 0, NULL, NULL, &other));
    CHECK_OK(lathe_pipeline_create(pool, 2, stages, &options, &pipeline));
    fill(source, 5);
    check_cache(pipeline, source, 0, 2, 2);
    check_cache(pipeline, source, 1, 0, 0);
    fill(source, 6); /* lathe_tensor_mutable_data */
    check_cache(pipeline, source, 0, 2, 2);
    CHECK_OK(lathe_tensor_copy(engines[0], other, source));
    check_cache(pipeline, source, 0, 2, 2);
    check_cache(pipeline, other, 0, 2, 2);
    mine[5] = 7;
    lathe_tensor_touch(other);
    check_cache(pipeline, other, 0, 2, 2);
    const lathe_tensor_desc half = {
        .struct_size = sizeof half, .dtype = LATHE_F16, .n_dims = 1, .shape = shape};
    lathe_tensor *halves = NULL;
    CHECK_OK(lathe_tensor_create(pool, &half, &halves));
    uint16_t *bits = lathe_tensor_mutable_data(halves);
    for (int i = 0; i < 64; i++) {
        bits[i] = (uint16_t)(0x3c00 + i);
    }
    const lathe_target floats = {.struct_size = sizeof floats, .dtype = LATHE_F32};
    CHECK_OK(lathe_convert_into(engines[0], halves, &floats, source, NULL));
    check_cache(pipeline, source, 0, 2, 2);
    check_cache(pipeline, source, 1, 0, 0);
    const lathe_target narrower = {.struct_size = sizeof narrower, .dtype = LATHE_BF16};
    CHECK_OK(lathe_convert_in_place(engines[0], source, &narrower, NULL));
    check_cache(pipeline, source, 0, 2, 2);
    lathe_tensor *result = NULL; /* the caller writes to what the cache holds */
    CHECK_OK(lathe_pipeline_run(engines[0], pipeline, source, &result, NULL));
    ((uint8_t *)lathe_tensor_mutable_data(result))[3]++;
    check_cache(pipeline, source, 1, 1, 1); /* from the first stage's */
    lathe_tensor_release(result);
    lathe_tensor_release(halves);
    lathe_tensor_release(source);
    lathe_tensor_release(other);
    lathe_pipeline_free(pipeline);
}

/* The limit is the engine's, unless the pipeline has its own; without one nothing is kept. */
Test(pipeline_cache, the_engine_limits_the_cache) {
    const uint64_t shape[] = {64};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    lathe_pipeline_stage stages[] = {stage_to(LATHE_F16, layout_options),
                                     stage_to(LATHE_I8, layout_options)};
    lathe_tensor *source = NULL;
    stages[1].cache = 1;
    CHECK_OK(lathe_tensor_create(pool, &desc, &source));
    fill(source, 1);
    for (uint64_t limit = 0; limit < 200; limit += 67) { /* 0, 67, 134: a result takes 68 */
        const lathe_config config = {
            .struct_size = sizeof config, .n_threads = 1, .pipeline_cache_bytes = limit};
        lathe_engine *engine = NULL;
        lathe_pipeline *pipeline = NULL;
        CHECK_OK(lathe_engine_create(&config, &engine));
        CHECK_OK(lathe_pipeline_create(pool, 2, stages, NULL, &pipeline));
        for (int i = 0; i < 2; i++) {
            lathe_tensor *result = NULL;
            lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
            CHECK_OK(lathe_pipeline_run(engine, pipeline, source, &result, &stats));
            CHECK(stats.n_cache_hits == (i == 1 && limit >= 68), "%d bytes: %d hits", (int)limit,
                  (int)stats.n_cache_hits);
            lathe_tensor_release(result);
        }
        lathe_pipeline_free(pipeline);
        lathe_engine_free(engine);
    }
    lathe_tensor_release(source);
}

/* Results of a batch lie in one block, and yet each is a tensor of its own. */
Test(pipeline_cache, tensors_that_share_a_block_are_told_apart) {
    const uint64_t shape[] = {64};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    const lathe_tensor_desc descs[] = {desc, desc};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_BF16};
    const lathe_pipeline_options options = {.struct_size = sizeof options, .cache_bytes = 4096};
    lathe_pipeline_stage stages[] = {stage_to(LATHE_F16, layout_options),
                                     stage_to(LATHE_I8, layout_options)};
    lathe_tensor *sources[2];
    lathe_tensor *results[2];
    lathe_pipeline *pipeline = NULL;
    stages[1].cache = 1;
    CHECK_OK(lathe_engine_tensors_create(engines[0], LATHE_MEMORY_HOST, 2, descs, sources));
    fill(sources[0], 1);
    fill(sources[1], 500);
    CHECK_OK(lathe_convert_batch(engines[0], 2, sources, &target, 1, NULL, results, NULL, NULL));
    CHECK_OK(lathe_pipeline_create(pool, 2, stages, &options, &pipeline));
    for (uint32_t hit = 0; hit < 2; hit++) {
        for (int i = 0; i < 2; i++) {
            check_cache(pipeline, sources[i], hit, 1 - hit, 2 - 2 * hit);
            check_cache(pipeline, results[i], hit, 1 - hit, 2 - 2 * hit);
        }
    }
    lathe_pipeline_free(pipeline);
    for (int i = 0; i < 2; i++) {
        lathe_tensor_release(sources[i]);
        lathe_tensor_release(results[i]);
    }
}

static uint64_t cached_bytes(lathe_pipeline *pipeline) {
    lathe_pipeline_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pipeline_get_stats(pipeline, &stats));
    return stats.cached_bytes;
}

/* Runs it on four tensors; how many bytes are kept of the four results. */
static uint64_t run_four(lathe_engine *engine, lathe_pipeline *pipeline,
                         lathe_tensor *const *sources) {
    for (int i = 0; i < 4; i++) {
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_pipeline_run(engine, pipeline, sources[i], &result, NULL));
        lathe_tensor_release(result);
    }
    return cached_bytes(pipeline);
}

/* Half of what is kept goes at HIGH, all at CRITICAL, and nothing is kept until it is over. */
Test(pipeline_cache, results_go_when_memory_is_short) {
    enum { BUDGET = 4 << 20, N_BYTES = 16384, N_STEP = 32768 };
    const uint64_t shape[] = {N_BYTES};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 1, .memory_budget_bytes = BUDGET};
    const lathe_pipeline_options options = {.struct_size = sizeof options, .cache_bytes = BUDGET};
    const lathe_pipeline_stage stage = {
        .struct_size = sizeof stage, .target = target_of(LATHE_I8, layout_options, 0), .cache = 1};
    lathe_engine *engine = NULL;
    lathe_pipeline *pipeline = NULL;
    lathe_tensor *sources[4];
    CHECK_OK(lathe_engine_create(&config, &engine));
    lathe_pool *own = lathe_engine_pool(engine);
    CHECK_OK(lathe_pipeline_create(own, 1, &stage, &options, &pipeline));
    for (int i = 0; i < 4; i++) {
        CHECK_OK(lathe_tensor_create(pool, &desc, &sources[i]));
        fill(sources[i], (float)i);
    }
    const uint64_t whole = 4 * (N_BYTES + sizeof(float));
    CHECK(run_four(engine, pipeline, sources) == whole, "all four are to be kept");
    for (int critical = 0; critical < 2; critical++) {
        const lathe_pressure wanted = critical == 1 ? LATHE_PRESSURE_CRITICAL : LATHE_PRESSURE_HIGH;
        void *blocks[BUDGET / N_STEP] = {NULL};
        size_t n = 0;
        for (; n < BUDGET / N_STEP && lathe_pool_pressure(own) < wanted; n++) {
            CHECK_OK(lathe_pool_alloc(own, N_STEP, &blocks[n]));
        }
        CHECK(cached_bytes(pipeline) == (critical == 1 ? 0 : whole / 2), "%d bytes are kept",
              (int)cached_bytes(pipeline));
        CHECK(critical == 1 || run_four(engine, pipeline, sources) == whole / 2, "none is kept");
        while (n > 0) {
            CHECK_OK(lathe_pool_free(own, blocks[--n]));
        }
        (void)lathe_pool_trim(own, 0);
        CHECK(lathe_pool_pressure(own) == LATHE_PRESSURE_NONE, "it stays");
        CHECK(run_four(engine, pipeline, sources) == whole, "they are to be kept again");
    }
    lathe_pipeline_free(pipeline);
    for (int i = 0; i < 4; i++) {
        lathe_tensor_release(sources[i]);
    }
    lathe_engine_free(engine);
}
