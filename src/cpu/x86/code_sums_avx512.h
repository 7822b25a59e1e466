/* SPDX-License-Identifier: Apache-2.0 */
/* Canonical sums of what packed codes stand for, without unpacking them, in AVX-512: see
 * "From codes to codes" in docs/numerics.md. */
#ifndef LT_CPU_X86_CODE_SUMS_AVX512_H
#define LT_CPU_X86_CODE_SUMS_AVX512_H

#include "cpu/x86/fold_avx512.h"

#include "cpu/x86/codes_template.h"

/* ---- I4 */

/* Blocks of 64 codes are 32 bytes. A vector holds them twice, the second time shifted by half a
 * lane of 32 bits; multiplied, which takes other units than lookups do, it has four sets of 16
 * codes in the lowest bits of its lanes. So lane p of sum m is that of element 8 * (p % 8) + 4 * (p
 * / 8) + m of a block. */
LT_INLINE void add_i4_block(vf sum[4], vi block, vf values) {
    const vi shift = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 16, 16, 16, 16, 16, 16, 16, 16);
    const vi codes = _mm512_srlv_epi32(block, shift);
    sum[0] = v_add(sum[0], v_lookup(codes, values));
    sum[1] = v_add(sum[1], v_lookup(v_mul_high_u16(codes, v_set1_i16(1 << 12)), values));
    sum[2] = v_add(sum[2], v_lookup(v_mul_high_u16(codes, v_set1_i16(1 << 8)), values));
    sum[3] = v_add(sum[3], v_lookup(v_mul_high_u16(codes, v_set1_i16(1 << 4)), values));
}

/* Elements 32 and 16 apart: in 128-bit lane 2 * i + h, elements 4 * h + i, with i + 2, of the first
 * and the second 8 of 16. */
LT_INLINE vf half_fold_i4(const vf sum[4]) {
    return add_distant(add_lane_pairs(sum[0], sum[1]), add_lane_pairs(sum[2], sum[3]));
}

/* Elements 8, 4, 2 and 1 apart: the sums of four groups. */
LT_INLINE __m128 fold_i4_groups(vf a, vf b, vf c, vf d) {
    const vi order = _mm512_setr_epi32(0, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const vf ab = v_add(_mm512_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)),
                        _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
    const vf cd = v_add(_mm512_shuffle_ps(c, d, _MM_SHUFFLE(2, 0, 2, 0)),
                        _mm512_shuffle_ps(c, d, _MM_SHUFFLE(3, 1, 3, 1)));
    const vf x = add_neighbours(add_lane_pairs(ab, cd));
    const vf y = v_add(x, _mm512_shuffle_f32x4(x, x, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(order, y));
}

LT_INLINE vf sum_i4_group(const uint8_t *src, size_t n_elems, float scale) {
    const vf values = v_values_of(v_set1(scale));
    vf sum[4] = {v_set1(0), v_set1(0), v_set1(0), v_set1(0)};
    for (; n_elems >= LATHE_STAT_LANES; n_elems -= LATHE_STAT_LANES, src += LATHE_STAT_LANES / 2)
        add_i4_block(sum, _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)src)), values);
    if (n_elems > 0) { /* among zeros */
        const size_t n_bytes = (n_elems + 1) / 2;
        _Alignas(32) uint8_t last[LATHE_STAT_LANES / 2] = {0};
        memcpy(last, src, n_bytes);
        if (n_elems % 2 != 0)
            last[n_bytes - 1] &= 0xf;
        add_i4_block(sum, _mm512_broadcast_i64x4(_mm256_load_si256((const __m256i *)last)), values);
    }
    return half_fold_i4(sum);
}

void LT_NAME_PLAIN(abssum_i4)(const void *codes, size_t n_elems, const lt_recode *how,
                              float *stats) {
    const uint8_t *src = codes;
    for (size_t group = 0; n_elems > 0; group += SUMS_AT_ONCE) {
        vf sums[SUMS_AT_ONCE];
        size_t n = 0;
        LT_UNROLL
        for (size_t i = 0; i < SUMS_AT_ONCE; i++) {
            const size_t n_group = n_elems < how->group_elems ? n_elems : how->group_elems;
            sums[i] = v_set1(0);
            if (n_group > 0) {
                sums[i] = sum_i4_group(src, n_group, how->scales[group + i]);
                n++;
            }
            src += n_group / 2;
            n_elems -= n_group;
        }
        store_sums(stats + group, fold_i4_groups(sums[0], sums[1], sums[2], sums[3]), n);
    }
}

