/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of every strategy fails, alone or with all that follow: the error says so,
 * nothing is left, the source is what it was, and with memory again the same call works. */
#include "check.h"
#include "support.h"
#include <stdio.h>
#include <string.h>
#ifdef TEST_OPENCL
#include "opencl_support.h"
#endif

#define MIB (UINT64_C(1) << 20)

enum { ROWS = 48, COLS = 1501, N_BATCH = 12 };

static const uint64_t shape[] = {ROWS, COLS};

static const lathe_tensor_desc source_desc = {
    .struct_size = sizeof(lathe_tensor_desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};

static lathe_engine *reference; /* whose memory does not fail */
static lathe_tensor *original;  /* F32, of the reference's pool */

/* What is tried, with an engine whose memory fails. */
typedef struct attempt {
    lathe_engine *engine;
    lathe_target target;
    lathe_tensor *source;   /* original's values, on the host */
    lathe_tensor *expected; /* source to target */
} attempt;

static lathe_target target_to(lathe_dtype dtype, lathe_granularity granularity,
                              lathe_quality quality) {
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = dtype,
                          .granularity = granularity,
                          .group_size = granularity == LATHE_PER_GROUP ? 64 : 0,
                          .quality = quality};
}

/* Compares a result of OK, and releases whatever there is. */
static lathe_status close_result(const attempt *a, lathe_status status, lathe_tensor *result) {
    if (status == LATHE_OK) {
        CHECK(result != NULL, "no result");
        CHECK(test_same(result, a->expected), "other bytes");
    } else {
        CHECK(result == NULL, "an error gave a result");
    }
    lathe_tensor_release(result);
    return status;
}

/* ---- one tensor */

static lathe_status convert(attempt *a) {
    lathe_tensor *result = NULL;
    const lathe_status status = lathe_convert(a->engine, a->source, &a->target, &result, NULL);
    return close_result(a, status, result);
}

static lathe_status convert_with_report(attempt *a) {
    lathe_tensor *result = NULL;
    lathe_quality_report report = {.struct_size = sizeof report};
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &report};
    const lathe_status status = lathe_convert(a->engine, a->source, &a->target, &result, &stats);
    CHECK(status != LATHE_OK || report.n_elems == ROWS * COLS, "no report");
    return close_result(a, status, result);
}

static lathe_tensor *new_result(const attempt *a) {
    lathe_tensor_desc desc;
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_target_desc(&a->target, 2, shape, &desc));
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(reference), &desc, &result));
    return result;
}

/* The result is not the failing pool's. */
static lathe_status close_into(const attempt *a, lathe_status status, lathe_tensor *result) {
    CHECK(status != LATHE_OK || test_same(result, a->expected), "other bytes");
    lathe_tensor_release(result);
    return status;
}

static lathe_status convert_into(attempt *a) {
    lathe_tensor *result = new_result(a);
    return close_into(a, lathe_convert_into(a->engine, a->source, &a->target, result, NULL),
                      result);
}

static lathe_status convert_async(attempt *a) {
    lathe_event *event = NULL;
    lathe_status status =
        lathe_convert_measured_async(a->engine, a->source, &a->target, NULL, &event);
    if (status != LATHE_OK) {
        CHECK(event == NULL, "an error gave an event");
        return status;
    }
    status = lathe_event_status(event);
    lathe_tensor *result = lathe_event_result(event);
    lathe_event_release(event);
    return close_result(a, status, result);
}

static lathe_status in_place(attempt *a) {
    lathe_tensor *tensor = NULL;
    lathe_status status = lathe_tensor_materialize(a->engine, a->source, &tensor);
    if (status != LATHE_OK) {
        return status;
    }
    status = lathe_convert_in_place(a->engine, tensor, &a->target, NULL);
    CHECK(test_same(tensor, status == LATHE_OK ? a->expected : original),
          "neither converted nor what it was");
    lathe_tensor_release(tensor);
    return status;
}

/* ---- sharing */

