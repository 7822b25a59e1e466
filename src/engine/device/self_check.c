/* SPDX-License-Identifier: Apache-2.0 */
/* The self-check: a device's kernels against the scalar reference, before they are used. */
#include "engine/device/self_check.h"

#include "core/dtype.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "cpu/cpu.h"
#include "engine/device/device_tensor.h"
#include "engine/direct/direct.h"
#include "engine/engine.h"
#include "engine/in_place/in_place_trial.h"
#include "engine/plan/many_plan.h"
#include "engine/plan/plan.h"
#include "pool/pool.h"
#include <inttypes.h>
#include <lathe/quality.h>
#include <string.h>

/* What is special about a case: nothing; quantized types on both sides, and codes of the source
 * that the standard scales give; scopes for the search for PRECISE scales; NaN and infinities in a
 * source of floats; strict mode; a source of floats that lies halfway between two numbers of the
 * target; or rows whose scales one pass may find, for each of the kernels that do: floats as in the
 * last kind, or codes as in the second; or codes to floats in rows that end anywhere in what a
 * work-group takes. */
typedef enum check_kind { ANY, CODE, LEAST, ODD, STRICT, TIES, LONG, ENDS } check_kind;

/* One conversion to compare. The shapes lead to every kernel: rows that vectors can begin at and
 * rows that they cannot, scales that a statistics pass finds and scales that the convert pass finds
 * itself. */
typedef struct check_case {
    uint64_t shape[2];
    lathe_granularity from; /* of a quantized source */
    lathe_granularity to;
    uint64_t group_size; /* PER_GROUP */
    lathe_quality quality;
    lathe_nonfinite nonfinite;
    check_kind kind;
} check_case;

static const check_case cases[] = {
    {{2, 5120}, LATHE_PER_TENSOR, LATHE_PER_TENSOR, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, ANY},
    {{5, 333}, LATHE_PER_ROW, LATHE_PER_TENSOR, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, ANY},
    {{7, 640}, LATHE_PER_TENSOR, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, ANY},
    {{3, 1111}, LATHE_PER_TENSOR, LATHE_PER_GROUP, 32, LATHE_BALANCED, LATHE_NONFINITE_ERROR, ANY},
    {{4, 960}, LATHE_PER_ROW, LATHE_PER_GROUP, 96, LATHE_BALANCED, LATHE_NONFINITE_SATURATE, ODD},
    {{2, 4096}, LATHE_PER_TENSOR, LATHE_PER_TENSOR, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, CODE},
    {{3, 640}, LATHE_PER_TENSOR, LATHE_PER_GROUP, 128, LATHE_BALANCED, LATHE_NONFINITE_ERROR, CODE},
    {{2, 768},
     LATHE_PER_TENSOR,
     LATHE_PER_GROUP,
     256,
     LATHE_BALANCED,
     LATHE_NONFINITE_ERROR,
     LEAST},
    {{1, 1536},
     LATHE_PER_TENSOR,
     LATHE_PER_GROUP,
     512,
     LATHE_BALANCED,
     LATHE_NONFINITE_ERROR,
     LEAST},
    {{2, 2560}, LATHE_PER_ROW, LATHE_PER_TENSOR, 0, LATHE_FAST, LATHE_NONFINITE_SATURATE, ODD},
    {{9, 320}, LATHE_PER_ROW, LATHE_PER_TENSOR, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, ODD},
    {{2, 1280}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, STRICT},
    {{3, 640}, LATHE_PER_ROW, LATHE_PER_TENSOR, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, TIES},
    {{3, 640}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, TIES},
    {{3, 640}, LATHE_PER_ROW, LATHE_PER_GROUP, 64, LATHE_BALANCED, LATHE_NONFINITE_ERROR, TIES},
    {{3, 640}, LATHE_PER_ROW, LATHE_PER_GROUP, 128, LATHE_BALANCED, LATHE_NONFINITE_ERROR, TIES},
    {{3, 672}, LATHE_PER_ROW, LATHE_PER_GROUP, 32, LATHE_BALANCED, LATHE_NONFINITE_ERROR, TIES},
    {{3, 736}, LATHE_PER_ROW, LATHE_PER_GROUP, 128, LATHE_BALANCED, LATHE_NONFINITE_ERROR, TIES},
    {{2, 672}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, TIES},
    {{1, 5152}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, LONG},
    {{1, 6176}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, LONG},
    {{1, 8256}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, LONG},
    {{1, 12320}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, LONG},
    {{1, 22560}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, LONG},
    {{7, 2464}, LATHE_PER_ROW, LATHE_PER_ROW, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, ENDS},
    {{7, 2464}, LATHE_PER_GROUP, LATHE_PER_ROW, 96, LATHE_BALANCED, LATHE_NONFINITE_ERROR, ENDS},
};

