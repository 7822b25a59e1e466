/* SPDX-License-Identifier: Apache-2.0 */
/* The vector operations of the kernel templates, in AVX-512 F, BW, DQ and VL; simd_avx2.h has the
 * same ones. A file that defines LT_HAS_VBMI to be 1 may use VBMI, VBMI2 and VNNI beside them. */
#ifndef LT_CPU_X86_SIMD_H
#define LT_CPU_X86_SIMD_H

#include "cpu/x86/kernels_x86.h"
#include <immintrin.h>

#ifdef LT_HAS_VBMI
#define LT_ISA vbmi
#else
#define LT_HAS_VBMI 0
#define LT_ISA avx512
#endif
#define LT_V_BYTES 64 /* for the preprocessor */
#define LT_HAS_SCOPES 1
/* What finishes the work of a HOT kernel. */
#define LT_HOT_REST(avx2_kernel) avx2_kernel

typedef __m512 vf;
typedef __m512i vi;

enum { V_BYTES = 64, V_FLOATS = 16 };

/* Loads and stores. Nothing is assumed to be aligned, except by streaming stores. */

LT_INLINE vi v_load(const void *src) {
    return _mm512_loadu_si512(src);
}

LT_INLINE void v_store(void *dst, vi x, lt_store store) {
    if (store == LT_STORE_STREAM)
        _mm512_stream_si512(dst, x);
    else
        _mm512_storeu_si512(dst, x);
}

LT_INLINE void v_store_half(void *dst, __m256i x, lt_store store) {
    if (store == LT_STORE_STREAM)
        _mm256_stream_si256((__m256i *)dst, x);
    else
        _mm256_storeu_si256((__m256i *)dst, x);
}

LT_INLINE vi v_load_128_to_all(const void *src) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)src));
}

LT_INLINE vi v_load_32_to_all(const void *src) {
    return _mm512_broadcastd_epi32(_mm_loadu_si32(src));
}

/* Floats. */

LT_INLINE vf v_set1(float x) {
    return _mm512_set1_ps(x);
}

LT_INLINE vf v_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}

LT_INLINE vf v_add(vf a, vf b) {
    return _mm512_add_ps(a, b);
}

/* An addition, in the units that multiply: those that add also convert what is added. */
LT_INLINE vf v_add_to_sum(vf sum, vf x) {
    return _mm512_fmadd_ps(x, _mm512_set1_ps(1), sum);
}

LT_INLINE vf v_abs(vf x) {
    return _mm512_abs_ps(x);
}

LT_INLINE vf v_load_f32(const void *src) {
    return _mm512_loadu_ps(src);
}

LT_INLINE vf v_load_f16(const void *src) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)src));
}

LT_INLINE vf v_load_bf16(const void *src) {
    const vi wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)src));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* Every other one of 32 elements. */
LT_INLINE vf v_even_bf16(vi words) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

LT_INLINE vf v_odd_bf16(vi words) {
    return _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(-0x10000)));
}

/* Signed bytes to floats. */
LT_INLINE vf v_load_i8(const void *src) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)src)));
}

LT_INLINE void v_store_f32(void *dst, vf x, lt_store store) {
    v_store(dst, _mm512_castps_si512(x), store);
}

