/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/in_place.h on a device: its failures, what it launches, and no memory beside the
 * tensor. */
#include "engine/engine.h"
#include "in_place_case.h"
#include "opencl/opencl.h"

TestSuite(in_place, .init = setup_engines, .fini = teardown_engines);

/* ---- a device that fails */

/* A conversion in place of a device tensor, which it is brought to by another one first. */
typedef struct failing_case {
    lathe_dtype first;
    lathe_dtype to;
    size_t layout;
    bool strict;
} failing_case;

static const failing_case failing_cases[] = {
    {LATHE_F32, LATHE_F16, 0, false},  {LATHE_F32, LATHE_I4, 1, false},
    {LATHE_F32, LATHE_F16, 0, true},   {LATHE_F16, LATHE_BF16, 0, false},
    {LATHE_BF16, LATHE_F32, 0, false}, {LATHE_I4, LATHE_I8, 1, false},
};

/* One conversion, of which OpenCL call number `at` fails. Returns false once there is no such call.
 * Whatever fails, the result is right, or the tensor is what it was. */
static bool fail_at(lathe_engine *engine, size_t index, const convert_case *c,
                    const failing_case *f, uint64_t at, bool ever_after, int *n_done) {
    const test_cl_layer *layer = test_cl_layer_find();
    const test_cl_faults faults = {.at = at, .ever_after = ever_after};
    lathe_target first = target_of(f->first, &layout_options[f->layout], 0);
    lathe_target target = target_of(f->to, &layout_options[f->layout], 0);
    lathe_tensor *tensor = NULL;
    lathe_tensor *expected = NULL;
    target.strict = f->strict;
    CHECK_OK(lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &c->from, &tensor));
    CHECK_OK(lathe_tensor_copy(engine, c->tensor, tensor));
    CHECK_OK(lathe_convert_in_place(engine, tensor, &first, NULL));
    lathe_tensor *before = on_host(index, tensor);
    CHECK_OK(lathe_convert(engines[0], before, &target, &expected, NULL));
    layer->set_faults(&faults);
    lathe_status status = lathe_convert_in_place(engine, tensor, &target, NULL);
    bool has_failed = layer->n_failed() > 0;
    const char *function = has_failed ? layer->first_failed() : "nothing";
    layer->stop_faults();
    lathe_tensor *after = on_host(index, tensor);
    if (status == LATHE_OK) {
        CHECK(test_same(expected, after), "%s failed: %s", function, describe(c, &target, index));
        *n_done += has_failed;
    } else if (!ever_after || strstr(lathe_last_error()->message, "lost") == NULL) {
        CHECK(status == LATHE_DEVICE || status == LATHE_INSUFFICIENT_MEMORY, "%s",
              lathe_status_name(status));
        CHECK(lathe_tensor_dtype(tensor) == f->first && test_same(before, after),
              "%s failed, and the tensor is not what it was: %s", function,
              lathe_last_error()->message);
    }
    lathe_tensor_release(after);
    lathe_tensor_release(before);
    lathe_tensor_release(expected);
    lathe_tensor_release(tensor);
    return has_failed;
}

Test(in_place, what_a_device_fails_at) {
    static const shape_option shape = {2, {3, 20001}};
    const test_cl_layer *layer = test_cl_layer_find();
    lathe_config config = test_opencl_config();
    config.require_device = 0;
    if (layer == NULL) {
        return;
    }
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {47};
    test_fill_tensor(&rng, &desc, TEST_DATA_EXACT, c.bytes, c.scales);
    for (int own_memory = 0; own_memory < 2; own_memory++) {
        lathe_engine *engine = NULL;
        CHECK_OK(test_opencl_engine(&config, own_memory == 1, layer, &engine));
        for (size_t i = 0; i < sizeof failing_cases / sizeof failing_cases[0]; i++) {
            for (int ever_after = 0; ever_after < 2; ever_after++) {
                int n_done = 0;
                uint64_t at = 1;
                while (fail_at(engine, (size_t)own_memory + 1, &c, &failing_cases[i], at,
                               ever_after == 1, &n_done)) {
                    at++;
                }
                CHECK(at > 10, "only %d calls", (int)at);
                /* With one failure the CPU does it, or the rest of it; but the scales' memory is
                 * the device's. */
                int n_left = lathe_dtype_is_quantized(failing_cases[i].to) ? 1 : 0;
                CHECK(ever_after == 1 || n_done >= (int)at - 1 - n_left, "case %zu: %d of %d", i,
                      n_done, (int)at - 1);
            }
        }
        lathe_engine_free(engine);
    }
    case_free(&c);
}

