/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of codes: the greatest magnitude in integers, and the canonical sum
 * (docs/numerics.md).
 */
#include "recode_team.cl"

#if LT_HAS_RECODE

/* Source scales with which nothing overflows or is subnormal: 0, or from 2^-90 to 2^100. */
bool lt_is_plain(float scale) {
    return scale == 0 || as_uint(scale) - 0x12800000u <= 0x5f000000u;
}

#if !LT_IS_MEAN

/* ---- the greatest magnitude: of vectors in a word each, which are joined */

#if LT_SRC == LATHE_CL_I8

/* The greater ones of four bytes. 128 counts as 0, and is in the words' upper bits. */
uint lt_greater_bytes(uint a, uint b) {
    const uint b7 = b & 0x7f7f7f7f;
    const uint holds = ((a | 0x80808080) - b7) & 0x80808080;
    const uint mask = holds - (holds >> 7);
    return (a & mask) | (b7 & ~mask) | ((a | b) & 0x80808080);
}

uint lt_top_join(uint a, uint b) {
    return lt_greater_bytes(a, b);
}

uint lt_vector_top(const uint *words) {
    uint top = lt_magnitudes(words[0]);
#pragma unroll
    for (uint i = 1; i < LT_SRC_WORDS; i++) {
        top = lt_greater_bytes(lt_magnitudes(words[i]), top);
    }
    return top;
}

float lt_greatest_code(uint top) {
    const uint low = max(top & 0x7f, top >> 8 & 0x7f);
    const uint high = max(top >> 16 & 0x7f, top >> 24 & 0x7f);
    return (top & 0x80808080) != 0 ? 128.0f : (float)max(low, high);
}

#else

uint lt_top_join(uint a, uint b) {
    return a | b;
}

#if LT_SRC == LATHE_CL_I4

/* Which bits magnitudes have, and which pairs and threes of their lower ones. */
uint lt_vector_top(const uint *words) {
    uint any = 0;
    uint pairs = 0;
    uint apart = 0;
    uint threes = 0;
#pragma unroll
    for (uint i = 0; i < LT_SRC_WORDS; i++) {
        const uint all = lt_magnitudes(words[i]);
        const uint two = all & all >> 1;
        any |= all;
        pairs |= two;
        apart |= all & all >> 2;
        threes |= two & all >> 2;
    }
    const uint found =
        (pairs & 0x33333333) | (apart & 0x11111111) << 2 | (threes & 0x11111111) << 3;
    return ((any | any >> 16) & 0xffff) | (found | found >> 16) << 16;
}

float lt_greatest_code(uint top) {
    const uint eight = top | top >> 8;
    const uint four = eight | eight >> 4;
    const uint any = four & 0xf;
    const uint found = four >> 16 & 0xf;
    return (any & 8) != 0     ? 8.0f
           : (found & 8) != 0 ? 7.0f
           : (found & 2) != 0 ? 6.0f
           : (found & 4) != 0 ? 5.0f
           : (any & 4) != 0   ? 4.0f
           : (found & 1) != 0 ? 3.0f
           : (any & 2) != 0   ? 2.0f
                              : (float)(any & 1);
}

#elif LT_SRC == LATHE_CL_I1

uint lt_vector_top(const uint *words) {
    return 1;
}

float lt_greatest_code(uint top) {
    return 1;
}

#else

/* 1 in a field's lower bit: an odd code. In its upper bit, and not the lower one: -2. */
uint lt_vector_top(const uint *words) {
    uint top = 0;
#pragma unroll
    for (uint i = 0; i < LT_SRC_WORDS; i++) {
        top |= (words[i] & 0x55555555) | (words[i] & ~(words[i] << 1) & 0xaaaaaaaa);
    }
    return top;
}

float lt_greatest_code(uint top) {
    return (top & 0xaaaaaaaa) != 0 ? 2.0f : top != 0 ? 1.0f : 0.0f;
}

#endif
#endif

/* Joins each `step` of n words into their first one. */
uint lt_join_tops(__local const uint *tops, uint n) {
    uint top = tops[0];
    for (uint i = 1; i < n; i++) {
        top = lt_top_join(top, tops[i]);
    }
    return top;
}

#elif LT_STAGES

/* ---- the canonical sum */

#if LT_SRC >= LATHE_CL_I2

/* Magnitudes are 0 and the scale, and adding 0 changes nothing, so that a lane's sum is found by
 * how many are not. */

/* 1 in each field of a word of 16 codes that is not 0. */
uint lt_nonzero(uint codes) {
    return (codes | codes >> 1) & 0x55555555;
}

/* A scope of 64 or 128 elements: lanes have at most two that count. Folded by halves once, that is
 * four, so that each is the scale times a count, rounded once. */