/* What a pair is checked for. */
typedef enum check_way {
    CHECK_ALONE,
    CHECK_MANY,
    CHECK_IN_PLACE,
    CHECK_PRECISE,
    CHECK_SCALES,
    CHECK_MEASURE
} check_way;

/* Work-groups that take turns, more than some devices have at once; and a scope for whose PRECISE
 * scale work-groups share the work. */
static const check_case many_tiles = {
    {16, 5120}, LATHE_PER_TENSOR, LATHE_PER_TENSOR, 0, LATHE_BALANCED, LATHE_NONFINITE_ERROR, ANY};

typedef struct check {
    lathe_engine *engine;
    lt_backend *reference;
    lathe_dtype src;
    lathe_dtype dst;
    check_way way;
    const check_case *c;
    lathe_tensor *source;
    lathe_tensor *expected;
    lathe_tensor *device_source;
    lathe_tensor *device_result;
    lathe_tensor *result;
} check;

/* A bijection of 64 bits that leaves no pattern (Steele and others, "Fast splittable pseudorandom
 * number generators", 2014). */
static uint64_t scramble(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Element i as a number halfway between two that the target has, or nearly so. To floats, any such
 * number. Else the scale becomes 1: the mean of magnitudes 1/2 and 3/2 in turns, or the greatest of
 * one in 32 that is the largest code, among halves. */
static float tie(const check *k, uint64_t i) {
    const lt_dtype_traits *traits = lt_dtype_traits_of(k->dst);
    uint64_t x = scramble(i);
    float sign = x % 2 == 0 ? 1 : -1;
    if (!lathe_dtype_is_quantized(k->dst)) {
        uint32_t half = k->dst == LATHE_F16 ? 0x1000 : 0x8000;
        uint32_t bits = ((uint32_t)(x >> 32) & 0x807fe000) | UINT32_C(0x3f800000);
        bits = (bits & ~(2 * half - 1)) | half;
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    if (traits->rule != LT_RULE_ABSMAX) {
        return sign * ((float)(i % 2) + 0.5f);
    }
    float most = traits->max_code;
    return i % 32 == 5 ? most : sign * ((float)(x / 2 % (uint64_t)most) + 0.5f);
}

/* Element i as F32 bits: mostly around 1, some of any exponent, subnormals and zeros. */
static uint32_t pattern(const check *k, uint64_t i) {
    static const uint32_t odd[] = {
        0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x33000000, 0x33000001, 0x387fe000,
        0x477fefff, 0x477ff000, 0x3f000000, 0xbf000000, 0x3fc00000, 0x7f7fffff, 0x3f808000,
    };
    static const uint32_t nonfinite[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xff812345,
                                         0x7f800001};
    uint64_t x = scramble(i);
    uint32_t bits = (uint32_t)(x >> 32);
    if (k->c->kind == TIES || k->c->kind == LONG) {
        float value = tie(k, i);
        memcpy(&bits, &value, sizeof bits);
        return bits;
    }
    bool is_float = !lathe_dtype_is_quantized(k->dst);
    if (x % 16 == 0) {
        return odd[x / 16 % (sizeof odd / sizeof odd[0])] & (is_float ? UINT32_MAX : 0xbfffffff);
    }
    if ((k->c->kind == ODD || is_float) && x % 64 == 1) {
        return nonfinite[x / 64 % (sizeof nonfinite / sizeof nonfinite[0])];
    }
    if (x % 16 == 2) {
        return (bits & 0x7f800000) == 0x7f800000 ? bits & 0xbfffffff : bits;
    }
    return (bits & 0x807fffff) | (uint32_t)(120 + x % 8) << 23;
}

static void fill_floats(const check *k) {
    const lt_layout *layout = &k->source->layout;
    lt_convert_fn *narrow =
        ((const lt_cpu_backend *)k->reference)->kernels.convert[LT_HOT][LATHE_F32][k->src];
    uint8_t *out = k->source->data;
    for (uint64_t i = 0; i < layout->n_elems; i++) {
        uint32_t bits = pattern(k, i);
        if (k->src == LATHE_F32) {
            memcpy(out + 4 * i, &bits, sizeof bits);
        } else {
            narrow(&bits, out + 2 * i, 1, &(lt_kernel_params){0});
        }
    }
}

static void fill_codes(const check *k) {
    const lt_layout *layout = &k->source->layout;
    uint8_t *out = k->source->data;
    for (uint64_t i = 0; i < layout->n_bytes; i++) {
        uint64_t x = scramble(i);
        if (k->src == LATHE_I2 && (k->c->kind == CODE || k->c->kind == LONG)) {
            x &= ~(x & ~(x << 1) & 0xaa); /* -2 becomes 0 */
        }
        out[i] = (uint8_t)(k->src == LATHE_BITNET158 ? x % LATHE_BITNET158_BYTE_VALUES : x);
    }
    for (uint64_t i = 0; i < layout->n_scales; i++) {
        static const float scales[] = {0.0123f, 1.0f, 0x1p-140f, 0.0f, 3e30f, 1e-5f};
        k->source->scales[i] = layout->n_scales == 1
                                   ? scales[0]
                                   : scales[scramble(i) % (sizeof scales / sizeof scales[0])];
    }
}

static lathe_target target_of(const check *k) {
    bool quantized = lathe_dtype_is_quantized(k->dst);
    bool is_part = k->way == CHECK_SCALES || k->way == CHECK_MEASURE; /* of a conversion */
    bool is_precise = k->way == CHECK_PRECISE || k->way == CHECK_SCALES;
    /* Where data has faults of two kinds, either may be reported if the scales take a pass. */
    bool has_one_fault = !is_part && !(is_precise && k->c->kind == STRICT);
    return (lathe_target){
        .struct_size = sizeof(lathe_target),
        .dtype = k->dst,
        .granularity = quantized ? k->c->to : LATHE_PER_TENSOR,
        .group_size = quantized ? k->c->group_size : 0,
        .quality = is_precise ? LATHE_PRECISE : k->c->quality,
        .nonfinite = has_one_fault ? k->c->nonfinite : LATHE_NONFINITE_SATURATE,
        .strict = k->c->kind == STRICT,
    };
}

static void close_check(check *k) {
    lathe_tensor_release(k->source);
    lathe_tensor_release(k->expected);
    lathe_tensor_release(k->device_source);
    lathe_tensor_release(k->device_result);
    lathe_tensor_release(k->result);
}

static lathe_status open_check(check *k, const lathe_tensor_desc *from,
                               const lathe_tensor_desc *to) {
    lathe_engine *engine = k->engine;
    lathe_status status = lathe_tensor_create(engine->pool, from, &k->source);
    if (status == LATHE_OK) {
        status = lathe_tensor_create(engine->pool, to, &k->expected);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_create(engine->pool, to, &k->result);
    }
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, from, &k->device_source);
    }
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, to, &k->device_result);
    }
    return status;
}

