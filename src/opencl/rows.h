/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of the rows kernels: rows that are scopes, each held by a work-group of its size. */
#ifndef LT_OPENCL_ROWS_H
#define LT_OPENCL_ROWS_H

#include "opencl/device.h"
#include "opencl/launch.h"

/* Has a launch whose blocks are the target's rows run by the rows kernel for such rows. */
void lt_cl_set_rows(lt_cl_launch *launch, const lt_pass *pass);

/* True if one of the kernels can find the scales of a pass whose scopes are longer than those of
 * blocks. */
bool lt_cl_takes_rows(const lt_pass *pass, const lt_cl_device *device);

/* Makes the launch of n_rows rows, from `row` on, of such a pass: at most LATHE_CL_MAX_ELEMS
 * elements. Returns false where they lie so that no kernel can take them. */
bool lt_cl_launch_rows(const lt_work *work, uint64_t row, uint64_t n_rows,
                       const lt_cl_device *device, lt_cl_launch *launch);

#endif
