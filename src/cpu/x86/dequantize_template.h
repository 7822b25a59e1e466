/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from codes to floats.
 *
 * Parameters: the including file has included one of simd_*.h. */
#include "cpu/numerics.h"
#include "cpu/x86/groups_template.h"
#include "cpu/x86/values_template.h"
#ifndef LT_OWN_TERNARY
#include "cpu/x86/ternary_template.h"
#endif

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

/* Codes times a scale, which is finite, are no NaNs. */

LT_INLINE void store_f32_numbers(uint8_t *dst, vf a, vf b, lt_store store) {
    store_f32_pair(dst, a, b, store);
}

LT_INLINE void store_f16_numbers(uint8_t *dst, vf a, vf b, lt_store store) {
    store_f16_pair(dst, a, b, store);
}

LT_INLINE void store_bf16_numbers(uint8_t *dst, vf a, vf b, lt_store store) {
    v_store_bf16_numbers(dst, a, b, store);
}

#define FLOATS_STEP(from, to, pair_bytes)                                                          \
    LT_INLINE void from##_to_##to##_step(const uint8_t *src, uint8_t *dst,                         \
                                         const lt_kernel_params *params, lt_store store) {         \
        vf x[4];                                                                                   \
        load_##from(src, v_set1(params->scale), x);                                                \
        store_##to##_numbers(dst, x[0], x[1], store);                                              \
        store_##to##_numbers(dst + pair_bytes, x[2], x[3], store);                                 \
    }

/* By table, where a level can. */
#if LT_HAS_WORDS
#define WORDS_STEP(from, from_bits, to, pair_bytes)                                                \
    LT_INLINE void from##_to_##to##_step(const uint8_t *src, uint8_t *dst,                         \
                                         const lt_kernel_params *params, lt_store store) {         \
        const vi table = words_##to(v_table_##from(v_set1(params->scale)));                        \
        v_store(dst, words_of_##from(src, table), store);                                          \
        v_store(dst + pair_bytes, words_of_##from(src + WORDS * from_bits / 8, table), store);     \
    }
#else
#define WORDS_STEP(from, from_bits, to, pair_bytes) FLOATS_STEP(from, to, pair_bytes)
#endif

#define DEQUANTIZE_KERNEL(from, from_bits, to, to_bytes)                                           \
    LT_CONVERT_KERNEL(from##_to_##to, ((shape){.step = from##_to_##to##_step,                      \
                                               .n_elems = STEP_ELEMS,                              \
                                               .src_bytes = STEP_ELEMS * from_bits / 8,            \
                                               .dst_bytes = to_bytes * STEP_ELEMS}))               \
    LT_DECODE_KERNEL(from##_to_##to, ((shape){.step = from##_to_##to##_step,                       \
                                              .n_elems = STEP_ELEMS,                               \
                                              .src_bytes = STEP_ELEMS * from_bits / 8,             \
                                              .dst_bytes = to_bytes * STEP_ELEMS}))

#define DEQUANTIZE_TO_F32(from, from_bits)                                                         \
    FLOATS_STEP(from, f32, F32_PAIR_BYTES)                                                         \
    DEQUANTIZE_KERNEL(from, from_bits, f32, 4)

#define DEQUANTIZE_TO_16_BITS(from, from_bits)                                                     \
    WORDS_STEP(from, from_bits, f16, F16_PAIR_BYTES)                                               \
    WORDS_STEP(from, from_bits, bf16, BF16_PAIR_BYTES)                                             \
    DEQUANTIZE_KERNEL(from, from_bits, f16, 2)                                                     \
    DEQUANTIZE_KERNEL(from, from_bits, bf16, 2)

DEQUANTIZE_TO_F32(i8, 8)
DEQUANTIZE_TO_F32(i4, 4)
DEQUANTIZE_TO_F32(i2, 2)
DEQUANTIZE_TO_F32(i1, 1)
FLOATS_STEP(i8, f16, F16_PAIR_BYTES)
FLOATS_STEP(i8, bf16, BF16_PAIR_BYTES)
DEQUANTIZE_KERNEL(i8, 8, f16, 2)
DEQUANTIZE_KERNEL(i8, 8, bf16, 2)
DEQUANTIZE_TO_16_BITS(i4, 4)
DEQUANTIZE_TO_16_BITS(i2, 2)
DEQUANTIZE_TO_16_BITS(i1, 1)

#ifndef LT_OWN_TERNARY

/* A pair of vectors of floats lies in one group. Five times the least group are whole bytes, and
 * whole steps at every level. */
enum {
    PAIR_ELEMS = 2 * V_FLOATS,
    GROUPS_STEP_ELEMS = LATHE_BITNET158_PER_BYTE * LATHE_GROUP_MULTIPLE,
    GROUPS_STEP_BYTES = LATHE_GROUP_MULTIPLE,
};

typedef void groups_step_fn(const uint8_t *src, uint8_t *dst, const step_floats *scales,
                            lt_store store);

