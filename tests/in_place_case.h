/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of conversions in place share: one case, in wrapped memory, and tensors of an
 * engine's. */
#ifndef LT_TEST_IN_PLACE_CASE_H
#define LT_TEST_IN_PLACE_CASE_H

#include "convert_case.h"
#include "core/tensor.h"
#include "pool/pool.h"

#ifdef TEST_OPENCL
enum { TEST_ON_DEVICE = 1 };
#else
enum { TEST_ON_DEVICE = 0 };
#endif

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

static inline placed place(const convert_case *c, uint64_t n_result_bytes, bool at_end) {
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

static inline void remove_placed(placed *p) {
    lathe_tensor_release(p->tensor);
    test_guarded_free(&p->memory);
    free(p->scales);
}

static inline void check_untouched(const convert_case *c, const lathe_target *target, size_t engine,
                                   const placed *p) {
    const lathe_tensor *t = p->tensor;
    CHECK(lathe_tensor_dtype(t) == c->from.dtype && lathe_tensor_data(t) == p->bytes &&
              lathe_tensor_granularity(t) == c->from.granularity &&
              memcmp(p->bytes, c->bytes, (size_t)c->layout.n_bytes) == 0 &&
              memcmp(p->scales, c->scales, (size_t)c->layout.n_scales * sizeof(float)) == 0,
          "%s: the tensor was touched", describe(c, target, engine));
}

/* Whether source and target have the same rows: then every pair can be converted in place. */
static inline bool same_rows(const convert_case *c, const lathe_target *target) {
    uint32_t theirs = target->row_dims == 0 ? 1 : target->row_dims;
    uint32_t ours = c->from.row_dims == 0 ? 1 : c->from.row_dims;
    return theirs == ours;
}

static inline void check_host(const convert_case *c, const lathe_target *target, size_t engine,
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

static inline void check_in_place(const convert_case *c, const lathe_target *target, bool at_end) {
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

static inline lathe_tensor *make_tensor(size_t engine, const convert_case *c) {
    lathe_tensor *made = NULL;
    CHECK_OK(lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE, &c->from, &made));
    CHECK_OK(lathe_tensor_copy(engines[engine], c->tensor, made));
    return made;
}

static inline lathe_tensor *on_host(size_t engine, const lathe_tensor *tensor) {
    const lathe_tensor_desc desc = lt_tensor_desc_of(tensor);
    lathe_tensor *made = NULL;
    CHECK_OK(lathe_tensor_create(pool, &desc, &made));
    CHECK_OK(lathe_tensor_copy(engines[engine], tensor, made));
    return made;
}

#endif
