/* SPDX-License-Identifier: Apache-2.0 */
/* What codes of one scale become with another, as vectors.
 *
 * Parameters: the including file has included one of codes_*.h. */
#ifndef LT_CPU_X86_CODE_MAP_H
#define LT_CPU_X86_CODE_MAP_H

#include "cpu/x86/convert_template.h"
#include <math.h>

/* R is scale * inverse. */
typedef struct code_map {
    vf scale;
    vf inverse;
    vf bound;
    char least;
    char most;
    bool is_near; /* nothing on the way from a byte to a code is beyond 2^30, or NaN */
    vi table;     /* of 16 codes */
    vi bytes[4];  /* of 256 */
    vi zeros;     /* |q| up to which the code is 0 */
    short factor; /* the product of the scale and the inverse, times 2^15 */
    vi signs;     /* to I1: what of the codes says whether they are below 0 */
} code_map;

LT_INLINE code_map code_map_of(const lt_recode *how, size_t group) {
    const float scale = how->scales[group];
    const float inverse = how->inverses[group];
    return (code_map){
        .scale = v_set1(scale),
        .inverse = v_set1(inverse),
        .bound = v_set1(how->max_code + how->extra_codes),
        .least = (char)-(how->max_code + how->extra_codes),
        .most = (char)how->max_code,
        .is_near = 128 * scale * inverse < 0x1p30f,
        .signs = v_all_if(scale > 0),
    };
}

/* Decoded values to codes. */
LT_INLINE vi encode_values(vf x[4], const code_map *map) {
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(x[i], map->inverse);
    return v_min_bytes(v_to_code_bytes(x, map->bound), map->most);
}

