/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE quality: against a search of the tests' own over many scales, and the same result on all
 * engines and in all chunks. */
#include "convert_case.h"
#ifdef TEST_OPENCL
#include "device_case.h"
#endif
#include <float.h>
#include <math.h>

TestSuite(precise, .init = setup_engines, .fini = teardown_engines);

static const lathe_dtype quantized[] = {LATHE_I8, LATHE_I4, LATHE_I2, LATHE_I1, LATHE_BITNET158};
enum { N_QUANTIZED = sizeof quantized / sizeof quantized[0] };

/* ---- data */

typedef enum values { NORMAL, UNIFORM, LAPLACE, OUTLIERS, SPARSE, WHOLE, N_VALUES } values;

static double uniform(test_rng *rng) {
    return (double)(test_random(rng) >> 11) * 0x1p-53;
}

static double normal(test_rng *rng) {
    return sqrt(-2 * log(uniform(rng) + 1e-300)) * cos(6.283185307179586 * uniform(rng));
}

static float value(test_rng *rng, values kind) {
    double pick = uniform(rng);
    switch (kind) {
    case NORMAL:
        return (float)normal(rng);
    case UNIFORM:
        return (float)(2 * pick - 1);
    case LAPLACE:
        return (float)((pick < 0.5 ? 1 : -1) * log(uniform(rng) + 1e-300));
    case OUTLIERS:
        return (float)(normal(rng) * (pick < 1e-2 ? 60 : 1));
    case SPARSE:
        return pick < 0.95 ? 0 : (float)normal(rng);
    default: /* that I4 holds exactly */
        return (float)(int)(15 * pick) - 7;
    }
}

static convert_case floats(uint64_t rows, uint64_t cols, values kind, uint64_t seed) {
    const uint64_t shape[] = {rows, cols};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    convert_case c = case_new(&desc, 0);
    test_rng rng = {seed};
    for (uint64_t i = 0; i < rows * cols; i++) {
        float x = value(&rng, kind);
        memcpy(c.bytes + 4 * i, &x, sizeof x);
    }
    c.from.shape = lathe_tensor_shape(c.tensor);
    return c;
}

static lathe_target precise(lathe_dtype dtype, lathe_granularity granularity, uint64_t group) {
    return (lathe_target){
        .struct_size = sizeof(lathe_target),
        .dtype = dtype,
        .granularity = granularity,
        .group_size = group,
        .quality = LATHE_PRECISE,
    };
}

/* ---- squared errors, from scales and codes */

/* Code ranges of PRECISE. */
static int lowest(lathe_dtype dtype) {
    return dtype == LATHE_I4 ? -8 : dtype == LATHE_I2 ? -2 : -oracle_max_code(dtype);
}

static double squared_error(lathe_dtype dtype, const float *x, uint64_t n, float scale) {
    const float inverse = scale == 0 ? 0 : 1 / scale;
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        double code = x[i] < 0 ? -1 : 1;
        if (dtype != LATHE_I1) {
            code = rint((double)(x[i] * inverse));
            code = fmin(fmax(code, lowest(dtype)), oracle_max_code(dtype));
        }
        double error = (double)x[i] - (double)((float)code * scale);
        sum += error * error;
    }
    return sum;
}

/* The least error over scales from the greatest element's down to a hundredth of it. */
static double least_error(lathe_dtype dtype, const float *x, uint64_t n) {
    enum { STEPS = 450 };
    double least = squared_error(dtype, x, n, 0);
    double top = (double)oracle_absmax(x, n) * (dtype == LATHE_I1 ? 1 : 1.1);
    for (int i = 0; i < STEPS && top > 0; i++) {
        double scale = top / fmax(oracle_max_code(dtype), 1) * exp2(-i / 64.0);
        least = fmin(least, squared_error(dtype, x, n, (float)scale));
    }
    return least;
}

