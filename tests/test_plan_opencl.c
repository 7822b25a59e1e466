/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of planning with a device: what a plan says of it, and AUTO, which here may take a
 * processor's OpenCL, too. */
#include "check.h"
#include "engine/plan/planner.h"
#include "opencl/opencl.h"
#include "opencl_support.h"

static const test_cl_layer *layer;
static lathe_engine *cpu;

static void setup(void) {
    layer = test_cl_layer_find();
    CHECK(layer != NULL || getenv("OPENCL_LAYERS") == NULL, "the fault layer was not loaded");
    const lathe_config config = {.struct_size = sizeof config, .n_threads = 2, .device = "cpu"};
    CHECK_OK(lathe_engine_create(&config, &cpu));
}

static void teardown(void) {
    lathe_engine_free(cpu);
    const char *left = layer == NULL ? NULL : test_cl_leftovers(layer);
    CHECK(left == NULL, "%s", left);
}

TestSuite(plan_opencl, .init = setup, .fini = teardown);

static const uint64_t shape[] = {512, 1024};
enum { SOURCE_BYTES = 512 * 1024 * 4, RESULT_BYTES = SOURCE_BYTES / 2 };

static lathe_tensor_desc desc_of(lathe_dtype dtype) {
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc), .dtype = dtype, .n_dims = 2, .shape = shape};
}

static const lathe_target to_f16 = {.struct_size = sizeof to_f16, .dtype = LATHE_F16};
static const lt_case f32_to_f16 = {.from = LATHE_F32,
                                   .to = LATHE_F16,
                                   .kind = LT_WORK_PLAIN,
                                   .n_bytes = SOURCE_BYTES + RESULT_BYTES};

static lathe_plan plan_of(lathe_engine *engine, lathe_memory memory, uint64_t memory_bytes) {
    const lathe_tensor_desc desc = desc_of(LATHE_F32);
    const lathe_plan_options options = {.struct_size = sizeof options,
                                        .memory_bytes = memory_bytes};
    lathe_plan plan = {.struct_size = sizeof plan};
    CHECK_OK(lathe_plan_make(engine, &desc, memory, &to_f16, &options, &plan));
    CHECK(plan.estimated_ns > 0 && plan.reason[0] != '\0', "an estimate and a reason");
    return plan;
}

static lathe_tensor *source_of(lathe_engine *engine) {
    const lathe_tensor_desc desc = desc_of(LATHE_F32);
    lathe_tensor *tensor = NULL;
    test_rng rng = {5};
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &tensor));
    test_fill_tensor(&rng, &desc, TEST_DATA_SPECIAL, lathe_tensor_mutable_data(tensor), NULL);
    return tensor;
}

/* Converts on the engine, and compares with the CPU. */
static void check_conversion(lathe_engine *engine) {
    lathe_tensor *source = source_of(engine);
    lathe_tensor *expected = NULL;
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(cpu, source, &to_f16, &expected, NULL));
    CHECK_OK(lathe_convert(engine, source, &to_f16, &result, NULL));
    CHECK(test_same(expected, result), "the same bytes");
    lathe_tensor_release(source);
    lathe_tensor_release(expected);
    lathe_tensor_release(result);
}

Test(plan_opencl, on_a_device) {
    const lathe_config config = test_opencl_config();
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    lathe_plan plan = plan_of(engine, LATHE_MEMORY_DEVICE, 0);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_DIRECT);
    cr_assert(strncmp(plan.device, "opencl:", 7) == 0, "%s", plan.device);
    cr_assert_eq(plan.n_threads, 0);
    cr_assert_eq(plan.n_passes, 1);
    cr_assert_eq(plan.extra_bytes, RESULT_BYTES);
    lt_estimate before = lt_costs_estimate(engine->planner->costs, LT_ON_DEVICE, &f32_to_f16);
    cr_assert(before.is_known && before.n_seen == 0, "measured, not seen");
    check_conversion(engine);
    cr_assert_eq(test_engine_stats(engine).n_on_device, 1);
    lathe_engine_free(engine);
}

/* Rows that are longer than a block take one pass as long as a work-group takes them, else two;
 * small work-groups take even rows alone. */
Test(plan_opencl, long_rows) {
    static const uint64_t shapes[][2] = {{64, 5120}, {64, 5121}, {4, 90112}};
    static const uint32_t n_passes[] = {1, 1, 2};
    static const uint32_t n_passes_if_small[] = {1, 2, 2};
    const lathe_target to_i8 = {
        .struct_size = sizeof to_i8, .dtype = LATHE_I8, .granularity = LATHE_PER_ROW};
    const lathe_config config = test_opencl_config();
    const lathe_plan_options options = {.struct_size = sizeof options};
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    const bool is_small = lt_cl_backend_device(engine->device)->is_small;
    for (size_t i = 0; i < 3; i++) {
        const uint32_t n_expected = is_small ? n_passes_if_small[i] : n_passes[i];
        const lathe_tensor_desc desc = {
            .struct_size = sizeof desc, .dtype = LATHE_F16, .n_dims = 2, .shape = shapes[i]};
        lathe_plan plan = {.struct_size = sizeof plan};
        CHECK_OK(lathe_plan_make(engine, &desc, LATHE_MEMORY_DEVICE, &to_i8, &options, &plan));
        cr_assert_eq(plan.n_passes, n_expected, "%d passes", (int)plan.n_passes);
    }
    lathe_engine_free(engine);
}

