/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what optimize changes, and of batches through a pipeline. */
#include "pipeline_case.h"
#include <math.h>

TestSuite(pipeline_optimize, .init = setup_engines, .fini = teardown_engines);

/* ---- optimize */

/* What is dropped changes nothing: all chains of three stages, special values included. */
Test(pipeline_optimize, optimized_pipelines_give_the_same) {
    static const shape_option shape = {2, {5, 96}};
    static const test_data kinds[] = {TEST_DATA_NORMAL, TEST_DATA_SPECIAL, TEST_DATA_NONFINITE};
    test_rng rng = {109};
    uint32_t n_dropped = 0;
    for (int i = 0; i < 4096; i += PAIR_STEP == 1 ? (TEST_SANITIZED ? 7 : 1) : 401) {
        lathe_dtype from = (lathe_dtype)(LATHE_DTYPE_FIRST + i / 512);
        size_t layouts = (size_t)(i % 3);
        lathe_tensor_desc desc = desc_of(from, &shape, &layout_options[layouts], 0);
        convert_case c = case_new(&desc, (size_t)i);
        lathe_pipeline_stage stages[3];
        for (int k = 0; k < 3; k++) {
            stages[k] = stage_to((lathe_dtype)(LATHE_DTYPE_FIRST + (i >> (6 - 3 * k)) % 8),
                                 &layout_options[layouts]);
            stages[k].target.strict = test_random_below(&rng, 8) == 0;
            stages[k].target.nonfinite =
                test_random_below(&rng, 3) == 0 ? LATHE_NONFINITE_ERROR : LATHE_NONFINITE_SATURATE;
        }
        lathe_pipeline *pipeline = NULL;
        lathe_pipeline_report report = {.struct_size = sizeof report};
        CHECK_OK(lathe_pipeline_create(pool, 3, stages, NULL, &pipeline));
        CHECK_OK(lathe_pipeline_optimize(pipeline, &desc, &report));
        CHECK(report.n_before == 3 && report.n_after == lathe_pipeline_n_stages(pipeline) &&
                  report.n_repeated + report.n_widening == 3 - report.n_after &&
                  report.n_lines == 3 - report.n_after,
              "the report");
        n_dropped += report.n_lines;
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0] && report.n_lines > 0; k++) {
            lathe_tensor *result = NULL;
            test_fill_tensor(&rng, &desc, kinds[k], c.bytes, c.scales);
            outcome expected = one_by_one(engines[0], c.tensor, 3, stages);
            lathe_status status = lathe_pipeline_run(engines[1], pipeline, c.tensor, &result, NULL);
            CHECK(status == expected.status, "%s: %s, not %s", chain_text(&c, 3, stages),
                  lathe_status_name(status), lathe_status_name(expected.status));
            CHECK(status == LATHE_OK || lathe_last_error()->element == expected.element ||
                      stages[expected.stage].target.strict != 0,
                  "%s: the element", chain_text(&c, 3, stages));
            CHECK(status != LATHE_OK ||
                      (test_same(result, expected.result) &&
                       lathe_tensor_row_dims(result) == lathe_tensor_row_dims(expected.result)),
                  "%s: other bytes", chain_text(&c, 3, stages));
            lathe_tensor_release(result);
            lathe_tensor_release(expected.result);
        }
        lathe_pipeline_free(pipeline);
        case_free(&c);
    }
    CHECK(PAIR_STEP != 1 || n_dropped > 100, "%d dropped", (int)n_dropped);
}

