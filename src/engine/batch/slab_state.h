/* SPDX-License-Identifier: Apache-2.0 */
/* What a slab is made of, for the files that make slabs and tensors in them. */
#ifndef LT_ENGINE_SLAB_STATE_H
#define LT_ENGINE_SLAB_STATE_H

#include "engine/batch/slab.h"
#include "engine/device/device_tensor.h"

/* A device tensor's memory as a part of the slab's. */
typedef struct lt_slab_part {
    lt_device_memory memory;
    lt_slab *slab;
    size_t next_unused; /* of a slab in a bin, where this part is unused: which is next, plus 1 */
} lt_slab_part;

struct lt_slab {
    atomic_size_t n_references;
    lathe_pool *pool;
    void *block;         /* in which the slab itself lies */
    lathe_memory memory; /* of the tensors */
    uint8_t *data;       /* NULL where the host does not see it */
    lt_backend *backend; /* PINNED and DEVICE: a reference */
    lt_buffer buffer;    /* likewise */
    lt_slab_part *parts; /* likewise, one for each tensor */
    lathe_tensor *tensors;
    uint64_t first_id; /* of the tensors' */

    /* Of a slab in a bin; its mutex guards them. */
    uint32_t bin;
    size_t n_places;
    size_t n_live;
    size_t n_touched; /* places that have been used once */
    size_t unused;    /* of those, the first that is not used now, plus 1; 0: there is none */
    lt_slab *next;    /* of the bin's that have places left */
    lt_slab *prev;
};

/* Ends what the part's tensor has besides its place. */
void lt_slab_end_part(lt_slab_part *own);

#endif
