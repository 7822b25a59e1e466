/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of batches: the bytes are those of single conversions whatever is mixed, and failures stay
 * with their tensors. */
#include "batch_case.h"
#include <math.h>

TestSuite(batch, .init = setup_engines, .fini = teardown_engines);

Test(batch, all_pairs_in_one) {
    test_rng rng = {70};
    add_pairs(&rng, TEST_SANITIZED ? 128 : 384);
    expect_all();
    for (size_t engine = 0; engine < n_engines; engine++) {
        check_batch(engine, NULL);
    }
    check_batch_into(n_engines - 1);
    const lathe_batch_options options = {
        .struct_size = sizeof options,
        .limits = {.max_tensors = 37,
                   .group = LATHE_OFF,
                   .sort_by_size = LATHE_OFF,
                   .parallel = LATHE_OFF},
    };
    check_batch(n_engines - 1, &options);
    free_all();
}

/* Each tensor's report is that of lathe_convert; those of failures are left alone. */
Test(batch, reports) {
    static lathe_quality_report reports[MOST];
    test_rng rng = {86};
    add_pairs(&rng, 128);
    expect_all();
    for (size_t engine = 0; engine < n_engines; engine++) {
        lathe_batch_options options = {.struct_size = sizeof options, .reports = reports};
        for (size_t i = 0; i < batch.n; i++) {
            memset(&reports[i], 0, sizeof reports[i]);
            reports[i].struct_size = sizeof reports[i];
            reports[i].n_elems = 12345678;
        }
        check_batch(engine, &options);
        for (size_t i = 0; i < batch.n; i++) {
            lathe_tensor *result = NULL;
            lathe_quality_report report = {.struct_size = sizeof report};
            lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &report};
            if (lathe_convert(engines[0], batch.sources[i], &batch.targets[i], &result, &stats) ==
                LATHE_OK) {
                CHECK(memcmp(&report, &reports[i], sizeof report) == 0, "tensor %zu, %s", i,
                      describe(&batch.cases[i], &batch.targets[i], engine));
                lathe_tensor_release(result);
            } else {
                CHECK(reports[i].n_elems == 12345678, "tensor %zu: it has failed", i);
            }
        }
        reports[5].struct_size = 2;
        CHECK_STATUS(lathe_convert_batch(engines[engine], batch.n, batch.sources, batch.targets,
                                         batch.n, &options, batch.results, NULL, NULL),
                     LATHE_INVALID_ARGUMENT);
    }
    free_all();
}

/* Tensors from a few elements to too many for a batch's own ways. */
Test(batch, sizes) {
    static const uint64_t sizes[] = {1, 7, 4096, 4097, 70000, 262144, 262145, 600000};
    test_rng rng = {71};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int k = 0; k < 3; k++) {
            const shape_option shape = {1, {sizes[i]}};
            const lathe_dtype to[] = {LATHE_F16, LATHE_I8, LATHE_BITNET158};
            lathe_target target = target_of(to[k], &layout_options[(i + (size_t)k) % 3], 0);
            target.quality = i % 2 == 0 ? LATHE_FAST : LATHE_BALANCED;
            add(&shape, &layout_options[0], TEST_DATA_NORMAL, &rng, LATHE_F32, &target);
        }
    }
    expect_all();
    for (size_t engine = 0; engine < n_engines; engine++) {
        check_batch(engine, NULL);
    }
    free_all();
}

Test(batch, many_alike) {
    test_rng rng = {72};
    for (int k = 0; k < 2; k++) {
        add_alike(&rng, 200, k == 0 ? LATHE_F16 : LATHE_I8);
        expect_all();
        for (size_t engine = 0; engine < n_engines; engine++) {
            lathe_batch_stats stats = {.struct_size = sizeof stats};
            CHECK_OK(lathe_convert_batch(engines[engine], batch.n, batch.sources, batch.targets, 1,
                                         NULL, batch.results, NULL, &stats));
            CHECK(stats.n_groups == 1 && stats.n_rounds == 1 && stats.n_converted == batch.n,
                  "%d groups, %d rounds", (int)stats.n_groups, (int)stats.n_rounds);
            CHECK(stats.result_bytes == batch.n * (batch.expected[0].layout.n_bytes +
                                                   4 * batch.expected[0].layout.n_scales),
                  "result_bytes");
#ifdef TEST_OPENCL
            CHECK(engine == 0 || (stats.n_on_device == batch.n && stats.n_launches >= 1 &&
                                  stats.n_launches <= 4),
                  "%d on the device in %d launches", (int)stats.n_on_device, (int)stats.n_launches);
#else
            CHECK(stats.n_on_device == 0 && stats.n_launches == 0, "no device");
#endif
            for (size_t i = 0; i < batch.n; i++) {
                const lathe_error ok = {.status = LATHE_OK};
                check_one(i, engine, batch.results[i], &ok);
                lathe_tensor_release(batch.results[i]);
            }
        }
        free_all();
    }
}

