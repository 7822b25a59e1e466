/* SPDX-License-Identifier: Apache-2.0 */
/* A tour of the library in nine sections: basic conversion, zero-copy, in place, streaming,
 * batches, configurations compared, the types, validation, metrics. Ends with status 1 if any of it
 * does not do what it says. */
#include <inttypes.h>
#include <lathe/lathe.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 256, COLS = 1024, N_ELEMS = ROWS * COLS };

static const uint64_t shape[] = {ROWS, COLS};

/* Ends the program after a failure. */
static void require(bool good, const char *what) {
    if (!good) {
        fprintf(stderr, "tour: %s failed (%s)\n", what, lathe_last_error()->message);
        exit(1);
    }
}

static void require_ok(lathe_status status, const char *what) {
    require(status == LATHE_OK, what);
}

static lathe_target target_of(lathe_dtype dtype, lathe_granularity granularity) {
    return (lathe_target){
        .struct_size = sizeof(lathe_target), .dtype = dtype, .granularity = granularity};
}

/* Values that look like weights: most are small, a few are not. */
static float weight(uint64_t i) {
    const double x = (double)(i * UINT64_C(2654435761) % 100003) / 50001.5 - 1;
    return (float)(0.05 * x / (1.02 - x * x));
}

static lathe_tensor *make_weights(lathe_engine *engine) {
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    lathe_tensor *tensor = NULL;
    require_ok(lathe_tensor_create(lathe_engine_pool(engine), &desc, &tensor), "a tensor");
    float *values = lathe_tensor_mutable_data(tensor);
    for (uint64_t i = 0; i < N_ELEMS; i++) {
        values[i] = weight(i);
    }
    return tensor;
}

static uint64_t bytes_of(const lathe_tensor *tensor) {
    return lathe_tensor_n_bytes(tensor) + lathe_tensor_n_scales(tensor) * sizeof(float);
}

static bool same_bytes(const lathe_tensor *a, const lathe_tensor *b) {
    return lathe_tensor_n_bytes(a) == lathe_tensor_n_bytes(b) &&
           memcmp(lathe_tensor_data(a), lathe_tensor_data(b), lathe_tensor_n_bytes(a)) == 0;
}

static void title(int number, const char *text) {
    printf("%s%d. %s\n", number == 1 ? "" : "\n", number, text);
}

/* One call; the report says what the conversion has cost in precision. */
static void basic(lathe_engine *engine) {
    title(1, "Basic conversion");
    lathe_tensor *source = make_weights(engine);
    lathe_tensor *result = NULL;
    lathe_quality_report quality = {.struct_size = sizeof quality};
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &quality};
    const lathe_target target = target_of(LATHE_I8, LATHE_PER_ROW);
    require_ok(lathe_convert(engine, source, &target, &result, &stats), "a conversion");
    printf("   F32 to I8: %" PRIu64 " bytes became %" PRIu64
           ", SQNR %.1f dB, greatest error %.5f\n",
           bytes_of(source), bytes_of(result), quality.sqnr_db, quality.max_abs_error);
    lathe_tensor_release(result);
    lathe_tensor_release(source);
}

/* The same type costs nothing, and views show the same memory in another way. */
static void zero_copy(lathe_engine *engine) {
    title(2, "Zero-copy");
    lathe_tensor *source = make_weights(engine);
    lathe_tensor *same = NULL;
    lathe_tensor *rows = NULL;
    lathe_tensor *refused = NULL;
    const lathe_target f32 = target_of(LATHE_F32, LATHE_PER_TENSOR);
    const lathe_target f16 = target_of(LATHE_F16, LATHE_PER_TENSOR);
    require_ok(lathe_zero_copy_convert(engine, source, &f32, &same), "a zero-copy conversion");
    require_ok(lathe_tensor_view_rows(source, 16, 4, &rows), "a view");
    require(lathe_tensor_data(same) == lathe_tensor_data(source), "sharing memory");
    const float *begin = lathe_tensor_data(source);
    require(lathe_tensor_data(rows) == begin + 16 * COLS, "a view of rows");
    printf("   F32 to F32 shares the memory; so do rows 16 to 19\n");
    require(lathe_zero_copy_convert(engine, source, &f16, &refused) == LATHE_INCOMPATIBLE_TYPES,
            "refusing");
    printf("   F32 to F16 cannot: %s\n", lathe_last_error()->message);
    lathe_tensor_release(source); /* the view keeps the memory alive */
    lathe_tensor_release(same);
    lathe_tensor_release(rows);
}

