/* SPDX-License-Identifier: Apache-2.0 */
/* Quality reports: against sums that the tests make by themselves, and the same to the last bit on
 * all engines and in every strategy. */
#include "convert_case.h"
#ifdef TEST_OPENCL
#include "device_case.h"
#endif
#include <float.h>
#include <math.h>

TestSuite(quality, .init = setup_engines, .fini = teardown_engines);

/* ---- the report, plainly */

static float limit_at(const oracle_layout *layout, const float *scales, uint64_t i) {
    if (!layout->quantized) {
        return layout->dtype == LATHE_F16    ? 65504
               : layout->dtype == LATHE_BF16 ? 0x1.fep127F
                                             : FLT_MAX;
    }
    uint64_t row = i / layout->row_elems;
    uint64_t col = i % layout->row_elems;
    uint64_t at =
        layout->scale_elems == 0 ? 0 : row * layout->scales_per_row + col / layout->scale_elems;
    return layout->dtype == LATHE_I1 ? scales[at]
                                     : (float)oracle_max_code(layout->dtype) * scales[at];
}

static bool is_saturated(float x, float y, float limit) {
    if (!(fabsf(x) > limit) || !(fabsf(y) >= limit)) {
        return false;
    }
    return fabsf(y) < fabsf(x) || (isfinite(x) && isinf(y));
}

/* Sums in extended precision, in ascending order. */
static lathe_quality_report plain_report(const float *x, const float *y,
                                         const oracle_layout *layout, const float *scales) {
    lathe_quality_report report = {.n_elems = layout->n_elems, .cosine = 1, .sqnr_db = INFINITY};
    long double xx = 0;
    long double yy = 0;
    long double xy = 0;
    long double ee = 0;
    double n = layout->n_elems == 0 ? 1 : (double)layout->n_elems;
    for (uint64_t i = 0; i < layout->n_elems; i++) {
        report.saturated_fraction += is_saturated(x[i], y[i], limit_at(layout, scales, i)) / n;
        report.zero_fraction += (y[i] == 0) / n;
        if (!isfinite(x[i]) || !isfinite(y[i])) {
            report.n_nonfinite += !(x[i] == y[i] || (isnan(x[i]) && isnan(y[i])));
            continue;
        }
        long double error = (long double)x[i] - (long double)y[i];
        xx += (long double)x[i] * (long double)x[i];
        yy += (long double)y[i] * (long double)y[i];
        xy += (long double)x[i] * (long double)y[i];
        ee += error * error;
        report.max_abs_error = fmax(report.max_abs_error, (double)fabsf(x[i] - y[i]));
    }
    report.mse = (double)(ee / (long double)n);
    if (ee > 0) {
        report.sqnr_db = (double)(10 * log10l(xx / ee));
        report.cosine = xx > 0 && yy > 0 ? (double)(xy / (sqrtl(xx) * sqrtl(yy))) : 0;
    }
    return report;
}

static bool is_near(double a, double b) {
    return a == b || fabs(a - b) <= 2.4e-7 * fmax(fabs(a), fabs(b)) || fabs(a - b) < 1e-300;
}

static void check_report(const lathe_quality_report *got, const lathe_quality_report *expected,
                         const char *what) {
    CHECK(got->n_elems == expected->n_elems, "%s: n_elems", what);
    CHECK(got->n_nonfinite == expected->n_nonfinite, "%s: %d not finite, not %d", what,
          (int)got->n_nonfinite, (int)expected->n_nonfinite);
    CHECK(is_near(got->mse, expected->mse), "%s: mse %.17g, not %.17g", what, got->mse,
          expected->mse);
    CHECK(got->sqnr_db == expected->sqnr_db || fabs(got->sqnr_db - expected->sqnr_db) < 1e-6,
          "%s: sqnr %.17g, not %.17g", what, got->sqnr_db, expected->sqnr_db);
    CHECK(got->max_abs_error == expected->max_abs_error, "%s: max %.17g, not %.17g", what,
          got->max_abs_error, expected->max_abs_error);
    CHECK(fabs(got->cosine - expected->cosine) < 1e-7 && fabs(got->cosine) <= 1,
          "%s: cosine %.17g, not %.17g", what, got->cosine, expected->cosine);
    CHECK(is_near(got->saturated_fraction, expected->saturated_fraction),
          "%s: %g saturated, not %g", what, got->saturated_fraction, expected->saturated_fraction);
    CHECK(is_near(got->zero_fraction, expected->zero_fraction), "%s: %g zeros, not %g", what,
          got->zero_fraction, expected->zero_fraction);
}

