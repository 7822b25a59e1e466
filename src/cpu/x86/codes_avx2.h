/* SPDX-License-Identifier: Apache-2.0 */
/* Vector operations on codes a byte each, in AVX2; codes_avx512.h has the same ones. */
#ifndef LT_CPU_X86_CODES_H
#define LT_CPU_X86_CODES_H

#include "cpu/x86/simd_avx2.h"
#include <float.h>

/* Codes of -8 to 7 by a table of 16 bytes, which is there twice. */
LT_INLINE vi v_lookup_codes(vi codes, vi table) {
    return _mm256_shuffle_epi8(table, _mm256_and_si256(codes, _mm256_set1_epi8(0xf)));
}

LT_INLINE vi v_and(vi a, vi b) {
    return _mm256_and_si256(a, b);
}

LT_INLINE vi v_set1_i8(char x) {
    return _mm256_set1_epi8(x);
}

LT_INLINE vi v_set1_i32(int x) {
    return _mm256_set1_epi32(x);
}

LT_INLINE vi v_all_if(bool condition) {
    return _mm256_set1_epi8(condition ? -1 : 0);
}

LT_INLINE vi v_clamp_bytes(vi x, char least, char most) {
    return _mm256_max_epi8(_mm256_min_epi8(x, _mm256_set1_epi8(most)), _mm256_set1_epi8(least));
}

/* 1 above `bound`, at most 128, -1 below its negative, else 0. */
LT_INLINE vi v_beyond(vi codes, vi bound) {
    const vi above = _mm256_subs_epu8(_mm256_abs_epi8(codes), bound);
    return _mm256_sign_epi8(_mm256_min_epu8(above, _mm256_set1_epi8(1)), codes);
}

/* V_BYTES codes times factor / 2^15, rounded to the nearest, ties upwards, and saturated. */
LT_INLINE vi v_scale_codes(const uint8_t *codes, short factor) {
    const vi low = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)codes));
    const vi high = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)codes + 1));
    const vi factors = _mm256_set1_epi16(factor);
    const vi bytes =
        _mm256_packs_epi16(_mm256_mulhrs_epi16(low, factors), _mm256_mulhrs_epi16(high, factors));
    return _mm256_permute4x64_epi64(bytes, _MM_SHUFFLE(3, 1, 2, 0));
}

/* One bit a code: 1 unless it is below 0. */
LT_INLINE void v_store_code_signs(void *dst, vi codes, lt_store store) {
    const uint32_t bits = ~(uint32_t)_mm256_movemask_epi8(codes);
    if (store == LT_STORE_STREAM)
        _mm_stream_si32((int *)dst, (int)bits);
    else
        memcpy(dst, &bits, sizeof bits);
}

/* V_BYTES codes of 4, 2 and 1 bits. */

LT_INLINE vi v_unpack_i4(const uint8_t *src) {
    const vi signs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
    const vi wide = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)src));
    const vi both = _mm256_or_si256(wide, _mm256_slli_epi16(wide, 4));
    return v_lookup_codes(both, signs);
}

/* Each two bits of V_BYTES / 4 bytes to a byte: its lowest ones, or the two above them. */
LT_INLINE vi v_spread_crumbs(const uint8_t *src) {
    enum { ODD_WORDS = 0xaa };
    const vi to_four = _mm256_setr_epi32(0x00000000, 0x01010101, 0x02020202, 0x03030303, 0x04040404,
                                         0x05050505, 0x06060606, 0x07070707);
    const vi all = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)src));
    const vi bytes = _mm256_shuffle_epi8(all, to_four);
    const vi low = _mm256_blend_epi16(bytes, _mm256_srli_epi16(bytes, 4), ODD_WORDS);
    return _mm256_and_si256(low, _mm256_set1_epi32(0x0c030c03));
}

/* A table of what two bits stand for, periodic, to look up in what v_spread_crumbs gives. */
LT_INLINE vi v_table_of_crumbs(vi table) {
    return _mm256_shuffle_epi8(table, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                          0, 1, 2, 3, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0)));
}

LT_INLINE vi v_unpack_i2(const uint8_t *src) {
    const vi signs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1));
    return _mm256_shuffle_epi8(v_table_of_crumbs(signs), v_spread_crumbs(src));
}

/* A byte for each bit of V_BYTES / 8 bytes: of `if_1` where it is set, else of `if_0`. */
LT_INLINE vi v_spread_bits(const uint8_t *src, vi if_0, vi if_1) {
    const vi to_eight = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, /**/
                                         2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const vi bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    const vi bytes = _mm256_shuffle_epi8(v_load_32_to_all(src), to_eight);
    const vi is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_blendv_epi8(if_0, if_1, is_set);
}

LT_INLINE vi v_unpack_i1(const uint8_t *src) {
    return v_spread_bits(src, _mm256_set1_epi8(-1), _mm256_set1_epi8(1));
}

/* Packed codes, by the halves of their bytes. */

LT_INLINE vi v_low_halves(vi x) {
    return _mm256_and_si256(x, _mm256_set1_epi8(0xf));
}

