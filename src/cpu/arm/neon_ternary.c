/* SPDX-License-Identifier: Apache-2.0 */
/* The NEON kernels of BITNET158. */
#include "cpu/arm/ternary_neon.h"

#include "cpu/x86/encode_ternary_template.h"

/* A step whose five vectors of codes have a scale each. */
typedef void scales_step_fn(const uint8_t *src, uint8_t *dst, const step_floats *scales,
                            lt_store store);

/* A group is whole vectors of codes, but for the tensor's or the row's last one. */
LT_INLINE void decode_ternary_groups(scales_step_fn *step, size_t elem_bytes, policy how,
                                     const uint8_t *src, uint8_t *dst, size_t n_elems,
                                     size_t group_elems, const float *scales) {
    const shape s = {.src_bytes = PACK_BYTES, .dst_bytes = elem_bytes * PACK_ELEMS};
    group_walk walk = {scales, group_elems, group_elems};
    for (; n_elems >= PACK_ELEMS; n_elems -= PACK_ELEMS) {
        const step_floats of = walk_step(&walk, PACK_ELEMS, V_BYTES);
        prefetch_step(s, how, src, dst, STREAM_PREFETCH_BYTES, false);
        step(src, dst, &of, LT_STORE_PLAIN);
        src += s.src_bytes;
        dst += s.dst_bytes;
    }
    if (n_elems > 0) {
        uint8_t in[PACK_BYTES] = {0};
        uint8_t out[PACK_ELEMS * sizeof(float)];
        const step_floats of = walk_step(&walk, n_elems, V_BYTES);
        memcpy(in, src, part_bytes(n_elems, PACK_BYTES, PACK_ELEMS));
        step(in, out, &of, LT_STORE_PLAIN);
        memcpy(dst, out, n_elems * elem_bytes);
    }
}

#define DECODE_GROUPS(name, to_bytes, variant, policy)                                             \
    void LT_NAME(name, variant##_groups)(const void *src, void *dst, size_t n_elems,               \
                                         size_t group_elems, const float *scales) {                \
        decode_ternary_groups(name##_scales_step, to_bytes, policy, src, dst, n_elems,             \
                              group_elems, scales);                                                \
    }

#define DECODE_KERNEL(to, to_bytes, pair_bytes)                                                    \
    LT_INLINE void bitnet158_to_##to##_scales_step(const uint8_t *src, uint8_t *dst,               \
                                                   const step_floats *scales, lt_store store) {    \
        const vi each = fractions(v_load(src));                                                    \
        LT_UNROLL                                                                                  \
        for (int v = 0; v < FIVE; v++) {                                                           \
            const vi codes = unpack_codes(each, v);                                                \
            vf x[4];                                                                               \
            LT_UNROLL                                                                              \
            for (int i = 0; i < 4; i++)                                                            \
                x[i] = v_mul(vcvtq_n_f32_s32(v_bytes_to_tops(codes, 4 * i), 24),                   \
                             v_set1(scales->of[v]));                                               \
            store_##to##_pair(dst + 2 * v * pair_bytes, x[0], x[1], store);                        \
            store_##to##_pair(dst + (2 * v + 1) * pair_bytes, x[2], x[3], store);                  \
        }                                                                                          \
    }                                                                                              \
    LT_INLINE void bitnet158_to_##to##_step(const uint8_t *src, uint8_t *dst,                      \
                                            const lt_kernel_params *params, lt_store store) {      \
        const float s = params->scale;                                                             \
        const step_floats scales = {{s, s, s, s, s}};                                              \
        bitnet158_to_##to##_scales_step(src, dst, &scales, store);                                 \
    }                                                                                              \
    LT_CONVERT_KERNEL(bitnet158_to_##to, ((shape){.step = bitnet158_to_##to##_step,                \
                                                  .n_elems = PACK_ELEMS,                           \
                                                  .src_bytes = PACK_BYTES,                         \
                                                  .dst_bytes = to_bytes * PACK_ELEMS}))            \
    DECODE_GROUPS(bitnet158_to_##to, to_bytes, hot, HOT)                                           \
    DECODE_GROUPS(bitnet158_to_##to, to_bytes, stream, STREAM)

DECODE_KERNEL(f32, 4, F32_PAIR_BYTES)
DECODE_KERNEL(f16, 2, F16_PAIR_BYTES)
DECODE_KERNEL(bf16, 2, BF16_PAIR_BYTES)

LT_INLINE void unpack_step(const uint8_t *src, uint8_t *dst, const lt_kernel_params *params,
                           lt_store store) {
    const vi each = fractions(v_load(src));
    (void)params;
    LT_UNROLL
    for (int v = 0; v < FIVE; v++)
        v_store(dst + v * V_BYTES, unpack_codes(each, v), store);
}

void lt_unpack_bitnet158_neon(const void *src, void *dst, size_t n_elems) {
    const shape s = {.step = unpack_step,
                     .n_elems = PACK_ELEMS,
                     .src_bytes = PACK_BYTES,
                     .dst_bytes = PACK_ELEMS};
    convert(s, HOT, src, dst, n_elems, NULL, (relatives){0});
}
