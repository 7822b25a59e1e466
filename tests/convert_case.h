/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of lathe_convert share: the engines that must agree, a source tensor with its
 * target, and the comparison with the oracle. Each program that includes it has its own engines. */
#ifndef TESTS_CONVERT_CASE_H
#define TESTS_CONVERT_CASE_H

#include "check.h"
#include "oracle.h"
#include "support.h"
#ifdef TEST_OPENCL
#include "opencl_support.h"
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the engines that must agree */

enum { MAX_ENGINES = 12, CANARY = 0x5c, MARGIN = 64 };
static lathe_engine *engines[MAX_ENGINES];
static size_t n_engines;
static size_t n_small_engines; /* the first ones: enough for small tensors */
static test_executor executor;
static lathe_pool *pool;

static inline void add_engine(lathe_isa isa, uint32_t n_threads, const lathe_executor *own) {
    lathe_config config = {
        .struct_size = sizeof config, .isa = isa, .n_threads = n_threads, .executor = own};
    CHECK_OK(lathe_engine_create(&config, &engines[n_engines]));
    n_engines++;
}

#ifdef TEST_OPENCL
/* The scalar reference, the device as it is and, where there is the fault layer, the device as one
 * with its own memory: they do everything themselves. */
static inline void setup_engines(void) {
    lathe_config config = test_opencl_config();
    const test_cl_layer *layer = test_cl_layer_find();
    CHECK(layer != NULL || getenv("OPENCL_LAYERS") == NULL, "the fault layer was not loaded");
    CHECK_OK(lathe_pool_create(NULL, &pool));
    n_engines = 0;
    add_engine(LATHE_ISA_SCALAR, 1, NULL);
    CHECK_OK(test_opencl_engine(&config, false, layer, &engines[n_engines++]));
    if (layer != NULL) {
        test_executor_init(&executor, 3);
        config.n_threads = 0;
        config.executor = &executor.interface;
        CHECK_OK(test_opencl_engine(&config, true, layer, &engines[n_engines++]));
    }
    n_small_engines = n_engines;
}

#else
static inline void setup_engines(void) {
    lathe_isa isas[TEST_MAX_ISAS];
    size_t n_isas = test_isas(isas);
    CHECK(n_isas >= 1 && isas[0] == LATHE_ISA_SCALAR, "the scalar kernels are always there");
    CHECK_OK(lathe_pool_create(NULL, &pool));
    n_engines = 0;
    for (size_t i = 0; i < n_isas; i++) {
        add_engine(isas[i], 1, NULL);
    }
    add_engine(LATHE_ISA_AUTO, 3, NULL);
    n_small_engines = n_engines;
    add_engine(LATHE_ISA_AUTO, 2, NULL);
    add_engine(LATHE_ISA_AUTO, 7, NULL);
    add_engine(LATHE_ISA_SCALAR, 7, NULL);
    test_executor_init(&executor, 3);
    add_engine(LATHE_ISA_AUTO, 0, &executor.interface);
}
#endif

static inline void teardown_engines(void) {
    for (size_t i = 0; i < n_engines; i++) {
        lathe_engine_free(engines[i]);
    }
    lathe_pool_release(pool);
#ifdef TEST_OPENCL
    const test_cl_layer *layer = test_cl_layer_find();
    const char *left = layer == NULL ? NULL : test_cl_leftovers(layer);
    CHECK(left == NULL, "%s", left);
#endif
}

/* ---- one case: a source and a target */

typedef struct convert_case {
    lathe_tensor_desc from;
    oracle_layout layout;
    uint8_t *memory; /* the source's bytes lie at an odd address inside */
    uint8_t *bytes;
    float *scales;
    lathe_tensor *tensor;
} convert_case;

static inline convert_case case_new(const lathe_tensor_desc *from, size_t misalignment) {
    convert_case c = {.from = *from};
    CHECK(oracle_layout_of(from, &c.layout), "the description");
    c.memory = malloc((size_t)c.layout.n_bytes + 64);
    c.scales = malloc((size_t)c.layout.n_scales * sizeof(float) + 1);
    CHECK(c.memory != NULL && c.scales != NULL, "memory");
    c.bytes = c.memory + misalignment % 64;
    CHECK_OK(lathe_tensor_wrap(pool, from, c.bytes, c.scales, LATHE_WRAP_READ_ONLY, NULL, NULL,
                               &c.tensor));
    return c;
}

static inline void case_free(convert_case *c) {
    lathe_tensor_release(c->tensor);
    free(c->memory);
    free(c->scales);
}

static inline const char *describe(const convert_case *c, const lathe_target *t, size_t engine) {
    static char text[512];
    char shape[128] = "";
    for (uint32_t i = 0; i < c->from.n_dims; i++) {
        size_t at = strlen(shape);
        (void)snprintf(shape + at, sizeof shape - at, "%s%llu", i == 0 ? "" : "x",
                       (unsigned long long)c->from.shape[i]);
    }
    (void)snprintf(text, sizeof text,
                   "%s [%s] (granularity %d:%d row_dims %u) to %s (granularity %d:%d row_dims %u "
                   "quality %d nonfinite %d strict %u), engine %zu",
                   lathe_dtype_name(c->from.dtype), shape, (int)c->from.granularity,
                   (int)c->from.group_size, c->from.row_dims, lathe_dtype_name(t->dtype),
                   (int)t->granularity, (int)t->group_size, t->row_dims, (int)t->quality,
                   (int)t->nonfinite, t->strict, engine);
    return text;
}

