/* SPDX-License-Identifier: Apache-2.0 */
/* Tests that pipelines give what their stages give one by one: bytes, scales, counts and errors,
 * over all types, granularities and kinds of data, on every engine. */
#include "convert_case.h"
#include <math.h>

TestSuite(pipeline, .init = setup_engines, .fini = teardown_engines);

enum { MOST_STAGES = 5 };

/* ---- one by one */

typedef struct outcome {
    lathe_status status;
    uint32_t stage; /* that failed */
    uint64_t element;
    uint64_t n_saturated;
    lathe_tensor *result;
} outcome;

static outcome one_by_one(lathe_engine *engine, lathe_tensor *source, uint32_t n,
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

static lathe_pipeline_stage stage_of(const lathe_target *target) {
    return (lathe_pipeline_stage){.struct_size = sizeof(lathe_pipeline_stage), .target = *target};
}

static lathe_pipeline_stage stage_to(lathe_dtype dtype, const layout_option *layout) {
    lathe_target target = target_of(dtype, layout, 0);
    return stage_of(&target);
}

/* A strict stage that meets both kinds of fault may name either. */
static bool same_failure(const outcome *expected, lathe_status status, const char *stage,
                         uint64_t element, const lathe_target *target) {
    const char *name = test_text("stage %u", expected->stage + 1);
    bool either = target->strict != 0 &&
                  (status == LATHE_DATA_LOSS || status == LATHE_NON_FINITE) &&
                  (expected->status == LATHE_DATA_LOSS || expected->status == LATHE_NON_FINITE);
    return strcmp(stage, name) == 0 &&
           (either || (status == expected->status && element == expected->element));
}

static void check_run(const convert_case *c, size_t engine, lathe_pipeline *pipeline, uint32_t n,
                      const lathe_pipeline_stage *stages, const outcome *expected) {
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
        CHECK(error->to == stages[expected->stage].target.dtype, "the error's type");
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
    CHECK(lathe_tensor_n_bytes(result) == 0 || same_result(result, expected->result),
          "%s: engine %zu: other bytes", chain_text(c, n, stages), engine);
    CHECK(stats.n_saturated == expected->n_saturated, "%s: engine %zu: %d saturated, not %d",
          chain_text(c, n, stages), engine, (int)stats.n_saturated, (int)expected->n_saturated);
    lathe_tensor_release(result);
}

static void check_chain_on(const convert_case *c, uint32_t n, const lathe_pipeline_stage *stages,
                           size_t first, size_t end) {
    outcome expected = one_by_one(engines[0], c->tensor, n, stages);
    lathe_pipeline *pipeline = NULL;
    CHECK_OK(lathe_pipeline_create(pool, n, stages, NULL, &pipeline));
    for (size_t i = first; i < end; i++) {
        check_run(c, i, pipeline, n, stages, &expected);
    }
    lathe_pipeline_free(pipeline);
    lathe_tensor_release(expected.result);
}

static void check_chain(const convert_case *c, uint32_t n, const lathe_pipeline_stage *stages) {
    static size_t count;
    size_t end = count++ % 16 == 0 ? n_engines : n_small_engines;
    check_chain_on(c, n, stages, 0, end);
}

/* ---- all types */

static const shape_option small_shapes[] = {
    {2, {3, 100}}, {1, {1}}, {2, {7, 333}}, {3, {2, 3, 160}}, {2, {2, 5000}}, {2, {40, 33}},
};
enum { N_SMALL = sizeof small_shapes / sizeof small_shapes[0] };

/* Programs of a device are compiled one by one: a sample of chains is enough there. */
#ifdef TEST_OPENCL
enum { PAIR_STEP = 41, N_RANDOM = 12 };
#else
enum { PAIR_STEP = 1, N_RANDOM = TEST_SANITIZED ? 100 : 1000 };
#endif

/* Every source, every first and every second stage. */
Test(pipeline, all_pairs_of_stages) {
    test_rng rng = {101};
    for (int i = 0; i < 512; i += PAIR_STEP) {
        lathe_dtype from = (lathe_dtype)(LATHE_DTYPE_FIRST + i / 64);
        lathe_dtype middle = (lathe_dtype)(LATHE_DTYPE_FIRST + i / 8 % 8);
        lathe_dtype to = (lathe_dtype)(LATHE_DTYPE_FIRST + i % 8);
        for (int round = 0; round < (TEST_SANITIZED ? 2 : 6); round++) {
            const shape_option *shape = &small_shapes[(size_t)(i + round) % N_SMALL];
            lathe_tensor_desc desc =
                desc_of(from, shape, &layout_options[test_random_below(&rng, N_LAYOUTS)], 0);
            convert_case c = case_new(&desc, (size_t)i);
            test_fill_tensor(&rng, &desc, (test_data)((size_t)round % TEST_DATA_FINITE_COUNT),
                             c.bytes, c.scales);
            const lathe_pipeline_stage stages[] = {
                stage_to(middle, &layout_options[test_random_below(&rng, N_LAYOUTS)]),
                stage_to(to, &layout_options[test_random_below(&rng, N_LAYOUTS)]),
            };
            check_chain(&c, 2, stages);
            case_free(&c);
        }
    }
}

static lathe_pipeline_stage random_stage(test_rng *rng, bool faults, uint32_t n_dims) {
    lathe_dtype dtype = (lathe_dtype)(LATHE_DTYPE_FIRST + (int)test_random_below(rng, 8));
    lathe_target target = target_of(dtype, &layout_options[test_random_below(rng, N_LAYOUTS)],
                                    (uint32_t)test_random_below(rng, n_dims + 1));
    target.quality = test_random_below(rng, 4) == 0 ? LATHE_FAST : LATHE_BALANCED;
    target.nonfinite = !faults || test_random_below(rng, 2) == 0 ? LATHE_NONFINITE_SATURATE
                                                                 : LATHE_NONFINITE_ERROR;
    target.strict = faults && test_random_below(rng, 6) == 0;
    return stage_of(&target);
}

static void check_random(test_rng *rng, const shape_option *shape, bool faults) {
    lathe_dtype from = (lathe_dtype)(LATHE_DTYPE_FIRST + (int)test_random_below(rng, 8));
    lathe_tensor_desc desc =
        desc_of(from, shape, &layout_options[test_random_below(rng, N_LAYOUTS)],
                (uint32_t)test_random_below(rng, shape->n_dims + 1));
    convert_case c = case_new(&desc, (size_t)test_random(rng));
    test_fill_tensor(rng, &desc, (test_data)test_random_below(rng, TEST_DATA_COUNT), c.bytes,
                     c.scales);
    if (faults && from == LATHE_BITNET158 && test_random_below(rng, 2) == 0) {
        c.bytes[test_random_below(rng, c.layout.n_bytes)] = 250;
    }
    lathe_pipeline_stage stages[MOST_STAGES];
    uint32_t n = 2 + (uint32_t)test_random_below(rng, 4);
    for (uint32_t i = 0; i < n; i++) {
        stages[i] = random_stage(rng, faults, shape->n_dims);
    }
    check_chain(&c, n, stages);
    case_free(&c);
}

/* Longer chains, all options, special values; NaN and infinities where they do not end it. */
Test(pipeline, random_chains) {
    test_rng rng = {102};
    for (int i = 0; i < N_RANDOM; i++) {
        check_random(&rng, &small_shapes[(size_t)i % N_SMALL], false);
    }
}

/* The stage that fails, the error and the element, whatever else fails after it. */
Test(pipeline, random_faults) {
    test_rng rng = {103};
    for (int i = 0; i < N_RANDOM; i++) {
        check_random(&rng, &small_shapes[(size_t)i % N_SMALL], true);
    }
}

/* Many tiles, rows that are longer than a block, rows that blocks have to be cut at. */
Test(pipeline, large_tensors) {
    static const shape_option shapes[] = {
        {1, {700001}}, {2, {5, 70001}}, {2, {3, 131072}}, {2, {130, 4099}}, {3, {9, 11, 1500}},
    };
    test_rng rng = {104};
    for (int i = 0; i < (TEST_SANITIZED ? 5 : N_RANDOM / 40 + 5); i++) {
        check_random(&rng, &shapes[(size_t)i % 5], i % 2 != 0);
    }
}

/* ---- faults by hand */

Test(pipeline, a_fault_in_a_middle_stage_is_named) {
    static const shape_option shape = {2, {300, 1001}};
    convert_case c = ones(LATHE_F32, &shape);
    put(&c, 200000, 0x49742400u); /* 1e6, infinite as F16 */
    for (size_t layout = 0; layout < 3; layout++) {
        const lathe_pipeline_stage stages[] = {
            stage_to(LATHE_F16, layout_options),
            stage_to(LATHE_I8, &layout_options[layout]),
            stage_to(LATHE_I4, &layout_options[layout]),
        };
        check_chain(&c, 3, stages);
        lathe_pipeline *pipeline = NULL;
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_pipeline_create(pool, 3, stages, NULL, &pipeline));
        CHECK_STATUS(lathe_pipeline_run(engines[1], pipeline, c.tensor, &result, NULL),
                     LATHE_NON_FINITE);
        const lathe_error *error = lathe_last_error();
        CHECK(strcmp(error->stage, "stage 2") == 0 && error->element == 200000, "%s %d",
              error->stage, (int)error->element);
        CHECK(error->from == LATHE_F16 && error->to == LATHE_I8, "types");
        CHECK(strstr(error->message, "stage 2: f16 to i8: element 200000") != NULL, "%s",
              error->message);
        lathe_pipeline_free(pipeline);
    }
    case_free(&c);
}

