/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of views. */
#include "core/view.h"

#include "core/checked.h"
#include "core/error.h"
#include <inttypes.h>
#include <string.h>

const char *lt_why_not_shared(const lt_layout *from, const lt_layout *to) {
    if (from->dtype != to->dtype) {
        return "the data types differ";
    }
    if (from->n_elems != to->n_elems) {
        return "the numbers of elements differ";
    }
    if (from->scale_elems != to->scale_elems || from->n_scales != to->n_scales) {
        return "the elements that share a scale differ";
    }
    return lt_layout_equal(from, to) ? NULL
                                     : "the rows differ, and they have unused bits or scales";
}

static lathe_status fail_to_share(const lathe_tensor *source, const char *what, const char *why) {
    lathe_status status =
        lt_fail(LATHE_INCOMPATIBLE_TYPES, "a %s tensor cannot be viewed with %s: %s",
                lathe_dtype_name(source->layout.dtype), what, why);
    lt_error()->from = source->layout.dtype;
    lt_error()->stage = "view";
    return status;
}

lathe_status lt_view_reshape(const lathe_tensor *source, uint32_t n_dims, const uint64_t *shape,
                             uint32_t row_dims, lt_view *view) {
    view->desc = lt_tensor_desc_of(source);
    view->desc.n_dims = n_dims;
    view->desc.shape = shape;
    view->desc.row_dims = row_dims;
    view->first_byte = 0;
    view->first_scale = 0;
    lathe_status status = lt_layout_of(&view->desc, &view->layout);
    if (status != LATHE_OK) {
        return status;
    }
    if (view->layout.n_elems != source->layout.n_elems) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "the shape has %" PRIu64 " elements, the tensor %" PRIu64,
                       view->layout.n_elems, source->layout.n_elems);
    }
    const char *why = lt_why_not_shared(&source->layout, &view->layout);
    return why == NULL ? LATHE_OK : fail_to_share(source, "this shape", why);
}

/* Begins elements [begin, end) of a row where bytes and groups begin, and ends them likewise? */
static bool cuts_row_well(const lt_layout *layout, uint64_t begin, uint64_t end) {
    bool at_end = end == layout->row_elems;
    bool whole_bytes = lt_layout_col_in_unit(layout, begin) == 0 &&
                       (at_end || lt_layout_col_in_unit(layout, end) == 0);
    bool whole_scopes = layout->scales_per_row <= 1 || (begin % layout->scale_elems == 0 &&
                                                        (at_end || end % layout->scale_elems == 0));
    return whole_bytes && whole_scopes;
}

/* Where entry `first` begins, whose `count` entries have all the dimensions of rows: in bytes and
 * scales. */
static lathe_status place_rows(const lathe_tensor *source, uint64_t first, uint64_t count,
                               lt_view *view) {
    const lt_layout *layout = &source->layout;
    uint64_t n_entries = source->shape[0];
    if (n_entries == 0) {
        return LATHE_OK;
    }
    if (source->n_dims > source->row_dims) {
        uint64_t first_row = layout->n_rows / n_entries * first;
        view->first_byte = first_row * layout->row_bytes;
        view->first_scale = first_row * layout->scales_per_row;
        return LATHE_OK;
    }
    uint64_t begin = layout->row_elems / n_entries * first;
    uint64_t end = begin + layout->row_elems / n_entries * count;
    if (count > 0 && !cuts_row_well(layout, begin, end)) {
        return fail_to_share(source, "a part of its row",
                             "it does not begin and end with whole bytes and groups");
    }
    view->first_byte = lt_layout_col_bytes(layout, begin);
    view->first_scale = layout->scales_per_row <= 1 ? 0 : begin / layout->scale_elems;
    return LATHE_OK;
}

lathe_status lt_view_rows(const lathe_tensor *source, uint64_t first, uint64_t count,
                          lt_view *view) {
    if (source->n_dims == 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "a scalar has no rows");
    }
    if (first > source->shape[0] || count > source->shape[0] - first) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "rows %" PRIu64 " and %" PRIu64 " more are not inside the %" PRIu64
                       " of the tensor",
                       first, count, source->shape[0]);
    }
    view->desc = lt_tensor_desc_of(source);
    memcpy(view->shape, source->shape, source->n_dims * sizeof view->shape[0]);
    view->shape[0] = count;
    view->desc.shape = view->shape;
    view->first_byte = 0;
    view->first_scale = 0;
    lathe_status status = lt_layout_of(&view->desc, &view->layout);
    return status == LATHE_OK ? place_rows(source, first, count, view) : status;
}

lathe_status lt_view_bits(const lathe_tensor *source, lathe_dtype dtype, lt_view *view) {
    if (!lathe_dtype_is_valid(dtype)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "dtype %d is none", (int)dtype);
    }
    view->desc = lt_tensor_desc_of(source);
    view->desc.dtype = dtype;
    view->first_byte = 0;
    view->first_scale = 0;
    bool has_scales =
        lathe_dtype_is_quantized(source->layout.dtype) || lathe_dtype_is_quantized(dtype);
    if (dtype != source->layout.dtype && has_scales) {
        return fail_to_share(source, lathe_dtype_name(dtype), "codes mean nothing without scales");
    }
    lathe_status status = lt_layout_of(&view->desc, &view->layout);
    if (status == LATHE_OK && (view->layout.unit_bytes != source->layout.unit_bytes ||
                               view->layout.unit_elems != source->layout.unit_elems)) {
        return fail_to_share(source, lathe_dtype_name(dtype), "the elements differ in width");
    }
    return status;
}
