/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of the rows kernels: which rows they take, and how these are told. */
#include "opencl/rows.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "opencl/recode.h"

/* Work-items come in multiples of this, and columns. */
enum { ITEM_QUANTUM = 32, COLUMN_QUANTUM = 32 };

/* Elements that a work-item of the kernel for shorter rows holds. */
static uint64_t share_of(lathe_dtype src) {
    return (uint64_t)LATHE_CL_ROW_SHARE((int)src);
}

static bool is_mean(lathe_dtype dst) {
    return lt_dtype_traits_of(dst)->rule != LT_RULE_ABSMAX;
}

/* The most elements of a row for a kernel: work-items of a mean's can load more than they hold
 * where local memory has room for the row. Half as much again is worth it for smaller groups. */
static uint64_t most_elems(lt_cl_kernel kernel, lathe_dtype src, lathe_dtype dst) {
    const uint64_t held = LATHE_CL_GROUP * share_of(src);
    const uint64_t room = LATHE_CL_ROW_ROOM((int)dst) / lt_dtype_traits_of(src)->unit_bytes;
    switch (kernel) {
    case LT_CL_ROWS_FEW:
        return is_mean(dst) ? held * 3 / 2 : held;
    case LT_CL_ROWS_MANY:
        return is_mean(dst) ? room : 2 * held;
    case LT_CL_ROWS_MOST:
        return LATHE_CL_HAS_MOST((int)src, (int)dst) ? 2 * LATHE_CL_ROW_MANY * share_of(src) : 0;
    default:
        return LATHE_CL_ROW_LONGEST;
    }
}

static lt_cl_kernel kernel_of(lathe_dtype src, lathe_dtype dst, uint64_t row_elems) {
    return row_elems <= most_elems(LT_CL_ROWS_FEW, src, dst)    ? LT_CL_ROWS_FEW
           : row_elems <= most_elems(LT_CL_ROWS_MANY, src, dst) ? LT_CL_ROWS_MANY
           : row_elems <= most_elems(LT_CL_ROWS_MOST, src, dst) ? LT_CL_ROWS_MOST
                                                                : LT_CL_ROWS_LONG;
}

/* Work-items of a group: as many as hold the row, or, of a mean of 16 bits, as load it in two even
 * parts. */
static uint32_t items_of(lt_cl_kernel kernel, lathe_dtype src, lathe_dtype dst,
                         uint64_t row_elems) {
    const bool is_few = kernel == LT_CL_ROWS_FEW;
    if (!is_few && (kernel != LT_CL_ROWS_MANY || is_mean(dst))) {
        return LATHE_CL_ROW_MANY;
    }
    const bool is_long = row_elems > LATHE_CL_GROUP * share_of(src);
    const uint64_t n_times = is_long && (!is_few || src != LATHE_F32) ? 2 : 1;
    const uint64_t n_items = lt_ceil_div(row_elems, n_times * share_of(src));
    return (uint32_t)lt_min(lt_ceil_div(n_items, ITEM_QUANTUM) * ITEM_QUANTUM, LATHE_CL_GROUP);
}

/* How many rows share a block of the plain kernel: from F32 two are as quick with a group each. */
static uint64_t rows_together(lathe_dtype src, uint64_t row_elems) {
    const uint64_t n_rows = LATHE_CL_BLOCK_ELEMS / row_elems;
    return src == LATHE_F32 && n_rows == 2 ? 1 : n_rows;
}

static void set_together(lt_cl_launch *launch, const lt_pass *pass, uint64_t n_rows) {
    const uint64_t unit = LATHE_CL_UNIT((int)pass->src.dtype, (int)pass->dst.dtype);
    lathe_launch *args = &launch->args;
    launch->kernel = LT_CL_PLAIN;
    launch->n_groups = lt_ceil_div(launch->n_groups, n_rows);
    args->block_cols *= n_rows;
    args->block_bytes *= n_rows;
    args->block_scopes = n_rows;
    args->row_outputs = lt_cl_div_by(lt_ceil_div(pass->dst.row_elems, unit));
}