/* The result takes the source's place: no second buffer. */
static void in_place(lathe_engine *engine) {
    title(3, "In place");
    lathe_tensor *tensor = make_weights(engine);
    lathe_pool_stats before = {.struct_size = sizeof before};
    lathe_pool_stats after = {.struct_size = sizeof after};
    const void *data = lathe_tensor_data(tensor);
    const uint64_t n_bytes = lathe_tensor_n_bytes(tensor);
    const lathe_target f16 = target_of(LATHE_F16, LATHE_PER_TENSOR);
    require_ok(lathe_pool_get_stats(lathe_engine_pool(engine), &before), "statistics");
    require_ok(lathe_convert_in_place(engine, tensor, &f16, NULL), "a conversion in place");
    require_ok(lathe_pool_get_stats(lathe_engine_pool(engine), &after), "statistics");
    require(lathe_tensor_data(tensor) == data, "staying in place");
    require(after.in_use_bytes <= before.in_use_bytes, "needing no memory");
    printf("   F32 to F16: %" PRIu64 " bytes became %" PRIu64 " at the same address; "
           "the pool has %" PRIu64 " bytes in use, before it had %" PRIu64 "\n",
           n_bytes, lathe_tensor_n_bytes(tensor), after.in_use_bytes, before.in_use_bytes);
    lathe_tensor_release(tensor);
}

/* A producer that makes its data on the fly: nothing ever holds all of it. */
static lathe_status produce(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    (void)ctx;
    float *values = buffer;
    const uint64_t first = offset / sizeof(float);
    for (size_t i = 0; i < n_bytes / sizeof(float); i++) {
        values[i] = weight(first + i);
    }
    return LATHE_OK;
}

static int count_calls(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    (void)done_bytes;
    (void)total_bytes;
    ++*(int *)ctx;
    return 0;
}

static void streaming(lathe_engine *engine) {
    title(4, "Streaming");
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_target target = target_of(LATHE_BITNET158, LATHE_PER_ROW);
    lathe_tensor *source = make_weights(engine);
    lathe_tensor *at_once = NULL;
    lathe_tensor *streamed = NULL;
    lathe_tensor_desc to;
    int n_chunks = 0;
    require_ok(lathe_convert(engine, source, &target, &at_once, NULL), "a conversion");
    require_ok(lathe_target_desc(&target, 2, shape, &to), "a description");
    require_ok(lathe_tensor_create(lathe_engine_pool(engine), &to, &streamed), "a tensor");
    const lathe_source from = {
        .struct_size = sizeof from, .kind = LATHE_END_CALLBACK, .read = produce};
    const lathe_sink into = {
        .struct_size = sizeof into, .kind = LATHE_END_TENSOR, .tensor = streamed};
    const lathe_stream_options options = {
        .struct_size = sizeof options,
        .streaming = {.chunk_bytes = 128 * 1024},
        .progress = count_calls,
        .progress_ctx = &n_chunks,
    };
    require_ok(lathe_stream_convert(engine, &desc, &target, &from, &into, &options, NULL),
               "a stream");
    require(same_bytes(at_once, streamed), "giving the same bytes");
    printf("   %d chunks from a callback gave the bytes of one conversion\n", n_chunks);
    lathe_tensor_release(streamed);
    lathe_tensor_release(at_once);
    lathe_tensor_release(source);
}

/* One tensor of the batch holds a NaN; the others do not suffer from it. */
static void batch(lathe_engine *engine) {
    enum { N = 8, BAD = 5 };
    title(5, "Batch");
    lathe_tensor *sources[N];
    lathe_tensor *results[N];
    lathe_error errors[N];
    const lathe_target target = target_of(LATHE_I4, LATHE_PER_ROW);
    for (int i = 0; i < N; i++) {
        sources[i] = make_weights(engine);
    }
    float *values = lathe_tensor_mutable_data(sources[BAD]);
    values[77] = NAN;
    const lathe_status status =
        lathe_convert_batch(engine, N, sources, &target, 1, NULL, results, errors, NULL);
    require(status == LATHE_NON_FINITE && results[BAD] == NULL, "finding the NaN");
    printf("   tensor %d: %s\n", BAD, errors[BAD].message);
    int n_converted = 0;
    for (int i = 0; i < N; i++) {
        n_converted += results[i] != NULL;
        lathe_tensor_release(results[i]);
        lathe_tensor_release(sources[i]);
    }
    require(n_converted == N - 1, "converting the others");
    printf("   the other %d are converted\n", n_converted);
}

/* Presets differ in what they do and in what they cost. */
static void configurations(void) {
    static const lathe_preset presets[] = {LATHE_PRESET_DEFAULT, LATHE_PRESET_HIGH_PERFORMANCE,
                                           LATHE_PRESET_LOW_MEMORY, LATHE_PRESET_HIGH_PRECISION};
    title(6, "Configurations compared, F32 to I4");
    printf("   %-17s %9s %12s %10s\n", "preset", "ms", "pool peak", "SQNR dB");
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        lathe_config config;
        lathe_target target;
        lathe_engine *engine = NULL;
        lathe_tensor *result = NULL;
        lathe_quality_report quality = {.struct_size = sizeof quality};
        lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &quality};
        lathe_metrics *metrics = calloc(1, sizeof *metrics);
        require(metrics != NULL, "memory");
        metrics->struct_size = sizeof *metrics;
        require_ok(lathe_config_preset(presets[i], &config), "a preset");
        require_ok(lathe_target_preset(presets[i], LATHE_I4, &target), "a preset");
        require_ok(lathe_engine_create(&config, &engine), "an engine");
        lathe_tensor *source = make_weights(engine);
        require_ok(lathe_convert(engine, source, &target, &result, &stats), "a conversion");
        require_ok(lathe_engine_metrics(engine, metrics), "metrics");
        printf("   %-17s %9.3f %12" PRIu64 " %10.2f\n", lathe_preset_name(presets[i]),
               (double)metrics->total.ns * 1e-6, metrics->pool.peak_bytes, quality.sqnr_db);
        free(metrics);
        lathe_tensor_release(result);
        lathe_tensor_release(source);
        lathe_engine_free(engine);
    }
}

