/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/view.h: conversions that share memory, and views of tensors, wherever they lie. */
#include "convert_case.h"

TestSuite(views, .init = setup_engines, .fini = teardown_engines);

#ifdef TEST_OPENCL
enum { TEST_ON_DEVICE = 1 };
#else
enum { TEST_ON_DEVICE = 0 };
#endif

/* ---- helpers */

static lathe_tensor *filled(size_t engine, const lathe_tensor_desc *desc, uint64_t seed) {
    lathe_tensor *host = NULL;
    lathe_tensor *made = NULL;
    test_rng rng = {seed};
    CHECK_OK(lathe_tensor_create(pool, desc, &host));
    test_fill_tensor(&rng, desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(host),
                     lathe_tensor_mutable_scales(host));
    if (!TEST_ON_DEVICE) {
        return host;
    }
    CHECK_OK(lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE, desc, &made));
    CHECK_OK(lathe_tensor_copy(engines[engine], host, made));
    lathe_tensor_release(host);
    return made;
}

/* The tensor's values as F32, which the caller frees. */
static float *values_of(size_t engine, lathe_tensor *tensor) {
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F32};
    size_t n_bytes = (size_t)lathe_tensor_n_elems(tensor) * sizeof(float);
    lathe_tensor *decoded = NULL;
    float *values = malloc(n_bytes + 1);
    CHECK(values != NULL, "memory");
    CHECK_OK(lathe_convert(engines[engine], tensor, &target, &decoded, NULL));
    CHECK_OK(lathe_tensor_map(engines[engine], decoded, false));
    if (n_bytes > 0) {
        memcpy(values, lathe_tensor_data(decoded), n_bytes);
    }
    CHECK_OK(lathe_tensor_unmap(engines[engine], decoded));
    lathe_tensor_release(decoded);
    return values;
}

static lathe_tensor_desc matrix(lathe_dtype dtype, const shape_option *shape,
                                const layout_option *layout) {
    return desc_of(dtype, shape, layout, 0);
}

static uint64_t live_blocks(void) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(pool, &stats));
    return stats.n_live;
}

/* ---- rows */

/* A view's values, scales and bytes are those of its part of the source. */
Test(views, rows_of_every_dtype) {
    static const shape_option shapes[] = {{2, {9, 37}}, {3, {6, 2, 100}}, {2, {5, 64}}};
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        for (int dtype = LATHE_F32; dtype <= LATHE_BITNET158; dtype++) {
            for (size_t k = 0; k < 3 * N_LAYOUTS; k++) {
                const shape_option *shape = &shapes[k % 3];
                lathe_tensor_desc desc = matrix((lathe_dtype)dtype, shape, &layout_options[k / 3]);
                lathe_tensor *source = filled(engine, &desc, k);
                float *all = values_of(engine, source);
                uint64_t n_rows = shape->shape[0];
                size_t row = (size_t)(lathe_tensor_n_elems(source) / n_rows);
                for (uint64_t first = 0; first < n_rows; first += 2) {
                    uint64_t count = first % 3 + 1 < n_rows - first ? first % 3 + 1 : 1;
                    lathe_tensor *view = NULL;
                    CHECK_OK(lathe_tensor_view_rows(source, first, count, &view));
                    CHECK(lathe_tensor_shape(view)[0] == count &&
                              lathe_tensor_n_elems(view) == count * row &&
                              lathe_tensor_is_view(view) && lathe_tensor_is_shared(source),
                          "the view's description");
                    float *values = values_of(engine, view);
                    CHECK(memcmp(values, all + first * row, (size_t)count * row * sizeof(float)) ==
                              0,
                          "%s, layout %zu: rows %d", lathe_dtype_name((lathe_dtype)dtype), k,
                          (int)first);
                    free(values);
                    lathe_tensor_release(view);
                }
                free(all);
                CHECK(!lathe_tensor_is_shared(source), "nobody else is left");
                lathe_tensor_release(source);
            }
        }
    }
}

