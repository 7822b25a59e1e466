/* SPDX-License-Identifier: Apache-2.0 */
/* The self-check: a device's kernels against the scalar reference, before they are used. */
#include "engine/device/self_check.h"

#include "core/error.h"
#include "engine/device/check_source.h"
#include "engine/device/device_tensor.h"
#include "engine/direct/direct.h"
#include "engine/in_place/in_place_trial.h"
#include "engine/plan/many_plan.h"
#include "engine/plan/plan.h"
#include <lathe/quality.h>
#include <string.h>

/* One conversion to compare. The shapes lead to every kernel: rows that vectors can begin at and
 * rows that they cannot, scales that a statistics pass finds and scales that the convert pass finds
 * itself. */
typedef struct check_case {
    lt_check_kind kind;
    uint64_t shape[2];
    lathe_granularity from; /* of a quantized source */
    lathe_granularity to;
    uint64_t group_size; /* PER_GROUP */
    lathe_quality quality;
    lathe_nonfinite nonfinite;
} check_case;

/* Zero is the default: of a tensor, BALANCED, an error. */
static const check_case cases[] = {
    {.shape = {2, 5120}},
    {.shape = {5, 333}, .from = LATHE_PER_ROW},
    {.shape = {7, 640}, .to = LATHE_PER_ROW},
    {.shape = {3, 1111}, .to = LATHE_PER_GROUP, .group_size = 32},
    {.kind = LT_CHECK_ODD,
     .shape = {4, 960},
     .from = LATHE_PER_ROW,
     .to = LATHE_PER_GROUP,
     .group_size = 96,
     .nonfinite = LATHE_NONFINITE_SATURATE},
    {.kind = LT_CHECK_CODE, .shape = {2, 4096}},
    {.kind = LT_CHECK_CODE, .shape = {3, 640}, .to = LATHE_PER_GROUP, .group_size = 128},
    {.kind = LT_CHECK_CODE, .shape = {1, 4096}, .to = LATHE_PER_GROUP, .group_size = 512},
    {.kind = LT_CHECK_LEAST, .shape = {2, 768}, .to = LATHE_PER_GROUP, .group_size = 256},
    {.kind = LT_CHECK_LEAST, .shape = {1, 1536}, .to = LATHE_PER_GROUP, .group_size = 512},
    {.kind = LT_CHECK_ODD,
     .shape = {2, 2560},
     .from = LATHE_PER_ROW,
     .quality = LATHE_FAST,
     .nonfinite = LATHE_NONFINITE_SATURATE},
    {.kind = LT_CHECK_ODD, .shape = {9, 320}, .from = LATHE_PER_ROW},
    {.kind = LT_CHECK_STRICT, .shape = {2, 1280}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_ODD,
     .shape = {5, 333},
     .from = LATHE_PER_ROW,
     .to = LATHE_PER_ROW,
     .quality = LATHE_FAST,
     .nonfinite = LATHE_NONFINITE_SATURATE},
    {.kind = LT_CHECK_TIES, .shape = {3, 640}},
    {.kind = LT_CHECK_TIES, .shape = {3, 640}, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_TIES, .shape = {3, 640}, .to = LATHE_PER_GROUP, .group_size = 64},
    {.kind = LT_CHECK_TIES, .shape = {3, 640}, .to = LATHE_PER_GROUP, .group_size = 128},
    {.kind = LT_CHECK_TIES, .shape = {3, 672}, .to = LATHE_PER_GROUP, .group_size = 32},
    {.kind = LT_CHECK_TIES, .shape = {3, 736}, .to = LATHE_PER_GROUP, .group_size = 128},
    {.kind = LT_CHECK_TIES, .shape = {2, 672}, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_TIES, .shape = {13, 27}, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_TIES, .shape = {3, 667}, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_LONG, .shape = {2, 4531}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_LONG, .shape = {1, 5152}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_LONG, .shape = {1, 6176}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_LONG, .shape = {1, 8256}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_LONG, .shape = {1, 12320}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_LONG, .shape = {1, 22592}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_LONG, .shape = {1, 36896}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_ENDS, .shape = {7, 2464}, .from = LATHE_PER_ROW, .to = LATHE_PER_ROW},
    {.kind = LT_CHECK_ENDS,
     .shape = {7, 2464},
     .from = LATHE_PER_GROUP,
     .to = LATHE_PER_ROW,
     .group_size = 96},
};

/* What a pair is checked for. */
typedef enum check_way {
    CHECK_ALONE,
    CHECK_MANY,
    CHECK_IN_PLACE,
    CHECK_PRECISE,
    CHECK_SCALES,
    CHECK_MEASURE,
    CHECK_ROUNDED
} check_way;

/* Work-groups that take turns, more than some devices have at once; and a scope for whose PRECISE
 * scale work-groups share the work. */
