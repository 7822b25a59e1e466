/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 kernels that take floats through several conversions. */
#include "cpu/x86/codes_avx2.h"

LT_INLINE vf v_round_f16(vf x) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* For any value but NaN: the rule of lt_bf16_from_f32. */
LT_INLINE vf v_round_bf16(vf x) {
    const vi bits = _mm256_castps_si256(x);
    const vi odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const vi rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    return _mm256_castsi256_ps(_mm256_and_si256(rounded, _mm256_set1_epi32(-0x10000)));
}

/* Rounded values, and the NaNs of what they were made of. */
LT_INLINE vf v_keep_nan(vf rounded, vf x) {
    return _mm256_blendv_ps(rounded, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

LT_INLINE vi v_scaled_bytes(const vf x[4], short factor) {
    const vi order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const vi factors = _mm256_set1_epi16(factor);
    vi words[2];
    LT_UNROLL
    for (int i = 0; i < 2; i++) {
        const vi low = _mm256_cvtps_epi32(x[2 * i]);
        const vi high = _mm256_cvtps_epi32(x[2 * i + 1]);
        words[i] = _mm256_mulhrs_epi16(_mm256_packs_epi32(low, high), factors);
    }
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words[0], words[1]), order);
}

#include "cpu/x86/fused_template.h"
