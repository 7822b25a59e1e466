/* SPDX-License-Identifier: Apache-2.0 */
/* Tests that pipelines give what their stages give one by one: bytes, scales, counts and errors,
 * over all types, granularities and kinds of data, on every engine. */
#include "pipeline_case.h"
#include <math.h>

TestSuite(pipeline, .init = setup_engines, .fini = teardown_engines);

/* ---- all types */

static const shape_option small_shapes[] = {
    {2, {3, 100}}, {1, {1}}, {2, {7, 333}}, {3, {2, 3, 160}}, {2, {2, 5000}}, {2, {40, 33}},
};
enum { N_SMALL = sizeof small_shapes / sizeof small_shapes[0] };

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

/* Scopes of powers of two, the same for all stages: a device finds their scales on the way, unless
 * a value is not finite. */
Test(pipeline, scales_on_the_way) {
    static const shape_option shapes[] = {{2, {3, 4096}},  {2, {5, 128}}, {1, {32}},
                                          {2, {70, 256}},  {1, {12288}},  {2, {3, 8192}},
                                          {2, {17, 1024}}, {2, {9, 512}}};
    static const layout_option layouts[] = {
        {LATHE_PER_ROW, 0}, {LATHE_PER_GROUP, 32}, {LATHE_PER_GROUP, 128}};
    static const struct {
        lathe_dtype from;
        uint32_t n;
        lathe_dtype to[3];
    } chains[] = {{LATHE_F32, 3, {LATHE_F16, LATHE_I8, LATHE_I4}},
                  {LATHE_F32, 3, {LATHE_I8, LATHE_BF16, LATHE_I2}},
                  {LATHE_F32, 3, {LATHE_BF16, LATHE_I4, LATHE_F16}},
                  {LATHE_F16, 2, {LATHE_I8, LATHE_I4}},
                  {LATHE_BF16, 2, {LATHE_I4, LATHE_F32}}};
    enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N = sizeof chains / sizeof chains[0] };
    test_rng rng = {107};
    for (size_t i = 0; i < N_SHAPES * 3 * N; i++) {
        const lathe_dtype *to = chains[i % N].to;
        const layout_option *layout = &layouts[i / N % 3];
        lathe_tensor_desc desc =
            desc_of(chains[i % N].from, &shapes[i / (3 * N)], layout_options, 0);
        convert_case c = case_new(&desc, i);
        lathe_pipeline_stage stages[3];
        for (uint32_t k = 0; k < chains[i % N].n; k++) {
            stages[k] = stage_to(to[k], layout);
        }
        test_fill_tensor(&rng, &desc, (test_data)(i % TEST_DATA_COUNT), c.bytes, c.scales);
        check_chain(&c, chains[i % N].n, stages);
        case_free(&c);
    }
}

/* Roundings before any quantized type, which a device does while it loads the source: with the
 * kernels of tensors, rows and groups that lie evenly and that do not, values that end it, samples,
 * and strict last steps. */
Test(pipeline, rounded_sources) {
    static const shape_option shapes[] = {
        {2, {3, 4096}},  {2, {5, 333}},  {1, {1}},       {2, {7, 128}},
        {2, {2, 5000}},  {2, {40, 33}},  {2, {2, 672}},  {3, {2, 3, 96}},
        {2, {2, 11008}}, {1, {9000}},    {2, {64, 640}}, {2, {2, 17408}},
        {2, {1, 40000}}, {2, {2, 4531}}, {2, {300, 2}},  {2, {1, 70400}}};
    static const layout_option layouts[] = {
        {LATHE_PER_TENSOR, 0}, {LATHE_PER_ROW, 0},     {LATHE_PER_GROUP, 32}, {LATHE_PER_GROUP, 64},
        {LATHE_PER_GROUP, 96}, {LATHE_PER_GROUP, 128}, {LATHE_PER_GROUP, 512}};
    static const struct {
        uint32_t n;
        lathe_dtype to[4];
    } chains[] = {{2, {LATHE_F16, LATHE_BITNET158}},
                  {2, {LATHE_BF16, LATHE_I1}},
                  {3, {LATHE_BF16, LATHE_F16, LATHE_I8}},
                  {4, {LATHE_F16, LATHE_BF16, LATHE_F16, LATHE_BITNET158}},
                  {2, {LATHE_F16, LATHE_I1}}};
    enum {
        N_SHAPES = sizeof shapes / sizeof shapes[0],
        N_LAYS = sizeof layouts / sizeof layouts[0],
        N = sizeof chains / sizeof chains[0]
    };
    test_rng rng = {109};
    for (size_t i = 0; i < N_SHAPES * N_LAYS * TEST_DATA_COUNT; i += TEST_SANITIZED ? 7 : 1) {
        const size_t which = (i + i / N) % N;
        const test_data data = (test_data)(i / N_LAYS % TEST_DATA_COUNT);
        const lathe_tensor_desc desc =
            desc_of(LATHE_F32, &shapes[i / N_LAYS / TEST_DATA_COUNT], layout_options, 0);
        convert_case c = case_new(&desc, i);
        lathe_pipeline_stage stages[4];
        for (uint32_t k = 0; k < chains[which].n; k++) {
            stages[k] = stage_to(chains[which].to[k],
                                 k + 1 < chains[which].n ? layout_options : &layouts[i % N_LAYS]);
        }
        lathe_target *last = &stages[chains[which].n - 1].target;
        last->quality = i % 5 == 0 ? LATHE_FAST : LATHE_BALANCED;
        last->nonfinite = i % 3 == 0 ? LATHE_NONFINITE_ERROR : LATHE_NONFINITE_SATURATE;
        last->strict = i % 31 == 0;
        test_fill_tensor(&rng, &desc, data, c.bytes, c.scales);
        check_chain(&c, chains[which].n, stages);
        case_free(&c);
    }
}

