/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy between two tensors, wherever each is. */
#ifndef LT_ENGINE_TENSOR_STREAM_H
#define LT_ENGINE_TENSOR_STREAM_H

#include "core/tensor.h"
#include "engine/engine.h"
#include "engine/stream/streaming.h"

/* Converts source into result in chunks through the engine's device; *fell_back: the CPU did some
 * of the device's work. `report` may be NULL. Errors: those of lathe_convert. */
lathe_status lt_tensor_stream(lathe_engine *engine, const lathe_tensor *source,
                              const lathe_target *target, lathe_tensor *result,
                              uint64_t *n_saturated, lathe_quality_report *report, bool *fell_back);

/* A tensor as a source and as a sink, which outlive neither; and slots for a conversion of one. */
lt_source lt_tensor_source(const lathe_tensor *tensor);
lt_sink lt_tensor_sink(lathe_tensor *tensor);
lt_streamer_options lt_tensor_slots(const lathe_engine *engine, const lathe_tensor_desc *from,
                                    const lathe_target *target);

/* The memory that it takes for its slots, at most; n_bytes is the size of source and result. */
uint64_t lt_tensor_stream_bytes(const lathe_engine *engine, uint64_t n_bytes);

#endif
