/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/in_place.h: the bytes that lathe_convert gives, in the tensor's own memory and no
 * more of it; and a tensor that is untouched after an error. */
#include "convert_case.h"
#include "core/tensor.h"
#include "pool/pool.h"

#ifdef TEST_OPENCL
enum { TEST_ON_DEVICE = 1 };
#else
enum { TEST_ON_DEVICE = 0 };
#endif

TestSuite(in_place, .init = setup_engines, .fini = teardown_engines);

/* Whether an engine converts host tensors in place: the device of one may not reach them. */
static inline bool shares_memory(size_t engine) {
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engines[engine], &info));
    return strcmp(info.selector, "cpu") == 0 || info.shares_host_memory;
}

/* ---- one case */

/* A wrapped copy of a case's source that has room for the result, between guard pages: at the
 * beginning or the end of the memory. */
typedef struct placed {
    test_guarded memory;
    uint8_t *bytes;
    float *scales;
    lathe_tensor *tensor;
} placed;

static placed place(const convert_case *c, uint64_t n_result_bytes, bool at_end) {
    size_t n_source_bytes = (size_t)c->layout.n_bytes;
    size_t room = n_result_bytes > n_source_bytes ? (size_t)n_result_bytes : n_source_bytes;
    size_t scale_bytes = (size_t)c->layout.n_scales * sizeof(float);
    placed p = {.memory = test_guarded_new(room + 1), .scales = malloc(scale_bytes + 1)};
    CHECK(p.scales != NULL, "memory");
    p.bytes = at_end ? p.memory.bytes + (p.memory.n_bytes - room) : p.memory.bytes;
    memcpy(p.bytes, c->bytes, n_source_bytes);
    memcpy(p.scales, c->scales, scale_bytes);
    CHECK_OK(lathe_tensor_wrap(pool, &c->from, p.bytes, p.scales, 0, NULL, NULL, &p.tensor));
    CHECK_OK(lathe_tensor_set_capacity(p.tensor, room));
    return p;
}

static void remove_placed(placed *p) {
    lathe_tensor_release(p->tensor);
    test_guarded_free(&p->memory);
    free(p->scales);
}

static void check_untouched(const convert_case *c, const lathe_target *target, size_t engine,
                            const placed *p) {
    const lathe_tensor *t = p->tensor;
    CHECK(lathe_tensor_dtype(t) == c->from.dtype && lathe_tensor_data(t) == p->bytes &&
              lathe_tensor_granularity(t) == c->from.granularity &&
              memcmp(p->bytes, c->bytes, (size_t)c->layout.n_bytes) == 0 &&
              memcmp(p->scales, c->scales, (size_t)c->layout.n_scales * sizeof(float)) == 0,
          "%s: the tensor was touched", describe(c, target, engine));
}

/* Whether source and target have the same rows: then every pair can be converted in place. */
static bool same_rows(const convert_case *c, const lathe_target *target) {
    uint32_t theirs = target->row_dims == 0 ? 1 : target->row_dims;
    uint32_t ours = c->from.row_dims == 0 ? 1 : c->from.row_dims;
    return theirs == ours;
}

static void check_host(const convert_case *c, const lathe_target *target, size_t engine,
                       bool at_end, const oracle_result *expected) {
    placed p = place(c, expected->layout.n_bytes, at_end);
    lathe_convert_stats stats = {.struct_size = sizeof stats, .n_saturated = 12345};
    lathe_status status = lathe_convert_in_place(engines[engine], p.tensor, target, &stats);
    if (status == LATHE_INCOMPATIBLE_TYPES) {
        CHECK(!same_rows(c, target), "%s: refused", describe(c, target, engine));
        check_untouched(c, target, engine, &p);
        remove_placed(&p);
        return;
    }
    check_error(c, target, engine, expected, status);
    if (status != LATHE_OK) {
        check_untouched(c, target, engine, &p);
    } else {
        CHECK(lathe_tensor_dtype(p.tensor) == target->dtype &&
                  lathe_tensor_n_bytes(p.tensor) == expected->layout.n_bytes &&
                  lathe_tensor_n_scales(p.tensor) == expected->layout.n_scales,
              "%s: the tensor's description", describe(c, target, engine));
        check_contents(c, target, engine, expected, p.bytes, lathe_tensor_scales(p.tensor));
        CHECK(stats.n_saturated == expected->n_saturated, "%s: %d saturated, not %d",
              describe(c, target, engine), (int)stats.n_saturated, (int)expected->n_saturated);
    }
    remove_placed(&p);
}

