/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/in_place.h: how memory is counted and given back, and what is recorded. */
#include "in_place_case.h"

TestSuite(in_place, .init = setup_engines, .fini = teardown_engines);

/* ---- memory */

static lathe_pool_stats stats_of(lathe_pool *of) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(of, &stats));
    return stats;
}

/* A tensor of the engine's pool takes its result's scales of it, and gives back what is left over,
 * down to the 256 KiB that a mapping has at least. */
Test(in_place, memory_is_counted) {
    static const shape_option shape = {2, {512, 2048}};
    static const size_t kept[] = {
        [LATHE_F16] = 2 << 20,        [LATHE_BF16] = 2 << 20, [LATHE_I8] = 1 << 20,
        [LATHE_I4] = 512 << 10,       [LATHE_I2] = 256 << 10, [LATHE_I1] = 256 << 10,
        [LATHE_BITNET158] = 256 << 10};
    for (int to = LATHE_F16; to <= LATHE_BITNET158; to++) {
        lathe_pool *own = NULL;
        lathe_engine *engine = NULL;
        lathe_tensor *tensor = NULL;
        CHECK_OK(lathe_pool_create(NULL, &own));
        CHECK_OK(lathe_engine_create(
            &(lathe_config){
                .struct_size = sizeof(lathe_config), .pool = own, .device = "cpu", .n_threads = 3},
            &engine));
        lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
        lathe_target target = target_of((lathe_dtype)to, &layout_options[1], 0);
        CHECK_OK(lathe_tensor_create(own, &desc, &tensor));
        memset(lathe_tensor_mutable_data(tensor), 0, (size_t)lathe_tensor_n_bytes(tensor));
        lathe_pool_stats before = stats_of(own);
        CHECK_OK(lathe_convert_in_place(engine, tensor, &target, NULL));
        lathe_pool_stats after = stats_of(own);
        uint64_t scale_bytes = lathe_tensor_n_scales(tensor) * sizeof(float);
        uint64_t peak = after.peak_in_use_bytes - before.in_use_bytes;
        /* Statistics take one double for each of the 512 scopes, given back by now. */
        uint64_t stats_bytes = scale_bytes > 0 ? 512 * sizeof(double) : 0;
        CHECK(peak <= scale_bytes + stats_bytes, "%d more bytes", (int)peak);
        CHECK(lathe_tensor_capacity(tensor) == kept[to], "%s keeps %zu bytes",
              lathe_dtype_name((lathe_dtype)to), (size_t)lathe_tensor_capacity(tensor));
        CHECK(after.in_use_bytes == before.in_use_bytes - (4 << 20) + kept[to] + scale_bytes,
              "%s: %lld bytes in use", lathe_dtype_name((lathe_dtype)to),
              (long long)after.in_use_bytes);
        CHECK(after.requested_bytes ==
                  before.requested_bytes - (4 << 20) + lathe_tensor_n_bytes(tensor) + scale_bytes,
              "requested");
        lathe_tensor_release(tensor);
        CHECK(stats_of(own).in_use_bytes < before.in_use_bytes, "released");
        lathe_tensor_desc small = desc_of(LATHE_F16, &shape, layout_options, 0);
        CHECK_OK(lathe_tensor_create(own, &small, &tensor)); /* what was cut fits nothing larger */
        memset(lathe_tensor_mutable_data(tensor), 1, (size_t)lathe_tensor_n_bytes(tensor));
        lathe_tensor_release(tensor);
        lathe_engine_free(engine);
        lathe_pool_release(own);
    }
}

static void count_free(void *ctx, void *data, float *scales) {
    void **seen = ctx;
    CHECK(seen[0] == data && seen[1] == scales, "other pointers are freed");
    seen[2] = seen;
}

