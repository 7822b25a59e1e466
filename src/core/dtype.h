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
    uint16_t unit_elems; /* elements that share the least addressable unit: 1, 2, 4, 8 or 5 */
    uint16_t unit_bytes; /* bytes of that unit: 4, 2 or 1 */
    lt_scale_rule rule;
    float max_code;      /* clamp bound of the codes; 0 if there is none (floats, I1) */
    float min_scale;     /* LT_RULE_MEAN */
    uint8_t byte_values; /* how many values of a byte are valid (128 or more); 0 means all 256 */
} lt_dtype_traits;

/* The dtype must be valid. */
const lt_dtype_traits *lt_dtype_traits_of(lathe_dtype dtype);

#endif
