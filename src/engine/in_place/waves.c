/* SPDX-License-Identifier: Apache-2.0 */
/* Waves of an in-place conversion. */
#include "engine/in_place/waves.h"

#include "core/checked.h"

/* ---- where elements lie */

/* The byte that holds an element of a tensor; its end, for the number of elements. */
static uint64_t byte_of(const lt_layout *layout, uint64_t elem) {
    uint64_t col = elem % layout->row_elems;
    return elem / layout->row_elems * layout->row_bytes + lt_layout_col_bytes(layout, col);
}

/* Bytes of the first n_cols elements of a row. */
static uint64_t bytes_of_cols(const lt_layout *layout, uint64_t n_cols) {
    return layout->unit_elems == 1 ? n_cols * layout->unit_bytes
                                   : lt_ceil_div(n_cols, layout->unit_elems);
}

/* Where the first n_elems elements end. */
static uint64_t end_of(const lt_layout *layout, uint64_t n_elems) {
    if (n_elems == 0) {
        return 0;
    }
    uint64_t last = n_elems - 1;
    return last / layout->row_elems * layout->row_bytes +
           bytes_of_cols(layout, last % layout->row_elems + 1);
}

/* How many elements of a row n_bytes hold; UINT64_MAX if that overflows. */
static uint64_t cols_in(const lt_layout *layout, uint64_t n_bytes) {
    uint64_t n_cols = UINT64_MAX;
    if (layout->unit_elems == 1) {
        return n_bytes / layout->unit_bytes;
    }
    (void)lt_mul(n_bytes, layout->unit_elems, &n_cols);
    return n_cols;
}

static uint64_t round_down(uint64_t n) {
    return n - n % LT_WAVE_QUANTUM;
}

static uint64_t round_up(uint64_t n) {
    return lt_ceil_div(n, LT_WAVE_QUANTUM) * LT_WAVE_QUANTUM;
}

void lt_range_bytes(const lt_layout *layout, const lt_range *range, uint64_t *first,
                    uint64_t *n_bytes) {
    bool whole_rows = range->n_cols == layout->row_elems;
    *first = range->row * layout->row_bytes + lt_layout_col_bytes(layout, range->col);
    *n_bytes =
        whole_rows ? range->n_rows * layout->row_bytes : bytes_of_cols(layout, range->n_cols);
}

static void range_in(const lt_layout *layout, uint64_t row_elems, const lt_range *range,
                     uint64_t *first, uint64_t *end) {
    uint64_t elem = range->row * row_elems + range->col;
    *first = byte_of(layout, elem);
    *end = end_of(layout, elem + range->n_rows * range->n_cols);
}

void lt_waves_bytes_read(const lt_waves *w, const lt_range *range, uint64_t *first, uint64_t *end) {
    range_in(w->src, w->dst->row_elems, range, first, end);
}

void lt_waves_bytes_written(const lt_waves *w, const lt_range *range, uint64_t *first,
                            uint64_t *end) {
    range_in(w->dst, w->dst->row_elems, range, first, end);
}

/* ---- ranges */

/* Rows [first, end) in ranges of about target_elems elements. */
static lt_ranges cut_rows(uint64_t row_elems, uint64_t first, uint64_t end, uint64_t target_elems) {
    lt_ranges ranges = {
        .n_rows = end,
        .row_elems = row_elems,
        .rows_per_range = 1,
        .cols_per_range = row_elems,
        .ranges_per_row = 1,
        .first_row = first,
    };
    if (row_elems > target_elems) {
        ranges.cols_per_range = target_elems;
        ranges.ranges_per_row = lt_ceil_div(row_elems, target_elems);
    } else {
        ranges.rows_per_range = lt_max(target_elems / row_elems, 1);
    }
    ranges.n_ranges = lt_ceil_div(end - first, ranges.rows_per_range) * ranges.ranges_per_row;
    return ranges;
}

/* Columns [first, end) of a row. */
static lt_ranges cut_cols(uint64_t row, uint64_t first, uint64_t end, uint64_t target_elems) {
    return (lt_ranges){
        .n_rows = row + 1,
        .row_elems = end,
        .rows_per_range = 1,
        .cols_per_range = target_elems,
        .ranges_per_row = lt_ceil_div(end - first, target_elems),
        .n_ranges = lt_ceil_div(end - first, target_elems),
        .first_row = row,
        .first_col = first,
    };
}

lt_ranges lt_pieces_of(const lt_layout *layout, uint64_t piece_elems) {
    return cut_rows(layout->row_elems, 0, layout->n_rows, piece_elems);
}

/* How many elements a range of a wave of n_elems elements has. Where threads would wait for each
 * other longer than they work, the wave is one range. */
static uint64_t range_elems(const lt_waves *w, uint64_t n_elems) {
    uint64_t share = round_up(lt_ceil_div(n_elems, w->ranges_per_wave));
    uint64_t least = lt_max(round_down(w->elems_per_range / 16), w->piece_elems);
    return lt_max(lt_min(share, round_down(w->elems_per_range)), least);
}

