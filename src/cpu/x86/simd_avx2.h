/* SPDX-License-Identifier: Apache-2.0 */
/* The vector operations of the kernel templates, in AVX2 with F16C. simd_avx512.h has the same
 * ones. */
#ifndef LT_CPU_X86_SIMD_H
#define LT_CPU_X86_SIMD_H

#include "cpu/x86/kernels_x86.h"
#include <immintrin.h>

#define LT_ISA avx2
#define LT_V_BYTES 32 /* for the preprocessor */
#define LT_HAS_SCOPES 0
#define LT_HAS_VBMI 0
/* What finishes the work of a HOT kernel: itself. */
#define LT_HOT_REST(avx2_kernel) NULL

typedef __m256 vf;
typedef __m256i vi;

enum { V_BYTES = 32, V_FLOATS = 8 };

/* Loads and stores. Nothing is assumed to be aligned, except by streaming stores. */

LT_INLINE vi v_load(const void *src) {
    return _mm256_loadu_si256((const __m256i *)src);
}

LT_INLINE void v_store(void *dst, vi x, lt_store store) {
    if (store == LT_STORE_STREAM)
        _mm256_stream_si256((__m256i *)dst, x);
    else
        _mm256_storeu_si256((__m256i *)dst, x);
}

LT_INLINE void v_store_128(void *dst, __m128i x, lt_store store) {
    if (store == LT_STORE_STREAM)
        _mm_stream_si128((__m128i *)dst, x);
    else
        _mm_storeu_si128((__m128i *)dst, x);
}

LT_INLINE vi v_load_128_to_all(const void *src) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)src));
}

LT_INLINE vi v_load_32_to_all(const void *src) {
    return _mm256_broadcastd_epi32(_mm_loadu_si32(src));
}

/* Floats. */

LT_INLINE vf v_set1(float x) {
    return _mm256_set1_ps(x);
}

LT_INLINE vf v_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}

LT_INLINE vf v_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}

LT_INLINE vf v_add_to_sum(vf sum, vf x) {
    return v_add(sum, x);
}

LT_INLINE vf v_abs(vf x) {
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
}

LT_INLINE vf v_load_f32(const void *src) {
    return _mm256_loadu_ps((const float *)src);
}

LT_INLINE vf v_load_f16(const void *src) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)src));
}

LT_INLINE vf v_load_bf16(const void *src) {
    const vi wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)src));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* Signed bytes to floats. */
LT_INLINE vf v_load_i8(const void *src) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)src)));
}

LT_INLINE void v_store_f32(void *dst, vf x, lt_store store) {
    v_store(dst, _mm256_castps_si256(x), store);
}

LT_INLINE void v_store_f16_pair(void *dst, vf a, vf b, lt_store store) {
    const __m128i low = _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m128i high = _mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    v_store(dst, _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), store);
}

/* BF16 in the high half of each lane, the rule of lt_bf16_from_f32; of numbers: no NaN. */
LT_INLINE vi v_number_to_bf16(vf x) {
    const vi bits = _mm256_castps_si256(x);
    const vi odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
}

LT_INLINE vi v_to_bf16(vf x) {
    const vi quiet = _mm256_or_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x400000));
    const vi is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(v_number_to_bf16(x), quiet, is_nan);
}

LT_INLINE void v_store_high_halves(void *dst, vi a, vi b, lt_store store) {
    const vi packed = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));
    v_store(dst, _mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0)), store);
}

LT_INLINE void v_store_bf16_pair(void *dst, vf a, vf b, lt_store store) {
    v_store_high_halves(dst, v_to_bf16(a), v_to_bf16(b), store);
}

LT_INLINE void v_store_bf16_numbers(void *dst, vf a, vf b, lt_store store) {
    v_store_high_halves(dst, v_number_to_bf16(a), v_number_to_bf16(b), store);
}

/* Codes. */

/* Four vectors of 32-bit codes to bytes in order, saturating. The packs work inside 128-bit lanes.
 */
