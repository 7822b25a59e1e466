/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/in_place.h: the bytes that lathe_convert gives, in the tensor's own memory and no
 * more of it; and a tensor that is untouched after an error. */
#include "in_place_case.h"

TestSuite(in_place, .init = setup_engines, .fini = teardown_engines);

/* ---- every pair */

/* Around the pieces and waves of the CPU, and rows that cross them. */
static const shape_option shapes[] = {
    {1, {1}},        {1, {5}},        {1, {41}},         {1, {641}},         {1, {2559}},
    {1, {2560}},     {1, {2561}},     {1, {3200}},       {1, {5121}},        {1, {10239}},
    {1, {20481}},    {1, {40961}},    {2, {3, 100}},     {2, {300, 33}},     {2, {2, 2561}},
    {2, {5, 5121}},  {2, {4000, 1}},  {2, {1300, 7}},    {3, {9, 31, 33}},   {2, {17, 640}},
    {2, {2, 20489}}, {2, {41, 1280}}, {3, {2, 3, 1000}}, {4, {3, 5, 7, 96}}, {2, {0, 5}},
    {2, {3, 0}},     {0, {0}},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static void try_pair(test_rng *rng, lathe_dtype from, lathe_dtype to) {
    const shape_option *shape = &shapes[test_random_below(rng, N_SHAPES)];
    uint32_t row_dims = (uint32_t)test_random_below(rng, 3);
    const layout_option *ours = &layout_options[test_random_below(rng, N_LAYOUTS)];
    const layout_option *theirs = &layout_options[test_random_below(rng, N_LAYOUTS)];
    row_dims = row_dims > shape->n_dims ? shape->n_dims : row_dims;
    lathe_tensor_desc desc = desc_of(from, shape, ours, row_dims);
    convert_case c = case_new(&desc, (size_t)test_random_below(rng, 64));
    test_data data = (test_data)test_random_below(rng, TEST_DATA_COUNT);
    test_fill_tensor(rng, &desc, data, c.bytes, c.scales);
    uint32_t other_rows = (uint32_t)test_random_below(rng, 8);
    lathe_target target = target_of(
        to, theirs, other_rows < 3 && other_rows <= shape->n_dims ? other_rows : row_dims);
    target.quality = test_random_below(rng, 4) == 0 ? LATHE_FAST : LATHE_BALANCED;
    target.nonfinite =
        test_random_below(rng, 2) == 0 ? LATHE_NONFINITE_ERROR : LATHE_NONFINITE_SATURATE;
    target.strict = data != TEST_DATA_NONFINITE && test_random_below(rng, 4) == 0;
    check_in_place(&c, &target, test_random_below(rng, 2) == 0);
    case_free(&c);
}

Test(in_place, every_pair_gives_the_bytes_of_a_conversion) {
    test_rng rng = {41};
    for (int round = 0; round < (TEST_ON_DEVICE ? 1 : TEST_SANITIZED ? 4 : 40); round++) {
        for (int from = LATHE_F32; from <= LATHE_BITNET158; from++) {
            for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
                try_pair(&rng, (lathe_dtype)from, (lathe_dtype)to);
            }
        }
    }
}

/* Large enough for many waves and all threads: against lathe_convert. */
Test(in_place, large_tensors) {
    static const shape_option large[] = {{1, {1000003}}, {2, {7, 150001}}, {2, {5000, 200}}};
    test_rng rng = {42};
    for (int from = LATHE_F32; from <= LATHE_BITNET158; from++) {
        for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
            if (TEST_SANITIZED && (from + 3 * to) % (TEST_ON_DEVICE ? 8 : 3) != 0) {
                continue;
            }
            const shape_option *shape = &large[test_random_below(&rng, 3)];
            const layout_option *ours = &layout_options[test_random_below(&rng, N_LAYOUTS)];
            lathe_tensor_desc desc = desc_of((lathe_dtype)from, shape, ours, 0);
            convert_case c = case_new(&desc, 0);
            test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
            lathe_target target =
                target_of((lathe_dtype)to, &layout_options[test_random_below(&rng, N_LAYOUTS)], 0);
            lathe_tensor *result = NULL;
            CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, NULL));
            const size_t n = n_small_engines < 2 ? n_small_engines : 2;
            for (size_t i = 0; i < n; i++) {
                const size_t engine = TEST_ON_DEVICE ? i : n_small_engines - 1 - i;
                if (!shares_memory(engine)) {
                    continue;
                }
                placed p = place(&c, lathe_tensor_n_bytes(result), !TEST_ON_DEVICE);
                CHECK_OK(lathe_convert_in_place(engines[engine], p.tensor, &target, NULL));
                CHECK(test_same(result, p.tensor), "%s", describe(&c, &target, engine));
                remove_placed(&p);
            }
            lathe_tensor_release(result);
            case_free(&c);
        }
    }
}

/* ---- device tensors, or tensors of the pool: there and back */

