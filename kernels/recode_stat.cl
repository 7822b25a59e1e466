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

/* The scale of a scope from its statistic, as lt_scale_from_stat, and its inverse, as lt_inverse:
 * with a plain source scale both are within what needs no other way. Of 0 the quotient would be
 * -0 on some devices. */
float lt_plain_target(float stat, uint n_elems) {
#if LT_DST == LATHE_CL_BITNET158
    return fmax(lt_divide_fast(stat, (float)n_elems), LATHE_BITNET158_MIN_SCALE);
#elif LT_IS_MEAN
    return stat == 0 ? 0 : lt_divide_fast(stat, (float)n_elems);
#else
    return stat == 0 ? 0 : lt_divide_fast(stat, LT_BOUND);
#endif
}

float lt_plain_inverse(float target) {
    return target == 0 ? 0 : lt_inverse_fast(target);
}

/* Whether a scope is so short that one work-item goes through it in local memory. */
bool lt_is_few(uint scope_elems) {
    return scope_elems <= LT_FEW_ELEMS;
}

#if !LT_IS_MEAN

/* ---- the greatest magnitude: of vectors in a word each, which are joined */

/* The most words that are looked at at once. Loops over them have a fixed length, so that they are
 * unrolled wherever there are fewer. */
#define LT_TOP_WORDS 16

#if LT_SRC <= LATHE_CL_I4

uint lt_top_join(uint a, uint b) {
    return max(a, b);
}

void lt_top_gather(__local uint *top, uint more) {
    (void)atomic_max(top, more);
}

/* Joins a word's signed halves: maxima and minima. */
uint lt_join_greatest(uint greatest, uint halves) {
#if LT_HAS_PTX_90
    __asm__("max.s16x2 %0, %0, %1;" : "+r"(greatest) : "r"(halves));
    return greatest;
#else
    return as_uint(max(as_short2(greatest), as_short2(halves)));
#endif
}

uint lt_join_least(uint least, uint halves) {
#if LT_HAS_PTX_90
    __asm__("min.s16x2 %0, %0, %1;" : "+r"(least) : "r"(halves));
    return least;
#else
    return as_uint(min(as_short2(least), as_short2(halves)));
#endif
}

/* The greatest magnitude itself: each code is a half's upper bits once, where what is below them
 * only decides between equals. */
uint lt_words_top(const uint *words, uint n) {
    uint greatest = 0;
    uint least = 0;
#pragma unroll
    for (uint i = 0; i < LT_TOP_WORDS; i++) {
        if (i < n) {
#pragma unroll
            for (uint bit = 0; bit < 16; bit += LT_SRC_BITS) {
                greatest = lt_join_greatest(greatest, words[i] << bit);
                least = lt_join_least(least, words[i] << bit);
            }
        }
    }
    const int above = (int)lt_join_greatest(greatest, greatest << 16) >> (32 - LT_SRC_BITS);
    const int below = (int)lt_join_least(least, least << 16) >> (32 - LT_SRC_BITS);
    return (uint)max(above, -below);
}

float lt_greatest_code(uint top) {
    return lt_number(top);
}

#else

uint lt_top_join(uint a, uint b) {
    return a | b;
}

void lt_top_gather(__local uint *top, uint more) {
    (void)atomic_or(top, more);
}

#if LT_SRC == LATHE_CL_I1

uint lt_words_top(const uint *words, uint n) {
    return 1;
}

float lt_greatest_code(uint top) {
    return 1;
}

#else

/* 1 in a field's lower bit: an odd code. In its upper bit, and not the lower one: I2's -2. */
uint lt_words_top(const uint *words, uint n) {
    uint top = 0;
#pragma unroll
    for (uint i = 0; i < LT_TOP_WORDS; i++) {
        const uint word = i < n ? words[i] : 0;
        top |= LT_SRC == LATHE_CL_BITNET158
                   ? word & 0x55555555
                   : (word & 0x55555555) | (word & ~(word << 1) & 0xaaaaaaaa);
    }
    return top;
}

