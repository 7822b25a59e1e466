/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between quantized types, from codes to codes. */
#ifndef LT_CPU_RECODE_H
#define LT_CPU_RECODE_H

#include "cpu/cpu.h"

/* How the codes of a pass become others; what is the same for all of its works. */
typedef struct lt_recoder {
    bool is_on; /* else the pass goes through F32 */
    bool finds_scales;
    const lt_kernels *kernels;
    const lt_pass *pass;
    lt_heat heat;       /* of the result's memory */
    uint64_t src_scope; /* elements of a row that share a scale, on either side */
    uint64_t dst_scope;
    uint64_t unit;   /* elements of a row that share both */
    bool takes_rows; /* finds_scales, by rows */
} lt_recoder;

lt_recoder lt_recoder_of(const lt_kernels *kernels, const lt_work *work, const lt_reader *src);

/* Converts columns of a row, from one that begins a byte of the result on, with the scales in
 * place; returns how many: 0, with nothing done, or as many of them as end a byte or are all. */
uint64_t lt_recode_columns(const lt_recoder *r, const lt_work *work, const lt_reader *src,
                           uint64_t row, uint64_t col, uint64_t n_elems);

/* The same, from the first of a scope on, of as many scopes as fit in the cache, or of all that are
 * left; their scales are found and stored first. */
uint64_t lt_recode_scopes(const lt_recoder *r, const lt_work *work, const lt_reader *src,
                          uint64_t row, uint64_t col, uint64_t n_elems);

/* The same for whole rows of one scope each, up to n_rows of them, from one on that begins a byte
 * on both sides; returns how many. */
uint64_t lt_recode_rows(const lt_recoder *r, const lt_work *work, const lt_reader *src,
                        uint64_t row, uint64_t n_rows);

/* The statistic of at most LATHE_STAT_TILE elements. False where it has to be taken from their
 * decoded values. */
bool lt_recode_stat(const lt_reader *src, lt_stat which, uint64_t elem, uint64_t n_elems,
                    float *stat);

#endif
