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

/* ---- cache.c, with the mutex held */

/* A block that is not live any more becomes a cached one, or the other way round. */
void lt_pool_cache_add(lathe_pool *pool, lt_block *block);
void lt_pool_cache_take(lathe_pool *pool, lt_block *block);

/* Gives a cached block back to its source. */
void lt_pool_give_back(lathe_pool *pool, lt_block *block);

/* Gives cached blocks back, the oldest first, until at most keep_bytes are cached. Returns the
 * bytes given back. */
uint64_t lt_pool_trim_locked(lathe_pool *pool, uint64_t keep_bytes);

/* ---- pool.c, without the mutex */

/* Tells the listeners, if there is news, and drops the reference that lt_pool_settle has taken. */
void lt_pool_pass_on(lathe_pool *pool, bool has_news);

#endif
