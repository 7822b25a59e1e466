/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX-512 kernels that take floats through several conversions. */
#include "cpu/x86/codes_avx512.h"

LT_INLINE vf v_round_f16(vf x) {
    enum { TO_NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return _mm512_cvtph_ps(_mm512_maskz_cvtps_ph(0xffff, x, TO_NEAREST));
}

/* For any value but NaN: the rule of lt_bf16_from_f32. */
LT_INLINE vf v_round_bf16(vf x) {
    const vi bits = _mm512_castps_si512(x);
    const vi odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const vi rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    return _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(-0x10000)));
}

/* Rounded values, and the NaNs of what they were made of. */
LT_INLINE vf v_keep_nan(vf rounded, vf x) {
    return _mm512_mask_mov_ps(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}

LT_INLINE vi v_scaled_bytes(const vf x[4], short factor) {
    const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const vi factors = _mm512_set1_epi16(factor);
    vi words[2];
    LT_UNROLL
    for (int i = 0; i < 2; i++) {
        const vi low = _mm512_cvtps_epi32(x[2 * i]);
        const vi high = _mm512_cvtps_epi32(x[2 * i + 1]);
        words[i] = _mm512_mulhrs_epi16(_mm512_packs_epi32(low, high), factors);
    }
    return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(words[0], words[1]));
}

#include "cpu/x86/fused_template.h"