/* The third stage's statistics find a fault first; the first stage loses a later element. */
Test(pipeline, an_earlier_stage_fails_first) {
    static const shape_option shape = {1, {50000}};
    convert_case c = ones(LATHE_F32, &shape);
    put(&c, 10, 0x49742400u);
    put(&c, 40000, 0x3f800001u);
    lathe_pipeline_stage stages[] = {
        stage_to(LATHE_BF16, layout_options),
        stage_to(LATHE_F16, layout_options),
        stage_to(LATHE_I8, layout_options),
        stage_to(LATHE_F32, layout_options),
    };
    check_chain(&c, 4, stages);
    stages[0].target.strict = 1; /* 1e6 is none of BF16's values, either */
    check_chain(&c, 4, stages);
    put(&c, 10, 0x4b000000u); /* 2^23 is */
    check_chain(&c, 4, stages);
    case_free(&c);
}

Test(pipeline, bad_scales_of_the_source) {
    static const shape_option shape = {2, {4, 64}};
    lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {105};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    c.scales[2] = NAN;
    const lathe_pipeline_stage stages[] = {stage_to(LATHE_F16, layout_options),
                                           stage_to(LATHE_I4, layout_options)};
    check_chain(&c, 2, stages);
    case_free(&c);
}

/* ---- stages that do nothing, and tensors without elements */

