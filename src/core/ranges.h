/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges: how a conversion is cut into parts that can run in any order. */
#ifndef LT_CORE_RANGES_H
#define LT_CORE_RANGES_H

#include "core/layout.h"

/* Rows [row, row + n_rows) and, in each, columns [col, col + n_cols). More than one row means whole
 * rows. */
typedef struct lt_range {
    uint64_t row;
    uint64_t n_rows;
    uint64_t col;
    uint64_t n_cols;
} lt_range;

/* A tensor of n_rows rows of row_elems elements, cut into ranges of rows_per_range whole rows, or
 * of cols_per_range columns of one row each. */
typedef struct lt_ranges {
    uint64_t n_rows;
    uint64_t row_elems;
    uint64_t rows_per_range; /* 1 where columns are cut */
    uint64_t cols_per_range;
    uint64_t ranges_per_row; /* 1 where whole rows are taken */
    uint64_t n_ranges;
    uint64_t first_row; /* where range 0 begins; n_rows and row_elems are where the last ones end */
    uint64_t first_col;
    bool last_first; /* range 0 is the one at the tensor's end */
} lt_ranges;

/* Where no scales of their own bind them, columns are cut at multiples of this: whole bytes of
 * every dtype, and whole statistic tiles. */
#define LT_COLUMN_QUANTUM UINT64_C(20480)

/* Cuts the rows of a layout into ranges of about target_elems elements. Columns are cut at
 * multiples of LT_COLUMN_QUANTUM if scale_elems is 0, else at whole bytes and multiples of
 * scale_elems. */
lt_ranges lt_ranges_cut(const lt_layout *layout, uint64_t target_elems, uint64_t scale_elems);

/* Range `index` of n_ranges. */
lt_range lt_ranges_at(const lt_ranges *ranges, uint64_t index);

#endif
