/* SPDX-License-Identifier: Apache-2.0 */
/* Base-3 bytes: five ternary digits each, packed and unpacked 16 bytes at a time, in NEON. */
#ifndef LT_CPU_ARM_TERNARY_NEON_H
#define LT_CPU_ARM_TERNARY_NEON_H

#include "cpu/arm/simd_neon.h"
#include "lathe_constants.h"

enum {
    FIVE = LATHE_BITNET158_PER_BYTE,
    PACK_BYTES = V_BYTES,
    PACK_ELEMS = FIVE * PACK_BYTES,
};

/* Packing: every fifth of 80 digits, from the first to the fifth on, and Horner's rule. */

#define EVERY_FIFTH(k)                                                                             \
    {                                                                                              \
        (k), (k) + 5, (k) + 10, (k) + 15, (k) + 20, (k) + 25, (k) + 30, (k) + 35, (k) + 40,        \
            (k) + 45, (k) + 50, (k) + 55, (k) + 60, (k) + 65, (k) + 70, (k) + 75                   \
    }

static const uint8_t every_fifth[FIVE][V_BYTES] = {EVERY_FIFTH(0), EVERY_FIFTH(1), EVERY_FIFTH(2),
                                                   EVERY_FIFTH(3), EVERY_FIFTH(4)};

/* Digit k of 16 bytes. A table has 64 bytes at the most; beyond, its answer is 0, and that of the
 * one for the last 16 leaves what was there. */
LT_INLINE vi digit_of_each(uint8x16x4_t first_64, vi last_16, int k) {
    const vi index = v_load(every_fifth[k]);
    const vi found = vqtbl4q_u8(first_64, index);
    return vqtbx1q_u8(found, last_16, vsubq_u8(index, vdupq_n_u8(64)));
}

/* Packs PACK_ELEMS codes, a byte each. */
LT_INLINE void pack_codes(const vi codes[FIVE], uint8_t *dst, lt_store store) {
    vi digits[FIVE];
    LT_UNROLL
    for (int i = 0; i < FIVE; i++)
        digits[i] = vaddq_u8(codes[i], vdupq_n_u8(1));
    const uint8x16x4_t first_64 = {{digits[0], digits[1], digits[2], digits[3]}};
    vi bytes = digit_of_each(first_64, digits[4], FIVE - 1);
    LT_UNROLL
    for (int k = FIVE - 2; k >= 0; k--)
        bytes = vmlaq_u8(digit_of_each(first_64, digits[4], k), bytes, vdupq_n_u8(3));
    v_store(dst, bytes, store);
}

/* Unpacking works on fractions of 256. With f in [q / 243, (q + 1) / 243), the first digit after
 * the point of f * 3^(4-k) in base 3 is digit k of q, so that bytes are enough: multiplying by
 * 3^(4-k) drops what lies before the point, and comparing with 1/3 and 2/3 gives the digit. For a
 * byte of 243 and up the fraction is that of q - 243, whose digits are those of q. The tests
 * compare all 256 bytes. */

/* A fraction for each byte: q * 256 / 243, rounded up, is q + (55 * q + 1008) / 1024; other numbers
 * near these do as well. */
LT_INLINE vi fractions(vi q) {
    const uint16x8_t half = vdupq_n_u16(1008);
    const uint16x8_t low = vmlal_u8(half, vget_low_u8(q), vdup_n_u8(55));
    const uint16x8_t high = vmlal_u8(half, vget_high_u8(q), vdup_n_u8(55));
    const vi quarters = vshrn_high_n_u16(vshrn_n_u16(low, 8), high, 8);
    return vaddq_u8(q, vshrq_n_u8(quarters, 2));
}

#define LANES(F, e)                                                                                \
    {                                                                                              \
        F(e), F((e) + 1), F((e) + 2), F((e) + 3), F((e) + 4), F((e) + 5), F((e) + 6), F((e) + 7),  \
            F((e) + 8), F((e) + 9), F((e) + 10), F((e) + 11), F((e) + 12), F((e) + 13),            \
            F((e) + 14), F((e) + 15)                                                               \
    }
#define UNPACK_BYTE(e) ((e) / FIVE)
#define UNPACK_FACTOR(e)                                                                           \
    ((e) % 5 == 0 ? 81 : (e) % 5 == 1 ? 27 : (e) % 5 == 2 ? 9 : (e) % 5 == 3 ? 3 : 1)

static const uint8_t unpack_bytes[FIVE][V_BYTES] = {LANES(UNPACK_BYTE, 0), LANES(UNPACK_BYTE, 16),
                                                    LANES(UNPACK_BYTE, 32), LANES(UNPACK_BYTE, 48),
                                                    LANES(UNPACK_BYTE, 64)};

static const uint8_t unpack_factors[FIVE][V_BYTES] = {
    LANES(UNPACK_FACTOR, 0), LANES(UNPACK_FACTOR, 16), LANES(UNPACK_FACTOR, 32),
    LANES(UNPACK_FACTOR, 48), LANES(UNPACK_FACTOR, 64)};

/* The codes of elements 16 * v and up: a comparison gives -1 where it holds, and -(digit - 1) - 1
 * is the complement of digit - 1. */
LT_INLINE vi unpack_codes(vi fraction_of_each, int v) {
    const vi fraction =
        vmulq_u8(vqtbl1q_u8(fraction_of_each, v_load(unpack_bytes[v])), v_load(unpack_factors[v]));
    const vi from_1 = vcgeq_u8(fraction, vdupq_n_u8(86));
    const vi from_2 = vcgeq_u8(fraction, vdupq_n_u8(171));
    return vmvnq_u8(vaddq_u8(from_1, from_2));
}

#endif
