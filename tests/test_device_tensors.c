/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of device and pinned tensors: making, copying, mapping and converting them, on the CPU, on
 * the OpenCL device, and on one with its own memory; and what is refused. Built with TEST_OPENCL.
 */
#include "convert_case.h"

TestSuite(device_tensors, .init = setup_engines, .fini = teardown_engines);

static lathe_tensor *make(size_t engine, lathe_memory memory, const lathe_tensor_desc *desc) {
    lathe_tensor *tensor = NULL;
    CHECK_OK(lathe_engine_tensor_create(engines[engine], memory, desc, &tensor));
    return tensor;
}

static lathe_tensor *to_device(const convert_case *c, size_t engine, lathe_memory memory) {
    lathe_tensor *tensor = make(engine, memory, &c->from);
    CHECK_OK(lathe_tensor_copy(engines[engine], c->tensor, tensor));
    return tensor;
}

static void check_host_copy(const convert_case *c, const lathe_target *target, size_t engine,
                            const oracle_result *expected, const lathe_tensor *tensor) {
    lathe_tensor_desc desc;
    lathe_tensor *host = NULL;
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &desc));
    CHECK_OK(lathe_tensor_create(pool, &desc, &host));
    CHECK_OK(lathe_tensor_copy(engines[engine], tensor, host));
    check_contents(c, target, engine, expected, lathe_tensor_data(host), lathe_tensor_scales(host));
    lathe_tensor_release(host);
}

/* From and to every kind of memory. */
static void check_memories(const convert_case *c, const lathe_target *target) {
    oracle_result expected;
    lathe_tensor_desc desc;
    oracle_convert(&c->from, c->bytes, c->scales, target, &expected);
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &desc));
    for (size_t engine = 0; engine < n_engines; engine++) {
        for (int from = LATHE_MEMORY_HOST; from <= LATHE_MEMORY_DEVICE; from++) {
            lathe_tensor *source = to_device(c, engine, (lathe_memory)from);
            lathe_tensor *made = NULL;
            lathe_status status = lathe_convert(engines[engine], source, target, &made, NULL);
            check_error(c, target, engine, &expected, status);
            if (status == LATHE_OK) {
                CHECK(lathe_tensor_memory(made) == lathe_tensor_memory(source) ||
                          lathe_tensor_memory(source) != LATHE_MEMORY_DEVICE,
                      "a device tensor gives a device tensor");
                check_host_copy(c, target, engine, &expected, made);
                lathe_tensor_release(made);
            }
            for (int to = LATHE_MEMORY_HOST; to <= LATHE_MEMORY_DEVICE; to++) {
                lathe_tensor *result = make(engine, (lathe_memory)to, &desc);
                status = lathe_convert_into(engines[engine], source, target, result, NULL);
                check_error(c, target, engine, &expected, status);
                if (status == LATHE_OK) {
                    check_host_copy(c, target, engine, &expected, result);
                }
                lathe_tensor_release(result);
            }
            lathe_tensor_release(source);
        }
    }
    oracle_result_free(&expected);
}

static void check_pairs(const shape_option *shape, lathe_dtype from, uint64_t seed) {
    test_rng rng = {seed};
    for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
        lathe_tensor_desc desc = desc_of(from, shape, &layout_options[seed % N_LAYOUTS], 0);
        convert_case c = case_new(&desc, 1);
        test_fill_tensor(&rng, &desc, (test_data)test_random_below(&rng, TEST_DATA_COUNT), c.bytes,
                         c.scales);
        lathe_target target =
            target_of((lathe_dtype)to, &layout_options[(seed + (uint64_t)to) % N_LAYOUTS], 0);
        target.quality = to % 2 == 0 ? LATHE_FAST : LATHE_BALANCED;
        check_memories(&c, &target);
        target.nonfinite = LATHE_NONFINITE_SATURATE;
        target.strict = 1;
        check_memories(&c, &target);
        case_free(&c);
    }
}

