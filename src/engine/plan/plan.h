/* SPDX-License-Identifier: Apache-2.0 */
/* Planning: which passes a conversion takes. */
#ifndef LT_ENGINE_PLAN_H
#define LT_ENGINE_PLAN_H

#include "backend.h"

typedef struct lt_plan {
    lt_pass pass;     /* the convert pass; a stats pass has the same parameters */
    bool is_copy;     /* same layout on both sides: the bytes and scales are copied */
    bool stats_first; /* a stats pass over all of the source finds the scales first */
} lt_plan;

/* Plans the conversion of a source layout to the layout that a target, which has been checked,
 * gives. Where whole scopes that are whole bytes take more than max_scope_elems elements, a stats
 * pass comes first. */
lt_plan lt_plan_make(const lt_backend *backend, const lt_layout *from, const lt_layout *to,
                     const lathe_target *target, uint64_t max_scope_elems);

/* How many elements a chunk has at least of which a device can find PRECISE scales: UINT64_MAX if
 * there is one scale, 0 where that is not what the target asks for. */
uint64_t lt_plan_precise_elems(const lt_layout *to, const lathe_target *target);

#endif
