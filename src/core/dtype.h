/* SPDX-License-Identifier: Apache-2.0 */
/* The traits table behind every size and name of a dtype. */
#ifndef LT_CORE_DTYPE_H
#define LT_CORE_DTYPE_H

#include <lathe/dtype.h>

typedef enum lt_scale_rule {
    LT_RULE_NONE = 0, /* not quantized */
    LT_RULE_ABSMAX,   /* scale = absmax / max_code */
    LT_RULE_MEAN,     /* scale = max(mean of absolute values, min_scale) */
} lt_scale_rule;

typedef struct lt_dtype_traits {
    const char *name;
    uint32_t elem_bytes;     /* bytes of an element; 0 if several share a byte */
    uint32_t elems_per_byte; /* elements that share a byte; 0 if an element is a byte or more */
    lt_scale_rule rule;
    float max_code;      /* clamp bound of the codes; 0 if there is none (floats, I1) */
    float min_scale;     /* LT_RULE_MEAN */
    uint8_t byte_values; /* how many values of a byte are valid; 0 means all 256 */
} lt_dtype_traits;

/* The dtype must be valid. */
const lt_dtype_traits *lt_dtype_traits_of(lathe_dtype dtype);

/* Bytes before element `elem` of a row, which must begin a byte; and for a row that is known to
 * fit. */
uint64_t lt_dtype_offset_bytes(lathe_dtype dtype, uint64_t elem);

/* Elements that share one addressable unit: 1, 2, 4, 8 or 5. */
uint64_t lt_dtype_unit_elems(lathe_dtype dtype);

#endif
