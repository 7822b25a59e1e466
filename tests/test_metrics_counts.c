/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what an engine counts: every public way to convert counts each tensor once, with its
 * bytes, in the group of its own strategy, failures included. */
#include "check.h"
#include "support.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 300, COLS = 400, N_ELEMS = ROWS * COLS, N_TENSORS = 5 };

static const uint64_t shape[] = {ROWS, COLS};
static const lathe_tensor_desc f32_desc = {
    .struct_size = sizeof f32_desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
static const lathe_target to_f16 = {.struct_size = sizeof to_f16, .dtype = LATHE_F16};
static const lathe_target to_i8 = {.struct_size = sizeof to_i8, .dtype = LATHE_I8};
static const lathe_target to_f32 = {.struct_size = sizeof to_f32, .dtype = LATHE_F32};

static lathe_engine *engine;
static lathe_tensor *source;
static lathe_metrics now;

static lathe_tensor *new_source(void) {
    lathe_tensor *made = NULL;
    test_rng rng = {9};
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &f32_desc, &made));
    test_fill_floats(&rng, LATHE_F32, TEST_DATA_NORMAL, lathe_tensor_mutable_data(made), N_ELEMS);
    return made;
}

static void set_up(void) {
    const lathe_config config = {.struct_size = sizeof config, .n_threads = 2};
    CHECK_OK(lathe_engine_create(&config, &engine));
    source = new_source();
    now.struct_size = sizeof now;
}

static void tear_down(void) {
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

TestSuite(metrics_counts, .init = set_up, .fini = tear_down);

/* What has been counted since the last call: so many tensors by that strategy, all alike. */
static void expect(lathe_strategy strategy, const lathe_target *target, uint64_t n_done,
                   uint64_t n_failed) {
    const char *name = lathe_strategy_name(strategy);
    const uint64_t scale_bytes = target->dtype == LATHE_I8 ? sizeof(float) : 0;
    uint64_t dst_bytes = 0;
    CHECK(lathe_dtype_row_bytes(target->dtype, N_ELEMS, &dst_bytes), "size");
    CHECK_OK(lathe_engine_metrics(engine, &now));
    const lathe_metrics_group *group = &now.by_strategy[strategy];
    CHECK(now.total.n_done == n_done && now.total.n_failed == n_failed, "%s: %d done, %d failed",
          name, (int)now.total.n_done, (int)now.total.n_failed);
    CHECK(group->n_done == n_done && group->n_failed == n_failed, "%s: of another strategy", name);
    CHECK(group->src_bytes == n_done * N_ELEMS * 4, "%s: %d bytes read", name,
          (int)group->src_bytes);
    CHECK(group->dst_bytes == n_done * (dst_bytes + scale_bytes), "%s: %d bytes written", name,
          (int)group->dst_bytes);
    CHECK(group->n_done == 0 || group->ns > 0, "%s: it took no time", name);
    CHECK(now.by_dtypes[LATHE_F32][target->dtype].n_done == n_done &&
              now.by_dtypes[LATHE_F32][target->dtype].n_failed == n_failed,
          "%s: other types", name);
    CHECK(now.by_processor[LATHE_PROCESSOR_CPU].n_done == n_done, "%s: not the CPU", name);
    CHECK(n_failed == 0 || now.failed_by_status[LATHE_NON_FINITE] == n_failed, "%s: status", name);
    CHECK(now.engine.n_conversions == n_done, "%s: the engine counts otherwise", name);
    CHECK_OK(lathe_engine_reset_metrics(engine));
}

static void put_nan(lathe_tensor *tensor) {
    const float nan = test_float(0x7fc00000u);
    memcpy((float *)lathe_tensor_mutable_data(tensor) + 777, &nan, sizeof nan);
}

Test(metrics_counts, convert) {
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engine, source, &to_i8, &result, NULL));
    expect(LATHE_STRATEGY_DIRECT, &to_i8, 1, 0);
    CHECK_OK(lathe_convert_into(engine, source, &to_i8, result, NULL));
    expect(LATHE_STRATEGY_DIRECT, &to_i8, 1, 0);
    lathe_tensor_release(result);
    lathe_event *event = NULL;
    CHECK_OK(lathe_convert_async(engine, source, &to_f16, &event));
    CHECK(lathe_event_wait(event, LATHE_FOREVER), "it is over");
    expect(LATHE_STRATEGY_DIRECT, &to_f16, 1, 0);
    lathe_event_release(event);
    put_nan(source);
    CHECK_STATUS(lathe_convert(engine, source, &to_i8, &result, NULL), LATHE_NON_FINITE);
    expect(LATHE_STRATEGY_DIRECT, &to_i8, 0, 1);
}

