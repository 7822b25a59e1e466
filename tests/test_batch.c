/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of batches: the bytes are those of single conversions whatever is mixed, failures stay with
 * their tensors, results come in order, every option has its effect, and memory is counted. Built
 * once more with TEST_OPENCL. */
#include "convert_case.h"

TestSuite(batch, .init = setup_engines, .fini = teardown_engines);

enum { MOST = 400 };

/* Tensors of a batch, and what is expected of each. */
typedef struct batch_case {
    size_t n;
    convert_case cases[MOST];
    shape_option shapes[MOST];
    lathe_tensor *sources[MOST];
    lathe_target targets[MOST];
    oracle_result expected[MOST];
    lathe_tensor *results[MOST];
    lathe_error errors[MOST];
} batch_case;

static batch_case batch; /* too large for a stack */

static void add(const shape_option *shape, const layout_option *layout, test_data data,
                test_rng *rng, lathe_dtype from, const lathe_target *target) {
    size_t i = batch.n++;
    CHECK(i < MOST, "room");
    batch.shapes[i] = *shape;
    lathe_tensor_desc desc = desc_of(from, &batch.shapes[i], layout, target->row_dims);
    batch.cases[i] = case_new(&desc, (size_t)test_random_below(rng, 64));
    test_fill_tensor(rng, &desc, data, batch.cases[i].bytes, batch.cases[i].scales);
    batch.sources[i] = batch.cases[i].tensor;
    batch.targets[i] = *target;
}

static void expect_all(void) {
    for (size_t i = 0; i < batch.n; i++) {
        const convert_case *c = &batch.cases[i];
        oracle_convert(&c->from, c->bytes, c->scales, &batch.targets[i], &batch.expected[i]);
    }
}

static void free_all(void) {
    for (size_t i = 0; i < batch.n; i++) {
        case_free(&batch.cases[i]);
        oracle_result_free(&batch.expected[i]);
    }
    batch.n = 0;
}

/* What became of tensor i, whose result is the host's, is what the oracle says. */
static void check_one(size_t i, size_t engine, const lathe_tensor *result,
                      const lathe_error *error) {
    const convert_case *c = &batch.cases[i];
    const oracle_result *expected = &batch.expected[i];
    CHECK(error->status == expected->status, "tensor %zu, %s: %s, not %s", i,
          describe(c, &batch.targets[i], engine), lathe_status_name(error->status),
          lathe_status_name(expected->status));
    if (expected->status != LATHE_OK) {
        CHECK(result == NULL, "a failure has a result");
        CHECK(error->element == expected->element && error->from == c->from.dtype &&
                  error->to == batch.targets[i].dtype && error->message[0] != '\0',
              "tensor %zu: element %lld, not %lld", i, (long long)error->element,
              (long long)expected->element);
        return;
    }
    CHECK(lathe_tensor_n_dims(result) == c->from.n_dims, "n_dims");
    check_contents(c, &batch.targets[i], engine, expected, lathe_tensor_data(result),
                   lathe_tensor_scales(result));
}

static size_t count_failures(size_t *first) {
    size_t n = 0;
    for (size_t i = batch.n; i-- > 0;) {
        if (batch.expected[i].status != LATHE_OK) {
            *first = i;
            n++;
        }
    }
    return n;
}

static void check_overall(lathe_status status, const lathe_batch_stats *stats) {
    size_t first = 0;
    size_t n_failed = count_failures(&first);
    CHECK(stats->n_failed == n_failed && stats->n_converted == batch.n - n_failed,
          "%d failed, not %zu: %s", (int)stats->n_failed, n_failed, lathe_last_error()->message);
    if (n_failed == 0) {
        CHECK(status == LATHE_OK, "%s", lathe_last_error()->message);
        return;
    }
    CHECK(status == batch.expected[first].status, "the first failure: %s",
          lathe_status_name(status));
    CHECK(strncmp(lathe_last_error()->message, test_text("tensor %zu of the batch: ", first), 20) ==
              0,
          "%s", lathe_last_error()->message);
}

