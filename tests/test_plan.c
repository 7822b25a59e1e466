/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of planning: what a plan says, what memory and options do to it, and how estimates follow
 * what conversions take. */
#include "engine/plan/planner.h"
#include "plan_case.h"
#include <jansson.h>
#include <string.h>

static lathe_engine *engine;

static void setup(void) {
    engine = engine_of((lathe_config){.n_threads = 2});
}

static void teardown(void) {
    lathe_engine_free(engine);
}

TestSuite(plan, .init = setup, .fini = teardown);

static const uint64_t tiny_shape[] = {5, 5};
static const uint64_t large_shape[] = {2048, 2048};
static const uint64_t huge_shape[] = {8192, 8192};

static lathe_plan auto_plan(lathe_dtype from, lathe_dtype to) {
    return plan_of(engine, small_shape, from, to, (lathe_plan_options){0});
}

static lathe_tensor *tensor_of(lathe_engine *on, lathe_dtype dtype, const uint64_t *shape) {
    const lathe_tensor_desc desc = desc_of(dtype, shape);
    lathe_tensor *tensor = NULL;
    test_rng rng = {3};
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(on), &desc, &tensor));
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(tensor),
                     lathe_tensor_mutable_scales(tensor));
    return tensor;
}

/* ---- what a plan says */

Test(plan, fields_of_one_pass_and_two) {
    lathe_plan plan = auto_plan(LATHE_F32, LATHE_F16);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_DIRECT);
    cr_assert_str_eq(plan.device, "cpu");
    cr_assert(plan.n_threads == 1 || plan.n_threads == 2);
    cr_assert_eq(plan.n_passes, 1);
    cr_assert_str_eq(plan.passes[0], "convert");
    cr_assert_eq(plan.extra_bytes, 512 * 512 * 2);
    cr_assert_float_eq(plan.compression, 2, 1e-9);

    plan = auto_plan(LATHE_F32, LATHE_BITNET158);
    cr_assert_eq(plan.n_passes, 2);
    cr_assert_str_eq(plan.passes[0], "stats");
    cr_assert_str_eq(plan.passes[1], "convert");
    cr_assert_geq(plan.extra_bytes, 512 * 103 + 4);
    cr_assert_float_eq(plan.compression, 512.0 * 512 * 4 / (512 * 103 + 4), 1e-9);
}

Test(plan, passes_of_a_scale_with_the_least_error) {
    const lathe_tensor_desc desc = desc_of(LATHE_F32, small_shape);
    lathe_target target = target_of(LATHE_I4);
    lathe_plan plan = {.struct_size = sizeof plan};
    target.quality = LATHE_PRECISE;
    CHECK_OK(lathe_plan_make(engine, &desc, LATHE_MEMORY_HOST, &target, NULL, &plan));
    cr_assert_eq(plan.n_passes, 4);
    cr_assert_str_eq(plan.passes[0], "stats");
    cr_assert_str_eq(plan.passes[3], "convert");
    cr_assert_gt(plan.estimated_ns, auto_plan(LATHE_F32, LATHE_I4).estimated_ns);
    target.granularity = LATHE_PER_ROW;
    CHECK_OK(lathe_plan_make(engine, &desc, LATHE_MEMORY_HOST, &target, NULL, &plan));
    cr_assert_eq(plan.n_passes, 1, "a row is read once");
}

Test(plan, the_same_type_is_shared) {
    lathe_plan plan = auto_plan(LATHE_I8, LATHE_I8);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_ZERO_COPY);
    cr_assert_eq(plan.n_passes, 0);
    cr_assert_eq(plan.n_threads, 0);
    cr_assert_eq(plan.extra_bytes, 0);
    cr_assert_float_eq(plan.compression, 1, 1e-9);
    cr_assert_lt(plan.estimated_ns, 1000000);
}

