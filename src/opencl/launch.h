/* SPDX-License-Identifier: Apache-2.0 */
/* From work to kernel launches: which kernel a range takes, and what it is told. */
#ifndef LT_OPENCL_LAUNCH_H
#define LT_OPENCL_LAUNCH_H

#include "backend.h"
#include "lathe_constants.h"
#include "lathe_launch.h"
#include "opencl/program.h"

typedef struct lt_cl_launch {
    lt_cl_kernel kernel;
    lathe_launch args;  /* but for args.report */
    uint64_t n_groups;  /* work-groups */
    uint32_t n_items;   /* of each; 0: as the kernel has it */
    size_t local_bytes; /* that follow the arguments; 0: none */
} lt_cl_launch;

/* The launch of one range, of at most LATHE_CL_MAX_ELEMS elements, of a convert pass. */
lt_cl_launch lt_cl_launch_convert(const lt_work *work, const lt_range *range);

/* The same by the block kernel, whatever the elements: for tables. */
lt_cl_launch lt_cl_launch_blocks(const lt_work *work, const lt_range *range);

/* The same by the trits kernel. Returns false where it does not do that. */
bool lt_cl_launch_trits(const lt_work *work, const lt_range *range, uint32_t group_size,
                        lt_cl_launch *launch);

/* How both sides of n_elems consecutive elements lie, from element `elem` of the tensor on. */
lathe_launch lt_cl_launch_pairs(const lt_work *work, uint64_t elem, uint64_t n_elems);

/* What a convert launch is told by its pass: bits of lathe_launch.flags. */
uint64_t lt_cl_convert_flags(const lt_pass *pass);

#endif