/* Runs the batch on an engine, and compares everything. */
static void check_batch(size_t engine, const lathe_batch_options *options) {
    lathe_batch_stats stats = {.struct_size = sizeof stats};
    memset(batch.results, 0x5a, sizeof batch.results);
    lathe_status status =
        lathe_convert_batch(engines[engine], batch.n, batch.sources, batch.targets, batch.n,
                            options, batch.results, batch.errors, &stats);
    check_overall(status, &stats);
    for (size_t i = 0; i < batch.n; i++) {
        check_one(i, engine, batch.results[i], &batch.errors[i]);
        lathe_tensor_release(batch.results[i]);
    }
}

/* The same with tensors of the device. */
static void check_device_batch(size_t engine) {
    static lathe_tensor_desc descs[MOST];
    static lathe_tensor *on_device[MOST];
    lathe_batch_stats stats = {.struct_size = sizeof stats};
    for (size_t i = 0; i < batch.n; i++) {
        descs[i] = batch.cases[i].from;
    }
    CHECK_OK(lathe_engine_tensors_create(engines[engine], LATHE_MEMORY_DEVICE, batch.n, descs,
                                         on_device));
    for (size_t i = 0; i < batch.n; i++) {
        CHECK_OK(lathe_tensor_copy(engines[engine], batch.sources[i], on_device[i]));
    }
    lathe_status status = lathe_convert_batch(engines[engine], batch.n, on_device, batch.targets,
                                              batch.n, NULL, batch.results, batch.errors, &stats);
    check_overall(status, &stats);
    for (size_t i = 0; i < batch.n; i++) {
        lathe_tensor *host = NULL;
        if (batch.results[i] != NULL) {
            lathe_tensor_desc to;
            const convert_case *c = &batch.cases[i];
            CHECK(lathe_tensor_memory(batch.results[i]) == lathe_tensor_memory(on_device[i]),
                  "where the result is");
            CHECK_OK(lathe_target_desc(&batch.targets[i], c->from.n_dims, c->from.shape, &to));
            CHECK_OK(lathe_tensor_create(pool, &to, &host));
            CHECK_OK(lathe_tensor_copy(engines[engine], batch.results[i], host));
        }
        check_one(i, engine, host, &batch.errors[i]);
        lathe_tensor_release(host);
        lathe_tensor_release(batch.results[i]);
        lathe_tensor_release(on_device[i]);
    }
}

/* Into tensors of the pool. */
static void check_batch_into(size_t engine) {
    lathe_batch_stats stats = {.struct_size = sizeof stats};
    for (size_t i = 0; i < batch.n; i++) {
        const convert_case *c = &batch.cases[i];
        lathe_tensor_desc to;
        CHECK_OK(lathe_target_desc(&batch.targets[i], c->from.n_dims, c->from.shape, &to));
        CHECK_OK(lathe_tensor_create(pool, &to, &batch.results[i]));
    }
    lathe_status status =
        lathe_convert_batch_into(engines[engine], batch.n, batch.sources, batch.targets, batch.n,
                                 NULL, batch.results, batch.errors, &stats);
    check_overall(status, &stats);
    for (size_t i = 0; i < batch.n; i++) {
        bool failed = batch.expected[i].status != LATHE_OK;
        check_one(i, engine, failed ? NULL : batch.results[i], &batch.errors[i]);
        lathe_tensor_release(batch.results[i]);
    }
}

/* Shapes of which some come again and again, as in a model, and some once. */
static shape_option some_shape(test_rng *rng) {
    static const shape_option often[] = {{2, {64, 64}}, {1, {333}},  {2, {3, 100}},
                                         {0, {0}},      {2, {0, 7}}, {3, {2, 5, 31}}};
    if (test_random_below(rng, 4) != 0) {
        return often[test_random_below(rng, sizeof often / sizeof often[0])];
    }
    return (shape_option){
        2, {test_random_below(rng, 9), test_random_below(rng, TEST_SANITIZED ? 700 : 3000)}};
}