Test(plan, what_may_be_consumed_is_converted_in_place) {
    const lathe_plan_options consume = {.may_consume = 1};
    lathe_plan plan = plan_of(engine, small_shape, LATHE_F32, LATHE_I8, consume);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_IN_PLACE);
    cr_assert_eq(plan.extra_bytes, sizeof(float) + 64 * sizeof(double), "a scale, and statistics");
    plan = plan_of(engine, small_shape, LATHE_F16, LATHE_F32, consume);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_DIRECT, "it does not fit");
}

Test(plan, what_is_planned_is_what_is_taken) {
    /* The device's name and the threads follow the engine. */
    lathe_engine *one = engine_of((lathe_config){.n_threads = 1});
    lathe_plan plan = plan_of(one, large_shape, LATHE_F32, LATHE_I4, (lathe_plan_options){0});
    cr_assert_eq(plan.n_threads, 1);
    cr_assert_str_eq(plan.reason, "the engine has one thread");
    lathe_engine_free(one);
}

Test(plan, texts) {
    static const char *const keys[] = {"strategy",    "device",      "passes", "estimated_ns",
                                       "extra_bytes", "compression", "reason"};
    const lathe_plan plan = auto_plan(LATHE_F32, LATHE_BITNET158);
    lathe_pool *pool = lathe_engine_pool(engine);
    char *text = NULL;
    CHECK_OK(lathe_plan_json(&plan, pool, &text));
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    CHECK(object != NULL, "%s", text);
    cr_assert_eq(json_object_size(object), 7);
    size_t i = 0;
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(object, key, value) {
        cr_assert_str_eq(key, keys[i++], "in this order");
    }
    cr_assert_str_eq(json_string_value(json_object_get(object, "strategy")), "direct");
    cr_assert_str_eq(json_string_value(json_object_get(object, "device")), "cpu");
    cr_assert_eq(json_array_size(json_object_get(object, "passes")), 2);
    cr_assert_eq(json_integer_value(json_object_get(object, "estimated_ns")),
                 (json_int_t)plan.estimated_ns);
    cr_assert_eq(json_integer_value(json_object_get(object, "extra_bytes")),
                 (json_int_t)plan.extra_bytes);
    cr_assert_float_eq(json_number_value(json_object_get(object, "compression")), plan.compression,
                       1e-6);
    cr_assert_str_eq(json_string_value(json_object_get(object, "reason")), plan.reason);
    json_decref(object);
    lathe_pool_free(pool, text);

    CHECK_OK(lathe_plan_text(&plan, pool, &text));
    cr_assert(strstr(text, "direct on cpu with ") == text, "%s", text);
    cr_assert(strstr(text, " in 2 passes (stats, convert), about ") != NULL, "%s", text);
    cr_assert(strstr(text, test_text(", compression %.2f: ", plan.compression)) != NULL, "%s",
              text);
    cr_assert(strstr(text, plan.reason) != NULL, "%s", text);
    lathe_pool_free(pool, text);

    char *untouched = text;
    CHECK_STATUS(lathe_plan_json(NULL, pool, &untouched), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_plan_text(&plan, NULL, &untouched), LATHE_INVALID_ARGUMENT);
    const lathe_plan bad = {0};
    CHECK_STATUS(lathe_plan_text(&bad, pool, &untouched), LATHE_INVALID_ARGUMENT);
    cr_assert_eq(untouched, text);
}

/* ---- options and errors */

