/* SPDX-License-Identifier: Apache-2.0 */
/* Tests that a device which shares the host's memory works on host tensors where they lie: neither
 * the engine's counters nor the driver's see a byte of the data copied. Built with TEST_OPENCL. */
#include "convert_case.h"

TestSuite(zero_copy, .init = setup_engines, .fini = teardown_engines);

/* More than the reports of a conversion, less than any tensor here. */
enum { SMALL_BYTES = 4096, ROWS = 64, COLS = 4096 };

static bool shares_memory(lathe_engine *engine) {
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engine, &info));
    return info.shares_host_memory != 0;
}

static uint64_t copied(const test_cl_layer *layer) {
    uint64_t largest = 0;
    for (int i = 0; i < TEST_CL_TRANSFERS; i++) {
        uint64_t bytes = layer->largest((test_cl_transfer)i);
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

static void check_pair(const test_cl_layer *layer, lathe_dtype from, const lathe_target *target) {
    static const shape_option shape = {2, {ROWS, COLS}};
    test_rng rng = {70};
    lathe_engine *engine = engines[1];
    lathe_tensor_desc desc = desc_of(from, &shape, &layout_options[1], 0);
    lathe_tensor *source = NULL;
    lathe_tensor *expected = NULL;
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source));
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(source),
                     lathe_tensor_mutable_scales(source));
    CHECK_OK(lathe_convert(engines[0], source, target, &expected, NULL));
    CHECK_OK(lathe_convert(engine, source, target, &result, NULL)); /* the program is loaded */
    lathe_tensor_release(result);
    const lathe_engine_stats before = test_engine_stats(engine);
    if (layer != NULL) {
        layer->reset();
    }
    CHECK_OK(lathe_convert(engine, source, target, &result, NULL));
    const lathe_engine_stats after = test_engine_stats(engine);
    CHECK(test_same(result, expected), "%s to %s: other bytes", lathe_dtype_name(from),
          lathe_dtype_name(target->dtype));
    CHECK(after.n_on_device == before.n_on_device + 1, "the device did it");
    /* Scales are made on the host, and may be too few to be used in place. */
    CHECK(after.uploaded_bytes - before.uploaded_bytes <= sizeof(float) * 2 * ROWS &&
              after.downloaded_bytes - before.downloaded_bytes <= sizeof(float) * 2 * ROWS,
          "%s to %s: %d bytes up, %d down", lathe_dtype_name(from), lathe_dtype_name(target->dtype),
          (int)(after.uploaded_bytes - before.uploaded_bytes),
          (int)(after.downloaded_bytes - before.downloaded_bytes));
    CHECK(lathe_dtype_is_quantized(from) || lathe_dtype_is_quantized(target->dtype) ||
              (after.uploaded_bytes == before.uploaded_bytes &&
               after.downloaded_bytes == before.downloaded_bytes),
          "not a byte of floats");
    CHECK(after.n_wrapped >= before.n_wrapped + 2, "%s to %s: %d buffers were used in place",
          lathe_dtype_name(from), lathe_dtype_name(target->dtype),
          (int)(after.n_wrapped - before.n_wrapped));
    if (layer != NULL) {
        CHECK(copied(layer) < SMALL_BYTES, "%d bytes were copied at once", (int)copied(layer));
        CHECK(layer->n_buffers(true) >= 2, "buffers of host memory");
    }
    lathe_tensor_release(result);
    lathe_tensor_release(expected);
    lathe_tensor_release(source);
}

Test(zero_copy, tensors_of_the_pool_are_used_in_place) {
    const test_cl_layer *layer = test_cl_layer_find();
    if (!shares_memory(engines[1])) {
        return;
    }
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            const lathe_target target = target_of((lathe_dtype)to, &layout_options[to % 2], 0);
            if (from != to) {
                check_pair(layer, (lathe_dtype)from, &target);
            }
        }
    }
}