static bool same_contents(const lathe_tensor *a, const lathe_tensor *b) {
    uint64_t scale_bytes = a->layout.n_scales * sizeof(float);
    return memcmp(a->data, b->data, (size_t)a->layout.n_bytes) == 0 &&
           (scale_bytes == 0 || memcmp(a->scales, b->scales, (size_t)scale_bytes) == 0);
}

static bool is_of_data(lathe_status status) {
    return status == LATHE_OK || status == LATHE_NON_FINITE || status == LATHE_DATA_LOSS;
}

/* Converts on the device, in the way that is being checked, and fetches the result. */
static lathe_status convert_on_device(check *k, const lathe_target *target, bool is_expected,
                                      uint64_t *n_saturated) {
    lathe_status status;
    if (k->way == CHECK_IN_PLACE) { /* of data that has been checked already */
        return is_expected
                   ? lt_in_place_trial(k->engine, k->device_source, target, k->expected, k->result)
                   : lt_fail(LATHE_NOT_SUPPORTED, "the data has faults");
    }
    if (k->way == CHECK_MANY) {
        size_t which = (size_t)(k->c - cases) % LT_MANY_COPIES;
        status = lt_many_trial(k->engine, k->device_source, target, which, k->device_result,
                               n_saturated);
    } else {
        status = lt_direct_convert(k->engine, k->engine->device, k->device_source, target,
                                   k->device_result, true, n_saturated);
    }
    return status == LATHE_OK ? lt_tensor_copy_contents(k->device_result, k->result) : status;
}