static lt_wave rows_wave(const lt_waves *w, uint64_t first, uint64_t end) {
    uint64_t row_elems = w->dst->row_elems;
    uint64_t target = range_elems(w, (end - first) * row_elems);
    return (lt_wave){.ranges = cut_rows(row_elems, first, end, target)};
}

static lt_wave cols_wave(const lt_waves *w, uint64_t row, uint64_t first, uint64_t end) {
    return (lt_wave){.ranges = cut_cols(row, first, end, range_elems(w, end - first))};
}

/* ---- the order */

static bool are_independent(const lt_layout *src, const lt_layout *dst, uint64_t piece_elems) {
    bool same_units = src->unit_elems == dst->unit_elems && src->unit_bytes == dst->unit_bytes;
    bool same_rows = src->n_rows == dst->n_rows && src->row_elems == dst->row_elems &&
                     src->row_bytes == dst->row_bytes;
    if (same_units && lt_layout_is_dense(src) && lt_layout_is_dense(dst)) {
        return true;
    }
    return same_rows && (same_units || dst->row_elems <= piece_elems);
}

lt_waves lt_waves_make(const lt_layout *src, const lt_layout *dst, uint64_t piece_elems,
                       uint64_t elems_per_range, uint32_t ranges_per_wave, bool bounces_many) {
    bool is_independent = are_independent(src, dst, piece_elems);
    bool is_backward = !is_independent && dst->n_bytes > src->n_bytes;
    return (lt_waves){
        .src = src,
        .dst = dst,
        .piece_elems = piece_elems,
        .elems_per_range = elems_per_range,
        .ranges_per_wave = ranges_per_wave,
        .bounces_many = bounces_many,
        .are_independent = is_independent,
        .is_backward = is_backward,
        .row = is_backward ? dst->n_rows : 0,
    };
}

bool lt_waves_are_done(const lt_waves *w) {
    return w->is_backward ? w->row == 0 && w->col == 0 : w->row == w->dst->n_rows;
}

/* Moves on to column `col` of row `row`; the row's end is the next one's beginning. */
static void go_to(lt_waves *w, uint64_t row, uint64_t col) {
    bool at_end = col == w->dst->row_elems;
    w->row = at_end ? row + 1 : row;
    w->col = at_end ? 0 : col;
}

/* Elements before position (row, col). */
static uint64_t elems_before(const lt_waves *w, uint64_t row, uint64_t col) {
    return row * w->dst->row_elems + col;
}

/* The next piece, at most piece_elems elements, from (row, col) on; `end` gets where it ends. */
static lt_wave forward_piece(const lt_waves *w, lt_waves *end) {
    uint64_t row_elems = w->dst->row_elems;
    *end = *w;
    if (row_elems <= w->piece_elems) {
        uint64_t n_rows = lt_min(w->piece_elems / row_elems, w->dst->n_rows - w->row);
        end->row = w->row + n_rows;
        return (lt_wave){
            .ranges = cut_rows(row_elems, w->row, end->row, w->piece_elems),
            .is_bounced = true,
        };
    }
    uint64_t last = lt_min(w->col + w->piece_elems, row_elems);
    go_to(end, w->row, last);
    return (lt_wave){.ranges = cut_cols(w->row, w->col, last, w->piece_elems), .is_bounced = true};
}

/* The elements from the position on that fit before the source's byte that is needed next. */
static bool forward_wave(lt_waves *w, lt_wave *wave) {
    const lt_layout *dst = w->dst;
    uint64_t limit = byte_of(w->src, elems_before(w, w->row, w->col));
    uint64_t row_at = w->row * dst->row_bytes;
    if (w->col == 0) {
        uint64_t end = lt_min(limit / dst->row_bytes, dst->n_rows);
        bool is_enough = end > w->row &&
                         ((end - w->row) * dst->row_elems >= w->piece_elems || end == dst->n_rows);
        if (is_enough) {
            *wave = rows_wave(w, w->row, end);
            w->row = end;
            return true;
        }
    }
    uint64_t col = limit > row_at ? cols_in(dst, limit - row_at) : 0;
    col = col >= dst->row_elems ? dst->row_elems : round_down(col);
    bool is_enough = dst->row_elems > w->piece_elems && col > w->col &&
                     (col - w->col >= w->piece_elems || col == dst->row_elems);
    if (is_enough) {
        *wave = cols_wave(w, w->row, w->col, col);
        go_to(w, w->row, col);
    }
    return is_enough;
}

static bool next_forward(lt_waves *w, lt_wave *wave) {
    lt_waves end;
    if (forward_wave(w, wave)) {
        return true;
    }
    lt_wave piece = forward_piece(w, &end);
    uint64_t elem = elems_before(&end, end.row, end.col);
    uint64_t written = end.row * w->dst->row_bytes + bytes_of_cols(w->dst, end.col);
    if (elem < w->dst->n_elems && written > byte_of(w->src, elem)) {
        return false; /* it would write over what is still to be read */
    }
    *wave = piece;
    *w = end;
    return true;
}