LT_INLINE vi v_to_bytes(const vi code[4]) {
    const vi low = _mm256_packs_epi32(code[0], code[1]);
    const vi high = _mm256_packs_epi32(code[2], code[3]);
    const vi order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
}

/* Four vectors, none beyond 2^31 or NaN, rounded to nearest even, to bytes in order, saturating. */
LT_INLINE vi v_to_near_bytes(const vf x[4]) {
    vi code[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        code[i] = _mm256_cvtps_epi32(x[i]);
    return v_to_bytes(code);
}

/* Four vectors, clamped to [-bound, bound] and rounded to nearest even, to bytes in order; 0 for
 * NaN. What an integer cannot hold, and NaN, becomes the least of all, so that bytes above that
 * need no look at the floats; clamped, only NaN does, which goes past these min and max. */
LT_INLINE vi v_to_code_bytes(const vf x[4], vf bound) {
    const vi most = _mm256_broadcastb_epi8(_mm256_castsi256_si128(_mm256_cvtps_epi32(bound)));
    const vi lowest = _mm256_set1_epi8(-128);
    vi bytes = v_to_near_bytes(x);
    if (_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, lowest)) != 0) {
        const vf minus_bound = _mm256_sub_ps(_mm256_setzero_ps(), bound);
        vf clamped[4];
        LT_UNROLL
        for (int i = 0; i < 4; i++)
            clamped[i] = _mm256_max_ps(minus_bound, _mm256_min_ps(bound, x[i]));
        bytes = v_to_near_bytes(clamped);
        bytes = _mm256_andnot_si256(_mm256_cmpeq_epi8(bytes, lowest), bytes);
    }
    const vi least = _mm256_sub_epi8(_mm256_setzero_si256(), most);
    return _mm256_max_epi8(_mm256_min_epi8(bytes, most), least);
}

/* The lesser of each signed byte and `most`. */
LT_INLINE vi v_min_bytes(vi bytes, char most) {
    return _mm256_min_epi8(bytes, _mm256_set1_epi8(most));
}

/* Ternary codes of four vectors: x rounds to 1 above 0.5, where ties go to 0. */
LT_INLINE vi v_to_ternary_codes(const vf x[4]) {
    vi code[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const vf above = _mm256_cmp_ps(x[i], _mm256_set1_ps(0.5f), _CMP_GT_OQ);
        const vf below = _mm256_cmp_ps(x[i], _mm256_set1_ps(-0.5f), _CMP_LT_OQ);
        code[i] = _mm256_sub_epi32(_mm256_castps_si256(below), _mm256_castps_si256(above));
    }
    return v_to_bytes(code);
}

/* The same, where none is beyond 2^31 or NaN. */
LT_INLINE vi v_to_near_ternary_codes(const vf x[4]) {
    const vi bytes = _mm256_min_epi8(v_to_near_bytes(x), _mm256_set1_epi8(1));
    return _mm256_max_epi8(bytes, _mm256_set1_epi8(-1));
}

/* The low 4 bits of each byte, two to a byte. */
LT_INLINE void v_store_nibbles(void *dst, vi bytes, lt_store store) {
    const vi low = _mm256_and_si256(bytes, _mm256_set1_epi8(0xf));
    const vi words = _mm256_maddubs_epi16(low, _mm256_set1_epi16(0x1001)); /* low + 16 * high */
    const vi packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0x08);
    v_store_128(dst, _mm256_castsi256_si128(packed), store);
}

/* The low 2 bits of each byte, four to a byte. */
LT_INLINE void v_store_crumbs(void *dst, vi bytes, lt_store store) {
    const vi low = _mm256_and_si256(bytes, _mm256_set1_epi8(3));
    const vi words = _mm256_maddubs_epi16(low, _mm256_set1_epi16(0x0401));
    const vi dwords = _mm256_madd_epi16(words, _mm256_set1_epi32(0x00100001));
    const vi packed = _mm256_packus_epi16(_mm256_packs_epi32(dwords, dwords), dwords);
    const vi order = _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0);
    const vi lanes = _mm256_permutevar8x32_epi32(packed, order);
    const long long bits = _mm_cvtsi128_si64(_mm256_castsi256_si128(lanes));
    if (store == LT_STORE_STREAM)
        _mm_stream_si64((long long *)dst, bits);
    else
        memcpy(dst, &bits, sizeof bits);
}

