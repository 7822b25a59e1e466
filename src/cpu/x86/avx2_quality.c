/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 quality kernels. */
#include "cpu/x86/simd_avx2.h"

typedef __m256 vm;

LT_INLINE uint32_t m_bits(vm m) {
    return (uint32_t)_mm256_movemask_ps(m);
}

LT_INLINE vm m_or(vm a, vm b) {
    return _mm256_or_ps(a, b);
}

LT_INLINE vm m_and(vm a, vm b) {
    return _mm256_and_ps(a, b);
}

LT_INLINE vi v_bits(vf x) {
    return _mm256_castps_si256(x);
}

LT_INLINE vm m_between(vf x, vf most) {
    const vi magnitude = v_bits(v_abs(x));
    const vi above = _mm256_cmpgt_epi32(magnitude, _mm256_setzero_si256());
    return _mm256_castsi256_ps(
        _mm256_and_si256(above, _mm256_cmpgt_epi32(v_bits(most), magnitude)));
}

LT_INLINE vm m_above(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}

LT_INLINE vm m_reaches(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_GE_OQ);
}

LT_INLINE vm m_equal(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}

LT_INLINE vf v_drop(vf x, vm m) {
    return _mm256_andnot_ps(m, x);
}

LT_INLINE vf v_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}

typedef struct vd {
    __m256d low;
    __m256d high;
} vd;

LT_INLINE vd d_zero(void) {
    return (vd){_mm256_setzero_pd(), _mm256_setzero_pd()};
}

LT_INLINE void d_add(vd *sums, vf x) {
    sums->low = _mm256_add_pd(sums->low, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    sums->high = _mm256_add_pd(sums->high, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
}

LT_INLINE double d_total(const vd *sums) {
    const __m256d all = _mm256_add_pd(sums->low, sums->high);
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(all), _mm256_extractf128_pd(all, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
}

#include "cpu/x86/quality_template.h"
