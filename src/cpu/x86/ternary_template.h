/* SPDX-License-Identifier: Apache-2.0 */
/* Base-3 bytes: five ternary digits each, packed and unpacked a register at a time.
 *
 * Parameters: the including file has included one of simd_*.h. */
#ifndef LT_CPU_X86_TERNARY_TEMPLATE_H
#define LT_CPU_X86_TERNARY_TEMPLATE_H

#include "lathe_constants.h"

enum {
    /* Packing takes five vectors of byte digits and gives one vector of bytes. */
    PACK_ELEMS = LATHE_BITNET158_PER_BYTE * V_BYTES,
    PACK_BYTES = V_BYTES,
    /* Unpacking gives five vectors of 16-bit digits. */
    UNPACK_LANES = V_BYTES / 2,
    UNPACK_ELEMS = LATHE_BITNET158_PER_BYTE * UNPACK_LANES,
    UNPACK_BYTES = UNPACK_LANES,
    /* A vector of V_BYTES / 8 64-bit lanes packs as many bytes, so eight of them make PACK_BYTES;
     * each takes a window of 5 * V_BYTES / 8 digits, which is this many 32-bit lanes. */
    WINDOW_LANES = LATHE_BITNET158_PER_BYTE * V_FLOATS / 8,
};

#if LT_HAS_VBMI

/* Part m is the bytes from 16m on, whose codes lie in vectors m and m + 1. A 32-bit lane takes the
 * first four codes of a byte: l is the lane, and bit 6 of an index tells the vectors apart. */
#define FOUR_FROM(e) (e), (e) + 1, (e) + 2, (e) + 3
#define FOUR_LANES(m, l)                                                                           \
    FOUR_FROM(16 * (m) + 5 * (l)), FOUR_FROM(16 * (m) + 5 * (l) + 5),                              \
        FOUR_FROM(16 * (m) + 5 * (l) + 10), FOUR_FROM(16 * (m) + 5 * (l) + 15)
#define PART(m)                                                                                    \
    { FOUR_LANES(m, 0), FOUR_LANES(m, 4), FOUR_LANES(m, 8), FOUR_LANES(m, 12) }

_Alignas(64) static const uint8_t part_codes[4][64] = {PART(0), PART(1), PART(2), PART(3)};

/* Byte 16L + 4m + i of what two packs make of the parts is byte 16m + 4L + i; its fifth code, by
 * number. */
#define FIFTH_FOUR(L, m)                                                                           \
    (uint8_t)(5 * (16 * (m) + 4 * (L)) + 4), (uint8_t)(5 * (16 * (m) + 4 * (L)) + 9),              \
        (uint8_t)(5 * (16 * (m) + 4 * (L)) + 14), (uint8_t)(5 * (16 * (m) + 4 * (L)) + 19)
#define FIFTH_LANE(L) FIFTH_FOUR(L, 0), FIFTH_FOUR(L, 1), FIFTH_FOUR(L, 2), FIFTH_FOUR(L, 3)

/* An instruction looks at the lowest six bits alone. */
_Alignas(64) static const uint8_t fifth_codes[64] = {FIFTH_LANE(0), FIFTH_LANE(1), FIFTH_LANE(2),
                                                     FIFTH_LANE(3)};

/* Which bytes, in that order, have their fifth code in vector v: byte 16m + 4L + i has it at
 * 5 * (16m + 4L + i) + 4. */
#define FIFTH_BIT(v, L, m, i)                                                                      \
    ((uint64_t)((5 * (16 * (m) + 4 * (L) + (i)) + 4) / 64 == (v)) << (16 * (L) + 4 * (m) + (i)))
#define FIFTH_BITS_4(v, L, m)                                                                      \
    (FIFTH_BIT(v, L, m, 0) | FIFTH_BIT(v, L, m, 1) | FIFTH_BIT(v, L, m, 2) | FIFTH_BIT(v, L, m, 3))
#define FIFTH_BITS_16(v, L)                                                                        \
    (FIFTH_BITS_4(v, L, 0) | FIFTH_BITS_4(v, L, 1) | FIFTH_BITS_4(v, L, 2) | FIFTH_BITS_4(v, L, 3))