static void check_in_place(const convert_case *c, const lathe_target *target, bool at_end) {
    static size_t count;
    oracle_result expected;
    oracle_convert(&c->from, c->bytes, c->scales, target, &expected);
#ifdef TEST_OPENCL
    /* A device that shares the host's memory takes what begins a page as it is. */
    size_t engine = count % 2 == 0 || !shares_memory(1) ? 0 : 1;
    check_host(c, target, engine, at_end && engine == 0, &expected);
#else
    check_host(c, target, count % n_engines, at_end, &expected);
#endif
    count++;
    oracle_result_free(&expected);
}

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
                CHECK(same_result(result, p.tensor), "%s", describe(&c, &target, engine));
                remove_placed(&p);
            }
            lathe_tensor_release(result);
            case_free(&c);
        }
    }
}

/* ---- device tensors, or tensors of the pool: there and back */

static lathe_tensor *make_tensor(size_t engine, const convert_case *c) {
    lathe_tensor *made = NULL;
    CHECK_OK(lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE, &c->from, &made));
    CHECK_OK(lathe_tensor_copy(engines[engine], c->tensor, made));
    return made;
}

static lathe_tensor *on_host(size_t engine, const lathe_tensor *tensor) {
    const lathe_tensor_desc desc = lt_tensor_desc_of(tensor);
    lathe_tensor *made = NULL;
    CHECK_OK(lathe_tensor_create(pool, &desc, &made));
    CHECK_OK(lathe_tensor_copy(engines[engine], tensor, made));
    return made;
}

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
                    CHECK(same_result(expected, seen), "step %d, %s", i,
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

#ifdef TEST_OPENCL

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
        CHECK(same_result(expected, after), "%s failed: %s", function, describe(c, &target, index));
        *n_done += has_failed;
    } else if (!ever_after || strstr(lathe_last_error()->message, "lost") == NULL) {
        CHECK(status == LATHE_DEVICE || status == LATHE_INSUFFICIENT_MEMORY, "%s",
              lathe_status_name(status));
        CHECK(lathe_tensor_dtype(tensor) == f->first && same_result(before, after),
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
    CHECK(same_result(expected, host), "%s", describe(c, target, 0));
    lathe_tensor_release(host);
    lathe_tensor_release(expected);
    lathe_tensor_release(tensor);
    return after.n_launches - before.n_launches;
}

/* Consecutive elements that get no wider take one launch, whose work-groups take turns, around the
 * ends of their tiles and with more of them than run at once; and a pass for their statistics. */
Test(in_place, one_launch_on_a_device) {
    static const uint64_t sizes[] = {1, 7, 4095, 4096, 4097, 8192, 10239, 102400, 102403, 1000000};
    static const lathe_dtype pairs[][2] = {{LATHE_F32, LATHE_F16},       {LATHE_F32, LATHE_I1},
                                           {LATHE_F32, LATHE_BITNET158}, {LATHE_F16, LATHE_BF16},
                                           {LATHE_BF16, LATHE_I8},       {LATHE_I4, LATHE_I2}};
    lathe_engine *engine = NULL;
    lathe_config config = test_opencl_config();
    test_rng rng = {49};
    CHECK_OK(lathe_engine_create(&config, &engine));
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
                CHECK(n_launches == n_expected, "%d launches: %s", (int)n_launches,
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
            CHECK(status == LATHE_OK ? same_result(expected, after)
                                     : status == LATHE_INSUFFICIENT_MEMORY && has_failed &&
                                           same_result(c.tensor, after),
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

#endif

#ifndef TEST_OPENCL

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

#endif
