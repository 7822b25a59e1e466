/* SPDX-License-Identifier: Apache-2.0 */
/* F32, F16 and BF16 in integer arithmetic, and a division that is correctly rounded everywhere:
 * docs/numerics.md. */
#include "lathe_constants.h"
#include "lathe_launch.h"

#pragma OPENCL FP_CONTRACT OFF

/* NVIDIA's compiler takes PTX, of processors from compute capability 8.0 on unless the host says
 * that the device is an older one. */
#if defined(__NV_CL_C_VERSION) && !defined(LT_NO_PTX)
#define LT_HAS_PTX 1
#else
#define LT_HAS_PTX 0
#endif

/* And that of processors from 9.0 on, if the host says that the device is one. */
#if LT_HAS_PTX && defined(LT_PTX_90)
#define LT_HAS_PTX_90 1
#else
#define LT_HAS_PTX_90 0
#endif

#define LT_MAGNITUDE 0x7fffffffu
#define LT_INFINITY 0x7f800000u

/* Where a vector comparison holds, a, else b. */
#define LT_SELECT(condition, a, b) select((b), (a), (condition))

/* F16 and F32 of what is no NaN: what devices have instructions for. A NaN may become any. */

float4 lt_number_of_f16(uint2 f16) {
    return vload_half4(0, (const half *)&f16);
}

uint4 lt_f16_of_number(float4 x) {
    ushort4 f16;
    vstore_half4_rte(x, 0, (half *)&f16);
    return convert_uint4(f16);
}

uint4 lt_f16_of_f32(uint4 f32) {
    const uint4 f16 = lt_f16_of_number(as_float4(f32));
    if (any(isnan(as_float4(f32)))) {
        const uint4 nan = 0x7e00 | (f32 >> 13 & 0x3ff) | (f32 >> 16 & 0x8000);
        return LT_SELECT((f32 & LT_MAGNITUDE) > LT_INFINITY, nan, f16);
    }
    return f16;
}

/* Two elements in each word. */
uint4 lt_f32_of_f16(uint2 f16) {
    const uint4 f32 = as_uint4(lt_number_of_f16(f16));
    if (any(isnan(as_float4(f32)))) {
        const uint4 bits =
            (uint4)(f16.x << 16, f16.x & 0xffff0000u, f16.y << 16, f16.y & 0xffff0000u);
        const uint4 nan = (bits & 0x80000000u) | 0x7fc00000u | (bits >> 3 & 0x3fe000);
        return LT_SELECT((f32 & LT_MAGNITUDE) > LT_INFINITY, nan, f32);
    }
    return f32;
}

uint4 lt_bf16_of_number(float4 x) {
    const uint4 f32 = as_uint4(x);
    return (f32 + 0x7fff + (f32 >> 16 & 1)) >> 16;
}

uint4 lt_bf16_of_f32(uint4 f32) {
    const uint4 rounded = lt_bf16_of_number(as_float4(f32));
    return LT_SELECT((f32 & LT_MAGNITUDE) > LT_INFINITY, f32 >> 16 | 0x40, rounded);
}

/* Eight numbers as F16 or BF16, two to a word. NVIDIA's processors round two at once, which takes
 * nine operations in integers: from I4 to BF16 with a scale for each group, 0.95 of the time. */

#if LT_HAS_PTX

