/* SPDX-License-Identifier: Apache-2.0 */
/* Tests that plans are true: what they say of strategy, device, memory and compression is what the
 * conversion then does, for every pair and strategy. */
#include "check.h"
#include "support.h"
#include <lathe/lathe.h>
#include <stdio.h>
#include <string.h>

/* Structs, queues, and the few scales that are found before they are written. */
#define RECORD_BYTES (UINT64_C(8) << 10)

static const uint64_t shape[] = {384, 1024};

/* For one conversion each: a pool does not forget its peak. */
static lathe_engine *new_engine(uint64_t buffer_bytes) {
    lathe_config config = {.struct_size = sizeof config, .n_threads = 2, .device = "cpu"};
    lathe_engine *made = NULL;
    config.streaming.buffer_bytes = buffer_bytes;
    CHECK_OK(lathe_engine_create(&config, &made));
    return made;
}

static uint64_t bytes_of(const lathe_tensor *tensor) {
    return lathe_tensor_n_bytes(tensor) + lathe_tensor_n_scales(tensor) * sizeof(float);
}

/* One of each dtype, to be copied: making codes takes long. */
static lathe_tensor *originals[LATHE_DTYPE_LAST + 1];

static lathe_tensor *new_tensor(lathe_pool *pool, lathe_dtype dtype) {
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = dtype, .n_dims = 2, .shape = shape};
    lathe_tensor *made = NULL;
    CHECK_OK(lathe_tensor_create(pool, &desc, &made));
    return made;
}

static void make_originals(lathe_pool *pool) {
    test_rng rng = {17};
    for (int i = LATHE_DTYPE_FIRST; i <= LATHE_DTYPE_LAST; i++) {
        const lathe_tensor_desc desc = {
            .struct_size = sizeof desc, .dtype = (lathe_dtype)i, .n_dims = 2, .shape = shape};
        originals[i] = new_tensor(pool, (lathe_dtype)i);
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(originals[i]),
                         lathe_tensor_mutable_scales(originals[i]));
    }
}

static void release_originals(void) {
    for (int i = LATHE_DTYPE_FIRST; i <= LATHE_DTYPE_LAST; i++) {
        lathe_tensor_release(originals[i]);
    }
}

static lathe_tensor *source_of(lathe_pool *pool, lathe_dtype dtype) {
    const lathe_tensor *original = originals[dtype];
    lathe_tensor *made = new_tensor(pool, dtype);
    memcpy(lathe_tensor_mutable_data(made), lathe_tensor_data(original),
           (size_t)lathe_tensor_n_bytes(original));
    if (lathe_tensor_n_scales(original) > 0) {
        memcpy(lathe_tensor_mutable_scales(made), lathe_tensor_scales(original),
               (size_t)lathe_tensor_n_scales(original) * sizeof(float));
    }
    return made;
}

static lathe_status swallow(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    (void)ctx;
    (void)offset;
    (void)bytes;
    (void)n_bytes;
    return LATHE_OK;
}

static lathe_status swallow_scales(void *ctx, uint64_t first, const float *scales,
                                   size_t n_scales) {
    (void)ctx;
    (void)first;
    (void)scales;
    (void)n_scales;
    return LATHE_OK;
}

/* Does what was planned. *result_bytes: of data and scales. */
static lathe_status convert_as(lathe_engine *engine, lathe_strategy strategy, lathe_tensor *source,
                               const lathe_target *target, uint64_t *result_bytes) {
    const lathe_source from = {
        .struct_size = sizeof from, .kind = LATHE_END_TENSOR, .tensor = source};
    const lathe_sink to = {.struct_size = sizeof to,
                           .kind = LATHE_END_CALLBACK,
                           .write = swallow,
                           .write_scales = swallow_scales};
    lathe_tensor *result = NULL;
    lathe_status status;
    *result_bytes = 0;
    if (strategy == LATHE_STRATEGY_STREAMING) {
        return lathe_stream_convert(engine, NULL, target, &from, &to, NULL, NULL);
    }
    if (strategy == LATHE_STRATEGY_IN_PLACE) {
        status = lathe_convert_in_place(engine, source, target, NULL);
        *result_bytes = bytes_of(source);
        return status;
    }
    status = lathe_convert(engine, source, target, &result, NULL);
    if (status == LATHE_OK) {
        *result_bytes = bytes_of(result);
        lathe_tensor_release(result);
    }
    return status;
}

/* The greatest memory of the pool beside what the engine itself takes. */
static uint64_t peak_of(lathe_engine *engine, uint64_t before) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    return stats.peak_in_use_bytes - before;
}

