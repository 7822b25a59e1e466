/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE quality: the search for the scale with the least squared error. docs/numerics.md states
 * it. */
#ifndef LT_CORE_PRECISE_H
#define LT_CORE_PRECISE_H

#include "core/layout.h"
#include "lathe_constants.h"

/* Scopes of up to so many elements are searched element by element, longer ones by a histogram. */
enum { LT_PRECISE_ELEMS = LATHE_PRECISE_ELEMS };

/* A histogram has so many bins at most, and room for LT_PRECISE_COPIES times as many: loops that
 * count spread elements over copies of it. */
enum { LT_PRECISE_BINS = LATHE_PRECISE_BINS, LT_PRECISE_COPIES = 2 };

/* The search for one scope. */
typedef struct lt_precise {
    float scale;     /* the standard one */
    float inverse;   /* of that; 0: there is nothing to search */
    float low_code;  /* of the target */
    float high_code; /* likewise */
    bool is_signed;  /* elements below 0 have bins of their own, the second half of all */
    uint32_t shift;  /* bits of a magnitude that do not tell bins apart */
    uint32_t base;   /* what the other bits are in bin 0, which counts what lies below it, too */
    uint32_t n_bins; /* of one half */
    float other;     /* the scale that the search has led to; 0: none */
    float other_inverse;
    float unit_factor; /* a power of two that takes every element below 2^22 */
} lt_precise;

/* For the two scales of a search, the standard one's first, sums over elements with the codes that
 * it gives: of code times element, this in units of 1 / unit_factor and rounded, and of codes
 * squared. Zeroed before the first. */
typedef struct lt_scale_fit {
    int64_t product[2];
    uint64_t squares[2];
} lt_scale_fit;

enum { LT_LEVEL_STEP = 64 };

/* How a scale c makes codes of levels, which are whole numbers of 16 bits: level L has the code
 * ((L * multiplier + 2^14 >> 15) + 2^(shift - 1)) >> shift, clamped. */
typedef struct lt_candidate {
    int16_t multiplier; /* 2^15 * 2^shift / c, 2^14 or more; never 2^15 */
    int16_t shift;      /* at least 1 */
} lt_candidate;

/* Loops over elements, in what instructions the CPU has. Elements that are not finite count as 0.
 *   greatest  magnitude
 *   levels    the nearest whole numbers to elements times a factor, below 2^15
 *   few    sums of code times level and of codes squared over levels, whose number is a multiple of
 *          LT_LEVEL_STEP, with the codes that a candidate gives
 *   count  adds elements to a histogram and its copies, below 2^32 in all
 *   fold   adds the copies up
 *   fit    adds elements to the sums, at most 4096 of them */
typedef struct lt_precise_loops {
    float (*greatest)(const float *x, size_t n_elems);
    void (*levels)(const float *x, size_t n_elems, float factor, int16_t *levels);
    void (*few)(const lt_precise *precise, const int16_t *levels, size_t n_levels,
                lt_candidate candidate, int64_t sums[2]);
    void (*count)(const lt_precise *precise, const float *x, size_t n_elems, uint32_t *counts);
    void (*fold)(const lt_precise *precise, uint32_t *counts);
    void (*fit)(const lt_precise *precise, const float *x, size_t n_elems, lt_scale_fit *sums);
} lt_precise_loops;

/* True if PRECISE differs from BALANCED for that target. */
bool lt_precise_applies(lathe_dtype dtype, lathe_quality quality);

/* How far below -max_code a target's codes reach: 0 or 1. */
float lt_extra_codes(lathe_dtype dtype, lathe_quality quality);

/* For a scope with that standard scale. */
lt_precise lt_precise_of(lathe_dtype dtype, float scale);

/* Bins of both halves. */
static inline uint32_t lt_precise_bins(const lt_precise *precise) {
    return precise->n_bins << (precise->is_signed ? 1 : 0);
}

/* Searches among n_elems elements of a scope, at most LT_PRECISE_ELEMS, and sets `other`. */
void lt_precise_search_elems(lt_precise *precise, const lt_precise_loops *loops, const float *x,
                             size_t n_elems);

/* The same by the histogram of a longer scope, which is overwritten. `sums` has room for as many
 * numbers. */
void lt_precise_search_counts(lt_precise *precise, uint64_t *counts, uint64_t *sums);

/* The scale with the least squared error for the codes of `other`, if that is less than the
 * standard scale's error; else the standard one. */
float lt_precise_choose(const lt_precise *precise, const lt_scale_fit *sums);

/* What a pass over some tiles of a scope gathers for the search. */
typedef enum lt_scan_kind {
    LT_SCAN_ELEMS = 0, /* nothing: searches, which takes a scope of one tile */
    LT_SCAN_COUNTS,    /* the histogram */
    LT_SCAN_FIT,       /* the sums for the two scales */
} lt_scan_kind;

typedef struct lt_scan {
    lt_scan_kind kind;
    lt_precise precise;
    uint64_t counts[LT_PRECISE_BINS];
    lt_scale_fit fit;
} lt_scan;

/* What one thread has gathered of it: below 2^32 elements. Zeroed, counts only for COUNTS. */
typedef struct lt_scan_part {
    uint32_t counts[LT_PRECISE_COPIES * LT_PRECISE_BINS];
    lt_scale_fit fit;
} lt_scan_part;

/* Gathers a tile's elements, and hands over what was gathered. The latter is thread-safe. */
void lt_scan_add(lt_scan *scan, const lt_precise_loops *loops, lt_scan_part *part, const float *x,
                 size_t n_elems);
void lt_scan_merge(lt_scan *scan, const lt_precise_loops *loops, lt_scan_part *part);

#endif