/* One bit an element: 1 unless x < 0. */
LT_INLINE void v_store_signs(void *dst, const vf x[4], lt_store store) {
    uint32_t negative = 0;
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const vf below = _mm256_cmp_ps(x[i], _mm256_setzero_ps(), _CMP_LT_OQ);
        negative |= (uint32_t)_mm256_movemask_ps(below) << (8 * i);
    }
    negative = ~negative;
    if (store == LT_STORE_STREAM)
        _mm_stream_si32((int *)dst, (int)negative);
    else
        memcpy(dst, &negative, sizeof negative);
}

/* How many elements have |x| >= bound. */
LT_INLINE uint64_t v_count_outside(vf x, vf bound) {
    const int mask = _mm256_movemask_ps(_mm256_cmp_ps(v_abs(x), bound, _CMP_GE_OQ));
    return (uint64_t)_mm_popcnt_u32((unsigned)mask);
}

/* Decoding by table: the low bits of each 32-bit lane pick one of V_FLOATS values. */

LT_INLINE vf v_lookup(vi index, vf table) {
    return _mm256_permutevar8x32_ps(table, index);
}

/* Tables for 1 and 2 bits, times the scale: periodic, so that no index bit needs clearing. */
LT_INLINE vf v_table_i1(vf scale) {
    return v_mul(_mm256_setr_ps(-1, 1, -1, 1, -1, 1, -1, 1), scale);
}

LT_INLINE vf v_table_i2(vf scale) {
    return v_mul(_mm256_setr_ps(0, 1, -2, -1, 0, 1, -2, -1), scale);
}

LT_INLINE vf v_table_ternary(vf scale) {
    return v_mul(_mm256_setr_ps(-1, 0, 1, 0, 0, 0, 0, 0), scale);
}

/* Four vectors from codes of 1, 2 and 4 bits. */

LT_INLINE void v_load_i1(const uint8_t *src, vf scale, vf x[4]) {
    const vf table = v_table_i1(scale);
    const vi bits = v_load_32_to_all(src);
    const vi lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_lookup(_mm256_srlv_epi32(bits, _mm256_add_epi32(lane, _mm256_set1_epi32(8 * i))),
                        table);
}

LT_INLINE void v_load_i2(const uint8_t *src, vf scale, vf x[4]) {
    const vf table = v_table_i2(scale);
    const vi low_half = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    const vi high_half = _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30);
    const vi first = v_load_32_to_all(src);
    const vi second = v_load_32_to_all(src + 4);
    x[0] = v_lookup(_mm256_srlv_epi32(first, low_half), table);
    x[1] = v_lookup(_mm256_srlv_epi32(first, high_half), table);
    x[2] = v_lookup(_mm256_srlv_epi32(second, low_half), table);
    x[3] = v_lookup(_mm256_srlv_epi32(second, high_half), table);
}

/* 16 values do not fit in a vector: shift each code to the top of its lane, and back down signed.
 */
LT_INLINE void v_load_i4(const uint8_t *src, vf scale, vf x[4]) {
    const vi to_top = _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0);
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const vi top = _mm256_sllv_epi32(v_load_32_to_all(src + 4 * i), to_top);
        x[i] = v_mul(_mm256_cvtepi32_ps(_mm256_srai_epi32(top, 28)), scale);
    }
}

/* Base 3. */

/* The order of 16-bit lanes in which unpacking works: even lanes hold the first V_FLOATS elements,
 * odd lanes the next, so that a vector of 32-bit lanes falls out of each half. F is a macro of an
 * element. */