static inline size_t first_difference(const void *a, const void *b, size_t n) {
    const uint8_t *x = a;
    const uint8_t *y = b;
    size_t i = 0;
    while (i < n && x[i] == y[i]) {
        i++;
    }
    return i;
}

static inline void check_contents(const convert_case *c, const lathe_target *target, size_t engine,
                                  const oracle_result *expected, const void *data,
                                  const float *scales) {
    size_t n_bytes = (size_t)expected->layout.n_bytes;
    size_t n_scale_bytes = (size_t)expected->layout.n_scales * sizeof(float);
    size_t wrong = first_difference(scales, expected->scales, n_scale_bytes);
    CHECK(wrong == n_scale_bytes, "%s: scale %zu is %a, not %a", describe(c, target, engine),
          wrong / 4, (double)scales[wrong / 4], (double)expected->scales[wrong / 4]);
    wrong = first_difference(data, expected->bytes, n_bytes);
    CHECK(wrong == n_bytes, "%s: byte %zu is %02x, not %02x", describe(c, target, engine), wrong,
          ((const uint8_t *)data)[wrong], expected->bytes[wrong]);
}

static inline void check_error(const convert_case *c, const lathe_target *target, size_t engine,
                               const oracle_result *expected, lathe_status status) {
    const lathe_error *error = lathe_last_error();
    CHECK(status == expected->status, "%s: %s (element %lld), not %s (element %lld)",
          describe(c, target, engine), lathe_status_name(status), (long long)error->element,
          lathe_status_name(expected->status), (long long)expected->element);
    if (status != LATHE_OK) {
        CHECK(error->status == status && error->element == expected->element,
              "%s: %s at element %lld, not %lld", describe(c, target, engine),
              lathe_status_name(status), (long long)error->element, (long long)expected->element);
        CHECK(error->from == c->from.dtype && error->to == target->dtype, "%s: the error's types",
              describe(c, target, engine));
        CHECK(error->message[0] != '\0', "%s: no message", describe(c, target, engine));
    }
}

static inline void run_new(const convert_case *c, const lathe_target *target, size_t engine,
                           const oracle_result *expected) {
    lathe_tensor *const untouched = (lathe_tensor *)(void *)&pool;
    lathe_tensor *result = untouched;
    lathe_convert_stats stats = {.struct_size = sizeof stats, .n_saturated = 12345};
    lathe_status status = lathe_convert(engines[engine], c->tensor, target, &result, &stats);
    check_error(c, target, engine, expected, status);
    if (status != LATHE_OK) {
        CHECK(result == untouched, "%s: the result was touched", describe(c, target, engine));
        return;
    }
    CHECK(lathe_tensor_dtype(result) == target->dtype, "dtype");
    CHECK(lathe_tensor_n_bytes(result) == expected->layout.n_bytes, "n_bytes");
    CHECK(lathe_tensor_n_scales(result) == expected->layout.n_scales, "n_scales");
    CHECK(lathe_tensor_n_dims(result) == c->from.n_dims, "n_dims");
    check_contents(c, target, engine, expected, lathe_tensor_data(result),
                   lathe_tensor_scales(result));
    CHECK(stats.n_saturated == expected->n_saturated, "%s: %d saturated, not %d",
          describe(c, target, engine), (int)stats.n_saturated, (int)expected->n_saturated);
    lathe_tensor_release(result);
}

/* Into the caller's memory at some odd address, with canaries around it. */
static inline void run_into(const convert_case *c, const lathe_target *target, size_t engine,
                            size_t misalignment, const oracle_result *expected) {
    size_t n_bytes = (size_t)expected->layout.n_bytes;
    size_t n_scales = (size_t)expected->layout.n_scales;
    uint8_t *memory = malloc(n_bytes + 2 * MARGIN + 64);
    float *scales = malloc((n_scales + 2) * sizeof *scales);
    CHECK(memory != NULL && scales != NULL, "memory");
    memset(memory, CANARY, n_bytes + 2 * MARGIN + 64);
    memset(scales, CANARY, (n_scales + 2) * sizeof *scales);
    uint8_t *data = memory + MARGIN + misalignment % 64;
    lathe_tensor_desc desc;
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &desc));
    CHECK_OK(lathe_tensor_wrap(pool, &desc, data, scales + 1, 0, NULL, NULL, &result));
    lathe_status status = lathe_convert_into(engines[engine], c->tensor, target, result, NULL);
    check_error(c, target, engine, expected, status);
    if (status == LATHE_OK) {
        check_contents(c, target, engine, expected, data, scales + 1);
    }
    for (size_t i = 0; i < MARGIN; i++) {
        CHECK(data[-(ptrdiff_t)i - 1] == CANARY && data[n_bytes + i] == CANARY,
              "%s: wrote outside the data", describe(c, target, engine));
    }
    CHECK(test_bits(scales[0]) == 0x5c5c5c5cu && test_bits(scales[n_scales + 1]) == 0x5c5c5c5cu,
          "%s: wrote outside the scales", describe(c, target, engine));
    lathe_tensor_release(result);
    free(memory);
    free(scales);
}

