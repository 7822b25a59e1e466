/* SPDX-License-Identifier: Apache-2.0 */
/* The vector operations of the kernel templates of cpu/x86, in aarch64's baseline NEON.
 *
 * Memory is loaded and stored as bytes, which need no alignment, and taken for wider elements in
 * registers: that is right on little-endian processors only. */
#ifndef LT_CPU_ARM_SIMD_NEON_H
#define LT_CPU_ARM_SIMD_NEON_H

#if !defined(__AARCH64EL__)
#error "the NEON kernels are for little-endian aarch64"
#endif

#include "cpu/arm/kernels_arm.h"
#include <arm_neon.h>

#define LT_ISA neon
#define LT_V_BYTES 16 /* for the preprocessor */
#define LT_HAS_SCOPES 0
#define LT_OWN_TERNARY 1 /* ternary_neon.h */
/* What finishes the work of a HOT kernel: itself. */
#define LT_HOT_REST(avx2_kernel) NULL

typedef float32x4_t vf;
typedef uint8x16_t vi;

enum { V_BYTES = 16, V_FLOATS = 4 };

/* Loads and stores. */

LT_INLINE vi v_load(const void *src) {
    return vld1q_u8((const uint8_t *)src);
}

LT_INLINE void v_store(void *dst, vi x, lt_store store) {
    (void)store;
    vst1q_u8((uint8_t *)dst, x);
}

LT_INLINE uint8x16_t v_load_32_to_all(const void *src) {
    uint32_t word;
    memcpy(&word, src, sizeof word);
    return vreinterpretq_u8_u32(vdupq_n_u32(word));
}

/* Floats. F16 conversions follow the rule of lt_f16_from_f32 and lt_f32_from_f16 by themselves: a
 * NaN keeps its sign and top payload bits and becomes quiet, because the default environment, in
 * which all tasks run, asks neither for default NaNs nor for flushing to zero. */

LT_INLINE vf v_set1(float x) {
    return vdupq_n_f32(x);
}

LT_INLINE vf v_mul(vf a, vf b) {
    return vmulq_f32(a, b);
}

LT_INLINE vf v_add(vf a, vf b) {
    return vaddq_f32(a, b);
}

LT_INLINE vf v_add_to_sum(vf sum, vf x) {
    return v_add(sum, x);
}

LT_INLINE vf v_abs(vf x) {
    return vabsq_f32(x);
}

LT_INLINE vf v_load_f32(const void *src) {
    return vreinterpretq_f32_u8(v_load(src));
}

LT_INLINE vf v_load_f16(const void *src) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *)src)));
}

LT_INLINE vf v_load_bf16(const void *src) {
    const uint16x4_t bits = vreinterpret_u16_u8(vld1_u8((const uint8_t *)src));
    return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
}

LT_INLINE void v_store_f32(void *dst, vf x, lt_store store) {
    v_store(dst, vreinterpretq_u8_f32(x), store);
}

LT_INLINE void v_store_f16_pair(void *dst, vf a, vf b, lt_store store) {
    v_store(dst, vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(a), b)), store);
}

/* BF16 in the high half of each lane, the rule of lt_bf16_from_f32; of numbers: no NaN. */
LT_INLINE uint32x4_t v_number_to_bf16(vf x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    return vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
}

LT_INLINE uint32x4_t v_to_bf16(vf x) {
    const uint32x4_t quiet = vorrq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x400000));
    return vbslq_u32(vceqq_f32(x, x), v_number_to_bf16(x), quiet);
}

LT_INLINE void v_store_high_halves(void *dst, uint32x4_t a, uint32x4_t b, lt_store store) {
    const uint16x8_t halves = vuzp2q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
    v_store(dst, vreinterpretq_u8_u16(halves), store);
}

LT_INLINE void v_store_bf16_pair(void *dst, vf a, vf b, lt_store store) {
    v_store_high_halves(dst, v_to_bf16(a), v_to_bf16(b), store);
}

LT_INLINE void v_store_bf16_numbers(void *dst, vf a, vf b, lt_store store) {
    v_store_high_halves(dst, v_number_to_bf16(a), v_number_to_bf16(b), store);
}

/* Codes. */