float lt_greatest_code(uint top) {
    return (top & 0xaaaaaaaa) != 0 ? 2.0f : top != 0 ? 1.0f : 0.0f;
}

#endif
#endif

/* Joins n words. */
uint lt_join_tops(__local const uint *tops, uint n) {
    uint top = tops[0];
    for (uint i = 1; i < n; i++) {
        top = lt_top_join(top, tops[i]);
    }
    return top;
}

/* The same of all vectors of a work-item. */
uint lt_codes_top(const lt_codes *codes) {
    uint words[LT_VECTORS * LT_SRC_WORDS];
#pragma unroll
    for (uint i = 0; i < LT_VECTORS * LT_SRC_WORDS; i++) {
        words[i] = codes[i / LT_SRC_WORDS].words[i % LT_SRC_WORDS];
    }
    return lt_words_top(words, LT_VECTORS * LT_SRC_WORDS);
}

/* Leaves that for each work-item of a team. */
void lt_leave_tops(const lt_team *team, const lt_codes *codes) {
    ((__local uint *)team->shared)[team->member] = lt_codes_top(codes);
}

/* Joins the vectors' words to those of their scopes, which maps have until they are made. */
void lt_gather_tops(const lt_team *team, const lathe_launch *launch, const lt_codes *codes) {
    if (team->is_whole) {
        lt_top_gather(&team->maps[0].first, lt_codes_top(codes));
    } else {
#pragma unroll
        for (uint i = 0; i < LT_VECTORS; i++) {
            const uint col = (i * LT_TEAM + team->member) * LT_VECTOR;
            if (col < team->block.n_cols) {
                lt_top_gather(&team->maps[lt_div_32(col, &launch->row_scopes)].first,
                              lt_words_top(codes[i].words, LT_SRC_WORDS));
            }
        }
    }
}

#elif LT_STAGES

/* ---- the canonical sum */

#if LT_SRC >= LATHE_CL_I2

bool lt_is_long(uint scope_elems) {
    return scope_elems > LT_SHORT_ELEMS;
}

/* Magnitudes are 0 and the scale, and adding 0 changes nothing, so that a lane's sum is found by
 * how many are not. */

/* 1 in each field of a word of 16 codes that is not 0, of 1, 0 and -1. */
uint lt_nonzero(uint codes) {
    return codes & 0x55555555;
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
    for (uint i = 0; i < 8; i++) {
        sums[i] += sums[i + 8];
    }
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        sums[i] += sums[i + 4];
    }
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/* Words that a work-item counts. */
#define LT_COUNTED_WORDS (LT_TEAM_ELEMS / 16 / LT_TEAM)

/* A long scope, first step: a work-item counts words that lie a row of lanes apart, which are 16
 * lanes: bytes of lanes 0, 4, ... of them in x, of 1, 5, ... in y, and so on. Fields hold three. */
