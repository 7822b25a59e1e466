/* SPDX-License-Identifier: Apache-2.0 */
/* Results of a pipeline's stages that are kept for the next run, the one used last first. */
#ifndef LT_ENGINE_RESULT_CACHE_H
#define LT_ENGINE_RESULT_CACHE_H

#include "core/tensor.h"
#include <lathe/pool.h>
#include <pthread.h>

typedef struct lt_cached_result lt_cached_result;

typedef struct lt_result_cache {
    lathe_pool *pool; /* of the entries; not owned */
    pthread_mutex_t mutex;
    lt_cached_result *newest;
    lt_cached_result *oldest;
    uint64_t n_bytes; /* of the results' data and scales */
    uint64_t n_evicted;
    bool listens;        /* to the pool's pressure */
    atomic_int pressure; /* lathe_pressure, as the pool has told it */
} lt_result_cache;

/* is_used: results will be kept, and so the cache is to know when the pool is short of memory: it
 * then drops half of them, those that were used last excepted, at HIGH, and all at CRITICAL, and
 * keeps no more meanwhile. Errors: INSUFFICIENT_MEMORY; NOT_SUPPORTED (the pool has no room for
 * another callback). */
lathe_status lt_result_cache_init(lt_result_cache *cache, lathe_pool *pool, bool is_used);

/* Nothing uses the cache any more. */
void lt_result_cache_destroy(lt_result_cache *cache);

/* What a stage made of the source as it is now, with one more reference; NULL if that is not here.
 * Thread-safe, as are all that follow. */
lathe_tensor *lt_result_cache_get(lt_result_cache *cache, const lathe_tensor *source,
                                  uint32_t stage);

/* Keeps what a stage made of a source of that version, with a reference of its own, and drops
 * others until at most most_bytes are kept. Nothing is kept, and no error set, if that is less than
 * the result, or if there is no memory. */
void lt_result_cache_put(lt_result_cache *cache, const lathe_tensor *source, uint64_t version,
                         uint32_t stage, lathe_tensor *result, uint64_t most_bytes);

/* Drops all results. */
void lt_result_cache_clear(lt_result_cache *cache);

#endif
