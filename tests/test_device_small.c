/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of small device tensors that are made one by one: they share buffers where the device has
 * its own memory. Built with TEST_OPENCL. */
#include "convert_case.h"
#include <lathe/opencl.h>

TestSuite(small_device_tensors, .init = setup_engines, .fini = teardown_engines);

enum { N_SMALL = 300 };

/* Tensor i of the test: the bytes and scales that it has where it was written `version` times. */
static void small_contents(convert_case *c, int i, uint64_t version) {
    test_rng rng = {(uint64_t)i * 1000 + version};
    test_fill_tensor(&rng, &c->from, TEST_DATA_NORMAL, c->bytes, c->scales);
}

static lathe_tensor *make_small(convert_case *c, size_t engine, int i, uint64_t version) {
    lathe_tensor *tensor = NULL;
    small_contents(c, i, version);
    CHECK_OK(lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE, &c->from, &tensor));
    CHECK_OK(lathe_tensor_copy(engines[engine], c->tensor, tensor));
    return tensor;
}

static void check_small(convert_case *c, size_t engine, int i, uint64_t version,
                        lathe_tensor *tensor) {
    lathe_tensor *host = NULL;
    CHECK_OK(lathe_tensor_create(pool, &c->from, &host));
    CHECK_OK(lathe_tensor_copy(engines[engine], tensor, host));
    small_contents(c, i, version);
    CHECK(test_same(host, c->tensor), "engine %zu, tensor %d: other bytes", engine, i);
    lathe_tensor_release(host);
}

/* Memory objects of the tensors' data and scales, each counted once. */
static size_t count_objects(lathe_tensor *const *tensors) {
    cl_mem seen[2 * N_SMALL];
    size_t n_seen = 0;
    for (int i = 0; i < 2 * N_SMALL; i++) {
        lathe_opencl_memory parts[2];
        size_t k = 0;
        CHECK_OK(lathe_opencl_tensor_memory(tensors[i / 2], &parts[0], &parts[1]));
        while (k < n_seen && seen[k] != parts[i % 2].memory) {
            k++;
        }
        seen[k] = parts[i % 2].memory;
        n_seen += k == n_seen;
    }
    return n_seen;
}

/* Makes what the engine keeps, once it has copied, and takes its statistics. */
static lathe_pool_stats stats_before(convert_case *c, size_t engine) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    lathe_tensor *tensor = make_small(c, engine, 0, 0);
    check_small(c, engine, 0, 0, tensor);
    lathe_tensor_release(tensor);
    (void)lathe_pool_trim(lathe_engine_pool(engines[engine]), 0);
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engines[engine]), &stats));
    return stats;
}

static lathe_pool_stats stats_of(size_t engine) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engines[engine]), &stats));
    return stats;
}

/* Tensors that were made one by one lie in few buffers, of which half is used at least, and in
 * which others take their places; where the host maps them, each has its own. */
Test(small_device_tensors, share_buffers) {
    static const shape_option shape = {2, {6, 321}};
    const lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    convert_case c = case_new(&desc, 0);
    const uint64_t n_bytes = c.layout.n_bytes + c.layout.n_scales * sizeof(float);
    for (size_t engine = 1; engine < n_engines; engine++) {
        const bool shares = engine == 1;
        lathe_tensor *tensors[N_SMALL];
        const lathe_pool_stats before = stats_before(&c, engine);
        for (int i = 0; i < N_SMALL; i++) {
            tensors[i] = make_small(&c, engine, i, 0);
        }
        const size_t n_objects = count_objects(tensors);
        const uint64_t in_use = stats_of(engine).kinds[LATHE_POOL_DEVICE].in_use_bytes -
                                before.kinds[LATHE_POOL_DEVICE].in_use_bytes;
        CHECK(shares ? n_objects == 2 * N_SMALL : n_objects <= 10, "%zu objects", n_objects);
        CHECK(shares || (in_use >= N_SMALL * n_bytes && in_use <= 2 * N_SMALL * (n_bytes + 512)),
              "%d bytes in use", (int)in_use);
        for (int i = 0; i < N_SMALL; i += 3) {
            lathe_tensor_release(tensors[i]);
        }
        for (int i = 0; i < N_SMALL; i += 3) {
            tensors[i] = make_small(&c, engine, i, 1);
        }
        CHECK(shares || count_objects(tensors) <= n_objects, "places are not used again");
        for (int i = 0; i < N_SMALL; i++) {
            check_small(&c, engine, i, i % 3 == 0, tensors[i]);
        }
        for (int i = 0; i < N_SMALL; i++) {
            lathe_tensor_release(tensors[i]);
        }
        const lathe_pool_stats after = stats_of(engine);
        CHECK(after.in_use_bytes == before.in_use_bytes && after.n_live == before.n_live,
              "%d bytes are left", (int)(after.in_use_bytes - before.in_use_bytes));
        (void)lathe_pool_trim(lathe_engine_pool(engines[engine]), 0);
        CHECK(stats_of(engine).cached_bytes == 0, "buffers that are not given back");
    }
    case_free(&c);
}