uint lt_f16_pair(float low, float high) {
    uint pair;
    __asm__("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

uint lt_bf16_pair(float low, float high) {
    uint pair;
    __asm__("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

uint4 lt_f16_pairs(float4 a, float4 b) {
    return (uint4)(lt_f16_pair(a.x, a.y), lt_f16_pair(a.z, a.w), lt_f16_pair(b.x, b.y),
                   lt_f16_pair(b.z, b.w));
}

uint4 lt_bf16_pairs(float4 a, float4 b) {
    return (uint4)(lt_bf16_pair(a.x, a.y), lt_bf16_pair(a.z, a.w), lt_bf16_pair(b.x, b.y),
                   lt_bf16_pair(b.z, b.w));
}

#else

uint4 lt_f16_pairs(float4 a, float4 b) {
    const uint8 bits = (uint8)(lt_f16_of_number(a), lt_f16_of_number(b));
    return bits.even | bits.odd << 16;
}

uint4 lt_bf16_pairs(float4 a, float4 b) {
    const uint8 bits = (uint8)(lt_bf16_of_number(a), lt_bf16_of_number(b));
    return bits.even | bits.odd << 16;
}

#endif

/* A positive number as significand * 2^(exponent - 150), the significand 24 bits long. */
typedef struct lt_parts {
    uint significand;
    int exponent;
} lt_parts;

lt_parts lt_parts_of(float x) {
    const uint bits = as_uint(x);
    lt_parts parts = {(bits & 0x7fffff) | 0x800000, (int)(bits >> 23)};
    if (bits < 0x800000) {
        const uint shift = clz(bits) - 8;
        parts.significand = bits << shift;
        parts.exponent = 1 - (int)shift;
    }
    return parts;
}

/* significand * 2^(exponent - 150), rounded to nearest even; below 2^28, not 0. */
float lt_round(uint significand, int exponent) {
    const int length = 32 - (int)clz(significand);
    const int biased = exponent + length - 24; /* as F32 stores it, if the number is normal */
    const uint shift = (uint)min(length - 24 + max(1 - biased, 0), 30);
    const uint rounded =
        (significand + ((1u << (shift - 1)) - 1) + (significand >> shift & 1)) >> shift;
    /* The significand's first bit adds 1 to the exponent. */
    return as_float(min(((uint)max(biased - 1, 0) << 23) + rounded, LT_INFINITY));
}

/* a / b, both finite, a > 0, b > 0. Devices divide with an error of some units in the last place.
 * That is a good estimate of the quotient of the significands, which its remainder corrects. */
float lt_divide_any(float a, float b) {
    const lt_parts over = lt_parts_of(a);
    const lt_parts under = lt_parts_of(b);
    const float divisor = (float)under.significand;
    uint quotient = (uint)((float)over.significand / divisor * 0x1p25f);
    /* Tens of divisors at most: its 32 low bits are all of it. */
    int rest = (int)((over.significand << 25) - quotient * under.significand);
    const int more = (int)floor((float)rest / divisor);
    quotient += (uint)more;
    rest -= more * (int)under.significand;
    if (rest < 0) {
        quotient--;
        rest += (int)under.significand;
    } else if (rest >= (int)under.significand) {
        quotient++;
        rest -= (int)under.significand;
    }
    /* The last bit stands for all that follow. */
    return lt_round(quotient << 1 | (rest != 0), over.exponent - under.exponent + 150 - 26);
}

/* 1 / scale for a scale from 2^-124 to 2^124, where two steps of Newton's method round correctly,
 * except for a significand of ones alone (Markstein, "Computation of elementary functions on the IBM
 * RISC System/6000 processor", 1990). That one's inverse is the second number from a power of two. */
float lt_inverse_fast(float scale) {
    const uint bits = as_uint(scale);
    float inverse = 1.0f / scale;
    inverse = fma(fma(-scale, inverse, 1.0f), inverse, inverse);
    inverse = fma(fma(-scale, inverse, 1.0f), inverse, inverse);
    return (bits & 0x7fffff) == 0x7fffff ? as_float(0x7e800001 - (bits & 0x7f800000)) : inverse;
}

/* 1 / scale for a scale >= 0; 0 where that is not a finite number. */
float lt_inverse(float scale) {
    if (as_uint(scale) - 0x01800000u < 0x7c000000u) {
        return lt_inverse_fast(scale);
    }
    if (scale == 0) {
        return 0;
    }
    const float inverse = lt_divide_any(1, scale);
    return as_uint(inverse) < LT_INFINITY ? inverse : 0;
}

/* Whether lt_divide_fast does for a: from 2^-95 to 2^119. */
bool lt_divides_fast(float a) {
    return as_uint(a) - 0x10000000u < 0x6b000000u;
}

float lt_divide_fast(float a, float b) {
    const float inverse = lt_inverse_fast(b);
    const float quotient = a * inverse;
    return fma(fma(-quotient, b, a), inverse, quotient);
}

/* a / b for a finite a >= 0 and a whole b from 1 to 4096; rounded correctly in the same way. */
float lt_divide(float a, float b) {
    if (lt_divides_fast(a)) {
        return lt_divide_fast(a, b);
    }
    return a == 0 ? 0 : lt_divide_any(a, b);
}
