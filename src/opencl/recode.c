/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of the recode kernels: parts of rows for teams of work-items, in which scopes are whole
 * and have one source scale each. */
#include "opencl/recode.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "lathe_constants.h"

/* More elements than there are. */
#define NO_END UINT64_MAX

/* Work-items of a row come in multiples of this. */
enum { ITEM_QUANTUM = 32 };

static uint64_t least_common_multiple(uint64_t a, uint64_t b) {
    uint64_t x = a;
    uint64_t y = b;
    while (y != 0) {
        uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

static bool is_pair(const lt_pass *pass) {
    return lathe_dtype_is_quantized(pass->src.dtype) && lathe_dtype_is_quantized(pass->dst.dtype) &&
           pass->src.dtype != pass->dst.dtype && pass->quality != LATHE_PRECISE;
}

static bool finds_means(const lt_pass *pass) {
    return pass->own_scales && lt_dtype_traits_of(pass->dst.dtype)->rule != LT_RULE_ABSMAX;
}

/* True if the side's vectors can be accessed wherever they begin. */
static bool is_regular(const lt_pass *pass, const lt_cl_side *s, bool one_row) {
    const lathe_side *args = &s->args;
    if (s->layout->dtype == LATHE_BITNET158) {
        return args->first_col % LATHE_CL_TRIT_COLS == 0;
    }
    return lt_cl_is_aligned(s, one_row,
                            LATHE_CL_RECODE_VECTOR((int)pass->src.dtype, (int)pass->dst.dtype));
}

/* Elements with the first one's scale that lie before it. */
static uint64_t elems_before(const lt_cl_side *s, uint64_t run) {
    return (s->args.first_col + s->args.scale_phase) % run;
}

/* How many elements of a row follow each other with one scale: NO_END where that is all n_cols. */
static uint64_t run_of(const lt_cl_side *s, uint64_t n_cols) {
    uint64_t run = s->layout->scale_elems;
    return run == 0 || elems_before(s, run) + n_cols <= run ? NO_END : run;
}

/* True if kernels take scopes of so many elements: a vector has those of one, and a mean's lanes
 * are rows of LATHE_STAT_LANES, or one half of a row. */
static bool is_scope(const lt_pass *pass, uint64_t n_elems) {
    const uint64_t vector = LATHE_CL_RECODE_VECTOR((int)pass->src.dtype, (int)pass->dst.dtype);
    const uint64_t half = LATHE_STAT_LANES / 2;
    return n_elems % LATHE_STAT_LANES == 0 ||
           (n_elems % half == 0 && half % vector == 0 && (n_elems == half || !finds_means(pass)));
}

/* Cuts the rows: n_rows of n_cols, in which scales change every `run` elements on one side or the
 * other. Returns false if that makes no whole parts. */
static bool cut_parts(const lt_pass *pass, uint64_t run, const lt_cl_device *device,
                      lt_cl_launch *launch) {
    lathe_launch *args = &launch->args;
    bool has_trits = pass->src.dtype == LATHE_BITNET158 || pass->dst.dtype == LATHE_BITNET158;
    uint64_t quantum = has_trits ? LATHE_CL_TRIT_COLS : LATHE_CL_RECODE_COLS;
    uint64_t most = (uint64_t)LATHE_CL_TEAM_ELEMS;
    if (run < most) {
        most = lt_min(most, run * LATHE_CL_TEAM_SCOPES(device->is_small));
        quantum = least_common_multiple(quantum, run);
    }
    args->block_rows = 1;
    args->block_cols = args->n_cols <= most ? args->n_cols : most / quantum * quantum;
    bool is_cut = args->block_cols < args->n_cols;
    if (args->block_cols == 0 ||
        (is_cut && run != NO_END && run > args->block_cols && run % args->block_cols != 0)) {
        return false;
    }
    uint64_t row_parts = lt_ceil_div(args->n_cols, args->block_cols);
    args->scope_elems = lt_min(run, args->block_cols);
    args->row_scopes = lt_cl_div_by(args->scope_elems);
    args->row_units = lt_cl_div_by(row_parts);
    args->n_units = args->n_rows * row_parts;
    uint64_t team = LATHE_CL_TEAM((int)pass->src.dtype, (int)pass->dst.dtype, device->is_small);
    launch->n_groups = lt_ceil_div(args->n_units, device->group_size / team);
    return true;
}

/* True if the parts have the scopes that the kernel finds scales for. */
static bool scopes_are_whole(const lt_pass *pass, const lathe_launch *args, uint64_t target_run) {
    uint64_t scope = args->scope_elems;
    bool are_theirs =
        target_run == NO_END
            ? args->block_cols == args->n_cols && scope == args->n_cols
            : scope == lt_min(target_run, args->block_cols) && target_run <= args->block_cols;
    if (!pass->own_scales) {
        return true;
    }
    bool is_counted =
        finds_means(pass) && pass->src.dtype >= LATHE_I2 && pass->src.dtype != LATHE_I1;
    return are_theirs && pass->dst.scale_elems != 0 &&
           (!is_counted || scope <= LATHE_CL_COUNTED_ELEMS ||
            (scope >= LATHE_CL_LONG_ELEMS && scope >= args->block_cols));
}

/* Makes rows of a side's parts, which lie in one: the scales of each follow its predecessor's. */
static void make_rows(lt_cl_side *s, uint64_t n_cols, uint64_t run) {
    lathe_side *args = &s->args;
    args->row_bytes = lt_layout_col_bytes(s->layout, n_cols);
    args->row_elems = lt_cl_div_by(n_cols);
    args->scales_per_row = run == NO_END ? 0 : n_cols / run;
}

/* True if a scope's number in its part, which is a row, and the row's say where its scale is. */
static bool is_regular_side(const lt_cl_side *s, uint64_t run, const lathe_launch *args,
                            bool is_cut) {
    bool has_scope = run == NO_END
                         ? args->scope_elems == args->block_cols || s->args.scale_elems.by == 0
                         : run == args->scope_elems;
    return s->args.first_col == 0 && s->args.scale_phase == 0 && has_scope &&
           (!is_cut || s->args.row_elems.by == 0);
}

/* True if parts are scopes that the leaner kernel takes: not short, and in a mean's local memory
 * whole. */
static bool are_whole(const lt_pass *pass, const lathe_launch *args) {
    enum { PADDED_ELEMS = 256 };
    bool is_even =
        args->scope_elems % PADDED_ELEMS == 0 || !finds_means(pass) || pass->src.dtype >= LATHE_I2;
    return args->scope_elems >= args->block_cols && args->scope_elems >= LATHE_CL_LONG_ELEMS &&
           is_even;
}

/* Lets the kernel know parts that are rows, or that one row can be taken for: it finds its way in
 * them without divisions. */
static void find_regular(const lt_pass *pass, lt_cl_side src, lt_cl_side dst,
                         lt_cl_launch *launch) {
    lathe_launch *args = &launch->args;
    uint64_t source_run = run_of(&src, args->n_cols);
    uint64_t target_run = run_of(&dst, args->n_cols);
    bool is_cut = args->block_cols < args->n_cols;
    if (!is_regular_side(&src, source_run, args, is_cut) ||
        !is_regular_side(&dst, target_run, args, is_cut) || (is_cut && args->n_rows > 1)) {
        return;
    }
    args->n_elems = args->n_rows * args->n_cols;
    if (is_cut) {
        make_rows(&src, args->block_cols, source_run);
        make_rows(&dst, args->block_cols, target_run);
        args->n_rows = args->n_units;
        args->n_cols = args->block_cols;
        args->row_units = lt_cl_div_by(1);
    }
    args->src = src.args;
    args->dst = dst.args;
    args->src.scales_per_row = src.layout->scale_elems == 0 ? 0 : src.args.scales_per_row;
    args->dst.scales_per_row = dst.layout->scale_elems == 0 ? 0 : dst.args.scales_per_row;
    args->flags |= LATHE_CL_REGULAR;
    launch->kernel = are_whole(pass, args) ? LT_CL_RECODE_WHOLE : LT_CL_RECODE_REGULAR;
}

/* True if rows of bytes begin with a 32-bit word. */
static bool begins_words(const lt_cl_side *s, bool one_row) {
    const uint64_t first = s->args.data_offset + lt_layout_col_bytes(s->layout, s->args.first_col);
    return first % 4 == 0 && (one_row || s->args.row_bytes % 4 == 0);
}

/* Describes both sides as rows of n_cols columns. Returns false if kernels cannot take these. */
static bool shape_sides(const lt_pass *pass, lt_cl_side *src, lt_cl_side *dst, uint64_t n_rows,
                        uint64_t n_cols) {
    bool one_row = n_rows == 1;
    return n_cols % LATHE_CL_RECODE_COLS == 0 && lt_cl_shape_side(src, n_rows, n_cols) &&
           lt_cl_shape_side(dst, n_rows, n_cols) && is_regular(pass, src, one_row) &&
           is_regular(pass, dst, one_row);
}

/* Makes a launch of n_rows rows of n_cols columns. */
static bool shape(const lt_pass *pass, lt_cl_side src, lt_cl_side dst, uint64_t n_rows,
                  uint64_t n_cols, const lt_cl_device *device, lt_cl_launch *launch) {
    if (!shape_sides(pass, &src, &dst, n_rows, n_cols)) {
        return false;
    }
    uint64_t source_run = run_of(&src, n_cols);
    uint64_t target_run = run_of(&dst, n_cols);
    uint64_t run = lt_min(source_run, target_run);
    uint64_t longer = lt_max(source_run, target_run);
    bool has_end = run != NO_END;
    if (has_end && (!is_scope(pass, run) || (longer != NO_END && longer % run != 0) ||
                    (source_run != NO_END && elems_before(&src, run) != 0) ||
                    (target_run != NO_END && elems_before(&dst, run) != 0))) {
        return false;
    }
    lathe_launch *args = &launch->args;
    args->src = src.args;
    args->dst = dst.args;
    args->n_rows = n_rows;
    args->n_cols = n_cols;
    /* For what is odd: the block kernel's functions store words. */
    const bool has_words = pass->dst.dtype != LATHE_BITNET158 || begins_words(&dst, n_rows == 1);
    args->flags = lt_cl_convert_flags(pass) | LATHE_CL_SRC_VECTOR |
                  (has_words ? (uint64_t)LATHE_CL_DST_VECTOR : 0);
    if (!cut_parts(pass, run, device, launch) || !scopes_are_whole(pass, args, target_run)) {
        return false;
    }
    find_regular(pass, src, dst, launch);
    return true;
}

static lathe_launch launch_args(const lt_pass *pass, uint64_t elem) {
    return (lathe_launch){
        .flags = lt_cl_convert_flags(pass) | LATHE_CL_SRC_VECTOR,
        .fault_base = elem - LATHE_CL_FAULT_MARGIN,
    };
}

bool lt_cl_launch_recode(const lt_work *work, const lt_range *range, const lt_cl_device *device,
                         lt_cl_launch *launch) {
    const lt_pass *pass = work->pass;
    uint64_t elem = range->row * pass->dst.row_elems + range->col;
    uint64_t n_elems = range->n_rows * range->n_cols;
    if (n_elems == 0 || !is_pair(pass) || pass->strict || pass->quality == LATHE_FAST) {
        return false;
    }
    const lt_cl_side joined_src = lt_cl_side_of(&pass->src, &work->src, elem, n_elems, true);
    const lt_cl_side joined_dst = lt_cl_side_of(&pass->dst, &work->dst, elem, n_elems, true);
    *launch = (lt_cl_launch){.kernel = LT_CL_RECODE, .args = launch_args(pass, elem)};
    return (lt_cl_in_one_row(&joined_src) && lt_cl_in_one_row(&joined_dst) &&
            shape(pass, joined_src, joined_dst, 1, n_elems, device, launch)) ||
           shape(pass, lt_cl_side_of(&pass->src, &work->src, elem, n_elems, false),
                 lt_cl_side_of(&pass->dst, &work->dst, elem, n_elems, false), range->n_rows,
                 range->n_cols, device, launch);
}

/* Elements that a work-item holds. */
static uint64_t item_elems(const lt_pass *pass, const lt_cl_device *device) {
    const int team = LATHE_CL_TEAM((int)pass->src.dtype, (int)pass->dst.dtype, device->is_small);
    return (uint64_t)(LATHE_CL_TEAM_ELEMS / team);
}

bool lt_cl_recodes_rows(const lt_pass *pass, const lt_cl_device *device) {
    const lt_layout *src = &pass->src;
    const lt_layout *dst = &pass->dst;
    const uint64_t n_items = device->is_small ? LATHE_CL_GROUP : LATHE_CL_ROW_MANY;
    return is_pair(pass) && pass->quality == LATHE_BALANCED && !pass->strict &&
           device->group_size == LATHE_CL_GROUP && dst->scales_per_row == 1 &&
           (src->scale_elems == 0 || src->scales_per_row == 1) &&
           dst->row_elems % LATHE_CL_RECODE_COLS == 0 && dst->row_elems <= LATHE_CL_RECODE_ROW &&
           dst->row_elems <= n_items * item_elems(pass, device);
}

/* Bytes that a work-group's codes take in local memory, with padding, and what they become. */
static size_t room_for(const lt_pass *pass, uint64_t n_items, uint64_t n_elems) {
    const int src = (int)pass->src.dtype;
    /* LT_PACKED_ELEMS; and one before and behind them, for bytes that begin no word */
    const uint64_t packed = (lt_ceil_div(n_elems, 80) + 2) * 16;
    const uint64_t staged = n_elems * (uint64_t)LATHE_CL_CODE_BITS(src) / 8 / 8 * 9;
    const bool stages = LATHE_CL_RECODE_STAGES(src, (int)pass->dst.dtype);
    const bool packs_digits = src <= (int)LATHE_I4;
    const uint64_t made = pass->dst.dtype != LATHE_BITNET158 ? 0
                          : packs_digits                     ? packed
                                                             : n_elems / 4 + (stages ? 0 : packed);
    return (size_t)((stages ? staged : 0) + lt_max(made, n_items * sizeof(uint32_t)));
}

bool lt_cl_launch_recode_rows(const lt_work *work, uint64_t row, uint64_t n_rows,
                              const lt_cl_device *device, lt_cl_launch *launch) {
    const lt_pass *pass = work->pass;
    const uint64_t n_cols = pass->dst.row_elems;
    const uint64_t elem = row * n_cols;
    const uint64_t share = item_elems(pass, device);
    const uint64_t n_least = lt_ceil_div(n_cols, share * ITEM_QUANTUM) * ITEM_QUANTUM;
    const bool is_many = n_least > LATHE_CL_GROUP;
    const uint64_t n_items = is_many ? LATHE_CL_ROW_MANY : n_least;
    lt_cl_side src = lt_cl_side_of(&pass->src, &work->src, elem, n_rows * n_cols, false);
    lt_cl_side dst = lt_cl_side_of(&pass->dst, &work->dst, elem, n_rows * n_cols, false);
    if (!shape_sides(pass, &src, &dst, n_rows, n_cols)) {
        return false;
    }
    *launch = (lt_cl_launch){
        .kernel = is_many ? LT_CL_RECODE_MANY : LT_CL_RECODE_ROWS,
        .args = launch_args(pass, elem),
        .n_groups = n_rows,
        .n_items = (uint32_t)n_items,
        .local_bytes = room_for(pass, n_items, n_items * share),
    };
    lathe_launch *args = &launch->args;
    args->src = src.args;
    args->dst = dst.args;
    args->flags |= LATHE_CL_LONG;
    args->n_rows = args->n_units = n_rows;
    args->n_cols = args->block_cols = n_cols;
    args->block_rows = 1;
    args->row_units = lt_cl_div_by(1);
    return true;
}

bool lt_cl_recodes_tiles(const lt_work *work, const lt_cl_side *src) {
    const lt_pass *pass = work->pass;
    const lt_tiling *tiling = &pass->tiling;
    bool one_row = lt_cl_in_one_row(src);
    bool is_of_tensor = tiling->row_elems == 0;
    uint64_t run = src->layout->scale_elems;
    if (!is_pair(pass) || !is_regular(pass, src, one_row) ||
        (pass->src.dtype != LATHE_BITNET158 &&
         !lt_cl_is_aligned(src, one_row, LATHE_CL_RECODE_COLS))) {
        return false;
    }
    if (pass->src.dtype == LATHE_BITNET158 &&
        (!begins_words(src, one_row) || !is_of_tensor || src->row_elems > LATHE_STAT_TILE ||
         pass->quality == LATHE_FAST)) {
        return false; /* tiles begin inside words or bytes; or a sample, whose corrupt bytes are not
                         told of */
    }
    bool tiles_begin_vectors =
        (is_of_tensor || tiling->row_elems % LATHE_CL_RECODE_COLS == 0) &&
        (tiling->scope_elems % LATHE_CL_RECODE_COLS == 0 || tiling->scopes_per_row == 1);
    bool has_one_scale = run == 0 || (is_of_tensor && run % LATHE_STAT_TILE == 0);
    return tiles_begin_vectors && has_one_scale &&
           (one_row || (is_of_tensor && src->row_elems % LATHE_STAT_TILE == 0));
}
