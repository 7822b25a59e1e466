/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of batches share: the tensors of a batch, what is expected of each, and batches of
 * all kinds. */
#ifndef LT_TEST_BATCH_CASE_H
#define LT_TEST_BATCH_CASE_H

#include "convert_case.h"

enum { MOST = 700 };

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

static inline void add(const shape_option *shape, const layout_option *layout, test_data data,
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

static inline void expect_all(void) {
    for (size_t i = 0; i < batch.n; i++) {
        const convert_case *c = &batch.cases[i];
        oracle_convert(&c->from, c->bytes, c->scales, &batch.targets[i], &batch.expected[i]);
    }
}

static inline void free_all(void) {
    for (size_t i = 0; i < batch.n; i++) {
        case_free(&batch.cases[i]);
        oracle_result_free(&batch.expected[i]);
    }
    batch.n = 0;
}

/* What became of tensor i, whose result is the host's, is what the oracle says. */
static inline void check_one(size_t i, size_t engine, const lathe_tensor *result,
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

static inline size_t count_failures(size_t *first) {
    size_t n = 0;
    for (size_t i = batch.n; i-- > 0;) {
        if (batch.expected[i].status != LATHE_OK) {
            *first = i;
            n++;
        }
    }
    return n;
}

static inline void check_overall(lathe_status status, const lathe_batch_stats *stats) {
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
static inline void check_batch(size_t engine, const lathe_batch_options *options) {
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
static inline void check_device_batch(size_t engine) {
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
static inline void check_batch_into(size_t engine) {
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
static inline shape_option some_shape(test_rng *rng) {
    static const shape_option often[] = {{2, {64, 64}}, {1, {333}},  {2, {3, 100}},
                                         {0, {0}},      {2, {0, 7}}, {3, {2, 5, 31}}};
    if (test_random_below(rng, 4) != 0) {
        return often[test_random_below(rng, sizeof often / sizeof often[0])];
    }
    return (shape_option){
        2, {test_random_below(rng, 9), test_random_below(rng, TEST_SANITIZED ? 700 : 3000)}};
}

static inline lathe_target some_target(test_rng *rng, lathe_dtype to) {
    lathe_target target = target_of(to, &layout_options[test_random_below(rng, N_LAYOUTS)], 0);
    target.quality = test_random_below(rng, 3) == 0 ? LATHE_FAST : LATHE_BALANCED;
    target.nonfinite =
        test_random_below(rng, 2) == 0 ? LATHE_NONFINITE_SATURATE : LATHE_NONFINITE_ERROR;
    return target;
}

/* On a device each pair is a program to compile: every dtype is on either side of a few. */
static inline bool is_tried(lathe_dtype from, lathe_dtype to) {
#ifdef TEST_OPENCL
    return ((int)to - (int)from + 8) % 8 == 3 || ((int)from == LATHE_F32 && (int)to % 3 == 2);
#else
    (void)from;
    (void)to;
    return true;
#endif
}

static inline void add_pairs(test_rng *rng, size_t n) {
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

/* Many of a kind, for all of which one plan and, on a device, few launches do. */
static inline void add_alike(test_rng *rng, size_t n, lathe_dtype to) {
    const shape_option shape = {2, {64, 64}};
    const lathe_target target = target_of(to, layout_options, 0);
    for (size_t i = 0; i < n; i++) {
        add(&shape, layout_options, TEST_DATA_NORMAL, rng, LATHE_F32, &target);
    }
}

#endif
