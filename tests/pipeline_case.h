/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of pipelines share: chains, what their stages give one by one, and tensors for
 * them. */
#ifndef TESTS_PIPELINE_CASE_H
#define TESTS_PIPELINE_CASE_H

#include "convert_case.h"

enum { MOST_STAGES = 5 };

/* ---- one by one */

typedef struct outcome {
    lathe_status status;
    uint32_t stage; /* that failed */
    uint64_t element;
    uint64_t n_saturated;
    lathe_dtype from; /* of that stage */
    lathe_tensor *result;
} outcome;

static inline outcome one_by_one(lathe_engine *engine, lathe_tensor *source, uint32_t n,
                                 const lathe_pipeline_stage *stages) {
    outcome o = {.element = LATHE_NO_ELEMENT, .result = lathe_tensor_retain(source)};
    for (uint32_t i = 0; i < n; i++) {
        lathe_tensor *made = NULL;
        lathe_convert_stats stats = {.struct_size = sizeof stats};
        o.status = lathe_convert(engine, o.result, &stages[i].target, &made, &stats);
        lathe_tensor_release(o.result);
        o.result = made;
        if (o.status != LATHE_OK) {
            o.stage = i;
            o.element = lathe_last_error()->element;
            o.from = lathe_last_error()->from;
            return o;
        }
        o.n_saturated += stats.n_saturated;
    }
    return o;
}

static const char *chain_text(const convert_case *c, uint32_t n,
                              const lathe_pipeline_stage *stages) {
    static char text[512];
    size_t at = (size_t)snprintf(
        text, sizeof text, "%llux%llu %s(%d:%d)", (unsigned long long)c->layout.n_rows,
        (unsigned long long)c->layout.row_elems, lathe_dtype_name(c->from.dtype),
        (int)c->from.granularity, (int)c->from.group_size);
    for (uint32_t i = 0; i < n; i++) {
        const lathe_target *t = &stages[i].target;
        at += (size_t)snprintf(text + at, sizeof text - at, " > %s(%d:%d rows %u q%d n%d s%u)",
                               lathe_dtype_name(t->dtype), (int)t->granularity, (int)t->group_size,
                               t->row_dims, (int)t->quality, (int)t->nonfinite, t->strict);
    }
    return text;
}

static inline lathe_pipeline_stage stage_of(const lathe_target *target) {
    return (lathe_pipeline_stage){.struct_size = sizeof(lathe_pipeline_stage), .target = *target};
}

static inline lathe_pipeline_stage stage_to(lathe_dtype dtype, const layout_option *layout) {
    lathe_target target = target_of(dtype, layout, 0);
    return stage_of(&target);
}

/* A strict stage that meets both kinds of fault may name either. */
static inline bool same_failure(const outcome *expected, lathe_status status, const char *stage,
                                uint64_t element, const lathe_target *target) {
    const char *name = test_text("stage %u", expected->stage + 1);
    bool either = target->strict != 0 &&
                  (status == LATHE_DATA_LOSS || status == LATHE_NON_FINITE) &&
                  (expected->status == LATHE_DATA_LOSS || expected->status == LATHE_NON_FINITE);
    return strcmp(stage, name) == 0 &&
           (either || (status == expected->status && element == expected->element));
}

