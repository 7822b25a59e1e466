/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy between two tensors, wherever each is. */
#ifndef LT_ENGINE_TENSOR_STREAM_H
#define LT_ENGINE_TENSOR_STREAM_H

#include "core/tensor.h"
#include "engine/engine.h"

/* Converts source into result in chunks through the engine's device, and counts the conversion.
 * Errors: those of lathe_convert. */
lathe_status lt_tensor_stream(lathe_engine *engine, const lathe_tensor *source,
                              const lathe_target *target, lathe_tensor *result,
                              uint64_t *n_saturated);

#endif