/* Converts on both sides and compares bytes, scales, counts and faults. */
static lathe_status compare(check *k, const lathe_target *target) {
    uint64_t n_expected = 0;
    uint64_t n_saturated = 0;
    lathe_status expected = lt_direct_convert(k->engine, k->reference, k->source, target,
                                              k->expected, true, &n_expected);
    uint64_t element = expected == LATHE_OK ? LATHE_NO_ELEMENT : lt_error()->element;
    if (!is_of_data(expected)) {
        return expected;
    }
    lathe_status status = lt_tensor_copy_contents(k->source, k->device_source);
    if (status != LATHE_OK) {
        return status;
    }
    status = convert_on_device(k, target, expected == LATHE_OK, &n_saturated);
    if (!is_of_data(status)) {
        return k->way != CHECK_ALONE && status == LATHE_NOT_SUPPORTED ? LATHE_OK : status;
    }
    bool same = status == expected && (status == LATHE_OK || lt_error()->element == element);
    if (status == LATHE_OK && same) {
        same = (n_saturated == n_expected || k->way == CHECK_IN_PLACE) &&
               same_contents(k->expected, k->result);
    }
    return same ? LATHE_OK
                : lt_fail(LATHE_DEVICE,
                          "%s to %s: the device computes other bits than the reference",
                          lathe_dtype_name(k->src), lathe_dtype_name(k->dst));
}

static lathe_status differs(const check *k) {
    return lt_fail(LATHE_DEVICE, "%s to %s: the device computes other bits than the reference",
                   lathe_dtype_name(k->src), lathe_dtype_name(k->dst));
}

/* The scales alone, of which the search gets standard ones from the reference. */
static lathe_status compare_scales(check *k, const lathe_target *target) {
    lathe_target standard = *target;
    float *found = k->result->scales;
    const size_t n_bytes = (size_t)k->result->layout.n_scales * sizeof *found;
    standard.quality = LATHE_BALANCED;
    lathe_status status =
        lt_direct_scales(k->engine, k->reference, k->source, target, k->expected->scales);
    if (status == LATHE_OK) {
        status = lt_direct_scales(k->engine, k->reference, k->source, &standard, found);
    }
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(k->source, k->device_source);
    }
    if (status == LATHE_OK) {
        status = lt_direct_search(k->engine, k->engine->device, k->device_source, target, found);
    }
    return status == LATHE_OK && memcmp(found, k->expected->scales, n_bytes) != 0 ? differs(k)
                                                                                  : status;
}

/* Reports on what the reference has made. */
static lathe_status compare_reports(check *k, const lathe_target *target) {
    lathe_quality_report expected = {.struct_size = sizeof expected};
    lathe_quality_report found = {.struct_size = sizeof found};
    uint64_t n_saturated;
    lathe_status status = lt_direct_convert_measured(k->engine, k->reference, k->source, target,
                                                     k->expected, &n_saturated, &expected);
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(k->source, k->device_source);
    }
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(k->expected, k->device_result);
    }
    if (status == LATHE_OK) {
        status = lt_direct_measure(k->engine, k->engine->device, k->device_source, target,
                                   k->device_result, true, &found);
    }
    /* To the bit, which is meant. */
    const bool is_same =
        memcmp((const uint8_t *)&found, (const uint8_t *)&expected, sizeof found) == 0;
    return status == LATHE_OK && !is_same ? differs(k) : status;
}