Test(pipeline_optimize, what_optimize_drops) {
    lathe_tensor_desc f16 = {.struct_size = sizeof f16, .dtype = LATHE_F16};
    const lathe_pipeline_stage to_f32 = stage_to(LATHE_F32, layout_options);
    const lathe_pipeline_stage to_f16 = stage_to(LATHE_F16, layout_options);
    const lathe_pipeline_stage to_i8 = stage_to(LATHE_I8, layout_options);
    lathe_pipeline_stage stages[] = {to_f16, to_f32, to_f32, to_i8, to_i8};
    lathe_pipeline *pipeline = NULL;
    lathe_pipeline_report report = {.struct_size = sizeof report};
    CHECK_OK(lathe_pipeline_create(pool, 5, stages, NULL, &pipeline));
    CHECK_OK(lathe_pipeline_optimize(pipeline, &f16, &report));
    CHECK(report.n_after == 1 && report.n_repeated == 3 && report.n_widening == 1 &&
              lathe_pipeline_get_stage(pipeline, 0)->target.dtype == LATHE_I8,
          "all but one: %s", report.lines[0]);
    CHECK(strcmp(report.lines[0], "stage 1 (f16) dropped: the tensor is that already") == 0, "%s",
          report.lines[0]);
    const shape_option shape = {1, {40}};
    convert_case c = ones(LATHE_F32, &shape);
    lathe_tensor *result = NULL;
    CHECK_STATUS(lathe_pipeline_run(engines[0], pipeline, c.tensor, &result, NULL),
                 LATHE_INCOMPATIBLE_TYPES);
    f16.dtype = LATHE_F32;
    CHECK_STATUS(lathe_pipeline_optimize(pipeline, &f16, NULL), LATHE_INVALID_ARGUMENT);
    lathe_pipeline_free(pipeline);
    /* The first rounding counts; a stored stage was asked for; one stage is left. */
    stages[0] = to_f32;
    stages[1] = to_f16;
    stages[2] = to_f32;
    stages[2].strategy = LATHE_STRATEGY_DIRECT;
    CHECK_OK(lathe_pipeline_create(pool, 3, stages, NULL, &pipeline));
    CHECK_OK(lathe_pipeline_optimize(pipeline, &f16, &report));
    CHECK(report.n_after == 2 && lathe_pipeline_get_stage(pipeline, 0)->target.dtype == LATHE_F16,
          "f16 stays");
    lathe_pipeline_free(pipeline);
    CHECK_OK(lathe_pipeline_create(pool, 1, &to_f32, NULL, &pipeline));
    CHECK_OK(lathe_pipeline_optimize(pipeline, &f16, &report));
    CHECK(report.n_after == 1 && report.n_lines == 0, "the last one stays");
    lathe_pipeline_free(pipeline);
    case_free(&c);
}

/* ---- batches */

Test(pipeline_optimize, a_batch_keeps_its_order_and_its_faults_apart) {
    enum { N = 40 };
    lathe_tensor *sources[N];
    lathe_tensor *results[N];
    lathe_status statuses[N];
    lathe_pipeline *pipeline = NULL;
    lathe_pipeline_stage stages[3];
    make_stages(stages, &layout_options[1]);
    CHECK_OK(lathe_pipeline_create(pool, 3, stages, NULL, &pipeline));
    for (size_t i = 0; i < N; i++) {
        const uint64_t shape[] = {i + 1, i == 7 ? 80000 : 100};
        const lathe_tensor_desc desc = {
            .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
        CHECK_OK(lathe_tensor_create(pool, &desc, &sources[i]));
        fill(sources[i], (float)i);
    }
    ((float *)lathe_tensor_mutable_data(sources[20]))[5] = NAN;
    ((float *)lathe_tensor_mutable_data(sources[30]))[6] = INFINITY;
    for (size_t e = 0; e < n_engines; e++) {
        CHECK_STATUS(lathe_pipeline_run_batch(engines[e], pipeline, N,
                                              (const lathe_tensor *const *)sources, results,
                                              statuses),
                     LATHE_NON_FINITE);
        CHECK(lathe_last_error()->element == 5 &&
                  strstr(lathe_last_error()->message, "tensor 20: stage 2") != NULL,
              "%s", lathe_last_error()->message);
        for (size_t i = 0; i < N; i++) {
            bool bad = i == 20 || i == 30;
            CHECK(statuses[i] == (bad ? LATHE_NON_FINITE : LATHE_OK), "tensor %zu", i);
            CHECK((results[i] == NULL) == bad, "tensor %zu", i);
            if (!bad) {
                outcome expected = one_by_one(engines[0], sources[i], 3, stages);
                CHECK(test_same(results[i], expected.result), "tensor %zu", i);
                lathe_tensor_release(expected.result);
            }
            lathe_tensor_release(results[i]);
        }
    }
    CHECK_OK(lathe_pipeline_run_batch(engines[0], pipeline, 0, NULL, NULL, NULL));
    CHECK_STATUS(lathe_pipeline_run_batch(engines[0], pipeline, 1, NULL, results, NULL),
                 LATHE_INVALID_ARGUMENT);
    for (size_t i = 0; i < N; i++) {
        lathe_tensor_release(sources[i]);
    }
    lathe_pipeline_free(pipeline);
}
