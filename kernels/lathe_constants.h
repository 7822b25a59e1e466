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

/* PRECISE: the search of docs/numerics.md. Scopes of up to LATHE_PRECISE_ELEMS elements are
 * searched element by element, longer ones by a histogram. */
#define LATHE_PRECISE_ELEMS 1024
#define LATHE_PRECISE_BINS 4096  /* of a histogram, at most: both halves */
#define LATHE_PRECISE_I8_BITS 8  /* bins of an octave, as a power of two, for I8 */
#define LATHE_PRECISE_BIN_BITS 6 /* for the others: I8 has 64 codes in an octave */
#define LATHE_PRECISE_OCTAVES 16 /* of a histogram, where the greatest element is known; */
#define LATHE_PRECISE_BELOW_MEAN 9
#define LATHE_PRECISE_ABOVE_MEAN 41          /* n elements reach n times their mean at most */
#define LATHE_PRECISE_ROUNDED 0x1.000008p+0f /* what rounding may have taken off a scale */
#define LATHE_PRECISE_LEAST_OCTAVE (-100)    /* smaller scopes keep their scale */
#define LATHE_PRECISE_UNIT_BITS 22
#define LATHE_PRECISE_TOP_LEVEL 16256   /* 127 * 128: with half a code more there are 16 bits */
#define LATHE_PRECISE_LEAST_CANDIDATE 4 /* levels */
#define LATHE_PRECISE_OCTAVE_STEPS 16
#define LATHE_PRECISE_STEPS_ABOVE 2 /* larger than what the greatest element asks for */
#define LATHE_PRECISE_STEPS 320
#define LATHE_PRECISE_FINE_STEPS 7 /* on either side of the best candidate */
#define LATHE_PRECISE_REFINEMENTS 4

/* Doubles, as bits: an eighth of what lies between two candidates, 1 / 180; by how much a gain has
 * to be greater, 1 + 2^-26; the greatest F32; and 2^(-i/16). */
#define LATHE_PRECISE_FINE_STEP 0x3f76c16c16c16c17UL
#define LATHE_PRECISE_MARGIN 0x3ff0000004000000UL
#define LATHE_PRECISE_MAX_FLOAT 0x47efffffe0000000UL
#define LATHE_PRECISE_FRACTIONS                                                                    \
    0x3ff0000000000000UL, 0x3feea4afa2a490daUL, 0x3fed5818dcfba487UL, 0x3fec199bdd85529cUL,        \
        0x3feae89f995ad3adUL, 0x3fe9c49182a3f090UL, 0x3fe8ace5422aa0dbUL, 0x3fe7a11473eb0187UL,    \
        0x3fe6a09e667f3bcdUL, 0x3fe5ab07dd485429UL, 0x3fe4bfdad5362a27UL, 0x3fe3dea64c123422UL,    \
        0x3fe306fe0a31b715UL, 0x3fe2387a6e756238UL, 0x3fe172b83c7d517bUL, 0x3fe0b5586cf9890fUL

#endif
