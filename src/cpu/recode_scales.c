/* SPDX-License-Identifier: Apache-2.0 */
/* Scales and inverses on both sides of a conversion between quantized types. */
#include "cpu/recode_scales.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/scale.h"

/* A scale for each unit. */
static bool copy_scales(const float *restrict from, uint64_t n_units, float *restrict scales) {
    uint32_t faults = 0;
    for (uint64_t i = 0; i < n_units; i++) {
        scales[i] = from[i];
        faults |= lt_scale_fault(from[i]);
    }
    return faults >> 31 == 0;
}

bool lt_recode_source_scales(const lt_recoder *r, const lt_reader *src, uint64_t row, uint64_t col,
                             uint64_t n_units, float *scales) {
    const lt_layout *layout = src->layout;
    bool is_one = layout->scale_elems == 0;
    const float *of_row =
        is_one ? src->scales
               : src->scales + (lt_layout_scale_index(layout, row, 0) - src->first_scale);
    if (!is_one && r->unit == r->src_scope) {
        return copy_scales(of_row + col / r->unit, n_units, scales);
    }
    uint64_t at = is_one ? 0 : col / r->src_scope;
    uint64_t left = is_one ? UINT64_MAX : r->src_scope - col % r->src_scope;
    bool are_scales = true;
    for (uint64_t i = 0; i < n_units; i++) {
        scales[i] = of_row[at];
        are_scales = are_scales && lt_is_scale(scales[i]);
        left -= lt_min(left, i == 0 ? r->unit - col % r->unit : r->unit);
        if (left == 0) {
            at++;
            left = r->src_scope;
        }
    }
    return are_scales;
}

float *lt_recode_target_scales(const lt_work *work, uint64_t row, uint64_t col) {
    return lt_span_scales(&work->dst) +
           (lt_layout_scale_index(&work->pass->dst, row, col) - work->dst.first_scale);
}

void lt_recode_target_inverses(const lt_recoder *r, const lt_work *work, uint64_t row, uint64_t col,
                               uint64_t n_units, float *inverses) {
    bool is_one = work->pass->dst.scale_elems == 0;
    const float *scale = lt_recode_target_scales(work, row, col);
    uint64_t left = is_one ? UINT64_MAX : r->dst_scope - col % r->dst_scope;
    float inverse = lt_inverse_scale(*scale);
    for (uint64_t i = 0; i < n_units; i++) {
        inverses[i] = inverse;
        left -= lt_min(left, i == 0 ? r->unit - col % r->unit : r->unit);
        if (left == 0 && i + 1 < n_units) {
            inverse = lt_inverse_scale(*++scale);
            left = r->dst_scope;
        }
    }
}

void lt_recode_scales_of_stats(const lt_recoder *r, const float *stats, uint64_t n_scopes,
                               uint64_t scope_elems, uint64_t last_elems, float *scales,
                               float *inverses) {
    const lathe_dtype dtype = r->pass->dst.dtype;
    const lt_dtype_traits *traits = lt_dtype_traits_of(dtype);
    enum { FEW = 4 };
    const bool are_alike = last_elems == scope_elems;
    const uint64_t n_whole = n_scopes < FEW ? 0 : are_alike ? n_scopes : n_scopes - 1;
    const lt_scale_of how = {.max_code = traits->rule == LT_RULE_ABSMAX ? traits->max_code : 0,
                             .n_elems = (double)scope_elems,
                             .least = traits->min_scale};
    if (n_whole > 0) {
        r->kernels->scales(&how, stats, (size_t)n_whole, scales, inverses);
    }
    if (n_whole < n_scopes) {
        lt_scales_from_stats(dtype, stats + n_whole, n_scopes - n_whole, scope_elems, last_elems,
                             scales + n_whole, inverses + n_whole);
    }
}