LT_INLINE void v_store_f16_pair(void *dst, vf a, vf b, lt_store store) {
    /* Masked though every lane is wanted: unoptimised, gcc 12 warns inside the plain intrinsic. */
    enum { TO_NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    v_store_half(dst, _mm512_maskz_cvtps_ph(0xffff, a, TO_NEAREST), store);
    v_store_half((__m256i *)dst + 1, _mm512_maskz_cvtps_ph(0xffff, b, TO_NEAREST), store);
}

/* BF16 in the high half of each lane, the rule of lt_bf16_from_f32; of numbers: no NaN. */
LT_INLINE vi v_number_to_bf16(vf x) {
    const vi bits = _mm512_castps_si512(x);
    const vi odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
}

LT_INLINE vi v_to_bf16(vf x) {
    const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(v_number_to_bf16(x), is_nan, _mm512_castps_si512(x),
                                _mm512_set1_epi32(0x400000));
}

LT_INLINE void v_store_high_halves(void *dst, vi a, vi b, lt_store store) {
    const vi high_halves =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    v_store(dst, _mm512_permutex2var_epi16(a, high_halves, b), store);
}

LT_INLINE void v_store_bf16_pair(void *dst, vf a, vf b, lt_store store) {
    v_store_high_halves(dst, v_to_bf16(a), v_to_bf16(b), store);
}

LT_INLINE void v_store_bf16_numbers(void *dst, vf a, vf b, lt_store store) {
    v_store_high_halves(dst, v_number_to_bf16(a), v_number_to_bf16(b), store);
}

/* Codes. */

/* x clamped to [-bound, bound]; 0 for NaN. Unoptimised, gcc 12 warns inside the intrinsic. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
LT_INLINE vf v_clamp(vf x, vf bound) {
    enum { LEAST_MAGNITUDE_SIGN_OF_FIRST = 2 };
    const __mmask16 ordered = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    return _mm512_maskz_range_ps(ordered, x, bound, LEAST_MAGNITUDE_SIGN_OF_FIRST);
}
#pragma GCC diagnostic pop

/* Four vectors of 32-bit codes to bytes in order, saturating. The packs work inside 128-bit lanes.
 */
LT_INLINE vi v_to_bytes(const vi code[4]) {
    const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const vi low = _mm512_packs_epi32(code[0], code[1]);
    const vi high = _mm512_packs_epi32(code[2], code[3]);
    return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
}

/* Four vectors, none beyond 2^31 or NaN, rounded to nearest even, to bytes in order, saturating. */
LT_INLINE vi v_to_near_bytes(const vf x[4]) {
    vi code[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        code[i] = _mm512_cvtps_epi32(x[i]);
    return v_to_bytes(code);
}

/* Four vectors, clamped to [-bound, bound] and rounded to nearest even, to bytes in order; 0 for
 * NaN. What an integer cannot hold, and NaN, becomes the least of all, so that bytes above that
 * need no look at the floats. */
LT_INLINE vi v_to_code_bytes(const vf x[4], vf bound) {
    const vi most = _mm512_broadcastb_epi8(_mm512_castsi512_si128(_mm512_cvtps_epi32(bound)));
    vi bytes = v_to_near_bytes(x);
    if (_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(-128)) != 0) {
        vf clamped[4];
        LT_UNROLL
        for (int i = 0; i < 4; i++)
            clamped[i] = v_clamp(x[i], bound);
        bytes = v_to_near_bytes(clamped);
    }
    const vi least = _mm512_sub_epi8(_mm512_setzero_si512(), most);
    return _mm512_max_epi8(_mm512_min_epi8(bytes, most), least);
}

/* The lesser of each signed byte and `most`. */
LT_INLINE vi v_min_bytes(vi bytes, char most) {
    return _mm512_min_epi8(bytes, _mm512_set1_epi8(most));
}

/* Ternary codes of four vectors. Comparing with 0.5 and -0.5, as AVX2 does, and joining the masks
 * was slower. */
LT_INLINE vi v_to_ternary_codes(const vf x[4]) {
    return v_to_code_bytes(x, v_set1(1));
}

/* The same, where none is beyond 2^31 or NaN. */
LT_INLINE vi v_to_near_ternary_codes(const vf x[4]) {
    const vi bytes = _mm512_min_epi8(v_to_near_bytes(x), _mm512_set1_epi8(1));
    return _mm512_max_epi8(bytes, _mm512_set1_epi8(-1));
}

/* The low 4 bits of each byte, two to a byte. */
LT_INLINE void v_store_nibbles(void *dst, vi bytes, lt_store store) {
    const vi low = _mm512_and_si512(bytes, _mm512_set1_epi8(0xf));
    const vi words = _mm512_maddubs_epi16(low, _mm512_set1_epi16(0x1001)); /* low + 16 * high */
    v_store_half(dst, _mm512_cvtepi16_epi8(words), store);
}

/* The low 2 bits of each byte, four to a byte. */
LT_INLINE void v_store_crumbs(void *dst, vi bytes, lt_store store) {
    const vi low = _mm512_and_si512(bytes, _mm512_set1_epi8(3));
    const vi words = _mm512_maddubs_epi16(low, _mm512_set1_epi16(0x0401));
    const vi dwords = _mm512_madd_epi16(words, _mm512_set1_epi32(0x00100001));
    const __m128i bits = _mm512_cvtepi32_epi8(dwords);
    if (store == LT_STORE_STREAM)
        _mm_stream_si128((__m128i *)dst, bits);
    else
        _mm_storeu_si128((__m128i *)dst, bits);
}

/* Of vectors that hold the even and the odd ones of 32 elements, and those of 32 more, none beyond
 * 2^31 or NaN: codes as v_to_near_bytes makes them, in bytes, or their low 4 bits, packed.
 * That takes fewer shuffles than elements in order do. */

LT_INLINE void v_store_apart_bytes(void *dst, const vf x[4], lt_store store) {
    const vi order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    vi words[2];
    LT_UNROLL
    for (int i = 0; i < 2; i++)
        words[i] = _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_cvtps_epi32(x[2 * i]),
                                           _mm512_slli_epi32(_mm512_cvtps_epi32(x[2 * i + 1]), 16));
    v_store(dst, _mm512_permutexvar_epi64(order, _mm512_packs_epi16(words[0], words[1])), store);
}