/* ---- I2, as long as no code is -2: a lane's sum depends on how many of its codes are not 0 */

enum { CRUMBS = 4 }; /* codes of a byte */

/* The lowest bits of codes that are 1 or -1. */
LT_INLINE vi ones_of(vi codes) {
    return v_and(codes, _mm512_set1_epi8(0x55));
}

/* Not 0 in bytes with codes of -2. */
LT_INLINE vi twos_of(vi codes) {
    return _mm512_andnot_si512(codes, v_and(_mm512_srli_epi16(codes, 1), _mm512_set1_epi8(0x55)));
}

/* Codes of I2 with zeros behind them, at most a vector of bytes. */
LT_INLINE vi load_crumbs(const uint8_t *src, size_t n_elems) {
    const size_t n_bytes = n_elems / CRUMBS;
    const __mmask64 whole = n_bytes < 64 ? ((uint64_t)1 << n_bytes) - 1 : UINT64_MAX;
    if (n_elems % CRUMBS == 0)
        return _mm512_maskz_loadu_epi8(whole, src);
    const char last = (char)(src[n_bytes] & ((1u << 2 * (n_elems % CRUMBS)) - 1));
    return _mm512_mask_mov_epi8(_mm512_maskz_loadu_epi8(whole, src), (uint64_t)1 << n_bytes,
                                _mm512_set1_epi8(last));
}

/* Counts, in fields of four bits, then in bytes: those of codes p of a byte are bytes[p]. */
typedef struct crumb_counts {
    vi even; /* codes 0 and 2 */
    vi odd;
    vi bytes[CRUMBS];
    vi twos;
} crumb_counts;

LT_INLINE void widen_counts(crumb_counts *counts) {
    counts->bytes[0] = _mm512_add_epi8(counts->bytes[0], v_low_halves(counts->even));
    counts->bytes[1] = _mm512_add_epi8(counts->bytes[1], v_low_halves(counts->odd));
    counts->bytes[2] = _mm512_add_epi8(counts->bytes[2], v_high_halves(counts->even));
    counts->bytes[3] = _mm512_add_epi8(counts->bytes[3], v_high_halves(counts->odd));
    counts->even = v_zero();
    counts->odd = v_zero();
}

/* Fields of two bits, up to 3 each. */
LT_INLINE void count_fields(crumb_counts *counts, vi fields) {
    const vi mask = _mm512_set1_epi8(0x33);
    counts->even = _mm512_add_epi8(counts->even, v_and(fields, mask));
    counts->odd = _mm512_add_epi8(counts->odd, v_and(_mm512_srli_epi16(fields, 2), mask));
}

/* At most LATHE_STAT_TILE codes. Byte i of the result's 128-bit lane p is the count of the
 * statistic's lane 4 * i + p. False if a code is -2. */