Test(device_tensors, every_pair_between_all_memories) {
    static const shape_option shapes[] = {{2, {3, 100}}, {1, {9001}}, {2, {5, 4097}}};
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        check_pairs(&shapes[from % 3], (lathe_dtype)from, (uint64_t)from);
    }
}

Test(device_tensors, sizes_without_elements) {
    static const shape_option shapes[] = {{0, {0}}, {1, {0}}, {2, {0, 5}}, {2, {3, 0}}, {1, {1}}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check_pairs(&shapes[i], LATHE_F32, 40 + i);
        check_pairs(&shapes[i], LATHE_I4, 50 + i);
    }
}

/* ---- copying and mapping */

Test(device_tensors, copies_between_all_memories) {
    static const shape_option shape = {2, {7, 333}};
    test_rng rng = {60};
    for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
        lathe_tensor_desc desc = desc_of((lathe_dtype)dtype, &shape, &layout_options[1], 0);
        convert_case c = case_new(&desc, 3);
        test_fill_tensor(&rng, &desc, TEST_DATA_NONFINITE, c.bytes, c.scales);
        for (size_t engine = 0; engine < n_engines; engine++) {
            for (int i = 0; i < 9; i++) {
                lathe_tensor *first = to_device(&c, engine, (lathe_memory)(i / 3));
                lathe_tensor *second = make(engine, (lathe_memory)(i % 3), &desc);
                lathe_tensor *host = make(engine, LATHE_MEMORY_HOST, &desc);
                CHECK_OK(lathe_tensor_copy(engines[engine], first, second));
                CHECK_OK(lathe_tensor_copy(engines[engine], second, host));
                CHECK(test_same(host, c.tensor), "%s, %d", lathe_dtype_name(desc.dtype), i);
                lathe_tensor_release(first);
                lathe_tensor_release(second);
                lathe_tensor_release(host);
            }
        }
        case_free(&c);
    }
}

Test(device_tensors, a_map_reads_and_writes) {
    static const shape_option shape = {2, {6, 321}};
    test_rng rng = {61};
    const lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    convert_case c = case_new(&desc, 3);
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    for (size_t engine = 1; engine < n_engines; engine++) {
        lathe_engine *on = engines[engine];
        lathe_tensor *tensor = make(engine, LATHE_MEMORY_DEVICE, &desc);
        CHECK(lathe_tensor_memory(tensor) == LATHE_MEMORY_DEVICE, "where it is");
        CHECK(lathe_tensor_data(tensor) == NULL && lathe_tensor_mutable_data(tensor) == NULL,
              "not mapped");
        CHECK_OK(lathe_tensor_map(on, tensor, true));
        CHECK(lathe_tensor_mutable_data(tensor) != NULL &&
                  lathe_tensor_mutable_scales(tensor) != NULL,
              "mapped");
        memcpy(lathe_tensor_mutable_data(tensor), c.bytes, (size_t)c.layout.n_bytes);
        memcpy(lathe_tensor_mutable_scales(tensor), c.scales,
               (size_t)c.layout.n_scales * sizeof(float));
        CHECK_OK(lathe_tensor_unmap(on, tensor));
        CHECK(lathe_tensor_data(tensor) == NULL, "not mapped any more");
        lathe_target target = target_of(LATHE_F32, layout_options, 0);
        lathe_tensor *decoded = NULL;
        lathe_tensor *expected = NULL;
        CHECK_OK(lathe_convert(on, tensor, &target, &decoded, NULL));
        CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &expected, NULL));
        CHECK_OK(lathe_tensor_map(on, decoded, false));
        CHECK(lathe_tensor_mutable_data(decoded) == NULL, "mapped for reading");
        CHECK(test_same(decoded, expected), "other bytes");
        CHECK_OK(lathe_tensor_validate(decoded));
        CHECK_OK(lathe_tensor_unmap(on, decoded));
        /* A map for reading and writing keeps what is not written. */
        CHECK_OK(lathe_tensor_map(on, tensor, true));
        ((uint8_t *)lathe_tensor_mutable_data(tensor))[5] ^= 1;
        CHECK_OK(lathe_tensor_unmap(on, tensor));
        CHECK_OK(lathe_tensor_map(on, tensor, false));
        c.bytes[5] ^= 1;
        CHECK(test_same(tensor, c.tensor), "the map lost something");
        c.bytes[5] ^= 1;
        CHECK_OK(lathe_tensor_unmap(on, tensor));
        lathe_tensor_release(tensor);
        lathe_tensor_release(decoded);
        lathe_tensor_release(expected);
    }
    case_free(&c);
}