/* In the low byte of each lane: n bits of the even element below those of the odd one. */
LT_INLINE vi v_join_apart(const vf x[2], int n) {
    enum { A_AND_B_OR_C = 0xea };
    const vi odd = _mm512_madd_epi16(_mm512_cvtps_epi32(x[1]), _mm512_set1_epi32(1 << n));
    return _mm512_ternarylogic_epi32(_mm512_cvtps_epi32(x[0]), _mm512_set1_epi32((1 << n) - 1), odd,
                                     A_AND_B_OR_C);
}

LT_INLINE void v_store_apart_nibbles(void *dst, const vf x[4], lt_store store) {
    const __m128i low = _mm512_cvtepi32_epi8(v_join_apart(x, 4));
    const __m128i high = _mm512_cvtepi32_epi8(v_join_apart(x + 2, 4));
    v_store_half(dst, _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), store);
}

/* Of F16, by half vectors, as a conversion that fills a whole one needs a unit more: codes of 32
 * elements, none beyond 2^31 or NaN, in bytes, or their low 4 bits, packed. Four and four of them
 * lie where packing leaves them. */

LT_INLINE __m256i v_codes_of_f16(const uint8_t *src, float inv_scale) {
    __m256i code[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)src + i));
        code[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(inv_scale)));
    }
    return _mm256_packs_epi16(_mm256_packs_epi32(code[0], code[1]),
                              _mm256_packs_epi32(code[2], code[3]));
}

LT_INLINE void v_store_f16_bytes(void *dst, __m256i first, __m256i second, lt_store store) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    v_store_half(dst, _mm256_permutevar8x32_epi32(first, order), store);
    v_store_half((__m256i *)dst + 1, _mm256_permutevar8x32_epi32(second, order), store);
}

LT_INLINE void v_store_f16_nibbles(void *dst, __m256i first, __m256i second, lt_store store) {
    const __m256i low = _mm256_set1_epi8(0xf);
    const __m256i pairs = _mm256_set1_epi16(0x1001); /* low + 16 * high */
    const __m256i order = _mm256_setr_epi16(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    const __m256i bytes =
        _mm256_packus_epi16(_mm256_maddubs_epi16(_mm256_and_si256(first, low), pairs),
                            _mm256_maddubs_epi16(_mm256_and_si256(second, low), pairs));
    v_store_half(dst, _mm256_permutexvar_epi16(order, bytes), store);
}

/* One bit an element: 1 unless x < 0. */
LT_INLINE void v_store_signs(void *dst, const vf x[4], lt_store store) {
    uint64_t bits = 0;
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const __mmask16 not_below = _mm512_cmp_ps_mask(x[i], _mm512_setzero_ps(), _CMP_NLT_UQ);
        bits |= (uint64_t)not_below << (16 * i);
    }
    if (store == LT_STORE_STREAM)
        _mm_stream_si64((long long *)dst, (long long)bits);
    else
        memcpy(dst, &bits, sizeof bits);
}

