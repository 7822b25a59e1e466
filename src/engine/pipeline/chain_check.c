/* SPDX-License-Identifier: Apache-2.0 */
/* The self-check of a device's chain kernel: against the chain on the scalar reference. */
#include "core/error.h"
#include "engine/device/check_sides.h"
#include "engine/device/device_tensor.h"
#include "engine/device/self_check.h"
#include "engine/pipeline/chain_run.h"

enum { N_ROWS = 5, ROW_ELEMS = 1280, GROUP_ELEMS = 128, MOST_STEPS = LT_CHAIN_MAX_STEPS };

typedef struct chain_check {
    lt_check_sides sides;
    uint32_t n_steps;
    lathe_target targets[MOST_STEPS];
    lathe_tensor_desc descs[MOST_STEPS + 1];
    lt_layout layouts[MOST_STEPS + 1];
} chain_check;

/* Bits without a pattern: an LCG of Knuth's, its upper half. */
static uint32_t random_bits(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 32);
}

/* Finite numbers around 1, ties and subnormals of F16 among them; NaNs where nothing is quantized.
 */
static uint32_t float_bits(uint64_t *state, bool with_nan) {
    uint32_t bits = random_bits(state);
    uint32_t kind = random_bits(state) % 16;
    if (kind == 0) {
        return (bits & 0x80ffe000) | 0x33001000;
    }
    if (kind == 1) {
        return with_nan ? bits | 0x7f800000 : bits & 0x80000000;
    }
    return (bits & 0x807fffff) | (120 + kind / 2) << 23;
}

static void fill_source(const lt_check_sides *sides, bool with_nan) {
    const lt_layout *layout = &sides->source->layout;
    uint64_t state = 1;
    uint8_t *out = sides->source->data;
    for (uint64_t i = 0; layout->n_scales == 0 && i < layout->n_elems; i++) {
        lt_check_put(sides, i, float_bits(&state, with_nan));
    }
    for (uint64_t i = 0; layout->n_scales > 0 && i < layout->n_bytes; i++) {
        uint32_t bits = random_bits(&state);
        out[i] =
            (uint8_t)(layout->dtype == LATHE_BITNET158 ? bits % LATHE_BITNET158_BYTE_VALUES : bits);
    }
    for (uint64_t i = 0; i < layout->n_scales; i++) {
        sides->source->scales[i] = 0.0123f * (float)(i + 1);
    }
}

/* A chain that the device has no kernel for is not what is checked. */
static lathe_status compare(chain_check *k) {
    lt_chain_report report;
    lathe_status status =
        lt_chain_convert(k->sides.engine, k->sides.reference, k->sides.source, k->n_steps,
                         k->layouts + 1, k->targets, k->sides.expected, true, &report);
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(k->sides.source, k->sides.device_source);
    }
    if (status == LATHE_OK) {
        status = lt_chain_convert(k->sides.engine, k->sides.engine->device, k->sides.device_source,
                                  k->n_steps, k->layouts + 1, k->targets, k->sides.device_result,
                                  true, &report);
    }
    if (status != LATHE_OK) {
        return status == LATHE_NOT_SUPPORTED ? LATHE_OK : status;
    }
    status = lt_tensor_copy_contents(k->sides.device_result, k->sides.result);
    if (status == LATHE_OK && !lt_check_agrees(&k->sides)) {
        status = lt_fail(LATHE_DEVICE,
                         "a chain from %s to %s: the device computes other bits than "
                         "the reference",
                         lathe_dtype_name(k->descs[0].dtype),
                         lathe_dtype_name(k->descs[k->n_steps].dtype));
    }
    return status;
}

static lathe_status run_case(chain_check *k, const lathe_dtype *types,
                             lathe_granularity granularity) {
    static const uint64_t shape[] = {N_ROWS, ROW_ELEMS};
    bool quantizes = false;
    lathe_status status = LATHE_OK;
    for (uint32_t i = 0; status == LATHE_OK && i <= k->n_steps; i++) {
        bool quantized = lathe_dtype_is_quantized(types[i]);
        const lathe_target target = {
            .struct_size = sizeof target,
            .dtype = types[i],
            .granularity = quantized ? granularity : LATHE_PER_TENSOR,
            .group_size = quantized && granularity == LATHE_PER_GROUP ? GROUP_ELEMS : 0,
        };
        quantizes = quantizes || quantized;
        status = lathe_target_desc(&target, 2, shape, &k->descs[i]);
        if (status == LATHE_OK) {
            status = lt_layout_of(&k->descs[i], &k->layouts[i]);
        }
        if (i > 0) {
            k->targets[i - 1] = target;
        }
    }
    if (status == LATHE_OK) {
        status = lt_check_open(&k->sides, &k->descs[0], &k->descs[k->n_steps]);
    }
    if (status == LATHE_OK) {
        fill_source(&k->sides, !quantizes);
        status = compare(k);
    }
    lt_check_close(&k->sides);
    return status;
}

lathe_status lt_self_check_chain(void *ctx, uint32_t n_types, const lathe_dtype *types) {
    lathe_engine *engine = ctx;
    chain_check k = {.n_steps = n_types - 1};
    lathe_status status = lt_check_begin(&k.sides, engine);
    if (status != LATHE_OK) {
        return status;
    }
    status = run_case(&k, types, LATHE_PER_TENSOR);
    if (status == LATHE_OK) {
        status = run_case(&k, types, LATHE_PER_ROW);
    }
    if (status == LATHE_OK) {
        status = run_case(&k, types, LATHE_PER_GROUP);
    }
    lt_check_end(&k.sides);
    if (status == LATHE_DEVICE) {
        const lathe_error error = *lt_error();
        lt_engine_notice(engine, LATHE_NOTICE_WARNING, "chains are not used: %s", error.message);
        return lt_fail_with(&error);
    }
    return status;
}
