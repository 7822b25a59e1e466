/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics kernels: the greatest magnitude, and the canonical sum of magnitudes.
 *
 * Both go over blocks of 64 elements. The last vector is filled up with zeros, which change
 * neither.
 *
 * Parameters: the including file has included one of simd_*.h. */
#include "cpu/numerics.h"
#include "cpu/x86/convert_template.h"
#include "lathe_constants.h"

enum { BLOCK_ELEMS = LATHE_STAT_LANES };

/* The last vector, of fewer elements than it holds, filled up with zeros. */
LT_INLINE const uint8_t *fill_vector(uint8_t vector[V_BYTES], const uint8_t *src, size_t n_bytes) {
    memset(vector, 0, V_BYTES);
    memcpy(vector, src, n_bytes);
    return vector;
}

/* What of the lines `ahead` a kernel prefetches: beside others, that of a group leaves half of them
 * to the encoder. */
typedef enum lines { NO_LINES, EVEN_LINES, ALL_LINES } lines;

LT_INLINE void prefetch_block(lines which, const uint8_t *src, size_t n_bytes) {
    const size_t step = which == EVEN_LINES ? 2 * CACHE_LINE : CACHE_LINE;
    LT_UNROLL
    for (size_t i = 0; which != NO_LINES && i < n_bytes; i += step)
        prefetch_to_second_cache(src + i);
}

/* A statistic as kernels: of one tile, and of each of many groups. */
#define STAT_VARIANT(name, elem_bytes, variant, tile_lines, group_lines)                           \
    float LT_NAME(name, variant)(const void *src, size_t n_elems) {                                \
        return name##_of(src, n_elems, tile_lines, STREAM_PREFETCH_BYTES);                         \
    }                                                                                              \
    void LT_NAME(name, variant##_groups)(const void *src, size_t n_elems, size_t group_elems,      \
                                         float *stats, size_t ahead) {                             \
        const uint8_t *in = src;                                                                   \
        for (; n_elems > group_elems; n_elems -= group_elems, in += group_elems * (elem_bytes))    \
            *stats++ = name##_of(in, group_elems, group_lines, ahead);                             \
        *stats = name##_of(in, n_elems, group_lines, ahead);                                       \
    }

#define STAT_KERNELS(name, elem_bytes)                                                             \
    STAT_VARIANT(name, elem_bytes, hot, NO_LINES, NO_LINES)                                        \
    STAT_VARIANT(name, elem_bytes, stream, ALL_LINES, EVEN_LINES)

/* Magnitudes order like their bits, and 16-bit ones need no widening. */
#define ABSMAX_KERNEL(name, elem_bytes, max_abs, reduce, to_f32)                                   \
    LT_INLINE float name##_of(const void *src, size_t n_elems, lines which, size_t ahead) {        \
        enum { BLOCK_BYTES = BLOCK_ELEMS * elem_bytes, VECTORS = BLOCK_BYTES / V_BYTES };          \
        const uint8_t *in = src;                                                                   \
        vi max[VECTORS];                                                                           \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < VECTORS; i++)                                                          \
            max[i] = v_zero();                                                                     \
        for (; n_elems >= BLOCK_ELEMS; n_elems -= BLOCK_ELEMS, in += BLOCK_BYTES) {                \
            prefetch_block(which, in + ahead, BLOCK_BYTES);                                        \
            LT_UNROLL                                                                              \
            for (int i = 0; i < VECTORS; i++)                                                      \
                max[i] = max_abs(max[i], v_load(in + i * V_BYTES));                                \
        }                                                                                          \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < VECTORS; i++) {                                                        \
            enum { ELEMS = V_BYTES / elem_bytes };                                                 \
            const size_t n = n_elems < ELEMS ? n_elems : ELEMS;                                    \
            if (n > 0) {                                                                           \
                _Alignas(64) uint8_t last[V_BYTES];                                                \
                const uint8_t *from = n == ELEMS ? in : fill_vector(last, in, n * (elem_bytes));   \
                max[i] = max_abs(max[i], v_load(from));                                            \
                in += V_BYTES;                                                                     \
                n_elems -= n;                                                                      \
            }                                                                                      \
        }                                                                                          \
        LT_UNROLL                                                                                  \
        for (int i = 1; i < VECTORS; i++)                                                          \
            max[0] = max_abs(max[0], max[i]);                                                      \
        return lt_f32_one_nan(lt_f32_from_bits(to_f32(reduce(max[0]))));                           \
    }                                                                                              \
    STAT_KERNELS(name, elem_bytes)

#define SAME_BITS(bits) (bits)

ABSMAX_KERNEL(absmax_f32, 4, v_max_abs_32, v_reduce_max_32, SAME_BITS)
ABSMAX_KERNEL(absmax_f16, 2, v_max_abs_16, v_reduce_max_16, lt_f32_from_f16)
ABSMAX_KERNEL(absmax_bf16, 2, v_max_abs_16, v_reduce_max_16, lt_f32_from_bf16)

enum { SUM_VECTORS = LATHE_STAT_LANES / V_FLOATS };

LT_INLINE float fold_lanes(vf sum[SUM_VECTORS]) {
    LT_UNROLL
    for (int half = SUM_VECTORS / 2; half > 0; half /= 2) {
        LT_UNROLL
        for (int i = 0; i < half; i++)
            sum[i] = v_add(sum[i], sum[i + half]);
    }
    return lt_f32_one_nan(v_fold(sum[0]));
}

#define ABSSUM_KERNEL(name, elem_bytes, load)                                                      \
    LT_INLINE float name##_of(const void *src, size_t n_elems, lines which, size_t ahead) {        \
        enum { BLOCK_BYTES = BLOCK_ELEMS * elem_bytes, LOAD_BYTES = V_FLOATS * elem_bytes };       \
        const uint8_t *in = src;                                                                   \
        vf sum[SUM_VECTORS];                                                                       \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < SUM_VECTORS; i++)                                                      \
            sum[i] = v_set1(0);                                                                    \
        for (; n_elems >= BLOCK_ELEMS; n_elems -= BLOCK_ELEMS, in += BLOCK_BYTES) {                \
            prefetch_block(which, in + ahead, BLOCK_BYTES);                                        \
            LT_UNROLL                                                                              \
            for (int i = 0; i < SUM_VECTORS; i++)                                                  \
                sum[i] = v_add(sum[i], v_abs(load(in + i * LOAD_BYTES)));                          \
        }                                                                                          \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < SUM_VECTORS; i++) {                                                    \
            const size_t n = n_elems < V_FLOATS ? n_elems : V_FLOATS;                              \
            if (n > 0) {                                                                           \
                _Alignas(64) uint8_t last[V_BYTES];                                                \
                const uint8_t *from =                                                              \
                    n == V_FLOATS ? in : fill_vector(last, in, n * (elem_bytes));                  \
                sum[i] = v_add(sum[i], v_abs(load(from)));                                         \
                in += LOAD_BYTES;                                                                  \
                n_elems -= n;                                                                      \
            }                                                                                      \
        }                                                                                          \
        return fold_lanes(sum);                                                                    \
    }                                                                                              \
    STAT_KERNELS(name, elem_bytes)

ABSSUM_KERNEL(abssum_f32, 4, v_load_f32)
ABSSUM_KERNEL(abssum_f16, 2, v_load_f16)
ABSSUM_KERNEL(abssum_bf16, 2, v_load_bf16)
