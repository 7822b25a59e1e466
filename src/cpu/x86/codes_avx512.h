/* SPDX-License-Identifier: Apache-2.0 */
/* Vector operations on codes a byte each, in AVX-512; codes_avx2.h has the same ones. */
#ifndef LT_CPU_X86_CODES_H
#define LT_CPU_X86_CODES_H

#include "cpu/x86/simd_avx512.h"
#include <float.h>

/* Codes of -8 to 7 by a table of 16 bytes, which is there four times. */
LT_INLINE vi v_lookup_codes(vi codes, vi table) {
    return _mm512_shuffle_epi8(table, _mm512_and_si512(codes, _mm512_set1_epi8(0xf)));
}

LT_INLINE vi v_and(vi a, vi b) {
    return _mm512_and_si512(a, b);
}

LT_INLINE vi v_set1_i8(char x) {
    return _mm512_set1_epi8(x);
}

LT_INLINE vi v_set1_i32(int x) {
    return _mm512_set1_epi32(x);
}

LT_INLINE vi v_all_if(bool condition) {
    return _mm512_set1_epi8(condition ? -1 : 0);
}

LT_INLINE vi v_clamp_bytes(vi x, char least, char most) {
    return _mm512_max_epi8(_mm512_min_epi8(x, _mm512_set1_epi8(most)), _mm512_set1_epi8(least));
}

/* 1 above `bound`, at most 128, -1 below its negative, else 0. */
LT_INLINE vi v_beyond(vi codes, vi bound) {
    const __mmask64 beyond = _mm512_cmpgt_epu8_mask(_mm512_abs_epi8(codes), bound);
    const vi signs =
        _mm512_mask_mov_epi8(_mm512_set1_epi8(1), _mm512_movepi8_mask(codes), _mm512_set1_epi8(-1));
    return _mm512_maskz_mov_epi8(beyond, signs);
}

/* V_BYTES codes times factor / 2^15, rounded to the nearest, ties upwards, and saturated. */
LT_INLINE vi v_scale_codes(const uint8_t *codes, short factor) {
    const vi low = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)codes));
    const vi high = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)codes + 1));
    const vi factors = _mm512_set1_epi16(factor);
    const vi bytes =
        _mm512_packs_epi16(_mm512_mulhrs_epi16(low, factors), _mm512_mulhrs_epi16(high, factors));
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), bytes);
}

/* One bit a code: 1 unless it is below 0. */
LT_INLINE void v_store_code_signs(void *dst, vi codes, lt_store store) {
    const uint64_t bits = ~(uint64_t)_mm512_movepi8_mask(codes);
    if (store == LT_STORE_STREAM)
        _mm_stream_si64((long long *)dst, (long long)bits);
    else
        memcpy(dst, &bits, sizeof bits);
}

/* V_BYTES codes of 4, 2 and 1 bits. */

LT_INLINE vi v_unpack_i4(const uint8_t *src) {
    const vi signs = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
    const vi wide = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)src));
    const vi both = _mm512_or_si512(wide, _mm512_slli_epi16(wide, 4));
    return v_lookup_codes(both, signs);
}

/* Each two bits of V_BYTES / 4 bytes to a byte: its lowest ones, or the two above them. */
LT_INLINE vi v_spread_crumbs(const uint8_t *src) {
    const __mmask32 odd_words = 0xaaaaaaaa;
    const vi to_four =
        _mm512_set_epi32(0x0f0f0f0f, 0x0e0e0e0e, 0x0d0d0d0d, 0x0c0c0c0c, 0x0b0b0b0b, 0x0a0a0a0a,
                         0x09090909, 0x08080808, 0x07070707, 0x06060606, 0x05050505, 0x04040404,
                         0x03030303, 0x02020202, 0x01010101, 0x00000000);
    const vi bytes = _mm512_shuffle_epi8(v_load_128_to_all(src), to_four);
    const vi low = _mm512_mask_srli_epi16(bytes, odd_words, bytes, 4);
    return _mm512_and_si512(low, _mm512_set1_epi32(0x0c030c03));
}

/* A table of what two bits stand for, periodic, to look up in what v_spread_crumbs gives. */
LT_INLINE vi v_table_of_crumbs(vi table) {
    return _mm512_shuffle_epi8(table, _mm512_broadcast_i32x4(_mm_setr_epi8(
                                          0, 1, 2, 3, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0)));
}

LT_INLINE vi v_unpack_i2(const uint8_t *src) {
    const vi signs = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1));
    return _mm512_shuffle_epi8(v_table_of_crumbs(signs), v_spread_crumbs(src));
}

/* A byte for each bit of V_BYTES / 8 bytes: of `if_1` where it is set, else of `if_0`. */
LT_INLINE vi v_spread_bits(const uint8_t *src, vi if_0, vi if_1) {
    uint64_t bits;
    memcpy(&bits, src, sizeof bits);
    return _mm512_mask_blend_epi8(bits, if_0, if_1);
}

LT_INLINE vi v_unpack_i1(const uint8_t *src) {
    return v_spread_bits(src, _mm512_set1_epi8(-1), _mm512_set1_epi8(1));
}

/* Packed codes, by the halves of their bytes. */

LT_INLINE vi v_low_halves(vi x) {
    return _mm512_and_si512(x, _mm512_set1_epi8(0xf));
}

LT_INLINE vi v_high_halves(vi x) {
    return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(0xf));
}

LT_INLINE vi v_or(vi a, vi b) {
    return _mm512_or_si512(a, b);
}