/* Converts every other tensor in place and has the others live on in views, while new ones take
 * places. */
static void check_places(convert_case *c, size_t engine, const lathe_target *target) {
    enum { N = 40 };
    lathe_tensor *tensors[N];
    lathe_tensor *views[N] = {NULL};
    for (int i = 0; i < N; i++) {
        tensors[i] = make_small(c, engine, i, 0);
    }
    for (int i = 0; i < N; i += 2) {
        CHECK_OK(lathe_convert_in_place(engines[engine], tensors[i], target, NULL));
        CHECK_OK(lathe_tensor_view_rows(tensors[i + 1], 0, 8, &views[i + 1]));
        lathe_tensor_release(tensors[i + 1]);
        tensors[i + 1] = make_small(c, engine, i + 1, 1);
    }
    for (int i = 0; i < N; i += 2) {
        lathe_tensor_desc to;
        lathe_tensor *host = NULL;
        lathe_tensor *expected = NULL;
        CHECK_OK(lathe_target_desc(target, 2, c->from.shape, &to));
        CHECK_OK(lathe_tensor_create(pool, &to, &host));
        CHECK_OK(lathe_tensor_copy(engines[engine], tensors[i], host));
        small_contents(c, i, 0);
        CHECK_OK(lathe_convert(engines[0], c->tensor, target, &expected, NULL));
        CHECK(test_same(host, expected), "engine %zu, tensor %d in place", engine, i);
        lathe_tensor_release(host);
        lathe_tensor_release(expected);
        check_small(c, engine, i + 1, 0, views[i + 1]);
        check_small(c, engine, i + 1, 1, tensors[i + 1]);
    }
    for (int i = 0; i < N; i++) {
        lathe_tensor_release(views[i]);
        lathe_tensor_release(tensors[i]);
    }
}

/* A tensor's place is its own to the end. */
Test(small_device_tensors, leave_their_places_last) {
    static const uint64_t shape[] = {8, 64};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_target target = target_of(LATHE_I8, &layout_options[1], 0);
    convert_case c = case_new(&desc, 0);
    for (size_t engine = 1; engine < n_engines; engine++) {
        check_places(&c, engine, &target); /* the engine keeps its queues */
        const uint64_t in_use = stats_of(engine).in_use_bytes;
        check_places(&c, engine, &target);
        CHECK(stats_of(engine).in_use_bytes == in_use, "something is left");
    }
    case_free(&c);
}

/* Converts tensors in an order that has nothing to do with where they lie: `into` NULL for new
 * results, which are handed over in the caller's order. */
static void check_scattered(convert_case *c, size_t engine, lathe_tensor *const *tensors,
                            lathe_tensor *const *into) {
    const lathe_target target = target_of(LATHE_F32, layout_options, 0);
    lathe_batch_stats stats = {.struct_size = sizeof stats};
    lathe_tensor *sources[N_SMALL];
    lathe_tensor *results[N_SMALL];
    lathe_tensor *host = NULL;
    const lathe_tensor_desc to =
        desc_of(LATHE_F32, &(shape_option){2, {6, 321}}, layout_options, 0);
    CHECK_OK(lathe_tensor_create(pool, &to, &host));
    for (int i = 0; i < N_SMALL; i++) {
        sources[i] = tensors[i * 7 % N_SMALL];
        results[i] = into == NULL ? NULL : into[i * 11 % N_SMALL];
    }
    CHECK_OK(into == NULL ? lathe_convert_batch(engines[engine], N_SMALL, sources, &target, 1, NULL,
                                                results, NULL, &stats)
                          : lathe_convert_batch_into(engines[engine], N_SMALL, sources, &target, 1,
                                                     NULL, results, NULL, &stats));
    CHECK(stats.n_on_device == N_SMALL && (engine == 1 || stats.n_launches <= (into ? 8 : 1)),
          "%d on the device, %d launches", (int)stats.n_on_device, (int)stats.n_launches);
    for (int i = 0; i < N_SMALL; i++) {
        lathe_tensor *expected = NULL;
        small_contents(c, i * 7 % N_SMALL, 0);
        CHECK_OK(lathe_convert(engines[0], c->tensor, &target, &expected, NULL));
        CHECK_OK(lathe_tensor_copy(engines[engine], results[i], host));
        CHECK(test_same(host, expected), "engine %zu, tensor %d: other bytes", engine, i);
        lathe_tensor_release(expected);
        lathe_tensor_release(into == NULL ? results[i] : NULL);
    }
    lathe_tensor_release(host);
}

