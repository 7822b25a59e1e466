/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of batches: what their results share, rounds and their limits, the order of the work, what
 * is refused, and memory or OpenCL calls that fail. */
#include "batch_case.h"

TestSuite(batch, .init = setup_engines, .fini = teardown_engines);

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
        CHECK(batch.results[7] != batch.results[8] && test_same(batch.results[7], batch.results[8]),
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
        CHECK((uintptr_t)batch.results[i] % 64 == 0, "struct %zu does not begin a line", i);
    }
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

/* Blocks of many tensors are huge pages, no more and no less: a few kilobytes more would lie in
 * small ones. */
Test(batch, blocks_are_huge_pages) {
    enum { N = 1300, BLOCK_BYTES = 4 << 20 };
    const uint64_t shape[] = {64, 64};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F16, .n_dims = 2, .shape = shape};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F32};
    static lathe_tensor_desc descs[N];
    static lathe_tensor *sources[N];
    static lathe_tensor *results[N];
    lathe_engine *engine = NULL;
    lathe_pool *own = NULL;
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_create(NULL, &own));
    const lathe_config config = {
        .struct_size = sizeof config, .pool = own, .n_threads = 2, .device = "cpu"};
    CHECK_OK(lathe_engine_create(&config, &engine));
    CHECK_OK(lathe_pool_get_stats(own, &stats));
    const uint64_t n_before = stats.n_live;
    const uint64_t in_use_before = stats.in_use_bytes;
    for (size_t i = 0; i < N; i++) {
        descs[i] = desc;
    }
    CHECK_OK(lathe_engine_tensors_create(engine, LATHE_MEMORY_HOST, N, descs, sources));
    for (size_t i = 0; i < N; i++) {
        memset(lathe_tensor_mutable_data(sources[i]), 0, (size_t)lathe_tensor_n_bytes(sources[i]));
    }
    CHECK_OK(lathe_convert_batch(engine, N, sources, &target, 1, NULL, results, NULL, NULL));
    CHECK_OK(lathe_pool_get_stats(own, &stats));
    const uint64_t n_blocks = stats.n_live - n_before;
    CHECK(n_blocks == 3 + 6, "%d blocks", (int)n_blocks); /* of 8 KiB and of 16 KiB */
    CHECK(stats.in_use_bytes - in_use_before <= n_blocks * BLOCK_BYTES, "a block is larger");
    for (size_t i = 0; i < N; i++) {
        lathe_tensor_release(sources[i]);
        lathe_tensor_release(results[i]);
    }
    lathe_engine_free(engine);
    lathe_pool_release(own);
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