Test(device_tensors, tensors_outlive_their_engine) {
    static const shape_option shape = {2, {6, 321}};
    const lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    const lathe_config config = test_opencl_config();
    lathe_engine *engine = NULL;
    lathe_tensor *tensors[2] = {NULL, NULL};
    CHECK_OK(lathe_engine_create(&config, &engine));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(lathe_engine_tensor_create(
            engine, i == 0 ? LATHE_MEMORY_DEVICE : LATHE_MEMORY_PINNED, &desc, &tensors[i]));
    }
    lathe_engine_free(engine);
    CHECK(lathe_tensor_n_elems(tensors[0]) == UINT64_C(6) * 321, "the tensor lives");
    memset(lathe_tensor_mutable_data(tensors[1]), 1, (size_t)lathe_tensor_n_bytes(tensors[1]));
    lathe_tensor_release(tensors[0]);
    lathe_tensor_release(tensors[1]);
}

/* ---- what is refused */

Test(device_tensors, what_is_refused) {
    static const shape_option shape = {2, {6, 320}};
    static const shape_option other_shape = {2, {320, 6}};
    const lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    const lathe_tensor_desc turned = desc_of(LATHE_F32, &other_shape, layout_options, 0);
    const lathe_tensor_desc codes = desc_of(LATHE_I8, &shape, layout_options, 0);
    const lathe_target target = target_of(LATHE_I8, layout_options, 0);
    lathe_tensor *result = NULL;
    volatile int number = 3;
    for (size_t engine = 1; engine < n_engines; engine++) {
        lathe_engine *on = engines[engine];
        lathe_tensor *tensor = make(engine, LATHE_MEMORY_DEVICE, &desc);
        lathe_tensor *wrong[] = {make(engine, LATHE_MEMORY_DEVICE, &turned),
                                 make(engine, LATHE_MEMORY_DEVICE, &codes)};
        for (size_t i = 0; i < 2; i++) {
            CHECK_STATUS(lathe_tensor_copy(on, tensor, wrong[i]), LATHE_INCOMPATIBLE_TYPES);
        }
        CHECK_STATUS(lathe_convert_into(on, tensor, &target, wrong[0], NULL),
                     LATHE_INCOMPATIBLE_TYPES);
        CHECK_STATUS(lathe_tensor_unmap(on, tensor), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_tensor_validate(wrong[1]), LATHE_INVALID_ARGUMENT);
        CHECK_OK(lathe_tensor_map(on, tensor, false));
        CHECK_STATUS(lathe_tensor_map(on, tensor, false), LATHE_INVALID_ARGUMENT);
        CHECK_OK(lathe_tensor_unmap(on, tensor));
        CHECK_STATUS(lathe_tensor_unmap(on, tensor), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_tensor_map(on, NULL, false), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_tensor_map(NULL, tensor, false), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_tensor_copy(on, NULL, tensor), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_tensor_copy(on, tensor, NULL), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_tensor_copy(NULL, tensor, tensor), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_engine_tensor_create(on, (lathe_memory)number, &desc, &result),
                     LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_engine_tensor_create(on, LATHE_MEMORY_DEVICE, NULL, &result),
                     LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_engine_tensor_create(on, LATHE_MEMORY_DEVICE, &desc, NULL),
                     LATHE_INVALID_ARGUMENT);
        CHECK(result == NULL, "an error gave a tensor");
        lathe_tensor_release(tensor);
        lathe_tensor_release(wrong[0]);
        lathe_tensor_release(wrong[1]);
    }
}