/* Converts a tensor of the device's in place, and counts the launches. */
static uint64_t launches_in_place(lathe_engine *engine, const convert_case *c,
                                  const lathe_target *target) {
    lathe_engine_stats before = {.struct_size = sizeof before};
    lathe_engine_stats after = {.struct_size = sizeof after};
    lathe_tensor *tensor = NULL;
    lathe_tensor *expected = NULL;
    CHECK_OK(lathe_convert(engines[0], c->tensor, target, &expected, NULL));
    CHECK_OK(lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &c->from, &tensor));
    CHECK_OK(lathe_tensor_copy(engine, c->tensor, tensor));
    CHECK_OK(lathe_engine_get_stats(engine, &before));
    CHECK_OK(lathe_convert_in_place(engine, tensor, target, NULL));
    CHECK_OK(lathe_engine_get_stats(engine, &after));
    lathe_tensor *host = on_host(0, tensor);
    CHECK(test_same(expected, host), "%s", describe(c, target, 0));
    lathe_tensor_release(host);
    lathe_tensor_release(expected);
    lathe_tensor_release(tensor);
    return after.n_launches - before.n_launches;
}

/* Consecutive elements that get no wider take one launch, whose work-groups take turns, around the
 * ends of their tiles and with more of them than run at once; and a pass for their statistics.
 * (A processor takes larger ones in waves, and one whose work-groups cannot wait all of them.) */
Test(in_place, one_launch_on_a_device) {
    static const uint64_t sizes[] = {1, 7, 4095, 4096, 4097, 8192, 10239, 102400, 102403};
    static const lathe_dtype pairs[][2] = {{LATHE_F32, LATHE_F16},       {LATHE_F32, LATHE_I1},
                                           {LATHE_F32, LATHE_BITNET158}, {LATHE_F16, LATHE_BF16},
                                           {LATHE_BF16, LATHE_I8},       {LATHE_I4, LATHE_I2}};
    lathe_engine *engine = NULL;
    lathe_config config = test_opencl_config();
    test_rng rng = {49};
    CHECK_OK(lathe_engine_create(&config, &engine));
    const bool takes_waves = lt_cl_backend_device(engine->device)->cuts_loops;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const shape_option shape = {1, {sizes[s]}};
            lathe_tensor_desc desc = desc_of(pairs[i][0], &shape, layout_options, 0);
            lathe_target target = target_of(pairs[i][1], layout_options, 0);
            convert_case c = case_new(&desc, 0);
            test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
            uint64_t n_launches = launches_in_place(engine, &c, &target);
            if (s > 0) { /* the first one brings the checks of the kernels with it */
                uint64_t n_expected = lathe_dtype_is_quantized(pairs[i][1]) ? 2 : 1;
                CHECK(takes_waves || n_launches == n_expected, "%d launches: %s", (int)n_launches,
                      describe(&c, &target, 0));
            }
            case_free(&c);
        }
    }
    lathe_engine_free(engine);
}

/* Every allocation that a conversion of a device tensor makes fails once. */
Test(in_place, no_memory_beside_a_device) {
    static const shape_option shape = {2, {3, 20001}};
    test_allocator allocator;
    lathe_engine *engine = NULL;
    lathe_config config = test_opencl_config();
    test_allocator_init(&allocator);
    config.require_device = 0;
    config.allocator = &allocator.interface;
    CHECK_OK(lathe_engine_create(&config, &engine));
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {48};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    for (int to = LATHE_F16; to <= LATHE_BITNET158; to++) {
        lathe_target target = target_of((lathe_dtype)to, &layout_options[to % 3], 0);
        lathe_tensor *expected = NULL;
        CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &expected, NULL));
        bool has_failed = true;
        for (uint64_t fail_at = 0; has_failed; fail_at++) {
            lathe_tensor *tensor = NULL;
            CHECK_OK(lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &c.from, &tensor));
            CHECK_OK(lathe_tensor_copy(engine, c.tensor, tensor));
            (void)lathe_pool_trim(lathe_engine_pool(engine), 0);
            test_allocator_reset(&allocator, fail_at);
            lathe_status status = lathe_convert_in_place(engine, tensor, &target, NULL);
            has_failed = allocator.n_calls > fail_at;
            test_allocator_reset(&allocator, UINT64_MAX);
            lathe_tensor *after = on_host(0, tensor);
            CHECK(status == LATHE_OK ? test_same(expected, after)
                                     : status == LATHE_INSUFFICIENT_MEMORY && has_failed &&
                                           test_same(c.tensor, after),
                  "allocation %d: %s", (int)fail_at, lathe_status_name(status));
            lathe_tensor_release(after);
            lathe_tensor_release(tensor);
        }
        lathe_tensor_release(expected);
    }
    lathe_engine_free(engine);
    case_free(&c);
    CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks are left", (int)allocator.n_live);
}
