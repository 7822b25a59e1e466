/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of the flat kernel: blocks of elements that follow each other, whatever rows they are
 * of. */
#ifndef LT_OPENCL_FLAT_H
#define LT_OPENCL_FLAT_H

#include "opencl/side.h"

/* Says in a launch of the block kernel that the flat kernel can take it, if it can, and how. */
void lt_cl_set_flat(lathe_launch *launch, const lt_pass *pass, const lt_cl_side *src,
                    const lt_cl_side *dst);

#endif