/* The error of a conversion, from its bytes. */
static double error_of(const convert_case *c, const lathe_tensor *result, lathe_target target) {
    oracle_layout layout;
    lathe_tensor_desc desc;
    uint64_t corrupt = 0;
    CHECK_OK(lathe_target_desc(&target, c->from.n_dims, c->from.shape, &desc));
    CHECK(oracle_layout_of(&desc, &layout), "layout");
    float *y =
        oracle_decode(&layout, lathe_tensor_data(result), lathe_tensor_scales(result), &corrupt);
    const float *x = (const float *)(const void *)c->bytes;
    double sum = 0;
    for (uint64_t i = 0; i < layout.n_elems; i++) {
        double error = (double)x[i] - (double)y[i];
        sum += error * error;
    }
    free(y);
    return sum;
}

static double convert_error(const convert_case *c, lathe_target target, size_t engine) {
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engines[engine], c->tensor, &target, &result, NULL));
    double error = error_of(c, result, target);
    lathe_tensor_release(result);
    return error;
}

static double least_of_groups(const convert_case *c, lathe_dtype dtype, uint64_t scope) {
    const float *x = (const float *)(const void *)c->bytes;
    double sum = 0;
    for (uint64_t first = 0; first < c->layout.n_elems; first += scope) {
        sum += least_error(dtype, x + first, scope);
    }
    return sum;
}

/* Never worse than the standard scale, and within some percent of the best of 450 scales. */
Test(precise, has_the_least_error, .timeout = 300) {
    static const struct {
        uint64_t rows;
        uint64_t cols;
        lathe_granularity granularity;
        uint64_t group;
    } shapes[] = {
        {1, 7000, LATHE_PER_TENSOR, 0}, {3, 1025, LATHE_PER_ROW, 0},    {4, 320, LATHE_PER_ROW, 0},
        {2, 640, LATHE_PER_GROUP, 32},  {1, 1000, LATHE_PER_TENSOR, 0},
    };
    for (size_t s = 0; s < (TEST_SANITIZED ? 3 : sizeof shapes / sizeof shapes[0]); s++) {
        for (int kind = 0; kind < N_VALUES; kind++) {
            convert_case c = floats(shapes[s].rows, shapes[s].cols, (values)kind, s + 1);
            for (int t = 0; t < N_QUANTIZED; t++) {
                lathe_target target = precise(quantized[t], shapes[s].granularity, shapes[s].group);
                double found = convert_error(&c, target, 0);
                target.quality = LATHE_BALANCED;
                double standard = convert_error(&c, target, 0);
                uint64_t scope = shapes[s].group != 0 ? shapes[s].group : shapes[s].cols;
                double least = least_of_groups(&c, quantized[t], scope);
                CHECK(found <= standard, "%s: %g, but the standard scale's %g",
                      describe(&c, &target, 0), found, standard);
                CHECK(found <= 1.02 * least + 1e-9 * (double)c.layout.n_elems,
                      "%s, values %d: %g, but there is %g", describe(&c, &target, 0), kind, found,
                      least);
            }
            case_free(&c);
        }
    }
}

/* With one scale in a thousand sparse elements the mean is far below them. */
Test(precise, ternary_scales_reach_the_nonzero_elements) {
    convert_case c = floats(1, 50000, WHOLE, 1);
    float *x = (float *)(void *)c.bytes;
    for (uint64_t i = 0; i < 50000; i++) {
        x[i] = i % 1000 == 7 ? (i % 2000 == 7 ? 3.0F : -3.0F) : 0;
    }
    CHECK(convert_error(&c, precise(LATHE_BITNET158, LATHE_PER_TENSOR, 0), 0) < 1e-6, "bitnet158");
    CHECK(convert_error(&c, precise(LATHE_I2, LATHE_PER_ROW, 0), 0) < 1e-6, "i2");
    case_free(&c);
}