#define V_UNPACK_LANES(F, e)                                                                       \
    F((e) + 0), F((e) + 8), F((e) + 1), F((e) + 9), F((e) + 2), F((e) + 10), F((e) + 3),           \
        F((e) + 11), F((e) + 4), F((e) + 12), F((e) + 5), F((e) + 13), F((e) + 6), F((e) + 14),    \
        F((e) + 7), F((e) + 15)

LT_INLINE vi v_shuffle_bytes(vi x, vi index) {
    return _mm256_shuffle_epi8(x, index);
}

LT_INLINE vi v_mul_low_u16(vi a, vi b) {
    return _mm256_mullo_epi16(a, b);
}

LT_INLINE vi v_mul_high_u16(vi a, vi b) {
    return _mm256_mulhi_epu16(a, b);
}

LT_INLINE vi v_set1_i16(short x) {
    return _mm256_set1_epi16(x);
}

LT_INLINE vi v_upper_to_lower_u16(vi x) {
    return _mm256_srli_epi32(x, 16);
}

LT_INLINE vi v_add_bytes_1(vi x) {
    return _mm256_add_epi8(x, _mm256_set1_epi8(1));
}

/* The first n_low 32-bit lanes of `low`, the rest of `rest`. */
#define V_BLEND_LANES(rest, low, n_low) _mm256_blend_epi32(rest, low, (1 << (n_low)) - 1)

LT_INLINE vi v_permute_lanes(vi x, vi index) {
    return _mm256_permutevar8x32_epi32(x, index);
}

/* Sum of unsigned byte times signed byte over each 64-bit lane, below 256. */
LT_INLINE vi v_dot_bytes(vi x, vi weights) {
    return _mm256_sad_epu8(_mm256_maddubs_epi16(x, weights), _mm256_setzero_si256());
}

/* Byte 4m + i of the output is 64-bit lane i of sums[m]: each vector becomes byte m of every lane,
 * and the 4 by 8 bytes are transposed. */
LT_INLINE void v_store_sums(void *dst, const vi sums[8], lt_store store) {
    vi all = sums[0];
    LT_UNROLL
    for (int m = 1; m < 8; m++)
        all = _mm256_or_si256(all, _mm256_slli_epi64(sums[m], 8 * m));
    const vi pairs = _mm256_unpacklo_epi8(all, _mm256_srli_si256(all, 8));
    const __m128i low = _mm256_castsi256_si128(pairs);
    const __m128i high = _mm256_extracti128_si256(pairs, 1);
    v_store_128(dst, _mm_unpacklo_epi16(low, high), store);
    v_store_128((__m128i *)dst + 1, _mm_unpackhi_epi16(low, high), store);
}

/* Reductions. */

LT_INLINE vi v_zero(void) {
    return _mm256_setzero_si256();
}

LT_INLINE vi v_max_abs_32(vi max, vi x) {
    return _mm256_max_epu32(max, _mm256_and_si256(x, _mm256_set1_epi32(0x7fffffff)));
}

LT_INLINE vi v_max_abs_16(vi max, vi x) {
    return _mm256_max_epu16(max, _mm256_and_si256(x, _mm256_set1_epi16(0x7fff)));
}

LT_INLINE uint32_t v_reduce_max_32(vi x) {
    __m128i y = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_max_epu32(y, _mm_srli_si128(y, 8));
    y = _mm_max_epu32(y, _mm_srli_si128(y, 4));
    return (uint32_t)_mm_cvtsi128_si32(y);
}

LT_INLINE uint16_t v_reduce_max_16(vi x) {
    const __m128i y = _mm_max_epu16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    /* There is an instruction for the least of eight. */
    const __m128i least = _mm_minpos_epu16(_mm_xor_si128(y, _mm_set1_epi16(-1)));
    return (uint16_t)~_mm_extract_epi16(least, 0);
}

/* Folds the lanes by halves. */
LT_INLINE float v_fold(vf x) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

#endif