/* Every engine gives what the oracle gives, whatever the destination. */
static inline void check_case(const convert_case *c, const lathe_target *target) {
    static size_t count;
    oracle_result expected;
    oracle_convert(&c->from, c->bytes, c->scales, target, &expected);
    size_t n = c->layout.n_elems <= 4096 && count % 16 != 0 ? n_small_engines : n_engines;
    for (size_t i = 0; i < n; i++) {
        run_new(c, target, i, &expected);
    }
    run_into(c, target, count % n, count * 13 + 1, &expected);
    count++;
    oracle_result_free(&expected);
}

/* ---- layouts, shapes and targets */

typedef struct layout_option {
    lathe_granularity granularity;
    uint64_t group_size;
} layout_option;

static const layout_option layout_options[] = {
    {LATHE_PER_TENSOR, 0}, {LATHE_PER_ROW, 0},    {LATHE_PER_GROUP, 32},
    {LATHE_PER_GROUP, 64}, {LATHE_PER_GROUP, 96}, {LATHE_PER_GROUP, 128},
};
enum { N_LAYOUTS = sizeof layout_options / sizeof layout_options[0] };

typedef struct shape_option {
    uint32_t n_dims;
    uint64_t shape[4];
} shape_option;
static inline lathe_tensor_desc desc_of(lathe_dtype dtype, const shape_option *shape,
                                        const layout_option *layout, uint32_t row_dims) {
    bool quantized = lathe_dtype_is_quantized(dtype);
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc),
        .dtype = dtype,
        .n_dims = shape->n_dims,
        .shape = shape->shape,
        .granularity = quantized ? layout->granularity : LATHE_PER_TENSOR,
        .group_size = quantized ? layout->group_size : 0,
        .row_dims = row_dims > 1 && row_dims > shape->n_dims ? shape->n_dims : row_dims,
    };
}

static inline lathe_target target_of(lathe_dtype dtype, const layout_option *layout,
                                     uint32_t row_dims) {
    return (lathe_target){
        .struct_size = sizeof(lathe_target),
        .dtype = dtype,
        .granularity = layout->granularity,
        .group_size = layout->group_size,
        .row_dims = row_dims,
    };
}

/* A tensor of ones with faults put in by hand. */
static inline convert_case ones(lathe_dtype dtype, const shape_option *shape) {
    lathe_tensor_desc desc = desc_of(dtype, shape, &layout_options[1], 0);
    convert_case c = case_new(&desc, 1);
    test_rng rng = {6};
    test_fill_tensor(&rng, &desc, TEST_DATA_EXACT, c.bytes, c.scales);
    for (uint64_t i = 0; !c.layout.quantized && i < c.layout.n_elems; i++) {
        float one = 1.0F;
        uint16_t narrow = dtype == LATHE_F16 ? 0x3c00 : 0x3f80;
        memcpy(c.bytes + i * (dtype == LATHE_F32 ? 4 : 2),
               dtype == LATHE_F32 ? (void *)&one : &narrow, dtype == LATHE_F32 ? 4 : 2);
    }
    return c;
}

static inline void put(const convert_case *c, uint64_t i, uint32_t f32) {
    uint16_t narrow = c->from.dtype == LATHE_F16 ? oracle_f32_to_f16(f32) : oracle_f32_to_bf16(f32);
    if (c->from.dtype == LATHE_F32) {
        memcpy(c->bytes + 4 * i, &f32, 4);
    } else {
        memcpy(c->bytes + 2 * i, &narrow, 2);
    }
}

/* ---- tensors too large for the oracle: the engines against the first one */

static inline void check_agreement(const convert_case *c, const lathe_target *target) {
    lathe_tensor *first = NULL;
    lathe_convert_stats first_stats = {.struct_size = sizeof first_stats};
    lathe_status first_status = lathe_convert(engines[0], c->tensor, target, &first, &first_stats);
    oracle_result expected = {.status = first_status, .element = lathe_last_error()->element};
    for (size_t i = 1; i < n_engines; i++) {
        lathe_tensor *result = NULL;
        lathe_convert_stats stats = {.struct_size = sizeof stats};
        lathe_status status = lathe_convert(engines[i], c->tensor, target, &result, &stats);
        check_error(c, target, i, &expected, status);
        if (status == LATHE_OK) {
            CHECK(test_same(first, result), "%s", describe(c, target, i));
            CHECK(stats.n_saturated == first_stats.n_saturated, "%s", describe(c, target, i));
        }
        lathe_tensor_release(result);
    }
    lathe_tensor_release(first);
}

#endif
