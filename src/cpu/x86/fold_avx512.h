/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes of sums folded by halves, of several groups at once, in AVX-512. */
#ifndef LT_CPU_X86_FOLD_AVX512_H
#define LT_CPU_X86_FOLD_AVX512_H

#include "cpu/x86/codes_avx512.h"

/* The sums of 128-bit lanes 0 and 1, and of 2 and 3: of a, then of b. */
LT_INLINE vf add_lane_pairs(vf a, vf b) {
    return v_add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

/* In each 128-bit lane: elements 0 and 2, 1 and 3, of a, then of b. */
LT_INLINE vf add_distant(vf a, vf b) {
    return v_add(_mm512_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                 _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
}

/* In each 128-bit lane: elements 0 and 1, 2 and 3, each sum twice. */
LT_INLINE vf add_neighbours(vf x) {
    return v_add(x, _mm512_permute_ps(x, _MM_SHUFFLE(2, 3, 0, 1)));
}

/* In each 128-bit lane: elements 0 and 2, 1 and 3, each sum twice. */
LT_INLINE vf add_over_next(vf x) {
    return v_add(x, _mm512_permute_ps(x, _MM_SHUFFLE(1, 0, 3, 2)));
}

/* The sums of 128-bit lanes 0 and 2, and of 1 and 3: of a, then of b. */
LT_INLINE vf add_lane_halves(vf a, vf b) {
    return v_add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}

/* Groups whose sums are folded together. */
enum { SUMS_AT_ONCE = 4 };

LT_INLINE void store_sums(float *stats, __m128 sums, size_t n) {
    _mm_mask_storeu_ps(stats, (__mmask8)((1u << n) - 1), sums);
}

/* The sums of four vectors, whose lanes are in order. */
LT_INLINE __m128 fold_vectors(vf a, vf b, vf c, vf d) {
    const vi order = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const vf x = add_lane_pairs(add_lane_halves(a, b), add_lane_halves(c, d));
    const vf y = add_neighbours(add_over_next(x));
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(order, y));
}

#endif
