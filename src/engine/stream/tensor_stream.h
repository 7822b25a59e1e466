/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy between two tensors, wherever each is. */
#ifndef LT_ENGINE_TENSOR_STREAM_H
#define LT_ENGINE_TENSOR_STREAM_H

#include "core/tensor.h"
#include "engine/engine.h"

/* Converts source into result in chunks through the engine's device; *fell_back: the CPU did some
 * of the device's work. Errors: those of lathe_convert. */
lathe_status lt_tensor_stream(lathe_engine *engine, const lathe_tensor *source,
                              const lathe_target *target, lathe_tensor *result,
                              uint64_t *n_saturated, bool *fell_back);

/* The memory that it takes for its slots, at most; n_bytes is the size of source and result. */
uint64_t lt_tensor_stream_bytes(const lathe_engine *engine, uint64_t n_bytes);

#endif