static const check_case many_tiles = {.shape = {16, 5120}};

typedef struct check {
    lt_check_sides sides;
    lathe_dtype src;
    lathe_dtype dst;
    check_way way;
    const lathe_dtype *rounds; /* CHECK_ROUNDED: LT_MOST_ROUNDS of them */
    const check_case *c;
} check;

static lathe_target target_of(const check *k) {
    bool quantized = lathe_dtype_is_quantized(k->dst);
    bool is_part = k->way == CHECK_SCALES || k->way == CHECK_MEASURE; /* of a conversion */
    bool is_precise = k->way == CHECK_PRECISE || k->way == CHECK_SCALES;
    /* Where data has faults of two kinds, either may be reported if the scales take a pass. */
    bool has_one_fault = !is_part && !(is_precise && k->c->kind == LT_CHECK_STRICT);
    return (lathe_target){
        .struct_size = sizeof(lathe_target),
        .dtype = k->dst,
        .granularity = quantized ? k->c->to : LATHE_PER_TENSOR,
        .group_size = quantized ? k->c->group_size : 0,
        .quality = is_precise ? LATHE_PRECISE : k->c->quality,
        .nonfinite = has_one_fault ? k->c->nonfinite : LATHE_NONFINITE_SATURATE,
        .strict = k->c->kind == LT_CHECK_STRICT,
    };
}

static bool is_of_data(lathe_status status) {
    return status == LATHE_OK || status == LATHE_NON_FINITE || status == LATHE_DATA_LOSS;
}

/* Converts on the device, in the way that is being checked, and fetches the result. */
static lathe_status convert_on_device(check *k, const lathe_target *target, bool is_expected,
                                      uint64_t *n_saturated) {
    lathe_status status;
    if (k->way == CHECK_IN_PLACE) { /* of data that has been checked already */
        return is_expected ? lt_in_place_trial(k->sides.engine, k->sides.device_source, target,
                                               k->sides.expected, k->sides.result)
                           : lt_fail(LATHE_NOT_SUPPORTED, "the data has faults");
    }
    if (k->way == CHECK_MANY) {
        size_t which = (size_t)(k->c - cases) % LT_MANY_COPIES;
        status = lt_many_trial(k->sides.engine, k->sides.device_source, target, which,
                               k->sides.device_result, n_saturated);
    } else if (k->way == CHECK_ROUNDED) {
        status = lt_direct_convert_rounded(k->sides.engine, k->sides.engine->device,
                                           k->sides.device_source, k->rounds, target,
                                           k->sides.device_result, true, n_saturated);
    } else {
        status = lt_direct_convert(k->sides.engine, k->sides.engine->device, k->sides.device_source,
                                   target, k->sides.device_result, true, n_saturated);
    }
    return status == LATHE_OK ? lt_tensor_copy_contents(k->sides.device_result, k->sides.result)
                              : status;
}

static lathe_status differs(const check *k) {
    return lt_fail(LATHE_DEVICE, "%s to %s: the device computes other bits than the reference",
                   lathe_dtype_name(k->src), lathe_dtype_name(k->dst));
}

/* Converts on both sides and compares bytes, scales, counts and faults. */
static lathe_status compare(check *k, const lathe_target *target) {
    uint64_t n_expected = 0;
    uint64_t n_saturated = 0;
    lathe_status status = lt_tensor_copy_contents(k->sides.source, k->sides.device_source);
    if (status != LATHE_OK) {
        return status;
    }
    if (k->way == CHECK_ROUNDED) { /* the device does by itself */
        lt_check_round(&k->sides, k->rounds);
    }
    lathe_status expected = lt_direct_convert(k->sides.engine, k->sides.reference, k->sides.source,
                                              target, k->sides.expected, true, &n_expected);
    uint64_t element = expected == LATHE_OK ? LATHE_NO_ELEMENT : lt_error()->element;
    if (!is_of_data(expected)) {
        return expected;
    }
    status = convert_on_device(k, target, expected == LATHE_OK, &n_saturated);
    if (!is_of_data(status)) {
        return k->way != CHECK_ALONE && status == LATHE_NOT_SUPPORTED ? LATHE_OK : status;
    }
    bool same = status == expected && (status == LATHE_OK || lt_error()->element == element);
    if (status == LATHE_OK && same) {
        same =
            (n_saturated == n_expected || k->way == CHECK_IN_PLACE) && lt_check_agrees(&k->sides);
    }
    return same ? LATHE_OK : differs(k);
}

