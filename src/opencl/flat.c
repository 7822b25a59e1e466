/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of the flat kernel: blocks of elements that follow each other, whatever rows they are
 * of. */
#include "opencl/flat.h"

#include "core/checked.h"

/* True if kernels find the side's rows and scales by 32-bit numbers; and floats, which have none,
 * where each lies by itself. */
static bool is_near(const lt_cl_side *s) {
    const lathe_side *args = &s->args;
    if (!lathe_dtype_is_quantized(s->layout->dtype)) {
        return lt_cl_in_one_row(s) && lt_cl_is_aligned(s, true, 1);
    }
    return args->scale_elems.by < LT_CL_LONG_ROW && args->scale_phase == 0 &&
           (lt_cl_in_one_row(s) || args->row_elems.by < LT_CL_LONG_ROW);
}

/* How many of the launch's blocks are one of the flat kernel's: those of whole rows may be more. */
static uint64_t blocks_together(const lathe_launch *launch, const lt_layout *dst) {
    if (launch->block_cols < launch->n_cols || launch->n_rows == 1) {
        return 1;
    }
    const uint64_t row_scales = lt_max(dst->scales_per_row, 1);
    const uint64_t n_rows =
        lt_min(LATHE_CL_BLOCK_ELEMS / launch->n_cols, LATHE_CL_FLAT_SCOPES / row_scales);
    return n_rows / launch->block_rows;
}

void lt_cl_set_flat(lathe_launch *launch, const lt_pass *pass, const lt_cl_side *src,
                    const lt_cl_side *dst) {
    const bool has_codes =
        lathe_dtype_is_quantized(pass->src.dtype) || lathe_dtype_is_quantized(pass->dst.dtype);
    const uint64_t n_blocks = blocks_together(launch, &pass->dst);
    if (!has_codes || (launch->flags & (LATHE_CL_STRICT | LATHE_CL_SURVEY)) != 0 ||
        pass->quality == LATHE_PRECISE || !is_near(src) || !is_near(dst) || n_blocks == 0) {
        return;
    }
    launch->flags |= LATHE_CL_FLAT;
    launch->flat_blocks = n_blocks;
    launch->flat_bytes = lt_cl_div_by(lt_layout_is_dense(&pass->dst) ? 0 : pass->dst.row_bytes);
}
