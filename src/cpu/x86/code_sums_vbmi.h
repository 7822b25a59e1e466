/* SPDX-License-Identifier: Apache-2.0 */
/* Canonical sums of what bytes stand for, with VBMI. */
#ifndef LT_CPU_X86_CODE_SUMS_VBMI_H
#define LT_CPU_X86_CODE_SUMS_VBMI_H

#include "cpu/x86/fold_avx512.h"

#include "cpu/x86/convert_template.h"

/* A byte and the exponent of 2^23 make the float 2^23 + q. Multiplied by the scale, less 2^23 times
 * it, which is exact, in one operation with one rounding, it is q times the scale, rounded. */
#define MAGIC 0x1p23f
#define LEAST_HUGE_SCALE 0x1p100f /* 2^23 times that is finite */
#define BYTE_FROM(q) (q), 0, 0, 0
#define BYTES_FROM_4(q) BYTE_FROM(q), BYTE_FROM((q) + 1), BYTE_FROM((q) + 2), BYTE_FROM((q) + 3)
#define BYTES_FROM_16(q)                                                                           \
    { BYTES_FROM_4(q), BYTES_FROM_4((q) + 4), BYTES_FROM_4((q) + 8), BYTES_FROM_4((q) + 12) }

_Alignas(64) static const uint8_t lowest_bytes[4][64] = {BYTES_FROM_16(0), BYTES_FROM_16(16),
                                                         BYTES_FROM_16(32), BYTES_FROM_16(48)};

/* What 64 codes stand for, or the first 32 of them; `less` is -2^23 times the scale. */
LT_INLINE void value_codes(vf x[4], int n_values, vi codes, vf scale, vf less) {
    const __mmask64 lowest = 0x1111111111111111;
    const vi exponent = _mm512_set1_epi32(0x4b000000);
    const vi magnitudes = v_abs_bytes(codes);
    LT_UNROLL
    for (int i = 0; i < n_values; i++) {
        const vi number =
            _mm512_mask_permutexvar_epi8(exponent, lowest, v_load(lowest_bytes[i]), magnitudes);
        x[i] = _mm512_fmadd_ps(_mm512_castsi512_ps(number), scale, less);
    }
}

/* The next 64 codes, or what there is, among zeros. */
LT_INLINE vi load_codes(const uint8_t *src, size_t n_elems) {
    return n_elems >= V_BYTES ? v_load(src)
                              : _mm512_maskz_loadu_epi8(((uint64_t)1 << n_elems) - 1, src);
}

/* Elements 32 and 16 apart; n_elems is above 0. */
LT_INLINE vf sum_code_group(const uint8_t *src, size_t n_elems, float scale) {
    const vf scales = v_set1(scale);
    const vf less = v_set1(-MAGIC * scale);
    vf sum[4];
    if (n_elems <= V_BYTES / 2) {
        value_codes(sum, 2, load_codes(src, n_elems), scales, less);
        return v_add(sum[0], sum[1]);
    }
    value_codes(sum, 4, load_codes(src, n_elems), scales, less);
    for (size_t done = V_BYTES; done < n_elems; done += V_BYTES) {
        vf x[4];
        value_codes(x, 4, load_codes(src + done, n_elems - done), scales, less);
        LT_UNROLL
        for (int i = 0; i < 4; i++)
            sum[i] = v_add(sum[i], x[i]);
    }
    return v_add(v_add(sum[0], sum[2]), v_add(sum[1], sum[3]));
}

void LT_NAME_PLAIN(abssum_codes)(const void *codes, size_t n_elems, const lt_recode *how,
                                 float *stats) {
    const uint8_t *src = codes;
    const size_t n_groups = (n_elems + how->group_elems - 1) / how->group_elems;
    bool is_huge = false;
    for (size_t i = 0; i < n_groups; i++)
        is_huge |= how->scales[i] >= LEAST_HUGE_SCALE;
    if (is_huge) {
        lt_abssum_codes_avx512(codes, n_elems, how, stats);
        return;
    }
    for (size_t group = 0; n_elems > 0; group += SUMS_AT_ONCE) {
        vf sums[SUMS_AT_ONCE];
        size_t n = 0;
        LT_UNROLL
        for (size_t i = 0; i < SUMS_AT_ONCE; i++) {
            const size_t n_group = n_elems < how->group_elems ? n_elems : how->group_elems;
            sums[i] = v_set1(0);
            if (n_group > 0) {
                sums[i] = sum_code_group(src, n_group, how->scales[group + i]);
                n++;
            }
            src += n_group;
            n_elems -= n_group;
        }
        store_sums(stats + group, fold_vectors(sums[0], sums[1], sums[2], sums[3]), n);
    }
}

#endif
