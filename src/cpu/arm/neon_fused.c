/* SPDX-License-Identifier: Apache-2.0 */
/* The NEON kernels that take floats through several conversions. */
#include "cpu/arm/simd_neon.h"

LT_INLINE vf v_round_f16(vf x) {
    return vcvt_f32_f16(vcvt_f16_f32(x));
}

/* For any value but NaN: the rule of lt_bf16_from_f32. */
LT_INLINE vf v_round_bf16(vf x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    return vreinterpretq_f32_u32(vandq_u32(rounded, vdupq_n_u32(0xffff0000)));
}

/* Rounded values, and the NaNs of what they were made of. */
LT_INLINE vf v_keep_nan(vf rounded, vf x) {
    return vbslq_f32(vceqq_f32(x, x), rounded, x);
}

LT_INLINE vi v_scaled_bytes(const vf x[4], short factor) {
    int16x4_t words[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        words[i] = vqmovn_s32(vcvtnq_s32_f32(x[i]));
    const int16x8_t low = vqrdmulhq_n_s16(vcombine_s16(words[0], words[1]), factor);
    const int16x8_t high = vqrdmulhq_n_s16(vcombine_s16(words[2], words[3]), factor);
    return vreinterpretq_u8_s8(vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
}

#include "cpu/x86/fused_template.h"
