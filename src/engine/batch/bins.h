/* SPDX-License-Identifier: Apache-2.0 */
/* Small device tensors made one by one: they take places in slabs, so that many of them lie in one
 * buffer, and leave them to others. */
#ifndef LT_ENGINE_BINS_H
#define LT_ENGINE_BINS_H

#include "core/tensor.h"
#include "engine/engine.h"

/* Whether tensors of that layout are small. */
bool lt_bins_suit(const lt_layout *layout);

/* Makes one in the memory of the engine's device, in a slab of the device's bins. Errors:
 * INSUFFICIENT_MEMORY, DEVICE. */
lathe_status lt_bins_make(lathe_engine *engine, const lathe_tensor_desc *desc,
                          const lt_layout *layout, lathe_tensor **tensor);

#endif
