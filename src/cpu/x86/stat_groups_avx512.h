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
 * Blending takes any of the units, shuffling two of them. */
LT_INLINE __m128i fold_four(join_fn *join, const vi v[FOLDED_GROUPS]) {
    const vi seconds = _mm512_setr_epi64(2, 3, 8, 9, 6, 7, 12, 13); /* 128-bit lanes 1 4 3 6 */
    const vi ab = join(_mm512_mask_blend_epi64(0xf0, v[0], v[1]),
                       _mm512_shuffle_i64x2(v[0], v[1], _MM_SHUFFLE(1, 0, 3, 2)));
    const vi cd = join(_mm512_mask_blend_epi64(0xf0, v[2], v[3]),
                       _mm512_shuffle_i64x2(v[2], v[3], _MM_SHUFFLE(1, 0, 3, 2)));
    vi all =
        join(_mm512_mask_blend_epi64(0xcc, ab, cd), _mm512_permutex2var_epi64(ab, seconds, cd));
    all = join(all, _mm512_shuffle_epi32(all, _MM_PERM_BADC));
    all = join(all, _mm512_shuffle_epi32(all, _MM_PERM_CDAB));
    const vi firsts = _mm512_setr_epi32(0, 8, 4, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
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
 * that are kept apart, two. NAME_keep(sums, kept, i) does so for group i of four,
 * NAME_keep_half(in, kept, i) for one that is half a block; NAME_fold(kept) gives their statistics.
 */
typedef struct four_groups {
    vi of[FOLDED_GROUPS];
    vi odd[FOLDED_GROUPS];
} four_groups;

#define FOLD_MAX(name, join, half_of, stats_of)                                                    \
    LT_INLINE void name##_keep(const name##_sums *sums, four_groups *kept, int i) {                \
        vi max = sums->of[0];                                                                      \
        LT_UNROLL                                                                                  \
        for (size_t k = 1; k < sizeof sums->of / sizeof max; k++)                                  \
            max = join(max, sums->of[k]);                                                          \
        kept->of[i] = max;                                                                         \
    }                                                                                              \
    LT_INLINE void name##_keep_half(const uint8_t *in, four_groups *kept, int i) {                 \
        kept->of[i] = half_of;                                                                     \
    }                                                                                              \
    LT_INLINE __m128 name##_fold(const four_groups *kept) {                                        \
        const __m128i most = fold_four(join, kept->of);                                            \
        return stats_of;                                                                           \
    }

FOLD_MAX(absmax_f32, join_max_32, absmax_f32_add(absmax_f32_add(v_zero(), in), in + V_BYTES),
         _mm_castsi128_ps(most))
FOLD_MAX(absmax_f16, join_max_16, absmax_f16_add(v_zero(), in),
         _mm_cvtph_ps(_mm_packus_epi32(max_of_words(most), _mm_setzero_si128())))
FOLD_MAX(absmax_bf16, join_max_16, absmax_bf16_add(v_zero(), in),
         _mm_castsi128_ps(_mm_slli_epi32(max_of_words(most), 16)))

LT_INLINE void abssum_f32_keep(abssum_f32_sums *sums, four_groups *kept, int i) {
    kept->of[i] = _mm512_castps_si512(join_lanes(sums->of));
}

LT_INLINE void abssum_f32_keep_half(const uint8_t *in, four_groups *kept, int i) {
    kept->of[i] =
        _mm512_castps_si512(v_add(v_abs(v_load_f32(in)), v_abs(v_load_f32(in + V_BYTES))));
}

LT_INLINE __m128 abssum_f32_fold(const four_groups *kept) {
    return _mm_castsi128_ps(fold_four(join_sums, kept->of));
}

/* Of half vectors, in the lower halves of these. */
LT_INLINE vi keep_256(__m256 x) {
    return _mm512_castps_si512(_mm512_castps256_ps512(x));
}

