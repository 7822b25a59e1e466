/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX-512 ladder kernel. */
#include "cpu/kernels.h"
#include <immintrin.h>

enum { LADDER_STEP = 64 };

/* Bisection: the middle rung, then one of two, then one of four, by the code so far. */
typedef struct ladder {
    __m512 middle;
    __m512 second; /* element n: the rung of code n + 2 */
    __m512 third;  /* of n + 1 */
} ladder;

static inline ladder ladder_of(const float *rungs) {
    float next[17] = {0};
    for (int k = 0; k < LT_LADDER_RUNGS; k++)
        next[k] = rungs[k];
    return (ladder){_mm512_set1_ps(rungs[3]), _mm512_loadu_ps(next + 1), _mm512_loadu_ps(next)};
}

static inline void ladder_step(const uint8_t *src, uint8_t *dst, const ladder *rungs) {
    for (int i = 0; i < LADDER_STEP / 16; i++) {
        const __m512 x = _mm512_loadu_ps(src + 64 * i);
        const __m512 magnitude = _mm512_abs_ps(x);
        __mmask16 up = _mm512_cmp_ps_mask(magnitude, rungs->middle, _CMP_GE_OQ);
        __m512i n = _mm512_maskz_set1_epi32(up, 4);
        up = _mm512_cmp_ps_mask(magnitude, _mm512_permutexvar_ps(n, rungs->second), _CMP_GE_OQ);
        n = _mm512_mask_add_epi32(n, up, n, _mm512_set1_epi32(2));
        up = _mm512_cmp_ps_mask(magnitude, _mm512_permutexvar_ps(n, rungs->third), _CMP_GE_OQ);
        n = _mm512_mask_add_epi32(n, up, n, _mm512_set1_epi32(1));
        const __mmask16 minus = _mm512_movepi32_mask(_mm512_castps_si512(x));
        n = _mm512_mask_sub_epi32(n, minus, _mm512_setzero_si512(), n);
        /* Of each two codes the second moves from bit 32 to bit 4. */
        n = _mm512_and_si512(n, _mm512_set1_epi32(15));
        n = _mm512_or_si512(n, _mm512_srli_epi64(n, 28));
        _mm_storel_epi64((__m128i *)(void *)(dst + 8 * i), _mm512_cvtepi64_epi8(n));
    }
}

#define LT_LADDER lt_ladder_f32_to_i4_avx512
#include "cpu/x86/ladder_template.h"