Test(metrics_counts, zero_copy) {
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engine, source, &to_f32, &result, NULL));
    expect(LATHE_STRATEGY_ZERO_COPY, &to_f32, 1, 0);
    lathe_tensor_release(result);
    CHECK_OK(lathe_zero_copy_convert(engine, source, &to_f32, &result));
    expect(LATHE_STRATEGY_ZERO_COPY, &to_f32, 1, 0);
    lathe_tensor_release(result);
}

Test(metrics_counts, in_place) {
    lathe_tensor *tensor = new_source();
    CHECK_OK(lathe_convert_in_place(engine, tensor, &to_i8, NULL));
    expect(LATHE_STRATEGY_IN_PLACE, &to_i8, 1, 0);
    lathe_tensor_release(tensor);
    tensor = new_source();
    put_nan(tensor);
    CHECK_STATUS(lathe_convert_in_place(engine, tensor, &to_i8, NULL), LATHE_NON_FINITE);
    expect(LATHE_STRATEGY_IN_PLACE, &to_i8, 0, 1);
    lathe_tensor_release(tensor);
}

Test(metrics_counts, streams) {
    lathe_tensor_desc desc;
    lathe_tensor *result = NULL;
    lathe_stream *stream = NULL;
    const lathe_source from = {
        .struct_size = sizeof from, .kind = LATHE_END_TENSOR, .tensor = source};
    CHECK_OK(lathe_target_desc(&to_i8, 2, shape, &desc));
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &result));
    const lathe_sink to = {.struct_size = sizeof to, .kind = LATHE_END_TENSOR, .tensor = result};
    CHECK_OK(lathe_stream_convert(engine, NULL, &to_i8, &from, &to, NULL, NULL));
    expect(LATHE_STRATEGY_STREAMING, &to_i8, 1, 0);
    CHECK_OK(lathe_stream_begin(engine, &f32_desc, &to_i8, &to, NULL, &stream));
    for (uint32_t round = 0; round < lathe_stream_n_rounds(stream); round++) {
        if (round > 0) {
            CHECK_OK(lathe_stream_rewind(stream));
        }
        CHECK_OK(lathe_stream_feed(stream, lathe_tensor_data(source), N_ELEMS * 4));
    }
    CHECK_OK(lathe_stream_finish(stream, NULL));
    lathe_stream_free(stream);
    expect(LATHE_STRATEGY_STREAMING, &to_i8, 1, 0);
    put_nan(source);
    CHECK_STATUS(lathe_stream_convert(engine, NULL, &to_i8, &from, &to, NULL, NULL),
                 LATHE_NON_FINITE);
    expect(LATHE_STRATEGY_STREAMING, &to_i8, 0, 1);
    lathe_tensor_release(result);
}

Test(metrics_counts, batches) {
    lathe_tensor *sources[N_TENSORS];
    lathe_tensor *results[N_TENSORS] = {0};
    for (size_t i = 0; i < N_TENSORS; i++) {
        sources[i] = new_source();
    }
    CHECK_OK(lathe_convert_batch(engine, N_TENSORS, sources, &to_i8, 1, NULL, results, NULL, NULL));
    expect(LATHE_STRATEGY_BATCH, &to_i8, N_TENSORS, 0);
    CHECK_OK(
        lathe_convert_batch_into(engine, N_TENSORS, sources, &to_i8, 1, NULL, results, NULL, NULL));
    expect(LATHE_STRATEGY_BATCH, &to_i8, N_TENSORS, 0);
    for (size_t i = 0; i < N_TENSORS; i++) {
        lathe_tensor_release(results[i]);
    }
    put_nan(sources[2]);
    CHECK_STATUS(
        lathe_convert_batch(engine, N_TENSORS, sources, &to_i8, 1, NULL, results, NULL, NULL),
        LATHE_NON_FINITE);
    expect(LATHE_STRATEGY_BATCH, &to_i8, N_TENSORS - 1, 1);
    for (size_t i = 0; i < N_TENSORS; i++) {
        lathe_tensor_release(results[i]);
        lathe_tensor_release(sources[i]);
    }
}

