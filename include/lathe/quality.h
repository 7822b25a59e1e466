/* SPDX-License-Identifier: Apache-2.0 */
/* How far a converted tensor is from what it was made of. */
#ifndef LATHE_QUALITY_H
#define LATHE_QUALITY_H

#include <lathe/export.h>
#include <lathe/status.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

struct lathe_engine;
struct lathe_tensor;

/* With x the source's values and y the decoded result's. All of it is the same on every device,
 * whatever the threads, the chunks and the strategy: docs/numerics.md says how it is summed up. */
typedef struct lathe_quality_report {
    size_t struct_size;
    uint64_t n_elems;
    uint64_t n_nonfinite; /* elements with a NaN or an infinity in x or y, unless both have the
                             same; like these, they add nothing to the sums that follow */
    double mse;           /* sum of (x - y)^2 over n_elems */
    double sqnr_db;       /* 10 log10(sum of x^2 / sum of (x - y)^2); infinity if y is x */
    double max_abs_error; /* the greatest |x - y| */
    double cosine;        /* sum of xy / sqrt(sum of x^2 * sum of y^2); 1 if y is x, 0 if only one
                             of them is all zeros */
    double saturated_fraction; /* of the elements: |x| beyond what the largest code, or the greatest
                                  finite float, decodes to, and y at that bound */
    double zero_fraction;      /* of the elements: y is 0 */
} lathe_quality_report;

/* Measures how far the values of `b` are from those of `a`, two tensors of the same shape and any
 * dtypes, each decoded if it is quantized: what a conversion from a to b reports. b's scale is what
 * saturation is judged by. A device tensor is read through the host. The caller has set
 * report->struct_size. Neither tensor is changed. Thread-safe.
 * Errors: INVALID_ARGUMENT, INCOMPATIBLE_TYPES (shapes differ), CORRUPT_DATA (naming the element,
 * or the scale), INSUFFICIENT_MEMORY, DEVICE; *report is then left alone. */
LATHE_API lathe_status lathe_tensor_compare(struct lathe_engine *engine,
                                            const struct lathe_tensor *a,
                                            const struct lathe_tensor *b,
                                            lathe_quality_report *report);

/* The same for tensors that are too large to be in memory, part by part. The parts may come in any
 * order and any sizes: the report is that of the whole. */
typedef struct lathe_comparison lathe_comparison;

/* Begins a comparison, which the caller frees before the engine. Errors: INVALID_ARGUMENT,
 * INSUFFICIENT_MEMORY; *comparison is then left alone. */
LATHE_API lathe_status lathe_comparison_create(struct lathe_engine *engine,
                                               lathe_comparison **comparison);

/* NULL is legal. */
LATHE_API void lathe_comparison_free(lathe_comparison *comparison);

/* Adds two parts of the same shape. Thread-safe. Errors: those of lathe_tensor_compare, elements
 * being counted in the part; nothing has been added then. */
LATHE_API lathe_status lathe_comparison_add(lathe_comparison *comparison,
                                            const struct lathe_tensor *a,
                                            const struct lathe_tensor *b);

/* Adds all that has been added to another one: for a report on several tensors. Thread-safe as far
 * as `comparison` goes. Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_comparison_merge(lathe_comparison *comparison,
                                              const lathe_comparison *from);

/* Reports on what has been added; the caller has set report->struct_size. Not while another thread
 * adds. Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_comparison_report(const lathe_comparison *comparison,
                                               lathe_quality_report *report);

LATHE_END_DECLS

#endif
