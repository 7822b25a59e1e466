/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from floats to codes.
 *
 * Parameters: the including file has included one of simd_*.h. */
#include "cpu/x86/convert_template.h"
#include "cpu/x86/groups_template.h"
#if LT_HAS_SCOPES
#include "cpu/x86/scopes_template.h"
#include "cpu/x86/word_i2_avx512.h"
#endif
#include "cpu/x86/values_template.h"
#if LT_HAS_STREAM_STORES
#include "cpu/x86/sign_sums_template.h"
#endif
#ifndef LT_OWN_TERNARY
#include "cpu/x86/encode_ternary_template.h"
#endif

LT_INLINE vi code_bytes(vf x[4], const lt_kernel_params *params) {
    divide_by_scale(x, params->inv_scale);
    return v_to_code_bytes(x, v_set1(params->max_code));
}

/* Where codes may reach further below 0 than above: clamped to the further bound on both sides, and
 * then, as bytes, to the other one. */
LT_INLINE vi code_bytes_below(vf x[4], const lt_kernel_params *params) {
    divide_by_scale(x, params->inv_scale);
    const vi bytes = v_to_code_bytes(x, v_set1(params->max_code + params->extra_codes));
    return v_min_bytes(bytes, (char)params->max_code);
}

LT_INLINE void store_i8(uint8_t *dst, vf x[4], const lt_kernel_params *params, lt_store store) {
    v_store(dst, code_bytes(x, params), store);
}

LT_INLINE void store_i4(uint8_t *dst, vf x[4], const lt_kernel_params *params, lt_store store) {
    v_store_nibbles(dst, code_bytes_below(x, params), store);
}

LT_INLINE void store_i2(uint8_t *dst, vf x[4], const lt_kernel_params *params, lt_store store) {
    v_store_crumbs(dst, code_bytes_below(x, params), store);
}

LT_INLINE void store_i1(uint8_t *dst, vf x[4], const lt_kernel_params *params, lt_store store) {
    (void)params;
    v_store_signs(dst, x, store);
}

#define QUANTIZE_KERNEL(from, from_bytes, to, to_bits)                                             \
    LT_INLINE void from##_to_##to##_step(const uint8_t *src, uint8_t *dst,                         \
                                         const lt_kernel_params *params, lt_store store) {         \
        vf x[4];                                                                                   \
        load_##from(src, x);                                                                       \
        store_##to(dst, x, params, store);                                                         \
    }                                                                                              \
    LT_CONVERT_KERNEL(from##_to_##to, ((shape){.step = from##_to_##to##_step,                      \
                                               .n_elems = STEP_ELEMS,                              \
                                               .src_bytes = from_bytes * STEP_ELEMS,               \
                                               .dst_bytes = STEP_ELEMS * to_bits / 8,              \
                                               .clear_unused_bits = to_bits == 1}))

QUANTIZE_KERNEL(f32, 4, i8, 8)
QUANTIZE_KERNEL(f32, 4, i4, 4)
QUANTIZE_KERNEL(f32, 4, i2, 2)
QUANTIZE_KERNEL(f32, 4, i1, 1)
QUANTIZE_KERNEL(f16, 2, i8, 8)
QUANTIZE_KERNEL(f16, 2, i4, 4)
QUANTIZE_KERNEL(bf16, 2, i8, 8)
QUANTIZE_KERNEL(bf16, 2, i4, 4)
QUANTIZE_KERNEL(f16, 2, i2, 2)
QUANTIZE_KERNEL(bf16, 2, i2, 2)

#if LT_V_BYTES == 64

/* Signs of 16 bits need no decoding. */
#define SIGNS_KERNEL(from, infinity)                                                               \
    LT_INLINE void from##_to_i1_step(const uint8_t *src, uint8_t *dst,                             \
                                     const lt_kernel_params *params, lt_store store) {             \
        (void)params;                                                                              \
        v_store_word_signs(dst, v_load(src), v_load(src + V_BYTES), infinity, store);              \
    }                                                                                              \
    LT_CONVERT_KERNEL(from##_to_i1, ((shape){.step = from##_to_i1_step,                            \
                                             .n_elems = STEP_ELEMS,                                \
                                             .src_bytes = 2 * STEP_ELEMS,                          \
                                             .dst_bytes = STEP_ELEMS / 8,                          \
                                             .clear_unused_bits = true}))

