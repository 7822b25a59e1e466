/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of conversions on the OpenCL device against the oracle where its kernels have edges: units,
 * work-groups, blocks and tiles, rounding in every interval, chunks of a small budget, a device of
 * small allocations, and one that lies. Built with TEST_OPENCL, as test_convert.c and its like are
 * once more. */
#include "convert_case.h"
#include "lathe_launch.h"

TestSuite(opencl_convert, .init = setup_engines, .fini = teardown_engines);

static void check_shape(test_rng *rng, lathe_dtype from, lathe_dtype to, const shape_option *shape,
                        const layout_option *held, const layout_option *wanted) {
    lathe_tensor_desc desc = desc_of(from, shape, held, 0);
    convert_case c = case_new(&desc, (size_t)test_random_below(rng, 3) * 32 + 1);
    test_fill_tensor(rng, &desc, (test_data)test_random_below(rng, TEST_DATA_FINITE_COUNT), c.bytes,
                     c.scales);
    lathe_target target = target_of(to, wanted, 0);
    target.strict = test_random_below(rng, 4) == 0;
    check_case(&c, &target);
    case_free(&c);
}

/* One element less and more than what a work-item, a group and two groups take. */
static void check_units(lathe_dtype from) {
    test_rng rng = {20 + (uint64_t)from};
    for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
        const uint64_t unit = LATHE_CL_UNIT((int)from, to);
        const uint64_t group = unit * LATHE_CL_GROUP;
        const uint64_t steps = LATHE_CL_PAIR_STEPS((int)from, to);
        const uint64_t edges[] = {unit, 2 * unit, group, steps * group, 2 * steps * group};
        for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
            for (uint64_t n = edges[i] - 1; n <= edges[i] + 1; n++) {
                const size_t held = (size_t)test_random_below(&rng, N_LAYOUTS);
                const size_t wanted = (size_t)test_random_below(&rng, N_LAYOUTS);
                const shape_option flat = {1, {n}};
                const shape_option rows = {2, {3, n}};
                check_shape(&rng, from, (lathe_dtype)to, &flat, &layout_options[held],
                            &layout_options[0]);
                check_shape(&rng, from, (lathe_dtype)to, i < 3 ? &rows : &flat,
                            &layout_options[held], &layout_options[wanted]);
            }
        }
    }
}

#define TEST_UNITS(name, dtype)                                                                    \
    Test(opencl_convert, units_from_##name) {                                                      \
        check_units(dtype);                                                                        \
    }

TEST_UNITS(f32, LATHE_F32)
TEST_UNITS(bf16, LATHE_BF16)
TEST_UNITS(i8, LATHE_I8)
TEST_UNITS(i1, LATHE_I1)
TEST_UNITS(bitnet158, LATHE_BITNET158)

/* Rows and groups around the tile of the statistics, which is also the block of the kernel that
 * finds its own scales. */
Test(opencl_convert, blocks_and_tiles) {
    static const uint64_t edges[] = {32, 128, 1024, 4096, 8192};
    test_rng rng = {30};
    for (int to = LATHE_I8; to <= LATHE_BITNET158; to++) {
        for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
            for (uint64_t n = edges[i] - 1; n <= edges[i] + 1; n++) {
                const lathe_dtype from = (lathe_dtype)(1 + test_random_below(&rng, 8));
                const layout_option group = {LATHE_PER_GROUP, edges[i]};
                const shape_option few = {2, {3, n}};
                const shape_option many = {2, {edges[i] > 1024 ? 2 : 67, 2 * n + 5}};
                check_shape(&rng, LATHE_F32, (lathe_dtype)to, &few, &layout_options[1], &group);
                check_shape(&rng, from, (lathe_dtype)to, &few, &layout_options[1],
                            &layout_options[1]);
                check_shape(&rng, from, (lathe_dtype)to, &many, &group, &group);
                check_shape(&rng, from, (lathe_dtype)to, &many, &group, &layout_options[1]);
            }
        }
    }
}

