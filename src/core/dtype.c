/* SPDX-License-Identifier: Apache-2.0 */
/* The traits table, and the queries that read it. */
#include "core/dtype.h"

#include "core/checked.h"
#include "lathe_constants.h"
#include <string.h>

static const lt_dtype_traits traits_table[LATHE_DTYPE_LAST + 1] = {
    [LATHE_F32] = {.name = "f32", .unit_elems = 1, .unit_bytes = 4},
    [LATHE_F16] = {.name = "f16", .unit_elems = 1, .unit_bytes = 2},
    [LATHE_BF16] = {.name = "bf16", .unit_elems = 1, .unit_bytes = 2},
    [LATHE_I8] = {.name = "i8",
                  .unit_elems = 1,
                  .unit_bytes = 1,
                  .rule = LT_RULE_ABSMAX,
                  .max_code = LATHE_I8_MAX},
    [LATHE_I4] = {.name = "i4",
                  .unit_elems = 2,
                  .unit_bytes = 1,
                  .rule = LT_RULE_ABSMAX,
                  .max_code = LATHE_I4_MAX},
    [LATHE_I2] = {.name = "i2",
                  .unit_elems = 4,
                  .unit_bytes = 1,
                  .rule = LT_RULE_ABSMAX,
                  .max_code = LATHE_I2_MAX},
    [LATHE_I1] = {.name = "i1", .unit_elems = 8, .unit_bytes = 1, .rule = LT_RULE_MEAN},
    [LATHE_BITNET158] = {.name = "bitnet158",
                         .unit_elems = LATHE_BITNET158_PER_BYTE,
                         .unit_bytes = 1,
                         .rule = LT_RULE_MEAN,
                         .max_code = LATHE_BITNET158_MAX,
                         .min_scale = LATHE_BITNET158_MIN_SCALE,
                         .byte_values = LATHE_BITNET158_BYTE_VALUES},
};

const lt_dtype_traits *lt_dtype_traits_of(lathe_dtype dtype) {
    return &traits_table[dtype];
}

bool lathe_dtype_is_valid(lathe_dtype dtype) {
    return (int)dtype >= LATHE_DTYPE_FIRST && (int)dtype <= LATHE_DTYPE_LAST;
}

const char *lathe_dtype_name(lathe_dtype dtype) {
    return lathe_dtype_is_valid(dtype) ? traits_table[dtype].name : "invalid";
}

lathe_dtype lathe_dtype_from_name(const char *name) {
    for (int i = LATHE_DTYPE_FIRST; name != NULL && i <= LATHE_DTYPE_LAST; i++) {
        if (strcmp(name, traits_table[i].name) == 0) {
            return (lathe_dtype)i;
        }
    }
    return (lathe_dtype)0;
}

bool lathe_dtype_is_quantized(lathe_dtype dtype) {
    return lathe_dtype_is_valid(dtype) && traits_table[dtype].rule != LT_RULE_NONE;
}

bool lathe_dtype_row_bytes(lathe_dtype dtype, uint64_t n_elems, uint64_t *n_bytes) {
    if (!lathe_dtype_is_valid(dtype)) {
        return false;
    }
    const lt_dtype_traits *traits = &traits_table[dtype];
    return lt_mul(lt_ceil_div(n_elems, traits->unit_elems), traits->unit_bytes, n_bytes);
}
