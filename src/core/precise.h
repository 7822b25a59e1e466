/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE quality: the search for the scale with the least squared error. docs/numerics.md states
 * it. */
#ifndef LT_CORE_PRECISE_H
#define LT_CORE_PRECISE_H

#include "core/exact_sum.h"
#include "core/layout.h"

/* Scopes of up to so many elements are searched element by element, longer ones by a histogram. */
enum { LT_PRECISE_ELEMS = 1024 };

/* A histogram's bins, at most. Levels below 512 have bins of their own, and each octave above has
 * 256; levels stay below 2^21, or 2^30 where there is one half of bins only. */
enum { LT_PRECISE_BINS = 2 * 3584 };

/* The search for one scope. */
typedef struct lt_precise {
    float scale;     /* the standard one */
    float inverse;   /* of that; 0: there is nothing to search */
    float low_code;  /* of the target */
    float high_code; /* likewise */
    float factor;    /* levels in a step of the standard scale */
    bool is_signed;  /* levels below 0 have bins of their own, the second half of all */
    uint32_t n_bins;
    float max_level;
} lt_precise;

/* True if PRECISE differs from BALANCED for that target. */
bool lt_precise_applies(lathe_dtype dtype, lathe_quality quality);

/* How far below -max_code a target's codes reach: 0 or 1. */
float lt_extra_codes(lathe_dtype dtype, lathe_quality quality);

/* For a scope of n_elems elements with that standard scale. */
lt_precise lt_precise_of(lathe_dtype dtype, uint64_t n_elems, float scale);

/* The scale that the search among n_elems elements of a scope, at most LT_PRECISE_ELEMS, leads to;
 * it is to be fitted to the elements, and compared with the standard one. Elements that are not
 * finite count as 0. */
float lt_precise_from_elems(const lt_precise *precise, const float *x, size_t n_elems);

/* Counts elements of a longer scope, below 2^32 in all, into n_bins bins. */
void lt_precise_count(const lt_precise *precise, const float *x, size_t n_elems, uint32_t *counts);

/* The same from a histogram, which may be 32 or 64 bits wide: the other is NULL. It is compacted;
 * `values` has room for n_bins. */
float lt_precise_from_counts(const lt_precise *precise, uint32_t *narrow, uint64_t *wide,
                             float *values);

/* What fits a scale to the codes that another one gives: the sums of code times element, and of
 * codes squared. Zeroed before the first. */
typedef struct lt_scale_fit {
    lt_exact_sum product;
    uint64_t squares;
} lt_scale_fit;

void lt_scale_fit_add(lt_scale_fit *sums, const lt_precise *precise, float scale, const float *x,
                      size_t n_elems);
void lt_scale_fit_merge(lt_scale_fit *sums, const lt_scale_fit *from);

/* The scale with the least squared error for these codes; the standard one if there is none. */
float lt_scale_fitted(const lt_precise *precise, const lt_scale_fit *sums);

/* The squared errors of the elements with the standard scale, and with another one. Zeroed before
 * the first. */
typedef struct lt_scale_errors {
    uint64_t n_nonfinite[2]; /* elements that decode to an infinity */
    lt_exact_sum squares[2];
} lt_scale_errors;

void lt_scale_errors_add(lt_scale_errors *errors, const lt_precise *precise, float other,
                         const float *x, size_t n_elems);
void lt_scale_errors_merge(lt_scale_errors *errors, const lt_scale_errors *from);

/* The standard scale, unless the errors with the other one are less. */
float lt_precise_choose(const lt_precise *precise, float other, const lt_scale_errors *errors);

/* What a pass over some tiles of a scope gathers for the search. */
typedef enum lt_scan_kind {
    LT_SCAN_ELEMS = 0, /* the elements themselves */
    LT_SCAN_COUNTS,    /* the histogram */
    LT_SCAN_FIT,       /* what fits the scale that was found to the elements */
    LT_SCAN_ERRORS,    /* the errors with two scales */
} lt_scan_kind;

typedef struct lt_scan {
    lt_scan_kind kind;
    lt_precise precise;
    uint64_t first_elem; /* of the scope, in the tensor */
    float other;         /* FIT: the scale that was found; ERRORS: the fitted one */
    float *values;       /* ELEMS: the scope's; LT_PRECISE_BINS of room */
    uint64_t *counts;    /* LT_PRECISE_BINS */
    lt_scale_fit fit;
    lt_scale_errors errors;
} lt_scan;

/* What one thread has gathered of it: below 2^32 elements. Zeroed, counts only for COUNTS. */
typedef struct lt_scan_part {
    uint32_t counts[LT_PRECISE_BINS];
    lt_scale_fit fit;
    lt_scale_errors errors;
} lt_scan_part;

/* Gathers elements [elem, elem + n_elems) of the tensor, and hands over what was gathered. The
 * latter is thread-safe. */
void lt_scan_add(lt_scan *scan, lt_scan_part *part, uint64_t elem, const float *x, size_t n_elems);
void lt_scan_merge(lt_scan *scan, const lt_scan_part *part);

#endif
