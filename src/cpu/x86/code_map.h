/* SPDX-License-Identifier: Apache-2.0 */
/* What codes of one scale become with another, as vectors.
 *
 * Parameters: the including file has included one of codes_*.h. */
#ifndef LT_CPU_X86_CODE_MAP_H
#define LT_CPU_X86_CODE_MAP_H

#include "cpu/x86/convert_template.h"

typedef struct code_map {
    vf scale;
    vf inverse;
    vf bound;
    char least;
    char most;
    bool is_near; /* nothing on the way from a byte to a code is beyond 2^30, or NaN */
    vi table;     /* of 16 codes */
    vi bytes[4];  /* of 256 */
    char threshold;
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

/* The codes that 1, 2 and 4 bits stand for. */
_Alignas(64) static const
    float codes_of_i1[16] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
_Alignas(64) static const
    float codes_of_i2[16] = {0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1};
_Alignas(64) static const
    float codes_of_i4[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};

#endif
