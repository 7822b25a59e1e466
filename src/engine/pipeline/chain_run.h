/* SPDX-License-Identifier: Apache-2.0 */
/* Running a chain: the scales of its steps, then the values through all of them. */
#ifndef LT_ENGINE_CHAIN_RUN_H
#define LT_ENGINE_CHAIN_RUN_H

#include "core/tensor.h"
#include "engine/engine.h"
#include "engine/pipeline/chain_plan.h"

/* What a chain's run tells. */
typedef struct lt_chain_report {
    uint32_t failed_step; /* after an error of the data */
    uint32_t n_passes;
    uint32_t n_derived; /* steps whose scales needed no pass of their own */
    uint64_t n_saturated;
} lt_chain_report;

/* A chain on its way. */
typedef struct lt_chain_run {
    lathe_engine *engine;
    lt_backend *backend;
    lt_queue *queue;
    lt_chain *chain;
    struct lt_chain_work work;      /* convert */
    struct lt_chain_stream *stream; /* NULL: the backend reaches source and result */
    lt_outcome outcome;             /* of the last convert on a device */
    lt_tile_sum top;                /* what the source came to, if that convert wanted it */
    float *absmax; /* of the scopes of one step, in the values before a step, if it is known */
    bool is_known;
    bool is_of_source;      /* it follows from the source's own, which are all finite */
    uint32_t known_at;      /* that step */
    lt_layout known_scopes; /* and the other one's layout */
    lt_chain_report *report;
} lt_chain_run;

/* Converts source into result, which has elements, through n_steps targets of these layouts, none
 * of which is a copy of the one before: on that backend, which reaches both tensors, or is a device
 * and neither, and then streams them. `report` may be filled in part after an error.
 * Errors: those of the data for the first step that fails; NOT_SUPPORTED where the backend has no
 * kernels for the chain; DEVICE, INSUFFICIENT_MEMORY. */
lathe_status lt_chain_convert(lathe_engine *engine, lt_backend *backend, const lathe_tensor *source,
                              uint32_t n_steps, const lt_layout *layouts,
                              const lathe_target *targets, lathe_tensor *result, bool is_trial,
                              lt_chain_report *report);

/* OK, or NOT_SUPPORTED where lt_chain_convert has no kernels, whatever the data is; which one wants
 * to know before it brings data to the device. `source` is the source's layout. *reads_once: unless
 * a value is not finite, a device reads the source once. */
lathe_status lt_chain_check_kernels(lathe_engine *engine, lt_backend *backend,
                                    const lt_layout *source, uint32_t n_steps,
                                    const lt_layout *layouts, const lathe_target *targets,
                                    bool *reads_once);

/* Finds the scales of the steps that need them before they run (chain_scales.c). */
lathe_status lt_chain_find_scales(lt_chain_run *run);

/* OK, or the first fault that a step has met, as the thread's last error (chain_fault.c). */
lathe_status lt_chain_fault(lt_chain_run *run);

#endif