Test(views, parts_of_a_row) {
    static const shape_option shape = {1, {200}};
    const struct {
        lathe_dtype dtype;
        size_t layout;
        uint64_t first;
        uint64_t count;
        lathe_status status;
    } cuts[] = {
        {LATHE_F32, 0, 3, 50, LATHE_OK},
        {LATHE_BF16, 0, 199, 1, LATHE_OK},
        {LATHE_I8, 0, 7, 9, LATHE_OK},
        {LATHE_I8, 1, 7, 9, LATHE_OK},
        {LATHE_I8, 2, 32, 64, LATHE_OK},
        {LATHE_I8, 2, 32, 168, LATHE_OK},
        {LATHE_I8, 2, 31, 64, LATHE_INCOMPATIBLE_TYPES},
        {LATHE_I8, 2, 32, 63, LATHE_INCOMPATIBLE_TYPES},
        {LATHE_I4, 0, 2, 6, LATHE_OK},
        {LATHE_I4, 0, 1, 6, LATHE_INCOMPATIBLE_TYPES},
        {LATHE_I4, 0, 2, 5, LATHE_INCOMPATIBLE_TYPES},
        {LATHE_I1, 1, 8, 192, LATHE_OK},
        {LATHE_BITNET158, 0, 5, 10, LATHE_OK},
        {LATHE_BITNET158, 0, 4, 10, LATHE_INCOMPATIBLE_TYPES},
        {LATHE_BITNET158, 0, 195, 5, LATHE_OK},
        {LATHE_F16, 0, 200, 0, LATHE_OK},
        {LATHE_F16, 0, 200, 1, LATHE_INVALID_ARGUMENT},
        {LATHE_F16, 0, 201, 0, LATHE_INVALID_ARGUMENT},
        {LATHE_F16, 0, 1, UINT64_MAX, LATHE_INVALID_ARGUMENT},
    };
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
            lathe_tensor_desc desc = matrix(cuts[i].dtype, &shape, &layout_options[cuts[i].layout]);
            lathe_tensor *source = filled(engine, &desc, i);
            lathe_tensor *view = NULL;
            lathe_status status =
                lathe_tensor_view_rows(source, cuts[i].first, cuts[i].count, &view);
            CHECK(status == cuts[i].status, "cut %zu: %s", i, lathe_status_name(status));
            if (status == LATHE_OK) {
                float *all = values_of(engine, source);
                float *values = values_of(engine, view);
                CHECK(memcmp(values, all + cuts[i].first, (size_t)cuts[i].count * sizeof(float)) ==
                          0,
                      "cut %zu", i);
                free(all);
                free(values);
            }
            lathe_tensor_release(view);
            lathe_tensor_release(source);
        }
    }
}

/* ---- shapes and bits */

Test(views, shapes_whose_rows_stay_the_same) {
    static const shape_option weights = {4, {8, 3, 3, 3}};
    static const uint64_t flat[] = {8, 27};
    static const uint64_t other[] = {27, 8};
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        for (int dtype = LATHE_F32; dtype <= LATHE_BITNET158; dtype++) {
            for (size_t k = 0; k < N_LAYOUTS; k++) {
                lathe_tensor_desc desc =
                    desc_of((lathe_dtype)dtype, &weights, &layout_options[k], 3);
                lathe_tensor *source = filled(engine, &desc, k);
                lathe_tensor *view = NULL;
                CHECK_OK(lathe_tensor_view_reshape(source, 2, flat, 0, &view));
                float *all = values_of(engine, source);
                float *values = values_of(engine, view);
                CHECK(lathe_tensor_n_dims(view) == 2 && lathe_tensor_row_dims(view) == 1 &&
                          memcmp(values, all, 216 * sizeof(float)) == 0,
                      "%s", lathe_dtype_name((lathe_dtype)dtype));
                lathe_tensor_release(view);
                view = NULL;
                /* 27 elements end inside a byte, and 8 are another row. */
                bool fits = dtype <= LATHE_BF16 || (dtype == LATHE_I8 && k == 0);
                lathe_status status = lathe_tensor_view_reshape(source, 2, other, 1, &view);
                CHECK(status == (fits ? LATHE_OK : LATHE_INCOMPATIBLE_TYPES), "%s, layout %zu: %s",
                      lathe_dtype_name((lathe_dtype)dtype), k, lathe_status_name(status));
                CHECK_STATUS(lathe_tensor_view_reshape(source, 1, flat, 0, &view),
                             LATHE_INVALID_ARGUMENT);
                free(all);
                free(values);
                lathe_tensor_release(view);
                lathe_tensor_release(source);
            }
        }
    }
}

