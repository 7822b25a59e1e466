/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from floats, and from codes, to base-3 bytes.
 *
 * Parameters: the including file has included one of simd_*.h. */
#ifndef LT_CPU_X86_ENCODE_TERNARY_TEMPLATE_H
#define LT_CPU_X86_ENCODE_TERNARY_TEMPLATE_H

#include "cpu/x86/groups_template.h"
#include "cpu/x86/values_template.h"
#ifndef LT_OWN_TERNARY
#include "cpu/x86/ternary_template.h"
#endif

LT_INLINE void pack_step(const uint8_t *src, uint8_t *dst, const lt_kernel_params *params,
                         lt_store store) {
    vi codes[5];
    (void)params;
    LT_UNROLL
    for (int i = 0; i < 5; i++)
        codes[i] = v_load(src + i * V_BYTES);
    pack_codes(codes, dst, store);
}

void LT_NAME_PLAIN(pack_bitnet158)(const void *src, void *dst, size_t n_elems) {
    const shape s = {
        .step = pack_step, .n_elems = PACK_ELEMS, .src_bytes = PACK_ELEMS, .dst_bytes = PACK_BYTES};
    convert(s, HOT, src, dst, n_elems, NULL, (relatives){0});
}

#if LT_HAS_VBMI
#include "cpu/x86/trit_planes_vbmi.h"
#else

/* A step whose five vectors of codes have an inverse scale each. */
typedef void own_step_fn(const uint8_t *src, uint8_t *dst, const step_floats *inverses,
                         lt_store store);

LT_INLINE void encode_ternary_groups(own_step_fn *step, size_t elem_bytes, policy how,
                                     const uint8_t *src, uint8_t *dst, size_t n_elems,
                                     size_t group_elems, const float *inv_scales,
                                     lt_prefetch ahead) {
    const shape s = {.src_bytes = elem_bytes * PACK_ELEMS};
    group_walk walk = {inv_scales, group_elems, group_elems};
    for (; n_elems >= PACK_ELEMS; n_elems -= PACK_ELEMS) {
        const step_floats inverses = walk_step(&walk, PACK_ELEMS, V_BYTES);
        if (how == STREAM)
            prefetch_beside(&ahead, s.src_bytes);
        step(src, dst, &inverses, LT_STORE_PLAIN); /* as the other kernels */
        src += s.src_bytes;
        dst += PACK_BYTES;
    }
    if (n_elems > 0) { /* the rest, among zeros, which give code 0 */
        _Alignas(64) uint8_t in[STEP_MAX_BYTES];
        _Alignas(64) uint8_t out[PACK_BYTES];
        const step_floats inverses = walk_step(&walk, n_elems, V_BYTES);
        memset(in, 0, s.src_bytes);
        memcpy(in, src, n_elems * elem_bytes);
        step(in, out, &inverses, LT_STORE_PLAIN);
        memcpy(dst, out, part_bytes(n_elems, PACK_BYTES, PACK_ELEMS));
    }
}

#define TERNARY_GROUP_VARIANT(name, from_bytes, variant, policy)                                   \
    void LT_NAME(name, variant##_groups)(const void *src, void *dst, size_t n_elems,               \
                                         size_t group_elems, const float *inv_scales,              \
                                         lt_prefetch ahead) {                                      \
        lt_group_encode_fn *const smallest = LT_SMALLEST_GROUPS(name, variant);                    \
        if (groups_fit(V_BYTES, n_elems, group_elems))                                             \
            encode_ternary_groups(name##_own_step, from_bytes, policy, src, dst, n_elems,          \
                                  group_elems, inv_scales, ahead);                                 \
        else                                                                                       \
            smallest(src, dst, n_elems, group_elems, inv_scales, ahead);                           \
    }

#define TERNARY_KERNEL(from, from_bytes)                                                           \
    LT_INLINE void from##_to_bitnet158_step(const uint8_t *src, uint8_t *dst,                      \
                                            const lt_kernel_params *params, lt_store store) {      \
        vi codes[5];                                                                               \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < 5; i++) {                                                              \
            vf x[4];                                                                               \
            load_##from(src + i * from_bytes * STEP_ELEMS, x);                                     \
            divide_by_scale(x, params->inv_scale);                                                 \
            codes[i] = v_to_ternary_codes(x);                                                      \
        }                                                                                          \
        pack_codes(codes, dst, store);                                                             \
    }                                                                                              \
    LT_INLINE void from##_to_bitnet158_own_step(const uint8_t *src, uint8_t *dst,                  \
                                                const step_floats *inverses, lt_store store) {     \
        vi codes[5];                                                                               \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < 5; i++) {                                                              \
            vf x[4];                                                                               \
            load_##from(src + i * from_bytes * STEP_ELEMS, x);                                     \
            divide_by_scale(x, inverses->of[i]);                                                   \
            codes[i] = v_to_near_ternary_codes(x);                                                 \
        }                                                                                          \
        pack_codes(codes, dst, store);                                                             \
    }                                                                                              \
    LT_CONVERT_KERNEL(from##_to_bitnet158, ((shape){.step = from##_to_bitnet158_step,              \
                                                    .n_elems = PACK_ELEMS,                         \
                                                    .src_bytes = from_bytes * PACK_ELEMS,          \
                                                    .dst_bytes = PACK_BYTES,                       \
                                                    .plain_stores = true}))                        \
    TERNARY_GROUP_VARIANT(from##_to_bitnet158, from_bytes, hot, HOT)                               \
    TERNARY_GROUP_VARIANT(from##_to_bitnet158, from_bytes, stream, STREAM)

TERNARY_KERNEL(f32, 4)
TERNARY_KERNEL(f16, 2)
TERNARY_KERNEL(bf16, 2)

#endif

#endif