LT_INLINE void abssum_f16_keep(const abssum_f16_sums *sums, four_groups *kept, int i) {
    kept->of[i] = keep_256(join_halves(sums->of));
}

LT_INLINE void abssum_f16_keep_half(const uint8_t *in, four_groups *kept, int i) {
    __m256 x[4];
    LT_UNROLL
    for (int k = 0; k < 4; k++)
        x[k] = magnitudes_of_f16(in + 2 * HALF_FLOATS * k);
    kept->of[i] = keep_256(_mm256_add_ps(_mm256_add_ps(x[0], x[2]), _mm256_add_ps(x[1], x[3])));
}

LT_INLINE __m128 abssum_f16_fold(const four_groups *kept) {
    __m256 x[FOLDED_GROUPS];
    LT_UNROLL
    for (int i = 0; i < FOLDED_GROUPS; i++)
        x[i] = _mm512_castps512_ps256(_mm512_castsi512_ps(kept->of[i]));
    const __m256 ab =
        _mm256_add_ps(_mm256_blend_ps(x[0], x[1], 0xf0), _mm256_permute2f128_ps(x[0], x[1], 0x21));
    const __m256 cd =
        _mm256_add_ps(_mm256_blend_ps(x[2], x[3], 0xf0), _mm256_permute2f128_ps(x[2], x[3], 0x21));
    const __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0)),
                                     _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2)));
    const __m256 sums = _mm256_add_ps(all, _mm256_permute_ps(all, _MM_SHUFFLE(2, 3, 0, 1)));
    const __m256i firsts = _mm256_setr_epi32(0, 4, 2, 6, 0, 0, 0, 0);
    return _mm256_castps256_ps128(_mm256_permutevar8x32_ps(sums, firsts));
}

LT_INLINE void abssum_bf16_keep(const abssum_bf16_sums *sums, four_groups *kept, int i) {
    vf joined[2];
    join_even_and_odd(sums->of, joined);
    kept->of[i] = _mm512_castps_si512(joined[0]);
    kept->odd[i] = _mm512_castps_si512(joined[1]);
}

LT_INLINE void abssum_bf16_keep_half(const uint8_t *in, four_groups *kept, int i) {
    const vi words = v_load(in);
    kept->of[i] = _mm512_castps_si512(v_abs(v_even_bf16(words)));
    kept->odd[i] = _mm512_castps_si512(v_abs(v_odd_bf16(words)));
}

LT_INLINE __m128 abssum_bf16_fold(const four_groups *kept) {
    return _mm_add_ps(_mm_castsi128_ps(fold_four(join_sums, kept->of)),
                      _mm_castsi128_ps(fold_four(join_sums, kept->odd)));
}

/* NAME_first begins a group, sums of 16 bits with its first block, which is not added to anything;
 * NAME_TAKES_FIRST says so. Others begin with zeros: they wait for memory, and out of cache that
 * was faster. */
#define FIRST_ZEROS(name)                                                                          \
    enum { name##_TAKES_FIRST = 0 };                                                               \
    LT_INLINE void name##_first(name##_sums *sums, const uint8_t *in) {                            \
        (void)in;                                                                                  \
        name##_begin(sums);                                                                        \
    }
#define FIRST_BLOCK(name, magnitudes, vector_bytes)                                                \
    enum { name##_TAKES_FIRST = 1 };                                                               \
    LT_INLINE void name##_first(name##_sums *sums, const uint8_t *in) {                            \
        LT_UNROLL                                                                                  \
        for (size_t i = 0; i < sizeof sums->of / sizeof sums->of[0]; i++)                          \
            sums->of[i] = magnitudes(in + i * (vector_bytes));                                     \
    }

FIRST_ZEROS(absmax_f32)
FIRST_ZEROS(absmax_f16)
FIRST_ZEROS(absmax_bf16)
FIRST_ZEROS(abssum_f32)
FIRST_BLOCK(abssum_f16, magnitudes_of_f16, V_BYTES / 4)

enum { abssum_bf16_TAKES_FIRST = 1 };