/* What the host sees of a device tensor there is the tensor itself. */
Test(zero_copy, a_map_moves_nothing) {
    static const shape_option shape = {2, {ROWS, COLS}};
    const test_cl_layer *layer = test_cl_layer_find();
    const lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    lathe_engine *engine = engines[1];
    lathe_tensor *tensor = NULL;
    const void *seen = NULL;
    if (!shares_memory(engine)) {
        return;
    }
    CHECK_OK(lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &desc, &tensor));
    if (layer != NULL) {
        layer->reset();
    }
    for (int round = 0; round < 3; round++) {
        CHECK_OK(lathe_tensor_map(engine, tensor, round == 0));
        CHECK(seen == NULL || seen == lathe_tensor_data(tensor), "the address changed");
        seen = lathe_tensor_data(tensor);
        CHECK(layer == NULL || layer->last_mapped() == seen, "the map is the driver's");
        CHECK_OK(lathe_tensor_unmap(engine, tensor));
    }
    CHECK(layer == NULL || copied(layer) == 0, "%d bytes were copied", (int)copied(layer));
    lathe_tensor_release(tensor);
}

/* The driver maps a wrapped tensor to the very address that it has. */
Test(zero_copy, the_mapped_pointer_is_the_host_pointer) {
    static const shape_option shape = {2, {ROWS, COLS}};
    const test_cl_layer *layer = test_cl_layer_find();
    const lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    const lathe_target target = target_of(LATHE_F16, layout_options, 0);
    lathe_engine *engine = engines[1];
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    if (layer == NULL || !shares_memory(engine)) {
        return;
    }
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source));
    memset(lathe_tensor_mutable_data(source), 0, (size_t)lathe_tensor_n_bytes(source));
    layer->reset();
    CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
    CHECK(layer->n_buffers(true) >= 2, "buffers of host memory");
    const uintptr_t mapped = (uintptr_t)layer->last_mapped();
    const uintptr_t begin = (uintptr_t)lathe_tensor_data(result);
    const uintptr_t from = (uintptr_t)lathe_tensor_data(source);
    CHECK((mapped >= begin && mapped < begin + lathe_tensor_n_bytes(result)) ||
              (mapped >= from && mapped < from + lathe_tensor_n_bytes(source)) || mapped == 0,
          "the driver mapped other memory");
    lathe_tensor_release(result);
    lathe_tensor_release(source);
}

/* A device with its own memory copies each byte once each way; a source that needs statistics first
 * is read twice. */
Test(zero_copy, a_device_with_its_own_memory_copies_once) {
    static const shape_option shape = {2, {ROWS, COLS}};
    static const lathe_dtype targets[] = {LATHE_F16, LATHE_I8};
    const test_cl_layer *layer = test_cl_layer_find();
    if (layer == NULL) {
        return;
    }
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {71};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    for (size_t i = 0; i < 2; i++) {
        const lathe_target target = target_of(targets[i], layout_options, 0);
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_convert(engines[2], c.tensor, &target, &result, NULL)); /* the program */
        lathe_tensor_release(result);
        const lathe_engine_stats before = test_engine_stats(engines[2]);
        CHECK_OK(lathe_convert(engines[2], c.tensor, &target, &result, NULL));
        const lathe_engine_stats after = test_engine_stats(engines[2]);
        const uint64_t up = after.uploaded_bytes - before.uploaded_bytes;
        const uint64_t down = after.downloaded_bytes - before.downloaded_bytes;
        CHECK(up >= c.layout.n_bytes && up < (i + 1) * c.layout.n_bytes + SMALL_BYTES,
              "%s: %d bytes up", lathe_dtype_name(target.dtype), (int)up);
        CHECK(down >= lathe_tensor_n_bytes(result) &&
                  down < lathe_tensor_n_bytes(result) + SMALL_BYTES,
              "%s: %d bytes down", lathe_dtype_name(target.dtype), (int)down);
        CHECK(after.n_wrapped == before.n_wrapped, "nothing can be used in place");
        lathe_tensor_release(result);
    }
    case_free(&c);
}
