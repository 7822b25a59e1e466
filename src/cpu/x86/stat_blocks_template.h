/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics by blocks of 64 elements: NAME_begin, NAME_block, NAME_half for half a block and
 * NAME_rest for fewer elements, which come last, and NAME_end, on sums of type NAME_sums. A last
 * vector is filled up with zeros, which change neither statistic.
 *
 * Parameters: the including file has included one of simd_*.h. */
#ifndef LT_CPU_X86_STAT_BLOCKS_TEMPLATE_H
#define LT_CPU_X86_STAT_BLOCKS_TEMPLATE_H

#include "cpu/numerics.h"
#include "lathe_constants.h"

enum { BLOCK_ELEMS = LATHE_STAT_LANES, SUM_VECTORS = LATHE_STAT_LANES / V_FLOATS };

/* The last vector, of fewer elements than it holds, filled up with zeros. */
LT_INLINE const uint8_t *fill_vector(uint8_t vector[V_BYTES], const uint8_t *src, size_t n_bytes) {
    memset(vector, 0, V_BYTES);
    memcpy(vector, src, n_bytes);
    return vector;
}

/* Of n_vectors vectors, each made of n_elems elements that lie in n_bytes. */
#define STAT_BLOCK(name, type, n_vectors, elem_bytes, vector_elems, zero, add)                     \
    typedef struct name##_sums {                                                                   \
        type of[n_vectors];                                                                        \
    } name##_sums;                                                                                 \
    LT_INLINE void name##_begin(name##_sums *sums) {                                               \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < (n_vectors); i++)                                                      \
            sums->of[i] = zero;                                                                    \
    }                                                                                              \
    LT_INLINE void name##_block(name##_sums *sums, const uint8_t *in) {                            \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < (n_vectors); i++)                                                      \
            sums->of[i] = add(sums->of[i], in + i * (vector_elems) * (elem_bytes));                \
    }                                                                                              \
    LT_INLINE void name##_half(name##_sums *sums, const uint8_t *in) {                             \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < (n_vectors) / 2; i++)                                                  \
            sums->of[i] = add(sums->of[i], in + i * (vector_elems) * (elem_bytes));                \
    }                                                                                              \
    LT_INLINE void name##_rest(name##_sums *sums, const uint8_t *in, size_t n_elems) {             \
        LT_UNROLL                                                                                  \
        for (int i = 0; i < (n_vectors); i++) {                                                    \
            const size_t n = n_elems < (vector_elems) ? n_elems : (vector_elems);                  \
            if (n > 0) {                                                                           \
                _Alignas(64) uint8_t last[V_BYTES];                                                \
                const uint8_t *from =                                                              \
                    n == (vector_elems) ? in : fill_vector(last, in, n * (elem_bytes));            \
                sums->of[i] = add(sums->of[i], from);                                              \
                in += n * (elem_bytes);                                                            \
                n_elems -= n;                                                                      \
            }                                                                                      \
        }                                                                                          \
    }

/* Magnitudes order like their bits, and 16-bit ones need no widening. */
#define ABSMAX_BLOCK(name, elem_bytes, max_abs, reduce, to_f32)                                    \
    LT_INLINE vi name##_add(vi max, const uint8_t *in) {                                           \
        return max_abs(max, v_load(in));                                                           \
    }                                                                                              \
    STAT_BLOCK(name, vi, BLOCK_ELEMS *(elem_bytes) / V_BYTES, elem_bytes, V_BYTES / (elem_bytes),  \
               v_zero(), name##_add)                                                               \
    LT_INLINE vi name##_join(const name##_sums *sums) {                                            \
        vi max = sums->of[0];                                                                      \
        LT_UNROLL                                                                                  \
        for (int i = 1; i < BLOCK_ELEMS * (elem_bytes) / V_BYTES; i++)                             \
            max = max_abs(max, sums->of[i]);                                                       \
        return max;                                                                                \
    }                                                                                              \
    LT_INLINE float name##_end(name##_sums *sums) {                                                \
        return lt_f32_one_nan(lt_f32_from_bits(to_f32(reduce(name##_join(sums)))));                \
    }

#define SAME_BITS(bits) (bits)

ABSMAX_BLOCK(absmax_f32, 4, v_max_abs_32, v_reduce_max_32, SAME_BITS)
ABSMAX_BLOCK(absmax_f16, 2, v_max_abs_16, v_reduce_max_16, lt_f32_from_f16)
ABSMAX_BLOCK(absmax_bf16, 2, v_max_abs_16, v_reduce_max_16, lt_f32_from_bf16)

LT_INLINE vf join_lanes(vf sum[SUM_VECTORS]) {
    LT_UNROLL
    for (int half = SUM_VECTORS / 2; half > 0; half /= 2) {
        LT_UNROLL
        for (int i = 0; i < half; i++)
            sum[i] = v_add(sum[i], sum[i + half]);
    }
    return sum[0];
}

#define ABSSUM_BLOCK(name, elem_bytes, load)                                                       \
    LT_INLINE vf name##_add(vf sum, const uint8_t *in) {                                           \
        return v_add_to_sum(sum, v_abs(load(in)));                                                 \
    }                                                                                              \
    STAT_BLOCK(name, vf, SUM_VECTORS, elem_bytes, V_FLOATS, v_set1(0), name##_add)                 \
    LT_INLINE float name##_end(name##_sums *sums) {                                                \
        return lt_f32_one_nan(v_fold(join_lanes(sums->of)));                                       \
    }

ABSSUM_BLOCK(abssum_f32, 4, v_load_f32)

#if LT_V_BYTES == 64

/* F16 by half vectors, of 8 elements: a conversion that fills a whole one needs a unit more. */
enum { HALF_FLOATS = V_FLOATS / 2, HALF_VECTORS = LATHE_STAT_LANES / HALF_FLOATS };

LT_INLINE __m256 magnitudes_of_f16(const uint8_t *in) {
    const __m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)in));
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
}