/* The scales alone, of which the search gets standard ones from the reference. */
static lathe_status compare_scales(check *k, const lathe_target *target) {
    lathe_target standard = *target;
    float *found = k->sides.result->scales;
    const size_t n_bytes = (size_t)k->sides.result->layout.n_scales * sizeof *found;
    standard.quality = LATHE_BALANCED;
    lathe_status status = lt_direct_scales(k->sides.engine, k->sides.reference, k->sides.source,
                                           target, k->sides.expected->scales);
    if (status == LATHE_OK) {
        status = lt_direct_scales(k->sides.engine, k->sides.reference, k->sides.source, &standard,
                                  found);
    }
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(k->sides.source, k->sides.device_source);
    }
    if (status == LATHE_OK) {
        status = lt_direct_search(k->sides.engine, k->sides.engine->device, k->sides.device_source,
                                  target, found);
    }
    return status == LATHE_OK && memcmp(found, k->sides.expected->scales, n_bytes) != 0 ? differs(k)
                                                                                        : status;
}

/* Reports on what the reference has made. */
static lathe_status compare_reports(check *k, const lathe_target *target) {
    lathe_quality_report expected = {.struct_size = sizeof expected};
    lathe_quality_report found = {.struct_size = sizeof found};
    uint64_t n_saturated;
    lathe_status status =
        lt_direct_convert_measured(k->sides.engine, k->sides.reference, k->sides.source, target,
                                   k->sides.expected, &n_saturated, &expected);
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(k->sides.source, k->sides.device_source);
    }
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(k->sides.expected, k->sides.device_result);
    }
    if (status == LATHE_OK) {
        status = lt_direct_measure(k->sides.engine, k->sides.engine->device, k->sides.device_source,
                                   target, k->sides.device_result, true, &found);
    }
    /* To the bit, which is meant. */
    const bool is_same =
        memcmp((const uint8_t *)&found, (const uint8_t *)&expected, sizeof found) == 0;
    return status == LATHE_OK && !is_same ? differs(k) : status;
}

static lathe_status compare_in_way(check *k, const lathe_target *target) {
    switch (k->way) {
    case CHECK_SCALES:
        return k->c->kind != LT_CHECK_STRICT ? compare_scales(k, target) : LATHE_OK;
    case CHECK_MEASURE:
        return k->c->kind != LT_CHECK_STRICT ? compare_reports(k, target) : LATHE_OK;
    default:
        return compare(k, target);
    }
}

static bool is_meant(const check *k) {
    const bool from_codes = lathe_dtype_is_quantized(k->src);
    switch (k->c->kind) {
    case LT_CHECK_CODE:
        return from_codes && lathe_dtype_is_quantized(k->dst);
    case LT_CHECK_LEAST:
        return k->way == CHECK_SCALES;
    case LT_CHECK_TIES:
        return !from_codes;
    case LT_CHECK_LONG:
        return lathe_dtype_is_quantized(k->dst) &&
               (k->way == CHECK_ALONE || k->way == CHECK_ROUNDED);
    case LT_CHECK_ENDS:
        return from_codes && !lathe_dtype_is_quantized(k->dst) && k->way == CHECK_ALONE;
    default:
        return true;
    }
}

/* Whether the case is one for the device's kernels of long rows, if that is what it is for. */
static bool reaches_kernel(const check *k, const lathe_target *target) {
    const lt_backend *device = k->sides.engine->device;
    if (k->c->kind != LT_CHECK_LONG) {
        return true;
    }
    const lt_plan plan = lt_plan_make(device, &k->sides.source->layout, &k->sides.expected->layout,
                                      target, device->max_own_scope_elems);
    return device->ops->takes_rows != NULL && device->ops->takes_rows(device, &plan.pass);
}

static lathe_status run_case(check *k) {
    if (!is_meant(k)) {
        return LATHE_OK;
    }
    const lathe_target target = target_of(k);
    const lathe_tensor_desc from = {
        .struct_size = sizeof from,
        .dtype = k->src,
        .n_dims = 2,
        .shape = k->c->shape,
        .granularity = lathe_dtype_is_quantized(k->src) ? k->c->from : LATHE_PER_TENSOR,
        .group_size = k->c->from == LATHE_PER_GROUP ? k->c->group_size : 0,
    };
    lathe_tensor_desc to;
    lathe_status status = lathe_target_desc(&target, 2, k->c->shape, &to);
    if (status == LATHE_OK) {
        status = lt_check_open(&k->sides, &from, &to);
    }
    if (status == LATHE_OK &&
        !lt_layout_equal(&k->sides.source->layout, &k->sides.expected->layout) &&
        reaches_kernel(k, &target)) {
        lt_check_fill(&k->sides, k->dst, k->c->kind);
        if (k->way == CHECK_ROUNDED && k->c->kind != LT_CHECK_ODD) {
            lt_check_keep_finite(&k->sides, k->rounds);
        }
        status = compare_in_way(k, &target);
    }
    lt_check_close(&k->sides);
    return status;
}