LT_INLINE void abssum_bf16_first(abssum_bf16_sums *sums, const uint8_t *in) {
    LT_UNROLL
    for (int i = 0; i < 2; i++) {
        const vi words = v_load(in + i * V_BYTES);
        sums->of[2 * i] = v_abs(v_even_bf16(words));
        sums->of[2 * i + 1] = v_abs(v_odd_bf16(words));
    }
}

/* Of what a group is made: of blocks, of half a block, or of blocks and a half. */
typedef enum makeup { BLOCKS, ONE_HALF, BLOCKS_AND_HALF } makeup;

/* NAME_many: the statistics of groups of whole halves of blocks, as many as are fours of them, of
 * those in n_elems elements; returns how many. */
#define STAT_GROUPS(name, elem_bytes)                                                              \
    LT_INLINE size_t name##_fours(const uint8_t *in, size_t n_elems, size_t group_elems,           \
                                  makeup made_of, float *stats, lines which, lt_prefetch *ahead) { \
        enum { BLOCK_BYTES = BLOCK_ELEMS * (elem_bytes) };                                         \
        size_t done = 0;                                                                           \
        for (; n_elems >= FOLDED_GROUPS * group_elems; n_elems -= FOLDED_GROUPS * group_elems) {   \
            four_groups kept;                                                                      \
            for (int i = 0; made_of != BLOCKS && i < FOLDED_GROUPS / 2; i++)                       \
                prefetch_block(which, ahead, in, BLOCK_BYTES);                                     \
            LT_UNROLL                                                                              \
            for (int i = 0; i < FOLDED_GROUPS; i++) {                                              \
                name##_sums sums;                                                                  \
                if (made_of == ONE_HALF) {                                                         \
                    name##_keep_half(in, &kept, i);                                                \
                    in += BLOCK_BYTES / 2;                                                         \
                    continue;                                                                      \
                }                                                                                  \
                name##_first(&sums, in);                                                           \
                if (name##_TAKES_FIRST) {                                                          \
                    prefetch_block(which, ahead, in, BLOCK_BYTES);                                 \
                    in += BLOCK_BYTES;                                                             \
                }                                                                                  \
                for (size_t k = (1 + name##_TAKES_FIRST) * BLOCK_ELEMS; k <= group_elems;          \
                     k += BLOCK_ELEMS) {                                                           \
                    prefetch_block(which, ahead, in, BLOCK_BYTES);                                 \
                    name##_block(&sums, in);                                                       \
                    in += BLOCK_BYTES;                                                             \
                }                                                                                  \
                if (made_of == BLOCKS_AND_HALF) {                                                  \
                    name##_half(&sums, in);                                                        \
                    in += BLOCK_BYTES / 2;                                                         \
                }                                                                                  \
                name##_keep(&sums, &kept, i);                                                      \
            }                                                                                      \
            store_four(stats + done, name##_fold(&kept));                                          \
            done += FOLDED_GROUPS;                                                                 \
        }                                                                                          \
        return done;                                                                               \
    }                                                                                              \
    LT_INLINE size_t name##_many(const uint8_t *in, size_t n_elems, size_t group_elems,            \
                                 float *stats, lines which, lt_prefetch *ahead) {                  \
        if (name##_TAKES_FIRST && group_elems == 2 * BLOCK_ELEMS) /* without a loop for each */    \
            return name##_fours(in, n_elems, 2 * BLOCK_ELEMS, BLOCKS, stats, which, ahead);        \
        if (group_elems % BLOCK_ELEMS == 0)                                                        \
            return name##_fours(in, n_elems, group_elems, BLOCKS, stats, which, ahead);            \
        if (group_elems == BLOCK_ELEMS / 2)                                                        \
            return name##_fours(in, n_elems, BLOCK_ELEMS / 2, ONE_HALF, stats, which, ahead);      \
        return name##_fours(in, n_elems, group_elems, BLOCKS_AND_HALF, stats, which, ahead);       \
    }

#endif