#define FIFTH_BITS(v)                                                                              \
    (FIFTH_BITS_16(v, 0) | FIFTH_BITS_16(v, 1) | FIFTH_BITS_16(v, 2) | FIFTH_BITS_16(v, 3))

/* Packs PACK_ELEMS codes, a byte each. */
LT_INLINE void pack_codes(const vi codes[5], uint8_t *dst, lt_store store) {
    const vi weights = _mm512_set1_epi32(27 << 24 | 9 << 16 | 3 << 8 | 1);
    const vi zero = _mm512_set1_epi32(LATHE_BITNET158_BYTE_ZERO);
    /* 81 times the code, which is 0, 1, or, in its lowest six bits, 63. */
    const vi fifth_values =
        _mm512_set_epi8(-81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 81, 0);
    const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const vi index = v_load(fifth_codes);
    vi part[4];
    LT_UNROLL
    for (int m = 0; m < 4; m++) {
        const vi four = _mm512_permutex2var_epi8(codes[m], v_load(part_codes[m]), codes[m + 1]);
        part[m] = _mm512_dpbusd_epi32(zero, weights, four);
    }
    const vi fours = _mm512_packus_epi16(_mm512_packs_epi32(part[0], part[1]),
                                         _mm512_packs_epi32(part[2], part[3]));
    vi fifth = _mm512_permutexvar_epi8(index, codes[0]);
    fifth = _mm512_mask_permutexvar_epi8(fifth, FIFTH_BITS(1), index, codes[1]);
    fifth = _mm512_mask_permutexvar_epi8(fifth, FIFTH_BITS(2), index, codes[2]);
    fifth = _mm512_mask_permutexvar_epi8(fifth, FIFTH_BITS(3), index, codes[3]);
    fifth = _mm512_mask_permutexvar_epi8(fifth, FIFTH_BITS(4), index, codes[4]);
    const vi bytes = _mm512_add_epi8(fours, _mm512_permutexvar_epi8(fifth, fifth_values));
    v_store(dst, _mm512_permutexvar_epi32(order, bytes), store);
}

#else

/* Window m starts at 32-bit lane m * WINDOW_LANES of the five vectors. The five digits of output
 * byte i begin at byte 5i of the window: in 32-bit lane 5i / 4, and reach into the next one. So
 * 64-bit lane i takes these two, and the digits are i % 4 bytes into it. The next table moves them
 * to its front. */
#define WINDOW_LANE(m, i) (((m)*WINDOW_LANES + 5 * (i) / 4) % V_FLOATS)
#define WINDOW_PAIR(m, i) WINDOW_LANE(m, i), (WINDOW_LANE(m, i) + 1) % V_FLOATS
#if LT_V_BYTES == 32
#define WINDOW(m)                                                                                  \
    { WINDOW_PAIR(m, 0), WINDOW_PAIR(m, 1), WINDOW_PAIR(m, 2), WINDOW_PAIR(m, 3) }
#else
#define WINDOW(m)                                                                                  \
    {                                                                                              \
        WINDOW_PAIR(m, 0), WINDOW_PAIR(m, 1), WINDOW_PAIR(m, 2), WINDOW_PAIR(m, 3),                \
            WINDOW_PAIR(m, 4), WINDOW_PAIR(m, 5), WINDOW_PAIR(m, 6), WINDOW_PAIR(m, 7)             \
    }
#endif

_Alignas(64) static const uint32_t window_lanes[8][V_FLOATS] = {
    WINDOW(0), WINDOW(1), WINDOW(2), WINDOW(3), WINDOW(4), WINDOW(5), WINDOW(6), WINDOW(7)};

#define FIVE_FROM(b) (b), (b) + 1, (b) + 2, (b) + 3, (b) + 4, 0x80, 0x80, 0x80
#define WINDOW_FRONTS FIVE_FROM(0), FIVE_FROM(8 + 1), FIVE_FROM(2), FIVE_FROM(8 + 3)

_Alignas(64) static const uint8_t window_fronts[64] = {WINDOW_FRONTS, WINDOW_FRONTS};

#define PACK_WEIGHTS 1, 3, 9, 27, 81, 0, 0, 0
#define PACK_WEIGHTS_4 PACK_WEIGHTS, PACK_WEIGHTS, PACK_WEIGHTS, PACK_WEIGHTS

