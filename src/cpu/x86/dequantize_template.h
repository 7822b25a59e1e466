/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from codes to floats.
 *
 * Parameters: the including file has included one of simd_*.h. */
#include "cpu/x86/convert_template.h"
#include "cpu/x86/ternary_template.h"
#include "cpu/x86/values_template.h"

LT_INLINE void load_i8(const uint8_t *src, vf scale, vf x[4]) {
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(v_load_i8(src + i * V_FLOATS), scale);
}

LT_INLINE void load_i4(const uint8_t *src, vf scale, vf x[4]) {
    v_load_i4(src, scale, x);
}

LT_INLINE void load_i2(const uint8_t *src, vf scale, vf x[4]) {
    v_load_i2(src, scale, x);
}

LT_INLINE void load_i1(const uint8_t *src, vf scale, vf x[4]) {
    v_load_i1(src, scale, x);
}

#define DEQUANTIZE_KERNEL(from, from_bits, to, to_bytes, pair_bytes)                               \
    LT_INLINE void from##_to_##to##_step(const uint8_t *src, uint8_t *dst,                         \
                                         const lt_kernel_params *params, lt_store store) {         \
        vf x[4];                                                                                   \
        load_##from(src, v_set1(params->scale), x);                                                \
        store_##to##_pair(dst, x[0], x[1], store);                                                 \
        store_##to##_pair(dst + pair_bytes, x[2], x[3], store);                                    \
    }                                                                                              \
    LT_CONVERT_KERNEL(from##_to_##to, ((shape){.step = from##_to_##to##_step,                      \
                                               .n_elems = STEP_ELEMS,                              \
                                               .src_bytes = STEP_ELEMS * from_bits / 8,            \
                                               .dst_bytes = to_bytes * STEP_ELEMS}))

DEQUANTIZE_KERNEL(i8, 8, f32, 4, F32_PAIR_BYTES)
DEQUANTIZE_KERNEL(i4, 4, f32, 4, F32_PAIR_BYTES)
DEQUANTIZE_KERNEL(i2, 2, f32, 4, F32_PAIR_BYTES)
DEQUANTIZE_KERNEL(i1, 1, f32, 4, F32_PAIR_BYTES)
DEQUANTIZE_KERNEL(i8, 8, f16, 2, F16_PAIR_BYTES)
DEQUANTIZE_KERNEL(i4, 4, f16, 2, F16_PAIR_BYTES)
DEQUANTIZE_KERNEL(i8, 8, bf16, 2, BF16_PAIR_BYTES)
DEQUANTIZE_KERNEL(i4, 4, bf16, 2, BF16_PAIR_BYTES)

/* Each vector of digits holds a pair of vectors of floats. */
#define TERNARY_KERNEL(to, to_bytes, pair_bytes)                                                   \
    LT_INLINE void bitnet158_to_##to##_step(const uint8_t *src, uint8_t *dst,                      \
                                            const lt_kernel_params *params, lt_store store) {      \
        const vf table = v_table_ternary(v_set1(params->scale));                                   \
        LT_UNROLL                                                                                  \
        for (int v = 0; v < 5; v++) {                                                              \
            const vi digits = unpack_digits(src, v);                                               \
            const vf a = v_lookup(digits, table);                                                  \
            const vf b = v_lookup(v_upper_to_lower_u16(digits), table);                            \
            store_##to##_pair(dst + v * pair_bytes, a, b, store);                                  \
        }                                                                                          \
    }                                                                                              \
    LT_CONVERT_KERNEL(bitnet158_to_##to, ((shape){.step = bitnet158_to_##to##_step,                \
                                                  .n_elems = UNPACK_ELEMS,                         \
                                                  .src_bytes = UNPACK_BYTES,                       \
                                                  .dst_bytes = to_bytes * UNPACK_ELEMS}))

TERNARY_KERNEL(f32, 4, F32_PAIR_BYTES)
TERNARY_KERNEL(f16, 2, F16_PAIR_BYTES)
TERNARY_KERNEL(bf16, 2, BF16_PAIR_BYTES)

LT_INLINE void unpack_step(const uint8_t *src, uint8_t *dst, const lt_kernel_params *params,
                           lt_store store) {
    (void)params;
    (void)store;
    LT_UNROLL
    for (int v = 0; v < 5; v++)
        v_store_ternary_codes(dst + v * UNPACK_LANES, unpack_digits(src, v));
}

void LT_NAME_PLAIN(unpack_bitnet158)(const void *src, void *dst, size_t n_elems) {
    const shape s = {.step = unpack_step,
                     .n_elems = UNPACK_ELEMS,
                     .src_bytes = UNPACK_BYTES,
                     .dst_bytes = UNPACK_ELEMS};
    convert(s, HOT, src, dst, n_elems, NULL, (relatives){0});
}
