/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe_convert on tensors of many ranges and tiles: FAST quality's sample, data beyond
 * the caches, and more tiles than are folded at once. */
#include "convert_case.h"

TestSuite(convert_large, .init = setup_engines, .fini = teardown_engines);

/* ---- large tensors: many ranges, FAST's sample */

static void check_large(lathe_dtype from, const shape_option *shape, const layout_option *layout,
                        uint64_t seed) {
    static const lathe_dtype targets[] = {LATHE_F16, LATHE_I8, LATHE_I1, LATHE_BITNET158, LATHE_I4};
    test_rng rng = {seed};
    lathe_tensor_desc desc = desc_of(from, shape, &layout_options[0], 0);
    convert_case c = case_new(&desc, (size_t)seed);
    test_fill_tensor(&rng, &desc, seed % 2 == 0 ? TEST_DATA_NORMAL : TEST_DATA_SPECIAL, c.bytes,
                     c.scales);
    for (size_t i = 0; i < 2; i++) {
        lathe_dtype to = targets[(seed + 2 * i) % (sizeof targets / sizeof targets[0])];
        lathe_target target = target_of(to, layout, (uint32_t)(seed % (shape->n_dims + 1)));
        check_case(&c, &target);
        target.quality = LATHE_FAST;
        check_case(&c, &target);
    }
    case_free(&c);
}

Test(convert_large, large_tensors) {
    static const shape_option shapes[] = {
        {1, {65536}},    {1, {65537}},     {1, {69632}},  {1, {69633}},     {2, {2, 140000}},
        {2, {700, 333}}, {2, {3, 100001}}, {1, {300000}}, {2, {20000, 17}}, {3, {40, 50, 71}},
    };
    static const layout_option layouts[] = {
        {LATHE_PER_TENSOR, 0},     {LATHE_PER_ROW, 0},          {LATHE_PER_GROUP, 32},
        {LATHE_PER_GROUP, 131072}, {LATHE_PER_GROUP, 1u << 16}, {LATHE_PER_GROUP, 1ull << 40},
    };
    uint64_t seed = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        for (size_t l = 0; l < sizeof layouts / sizeof layouts[0]; l++) {
            seed++;
            if (TEST_SANITIZED && seed % 4 != 0) {
                continue;
            }
            check_large(seed % 3 == 0 ? LATHE_F16 : LATHE_F32, &shapes[s], &layouts[l], seed);
        }
    }
}

/* The last group of a row is short enough to be looked at whole, in more tiles than the sample of a
 * full group has. */
Test(convert_large, short_last_groups_of_fast_quality) {
    static const shape_option shape = {2, {2, 302144}};
    static const layout_option layouts[] = {{LATHE_PER_GROUP, 262144}, {LATHE_PER_GROUP, 131072}};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        check_large(seed == 1 ? LATHE_F16 : LATHE_F32, &shape, &layouts[0], 3 * seed);
        check_large(LATHE_BF16, &shape, &layouts[1], 3 * seed);
    }
}

Test(convert_large, large_quantized_sources) {
    static const shape_option shape = {2, {300, 701}};
    test_rng rng = {5};
    for (int from = LATHE_I8; from <= LATHE_BITNET158; from++) {
        for (size_t i = 0; i < N_LAYOUTS; i += 2) {
            lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shape, &layout_options[i], 0);
            convert_case c = case_new(&desc, 5);
            test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
            for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
                lathe_target target =
                    target_of((lathe_dtype)to, &layout_options[(i + (size_t)to) % N_LAYOUTS], 0);
                target.quality = (to & 1) != 0 ? LATHE_FAST : LATHE_BALANCED;
                check_case(&c, &target);
            }
            case_free(&c);
        }
    }
}

/* FAST looks at every 16th tile only: what lies elsewhere saturates, and is counted. */
Test(convert_large, fast_counts_what_its_sample_missed) {
    enum { N = 20 * 4096 };
    static const shape_option shape = {1, {N}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    for (size_t i = 0; i < N; i++) {
        size_t tile = i / 4096;
        float x = tile % 16 == 0 ? 1.0F : tile == 5 && i % 4096 < 10 ? -100.0F : 0.5F;
        memcpy(c.bytes + 4 * i, &x, 4);
    }
    lathe_target target = target_of(LATHE_I8, layout_options, 0);
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, &stats));
    CHECK(stats.n_saturated == 0, "BALANCED saturates nothing");
    CHECK(lathe_tensor_scales(result)[0] == 100.0F / 127, "scale");
    lathe_tensor_release(result);
    target.quality = LATHE_FAST;
    CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, &stats));
    CHECK(stats.n_saturated == 10, "%d saturated", (int)stats.n_saturated);
    CHECK(lathe_tensor_scales(result)[0] == 1.0F / 127, "scale");
    CHECK(((const int8_t *)lathe_tensor_data(result))[5 * 4096] == -127, "clamped");
    lathe_tensor_release(result);
    check_case(&c, &target);
    case_free(&c);
}

