/* SPDX-License-Identifier: Apache-2.0 */
/* From work to kernel launches: how the two sides lie, in the 32-bit terms of kernels. */
#include "opencl/launch.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "lathe_constants.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Rows of so many elements are given without what lies before the launch. */
#define LONG_ROW (UINT64_C(1) << 31)

/* What is left out of a long row: whole bytes of every dtype, and fours of elements. */
enum { LONG_ROW_QUANTUM = 160 };

static uint64_t round_down(uint64_t n, uint64_t quantum) {
    return n - n % quantum;
}

/* Granlund and Montgomery, "Division by Invariant Integers using Multiplication" (1994): with s the
 * least power for which 2^s >= by, and m = 2^32 (2^s - by) / by + 1, rounded down, n / by is (t +
 * (n - t) / 2) / 2^(s - 1), where t = m n / 2^32, for every 32-bit n. */
static lathe_div div_by(uint64_t by) {
    if (by == 0 || by >= LONG_ROW) {
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

/* A launch of elements [elem, elem + n_elems) of the tensor, and how its sides lie. */
typedef struct side {
    const lt_layout *layout;
    lathe_side args;
    uint64_t n_elems;   /* of the launch */
    uint64_t row_elems; /* of row 0, as given */
} side;

/* Vectors are of this many elements at most. */
enum { MAX_VECTOR = 16 };

/* True where rows do not matter: no unused bits, and not more than one scale or, if `join` is set,
 * scales that follow each other from row to row as they do inside one. */
static bool is_flat(const lt_layout *layout, bool join) {
    uint64_t scope = layout->scale_elems;
    return lt_layout_is_dense(layout) &&
           (scope == 0 || (join && scope % MAX_VECTOR == 0 && layout->row_elems % scope == 0));
}

static side side_of(const lt_layout *layout, const lt_span *span, uint64_t elem, uint64_t n_elems,
                    bool join) {
    bool flat = is_flat(layout, join);
    uint64_t row_elems = flat ? layout->n_elems : layout->row_elems;
    uint64_t row_bytes = flat ? layout->n_bytes : layout->row_bytes;
    uint64_t row = flat ? 0 : elem / row_elems;
    uint64_t col = elem - row * row_elems;
    bool is_long = row_elems >= LONG_ROW;
    uint64_t left_out = is_long ? round_down(col, LONG_ROW_QUANTUM) : 0;
    uint64_t left_out_bytes = lt_layout_col_bytes(layout, left_out);
    side made = {
        .layout = layout,
        .args =
            {
                .data_offset =
                    span->data_offset - span->first_byte + row * row_bytes + left_out_bytes,
                .scale_offset = span->scale_offset - span->first_scale,
                .first_col = col - left_out,
                .row_bytes = row_bytes - left_out_bytes,
                .scales_per_row = flat ? layout->n_scales : layout->scales_per_row,
                .scale_elems = div_by(layout->scale_elems),
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
        made.args.row_elems = is_long ? (lathe_div){.by = made.row_elems} : div_by(row_elems);
    }
    return made;
}

static bool in_one_row(const side *s) {
    return s->args.row_elems.by == 0;
}

/* Describes the side's elements as rows of n_cols columns. Returns false if they are not. */
static bool shape_side(side *s, uint64_t n_rows, uint64_t n_cols) {
    lathe_side *args = &s->args;
    if (!in_one_row(s)) {
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

/* True if n_elems elements from any column that is a multiple of that can be accessed at once, in
 * words of at most 16 bytes. */
static bool is_aligned(const side *s, bool one_row, uint64_t n_elems) {
    const lathe_side *args = &s->args;
    uint64_t word = lt_min(bytes_of(s->layout, n_elems), 16);
    uint64_t first = args->data_offset + lt_layout_col_bytes(s->layout, args->first_col);
    return args->first_col % n_elems == 0 && first % word == 0 &&
           (one_row || args->row_bytes % word == 0);
}

static uint64_t unit_elems(const lt_pass *pass) {
    return LATHE_CL_UNIT((int)pass->src.dtype, (int)pass->dst.dtype);
}

/* What a work-item loads and encodes at once. */
static uint64_t vector_elems(const lt_pass *pass) {
    return LATHE_CL_WIDTH((int)pass->src.dtype, (int)pass->dst.dtype);
}

static bool trits_are_aligned(const side *s, bool one_row) {
    uint64_t first = s->args.data_offset + lt_layout_col_bytes(s->layout, s->args.first_col);
    return first % 4 == 0 && (one_row || s->args.row_bytes % 4 == 0);
}

static bool target_is_aligned(const lt_pass *pass, const side *dst, bool one_row) {
    return pass->dst.dtype == LATHE_BITNET158
               ? trits_are_aligned(dst, one_row) && dst->args.first_col % 20 == 0
               : is_aligned(dst, one_row, unit_elems(pass));
}

/* A convert launch being made. */
typedef struct convert {
    const lt_pass *pass;
    side src; /* by their own rows */
    side dst;
    side joined_src; /* with rows joined where that can be */
    side joined_dst;
    lt_cl_launch launch;
} convert;

/* The stream kernel divides by 32-bit numbers to find scales. */
static bool scales_are_near(const side *s) {
    return s->args.scale_elems.by < LONG_ROW;
}

/* Makes a launch of the stream kernel, if both sides are n_rows rows of n_cols aligned columns. */
static bool stream_shape(convert *c, uint64_t n_rows, uint64_t n_cols) {
    const lt_pass *pass = c->pass;
    bool one_row = n_rows == 1;
    side src = one_row ? c->joined_src : c->src;
    side dst = one_row ? c->joined_dst : c->dst;
    if (!scales_are_near(&src) || !scales_are_near(&dst) || !shape_side(&src, n_rows, n_cols) ||
        !shape_side(&dst, n_rows, n_cols) || !is_aligned(&src, one_row, vector_elems(pass))) {
        return false;
    }
    bool is_trits = pass->dst.dtype == LATHE_BITNET158;
    bool aligned = target_is_aligned(pass, &dst, one_row);
    if (is_trits ? dst.args.first_col % unit_elems(pass) != 0 : !aligned) {
        return false;
    }
    lathe_launch *args = &c->launch.args;
    uint64_t steps = LATHE_CL_PAIR_STEPS((int)pass->src.dtype, (int)pass->dst.dtype);
    uint64_t row_units = lt_ceil_div(n_cols, unit_elems(pass));
    args->src = src.args;
    args->dst = dst.args;
    args->n_rows = n_rows;
    args->n_cols = n_cols;
    args->row_units = div_by(row_units);
    args->n_units = n_rows * row_units;
    args->flags |= aligned ? LATHE_CL_DST_VECTOR : 0;
    bool has_whole_rows = n_cols % unit_elems(pass) == 0 && row_units % LATHE_CL_GROUP == 0;
    bool is_plain = (args->flags & (LATHE_CL_STRICT | LATHE_CL_SURVEY)) == 0;
    args->flags |= is_plain && (one_row || has_whole_rows) ? LATHE_CL_REGULAR : 0;
    c->launch.kernel = LT_CL_STREAM;
    c->launch.n_groups = lt_ceil_div(args->n_units, LATHE_CL_GROUP * steps);
    return true;
}

/* The stream kernel, if the two sides' rows agree or can be made to. */
static bool make_stream(convert *c, const lt_range *range) {
    uint64_t n_elems = c->src.n_elems;
    uint64_t src_cols = c->src.row_elems;
    if (c->pass->own_scales) {
        return false;
    }
    return (in_one_row(&c->joined_src) && in_one_row(&c->joined_dst) &&
            stream_shape(c, 1, n_elems)) ||
           stream_shape(c, range->n_rows, range->n_cols) ||
           (!in_one_row(&c->src) && n_elems % src_cols == 0 &&
            stream_shape(c, n_elems / src_cols, src_cols));
}

/* Columns are cut where a byte and a scale, if the kernel finds it, begin. */
static uint64_t column_quantum(const lt_pass *pass) {
    const lt_layout *dst = &pass->dst;
    uint64_t unit = dst->dtype == LATHE_BITNET158 ? unit_elems(pass) : 32;
    uint64_t scope = lt_layout_scale_run(dst);
    if (!pass->own_scales || unit % scope == 0) {
        return unit;
    }
    /* Groups are multiples of 32: only BITNET158's five elements a byte can be foreign to them. */
    return dst->dtype == LATHE_BITNET158 && scope % LATHE_BITNET158_PER_BYTE != 0
               ? scope * LATHE_BITNET158_PER_BYTE
               : scope;
}

/* How many rows a block takes, if it takes whole ones: few enough scales, and vectors, of which a
 * row's last may be short. */
static uint64_t rows_of_block(const lt_pass *pass, uint64_t n_cols) {
    uint64_t width = vector_elems(pass);
    uint64_t parts = LATHE_CL_BLOCK_ELEMS / width;
    uint64_t rows = parts / lt_ceil_div(n_cols, width);
    if (pass->own_scales) {
        rows = lt_min(rows, LATHE_CL_BLOCK_SCOPES / pass->dst.scales_per_row);
    }
    return lt_max(rows, 1);
}

/* True if the source can be loaded in vectors of so many elements, each in a block's row. No vector
 * has elements of two scales: those of a row that begin inside it do so at multiples of 32, those
 * of joined rows at multiples of MAX_VECTOR. */
static bool blocks_are_vectors(const convert *c, uint64_t width) {
    const lathe_launch *args = &c->launch.args;
    bool one_row = in_one_row(&c->src);
    bool begin_vectors =
        args->block_rows > 1 || args->block_cols >= args->n_cols || args->block_cols % width == 0;
    return begin_vectors && (args->n_rows == 1 || args->n_cols % width == 0) &&
           (one_row || c->src.row_elems % width == 0) && is_aligned(&c->src, one_row, width);
}

/* Blocks for the linear kernel: see there. */
static bool blocks_are_linear(const convert *c) {
    const lt_pass *pass = c->pass;
    const lathe_launch *args = &c->launch.args;
    return pass->own_scales && args->block_rows == 1 && args->n_cols % MAX_VECTOR == 0 &&
           args->block_cols % MAX_VECTOR == 0 && pass->dst.scale_elems % MAX_VECTOR == 0 &&
           blocks_are_vectors(c, MAX_VECTOR) &&
           (pass->dst.dtype == LATHE_BITNET158 ||
            is_aligned(&c->dst, args->n_rows == 1, MAX_VECTOR));
}

static void cut_blocks(convert *c) {
    const lt_pass *pass = c->pass;
    lathe_launch *args = &c->launch.args;
    uint64_t row_blocks = 1;
    if (args->n_cols <= LATHE_CL_BLOCK_ELEMS && args->n_rows > 1) {
        args->block_rows = rows_of_block(pass, args->n_cols);
        args->block_cols = args->n_cols;
        args->row_parts = div_by(lt_ceil_div(args->n_cols, vector_elems(pass)));
        args->row_outputs = div_by(lt_ceil_div(args->n_cols, unit_elems(pass)));
        args->row_scopes = div_by(pass->dst.scales_per_row);
    } else {
        uint64_t quantum = column_quantum(pass);
        uint64_t most_elems = LATHE_CL_BLOCK_ELEMS;
        if (pass->own_scales) {
            most_elems = lt_min(most_elems, LATHE_CL_BLOCK_SCOPES * pass->dst.scale_elems);
        }
        args->block_rows = 1;
        args->block_cols = lt_max(most_elems / quantum, 1) * quantum;
        row_blocks = lt_ceil_div(args->n_cols, args->block_cols);
    }
    args->row_units = div_by(row_blocks);
    args->n_units = lt_ceil_div(args->n_rows, args->block_rows) * row_blocks;
}

/* Blocks go by the target's rows, its own or one that they make together. */
static void make_blocks(convert *c, const lt_range *range) {
    const lt_pass *pass = c->pass;
    lathe_launch *args = &c->launch.args;
    bool one_row = in_one_row(&c->joined_dst);
    args->n_rows = one_row ? 1 : range->n_rows;
    args->n_cols = one_row ? c->dst.n_elems : range->n_cols;
    c->src = c->joined_src;
    c->dst = one_row ? c->joined_dst : c->dst;
    if (in_one_row(&c->src)) {
        (void)shape_side(&c->src, 1, c->src.n_elems);
    }
    (void)shape_side(&c->dst, args->n_rows, args->n_cols);
    args->src = c->src.args;
    args->dst = c->dst.args;
    cut_blocks(c);
    args->flags |= blocks_are_vectors(c, vector_elems(pass)) ? LATHE_CL_SRC_VECTOR : 0;
    args->flags |= target_is_aligned(pass, &c->dst, args->n_rows == 1) ? LATHE_CL_DST_VECTOR : 0;
    bool is_linear = blocks_are_linear(c);
    args->flags |= is_linear ? LATHE_CL_LINEAR : 0;
    c->launch.kernel = is_linear ? LT_CL_LINEAR : LT_CL_BLOCK;
    c->launch.n_groups = args->n_units;
}

static uint64_t convert_flags(const lt_pass *pass) {
    bool quantizes = lathe_dtype_is_quantized(pass->dst.dtype);
    uint64_t flags = 0;
    if (quantizes && pass->nonfinite == LATHE_NONFINITE_ERROR) {
        flags |= LATHE_CL_NONFINITE_ERROR;
    }
    if (quantizes && pass->quality == LATHE_FAST) {
        flags |= LATHE_CL_SURVEY;
    }
    flags |= pass->strict ? LATHE_CL_STRICT : 0;
    flags |= pass->own_scales ? LATHE_CL_OWN_SCALES : 0;
    flags |= lt_dtype_traits_of(pass->src.dtype)->byte_values != 0 ? LATHE_CL_CHECK_BYTES : 0;
    return flags;
}

static lt_cl_launch launch_of(const lt_work *work, const lt_range *range, bool by_blocks) {
    const lt_pass *pass = work->pass;
    uint64_t elem = range->row * pass->dst.row_elems + range->col;
    uint64_t n_elems = range->n_rows * range->n_cols;
    if (n_elems == 0) {
        return (lt_cl_launch){0};
    }
    convert c = {
        .pass = pass,
        .src = side_of(&pass->src, &work->src, elem, n_elems, false),
        .dst = side_of(&pass->dst, &work->dst, elem, n_elems, false),
        .joined_src = side_of(&pass->src, &work->src, elem, n_elems, true),
        .joined_dst = side_of(&pass->dst, &work->dst, elem, n_elems, true),
        .launch.args =
            {
                .flags = convert_flags(pass),
                .fault_base = elem - LATHE_CL_FAULT_MARGIN,
            },
    };
    if (by_blocks || !make_stream(&c, range)) {
        make_blocks(&c, range);
    }
    return c.launch;
}

lt_cl_launch lt_cl_launch_convert(const lt_work *work, const lt_range *range) {
    return launch_of(work, range, false);
}

lt_cl_launch lt_cl_launch_blocks(const lt_work *work, const lt_range *range) {
    return launch_of(work, range, true);
}

/* The position of the first tile, in the kernel's terms. */
static void place_tiles(lathe_launch *args, const lt_tiling *tiling, uint64_t first_tile,
                        uint64_t first_elem) {
    uint64_t scope = first_tile / tiling->tiles_per_scope;
    uint64_t row = scope / tiling->scopes_per_row;
    args->tile_phase = first_tile % tiling->tiles_per_scope;
    args->scope_phase = scope % tiling->scopes_per_row;
    args->tiles_per_scope = div_by(tiling->tiles_per_scope);
    args->scopes_per_row = div_by(tiling->scopes_per_row);
    args->scope_elems = tiling->scope_elems;
    args->tiling_row = tiling->row_elems == 0 ? tiling->n_elems : tiling->row_elems;
    args->tile_origin = first_elem - row * args->tiling_row;
}

/* True if whole tiles can be loaded four elements at a time, wherever they begin. */
static bool tiles_are_vectors(const lt_tiling *tiling, const side *src) {
    bool one_row = in_one_row(src);
    bool tiles_begin_fours = tiling->row_elems % 4 == 0 || tiling->row_elems == tiling->n_elems;
    bool scopes_begin_fours = tiling->scope_elems % 4 == 0 || tiling->scopes_per_row == 1;
    return tiles_begin_fours && scopes_begin_fours && (one_row || src->row_elems % 4 == 0) &&
           is_aligned(src, one_row, 4);
}

lt_cl_launch lt_cl_launch_stats(const lt_work *work, uint32_t group_size) {
    const lt_pass *pass = work->pass;
    const lt_tiling *tiling = &pass->tiling;
    bool is_fast = pass->quality == LATHE_FAST;
    uint64_t first;
    uint64_t last;
    uint64_t n_elems;
    lt_tiling_tile(tiling, work->first_tile, &first, &n_elems);
    lt_tiling_tile(tiling, work->first_tile + work->n_tiles - 1, &last, &n_elems);
    side src = side_of(&pass->src, &work->src, first, last + n_elems - first, true);
    if (in_one_row(&src)) {
        (void)shape_side(&src, 1, src.n_elems);
    }
    lt_cl_launch launch = {
        .kernel = LT_CL_STATS,
        .args =
            {
                .src = src.args,
                .fault_base = first - LATHE_CL_FAULT_MARGIN,
                .n_tiles = work->n_tiles,
            },
        .n_groups =
            lt_ceil_div(work->n_tiles, group_size / LATHE_CL_TILE_ITEMS((int)pass->src.dtype)),
    };
    lathe_launch *args = &launch.args;
    place_tiles(args, tiling, work->first_tile, first);
    args->flags |= tiles_are_vectors(tiling, &src) ? LATHE_CL_SRC_VECTOR : 0;
    /* A sample does not show the first fault, so the convert pass looks for it. */
    if (is_fast) {
        args->flags |= LATHE_CL_FAST;
    } else {
        args->flags |= pass->nonfinite == LATHE_NONFINITE_ERROR ? LATHE_CL_NONFINITE_ERROR : 0;
        args->flags |= LATHE_CL_CHECK_BYTES;
    }
    return launch;
}

void lt_cl_launch_report(const lathe_launch *args, const uint32_t *words, lt_outcome *outcome) {
    static const lathe_status statuses[LATHE_CL_FAULT_KINDS] = {
        [LATHE_CL_FAULT_NON_FINITE] = LATHE_NON_FINITE,
        [LATHE_CL_FAULT_DATA_LOSS] = LATHE_DATA_LOSS,
        [LATHE_CL_FAULT_CORRUPT_DATA] = LATHE_CORRUPT_DATA,
    };
    lathe_status status = statuses[words[0] % LATHE_CL_FAULT_KINDS];
    if (words[0] != LATHE_CL_NO_FAULT && status != LATHE_OK) {
        lt_outcome_fault(outcome, status, args->fault_base + words[0] / LATHE_CL_FAULT_KINDS);
    }
    if (words[1] > 0) {
        (void)atomic_fetch_add_explicit(&outcome->n_saturated, words[1], memory_order_relaxed);
    }
}

/* Adds a number, not 0, of 2^shift units to a sum of units; 2^53 units or more are all the same. */
static uint64_t add_units(uint64_t sum, uint64_t number, uint32_t shift) {
    const uint64_t too_much = UINT64_C(1) << 53;
    bool is_too_much = shift > 53 || number > too_much >> shift;
    return is_too_much ? too_much : lt_min(sum + (number << shift), too_much);
}

void lt_cl_tile_sum(lathe_dtype dtype, const uint32_t *words, lt_tile_sum *sum) {
    *sum = (lt_tile_sum){.is_set = true, .is_exact = true, .lowest = INT32_MAX};
    if (lt_dtype_traits_of(dtype)->rule == LT_RULE_ABSMAX) {
        float top;
        memcpy(&top, words, sizeof top);
        sum->value = top;
        return;
    }
    uint64_t units = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < LATHE_CL_SUM_BUCKETS * LATHE_CL_SUM_PARTS; i++) {
        const uint32_t number = words[1 + i];
        const uint32_t bucket = i / LATHE_CL_SUM_PARTS;
        if (number == 0) {
            continue;
        }
        if (sum->lowest == INT32_MAX) {
            first = bucket;
            sum->lowest = (int32_t)bucket + LATHE_CL_SUM_LOWEST;
        }
        units =
            add_units(units, number, bucket - first + i % LATHE_CL_SUM_PARTS * LATHE_CL_SUM_BITS);
    }
    sum->is_exact = units < UINT64_C(1) << 53;
    sum->value = units == 0 ? 0 : ldexp((double)units, sum->lowest);
}

const char *lt_cl_options(const lt_cl_device *device, lathe_dtype src, lathe_dtype dst,
                          const char *more, char text[LT_CL_OPTIONS_TEXT]) {
    (void)snprintf(text, LT_CL_OPTIONS_TEXT,
                   "-cl-std=CL1.2 -w -DLT_SRC=%d -DLT_DST=%d -DLT_GROUP=%u%s", (int)src, (int)dst,
                   (unsigned)device->group_size, more != NULL ? more : "");
    return text;
}