void lt_count_long(uint n_cols, uint member, __local const uint *words, __local uint4 *counts) {
    uint even = 0; /* of fields, four bits each */
    uint odd = 0;
#pragma unroll
    for (uint first = 0; first < LT_COUNTED_WORDS; first += 3) {
        uint three = 0;
#pragma unroll
        for (uint i = first; i < min(first + 3, (uint)LT_COUNTED_WORDS); i++) {
            const uint word = i * LT_TEAM + member;
            three += word < n_cols / 16 ? lt_nonzero(words[lt_padded_word(word)]) : 0;
        }
        even += three & 0x33333333;
        odd += three >> 2 & 0x33333333;
    }
    counts[member] = (uint4)(even, odd, even >> 4, odd >> 4) & 0x0f0f0f0f;
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

/* The magnitudes of four elements. */
float4 lt_share4(lt_raw4 raw, float scale, uint biased) {
    return fabs(lt_numbers4(raw, biased) * scale);
}

/* The sums of four lanes, of n codes each. Most short scopes have two at most. */
float4 lt_sum4(__local const uint *words, uint four, uint n, float scale, uint biased) {
    float4 sum = lt_share4(lt_staged_raw4(words, four), scale, biased);
    if (n > 1) {
        sum += lt_share4(lt_staged_raw4(words, four + LATHE_STAT_LANES / 4), scale, biased);
    }
    for (uint i = 2; i < n; i++) {
        four += LATHE_STAT_LANES / 4;
        sum += lt_share4(lt_staged_raw4(words, four + LATHE_STAT_LANES / 4), scale, biased);
    }
    return sum;
}

/* Elements between one padding and the next. */
#define LT_PAD_ELEMS (32 * 32 / LT_SRC_BITS)

/* Whether a scope's lanes are added by 32 work-items, two each. */
bool lt_is_long(uint scope_elems) {
    return scope_elems >= LT_LONG_ROWS * LATHE_STAT_LANES && scope_elems % LT_PAD_ELEMS == 0;
}

#if LT_SRC == LATHE_CL_I8
typedef ushort lt_raw2;
#else
typedef uchar lt_raw2;
#endif

/* Two elements' magnitudes; the constants' signs are the codes' the other way round. */
float2 lt_share2(lt_raw2 raw, float scale, uint biased) {
#if LT_SRC == LATHE_CL_I8
    const uint2 held = ((uint2)(raw) & (uint2)(0xff, 0xff00)) ^ (biased ^ (uint2)(0x80, 0x8000));
    return fabs(mad(as_float2(held), (float2)(1, 0x1p-8f), -(float2)(0x800080, 0x8080)) * scale);
#else
    const uint2 held = ((uint2)(raw) & (uint2)(0xf, 0xf0)) ^ (biased ^ (uint2)(8, 0x80));
    return fabs(mad(as_float2(held), (float2)(1, 0x1p-4f), -(float2)(0x800008, 0x80008)) * scale);
#endif
}

/* Rows of lanes from one padding to the next, and those that are loaded before they are added. */
#define LT_PAD_ROWS (LT_PAD_ELEMS / LATHE_STAT_LANES)
#define LT_LOADED_PADS (16 / LT_PAD_ROWS)

/* The sums of two lanes of a long scope, of which the first word is given. */
float2 lt_sum2(__local const uint *words, uint pair, uint n_elems, float scale, uint biased) {
    __local const lt_raw2 *raw = (__local const lt_raw2 *)words + pair;
    const uint step = 36 * sizeof(uint) / sizeof(lt_raw2);
    float2 sum = (float2)(0.0f);
    uint n_pads = (n_elems + LT_PAD_ELEMS - 1) / LT_PAD_ELEMS; /* zeros are added like the rest */
    for (; n_pads >= LT_LOADED_PADS; n_pads -= LT_LOADED_PADS) {
        lt_raw2 held[LT_LOADED_PADS * LT_PAD_ROWS];
#pragma unroll
        for (uint i = 0; i < LT_LOADED_PADS * LT_PAD_ROWS; i++) {
            held[i] = raw[i / LT_PAD_ROWS * step + i % LT_PAD_ROWS * (LATHE_STAT_LANES / 2)];
        }
#pragma unroll
        for (uint i = 0; i < LT_LOADED_PADS * LT_PAD_ROWS; i++) {
            sum += lt_share2(held[i], scale, biased);
        }
        raw += LT_LOADED_PADS * step;
    }
    for (; n_pads > 0; n_pads--) {
#pragma unroll
        for (uint i = 0; i < LT_PAD_ROWS; i++) {
            sum += lt_share2(raw[i * (LATHE_STAT_LANES / 2)], scale, biased);
        }
        raw += step;
    }
    return sum;
}

/* A scope's lanes: 16 folded ones, by four work-items, or all 64 of a long scope; of few elements
 * none. */
void lt_sum_scopes(uint n_cols, uint scope_elems, uint member, __local const uint *words,
                   __local const lt_map *maps, uint biased, __local float4 *lanes, bool is_whole) {
    if (is_whole || lt_is_long(scope_elems)) {
        for (uint task = member; task / 32 * scope_elems < n_cols; task += LT_TEAM) {
            const uint scope = task / 32;
            const uint begin = scope * scope_elems;
            ((__local float2 *)lanes)[task] =
                lt_sum2(words + begin / LT_PAD_ELEMS * 36, task % 32,
                        min(scope_elems, n_cols - begin), maps[scope].scale, biased);
        }
        return;
    }
    if (lt_is_few(scope_elems)) {
        return;
    }
    for (uint task = member; task / 4 * scope_elems < n_cols; task += LT_TEAM) {
        const uint scope = task / 4;
        const uint begin = scope * scope_elems;
        const uint n = min(scope_elems, n_cols - begin) / LATHE_STAT_LANES;
        const uint four = begin / 4 + task % 4;
        const float scale = maps[scope].scale;
        lanes[scope * (LT_TEAM_LANES / 4) + task % 4] =
            (lt_sum4(words, four, n, scale, biased) + lt_sum4(words, four + 8, n, scale, biased)) +
            (lt_sum4(words, four + 4, n, scale, biased) +
             lt_sum4(words, four + 12, n, scale, biased));
    }
}

#endif

float lt_fold_4_lanes(float4 four) {
    const float2 two = four.lo + four.hi;
    return two.x + two.y;
}

float lt_fold_16_lanes(const float4 *folded) {
    return lt_fold_4_lanes((folded[0] + folded[2]) + (folded[1] + folded[3]));
}

#if LT_SRC <= LATHE_CL_I4

/* Four of the 16 lanes that those of a scope of few elements are folded to. */
float4 lt_sum_some(__local const uint *words, uint four, uint n_elems, float scale, uint biased) {
    float4 first = lt_share4(lt_staged_raw4(words, four), scale, biased);
    float4 second = lt_share4(lt_staged_raw4(words, four + 4), scale, biased);
    if (n_elems > LATHE_STAT_LANES / 2) {
        float4 third = lt_share4(lt_staged_raw4(words, four + 8), scale, biased);
        float4 fourth = lt_share4(lt_staged_raw4(words, four + 12), scale, biased);
        if (n_elems > LATHE_STAT_LANES) {
            first += lt_share4(lt_staged_raw4(words, four + 16), scale, biased);
            second += lt_share4(lt_staged_raw4(words, four + 20), scale, biased);
            third += lt_share4(lt_staged_raw4(words, four + 24), scale, biased);
            fourth += lt_share4(lt_staged_raw4(words, four + 28), scale, biased);
        }
        first += third;
        second += fourth;
    }
    return first + second;
}

/* The sum of such a scope, by one work-item. */
float lt_sum_few(__local const uint *words, uint n_elems, float scale, uint biased) {
    float4 four = (float4)(0.0f);
#pragma unroll 1 /* for want of registers */
    for (uint i = 0; i < 2; i++) {
        four += lt_sum_some(words, i, n_elems, scale, biased) +
                lt_sum_some(words, i + 2, n_elems, scale, biased);
    }
    return lt_fold_4_lanes(four);
}

#endif

/* Folds all 64 lanes. */
float lt_fold_64_lanes(__local const float4 *lanes) {
    float4 folded[4];
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        folded[i] = (lanes[i] + lanes[i + 8]) + (lanes[i + 4] + lanes[i + 12]);
    }
    return lt_fold_16_lanes(folded);
}

/* Folds a scope's lanes. */
float lt_fold_scope_lanes(uint scope, uint scope_elems, __local const float4 *lanes,
                          bool is_whole) {
    if (is_whole || lt_is_long(scope_elems)) {
        return lt_fold_64_lanes(lanes + scope * 16);
    }
    __local const float4 *mine = lanes + scope * (LT_TEAM_LANES / 4);
    const float4 folded[4] = {mine[0], mine[1], mine[2], mine[3]};
    return lt_fold_16_lanes(folded);
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

/* The sums of 0 to n elements of magnitude `scale`. */
void lt_fill_steps(__local float *steps, uint n, float scale) {
    float sum = 0;
    for (uint i = 0; i <= n; i++) {
        steps[i] = sum;
        sum += scale;
    }
}

#endif

#endif
