/* SPDX-License-Identifier: Apache-2.0 */
/* The values of the self-checks' sources. */
#include "engine/device/check_source.h"

#include "core/dtype.h"
#include "core/tensor.h"
#include "lathe_constants.h"
#include <string.h>

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
static float tie(lathe_dtype dst, uint64_t i) {
    const lt_dtype_traits *traits = lt_dtype_traits_of(dst);
    uint64_t x = scramble(i);
    float sign = x % 2 == 0 ? 1 : -1;
    if (!lathe_dtype_is_quantized(dst)) {
        uint32_t half = dst == LATHE_F16 ? 0x1000 : 0x8000;
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
static uint32_t pattern(lathe_dtype dst, lt_check_kind kind, uint64_t i) {
    static const uint32_t odd[] = {
        0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x33000000, 0x33000001, 0x387fe000,
        0x477fefff, 0x477ff000, 0x3f000000, 0xbf000000, 0x3fc00000, 0x7f7fffff, 0x3f808000,
    };
    static const uint32_t nonfinite[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xff812345,
                                         0x7f800001};
    uint64_t x = scramble(i);
    uint32_t bits = (uint32_t)(x >> 32);
    if (kind == LT_CHECK_TIES || kind == LT_CHECK_LONG) {
        float value = tie(dst, i);
        memcpy(&bits, &value, sizeof bits);
        return bits;
    }
    bool is_float = !lathe_dtype_is_quantized(dst);
    if (x % 16 == 0) {
        return odd[x / 16 % (sizeof odd / sizeof odd[0])] & (is_float ? UINT32_MAX : 0xbfffffff);
    }
    if ((kind == LT_CHECK_ODD || is_float) && x % 64 == 1) {
        return nonfinite[x / 64 % (sizeof nonfinite / sizeof nonfinite[0])];
    }
    if (x % 16 == 2) {
        return (bits & 0x7f800000) == 0x7f800000 ? bits & 0xbfffffff : bits;
    }
    return (bits & 0x807fffff) | (uint32_t)(120 + x % 8) << 23;
}

static void fill_floats(const lt_check_sides *sides, lathe_dtype dst, lt_check_kind kind) {
    for (uint64_t i = 0; i < sides->source->layout.n_elems; i++) {
        lt_check_put(sides, i, pattern(dst, kind, i));
    }
}

static void fill_codes(const lathe_tensor *source, lt_check_kind kind) {
    const lt_layout *layout = &source->layout;
    uint8_t *out = source->data;
    for (uint64_t i = 0; i < layout->n_bytes; i++) {
        uint64_t x = scramble(i);
        if (layout->dtype == LATHE_I2 && (kind == LT_CHECK_CODE || kind == LT_CHECK_LONG)) {
            x &= ~(x & ~(x << 1) & 0xaa); /* -2 becomes 0 */
        }
        out[i] = (uint8_t)(layout->dtype == LATHE_BITNET158 ? x % LATHE_BITNET158_BYTE_VALUES : x);
    }
    for (uint64_t i = 0; i < layout->n_scales; i++) {
        static const float scales[] = {0.0123f, 1.0f, 0x1p-140f, 0.0f, 3e30f, 1e-5f};
        source->scales[i] = layout->n_scales == 1
                                ? scales[0]
                                : scales[scramble(i) % (sizeof scales / sizeof scales[0])];
    }
}

void lt_check_fill(const lt_check_sides *sides, lathe_dtype dst, lt_check_kind kind) {
    if (lathe_dtype_is_quantized(sides->source->layout.dtype)) {
        fill_codes(sides->source, kind);
    } else {
        fill_floats(sides, dst, kind);
    }
}