/* An engine that cannot reach a tensor refuses it or goes through the host: never other bytes. */
Test(device_tensors, tensors_of_another_engine) {
    static const shape_option shape = {2, {6, 320}};
    const lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    const lathe_target target = target_of(LATHE_I8, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {62};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    lathe_tensor *expected = NULL;
    CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &expected, NULL));
    for (size_t i = 0; i < n_engines * n_engines; i++) {
        const size_t own = i / n_engines;
        const size_t other = i % n_engines;
        lathe_tensor *tensor = to_device(&c, own, LATHE_MEMORY_DEVICE);
        lathe_tensor *result = NULL;
        lathe_status status = lathe_convert(engines[other], tensor, &target, &result, NULL);
        CHECK(status == LATHE_OK || (own != other && status == LATHE_INVALID_ARGUMENT),
              "engine %zu, tensor of engine %zu: %s", other, own, lathe_last_error()->message);
        if (status == LATHE_OK) {
            lathe_tensor_desc to;
            lathe_tensor *host = NULL;
            CHECK_OK(lathe_target_desc(&target, 2, shape.shape, &to));
            CHECK_OK(lathe_tensor_create(pool, &to, &host));
            CHECK_OK(lathe_tensor_copy(engines[other], result, host));
            CHECK(test_same(host, expected), "engine %zu, tensor of engine %zu", other, own);
            lathe_tensor_release(host);
        }
        lathe_tensor_release(result);
        lathe_tensor_release(tensor);
    }
    lathe_tensor_release(expected);
    case_free(&c);
}

/* What needs more than the budget is refused before the driver is asked, and nothing is left. */
Test(device_tensors, the_budget_covers_them) {
    static const shape_option shape = {2, {600, 1000}};
    const lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    lathe_config config = test_opencl_config();
    config.memory_budget_bytes = 4 << 20;
    lathe_engine *engine = NULL;
    lathe_tensor *first = NULL;
    lathe_tensor *second = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    CHECK_OK(lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &desc, &first));
    for (int memory = LATHE_MEMORY_HOST; memory <= LATHE_MEMORY_DEVICE; memory++) {
        CHECK_STATUS(lathe_engine_tensor_create(engine, (lathe_memory)memory, &desc, &second),
                     LATHE_INSUFFICIENT_MEMORY);
        CHECK(lathe_last_error()->required_bytes >= UINT64_C(2400000), "what was asked for");
    }
    lathe_tensor_release(first);
    for (int memory = LATHE_MEMORY_HOST; memory <= LATHE_MEMORY_DEVICE; memory++) {
        CHECK_OK(lathe_engine_tensor_create(engine, (lathe_memory)memory, &desc, &second));
        lathe_tensor_release(second);
    }
    lathe_engine_free(engine);
}

/* Host, pinned and device blocks are counted apart. On a device that shares the host's memory both
 * kinds of its blocks are pinned ones. */