static lathe_status views(attempt *a) {
    static const uint64_t other[] = {ROWS / 2, 2, COLS};
    const lathe_target same = {.struct_size = sizeof same, .dtype = LATHE_F32, .row_dims = 2};
    lathe_tensor *made[4] = {NULL};
    lathe_status status = lathe_tensor_view_rows(a->source, 3, 5, &made[0]);
    if (status == LATHE_OK) {
        status = lathe_tensor_view_reshape(a->source, 3, other, 1, &made[1]);
    }
    if (status == LATHE_OK) {
        status = lathe_zero_copy_convert(a->engine, a->source, &same, &made[2]);
    }
    if (status == LATHE_OK) {
        made[3] = lathe_tensor_retain(made[1]);
        status = lathe_tensor_make_unique(a->engine, &made[3]);
        CHECK((status == LATHE_OK) == (made[3] != made[1]), "a copy, or what it was");
    }
    for (size_t i = 0; i < 4; i++) {
        lathe_tensor_release(made[i]);
    }
    return status;
}

static lathe_status dlpack(attempt *a) {
    struct DLManagedTensorVersioned *exported = NULL;
    lathe_tensor *back = NULL;
    lathe_status status = lathe_dlpack_export(a->source, LATHE_DLPACK_VALUES, &exported);
    if (status != LATHE_OK) {
        return status;
    }
    status = lathe_dlpack_import(a->engine, exported, NULL, &back);
    if (status != LATHE_OK) { /* the struct is still ours: what can be done is to try again */
        const lathe_status first = status;
        CHECK_OK(lathe_dlpack_import(reference, exported, NULL, &back));
        status = first;
    }
    CHECK(lathe_tensor_data(back) == lathe_tensor_data(a->source), "a copy");
    lathe_tensor_release(back);
    return status;
}

/* ---- streams */

static lathe_status read_source(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    const attempt *a = ctx;
    memcpy(buffer, (const uint8_t *)lathe_tensor_data(a->source) + offset, n_bytes);
    return LATHE_OK;
}

static lathe_status write_result(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    const attempt *a = ctx;
    CHECK(memcmp((const uint8_t *)lathe_tensor_data(a->expected) + offset, bytes, n_bytes) == 0,
          "other bytes");
    return LATHE_OK;
}

static lathe_status write_scales(void *ctx, uint64_t first, const float *scales, size_t n_scales) {
    const attempt *a = ctx;
    CHECK(memcmp(lathe_tensor_scales(a->expected) + first, scales, n_scales * sizeof *scales) == 0,
          "other scales");
    return LATHE_OK;
}

static lathe_sink callbacks_of(attempt *a) {
    return (lathe_sink){.struct_size = sizeof(lathe_sink),
                        .kind = LATHE_END_CALLBACK,
                        .ctx = a,
                        .write = write_result,
                        .write_scales = write_scales,
                        .in_order = 1};
}

static lathe_status stream_tensors(attempt *a) {
    lathe_tensor *result = new_result(a);
    const lathe_source from = {
        .struct_size = sizeof from, .kind = LATHE_END_TENSOR, .tensor = a->source};
    const lathe_sink to = {.struct_size = sizeof to, .kind = LATHE_END_TENSOR, .tensor = result};
    return close_into(a, lathe_stream_convert(a->engine, NULL, &a->target, &from, &to, NULL, NULL),
                      result);
}

static lathe_status stream_callbacks(attempt *a) {
    const lathe_source from = {
        .struct_size = sizeof from, .kind = LATHE_END_CALLBACK, .ctx = a, .read = read_source};
    const lathe_sink to = callbacks_of(a);
    const lathe_stream_options options = {
        .struct_size = sizeof options,
        .streaming = {.chunk_bytes = 64 << 10, .prefetch_chunks = 1}};
    return lathe_stream_convert(a->engine, &source_desc, &a->target, &from, &to, &options, NULL);
}

static lathe_status feed_all(const attempt *a, lathe_stream *stream) {
    enum { PIECE = 70000 };
    const uint8_t *bytes = lathe_tensor_data(a->source);
    size_t left = (size_t)lathe_tensor_n_bytes(a->source);
    lathe_status status = LATHE_OK;
    while (status == LATHE_OK && left > 0) {
        const size_t n = left < PIECE ? left : PIECE;
        status = lathe_stream_feed(stream, bytes, n);
        bytes += n;
        left -= n;
    }
    return status;
}

