/* SPDX-License-Identifier: Apache-2.0 */
/* Greatest magnitudes of groups of codes, a byte each or packed: those of the greatest codes, as no
 * scale is below 0.
 *
 * Parameters: the including file has included one of codes_*.h. */
#ifndef LT_CPU_X86_CODE_MAX_TEMPLATE_H
#define LT_CPU_X86_CODE_MAX_TEMPLATE_H

#include "cpu/x86/convert_template.h"

/* The greatest magnitude of the codes in each byte. */
typedef vi magnitudes_fn(vi codes);

LT_INLINE vi magnitudes_of_codes(vi codes) {
    return v_abs_bytes(codes);
}

/* Packed codes, by a table of what half a byte holds at the most. */
LT_INLINE vi magnitudes_of_halves(vi codes, __m128i greatest) {
    const vi table = v_table_to_all(greatest);
    return v_max_bytes(v_shuffle_bytes(table, v_low_halves(codes)),
                       v_shuffle_bytes(table, v_high_halves(codes)));
}

LT_INLINE vi magnitudes_of_i4(vi codes) {
    return magnitudes_of_halves(codes,
                                _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1));
}

LT_INLINE vi magnitudes_of_i2(vi codes) {
    return magnitudes_of_halves(codes,
                                _mm_setr_epi8(0, 1, 2, 1, 1, 1, 2, 1, 2, 2, 2, 2, 1, 1, 2, 1));
}

typedef struct max_source {
    magnitudes_fn *magnitudes;
    unsigned bits; /* of a code */
} max_source;

/* Copies codes that end a group or a chunk, before zeros. Bits behind the last one do not count. */
LT_INLINE void copy_last_codes(uint8_t *last, const uint8_t *src, size_t n_elems, unsigned bits) {
    const size_t n_bits = n_elems * bits;
    memcpy(last, src, (n_bits + 7) / 8);
    if (n_bits % 8 != 0)
        last[n_bits / 8] &= (uint8_t)((1u << n_bits % 8) - 1);
}

/* ---- groups of whole vectors, and single ones */

enum { MAX_AT_ONCE = 4 };

/* The greatest magnitude of a group, in any byte. */
LT_INLINE vi max_of_group(max_source from, const uint8_t *src, size_t n_elems) {
    const size_t step = V_BYTES * 8 / from.bits;
    vi max = v_zero();
    for (; n_elems >= step; n_elems -= step, src += V_BYTES)
        max = v_max_bytes(max, from.magnitudes(v_load(src)));
    if (n_elems > 0) {
        _Alignas(64) uint8_t last[V_BYTES] = {0};
        copy_last_codes(last, src, n_elems, from.bits);
        max = v_max_bytes(max, from.magnitudes(v_load(last)));
    }
    return max;
}

LT_INLINE void store_maxima(const vi max[MAX_AT_ONCE], const float *scales, size_t n,
                            float *stats) {
    const __m128 codes = _mm_cvtepi32_ps(v_reduce_max_8_each(max));
    if (n >= MAX_AT_ONCE) {
        _mm_storeu_ps(stats, _mm_mul_ps(codes, _mm_loadu_ps(scales)));
    } else {
        float some[MAX_AT_ONCE];
        _mm_storeu_ps(some, codes);
        for (size_t i = 0; i < n; i++)
            stats[i] = some[i] * scales[i];
    }
}

LT_INLINE void absmax_groups(max_source from, const uint8_t *src, size_t n_elems,
                             const lt_recode *how, float *stats) {
    for (size_t group = 0; n_elems > 0; group += MAX_AT_ONCE) {
        vi max[MAX_AT_ONCE];
        size_t n = 0;
        LT_UNROLL
        for (int i = 0; i < MAX_AT_ONCE; i++) {
            const size_t n_group = n_elems < how->group_elems ? n_elems : how->group_elems;
            max[i] = v_zero();
            if (n_group > 0) {
                max[i] = max_of_group(from, src, n_group);
                n++;
            }
            src += n_group * from.bits / 8;
            n_elems -= n_group;
        }
        store_maxima(max, how->scales + group, n, stats + group);
    }
}

/* ---- others: groups of packed codes are cells of 16 bytes, or of 8 */

enum { V_LANES = V_BYTES / 16, CELL_BLOCK = 4 * V_BYTES, SHORT_CELL = 8, LONG_CELL = 16 };

/* Where the maximum of cell i is, of those of four vectors a to d that are long, and of two vectors
 * whose cells are short. A 128-bit lane has those of its lanes of a to d, or two of each. */
#define LONG_CELL_AT(i) (i) % V_LANES * 4 + (i) / V_LANES
#define SHORT_CELL_AT(i) (i) % (2 * V_LANES) / 2 * 4 + (i) / (2 * V_LANES) * 2 + (i) % 2
#define EACH_CELL_4(F, i) F(i), F((i) + 1), F((i) + 2), F((i) + 3)
#if LT_V_BYTES == 32
#define EACH_CELL(F)                                                                               \
    { EACH_CELL_4(F, 0), EACH_CELL_4(F, 4) }
#else
#define EACH_CELL(F)                                                                               \
    { EACH_CELL_4(F, 0), EACH_CELL_4(F, 4), EACH_CELL_4(F, 8), EACH_CELL_4(F, 12) }