Test(device_tensors, the_pool_counts_them_by_kind) {
    static const uint64_t shape[] = {1 << 20};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    for (size_t i = 1; i < n_engines; i++) {
        lathe_pool *of_engine = lathe_engine_pool(engines[i]);
        for (int memory = LATHE_MEMORY_HOST; memory <= LATHE_MEMORY_DEVICE; memory++) {
            lathe_tensor *tensor = NULL;
            lathe_pool_stats before = {.struct_size = sizeof before};
            lathe_pool_stats during = {.struct_size = sizeof during};
            lathe_pool_stats after = {.struct_size = sizeof after};
            CHECK_OK(lathe_pool_get_stats(of_engine, &before));
            CHECK_OK(lathe_engine_tensor_create(engines[i], (lathe_memory)memory, &desc, &tensor));
            CHECK_OK(lathe_pool_get_stats(of_engine, &during));
            lathe_tensor_release(tensor);
            CHECK_OK(lathe_pool_get_stats(of_engine, &after));
            int kind = LATHE_POOL_HOST;
            while (kind < LATHE_POOL_DEVICE &&
                   during.kinds[kind].in_use_bytes < before.kinds[kind].in_use_bytes + (4 << 20)) {
                kind++;
            }
            bool is_expected = kind == memory || (memory == LATHE_MEMORY_DEVICE && i == 1 &&
                                                  kind == LATHE_POOL_PINNED);
            CHECK(is_expected, "engine %d, memory %d: kind %d", (int)i, memory, kind);
            CHECK(during.kinds[kind].in_use_bytes >= (4 << 20) &&
                      during.kinds[kind].n_live > before.kinds[kind].n_live &&
                      during.kinds[kind].peak_bytes >= (4 << 20),
                  "in use");
            CHECK(after.kinds[kind].cached_bytes >= (4 << 20) &&
                      after.kinds[kind].in_use_bytes == before.kinds[kind].in_use_bytes,
                  "cached");
        }
    }
}

/* Copies a large tensor to the device and back, while OpenCL call number `at` fails (0: none).
 * Returns whether it did. */
static bool copy_large(size_t engine, const lathe_tensor *tensor, lathe_tensor *back,
                       lathe_tensor *on_device, uint64_t at) {
    const test_cl_layer *layer = test_cl_layer_find();
    const test_cl_faults faults = {.at = at};
    const size_t n_bytes = (size_t)lathe_tensor_n_bytes(tensor);
    memset(lathe_tensor_mutable_data(back), 0xee, n_bytes);
    if (layer != NULL) {
        layer->set_faults(&faults);
    }
    lathe_status status = lathe_tensor_copy(engines[engine], tensor, on_device);
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(engines[engine], on_device, back);
    }
    bool has_failed = layer != NULL && layer->n_failed() > 0;
    if (layer != NULL) {
        layer->stop_faults();
    }
    CHECK(status == LATHE_OK || (has_failed && status == LATHE_DEVICE), "call %d: %s", (int)at,
          lathe_status_name(status));
    CHECK(status != LATHE_OK ||
              memcmp(lathe_tensor_data(tensor), lathe_tensor_data(back), n_bytes) == 0,
          "call %d: other bytes", (int)at);
    return has_failed;
}

/* Large copies go through pinned memory, by several threads, where the device has its own. */
Test(device_tensors, large_copies) {
    static const shape_option shape = {1, {(17 << 20) + 12345}};
    const lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, layout_options, 0);
    lathe_tensor *tensor = NULL;
    lathe_tensor *back = NULL;
    CHECK_OK(lathe_tensor_create(pool, &desc, &tensor));
    CHECK_OK(lathe_tensor_create(pool, &desc, &back));
    uint32_t *words = lathe_tensor_mutable_data(tensor);
    for (uint32_t i = 0; i < (17 << 18); i++) {
        words[i] = i * UINT32_C(2654435761);
    }
    *lathe_tensor_mutable_scales(tensor) = 1;
    for (size_t engine = 1; engine < n_engines; engine++) {
        lathe_tensor *on_device = make(engine, LATHE_MEMORY_DEVICE, &desc);
        (void)copy_large(engine, tensor, back, on_device, 0);
        for (uint64_t at = 1; copy_large(engine, tensor, back, on_device, at); at++) {
        }
        (void)copy_large(engine, tensor, back, on_device, 0);
        lathe_tensor_release(on_device);
    }
    lathe_tensor_release(tensor);
    lathe_tensor_release(back);
}