Test(views, bits_as_another_dtype) {
    static const shape_option shape = {2, {3, 5}};
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        for (int from = LATHE_F32; from <= LATHE_BITNET158; from++) {
            for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
                lathe_tensor_desc desc = matrix((lathe_dtype)from, &shape, layout_options);
                lathe_tensor *source = filled(engine, &desc, 1);
                lathe_tensor *view = NULL;
                bool is_twin = (from == LATHE_F16 || from == LATHE_BF16) &&
                               (to == LATHE_F16 || to == LATHE_BF16);
                lathe_status status = lathe_tensor_view_bits(source, (lathe_dtype)to, &view);
                CHECK(status == (is_twin || from == to ? LATHE_OK : LATHE_INCOMPATIBLE_TYPES),
                      "%d as %d: %s", from, to, lathe_status_name(status));
                if (is_twin) {
                    CHECK_OK(lathe_tensor_map(engines[engine], view, false));
                    CHECK_OK(lathe_tensor_map(engines[engine], source, false));
                    CHECK(memcmp(lathe_tensor_data(view), lathe_tensor_data(source), 30) == 0,
                          "the bits differ");
                    CHECK_OK(lathe_tensor_unmap(engines[engine], source));
                    CHECK_OK(lathe_tensor_unmap(engines[engine], view));
                }
                CHECK_STATUS(lathe_tensor_view_bits(source, (lathe_dtype)9, &view),
                             LATHE_INVALID_ARGUMENT);
                lathe_tensor_release(source);
                lathe_tensor_release(view);
            }
        }
    }
}

/* ---- lifetimes */

Test(views, outlive_their_source_in_any_order) {
    static const shape_option shape = {2, {16, 40}};
    lathe_tensor_desc desc = matrix(LATHE_I4, &shape, &layout_options[1]);
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        for (int order = 0; order < 6; order++) {
            uint64_t n_live = live_blocks();
            lathe_tensor *tensors[3] = {filled(engine, &desc, 3)};
            float *all = values_of(engine, tensors[0]);
            CHECK_OK(lathe_tensor_view_rows(tensors[0], 4, 10, &tensors[1]));
            CHECK_OK(lathe_tensor_view_rows(tensors[1], 2, 3, &tensors[2]));
            static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                             {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
            static const size_t first_row[3] = {0, 4, 6};
            for (int i = 0; i < 3; i++) {
                lathe_tensor_release(tensors[orders[order][i]]);
                for (int k = i + 1; k < 3; k++) {
                    int left = orders[order][k];
                    float *values = values_of(engine, tensors[left]);
                    size_t n = (size_t)lathe_tensor_n_elems(tensors[left]);
                    CHECK(memcmp(values, all + first_row[left] * 40, n * sizeof(float)) == 0,
                          "order %d", order);
                    free(values);
                }
            }
            free(all);
            CHECK(live_blocks() == n_live || TEST_ON_DEVICE, "blocks are left");
        }
    }
}

Test(views, a_view_of_a_view_is_flat) {
    static const shape_option shape = {2, {8, 8}};
    lathe_tensor_desc desc = matrix(LATHE_F16, &shape, layout_options);
    lathe_tensor *source = filled(0, &desc, 4);
    lathe_tensor *first = NULL;
    lathe_tensor *second = NULL;
    const uint64_t n_live = live_blocks();
    (void)n_live; /* a device's blocks are not counted */
    CHECK_OK(lathe_tensor_view_rows(source, 1, 5, &first));
    CHECK_OK(lathe_tensor_view_bits(first, LATHE_BF16, &second));
    CHECK(TEST_ON_DEVICE || live_blocks() == n_live + 2, "a view takes one block");
    lathe_tensor_release(first);
    CHECK(TEST_ON_DEVICE || live_blocks() == n_live + 1, "the view between them lives on");
    CHECK(lathe_tensor_is_shared(source) && lathe_tensor_is_shared(second), "shared");
    lathe_tensor_release(source);
    CHECK(lathe_tensor_is_shared(second), "a view stays one");
    lathe_tensor_release(second);
}

/* ---- the rest */

Test(views, read_only_stays_read_only) {
    static const shape_option shape = {2, {4, 4}};
    lathe_tensor_desc desc = matrix(LATHE_F32, &shape, layout_options);
    convert_case c = case_new(&desc, 0);
    lathe_tensor *view = NULL;
    memset(c.bytes, 0, 64);
    CHECK_OK(lathe_tensor_view_rows(c.tensor, 1, 2, &view));
    CHECK(lathe_tensor_is_read_only(view) && lathe_tensor_mutable_data(view) == NULL &&
              lathe_tensor_data(view) == c.bytes + 16,
          "a view of read-only memory");
    CHECK_OK(lathe_tensor_make_unique(engines[0], &view));
    CHECK(!lathe_tensor_is_read_only(view) && !lathe_tensor_is_view(view) &&
              lathe_tensor_mutable_data(view) != NULL && lathe_tensor_data(view) != c.bytes + 16,
          "a copy");
    lathe_tensor *same = view;
    CHECK_OK(lathe_tensor_make_unique(engines[0], &view));
    CHECK(same == view, "copied for nothing");
    lathe_tensor_release(view);
    case_free(&c);
}