_Alignas(64) static const int8_t pack_weights[64] = {PACK_WEIGHTS_4, PACK_WEIGHTS_4};

/* Where a window straddles two vectors the second one's part, `n` of its lowest lanes, is blended
 * over lanes of the first that lie before the window. */
#define STRADDLE(a, b, n) V_BLEND_LANES(digits[a], digits[b], (n)*V_FLOATS / 8)

/* Packs PACK_ELEMS codes, a byte each. */
LT_INLINE void pack_codes(const vi codes[5], uint8_t *dst, lt_store store) {
    vi digits[5];
    LT_UNROLL
    for (int i = 0; i < 5; i++)
        digits[i] = v_add_bytes_1(codes[i]);
    vi sums[8] = {digits[0],         STRADDLE(0, 1, 2), digits[1],         STRADDLE(1, 2, 4),
                  STRADDLE(2, 3, 1), digits[3],         STRADDLE(3, 4, 3), digits[4]};
    LT_UNROLL
    for (int m = 0; m < 8; m++) {
        const vi apart = v_permute_lanes(sums[m], v_load(window_lanes[m]));
        const vi fronts = v_shuffle_bytes(apart, v_load(window_fronts));
        sums[m] = v_dot_bytes(fronts, v_load(pack_weights));
    }
    v_store_sums(dst, sums, store);
}

#endif

/* Digit k of byte q is q / 3^k % 3. With w = q * (270 * 3^(4-k)) mod 65536 it is also w * 3 /
 * 65536: 270 * 3^5 = 65610 is a little more than 65536, so w / 65536 is the fraction of q /
 * 3^(k+1), and a little more, which never reaches the next third. The tests compare all 256 bytes.
 */
#define UNPACK_FACTOR(e)                                                                           \
    ((e) % 5 == 0 ? 21870 : (e) % 5 == 1 ? 7290 : (e) % 5 == 2 ? 2430 : (e) % 5 == 3 ? 810 : 270)

/* The bytes of vector v are picked out of 16 consecutive ones, broadcast to each 128-bit lane: with
 * 32 bytes to unpack, those from 0, 0, 8, 16 and 16 hold what each vector needs. */
#define UNPACK_START(v) ((UNPACK_BYTES - 16) / 2 * (((v) + ((v) > 2)) / 2))
#define UNPACK_BYTE(e) (uint8_t)((e) / 5 - UNPACK_START((e) / UNPACK_LANES)), 0x80

_Alignas(64) static const uint8_t unpack_bytes[5][V_BYTES] = {
    {V_UNPACK_LANES(UNPACK_BYTE, 0)},
    {V_UNPACK_LANES(UNPACK_BYTE, UNPACK_LANES)},
    {V_UNPACK_LANES(UNPACK_BYTE, 2 * UNPACK_LANES)},
    {V_UNPACK_LANES(UNPACK_BYTE, 3 * UNPACK_LANES)},
    {V_UNPACK_LANES(UNPACK_BYTE, 4 * UNPACK_LANES)}};

_Alignas(64) static const uint16_t unpack_factors[5][UNPACK_LANES] = {
    {V_UNPACK_LANES(UNPACK_FACTOR, 0)},
    {V_UNPACK_LANES(UNPACK_FACTOR, UNPACK_LANES)},
    {V_UNPACK_LANES(UNPACK_FACTOR, 2 * UNPACK_LANES)},
    {V_UNPACK_LANES(UNPACK_FACTOR, 3 * UNPACK_LANES)},
    {V_UNPACK_LANES(UNPACK_FACTOR, 4 * UNPACK_LANES)}};

/* Vector v of the five that UNPACK_BYTES bytes give: digits in the order of V_UNPACK_LANES. */
LT_INLINE vi unpack_digits(const uint8_t *src, int v) {
    const vi bytes =
        v_shuffle_bytes(v_load_128_to_all(src + UNPACK_START(v)), v_load(unpack_bytes[v]));
    const vi fraction = v_mul_low_u16(bytes, v_load(unpack_factors[v]));
    return v_mul_high_u16(fraction, v_set1_i16(3));
}

#endif
