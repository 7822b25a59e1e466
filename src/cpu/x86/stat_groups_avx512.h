/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of short groups, four at a time: folding the lanes of each by itself would cost more
 * than reading it.
 *
 * Parameters: as stats_template.h, which includes this. */
#ifndef LT_CPU_X86_STAT_GROUPS_AVX512_H
#define LT_CPU_X86_STAT_GROUPS_AVX512_H

#include "cpu/x86/stat_blocks_template.h"

enum { FOLDED_GROUPS = 4 };

typedef vi join_fn(vi a, vi b);

/* Element i of the result is what the lanes of v[i] come to, joined by halves: 8 with 8, and so on.
 */
LT_INLINE __m128i fold_four(join_fn *join, const vi v[FOLDED_GROUPS]) {
    const vi ab =
        join(_mm512_shuffle_i64x2(v[0], v[1], 0x44), _mm512_shuffle_i64x2(v[0], v[1], 0xee));
    const vi cd =
        join(_mm512_shuffle_i64x2(v[2], v[3], 0x44), _mm512_shuffle_i64x2(v[2], v[3], 0xee));
    vi all = join(_mm512_shuffle_i64x2(ab, cd, 0x88), _mm512_shuffle_i64x2(ab, cd, 0xdd));
    all = join(all, _mm512_shuffle_epi32(all, _MM_PERM_BADC));
    all = join(all, _mm512_shuffle_epi32(all, _MM_PERM_CDAB));
    const vi firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castsi512_si128(_mm512_permutexvar_epi32(firsts, all));
}

LT_INLINE vi join_sums(vi a, vi b) {
    return _mm512_castps_si512(v_add(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
}

LT_INLINE vi join_max_32(vi a, vi b) {
    return _mm512_max_epu32(a, b);
}

LT_INLINE vi join_max_16(vi a, vi b) {
    return _mm512_max_epu16(a, b);
}

/* lt_f32_one_nan */
LT_INLINE void store_four(float *stats, __m128 x) {
    const __mmask8 is_nan = _mm_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    _mm_storeu_ps(stats, _mm_mask_mov_ps(x, is_nan, _mm_castsi128_ps(_mm_set1_epi32(0x7fc00000))));
}

/* Two 16-bit magnitudes in each element. */
LT_INLINE __m128i max_of_words(__m128i folded) {
    return _mm_max_epu16(_mm_and_si128(folded, _mm_set1_epi32(0xffff)), _mm_srli_epi32(folded, 16));
}

/* What is left of a group's lanes when its vectors have been joined: one vector, or, of elements
 * that are kept apart, two. NAME_keep(sums, kept, i) does so for group i of four; NAME_fold(kept)
 * gives their statistics. */
typedef struct four_groups {
    vi of[FOLDED_GROUPS];
    vi odd[FOLDED_GROUPS];
} four_groups;

#define FOLD_MAX(name, join, stats_of)                                                             \
    LT_INLINE void name##_keep(const name##_sums *sums, four_groups *kept, int i) {                \
        kept->of[i] = name##_join(sums);                                                           \
    }                                                                                              \
    LT_INLINE __m128 name##_fold(const four_groups *kept) {                                        \
        const __m128i most = fold_four(join, kept->of);                                            \
        return stats_of;                                                                           \
    }

FOLD_MAX(absmax_f32, join_max_32, _mm_castsi128_ps(most))
FOLD_MAX(absmax_f16, join_max_16,
         _mm_cvtph_ps(_mm_packus_epi32(max_of_words(most), _mm_setzero_si128())))
FOLD_MAX(absmax_bf16, join_max_16, _mm_castsi128_ps(_mm_slli_epi32(max_of_words(most), 16)))

#define FOLD_SUM(name)                                                                             \
    LT_INLINE void name##_keep(name##_sums *sums, four_groups *kept, int i) {                      \
        kept->of[i] = _mm512_castps_si512(join_lanes(sums->of));                                   \
    }                                                                                              \
    LT_INLINE __m128 name##_fold(const four_groups *kept) {                                        \
        return _mm_castsi128_ps(fold_four(join_sums, kept->of));                                   \
    }

FOLD_SUM(abssum_f32)
FOLD_SUM(abssum_f16)

LT_INLINE void abssum_bf16_keep(const abssum_bf16_sums *sums, four_groups *kept, int i) {
    vf joined[2];
    join_even_and_odd(sums->of, joined);
    kept->of[i] = _mm512_castps_si512(joined[0]);
    kept->odd[i] = _mm512_castps_si512(joined[1]);
}

LT_INLINE __m128 abssum_bf16_fold(const four_groups *kept) {
    return _mm_add_ps(_mm_castsi128_ps(fold_four(join_sums, kept->of)),
                      _mm_castsi128_ps(fold_four(join_sums, kept->odd)));
}

/* NAME_many: the statistics of groups of whole blocks, as many as are fours of them, of those in
 * n_elems elements; returns how many. */
#define STAT_GROUPS(name, elem_bytes)                                                              \
    LT_INLINE size_t name##_many(const uint8_t *in, size_t n_elems, size_t group_elems,            \
                                 float *stats, lines which, lt_prefetch *ahead) {                  \
        size_t done = 0;                                                                           \
        if (group_elems % BLOCK_ELEMS != 0)                                                        \
            return 0;                                                                              \
        for (; n_elems >= FOLDED_GROUPS * group_elems; n_elems -= FOLDED_GROUPS * group_elems) {   \
            four_groups kept;                                                                      \
            LT_UNROLL                                                                              \
            for (int i = 0; i < FOLDED_GROUPS; i++) {                                              \
                name##_sums sums;                                                                  \
                name##_begin(&sums);                                                               \
                for (size_t k = 0; k < group_elems; k += BLOCK_ELEMS) {                            \
                    prefetch_block(which, ahead, in, BLOCK_ELEMS *(elem_bytes));                   \
                    name##_block(&sums, in);                                                       \
                    in += BLOCK_ELEMS * (elem_bytes);                                              \
                }                                                                                  \
                name##_keep(&sums, &kept, i);                                                      \
            }                                                                                      \
            store_four(stats + done, name##_fold(&kept));                                          \
            done += FOLDED_GROUPS;                                                                 \
        }                                                                                          \
        return done;                                                                               \
    }

#endif