LT_INLINE vi v_upper_bytes(vi x) {
    return _mm512_srli_epi16(x, 8);
}

LT_INLINE vi v_subtract_1(vi bytes) {
    return _mm512_sub_epi8(bytes, _mm512_set1_epi8(1));
}

/* 16-bit lanes, shifted by a constant. */
#define V_SHIFT_BYTES(x, n) _mm512_slli_epi16(x, n)

/* Bytes of both in turn: 2 * V_BYTES of them. */
LT_INLINE void v_store_zipped(uint8_t *dst, vi even, vi odd, lt_store store) {
    const vi low = _mm512_unpacklo_epi8(even, odd);
    const vi high = _mm512_unpackhi_epi8(even, odd);
    const vi first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const vi second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    v_store(dst, _mm512_permutex2var_epi64(low, first, high), store);
    v_store(dst + V_BYTES, _mm512_permutex2var_epi64(low, second, high), store);
}

LT_INLINE vi v_table_to_all(__m128i table) {
    return _mm512_broadcast_i32x4(table);
}

/* 16 bytes of four vectors of which only the first lanes count, as v_to_code_bytes makes them. */
LT_INLINE __m128i v_first_16(vi bytes) {
    return _mm512_castsi512_si128(bytes);
}

/* The first byte in all places. */
LT_INLINE vi v_first_to_all(vi x) {
    return _mm512_broadcastb_epi8(_mm512_castsi512_si128(x));
}

LT_INLINE bool v_are_equal(vi a, vi b) {
    return _mm512_cmpneq_epi8_mask(a, b) == 0;
}

/* n floats, and then others. */
LT_INLINE vf v_load_floats(const float *src, size_t n, float others) {
    const __mmask16 is_there = (__mmask16)(n < V_FLOATS ? (1u << n) - 1 : 0xffff);
    return _mm512_mask_loadu_ps(v_set1(others), is_there, src);
}

/* Scales. */

LT_INLINE vf v_divide(vf a, vf b) {
    return _mm512_div_ps(a, b);
}

LT_INLINE vf v_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}

LT_INLINE vf v_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}

LT_INLINE float v_least(vf x) {
    return _mm512_reduce_min_ps(x);
}

LT_INLINE float v_greatest(vf x) {
    return _mm512_reduce_max_ps(x);
}

LT_INLINE vi v_to_i32(vf x) {
    return _mm512_cvtps_epi32(x);
}

LT_INLINE vi v_add_i32(vi a, vi b) {
    return _mm512_add_epi32(a, b);
}

LT_INLINE vi v_subtract_i32(vi a, vi b) {
    return _mm512_sub_epi32(a, b);
}

/* Each divided in double, and rounded. */
LT_INLINE vf v_means(vf x, double n) {
    const __m512d low =
        _mm512_div_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_set1_pd(n));
    const __m512d high =
        _mm512_div_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)), _mm512_set1_pd(n));
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high),
                              1);
}

LT_INLINE vf v_finite_or_0(vf x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(FLT_MAX), _CMP_LE_OQ), x);
}

/* Statistics. */

LT_INLINE vi v_abs_bytes(vi x) {
    return _mm512_abs_epi8(x);
}

LT_INLINE vi v_max_bytes(vi a, vi b) {
    return _mm512_max_epu8(a, b);
}

/* In each 128-bit lane, 32-bit elements 0 and 2, or 1 and 3, of a, then of b. */
LT_INLINE vi v_even_elements(vi a, vi b) {
    return _mm512_castps_si512(
        _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0x88));
}

LT_INLINE vi v_odd_elements(vi a, vi b) {
    return _mm512_castps_si512(
        _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0xdd));
}

/* 32-bit elements, shifted by a constant. */
#define V_SHIFT_DOWN_32(x, n) _mm512_srli_epi32(x, n)

/* The greatest byte of each of four vectors. */
LT_INLINE __m128i v_reduce_max_8_each(const vi x[4]) {
    vi y[2];
    LT_UNROLL
    for (int i = 0; i < 2; i++) {
        y[i] = _mm512_max_epu8(_mm512_shuffle_i32x4(x[2 * i], x[2 * i + 1], 0x88),
                               _mm512_shuffle_i32x4(x[2 * i], x[2 * i + 1], 0xdd));
    }
    vi z = _mm512_max_epu8(_mm512_shuffle_i32x4(y[0], y[1], 0x88),
                           _mm512_shuffle_i32x4(y[0], y[1], 0xdd));
    z = _mm512_max_epu8(z, _mm512_unpackhi_epi64(z, z));
    z = _mm512_max_epu8(z, _mm512_srli_epi64(z, 32));
    z = _mm512_max_epu8(z, _mm512_srli_epi64(z, 16));
    z = _mm512_max_epu8(z, _mm512_srli_epi64(z, 8));
    const vi first = _mm512_maskz_permutexvar_epi32(
        0xf, _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), z);
    return _mm_and_si128(_mm512_castsi512_si128(first), _mm_set1_epi32(0xff));
}

/* The magnitudes of what 16 narrow codes and a scale stand for, to look codes up in. */
typedef vf code_values;

LT_INLINE code_values v_values_of(vf scale) {
    return v_abs(v_table_i4(scale));
}

LT_INLINE vf v_lookup_values(const uint8_t *codes, code_values values, vf scale) {
    (void)scale;
    return v_lookup(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)codes)), values);
}

#endif