/* Rows and their last groups, which are short, end anywhere in what a work-group takes. */
Test(opencl_convert, rows_end_in_steps) {
    static const shape_option shape = {2, {9, 2464}};
    static const layout_option held = {LATHE_PER_GROUP, 96};
    test_rng rng = {31};
    for (int from = LATHE_I8; from <= LATHE_BITNET158; from++) {
        for (int to = LATHE_F32; to <= LATHE_BF16; to++) {
            lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shape, &held, 0);
            convert_case c = case_new(&desc, 0);
            lathe_target target = target_of((lathe_dtype)to, &layout_options[0], 0);
            test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
            check_case(&c, &target);
            if (from == LATHE_BITNET158) { /* a row has 493 bytes */
                c.bytes[3 * 493 + 17] = 243;
                check_case(&c, &target);
            }
            case_free(&c);
        }
    }
}

Test(opencl_convert, every_f16_and_bf16) {
    static const shape_option shape = {2, {256, 256}};
    for (int from = LATHE_F16; from <= LATHE_BF16; from++) {
        lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shape, layout_options, 0);
        convert_case c = case_new(&desc, 0);
        for (uint32_t i = 0; i < 65536; i++) {
            const uint16_t pattern = (uint16_t)i;
            memcpy(c.bytes + (size_t)2 * i, &pattern, 2);
        }
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            lathe_target target = target_of((lathe_dtype)to, &layout_options[to % 3], 0);
            target.nonfinite = LATHE_NONFINITE_SATURATE;
            check_case(&c, &target);
        }
        case_free(&c);
    }
}

/* The first and the last F32 of each interval that rounds to one F16, and of each BF16. */
Test(opencl_convert, every_rounding_of_f32) {
    for (int to = LATHE_F16; to <= LATHE_BF16; to++) {
        size_t n = 0;
        oracle_interval *intervals = oracle_intervals((lathe_dtype)to, &n);
        const shape_option shape = {1, {4 * (uint64_t)(n - 1)}};
        lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
        convert_case c = case_new(&desc, 0);
        for (size_t i = 0; i + 1 < n; i++) {
            const uint32_t ends[] = {intervals[i].first, intervals[i + 1].first - 1,
                                     intervals[i].first | 0x80000000u,
                                     (intervals[i + 1].first - 1) | 0x80000000u};
            memcpy(c.bytes + i * sizeof ends, ends, sizeof ends);
        }
        lathe_target target = target_of((lathe_dtype)to, layout_options, 0);
        check_case(&c, &target);
        free(intervals);
        case_free(&c);
    }
}

/* ---- limits of memory */

static lathe_tensor *normal_floats(const shape_option *shape) {
    test_rng rng = {32};
    lathe_tensor_desc desc = desc_of(LATHE_F32, shape, layout_options, 0);
    lathe_tensor *source = NULL;
    CHECK_OK(lathe_tensor_create(pool, &desc, &source));
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(source), NULL);
    return source;
}

/* Converts to every kind of target on the engine, into memory from elsewhere, and compares with the
 * scalar kernels. */
static void check_into(lathe_engine *engine, const lathe_tensor *source) {
    static const lathe_dtype targets[] = {LATHE_F16, LATHE_I8, LATHE_BITNET158, LATHE_I4};
    for (size_t i = 0; i < 12; i++) {
        const lathe_target target = target_of(targets[i % 4], &layout_options[i / 4], 0);
        lathe_tensor_desc desc;
        lathe_tensor *expected = NULL;
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_convert(engines[0], source, &target, &expected, NULL));
        CHECK_OK(lathe_target_desc(&target, lathe_tensor_n_dims(source), lathe_tensor_shape(source),
                                   &desc));
        CHECK_OK(lathe_tensor_create(pool, &desc, &result));
        CHECK_OK(lathe_convert_into(engine, source, &target, result, NULL));
        CHECK(test_same(result, expected), "%s, layout %zu: other bytes",
              lathe_dtype_name(target.dtype), i / 4);
        lathe_tensor_release(result);
        lathe_tensor_release(expected);
    }
}

