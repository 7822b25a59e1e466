/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 ladder kernel. */
#include "cpu/kernels.h"
#include <immintrin.h>

enum { LADDER_STEP = 64 };

/* Bisection: the middle rung, then one of two, then one of four, by the code so far. */
typedef struct ladder {
    __m256 middle;
    __m256 second; /* element n: the rung of code n + 2 */
    __m256 third;  /* of n + 1 */
} ladder;

static inline ladder ladder_of(const float *rungs) {
    float next[9] = {0};
    for (int k = 0; k < LT_LADDER_RUNGS; k++)
        next[k] = rungs[k];
    return (ladder){_mm256_set1_ps(rungs[3]), _mm256_loadu_ps(next + 1), _mm256_loadu_ps(next)};
}

/* `step` where the magnitude is at least the rung, else 0. */
static inline __m256i ladder_up(__m256 magnitude, __m256 rung, int step) {
    const __m256 reached = _mm256_cmp_ps(magnitude, rung, _CMP_GE_OQ);
    return _mm256_and_si256(_mm256_castps_si256(reached), _mm256_set1_epi32(step));
}

/* Eight codes. */
static inline __m256i ladder_codes(const uint8_t *src, const ladder *rungs) {
    const __m256 x = _mm256_loadu_ps((const float *)(const void *)src);
    const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    __m256i n = ladder_up(magnitude, rungs->middle, 4);

    n = _mm256_add_epi32(n, ladder_up(magnitude, _mm256_permutevar8x32_ps(rungs->second, n), 2));
    n = _mm256_add_epi32(n, ladder_up(magnitude, _mm256_permutevar8x32_ps(rungs->third, n), 1));
    return _mm256_sign_epi32(n, _mm256_castps_si256(x));
}

/* Sixteen bytes, of 32 elements, in an order that a permutation of 32-bit words puts right; in the
 * low halves of 16-bit words. */
static inline __m256i ladder_pairs(const uint8_t *src, const ladder *rungs) {
    const __m256i first =
        _mm256_packs_epi32(ladder_codes(src, rungs), ladder_codes(src + 32, rungs));
    const __m256i second =
        _mm256_packs_epi32(ladder_codes(src + 64, rungs), ladder_codes(src + 96, rungs));
    const __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second),
                                                      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    const __m256i low = _mm256_and_si256(codes, _mm256_set1_epi16(0x0f));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(codes, 4), _mm256_set1_epi16(0xf0));
    return _mm256_or_si256(low, high);
}

static inline void ladder_step(const uint8_t *src, uint8_t *dst, const ladder *rungs) {
    const __m256i bytes =
        _mm256_packus_epi16(ladder_pairs(src, rungs), ladder_pairs(src + 128, rungs));
    _mm256_storeu_si256((__m256i *)(void *)dst, _mm256_permute4x64_epi64(bytes, 0xd8));
}

#define LT_LADDER lt_ladder_f32_to_i4_avx2
#include "cpu/x86/ladder_template.h"
