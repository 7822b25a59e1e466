/* SPDX-License-Identifier: Apache-2.0 */
/* Scales and inverses on both sides of a conversion between quantized types, for the units of a
 * chunk: elements that share both scales. */
#ifndef LT_CPU_RECODE_SCALES_H
#define LT_CPU_RECODE_SCALES_H

#include "cpu/recode.h"
#include <string.h>

/* Its highest bit is set if a scale is not what it has to be: finite and not below 0, nor -0, which
 * may be given, but whose magnitudes, of which the general way knows, are 0. */
static inline uint32_t lt_scale_fault(float scale) {
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    return bits | (bits + 0x00800000U);
}

static inline bool lt_is_scale(float scale) {
    return lt_scale_fault(scale) >> 31 == 0;
}

/* The source's scales of n units, from the one on that has column `col` of the target. False if one
 * is not what a scale has to be. */
bool lt_recode_source_scales(const lt_recoder *r, const lt_reader *src, uint64_t row, uint64_t col,
                             uint64_t n_units, float *scales);

/* Where the target's scales are, from the one of an element on. */
float *lt_recode_target_scales(const lt_work *work, uint64_t row, uint64_t col);

/* The inverses of the target's scales, which are known, of n units. */
void lt_recode_target_inverses(const lt_recoder *r, const lt_work *work, uint64_t row, uint64_t col,
                               uint64_t n_units, float *inverses);

/* What lt_scales_from_stats gives for the target, many at once: the scales of scopes of scope_elems
 * elements, the last one of last_elems, and their inverses. */
void lt_recode_scales_of_stats(const lt_recoder *r, const float *stats, uint64_t n_scopes,
                               uint64_t scope_elems, uint64_t last_elems, float *scales,
                               float *inverses);

#endif
