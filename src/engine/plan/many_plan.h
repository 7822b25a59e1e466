/* SPDX-License-Identifier: Apache-2.0 */
/* Planning for launches that many small tensors share. */
#ifndef LT_ENGINE_MANY_PLAN_H
#define LT_ENGINE_MANY_PLAN_H

#include "core/tensor.h"
#include "engine/engine.h"
#include "engine/plan/plan.h"

/* Plans the conversion of a small tensor by one range of such a launch. Where a tensor that has one
 * scale is small enough, the launch finds that, too; plan->stats_first: the scales are to be known.
 */
void lt_many_plan(const lt_backend *backend, const lt_layout *from, const lt_layout *to,
                  const lathe_target *target, lt_plan *plan, lt_ranges *ranges);

/* For the self-check: converts the device tensor `source` by a launch of several copies of it, of
 * which number `which`, below LT_MANY_COPIES, becomes `result`; after another one where the scales
 * are to be known. Errors: those of a conversion. */
enum { LT_MANY_COPIES = 3 };
lathe_status lt_many_trial(lathe_engine *engine, const lathe_tensor *source,
                           const lathe_target *target, size_t which, lathe_tensor *result,
                           uint64_t *n_saturated);

#endif
