/* SPDX-License-Identifier: Apache-2.0 */
/* The scales of a small tensor's target. */
#include "engine/plan/small_scales.h"

lathe_status lt_small_scales(lt_backend *cpu, const lt_pass *pass, const lt_span *source,
                             float *scales) {
    double stats[LT_SMALL_TILES];
    lt_outcome outcome;
    lt_fold fold = {0};
    const lt_work work = {
        .pass = pass,
        .src = *source,
        .stats = stats,
        .n_tiles = pass->tiling.n_tiles,
        .outcome = &outcome,
        .on_this_thread = true,
    };
    lt_outcome_init(&outcome);
    lathe_status status = cpu->ops->submit_stats(cpu, NULL, &work);
    if (status == LATHE_OK) {
        status = lt_outcome_status(&outcome, pass->src.dtype, pass->dst.dtype);
    }
    if (status == LATHE_OK) {
        lt_fold_tiles(&fold, &pass->tiling, pass->dst.dtype, stats, work.n_tiles, scales);
    }
    return status;
}