static lathe_target some_target(test_rng *rng, lathe_dtype to) {
    lathe_target target = target_of(to, &layout_options[test_random_below(rng, N_LAYOUTS)], 0);
    target.quality = test_random_below(rng, 3) == 0 ? LATHE_FAST : LATHE_BALANCED;
    target.nonfinite =
        test_random_below(rng, 2) == 0 ? LATHE_NONFINITE_SATURATE : LATHE_NONFINITE_ERROR;
    return target;
}

/* On a device each pair is a program to compile: every dtype is on either side of a few. */
static bool is_tried(lathe_dtype from, lathe_dtype to) {
#ifdef TEST_OPENCL
    return ((int)to - (int)from + 8) % 8 == 3 || ((int)from == LATHE_F32 && (int)to % 3 == 2);
#else
    (void)from;
    (void)to;
    return true;
#endif
}

static void add_pairs(test_rng *rng, size_t n) {
    while (batch.n < n) {
        lathe_dtype from = (lathe_dtype)(1 + batch.n % 8);
        lathe_dtype to = (lathe_dtype)(1 + batch.n / 8 % 8);
        while (!is_tried(from, to)) {
            to = (lathe_dtype)(1 + (int)to % 8);
        }
        shape_option shape = some_shape(rng);
        lathe_target target = some_target(rng, to);
        add(&shape, &layout_options[test_random_below(rng, N_LAYOUTS)],
            (test_data)test_random_below(rng, TEST_DATA_COUNT), rng, from, &target);
    }
}

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

/* Many of a kind, for all of which one plan and, on a device, few launches do. */
static void add_alike(test_rng *rng, size_t n, lathe_dtype to) {
    const shape_option shape = {2, {64, 64}};
    const lathe_target target = target_of(to, layout_options, 0);
    for (size_t i = 0; i < n; i++) {
        add(&shape, layout_options, TEST_DATA_NORMAL, rng, LATHE_F32, &target);
    }
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

/* ---- what is shared */

Test(batch, same_types_share_and_sources_may_come_twice) {
    test_rng rng = {77};
    add_alike(&rng, 5, LATHE_F32);
    add_alike(&rng, 5, LATHE_F16);
    batch.sources[7] = batch.sources[8] = batch.sources[0];
    for (size_t engine = 0; engine < n_engines; engine++) {
        lathe_batch_stats stats = {.struct_size = sizeof stats};
        CHECK_OK(lathe_convert_batch(engines[engine], batch.n, batch.sources, batch.targets,
                                     batch.n, NULL, batch.results, batch.errors, &stats));
        CHECK(stats.n_shared == 5 && stats.n_converted == 10, "%d shared", (int)stats.n_shared);
        CHECK(stats.result_bytes == 5 * 64 * 64 * 2, "bytes of new results only");
        for (size_t i = 0; i < 5; i++) {
            CHECK(batch.results[i] == batch.sources[i], "the result is the source");
        }
        CHECK(batch.results[7] != batch.results[8] &&
                  same_result(batch.results[7], batch.results[8]),
              "the same source twice");
        for (size_t i = 0; i < batch.n; i++) {
            lathe_tensor_release(batch.results[i]);
        }
    }
    expect_all();
    free_all();
}

/* Results live as long as they are held, whatever becomes of the others and of the engine. */
Test(batch, results_share_blocks) {
    test_rng rng = {78};
    lathe_engine *engine = NULL;
    lathe_pool *own = NULL;
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_create(NULL, &own));
    const lathe_config config = {.struct_size = sizeof config, .pool = own, .n_threads = 2};
    CHECK_OK(lathe_engine_create(&config, &engine));
    CHECK_OK(lathe_pool_get_stats(own, &stats));
    const uint64_t n_before = stats.n_live;
    add_alike(&rng, 300, LATHE_F16);
    expect_all();
    CHECK_OK(lathe_convert_batch(engine, batch.n, batch.sources, batch.targets, 1, NULL,
                                 batch.results, NULL, NULL));
    CHECK_OK(lathe_pool_get_stats(own, &stats));
    CHECK(stats.n_live - n_before == 1, "%d blocks", (int)(stats.n_live - n_before));
    for (size_t i = 0; i < batch.n; i++) {
        if (i != 123) {
            lathe_tensor_release(batch.results[i]);
        }
    }
    CHECK_OK(lathe_pool_get_stats(own, &stats));
    CHECK(stats.n_live - n_before == 1, "one tensor keeps the block");
    lathe_engine_free(engine);
    const lathe_error ok = {.status = LATHE_OK};
    check_one(123, 0, batch.results[123], &ok);
    lathe_tensor_release(batch.results[123]);
    CHECK_OK(lathe_pool_get_stats(own, &stats));
    CHECK(stats.n_live == 0, "%d blocks are left", (int)stats.n_live);
    lathe_pool_release(own);
    free_all();
}

