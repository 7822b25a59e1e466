/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding to 16-bit floats by table: for one scale the result is a function of the code, so that
 * nothing but the table is ever computed and rounded.
 *
 * A table has 32 lanes, an index lane's lowest five bits pick one; tables of fewer values are
 * periodic, so that no index bit needs clearing. */
#ifndef LT_CPU_X86_WORDS_AVX512_H
#define LT_CPU_X86_WORDS_AVX512_H

#include "cpu/numerics.h"
#include "cpu/x86/simd_avx512.h"

#include "cpu/x86/ternary_template.h"

enum { WORDS = V_BYTES / 2 };

/* The tables of 16 floats, twice. */
LT_INLINE vi words_f16(vf table) {
    enum { TO_NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return _mm512_broadcast_i64x4(_mm512_maskz_cvtps_ph(0xffff, table, TO_NEAREST));
}

LT_INLINE vi words_bf16(vf table) {
    return _mm512_broadcast_i64x4(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v_to_bf16(table), 16)));
}

/* The table of digits 0 to 2, which stand for -1, 0 and 1, from the scale's own word: rounding
 * knows no sign, and 0 keeps the scale's. */
LT_INLINE vi words_ternary(vi scale) {
    enum { KEPT_AND_FLIPPED = (0xf0 & 0xcc) ^ 0xaa }; /* first & second ^ third */
    const vi kept = _mm512_set1_epi64((int64_t)0xffffffff8000ffff);
    const vi flipped = _mm512_set1_epi64(0x8000);
    return _mm512_ternarylogic_epi64(scale, kept, flipped, KEPT_AND_FLIPPED);
}

LT_INLINE vi words_ternary_f16(float scale) {
    enum { TO_NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return words_ternary(_mm512_broadcastw_epi16(_mm_cvtps_ph(_mm_set_ss(scale), TO_NEAREST)));
}

LT_INLINE vi words_ternary_bf16(float scale) {
    return words_ternary(_mm512_set1_epi16((short)lt_bf16_from_f32(lt_f32_bits(scale))));
}

LT_INLINE vi lookup_words(vi index, vi table) {
    return _mm512_permutexvar_epi16(index, table);
}

/* A macro of an element, for 32 consecutive ones. */
#define WORD_LANES_8(F, e)                                                                         \
    F((e) + 0), F((e) + 1), F((e) + 2), F((e) + 3), F((e) + 4), F((e) + 5), F((e) + 6), F((e) + 7)
#define WORD_LANES(F, e)                                                                           \
    WORD_LANES_8(F, (e) + 0), WORD_LANES_8(F, (e) + 8), WORD_LANES_8(F, (e) + 16),                 \
        WORD_LANES_8(F, (e) + 24)

/* Which byte each 16-bit lane takes. */
#define BYTE_OF_I4(e) (uint8_t)((e) / 2), 0x80
#define BYTE_OF_I2(e) (uint8_t)((e) / 4), 0x80
#define SHIFT_OF_I4(e) (e) % 2 * 4
#define SHIFT_OF_I2(e) (e) % 4 * 2

_Alignas(64) static const uint8_t bytes_of_i4[V_BYTES] = {WORD_LANES(BYTE_OF_I4, 0)};
_Alignas(64) static const uint8_t bytes_of_i2[V_BYTES] = {WORD_LANES(BYTE_OF_I2, 0)};
_Alignas(64) static const uint16_t shifts_of_i4[WORDS] = {WORD_LANES(SHIFT_OF_I4, 0)};
_Alignas(64) static const uint16_t shifts_of_i2[WORDS] = {WORD_LANES(SHIFT_OF_I2, 0)};

/* 32 results. */

LT_INLINE vi words_of_i4(const uint8_t *src, vi table) {
    const vi bytes = _mm512_shuffle_epi8(v_load_128_to_all(src), v_load(bytes_of_i4));
    return lookup_words(_mm512_srlv_epi16(bytes, v_load(shifts_of_i4)), table);
}

LT_INLINE vi words_of_i2(const uint8_t *src, vi table) {
    const vi all = _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)src));
    const vi bytes = _mm512_shuffle_epi8(all, v_load(bytes_of_i2));
    return lookup_words(_mm512_srlv_epi16(bytes, v_load(shifts_of_i2)), table);
}

LT_INLINE vi words_of_i1(const uint8_t *src, vi table) {
    uint32_t bits;
    memcpy(&bits, src, sizeof bits);
    const vi minus = _mm512_broadcastw_epi16(_mm512_castsi512_si128(table));
    const vi plus = _mm512_broadcastw_epi16(_mm_srli_epi32(_mm512_castsi512_si128(table), 16));
    return _mm512_mask_blend_epi16(bits, minus, plus);
}

/* Base 3, as unpack_digits does it, in order. */
_Alignas(64) static const uint8_t bytes_of_trits[5][V_BYTES] = {
    {WORD_LANES(UNPACK_BYTE, 0)},
    {WORD_LANES(UNPACK_BYTE, WORDS)},
    {WORD_LANES(UNPACK_BYTE, 2 * WORDS)},
    {WORD_LANES(UNPACK_BYTE, 3 * WORDS)},
    {WORD_LANES(UNPACK_BYTE, 4 * WORDS)}};

_Alignas(64) static const uint16_t factors_of_trits[5][WORDS] = {
    {WORD_LANES(UNPACK_FACTOR, 0)},
    {WORD_LANES(UNPACK_FACTOR, WORDS)},
    {WORD_LANES(UNPACK_FACTOR, 2 * WORDS)},
    {WORD_LANES(UNPACK_FACTOR, 3 * WORDS)},
    {WORD_LANES(UNPACK_FACTOR, 4 * WORDS)}};

/* Vector v of the five that 32 bytes give. */
LT_INLINE vi words_of_trits(const uint8_t *src, int v, vi table) {
    const vi bytes =
        _mm512_shuffle_epi8(v_load_128_to_all(src + UNPACK_START(v)), v_load(bytes_of_trits[v]));
    const vi fraction = _mm512_mullo_epi16(bytes, v_load(factors_of_trits[v]));
    return lookup_words(_mm512_mulhi_epu16(fraction, _mm512_set1_epi16(3)), table);
}

#endif