Test(plan_opencl, through_a_device_with_memory_of_its_own) {
    if (layer == NULL) {
        cr_skip_test("there is no fault layer");
    }
    const lathe_config config = test_opencl_config();
    lathe_engine *engine = NULL;
    CHECK_OK(test_opencl_engine(&config, true, layer, &engine));
    lathe_plan plan = plan_of(engine, LATHE_MEMORY_HOST, 0);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_STREAMING);
    cr_assert(strncmp(plan.device, "opencl:", 7) == 0, "%s", plan.device);
    cr_assert_gt(plan.extra_bytes, RESULT_BYTES);
    /* The result alone fits: the CPU. */
    plan = plan_of(engine, LATHE_MEMORY_HOST, RESULT_BYTES);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_DIRECT);
    cr_assert_str_eq(plan.device, "cpu");
    cr_assert_eq(plan.extra_bytes, RESULT_BYTES);
    check_conversion(engine);
    lathe_engine_free(engine);
}

static lathe_engine *auto_engine(bool looks_at_once) {
    const lathe_config config = {.struct_size = sizeof config,
                                 .n_threads = 2,
                                 .program_cache_dir = getenv("LATHE_TEST_CACHE")};
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    engine->planner->takes_any_device = true;
    engine->planner->look_ns = looks_at_once ? 0 : engine->planner->look_ns;
    return engine;
}

static const char *device_of(lathe_engine *engine) {
    static lathe_device_info info;
    info = (lathe_device_info){.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engine, &info));
    return info.selector;
}

/* Says that the device takes this long for a byte. */
static void set_device_rate(lathe_engine *engine, float ns_per_byte) {
    const lt_line line = {.ns_per_byte = ns_per_byte};
    cr_assert(lt_costs_set_line(engine->planner->costs, LT_ON_DEVICE, &f32_to_f16, &line));
    cr_assert(lt_costs_set_line(engine->planner->costs, LT_THROUGH_DEVICE, &f32_to_f16, &line));
}

Test(plan_opencl, auto_opens_nothing_for_little_work) {
    lathe_engine *engine = auto_engine(false);
    check_conversion(engine);
    cr_assert(!atomic_load(&engine->planner->has_looked));
    cr_assert_str_eq(device_of(engine), "cpu");
    lathe_engine_free(engine);
}

Test(plan_opencl, auto_takes_a_faster_device) {
    lathe_engine *engine = auto_engine(true);
    set_device_rate(engine, 1e-6F);
    lathe_plan plan = plan_of(engine, LATHE_MEMORY_HOST, 0);
    cr_assert(strncmp(plan.device, "opencl:", 7) == 0, "%s: %s", plan.device, plan.reason);
    check_conversion(engine);
    cr_assert(strncmp(device_of(engine), "opencl:", 7) == 0);
    cr_assert_eq(test_engine_stats(engine).n_on_device, 1);
    /* What it really took is remembered: by and by the CPU is the faster one, or not. */
    for (int i = 0; i < 8; i++) {
        check_conversion(engine);
    }
    lathe_engine_free(engine);
}

Test(plan_opencl, auto_leaves_a_slower_device_alone) {
    lathe_engine *engine = auto_engine(true);
    set_device_rate(engine, 1000);
    check_conversion(engine);
    cr_assert(atomic_load(&engine->planner->has_looked));
    cr_assert_eq(test_engine_stats(engine).n_on_device, 0);
    cr_assert_str_eq(device_of(engine), "cpu");
    cr_assert_str_eq(plan_of(engine, LATHE_MEMORY_HOST, 0).device, "cpu");
    lathe_engine_free(engine);
}

Test(plan_opencl, auto_measures_a_device_that_it_does_not_know) {
    lathe_engine *engine = auto_engine(true);
    check_conversion(engine);
    cr_assert(atomic_load(&engine->planner->has_looked));
    lt_place place = lt_device_place(engine->planner->on_device, false);
    cr_assert(lt_costs_estimate(engine->planner->costs, place, &f32_to_f16).is_known);
    lathe_engine_free(engine);
}

/* To a device with memory of its own the way there and back is measured first, and tensors are in
 * its memory while it is measured itself. */
Test(plan_opencl, auto_measures_the_way_to_a_device) {
    const test_cl_device own = {.has_own_memory = true};
    const test_cl_device real = {.has_own_memory = false};
    if (layer == NULL) {
        cr_skip_test("there is no fault layer");
    }
    layer->set_device(&own);
    lathe_engine *engine = auto_engine(true);
    check_conversion(engine);
    layer->set_device(&real);
    cr_assert(atomic_load(&engine->planner->has_looked));
    cr_assert_eq(lt_device_place(engine->planner->on_device, false), LT_THROUGH_DEVICE);
    lathe_engine *insisting = NULL;
    const lathe_config config = test_opencl_config();
    CHECK_OK(test_opencl_engine(&config, true, layer, &insisting));
    const lathe_plan plan = plan_of(insisting, LATHE_MEMORY_DEVICE, 0);
    cr_assert_eq(plan.strategy, LATHE_STRATEGY_DIRECT);
    lathe_engine_free(insisting);
    lathe_engine_free(engine);
}

/* A device that fails costs time, not the result. */
Test(plan_opencl, auto_survives_a_device_that_fails) {
    if (layer == NULL) {
        cr_skip_test("there is no fault layer");
    }
    for (uint64_t at = 1; at < 60; at += 3) {
        lathe_engine *engine = auto_engine(true);
        const test_cl_faults faults = {.at = at, .ever_after = at % 2 != 0};
        set_device_rate(engine, 1e-6F);
        layer->set_faults(&faults);
        check_conversion(engine);
        layer->stop_faults();
        check_conversion(engine);
        lathe_engine_free(engine);
    }
}