Test(pipeline, copies_and_empty_tensors) {
    static const shape_option shapes[] = {{2, {0, 5}}, {2, {3, 0}}, {1, {64}}, {0, {0}}};
    test_rng rng = {106};
    for (size_t i = 0; i < 4; i++) {
        for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from += 3) {
            lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shapes[i], &layout_options[1], 0);
            convert_case c = case_new(&desc, 0);
            test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
            const lathe_pipeline_stage same = stage_to((lathe_dtype)from, &layout_options[1]);
            const lathe_pipeline_stage stages[] = {same, same,
                                                   stage_to(LATHE_I8, &layout_options[1]),
                                                   stage_to(LATHE_I8, &layout_options[1])};
            for (uint32_t n = 1; n <= 4; n++) {
                check_chain(&c, n, stages);
            }
            lathe_pipeline *pipeline = NULL;
            lathe_tensor *result = NULL;
            CHECK_OK(lathe_pipeline_create(pool, 2, stages, NULL, &pipeline));
            CHECK_OK(lathe_pipeline_run(engines[0], pipeline, c.tensor, &result, NULL));
            CHECK(result == c.tensor, "the source itself");
            lathe_tensor_release(result);
            lathe_pipeline_free(pipeline);
            case_free(&c);
        }
    }
}