static lathe_status stream_fed(attempt *a) {
    const lathe_sink to = callbacks_of(a);
    lathe_stream *stream = NULL;
    lathe_status status =
        lathe_stream_begin(a->engine, &source_desc, &a->target, &to, NULL, &stream);
    for (uint32_t round = 0; status == LATHE_OK && round < lathe_stream_n_rounds(stream); round++) {
        status = round == 0 ? LATHE_OK : lathe_stream_rewind(stream);
        status = status == LATHE_OK ? feed_all(a, stream) : status;
    }
    if (status == LATHE_OK) {
        status = lathe_stream_finish(stream, NULL);
    }
    lathe_stream_free(stream);
    return status;
}

/* ---- many tensors, and many stages */

/* Views of the source's rows, to the target and to F16 in turn, with a report for each. */
static lathe_status batch(attempt *a) {
    lathe_tensor *sources[N_BATCH] = {NULL};
    lathe_tensor *results[N_BATCH] = {NULL};
    lathe_target targets[N_BATCH];
    lathe_error errors[N_BATCH];
    static lathe_quality_report reports[N_BATCH];
    const lathe_batch_options options = {.struct_size = sizeof options, .reports = reports};
    for (size_t i = 0; i < N_BATCH; i++) {
        targets[i] = a->target;
        targets[i].dtype = i % 4 == 3 ? LATHE_F16 : a->target.dtype;
        reports[i].struct_size = sizeof reports[i];
        CHECK_OK(lathe_tensor_view_rows(original, i, 1 + i % 3, &sources[i]));
    }
    const lathe_status status = lathe_convert_batch(a->engine, N_BATCH, sources, targets, N_BATCH,
                                                    &options, results, errors, NULL);
    for (size_t i = 0; i < N_BATCH; i++) {
        lathe_tensor *wanted = NULL;
        if (results[i] != NULL) {
            CHECK_OK(lathe_convert(reference, sources[i], &targets[i], &wanted, NULL));
            CHECK(test_same(results[i], wanted), "tensor %zu: other bytes", i);
        } else {
            CHECK(status != LATHE_OK, "tensor %zu is missing", i);
        }
        lathe_tensor_release(wanted);
        lathe_tensor_release(results[i]);
        lathe_tensor_release(sources[i]);
    }
    return status;
}

/* BF16, I8, then the target, the first of which keeps what it makes. */
static lathe_status pipeline(attempt *a) {
    lathe_pipeline_stage stages[] = {
        {.struct_size = sizeof stages[0],
         .target = target_to(LATHE_BF16, LATHE_PER_TENSOR, LATHE_BALANCED),
         .cache = a->target.quality == LATHE_FAST},
        {.struct_size = sizeof stages[0],
         .target = target_to(LATHE_I8, a->target.granularity, LATHE_BALANCED)},
        {.struct_size = sizeof stages[0], .target = a->target},
    };
    const lathe_pipeline_options options = {.struct_size = sizeof options, .cache_bytes = MIB};
    lathe_pipeline *made = NULL;
    lathe_tensor *result = NULL;
    lathe_tensor *step = lathe_tensor_retain(original);
    for (size_t i = 0; i < 3; i++) {
        lathe_tensor *next = NULL;
        CHECK_OK(lathe_convert(reference, step, &stages[i].target, &next, NULL));
        lathe_tensor_release(step);
        step = next;
    }
    lathe_status status =
        lathe_pipeline_create(lathe_engine_pool(a->engine), 3, stages, &options, &made);
    if (status == LATHE_OK) {
        status = lathe_pipeline_run(a->engine, made, a->source, &result, NULL);
    }
    lathe_pipeline_free(made);
    CHECK(status == LATHE_OK ? test_same(result, step) : result == NULL, "other bytes");
    lathe_tensor_release(step);
    lathe_tensor_release(result);
    return status;
}

/* ---- what is said about conversions */

