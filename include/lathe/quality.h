/* SPDX-License-Identifier: Apache-2.0 */
/* How far a converted tensor is from what it was made of. */
#ifndef LATHE_QUALITY_H
#define LATHE_QUALITY_H

#include <lathe/export.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* With x the source's values and y the decoded result's. All of it is the same on every device,
 * whatever the threads: docs/numerics.md gives the order of the sums. */
typedef struct lathe_quality_report {
    size_t struct_size;
    uint64_t n_elems;
    double mse;                /* sum of (x - y)^2 over n_elems */
    double sqnr_db;            /* 10 log10(sum of x^2 / sum of (x - y)^2); infinity if y is x */
    double max_abs_error;      /* the greatest |x - y| */
    double cosine;             /* sum of xy / sqrt(sum of x^2 * sum of y^2); 1 if both are zero */
    double saturated_fraction; /* of the elements: |x| beyond what the largest code decodes to */
    double zero_fraction;      /* of the elements: y is 0 */
} lathe_quality_report;

LATHE_END_DECLS

#endif