#endif
_Alignas(64) static const int32_t long_cells[V_FLOATS] = EACH_CELL(LONG_CELL_AT);
_Alignas(64) static const int32_t short_cells[V_FLOATS] = EACH_CELL(SHORT_CELL_AT);

/* In each 128-bit lane: the greater of 32-bit elements 0 and 1, 2 and 3, of a, then of b. */
LT_INLINE vi max_of_pairs(vi a, vi b) {
    return v_max_bytes(v_even_elements(a, b), v_odd_elements(a, b));
}

/* Stores the greatest byte of each 32-bit element, in order. */
LT_INLINE void store_cells(uint32_t *cells, vi max, const int32_t *order) {
    const vi by_2 = v_max_bytes(max, V_SHIFT_DOWN_32(max, 16));
    const vi by_4 = v_max_bytes(by_2, V_SHIFT_DOWN_32(by_2, 8));
    v_store(cells, v_permute_lanes(v_and(by_4, v_set1_i32(0xff)), v_load(order)), LT_STORE_PLAIN);
}

/* The maxima of CELL_BLOCK bytes' cells. */
LT_INLINE void find_cell_block(max_source from, const uint8_t *src, size_t cell_bytes,
                               uint32_t *cells) {
    vi x[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = from.magnitudes(v_load(src + i * V_BYTES));
    const vi ab = max_of_pairs(x[0], x[1]);
    const vi cd = max_of_pairs(x[2], x[3]);
    if (cell_bytes == LONG_CELL) {
        store_cells(cells, max_of_pairs(ab, cd), long_cells);
    } else {
        store_cells(cells, ab, short_cells);
        store_cells(cells + V_FLOATS, cd, short_cells);
    }
}

LT_INLINE void find_cells(max_source from, const uint8_t *src, size_t n_elems, size_t cell_bytes,
                          uint32_t *cells) {
    const size_t step = CELL_BLOCK * 8 / from.bits;
    for (; n_elems >= step; n_elems -= step, src += CELL_BLOCK, cells += CELL_BLOCK / cell_bytes)
        find_cell_block(from, src, cell_bytes, cells);
    if (n_elems > 0) {
        _Alignas(64) uint8_t last[CELL_BLOCK] = {0};
        copy_last_codes(last, src, n_elems, from.bits);
        find_cell_block(from, last, cell_bytes, cells);
    }
}

LT_INLINE void store_cell_maxima(const uint32_t *cells, size_t n_cells, size_t group_cells,
                                 const float *scales, float *stats) {
    for (size_t first = 0, group = 0; first < n_cells; first += group_cells, group++) {
        uint32_t max = cells[first];
        for (size_t i = first + 1; i < first + group_cells && i < n_cells; i++)
            max = cells[i] > max ? cells[i] : max;
        stats[group] = (float)(int32_t)max * scales[group];
    }
}

LT_INLINE void absmax_cells(max_source from, const uint8_t *src, size_t n_elems,
                            const lt_recode *how, float *stats) {
    enum { MOST_CELLS = 512 };
    _Alignas(64) uint32_t cells[MOST_CELLS + CELL_BLOCK / SHORT_CELL];
    const size_t group_bytes = how->group_elems * from.bits / 8;
    const size_t cell_bytes = group_bytes % LONG_CELL == 0 ? LONG_CELL : SHORT_CELL;
    const size_t group_cells = group_bytes / cell_bytes;
    const size_t cell_elems = cell_bytes * 8 / from.bits;
    const size_t most_groups = MOST_CELLS / group_cells;
    for (size_t group = 0; n_elems > 0; group += most_groups) {
        const size_t n_most = most_groups * how->group_elems;
        const size_t n_part = n_elems < n_most ? n_elems : n_most;
        const size_t n_cells = (n_part + cell_elems - 1) / cell_elems;
        find_cells(from, src, n_part, cell_bytes, cells);
        if (group_cells == 1)
            store_cell_maxima(cells, n_cells, 1, how->scales + group, stats + group);
        else
            store_cell_maxima(cells, n_cells, group_cells, how->scales + group, stats + group);
        src += n_part * from.bits / 8;
        n_elems -= n_part;
    }
}

/* ---- kernels */

/* Groups that end inside a vector are left to the smallest ones; groups of bytes are whole ones. */
#define ABSMAX_KERNEL(name, magnitudes_of, n_bits)                                                 \
    void LT_NAME_PLAIN(name)(const void *codes, size_t n_elems, const lt_recode *how,              \
                             float *stats) {                                                       \
        const max_source from = {.magnitudes = magnitudes_of, .bits = n_bits};                     \
        const size_t group_bytes = how->group_elems * (n_bits) / 8;                                \
        if (n_elems <= how->group_elems || group_bytes % V_BYTES == 0)                             \
            absmax_groups(from, codes, n_elems, how, stats);                                       \
        else if ((n_bits) < 8 && group_bytes % 32 != 0)                                            \
            absmax_cells(from, codes, n_elems, how, stats);                                        \
        else                                                                                       \
            lt_##name##_avx2(codes, n_elems, how, stats);                                          \
    }

ABSMAX_KERNEL(absmax_codes, magnitudes_of_codes, 8)
ABSMAX_KERNEL(absmax_i4, magnitudes_of_i4, 4)
ABSMAX_KERNEL(absmax_i2, magnitudes_of_i2, 2)

#endif