/* On the CPU they are the host's. */
Test(batch, device_tensors) {
    test_rng rng = {73};
    add_alike(&rng, 100, LATHE_F16);
    add_alike(&rng, 50, LATHE_I8);
    add_pairs(&rng, 200);
    expect_all();
    for (size_t engine = 0; engine < n_engines; engine++) {
        check_device_batch(engine);
    }
    free_all();
}

#ifdef TEST_OPENCL
/* Device tensors of one block go in one launch, and their results lie in one. */
Test(batch, device_tensors_share_launches) {
    static lathe_tensor_desc descs[MOST];
    static lathe_tensor *sources[MOST];
    const shape_option shape = {2, {64, 64}};
    const lathe_target target = target_of(LATHE_F16, layout_options, 0);
    for (size_t i = 0; i < 300; i++) {
        descs[i] = desc_of(LATHE_F32, &shape, layout_options, 0);
    }
    for (size_t engine = 1; engine < n_engines; engine++) {
        lathe_batch_stats stats = {.struct_size = sizeof stats};
        CHECK_OK(
            lathe_engine_tensors_create(engines[engine], LATHE_MEMORY_DEVICE, 300, descs, sources));
        const lathe_engine_stats before = test_engine_stats(engines[engine]);
        CHECK_OK(lathe_convert_batch(engines[engine], 300, sources, &target, 1, NULL, batch.results,
                                     NULL, &stats));
        const lathe_engine_stats after = test_engine_stats(engines[engine]);
        CHECK(stats.n_on_device == 300 && stats.n_launches == 1, "%d launches",
              (int)stats.n_launches);
        CHECK(after.n_launches - before.n_launches <= 20, "%d launches",
              (int)(after.n_launches - before.n_launches));
        for (size_t i = 0; i < 300; i++) {
            lathe_tensor_release(batch.results[i]);
            lathe_tensor_release(sources[i]);
        }
    }
}

/* Those that were made one by one share launches, too: all of them, or some to each on a device
 * that shares the host's memory, where each has a buffer of its own; with the results that they
 * have one by one. Scales of more than a tile come of statistics: a NaN is met there, or by the
 * launch. */