static lathe_status texts(attempt *a) {
    static lathe_metrics metrics = {.struct_size = sizeof metrics};
    lathe_plan plan = {.struct_size = sizeof plan};
    lathe_pool *pool = lathe_engine_pool(a->engine);
    char *made[4] = {NULL};
    lathe_status status =
        lathe_plan_make(a->engine, &source_desc, LATHE_MEMORY_HOST, &a->target, NULL, &plan);
    if (status == LATHE_OK) {
        status = lathe_plan_text(&plan, pool, &made[0]);
    }
    if (status == LATHE_OK) {
        status = lathe_plan_json(&plan, pool, &made[1]);
    }
    CHECK_OK(lathe_engine_metrics(a->engine, &metrics));
    if (status == LATHE_OK) {
        status = lathe_metrics_to_json(&metrics, pool, &made[2]);
    }
    if (status == LATHE_OK) {
        status = lathe_metrics_to_prometheus(&metrics, pool, &made[3]);
    }
    for (size_t i = 0; i < 4; i++) {
        CHECK_OK(lathe_pool_free(pool, made[i]));
    }
    return status;
}

static lathe_status compare(attempt *a) {
    lathe_quality_report report = {.struct_size = sizeof report};
    return lathe_tensor_compare(a->engine, a->source, a->expected, &report);
}

/* ---- a device's own tensors, which on the CPU are the host's */

static lathe_status device_tensors(attempt *a) {
    lathe_tensor_desc desc;
    lathe_tensor *made[2] = {NULL};
    lathe_tensor *host = new_result(a);
    lathe_status status =
        lathe_engine_tensor_create(a->engine, LATHE_MEMORY_DEVICE, &source_desc, &made[0]);
    CHECK_OK(lathe_target_desc(&a->target, 2, shape, &desc));
    if (status == LATHE_OK) {
        status = lathe_engine_tensors_create(a->engine, LATHE_MEMORY_DEVICE, 1, &desc, &made[1]);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(a->engine, a->source, made[0]);
    }
    if (status == LATHE_OK) {
        status = lathe_convert_into(a->engine, made[0], &a->target, made[1], NULL);
    }
    if (status == LATHE_OK) {
        status = lathe_convert_in_place(a->engine, made[0], &a->target, NULL);
    }
    for (size_t i = 0; i < 2 && status == LATHE_OK; i++) {
        status = lathe_tensor_copy(a->engine, made[i], host);
        CHECK(status != LATHE_OK || test_same(host, a->expected), "other bytes");
    }
    lathe_tensor_release(made[0]);
    lathe_tensor_release(made[1]);
    lathe_tensor_release(host);
    return status;
}

/* ---- making them fail */

typedef struct operation {
    const char *name;
    lathe_status (*run)(attempt *a);
} operation;

static const operation operations[] = {
    {"convert", convert},
    {"convert with a report", convert_with_report},
    {"convert into", convert_into},
    {"async", convert_async},
    {"in place", in_place},
    {"views", views},
    {"dlpack", dlpack},
    {"stream of tensors", stream_tensors},
    {"stream of callbacks", stream_callbacks},
    {"fed stream", stream_fed},
    {"batch", batch},
    {"pipeline", pipeline},
    {"texts", texts},
    {"compare", compare},
    {"device tensors", device_tensors},
};

static lathe_target targets[5];

static void setup(void) {
    const lathe_config config = {.struct_size = sizeof config, .n_threads = 1, .device = "cpu"};
    test_rng rng = {41};
    targets[0] = target_to(LATHE_F16, LATHE_PER_TENSOR, LATHE_BALANCED);
    targets[1] = target_to(LATHE_I8, LATHE_PER_TENSOR, LATHE_BALANCED);
    targets[2] = target_to(LATHE_BITNET158, LATHE_PER_ROW, LATHE_BALANCED);
    targets[3] = target_to(LATHE_I4, LATHE_PER_GROUP, LATHE_FAST);
    targets[4] = target_to(LATHE_I2, LATHE_PER_TENSOR, LATHE_PRECISE);
    CHECK_OK(lathe_engine_create(&config, &reference));
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(reference), &source_desc, &original));
    test_fill_tensor(&rng, &source_desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(original),
                     NULL);
}

static void teardown(void) {
    lathe_tensor_release(original);
    lathe_engine_free(reference);
}

TestSuite(allocations, .init = setup, .fini = teardown);