/* The same of 16-bit floats: x < 0 where the bits are above those of -0 and not above those of
 * minus infinity. */
LT_INLINE void v_store_word_signs(void *dst, vi first, vi second, uint16_t infinity,
                                  lt_store store) {
    const vi down = _mm512_set1_epi16(0x7fff); /* -0 and what precedes it come last */
    const vi n_below = _mm512_set1_epi16((short)infinity);
    const __mmask32 low = _mm512_cmpge_epu16_mask(_mm512_add_epi16(first, down), n_below);
    const __mmask32 high = _mm512_cmpge_epu16_mask(_mm512_add_epi16(second, down), n_below);
    const uint64_t bits = (uint64_t)high << 32 | low;
    if (store == LT_STORE_STREAM)
        _mm_stream_si64((long long *)dst, (long long)bits);
    else
        memcpy(dst, &bits, sizeof bits);
}

/* How many elements have |x| >= bound. */
LT_INLINE uint64_t v_count_outside(vf x, vf bound) {
    const __mmask16 mask = _mm512_cmp_ps_mask(v_abs(x), bound, _CMP_GE_OQ);
    return (uint64_t)_mm_popcnt_u32(mask);
}

/* Decoding by table: the low 4 bits of each 32-bit lane pick one of V_FLOATS values. */

LT_INLINE vf v_lookup(vi index, vf table) {
    return _mm512_permutexvar_ps(index, table);
}

/* Tables for 1, 2 and 4 bits, times the scale: periodic, so that no index bit needs clearing. */
LT_INLINE vf v_table_i1(vf scale) {
    return v_mul(_mm512_setr_ps(-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1), scale);
}

LT_INLINE vf v_table_i2(vf scale) {
    return v_mul(_mm512_setr_ps(0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1), scale);
}

LT_INLINE vf v_table_i4(vf scale) {
    return v_mul(_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1), scale);
}

LT_INLINE vf v_table_ternary(vf scale) {
    return v_mul(_mm512_setr_ps(-1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), scale);
}

/* Four vectors from codes of 1, 2 and 4 bits. */

LT_INLINE void v_load_i1(const uint8_t *src, vf scale, vf x[4]) {
    const vf table = v_table_i1(scale);
    const vi low_half = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const vi high_half = _mm512_add_epi32(low_half, _mm512_set1_epi32(16));
    const vi first = v_load_32_to_all(src);
    const vi second = v_load_32_to_all(src + 4);
    x[0] = v_lookup(_mm512_srlv_epi32(first, low_half), table);
    x[1] = v_lookup(_mm512_srlv_epi32(first, high_half), table);
    x[2] = v_lookup(_mm512_srlv_epi32(second, low_half), table);
    x[3] = v_lookup(_mm512_srlv_epi32(second, high_half), table);
}

LT_INLINE void v_load_i2(const uint8_t *src, vf scale, vf x[4]) {
    const vf table = v_table_i2(scale);
    const vi shift = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_lookup(_mm512_srlv_epi32(v_load_32_to_all(src + 4 * i), shift), table);
}

LT_INLINE void v_load_i4(const uint8_t *src, vf scale, vf x[4]) {
    const vf table = v_table_i4(scale);
    const vi shift = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const vi low = v_load_32_to_all(src + 8 * i);
        const vi both = _mm512_mask_broadcastd_epi32(low, 0xff00, _mm_loadu_si32(src + 8 * i + 4));
        x[i] = v_lookup(_mm512_srlv_epi32(both, shift), table);
    }
}

/* Base 3. */

/* The order of 16-bit lanes in which unpacking works: even lanes hold the first V_FLOATS elements,
 * odd lanes the next, so that a vector of 32-bit lanes falls out of each half. F is a macro of an
 * element. */