/* What every type makes of the same tensor. */
static void types(lathe_engine *engine) {
    static const lathe_dtype dtypes[] = {LATHE_F32, LATHE_F16, LATHE_BF16, LATHE_I8,
                                         LATHE_I4,  LATHE_I2,  LATHE_I1,   LATHE_BITNET158};
    title(7, "Types, one scale a row");
    printf("   %-10s %9s %7s %9s %11s\n", "type", "bytes", "ratio", "SQNR dB", "cosine");
    lathe_tensor *source = make_weights(engine);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        lathe_target target = target_of(dtypes[i], LATHE_PER_TENSOR);
        target.granularity = lathe_dtype_is_quantized(dtypes[i]) ? LATHE_PER_ROW : LATHE_PER_TENSOR;
        lathe_tensor *result = NULL;
        lathe_quality_report quality = {.struct_size = sizeof quality};
        require_ok(lathe_convert(engine, source, &target, &result, NULL), "a conversion");
        require_ok(lathe_tensor_compare(engine, source, result, &quality), "a comparison");
        printf("   %-10s %9" PRIu64 " %7.2f %9.2f %11.6f\n", lathe_dtype_name(dtypes[i]),
               bytes_of(result), (double)bytes_of(source) / (double)bytes_of(result),
               quality.sqnr_db, quality.cosine);
        lathe_tensor_release(result);
    }
    lathe_tensor_release(source);
}

static void print_finding(void *ctx, const char *field, const char *text) {
    ++*(int *)ctx;
    printf("   %s: %s\n", field, text);
}

/* What is wrong is named: in a config, in a target, in the data. */
static void validation(lathe_engine *engine) {
    title(8, "Validation");
    lathe_config config = {.struct_size = sizeof config};
    int n_findings = 0;
    config.n_threads = 1000000;
    config.device = "abacus";
    require(lathe_config_validate(&config, print_finding, &n_findings) == LATHE_INVALID_ARGUMENT &&
                n_findings == 2,
            "finding both fields");
    lathe_tensor *source = make_weights(engine);
    lathe_tensor *result = NULL;
    lathe_target target = target_of(LATHE_BITNET158, LATHE_PER_GROUP);
    target.group_size = 33;
    require(lathe_convert(engine, source, &target, &result, NULL) == LATHE_INVALID_ARGUMENT,
            "refusing the group size");
    printf("   %s\n", lathe_last_error()->message);
    target = target_of(LATHE_F16, LATHE_PER_TENSOR);
    target.strict = 1;
    require(lathe_convert(engine, source, &target, &result, NULL) == LATHE_DATA_LOSS,
            "noticing the loss");
    printf("   %s\n", lathe_last_error()->message);
    lathe_tensor_release(source);
}

/* Everything above has been counted. */
static void metrics(lathe_engine *engine) {
    title(9, "Metrics");
    lathe_metrics *taken = calloc(1, sizeof *taken);
    lathe_metrics_summary summary = {.struct_size = sizeof summary};
    require(taken != NULL, "memory");
    taken->struct_size = sizeof *taken;
    require_ok(lathe_engine_metrics(engine, taken), "metrics");
    require_ok(lathe_metrics_summarize(taken, &summary), "a summary");
    printf("   %" PRIu64 " conversions, %.0f %% succeeded; half took under %.0f us; "
           "most used: %s, fastest: %s\n",
           taken->total.n_done + taken->total.n_failed, 100 * summary.success_rate,
           (double)summary.p50_ns * 1e-3, lathe_strategy_name(summary.most_used),
           lathe_strategy_name(summary.fastest));
    for (int i = 1; i < LATHE_METRICS_STRATEGIES; i++) {
        const lathe_metrics_group *group = &taken->by_strategy[i];
        if (group->n_done > 0) {
            printf("   %-10s %3" PRIu64 " done, %8" PRIu64 " bytes in, %8" PRIu64 " out\n",
                   lathe_strategy_name((lathe_strategy)i), group->n_done, group->src_bytes,
                   group->dst_bytes);
        }
    }
    free(taken);
}

int main(void) {
    lathe_engine *engine = NULL;
    require_ok(lathe_engine_create(NULL, &engine), "an engine");
    basic(engine);
    zero_copy(engine);
    in_place(engine);
    streaming(engine);
    batch(engine);
    configurations();
    types(engine);
    validation(engine);
    metrics(engine);
    lathe_engine_free(engine);
    return 0;
}