/* The report that a result should have. */
static lathe_quality_report expected_report(const convert_case *c, const lathe_target *target,
                                            const lathe_tensor *result) {
    oracle_layout layout;
    lathe_tensor_desc desc;
    uint64_t corrupt = 0;
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &desc));
    CHECK(oracle_layout_of(&desc, &layout), "layout");
    float *x = oracle_decode(&c->layout, c->bytes, c->scales, &corrupt);
    float *y =
        oracle_decode(&layout, lathe_tensor_data(result), lathe_tensor_scales(result), &corrupt);
    lathe_quality_report report = plain_report(x, y, &layout, lathe_tensor_scales(result));
    free(x);
    free(y);
    return report;
}

static lathe_quality_report measure(const convert_case *c, const lathe_target *target,
                                    size_t engine, lathe_tensor **result) {
    lathe_quality_report report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &report};
    CHECK_OK(lathe_convert(engines[engine], c->tensor, target, result, &stats));
    return report;
}

static void check_case_report(const convert_case *c, const lathe_target *target) {
    lathe_tensor *result = NULL;
    const lathe_quality_report first = measure(c, target, 0, &result);
    const lathe_quality_report expected = expected_report(c, target, result);
    check_report(&first, &expected, describe(c, target, 0));
    lathe_quality_report compared;
    memset(&compared, 0, sizeof compared);
    compared.struct_size = sizeof compared;
    CHECK_OK(lathe_tensor_compare(engines[n_engines - 1], c->tensor, result, &compared));
    CHECK(memcmp(&compared, &first, sizeof first) == 0, "%s: compared", describe(c, target, 0));
    for (size_t e = 1; e < n_small_engines; e++) {
        lathe_tensor *other = NULL;
        const lathe_quality_report report = measure(c, target, e, &other);
        CHECK(memcmp(&report, &first, sizeof first) == 0, "%s: other bits", describe(c, target, e));
        CHECK(test_same(result, other), "%s: other result", describe(c, target, e));
        lathe_tensor_release(other);
    }
    lathe_tensor_release(result);
}

/* ---- all pairs */

Test(quality, every_pair_and_layout, .timeout = 300) {
    static const shape_option shapes[] = {{2, {7, 333}}, {2, {2, 96}}, {1, {2600}}};
    static const test_data kinds[] = {TEST_DATA_NORMAL, TEST_DATA_WIDE, TEST_DATA_TINY};
    test_rng rng = {12};
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        for (size_t s = 0; s < 3; s++) {
            lathe_tensor_desc desc =
                desc_of((lathe_dtype)from, &shapes[s], &layout_options[(s + 1) % N_LAYOUTS], 0);
            convert_case c = case_new(&desc, s);
            test_fill_tensor(&rng, &desc, kinds[s], c.bytes, c.scales);
            for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
                for (size_t layout = 0; layout < N_LAYOUTS; layout++) {
                    lathe_target target = target_of((lathe_dtype)to, &layout_options[layout], 0);
                    target.quality = (lathe_quality)((layout + s) % 3);
                    check_case_report(&c, &target);
                    layout += !lathe_dtype_is_quantized((lathe_dtype)to) ? N_LAYOUTS : 0;
                }
            }
            case_free(&c);
        }
    }
}

/* Many ranges, on all threads: the order must not matter. */
Test(quality, large_tensors, .timeout = 300) {
    static const shape_option shape = {2, {9, 100003}};
    static const lathe_dtype to[] = {LATHE_F16, LATHE_I8, LATHE_BITNET158};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {2};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    for (int t = 0; t < 3; t++) {
        for (int layout = 0; layout < 3; layout++) {
            const lathe_target target = target_of(to[t], &layout_options[layout], 0);
            lathe_tensor *result = NULL;
            const lathe_quality_report first = measure(&c, &target, 0, &result);
            const lathe_quality_report expected = expected_report(&c, &target, result);
            check_report(&first, &expected, describe(&c, &target, 0));
            lathe_tensor_release(result);
            for (size_t e = 1; e < n_engines; e++) {
                const lathe_quality_report report = measure(&c, &target, e, &result);
                CHECK(memcmp(&report, &first, sizeof first) == 0, "%s: other bits",
                      describe(&c, &target, e));
                lathe_tensor_release(result);
            }
        }
    }
    case_free(&c);
}

