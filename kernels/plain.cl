/* SPDX-License-Identifier: Apache-2.0 */
/* The plain kernel: scales of their own for regular blocks of floats, with nothing asked for on top
 * and nothing odd among them. It has no code for anything else, so that registers suffice for as
 * many work-items as memory wants in flight. A block in which it meets what it cannot do (a NaN, an
 * infinity, a statistic at the ends of the range) gets a mark in place of its first scale, which is
 * no number then; the kernel behind it, lathe_again, looks for marks and does such blocks anew. */
#include "linear.cl"

/* Whether there is the rows kernel, which shares much with this one: rows.cl. */
#if LT_HAS_LINEAR && LATHE_CL_HAS_ROWS(LT_SRC, LT_DST) && !defined LT_BATCH &&                     \
    !defined LT_IN_PLACE && !defined LT_EXTRA_CODES && !defined LT_CHAIN
#define LT_HAS_ROWS 1
#else
#define LT_HAS_ROWS 0
#endif

#define LT_ITEMS LATHE_CL_PLAIN_ITEMS(LT_SRC, LT_DST)
#define LT_HAS_PLAIN (LT_HAS_ROWS && LATHE_CL_PLAIN_ITEMS(LT_SRC, LT_DST) > 0)

#if LT_HAS_ROWS

/* Elements of sixteen bytes of the source. */
#define LT_QUAD_ELEMS (128 / LATHE_CL_BITS(LT_SRC))
#define LT_BLOCK_QUADS (LATHE_CL_BLOCK_ELEMS / LT_QUAD_ELEMS)

/* Sixteens of bytes that a work-item loads, LT_ITEMS apart. */
#define LT_QUADS (LT_BLOCK_QUADS / LT_ITEMS)

/* A block: the source's and the target's first byte, and the first scale. Columns and scopes come
 * in multiples of 32. */
typedef struct lt_plain {
    __global const uint4 *src;
    __global uchar *out;
    __global float *scales;
    uint n_cols;
    uint scope_elems; /* of a full one */
    uint n_scopes;
} lt_plain;

/* The host has done all that it can: rows and blocks lie evenly, and begin with a scope. */
lt_plain lt_plain_of(__global const uchar *src, __global uchar *dst, __global float *dst_scales,
                     const lathe_launch *launch, uint index) {
    const uint row = launch->n_rows > 1 ? lt_div_32(index, &launch->row_units) : 0;
    const uint cut = index - row * (uint)launch->row_units.by;
    const uint col = cut * (uint)launch->block_cols;
    const ulong elem = row * (uint)launch->n_cols + col;
    lt_plain plain;
    plain.src = (__global const uint4 *)(src + launch->src.data_offset +
                                         elem * (LATHE_CL_BITS(LT_SRC) / 8));
    plain.out = dst + launch->dst.data_offset + (ulong)row * (uint)launch->dst.row_bytes +
                cut * (uint)launch->block_bytes;
    plain.scales = dst_scales + launch->dst.scale_offset +
                   (row * (uint)launch->dst.scales_per_row + cut * (uint)launch->block_scopes);
    plain.n_cols = min((uint)launch->block_cols, (uint)launch->n_cols - col);
    plain.scope_elems = (uint)launch->dst.scale_elems.by;
    plain.n_scopes = (uint)launch->block_scopes;
    if (plain.n_cols < (uint)launch->block_cols) {
        plain.n_scopes = lt_div_32(plain.n_cols + plain.scope_elems - 1, &launch->dst.scale_elems);
    }
    return plain;
}

/* The scope of a column of the block. */
uint lt_plain_scope(const lathe_launch *launch, const lt_plain *plain, uint col) {
    return plain->n_scopes == 1 ? 0 : lt_div_32(col, &launch->dst.scale_elems);
}

#if LT_HAS_PLAIN