/* NaNs whose payloads rounding could carry away, in chains that find their scales on the way. */
Test(pipeline, nans_before_scales) {
    static const uint32_t nans[] = {0x7fffffff, 0xffffffff, 0x7f800001, 0xffff8000};
    static const lathe_dtype types[][2] = {
        {LATHE_F16, LATHE_I8}, {LATHE_BF16, LATHE_I8}, {LATHE_BF16, LATHE_I4}};
    static const shape_option shape = {2, {4, 256}};
    static const layout_option layout = {LATHE_PER_GROUP, 128};
    test_rng rng = {108};
    for (size_t i = 0; i < 24; i++) {
        const lathe_dtype from = i % 2 == 0 ? LATHE_F32 : LATHE_F16;
        const lathe_dtype *to = types[i / 2 % 3];
        const lathe_tensor_desc desc = desc_of(from, &shape, layout_options, 0);
        convert_case c = case_new(&desc, i);
        const lathe_pipeline_stage stages[] = {stage_to(to[0], &layout), stage_to(to[1], &layout)};
        const uint16_t short_nan = (uint16_t)((nans[i / 6] >> 16 & 0x8000) | 0x7fff);
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
        if (from == LATHE_F32) {
            memcpy(c.bytes + 4 * (37 * i), &nans[i / 6], 4);
        } else {
            memcpy(c.bytes + 2 * (37 * i), &short_nan, 2);
        }
        check_chain(&c, 2, stages);
        case_free(&c);
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

/* ---- steps that the CPU does at once */

#ifndef TEST_OPENCL

/* Types after one another, with the same scopes where they are quantized. */
static const struct {
    lathe_dtype from;
    uint32_t n;
    lathe_dtype to[4];
} fused_chains[] = {
    {LATHE_F32, 3, {LATHE_F16, LATHE_I8, LATHE_I4}},
    {LATHE_F32, 2, {LATHE_BF16, LATHE_I8}},
    {LATHE_F32, 2, {LATHE_I8, LATHE_I4}},
    {LATHE_F16, 2, {LATHE_I8, LATHE_I4}},
    {LATHE_BF16, 2, {LATHE_I8, LATHE_I2}},
    {LATHE_F32, 3, {LATHE_F16, LATHE_I4, LATHE_I2}},
    {LATHE_F32, 2, {LATHE_I8, LATHE_BITNET158}},
    {LATHE_F32, 4, {LATHE_BF16, LATHE_I8, LATHE_I4, LATHE_I2}},
    {LATHE_F32, 4, {LATHE_F16, LATHE_I8, LATHE_I4, LATHE_I8}},
    {LATHE_F16, 3, {LATHE_I4, LATHE_F32, LATHE_I8}},
    {LATHE_F32, 2, {LATHE_F16, LATHE_BITNET158}},
    {LATHE_F32, 2, {LATHE_BF16, LATHE_BITNET158}},
    {LATHE_F32, 3, {LATHE_BF16, LATHE_F16, LATHE_I1}},
    {LATHE_F16, 2, {LATHE_BF16, LATHE_I1}},
    {LATHE_BF16, 2, {LATHE_F32, LATHE_BITNET158}},
    {LATHE_BF16, 2, {LATHE_F16, LATHE_I4}},
};
enum { N_FUSED = sizeof fused_chains / sizeof fused_chains[0], FIRST_ROUNDED = 10 };

static uint32_t fused_stages(size_t chain, const layout_option *layout, lathe_nonfinite nonfinite,
                             lathe_pipeline_stage *stages) {
    for (uint32_t i = 0; i < fused_chains[chain].n; i++) {
        const lathe_dtype to = fused_chains[chain].to[i];
        stages[i] = stage_to(to, lathe_dtype_is_quantized(to) ? layout : layout_options);
        stages[i].target.nonfinite = nonfinite;
    }
    return fused_chains[chain].n;
}

static const shape_option fused_shapes[] = {
    {2, {3, 100}}, {2, {7, 333}}, {2, {2, 5000}}, {2, {40, 33}}, {2, {9, 2176}}, {2, {1, 66000}},
};
enum { N_FUSED_SHAPES = sizeof fused_shapes / sizeof fused_shapes[0] };

/* All kinds of data: scales that are 0, or no normal numbers, and values that end it. */
Test(pipeline, fused_steps) {
    test_rng rng = {106};
    for (size_t i = 0; i < N_FUSED * N_LAYOUTS * TEST_DATA_COUNT; i += TEST_SANITIZED ? 5 : 1) {
        const layout_option *layout = &layout_options[i / N_FUSED % N_LAYOUTS];
        const test_data data = (test_data)(i / N_FUSED / N_LAYOUTS);
        const shape_option *shape = &fused_shapes[test_random_below(&rng, N_FUSED_SHAPES)];
        lathe_tensor_desc desc = desc_of(fused_chains[i % N_FUSED].from, shape, layout_options, 0);
        convert_case c = case_new(&desc, i);
        lathe_pipeline_stage stages[4];
        test_fill_tensor(&rng, &desc, data, c.bytes, c.scales);
        for (int nonfinite = 0; nonfinite < (data == TEST_DATA_NONFINITE ? 2 : 1); nonfinite++) {
            const uint32_t n = fused_stages(
                i % N_FUSED, layout,
                nonfinite == 0 ? LATHE_NONFINITE_ERROR : LATHE_NONFINITE_SATURATE, stages);
            check_chain(&c, n, stages);
        }
        case_free(&c);
    }
}

/* Samples of scopes, most of whose tiles are empty: all that some threads get. */
Test(pipeline, fused_steps_of_fast_quality) {
    static const shape_option shapes[] = {{2, {7, 11428}}, {2, {2, 70001}}, {1, {700001}}};
    test_rng rng = {108};
    for (size_t i = 0; i < 3 * N_FUSED; i += TEST_SANITIZED ? 4 : 1) {
        lathe_tensor_desc desc =
            desc_of(fused_chains[i / 3].from, &shapes[i % 3], layout_options, 0);
        convert_case c = case_new(&desc, i);
        lathe_pipeline_stage stages[4];
        test_fill_tensor(&rng, &desc, i % 2 == 0 ? TEST_DATA_NORMAL : TEST_DATA_NONFINITE, c.bytes,
                         c.scales);
        const uint32_t n =
            fused_stages(i / 3, &layout_options[i % 2], LATHE_NONFINITE_SATURATE, stages);
        for (uint32_t k = 0; k < n; k++) {
            stages[k].target.quality = LATHE_FAST;
        }
        check_chain(&c, n, stages);
        case_free(&c);
    }
}

/* One block of many that has to go another way. */
Test(pipeline, fused_steps_with_a_value_in_the_way) {
    static const uint32_t values[] = {0x7f800000u, 0xffc00001u, 0x49742400u, 0x00000001u};
    static const shape_option shape = {2, {70, 2048}};
    for (size_t i = 0; i < 4 * N_FUSED; i++) {
        const layout_option *layout = &layout_options[i % 2 == 0 ? 1 : 5];
        lathe_pipeline_stage stages[4];
        convert_case c = ones(fused_chains[i / 4].from, &shape);
        put(&c, 100000, values[i % 4]);
        put(&c, 100001, values[3]);
        const uint32_t n = fused_stages(
            i / 4, layout, i % 8 < 4 ? LATHE_NONFINITE_SATURATE : LATHE_NONFINITE_ERROR, stages);
        check_chain(&c, n, stages);
        case_free(&c);
    }
}

/* Streaming stores and prefetches; rows whose bytes they fit, and others. */
Test(pipeline, fused_steps_beyond_the_caches) {
    static const layout_option layouts[] = {
        {LATHE_PER_TENSOR, 0}, {LATHE_PER_ROW, 0}, {LATHE_PER_GROUP, 128}};
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engines[0], &info));
    const uint64_t cache_bytes = info.l3_bytes > 0 ? info.l3_bytes / 2 : info.l2_bytes;
    const uint64_t n_elems =
        (cache_bytes < 16 * info.l2_bytes ? cache_bytes : 16 * info.l2_bytes) / sizeof(float);
    test_rng rng = {107};
    for (size_t i = 0; i < 12; i += TEST_SANITIZED ? 5 : 1) {
        const uint64_t row_elems = i % 6 < 3 ? 4096 : 3001;
        const shape_option shape = {2, {n_elems / row_elems + 1, row_elems}};
        lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
        convert_case c = case_new(&desc, i);
        lathe_pipeline_stage stages[4];
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
        const uint32_t n =
            fused_stages(i < 6 ? 0 : FIRST_ROUNDED, &layouts[i % 3], LATHE_NONFINITE_ERROR, stages);
        check_chain_on(&c, n, stages, 1, n_small_engines);
        case_free(&c);
    }
}

#endif

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
        CHECK(test_same(result, expected.result), "engine %zu", i);
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
