/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from codes, a byte each, to those of another scale.
 *
 * With both scales given the new code is a function of the old one alone,
 * f(q) = round(fl(fl(q * scale) * inverse)), clamped. It is not always worked out for each element:
 *
 *   - Narrow codes are looked up among 16.
 *   - Long runs are looked up among 256, with VBMI.
 *   - Where the bound is 1, f(q) is 1 or -1 above a threshold.
 *   - The product may be one of integers.
 *
 * The last one holds only because the products' roundings do not matter:
 * let R be scale * inverse, a real number. Then fl(fl(qR)) is within 2^-22 of qR, relative to it,
 * as long as nothing is subnormal, and f(q) is the integer next to qR unless that is close to a
 * half.
 *
 * Parameters: the including file has included one of codes_*.h. */
#include "cpu/x86/code_map.h"

typedef vi map_fn(const uint8_t *codes, const code_map *map);

LT_INLINE vi map_any(const uint8_t *codes, const code_map *map) {
    vf x[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(v_load_i8(codes + i * V_FLOATS), map->scale);
    return encode_values(x, map);
}

LT_INLINE vi map_near(const uint8_t *codes, const code_map *map) {
    vf x[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(v_mul(v_load_i8(codes + i * V_FLOATS), map->scale), map->inverse);
    return v_clamp_bytes(v_to_near_bytes(x), map->least, map->most);
}

LT_INLINE vi map_narrow(const uint8_t *codes, const code_map *map) {
    return v_lookup_codes(v_load(codes), map->table);
}

/* To I1: a product of a code that is not 0 and a scale above 0 is not 0. */
LT_INLINE vi map_signs(const uint8_t *codes, const code_map *map) {
    return v_and(v_load(codes), map->signs);
}

LT_INLINE vi map_threshold(const uint8_t *codes, const code_map *map) {
    return v_beyond(v_load(codes), map->zeros);
}

LT_INLINE vi map_fixed(const uint8_t *codes, const code_map *map) {
    return v_clamp_bytes(v_scale_codes(codes, map->factor), map->least, map->most);
}

/* R as an integer over 2^15 puts qR off by |q| * 2^-16, and |q| is 1.5m where it is not clamped, at
 * the most: together with what odd_greatest allows less than 1/2m, as m is 127 at the most. */
LT_INLINE bool find_factor(const lt_recode *how, size_t group, code_map *map) {
    const float ratio = how->scales[group] * how->inverses[group];
    if (how->max_code > LATHE_I4_MAX || ratio > 0.8f || odd_greatest(how, group) == 0)
        return false;
    map->factor = (short)(ratio * 0x1p15f + 0.5f);
    return true;
}

/* From which on 256 codes are looked up, where they can be. */
#if LT_HAS_VBMI
#define LONG_RUN 1024
#else
#define LONG_RUN SIZE_MAX
#endif

#if LT_HAS_VBMI

/* What 0 to 63 become, 64 to 127, -128 to -65, and -64 to -1. */
LT_INLINE void find_bytes(code_map *map) {
    const vi first = _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48,
                                     47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32,
                                     31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16,
                                     15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        _Alignas(64) uint8_t codes[V_BYTES];
        v_store(codes, _mm512_add_epi8(first, _mm512_set1_epi8((char)(64 * i))), LT_STORE_PLAIN);
        map->bytes[i] = map_any(codes, map);
    }
}

LT_INLINE vi map_bytes(const uint8_t *src, const code_map *map) {
    const vi codes = v_load(src);
    const vi low = _mm512_permutex2var_epi8(map->bytes[0], codes, map->bytes[1]);
    const vi high = _mm512_permutex2var_epi8(map->bytes[2], codes, map->bytes[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(codes), high);
}

#endif

typedef void store_codes_fn(void *dst, vi codes, lt_store store);

typedef struct recoder {
    store_codes_fn *store;
    unsigned bits; /* of a code in the result */
    policy how;
    size_t ahead; /* bytes: what is prefetched */
    streamed streamed;
} recoder;

/* Fewer codes than a vector holds, among zeros. */
LT_INLINE void recode_part(recoder r, map_fn *step, const code_map *map, const uint8_t *src,
                           uint8_t *dst, size_t n_elems) {
    _Alignas(64) uint8_t in[V_BYTES] = {0};
    _Alignas(64) uint8_t out[V_BYTES];
    const size_t n_bits = n_elems * r.bits;

    memcpy(in, src, n_elems);
    r.store(out, step(in, map), LT_STORE_PLAIN);
    if (n_bits % 8 != 0)
        out[n_bits / 8] &= (uint8_t)((1u << n_bits % 8) - 1);
    memcpy(dst, out, (n_bits + 7) / 8);
}

LT_INLINE void recode_group(recoder r, map_fn *step, const code_map *map, const uint8_t *src,
                            uint8_t *dst, size_t n_elems) {
    const size_t dst_bytes = V_BYTES * r.bits / 8;
    if (r.how == STREAM && all_stream(r.streamed, dst, dst_bytes, n_elems / V_BYTES)) {
        for (; n_elems >= V_BYTES; n_elems -= V_BYTES, src += V_BYTES, dst += dst_bytes) {
            prefetch_to_second_cache(src + r.ahead);
            r.store(dst, step(src, map), LT_STORE_STREAM);
        }
    }
    for (; n_elems >= V_BYTES; n_elems -= V_BYTES, src += V_BYTES, dst += dst_bytes) {
        const bool streams = r.how == STREAM;
        if (streams)
            prefetch_to_second_cache(src + r.ahead);
        r.store(dst, step(src, map),
                streams ? store_at(r.streamed, dst, dst_bytes) : LT_STORE_PLAIN);
    }
    if (n_elems > 0)
        recode_part(r, step, map, src, dst, n_elems);
}

/* Makes the codes of a group by the way that is the fastest. */
LT_INLINE void recode_any(recoder r, code_map *map, const uint8_t *src, uint8_t *dst,
                          size_t n_elems, const lt_recode *how, size_t group) {
    enum { RUN = 256 }; /* from which on finding the factor pays */
    if (how->are_narrow) {
        map->table = map_codes(map, codes_of_i4);
        recode_group(r, map_narrow, map, src, dst, n_elems);
#if LT_HAS_VBMI
    } else if (n_elems >= LONG_RUN) {
        find_bytes(map);
        recode_group(r, map_bytes, map, src, dst, n_elems);
#endif
    } else if (n_elems >= RUN && find_factor(how, group, map)) {
        recode_group(r, map_fixed, map, src, dst, n_elems);
    } else if (map->is_near) {
        recode_group(r, map_near, map, src, dst, n_elems);
    } else {
        recode_group(r, map_any, map, src, dst, n_elems);
    }
}

LT_INLINE void recode(recoder r, const uint8_t *src, uint8_t *dst, size_t n_elems,
                      const lt_recode *how) {
    size_t group_elems = how->group_elems;
    size_t n_groups = (n_elems + group_elems - 1) / group_elems;
    code_bounds bounds;
    bounds.end = 0;
    if (n_groups > 1 && are_alike(r.bits, how, n_groups)) {
        group_elems = n_elems;
        n_groups = 1;
    }
    const bool by_bounds = r.bits != 1 && group_elems < LONG_RUN && has_bounds(how, n_groups);
    r.streamed = streamed_part(r.how, dst, n_elems * r.bits / 8);
    r.ahead = fetch_distance(n_elems);
    for (size_t group = 0; n_elems > 0; group++) {
        const size_t n_group = n_elems < group_elems ? n_elems : group_elems;
        code_map map = code_map_of(how, group);
        if (r.bits == 1) {
            recode_group(r, map_signs, &map, src, dst, n_group);
        } else if (by_bounds) {
            map.zeros = v_set1_i8((char)next_bound(&bounds, how, group, n_groups));
            recode_group(r, map_threshold, &map, src, dst, n_group);
        } else {
            recode_any(r, &map, src, dst, n_group, how, group);
        }
        src += n_group;
        dst += n_group * r.bits / 8;
        n_elems -= n_group;
    }
}

/* Groups that are no whole vectors are left to the smallest ones, which divide any. */
LT_INLINE bool is_whole(size_t n_elems, const lt_recode *how) {
    return V_BYTES <= LATHE_GROUP_MULTIPLE || n_elems <= how->group_elems ||
           how->group_elems % V_BYTES == 0;
}

#define RECODE_VARIANT(name, variant, policy, n_bits, store_codes)                                 \
    void LT_NAME(name, variant)(const void *codes, void *dst, size_t n_elems,                      \
                                const lt_recode *how) {                                            \
        const recoder r = {.store = store_codes, .bits = n_bits, .how = policy};                   \
        lt_recode_fn *const smallest = LT_SMALLEST(name);                                          \
        if (is_whole(n_elems, how))                                                                \
            recode(r, codes, dst, n_elems, how);                                                   \
        else                                                                                       \
            smallest(codes, dst, n_elems, how);                                                    \
    }

#define RECODE_KERNEL(name, n_bits, store_codes)                                                   \
    RECODE_VARIANT(name, hot, HOT, n_bits, store_codes)                                            \
    RECODE_VARIANT(name, stream, STREAM, n_bits, store_codes)

RECODE_KERNEL(recode_i8, 8, v_store)
RECODE_KERNEL(recode_i4, 4, v_store_nibbles)
RECODE_KERNEL(recode_i2, 2, v_store_crumbs)
RECODE_KERNEL(recode_i1, 1, v_store_code_signs)
