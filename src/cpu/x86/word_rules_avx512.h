/* SPDX-License-Identifier: Apache-2.0 */
/* For codes of three values, of 16-bit floats: the greatest magnitude whose code is 0, as bits. As
 * codes do not fall where magnitudes rise, that is all there is to know, and nothing is decoded. */
#ifndef LT_CPU_X86_WORD_RULES_AVX512_H
#define LT_CPU_X86_WORD_RULES_AVX512_H

#include "cpu/x86/simd_avx512.h"

/* The least F32, as bits, whose product with the inverse rounds to more than 1/2; more than those
 * of infinity if there is none. It is at most two numbers above 1/2 over the inverse, rounded:
 * their product is then above 1/2 by more than half a unit in its last place. */
LT_INLINE vi least_used(vf inverse) {
    const vf half = v_set1(0.5f);
    const vi one = _mm512_set1_epi32(1);
    vi least = _mm512_castps_si512(_mm512_div_ps(half, inverse));
    LT_UNROLL
    for (int i = 0; i < 2; i++) { /* beyond infinity nothing rises */
        const vf product = v_mul(_mm512_castsi512_ps(least), inverse);
        least = _mm512_mask_add_epi32(least, _mm512_cmp_ps_mask(product, half, _CMP_NGT_UQ), least,
                                      one);
    }
    const __mmask16 is_scale = _mm512_cmp_ps_mask(inverse, v_set1(0), _CMP_GT_OQ);
    return _mm512_mask_mov_epi32(_mm512_set1_epi32(0x7fc00000), is_scale, least);
}

/* At most V_FLOATS of n inverses. */
LT_INLINE vf load_inverses(const float *inverses, size_t n) {
    const __mmask16 are_there = (__mmask16)(n < V_FLOATS ? (1u << n) - 1 : 0xffff);
    return _mm512_maskz_loadu_ps(are_there, inverses);
}

/* Twice in 32 bits, in what holds an inverse elsewhere. */
LT_INLINE void store_rules(float *rules, vi least) {
    const vi below = _mm512_sub_epi32(least, _mm512_set1_epi32(1));
    v_store(rules, _mm512_or_si512(below, _mm512_slli_epi32(below, 16)), LT_STORE_PLAIN);
}

/* Of n groups; there is room for whole vectors. */
typedef void word_rules_fn(const float *inverses, size_t n, float *rules);

LT_INLINE void f16_word_rules(const float *inverses, size_t n, float *rules) {
    enum { UPWARDS = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC };
    for (size_t i = 0; i < n; i += V_FLOATS) {
        const vf least = _mm512_castsi512_ps(least_used(load_inverses(inverses + i, n - i)));
        const __m256i words = _mm512_maskz_cvtps_ph(0xffff, least, UPWARDS);
        store_rules(rules + i, _mm512_cvtepu16_epi32(words));
    }
}

LT_INLINE void bf16_word_rules(const float *inverses, size_t n, float *rules) {
    for (size_t i = 0; i < n; i += V_FLOATS) {
        const vi least = least_used(load_inverses(inverses + i, n - i));
        const vi upwards = _mm512_add_epi32(least, _mm512_set1_epi32(0xffff));
        store_rules(rules + i, _mm512_srli_epi32(upwards, 16));
    }
}

#endif
