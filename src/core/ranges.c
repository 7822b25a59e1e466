/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting a tensor into ranges. */
#include "core/ranges.h"

#include "core/checked.h"

/* Multiples of this many elements are whole bytes of every dtype: 2, 4, 8 and 5 elements a byte. */
enum { BYTE_QUANTUM = 40 };

/* Columns are cut at multiples of this; UINT64_MAX if that overflows. */
static uint64_t column_quantum(uint64_t scale_elems) {
    uint64_t quantum = UINT64_MAX;
    if (scale_elems == 0) {
        return LT_COLUMN_QUANTUM;
    }
    (void)lt_mul(BYTE_QUANTUM / lt_gcd(BYTE_QUANTUM, scale_elems), scale_elems, &quantum);
    return quantum;
}

lt_ranges lt_ranges_cut(const lt_layout *layout, uint64_t target_elems, uint64_t scale_elems) {
    uint64_t n_rows = layout->n_elems == 0 ? 0 : layout->n_rows;
    uint64_t row_elems = layout->row_elems;
    uint64_t quantum = column_quantum(scale_elems);
    lt_ranges ranges = {
        .n_rows = n_rows,
        .row_elems = row_elems,
        .rows_per_range = 1,
        .cols_per_range = row_elems,
        .ranges_per_row = 1,
        .n_ranges = n_rows,
    };
    if (n_rows == 0) {
        return ranges;
    }
    if (row_elems > target_elems && row_elems > quantum) {
        ranges.cols_per_range = lt_max(target_elems / quantum, 1) * quantum;
        ranges.ranges_per_row = lt_ceil_div(row_elems, ranges.cols_per_range);
        ranges.n_ranges = n_rows * ranges.ranges_per_row;
    } else {
        ranges.rows_per_range = lt_max(target_elems / row_elems, 1);
        ranges.n_ranges = lt_ceil_div(n_rows, ranges.rows_per_range);
    }
    return ranges;
}

lt_range lt_ranges_at(const lt_ranges *ranges, uint64_t index) {
    uint64_t i = ranges->last_first ? ranges->n_ranges - 1 - index : index;
    uint64_t row = ranges->first_row + i / ranges->ranges_per_row * ranges->rows_per_range;
    uint64_t col = ranges->first_col + i % ranges->ranges_per_row * ranges->cols_per_range;
    return (lt_range){
        .row = row,
        .n_rows = lt_min(ranges->rows_per_range, ranges->n_rows - row),
        .col = col,
        .n_cols = lt_min(ranges->cols_per_range, ranges->row_elems - col),
    };
}
