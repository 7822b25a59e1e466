/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from floats to codes.
 *
 * Parameters: the including file has included one of simd_*.h. */
#include "cpu/x86/convert_template.h"
#include "cpu/x86/ternary_template.h"
#include "cpu/x86/values_template.h"

LT_INLINE void divide_by_scale(vf x[4], const lt_kernel_params *params) {
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(x[i], v_set1(params->inv_scale));
}

LT_INLINE vi code_bytes(vf x[4], const lt_kernel_params *params) {
    divide_by_scale(x, params);
    return v_to_code_bytes(x, v_set1(params->max_code));
}

/* Where codes may reach further below 0 than above: clamped to the further bound on both sides, and
 * then, as bytes, to the other one. */
LT_INLINE vi code_bytes_below(vf x[4], const lt_kernel_params *params) {
    divide_by_scale(x, params);
    const vi bytes = v_to_code_bytes(x, v_set1(params->max_code + params->extra_codes));
    return v_min_bytes(bytes, (char)params->max_code);
}

LT_INLINE vi ternary_digits(vf x[4], const lt_kernel_params *params) {
    divide_by_scale(x, params);
    return v_to_ternary_digits(x);
}

LT_INLINE void store_i8(uint8_t *dst, vf x[4], const lt_kernel_params *params, lt_store store) {
    v_store(dst, code_bytes(x, params), store);
}

LT_INLINE void store_i4(uint8_t *dst, vf x[4], const lt_kernel_params *params, lt_store store) {
    (void)store;
    v_store_nibbles(dst, code_bytes_below(x, params));
}

LT_INLINE void store_i2(uint8_t *dst, vf x[4], const lt_kernel_params *params, lt_store store) {
    (void)store;
    v_store_crumbs(dst, code_bytes_below(x, params));
}

LT_INLINE void store_i1(uint8_t *dst, vf x[4], const lt_kernel_params *params, lt_store store) {
    (void)params;
    (void)store;
    v_store_signs(dst, x);
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

/* Group after group, where they are whole steps; AVX2 has the smallest step, which divides any
 * group. */
#define GROUP_KERNEL(from, from_bytes, to, to_bits)                                                \
    void LT_NAME_PLAIN(from##_to_##to##_groups)(const void *src, void *dst, size_t n_elems,        \
                                                size_t group_elems, const float *inv_scales,       \
                                                float max_code) {                                  \
        const shape s = {.step = from##_to_##to##_step,                                            \
                         .n_elems = STEP_ELEMS,                                                    \
                         .src_bytes = from_bytes * STEP_ELEMS,                                     \
                         .dst_bytes = STEP_ELEMS * to_bits / 8};                                   \
        const relatives others = {.rest = lt_##from##_to_##to##_hot_avx2};                         \
        const uint8_t *in = src;                                                                   \
        uint8_t *out = dst;                                                                        \
        if (V_BYTES > 32 && group_elems % STEP_ELEMS != 0) {                                       \
            lt_##from##_to_##to##_groups_avx2(src, dst, n_elems, group_elems, inv_scales,          \
                                              max_code);                                           \
            return;                                                                                \
        }                                                                                          \
        while (n_elems > 0) {                                                                      \
            const size_t n = n_elems < group_elems ? n_elems : group_elems;                        \
            const lt_kernel_params params = {.inv_scale = *inv_scales++, .max_code = max_code};    \
            convert(s, HOT, in, out, n, &params, others);                                          \
            in += n * from_bytes;                                                                  \
            out += n * to_bits / 8;                                                                \
            n_elems -= n;                                                                          \
        }                                                                                          \
    }

GROUP_KERNEL(f32, 4, i8, 8)
GROUP_KERNEL(f32, 4, i4, 4)
GROUP_KERNEL(f32, 4, i2, 2)
GROUP_KERNEL(f16, 2, i8, 8)
GROUP_KERNEL(f16, 2, i4, 4)
GROUP_KERNEL(bf16, 2, i8, 8)
GROUP_KERNEL(bf16, 2, i4, 4)

#define TERNARY_KERNEL(from, from_bytes)                                                           \
    LT_INLINE void from##_to_bitnet158_step(const uint8_t *src, uint8_t *dst,                      \
                                            const lt_kernel_params *params, lt_store store) {      \
        vi digits[5];                                                                              \
        (void)store;                                                                               \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < 5; i++) {                                                              \
            vf x[4];                                                                               \
            load_##from(src + i * from_bytes * STEP_ELEMS, x);                                     \
            digits[i] = ternary_digits(x, params);                                                 \
        }                                                                                          \
        pack_digits(digits, dst);                                                                  \
    }                                                                                              \
    LT_CONVERT_KERNEL(from##_to_bitnet158, ((shape){.step = from##_to_bitnet158_step,              \
                                                    .n_elems = PACK_ELEMS,                         \
                                                    .src_bytes = from_bytes * PACK_ELEMS,          \
                                                    .dst_bytes = PACK_BYTES}))

TERNARY_KERNEL(f32, 4)
TERNARY_KERNEL(f16, 2)
TERNARY_KERNEL(bf16, 2)

LT_INLINE void pack_step(const uint8_t *src, uint8_t *dst, const lt_kernel_params *params,
                         lt_store store) {
    vi digits[5];
    (void)params;
    (void)store;
    LT_UNROLL
    for (int i = 0; i < 5; i++)
        digits[i] = v_add_bytes_1(v_load(src + i * V_BYTES));
    pack_digits(digits, dst);
}

void LT_NAME_PLAIN(pack_bitnet158)(const void *src, void *dst, size_t n_elems) {
    const shape s = {
        .step = pack_step, .n_elems = PACK_ELEMS, .src_bytes = PACK_ELEMS, .dst_bytes = PACK_BYTES};
    convert(s, HOT, src, dst, n_elems, NULL, (relatives){0});
}

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