/* What 16 codes become, in each 16 bytes. */
LT_INLINE vi map_codes(const code_map *map, const float codes[16]) {
    vf x[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_mul(v_load_f32(codes + i * V_FLOATS % 16), map->scale);
    return encode_values(x, map);
}

/* True if a code below 0 becomes the same with all of n groups' scales; what its negative becomes
 * then is the same, too. */
LT_INLINE bool map_alike(const lt_recode *how, size_t n_groups, float code) {
    const code_map map = code_map_of(how, 0);
    vi first = v_zero();
    for (size_t group = 0; group < n_groups; group += V_BYTES) {
        vf x[4];
        LT_UNROLL
        for (int i = 0; i < 4; i++) {
            const size_t at = group + (size_t)i * V_FLOATS;
            const size_t left = at < n_groups ? n_groups - at : 0;
            const vf scales = v_load_floats(how->scales + at, left, how->scales[0]);
            x[i] = v_mul(v_mul(v_set1(code), scales),
                         v_load_floats(how->inverses + at, left, how->inverses[0]));
        }
        const vi codes = v_min_bytes(v_to_code_bytes(x, map.bound), map.most);
        first = group == 0 ? v_first_to_all(codes) : first;
        if (!v_are_equal(codes, first))
            return false;
    }
    return true;
}

/* Nothing that R is made of, or leads to, is subnormal or overflows. */
LT_INLINE bool is_plain(const lt_recode *how, size_t group) {
    const float scale = how->scales[group];
    const float ratio = scale * how->inverses[group];
    return scale > 0x1p-100f && scale < 0x1p100f && ratio > 0x1p-20f && ratio < 0x1p20f;
}

/* Where the scale is that of its own group, whose greatest |q| is m, R is max_code / m, nearly. If
 * m is odd, twice max_code * q is no odd multiple of m, and max_code * q / m no closer to a half
 * than 1/2m. With m within 2^-12, qR is off by less than max_code * 2^-11 / m where it is not
 * clamped, so that the code is the integer next to max_code * q / m. Returns m, or 0 if R is not
 * like that. */
LT_INLINE float odd_greatest(const lt_recode *how, size_t group) {
    const float greatest = how->max_code / (how->scales[group] * how->inverses[group]);
    if (!is_plain(how, group) || greatest > 127.5f)
        return 0;
    const int m = (int)(greatest + 0.5f);
    return m % 2 != 0 && fabsf(greatest - (float)m) < 0x1p-12f ? (float)m : 0;
}

/* True if all groups make the same of a code: to I1 with scales above 0; and where odd_greatest is
 * the same for all of them. */
LT_INLINE bool are_alike(unsigned bits, const lt_recode *how, size_t n_groups) {
    vf least = v_set1(how->scales[0]);
    vf most = least;
    vf distance = v_set1(0);
    const float m = bits != 1 ? odd_greatest(how, 0) : 0;
    if (bits != 1 && m == 0)
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

/* True if the target's codes are 0, 1 and -1, and no scale so large that a product overflows. */
LT_INLINE bool has_bounds(const lt_recode *how, size_t n_groups) {
    vf most = v_set1(0);
    if (how->max_code != 1 || how->extra_codes != 0)
        return false;
    for (size_t i = 0; i < n_groups; i += V_FLOATS)
        most = v_max(most, v_load_floats(how->scales + i, n_groups - i, 0));
    return v_greatest(most) < 0x1p100f;
}

/* The greatest |q| whose code is 0, at most 128, for each of n groups from one on. Up to
 * V_FLOATS - 1 numbers behind the last one's are written, too.
 *
 * The code does not fall where |q| rises, and is 1 from about 1/2R on, to the nearest integer next
 * to which the last one with code 0 lies; so two of them are tried. */
LT_INLINE void find_bounds(const lt_recode *how, size_t first, size_t n, uint32_t *bounds) {
    for (size_t i = 0; i < n; i += V_FLOATS) {
        const vf scales = v_load_floats(how->scales + first + i, n - i, 0);
        const vf inverses = v_load_floats(how->inverses + first + i, n - i, 0);
        const vf half = v_divide(v_set1(0.5f), v_mul(scales, inverses));
        const vf near = v_add(v_min(half, v_set1(127)), v_set1(0x1p23f));
        const vf low = v_add(near, v_set1(-0x1p23f));
        const vf high = v_add(low, v_set1(1));
        const vf of_low = v_min(v_mul(v_mul(low, scales), inverses), v_set1(1));
        const vf of_high = v_min(v_mul(v_mul(high, scales), inverses), v_set1(1));
        const vi codes = v_add_i32(v_to_i32(of_low), v_to_i32(of_high));
        v_store(bounds + i, v_subtract_i32(v_to_i32(high), codes), LT_STORE_PLAIN);
    }
}

/* Bounds of some groups at a time. */
enum { BOUNDS = 128 };
typedef struct code_bounds {
    uint32_t of[BOUNDS];
    size_t first; /* group */
    size_t end;
} code_bounds;

/* A group's, after those before it. */
LT_INLINE uint32_t next_bound(code_bounds *bounds, const lt_recode *how, size_t group,
                              size_t n_groups) {
    if (group == bounds->end) {
        bounds->first = group;
        bounds->end = n_groups - group < BOUNDS ? n_groups : group + BOUNDS;
        find_bounds(how, group, bounds->end - group, bounds->of);
    }
    return bounds->of[group - bounds->first];
}

/* How far ahead of n_bytes that it reads a kernel prefetches: where they are a long row, what
 * follows them, which is looked at for its scale next. (Shorter rows lost by it.) */
LT_INLINE size_t fetch_distance(size_t n_bytes) {
    enum { SHORT = 4096, LONG = 16384 };
    return n_bytes > SHORT && n_bytes <= LONG ? n_bytes : STREAM_PREFETCH_BYTES;
}

/* A part of a result that stores take past the cache: whole lines, since one that others write,
 * too, has to be fetched at once. */
typedef struct streamed {
    const uint8_t *begin;
    const uint8_t *end;
} streamed;

LT_INLINE streamed streamed_part(policy how, const uint8_t *dst, size_t n_bytes) {
    const size_t head = -(uintptr_t)dst % CACHE_LINE;
    if (how != STREAM || n_bytes < head)
        return (streamed){dst, dst};
    return (streamed){dst + head, dst + head + (n_bytes - head) / CACHE_LINE * CACHE_LINE};
}

/* How a step that stores step_bytes, a power of two, does so. */
LT_INLINE lt_store store_at(streamed part, const uint8_t *dst, size_t step_bytes) {
    const size_t width = step_bytes < V_BYTES ? step_bytes : V_BYTES;
    return dst >= part.begin && dst + step_bytes <= part.end && (uintptr_t)dst % width == 0
               ? LT_STORE_STREAM
               : LT_STORE_PLAIN;
}

/* True if all of n_steps steps stream, and are so many that asking pays. */
LT_INLINE bool all_stream(streamed part, const uint8_t *dst, size_t step_bytes, size_t n_steps) {
    enum { MANY_STEPS = 16 };
    return n_steps >= MANY_STEPS && store_at(part, dst, step_bytes) == LT_STORE_STREAM &&
           dst + n_steps * step_bytes <= part.end;
}

/* The codes that 1, 2 and 4 bits stand for. */
_Alignas(64) static const
    float codes_of_i1[16] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
_Alignas(64) static const
    float codes_of_i2[16] = {0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1};
_Alignas(64) static const
    float codes_of_i4[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};

#endif