Test(plan, forced_strategies) {
    static const struct {
        lathe_strategy strategy;
        lathe_dtype from;
        lathe_dtype to;
        lathe_status status;
    } cases[] = {
        {LATHE_STRATEGY_ZERO_COPY, LATHE_F16, LATHE_F16, LATHE_OK},
        {LATHE_STRATEGY_ZERO_COPY, LATHE_F16, LATHE_BF16, LATHE_INCOMPATIBLE_TYPES},
        {LATHE_STRATEGY_IN_PLACE, LATHE_F32, LATHE_F16, LATHE_OK},
        {LATHE_STRATEGY_IN_PLACE, LATHE_F16, LATHE_BF16, LATHE_OK},
        {LATHE_STRATEGY_IN_PLACE, LATHE_I8, LATHE_F32, LATHE_INCOMPATIBLE_TYPES},
        {LATHE_STRATEGY_DIRECT, LATHE_I8, LATHE_F32, LATHE_OK},
        {LATHE_STRATEGY_DIRECT, LATHE_F32, LATHE_F32, LATHE_OK},
        {LATHE_STRATEGY_STREAMING, LATHE_F32, LATHE_I8, LATHE_OK},
        {LATHE_STRATEGY_BATCH, LATHE_F32, LATHE_I8, LATHE_INVALID_ARGUMENT},
        {LATHE_STRATEGY_PIPELINE, LATHE_F32, LATHE_I8, LATHE_INVALID_ARGUMENT},
        {(lathe_strategy)99, LATHE_F32, LATHE_I8, LATHE_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lathe_plan plan = {.n_passes = 77};
        const lathe_plan_options options = {.strategy = cases[i].strategy};
        lathe_status status = make(engine, small_shape, cases[i].from, cases[i].to, options, &plan);
        CHECK(status == cases[i].status, "case %zu: %s", i, lathe_status_name(status));
        if (status == LATHE_OK) {
            cr_assert_eq(plan.strategy, cases[i].strategy);
        } else {
            cr_assert_eq(plan.n_passes, 77, "left alone");
            cr_assert_eq(lathe_last_error()->status, status);
        }
    }
}

Test(plan, bad_arguments) {
    const lathe_tensor_desc desc = desc_of(LATHE_F32, small_shape);
    const lathe_target target = target_of(LATHE_F16);
    const uint64_t huge[] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
    const lathe_tensor_desc too_large = desc_of(LATHE_F32, huge);
    lathe_target none = target_of((lathe_dtype)77);
    lathe_plan_options options = {.struct_size = sizeof options};
    lathe_plan plan = {.struct_size = sizeof plan, .n_passes = 77};
    lathe_plan bad_plan = {.struct_size = 1};
    const lathe_memory host = LATHE_MEMORY_HOST;
    const lathe_status bad = LATHE_INVALID_ARGUMENT;
    CHECK_STATUS(lathe_plan_make(NULL, &desc, host, &target, NULL, &plan), bad);
    CHECK_STATUS(lathe_plan_make(engine, NULL, host, &target, NULL, &plan), bad);
    CHECK_STATUS(lathe_plan_make(engine, &desc, host, NULL, NULL, &plan), bad);
    CHECK_STATUS(lathe_plan_make(engine, &desc, host, &target, NULL, NULL), bad);
    CHECK_STATUS(lathe_plan_make(engine, &desc, host, &target, NULL, &bad_plan), bad);
    CHECK_STATUS(lathe_plan_make(engine, &desc, host, &none, NULL, &plan), bad);
    CHECK_STATUS(lathe_plan_make(engine, &desc, (lathe_memory)9, &target, NULL, &plan), bad);
    CHECK_STATUS(lathe_plan_make(engine, &desc, LATHE_MEMORY_DEVICE, &target, NULL, &plan), bad);
    CHECK_STATUS(lathe_plan_make(engine, &too_large, host, &target, NULL, &plan),
                 LATHE_SIZE_OVERFLOW);
    options.may_consume = 2;
    CHECK_STATUS(lathe_plan_make(engine, &desc, host, &target, &options, &plan), bad);
    options = (lathe_plan_options){.struct_size = 3};
    CHECK_STATUS(lathe_plan_make(engine, &desc, host, &target, &options, &plan), bad);
    cr_assert_eq(plan.n_passes, 77, "left alone");
}

Test(plan, empty_tensors_and_scalars) {
    const uint64_t none[] = {0, 7};
    (void)plan_of(engine, none, LATHE_F32, LATHE_I8, (lathe_plan_options){0});
    (void)plan_of(engine, none, LATHE_F32, LATHE_I8, (lathe_plan_options){.may_consume = 1});
    const lathe_tensor_desc scalar = {.struct_size = sizeof scalar, .dtype = LATHE_F32};
    const lathe_target target = target_of(LATHE_F16);
    lathe_plan plan = {.struct_size = sizeof plan};
    CHECK_OK(lathe_plan_make(engine, &scalar, LATHE_MEMORY_PINNED, &target, NULL, &plan));
    cr_assert_eq(plan.extra_bytes, 2);
}

/* ---- memory */

Test(plan, a_result_that_does_not_fit_is_streamed) {
    const uint64_t result = UINT64_C(2048) * 2048 * 2;
    lathe_plan_options options = {.memory_bytes = result};
    lathe_plan plan = plan_of(engine, large_shape, LATHE_F32, LATHE_F16, options);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_DIRECT);
    options.memory_bytes = result - 1;
    plan = plan_of(engine, large_shape, LATHE_F32, LATHE_F16, options);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_STREAMING);
    cr_assert_leq(plan.extra_bytes, options.memory_bytes);
    cr_assert_gt(plan.extra_bytes, 0);

    options.strategy = LATHE_STRATEGY_DIRECT;
    CHECK_STATUS(make(engine, large_shape, LATHE_F32, LATHE_F16, options, &plan),
                 LATHE_INSUFFICIENT_MEMORY);
    cr_assert_eq(lathe_last_error()->required_bytes, result);
    cr_assert_eq(lathe_last_error()->available_bytes, result - 1);
    options = (lathe_plan_options){.memory_bytes = 100};
    CHECK_STATUS(make(engine, large_shape, LATHE_F32, LATHE_F16, options, &plan),
                 LATHE_INSUFFICIENT_MEMORY);
    cr_assert_gt(lathe_last_error()->required_bytes, 100);
    cr_assert_eq(lathe_last_error()->available_bytes, 100);

    /* A chunk of a tensor smaller than a chunk is that tensor and its result. */
    options.memory_bytes = 1;
    CHECK_STATUS(make(engine, tiny_shape, LATHE_F32, LATHE_I8, options, &plan),
                 LATHE_INSUFFICIENT_MEMORY);
    cr_assert_gt(lathe_last_error()->required_bytes, 25);

    /* Chunks take what statistics leave, 128 KiB of them here. */
    for (options.memory_bytes = UINT64_C(256) << 10; options.memory_bytes <= UINT64_C(1) << 20;
         options.memory_bytes += UINT64_C(32) << 10) {
        plan = plan_of(engine, huge_shape, LATHE_F32, LATHE_I8, options);
        cr_assert_eq(plan.strategy, LATHE_STRATEGY_STREAMING);
        cr_assert_leq(plan.extra_bytes, options.memory_bytes);
    }
}

