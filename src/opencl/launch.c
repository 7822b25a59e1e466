/* SPDX-License-Identifier: Apache-2.0 */
/* From work to kernel launches: which kernel a range takes, and what it is told. */
#include "opencl/launch.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "lathe_constants.h"
#include "opencl/flat.h"
#include "opencl/side.h"

/* The trits kernel loads sixteen bytes at a time. Columns that rows are cut at for it are whole
 * bytes on the other side, too. Of shorter rows a block for each would cost more than it saves. */
enum { TRITS_VECTOR = 8, TRITS_QUANTUM = 40, LEAST_TRITS_ROW = 1024 };

/* Columns and scopes of the plain kernel's blocks are multiples of this; rows of fewer elements
 * share a block. */
enum { PLAIN_QUANTUM = 32, LEAST_PLAIN_ROW = 256 };

static uint64_t unit_elems(const lt_pass *pass) {
    return LATHE_CL_UNIT((int)pass->src.dtype, (int)pass->dst.dtype);
}

/* What a work-item loads and encodes at once. */
static uint64_t vector_elems(const lt_pass *pass) {
    return LATHE_CL_WIDTH((int)pass->src.dtype, (int)pass->dst.dtype);
}

static bool trits_are_aligned(const lt_cl_side *s, bool one_row) {
    uint64_t first = s->args.data_offset + lt_layout_col_bytes(s->layout, s->args.first_col);
    return first % 4 == 0 && (one_row || s->args.row_bytes % 4 == 0);
}

/* True if no block kernel but the linear one, and those that go before it, does for the pass. */
static bool has_plain(const lt_pass *pass, uint64_t flags) {
    return LATHE_CL_PLAIN_ITEMS((int)pass->src.dtype, (int)pass->dst.dtype) > 0 &&
           (flags & (LATHE_CL_STRICT | LATHE_CL_SURVEY)) == 0;
}

static bool target_is_aligned(const lt_pass *pass, const lt_cl_side *dst, bool one_row) {
    return pass->dst.dtype == LATHE_BITNET158
               ? trits_are_aligned(dst, one_row) && dst->args.first_col % 20 == 0
               : lt_cl_is_aligned(dst, one_row, unit_elems(pass));
}

/* A convert launch being made. */
typedef struct convert {
    const lt_pass *pass;
    lt_cl_side src; /* by their own rows */
    lt_cl_side dst;
    lt_cl_side joined_src; /* with rows joined where that can be */
    lt_cl_side joined_dst;
    bool is_for_table; /* no kernel goes before the block kernel */
    lt_cl_launch launch;
} convert;

/* The stream kernel divides by 32-bit numbers to find scales. */
static bool scales_are_near(const lt_cl_side *s) {
    return s->args.scale_elems.by < LT_CL_LONG_ROW;
}

