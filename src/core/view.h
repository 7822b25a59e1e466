/* SPDX-License-Identifier: Apache-2.0 */
/* What a view of a tensor shows: which layout, and which part of the bytes and scales. */
#ifndef LT_CORE_VIEW_H
#define LT_CORE_VIEW_H

#include "core/tensor.h"

typedef struct lt_view {
    lathe_tensor_desc desc;
    uint64_t shape[LATHE_MAX_DIMS]; /* where desc.shape points, unless it is the caller's */
    lt_layout layout;
    uint64_t first_byte;  /* of the source's data */
    uint64_t first_scale; /* of the source's scales */
} lt_view;

/* The source as the public functions of lathe/view.h say. Errors: INVALID_ARGUMENT, SIZE_OVERFLOW,
 * INCOMPATIBLE_TYPES. *view must stay where it is. */
lathe_status lt_view_reshape(const lathe_tensor *source, uint32_t n_dims, const uint64_t *shape,
                             uint32_t row_dims, lt_view *view);
lathe_status lt_view_rows(const lathe_tensor *source, uint64_t first, uint64_t count,
                          lt_view *view);
lathe_status lt_view_bits(const lathe_tensor *source, lathe_dtype dtype, lt_view *view);

/* Why a tensor of layout `from` is not one of layout `to` as it lies; NULL if it is. Static. */
const char *lt_why_not_shared(const lt_layout *from, const lt_layout *to);

#endif