Test(plan, the_limit_is_what_the_pool_has_left) {
    lathe_engine *poor =
        engine_of((lathe_config){.n_threads = 2, .memory_budget_bytes = UINT64_C(6) << 20});
    lathe_plan plan = plan_of(poor, large_shape, LATHE_F32, LATHE_F16, (lathe_plan_options){0});
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_STREAMING);
    cr_assert_leq(plan.extra_bytes, UINT64_C(6) << 20);

    /* lathe_convert says what it would take. */
    static float memory[2048 * 2048];
    const lathe_tensor_desc desc = desc_of(LATHE_F32, large_shape);
    const lathe_target target = target_of(LATHE_F16);
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    CHECK_OK(
        lathe_tensor_wrap(lathe_engine_pool(poor), &desc, memory, NULL, 0, NULL, NULL, &source));
    CHECK_STATUS(lathe_convert(poor, source, &target, &result, NULL), LATHE_INSUFFICIENT_MEMORY);
    cr_assert_geq(lathe_last_error()->required_bytes, UINT64_C(2048) * 2048 * 2);
    cr_assert_gt(lathe_last_error()->available_bytes, 0);
    cr_assert_lt(lathe_last_error()->available_bytes, UINT64_C(6) << 20);
    lathe_tensor_release(source);
    lathe_engine_free(poor);
}