LT_INLINE vi v_high_halves(vi x) {
    return _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(0xf));
}

LT_INLINE vi v_or(vi a, vi b) {
    return _mm256_or_si256(a, b);
}

LT_INLINE vi v_upper_bytes(vi x) {
    return _mm256_srli_epi16(x, 8);
}

LT_INLINE vi v_subtract_1(vi bytes) {
    return _mm256_sub_epi8(bytes, _mm256_set1_epi8(1));
}

/* 16-bit lanes, shifted by a constant. */
#define V_SHIFT_BYTES(x, n) _mm256_slli_epi16(x, n)

/* Bytes of both in turn: 2 * V_BYTES of them. */
LT_INLINE void v_store_zipped(uint8_t *dst, vi even, vi odd, lt_store store) {
    const vi low = _mm256_unpacklo_epi8(even, odd);
    const vi high = _mm256_unpackhi_epi8(even, odd);
    v_store(dst, _mm256_permute2x128_si256(low, high, 0x20), store);
    v_store(dst + V_BYTES, _mm256_permute2x128_si256(low, high, 0x31), store);
}

LT_INLINE vi v_table_to_all(__m128i table) {
    return _mm256_broadcastsi128_si256(table);
}

/* 16 bytes of four vectors of which only the first lanes count, as v_to_code_bytes makes them. */
LT_INLINE __m128i v_first_16(vi bytes) {
    return _mm256_castsi256_si128(bytes);
}

/* The first byte in all places. */
LT_INLINE vi v_first_to_all(vi x) {
    return _mm256_broadcastb_epi8(_mm256_castsi256_si128(x));
}

LT_INLINE bool v_are_equal(vi a, vi b) {
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b)) == -1;
}

/* n floats, and then others. */
LT_INLINE vf v_load_floats(const float *src, size_t n, float others) {
    const int n_there = n < V_FLOATS ? (int)n : V_FLOATS;
    const vi is_there =
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n_there), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_blendv_ps(v_set1(others), _mm256_maskload_ps(src, is_there),
                            _mm256_castsi256_ps(is_there));
}

/* Scales. */

LT_INLINE vf v_divide(vf a, vf b) {
    return _mm256_div_ps(a, b);
}

LT_INLINE vf v_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}

LT_INLINE vf v_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}

LT_INLINE float v_greatest(vf x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

LT_INLINE float v_least(vf x) {
    return -v_greatest(_mm256_sub_ps(_mm256_setzero_ps(), x));
}

LT_INLINE vi v_to_i32(vf x) {
    return _mm256_cvtps_epi32(x);
}

LT_INLINE vi v_add_i32(vi a, vi b) {
    return _mm256_add_epi32(a, b);
}

LT_INLINE vi v_subtract_i32(vi a, vi b) {
    return _mm256_sub_epi32(a, b);
}

/* Each divided in double, and rounded. */
LT_INLINE vf v_means(vf x, double n) {
    const __m256d low =
        _mm256_div_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_set1_pd(n));
    const __m256d high =
        _mm256_div_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)), _mm256_set1_pd(n));
    return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low));
}

LT_INLINE vf v_finite_or_0(vf x) {
    return _mm256_and_ps(x, _mm256_cmp_ps(x, _mm256_set1_ps(FLT_MAX), _CMP_LE_OQ));
}

/* Statistics. */

LT_INLINE vi v_abs_bytes(vi x) {
    return _mm256_abs_epi8(x);
}

LT_INLINE vi v_max_bytes(vi a, vi b) {
    return _mm256_max_epu8(a, b);
}

/* In each 128-bit lane, 32-bit elements 0 and 2, or 1 and 3, of a, then of b. */
LT_INLINE vi v_even_elements(vi a, vi b) {
    return _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
}

LT_INLINE vi v_odd_elements(vi a, vi b) {
    return _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd));
}

/* 32-bit elements, shifted by a constant. */
#define V_SHIFT_DOWN_32(x, n) _mm256_srli_epi32(x, n)

/* The greatest byte of each of four vectors. */
LT_INLINE __m128i v_reduce_max_8_each(const vi x[4]) {
    const vi a =
        _mm256_max_epu8(_mm256_unpacklo_epi32(x[0], x[1]), _mm256_unpackhi_epi32(x[0], x[1]));
    const vi b =
        _mm256_max_epu8(_mm256_unpacklo_epi32(x[2], x[3]), _mm256_unpackhi_epi32(x[2], x[3]));
    const vi c = _mm256_max_epu8(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    __m128i z = _mm_max_epu8(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    z = _mm_max_epu8(z, _mm_srli_epi32(z, 16));
    z = _mm_max_epu8(z, _mm_srli_epi32(z, 8));
    return _mm_and_si128(z, _mm_set1_epi32(0xff));
}

/* 16 values do not fit in a vector: narrow codes are converted as others are. */
typedef vf code_values;

LT_INLINE code_values v_values_of(vf scale) {
    return scale;
}

LT_INLINE vf v_lookup_values(const uint8_t *codes, code_values values, vf scale) {
    (void)values;
    return v_abs(v_mul(v_load_i8(codes), scale));
}

#endif
