/* SPDX-License-Identifier: Apache-2.0 */
/* From the stages of a pipeline to a chain that a backend runs. */
#ifndef LT_ENGINE_CHAIN_PLAN_H
#define LT_ENGINE_CHAIN_PLAN_H

#include "chain.h"

/* Makes the chain from a source's layout through n_steps layouts, which are not copies of each
 * other and have elements, and whose targets have been checked. Scales that lie in blocks of the
 * backend's caches are found there; `scales` of the others are the caller's to set. */
void lt_chain_plan(lt_chain *chain, const lt_backend *backend, const lt_layout *src,
                   uint32_t n_steps, const lt_layout *layouts, const lathe_target *targets);

/* True if a step's scales are found before it runs. */
static inline bool lt_chain_step_needs_scales(const lt_chain_step *step) {
    return step->pass.dst.n_scales > 0 && !step->pass.own_scales;
}

#endif