/* ---- edges */

static lathe_quality_report compare_floats(const float *x, const float *y, uint64_t n) {
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &n};
    lathe_tensor *tensors[2];
    float *const data[] = {(float *)(uintptr_t)x, (float *)(uintptr_t)y};
    for (int i = 0; i < 2; i++) {
        CHECK_OK(lathe_tensor_wrap(pool, &desc, data[i], NULL, LATHE_WRAP_READ_ONLY, NULL, NULL,
                                   &tensors[i]));
    }
    lathe_quality_report report = {.struct_size = sizeof report};
    CHECK_OK(lathe_tensor_compare(engines[0], tensors[0], tensors[1], &report));
    lathe_tensor_release(tensors[0]);
    lathe_tensor_release(tensors[1]);
    return report;
}

Test(quality, known_values) {
    static const float a[] = {1, 2, 3, 4};
    static const float b[] = {1, 2, 3, 2};
    static const float zeros[] = {0, 0, -0.0F, 0};
    static const float minus[] = {-1, -2, -3, -4};
    static const float odd[] = {NAN, INFINITY, 3, 4};
    static const float huge[] = {FLT_MAX, -FLT_MAX, 0, 0};
    static const float other_huge[] = {-FLT_MAX, FLT_MAX, 0, 0};
    static const float tiny[] = {0x1p-149F, 0, 0, 0};
    lathe_quality_report r = compare_floats(a, b, 4);
    CHECK(r.mse == 1 && r.max_abs_error == 2 && r.zero_fraction == 0, "mse %g", r.mse);
    CHECK(fabs(r.sqnr_db - 10 * log10(30.0 / 4)) < 1e-12, "sqnr %g", r.sqnr_db);
    CHECK(fabs(r.cosine - 22 / sqrt(30.0 * 18)) < 1e-12, "cosine %g", r.cosine);
    r = compare_floats(a, a, 4);
    CHECK(r.mse == 0 && isinf(r.sqnr_db) && r.cosine == 1 && r.saturated_fraction == 0, "same");
    r = compare_floats(zeros, zeros, 4);
    CHECK(r.mse == 0 && r.cosine == 1 && r.zero_fraction == 1, "zeros");
    r = compare_floats(a, zeros, 4);
    CHECK(r.mse == 7.5 && r.sqnr_db == 0 && r.cosine == 0, "to zeros");
    r = compare_floats(zeros, a, 4);
    CHECK(isinf(r.sqnr_db) && r.sqnr_db < 0 && r.cosine == 0, "from zeros");
    r = compare_floats(a, minus, 4);
    CHECK(r.cosine == -1 && r.mse == 30, "opposite: %g", r.cosine);
    r = compare_floats(odd, odd, 4);
    CHECK(r.n_nonfinite == 0 && r.mse == 0 && r.cosine == 1, "the same NaN and infinity");
    r = compare_floats(odd, a, 4);
    CHECK(r.n_nonfinite == 2 && r.mse == 0, "a NaN and an infinity on one side");
    r = compare_floats(huge, other_huge, 4);
    CHECK(isfinite(r.mse) && r.mse > 2e77 && fabs(r.cosine + 1) < 1e-12, "huge: %g", r.mse);
    r = compare_floats(tiny, zeros, 4);
    CHECK(r.mse == 0x1p-300 && r.max_abs_error == 0x1p-149, "tiny: %g", r.mse);
    r = compare_floats(a, b, 0);
    CHECK(r.n_elems == 0 && r.mse == 0 && r.cosine == 1 && isinf(r.sqnr_db), "no elements");
}

/* The error that a million small terms make beside a large one does not depend on their order, and
 * is not lost. */