/* The lowest bytes, and the highest, of the lanes of four vectors. */
LT_INLINE vi v_low_bytes(const uint32x4_t x[4]) {
    const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(x[0]), vreinterpretq_u16_u32(x[1]));
    const uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(x[2]), vreinterpretq_u16_u32(x[3]));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

LT_INLINE vi v_high_bytes(const uint32x4_t x[4]) {
    const uint16x8_t low = vuzp2q_u16(vreinterpretq_u16_u32(x[0]), vreinterpretq_u16_u32(x[1]));
    const uint16x8_t high = vuzp2q_u16(vreinterpretq_u16_u32(x[2]), vreinterpretq_u16_u32(x[3]));
    return vuzp2q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

/* Four vectors, rounded to nearest even, to bytes in order; 0 for NaN. All steps saturate. */
LT_INLINE int8x16_t v_to_bytes(const vf x[4]) {
    const int16x4_t a = vqmovn_s32(vcvtnq_s32_f32(x[0]));
    const int16x8_t low = vqmovn_high_s32(a, vcvtnq_s32_f32(x[1]));
    const int16x4_t b = vqmovn_s32(vcvtnq_s32_f32(x[2]));
    const int16x8_t high = vqmovn_high_s32(b, vcvtnq_s32_f32(x[3]));
    return vqmovn_high_s16(vqmovn_s16(low), high);
}

/* As v_to_bytes, but clamped to [-bound, bound]. The bound is a whole number, at most 127, so that
 * clamping may come after rounding. */
LT_INLINE vi v_to_code_bytes(const vf x[4], vf bound) {
    const int8x16_t most = vdupq_lane_s8(vreinterpret_s8_s32(vcvt_s32_f32(vget_low_f32(bound))), 0);
    const int8x16_t bytes = vminq_s8(v_to_bytes(x), most);
    return vreinterpretq_u8_s8(vmaxq_s8(bytes, vnegq_s8(most)));
}

/* Four vectors, none beyond the codes or NaN. */
LT_INLINE vi v_to_near_bytes(const vf x[4]) {
    return vreinterpretq_u8_s8(v_to_bytes(x));
}

/* Ternary codes: of four vectors, and of four that have no NaN. */
LT_INLINE vi v_to_ternary_codes(const vf x[4]) {
    return v_to_code_bytes(x, v_set1(1));
}

LT_INLINE vi v_to_near_ternary_codes(const vf x[4]) {
    return v_to_ternary_codes(x);
}

/* The lesser of each signed byte and `most`. */
LT_INLINE vi v_min_bytes(vi bytes, char most) {
    return vreinterpretq_u8_s8(vminq_s8(vreinterpretq_s8_u8(bytes), vdupq_n_s8((int8_t)most)));
}

/* The low 4 bits of each byte, two to a byte: those of `odd` go above those of `even`. */
LT_INLINE vi v_join_nibbles(vi a, vi b) {
    return vsliq_n_u8(vuzp1q_u8(a, b), vuzp2q_u8(a, b), 4);
}

LT_INLINE void v_store_nibbles(void *dst, vi bytes, lt_store store) {
    (void)store;
    vst1_u8((uint8_t *)dst, vget_low_u8(v_join_nibbles(bytes, bytes)));
}

/* The low 2 bits of each byte, four to a byte. */
LT_INLINE void v_store_crumbs(void *dst, vi bytes, lt_store store) {
    (void)store;
    const vi pairs = vsliq_n_u8(vuzp1q_u8(bytes, bytes), vuzp2q_u8(bytes, bytes), 2);
    const uint32_t fours = vgetq_lane_u32(vreinterpretq_u32_u8(v_join_nibbles(pairs, pairs)), 0);
    memcpy(dst, &fours, sizeof fours);
}

/* One bit for each byte of a vector. */
LT_INLINE vi v_bits(void) {
    return vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
}

/* One bit an element: 1 unless x < 0. */
LT_INLINE void v_store_signs(void *dst, const vf x[4], lt_store store) {
    uint32x4_t below[4];
    (void)store;
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        below[i] = vcltzq_f32(x[i]);
    const vi bits = vbicq_u8(v_bits(), v_low_bytes(below));
    const uint8_t bytes[2] = {vaddv_u8(vget_low_u8(bits)), vaddv_u8(vget_high_u8(bits))};
    memcpy(dst, bytes, sizeof bytes);
}

/* How many elements have |x| >= bound. */
LT_INLINE uint64_t v_count_outside(vf x, vf bound) {
    return vaddvq_u32(vshrq_n_u32(vcageq_f32(x, bound), 31));
}

/* Decoding: a code is moved to the top of its 32-bit lane, the rest of which is zero, and
 * converted as a fixed-point number, so that it need not be moved back. */

/* Byte `first` of `bytes` and the three after it, each to the top of a lane. */
LT_INLINE int32x4_t v_bytes_to_tops(vi bytes, int first) {
    const uint32_t one = (uint32_t)first << 24 | 0xffffff; /* a table gives 0 beyond its end */
    const uint32x4_t index = {one, one + (1u << 24), one + (2u << 24), one + (3u << 24)};
    return vreinterpretq_s32_u8(vqtbl1q_u8(bytes, vreinterpretq_u8_u32(index)));
}

/* Signed bytes to floats. */
LT_INLINE vf v_load_i8(const void *src) {
    return vcvtq_n_f32_s32(v_bytes_to_tops(v_load_32_to_all(src), 0), 24);
}

/* Four vectors from codes of 1, 2 and 4 bits. */

/* -1 times a finite scale is the scale with its sign changed. */
LT_INLINE void v_load_i1(const uint8_t *src, vf scale, vf x[4]) {
    const vi to_eight = vcombine_u8(vdup_n_u8(0), vdup_n_u8(1));
    uint16_t both;
    memcpy(&both, src, sizeof both);
    const vi bytes = vqtbl1q_u8(vreinterpretq_u8_u16(vdupq_n_u16(both)), to_eight);
    const vi minus = vbicq_u8(vdupq_n_u8(0x80), vtstq_u8(bytes, v_bits()));
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const int32x4_t sign = v_bytes_to_tops(minus, 4 * i);
        x[i] = vreinterpretq_f32_s32(veorq_s32(vreinterpretq_s32_f32(scale), sign));
    }
}