static void check_plan(const lathe_plan *plan, lathe_engine *engine, lathe_tensor *source,
                       const lathe_target *target, const char *what) {
    lathe_pool_stats before = {.struct_size = sizeof before};
    lathe_metrics metrics = {.struct_size = sizeof metrics};
    const uint64_t source_bytes = bytes_of(source);
    uint64_t result_bytes = 0;
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &before));
    lathe_status status = convert_as(engine, plan->strategy, source, target, &result_bytes);
    CHECK(status == LATHE_OK, "%s: %s", what, lathe_last_error()->message);

    const uint64_t peak = peak_of(engine, before.in_use_bytes);
    CHECK(peak <= plan->extra_bytes + RECORD_BYTES, "%s: %d bytes were planned, %d taken", what,
          (int)plan->extra_bytes, (int)peak);
    CHECK(result_bytes == 0 || plan->compression == (double)source_bytes / (double)result_bytes,
          "%s: compression %g", what, plan->compression);

    CHECK_OK(lathe_engine_metrics(engine, &metrics));
    CHECK(metrics.total.n_done == 1 && metrics.by_strategy[plan->strategy].n_done == 1,
          "%s: it was done in another way", what);
    const lathe_processor processor =
        strcmp(plan->device, "cpu") == 0 ? LATHE_PROCESSOR_CPU : LATHE_PROCESSOR_DEVICE;
    CHECK(plan->strategy == LATHE_STRATEGY_ZERO_COPY || metrics.by_processor[processor].n_done == 1,
          "%s: not done on %s", what, plan->device);
    CHECK(plan->n_passes == 0 ? plan->strategy == LATHE_STRATEGY_ZERO_COPY
                              : strcmp(plan->passes[plan->n_passes - 1], "convert") == 0 ||
                                    (plan->n_passes == 1 && strcmp(plan->passes[0], "copy") == 0),
          "%s: %d passes", what, (int)plan->n_passes);
    CHECK(plan->reason[0] != '\0' && plan->estimated_ns > 0, "%s: no reason", what);
}

/* The last one alone has buffers. */
static const lathe_strategy strategies[] = {LATHE_STRATEGY_AUTO, LATHE_STRATEGY_IN_PLACE,
                                            LATHE_STRATEGY_DIRECT, LATHE_STRATEGY_STREAMING};
enum { N_STRATEGIES = sizeof strategies / sizeof strategies[0] };

/* One of the table's rows. `planner` plans, because that takes memory for what it measures. */
static void check_case(lathe_engine *planner, lathe_pool *pool, lathe_dtype from,
                       const lathe_target *target, lathe_strategy strategy, uint64_t buffer_bytes) {
    const lathe_plan_options options = {.struct_size = sizeof options, .strategy = strategy};
    lathe_tensor *source = source_of(pool, from);
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = from, .n_dims = 2, .shape = shape};
    lathe_plan plan = {.struct_size = sizeof plan};
    char what[256];
    (void)snprintf(what, sizeof what, "%s to %s, granularity %d, quality %d, %s, buffers of %d",
                   lathe_dtype_name(from), lathe_dtype_name(target->dtype),
                   (int)target->granularity, (int)target->quality, lathe_strategy_name(strategy),
                   (int)buffer_bytes);
    lathe_status status =
        lathe_plan_make(planner, &desc, LATHE_MEMORY_HOST, target, &options, &plan);
    if (status == LATHE_OK && strcmp(plan.passes[0] != NULL ? plan.passes[0] : "", "copy") != 0) {
        lathe_engine *engine = new_engine(buffer_bytes);
        check_plan(&plan, engine, source, target, what);
        lathe_tensor_release(source);
        lathe_engine_free(engine);
        return;
    }
    CHECK(status == LATHE_OK ||
              (strategy == LATHE_STRATEGY_IN_PLACE && status == LATHE_INCOMPATIBLE_TYPES),
          "%s: %s", what, lathe_last_error()->message);
    lathe_tensor_release(source);
}

Test(plan_truth, every_pair_and_strategy) {
    static const uint64_t buffers[] = {0, UINT64_C(1) << 20};
    lathe_pool *pool = NULL;
    CHECK_OK(lathe_pool_create(NULL, &pool));
    make_originals(pool);
    for (size_t b = 0; b < 2; b++) {
        lathe_engine *planner = new_engine(buffers[b]);
        for (size_t i = 0; i < 64 * 3; i++) {
            const lathe_dtype from = (lathe_dtype)(LATHE_F32 + i / 3 % 8);
            const lathe_dtype to = (lathe_dtype)(LATHE_F32 + i / 24);
            lathe_target target = {.struct_size = sizeof target, .dtype = to};
            if (lathe_dtype_is_quantized(to)) {
                target.granularity = (lathe_granularity)(i % 3);
                target.group_size = target.granularity == LATHE_PER_GROUP ? 64 : 0;
                target.quality = (lathe_quality)(i / 3 % 3);
            }
            for (size_t s = b == 0 ? 0 : N_STRATEGIES - 1; s < N_STRATEGIES; s++) {
                check_case(planner, pool, from, &target, strategies[s], buffers[b]);
            }
        }
        lathe_engine_free(planner);
    }
    release_originals();
    lathe_pool_release(pool);
}