/* Whoever wrapped memory gets back what was wrapped, whatever the tensor has become. */
Test(in_place, wrapped_memory_is_freed_as_it_was) {
    static const shape_option shape = {2, {10, 100}};
    lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    uint8_t bytes[4000] = {1, 2, 3};
    float scales[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    void *seen[3] = {bytes, scales, NULL};
    lathe_tensor *tensor = NULL;
    static const lathe_dtype steps[] = {LATHE_I4, LATHE_F32, LATHE_I1, LATHE_BF16};
    CHECK_OK(lathe_tensor_wrap(pool, &desc, bytes, scales, 0, count_free, seen, &tensor));
    CHECK_OK(lathe_tensor_set_capacity(tensor, sizeof bytes));
    for (size_t i = 0; i < 4; i++) {
        lathe_target target = target_of(steps[i], &layout_options[i % 3], 0);
        CHECK_OK(lathe_convert_in_place(engines[i % n_engines], tensor, &target, NULL));
    }
    CHECK(seen[2] == NULL && scales[9] == 10, "the scales that were wrapped");
    lathe_tensor_release(tensor);
    CHECK(seen[2] != NULL, "not freed");
}

/* Every allocation that a conversion makes fails once. */
Test(in_place, no_memory) {
    static const shape_option shape = {2, {20, 1500}};
    test_allocator allocator;
    test_rng rng = {45};
    test_allocator_init(&allocator);
    for (int from = LATHE_F32; from <= LATHE_BITNET158; from++) {
        int to = from % 8 + 1;
        lathe_engine *engine = NULL;
        lathe_config config = {.struct_size = sizeof config,
                               .device = "cpu",
                               .n_threads = 2,
                               .allocator = &allocator.interface};
        CHECK_OK(lathe_engine_create(&config, &engine));
        lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shape, &layout_options[2], 0);
        lathe_target target = target_of((lathe_dtype)to, &layout_options[to % 3], 0);
        convert_case c = case_new(&desc, 0);
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
        oracle_result expected;
        oracle_convert(&c.from, c.bytes, c.scales, &target, &expected);
        lathe_pool *kept = pool;
        lathe_status status = LATHE_INSUFFICIENT_MEMORY;
        for (uint64_t fail_at = 0; status != LATHE_OK; fail_at++) {
            CHECK(fail_at < 100, "allocations without end");
            pool = lathe_engine_pool(engine);
            placed p = place(&c, expected.layout.n_bytes, false);
            (void)lathe_pool_trim(pool, 0);
            test_allocator_reset(&allocator, fail_at);
            status = lathe_convert_in_place(engine, p.tensor, &target, NULL);
            test_allocator_reset(&allocator, UINT64_MAX);
            if (status != LATHE_OK) {
                CHECK(status == LATHE_INSUFFICIENT_MEMORY, "%s", lathe_status_name(status));
                check_untouched(&c, &target, 0, &p);
            } else {
                check_contents(&c, &target, 0, &expected, p.bytes, lathe_tensor_scales(p.tensor));
            }
            remove_placed(&p);
        }
        pool = kept;
        oracle_result_free(&expected);
        case_free(&c);
        lathe_engine_free(engine);
        CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks are left",
              (int)allocator.n_live);
    }
}

/* ---- metrics and reports */

Test(in_place, what_was_done_is_recorded) {
    static const shape_option shape = {1, {1000}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    lathe_target target = target_of(LATHE_I4, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {46};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    lathe_quality_report in_place = {.struct_size = sizeof in_place};
    lathe_quality_report apart = {.struct_size = sizeof apart};
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &in_place};
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, NULL));
    CHECK_OK(lathe_tensor_compare(engines[0], c.tensor, result, &apart));
    placed p = place(&c, 0, false);
    CHECK_OK(lathe_convert_in_place(engines[0], p.tensor, &target, &stats));
    CHECK(memcmp(&in_place, &apart, sizeof apart) == 0, "the reports differ");
    lathe_metrics metrics = {.struct_size = sizeof metrics};
    CHECK_OK(lathe_engine_metrics(engines[0], &metrics));
    const lathe_metrics_group *group = &metrics.by_strategy[LATHE_STRATEGY_IN_PLACE];
    CHECK(group->n_done == 1 && group->n_failed == 0 && group->src_bytes == 4000 &&
              group->dst_bytes == 504,
          "%d done, %d bytes", (int)group->n_done, (int)group->dst_bytes);
    CHECK_STATUS(lathe_convert_in_place(engines[0], c.tensor, &target, NULL), LATHE_READ_ONLY);
    CHECK_OK(lathe_engine_metrics(engines[0], &metrics));
    CHECK(group->n_failed == 1, "a failure is recorded");
    lathe_tensor_release(result);
    remove_placed(&p);
    case_free(&c);
}