LT_INLINE void v_load_i2(const uint8_t *src, vf scale, vf x[4]) {
    const uint32x4_t to_four = {0, 0x01010101, 0x02020202, 0x03030303};
    const int8x16_t to_top = vreinterpretq_s8_u32(vdupq_n_u32(0x00020406));
    const vi bytes = vqtbl1q_u8(v_load_32_to_all(src), vreinterpretq_u8_u32(to_four));
    const vi tops = vandq_u8(vshlq_u8(bytes, to_top), vdupq_n_u8(0xc0));
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(vcvtq_n_f32_s32(v_bytes_to_tops(tops, 4 * i), 30), scale);
}

LT_INLINE void v_load_i4(const uint8_t *src, vf scale, vf x[4]) {
    const uint8x8_t bytes = vld1_u8(src);
    const uint8x8_t even = vshl_n_u8(bytes, 4);
    const uint8x8_t odd = vand_u8(bytes, vdup_n_u8(0xf0));
    const vi tops = vcombine_u8(vzip1_u8(even, odd), vzip2_u8(even, odd));
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(vcvtq_n_f32_s32(v_bytes_to_tops(tops, 4 * i), 28), scale);
}

/* Reductions. */

LT_INLINE vi v_zero(void) {
    return vdupq_n_u8(0);
}

LT_INLINE vi v_max_abs_32(vi max, vi x) {
    const uint32x4_t magnitude = vbicq_u32(vreinterpretq_u32_u8(x), vdupq_n_u32(0x80000000u));
    return vreinterpretq_u8_u32(vmaxq_u32(vreinterpretq_u32_u8(max), magnitude));
}

LT_INLINE vi v_max_abs_16(vi max, vi x) {
    const uint16x8_t magnitude = vbicq_u16(vreinterpretq_u16_u8(x), vdupq_n_u16(0x8000));
    return vreinterpretq_u8_u16(vmaxq_u16(vreinterpretq_u16_u8(max), magnitude));
}

LT_INLINE uint32_t v_reduce_max_32(vi x) {
    return vmaxvq_u32(vreinterpretq_u32_u8(x));
}

LT_INLINE uint16_t v_reduce_max_16(vi x) {
    return vmaxvq_u16(vreinterpretq_u16_u8(x));
}

/* Folds the lanes by halves. */
LT_INLINE float v_fold(vf x) {
    const float32x2_t pair = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(pair, 0) + vget_lane_f32(pair, 1);
}

#endif
