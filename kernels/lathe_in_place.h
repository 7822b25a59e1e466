/* SPDX-License-Identifier: Apache-2.0 */
/* What the host tells the in-place kernel on top of lathe_launch: shared by C and OpenCL C. */
#ifndef LATHE_IN_PLACE_H
#define LATHE_IN_PLACE_H

#include "lathe_launch.h"

/* Units of the target that each work-item takes: a work-group's tile has this times its size. */
#define LATHE_CL_IN_PLACE_STEPS(src, dst)                                                          \
    ((dst) == LATHE_CL_BITNET158 ? 1 : 16 / LATHE_CL_UNIT(src, dst))

/* The state that the work-groups of a launch share, words in global memory which are 0 when it is
 * made: how many tickets have been drawn, and for each tile the last launch that has read it. */
typedef struct lathe_in_place {
    lathe_u64 lead;      /* bytes from the first that is written to the first that is read */
    lathe_u64 n_tickets; /* drawn before this launch, modulo 2^32 */
    lathe_u64 number;    /* of the launch, from 1 on: those before it have others */
    lathe_u64 zero;      /* which compilers do not know */
} lathe_in_place;

#define LATHE_CL_IN_PLACE_TILES 1 /* where the tiles' words begin */

#endif
