/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts: how the elements and the scales of a tensor lie in memory. */
#ifndef LT_CORE_LAYOUT_H
#define LT_CORE_LAYOUT_H

#include <lathe/tensor.h>

/* Sizes are checked when the layout is made, so arithmetic with elements inside it cannot overflow.
 */
typedef struct lt_layout {
    uint64_t n_rows;
    uint64_t row_elems;
    uint64_t row_bytes;
    uint64_t scale_elems; /* elements of a row that share a scale; 0: one scale for the tensor, or
                             none at all */
    uint64_t scales_per_row; /* 0 where scale_elems is 0 */
    uint64_t n_elems;
    uint64_t n_bytes;
    uint64_t n_scales;
    lathe_dtype dtype;
    uint16_t unit_elems; /* as in lt_dtype_traits */
    uint16_t unit_bytes;
} lt_layout;

/* Checks a description and works out its layout. Errors: INVALID_ARGUMENT, SIZE_OVERFLOW. */
lathe_status lt_layout_of(const lathe_tensor_desc *desc, lt_layout *layout);

/* Checks a target's own fields. Errors: INVALID_ARGUMENT. */
lathe_status lt_target_check(const lathe_target *target);

/* Bytes of a row before the unit that holds its element `col`. */
static inline uint64_t lt_layout_col_bytes(const lt_layout *layout, uint64_t col) {
    return layout->unit_elems == 1 ? col * layout->unit_bytes : col / layout->unit_elems;
}

/* How many elements of the same unit stand before element `col` of a row. */
static inline uint64_t lt_layout_col_in_unit(const lt_layout *layout, uint64_t col) {
    return layout->unit_elems == 1 ? 0 : col % layout->unit_elems;
}

/* The index of the scale of an element. */
static inline uint64_t lt_layout_scale_index(const lt_layout *layout, uint64_t row, uint64_t col) {
    return layout->scale_elems == 0 ? 0 : row * layout->scales_per_row + col / layout->scale_elems;
}

/* True if the rows follow each other without unused bits, so that the data is one run of elements.
 */
bool lt_layout_is_dense(const lt_layout *layout);

/* True if bytes and scales mean the same in both, element by element; shapes may differ. */
bool lt_layout_equal(const lt_layout *a, const lt_layout *b);

/* Elements (of a row) that share a scale; for one scale in all, the whole row. */
static inline uint64_t lt_layout_scale_run(const lt_layout *layout) {
    return layout->scale_elems == 0 ? layout->row_elems : layout->scale_elems;
}

#endif
