/* SPDX-License-Identifier: Apache-2.0 */
/* What a pool is made of, for the files that make up the pool. */
#ifndef LT_POOL_POOL_STATE_H
#define LT_POOL_POOL_STATE_H

#include "pool/block_table.h"
#include "pool/pool.h"
#include "pool/pressure_files.h"
#include <pthread.h>

enum { LT_PRESSURE_LEVELS = LATHE_PRESSURE_CRITICAL + 1 };

typedef struct lt_pressure_listener {
    lathe_pressure_fn *fn; /* NULL: none */
    void *ctx;
} lt_pressure_listener;

/* How short memory is. */
typedef struct lt_pool_pressure {
    uint64_t rise[LT_PRESSURE_LEVELS]; /* bytes from which on a level is entered, */
    uint64_t fall[LT_PRESSURE_LEVELS]; /* and below which it is left */
    uint64_t rise_at;                  /* bytes from which on the budget's level changes, */
    uint64_t fall_at;                  /* and below which */
    lathe_pressure of_budget;
    lathe_pressure of_system;
    lathe_pressure told; /* to the listeners */
    lt_pressure_listener listeners[LATHE_POOL_MAX_CALLBACKS];
    bool is_telling;
    pthread_t teller;
    pthread_cond_t told_all;
    lt_pressure_files *files; /* NULL: they are not looked at */
    uint64_t next_look_ns;
} lt_pool_pressure;

struct lathe_pool {
    pthread_mutex_t mutex; /* guards everything below but host.allocator, and all other sources */
    lt_pool_source host;   /* ordinary memory, the pool's own records included */
    uint64_t n_references; /* the callers'; live blocks keep the pool alive too */
    lt_block_table table;
    lt_block *oldest; /* cached blocks of all sources */
    lt_block *newest;
    lathe_pool_stats stats; /* but for what follows from the rest */
    lt_pool_pressure pressure;
};

/* All of these are called with the mutex held. */

/* Gives cached blocks back, the oldest first, until at most keep_bytes are cached. Returns the
 * bytes given back. */
uint64_t lt_pool_trim_locked(lathe_pool *pool, uint64_t keep_bytes);

/* The budget's level, after in_use or cached bytes have changed: trims. */
void lt_pool_update_level(lathe_pool *pool);

static inline lathe_pressure lt_pool_level(const lathe_pool *pool) {
    const lt_pool_pressure *p = &pool->pressure;
    return p->of_budget > p->of_system ? p->of_budget : p->of_system;
}

/* True if somebody is to be told about the level, with a reference to the pool for the caller, who
 * calls lt_pool_tell without the mutex. */
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

/* ---- pressure.c, without the mutex */

/* Of a pool that is being made. Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY. */
lathe_status lt_pool_pressure_init(lathe_pool *pool, const lathe_pool_config *config);
void lt_pool_pressure_destroy(lathe_pool *pool);

/* Tells the listeners about the level, and drops a reference to the pool. */
void lt_pool_tell(lathe_pool *pool);

/* Reads the kernel's files if it is time for that. */
void lt_pool_look(lathe_pool *pool);

#endif