/* ---- run_into, and arguments */

Test(pipeline, into_an_existing_tensor) {
    static const shape_option shape = {2, {30, 257}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 3);
    test_rng rng = {107};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    const lathe_pipeline_stage stages[] = {stage_to(LATHE_F16, layout_options),
                                           stage_to(LATHE_I4, &layout_options[1])};
    lathe_pipeline *pipeline = NULL;
    CHECK_OK(lathe_pipeline_create(pool, 2, stages, NULL, &pipeline));
    outcome expected = one_by_one(engines[0], c.tensor, 2, stages);
    lathe_tensor_desc to;
    CHECK_OK(lathe_target_desc(&stages[1].target, 2, shape.shape, &to));
    for (size_t i = 0; i < n_engines; i++) {
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_tensor_create(pool, &to, &result));
        CHECK_OK(lathe_pipeline_run_into(engines[i], pipeline, c.tensor, result, NULL));
        CHECK(same_result(result, expected.result), "engine %zu", i);
        lathe_tensor_release(result);
    }
    CHECK_STATUS(lathe_pipeline_run_into(engines[0], pipeline, c.tensor, c.tensor, NULL),
                 LATHE_INCOMPATIBLE_TYPES);
    lathe_tensor_release(expected.result);
    lathe_pipeline_free(pipeline);
    case_free(&c);
}

