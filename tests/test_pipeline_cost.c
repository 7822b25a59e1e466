/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what a pipeline takes, counts and launches, and of allocations that fail. */
#include "pipeline_case.h"
#include <math.h>

TestSuite(pipeline_cost, .init = setup_engines, .fini = teardown_engines);

#ifndef TEST_OPENCL

/* One tile a thread, scales, and one window of statistics: the intermediates would take 24 MiB. */
Test(pipeline_cost, no_intermediate_is_stored) {
    static const uint64_t shape[] = {2048, 4096};
    for (size_t layout = 0; layout < 3; layout++) {
        const lathe_config config = {.struct_size = sizeof config, .n_threads = 2};
        lathe_engine *engine = NULL;
        lathe_pipeline_stage stages[3];
        lathe_pipeline *pipeline = NULL;
        lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
        lathe_tensor *result = NULL;
        make_stages(stages, &layout_options[layout]);
        CHECK_OK(lathe_engine_create(&config, &engine));
        CHECK_OK(lathe_pipeline_create(pool, 3, stages, NULL, &pipeline));
        lathe_tensor *source = new_source(lathe_engine_pool(engine), 2, shape);
        lathe_pool_stats before = pool_stats(engine);
        (void)lathe_pool_trim(lathe_engine_pool(engine), 0);
        CHECK_OK(lathe_pipeline_run(engine, pipeline, source, &result, &stats));
        lathe_pool_stats after = pool_stats(engine);
        uint64_t n_scales = lathe_tensor_n_scales(result);
        uint64_t result_bytes = lathe_tensor_n_bytes(result) + n_scales * 4;
        uint64_t extra = after.peak_in_use_bytes - before.in_use_bytes - result_bytes;
        uint64_t tile = 3 * 16384 + n_scales / 512 * 4; /* F16 and I8 of a block, and scales */
        CHECK(extra <= (2 * tile + 32768 + 5 * 4 * 3) * 9 / 8 + 16384 && extra < 1 << 20,
              "layout %zu: %d bytes", layout, (int)extra);
        CHECK(stats.saved_bytes >= 24 << 20 && stats.n_stages == 3, "saved %d",
              (int)stats.saved_bytes);
        /* One scale a tensor: the statistics of F32 lead to both. Rows: one pass does it all. */
        CHECK(stats.n_passes == (layout == 0 ? 2 : 1), "%d passes", (int)stats.n_passes);
        CHECK(stats.n_derived == (layout == 0 ? 2 : 0), "%d derived", (int)stats.n_derived);
        lathe_tensor_release(result);
        lathe_tensor_release(source);
        lathe_pipeline_free(pipeline);
        lathe_engine_free(engine);
    }
}

/* A stage that is to be stored is. */
Test(pipeline_cost, direct_stages_are_stored) {
    static const uint64_t shape[] = {256, 4096};
    lathe_engine *engine = NULL;
    lathe_pipeline_stage stages[3];
    uint64_t extra[2];
    lathe_tensor *results[2];
    make_stages(stages, &layout_options[1]);
    for (int i = 0; i < 2; i++) {
        lathe_pipeline *pipeline = NULL;
        lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
        lathe_pool_config config = {.struct_size = sizeof config};
        lathe_pool *own = NULL;
        CHECK_OK(lathe_pool_create(&config, &own));
        const lathe_config engine_config = {
            .struct_size = sizeof engine_config, .n_threads = 2, .pool = own};
        CHECK_OK(lathe_engine_create(&engine_config, &engine));
        lathe_tensor *source = new_source(own, 2, shape);
        stages[0].strategy = i == 0 ? LATHE_STRATEGY_PIPELINE : LATHE_STRATEGY_DIRECT;
        CHECK_OK(lathe_pipeline_create(pool, 3, stages, NULL, &pipeline));
        uint64_t before = pool_stats(engine).in_use_bytes;
        CHECK_OK(lathe_pipeline_run(engine, pipeline, source, &results[i], &stats));
        extra[i] = pool_stats(engine).peak_in_use_bytes - before;
        CHECK(stats.saved_bytes ==
                  (i == 0 ? (2u << 20) + (1u << 20) + 256 * 4 : (1u << 20) + 256 * 4),
              "saved %d", (int)stats.saved_bytes);
        lathe_tensor_release(source);
        lathe_pipeline_free(pipeline);
        lathe_engine_free(engine);
        lathe_pool_release(own);
    }
    CHECK(extra[1] >= extra[0] + (1 << 20), "%d %d", (int)extra[0], (int)extra[1]);
    CHECK(test_same(results[0], results[1]), "other bytes");
    lathe_tensor_release(results[0]);
    lathe_tensor_release(results[1]);
}