Test(in_place, a_chain_through_every_pair_in_one_memory) {
    static const shape_option chain_shapes[] = {{2, {3, 6000}}, {2, {300, 33}}, {1, {12801}}};
    test_rng rng = {43};
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        for (int from = LATHE_F32; from <= LATHE_BITNET158; from++) {
            for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
                if (TEST_SANITIZED && ((size_t)(from + 3 * to) + engine) % 4 != 0) {
                    continue;
                }
                const shape_option *shape = &chain_shapes[test_random_below(&rng, 3)];
                lathe_tensor_desc desc = desc_of(LATHE_F32, shape, layout_options, 0);
                convert_case c = case_new(&desc, 0);
                test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
                const lathe_target targets[] = {
                    target_of((lathe_dtype)from,
                              &layout_options[test_random_below(&rng, N_LAYOUTS)], 0),
                    target_of((lathe_dtype)to, &layout_options[test_random_below(&rng, N_LAYOUTS)],
                              0),
                };
                lathe_tensor *tensor = make_tensor(engine, &c);
                lathe_tensor *expected = lathe_tensor_retain(c.tensor);
                for (int i = 0; i < 2; i++) {
                    lathe_tensor *next = NULL;
                    CHECK_OK(lathe_convert(engines[0], expected, &targets[i], &next, NULL));
                    lathe_tensor_release(expected);
                    expected = next;
                    CHECK_OK(lathe_convert_in_place(engines[engine], tensor, &targets[i], NULL));
                    lathe_tensor *seen = on_host(engine, tensor);
                    CHECK(test_same(expected, seen), "step %d, %s", i,
                          describe(&c, &targets[i], engine));
                    lathe_tensor_release(seen);
                }
                CHECK(lathe_tensor_capacity(tensor) >= c.layout.n_bytes, "the capacity is lost");
                lathe_tensor_release(expected);
                lathe_tensor_release(tensor);
                case_free(&c);
            }
        }
    }
}

/* ---- errors */

Test(in_place, what_is_shared_or_read_only_is_refused) {
    static const shape_option shape = {2, {4, 50}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    lathe_target target = target_of(LATHE_F16, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    memset(c.bytes, 0, (size_t)c.layout.n_bytes);
    CHECK_STATUS(lathe_convert_in_place(engines[0], c.tensor, &target, NULL), LATHE_READ_ONLY);
    placed p = place(&c, 0, false);
    lathe_tensor *view = NULL;
    (void)lathe_tensor_retain(p.tensor);
    CHECK(lathe_tensor_is_shared(p.tensor), "two references");
    CHECK_STATUS(lathe_convert_in_place(engines[0], p.tensor, &target, NULL), LATHE_SHARED);
    CHECK_STATUS(lathe_tensor_set_capacity(p.tensor, 800), LATHE_SHARED);
    lathe_tensor_release(p.tensor);
    CHECK_OK(lathe_tensor_view_rows(p.tensor, 1, 2, &view));
    CHECK_STATUS(lathe_convert_in_place(engines[0], p.tensor, &target, NULL), LATHE_SHARED);
    CHECK(strstr(lathe_last_error()->message, "shared") != NULL, "%s", lathe_last_error()->message);
    CHECK_STATUS(lathe_convert_in_place(engines[0], view, &target, NULL), LATHE_SHARED);
    check_untouched(&c, &target, 0, &p);
    lathe_tensor_release(view);
    CHECK_OK(lathe_convert_in_place(engines[0], p.tensor, &target, NULL));
    remove_placed(&p);
    case_free(&c);
}

Test(in_place, arguments) {
    static const shape_option shape = {1, {100}};
    lathe_tensor_desc desc = desc_of(LATHE_F16, &shape, layout_options, 0);
    lathe_target target = target_of(LATHE_F32, layout_options, 0);
    lathe_convert_stats bad = {.struct_size = 1};
    convert_case c = case_new(&desc, 0);
    memset(c.bytes, 0, (size_t)c.layout.n_bytes);
    placed p = place(&c, 0, false);
    CHECK_STATUS(lathe_convert_in_place(NULL, p.tensor, &target, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert_in_place(engines[0], NULL, &target, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert_in_place(engines[0], p.tensor, NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert_in_place(engines[0], p.tensor, &target, &bad),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert_in_place(engines[0], p.tensor, &target, NULL),
                 LATHE_INSUFFICIENT_MEMORY);
    CHECK(lathe_last_error()->required_bytes == 400 && lathe_last_error()->available_bytes == 200,
          "%d of %d", (int)lathe_last_error()->required_bytes,
          (int)lathe_last_error()->available_bytes);
    CHECK_STATUS(lathe_tensor_set_capacity(p.tensor, 199), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_set_capacity(NULL, 400), LATHE_INVALID_ARGUMENT);
    check_untouched(&c, &target, 0, &p);
    CHECK(lathe_tensor_capacity(p.tensor) == 200, "capacity");
    remove_placed(&p);
    case_free(&c);
}

Test(in_place, the_same_layout_by_another_name_is_only_renamed) {
    static const shape_option shape = {3, {2, 3, 8}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    memset(c.bytes, 7, (size_t)c.layout.n_bytes);
    placed p = place(&c, 0, false);
    lathe_target target = target_of(LATHE_F32, layout_options, 2);
    CHECK_OK(lathe_convert_in_place(engines[0], p.tensor, &target, NULL));
    CHECK(lathe_tensor_row_dims(p.tensor) == 2, "row_dims");
    check_untouched(&c, &target, 0, &p);
    CHECK_OK(lathe_convert_in_place(engines[0], c.tensor,
                                    &(lathe_target){
                                        .struct_size = sizeof target,
                                        .dtype = LATHE_F32,
                                    },
                                    NULL)); /* read-only, but nothing is to be done */
    remove_placed(&p);
    case_free(&c);
}

Test(in_place, a_corrupt_byte_is_found_before_anything_is_written) {
    static const shape_option shape = {1, {30000}};
    lathe_tensor_desc desc = desc_of(LATHE_BITNET158, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {44};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    c.bytes[5000] = 250;
    for (int to = LATHE_F32; to <= LATHE_BITNET158; to += TEST_ON_DEVICE ? 3 : 1) {
        lathe_target target = target_of((lathe_dtype)to, &layout_options[2], 0);
        check_in_place(&c, &target, true);
        check_in_place(&c, &target, true);
    }
    case_free(&c);
}
