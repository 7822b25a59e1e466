/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between the bits of F32, F16 and BF16, in integer arithmetic: the rule that every ISA
 * and device follows. Rounding is to nearest even, subnormals are kept, overflow gives infinity,
 * and a NaN keeps its sign and top payload bits and becomes quiet. */
#ifndef LT_CPU_NUMERICS_H
#define LT_CPU_NUMERICS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t lt_f32_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float lt_f32_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x, but one NaN for all: which one an addition of two gives depends on the order of operands, and
 * a maximum of bits on where signalling NaNs are made quiet. */
static inline float lt_f32_one_nan(float x) {
    return x != x ? lt_f32_from_bits(0x7fc00000) : x;
}

static inline uint16_t lt_f16_from_f32(uint32_t f32) {
    const uint32_t sign = f32 >> 16 & 0x8000;
    const uint32_t magnitude = f32 & 0x7fffffff;
    uint32_t f16;

    if (magnitude > 0x7f800000) { /* NaN: 10 of the 23 payload bits, the first of them set */
        f16 = 0x7e00 | (magnitude >> 13 & 0x3ff);
    } else if (magnitude >= 0x47800000) { /* 2^16 and up */
        f16 = 0x7c00;
    } else if (magnitude >= 0x38800000) { /* 2^-14 and up: normal */
        /* Adding just under half of the last kept place, and one more if that place is odd, carries
         * exactly where rounding to nearest even goes up. A carry out of the fraction raises the
         * exponent, up to infinity, as it should. The exponent's bias falls from 127 to 15. */
        const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
        f16 = (rounded >> 13) - ((127 - 15) << 10);
    } else if (magnitude >= 0x33000000) { /* 2^-25 and up: subnormal, in units of 2^-24 */
        const uint32_t fraction = (magnitude & 0x7fffff) | 0x800000;
        const uint32_t shift = 126 - (magnitude >> 23); /* 14 to 24 */
        f16 = (fraction + ((1u << (shift - 1)) - 1) + (fraction >> shift & 1)) >> shift;
    } else { /* below half of the smallest subnormal */
        f16 = 0;
    }
    return (uint16_t)(sign | f16);
}

static inline uint32_t lt_f32_from_f16(uint16_t f16) {
    const uint32_t sign = (uint32_t)(f16 & 0x8000) << 16;
    uint32_t exponent = f16 >> 10 & 0x1f;
    uint32_t fraction = f16 & 0x3ff;

    if (exponent == 0x1f) {
        const uint32_t quiet = fraction != 0 ? 0x400000 : 0;
        return sign | 0x7f800000 | quiet | fraction << 13;
    }
    if (exponent == 0) {
        if (fraction == 0)
            return sign;
        for (exponent = 1; fraction < 0x400;
             exponent--) /* wraps below 0; the bias brings it back */
            fraction <<= 1;
        fraction &= 0x3ff;
    }
    return sign | (exponent + (127 - 15)) << 23 | fraction << 13;
}

static inline uint16_t lt_bf16_from_f32(uint32_t f32) {
    if ((f32 & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(f32 >> 16 | 0x40);
    return (uint16_t)((f32 + 0x7fff + (f32 >> 16 & 1)) >> 16); /* as for F16 */
}

/* Exact for every pattern: a signalling NaN stays what it is. */
static inline uint32_t lt_f32_from_bf16(uint16_t bf16) {
    return (uint32_t)bf16 << 16;
}

#endif