Test(pipeline_cost, statistics_and_metrics) {
    static const uint64_t shape[] = {16, 4096};
    lathe_engine *engine = engines[0];
    lathe_pipeline_stage stages[3];
    lathe_pipeline *pipeline = NULL;
    make_stages(stages, layout_options);
    CHECK_OK(lathe_pipeline_create(pool, 3, stages, NULL, &pipeline));
    lathe_tensor *source = new_source(pool, 2, shape);
    lathe_metrics before = {.struct_size = sizeof before};
    lathe_metrics after = {.struct_size = sizeof after};
    CHECK_OK(lathe_engine_metrics(engine, &before));
    for (int i = 0; i < 3; i++) {
        lathe_tensor *result = NULL;
        if (i == 2) {
            ((float *)lathe_tensor_mutable_data(source))[77] = NAN;
        }
        lathe_status status = lathe_pipeline_run(engine, pipeline, source, &result, NULL);
        CHECK(status == (i == 2 ? LATHE_NON_FINITE : LATHE_OK), "status");
        lathe_tensor_release(result);
    }
    CHECK_OK(lathe_engine_metrics(engine, &after));
    const lathe_metrics_group *then = &before.by_strategy[LATHE_STRATEGY_PIPELINE];
    const lathe_metrics_group *now = &after.by_strategy[LATHE_STRATEGY_PIPELINE];
    CHECK(now->n_done - then->n_done == 2 && now->n_failed - then->n_failed == 1,
          "one record a run");
    CHECK(after.by_strategy[LATHE_STRATEGY_DIRECT].n_done ==
              before.by_strategy[LATHE_STRATEGY_DIRECT].n_done,
          "and none of its parts");
    lathe_pipeline_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pipeline_get_stats(pipeline, &stats));
    CHECK(stats.n_runs == 3 && stats.n_failed == 1 && stats.n_stages == 6 && stats.ns > 0 &&
              stats.saved_bytes == 2 * (shape[0] * shape[1] * 3 + 4),
          "%d runs, %d stages, %d saved", (int)stats.n_runs, (int)stats.n_stages,
          (int)stats.saved_bytes);
    lathe_tensor_release(source);
    lathe_pipeline_free(pipeline);
}

#endif

/* ---- no memory */

#ifndef TEST_OPENCL

