/* SPDX-License-Identifier: Apache-2.0 */
/* The plain kernel's scales from the greatest magnitude: elements stay in registers, as they come,
 * two to a word. */
#include "plain.cl"

#if LT_HAS_ROWS && !LT_IS_MEAN

uint lt_greatest4(uint4 four) {
    return max(max(four.x, four.y), max(four.z, four.w));
}

/* The greatest magnitude of sixteen bytes' elements: it orders like its bits in every float type.
 * That of 16 bits is in the upper half of the result; what lies in the lower one does not matter.
 */
uint lt_top_of_quad(uint4 raw) {
#if LT_SRC == LATHE_CL_F32
    return lt_greatest4(raw & LT_MAGNITUDE);
#else
    return max(lt_greatest4(raw & LT_MAGNITUDE), lt_greatest4(raw << 17) >> 1);
#endif
}

/* The same as a number. */
float lt_stat_of_top(uint top) {
#if LT_SRC == LATHE_CL_F32
    return as_float(top);
#else
    return lt_decode1(top >> 16, 0, 1);
#endif
}

/* The greatest of 4 * n words. */
uint lt_greatest_of_fours(__local const uint4 *fours, uint n) {
    uint4 top = fours[0];
#pragma unroll 4
    for (uint i = 1; i < n; i++) {
        top = max(top, fours[i]);
    }
    return lt_greatest4(top);
}

/* What elements are multiplied with. */
float lt_plain_factor(float scale) {
#if LT_DST == LATHE_CL_I2 && LT_SRC != LATHE_CL_F32
    return scale == 0 ? 0 : lt_bound_factor(scale);
#else
    return scale == 0 ? 0 : lt_inverse_fast(scale);
#endif
}

/* Stores the codes of a quad, whose fields linear_max.cl explains. */
#if LT_SRC == LATHE_CL_F32

void lt_store_quad(__global uchar *out, uint4 raw, uint at, float factor) {
    const uint codes = lt_codes_of_fields(lt_add_fields(0, as_float4(raw) * factor + LT_ROUNDING));
#if LT_DST == LATHE_CL_I8
    ((__global uint *)out)[at] = codes;
#elif LT_DST == LATHE_CL_I4
    ((__global ushort *)out)[at] = (ushort)codes;
#else
    out[at] = (uchar)codes;
#endif
}

#else

/* Four elements' fields, above which others lie. */
uint lt_plain_fields(uint above, uint2 raw, float factor) {
    const float4 x = lt_decode4(raw, 0, 1);
#if LT_DST == LATHE_CL_I2
    return lt_add_fields(above, mad(x, factor, LT_ROUNDING));
#else
    return lt_add_fields(above, x * factor + LT_ROUNDING);
#endif
}

void lt_store_quad(__global uchar *out, uint4 raw, uint at, float factor) {
#if LT_DST == LATHE_CL_I8
    ((__global uint2 *)out)[at] = (uint2)(lt_codes_of_fields(lt_plain_fields(0, raw.lo, factor)),
                                          lt_codes_of_fields(lt_plain_fields(0, raw.hi, factor)));
#else
    const uint codes =
        lt_codes_of_fields(lt_plain_fields(lt_plain_fields(0, raw.hi, factor), raw.lo, factor));
#if LT_DST == LATHE_CL_I4
    ((__global uint *)out)[at] = codes;
#else
    ((__global ushort *)out)[at] = (ushort)codes;
#endif
#endif
}

#endif

#endif

#if LT_HAS_PLAIN && !LT_IS_MEAN

/* Columns that a word of `tops` and of `pairs` stands for. */
#define LT_TOP_COLS LT_QUAD_ELEMS
#define LT_PAIR_COLS 64

typedef struct lt_plain_memory {
    uint4 tops[LATHE_CL_BLOCK_ELEMS / LT_TOP_COLS / 4];
    uint4 pairs[LATHE_CL_BLOCK_ELEMS / LT_PAIR_COLS / 4];
    float factors[LATHE_CL_BLOCK_SCOPES];
    uint is_odd;
} lt_plain_memory;

/* Finds and stores a scope's scale. */
void lt_find_plain_scale(const lt_plain *plain, uint scope, bool by_pairs,
                         __local lt_plain_memory *memory) {
    const uint begin = scope * plain->scope_elems;
    const uint n_cols = min(plain->scope_elems, plain->n_cols - begin);
    uint top;
    if (by_pairs) {
        top = lt_greatest_of_fours(memory->pairs + begin / (4 * LT_PAIR_COLS),
                                   (n_cols + 4 * LT_PAIR_COLS - 1) / (4 * LT_PAIR_COLS));
    } else {
        top = lt_greatest_of_fours(memory->tops + begin / (4 * LT_TOP_COLS),
                                   n_cols / (4 * LT_TOP_COLS));
    }
    const float stat = lt_stat_of_top(top);
    const float scale = lt_plain_scale(stat, n_cols);
    plain->scales[scope] = scale;
    memory->factors[scope] = lt_plain_factor(scale);
    if (lt_is_odd_stat(stat)) {
        memory->is_odd = 1;
    }
}

void lt_plain_block(const lathe_launch *launch, const lt_plain *plain, uint item,
                    __local lt_plain_memory *memory) {
    const bool by_pairs = plain->n_scopes == 1 || plain->scope_elems % (4 * LT_PAIR_COLS) == 0;
    uint4 raw[LT_QUADS];

    if (item == 0) {
        memory->is_odd = 0;
    }
    lt_load_quads(raw, plain, item);
#pragma unroll
    for (uint i = 0; i < LT_QUADS; i++) {
        ((__local uint *)memory->tops)[item + i * LT_ITEMS] = lt_top_of_quad(raw[i]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (by_pairs) {
        if (item < LATHE_CL_BLOCK_ELEMS / LT_PAIR_COLS) {
            ((__local uint *)memory->pairs)[item] =
                lt_greatest4(max(memory->tops[2 * item], memory->tops[2 * item + 1]));
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (item < plain->n_scopes) {
        lt_find_plain_scale(plain, item, by_pairs, memory);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_leave_mark(plain, item, &memory->is_odd);
#pragma unroll
    for (uint i = 0; i < LT_QUADS; i++) {
        const uint at = item + i * LT_ITEMS;
        const uint col = at * LT_QUAD_ELEMS;
        if (col < plain->n_cols) {
            lt_store_quad(plain->out, raw[i], at,
                          memory->factors[lt_plain_scope(launch, plain, col)]);
        }
    }
}

#endif