LT_INLINE void decode_ternary_groups(groups_step_fn *step, size_t elem_bytes, policy how,
                                     const uint8_t *src, uint8_t *dst, size_t n_elems,
                                     size_t group_elems, const float *scales) {
    const shape s = {.src_bytes = GROUPS_STEP_BYTES, .dst_bytes = GROUPS_STEP_ELEMS * elem_bytes};
    const lt_store store = how == STREAM ? LT_STORE_STREAM : LT_STORE_PLAIN;
    group_walk walk = {scales, group_elems, group_elems};
    for (; n_elems >= GROUPS_STEP_ELEMS; n_elems -= GROUPS_STEP_ELEMS) {
        const step_floats of = walk_step(&walk, GROUPS_STEP_ELEMS, LATHE_GROUP_MULTIPLE);
        prefetch_step(s, how, src, dst, STREAM_PREFETCH_BYTES, false);
        step(src, dst, &of, store);
        src += s.src_bytes;
        dst += s.dst_bytes;
    }
    if (n_elems > 0) {
        _Alignas(64) uint8_t in[GROUPS_STEP_BYTES] = {0};
        _Alignas(64) uint8_t out[GROUPS_STEP_ELEMS * sizeof(float)];
        const step_floats of = walk_step(&walk, n_elems, LATHE_GROUP_MULTIPLE);
        memcpy(in, src, part_bytes(n_elems, GROUPS_STEP_BYTES, GROUPS_STEP_ELEMS));
        step(in, out, &of, LT_STORE_PLAIN);
        copy_results(dst, out, n_elems * elem_bytes, store);
    }
}

#define TERNARY_DECODE_VARIANT(name, to_bytes, variant, policy)                                    \
    void LT_NAME(name, variant##_groups)(const void *src, void *dst, size_t n_elems,               \
                                         size_t group_elems, const float *scales) {                \
        const shape s = {.dst_bytes = CACHE_LINE};                                                 \
        if (policy == STREAM && !can_stream(s, dst))                                               \
            LT_NAME(name, hot_groups)(src, dst, n_elems, group_elems, scales);                     \
        else                                                                                       \
            decode_ternary_groups(name##_groups_step, to_bytes, policy, src, dst, n_elems,         \
                                  group_elems, scales);                                            \
    }

/* Most steps lie in one group. */
LT_INLINE bool same_bits(float a, float b) {
    return lt_f32_bits(a) == lt_f32_bits(b);
}

/* Makes a vector of pair_bytes, or two, out of vector v of digits; `table` is what table_of makes
 * of a scale. */
#define TERNARY_PAIR_BY_FLOATS(to)                                                                 \
    LT_INLINE vf bitnet158_to_##to##_table(float scale) {                                          \
        return v_table_ternary(v_set1(scale));                                                     \
    }                                                                                              \
    LT_INLINE void bitnet158_to_##to##_pair(const uint8_t *src, int v, vf table, uint8_t *dst,     \
                                            lt_store store) {                                      \
        const vi digits = unpack_digits(src, v);                                                   \
        const vf a = v_lookup(digits, table);                                                      \
        const vf b = v_lookup(v_upper_to_lower_u16(digits), table);                                \
        store_##to##_numbers(dst, a, b, store);                                                    \
    }

#if LT_HAS_WORDS
typedef vi words_table;
#define TERNARY_PAIR_BY_WORDS(to)                                                                  \
    LT_INLINE vi bitnet158_to_##to##_table(float scale) {                                          \
        return words_ternary_##to(scale);                                                          \
    }                                                                                              \
    LT_INLINE void bitnet158_to_##to##_pair(const uint8_t *src, int v, vi table, uint8_t *dst,     \
                                            lt_store store) {                                      \
        v_store(dst, words_of_trits(src, v, table), store);                                        \
    }
#else
typedef vf words_table;
#define TERNARY_PAIR_BY_WORDS(to) TERNARY_PAIR_BY_FLOATS(to)
#endif

#define TERNARY_KERNEL(to, to_bytes, pair_bytes, table_type)                                       \
    LT_INLINE void bitnet158_to_##to##_step(const uint8_t *src, uint8_t *dst,                      \
                                            const lt_kernel_params *params, lt_store store) {      \
        const table_type table = bitnet158_to_##to##_table(params->scale);                         \
        LT_UNROLL                                                                                  \
        for (int v = 0; v < 5; v++)                                                                \
            bitnet158_to_##to##_pair(src, v, table, dst + v * pair_bytes, store);                  \
    }                                                                                              \
    LT_CONVERT_KERNEL(bitnet158_to_##to, ((shape){.step = bitnet158_to_##to##_step,                \
                                                  .n_elems = UNPACK_ELEMS,                         \
                                                  .src_bytes = UNPACK_BYTES,                       \
                                                  .dst_bytes = to_bytes * UNPACK_ELEMS}))          \
    LT_INLINE void bitnet158_to_##to##_groups_step(const uint8_t *src, uint8_t *dst,               \
                                                   const step_floats *scales, lt_store store) {    \
        table_type table = bitnet158_to_##to##_table(scales->of[0]);                               \
        LT_UNROLL                                                                                  \
        for (int v = 0; v < GROUPS_STEP_ELEMS / PAIR_ELEMS; v++) {                                 \
            const size_t group = (size_t)v * PAIR_ELEMS / LATHE_GROUP_MULTIPLE;                    \
            if (group > 0 && !same_bits(scales->of[group], scales->of[group - 1]))                 \
                table = bitnet158_to_##to##_table(scales->of[group]);                              \
            bitnet158_to_##to##_pair(src + v / 5 * UNPACK_BYTES, v % 5, table,                     \
                                     dst + v * pair_bytes, store);                                 \
        }                                                                                          \
    }                                                                                              \
    TERNARY_DECODE_VARIANT(bitnet158_to_##to, to_bytes, hot, HOT)                                  \
    TERNARY_DECODE_VARIANT(bitnet158_to_##to, to_bytes, stream, STREAM)

TERNARY_PAIR_BY_FLOATS(f32)
TERNARY_PAIR_BY_WORDS(f16)
TERNARY_PAIR_BY_WORDS(bf16)
TERNARY_KERNEL(f32, 4, F32_PAIR_BYTES, vf)
TERNARY_KERNEL(f16, 2, F16_PAIR_BYTES, words_table)
TERNARY_KERNEL(bf16, 2, BF16_PAIR_BYTES, words_table)

#endif