float lt_sum_short(__local const uint *words, uint n_elems, float scale) {
    uint even[2] = {0, 0}; /* counts of lanes 0, 2, ... 14, four bits each, and of 16, 18, ... */
    uint odd[2] = {0, 0};
    float sums[16];
#pragma unroll
    for (uint i = 0; i < 8; i++) {
        if (16 * i < n_elems) {
            const uint counted = lt_nonzero(words[i]);
            even[i % 2] += counted & 0x11111111;
            odd[i % 2] += counted >> 2 & 0x11111111;
        }
    }
    /* 2^23 and a count, times the scale, less 2^23 times the scale: rounded once. */
    const float base = -0x1p23f * scale;
#pragma unroll
    for (uint i = 0; i < 16; i++) {
        const uint first = (i % 2 == 0 ? even[0] : odd[0]) >> 4 * (i / 2) & 0xf;
        const uint second = (i % 2 == 0 ? even[1] : odd[1]) >> 4 * (i / 2) & 0xf;
        sums[i] = fma(as_float(LT_BIASED | first), scale, base) +
                  fma(as_float(LT_BIASED | second), scale, base);
    }
#pragma unroll
    for (uint half_of = 8; half_of > 0; half_of /= 2) {
#pragma unroll
        for (uint i = 0; i < half_of; i++) {
            sums[i] += sums[i + half_of];
        }
    }
    return sums[0];
}

/* A long scope, first step: a work-item counts four words that lie a row of lanes apart, which are
 * 16 lanes: bytes of lanes 0, 4, ... of them in x, of 1, 5, ... in y, and so on. */
void lt_count_long(uint n_cols, uint member, __local const uint *words, __local uint4 *counts) {
    uint even = 0; /* of fields, four bits each */
    uint odd = 0;
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        const uint word = member / 4 * 16 + 4 * i + member % 4;
        if (16 * word < n_cols) {
            const uint counted = lt_nonzero(words[lt_padded_word(word)]);
            even += counted & 0x11111111;
            odd += counted >> 2 & 0x11111111;
        }
    }
    counts[member] =
        (uint4)(even & 0x0f0f0f0f, odd & 0x0f0f0f0f, even >> 4 & 0x0f0f0f0f, odd >> 4 & 0x0f0f0f0f);
}

/* Second step: 16 work-items add up those of the same lanes, four each, and look up their sums. */
void lt_sum_long(uint member, __local const uint *counts, __local const float *steps,
                 __local float *lanes) {
    if (member < 16) {
        uint sum = 0;
#pragma unroll
        for (uint i = 0; i < LT_TEAM / 4; i++) {
            sum += counts[16 * i + member];
        }
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            lanes[member / 4 * 16 + 4 * i + member % 4] = steps[sum >> 8 * i & 0xff];
        }
    }
}

#else

/* Four codes that are consecutive, and begin at a multiple of four. */
lt_raw4 lt_staged_raw4(__local const uint *words, uint four) {
#if LT_SRC == LATHE_CL_I8
    return words[lt_padded_word(four)];
#else
    return ((__local const ushort *)words)[2 * lt_padded_word(four / 2) + four % 2];
#endif
}

/* The sums of four lanes, of n codes each. */
float4 lt_sum4(__local const uint *words, uint four, uint n, float scale) {
    float4 sum = (float4)(0.0f);
#pragma unroll 8
    for (uint i = 0; i < n; i++, four += LATHE_STAT_LANES / 4) {
        const lt_raw4 raw = lt_staged_raw4(words, four);
#if LT_SRC == LATHE_CL_I8
        sum += fabs(lt_numbers_of_i8(raw) * scale);
#else
        sum += fabs(lt_numbers_of_i4(raw) * scale);
#endif
    }
    return sum;
}

/* A scope's lanes: 16 folded ones of a short scope, by four work-items, or all 64, by 16. */
void lt_sum_scopes(uint n_cols, uint scope_elems, uint member, __local const uint *words,
                   __local const lt_map *maps, __local float4 *lanes) {
    const bool is_long = scope_elems >= LT_LONG_ROWS * LATHE_STAT_LANES;
    const uint share = is_long ? 16 : 4;
    for (uint first = 0, task = member; first < n_cols;
         first += LT_TEAM / share * scope_elems, task += LT_TEAM) {
        const uint scope = task / share;
        const uint begin = scope * scope_elems;
        if (begin < n_cols) {
            const uint n = min(scope_elems, n_cols - begin) / LATHE_STAT_LANES;
            const uint four = begin / 4 + task % share;
            const float scale = maps[scope].scale;
            float4 sum = lt_sum4(words, four, n, scale);
            if (!is_long) {
                sum = (sum + lt_sum4(words, four + 8, n, scale)) +
                      (lt_sum4(words, four + 4, n, scale) + lt_sum4(words, four + 12, n, scale));
            }
            lanes[scope * (is_long ? 16 : LT_TEAM_LANES / 4) + task % share] = sum;
        }
    }
}

#endif

/* Folds a scope's lanes. */
float lt_fold_scope_lanes(uint scope, uint scope_elems, __local const float4 *lanes) {
    const bool is_long = scope_elems >= LT_LONG_ROWS * LATHE_STAT_LANES;
    __local const float4 *mine = lanes + scope * (is_long ? 16 : LT_TEAM_LANES / 4);
    float4 folded[4];
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        folded[i] = mine[i];
        if (is_long) {
            folded[i] = (mine[i] + mine[i + 8]) + (mine[i + 4] + mine[i + 12]);
        }
    }
    const float4 four = (folded[0] + folded[2]) + (folded[1] + folded[3]);
    const float2 two = four.lo + four.hi;
    return two.x + two.y;
}

#endif

#if LT_IS_MEAN

/* What n elements of magnitude `scale` come to, added one after another. */
float lt_repeated(float scale, uint n) {
    float sum = 0;
    for (uint i = 0; i < n; i++) {
        sum += scale;
    }
    return sum;
}

#endif

#endif
