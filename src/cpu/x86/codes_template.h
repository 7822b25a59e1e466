/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels that unpack codes to bytes, and statistics of what bytes stand for.
 *
 * Parameters: the including file has included one of codes_*.h. */
#ifndef LT_CPU_X86_CODES_TEMPLATE_H
#define LT_CPU_X86_CODES_TEMPLATE_H

#include "cpu/x86/convert_template.h"

#define UNPACK_KERNEL(name, bits)                                                                  \
    LT_INLINE void name##_step(const uint8_t *src, uint8_t *dst, const lt_kernel_params *params,   \
                               lt_store store) {                                                   \
        (void)params;                                                                              \
        v_store(dst, v_##name(src), store);                                                        \
    }                                                                                              \
    void LT_NAME_PLAIN(name)(const void *src, void *dst, size_t n_elems) {                         \
        const shape s = {.step = name##_step,                                                      \
                         .n_elems = V_BYTES,                                                       \
                         .src_bytes = V_BYTES * (bits) / 8,                                        \
                         .dst_bytes = V_BYTES};                                                    \
        convert(s, HOT, src, dst, n_elems, NULL, (relatives){0});                                  \
    }

UNPACK_KERNEL(unpack_i4, 4)
UNPACK_KERNEL(unpack_i2, 2)
UNPACK_KERNEL(unpack_i1, 1)

/* Base-3 bytes. Code e of a step lies in byte e / 5, and is digit e % 5; the bytes of a vector of
 * codes are picked out of 16 consecutive ones. The digits of even and of odd codes are found in
 * 16-bit lanes: see unpack_digits. */
#define UNPACK_FROM(v) ((v)*V_BYTES / 5 < V_BYTES - 16 ? (v)*V_BYTES / 5 : V_BYTES - 16)
#define BYTE_OF(e) (uint8_t)((e) / 5 - UNPACK_FROM((e) / V_BYTES))
#define FACTOR_OF(e)                                                                               \
    (uint16_t)((e) % 5 == 0   ? 21870                                                              \
               : (e) % 5 == 1 ? 7290                                                               \
               : (e) % 5 == 2 ? 2430                                                               \
               : (e) % 5 == 3 ? 810                                                                \
                              : 270)
#define EACH_8(F, e, n)                                                                            \
    F(e), F((e) + (n)), F((e) + 2 * (n)), F((e) + 3 * (n)), F((e) + 4 * (n)), F((e) + 5 * (n)),    \
        F((e) + 6 * (n)), F((e) + 7 * (n))
#define EACH_16(F, e, n) EACH_8(F, e, n), EACH_8(F, (e) + 8 * (n), n)
#define EACH_32(F, e, n) EACH_16(F, e, n), EACH_16(F, (e) + 16 * (n), n)
#if LT_V_BYTES == 32
#define BYTES_OF(v) EACH_32(BYTE_OF, (v)*V_BYTES, 1)
#define FACTORS_OF(v, odd) EACH_16(FACTOR_OF, (v)*V_BYTES + (odd), 2)
#else
#define BYTES_OF(v) EACH_32(BYTE_OF, (v)*V_BYTES, 1), EACH_32(BYTE_OF, (v)*V_BYTES + 32, 1)
#define FACTORS_OF(v, odd) EACH_32(FACTOR_OF, (v)*V_BYTES + (odd), 2)
#endif

_Alignas(64) static const uint8_t bytes_of_codes[5][V_BYTES] = {
    {BYTES_OF(0)}, {BYTES_OF(1)}, {BYTES_OF(2)}, {BYTES_OF(3)}, {BYTES_OF(4)}};

_Alignas(64) static const uint16_t factors_of_codes[5][2][V_BYTES / 2] = {
    {{FACTORS_OF(0, 0)}, {FACTORS_OF(0, 1)}},
    {{FACTORS_OF(1, 0)}, {FACTORS_OF(1, 1)}},
    {{FACTORS_OF(2, 0)}, {FACTORS_OF(2, 1)}},
    {{FACTORS_OF(3, 0)}, {FACTORS_OF(3, 1)}},
    {{FACTORS_OF(4, 0)}, {FACTORS_OF(4, 1)}}};

LT_INLINE vi digits_in_words(vi bytes, const uint16_t *factors) {
    return v_mul_high_u16(v_mul_low_u16(bytes, v_load(factors)), v_set1_i16(3));
}

LT_INLINE void unpack_bitnet158_step(const uint8_t *src, uint8_t *dst,
                                     const lt_kernel_params *params, lt_store store) {
    (void)params;
    LT_UNROLL
    for (int v = 0; v < 5; v++) {
        const vi bytes =
            v_shuffle_bytes(v_load_128_to_all(src + UNPACK_FROM(v)), v_load(bytes_of_codes[v]));
        const vi even = digits_in_words(v_and(bytes, v_set1_i16(0xff)), factors_of_codes[v][0]);
        const vi odd = digits_in_words(v_upper_bytes(bytes), factors_of_codes[v][1]);
        v_store(dst + v * V_BYTES, v_subtract_1(v_or(even, V_SHIFT_BYTES(odd, 8))), store);
    }
}

void LT_NAME_PLAIN(unpack_bitnet158)(const void *src, void *dst, size_t n_elems) {
    const shape s = {.step = unpack_bitnet158_step,
                     .n_elems = 5 * V_BYTES,
                     .src_bytes = V_BYTES,
                     .dst_bytes = 5 * V_BYTES};
    convert(s, HOT, src, dst, n_elems, NULL, (relatives){0});
}

void LT_NAME_PLAIN(repack_bitnet158)(const void *src, void *dst, size_t skip, size_t n_elems) {
    enum { BLOCK = 5 * 256, BYTE_ELEMS = LATHE_BITNET158_PER_BYTE };
    _Alignas(64) uint8_t codes[BLOCK + V_BYTES + BYTE_ELEMS] = {0};
    const uint8_t *in = src;
    uint8_t *out = dst;
    while (n_elems > 0) {
        const size_t n_part = n_elems < BLOCK ? n_elems : BLOCK;
        LT_NAME_PLAIN(unpack_bitnet158)(in, codes, skip + n_part);
        for (size_t i = 0; i < n_part; i += V_BYTES)
            v_store_crumbs(out + i / 4, v_load(codes + skip + i), LT_STORE_PLAIN);
        in += BLOCK / BYTE_ELEMS;
        out += BLOCK / 4;
        n_elems -= n_part;
    }
}

/* The last codes, fewer than a block of 64, among zeros, which change no statistic. */
LT_INLINE const uint8_t *fill_block(uint8_t block[LATHE_STAT_LANES], const uint8_t *src,
                                    size_t n_elems) {
    memset(block, 0, LATHE_STAT_LANES);
    memcpy(block, src, n_elems);
    return block;
}

enum { CODE_SUMS = LATHE_STAT_LANES / V_FLOATS };

/* A block of 64 codes, or the first 32 of one. */
LT_INLINE void add_block(vf sum[CODE_SUMS], const uint8_t *src, int n_sums, bool are_narrow,
                         vf scale, code_values values) {
    LT_UNROLL
    for (int i = 0; i < n_sums; i++) {
        const uint8_t *codes = src + i * V_FLOATS;
        const vf x = are_narrow ? v_lookup_values(codes, values, scale)
                                : v_abs(v_mul(v_load_i8(codes), scale));
        sum[i] = v_add(sum[i], x);
    }
}

/* The canonical sum. */
LT_INLINE float abssum_of(const uint8_t *src, size_t n_elems, float scale, bool are_narrow) {
    _Alignas(64) uint8_t last[LATHE_STAT_LANES];
    const vf scales = v_set1(scale);
    const code_values values = v_values_of(scales);
    vf sum[CODE_SUMS];
    LT_UNROLL
    for (int i = 0; i < CODE_SUMS; i++)
        sum[i] = v_set1(0);
    for (; n_elems >= LATHE_STAT_LANES; n_elems -= LATHE_STAT_LANES, src += LATHE_STAT_LANES)
        add_block(sum, src, CODE_SUMS, are_narrow, scales, values);
    if (n_elems == LATHE_STAT_LANES / 2)
        add_block(sum, src, CODE_SUMS / 2, are_narrow, scales, values);
    else if (n_elems > 0)
        add_block(sum, fill_block(last, src, n_elems), CODE_SUMS, are_narrow, scales, values);
    LT_UNROLL
    for (int half = CODE_SUMS / 2; half > 0; half /= 2) {
        LT_UNROLL
        for (int i = 0; i < half; i++)
            sum[i] = v_add(sum[i], sum[i + half]);
    }
    return v_fold(sum[0]);
}

void LT_NAME_PLAIN(abssum_codes)(const void *codes, size_t n_elems, const lt_recode *how,
                                 float *stats) {
    const uint8_t *src = codes;
    for (size_t group = 0; n_elems > 0; group++) {
        const size_t n_group = n_elems < how->group_elems ? n_elems : how->group_elems;
        if (how->are_narrow)
            stats[group] = abssum_of(src, n_group, how->scales[group], true);
        else
            stats[group] = abssum_of(src, n_group, how->scales[group], false);
        src += n_group;
        n_elems -= n_group;
    }
}

/* A vector of scales from one of statistics, and their inverses. */
LT_INLINE vf scales_of(const lt_scale_of *how, vf stats, vf *inverses) {
    vf scales;
    if (how->max_code > 0) {
        scales = v_divide(stats, v_set1(how->max_code));
    } else {
        const vf means = v_min(v_means(stats, how->n_elems), v_set1(FLT_MAX));
        scales = v_max(means, v_set1(how->least));
    }
    *inverses = v_finite_or_0(v_divide(v_set1(1), scales));
    return scales;
}

void LT_NAME_PLAIN(scales)(const lt_scale_of *how, const float *stats, size_t n, float *scales,
                           float *inverses) {
    vf inverse;
    for (; n >= V_FLOATS; n -= V_FLOATS) {
        v_store_f32(scales, scales_of(how, v_load_f32(stats), &inverse), LT_STORE_PLAIN);
        v_store_f32(inverses, inverse, LT_STORE_PLAIN);
        stats += V_FLOATS;
        scales += V_FLOATS;
        inverses += V_FLOATS;
    }
    if (n > 0) {
        float some[2][V_FLOATS];
        v_store_f32(some[0], scales_of(how, v_load_floats(stats, n, 0), &inverse), LT_STORE_PLAIN);
        v_store_f32(some[1], inverse, LT_STORE_PLAIN);
        memcpy(scales, some[0], n * sizeof(float));
        memcpy(inverses, some[1], n * sizeof(float));
    }
}

#endif