/* PRECISE on a fed stream takes more rounds than two. */
static bool is_possible(const operation *act, const lathe_target *target) {
    return act->run != stream_fed || target->quality != LATHE_PRECISE;
}

/* Allocation `at` of the act fails; false once there is none. */
static bool fail_at(lathe_status (*create)(const lathe_config *, lathe_engine **),
                    lathe_config config, const operation *act, attempt *a, uint64_t at,
                    bool ever_after) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    config.allocator = &allocator.interface;
    CHECK_OK(create(&config, &a->engine));
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(a->engine), &source_desc, &a->source));
    memcpy(lathe_tensor_mutable_data(a->source), lathe_tensor_data(original),
           (size_t)lathe_tensor_n_bytes(original));
    (void)lathe_pool_trim(lathe_engine_pool(a->engine), 0);
    test_allocator_reset(&allocator, at);
    allocator.fail_ever_after = ever_after;
    const lathe_status status = act->run(a);
    const bool is_over = allocator.n_calls <= at;
    allocator.fail_ever_after = false;
    test_allocator_reset(&allocator, UINT64_MAX);
    char where[128];
    (void)snprintf(where, sizeof where, "%s to %s, allocation %d%s", act->name,
                   lathe_dtype_name(a->target.dtype), (int)at,
                   ever_after ? " and all later ones" : "");
    CHECK(status == LATHE_OK || (status == LATHE_INSUFFICIENT_MEMORY && !is_over), "%s: %s, %s",
          where, lathe_status_name(status), lathe_last_error()->message);
    CHECK(status == LATHE_OK || lathe_last_error()->status == status, "%s: the last error", where);
    CHECK(test_same(a->source, original), "%s: the source was changed", where);
    CHECK_OK(act->run(a)); /* with memory again */
    lathe_tensor_release(a->source);
    lathe_engine_free(a->engine);
    CHECK(allocator.n_live == 0 && !allocator.misused, "%s: %d blocks are left", where,
          (int)allocator.n_live);
    return !is_over;
}

static void fail_all(lathe_status (*create)(const lathe_config *, lathe_engine **),
                     const lathe_config *config, const operation *act, const lathe_target *target) {
    attempt a = {.target = *target};
    CHECK_OK(lathe_convert(reference, original, target, &a.expected, NULL));
    for (uint64_t at = 0; fail_at(create, *config, act, &a, at, at % 2 == 1); at++) {
        CHECK(at < 1000, "%s: allocations without end", act->name);
    }
    lathe_tensor_release(a.expected);
}

#ifdef TEST_OPENCL
enum { TARGET_STEP = 3 }; /* a device takes its time */
#else
enum { TARGET_STEP = 1 };
#endif

static void try_all(lathe_status (*create)(const lathe_config *, lathe_engine **),
                    const lathe_config *config) {
    const size_t n_targets = sizeof targets / sizeof targets[0];
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        for (size_t t = 0; t < n_targets; t += TARGET_STEP) {
            const lathe_target *target = &targets[(i + t) % n_targets];
            if (is_possible(&operations[i], target)) {
                fail_all(create, config, &operations[i], target);
            }
        }
    }
}

#ifndef TEST_OPENCL

Test(allocations, may_fail_on_the_cpu) {
    const lathe_config config = {.struct_size = sizeof config, .n_threads = 2, .device = "cpu"};
    try_all(lathe_engine_create, &config);
}

#else

static lathe_status create_with_own_memory(const lathe_config *config, lathe_engine **engine) {
    return test_opencl_engine(config, true, test_cl_layer_find(), engine);
}

static void try_device(lathe_status (*create)(const lathe_config *, lathe_engine **)) {
    const test_cl_layer *layer = test_cl_layer_find();
    lathe_config config = test_opencl_config();
    config.require_device = 0; /* the CPU may take over */
    try_all(create, &config);
    const char *left = layer == NULL ? NULL : test_cl_leftovers(layer);
    CHECK(left == NULL, "%s", left);
}

Test(allocations, may_fail_on_a_device) {
    try_device(lathe_engine_create);
}

Test(allocations, may_fail_on_a_device_with_its_own_memory) {
    if (test_cl_layer_find() != NULL) {
        try_device(create_with_own_memory);
    }
}

#endif