LT_INLINE bool count_crumbs(const uint8_t *src, size_t n_elems, vi *found) {
    enum { VECTOR = CRUMBS * V_BYTES, MOST = 15 };
    const vi zero = v_zero();
    crumb_counts counts = {zero, zero, {zero, zero, zero, zero}, zero};
    int n_fields = 0;
    for (; n_elems >= 3 * VECTOR; n_elems -= 3 * VECTOR, src += 3 * V_BYTES) {
        const vi a = v_load(src);
        const vi b = v_load(src + V_BYTES);
        const vi c = v_load(src + 2 * V_BYTES);
        const vi two = v_or(v_or(twos_of(a), twos_of(b)), twos_of(c));
        LT_UNROLL
        for (int i = 0; i < 3; i++)
            __builtin_prefetch(src + STREAM_PREFETCH_BYTES + i * V_BYTES);
        counts.twos = v_or(counts.twos, two);
        count_fields(&counts, _mm512_add_epi8(_mm512_add_epi8(ones_of(a), ones_of(b)), ones_of(c)));
        n_fields += 3;
        if (n_fields == MOST - 3) { /* up to three more follow */
            widen_counts(&counts);
            n_fields = 0;
        }
    }
    while (n_elems > 0) {
        const size_t n_part = n_elems < VECTOR ? n_elems : VECTOR;
        const vi x = n_part == VECTOR ? v_load(src) : load_crumbs(src, n_part);
        counts.twos = v_or(counts.twos, twos_of(x));
        count_fields(&counts, ones_of(x));
        src += V_BYTES;
        n_elems -= n_part;
    }
    widen_counts(&counts);
    vi sum[2];
    LT_UNROLL
    for (int i = 0; i < 2; i++) {
        const vi a = counts.bytes[2 * i];
        const vi b = counts.bytes[2 * i + 1];
        sum[i] =
            _mm512_add_epi8(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
    }
    *found = _mm512_add_epi8(_mm512_shuffle_i32x4(sum[0], sum[1], 0x88),
                             _mm512_shuffle_i32x4(sum[0], sum[1], 0xdd));
    return _mm512_test_epi8_mask(counts.twos, counts.twos) == 0;
}

/* The sums of lanes of so many codes that are not 0; sums[k - 1] is that of k. */
LT_INLINE vf look_up_sums(__m128i counts, const vf sums[4]) {
    const vi wide = _mm512_cvtepu8_epi32(counts);
    const vi index = _mm512_sub_epi32(wide, _mm512_set1_epi32(1));
    const vf low = _mm512_permutex2var_ps(sums[0], index, sums[1]);
    const vf high = _mm512_permutex2var_ps(sums[2], index, sums[3]);
    const vf both =
        _mm512_mask_mov_ps(low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), high);
    return _mm512_maskz_mov_ps(_mm512_test_epi32_mask(wide, wide), both);
}

/* The canonical sum where lane 4 * i + p has byte i of 128-bit lane p; folded by i, then by p. */
LT_INLINE float fold_counts(vi counts, const float *lane_sums) {
    const vf sums[4] = {v_load_f32(lane_sums), v_load_f32(lane_sums + 16),
                        v_load_f32(lane_sums + 32), v_load_f32(lane_sums + 48)};
    const vf a = look_up_sums(_mm512_castsi512_si128(counts), sums);
    const vf b = look_up_sums(_mm512_extracti32x4_epi32(counts, 1), sums);
    const vf c = look_up_sums(_mm512_extracti32x4_epi32(counts, 2), sums);
    const vf d = look_up_sums(_mm512_extracti32x4_epi32(counts, 3), sums);
    /* 8 apart, then 4; a to d are a 128-bit lane each then. */
    const vf eight = add_lane_pairs(add_lane_halves(a, b), add_lane_halves(c, d));
    const vf x = add_neighbours(add_over_next(eight));
    const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1)));
}

/* Groups of LT_SHORT_SUM_ELEMS, two blocks, or fewer: lanes are 0, 1 or 2 times the scale, and
 * exact, and so are two of them together, up to 4 times it, but for 3, whose sum is rounded once.
 * Counts up to 4 are looked up, then, and multiplied by the scale; what they stand for is added as
 * floats, a group in each element of a vector. */

enum { WORD_ELEMS = 32 }; /* of 64 bits */

/* Counts of 8 groups, in fields of four bits: those of lanes 2 * i, and of lanes 2 * i + 1. Of
 * groups of up to two words the lower eight fields count, and are those of lanes 16 apart, too. */
typedef struct word_counts {
    vi even;
    vi odd;
} word_counts;

/* Of n_words words a vector, or what is there of them, among zeros. */
LT_INLINE vi load_there(const uint8_t *src, size_t n_words) {
    const __mmask8 are_there = (__mmask8)(n_words < 8 ? (1u << n_words) - 1 : 0xff);
    return _mm512_maskz_loadu_epi64(are_there, src);
}

/* The ones of vector i of some words. */
LT_INLINE vi load_ones(const uint8_t *src, size_t n_words, size_t i, vi *twos) {
    const size_t first = 8 * i;
    const vi codes = load_there(src + i * V_BYTES, n_words > first ? n_words - first : 0);
    *twos = v_or(*twos, twos_of(codes));
    return ones_of(codes);
}