/* Each allocation fails once: an error, nothing lost, the source intact. */
Test(pipeline_cost, allocations_that_fail) {
    static const uint64_t shape[] = {300, 1000};
    for (size_t layout = 0; layout < 3; layout++) {
        test_allocator allocator;
        lathe_engine *engine = NULL;
        lathe_pipeline_stage stages[3];
        uint64_t n_failed = 0;
        test_allocator_init(&allocator);
        const lathe_config config = {
            .struct_size = sizeof config, .n_threads = 2, .allocator = &allocator.interface};
        CHECK_OK(lathe_engine_create(&config, &engine));
        lathe_pool *own = lathe_engine_pool(engine);
        lathe_tensor *source = new_source(own, 2, shape);
        make_stages(stages, &layout_options[layout]);
        stages[1].cache = layout == 1;
        const lathe_pipeline_options options = {.struct_size = sizeof options,
                                                .cache_bytes = layout == 1 ? 1 << 20 : 0};
        outcome expected = one_by_one(engines[0], source, 3, stages);
        uint64_t n_live = pool_stats(engine).n_live;
        for (uint64_t at = 0;; at++) {
            lathe_pipeline *pipeline = NULL;
            lathe_tensor *result = NULL;
            (void)lathe_pool_trim(own, 0);
            test_allocator_reset(&allocator, at);
            lathe_status status = lathe_pipeline_create(own, 3, stages, &options, &pipeline);
            if (status == LATHE_OK) {
                status = lathe_pipeline_run(engine, pipeline, source, &result, NULL);
            }
            bool is_past = allocator.n_calls <= at;
            CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "%s",
                  lathe_status_name(status));
            CHECK(status != LATHE_OK || test_same(result, expected.result), "other bytes");
            n_failed += status != LATHE_OK;
            lathe_tensor_release(result);
            lathe_pipeline_free(pipeline);
            CHECK(pool_stats(engine).n_live == n_live, "allocation %d: a leak", (int)at);
            if (is_past) {
                CHECK(status == LATHE_OK, "nothing failed");
                break;
            }
        }
        CHECK(n_failed >= 4, "%d", (int)n_failed);
        outcome again = one_by_one(engines[0], source, 3, stages);
        CHECK(test_same(again.result, expected.result), "the source was changed");
        lathe_tensor_release(again.result);
        lathe_tensor_release(expected.result);
        lathe_tensor_release(source);
        lathe_engine_free(engine);
        CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks are left",
              (int)allocator.n_live);
    }
}

#endif

#ifdef TEST_OPENCL

/* Without a byte stored in between: one launch for the statistics of F32, one for the chain. */
Test(pipeline_cost, the_device_runs_chains_as_one_kernel) {
    static const shape_option shape = {2, {64, 1280}};
    static const lathe_dtype middles[] = {LATHE_F16, LATHE_BF16, LATHE_I8, LATHE_I4};
    test_rng rng = {110};
    for (size_t i = 0; i < 8; i++) {
        lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
        convert_case c = case_new(&desc, 0);
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
        const lathe_pipeline_stage stages[] = {
            stage_to(middles[i % 4], &layout_options[i / 4]),
            stage_to(i % 2 == 0 ? LATHE_I8 : LATHE_I2, &layout_options[i / 4]),
            stage_to(LATHE_I4, &layout_options[i / 4]),
        };
        const uint32_t n = i % 4 == 2 ? 1 : 3;
        lathe_pipeline *pipeline = NULL;
        lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_pipeline_create(pool, n, stages, NULL, &pipeline));
        outcome expected = one_by_one(engines[0], c.tensor, n, stages);
        CHECK_OK(lathe_pipeline_run(engines[1], pipeline, c.tensor, &result, &stats));
        CHECK(test_same(result, expected.result), "%s", chain_text(&c, n, stages));
        CHECK(n == 1 || (stats.saved_bytes > 0 && stats.n_passes == 2), "%s: %d passes, %d saved",
              chain_text(&c, n, stages), (int)stats.n_passes, (int)stats.saved_bytes);
        lathe_tensor_release(result);
        lathe_tensor_release(expected.result);
        lathe_pipeline_free(pipeline);
        case_free(&c);
    }
}

/* Nor where it rounds before it takes means: a launch for the statistics where one scale is for
 * all, and none where rows or groups have theirs. */
Test(pipeline_cost, the_device_rounds_what_it_loads) {
    static const shape_option shapes[] = {{2, {64, 1280}}, {2, {16, 11008}}, {2, {16, 5001}}};
    static const lathe_dtype middles[] = {LATHE_F16, LATHE_BF16};
    test_rng rng = {111};
    for (size_t i = 0; i < 18; i++) {
        const layout_option *layout = &layout_options[i / 6];
        lathe_tensor_desc desc = desc_of(LATHE_F32, &shapes[i % 3], layout_options, 0);
        convert_case c = case_new(&desc, 0);
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
        const lathe_pipeline_stage stages[] = {
            stage_to(middles[i / 3 % 2], layout_options),
            stage_to(i % 2 == 0 ? LATHE_BITNET158 : LATHE_I1, layout)};
        lathe_pipeline *pipeline = NULL;
        lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_pipeline_create(pool, 2, stages, NULL, &pipeline));
        outcome expected = one_by_one(engines[0], c.tensor, 2, stages);
        CHECK_OK(lathe_pipeline_run(engines[1], pipeline, c.tensor, &result, &stats));
        CHECK(test_same(result, expected.result), "%s", chain_text(&c, 2, stages));
        CHECK(stats.saved_bytes > 0 && stats.n_passes == (i < 6 ? 2 : 1), "%s: %d passes, %d saved",
              chain_text(&c, 2, stages), (int)stats.n_passes, (int)stats.saved_bytes);
        lathe_tensor_release(result);
        lathe_tensor_release(expected.result);
        lathe_pipeline_free(pipeline);
        case_free(&c);
    }
}

