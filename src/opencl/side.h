/* SPDX-License-Identifier: Apache-2.0 */
/* How the two sides of a launch lie, in the 32-bit terms of kernels. */
#ifndef LT_OPENCL_SIDE_H
#define LT_OPENCL_SIDE_H

#include "backend.h"
#include "lathe_launch.h"

/* Rows of so many elements are given without what lies before the launch. */
#define LT_CL_LONG_ROW (UINT64_C(1) << 31)

/* Vectors are of this many elements at most, where rows are joined. */
enum { LT_CL_MAX_VECTOR = 16 };

/* One side of a launch. */
typedef struct lt_cl_side {
    const lt_layout *layout;
    lathe_side args;
    uint64_t n_elems;   /* of the launch */
    uint64_t row_elems; /* of row 0, as given */
} lt_cl_side;

/* The divisor that kernels divide by. */
lathe_div lt_cl_div_by(uint64_t by);

/* The side of a launch of elements [elem, elem + n_elems) of the tensor. With `join` rows are one
 * where their scales, too, follow each other as they do inside one. */
lt_cl_side lt_cl_side_of(const lt_layout *layout, const lt_span *span, uint64_t elem,
                         uint64_t n_elems, bool join);

static inline bool lt_cl_in_one_row(const lt_cl_side *s) {
    return s->args.row_elems.by == 0;
}

/* Describes the side's elements as rows of n_cols columns. Returns false if they are not. */
bool lt_cl_shape_side(lt_cl_side *s, uint64_t n_rows, uint64_t n_cols);

/* True if n_elems elements from any column that is a multiple of that can be accessed at once, in
 * words of at most 16 bytes. */
bool lt_cl_is_aligned(const lt_cl_side *s, bool one_row, uint64_t n_elems);

#endif