/* Words 2 * i and 2 * i + 1 of a group added up each: fields of two bits, of lanes below 32, and of
 * others. Those of groups of an even number of words are in the order of ZIPPED. */
typedef struct word_fields {
    vi of[2];
} word_fields;

#define ZIPPED(i) (i) % 4 * 2 + (i) / 4

/* 128-bit lanes 0 and 1, 2 and 3 of a, then of b. */
LT_INLINE vi add_word_pairs(vi a, vi b) {
    return _mm512_add_epi8(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
}

LT_INLINE word_fields zip_words(vi a, vi b) {
    return (word_fields){{_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)}};
}

LT_INLINE word_fields add_words(const uint8_t *src, size_t n_words, size_t n_groups, vi *twos) {
    const size_t n = n_groups * n_words;
    if (n_words == 1)
        return (word_fields){{load_ones(src, n, 0, twos), v_zero()}};
    if (n_words == 2)
        return zip_words(load_ones(src, n, 0, twos), load_ones(src, n, 1, twos));
    if (n_words == 4)
        return zip_words(add_word_pairs(load_ones(src, n, 0, twos), load_ones(src, n, 1, twos)),
                         add_word_pairs(load_ones(src, n, 2, twos), load_ones(src, n, 3, twos)));
    const vi index = _mm512_setr_epi64(0, 3, 6, 9, 12, 15, 18, 21);
    const __mmask8 are_there = (__mmask8)((1u << n_groups) - 1);
    word_fields fields = {{v_zero(), v_zero()}};
    for (size_t i = 0; i < n_words; i++) {
        const vi codes =
            _mm512_mask_i64gather_epi64(v_zero(), are_there, index, src + i * sizeof(uint64_t), 8);
        *twos = v_or(*twos, twos_of(codes));
        fields.of[i % 2] = _mm512_add_epi8(fields.of[i % 2], ones_of(codes));
    }
    return fields;
}

/* Of up to 8 groups. */
LT_INLINE word_counts count_words(const uint8_t *src, size_t n_words, size_t n_groups, vi *twos) {
    const vi mask = _mm512_set1_epi8(0x33);
    const word_fields f = add_words(src, n_words, n_groups, twos);
    word_counts counts = {.even = _mm512_add_epi8(v_and(f.of[0], mask), v_and(f.of[1], mask)),
                          .odd = _mm512_add_epi8(v_and(_mm512_srli_epi64(f.of[0], 2), mask),
                                                 v_and(_mm512_srli_epi64(f.of[1], 2), mask))};
    if (n_words <= 2) {
        counts.even = _mm512_add_epi8(counts.even, _mm512_srli_epi64(counts.even, 32));
        counts.odd = _mm512_add_epi8(counts.odd, _mm512_srli_epi64(counts.odd, 32));
    }
    return counts;
}