static void check_device_tensors_made_one_by_one(size_t rows) {
    enum { N = 40, NAN_AT = 7 };
    const size_t n_elems = rows * 64;
    const uint64_t shape[] = {rows, 64};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_tensor_desc made = {
        .struct_size = sizeof made, .dtype = LATHE_I8, .n_dims = 2, .shape = shape};
    const lathe_target target = target_of(LATHE_I8, layout_options, 0);
    for (size_t engine = 1; engine < n_engines; engine++) {
        lathe_batch_stats stats = {.struct_size = sizeof stats};
        lathe_tensor *sources[N];
        lathe_tensor *host = NULL;
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_tensor_create(pool, &desc, &host));
        CHECK_OK(lathe_tensor_create(pool, &made, &result));
        for (int i = 0; i < N; i++) {
            float *data = lathe_tensor_mutable_data(host);
            for (size_t k = 0; k < n_elems; k++) {
                data[k] = (float)((int)(k * 7 + (size_t)i) % 255 - 127) * (float)(i + 1);
            }
            data[n_elems - 1] = i == NAN_AT ? NAN : data[n_elems - 1];
            CHECK_OK(lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE, &desc,
                                                &sources[i]));
            CHECK_OK(lathe_tensor_copy(engines[engine], host, sources[i]));
        }
        CHECK(lathe_convert_batch(engines[engine], N, sources, &target, 1, NULL, batch.results,
                                  NULL, &stats) == LATHE_NON_FINITE &&
                  lathe_last_error()->element == n_elems - 1 && batch.results[NAN_AT] == NULL,
              "a NaN in the last element");
        CHECK(stats.n_on_device == N - 1 && stats.n_launches == (engine == 1 ? 3 : 1),
              "%d on the device, %d launches", (int)stats.n_on_device, (int)stats.n_launches);
        for (int i = 0; i < N; i++) {
            const int8_t *codes = lathe_tensor_data(result);
            if (i == NAN_AT) {
                lathe_tensor_release(sources[i]);
                continue;
            }
            CHECK_OK(lathe_tensor_copy(engines[engine], batch.results[i], result));
            CHECK(lathe_tensor_scales(result)[0] == (float)(i + 1), "tensor %d", i);
            for (size_t k = 0; k < n_elems; k++) {
                CHECK(codes[k] == (int)(k * 7 + (size_t)i) % 255 - 127, "tensor %d, element %zu", i,
                      k);
            }
            lathe_tensor_release(batch.results[i]);
            lathe_tensor_release(sources[i]);
        }
        lathe_tensor_release(host);
        lathe_tensor_release(result);
    }
}

Test(batch, device_tensors_made_one_by_one_share_launches) {
    check_device_tensors_made_one_by_one(64);
    check_device_tensors_made_one_by_one(80);
}

/* Device tensors of another engine cannot be in this one's launches. */
Test(batch, device_tensors_of_another_engine) {
    enum { N = 12 };
    static const uint64_t shape[] = {8, 64};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_target target = target_of(LATHE_F16, layout_options, 0);
    const lathe_config config = test_opencl_config();
    lathe_engine *both[2] = {NULL};
    lathe_tensor *sources[N];
    lathe_tensor *host = NULL;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(test_opencl_engine(&config, false, NULL, &both[i]));
    }
    CHECK_OK(lathe_tensor_create(pool, &desc, &host));
    for (int i = 0; i < N; i++) {
        float *data = lathe_tensor_mutable_data(host);
        for (int k = 0; k < 8 * 64; k++) {
            data[k] = (float)(k + i);
        }
        CHECK_OK(lathe_engine_tensor_create(both[i % 2], LATHE_MEMORY_DEVICE, &desc, &sources[i]));
        CHECK_OK(lathe_tensor_copy(both[i % 2], host, sources[i]));
    }
    CHECK_OK(lathe_convert_batch(both[0], N, sources, &target, 1, NULL, batch.results, NULL, NULL));
    for (int i = 0; i < N; i++) {
        lathe_tensor *back = NULL;
        const lathe_target f32 = target_of(LATHE_F32, layout_options, 0);
        CHECK_OK(lathe_convert(both[0], batch.results[i], &f32, &back, NULL));
        CHECK_OK(lathe_tensor_copy(both[0], back, host));
        const float *data = lathe_tensor_data(host);
        for (int k = 0; k < 8 * 64; k++) {
            CHECK(data[k] == (float)(k + i), "tensor %d, element %d: %f", i, k, data[k]);
        }
        lathe_tensor_release(back);
        lathe_tensor_release(batch.results[i]);
        lathe_tensor_release(sources[i]);
    }
    lathe_tensor_release(host);
    lathe_engine_free(both[0]);
    lathe_engine_free(both[1]);
}
#endif

/* ---- failures */