Test(pipeline, arguments_are_checked) {
    lathe_pipeline_stage stage = stage_to(LATHE_I8, layout_options);
    lathe_pipeline_stage many[LATHE_PIPELINE_MAX_STAGES + 1];
    lathe_pipeline *pipeline = NULL;
    for (size_t i = 0; i <= LATHE_PIPELINE_MAX_STAGES; i++) {
        many[i] = stage;
    }
    CHECK_STATUS(lathe_pipeline_create(NULL, 1, &stage, NULL, &pipeline), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pipeline_create(pool, 0, &stage, NULL, &pipeline), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pipeline_create(pool, 1, NULL, NULL, &pipeline), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pipeline_create(pool, 1, &stage, NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pipeline_create(pool, LATHE_PIPELINE_MAX_STAGES + 1, many, NULL, &pipeline),
                 LATHE_INVALID_ARGUMENT);
    many[2].strategy = LATHE_STRATEGY_BATCH;
    CHECK_STATUS(lathe_pipeline_create(pool, 3, many, NULL, &pipeline), LATHE_INVALID_ARGUMENT);
    CHECK(strcmp(lathe_last_error()->stage, "stage 3") == 0 &&
              strstr(lathe_last_error()->message, "stage 3: strategy") != NULL,
          "%s", lathe_last_error()->message);
    many[2].strategy = LATHE_STRATEGY_DIRECT;
    many[1].target.group_size = 5;
    CHECK_STATUS(lathe_pipeline_create(pool, 3, many, NULL, &pipeline), LATHE_INVALID_ARGUMENT);
    many[1].target.group_size = 0;
    many[1].cache = 2;
    CHECK_STATUS(lathe_pipeline_create(pool, 3, many, NULL, &pipeline), LATHE_INVALID_ARGUMENT);
    const lathe_pipeline_options wrong = {.struct_size = 1};
    CHECK_STATUS(lathe_pipeline_create(pool, 1, &stage, &wrong, &pipeline), LATHE_INVALID_ARGUMENT);
    CHECK(pipeline == NULL, "left alone");
    CHECK_OK(lathe_pipeline_create(pool, 1, &stage, NULL, &pipeline));
    CHECK(lathe_pipeline_n_stages(pipeline) == 1 &&
              lathe_pipeline_get_stage(pipeline, 0)->target.dtype == LATHE_I8 &&
              lathe_pipeline_get_stage(pipeline, 1) == NULL,
          "queries");
    lathe_tensor *result = NULL;
    lathe_pipeline_run_stats bad = {.struct_size = 1};
    CHECK_STATUS(lathe_pipeline_run(NULL, pipeline, NULL, &result, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pipeline_run_into(engines[0], NULL, NULL, NULL, &bad),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pipeline_get_stats(pipeline, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pipeline_optimize(NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    lathe_pipeline_free(pipeline);
    lathe_pipeline_free(NULL);
    lathe_pipeline_clear_cache(NULL);
    lathe_tensor_touch(NULL);
}

/* ---- what a run costs and says */

/* F32 > F16 > I8 > I4, one scale each or one a row. */
static void make_stages(lathe_pipeline_stage stages[3], const layout_option *layout) {
    stages[0] = stage_to(LATHE_F16, layout_options);
    stages[1] = stage_to(LATHE_I8, layout);
    stages[2] = stage_to(LATHE_I4, layout);
}

#ifndef TEST_OPENCL

static lathe_pool_stats pool_stats(lathe_engine *engine) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    return stats;
}

static lathe_tensor *new_source(lathe_pool *from, uint32_t n_dims, const uint64_t *shape) {
    lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = n_dims, .shape = shape};
    lathe_tensor *source = NULL;
    test_rng rng = {108};
    CHECK_OK(lathe_tensor_create(from, &desc, &source));
    test_fill_floats(&rng, LATHE_F32, TEST_DATA_NORMAL, lathe_tensor_mutable_data(source),
                     (size_t)lathe_tensor_n_elems(source));
    return source;
}

/* One tile a thread, scales, and one window of statistics: the intermediates would take 24 MiB. */
Test(pipeline, no_intermediate_is_stored) {
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
        uint64_t tile = 3 * 8192 + n_scales / 2048 * 4; /* F16 and I8 of a block, and scales */
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
Test(pipeline, direct_stages_are_stored) {
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
    CHECK(same_result(results[0], results[1]), "other bytes");
    lathe_tensor_release(results[0]);
    lathe_tensor_release(results[1]);
}

Test(pipeline, statistics_and_metrics) {
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

/* ---- the cache */

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
    CHECK(same_result(result, expected.result), "other bytes");
    lathe_tensor_release(expected.result);
    lathe_tensor_release(result);
}

static void fill(lathe_tensor *tensor, float first) {
    float *x = lathe_tensor_mutable_data(tensor);
    for (uint64_t i = 0; i < lathe_tensor_n_elems(tensor); i++) {
        x[i] = first + (float)(i % 1000);
    }
}

Test(pipeline, results_are_cached_and_the_oldest_goes) {
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
Test(pipeline, changed_tensors_are_not_taken_from_the_cache) {
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
Test(pipeline, the_engine_limits_the_cache) {
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

/* ---- optimize */

/* What is dropped changes nothing: all chains of three stages, special values included. */
Test(pipeline, optimized_pipelines_give_the_same) {
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
                      (same_result(result, expected.result) &&
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

Test(pipeline, what_optimize_drops) {
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

Test(pipeline, a_batch_keeps_its_order_and_its_faults_apart) {
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
                CHECK(same_result(results[i], expected.result), "tensor %zu", i);
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

/* ---- no memory */

#ifndef TEST_OPENCL

/* Each allocation fails once: an error, nothing lost, the source intact. */
Test(pipeline, allocations_that_fail) {
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
            CHECK(status != LATHE_OK || same_result(result, expected.result), "other bytes");
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
        CHECK(same_result(again.result, expected.result), "the source was changed");
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
Test(pipeline, the_device_runs_chains_as_one_kernel) {
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
        CHECK(same_result(result, expected.result), "%s", chain_text(&c, n, stages));
        CHECK(n == 1 || (stats.saved_bytes > 0 && stats.n_passes == 2), "%s: %d passes, %d saved",
              chain_text(&c, n, stages), (int)stats.n_passes, (int)stats.saved_bytes);
        lathe_tensor_release(result);
        lathe_tensor_release(expected.result);
        lathe_pipeline_free(pipeline);
        case_free(&c);
    }
}

#endif