/* ---- options */

typedef struct receiver {
    size_t n_calls;
    size_t cancel_at;
    size_t engine;
    lathe_pool *own;
    uint64_t most_in_use;
    bool is_in_order;
} receiver;

static int receive(void *ctx, size_t index, lathe_tensor *result, const lathe_error *error) {
    receiver *r = ctx;
    const lathe_error ok = {.status = LATHE_OK};
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    r->is_in_order = r->is_in_order && index == r->n_calls;
    if (r->own != NULL) {
        CHECK_OK(lathe_pool_get_stats(r->own, &stats));
        r->most_in_use = stats.in_use_bytes > r->most_in_use ? stats.in_use_bytes : r->most_in_use;
    }
    check_one(index, r->engine, result, error != NULL ? error : &ok);
    lathe_tensor_release(result);
    return ++r->n_calls > r->cancel_at;
}

Test(batch, rounds_and_what_they_hold) {
    test_rng rng = {79};
    lathe_pool *own = NULL;
    lathe_engine *engine = NULL;
    lathe_pool_stats pool_stats = {.struct_size = sizeof pool_stats};
    CHECK_OK(lathe_pool_create(NULL, &own));
    const lathe_config config = {.struct_size = sizeof config,
                                 .pool = own,
                                 .n_threads = 2,
                                 .batch = {.max_bytes = UINT64_C(10) * 64 * 64 * 2}};
    CHECK_OK(lathe_engine_create(&config, &engine));
    add_alike(&rng, 100, LATHE_F16);
    put(&batch.cases[50], 5, 0x7fc00000u);
    expect_all();
    for (int k = 0; k < 3; k++) {
        receiver r = {.own = own, .cancel_at = SIZE_MAX, .is_in_order = true};
        lathe_batch_stats stats = {.struct_size = sizeof stats};
        const lathe_batch_options options = {
            .struct_size = sizeof options,
            .limits = {.max_tensors = k == 1 ? 7 : 0, .max_bytes = k == 2 ? UINT64_MAX : 0},
            .on_result = receive,
            .ctx = &r,
        };
        CHECK_OK(lathe_pool_get_stats(own, &pool_stats));
        uint64_t before = pool_stats.in_use_bytes;
        CHECK_OK(lathe_convert_batch(engine, batch.n, batch.sources, batch.targets, 1, &options,
                                     NULL, NULL, &stats));
        const uint64_t rounds[] = {10, 15, 1};
        CHECK(stats.n_rounds == rounds[k] && r.n_calls == batch.n && r.is_in_order,
              "%d rounds, %zu calls", (int)stats.n_rounds, r.n_calls);
        /* Ten results and their structs, the batch's records, and what the pool rounds up by. */
        bool is_bounded = r.most_in_use - before < UINT64_C(170000);
        CHECK(is_bounded == (k != 2), "%d bytes at once", (int)(r.most_in_use - before));
        CHECK_OK(lathe_pool_get_stats(own, &pool_stats));
        CHECK(pool_stats.in_use_bytes == before, "something is left");
    }
    lathe_engine_free(engine);
    lathe_pool_release(own);
    free_all();
}

