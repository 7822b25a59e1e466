/* SPDX-License-Identifier: Apache-2.0 */
/* How the two sides of a launch lie, in the 32-bit terms of kernels. */
#include "opencl/side.h"

#include "core/checked.h"

/* What is left out of a long row: whole bytes of every dtype, and fours of elements. */
enum { LONG_ROW_QUANTUM = 160 };

static uint64_t round_down(uint64_t n, uint64_t quantum) {
    return n - n % quantum;
}

/* Granlund and Montgomery, "Division by Invariant Integers using Multiplication" (1994): with s the
 * least power for which 2^s >= by, and m = 2^32 (2^s - by) / by + 1, rounded down, n / by is (t +
 * (n - t) / 2) / 2^(s - 1), where t = m n / 2^32, for every 32-bit n. */
lathe_div lt_cl_div_by(uint64_t by) {
    if (by == 0 || by >= LT_CL_LONG_ROW) {
        return (lathe_div){.by = by};
    }
    uint64_t power = 0;
    while (UINT64_C(1) << power < by) {
        power++;
    }
    uint64_t multiplier = (((UINT64_C(1) << power) - by) << 32) / by + 1;
    uint64_t first_shift = lt_min(power, 1);
    return (lathe_div){
        .by = by,
        .magic = multiplier | first_shift << 32 | (power - first_shift) << 40,
    };
}

/* True where rows do not matter: no unused bits, and not more than one scale or, if `join` is set,
 * scales that follow each other from row to row as they do inside one. */
static bool is_flat(const lt_layout *layout, bool join) {
    uint64_t scope = layout->scale_elems;
    return lt_layout_is_dense(layout) && (scope == 0 || (join && scope % LT_CL_MAX_VECTOR == 0 &&
                                                         layout->row_elems % scope == 0));
}

lt_cl_side lt_cl_side_of(const lt_layout *layout, const lt_span *span, uint64_t elem,
                         uint64_t n_elems, bool join) {
    bool flat = is_flat(layout, join);
    uint64_t row_elems = flat ? layout->n_elems : layout->row_elems;
    uint64_t row_bytes = flat ? layout->n_bytes : layout->row_bytes;
    uint64_t row = flat ? 0 : elem / row_elems;
    uint64_t col = elem - row * row_elems;
    bool is_long = row_elems >= LT_CL_LONG_ROW;
    uint64_t left_out = is_long ? round_down(col, LONG_ROW_QUANTUM) : 0;
    uint64_t left_out_bytes = lt_layout_col_bytes(layout, left_out);
    lt_cl_side made = {
        .layout = layout,
        .args =
            {
                .data_offset =
                    span->data_offset - span->first_byte + row * row_bytes + left_out_bytes,
                .scale_offset = span->scale_offset - span->first_scale,
                .first_col = col - left_out,
                .row_bytes = row_bytes - left_out_bytes,
                .scales_per_row = flat ? layout->n_scales : layout->scales_per_row,
                .scale_elems = lt_cl_div_by(layout->scale_elems),
            },
        .n_elems = n_elems,
        .row_elems = row_elems - left_out,
    };
    if (layout->scale_elems != 0) {
        uint64_t scales_left_out = left_out / layout->scale_elems;
        made.args.scale_offset += row * made.args.scales_per_row + scales_left_out;
        made.args.scales_per_row -= scales_left_out;
        made.args.scale_phase = left_out % layout->scale_elems;
    }
    if (made.args.first_col + n_elems > made.row_elems) {
        const lathe_div undivided = {.by = made.row_elems};
        made.args.row_elems = is_long ? undivided : lt_cl_div_by(row_elems);
    }
    return made;
}

bool lt_cl_shape_side(lt_cl_side *s, uint64_t n_rows, uint64_t n_cols) {
    lathe_side *args = &s->args;
    if (!lt_cl_in_one_row(s)) {
        return args->first_col == 0 && s->row_elems == n_cols;
    }
    bool whole_bytes = lt_layout_col_in_unit(s->layout, args->first_col) == 0;
    if (s->layout->scale_elems != 0 || !whole_bytes) {
        return n_rows == 1 || (args->first_col == 0 && s->row_elems == n_cols);
    }
    args->data_offset += lt_layout_col_bytes(s->layout, args->first_col);
    args->first_col = 0;
    args->row_bytes = lt_layout_col_bytes(s->layout, n_cols);
    return n_rows == 1 || lt_layout_col_in_unit(s->layout, n_cols) == 0;
}

static uint64_t bytes_of(const lt_layout *layout, uint64_t n_elems) {
    uint64_t units = n_elems / layout->unit_elems;
    return lt_max(units * layout->unit_bytes, 1);
}

bool lt_cl_is_aligned(const lt_cl_side *s, bool one_row, uint64_t n_elems) {
    const lathe_side *args = &s->args;
    uint64_t word = lt_min(bytes_of(s->layout, n_elems), 16);
    uint64_t first = args->data_offset + lt_layout_col_bytes(s->layout, args->first_col);
    return args->first_col % n_elems == 0 && first % word == 0 &&
           (one_row || args->row_bytes % word == 0);
}