Test(plan, planning_keeps_no_memory) {
    lathe_pool_stats before = {.struct_size = sizeof before};
    lathe_pool_stats after = {.struct_size = sizeof after};
    (void)auto_plan(LATHE_F32, LATHE_F16); /* the table of lines stays */
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &before));
    for (int to = LATHE_F16; to <= LATHE_BITNET158; to++) {
        (void)auto_plan(LATHE_F32, (lathe_dtype)to);
        (void)plan_of(engine, large_shape, LATHE_F32, (lathe_dtype)to,
                      (lathe_plan_options){.strategy = LATHE_STRATEGY_STREAMING});
    }
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &after));
    cr_assert_eq(after.n_live, before.n_live);
    cr_assert_eq(after.in_use_bytes, before.in_use_bytes);
}

/* A plan does without what there is no memory for, and loses none. */
Test(plan, memory_that_runs_out) {
    for (uint64_t fail_at = 0; fail_at < 40; fail_at++) {
        test_allocator allocator;
        test_allocator_init(&allocator);
        lathe_engine *poor =
            engine_of((lathe_config){.n_threads = 2, .allocator = &allocator.interface});
        test_allocator_reset(&allocator, fail_at);
        allocator.fail_ever_after = fail_at % 2 != 0;
        lathe_plan plan = {0};
        lathe_status status =
            make(poor, small_shape, LATHE_F32, LATHE_BITNET158, (lathe_plan_options){0}, &plan);
        CHECK(status == LATHE_OK && plan.estimated_ns > 0, "allocation %d: %s", (int)fail_at,
              lathe_status_name(status));
        test_allocator_reset(&allocator, UINT64_MAX);
        lathe_engine_free(poor);
        cr_assert_eq(allocator.n_live, 0);
        cr_assert(!allocator.misused);
    }
}

/* ---- estimates */

Test(plan, estimates_follow_what_conversions_take) {
    const lathe_tensor_desc desc = desc_of(LATHE_F32, small_shape);
    const lathe_target target = target_of(LATHE_F16);
    lathe_tensor_desc to;
    lt_layout from_layout;
    lt_layout to_layout;
    CHECK_OK(lathe_target_desc(&target, 2, small_shape, &to));
    CHECK_OK(lt_layout_of(&desc, &from_layout));
    CHECK_OK(lt_layout_of(&to, &to_layout));
    const lt_case c = lt_case_of(&from_layout, &to_layout, &target);
    const uint64_t measured = auto_plan(LATHE_F32, LATHE_F16).estimated_ns;
    for (int i = 0; i < 100; i++) {
        lt_planner_observe(engine, LT_ON_CALLER, &c, measured * 20);
        lt_planner_observe(engine, LT_ON_THREADS, &c, measured * 30);
    }
    lathe_plan plan = auto_plan(LATHE_F32, LATHE_F16);
    cr_assert_float_eq((double)plan.estimated_ns, (double)measured * 20, (double)measured * 2);
    cr_assert_eq(plan.n_threads, 1);
    for (int i = 0; i < 100; i++) {
        lt_planner_observe(engine, LT_ON_THREADS, &c, measured * 2);
    }
    plan = auto_plan(LATHE_F32, LATHE_F16);
    cr_assert_float_eq((double)plan.estimated_ns, (double)measured * 2, (double)measured * 0.2);
    cr_assert_eq(plan.n_threads, 2);
    /* Another size, another pair and another kind of work are left as they were. */
    const lt_case larger = {
        .from = LATHE_F32, .to = LATHE_F16, .kind = LT_WORK_PLAIN, .n_bytes = c.n_bytes * 16};
    cr_assert_eq(lt_costs_estimate(engine->planner->costs, LT_ON_CALLER, &larger).n_seen, 0);
    const lt_case other = {
        .from = LATHE_F32, .to = LATHE_BF16, .kind = LT_WORK_PLAIN, .n_bytes = c.n_bytes};
    cr_assert_eq(lt_costs_estimate(engine->planner->costs, LT_ON_CALLER, &other).n_seen, 0);
}

