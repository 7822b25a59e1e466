/* SPDX-License-Identifier: Apache-2.0 */
/* What the host tells the kernels that search for PRECISE scales, and those that measure a result,
 * beside the launch: shared by C and OpenCL C. One program does for all dtypes. */
#ifndef LATHE_SEARCH_H
#define LATHE_SEARCH_H

#include "lathe_launch.h"

/* Some consecutive scopes. The launch is that of their tiles (kernels/stats.cl). */
typedef struct lathe_search {
    lathe_u64 src_dtype;
    lathe_u64 high_code;   /* of the target; the lowest is -high_code - extra_codes */
    lathe_u64 extra_codes; /* 0 or 1 */
    lathe_u64 is_mean;     /* BITNET158: the standard scale is a mean */
    lathe_u64 bin_bits;
    lathe_u64 first_scale; /* the first scope's in its buffer, in floats */
    lathe_u64 n_scopes;
    lathe_u64 n_parts;    /* work-groups that share a scope */
    lathe_u64 part_tiles; /* of a part; the last one may be short */
    lathe_u64 team; /* work-items that search a scope of few elements together: 1, 2, 4 or 8 */
} lathe_search;

/* Work-items of a group that searches scopes of up to LATHE_PRECISE_ELEMS elements, and how many
 * elements one of a team has at most: their levels are two bytes of local memory each. */
#define LATHE_CL_FEW_ITEMS 64
#define LATHE_CL_FEW_ELEMS 128

/* Local memory of such a group holds so many levels for each work-item at least. */
#define LATHE_CL_LEVEL_STEP 16

/* What is known of a scope between kernels, in words: its other scale, the inverse of that, and the
 * factor that takes elements below 2^22; 0: there is no other. */
#define LATHE_CL_STATE_WORDS 3

/* A part's sums for the two scales: products, squares, of 64 bits. */
#define LATHE_CL_FIT_SUMS 4

/* What a report is made of. */
typedef struct lathe_measure {
    lathe_u64 src_dtype;
    lathe_u64 dst_dtype;
    lathe_u64 n_elems; /* of the launch */
    lathe_u64 limit;   /* F32 bits: what the largest code of a scale of 1, or a float, decodes to */
} lathe_measure;

/* Elements of a work-item. */
#define LATHE_CL_MEASURE_STEPS 64

/* Exact sums, in words of which each counts units of 2^(16 i - 352), i its index, as a signed
 * number: of x^2, y^2, xy and (x - y)^2. A work-group adds at most 2^15 to a word, either way. */
#define LATHE_CL_SUM_DIGITS 40
#define LATHE_CL_EXACT_SUMS 4

/* The words of a report: elements of which y is 0, non-finite ones, saturated ones, the greatest
 * |x - y| (F32 bits, whose exponent may be one more than the greatest), and the sums. */
#define LATHE_CL_N_ZERO 0
#define LATHE_CL_N_NONFINITE 1
#define LATHE_CL_N_SATURATED 2
#define LATHE_CL_MAX_ERROR 3
#define LATHE_CL_EXACT_AT 4
#define LATHE_CL_MEASURE_WORDS (LATHE_CL_EXACT_AT + LATHE_CL_EXACT_SUMS * LATHE_CL_SUM_DIGITS)

#endif
