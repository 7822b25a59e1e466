/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from codes of 4, 2 and 1 bits to those of another scale, which look them up without
 * unpacking them: as many source codes as half a byte holds, or fewer, are an index into 16 bytes.
 *
 * Parameters: the including file has included one of codes_*.h. */
#include "cpu/x86/code_map.h"

typedef void lookup_step_fn(const uint8_t *src, uint8_t *dst, vi table, lt_store store);

typedef struct lookup {
    lookup_step_fn *step;
    const float *codes; /* of the source */
    size_t src_bytes;   /* of a step */
    size_t dst_bytes;
    unsigned src_bits; /* of a code */
    unsigned dst_bits;
    unsigned n_together; /* source codes of an index */
    streamed streamed;
    bool lanes_differ; /* each 16 bytes of the source are looked up in 16 bytes of the table */
} lookup;

/* Steps by what they look up, and how many bits they find: half a byte, two bits, or one. */

LT_INLINE void step_4_8(const uint8_t *src, uint8_t *dst, vi table, lt_store store) {
    const vi x = v_load(src);
    v_store_zipped(dst, v_shuffle_bytes(table, v_low_halves(x)),
                   v_shuffle_bytes(table, v_high_halves(x)), store);
}

LT_INLINE vi both_halves(const uint8_t *src, vi table, vi high_table) {
    const vi x = v_load(src);
    return v_or(v_shuffle_bytes(table, v_low_halves(x)),
                v_shuffle_bytes(high_table, v_high_halves(x)));
}

LT_INLINE void step_4_4(const uint8_t *src, uint8_t *dst, vi table, lt_store store) {
    v_store(dst, both_halves(src, table, V_SHIFT_BYTES(table, 4)), store);
}

LT_INLINE void step_4_2(const uint8_t *src, uint8_t *dst, vi table, lt_store store) {
    v_store_nibbles(dst, both_halves(src, table, V_SHIFT_BYTES(table, 2)), store);
}

LT_INLINE void step_4_1(const uint8_t *src, uint8_t *dst, vi table, lt_store store) {
    v_store_crumbs(dst, both_halves(src, table, V_SHIFT_BYTES(table, 1)), store);
}

LT_INLINE void step_2_8(const uint8_t *src, uint8_t *dst, vi table, lt_store store) {
    v_store(dst, v_shuffle_bytes(v_table_of_crumbs(table), v_spread_crumbs(src)), store);
}

LT_INLINE void step_1_8(const uint8_t *src, uint8_t *dst, vi table, lt_store store) {
    const vi if_0 = v_shuffle_bytes(table, v_set1_i16(0));
    const vi if_1 = v_shuffle_bytes(table, v_set1_i16(0x0101));
    v_store(dst, v_spread_bits(src, if_0, if_1), store);
}

/* ---- tables */

LT_INLINE __m128i shift_codes(__m128i codes, unsigned bits) {
    return _mm_slli_epi16(codes, (int)bits); /* the codes are masked: none leaves its byte */
}

/* What an index of several source codes finds: their codes, side by side. */
LT_INLINE __m128i join_codes(const lookup *l, __m128i codes) {
    const __m128i count = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i mask = _mm_set1_epi8((char)((1u << l->src_bits) - 1));
    __m128i found = _mm_shuffle_epi8(codes, _mm_and_si128(count, mask));
    LT_UNROLL
    for (unsigned i = 1; i < l->n_together; i++) {
        const __m128i index = _mm_and_si128(_mm_srli_epi16(count, (int)(i * l->src_bits)), mask);
        found = _mm_or_si128(found, shift_codes(_mm_shuffle_epi8(codes, index), i * l->dst_bits));
    }
    return found;
}