/* Data whose negative side reaches further uses the code that has no counterpart. */
Test(precise, uses_the_lowest_code) {
    static const lathe_dtype narrow[] = {LATHE_I4, LATHE_I2};
    convert_case c = floats(1, 2048, UNIFORM, 3);
    float *x = (float *)(void *)c.bytes;
    for (int t = 0; t < 2; t++) {
        int low = lowest(narrow[t]);
        for (uint64_t i = 0; i < 2048; i++) {
            x[i] = (float)(low + (int)(i % (uint64_t)(-2 * low))) * 0.5F;
        }
        for (size_t e = 0; e < n_engines; e++) {
            CHECK(convert_error(&c, precise(narrow[t], LATHE_PER_TENSOR, 0), e) == 0, "tensor");
            CHECK(convert_error(&c, precise(narrow[t], LATHE_PER_GROUP, 64), e) == 0, "groups");
        }
    }
    case_free(&c);
}

/* ---- one result */

/* Every source dtype and granularity, on all engines: FAST's bytes and scales would differ. */
Test(precise, all_engines_agree, .timeout = 300) {
    static const shape_option shapes[] = {{2, {5, 300}}, {2, {3, 1100}}, {3, {2, 3, 96}}};
    static const test_data kinds[] = {TEST_DATA_NORMAL, TEST_DATA_WIDE, TEST_DATA_TINY,
                                      TEST_DATA_HUGE};
    test_rng rng = {8};
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        for (size_t s = 0; s < 3; s++) {
            lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shapes[s], &layout_options[4], 0);
            convert_case c = case_new(&desc, s);
            test_fill_tensor(&rng, &desc, kinds[((size_t)from + s) % 4], c.bytes, c.scales);
            for (int t = 0; t < N_QUANTIZED * N_LAYOUTS; t++) {
                const layout_option *layout = &layout_options[t % N_LAYOUTS];
                check_agreement(&c, &(lathe_target){.struct_size = sizeof(lathe_target),
                                                    .dtype = quantized[t / N_LAYOUTS],
                                                    .granularity = layout->granularity,
                                                    .group_size = layout->group_size,
                                                    .row_dims = s == 2 ? 2 : 0,
                                                    .quality = LATHE_PRECISE});
            }
            case_free(&c);
        }
    }
}

/* Rows that a convert pass searches by itself, rows that it does not, and one scale for all. */
Test(precise, all_engines_agree_on_large_scopes, .timeout = 300) {
    convert_case c = floats(2, TEST_SANITIZED ? 140000 : 300000, OUTLIERS, 5);
    for (int t = 1; t < N_QUANTIZED; t += TEST_SANITIZED ? 3 : 1) {
        for (int g = LATHE_PER_TENSOR; g <= LATHE_PER_ROW; g++) {
            lathe_target target = precise(quantized[t], (lathe_granularity)g, 0);
            check_agreement(&c, &target);
        }
        lathe_target groups = precise(quantized[t], LATHE_PER_GROUP, 96);
        check_agreement(&c, &groups);
    }
    case_free(&c);
}

#ifdef TEST_OPENCL

/* The device's own tensors: scopes of few and of many elements, of one size and with a short last
 * one, in rows that begin anywhere. */
Test(precise, device_tensors, .timeout = 300) {
    static const struct {
        shape_option shape;
        layout_option layout;
    } forms[] = {
        {{2, {3, 9001}}, {LATHE_PER_TENSOR, 0}},  {{2, {5, 4099}}, {LATHE_PER_ROW, 0}},
        {{2, {9, 1024}}, {LATHE_PER_ROW, 0}},     {{2, {4, 1025}}, {LATHE_PER_ROW, 0}},
        {{2, {3, 3333}}, {LATHE_PER_GROUP, 96}},  {{2, {2, 5000}}, {LATHE_PER_GROUP, 2048}},
        {{2, {3, 4500}}, {LATHE_PER_GROUP, 1440}}};
    enum { N_FORMS = sizeof forms / sizeof forms[0] };
    test_rng rng = {18};
    for (int i = 0; i < 8 * N_FORMS; i++) {
        const lathe_dtype from = (lathe_dtype)(LATHE_DTYPE_FIRST + i % 8);
        const lathe_dtype to = quantized[i / 2 % N_QUANTIZED];
        lathe_tensor_desc desc = desc_of(from, &forms[i % N_FORMS].shape, &layout_options[1], 0);
        convert_case c = case_new(&desc, (size_t)i);
        const lathe_target target = precise(to, forms[i % N_FORMS].layout.granularity,
                                            forms[i % N_FORMS].layout.group_size);
        test_fill_tensor(&rng, &desc, i % 3 == 0 ? TEST_DATA_WIDE : TEST_DATA_NORMAL, c.bytes,
                         c.scales);
        check_device_result(&c, &target, NULL);
        case_free(&c);
    }
}

