/* SPDX-License-Identifier: Apache-2.0 */
/* The direct strategy: from a tensor to another, all of it at once, where a backend reaches both.
 */
#ifndef LT_ENGINE_DIRECT_H
#define LT_ENGINE_DIRECT_H

#include "core/tensor.h"
#include "engine/engine.h"

/* Converts source into result, which has elements, on that backend: tensors of its own memory, or
 * host tensors that it can use without a copy. Errors: NOT_SUPPORTED, before anything is done,
 * where it does not reach one of them so, or a scope is too large for it to search for a PRECISE
 * scale; those of the conversion; DEVICE, INSUFFICIENT_MEMORY.
 * `is_trial`: for the self-check. */
lathe_status lt_direct_convert(lathe_engine *engine, lt_backend *backend,
                               const lathe_tensor *source, const lathe_target *target,
                               lathe_tensor *result, bool is_trial, uint64_t *n_saturated);

/* The same on a device, whose passes begin with such roundings (lt_pass). */
lathe_status lt_direct_convert_rounded(lathe_engine *engine, lt_backend *backend,
                                       const lathe_tensor *source, const lathe_dtype *rounds,
                                       const lathe_target *target, lathe_tensor *result,
                                       bool is_trial, uint64_t *n_saturated);

/* The same as lt_direct_convert with a quality report unless that is NULL, which is filled on
 * success. */
lathe_status lt_direct_convert_measured(lathe_engine *engine, lt_backend *backend,
                                        const lathe_tensor *source, const lathe_target *target,
                                        lathe_tensor *result, uint64_t *n_saturated,
                                        lathe_quality_report *report);

/* The report alone, on a result that such a conversion has left. */
lathe_status lt_direct_measure(lathe_engine *engine, lt_backend *backend,
                               const lathe_tensor *source, const lathe_target *target,
                               lathe_tensor *result, bool is_trial, lathe_quality_report *report);

/* The same as lt_direct_convert_measured on the CPU, on the calling thread alone. */
lathe_status lt_direct_convert_here(lathe_engine *engine, const lathe_tensor *source,
                                    const lathe_target *target, lathe_tensor *result,
                                    uint64_t *n_saturated, lathe_quality_report *report);

/* The statistics pass of such a conversion by itself, which has elements: finds the target's
 * scales, n_scales floats. Errors: those above. */
lathe_status lt_direct_scales(lathe_engine *engine, lt_backend *backend, const lathe_tensor *source,
                              const lathe_target *target, float *scales);

/* The search for PRECISE scales by itself on a device, for the self-check: `scales` holds the
 * standard ones before. */
lathe_status lt_direct_search(lathe_engine *engine, lt_backend *backend, const lathe_tensor *source,
                              const lathe_target *target, float *scales);

#endif
