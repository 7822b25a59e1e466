/* SPDX-License-Identifier: Apache-2.0 */
/* How short a pool's memory is: its level, and whom it is told to. */
#ifndef LT_POOL_PRESSURE_H
#define LT_POOL_PRESSURE_H

#include "pool/pool_state.h"

/* ---- with the mutex held */

/* Gives back as much as a level asks for; returns the bytes. */
uint64_t lt_pool_trim_for(lathe_pool *pool, lathe_pressure level);

/* The budget's level, after in_use or cached bytes have changed: trims. */
void lt_pool_update_level(lathe_pool *pool);

static inline lathe_pressure lt_pool_level(const lathe_pool *pool) {
    const lt_pool_pressure *p = &pool->pressure;
    return p->of_budget > p->of_system ? p->of_budget : p->of_system;
}

/* True if somebody is to be told about the level, with a reference to the pool for the caller, who
 * calls lt_pool_pass_on without the mutex. */
static inline bool lt_pool_settle(lathe_pool *pool) {
    const lt_pool_pressure *p = &pool->pressure;
    uint64_t held = pool->stats.in_use_bytes + pool->stats.cached_bytes;
    if (held >= p->rise_at || held < p->fall_at || p->of_budget >= LATHE_PRESSURE_MEDIUM) {
        lt_pool_update_level(pool);
    }
    if (lt_pool_level(pool) == p->told) {
        return false;
    }
    pool->n_references++;
    return true;
}

/* ---- without the mutex */

/* Of a pool that is being made. Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY. */
lathe_status lt_pool_pressure_init(lathe_pool *pool, const lathe_pool_config *config);
void lt_pool_pressure_destroy(lathe_pool *pool);

/* Tells the listeners about the level. */
void lt_pool_tell(lathe_pool *pool);

/* Reads the kernel's files if it is time for that. Returns what lt_pool_settle does. */
bool lt_pool_look(lathe_pool *pool);

#endif
