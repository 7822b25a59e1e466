/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes a step of floats of any width: four vectors.
 *
 * Parameters: as convert_template.h, which is included first. */
#ifndef LT_CPU_X86_VALUES_TEMPLATE_H
#define LT_CPU_X86_VALUES_TEMPLATE_H

LT_INLINE void load_f32(const uint8_t *src, vf x[4]) {
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_load_f32(src + i * V_BYTES);
}

LT_INLINE void load_f16(const uint8_t *src, vf x[4]) {
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_load_f16(src + i * (V_BYTES / 2));
}

LT_INLINE void load_bf16(const uint8_t *src, vf x[4]) {
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_load_bf16(src + i * (V_BYTES / 2));
}

/* The first half of a step by one scale, the second by another. */
LT_INLINE void divide_by_scales(vf x[4], float first, float second) {
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(x[i], v_set1(i < 2 ? first : second));
}

LT_INLINE void divide_by_scale(vf x[4], float inv_scale) {
    divide_by_scales(x, inv_scale, inv_scale);
}

/* Stores come in pairs of vectors, because a pair of narrowed vectors fills one. */

LT_INLINE void store_f32_pair(uint8_t *dst, vf a, vf b, lt_store store) {
    v_store_f32(dst, a, store);
    v_store_f32(dst + V_BYTES, b, store);
}

LT_INLINE void store_f16_pair(uint8_t *dst, vf a, vf b, lt_store store) {
    v_store_f16_pair(dst, a, b, store);
}

LT_INLINE void store_bf16_pair(uint8_t *dst, vf a, vf b, lt_store store) {
    v_store_bf16_pair(dst, a, b, store);
}

enum { F32_PAIR_BYTES = 2 * V_BYTES, F16_PAIR_BYTES = V_BYTES, BF16_PAIR_BYTES = V_BYTES };

#endif