/* ---- very large tensors: the engines against the first one, which the tests above hold to the
 * oracle */

Test(convert_large, engines_agree_on_many_ranges) {
    static const shape_option shapes[] = {{1, {3000001}}, {2, {3000, 1001}}, {2, {5, 600001}}};
    static const layout_option layouts[] = {
        {LATHE_PER_TENSOR, 0}, {LATHE_PER_ROW, 0}, {LATHE_PER_GROUP, 32}, {LATHE_PER_GROUP, 96}};
    test_rng rng = {16};
    for (size_t s = 0; s < (TEST_SANITIZED ? 1 : 3); s++) {
        for (int from = LATHE_F32; from <= LATHE_BITNET158; from++) {
            size_t held = (size_t)test_random_below(&rng, 4);
            lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shapes[s], &layouts[held], 0);
            convert_case c = case_new(&desc, (size_t)from);
            test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
            for (int i = 0; i < 4; i++) {
                lathe_dtype to = (lathe_dtype)(1 + test_random_below(&rng, 8));
                lathe_target target = target_of(to, &layouts[test_random_below(&rng, 4)], 0);
                target.quality = i % 2 == 0 ? LATHE_BALANCED : LATHE_FAST;
                check_agreement(&c, &target);
            }
            case_free(&c);
        }
    }
}

/* A float source: random bits of some elements, over and over. With one element more than rows have
 * of them, no row is like the next. */
static void fill_over_and_over(test_rng *rng, const convert_case *c, size_t n_elems) {
    const size_t elem_bytes = c->from.dtype == LATHE_F32 ? 4 : 2;
    test_fill_floats(rng, c->from.dtype, TEST_DATA_NORMAL, c->bytes, n_elems);
    for (size_t done = n_elems * elem_bytes; done < c->layout.n_bytes;) {
        const size_t rest = (size_t)c->layout.n_bytes - done;
        memcpy(c->bytes + done, c->bytes, rest < done ? rest : done);
        done += rest < done ? rest : done;
    }
}

/* Data larger than the caches takes other kernels. */
Test(convert_large, beyond_the_caches) {
    if (TEST_SANITIZED) {
        return; /* as slow as it is large */
    }
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engines[0], &info));
    uint64_t cache_bytes = info.l3_bytes > 0 ? info.l3_bytes : info.l2_bytes;
    if (cache_bytes > (256u << 20)) {
        return; /* the kernels have tests of their own */
    }
    const shape_option shape = {2, {1001, cache_bytes / 4 / 1000}};
    static const lathe_dtype from[] = {LATHE_F32, LATHE_F32, LATHE_F32, LATHE_F32, LATHE_F16};
    static const lathe_dtype to[] = {LATHE_F16, LATHE_BF16, LATHE_I8, LATHE_BITNET158, LATHE_F32};
    test_rng rng = {18};
    for (size_t i = 0; i < 5; i++) {
        lathe_tensor_desc desc = desc_of(from[i], &shape, layout_options, 0);
        convert_case c = case_new(&desc, 8 * i + 4);
        fill_over_and_over(&rng, &c, (size_t)shape.shape[1] + 1);
        for (size_t l = 0; l < 3; l += 1) {
            lathe_target target = target_of(to[i], &layout_options[l], 0);
            check_agreement(&c, &target);
        }
        case_free(&c);
    }
}