Test(batch, a_larger_result_has_a_round_of_its_own) {
    test_rng rng = {80};
    const shape_option large = {1, {5000}};
    const lathe_target target = target_of(LATHE_F16, layout_options, 0);
    add_alike(&rng, 3, LATHE_F16);
    add(&large, layout_options, TEST_DATA_NORMAL, &rng, LATHE_F32, &target);
    add_alike(&rng, 3, LATHE_F16);
    expect_all();
    const lathe_batch_options options = {.struct_size = sizeof options,
                                         .limits = {.max_bytes = UINT64_C(8192)}};
    lathe_batch_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_convert_batch(engines[0], batch.n, batch.sources, batch.targets, batch.n,
                                 &options, batch.results, batch.errors, &stats));
    CHECK(stats.n_rounds == 7, "%d rounds", (int)stats.n_rounds);
    for (size_t i = 0; i < batch.n; i++) {
        check_one(i, 0, batch.results[i], &batch.errors[i]);
        lathe_tensor_release(batch.results[i]);
    }
    free_all();
}

Test(batch, a_callback_cancels) {
    test_rng rng = {81};
    add_alike(&rng, 40, LATHE_F16);
    expect_all();
    for (size_t engine = 0; engine < n_engines; engine++) {
        receiver r = {.cancel_at = 12, .engine = engine, .is_in_order = true};
        lathe_batch_stats stats = {.struct_size = sizeof stats};
        const lathe_batch_options options = {.struct_size = sizeof options,
                                             .limits = {.max_tensors = 10},
                                             .on_result = receive,
                                             .ctx = &r};
        CHECK_STATUS(lathe_convert_batch(engines[engine], batch.n, batch.sources, batch.targets, 1,
                                         &options, NULL, batch.errors, &stats),
                     LATHE_CANCELLED);
        CHECK(r.n_calls == 13 && stats.n_rounds == 2 && stats.n_converted == 13 &&
                  stats.n_failed == 27,
              "%zu calls, %d converted", r.n_calls, (int)stats.n_converted);
        for (size_t i = 0; i < batch.n; i++) {
            CHECK(batch.errors[i].status == (i < 13 ? LATHE_OK : LATHE_CANCELLED), "tensor %zu", i);
        }
    }
    free_all();
}

/* Results of a round lie in the order in which it works. */
static bool lies_before(size_t a, size_t b) {
    return lathe_tensor_data(batch.results[a]) < lathe_tensor_data(batch.results[b]);
}

Test(batch, the_order_of_the_work) {
    test_rng rng = {82};
    const lathe_target to_f16 = target_of(LATHE_F16, layout_options, 0);
    const lathe_target to_bf16 = target_of(LATHE_BF16, layout_options, 0);
    const shape_option small = {1, {100}};
    const shape_option large = {1, {9000}};
    add(&small, layout_options, TEST_DATA_NORMAL, &rng, LATHE_F32, &to_f16);
    add(&small, layout_options, TEST_DATA_NORMAL, &rng, LATHE_F32, &to_bf16);
    add(&large, layout_options, TEST_DATA_NORMAL, &rng, LATHE_F32, &to_f16);
    expect_all();
    for (int k = 0; k < 4; k++) {
        const lathe_batch_options options = {
            .struct_size = sizeof options,
            .limits = {.group = k % 2 == 0 ? LATHE_ON : LATHE_OFF,
                       .sort_by_size = k / 2 == 0 ? LATHE_ON : LATHE_OFF},
        };
        CHECK_OK(lathe_convert_batch(engines[0], batch.n, batch.sources, batch.targets, batch.n,
                                     &options, batch.results, NULL, NULL));
        CHECK(lies_before(2, 0) == (k < 2), "%d: the largest of a kernel first", k);
        CHECK(lies_before(2, 1) == (k != 3), "%d: what is of the same kernel follows", k);
        CHECK(lies_before(0, 1), "%d", k);
        for (size_t i = 0; i < batch.n; i++) {
            lathe_tensor_release(batch.results[i]);
        }
    }
    free_all();
}

