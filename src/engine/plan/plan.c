/* SPDX-License-Identifier: Apache-2.0 */
/* From layouts and a target to passes. */
#include "engine/plan/plan.h"

#include "core/checked.h"
#include "core/precise.h"

/* Where neither side has padding or row scales, the tensor is one row, which can be cut anywhere.
 */
static void join_rows(lt_layout *from, lt_layout *to) {
    if (from->scale_elems != 0 || to->scale_elems != 0 || !lt_layout_is_dense(from) ||
        !lt_layout_is_dense(to)) {
        return;
    }
    from->n_rows = to->n_rows = 1;
    from->row_elems = to->row_elems = to->n_elems;
    from->row_bytes = from->n_bytes;
    to->row_bytes = to->n_bytes;
}

/* Elements of the shortest run of a row that is whole scopes and whole bytes: what a pass that
 * finds its own scales takes at once. */
static uint64_t own_scale_run(const lt_layout *to) {
    uint64_t run = UINT64_MAX;
    if (to->scale_elems >= to->row_elems) {
        return to->row_elems;
    }
    bool ends_byte = lt_layout_col_in_unit(to, to->scale_elems) == 0;
    (void)lt_mul(to->scale_elems, ends_byte ? 1 : to->unit_elems, &run);
    return lt_min(run, to->row_elems);
}

uint64_t lt_plan_precise_elems(const lt_layout *to, const lathe_target *target) {
    if (!lt_precise_applies(to->dtype, target->quality)) {
        return 0;
    }
    return to->scale_elems == 0 ? UINT64_MAX : own_scale_run(to);
}

lt_plan lt_plan_make(const lt_backend *backend, const lt_layout *from, const lt_layout *to,
                     const lathe_target *target, uint64_t max_scope_elems) {
    bool is_precise = lt_precise_applies(to->dtype, target->quality);
    lathe_quality quality =
        target->quality == LATHE_PRECISE && !is_precise ? LATHE_BALANCED : target->quality;
    lt_plan made = {
        .pass =
            {
                .src = *from,
                .dst = *to,
                .quality = quality,
                .nonfinite = target->nonfinite,
                .strict = target->strict != 0,
                .beyond_cache = from->n_bytes + to->n_bytes > (to->n_bytes > from->n_bytes
                                                                   ? backend->wide_cache_bytes
                                                                   : backend->cache_bytes),
            },
        .is_copy = lt_layout_equal(from, to),
    };
    if (lathe_dtype_is_quantized(to->dtype) && !made.is_copy) {
        made.pass.tiling = lt_tiling_of(to, quality);
        made.stats_first = to->scale_elems == 0 || own_scale_run(to) > max_scope_elems;
        made.pass.own_scales = !made.stats_first;
    }
    join_rows(&made.pass.src, &made.pass.dst);
    return made;
}
