/* SPDX-License-Identifier: Apache-2.0 */
/* The in-place strategy: what its two parts share. in_place.c decides and keeps the tensor's books,
 * in_place_run.c converts. */
#ifndef LT_ENGINE_IN_PLACE_H
#define LT_ENGINE_IN_PLACE_H

#include "engine/engine.h"
#include "engine/in_place/waves.h"

/* A conversion in place. What one backend has done of it another can go on with. */
typedef struct lt_in_place {
    lathe_engine *engine;
    const lathe_target *target;
    const lt_layout *to;
    float *scales; /* of the result, in the host's memory; NULL where it has none */
    bool has_scales;
    bool is_verified; /* nothing is wrong with the data */
    bool has_begun;   /* something may have been written */
    bool is_lost;     /* and nobody knows how much of it */
    uint64_t row;     /* where the waves are, once it has begun */
    uint64_t col;
    uint64_t n_saturated;
    lathe_quality_report *report; /* NULL: nobody asks */
} lt_in_place;

/* The memory that is converted, as a backend reaches it. */
typedef struct lt_in_place_memory {
    const lathe_tensor *source; /* with the source's layout */
    lt_buffer *new_scales;      /* on a device: where the result's scales go; NULL: nowhere yet */
} lt_in_place_memory;

/* True for what is the CPU's business in place: PRECISE scales and quality reports. */
bool lt_in_place_is_for_cpu(const lt_in_place *job);

/* Converts, or goes on. Errors: NOT_SUPPORTED, before anything is done, where the backend does not
 * reach the memory, or is a device and the target or the report is the CPU's business;
 * INCOMPATIBLE_TYPES; faults in the data; DEVICE, INSUFFICIENT_MEMORY. */
lathe_status lt_in_place_run(lt_in_place *job, lt_backend *backend,
                             const lt_in_place_memory *memory);

#endif
