/* SPDX-License-Identifier: Apache-2.0 */
/* Constants on which the bits of a result depend: shared by C and OpenCL C, so only macros live
 * here. docs/numerics.md states the rules that they belong to. */
#ifndef LATHE_CONSTANTS_H
#define LATHE_CONSTANTS_H

/* The canonical sum: tiles of 4096 elements, 64 lanes inside a tile. */
#define LATHE_STAT_TILE 4096
#define LATHE_STAT_LANES 64

/* A tile whose sum overflows F32 though its elements are finite is summed again with each element
 * times 2^-16: 4096 elements of at most 2^128 then stay below 2^124. */
#define LATHE_STAT_SHRINK 0x1p-16f
#define LATHE_STAT_GROW 0x1p+16

/* FAST quality looks at every 16th tile of a scope that is longer than 16 tiles. */
#define LATHE_FAST_STRIDE 16

/* Clamp bounds of the codes. I1 has none: its codes are +1 and -1. */
#define LATHE_I8_MAX 127
#define LATHE_I4_MAX 7
#define LATHE_I2_MAX 1
#define LATHE_BITNET158_MAX 1

/* The least scale of BITNET158. */
#define LATHE_BITNET158_MIN_SCALE 1e-5f

/* BITNET158: five base-3 digits a byte, so 243 values; a row's missing elements are digit 1. */
#define LATHE_BITNET158_PER_BYTE 5
#define LATHE_BITNET158_BYTE_VALUES 243
#define LATHE_BITNET158_BYTE_ZERO 121

/* A group is a multiple of this many elements. */
#define LATHE_GROUP_MULTIPLE 32

#endif
