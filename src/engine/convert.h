/* SPDX-License-Identifier: Apache-2.0 */
/* Converting one tensor into another, whichever way suits the two. */
#ifndef LT_ENGINE_CONVERT_H
#define LT_ENGINE_CONVERT_H

#include "core/tensor.h"
#include "engine/engine.h"

/* How a conversion was done. */
typedef struct lt_done {
    uint64_t n_saturated;
    lathe_strategy strategy; /* DIRECT or STREAMING */
    bool on_device;          /* a device did all of it */
    bool fell_back;          /* the CPU did what a device failed at */
} lt_done;

/* Converts the source into a result that is what the target asks for, where the planner sends it,
 * and says how; it records no metric, as other strategies use it for a part of their work. *done is
 * set in any case. Errors: those of lathe_convert_into. */
lathe_status lt_convert_contents(lathe_engine *engine, const lathe_tensor *source,
                                 const lathe_target *target, lathe_tensor *result, lt_done *done);

/* The same with a quality report, unless that is NULL, which is filled on success. */
lathe_status lt_convert_contents_measured(lathe_engine *engine, const lathe_tensor *source,
                                          const lathe_target *target, lathe_tensor *result,
                                          lathe_quality_report *report, lt_done *done);

/* The same on the CPU, device tensors through copies, and not counted; the source has elements, and
 * its scales have been checked. */
lathe_status lt_convert_contents_on_cpu(lathe_engine *engine, const lathe_tensor *source,
                                        const lathe_target *target, lathe_tensor *result,
                                        uint64_t *n_saturated);

#endif