Test(small_device_tensors, share_launches_though_scattered) {
    static const shape_option shape = {2, {6, 321}};
    const lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    const lathe_tensor_desc to = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    for (size_t engine = 1; engine < n_engines; engine++) {
        lathe_tensor *tensors[N_SMALL];
        lathe_tensor *into[N_SMALL];
        for (int i = 0; i < N_SMALL; i++) {
            tensors[i] = make_small(&c, engine, i, 0);
            CHECK_OK(
                lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE, &to, &into[i]));
        }
        check_scattered(&c, engine, tensors, NULL);
        check_scattered(&c, engine, tensors, into);
        for (int i = 0; i < N_SMALL; i++) {
            lathe_tensor_release(tensors[i]);
            lathe_tensor_release(into[i]);
        }
    }
    case_free(&c);
}

/* Fills a short budget with tensors of that shape, at least `least`. */
static void fill_budget(lathe_engine *engine, const shape_option *shape, int least) {
    enum { MOST = 4000 };
    static lathe_tensor *tensors[MOST];
    const lathe_tensor_desc desc = desc_of(LATHE_F32, shape, layout_options, 0);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    lathe_status status = LATHE_OK;
    int n = 0;
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    const uint64_t n_refused = stats.n_refused;
    while (n < MOST && status == LATHE_OK) {
        status = lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &desc, &tensors[n]);
        n += status == LATHE_OK;
    }
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    CHECK(status == LATHE_INSUFFICIENT_MEMORY && n >= least, "%d tensors", n);
    CHECK(stats.in_use_bytes + stats.cached_bytes <= stats.budget_bytes &&
              stats.n_refused == n_refused + 1,
          "%d refused", (int)(stats.n_refused - n_refused));
    while (n > 0) {
        lathe_tensor_release(tensors[--n]);
    }
}

/* A short budget is filled, also where the structs take more of it than the tensors' memory, and
 * an empty one is whole again. */
Test(small_device_tensors, fill_the_budget) {
    static const shape_option shape = {2, {64, 64}};
    static const shape_option tiny_shape = {2, {1, 32}};
    static const shape_option large_shape = {2, {384, 1024}};
    const lathe_tensor_desc large = desc_of(LATHE_F32, &large_shape, layout_options, 0);
    const test_cl_layer *layer = test_cl_layer_find();
    lathe_config config = test_opencl_config();
    config.memory_budget_bytes = 2 << 20;
    lathe_engine *engine = NULL;
    lathe_tensor *tensor = NULL;
    if (layer == NULL) {
        return;
    }
    CHECK_OK(test_opencl_engine(&config, true, layer, &engine));
    fill_budget(engine, &shape, 100);
    fill_budget(engine, &tiny_shape, 2500);
    CHECK_OK(lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &large, &tensor));
    lathe_tensor_release(tensor);
    lathe_engine_free(engine);
}

/* Every call of the driver's may fail, and its memory may be short. */
Test(small_device_tensors, survive_faults) {
    enum { N = 20 };
    static const shape_option shape = {2, {6, 321}};
    const lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    const test_cl_layer *layer = test_cl_layer_find();
    convert_case c = case_new(&desc, 0);
    for (uint64_t at = 1; layer != NULL && at > 0; at++) {
        const test_cl_faults faults = {.at = at, .ever_after = at % 3 == 0};
        const size_t engine = n_engines - 1;
        lathe_tensor *tensors[N] = {NULL};
        int n_failed = 0;
        const uint64_t in_use = stats_before(&c, engine).in_use_bytes;
        layer->set_faults(&faults);
        for (int i = 0; i < N; i++) {
            lathe_status status = lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE,
                                                             &desc, &tensors[i]);
            CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "call %d: %s", (int)at,
                  lathe_status_name(status));
            n_failed += status != LATHE_OK;
        }
        const bool is_over = layer->n_calls() < at;
        layer->stop_faults();
        CHECK(faults.ever_after || n_failed <= 1, "call %d: %d failed", (int)at, n_failed);
        for (int i = 0; i < N; i++) {
            if (tensors[i] != NULL) {
                small_contents(&c, i, 0);
                CHECK_OK(lathe_tensor_copy(engines[engine], c.tensor, tensors[i]));
            }
        }
        for (int i = 0; i < N; i++) {
            if (tensors[i] != NULL) {
                check_small(&c, engine, i, 0, tensors[i]);
                lathe_tensor_release(tensors[i]);
            }
        }
        CHECK(stats_of(engine).in_use_bytes == in_use, "call %d: something is left", (int)at);
        if (is_over) {
            break;
        }
    }
    case_free(&c);
}