#define V_UNPACK_LANES(F, e)                                                                       \
    F((e) + 0), F((e) + 16), F((e) + 1), F((e) + 17), F((e) + 2), F((e) + 18), F((e) + 3),         \
        F((e) + 19), F((e) + 4), F((e) + 20), F((e) + 5), F((e) + 21), F((e) + 6), F((e) + 22),    \
        F((e) + 7), F((e) + 23), F((e) + 8), F((e) + 24), F((e) + 9), F((e) + 25), F((e) + 10),    \
        F((e) + 26), F((e) + 11), F((e) + 27), F((e) + 12), F((e) + 28), F((e) + 13), F((e) + 29), \
        F((e) + 14), F((e) + 30), F((e) + 15), F((e) + 31)

LT_INLINE vi v_shuffle_bytes(vi x, vi index) {
    return _mm512_shuffle_epi8(x, index);
}

LT_INLINE vi v_mul_low_u16(vi a, vi b) {
    return _mm512_mullo_epi16(a, b);
}

LT_INLINE vi v_mul_high_u16(vi a, vi b) {
    return _mm512_mulhi_epu16(a, b);
}

LT_INLINE vi v_set1_i16(short x) {
    return _mm512_set1_epi16(x);
}

LT_INLINE vi v_upper_to_lower_u16(vi x) {
    return _mm512_srli_epi32(x, 16);
}

LT_INLINE vi v_add_bytes_1(vi x) {
    return _mm512_add_epi8(x, _mm512_set1_epi8(1));
}

/* The first n_low 32-bit lanes of `low`, the rest of `rest`. */
#define V_BLEND_LANES(rest, low, n_low)                                                            \
    _mm512_mask_blend_epi32((__mmask16)((1 << (n_low)) - 1), rest, low)

LT_INLINE vi v_permute_lanes(vi x, vi index) {
    return _mm512_permutexvar_epi32(index, x);
}

/* Sum of unsigned byte times signed byte over each 64-bit lane, below 256. */
LT_INLINE vi v_dot_bytes(vi x, vi weights) {
    return _mm512_sad_epu8(_mm512_maddubs_epi16(x, weights), _mm512_setzero_si512());
}

/* Byte 8m + i of the output is 64-bit lane i of sums[m]: each vector becomes byte m of every lane,
 * and the 8 by 8 bytes are transposed. */
LT_INLINE void v_store_sums(void *dst, const vi sums[8], lt_store store) {
    const vi zip =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    const vi rows = _mm512_set_epi16(31, 23, 15, 7, 30, 22, 14, 6, 29, 21, 13, 5, 28, 20, 12, 4, 27,
                                     19, 11, 3, 26, 18, 10, 2, 25, 17, 9, 1, 24, 16, 8, 0);
    vi all = sums[0];
    LT_UNROLL
    for (int m = 1; m < 8; m++)
        all = _mm512_or_si512(all, _mm512_slli_epi64(sums[m], 8 * (unsigned)m));
    v_store(dst, _mm512_permutexvar_epi16(rows, _mm512_shuffle_epi8(all, zip)), store);
}

/* Reductions. */

LT_INLINE vi v_zero(void) {
    return _mm512_setzero_si512();
}

LT_INLINE vi v_max_abs_32(vi max, vi x) {
    return _mm512_max_epu32(max, _mm512_and_si512(x, _mm512_set1_epi32(0x7fffffff)));
}

LT_INLINE vi v_max_abs_16(vi max, vi x) {
    return _mm512_max_epu16(max, _mm512_and_si512(x, _mm512_set1_epi16(0x7fff)));
}

LT_INLINE uint32_t v_reduce_max_32(vi x) {
    return _mm512_reduce_max_epu32(x);
}

LT_INLINE uint16_t v_reduce_max_16(vi x) {
    const __m256i y = _mm256_max_epu16(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    const __m128i z = _mm_max_epu16(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    /* There is an instruction for the least of eight. */
    const __m128i least = _mm_minpos_epu16(_mm_xor_si128(z, _mm_set1_epi16(-1)));
    return (uint16_t)~_mm_extract_epi16(least, 0);
}

/* Folds the lanes by halves. */
LT_INLINE float v_fold(vf x) {
    const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}

#endif