static size_t local_bytes(const lt_cl_launch *launch, lathe_dtype src, const lt_layout *dst) {
    const uint64_t row_bytes = dst->row_elems * lt_dtype_traits_of(src)->unit_bytes;
    if (!is_mean(dst->dtype)) {
        return sizeof(cl_uint) * launch->n_items;
    }
    return launch->kernel == LT_CL_ROWS_LONG
               ? LATHE_CL_FAR_ROOM
               : (size_t)lt_min(row_bytes, LATHE_CL_ROW_ROOM((int)dst->dtype)) +
                     LATHE_CL_ROW_MARGIN;
}

void lt_cl_set_rows(lt_cl_launch *launch, const lt_pass *pass) {
    const lathe_dtype src = pass->src.dtype;
    const lathe_dtype dst = pass->dst.dtype;
    const uint64_t row_elems = pass->dst.row_elems;
    const uint64_t n_together = rows_together(src, row_elems);
    if (n_together > 1) {
        set_together(launch, pass, n_together);
        return;
    }
    launch->kernel = kernel_of(src, dst, row_elems);
    launch->n_items = items_of(launch->kernel, src, dst, row_elems);
    launch->local_bytes = local_bytes(launch, src, &pass->dst);
}

bool lt_cl_takes_rows(const lt_pass *pass, const lt_cl_device *device) {
    const lathe_dtype src = pass->src.dtype;
    const lt_layout *dst = &pass->dst;
    if (lathe_dtype_is_quantized(src)) {
        return lt_cl_recodes_rows(pass, device);
    }
    return LATHE_CL_HAS_ROWS((int)src, (int)dst->dtype) && device->group_size == LATHE_CL_GROUP &&
           pass->quality == LATHE_BALANCED && !pass->strict && dst->scales_per_row == 1 &&
           (dst->row_elems % COLUMN_QUANTUM == 0 || !device->is_small) &&
           dst->row_elems <= (device->is_small ? LATHE_CL_GROUP * share_of(src)
                                               : most_elems(LT_CL_ROWS_LONG, src, dst->dtype));
}

/* True if the rows lie evenly, so that a kernel can load and store them by vectors. */
static bool are_even(const lt_layout *to, const lt_cl_side *src, const lt_cl_side *dst) {
    return to->row_elems % COLUMN_QUANTUM == 0 && lt_cl_is_aligned(src, true, COLUMN_QUANTUM) &&
           (to->dtype == LATHE_BITNET158 || lt_cl_is_aligned(dst, false, COLUMN_QUANTUM));
}

bool lt_cl_launch_rows(const lt_work *work, uint64_t row, uint64_t n_rows,
                       const lt_cl_device *device, lt_cl_launch *launch) {
    const lt_pass *pass = work->pass;
    const lt_layout *to = &pass->dst;
    if (lathe_dtype_is_quantized(pass->src.dtype)) {
        return lt_cl_launch_recode_rows(work, row, n_rows, device, launch);
    }
    const uint64_t n_elems = n_rows * to->row_elems;
    lt_cl_side src = lt_cl_side_of(&pass->src, &work->src, row * to->row_elems, n_elems, true);
    const lt_cl_side dst = lt_cl_side_of(to, &work->dst, row * to->row_elems, n_elems, false);
    if (!lt_cl_in_one_row(&src) || !lt_cl_shape_side(&src, 1, n_elems) ||
        !lt_cl_is_aligned(&src, true, 1)) {
        return false;
    }
    const bool is_even = are_even(to, &src, &dst);
    if (!is_even && device->is_small) {
        return false;
    }
    *launch = (lt_cl_launch){
        .args =
            {
                .src = src.args,
                .dst = dst.args,
                .flags = LATHE_CL_LONG,
                .n_rows = 1, /* as a block kernel has it: blocks of one long row */
                .n_cols = n_elems,
                .block_cols = to->row_elems,
                .block_bytes = to->row_bytes,
                .block_scopes = 1,
            },
        .n_groups = n_rows,
    };
    if (is_even) {
        lt_cl_set_rows(launch, pass);
    } else {
        launch->kernel = LT_CL_FLAT_ROWS;
        launch->args.n_cols = to->row_elems;
        launch->args.flags |= LATHE_CL_OWN_SCALES;
    }
    return true;
}