/* Loads a work-item's share. What lies behind the block is 0. */
void lt_load_quads(uint4 *raw, const lt_plain *plain, uint item) {
    __global const uint4 *mine = plain->src + item;
    if (plain->n_cols == LATHE_CL_BLOCK_ELEMS) {
#pragma unroll
        for (uint i = 0; i < LT_QUADS; i++) {
            raw[i] = LT_COME4(mine[i * LT_ITEMS]);
        }
        return;
    }
#pragma unroll
    for (uint i = 0; i < LT_QUADS; i++) {
        const uint col = (item + i * LT_ITEMS) * LT_QUAD_ELEMS;
        raw[i] = col < plain->n_cols ? LT_COME4(mine[i * LT_ITEMS]) : (uint4)(0);
    }
}

#endif

/* The least number whose code is 1, where those are -1, 0 and 1: its product with the scale's
 * inverse is, rounded, more than a half. The scale's half is 1 to 3 numbers less, because the
 * inverse and the product are within half a unit in their last places. */
uint lt_least_of_code_1(float scale) {
    const float inverse = lt_inverse_fast(scale);
    uint least = as_uint(0.5f * scale) + 1;
    least += as_float(least) * inverse <= 0.5f;
    least += as_float(least) * inverse <= 0.5f;
    return least;
}

#if LT_SRC != LATHE_CL_F32

#define LT_ELEM_STEP (LT_SRC == LATHE_CL_F16 ? 0x2000u : 0x10000u) /* as F32's bits */

#if LT_DST == LATHE_CL_I2

/* What elements of 16 bits are multiplied with for such codes: the bounds between them become
 * halves. Elements are sparse, and the bound that is taken lies half-way between two of them, so
 * that no product is near a half, however it is rounded. */
float lt_bound_factor(float scale) {
    const uint bits = lt_least_of_code_1(scale) + LT_ELEM_STEP - 1;
    return 0.5f / as_float((bits & ~(LT_ELEM_STEP - 1)) - LT_ELEM_STEP / 2);
}

#elif LT_DST == LATHE_CL_BITNET158

/* To BITNET158 the bits of magnitudes are compared, which order like these: a sum with what the
 * least element whose code is 1 lacks to the highest bit tells, for both halves of a word. To I2
 * that would take more registers than it is worth. */

#define LT_ELEM_INFINITY (LT_SRC == LATHE_CL_F16 ? 0x7c00u : 0x7f80u)
#define LT_BOTH_HALVES 0x10001u

/* The bits of the least element whose code is 1. Its bound need seldom be known exactly, as no
 * element lies near. */
uint lt_least_elem(float scale) {
    const uint half_scale = as_uint(0.5f * scale);
    const bool is_near = (half_scale & (LT_ELEM_STEP - 1)) >= LT_ELEM_STEP - 2;
    const uint least = is_near ? lt_least_of_code_1(scale) : half_scale + 1;
#if LT_SRC == LATHE_CL_F16
    if (least < 0x38800000u) { /* among the subnormal ones, which count units */
        return (uint)ceil(as_float(least) * 0x1p24f);
    }
    return min(((least + 0x1fff) >> 13) - (112u << 10), LT_ELEM_INFINITY);
#else
    return (least + 0xffff) >> 16;
#endif
}

uint lt_rest_to(uint elem) {
    return (0x8000 - elem) * LT_BOTH_HALVES;
}

/* Four bytes, of ones where the highest bit of a half is 1, else of zeros. */
uint lt_high_bits4(uint2 halves) {
#if LT_HAS_PTX
    uint bytes;
    __asm__("prmt.b32 %0, %1, %2, 0xfdb9;" : "=r"(bytes) : "r"(halves.x), "r"(halves.y));
    return bytes;
#else
    const uint2 bits = halves >> 15 & LT_BOTH_HALVES;
    const uint2 two = (bits | bits >> 8) & 0x0101;
    return (two.x | two.y << 16) * 0xff;
#endif
}

#endif

#endif

/* Leaves the mark, if need be; after a barrier, by whoever has stored the first scale. */
void lt_leave_mark(const lt_plain *plain, uint item, __local const uint *is_odd) {
    if (item == 0 && *is_odd != 0) {
        plain->scales[0] = as_float(LT_MARK);
    }
}

#endif
