/* SPDX-License-Identifier: Apache-2.0 */
/* What the host tells the chain kernel on top of lathe_launch: shared by C and OpenCL C. */
#ifndef LATHE_CHAIN_H
#define LATHE_CHAIN_H

#include "lathe_launch.h"

/* The most steps between a chain's source and its last step. A launch's arguments stay below the
 * 1024 bytes that every device takes. */
#define LATHE_CL_CHAIN_STEPS 3

/* Elements of a block in which the scales are found on the way, 16 KiB of floats: those of scopes
 * of powers of two, from the least to a whole block. */
#define LATHE_CL_CHAIN_BLOCK(src) ((src) == LATHE_CL_F32 ? 4096 : 8192)
#define LATHE_CL_CHAIN_LEAST 32

/* Where the scales of each such step lie, by the launch's rows and columns. */
typedef struct lathe_chain {
    lathe_side steps[LATHE_CL_CHAIN_STEPS];
} lathe_chain;

#endif