#ifndef TEST_OPENCL
Test(batch, parallel_or_one_at_a_time) {
    test_rng rng = {83};
    add_alike(&rng, 50, LATHE_F16);
    expect_all();
    for (int k = 0; k < 2; k++) {
        const lathe_batch_options options = {
            .struct_size = sizeof options,
            .limits = {.parallel = k == 0 ? LATHE_ON : LATHE_OFF},
        };
        uint64_t n_calls = executor.n_calls;
        check_batch(n_engines - 1, &options); /* the one with the executor */
        CHECK((executor.n_calls > n_calls) == (k == 0), "%d: %d calls", k,
              (int)(executor.n_calls - n_calls));
    }
    free_all();
}
#endif

/* ---- arguments */

Test(batch, what_is_refused) {
    test_rng rng = {84};
    add_alike(&rng, 3, LATHE_F16);
    lathe_engine *e = engines[0];
    lathe_batch_options options = {.struct_size = sizeof options};
    lathe_batch_stats stats = {.struct_size = 1};
    lathe_tensor *const untouched = (lathe_tensor *)(void *)&pool;
    volatile int number = 3;
    for (size_t i = 0; i < batch.n; i++) {
        batch.results[i] = untouched;
    }
#define REFUSED(...) CHECK_STATUS(lathe_convert_batch(__VA_ARGS__), LATHE_INVALID_ARGUMENT)
    REFUSED(NULL, 3, batch.sources, batch.targets, 1, NULL, batch.results, NULL, NULL);
    REFUSED(e, 3, NULL, batch.targets, 1, NULL, batch.results, NULL, NULL);
    REFUSED(e, 3, batch.sources, NULL, 1, NULL, batch.results, NULL, NULL);
    REFUSED(e, 3, batch.sources, batch.targets, 2, NULL, batch.results, NULL, NULL);
    REFUSED(e, 3, batch.sources, batch.targets, 0, NULL, batch.results, NULL, NULL);
    REFUSED(e, 3, batch.sources, batch.targets, 1, NULL, NULL, NULL, NULL);
    REFUSED(e, 3, batch.sources, batch.targets, 1, NULL, batch.results, NULL, &stats);
    options.limits.group = (lathe_toggle)number;
    REFUSED(e, 3, batch.sources, batch.targets, 1, &options, batch.results, NULL, NULL);
    options = (lathe_batch_options){.struct_size = 3};
    REFUSED(e, 3, batch.sources, batch.targets, 1, &options, batch.results, NULL, NULL);
#undef REFUSED
    options = (lathe_batch_options){.struct_size = sizeof options, .on_result = receive};
    CHECK_STATUS(lathe_convert_batch_into(e, 3, batch.sources, batch.targets, 1, &options,
                                          batch.results, NULL, NULL),
                 LATHE_INVALID_ARGUMENT);
    for (size_t i = 0; i < batch.n; i++) {
        CHECK(batch.results[i] == untouched, "an error touched the results");
    }
    CHECK_OK(lathe_convert_batch(e, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL));
    CHECK_OK(lathe_convert_batch_into(e, 0, NULL, NULL, 1, NULL, NULL, NULL, NULL));
    const lathe_tensor_desc bad = {.struct_size = 2};
    CHECK_STATUS(lathe_engine_tensors_create(e, LATHE_MEMORY_HOST, 1, &bad, batch.results),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_engine_tensors_create(e, (lathe_memory)number, 0, NULL, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_engine_tensors_create(NULL, LATHE_MEMORY_HOST, 0, NULL, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_engine_tensors_create(e, LATHE_MEMORY_HOST, 0, NULL, NULL));
    expect_all();
    free_all();
}

/* ---- memory that cannot be had */

/* A batch of a bit of everything; large tensors go as they do outside of batches. */
static void add_bits(test_rng *rng, bool with_large) {
    const shape_option shapes[] = {
        {2, {64, 64}}, {1, {0}}, {1, {with_large ? 300000 : 30000}}, {2, {5, 33}}};
    const lathe_dtype to[] = {LATHE_F16, LATHE_I8, LATHE_F32};
    for (size_t i = 0; i < 24; i++) {
        const lathe_target target = target_of(to[i % 3], &layout_options[i % 2], 0);
        add(&shapes[i % 4], layout_options, TEST_DATA_NORMAL, rng, LATHE_F32, &target);
    }
    put(&batch.cases[4], 5, 0x7fc00000u);
}

/* Every tensor has its bytes, its own error, or not enough memory. */
static void check_or_short(lathe_status status) {
    for (size_t i = 0; i < batch.n; i++) {
        if (batch.errors[i].status == LATHE_INSUFFICIENT_MEMORY) {
            CHECK(batch.results[i] == NULL && status != LATHE_OK, "a failure has a result");
        } else {
            /* The error's details may have found no memory. */
            bool is_bare = batch.errors[i].status == batch.expected[i].status &&
                           strstr(batch.errors[i].message, "no memory for the details") != NULL;
            if (batch.expected[i].status == LATHE_OK || !is_bare) {
                check_one(i, 0, batch.results[i], &batch.errors[i]);
            }
        }
        lathe_tensor_release(batch.results[i]);
    }
}

static void check_allocations(lathe_config config) {
    for (uint64_t at = 0;; at++) {
        test_allocator allocator;
        lathe_engine *engine = NULL;
        test_allocator_init(&allocator);
        config.allocator = &allocator.interface;
        CHECK_OK(lathe_engine_create(&config, &engine));
        test_allocator_reset(&allocator, at);
        allocator.fail_ever_after = at % 2 == 1;
        for (size_t i = 0; i < batch.n; i++) {
            batch.results[i] = NULL;
            batch.errors[i] = (lathe_error){.status = LATHE_INSUFFICIENT_MEMORY};
        }
        lathe_status status = lathe_convert_batch(engine, batch.n, batch.sources, batch.targets,
                                                  batch.n, NULL, batch.results, batch.errors, NULL);
        bool is_over = allocator.n_calls <= at;
        test_allocator_reset(&allocator, UINT64_MAX);
        check_or_short(status);
        lathe_engine_free(engine);
        CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks are left",
              (int)allocator.n_live);
        if (is_over) {
            CHECK(status == LATHE_NON_FINITE, "the last attempt: %s", lathe_status_name(status));
            break;
        }
    }
}

Test(batch, every_allocation_may_fail) {
    test_rng rng = {85};
    add_bits(&rng, true);
    expect_all();
#ifdef TEST_OPENCL
    lathe_config config = test_opencl_config();
    config.require_device = 0;
#else
    lathe_config config = {.struct_size = sizeof config, .n_threads = 2};
#endif
    check_allocations(config);
    free_all();
}

#ifdef TEST_OPENCL
/* Every OpenCL call of a batch may fail: the CPU does the rest. Every other one on a device that
 * shares the host's memory, the others on one with its own. */
Test(batch, every_call_may_fail) {
    const test_cl_layer *layer = test_cl_layer_find();
    test_rng rng = {86};
    lathe_config config = test_opencl_config();
    config.require_device = 0;
    if (layer == NULL) {
        return;
    }
    add_bits(&rng, false);
    expect_all();
    for (int has_own_memory = 0; has_own_memory < 2; has_own_memory++) {
        lathe_engine *engine = NULL;
        CHECK_OK(test_opencl_engine(&config, has_own_memory != 0, layer, &engine));
        uint64_t at = 1 + (uint64_t)has_own_memory;
        for (bool is_over = false; !is_over; at += 2) {
            const test_cl_faults faults = {.at = at, .ever_after = at % 3 == 0};
            layer->set_faults(&faults);
            lathe_status status =
                lathe_convert_batch(engine, batch.n, batch.sources, batch.targets, batch.n, NULL,
                                    batch.results, batch.errors, NULL);
            is_over = layer->n_calls() < at;
            layer->stop_faults();
            CHECK(status == LATHE_NON_FINITE, "call %d: %s", (int)at, lathe_last_error()->message);
            for (size_t i = 0; i < batch.n; i++) {
                check_one(i, 1, batch.results[i], &batch.errors[i]);
                lathe_tensor_release(batch.results[i]);
            }
        }
        CHECK(at > 20, "a batch makes more than %d calls", (int)at);
        lathe_engine_free(engine);
    }
    free_all();
}
#endif