SIGNS_KERNEL(f16, 0x7c00)
SIGNS_KERNEL(bf16, 0x7f80)

#else

QUANTIZE_KERNEL(f16, 2, i1, 1)
QUANTIZE_KERNEL(bf16, 2, i1, 1)

#endif

/* For groups with scales of their own, of which nothing has to be clamped. */

LT_INLINE void store_own_i8(uint8_t *dst, vf x[4], lt_store store) {
    v_store(dst, v_to_near_bytes(x), store);
}

LT_INLINE void store_own_i4(uint8_t *dst, vf x[4], lt_store store) {
    v_store_nibbles(dst, v_to_near_bytes(x), store);
}

LT_INLINE void store_own_i2(uint8_t *dst, vf x[4], lt_store store) {
    v_store_crumbs(dst, v_to_near_bytes(x), store);
}

#define OWN_HALVES(from, to, load, store_own)                                                      \
    LT_INLINE void from##_to_##to##_halves(const uint8_t *src, uint8_t *dst, float first,          \
                                           float second, lt_store store) {                         \
        vf x[4];                                                                                   \
        load(src, x);                                                                              \
        divide_by_scales(x, first, second);                                                        \
        store_own(dst, x, store);                                                                  \
    }

#define OWN_KERNEL(from, from_bytes, to, to_bits)                                                  \
    LT_INLINE void from##_to_##to##_own_step(const uint8_t *src, uint8_t *dst,                     \
                                             const lt_kernel_params *params, lt_store store) {     \
        from##_to_##to##_halves(src, dst, params->inv_scale, params->inv_scale, store);            \
    }                                                                                              \
    LT_GROUP_KERNEL(from##_to_##to,                                                                \
                    ((shape){.step = from##_to_##to##_own_step,                                    \
                             .n_elems = STEP_ELEMS,                                                \
                             .src_bytes = from_bytes * STEP_ELEMS,                                 \
                             .dst_bytes = STEP_ELEMS * to_bits / 8}),                              \
                    from##_to_##to##_halves, (1 << (to_bits - 1)) - 1)

#define GROUP_KERNEL(from, from_bytes, to, to_bits, load, store_own)                               \
    OWN_HALVES(from, to, load, store_own)                                                          \
    OWN_KERNEL(from, from_bytes, to, to_bits)

GROUP_KERNEL(f32, 4, i8, 8, load_f32, store_own_i8)
GROUP_KERNEL(f32, 4, i4, 4, load_f32, store_own_i4)
GROUP_KERNEL(f32, 4, i2, 2, load_f32, store_own_i2)

#if LT_V_BYTES == 64

LT_INLINE void f16_to_i8_halves(const uint8_t *src, uint8_t *dst, float first, float second,
                                lt_store store) {
    v_store_f16_bytes(dst, v_codes_of_f16(src, first), v_codes_of_f16(src + V_BYTES, second),
                      store);
}

LT_INLINE void f16_to_i4_halves(const uint8_t *src, uint8_t *dst, float first, float second,
                                lt_store store) {
    v_store_f16_nibbles(dst, v_codes_of_f16(src, first), v_codes_of_f16(src + V_BYTES, second),
                        store);
}

OWN_KERNEL(f16, 2, i8, 8)
OWN_KERNEL(f16, 2, i4, 4)

LT_INLINE void load_bf16_apart(const uint8_t *src, vf x[4]) {
    LT_UNROLL
    for (int i = 0; i < 2; i++) {
        const vi words = v_load(src + i * V_BYTES);
        x[2 * i] = v_even_bf16(words);
        x[2 * i + 1] = v_odd_bf16(words);
    }
}

GROUP_KERNEL(bf16, 2, i8, 8, load_bf16_apart, v_store_apart_bytes)
GROUP_KERNEL(bf16, 2, i4, 4, load_bf16_apart, v_store_apart_nibbles)

#else

GROUP_KERNEL(f16, 2, i8, 8, load_f16, store_own_i8)
GROUP_KERNEL(f16, 2, i4, 4, load_f16, store_own_i4)
GROUP_KERNEL(bf16, 2, i8, 8, load_bf16, store_own_i8)
GROUP_KERNEL(bf16, 2, i4, 4, load_bf16, store_own_i4)
GROUP_KERNEL(bf16, 2, i2, 2, load_bf16, store_own_i2)
GROUP_KERNEL(f16, 2, i2, 2, load_f16, store_own_i2)

#endif

/* Signs need no scale: all groups are one. */
#define SIGN_GROUP_KERNEL(from, from_bytes)                                                        \
    LT_GROUP_KERNEL(from##_to_i1,                                                                  \
                    ((shape){.step = from##_to_i1_step,                                            \
                             .n_elems = STEP_ELEMS,                                                \
                             .src_bytes = from_bytes * STEP_ELEMS,                                 \
                             .dst_bytes = STEP_ELEMS / 8}),                                        \
                    NULL, 0)

SIGN_GROUP_KERNEL(f32, 4)
SIGN_GROUP_KERNEL(f16, 2)
SIGN_GROUP_KERNEL(bf16, 2)

#if LT_HAS_STREAM_STORES

SIGN_SUMS_KERNEL(f32, 4)
SIGN_SUMS_KERNEL(f16, 2)
SIGN_SUMS_KERNEL(bf16, 2)

#endif

#if LT_HAS_SCOPES

#define SCOPE_STEP(from, to)                                                                       \
    LT_INLINE void from##_to_##to##_scope_step(const uint8_t *src, uint8_t *dst, float inv_scale,  \
                                               lt_store store) {                                   \
        const lt_kernel_params params = {.inv_scale = inv_scale};                                  \
        from##_to_##to##_own_step(src, dst, &params, store);                                       \
    }                                                                                              \
    LT_INLINE void from##_to_##to##_scope_rest(const uint8_t *src, uint8_t *dst, size_t n_elems,   \
                                               float inv_scale) {                                  \
        LT_NAME(from##_to_##to, hot_groups)                                                        \
        (src, dst, n_elems, n_elems, &inv_scale, (lt_prefetch){0});                                \
    }

#define SAME_SCALE(inv_scale) (inv_scale)
#define SCOPE_KERNEL(from, from_bytes, to, to_bits, statistic)                                     \
    LT_SCOPE_KERNEL(from##_to_##to, statistic##_##from, from_bytes, STEP_ELEMS,                    \
                    STEP_ELEMS *to_bits / 8, SAME_SCALE, from##_to_##to##_scope_step,              \
                    from##_to_##to##_scope_rest)

#define SCOPE_KERNELS(from, from_bytes)                                                            \
    SCOPE_STEP(from, i8)                                                                           \
    SCOPE_STEP(from, i4)                                                                           \
    SCOPE_KERNEL(from, from_bytes, i8, 8, absmax)                                                  \
    SCOPE_KERNEL(from, from_bytes, i4, 4, absmax)

SCOPE_KERNELS(f16, 2)
SCOPE_KERNELS(bf16, 2)

#endif

uint64_t LT_NAME_PLAIN(saturated_f32)(const float *src, size_t n_elems,
                                      const lt_kernel_params *params) {
    const uint8_t *in = (const uint8_t *)src;
    const vf inv_scale = v_set1(params->inv_scale);
    const vf bound = v_set1(params->max_code + 0.5f);
    uint64_t count = 0;

    for (; n_elems >= V_FLOATS; n_elems -= V_FLOATS, in += V_BYTES)
        count += v_count_outside(v_mul(v_load_f32(in), inv_scale), bound);
    if (n_elems > 0) { /* a zero never counts */
        _Alignas(64) uint8_t last[V_BYTES] = {0};
        memcpy(last, in, 4 * n_elems);
        count += v_count_outside(v_mul(v_load_f32(last), inv_scale), bound);
    }
    return count;
}