/* What eight fields of each group stand for. */
LT_INLINE void value_fields(vf x[8], vi fields, vf scales) {
    const vf multiples = _mm512_setr_ps(0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    LT_UNROLL
    for (unsigned i = 0; i < 8; i++)
        x[i] = v_mul(v_lookup(_mm512_srli_epi32(fields, 4 * i), multiples), scales);
}

/* Where the counts of 16 groups lie, of lanes below 16 and of others, in two vectors of words. */
#define EACH_WORD_AT(order)                                                                        \
    {                                                                                              \
        2 * (order(0)), 2 * (order(1)), 2 * (order(2)), 2 * (order(3)), 2 * (order(4)),            \
            2 * (order(5)), 2 * (order(6)), 2 * (order(7)), 16 + 2 * (order(0)),                   \
            16 + 2 * (order(1)), 16 + 2 * (order(2)), 16 + 2 * (order(3)), 16 + 2 * (order(4)),    \
            16 + 2 * (order(5)), 16 + 2 * (order(6)), 16 + 2 * (order(7))                          \
    }
#define CONSECUTIVE(i) (i)
_Alignas(64) static const int32_t words_in_order[V_FLOATS] = EACH_WORD_AT(CONSECUTIVE);
_Alignas(64) static const int32_t words_zipped[V_FLOATS] = EACH_WORD_AT(ZIPPED);

/* The sums of all even lanes, or all odd ones, of 8 groups and 8 more. */
LT_INLINE vf fold_fields(vi first, vi second, size_t n_words, vf scales) {
    const vi lower = v_load(n_words % 2 == 0 ? words_zipped : words_in_order);
    vf x[8];
    value_fields(x, _mm512_permutex2var_epi32(first, lower, second), scales);
    if (n_words > 2) { /* lanes 16 apart */
        const vi upper = v_add_i32(lower, v_set1_i32(1));
        vf y[8];
        value_fields(y, _mm512_permutex2var_epi32(first, upper, second), scales);
        LT_UNROLL
        for (int i = 0; i < 8; i++)
            x[i] = v_add(x[i], y[i]);
    }
    return v_add(v_add(v_add(x[0], x[4]), v_add(x[2], x[6])),
                 v_add(v_add(x[1], x[5]), v_add(x[3], x[7])));
}

/* Groups of whole words. False if a code is -2. */
LT_INLINE bool abssum_of_words(const uint8_t *src, size_t n_groups, size_t n_words,
                               const float *scales, float *stats) {
    enum { HALF = V_FLOATS / 2 };
    vi twos = v_zero();
    for (size_t group = 0; group < n_groups; group += V_FLOATS) {
        const size_t n = n_groups - group < V_FLOATS ? n_groups - group : V_FLOATS;
        const __mmask16 are_there = (__mmask16)((1u << n) - 1);
        const uint8_t *at = src + group * n_words * sizeof(uint64_t);
        const word_counts a = count_words(at, n_words, n < HALF ? n : HALF, &twos);
        const word_counts b = count_words(at + HALF * n_words * sizeof(uint64_t), n_words,
                                          n < HALF ? 0 : n - HALF, &twos);
        const vf scale = _mm512_maskz_loadu_ps(are_there, scales + group);
        const vf sums = v_add(fold_fields(a.even, b.even, n_words, scale),
                              fold_fields(a.odd, b.odd, n_words, scale));
        _mm512_mask_storeu_ps(stats + group, are_there, sums);
    }
    return _mm512_test_epi8_mask(twos, twos) == 0;
}

/* The same, each number of words by itself. */
LT_INLINE bool abssum_of_any_words(const uint8_t *src, size_t n_groups, size_t n_words,
                                   const float *scales, float *stats) {
    switch (n_words) {
    case 1:
        return abssum_of_words(src, n_groups, 1, scales, stats);
    case 2:
        return abssum_of_words(src, n_groups, 2, scales, stats);
    case 3:
        return abssum_of_words(src, n_groups, 3, scales, stats);
    default:
        return abssum_of_words(src, n_groups, 4, scales, stats);
    }
}

/* The general way, for a group with a code of -2. */
static float abssum_of_wide_i2(const uint8_t *src, size_t n_elems, float scale) {
    _Alignas(64) uint8_t codes[LATHE_STAT_TILE];
    LT_NAME_PLAIN(unpack_i2)(src, codes, n_elems);
    return abssum_of(codes, n_elems, scale, true);
}

void LT_NAME_PLAIN(abssum_i2)(const void *codes, size_t n_elems, const lt_recode *how,
                              float *stats) {
    const uint8_t *src = codes;
    const size_t group_elems = how->group_elems;
    const bool are_short = group_elems <= LT_SHORT_SUM_ELEMS;
    size_t group = 0;
    if (are_short && group_elems % WORD_ELEMS == 0 &&
        abssum_of_any_words(src, n_elems / group_elems, group_elems / WORD_ELEMS, how->scales,
                            stats)) {
        group = n_elems / group_elems;
        src += group * group_elems / CRUMBS;
        n_elems %= group_elems;
    }
    for (; n_elems > 0; group++) {
        const size_t n_group = n_elems < group_elems ? n_elems : group_elems;
        vi counts;
        if (!are_short && count_crumbs(src, n_group, &counts))
            stats[group] = fold_counts(counts, how->lane_sums + group * LATHE_STAT_LANES);
        else
            stats[group] = abssum_of_wide_i2(src, n_group, how->scales[group]);
        src += n_group / CRUMBS;
        n_elems -= n_group;
    }
}

#endif
