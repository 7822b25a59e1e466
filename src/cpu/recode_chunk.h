/* SPDX-License-Identifier: Apache-2.0 */
/* Codes of quantized types, some thousands at a time, and statistics of what they stand for. */
#ifndef LT_CPU_RECODE_CHUNK_H
#define LT_CPU_RECODE_CHUNK_H

#include "cpu/cpu.h"

/* Codes that are unpacked at a time: whole bytes of every dtype, five whole groups of up to 1,024
 * elements, and few enough for a first-level cache that holds them twice. */
enum {
    LT_CHUNK = 5120,
    LT_LONG_CHUNK = 4 * LT_CHUNK, /* of repacked codes of one unit */
    LT_CHUNK_UNITS = LT_CHUNK / LATHE_GROUP_MULTIPLE,
    LT_BYTE_ELEMS = 8,
    LT_CRUMBS = 4,
};

/* Codes of I2. */
typedef struct lt_crumbs {
    uint8_t bytes[LT_CHUNK / LT_CRUMBS + LT_REPACK_SLACK];
} lt_crumbs;

/* Columns that are taken at once: where their codes are, and both scales of each unit that they
 * touch. */
typedef struct lt_chunk {
    lathe_dtype dtype;    /* never BITNET158, whose codes are repacked */
    const uint8_t *bytes; /* of the source, from the one on that has the first element */
    uint64_t skip;        /* elements that come before it there */
    uint64_t n_elems;
    uint64_t first; /* elements of the first unit, of which the chunk may have the end alone */
    float scales[LT_CHUNK_UNITS + 1];
    float inverses[LT_CHUNK_UNITS + 1];
    int8_t buffer[LT_CHUNK + LT_BYTE_ELEMS]; /* for codes that are unpacked */
    uint8_t *of_trits;                       /* for those of BITNET158, as I2 */
} lt_chunk;

/* The chunk's codes, a byte each; at most LT_CHUNK of them unless they are so already. */
const int8_t *lt_chunk_unpack(const lt_kernels *kernels, lt_chunk *c);

/* A statistic of each unit. Where they are needed and not there, lane sums are found, for some
 * units at a time. */
void lt_chunk_stats(const lt_kernels *kernels, lt_chunk *c, lt_stat which, const lt_recode *how,
                    float *stats);

/* Whether sums over units of a dtype's codes take lane sums. */
bool lt_takes_lane_sums(lathe_dtype from, lt_stat which, uint64_t unit);

enum { LT_SUMS_AT_ONCE = 16 };

/* For each of n scales, at most LT_SUMS_AT_ONCE: its sums with itself, as many as lanes of n_elems
 * elements have at the most. */
void lt_find_lane_sums(const float *scales, uint64_t n, uint64_t n_elems,
                       float sums[LT_SUMS_AT_ONCE][LATHE_STAT_LANES]);

#endif
