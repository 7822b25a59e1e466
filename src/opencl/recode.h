/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of the recode kernels: between quantized types whose scales and rows lie alike. */
#ifndef LT_OPENCL_RECODE_H
#define LT_OPENCL_RECODE_H

#include "opencl/launch.h"
#include "opencl/side.h"

/* Makes the launch of one range, as lt_cl_launch_convert does; returns false where the recode
 * kernel cannot take it. */
bool lt_cl_launch_recode(const lt_work *work, const lt_range *range, const lt_cl_device *device,
                         lt_cl_launch *launch);

/* True for the kernels of such launches. */
static inline bool lt_cl_is_recode(lt_cl_kernel kernel) {
    return kernel == LT_CL_RECODE || kernel == LT_CL_RECODE_REGULAR || kernel == LT_CL_RECODE_WHOLE;
}

/* True if the recode_rows kernel finds the scales of the pass's rows, which are long, unless they
 * lie oddly. */
bool lt_cl_recodes_rows(const lt_pass *pass, const lt_cl_device *device);

/* Makes the launch of n_rows such rows; returns false where they lie oddly. */
bool lt_cl_launch_recode_rows(const lt_work *work, uint64_t row, uint64_t n_rows,
                              const lt_cl_device *device, lt_cl_launch *launch);

/* True if the recode_stats kernel can take the tiles of a stats work, whose source lies like that.
 */
bool lt_cl_recodes_tiles(const lt_work *work, const lt_cl_side *src);

#endif