/* Copies are spread over the threads, and pass the caches; small ones are the caller's. */
Test(convert_large, copies) {
    enum { N_SMALL = 4000 };
    static const uint64_t sizes[] = {N_SMALL, UINT64_C(5) << 18, (UINT64_C(33) << 20) / 4 + 5};
    test_rng rng = {17};
    uint64_t n_spread = 0;
    for (size_t i = 0; i < (TEST_SANITIZED ? 2 : 3); i++) {
        const shape_option shape = {1, {sizes[i]}};
        const lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, &layout_options[0], 0);
        const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F32};
        convert_case c = case_new(&desc, 0);
        test_random_bytes(&rng, c.bytes, (size_t)sizes[i] * sizeof(float));
        for (size_t e = 0; e < n_engines; e++) {
            lathe_tensor *made = NULL;
            CHECK_OK(lathe_tensor_create(pool, &desc, &made));
            const uint64_t n_before = executor.n_calls;
            for (int round = 0; round < 4; round++) { /* either way is tried twice */
                memset(lathe_tensor_mutable_data(made), CANARY, (size_t)sizes[i] * sizeof(float));
                CHECK_OK(round % 2 == 0
                             ? lathe_convert_into(engines[e], c.tensor, &target, made, NULL)
                             : lathe_tensor_copy(engines[e], c.tensor, made));
                CHECK(memcmp(lathe_tensor_data(made), c.bytes, (size_t)sizes[i] * sizeof(float)) ==
                          0,
                      "%d elements, engine %zu: the copy differs", (int)sizes[i], e);
            }
            lathe_tensor_release(made);
            const bool has_spread = executor.n_calls > n_before;
            CHECK(!has_spread || sizes[i] > N_SMALL, "a small copy was spread");
            n_spread += has_spread;
        }
        case_free(&c);
    }
#ifndef TEST_OPENCL
    CHECK(n_spread > 0, "no copy was spread");
#endif
    (void)n_spread;
}

/* Rows that are encoded while the next one's statistic is taken, some of which have to be left to
 * the general way. */
Test(convert_large, rows_beyond_the_caches) {
    enum { COLS = 2002 };
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engines[0], &info));
    uint64_t cache_bytes = info.l3_bytes > 0 ? info.l3_bytes : info.l2_bytes;
    if (TEST_SANITIZED || cache_bytes > (256u << 20)) {
        return;
    }
    const shape_option shape = {2, {cache_bytes / 2 / COLS + 1, COLS}};
    static const layout_option rows = {LATHE_PER_ROW, 0};
    static const lathe_dtype to[] = {LATHE_I4, LATHE_I1};
    const size_t infinite[] = {0, 700 * COLS + 9, 701 * COLS, (size_t)shape.shape[0] * COLS - 1};
    test_rng rng = {19};
    for (size_t i = 0; i < 2; i++) {
        lathe_tensor_desc desc =
            desc_of(i == 0 ? LATHE_F16 : LATHE_BF16, &shape, layout_options, 0);
        convert_case c = case_new(&desc, 64);
        fill_over_and_over(&rng, &c, 3 * COLS + 1);
        for (int is_infinite = 0; is_infinite < 2; is_infinite++) {
            lathe_target target = target_of(to[i], &rows, 0);
            check_agreement(&c, &target);
            target.nonfinite = LATHE_NONFINITE_SATURATE;
            check_agreement(&c, &target);
            for (size_t k = 0; k < 4; k++) {
                const uint16_t infinity = i == 0 ? 0x7c00 : 0x7f80;
                memcpy(c.bytes + 2 * infinite[k], &infinity, 2);
            }
        }
        case_free(&c);
    }
}

/* More tiles than are folded at once, with the answer known beforehand. */
Test(convert_large, more_tiles_than_one_window) {
    enum { N = 70 * 1000 * 1000 };
    static const shape_option shape = {1, {N}};
    if (TEST_SANITIZED) {
        return;
    }
    lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    memset(c.bytes, 1, N);
    c.bytes[N - 2] = (uint8_t)-127;
    c.scales[0] = 1.0F;
    for (size_t i = 0; i < n_engines; i += 4) {
        lathe_target target = target_of(LATHE_BITNET158, layout_options, 0);
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_convert(engines[i], c.tensor, &target, &result, NULL));
        CHECK(lathe_tensor_scales(result)[0] == (float)((N + 126.0) / N), "mean");
        CHECK(((const uint8_t *)lathe_tensor_data(result))[0] == 242, "ones");
        lathe_tensor_release(result);
        target.dtype = LATHE_I4;
        CHECK_OK(lathe_convert(engines[i], c.tensor, &target, &result, NULL));
        CHECK(lathe_tensor_scales(result)[0] == 127.0F / 7, "absmax");
        lathe_tensor_release(result);
    }
    case_free(&c);
}