/* The pool's budget bounds what the driver is asked for. */
Test(opencl_convert, a_budget_is_kept) {
    static const shape_option shape = {2, {400, 3001}}; /* 4.8 MB */
    const test_cl_layer *layer = test_cl_layer_find();
    lathe_tensor *source = normal_floats(&shape);
    for (size_t own = 0; own < (layer == NULL ? 1 : 2); own++) {
        for (uint64_t budget = 4 << 20; budget <= 16 << 20; budget *= 2) {
            lathe_engine *engine = NULL;
            lathe_config config = test_opencl_config();
            config.memory_budget_bytes = budget;
            CHECK_OK(test_opencl_engine(&config, own != 0, layer, &engine));
            if (layer != NULL) {
                layer->reset();
            }
            uint64_t before = layer == NULL ? 0 : layer->live_bytes();
            check_into(engine, source);
            lathe_pool_stats stats = {.struct_size = sizeof stats};
            CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
            CHECK(stats.peak_bytes <= budget, "%d bytes of %d", (int)stats.peak_bytes, (int)budget);
            CHECK(layer == NULL || layer->peak_bytes() - before <= budget,
                  "%d bytes in the driver's buffers, of %d", (int)(layer->peak_bytes() - before),
                  (int)budget);
            lathe_engine_free(engine);
        }
    }
    lathe_tensor_release(source);
}

/* Tensors larger than a buffer can be go in chunks; the layer refuses larger buffers. */
Test(opencl_convert, a_device_of_small_buffers) {
    static const shape_option shape = {2, {400, 3001}};
    const test_cl_layer *layer = test_cl_layer_find();
    if (layer == NULL) {
        return;
    }
    lathe_tensor *source = normal_floats(&shape);
    for (size_t own = 0; own < 2; own++) {
        const test_cl_device small = {.max_alloc_bytes = 1 << 20, .has_own_memory = own != 0};
        const lathe_config config = test_opencl_config();
        lathe_engine *engine = NULL;
        layer->reset();
        layer->set_device(&small);
        CHECK_OK(lathe_engine_create(&config, &engine));
        check_into(engine, source);
        CHECK(layer->n_misuses() == 0, "%s", layer->first_misuse());
        lathe_engine_free(engine);
        layer->reset();
    }
    lathe_tensor_release(source);
}

/* A device that has less memory than it says: cached blocks are given back to it, and what does not
 * fit even so is done on the CPU. */
Test(opencl_convert, a_device_of_little_memory) {
    static const shape_option shape = {2, {400, 3001}};
    const test_cl_layer *layer = test_cl_layer_find();
    if (layer == NULL) {
        return;
    }
    lathe_tensor *source = normal_floats(&shape);
    for (uint64_t memory = 64 << 10; memory <= 4 << 20; memory *= 4) {
        const test_cl_device own = {.has_own_memory = true};
        const test_cl_device small = {.has_own_memory = true, .memory_bytes = memory};
        lathe_config config = test_opencl_config();
        lathe_engine *engine = NULL;
        config.require_device = 0;
        layer->reset();
        layer->set_device(&own);
        CHECK_OK(lathe_engine_create(&config, &engine));
        layer->set_device(&small);
        check_into(engine, source);
        CHECK(layer->n_misuses() == 0, "%s", layer->first_misuse());
        const lathe_engine_stats stats = test_engine_stats(engine);
        CHECK(stats.n_on_device + stats.n_fallbacks == stats.n_conversions,
              "%d on the device, %d fallbacks, %d in all", (int)stats.n_on_device,
              (int)stats.n_fallbacks, (int)stats.n_conversions);
        lathe_engine_free(engine);
        layer->reset();
    }
    lathe_tensor_release(source);
}

/* A driver that has compiled kernels for smaller work-groups than rows want, where these do not say
 * their size: long rows take two passes, short ones another kernel. */