Test(metrics_counts, pipelines) {
    const lathe_pipeline_stage stages[] = {{.struct_size = sizeof stages[0], .target = to_f16},
                                           {.struct_size = sizeof stages[0], .target = to_i8}};
    const lathe_tensor *sources[] = {source, source, source};
    lathe_tensor *results[3] = {0};
    lathe_pipeline *pipeline = NULL;
    CHECK_OK(lathe_pipeline_create(lathe_engine_pool(engine), 2, stages, NULL, &pipeline));
    CHECK_OK(lathe_pipeline_run(engine, pipeline, source, &results[0], NULL));
    expect(LATHE_STRATEGY_PIPELINE, &to_i8, 1, 0);
    lathe_tensor_release(results[0]);
    CHECK_OK(lathe_pipeline_run_batch(engine, pipeline, 3, sources, results, NULL));
    expect(LATHE_STRATEGY_PIPELINE, &to_i8, 3, 0);
    for (size_t i = 0; i < 3; i++) {
        lathe_tensor_release(results[i]);
    }
    put_nan(source);
    CHECK_STATUS(lathe_pipeline_run(engine, pipeline, source, &results[0], NULL), LATHE_NON_FINITE);
    expect(LATHE_STRATEGY_PIPELINE, &to_i8, 0, 1);
    lathe_pipeline_free(pipeline);
}

Test(metrics_counts, checkpoints) {
    char in[] = P_tmpdir "/lathe-metrics-XXXXXX";
    char out[64];
    lathe_writer *writer = NULL;
    const int fd = mkstemp(in);
    CHECK(fd >= 0 && close(fd) == 0, "a file");
    (void)snprintf(out, sizeof out, "%s.out", in);
    CHECK_OK(lathe_writer_create(lathe_engine_pool(engine), in, 1, &writer));
    for (size_t i = 0; i < N_TENSORS; i++) {
        size_t index;
        CHECK_OK(lathe_writer_add(writer, test_text("t%zu", i), &f32_desc, &index));
    }
    for (size_t i = 0; i < N_TENSORS; i++) {
        CHECK_OK(lathe_writer_write(writer, i, 0, lathe_tensor_data(source), N_ELEMS * 4));
    }
    CHECK_OK(lathe_writer_finish(writer));
    const lathe_rule keep = {.glob = "t3"};
    const lathe_checkpoint_options options = {
        .struct_size = sizeof options, .target = to_i8, .rules = &keep, .n_rules = 1};
    CHECK_OK(lathe_checkpoint_convert(engine, in, out, &options, NULL));
    expect(LATHE_STRATEGY_STREAMING, &to_i8, N_TENSORS - 1, 0); /* what is kept is no conversion */
    CHECK(unlink(in) == 0 && unlink(out) == 0, "unlink");
}

/* Whatever way it is asked for. */
Test(metrics_counts, arguments_are_checked) {
    CHECK_STATUS(lathe_engine_metrics(NULL, &now), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_engine_metrics(engine, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_engine_reset_metrics(NULL), LATHE_INVALID_ARGUMENT);
    now.struct_size = 1;
    CHECK_STATUS(lathe_engine_metrics(engine, &now), LATHE_INVALID_ARGUMENT);
    size_t n = 5;
    CHECK_OK(lathe_engine_recent(engine, NULL, 0, &n));
    CHECK(n == 0, "there were none");
    CHECK(strcmp(lathe_processor_name(LATHE_PROCESSOR_BOTH), "both") == 0, "a name");
    static volatile int number = 3;
    CHECK(strcmp(lathe_processor_name((lathe_processor)number), "invalid") == 0, "no name");
}