/* The piece that ends at (row, col); `begin` gets where it begins. */
static lt_wave backward_piece(const lt_waves *w, lt_waves *begin) {
    uint64_t row_elems = w->dst->row_elems;
    *begin = *w;
    if (row_elems <= w->piece_elems) {
        begin->row = w->row - lt_min(w->piece_elems / row_elems, w->row);
        return (lt_wave){
            .ranges = cut_rows(row_elems, begin->row, w->row, w->piece_elems),
            .is_bounced = true,
        };
    }
    uint64_t row = w->col == 0 ? w->row - 1 : w->row;
    uint64_t end = w->col == 0 ? row_elems : w->col;
    uint64_t first = (end - 1) / w->piece_elems * w->piece_elems;
    begin->row = row;
    begin->col = first;
    return (lt_wave){.ranges = cut_cols(row, first, end, w->piece_elems), .is_bounced = true};
}

/* The elements before the position that fit behind the source's last byte that is needed. */
static bool backward_wave(lt_waves *w, lt_wave *wave) {
    const lt_layout *dst = w->dst;
    uint64_t limit = end_of(w->src, elems_before(w, w->row, w->col));
    if (w->col == 0) {
        uint64_t first = lt_ceil_div(limit, dst->row_bytes);
        if (first < w->row && (w->row - first) * dst->row_elems >= w->piece_elems) {
            *wave = rows_wave(w, first, w->row);
            w->row = first;
            return true;
        }
    }
    uint64_t row = w->col == 0 ? w->row - 1 : w->row;
    uint64_t end = w->col == 0 ? dst->row_elems : w->col;
    uint64_t row_at = row * dst->row_bytes;
    uint64_t skipped = limit <= row_at ? 0 : limit - row_at;
    if (skipped >= bytes_of_cols(dst, end) || dst->row_elems <= w->piece_elems) {
        return false;
    }
    uint64_t unit_cols = cols_in(dst, lt_ceil_div(skipped, dst->unit_bytes) * dst->unit_bytes);
    uint64_t first = round_up(unit_cols);
    bool is_enough = first < end && (end - first >= w->piece_elems || first == 0);
    if (is_enough) {
        *wave = cols_wave(w, row, first, end);
        w->row = row;
        w->col = first;
    }
    return is_enough;
}

static bool next_backward(lt_waves *w, lt_wave *wave) {
    lt_waves begin;
    if (backward_wave(w, wave)) {
        return true;
    }
    lt_wave piece = backward_piece(w, &begin);
    uint64_t elem = elems_before(&begin, begin.row, begin.col);
    uint64_t written = begin.row * w->dst->row_bytes + lt_layout_col_bytes(w->dst, begin.col);
    if (written < end_of(w->src, elem)) {
        return false;
    }
    *wave = piece;
    *w = begin;
    return true;
}

/* Pieces that do not depend on each other: one, or the rest of the row, or all whole rows. */
static void next_independent(lt_waves *w, lt_wave *wave) {
    lt_waves end = *w;
    if (!w->bounces_many) {
        *wave = forward_piece(w, &end);
    } else if (w->col > 0) {
        uint64_t row_elems = w->dst->row_elems;
        wave->ranges = cut_cols(w->row, w->col, row_elems, w->piece_elems);
        go_to(&end, w->row, row_elems);
    } else {
        wave->ranges = cut_rows(w->dst->row_elems, w->row, w->dst->n_rows, w->piece_elems);
        end.row = w->dst->n_rows;
    }
    wave->is_bounced = true;
    *w = end;
}

bool lt_waves_next(lt_waves *w, lt_wave *wave) {
    if (lt_waves_are_done(w)) {
        return false;
    }
    if (w->are_independent) {
        next_independent(w, wave);
        return true;
    }
    return w->is_backward ? next_backward(w, wave) : next_forward(w, wave);
}

bool lt_waves_next_whole(lt_waves *w, uint64_t max_elems, lt_wave *wave) {
    uint64_t row_elems = w->dst->row_elems;
    if (w->is_backward || lt_waves_are_done(w)) {
        return false;
    }
    if (w->col == 0 && row_elems <= max_elems) {
        uint64_t n_rows = lt_min(max_elems / row_elems, w->dst->n_rows - w->row);
        uint64_t end = w->row + n_rows;
        *wave = (lt_wave){.ranges = cut_rows(row_elems, w->row, end, n_rows * row_elems)};
        w->row = end;
        return true;
    }
    uint64_t end = lt_min(w->col + round_down(max_elems), row_elems);
    *wave = (lt_wave){.ranges = cut_cols(w->row, w->col, end, end - w->col)};
    go_to(w, w->row, end);
    return true;
}

bool lt_waves_can_finish(lt_waves waves) {
    lt_wave wave;
    while (lt_waves_next(&waves, &wave)) {
    }
    return lt_waves_are_done(&waves);
}