static void check_small_kernels(const test_cl_layer *layer, lathe_dtype from, lathe_dtype to,
                                const shape_option *shape) {
    static const layout_option rows = {LATHE_PER_ROW, 0};
    const test_cl_device small = {.kernel_items = 96};
    const lathe_config config = test_opencl_config();
    test_rng rng = {37};
    lathe_tensor_desc desc = desc_of(from, shape, &rows, 0);
    const lathe_target target = target_of(to, &rows, 0);
    lathe_engine *engine = NULL;
    lathe_tensor *source = NULL;
    lathe_tensor *results[2] = {NULL, NULL};
    layer->reset();
    CHECK_OK(lathe_tensor_create(pool, &desc, &source));
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(source),
                     lathe_tensor_mutable_scales(source));
    CHECK_OK(lathe_engine_create(&config, &engine));
    CHECK_OK(lathe_convert(engine, source, &target, &results[0], NULL));
    layer->set_device(&small);
    CHECK_OK(lathe_convert(engine, source, &target, &results[1], NULL));
    CHECK(test_same(results[0], results[1]), "other bytes");
    const lathe_engine_stats stats = test_engine_stats(engine);
    CHECK(stats.n_on_device == 2 && stats.n_fallbacks == 0, "%d on the device, %d fallbacks",
          (int)stats.n_on_device, (int)stats.n_fallbacks);
    layer->reset();
    lathe_tensor_release(results[0]);
    lathe_tensor_release(results[1]);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

Test(opencl_convert, kernels_of_small_work_groups) {
    static const shape_option shapes[] = {{2, {2, 8192}}, {2, {2, 5120}}, {2, {3, 4064}}};
    const test_cl_layer *layer = test_cl_layer_find();
    if (layer != NULL) {
        check_small_kernels(layer, LATHE_I8, LATHE_I4, &shapes[0]);
        check_small_kernels(layer, LATHE_F32, LATHE_I8, &shapes[1]);
        check_small_kernels(layer, LATHE_F16, LATHE_BITNET158, &shapes[2]);
    }
}

/* ---- a device that computes other bits */

typedef struct notices {
    int n_warnings;
} notices;

static void count_notice(void *ctx, lathe_notice_level level, const char *text) {
    notices *n = ctx;
    n->n_warnings += level == LATHE_NOTICE_WARNING && text != NULL && text[0] != '\0';
}

static void check_liar(const test_cl_layer *layer, const char *kernel, lathe_dtype to,
                       bool required) {
    static const shape_option shape = {2, {40, 301}};
    notices told = {0};
    lathe_config config = test_opencl_config();
    config.program_cache_dir = NULL; /* what is in it has been checked */
    config.require_device = required;
    config.notice = count_notice;
    config.notice_ctx = &told;
    lathe_engine *engine = NULL;
    lathe_tensor *source = normal_floats(&shape);
    lathe_tensor *expected = NULL;
    lathe_tensor *result = NULL;
    const lathe_target target = target_of(to, layout_options, 0);
    CHECK_OK(lathe_convert(engines[0], source, &target, &expected, NULL));
    CHECK_OK(lathe_engine_create(&config, &engine));
    layer->set_liar(kernel);
    if (required) {
        CHECK_STATUS(lathe_convert(engine, source, &target, &result, NULL), LATHE_DEVICE);
    } else {
        CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
        CHECK(test_same(result, expected), "other bytes");
        CHECK(test_engine_stats(engine).n_fallbacks == 1, "%s: the CPU did not do it", kernel);
        CHECK(told.n_warnings >= 1, "nobody was told");
        lathe_tensor_release(result);
    }
    CHECK_STATUS(lathe_engine_self_check(engine), LATHE_DEVICE);
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engine, &info));
    CHECK(info.self_check == LATHE_CHECK_FAILED, "%d", (int)info.self_check);
    layer->set_liar(NULL);
    lathe_engine_free(engine);
    lathe_tensor_release(expected);
    lathe_tensor_release(source);
}