/* As v_add_to_sum. */
LT_INLINE __m256 abssum_f16_add(__m256 sum, const uint8_t *in) {
    return _mm256_fmadd_ps(magnitudes_of_f16(in), _mm256_set1_ps(1), sum);
}

STAT_BLOCK(abssum_f16, __m256, HALF_VECTORS, 2, HALF_FLOATS, _mm256_setzero_ps(), abssum_f16_add)

/* The lanes, folded down to 8. */
LT_INLINE __m256 join_halves(const __m256 sum[HALF_VECTORS]) {
    const __m256 a = _mm256_add_ps(sum[0], sum[4]);
    const __m256 b = _mm256_add_ps(sum[1], sum[5]);
    const __m256 c = _mm256_add_ps(sum[2], sum[6]);
    const __m256 d = _mm256_add_ps(sum[3], sum[7]);
    return _mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d));
}

LT_INLINE float abssum_f16_end(abssum_f16_sums *sums) {
    const __m256 x = join_halves(sums->of);
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return lt_f32_one_nan(_mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y))));
}

/* BF16 apart, even elements from odd ones, which takes no widening: of[0] and of[1] hold those of
 * the first half of a block, of[2] and of[3] those of the second. */
typedef struct abssum_bf16_sums {
    vf of[4];
} abssum_bf16_sums;

LT_INLINE void abssum_bf16_begin(abssum_bf16_sums *sums) {
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        sums->of[i] = v_set1(0);
}

/* The first half of a block, or, with the sums behind its own, the second. */
LT_INLINE void add_apart_bf16(vf sum[2], const uint8_t *in) {
    const vi words = v_load(in);
    sum[0] = v_add_to_sum(sum[0], v_abs(v_even_bf16(words)));
    sum[1] = v_add_to_sum(sum[1], v_abs(v_odd_bf16(words)));
}

LT_INLINE void abssum_bf16_half(abssum_bf16_sums *sums, const uint8_t *in) {
    add_apart_bf16(sums->of, in);
}

LT_INLINE void abssum_bf16_block(abssum_bf16_sums *sums, const uint8_t *in) {
    add_apart_bf16(sums->of, in);
    add_apart_bf16(sums->of + 2, in + V_BYTES);
}

LT_INLINE void abssum_bf16_rest(abssum_bf16_sums *sums, const uint8_t *in, size_t n_elems) {
    if (n_elems > 0) {
        _Alignas(64) uint8_t last[2 * V_BYTES] = {0};
        memcpy(last, in, 2 * n_elems);
        abssum_bf16_block(sums, last);
    }
}

/* What is left of the lanes when they have been folded down to 32: of even elements, and of odd
 * ones. They meet in the last fold. */
LT_INLINE void join_even_and_odd(const vf sum[4], vf joined[2]) {
    joined[0] = v_add(sum[0], sum[2]);
    joined[1] = v_add(sum[1], sum[3]);
}

LT_INLINE float abssum_bf16_end(abssum_bf16_sums *sums) {
    vf joined[2];
    join_even_and_odd(sums->of, joined);
    return lt_f32_one_nan(v_fold(joined[0]) + v_fold(joined[1]));
}

#else

ABSSUM_BLOCK(abssum_f16, 2, v_load_f16)
ABSSUM_BLOCK(abssum_bf16, 2, v_load_bf16)

#endif

#endif