Test(plan, conversions_are_observed) {
    const lathe_target target = target_of(LATHE_I8);
    lathe_tensor *source = tensor_of(engine, LATHE_F32, small_shape);
    const lt_case c = {.from = LATHE_F32,
                       .to = LATHE_I8,
                       .kind = LT_WORK_TWO_PASS,
                       .n_bytes = UINT64_C(512) * 512 * 5};
    uint32_t before = lt_costs_estimate(engine->planner->costs, LT_ON_CALLER, &c).n_seen +
                      lt_costs_estimate(engine->planner->costs, LT_ON_THREADS, &c).n_seen;
    cr_assert_eq(before, 0);
    for (int i = 0; i < 10; i++) {
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
        lathe_tensor_release(result);
    }
    uint32_t seen = lt_costs_estimate(engine->planner->costs, LT_ON_CALLER, &c).n_seen +
                    lt_costs_estimate(engine->planner->costs, LT_ON_THREADS, &c).n_seen;
    cr_assert_geq(seen, 10, "%u", seen);
    lathe_tensor_release(source);
}

/* Both ways are tried, then the faster one is taken, and the other is tried again now and then. */
Test(plan, spreading_is_learned) {
    lt_costs *costs = lt_costs_create(lathe_engine_pool(engine), UINT64_C(1) << 24, 4);
    const lt_case c = {
        .from = LATHE_F32, .to = LATHE_F16, .kind = LT_WORK_PLAIN, .n_bytes = UINT64_C(1) << 20};
    int n_spread = 0;
    for (int i = 0; i < 1000; i++) {
        bool spread = lt_costs_spread(costs, &c, true);
        n_spread += spread;
        lt_costs_observe(costs, spread ? LT_ON_THREADS : LT_ON_CALLER, &c, spread ? 80000 : 60000);
    }
    cr_assert(!lt_costs_spread(costs, &c, false), "the caller alone is faster");
    cr_assert(n_spread >= 4 && n_spread < 100, "%d of 1000", n_spread);
    const lt_case tiny = {
        .from = LATHE_F32, .to = LATHE_F16, .kind = LT_WORK_PLAIN, .n_bytes = 6000};
    cr_assert(!lt_costs_spread(costs, &tiny, true));
    lt_costs_destroy(costs);
}

Test(plan, the_way_changes_no_bit) {
    static const lathe_dtype types[][2] = {{LATHE_F32, LATHE_F16},
                                           {LATHE_F32, LATHE_I4},
                                           {LATHE_BF16, LATHE_BITNET158},
                                           {LATHE_BITNET158, LATHE_F32},
                                           {LATHE_I8, LATHE_I2}};
    const uint64_t shape[] = {301, 1003};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        lathe_tensor *source = tensor_of(engine, types[i][0], shape);
        lathe_tensor *results[2] = {NULL};
        for (int granularity = LATHE_PER_TENSOR; granularity <= LATHE_PER_ROW; granularity++) {
            lathe_target target = target_of(types[i][1]);
            target.granularity = (lathe_granularity)granularity;
            engine->planner->is_fixed = true;
            for (int way = 0; way < 2; way++) {
                engine->planner->fixed = way == 0 ? LT_ON_CALLER : LT_ON_THREADS;
                CHECK_OK(lathe_convert(engine, source, &target, &results[way], NULL));
            }
            const size_t n_bytes = (size_t)lathe_tensor_n_bytes(results[0]);
            cr_assert(
                memcmp(lathe_tensor_data(results[0]), lathe_tensor_data(results[1]), n_bytes) == 0);
            lathe_tensor_release(results[0]);
            lathe_tensor_release(results[1]);
        }
        lathe_tensor_release(source);
    }
}