Test(batch, failures_stay_with_their_tensors) {
    const shape_option shape = {2, {4, 50}};
    test_rng rng = {74};
    lathe_target targets[] = {target_of(LATHE_I8, layout_options, 0),
                              target_of(LATHE_F16, layout_options, 0),
                              target_of(LATHE_F32, layout_options, 0)};
    for (size_t i = 0; i < 60; i++) {
        lathe_dtype from = i % 3 == 2 ? LATHE_BITNET158 : LATHE_F32;
        targets[1].strict = i % 2;
        add(&shape, layout_options, TEST_DATA_NORMAL, &rng, from, &targets[i % 3]);
    }
    put(&batch.cases[21], 17, 0x7fc00000u); /* NON_FINITE */
    batch.cases[32].bytes[5] = 250;         /* CORRUPT_DATA */
    put(&batch.cases[39], 3, 0x7f800000u);
    expect_all();
    CHECK(batch.expected[21].status == LATHE_NON_FINITE &&
              batch.expected[32].status == LATHE_CORRUPT_DATA &&
              batch.expected[7].status == LATHE_DATA_LOSS && batch.expected[4].status == LATHE_OK,
          "what is to be tried");
    for (size_t engine = 0; engine < n_engines; engine++) {
        check_batch(engine, NULL);
        check_batch_into(engine);
    }
    free_all();
}

Test(batch, sources_and_targets_that_are_not_valid) {
    test_rng rng = {75};
    volatile int number = 99;
    add_alike(&rng, 12, LATHE_F16);
    expect_all();
    batch.sources[3] = NULL;
    batch.targets[5].dtype = (lathe_dtype)number;
    batch.targets[6].struct_size = 1;
    batch.sources[11] = NULL;
    for (size_t engine = 0; engine < n_engines; engine++) {
        lathe_batch_stats stats = {.struct_size = sizeof stats};
        CHECK_STATUS(lathe_convert_batch(engines[engine], batch.n, batch.sources, batch.targets,
                                         batch.n, NULL, batch.results, batch.errors, &stats),
                     LATHE_INVALID_ARGUMENT);
        CHECK(strncmp(lathe_last_error()->message, "tensor 3 of", 11) == 0, "the first");
        CHECK(stats.n_failed == 4 && stats.n_converted == 8, "%d failed", (int)stats.n_failed);
        for (size_t i = 0; i < batch.n; i++) {
            bool is_bad = i == 3 || i == 5 || i == 6 || i == 11;
            CHECK(batch.errors[i].status == (is_bad ? LATHE_INVALID_ARGUMENT : LATHE_OK) &&
                      (batch.results[i] == NULL) == is_bad,
                  "tensor %zu: %s", i, lathe_status_name(batch.errors[i].status));
            lathe_tensor_release(batch.results[i]);
        }
    }
    free_all();
}

Test(batch, results_that_do_not_match) {
    test_rng rng = {76};
    add_alike(&rng, 6, LATHE_F16);
    expect_all();
    const uint64_t shape[2] = {64, 64};
    const uint64_t turned[2] = {64, 65};
    uint16_t read_only[64 * 64];
    lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F16, .n_dims = 2, .shape = shape};
    for (size_t i = 0; i < 5; i++) {
        desc.shape = i == 1 ? turned : shape;
        desc.dtype = i == 2 ? LATHE_BF16 : LATHE_F16;
        CHECK_OK(i == 4 ? lathe_tensor_wrap(pool, &desc, read_only, NULL, LATHE_WRAP_READ_ONLY,
                                            NULL, NULL, &batch.results[i])
                        : lathe_tensor_create(pool, &desc, &batch.results[i]));
    }
    batch.results[5] = NULL;
    const lathe_status expected[] = {LATHE_OK, LATHE_INCOMPATIBLE_TYPES, LATHE_INCOMPATIBLE_TYPES,
                                     LATHE_OK, LATHE_READ_ONLY,          LATHE_INVALID_ARGUMENT};
    for (size_t engine = 0; engine < n_engines; engine++) {
        CHECK_STATUS(lathe_convert_batch_into(engines[engine], batch.n, batch.sources,
                                              batch.targets, 1, NULL, batch.results, batch.errors,
                                              NULL),
                     LATHE_INCOMPATIBLE_TYPES);
        for (size_t i = 0; i < batch.n; i++) {
            CHECK(batch.errors[i].status == expected[i], "tensor %zu: %s", i,
                  lathe_status_name(batch.errors[i].status));
        }
        for (size_t i = 0; i < 4; i += 3) {
            const lathe_error ok = {.status = LATHE_OK};
            check_one(i, engine, batch.results[i], &ok);
        }
    }
    for (size_t i = 0; i < batch.n; i++) {
        lathe_tensor_release(batch.results[i]);
    }
    free_all();
}