Test(views, materialize_copies) {
    static const shape_option shape = {2, {6, 33}};
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        lathe_tensor_desc desc = matrix(LATHE_I4, &shape, &layout_options[2]);
        lathe_tensor *source = filled(engine, &desc, 5);
        lathe_tensor *view = NULL;
        lathe_tensor *copy = NULL;
        CHECK_OK(lathe_tensor_view_rows(source, 2, 3, &view));
        CHECK_OK(lathe_tensor_materialize(engines[engine], view, &copy));
        CHECK(!lathe_tensor_is_shared(copy) &&
                  lathe_tensor_memory(copy) == lathe_tensor_memory(source),
              "a copy of its own");
        float *expected = values_of(engine, view);
        lathe_tensor_release(view);
        CHECK_OK(lathe_tensor_map(engines[engine], source, true));
        memset(lathe_tensor_mutable_data(source), 0, (size_t)lathe_tensor_n_bytes(source));
        CHECK_OK(lathe_tensor_unmap(engines[engine], source));
        float *values = values_of(engine, copy);
        CHECK(memcmp(values, expected, 99 * sizeof(float)) == 0, "the copy changed");
        free(values);
        free(expected);
        lathe_tensor_release(copy);
        lathe_tensor_release(source);
    }
}

/* What is written to one is seen in the other, on a device by mapping. */
Test(views, share_what_is_written) {
    static const shape_option shape = {2, {300, 33}};
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        lathe_tensor_desc desc = matrix(LATHE_I8, &shape, &layout_options[1]);
        lathe_tensor *source = filled(engine, &desc, 6);
        lathe_tensor *view = NULL;
        CHECK_OK(lathe_tensor_view_rows(source, 100, 50, &view));
        CHECK_OK(lathe_tensor_map(engines[engine], view, true));
        memset(lathe_tensor_mutable_data(view), 3, 50 * 33);
        for (size_t i = 0; i < 50; i++) {
            lathe_tensor_mutable_scales(view)[i] = 2;
        }
        CHECK_OK(lathe_tensor_unmap(engines[engine], view));
        float *values = values_of(engine, source);
        for (size_t i = 0; i < 50 * 33; i++) {
            CHECK(values[100 * 33 + i] == 6, "element %zu is %g", i, (double)values[100 * 33 + i]);
        }
        free(values);
        lathe_tensor_release(source);
        lathe_tensor_release(view);
    }
}

/* ---- zero-copy conversion */

Test(views, zero_copy_conversions) {
    static const shape_option shape = {3, {4, 3, 40}};
    for (size_t engine = 0; engine < n_small_engines; engine++) {
        for (int from = LATHE_F32; from <= LATHE_BITNET158; from++) {
            for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
                for (size_t k = 0; k < N_LAYOUTS; k++) {
                    lathe_tensor_desc desc = matrix((lathe_dtype)from, &shape, &layout_options[1]);
                    lathe_target target =
                        target_of((lathe_dtype)to, &layout_options[k], k % 2 == 0 ? 0 : 1);
                    lathe_tensor *source = filled(engine, &desc, 7);
                    lathe_tensor *result = NULL;
                    const char *why = "";
                    /* A group of 64 and more is the row of 40. */
                    bool same = from == to && (from <= LATHE_BF16 || k == 1 || k >= 3);
                    bool can = lathe_tensor_can_share(source, &target, &why);
                    uint64_t n_live = live_blocks();
                    lathe_status status =
                        lathe_zero_copy_convert(engines[engine], source, &target, &result);
                    CHECK(can == same && (why == NULL) == same && (status == LATHE_OK) == same,
                          "%d to %d, layout %zu: %s", from, to, k, lathe_status_name(status));
                    if (!same) {
                        CHECK(status == LATHE_INCOMPATIBLE_TYPES &&
                                  strstr(lathe_last_error()->message, why) != NULL,
                              "%s", lathe_last_error()->message);
                    } else {
                        CHECK(live_blocks() - n_live <= 1 || TEST_ON_DEVICE, "memory");
                        CHECK(lathe_tensor_granularity(result) == target.granularity ||
                                  from <= LATHE_BF16,
                              "granularity");
                        CHECK(lathe_tensor_data(result) == lathe_tensor_data(source), "a copy");
                    }
                    lathe_tensor_release(source);
                    lathe_tensor_release(result);
                }
            }
        }
    }
}

