/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels that unpack codes to bytes, and statistics of what bytes stand for.
 *
 * Parameters: the including file has included one of codes_*.h. */
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

/* The last codes, fewer than a block of 64, among zeros, which change no statistic. */
LT_INLINE const uint8_t *fill_block(uint8_t block[LATHE_STAT_LANES], const uint8_t *src,
                                    size_t n_elems) {
    memset(block, 0, LATHE_STAT_LANES);
    memcpy(block, src, n_elems);
    return block;
}

/* The greatest magnitude is the greatest code's, as the scale is not below 0. */
LT_INLINE float absmax_of(const uint8_t *src, size_t n_elems, float scale) {
    _Alignas(64) uint8_t last[LATHE_STAT_LANES];
    vi max = v_zero();
    for (; n_elems >= V_BYTES; n_elems -= V_BYTES, src += V_BYTES)
        max = v_max_abs_8(max, v_load(src));
    if (n_elems > 0)
        max = v_max_abs_8(max, v_load(fill_block(last, src, n_elems)));
    return (float)v_reduce_max_8(max) * scale;
}

enum { CODE_SUMS = LATHE_STAT_LANES / V_FLOATS };

LT_INLINE void add_block(vf sum[CODE_SUMS], const uint8_t *src, bool are_narrow, vf scale,
                         code_values values) {
    LT_UNROLL
    for (int i = 0; i < CODE_SUMS; i++) {
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
        add_block(sum, src, are_narrow, scales, values);
    if (n_elems > 0)
        add_block(sum, fill_block(last, src, n_elems), are_narrow, scales, values);
    LT_UNROLL
    for (int half = CODE_SUMS / 2; half > 0; half /= 2) {
        LT_UNROLL
        for (int i = 0; i < half; i++)
            sum[i] = v_add(sum[i], sum[i + half]);
    }
    return v_fold(sum[0]);
}

void LT_NAME_PLAIN(absmax_codes)(const void *codes, size_t n_elems, const lt_recode *how,
                                 float *stats) {
    const uint8_t *src = codes;
    for (size_t group = 0; n_elems > 0; group++) {
        const size_t n_group = n_elems < how->group_elems ? n_elems : how->group_elems;
        stats[group] = absmax_of(src, n_group, how->scales[group]);
        src += n_group;
        n_elems -= n_group;
    }
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

/* Packed codes, by a table of what half a byte holds at the most. Bits behind the last code do not
 * count. */
LT_INLINE float absmax_of_halves(const uint8_t *src, size_t n_elems, unsigned bits, vi table,
                                 float scale) {
    _Alignas(64) uint8_t last[V_BYTES] = {0};
    size_t n_bytes = (n_elems * bits + 7) / 8;
    const unsigned n_over = (unsigned)(n_elems * bits % 8);
    vi max = v_zero();
    n_bytes -= n_over != 0;
    for (; n_bytes >= V_BYTES; n_bytes -= V_BYTES, src += V_BYTES) {
        const vi x = v_load(src);
        max = v_max_abs_8(max, v_shuffle_bytes(table, v_low_halves(x)));
        max = v_max_abs_8(max, v_shuffle_bytes(table, v_high_halves(x)));
    }
    if (n_bytes > 0 || n_over != 0) {
        memcpy(last, src, n_bytes);
        if (n_over != 0)
            last[n_bytes] = src[n_bytes] & (uint8_t)((1u << n_over) - 1);
        const vi x = v_load(last);
        max = v_max_abs_8(max, v_shuffle_bytes(table, v_low_halves(x)));
        max = v_max_abs_8(max, v_shuffle_bytes(table, v_high_halves(x)));
    }
    return (float)v_reduce_max_8(max) * scale;
}

/* Groups that end inside a vector are left to the smallest ones. */
#define PACKED_ABSMAX(name, bits, ...)                                                             \
    void LT_NAME_PLAIN(name)(const void *codes, size_t n_elems, const lt_recode *how,              \
                             float *stats) {                                                       \
        const vi table = v_table_to_all(_mm_setr_epi8(__VA_ARGS__));                               \
        const uint8_t *src = codes;                                                                \
        if (V_BYTES > 32 && n_elems > how->group_elems &&                                          \
            how->group_elems * (bits) / 8 % V_BYTES != 0) {                                        \
            lt_##name##_avx2(codes, n_elems, how, stats);                                          \
            return;                                                                                \
        }                                                                                          \
        for (size_t group = 0; n_elems > 0; group++) {                                             \
            const size_t n_group = n_elems < how->group_elems ? n_elems : how->group_elems;        \
            stats[group] = absmax_of_halves(src, n_group, bits, table, how->scales[group]);        \
            src += n_group * (bits) / 8;                                                           \
            n_elems -= n_group;                                                                    \
        }                                                                                          \
    }

PACKED_ABSMAX(absmax_i4, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1)
PACKED_ABSMAX(absmax_i2, 2, 0, 1, 2, 1, 1, 1, 2, 1, 2, 2, 2, 2, 1, 1, 2, 1)