static lathe_status check_pair(lathe_engine *engine, lathe_dtype src, lathe_dtype dst,
                               check_way way, const lathe_dtype *rounds) {
    const size_t n_cases = sizeof cases / sizeof cases[0];
    const size_t has_more = way == CHECK_IN_PLACE || way == CHECK_SCALES ? 1 : 0;
    check k = {.src = src, .dst = dst, .way = way, .rounds = rounds};
    lathe_status status = lt_check_begin(&k.sides, engine);
    if (status != LATHE_OK) {
        return status;
    }
    for (size_t i = 0; status == LATHE_OK && i < n_cases + has_more; i++) {
        k.c = i < n_cases ? &cases[i] : &many_tiles;
        status = run_case(&k);
    }
    lt_check_end(&k.sides);
    if (status != LATHE_OK) {
        lathe_device_info info = {.struct_size = sizeof info};
        const lathe_error error = *lt_error();
        engine->device->ops->describe(engine->device, &info);
        lt_engine_notice(engine, LATHE_NOTICE_WARNING, "%s (%s) is not used: %s", info.selector,
                         info.name, error.message);
        return lt_fail_with(&error);
    }
    return LATHE_OK;
}

lathe_status lt_self_check_pair(void *engine, lathe_dtype src, lathe_dtype dst) {
    return check_pair(engine, src, dst, CHECK_ALONE, NULL);
}

lathe_status lt_self_check_many(void *engine, lathe_dtype src, lathe_dtype dst) {
    return check_pair(engine, src, dst, CHECK_MANY, NULL);
}

lathe_status lt_self_check_in_place(void *engine, lathe_dtype src, lathe_dtype dst) {
    return check_pair(engine, src, dst, CHECK_IN_PLACE, NULL);
}

lathe_status lt_self_check_precise(void *engine, lathe_dtype src, lathe_dtype dst) {
    return check_pair(engine, src, dst, CHECK_PRECISE, NULL);
}

lathe_status lt_self_check_scales(void *engine, lathe_dtype src, lathe_dtype dst) {
    static const lathe_dtype targets[] = {LATHE_I8, LATHE_I4, LATHE_I2, LATHE_BITNET158};
    const int n_targets = (int)(sizeof targets / sizeof targets[0]);
    lathe_status status = LATHE_OK;
    (void)src;
    (void)dst;
    for (int t = 0; status == LATHE_OK && t < n_targets; t++) {
        status = check_pair(engine, LATHE_F32, targets[t], CHECK_SCALES, NULL);
    }
    for (int i = LATHE_F16; status == LATHE_OK && i <= LATHE_DTYPE_LAST; i++) {
        lathe_dtype to = targets[i % n_targets];
        to = to != (lathe_dtype)i ? to : targets[(i + 1) % n_targets];
        status = check_pair(engine, (lathe_dtype)i, to, CHECK_SCALES, NULL);
    }
    return status;
}

lathe_status lt_self_check_measure(void *engine, lathe_dtype src, lathe_dtype dst) {
    const int n_dtypes = LATHE_DTYPE_LAST - LATHE_DTYPE_FIRST + 1;
    lathe_status status = LATHE_OK;
    (void)src;
    (void)dst;
    for (int i = 0; status == LATHE_OK && i < n_dtypes; i++) {
        const int to = (i + 3) % n_dtypes;
        status = check_pair(engine, (lathe_dtype)(LATHE_DTYPE_FIRST + i),
                            (lathe_dtype)(LATHE_DTYPE_FIRST + to), CHECK_MEASURE, NULL);
    }
    return status;
}

lathe_status lt_self_check_rounded(void *ctx, uint32_t n_types, const lathe_dtype *types) {
    lathe_dtype rounds[LT_MOST_ROUNDS] = {(lathe_dtype)0};
    for (uint32_t i = 1; i + 1 < n_types; i++) {
        rounds[i - 1] = types[i];
    }
    return check_pair(ctx, types[0], types[n_types - 1], CHECK_ROUNDED, rounds);
}

/* Every family: each dtype's encoder and decoder, in whose kernels all the parts are. */
lathe_status lathe_engine_self_check(lathe_engine *engine) {
    if (engine == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine is NULL");
    }
    lt_backend *backend = engine->device != NULL ? engine->device : engine->cpu;
    lathe_status status = LATHE_OK;
    for (int i = LATHE_DTYPE_FIRST; status == LATHE_OK && i <= LATHE_DTYPE_LAST; i++) {
        if (i != LATHE_F32) { /* which is a copy */
            status = backend->ops->self_check(backend, LATHE_F32, (lathe_dtype)i);
        }
        if (status == LATHE_OK && i != LATHE_F32) {
            status = backend->ops->self_check(backend, (lathe_dtype)i, LATHE_F32);
        }
    }
    return status;
}
