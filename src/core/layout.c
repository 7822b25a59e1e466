/* SPDX-License-Identifier: Apache-2.0 */
/* Validation of descriptions and targets, and the sizes that follow from them. */
#include "core/layout.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "lathe_constants.h"
#include <inttypes.h>

static lathe_status check_granularity(lathe_dtype dtype, lathe_granularity granularity,
                                      uint64_t group_size) {
    if (!lathe_dtype_is_quantized(dtype)) {
        return LATHE_OK;
    }
    switch (granularity) {
    case LATHE_PER_TENSOR:
    case LATHE_PER_ROW:
        if (group_size != 0) {
            return lt_fail(LATHE_INVALID_ARGUMENT,
                           "group_size %" PRIu64 " is given, but the granularity is not per group",
                           group_size);
        }
        return LATHE_OK;
    case LATHE_PER_GROUP:
        /* Files hold it as a signed number. */
        if (group_size == 0 || group_size % LATHE_GROUP_MULTIPLE != 0 || group_size > INT64_MAX) {
            return lt_fail(LATHE_INVALID_ARGUMENT,
                           "group_size %" PRIu64 " is not a multiple of %d from %d to 2^63 - 1",
                           group_size, LATHE_GROUP_MULTIPLE, LATHE_GROUP_MULTIPLE);
        }
        return LATHE_OK;
    }
    return lt_fail(LATHE_INVALID_ARGUMENT, "granularity %d is not one of the three",
                   (int)granularity);
}

lathe_status lt_target_check(const lathe_target *target) {
    if (target == NULL || target->struct_size != sizeof *target) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "target is NULL or its struct_size is not sizeof(lathe_target)");
    }
    if (!lathe_dtype_is_valid(target->dtype)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "target dtype %d is none", (int)target->dtype);
    }
    if (target->row_dims > LATHE_MAX_DIMS) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "target row_dims %" PRIu32 " is over %d",
                       target->row_dims, LATHE_MAX_DIMS);
    }
    if (target->strict > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "target strict %" PRIu32 " is neither 0 nor 1",
                       target->strict);
    }
    if (target->quality != LATHE_BALANCED && target->quality != LATHE_FAST &&
        target->quality != LATHE_PRECISE) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "target quality %d is not one of the three",
                       (int)target->quality);
    }
    if (target->nonfinite != LATHE_NONFINITE_ERROR &&
        target->nonfinite != LATHE_NONFINITE_SATURATE) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "target nonfinite %d is not one of the two",
                       (int)target->nonfinite);
    }
    return check_granularity(target->dtype, target->granularity, target->group_size);
}

static lathe_status check_desc(const lathe_tensor_desc *desc) {
    if (desc == NULL || desc->struct_size != sizeof *desc) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "description is NULL or its struct_size is not sizeof(lathe_tensor_desc)");
    }
    if (!lathe_dtype_is_valid(desc->dtype)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "dtype %d is none", (int)desc->dtype);
    }
    if (desc->n_dims > LATHE_MAX_DIMS || (desc->n_dims > 0 && desc->shape == NULL)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "n_dims %" PRIu32 " is over %d, or the shape is missing", desc->n_dims,
                       LATHE_MAX_DIMS);
    }
    if (desc->row_dims > 1 && desc->row_dims > desc->n_dims) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "row_dims %" PRIu32 " is over the tensor's %" PRIu32 " dimensions",
                       desc->row_dims, desc->n_dims);
    }
    return check_granularity(desc->dtype, desc->granularity, desc->group_size);
}

/* The product of shape[first..last). Overflow counts even when a later extent is 0, as the
 * checkpoint formats' readers do. */
static bool product(const uint64_t *shape, uint32_t first, uint32_t last, uint64_t *out) {
    uint64_t total = 1;
    for (uint32_t i = first; i < last; i++) {
        if (!lt_mul(total, shape[i], &total)) {
            return false;
        }
    }
    *out = total;
    return true;
}

