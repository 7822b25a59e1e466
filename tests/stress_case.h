/* SPDX-License-Identifier: Apache-2.0 */
/* What the stress programs share: threads, a count of failures, and tensors with the results that
 * are expected of them. */
#ifndef TESTS_STRESS_CASE_H
#define TESTS_STRESS_CASE_H

#include "support.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_int n_failures;

static inline void fail(const char *what) {
    (void)fprintf(stderr, "%s (%s)\n", what, lathe_last_error()->message);
    (void)atomic_fetch_add(&n_failures, 1);
}

/* Ends the program if what everything else needs is missing. */
static inline void require(lathe_status status, const char *what) {
    if (status != LATHE_OK) {
        fail(what);
        exit(1);
    }
}

static inline int exit_status(void) {
    return atomic_load(&n_failures) == 0 ? 0 : 1;
}

/* Thread i gets i + 1. */
static inline void start_threads(pthread_t *threads, size_t n, void *(*run)(void *ctx)) {
    for (size_t i = 0; i < n; i++) {
        if (pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)(i + 1)) != 0) {
            abort();
        }
    }
}

static inline void join_threads(pthread_t *threads, size_t n) {
    for (size_t i = 0; i < n; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

/* ---- a target for each type, and sources for them */

enum { N_TARGETS = LATHE_DTYPE_LAST - LATHE_DTYPE_FIRST + 1, MOST_SOURCES = 4 };

/* The third source has a NaN there. */
enum { NAN_SOURCE = 2, NAN_ELEMENT = 12345 };

static inline lathe_target target_at(size_t i) {
    static const lathe_granularity granularities[] = {LATHE_PER_TENSOR, LATHE_PER_ROW,
                                                      LATHE_PER_GROUP};
    const lathe_granularity granularity = granularities[i % 3];
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = (lathe_dtype)(LATHE_DTYPE_FIRST + i),
                          .granularity = granularity,
                          .group_size = granularity == LATHE_PER_GROUP ? 64 : 0,
                          .quality = i % 2 == 0 ? LATHE_BALANCED : LATHE_FAST};
}

typedef struct stress_tensors {
    size_t n_sources;
    lathe_tensor *sources[MOST_SOURCES];
    lathe_tensor *expected[MOST_SOURCES][N_TARGETS]; /* NULL: the NaN is an error */
} stress_tensors;

static inline void make_source(lathe_pool *pool, lathe_dtype dtype, const uint64_t shape[2],
                               test_rng *rng, lathe_tensor **source) {
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = dtype, .n_dims = 2, .shape = shape};
    require(lathe_tensor_create(pool, &desc, source), "no source");
    test_fill_tensor(rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(*source),
                     lathe_tensor_mutable_scales(*source));
}

/* F32, F16, F32 with a NaN, I8: n_sources of them, and what the engine makes of them. */
static inline void make_tensors(lathe_engine *engine, size_t n_sources, const uint64_t shape[2],
                                stress_tensors *made) {
    static const lathe_dtype dtypes[] = {LATHE_F32, LATHE_F16, LATHE_F32, LATHE_I8};
    const uint32_t nan = 0x7fc00000u;
    test_rng rng = {1};
    *made = (stress_tensors){.n_sources = n_sources};
    for (size_t s = 0; s < n_sources; s++) {
        make_source(lathe_engine_pool(engine), dtypes[s], shape, &rng, &made->sources[s]);
    }
    memcpy((float *)lathe_tensor_mutable_data(made->sources[NAN_SOURCE]) + NAN_ELEMENT, &nan, 4);
    for (size_t s = 0; s < n_sources; s++) {
        for (size_t t = 0; t < N_TARGETS; t++) {
            const lathe_target target = target_at(t);
            const bool is_error = s == NAN_SOURCE && lathe_dtype_is_quantized(target.dtype);
            const lathe_status status =
                lathe_convert(engine, made->sources[s], &target, &made->expected[s][t], NULL);
            if (status != (is_error ? LATHE_NON_FINITE : LATHE_OK)) {
                fail("a first conversion failed");
            }
        }
    }
}

static inline void release_tensors(stress_tensors *tensors) {
    for (size_t s = 0; s < tensors->n_sources; s++) {
        lathe_tensor_release(tensors->sources[s]);
        for (size_t t = 0; t < N_TARGETS; t++) {
            lathe_tensor_release(tensors->expected[s][t]);
        }
    }
}

/* What came of a conversion of source s to target t. */
static inline void judge(const stress_tensors *tensors, size_t s, size_t t, lathe_status status,
                         const lathe_tensor *result) {
    const lathe_tensor *expected = tensors->expected[s][t];
    if (expected == NULL) {
        if (status != LATHE_NON_FINITE || lathe_last_error()->element != NAN_ELEMENT ||
            result != NULL) {
            fail("a NaN was not reported");
        }
    } else if (status != LATHE_OK || result == NULL) {
        fail("a conversion failed");
    } else if (!test_same(result, expected)) {
        fail("a result differs");
    }
}

#endif