#endif

/* ---- streams */

static void check_stream(const convert_case *c, const lathe_target *target, size_t engine,
                         uint64_t chunk_bytes) {
    lathe_tensor *expected = NULL;
    lathe_tensor *result = NULL;
    lathe_tensor_desc desc;
    lathe_quality_report reports[2] = {{.struct_size = sizeof reports[0]},
                                       {.struct_size = sizeof reports[1]}};
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &reports[0]};
    CHECK_OK(lathe_convert(engines[0], c->tensor, target, &expected, &stats));
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &desc));
    CHECK_OK(lathe_tensor_create(pool, &desc, &result));
    const lathe_source source = {
        .struct_size = sizeof source, .kind = LATHE_END_TENSOR, .tensor = c->tensor};
    const lathe_sink sink = {
        .struct_size = sizeof sink, .kind = LATHE_END_TENSOR, .tensor = result};
    const lathe_stream_options options = {
        .struct_size = sizeof options,
        .streaming = {.chunk_bytes = chunk_bytes},
    };
    stats.quality = &reports[1];
    CHECK_OK(lathe_stream_convert(engines[engine], NULL, target, &source, &sink, &options, &stats));
    CHECK(test_same(expected, result), "%s: chunks", describe(c, target, engine));
    CHECK(memcmp(&reports[0], &reports[1], sizeof reports[0]) == 0, "%s: the report",
          describe(c, target, engine));
    lathe_tensor_release(expected);
    lathe_tensor_release(result);
}

Test(precise, streams_give_the_same, .timeout = 300) {
    convert_case c = floats(3, TEST_SANITIZED ? 6000 : 25000, LAPLACE, 6);
    for (size_t e = 0; e < n_engines; e++) {
        for (int t = 0; t < N_QUANTIZED; t++) {
            for (int g = LATHE_PER_TENSOR; g <= LATHE_PER_GROUP; g++) {
                lathe_target target =
                    precise(quantized[t], (lathe_granularity)g, g == LATHE_PER_GROUP ? 160 : 0);
                check_stream(&c, &target, e, (uint64_t)64 << 10 << (e % 3));
            }
        }
    }
    case_free(&c);
}

/* ---- edges */

Test(precise, equals_balanced_where_that_is_the_best) {
    convert_case c = floats(4, 640, NORMAL, 9);
    for (size_t e = 0; e < n_engines; e++) {
        lathe_target target = precise(LATHE_I1, LATHE_PER_GROUP, 64);
        lathe_tensor *a = NULL;
        lathe_tensor *b = NULL;
        CHECK_OK(lathe_convert(engines[e], c.tensor, &target, &a, NULL));
        target.quality = LATHE_BALANCED;
        CHECK_OK(lathe_convert(engines[e], c.tensor, &target, &b, NULL));
        CHECK(test_same(a, b), "i1");
        lathe_tensor_release(a);
        lathe_tensor_release(b);
    }
    case_free(&c);
}

/* Zeros, one element, subnormals, the greatest floats: no scale that is not finite, no worse error
 * than the standard scale's, the same on all engines. */