static bool count_scales(const lathe_tensor_desc *desc, lt_layout *layout) {
    if (!lathe_dtype_is_quantized(desc->dtype)) {
        return true;
    }
    if (desc->granularity == LATHE_PER_TENSOR) {
        layout->n_scales = 1;
        return true;
    }
    bool per_row = desc->granularity == LATHE_PER_ROW;
    /* A group longer than the row is the row. */
    uint64_t row_elems = lt_max(layout->row_elems, 1);
    layout->scale_elems = per_row ? row_elems : lt_min(desc->group_size, row_elems);
    layout->scales_per_row = per_row ? 1 : lt_ceil_div(layout->row_elems, desc->group_size);
    uint64_t bytes = 0;
    return lt_mul(layout->n_rows, layout->scales_per_row, &layout->n_scales) &&
           lt_mul(layout->n_scales, sizeof(float), &bytes);
}

lathe_status lt_layout_of(const lathe_tensor_desc *desc, lt_layout *layout) {
    lathe_status status = check_desc(desc);
    if (status != LATHE_OK) {
        return status;
    }
    uint32_t row_dims = desc->row_dims == 0 ? 1 : desc->row_dims;
    uint32_t outer = desc->n_dims > row_dims ? desc->n_dims - row_dims : 0;
    const lt_dtype_traits *traits = lt_dtype_traits_of(desc->dtype);
    lt_layout made = {
        .dtype = desc->dtype,
        .unit_elems = traits->unit_elems,
        .unit_bytes = traits->unit_bytes,
    };
    uint64_t all_extents = 0;
    if (!product(desc->shape, 0, desc->n_dims, &all_extents) ||
        !product(desc->shape, 0, outer, &made.n_rows) ||
        !product(desc->shape, outer, desc->n_dims, &made.row_elems) ||
        !lathe_dtype_row_bytes(desc->dtype, made.row_elems, &made.row_bytes) ||
        !lt_mul(made.n_rows, made.row_elems, &made.n_elems) ||
        !lt_mul(made.n_rows, made.row_bytes, &made.n_bytes) || !count_scales(desc, &made)) {
        return lt_fail(LATHE_SIZE_OVERFLOW, "the shape's size does not fit in 64 bits");
    }
    *layout = made;
    return LATHE_OK;
}

bool lt_layout_is_dense(const lt_layout *layout) {
    return layout->n_rows <= 1 || layout->row_elems % layout->unit_elems == 0;
}

bool lt_layout_equal(const lt_layout *a, const lt_layout *b) {
    bool same_rows = a->n_rows == b->n_rows && a->row_elems == b->row_elems;
    bool dense = a->n_elems == b->n_elems && lt_layout_is_dense(a) && lt_layout_is_dense(b);
    /* Groups that end where rows end follow each other as if there were no rows. */
    bool flat = dense && (a->scale_elems == 0 || (a->row_elems % a->scale_elems == 0 &&
                                                  b->row_elems % a->scale_elems == 0));
    return a->dtype == b->dtype && a->n_elems == b->n_elems && a->scale_elems == b->scale_elems &&
           a->n_scales == b->n_scales && (same_rows || flat);
}

lathe_status lathe_tensor_desc_sizes(const lathe_tensor_desc *desc, uint64_t *n_elems,
                                     uint64_t *n_bytes, uint64_t *n_scales) {
    lt_layout layout;
    lathe_status status = lt_layout_of(desc, &layout);
    if (status != LATHE_OK) {
        return status;
    }
    if (n_elems != NULL) {
        *n_elems = layout.n_elems;
    }
    if (n_bytes != NULL) {
        *n_bytes = layout.n_bytes;
    }
    if (n_scales != NULL) {
        *n_scales = layout.n_scales;
    }
    return LATHE_OK;
}

lathe_status lathe_target_desc(const lathe_target *target, uint32_t n_dims, const uint64_t *shape,
                               lathe_tensor_desc *desc) {
    lathe_status status = lt_target_check(target);
    if (status != LATHE_OK) {
        return status;
    }
    if (desc == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "desc is NULL");
    }
    bool quantized = lathe_dtype_is_quantized(target->dtype);
    lathe_tensor_desc made = {
        .struct_size = sizeof made,
        .dtype = target->dtype,
        .n_dims = n_dims,
        .shape = shape,
        .granularity = quantized ? target->granularity : LATHE_PER_TENSOR,
        .group_size = quantized && target->granularity == LATHE_PER_GROUP ? target->group_size : 0,
        .row_dims = target->row_dims,
    };
    lt_layout layout;
    status = lt_layout_of(&made, &layout);
    if (status == LATHE_OK) {
        *desc = made;
    }
    return status;
}
