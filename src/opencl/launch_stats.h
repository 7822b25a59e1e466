/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of stats passes. */
#ifndef LT_OPENCL_LAUNCH_STATS_H
#define LT_OPENCL_LAUNCH_STATS_H

#include "opencl/launch.h"

/* The launch of all tiles of a stats work. */
lt_cl_launch lt_cl_launch_stats(const lt_work *work, uint32_t group_size);

#endif
