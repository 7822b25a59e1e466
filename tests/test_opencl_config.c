/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the config's fields that only a device shows. */
#include "check.h"
#include "opencl_support.h"
#include "support.h"
#include <string.h>

enum { ROWS = 512, COLS = 1000 };

static lathe_tensor *make_source(lathe_engine *engine) {
    const uint64_t shape[] = {ROWS, COLS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    lathe_tensor *source = NULL;
    test_rng rng = {5};
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source));
    test_fill_floats(&rng, LATHE_F32, TEST_DATA_NORMAL, lathe_tensor_mutable_data(source),
                     ROWS * COLS);
    return source;
}

static lathe_tensor *convert_on(lathe_engine *engine) {
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
    lathe_tensor *source = make_source(engine);
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
    lathe_tensor_release(source);
    return result;
}

/* A device with its own memory gets its data through staging, of one kind or the other. */
Test(opencl_config, pinned_staging) {
    static const lathe_toggle toggles[] = {LATHE_BY_DEFAULT, LATHE_ON, LATHE_OFF};
    const test_cl_layer *layer = test_cl_layer_find();
    lathe_tensor *expected = NULL;
    if (layer == NULL) {
        return; /* without it no device has memory of its own */
    }
    for (size_t i = 0; i < 3; i++) {
        lathe_config config = test_opencl_config();
        lathe_engine *engine = NULL;
        config.pinned_staging = toggles[i];
        CHECK_OK(test_opencl_engine(&config, true, layer, &engine));
        lathe_tensor *result = convert_on(engine);
        lathe_pool_stats stats = {.struct_size = sizeof stats};
        CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
        const uint64_t pinned = stats.kinds[LATHE_POOL_PINNED].peak_bytes;
        CHECK(stats.kinds[LATHE_POOL_DEVICE].peak_bytes > 0, "nothing was on the device");
        CHECK((pinned == 0) == (toggles[i] == LATHE_OFF), "%d bytes pinned with toggle %zu",
              (int)pinned, i);
        const lathe_engine_stats done = test_engine_stats(engine);
        CHECK(done.n_on_device == 1 && done.n_conversions == 1, "the device did not do it");
        CHECK(expected == NULL || test_same(result, expected), "toggle %zu: other bytes", i);
        if (expected == NULL) {
            expected = lathe_tensor_retain(result);
        }
        lathe_tensor_release(result);
        lathe_engine_free(engine);
    }
    lathe_tensor_release(expected);
    const char *left = test_cl_leftovers(layer);
    CHECK(left == NULL, "%s", left);
}

/* What the device did shows in the metrics, and a reset clears the device's counters too. */
Test(opencl_config, metrics_of_a_device) {
    static lathe_metrics metrics = {.struct_size = sizeof metrics};
    const lathe_config config = test_opencl_config();
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    lathe_tensor_release(convert_on(engine));
    CHECK_OK(lathe_engine_metrics(engine, &metrics));
    CHECK(strncmp(metrics.device, "opencl:", 7) == 0, "%s", metrics.device);
    CHECK(metrics.by_processor[LATHE_PROCESSOR_DEVICE].n_done == 1 && metrics.total.n_done == 1,
          "the conversion");
    CHECK(metrics.engine.n_launches > 0 && metrics.engine.n_on_device == 1, "the device's work");
    CHECK(metrics.by_dtypes[LATHE_F32][LATHE_F16].src_bytes == ROWS * COLS * 4, "bytes");
    CHECK_OK(lathe_engine_reset_metrics(engine));
    CHECK_OK(lathe_engine_metrics(engine, &metrics));
    CHECK(metrics.total.n_done == 0 && metrics.engine.n_launches == 0 &&
              metrics.engine.n_conversions == 0,
          "a reset left something");
    lathe_engine_free(engine);
}