/* Chunks of the source go through a device that has not room for all of it: once where scales lie
 * in chunks, twice with one scale for the tensor. A NaN in a late chunk is named all the same. */
Test(pipeline_cost, host_tensors_are_streamed) {
    static const uint64_t shape[] = {160, 4096};
    const uint64_t nan_at = 150 * 4096 + 5;
    const test_cl_layer *layer = test_cl_layer_find();
    lathe_config config = test_opencl_config();
    config.memory_budget_bytes = UINT64_C(5) << 19; /* less than the source */
    config.streaming.chunk_bytes = 256 << 10;
    static const struct {
        size_t layout;
        bool has_nan;
        bool is_rounded; /* F32 > F16 > BITNET158 */
    } cases[] = {{0, false, false}, {2, false, false}, {1, true, false},
                 {0, false, true},  {1, false, true},  {1, true, true}};
    for (size_t i = 0; layer != NULL && i < sizeof cases / sizeof cases[0]; i++) {
        const bool has_nan = cases[i].has_nan;
        const size_t layout = cases[i].layout;
        const uint32_t n = cases[i].is_rounded ? 2 : 3;
        lathe_engine *engine = NULL;
        lathe_pipeline_stage stages[3];
        lathe_pipeline *pipeline = NULL;
        lathe_tensor *result = NULL;
        lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
        make_stages(stages, &layout_options[layout]);
        stages[1].target.dtype = cases[i].is_rounded ? LATHE_BITNET158 : LATHE_I8;
        config.require_device = !has_nan; /* the CPU looks for it, without room for the stages */
        CHECK_OK(test_opencl_engine(&config, true, layer, &engine));
        CHECK_OK(lathe_pipeline_create(pool, n, stages, NULL, &pipeline));
        lathe_tensor *source = new_source(pool, 2, shape);
        if (has_nan) {
            ((float *)lathe_tensor_mutable_data(source))[nan_at] = NAN;
        }
        const uint64_t uploaded = test_engine_stats(engine).uploaded_bytes;
        const lathe_status status = lathe_pipeline_run(engine, pipeline, source, &result, &stats);
        if (has_nan) {
            CHECK(status == LATHE_NON_FINITE && lathe_last_error()->element == nan_at &&
                      strcmp(lathe_last_error()->stage, "stage 2") == 0,
                  "layout %zu: %s at %s, element %lld", layout, lathe_status_name(status),
                  lathe_last_error()->stage, (long long)lathe_last_error()->element);
        } else {
            const outcome expected = one_by_one(engines[0], source, n, stages);
            const uint64_t n_bytes = test_engine_stats(engine).uploaded_bytes - uploaded;
            const uint64_t n_passes = layout == 0 ? 2 : 1;
            CHECK(status == LATHE_OK && test_same(result, expected.result), "layout %zu: %s",
                  layout, lathe_last_error()->message);
            CHECK(stats.n_passes == n_passes && stats.saved_bytes > 0, "layout %zu: %d passes",
                  layout, (int)stats.n_passes);
            CHECK(n_bytes >= n_passes * lathe_tensor_n_bytes(source), "layout %zu: %d bytes",
                  layout, (int)n_bytes);
            lathe_tensor_release(expected.result);
            lathe_tensor_release(result);
        }
        lathe_tensor_release(source);
        lathe_pipeline_free(pipeline);
        lathe_engine_free(engine);
    }
}

#endif
