/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of tensors as they are, with the engine's threads where both are the host's. */
#ifndef LT_ENGINE_HOST_COPY_H
#define LT_ENGINE_HOST_COPY_H

#include "core/tensor.h"
#include "engine/engine.h"

/* Copies data and scales between tensors of equal layout, apart from each other: those of the host
 * on the calling thread or on all of the engine's, as conversions run. Not from a task of the
 * engine's threads. Errors: those of lt_tensor_copy_contents. */
lathe_status lt_copy_contents(lathe_engine *engine, const lathe_tensor *from,
                              const lathe_tensor *to);

#endif