Test(quality, small_errors_beside_a_large_one) {
    enum { N = 1 << 20 };
    float *x = malloc(N * sizeof *x);
    float *y = calloc(N, sizeof *y);
    CHECK(x != NULL && y != NULL, "memory");
    for (size_t i = 0; i < N; i++) {
        x[i] = 0x1p-40F;
    }
    x[N / 2] = 0x1p+10F;
    const lathe_quality_report r = compare_floats(x, y, N);
    CHECK(r.mse * N == 0x1p+20 + (N - 1) * 0x1p-80, "%a", r.mse * N);
    free(x);
    free(y);
}

static void add_part(lathe_comparison *comparison, float *x, float *y, uint64_t n) {
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &n};
    lathe_tensor *a = NULL;
    lathe_tensor *b = NULL;
    CHECK_OK(lathe_tensor_wrap(pool, &desc, x, NULL, 0, NULL, NULL, &a));
    CHECK_OK(lathe_tensor_wrap(pool, &desc, y, NULL, 0, NULL, NULL, &b));
    CHECK_OK(lathe_comparison_add(comparison, a, b));
    lathe_tensor_release(a);
    lathe_tensor_release(b);
}

/* Parts of any size, the last one first, and merged: the report of the whole, bit by bit. */
Test(quality, part_by_part) {
    enum { N = 20000, PART = 777 };
    static float x[N];
    static float y[N];
    test_rng rng = {3};
    test_fill_floats(&rng, LATHE_F32, TEST_DATA_WIDE, x, N);
    test_fill_floats(&rng, LATHE_F32, TEST_DATA_NONFINITE, y, N);
    const lathe_quality_report whole = compare_floats(x, y, N);
    lathe_comparison *halves[2];
    for (int i = 0; i < 2; i++) {
        CHECK_OK(lathe_comparison_create(engines[i], &halves[i]));
    }
    for (size_t end = N; end > 0;) {
        size_t n = end < PART ? end : PART;
        end -= n;
        add_part(halves[end / PART % 2], x + end, y + end, n);
    }
    CHECK_OK(lathe_comparison_merge(halves[0], halves[1]));
    lathe_quality_report report = {.struct_size = sizeof report};
    CHECK_OK(lathe_comparison_report(halves[0], &report));
    CHECK(memcmp(&report, &whole, sizeof whole) == 0, "mse %.17g, not %.17g", report.mse,
          whole.mse);
    CHECK_STATUS(lathe_comparison_merge(halves[0], halves[0]), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_comparison_merge(NULL, halves[0]), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_comparison_report(NULL, &report), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_comparison_report(halves[0], NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_comparison_add(NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_comparison_add(halves[0], NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_comparison_create(NULL, halves), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_comparison_create(engines[0], NULL), LATHE_INVALID_ARGUMENT);
    lathe_comparison_free(halves[0]);
    lathe_comparison_free(halves[1]);
    lathe_comparison_free(NULL);
}

Test(quality, saturation) {
    static const shape_option shape = {1, {6}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    const float x[] = {65504, 65519, 65520, -1e30F, 1, INFINITY};
    memcpy(c.bytes, x, sizeof x);
    for (size_t e = 0; e < n_engines; e++) {
        const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
        lathe_tensor *result = NULL;
        lathe_quality_report r = measure(&c, &target, e, &result);
        CHECK(r.saturated_fraction == 3.0 / 6, "f16: %g", r.saturated_fraction);
        CHECK(r.n_nonfinite == 2, "f16: two became infinities");
        lathe_tensor_release(result);
    }
    case_free(&c);
}

#ifdef TEST_OPENCL

/* Reports on the device's own tensors, with saturated elements, infinities, and errors beyond F32's
 * range. */
Test(quality, device_tensors, .timeout = 300) {
    static const shape_option shapes[] = {{2, {5, 333}}, {2, {2, 20000}}, {1, {4099}}};
    test_rng rng = {14};
    for (int i = 0; i < 64; i++) {
        const int to = i % 8;
        const lathe_dtype from = (lathe_dtype)(LATHE_DTYPE_FIRST + i / 8);
        lathe_tensor_desc desc = desc_of(from, &shapes[i % 3], &layout_options[i % N_LAYOUTS], 0);
        convert_case c = case_new(&desc, (size_t)i);
        lathe_target target = target_of((lathe_dtype)(LATHE_DTYPE_FIRST + to),
                                        &layout_options[(i / 3) % N_LAYOUTS], 0);
        target.quality = (lathe_quality)(i / 5 % 3);
        target.nonfinite = LATHE_NONFINITE_SATURATE;
        test_fill_tensor(&rng, &desc, (test_data)(i / 7 % TEST_DATA_COUNT), c.bytes, c.scales);
        lathe_quality_report report;
        memset(&report, 0, sizeof report);
        report.struct_size = sizeof report;
        check_device_result(&c, &target, &report);
        case_free(&c);
    }
}

#endif

/* A source that is the result already, one whose bytes are taken over, and none at all. */
Test(quality, nothing_to_convert) {
    static const shape_option shapes[] = {{2, {3, 64}}, {2, {3, 0}}};
    for (int s = 0; s < 2; s++) {
        lathe_tensor_desc desc = desc_of(LATHE_I4, &shapes[s], &layout_options[1], 0);
        convert_case c = case_new(&desc, 0);
        test_rng rng = {1};
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
        const lathe_target same = target_of(LATHE_I4, &layout_options[1], 0);
        const lathe_target f32 = target_of(LATHE_F32, &layout_options[1], 0);
        for (size_t e = 0; e < n_engines; e++) {
            lathe_tensor *result = NULL;
            lathe_quality_report r = measure(&c, &same, e, &result);
            CHECK(r.n_elems == c.layout.n_elems && r.mse == 0 && r.cosine == 1, "itself");
            CHECK(s == 1 || r.zero_fraction > 0, "zeros are counted");
            lathe_tensor_release(result);
            r = measure(&c, &f32, e, &result);
            CHECK(r.n_elems == c.layout.n_elems && r.mse == 0, "decoded");
            lathe_tensor_release(result);
        }
        case_free(&c);
    }
}

Test(quality, errors) {
    static const shape_option shape = {2, {2, 50}};
    lathe_tensor_desc desc = desc_of(LATHE_BITNET158, &shape, &layout_options[1], 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {1};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    lathe_quality_report report = {.struct_size = sizeof report, .mse = 5};
    lathe_quality_report wrong = {.struct_size = 3};
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &wrong};
    const lathe_target f32 = target_of(LATHE_F32, &layout_options[0], 0);
    lathe_tensor *result = NULL;
    lathe_engine *engine = engines[0];
    CHECK_STATUS(lathe_convert(engine, c.tensor, &f32, &result, &stats), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_compare(NULL, c.tensor, c.tensor, &report), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_compare(engine, NULL, c.tensor, &report), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_compare(engine, c.tensor, NULL, &report), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_compare(engine, c.tensor, c.tensor, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_compare(engine, c.tensor, c.tensor, &wrong), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_convert(engine, c.tensor, &f32, &result, NULL));
    c.bytes[13] = 250; /* the second row's fourth byte: elements 65 to 69 */
    CHECK_STATUS(lathe_tensor_compare(engine, c.tensor, result, &report), LATHE_CORRUPT_DATA);
    CHECK(lathe_last_error()->element == 65, "element %d", (int)lathe_last_error()->element);
    CHECK_STATUS(lathe_tensor_compare(engine, result, c.tensor, &report), LATHE_CORRUPT_DATA);
    CHECK(lathe_last_error()->element == 65, "element %d", (int)lathe_last_error()->element);
    c.bytes[13] = 0;
    c.scales[1] = -1;
    CHECK_STATUS(lathe_tensor_compare(engine, result, c.tensor, &report), LATHE_CORRUPT_DATA);
    CHECK(report.mse == 5, "the report was touched");
    static const shape_option flat = {1, {100}};
    lathe_tensor_desc other = desc_of(LATHE_F32, &flat, layout_options, 0);
    convert_case d = case_new(&other, 0);
    CHECK_STATUS(lathe_tensor_compare(engine, result, d.tensor, &report), LATHE_INCOMPATIBLE_TYPES);
    lathe_tensor_release(result);
    case_free(&c);
    case_free(&d);
}