Test(precise, extreme_values) {
    static const float extremes[][4] = {
        {0, 0, 0, 0},
        {-0.0F, 0, 0, 0},
        {FLT_MAX, 0, 0, 0},
        {FLT_MAX, -FLT_MAX, FLT_MAX / 2, 1},
        {0x1p-149F, 0, -0x1p-149F, 0},
        {0x1p-126F, -0x1p-130F, 0x1p-140F, 0},
        {1, 1e-30F, -1e-30F, 1e30F},
        {-8, 7, 1, 0},
    };
    for (size_t k = 0; k < sizeof extremes / sizeof extremes[0]; k++) {
        for (uint64_t n = 4; n <= 2000; n += 1996) {
            convert_case c = floats(1, n, WHOLE, 1);
            for (uint64_t i = 0; i < n; i++) {
                memcpy(c.bytes + 4 * i, &extremes[k][i % 4], 4);
            }
            for (int t = 0; t < N_QUANTIZED; t++) {
                lathe_target target = precise(quantized[t], LATHE_PER_TENSOR, 0);
                check_agreement(&c, &target);
                double found = convert_error(&c, target, 0);
                target.quality = LATHE_BALANCED;
                double standard = convert_error(&c, target, 0);
                CHECK(found <= standard || isinf(standard), "%zu: %s: %g, not %g", k,
                      describe(&c, &target, 0), found, standard);
            }
            case_free(&c);
        }
    }
}

/* Both policies, in scopes of every kind. */
Test(precise, nonfinite_elements) {
    for (uint64_t cols = 500; cols <= 2500; cols += 2000) {
        convert_case c = floats(2, cols, NORMAL, 4);
        const float odd[] = {NAN, -INFINITY, INFINITY};
        memcpy(c.bytes + 4 * (cols + 3), odd, sizeof odd);
        for (int t = 0; t < N_QUANTIZED; t++) {
            for (int g = LATHE_PER_TENSOR; g <= LATHE_PER_ROW; g++) {
                lathe_target target = precise(quantized[t], (lathe_granularity)g, 0);
                check_agreement(&c, &target);
                lathe_tensor *result = NULL;
                CHECK_STATUS(lathe_convert(engines[0], c.tensor, &target, &result, NULL),
                             LATHE_NON_FINITE);
                CHECK(lathe_last_error()->element == cols + 3, "the first one");
                target.nonfinite = LATHE_NONFINITE_SATURATE;
                check_agreement(&c, &target);
                CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, NULL));
                CHECK(isfinite(lathe_tensor_scales(result)[g]), "the scale");
                lathe_tensor_release(result);
            }
        }
        case_free(&c);
    }
}

/* Strict mode verifies what PRECISE makes. */
Test(precise, strict) {
    convert_case c = floats(2, 1500, WHOLE, 4);
    for (int g = LATHE_PER_TENSOR; g <= LATHE_PER_ROW; g++) {
        lathe_target target = precise(LATHE_I4, (lathe_granularity)g, 0);
        target.strict = 1;
        check_agreement(&c, &target);
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, NULL));
        lathe_tensor_release(result);
        target.dtype = LATHE_I2;
        CHECK_STATUS(lathe_convert(engines[0], c.tensor, &target, &result, NULL), LATHE_DATA_LOSS);
        check_agreement(&c, &target);
    }
    case_free(&c);
}

#ifndef TEST_OPENCL

/* Every allocation fails once: an error, no leak, and the conversion works afterwards. */
Test(precise, allocation_failures) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    lathe_engine *engine = NULL;
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 2, .allocator = &allocator.interface};
    CHECK_OK(lathe_engine_create(&config, &engine));
    convert_case c = floats(2, 150000, NORMAL, 4);
    lathe_target target = precise(LATHE_I4, LATHE_PER_TENSOR, 0);
    lathe_tensor *result = NULL;
    bool is_over = false;
    for (uint64_t at = 0; !is_over && at < 100; at++) {
        (void)lathe_pool_trim(lathe_engine_pool(engine), 0);
        test_allocator_reset(&allocator, at);
        lathe_status status = lathe_convert(engine, c.tensor, &target, &result, NULL);
        CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "%s",
              lathe_status_name(status));
        is_over = status == LATHE_OK && allocator.n_calls <= at;
        lathe_tensor_release(status == LATHE_OK ? result : NULL);
    }
    CHECK(is_over, "it never succeeded");
    case_free(&c);
    lathe_engine_free(engine);
    CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks are left", (int)allocator.n_live);
}

#endif