/* Makes a launch of the stream kernel, if both sides are n_rows rows of n_cols aligned columns. */
static bool stream_shape(convert *c, uint64_t n_rows, uint64_t n_cols) {
    const lt_pass *pass = c->pass;
    bool one_row = n_rows == 1;
    lt_cl_side src = one_row ? c->joined_src : c->src;
    lt_cl_side dst = one_row ? c->joined_dst : c->dst;
    if (!scales_are_near(&src) || !scales_are_near(&dst) ||
        !lt_cl_shape_side(&src, n_rows, n_cols) || !lt_cl_shape_side(&dst, n_rows, n_cols) ||
        !lt_cl_is_aligned(&src, one_row, vector_elems(pass))) {
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
    args->row_units = lt_cl_div_by(row_units);
    args->n_units = n_rows * row_units;
    args->flags |= aligned ? LATHE_CL_DST_VECTOR : 0;
    bool has_whole_rows = n_cols % unit_elems(pass) == 0 &&
                          (pass->src.dtype != LATHE_BITNET158 || n_cols >= LATHE_CL_LEAST_TRITS);
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
    return (lt_cl_in_one_row(&c->joined_src) && lt_cl_in_one_row(&c->joined_dst) &&
            stream_shape(c, 1, n_elems)) ||
           stream_shape(c, range->n_rows, range->n_cols) ||
           (!lt_cl_in_one_row(&c->src) && n_elems % src_cols == 0 &&
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
 * of joined rows at multiples of LT_CL_MAX_VECTOR. */
static bool blocks_are_vectors(const convert *c, uint64_t width) {
    const lathe_launch *args = &c->launch.args;
    bool one_row = lt_cl_in_one_row(&c->src);
    bool begin_vectors =
        args->block_rows > 1 || args->block_cols >= args->n_cols || args->block_cols % width == 0;
    return begin_vectors && (args->n_rows == 1 || args->n_cols % width == 0) &&
           (one_row || c->src.row_elems % width == 0) && lt_cl_is_aligned(&c->src, one_row, width);
}

/* What scopes of linear blocks begin at multiples of: vectors, or, where sums are found in padded
 * local memory (BITNET158's is not), what the padding follows. */
static uint64_t scope_quantum(const lt_pass *pass) {
    return pass->dst.dtype == LATHE_I1 ? PLAIN_QUANTUM : LT_CL_MAX_VECTOR;
}

/* Blocks for the linear kernel: see there. */
static bool blocks_are_linear(const convert *c) {
    const lt_pass *pass = c->pass;
    const lathe_launch *args = &c->launch.args;
    return pass->own_scales && args->block_rows == 1 && args->n_cols % LT_CL_MAX_VECTOR == 0 &&
           args->block_cols % LT_CL_MAX_VECTOR == 0 &&
           pass->dst.scale_elems % scope_quantum(pass) == 0 &&
           blocks_are_vectors(c, LT_CL_MAX_VECTOR) &&
           (pass->dst.dtype == LATHE_BITNET158 ||
            lt_cl_is_aligned(&c->dst, args->n_rows == 1, LT_CL_MAX_VECTOR));
}

/* Linear blocks for the plain kernel: see there. Where rows are cut, blocks begin with scopes. */
static bool blocks_are_plain(const convert *c) {
    const lt_pass *pass = c->pass;
    const lathe_launch *args = &c->launch.args;
    bool is_even = args->n_cols % PLAIN_QUANTUM == 0 && args->block_cols % PLAIN_QUANTUM == 0 &&
                   pass->dst.scale_elems % PLAIN_QUANTUM == 0;
    bool begins = args->src.first_col == 0 && args->dst.first_col == 0 &&
                  args->dst.scale_phase == 0 && lt_cl_in_one_row(&c->src);
    bool is_aligned = pass->dst.dtype == LATHE_BITNET158 ||
                      lt_cl_is_aligned(&c->dst, args->n_rows == 1, PLAIN_QUANTUM);
    return has_plain(pass, args->flags) && is_even && begins && is_aligned;
}

/* Such blocks for an own kernel, or for the one whose groups are all as large as can be: 16-bit
 * floats whose last group is short are as quick by the plain kernel. */
static bool blocks_are_own(const convert *c, bool *are_whole) {
    const int src = (int)c->pass->src.dtype;
    const int dst = (int)c->pass->dst.dtype;
    const uint64_t scope = c->pass->dst.scale_elems;
    const uint64_t most = LATHE_CL_OWN_SCOPE;
    const bool is_even = scope == most && c->launch.args.n_cols % most == 0;
    *are_whole = LATHE_CL_HAS_TRITS(src, dst) && is_even;
    return LATHE_CL_HAS_OWN(src, dst) && scope != 0 && most % scope == 0 &&
           (scope < most || src == LATHE_F32 || is_even);
}

/* True if a block is a row, though more would fit: BITNET158's rows are not joined where bytes
 * would be, and only blocks of one row are the plain kernel's. */
static bool rows_are_blocks(const convert *c) {
    const lathe_launch *args = &c->launch.args;
    return c->pass->dst.dtype == LATHE_BITNET158 && c->pass->own_scales && !c->is_for_table &&
           has_plain(c->pass, args->flags) && args->n_cols == c->pass->dst.row_elems &&
           args->n_cols >= LEAST_PLAIN_ROW && args->n_cols <= LATHE_CL_BLOCK_ELEMS &&
           args->n_cols % PLAIN_QUANTUM == 0;
}

/* Such blocks for the rows kernel. */
static bool blocks_are_rows(const convert *c) {
    return rows_are_blocks(c) && c->pass->dst.scales_per_row == 1 &&
           c->launch.args.row_units.by == 1;
}

static void cut_blocks(convert *c) {
    const lt_pass *pass = c->pass;
    lathe_launch *args = &c->launch.args;
    uint64_t row_blocks = 1;
    if (rows_are_blocks(c)) {
        args->block_rows = 1;
        args->block_cols = args->n_cols;
    } else if (args->n_cols <= LATHE_CL_BLOCK_ELEMS && args->n_rows > 1) {
        args->block_rows = rows_of_block(pass, args->n_cols);
        args->block_cols = args->n_cols;
        args->row_parts = lt_cl_div_by(lt_ceil_div(args->n_cols, vector_elems(pass)));
        args->row_outputs = lt_cl_div_by(lt_ceil_div(args->n_cols, unit_elems(pass)));
        args->row_scopes = lt_cl_div_by(pass->dst.scales_per_row);
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
    args->row_units = lt_cl_div_by(row_blocks);
    args->n_units = lt_ceil_div(args->n_rows, args->block_rows) * row_blocks;
}

/* Blocks go by the target's rows, its own or one that they make together. */
static void shape_blocks(convert *c, const lt_range *range) {
    lathe_launch *args = &c->launch.args;
    bool one_row = lt_cl_in_one_row(&c->joined_dst);
    args->n_rows = one_row ? 1 : range->n_rows;
    args->n_cols = one_row ? c->dst.n_elems : range->n_cols;
    c->src = c->joined_src;
    c->dst = one_row ? c->joined_dst : c->dst;
    if (lt_cl_in_one_row(&c->src)) {
        (void)lt_cl_shape_side(&c->src, 1, c->src.n_elems);
    }
    (void)lt_cl_shape_side(&c->dst, args->n_rows, args->n_cols);
    args->src = c->src.args;
    args->dst = c->dst.args;
}

static void make_blocks(convert *c, const lt_range *range) {
    const lt_pass *pass = c->pass;
    lathe_launch *args = &c->launch.args;
    shape_blocks(c, range);
    cut_blocks(c);
    args->flags |= blocks_are_vectors(c, vector_elems(pass)) ? LATHE_CL_SRC_VECTOR : 0;
    args->flags |= target_is_aligned(pass, &c->dst, args->n_rows == 1) ? LATHE_CL_DST_VECTOR : 0;
    bool is_linear = blocks_are_linear(c);
    args->flags |= is_linear ? LATHE_CL_LINEAR : 0;
    if (is_linear && blocks_are_plain(c)) {
        bool are_whole = false;
        const bool is_own = blocks_are_own(c, &are_whole);
        args->flags |= LATHE_CL_PLAIN;
        args->flags |= is_own ? LATHE_CL_OWN : blocks_are_rows(c) ? LATHE_CL_ROWS : 0;
        args->flags |= is_own && are_whole ? LATHE_CL_WHOLE : 0;
        args->block_bytes = lt_layout_col_bytes(&pass->dst, args->block_cols);
        args->block_scopes = lt_ceil_div(args->block_cols, pass->dst.scale_elems);
    }
    if (!is_linear && !c->is_for_table) {
        lt_cl_set_flat(args, pass, &c->src, &c->dst);
    }
    c->launch.kernel = is_linear ? LT_CL_LINEAR : LT_CL_BLOCK;
    c->launch.n_groups = args->n_units;
}

/* True if rows of a shape of blocks can be cut for the trits kernel, each part with one scale. */
static bool rows_are_trits(const convert *c) {
    const lathe_launch *args = &c->launch.args;
    const lathe_side *dst = &args->dst;
    bool one_scale = dst->scale_elems.by == 0;
    bool row_scales = args->n_rows > 1 && dst->scales_per_row == 1 && dst->scale_phase == 0;
    return (one_scale || row_scales) && (args->n_rows == 1 || args->n_cols >= LEAST_TRITS_ROW) &&
           args->n_cols % TRITS_VECTOR == 0 && args->src.first_col == 0 && dst->first_col == 0 &&
           lt_cl_in_one_row(&c->src) && lt_cl_is_aligned(&c->src, true, TRITS_VECTOR);
}

static void cut_trits(convert *c) {
    lathe_launch *args = &c->launch.args;
    bool one_scale = args->dst.scale_elems.by == 0;
    args->block_rows = 1;
    args->block_cols = args->n_cols <= LATHE_CL_BLOCK_ELEMS
                           ? args->n_cols
                           : LATHE_CL_BLOCK_ELEMS / TRITS_QUANTUM * TRITS_QUANTUM;
    const uint64_t row_blocks = lt_ceil_div(args->n_cols, args->block_cols);
    args->row_units = lt_cl_div_by(row_blocks);
    args->block_bytes = lt_layout_col_bytes(&c->pass->dst, args->block_cols);
    args->block_scopes = row_blocks == 1 && !one_scale ? 1 : 0;
    args->dst.scales_per_row = one_scale ? 0 : 1;
    args->n_units = args->n_rows * row_blocks;
    c->launch.kernel = LT_CL_TRITS;
    c->launch.n_groups = args->n_units;
}

uint64_t lt_cl_convert_flags(const lt_pass *pass) {
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

static convert convert_of(const lt_work *work, const lt_range *range) {
    const lt_pass *pass = work->pass;
    uint64_t elem = range->row * pass->dst.row_elems + range->col;
    uint64_t n_elems = range->n_rows * range->n_cols;
    return (convert){
        .pass = pass,
        .src = lt_cl_side_of(&pass->src, &work->src, elem, n_elems, false),
        .dst = lt_cl_side_of(&pass->dst, &work->dst, elem, n_elems, false),
        .joined_src = lt_cl_side_of(&pass->src, &work->src, elem, n_elems, true),
        .joined_dst = lt_cl_side_of(&pass->dst, &work->dst, elem, n_elems, true),
        .launch.args =
            {
                .flags = lt_cl_convert_flags(pass),
                .fault_base = elem - LATHE_CL_FAULT_MARGIN,
            },
    };
}

static lt_cl_launch launch_of(const lt_work *work, const lt_range *range, bool by_blocks) {
    if (range->n_rows * range->n_cols == 0) {
        return (lt_cl_launch){0};
    }
    convert c = convert_of(work, range);
    c.is_for_table = by_blocks;
    if (by_blocks || !make_stream(&c, range)) {
        make_blocks(&c, range);
    }
    return c.launch;
}

lt_cl_launch lt_cl_launch_convert(const lt_work *work, const lt_range *range) {
    return launch_of(work, range, false);
}

bool lt_cl_launch_trits(const lt_work *work, const lt_range *range, uint32_t group_size,
                        lt_cl_launch *launch) {
    const lt_pass *pass = work->pass;
    if (!LATHE_CL_HAS_TRITS((int)pass->src.dtype, (int)pass->dst.dtype) || pass->own_scales ||
        pass->strict || pass->quality == LATHE_FAST || group_size != LATHE_CL_GROUP ||
        range->n_rows * range->n_cols == 0) {
        return false;
    }
    convert c = convert_of(work, range);
    shape_blocks(&c, range);
    if (!rows_are_trits(&c)) {
        return false;
    }
    cut_trits(&c);
    *launch = c.launch;
    return true;
}

lt_cl_launch lt_cl_launch_blocks(const lt_work *work, const lt_range *range) {
    return launch_of(work, range, true);
}

/* True if fours of the launch's elements can be loaded at once, each in one row. */
static bool fours_are_vectors(const lt_cl_side *s) {
    bool one_row = lt_cl_in_one_row(s);
    return (one_row || s->row_elems % 4 == 0) && lt_cl_is_aligned(s, one_row, 4);
}

lathe_launch lt_cl_launch_pairs(const lt_work *work, uint64_t elem, uint64_t n_elems) {
    const lt_pass *pass = work->pass;
    const lt_cl_side src = lt_cl_side_of(&pass->src, &work->src, elem, n_elems, true);
    const lt_cl_side dst = lt_cl_side_of(&pass->dst, &work->dst, elem, n_elems, true);
    return (lathe_launch){
        .src = src.args,
        .dst = dst.args,
        .flags = (fours_are_vectors(&src) ? LATHE_CL_SRC_VECTOR : 0) |
                 (fours_are_vectors(&dst) ? LATHE_CL_DST_VECTOR : 0),
    };
}
