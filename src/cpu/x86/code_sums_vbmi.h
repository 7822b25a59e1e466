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
#define MAGIC_FROM(q) (q), 64, 64, 65
#define MAGIC_FROM_4(q) MAGIC_FROM(q), MAGIC_FROM((q) + 1), MAGIC_FROM((q) + 2), MAGIC_FROM((q) + 3)
#define MAGIC_FROM_16(q)                                                                           \
    { MAGIC_FROM_4(q), MAGIC_FROM_4((q) + 4), MAGIC_FROM_4((q) + 8), MAGIC_FROM_4((q) + 12) }

_Alignas(64) static const uint8_t magic_bytes[4][64] = {MAGIC_FROM_16(0), MAGIC_FROM_16(16),
                                                        MAGIC_FROM_16(32), MAGIC_FROM_16(48)};

/* 64 codes; `less` is -2^23 times the scale. */
LT_INLINE void add_code_block(vf sum[4], vi codes, vf scale, vf less) {
    const vi exponent = _mm512_set1_epi32(0x4b00);
    const vi x = _mm512_abs_epi8(codes);
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const vi number = _mm512_permutex2var_epi8(x, v_load(magic_bytes[i]), exponent);
        sum[i] = v_add(sum[i], _mm512_fmadd_ps(_mm512_castsi512_ps(number), scale, less));
    }
}

/* Elements 32 and 16 apart. */
LT_INLINE vf sum_code_group(const uint8_t *src, size_t n_elems, float scale) {
    const vf less = v_set1(-MAGIC * scale);
    vf sum[4] = {v_set1(0), v_set1(0), v_set1(0), v_set1(0)};
    for (; n_elems >= V_BYTES; n_elems -= V_BYTES, src += V_BYTES)
        add_code_block(sum, v_load(src), v_set1(scale), less);
    if (n_elems > 0) {
        const vi last = _mm512_maskz_loadu_epi8(((uint64_t)1 << n_elems) - 1, src);
        add_code_block(sum, last, v_set1(scale), less);
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
    if (how->are_narrow || is_huge) {
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