static inline void check_run(const convert_case *c, size_t engine, lathe_pipeline *pipeline,
                             uint32_t n, const lathe_pipeline_stage *stages,
                             const outcome *expected) {
    lathe_tensor *const untouched = (lathe_tensor *)(void *)&pool;
    lathe_tensor *result = untouched;
    lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
    lathe_status status = lathe_pipeline_run(engines[engine], pipeline, c->tensor, &result, &stats);
    const lathe_error *error = lathe_last_error();
    if (expected->status != LATHE_OK) {
        CHECK(status != LATHE_OK && result == untouched, "%s: engine %zu succeeded, not %s",
              chain_text(c, n, stages), engine, lathe_status_name(expected->status));
        CHECK(same_failure(expected, status, error->stage, error->element,
                           &stages[expected->stage].target),
              "%s: engine %zu: %s at %s, element %lld, not %s at stage %u, element %lld",
              chain_text(c, n, stages), engine, lathe_status_name(status), error->stage,
              (long long)error->element, lathe_status_name(expected->status), expected->stage + 1,
              (long long)expected->element);
        const lathe_dtype to = stages[expected->stage].target.dtype;
        CHECK(error->from == expected->from && error->to == to, "the error's types");
        const char *text = test_text("stage %u: %s to %s: element ", expected->stage + 1,
                                     lathe_dtype_name(expected->from), lathe_dtype_name(to));
        CHECK(error->element == LATHE_NO_ELEMENT || strstr(error->message, text) != NULL,
              "%s: engine %zu: '%s', not '%s'", chain_text(c, n, stages), engine, error->message,
              text);
        return;
    }
    CHECK(status == LATHE_OK, "%s: engine %zu: %s: %s", chain_text(c, n, stages), engine,
          lathe_status_name(status), error->message);
    CHECK(lathe_tensor_n_scales(result) == lathe_tensor_n_scales(expected->result) &&
              lathe_tensor_n_bytes(result) == lathe_tensor_n_bytes(expected->result),
          "%s: sizes", chain_text(c, n, stages));
    CHECK(lathe_tensor_dtype(result) == lathe_tensor_dtype(expected->result) &&
              lathe_tensor_granularity(result) == lathe_tensor_granularity(expected->result) &&
              lathe_tensor_row_dims(result) == lathe_tensor_row_dims(expected->result),
          "%s: kind", chain_text(c, n, stages));
    CHECK(lathe_tensor_n_bytes(result) == 0 || test_same(result, expected->result),
          "%s: engine %zu: other bytes", chain_text(c, n, stages), engine);
    CHECK(stats.n_saturated == expected->n_saturated, "%s: engine %zu: %d saturated, not %d",
          chain_text(c, n, stages), engine, (int)stats.n_saturated, (int)expected->n_saturated);
    lathe_tensor_release(result);
}

static inline void check_chain_on(const convert_case *c, uint32_t n,
                                  const lathe_pipeline_stage *stages, size_t first, size_t end) {
    outcome expected = one_by_one(engines[0], c->tensor, n, stages);
    lathe_pipeline *pipeline = NULL;
    CHECK_OK(lathe_pipeline_create(pool, n, stages, NULL, &pipeline));
    for (size_t i = first; i < end; i++) {
        check_run(c, i, pipeline, n, stages, &expected);
    }
    lathe_pipeline_free(pipeline);
    lathe_tensor_release(expected.result);
}

static inline void check_chain(const convert_case *c, uint32_t n,
                               const lathe_pipeline_stage *stages) {
    static size_t count;
    size_t end = count++ % 16 == 0 ? n_engines : n_small_engines;
    check_chain_on(c, n, stages, 0, end);
}

/* ---- how many chains are tried */

/* Programs of a device are compiled one by one: a sample of chains is enough there. */
#ifdef TEST_OPENCL
enum { PAIR_STEP = 41, N_RANDOM = 12 };
#else
enum { PAIR_STEP = 1, N_RANDOM = TEST_SANITIZED ? 100 : 1000 };
#endif

/* ---- engines and sources */

/* F32 > F16 > I8 > I4, one scale each or one a row. */
static inline void make_stages(lathe_pipeline_stage stages[3], const layout_option *layout) {
    stages[0] = stage_to(LATHE_F16, layout_options);
    stages[1] = stage_to(LATHE_I8, layout);
    stages[2] = stage_to(LATHE_I4, layout);
}

static inline lathe_pool_stats pool_stats(lathe_engine *engine) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    return stats;
}

static inline lathe_tensor *new_source(lathe_pool *from, uint32_t n_dims, const uint64_t *shape) {
    lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = n_dims, .shape = shape};
    lathe_tensor *source = NULL;
    test_rng rng = {108};
    CHECK_OK(lathe_tensor_create(from, &desc, &source));
    test_fill_floats(&rng, LATHE_F32, TEST_DATA_NORMAL, lathe_tensor_mutable_data(source),
                     (size_t)lathe_tensor_n_elems(source));
    return source;
}

static inline void fill(lathe_tensor *tensor, float first) {
    float *x = lathe_tensor_mutable_data(tensor);
    for (uint64_t i = 0; i < lathe_tensor_n_elems(tensor); i++) {
        x[i] = first + (float)(i % 1000);
    }
}

#endif
