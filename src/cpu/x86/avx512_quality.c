/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX-512 quality kernels. */
#include "cpu/x86/simd_avx512.h"

typedef __mmask16 vm;

LT_INLINE uint32_t m_bits(vm m) {
    return m;
}

LT_INLINE vm m_or(vm a, vm b) {
    return (vm)(a | b);
}

LT_INLINE vm m_and(vm a, vm b) {
    return (vm)(a & b);
}

LT_INLINE vi v_bits(vf x) {
    return _mm512_castps_si512(x);
}

LT_INLINE vm m_between(vf x, vf most) {
    const vi one = _mm512_set1_epi32(1);
    const vi below = _mm512_sub_epi32(v_bits(v_abs(x)), one); /* of 0 the greatest number */
    return _mm512_cmplt_epu32_mask(below, _mm512_sub_epi32(v_bits(most), one));
}

LT_INLINE vm m_above(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

LT_INLINE vm m_reaches(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

LT_INLINE vm m_equal(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

LT_INLINE vf v_drop(vf x, vm m) {
    return _mm512_maskz_mov_ps((vm)~m, x);
}

LT_INLINE vf v_sub(vf a, vf b) {
    return _mm512_sub_ps(a, b);
}

typedef struct vd {
    __m512d low;
    __m512d high;
} vd;

LT_INLINE vd d_zero(void) {
    return (vd){_mm512_setzero_pd(), _mm512_setzero_pd()};
}

LT_INLINE void d_add(vd *sums, vf x) {
    sums->low = _mm512_add_pd(sums->low, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    sums->high = _mm512_add_pd(sums->high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
}

LT_INLINE double d_total(const vd *sums) {
    return _mm512_reduce_add_pd(_mm512_add_pd(sums->low, sums->high));
}

#include "cpu/x86/quality_template.h"
