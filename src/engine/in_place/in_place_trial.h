/* SPDX-License-Identifier: Apache-2.0 */
/* Trying out the launch that converts a tensor in its own memory. */
#ifndef LT_ENGINE_IN_PLACE_TRIAL_H
#define LT_ENGINE_IN_PLACE_TRIAL_H

#include "core/tensor.h"
#include "engine/engine.h"

/* Converts `source`, which the device has and which is lost by it, by one such launch, with the
 * scales of `expected`, and fills `result`, a tensor of the host like it, from it. Errors:
 * NOT_SUPPORTED, before anything is done, where that cannot be done so; DEVICE,
 * INSUFFICIENT_MEMORY. */
lathe_status lt_in_place_trial(lathe_engine *engine, const lathe_tensor *source,
                               const lathe_target *target, const lathe_tensor *expected,
                               lathe_tensor *result);

#endif