Test(views, arguments) {
    static const shape_option shape = {1, {4}};
    static const shape_option scalar = {0, {0}};
    const lathe_target bad = {.struct_size = sizeof bad, .dtype = (lathe_dtype)99};
    lathe_tensor_desc desc = matrix(LATHE_F32, &shape, layout_options);
    lathe_tensor *source = filled(0, &desc, 8);
    lathe_tensor *view = NULL;
    const char *why = NULL;
    CHECK_STATUS(lathe_tensor_view_rows(NULL, 0, 1, &view), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_view_rows(source, 0, 1, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_view_bits(NULL, LATHE_F16, &view), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_view_reshape(NULL, 1, shape.shape, 0, &view), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_view_reshape(source, 1, NULL, 0, &view), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_materialize(NULL, source, &view), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_make_unique(engines[0], NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_zero_copy_convert(NULL, NULL, &bad, &view), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_zero_copy_convert(engines[0], source, &bad, &view), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_zero_copy_convert(NULL, source, NULL, &view), LATHE_INVALID_ARGUMENT);
    CHECK(!lathe_tensor_can_share(source, &bad, &why) && why != NULL, "an invalid target");
    CHECK(!lathe_tensor_can_share(NULL, &bad, NULL), "no source");
    CHECK(view == NULL, "touched");
    lathe_tensor_release(source);
    desc = matrix(LATHE_F32, &scalar, layout_options);
    source = filled(0, &desc, 9);
    CHECK_STATUS(lathe_tensor_view_rows(source, 0, 1, &view), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_tensor_view_reshape(source, 1, (const uint64_t[]){1}, 0, &view));
    lathe_tensor_release(view);
    lathe_tensor_release(source);
}

#ifndef TEST_OPENCL

Test(views, no_memory) {
    static const shape_option shape = {2, {4, 4}};
    test_allocator allocator;
    lathe_pool *own = NULL;
    lathe_tensor *source = NULL;
    lathe_tensor *view = NULL;
    test_allocator_init(&allocator);
    CHECK_OK(lathe_pool_create(&(lathe_pool_config){.struct_size = sizeof(lathe_pool_config),
                                                    .allocator = &allocator.interface},
                               &own));
    lathe_tensor_desc desc = matrix(LATHE_F32, &shape, layout_options);
    CHECK_OK(lathe_tensor_create(own, &desc, &source));
    test_allocator_reset(&allocator, 0);
    CHECK_STATUS(lathe_tensor_view_rows(source, 0, 1, &view), LATHE_INSUFFICIENT_MEMORY);
    CHECK(!lathe_tensor_is_shared(source), "a reference is left");
    test_allocator_reset(&allocator, UINT64_MAX);
    CHECK_OK(lathe_tensor_view_rows(source, 0, 1, &view));
    lathe_tensor_release(source);
    lathe_pool_release(own);
    lathe_tensor_release(view); /* which keeps the pool alive, too */
    CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks are left", (int)allocator.n_live);
}

enum { N_THREADS = 8, N_ROUNDS = 2000 };

static void *make_and_drop(void *ctx) {
    lathe_tensor *source = ctx;
    for (int i = 0; i < N_ROUNDS; i++) {
        lathe_tensor *view = NULL;
        lathe_tensor *part = NULL;
        if (lathe_tensor_view_rows(source, (uint64_t)i % 8, 4, &view) != LATHE_OK ||
            lathe_tensor_view_rows(view, 1, 2, &part) != LATHE_OK ||
            ((const float *)lathe_tensor_data(part))[3] != (float)(((uint64_t)i % 8 + 1) * 4 + 3)) {
            return ctx;
        }
        lathe_tensor_release(view);
        lathe_tensor_release(part);
    }
    lathe_tensor_release(source);
    return NULL;
}

Test(views, on_many_threads) {
    static const shape_option shape = {2, {12, 4}};
    pthread_t threads[N_THREADS];
    lathe_tensor_desc desc = matrix(LATHE_F32, &shape, layout_options);
    lathe_tensor *source = filled(0, &desc, 10);
    uint64_t n_live = live_blocks();
    for (size_t i = 0; i < 48; i++) {
        ((float *)lathe_tensor_mutable_data(source))[i] = (float)i;
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, make_and_drop, lathe_tensor_retain(source)) == 0,
              "a thread");
    }
    lathe_tensor_release(source);
    for (size_t i = 0; i < N_THREADS; i++) {
        void *failed = NULL;
        CHECK(pthread_join(threads[i], &failed) == 0 && failed == NULL, "thread %zu", i);
    }
    CHECK(live_blocks() < n_live, "blocks are left");
}

#endif