LT_INLINE __m128i lookup_table(const lookup *l, const lt_recode *how, size_t group) {
    const code_map map = code_map_of(how, group);
    if (l->dst_bits == 1) { /* 1 unless below 0: codes are, if the scale is above 0 */
        const __m128i if_i2 = _mm_setr_epi8(1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0);
        const __m128i if_i4 = _mm_setr_epi8(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
        const __m128i signs = l->src_bits == 4 ? if_i4 : if_i2;
        return join_codes(l, how->scales[group] > 0 ? signs : _mm_set1_epi8(1));
    }
    const __m128i codes = v_first_16(map_codes(&map, l->codes));
    const __m128i mask = _mm_set1_epi8((char)((1u << l->dst_bits) - 1));
    return join_codes(l, _mm_and_si128(codes, mask));
}

/* Codes of I4 become 0 up to a bound, and 1 or -1 beyond it: tables by the bound. */
#define ABOVE(b, q) (uint8_t)((q) > (b))
#define BELOW(b, q) (uint8_t)((q) > (b) ? 3 : 0)
#define BEYOND(b)                                                                                  \
    {                                                                                              \
        ABOVE(b, 0), ABOVE(b, 1), ABOVE(b, 2), ABOVE(b, 3), ABOVE(b, 4), ABOVE(b, 5), ABOVE(b, 6), \
            ABOVE(b, 7), BELOW(b, 8), BELOW(b, 7), BELOW(b, 6), BELOW(b, 5), BELOW(b, 4),          \
            BELOW(b, 3), BELOW(b, 2), BELOW(b, 1)                                                  \
    }
enum { GREATEST_I4 = 8 };
_Alignas(16) static const uint8_t beyond_tables[GREATEST_I4 + 1][16] = {
    BEYOND(0), BEYOND(1), BEYOND(2), BEYOND(3), BEYOND(4),
    BEYOND(5), BEYOND(6), BEYOND(7), BEYOND(8)};

LT_INLINE const uint8_t *beyond_table(uint32_t bound) {
    return beyond_tables[bound < GREATEST_I4 ? bound : GREATEST_I4];
}

/* Of groups whose codes are looked up one by one: as many tables as vectors of four times V_FLOATS
 * values have room for. Returns how many. */
LT_INLINE size_t lookup_tables(const lookup *l, const lt_recode *how, size_t group, size_t n_groups,
                               uint8_t tables[V_BYTES]) {
    enum { VECTORS = 16 / V_FLOATS, TABLES = 4 / VECTORS };
    const code_map map = code_map_of(how, group);
    const size_t n = n_groups < TABLES ? n_groups : TABLES;
    vf x[4];
    LT_UNROLL
    for (size_t i = 0; i < 4; i++) {
        const size_t at = group + (i / VECTORS < n ? i / VECTORS : 0);
        const vf codes = v_load_f32(l->codes + i % VECTORS * V_FLOATS);
        x[i] = v_mul(v_mul(codes, v_set1(how->scales[at])), v_set1(how->inverses[at]));
    }
    const vi made = v_min_bytes(v_to_code_bytes(x, map.bound), map.most);
    v_store(tables, v_and(made, v_set1_i8((char)((1u << l->dst_bits) - 1))), LT_STORE_PLAIN);
    return n;
}

/* ---- kernels */

/* Fewer elements than a step's, among zeros. */
LT_INLINE void lookup_part(const lookup *l, const uint8_t *src, uint8_t *dst, size_t n_elems,
                           vi table) {
    _Alignas(64) uint8_t in[V_BYTES] = {0};
    _Alignas(64) uint8_t out[2 * V_BYTES];
    const size_t n_bits = n_elems * l->dst_bits;

    memcpy(in, src, (n_elems * l->src_bits + 7) / 8);
    l->step(in, out, table, LT_STORE_PLAIN);
    if (n_bits % 8 != 0)
        out[n_bits / 8] &= (uint8_t)((1u << n_bits % 8) - 1);
    memcpy(dst, out, (n_bits + 7) / 8);
}

/* Elements of one table, or, with `tables`, of one for each 16 bytes. */
LT_INLINE void lookup_run(const lookup *l, policy how, const uint8_t *src, uint8_t *dst,
                          size_t n_elems, vi table, const uint8_t *tables) {
    const size_t step = l->src_bytes * 8 / l->src_bits;

    if (how == STREAM && tables == NULL &&
        all_stream(l->streamed, dst, l->dst_bytes, n_elems / step)) {
        for (; n_elems >= step; n_elems -= step) {
            prefetch_to_second_cache(src + STREAM_PREFETCH_BYTES);
            l->step(src, dst, table, LT_STORE_STREAM);
            src += l->src_bytes;
            dst += l->dst_bytes;
        }
    }
    for (; n_elems >= step; n_elems -= step) {
        const bool streams = how == STREAM;
        if (streams)
            prefetch_to_second_cache(src + STREAM_PREFETCH_BYTES);
        l->step(src, dst, tables != NULL ? v_load(tables) : table,
                streams ? store_at(l->streamed, dst, l->dst_bytes) : LT_STORE_PLAIN);
        src += l->src_bytes;
        dst += l->dst_bytes;
        tables = tables != NULL ? tables + V_BYTES : NULL;
    }
    if (n_elems > 0)
        lookup_part(l, src, dst, n_elems, tables != NULL ? v_load(tables) : table);
}

/* Groups of which several share a vector. */
LT_INLINE void lookup_lanes(const lookup *l, policy how, const uint8_t *src, uint8_t *dst,
                            size_t n_elems, const lt_recode *recode, bool by_bounds) {
    enum { LANE = 16, LANES = 128 };
    _Alignas(64) uint8_t tables[LANES * LANE + V_BYTES] = {0};
    const size_t lane_elems = LANE * 8 / l->src_bits;
    const size_t group_lanes = recode->group_elems / lane_elems;
    const size_t most_groups = LANES / group_lanes;
    const size_t n_groups = (n_elems + recode->group_elems - 1) / recode->group_elems;
    code_bounds bounds;
    bounds.end = 0;

    for (size_t group = 0; n_elems > 0;) {
        uint8_t *table = tables;
        const size_t n_most = most_groups * recode->group_elems;
        const size_t n_part = n_elems < n_most ? n_elems : n_most;
        for (size_t done = 0; done < n_part; done += recode->group_elems, group++) {
            const __m128i found = by_bounds
                                      ? _mm_load_si128((const __m128i *)(const void *)beyond_table(
                                            next_bound(&bounds, recode, group, n_groups)))
                                      : lookup_table(l, recode, group);
            for (size_t i = 0; i < group_lanes; i++, table += LANE)
                _mm_store_si128((__m128i *)(void *)table, found);
        }
        lookup_run(l, how, src, dst, n_part, v_zero(), tables);
        src += n_part * l->src_bits / 8;
        dst += n_part * l->dst_bits / 8;
        n_elems -= n_part;
    }
}

/* True if all groups have the same table, which then is a longer group's: often codes of one or two
 * bits have it whose scales are made from those that they had. */
LT_INLINE bool have_one_table(const lookup *l, const lt_recode *how, size_t n_groups) {
    const bool is_above = how->scales[0] > 0;
    if (l->dst_bits == 1) {
        for (size_t i = 0; i < n_groups; i++) {
            if ((how->scales[i] > 0) != is_above)
                return false;
        }
        return true;
    }
    if (l->src_bits == 4)
        return are_alike(l->dst_bits, how, n_groups);
    return map_alike(how, n_groups, -1) && (l->src_bits == 1 || map_alike(how, n_groups, -2));
}

LT_INLINE void look_up(const lookup *l, policy how, const uint8_t *src, uint8_t *dst,
                       size_t n_elems, const lt_recode *recode) {
    const size_t step = l->src_bytes * 8 / l->src_bits;
    const size_t lane_elems = 16 * 8 / l->src_bits;
    size_t group_elems = recode->group_elems;

    if (n_elems > group_elems &&
        have_one_table(l, recode, (n_elems + group_elems - 1) / group_elems))
        group_elems = n_elems;
    const size_t n_groups = (n_elems + group_elems - 1) / group_elems;
    const bool by_bounds = l->src_bits == 4 && l->dst_bits == 2 && n_groups > 1 && /* pays */
                           has_bounds(recode, n_groups);
    if (l->lanes_differ && n_elems > group_elems && group_elems % step != 0 &&
        group_elems % lane_elems == 0 && group_elems / lane_elems <= 16) {
        lookup_lanes(l, how, src, dst, n_elems, recode, by_bounds);
        return;
    }
    const bool are_single = l->n_together == 1 && l->dst_bits != 1;
    _Alignas(64) uint8_t tables[V_BYTES];
    code_bounds bounds;
    bounds.end = 0;
    size_t first = 0; /* group whose table is the first there */
    size_t end = 0;
    for (size_t group = 0; n_elems > 0; group++) {
        const size_t n_group = n_elems < group_elems ? n_elems : group_elems;
        vi table;
        if (by_bounds) {
            table = v_load_128_to_all(beyond_table(next_bound(&bounds, recode, group, n_groups)));
        } else if (are_single) {
            if (group == end) {
                first = group;
                end += lookup_tables(l, recode, group, n_groups - group, tables);
            }
            table = v_load_128_to_all(tables + (group - first) * 16);
        } else {
            table = v_table_to_all(lookup_table(l, recode, group));
        }
        lookup_run(l, how, src, dst, n_group, table, NULL);
        src += n_group * l->src_bits / 8;
        dst += n_group * l->dst_bits / 8;
        n_elems -= n_group;
    }
}

#define LOOKUP_VARIANT(name, variant, policy, ...)                                                 \
    void LT_NAME(name, variant)(const void *src, void *dst, size_t n_elems,                        \
                                const lt_recode *how) {                                            \
        lookup l = {__VA_ARGS__};                                                                  \
        l.streamed = streamed_part(policy, dst, n_elems * l.dst_bits / 8);                         \
        look_up(&l, policy, src, dst, n_elems, how);                                               \
    }

#define LOOKUP_KERNEL(from, from_bits, to, to_bits, step_of, src_step, dst_step, together, lanes)  \
    LOOKUP_VARIANT(from##_to_##to, lookup_hot, HOT, .step = step_of, .codes = codes_of_##from,     \
                   .src_bytes = src_step, .dst_bytes = dst_step, .src_bits = from_bits,            \
                   .dst_bits = to_bits, .n_together = together, .lanes_differ = lanes)             \
    LOOKUP_VARIANT(from##_to_##to, lookup_stream, STREAM, .step = step_of,                         \
                   .codes = codes_of_##from, .src_bytes = src_step, .dst_bytes = dst_step,         \
                   .src_bits = from_bits, .dst_bits = to_bits, .n_together = together,             \
                   .lanes_differ = lanes)

LOOKUP_KERNEL(i4, 4, i8, 8, step_4_8, V_BYTES, 2 * V_BYTES, 1, true)
LOOKUP_KERNEL(i4, 4, i4, 4, step_4_4, V_BYTES, V_BYTES, 1, true)
LOOKUP_KERNEL(i4, 4, i2, 2, step_4_2, V_BYTES, V_BYTES / 2, 1, true)
LOOKUP_KERNEL(i4, 4, i1, 1, step_4_1, V_BYTES, V_BYTES / 4, 1, true)
LOOKUP_KERNEL(i2, 2, i8, 8, step_2_8, V_BYTES / 4, V_BYTES, 1, false)
LOOKUP_KERNEL(i2, 2, i4, 4, step_4_8, V_BYTES, 2 * V_BYTES, 2, true)
LOOKUP_KERNEL(i2, 2, i2, 2, step_4_4, V_BYTES, V_BYTES, 2, true)
LOOKUP_KERNEL(i2, 2, i1, 1, step_4_2, V_BYTES, V_BYTES / 2, 2, true)
LOOKUP_KERNEL(i1, 1, i8, 8, step_1_8, V_BYTES / 8, V_BYTES, 1, false)
LOOKUP_KERNEL(i1, 1, i4, 4, step_2_8, V_BYTES / 4, V_BYTES, 2, false)
LOOKUP_KERNEL(i1, 1, i2, 2, step_4_8, V_BYTES, 2 * V_BYTES, 4, true)