static lathe_status compare_in_way(check *k, const lathe_target *target) {
    switch (k->way) {
    case CHECK_SCALES:
        return k->c->kind != STRICT ? compare_scales(k, target) : LATHE_OK;
    case CHECK_MEASURE:
        return k->c->kind != STRICT ? compare_reports(k, target) : LATHE_OK;
    default:
        return compare(k, target);
    }
}

static bool is_meant(const check *k) {
    const bool from_codes = lathe_dtype_is_quantized(k->src);
    switch (k->c->kind) {
    case CODE:
        return from_codes && lathe_dtype_is_quantized(k->dst);
    case LEAST:
        return k->way == CHECK_SCALES;
    case TIES:
        return !from_codes;
    case LONG:
        return lathe_dtype_is_quantized(k->dst) && k->way == CHECK_ALONE;
    case ENDS:
        return from_codes && !lathe_dtype_is_quantized(k->dst) && k->way == CHECK_ALONE;
    default:
        return true;
    }
}

/* Whether the case is one for the device's kernels of long rows, if that is what it is for. */
static bool reaches_kernel(const check *k, const lathe_target *target) {
    const lt_backend *device = k->engine->device;
    if (k->c->kind != LONG) {
        return true;
    }
    const lt_plan plan = lt_plan_make(device, &k->source->layout, &k->expected->layout, target,
                                      device->max_own_scope_elems);
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
        status = open_check(k, &from, &to);
    }
    if (status == LATHE_OK && !lt_layout_equal(&k->source->layout, &k->expected->layout) &&
        reaches_kernel(k, &target)) {
        if (lathe_dtype_is_quantized(k->src)) {
            fill_codes(k);
        } else {
            fill_floats(k);
        }
        status = compare_in_way(k, &target);
    }
    close_check(k);
    return status;
}

static lathe_status check_pair(lathe_engine *engine, lathe_dtype src, lathe_dtype dst,
                               check_way way) {
    const size_t n_cases = sizeof cases / sizeof cases[0];
    const size_t has_more = way == CHECK_IN_PLACE || way == CHECK_SCALES ? 1 : 0;
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 1, .isa = LATHE_ISA_SCALAR};
    lt_backend *reference = NULL;
    lathe_status status = lt_cpu_backend_create(&config, engine->pool, &reference);
    if (status != LATHE_OK) {
        return status;
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    for (size_t i = 0; status == LATHE_OK && i < n_cases + has_more; i++) {
        check k = {.engine = engine,
                   .reference = reference,
                   .src = src,
                   .dst = dst,
                   .c = i < n_cases ? &cases[i] : &many_tiles,
                   .way = way};
        status = run_case(&k);
    }
    lt_fpenv_leave(&saved);
    lt_backend_release(reference);
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
    return check_pair(engine, src, dst, CHECK_ALONE);
}

lathe_status lt_self_check_many(void *engine, lathe_dtype src, lathe_dtype dst) {
    return check_pair(engine, src, dst, CHECK_MANY);
}

lathe_status lt_self_check_in_place(void *engine, lathe_dtype src, lathe_dtype dst) {
    return check_pair(engine, src, dst, CHECK_IN_PLACE);
}

lathe_status lt_self_check_precise(void *engine, lathe_dtype src, lathe_dtype dst) {
    return check_pair(engine, src, dst, CHECK_PRECISE);
}

lathe_status lt_self_check_scales(void *engine, lathe_dtype src, lathe_dtype dst) {
    static const lathe_dtype targets[] = {LATHE_I8, LATHE_I4, LATHE_I2, LATHE_BITNET158};
    const int n_targets = (int)(sizeof targets / sizeof targets[0]);
    lathe_status status = LATHE_OK;
    (void)src;
    (void)dst;
    for (int t = 0; status == LATHE_OK && t < n_targets; t++) {
        status = check_pair(engine, LATHE_F32, targets[t], CHECK_SCALES);
    }
    for (int i = LATHE_F16; status == LATHE_OK && i <= LATHE_DTYPE_LAST; i++) {
        lathe_dtype to = targets[i % n_targets];
        to = to != (lathe_dtype)i ? to : targets[(i + 1) % n_targets];
        status = check_pair(engine, (lathe_dtype)i, to, CHECK_SCALES);
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
                            (lathe_dtype)(LATHE_DTYPE_FIRST + to), CHECK_MEASURE);
    }
    return status;
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
