/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from codes, a byte each, to those of another scale.
 *
 * With both scales given the new code is a function of the old one alone,
 * f(q) = round(fl(fl(q * scale) * inverse)), clamped. It is not always worked out for each element:
 *
 *   - Narrow codes are looked up among 16.
 *   - Long runs are looked up among 256, with VBMI.
 *   - Where the bound is 1, f(q) is 1 above a threshold.
 *   - The product may be one of integers.
 *
 * The last two hold for what they are asked for only because the products' roundings do not matter:
 * let R be scale * inverse, a real number. Then fl(fl(qR)) is within 2^-22 of qR, relative to it,
 * as long as nothing is subnormal, and f(q) is the integer next to qR unless that is close to a
 * half.
 *
 * Parameters: the including file has included one of codes_*.h. */
#include "cpu/x86/code_map.h"
#include <math.h>

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
    return v_beyond(v_load(codes), map->threshold);
}

LT_INLINE vi map_fixed(const uint8_t *codes, const code_map *map) {
    return v_clamp_bytes(v_scale_codes(codes, map->factor), map->least, map->most);
}

/* Nothing that R is made of, or leads to, is subnormal or overflows. */
LT_INLINE bool is_plain(const lt_recode *how, size_t group) {
    const float scale = how->scales[group];
    const float ratio = scale * how->inverses[group];
    return scale > 0x1p-100f && scale < 0x1p100f && ratio > 0x1p-20f && ratio < 0x1p20f;
}

/* |qR| > 1/2 where |q| > 1/2R. If that is not within 2^-10 of an integer, roundings, which are
 * worth 128 * 2^-22 of |q|, make no difference. */
LT_INLINE bool find_threshold(const lt_recode *how, size_t group, code_map *map) {
    if (how->max_code != 1 || how->extra_codes != 0 || !is_plain(how, group))
        return false;
    const float bound = 0.5f / (how->scales[group] * how->inverses[group]);
    if (bound >= 127)
        return false;
    const float below = (float)(int)bound;
    map->threshold = (char)below;
    return bound - below > 0x1p-10f && bound - below < 1 - 0x1p-10f;
}

/* Where the scale is that of its own group, whose greatest |q| is m, R is max_code / m, nearly. If
 * m is odd, twice max_code * q is no odd multiple of m, and max_code * q / m no closer to a half
 * than 1/2m. With m within 2^-12, qR is off by 2^-9 / m where it is not clamped. R as an integer
 * over 2^15 puts it off by |q| * 2^-16, and |q| is 1.5m there at the most: together less than 1/2m,
 * as m is 127 at the most. */
LT_INLINE bool find_factor(const lt_recode *how, size_t group, code_map *map) {
    const float ratio = how->scales[group] * how->inverses[group];
    if (how->max_code > LATHE_I4_MAX || !is_plain(how, group) || ratio > 0.8f)
        return false;
    const float greatest = how->max_code / ratio;
    if (greatest > 127.5f)
        return false;
    const int m = (int)(greatest + 0.5f);
    map->factor = (short)(ratio * 0x1p15f + 0.5f);
    return m % 2 != 0 && fabsf(greatest - (float)m) < 0x1p-12f;
}

/* True if all groups make the same of a code: to I1 with scales above 0; and where find_factor
 * holds for all of them with the same m, as f(q) is the integer next to max_code * q / m then. */
LT_INLINE bool are_alike(unsigned bits, const lt_recode *how, size_t n_groups) {
    code_map first;
    vf least = v_set1(how->scales[0]);
    vf most = least;
    vf distance = v_set1(0);
    const bool is_odd = bits != 1 && find_factor(how, 0, &first);
    const float m = is_odd ? nearbyintf(how->max_code / (how->scales[0] * how->inverses[0])) : 0;
    if (bits != 1 && !is_odd)
        return false;
    for (size_t group = 0; group < n_groups; group += V_FLOATS) {
        const size_t left = n_groups - group;
        const vf scales = v_load_floats(how->scales + group, left, how->scales[0]);
        const vf inverses = v_load_floats(how->inverses + group, left, how->inverses[0]);
        const vf greatest = v_divide(v_set1(how->max_code), v_mul(scales, inverses));
        least = v_min(least, scales);
        most = v_max(most, scales);
        distance = v_max(distance, v_abs(v_add(greatest, v_set1(-m))));
    }
    if (bits == 1)
        return v_least(least) > 0;
    return v_least(least) > 0x1p-100f && v_greatest(most) < 0x1p100f &&
           v_greatest(distance) < 0x1p-12f;
}

#if LT_HAS_VBMI

enum { LONG_RUN = 1024 };

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
    const bool streams = r.how == STREAM && (uintptr_t)dst % dst_bytes == 0;

    if (streams) {
        for (; n_elems >= V_BYTES; n_elems -= V_BYTES, src += V_BYTES, dst += dst_bytes) {
            prefetch_to_second_cache(src + STREAM_PREFETCH_BYTES);
            r.store(dst, step(src, map), LT_STORE_STREAM);
        }
    } else {
        for (; n_elems >= V_BYTES; n_elems -= V_BYTES, src += V_BYTES, dst += dst_bytes)
            r.store(dst, step(src, map), LT_STORE_PLAIN);
    }
    if (n_elems > 0)
        recode_part(r, step, map, src, dst, n_elems);
}

LT_INLINE void recode(recoder r, const uint8_t *src, uint8_t *dst, size_t n_elems,
                      const lt_recode *how) {
    size_t group_elems = how->group_elems;
    if (n_elems > group_elems && !how->are_narrow &&
        are_alike(r.bits, how, (n_elems + group_elems - 1) / group_elems))
        group_elems = n_elems;
    for (size_t group = 0; n_elems > 0; group++) {
        const size_t n_group = n_elems < group_elems ? n_elems : group_elems;
        code_map map = code_map_of(how, group);
        if (r.bits == 1) {
            recode_group(r, map_signs, &map, src, dst, n_group);
        } else if (how->are_narrow) {
            map.table = map_codes(&map, codes_of_i4);
            recode_group(r, map_narrow, &map, src, dst, n_group);
#if LT_HAS_VBMI
        } else if (n_group >= LONG_RUN) {
            find_bytes(&map);
            recode_group(r, map_bytes, &map, src, dst, n_group);
#endif
        } else if (find_threshold(how, group, &map)) {
            recode_group(r, map_threshold, &map, src, dst, n_group);
        } else if (find_factor(how, group, &map)) {
            recode_group(r, map_fixed, &map, src, dst, n_group);
        } else if (map.is_near) {
            recode_group(r, map_near, &map, src, dst, n_group);
        } else {
            recode_group(r, map_any, &map, src, dst, n_group);
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
