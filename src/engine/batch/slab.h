/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs: many tensors and their memory in few blocks, which the last of them gives back. */
#ifndef LT_ENGINE_SLAB_H
#define LT_ENGINE_SLAB_H

#include "core/tensor.h"
#include "engine/engine.h"

typedef struct lt_slab lt_slab;

/* Where data and scales begin in a slab: what every device asks of a vector. */
enum { LT_SLAB_ALIGNMENT = 128 };

/* Whether a slab would be too large with n_tensors tensors, which take n_bytes of its memory. (A
 * slab for one tensor never is.) */
bool lt_slab_is_too_large(bool on_host, uint64_t n_tensors, uint64_t n_bytes);

/* Bytes that the data, and the scales, of a tensor of that layout take of a slab's memory. Where
 * the data of all its tensors comes first, what is alike and of a round size follows each other
 * without gaps, so that it can be converted as one. */
uint64_t lt_slab_data_bytes(const lt_layout *layout);
uint64_t lt_slab_scale_bytes(const lt_layout *layout);

/* A slab for n_tensors tensors (at least 1) with n_bytes of memory: of the host, or of the engine's
 * device if it has one. The caller owns n_tensors references: each tensor that is taken takes over
 * one, and the others are dropped by lt_slab_drop. Errors: INSUFFICIENT_MEMORY, DEVICE. */
lathe_status lt_slab_create(lathe_engine *engine, lathe_memory memory, size_t n_tensors,
                            uint64_t n_bytes, lt_slab **slab);

/* Tensor number `index` of the slab, with one reference: as `like`, which was made by
 * lt_tensor_init, with its data and its scales so many bytes into the slab's memory. Once for each
 * index; of different ones, by any threads at once. */
lathe_tensor *lt_slab_take(lt_slab *slab, size_t index, const lathe_tensor *like, uint64_t offset,
                           uint64_t scale_offset);

/* Where that tensor will be, or has been: the slab is not read, as it may be gone by then. For
 * prefetching. */
const void *lt_slab_place(const lt_slab *slab, size_t index);

/* Drops a reference. NULL is legal. */
void lt_slab_drop(lt_slab *slab);

#endif