Test(opencl_convert, a_device_that_lies_is_not_used) {
    static const char *const kernels[] = {"lathe_stream", "lathe_block", "lathe_stats"};
    const test_cl_layer *layer = test_cl_layer_find();
    for (size_t i = 0; layer != NULL && i < 3; i++) {
        check_liar(layer, kernels[i], LATHE_I8, false);
        check_liar(layer, kernels[i], LATHE_I8, true);
    }
    if (layer != NULL) { /* a mean, which is gathered in another way */
        check_liar(layer, "lathe_stats", LATHE_BITNET158, false);
    }
}

/* Nor in chains that are rounded first, the next time either. */
Test(opencl_convert, chains_that_lie_are_not_used) {
    static const shape_option shape = {2, {40, 301}};
    static const char *const kernels[] = {"lathe_stream", "lathe_block"};
    const test_cl_layer *layer = test_cl_layer_find();
    const lathe_pipeline_stage stages[] = {
        {.struct_size = sizeof stages[0], .target = target_of(LATHE_F16, layout_options, 0)},
        {.struct_size = sizeof stages[0], .target = target_of(LATHE_BITNET158, layout_options, 0)}};
    for (size_t i = 0; layer != NULL && i < 2; i++) {
        lathe_config config = test_opencl_config();
        config.program_cache_dir = NULL;
        config.require_device = false;
        lathe_engine *engine = NULL;
        lathe_pipeline *pipeline = NULL;
        lathe_tensor *source = normal_floats(&shape);
        lathe_tensor *expected = NULL;
        CHECK_OK(lathe_engine_create(&config, &engine));
        CHECK_OK(lathe_pipeline_create(lathe_engine_pool(engine), 2, stages, NULL, &pipeline));
        CHECK_OK(lathe_pipeline_run(engines[0], pipeline, source, &expected, NULL));
        layer->set_liar(kernels[i]);
        for (int run = 1; run <= 2; run++) {
            lathe_tensor *result = NULL;
            CHECK_OK(lathe_pipeline_run(engine, pipeline, source, &result, NULL));
            CHECK(test_same(result, expected), "%s, run %d: other bytes", kernels[i], run);
            CHECK((int)test_engine_stats(engine).n_fallbacks == run, "%s, run %d: %d fallbacks",
                  kernels[i], run, (int)test_engine_stats(engine).n_fallbacks);
            lathe_tensor_release(result);
        }
        layer->set_liar(NULL);
        lathe_pipeline_free(pipeline);
        lathe_tensor_release(expected);
        lathe_tensor_release(source);
        lathe_engine_free(engine);
    }
}

/* ---- programs on disk */

Test(opencl_convert, a_cache_is_used_and_doubted) {
    static const shape_option shape = {2, {40, 301}};
    const test_cl_layer *layer = test_cl_layer_find();
    lathe_tensor *source = normal_floats(&shape);
    lathe_tensor *result = NULL;
    const lathe_target target = target_of(LATHE_F16, layout_options, 0);
    char folder[] = P_tmpdir "/lathe-cache-XXXXXX";
    CHECK(mkdtemp(folder) != NULL, "mkdtemp");
    lathe_config config = test_opencl_config();
    config.program_cache_dir = folder;
    for (int round = 0; round < (layer == NULL ? 2 : 3); round++) {
        const test_cl_device updated = {.driver_version = "another"};
        lathe_engine *engine = NULL;
        if (round == 2) {
            layer->set_device(&updated); /* what it compiled before is not used */
        }
        CHECK_OK(lathe_engine_create(&config, &engine));
        CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
        const lathe_engine_stats stats = test_engine_stats(engine);
        CHECK(stats.n_programs_built == (round == 1 ? 0 : 1) &&
                  stats.n_programs_loaded == (round == 1 ? 1 : 0),
              "round %d: %d built, %d loaded", round, (int)stats.n_programs_built,
              (int)stats.n_programs_loaded);
        lathe_tensor_release(result);
        lathe_engine_free(engine);
    }
    if (layer != NULL) {
        layer->reset();
    }
    CHECK(system(test_text("rm -rf '%s'", folder)) == 0, "the folder");
    lathe_tensor_release(source);
}
