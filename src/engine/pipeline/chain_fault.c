/* SPDX-License-Identifier: Apache-2.0 */
/* Which of a chain's steps has failed first. */
#include "engine/pipeline/chain_run.h"

lathe_status lt_chain_fault(lt_chain_run *run) {
    lt_chain *chain = run->chain;
    uint32_t first = lt_chain_steps_left(chain, chain->n_steps, UINT64_MAX);
    if (first == chain->n_steps) {
        return LATHE_OK;
    }
    if (first > 0 && run->work.n_steps == chain->n_steps) {
        /* The statistics of a step were taken before the ones ahead of it had been checked. */
        struct lt_chain_work checks = run->work;
        checks.n_steps = first;
        lathe_status status = run->backend->ops->submit_chain(run->backend, run->queue, &checks);
        if (status == LATHE_OK) {
            status = run->backend->ops->finish(run->backend, run->queue);
        }
        if (status != LATHE_OK) {
            return status;
        }
        first = lt_chain_steps_left(chain, chain->n_steps, UINT64_MAX);
    }
    const lt_chain_step *step = &chain->steps[first];
    run->report->failed_step = first;
    return lt_outcome_status(&step->outcome,
                             first == 0 ? chain->src.dtype : chain->steps[first - 1].pass.dst.dtype,
                             step->pass.dst.dtype);
}
