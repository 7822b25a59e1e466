/* SPDX-License-Identifier: Apache-2.0 */
/* Results that are kept, by what they were made of. */
#include "engine/pipeline/result_cache.h"

#include "core/error.h"
#include "pool/pool.h"

struct lt_cached_result {
    lt_cached_result *newer;
    lt_cached_result *older;
    uint64_t source; /* its id */
    uint64_t source_version;
    uint32_t stage;
    lathe_tensor *result;
    uint64_t result_version; /* others hold it, too, and may write to it */
    uint64_t n_bytes;
};

static void unlink_entry(lt_result_cache *cache, const lt_cached_result *entry) {
    *(entry->newer == NULL ? &cache->newest : &entry->newer->older) = entry->older;
    *(entry->older == NULL ? &cache->oldest : &entry->older->newer) = entry->newer;
    cache->n_bytes -= entry->n_bytes;
}

static void link_newest(lt_result_cache *cache, lt_cached_result *entry) {
    entry->newer = NULL;
    entry->older = cache->newest;
    *(cache->newest == NULL ? &cache->oldest : &cache->newest->newer) = entry;
    cache->newest = entry;
    cache->n_bytes += entry->n_bytes;
}

/* Takes an entry out, to be freed with others that have been dropped; the mutex is held. */
static void drop(lt_result_cache *cache, lt_cached_result *entry, lt_cached_result **dropped) {
    unlink_entry(cache, entry);
    entry->older = *dropped;
    *dropped = entry;
}

static void evict(lt_result_cache *cache, lt_cached_result *entry, lt_cached_result **dropped) {
    drop(cache, entry, dropped);
    cache->n_evicted++;
}

/* Takes what has been dropped away, without the mutex: the pool may tell of a change meanwhile. */
static void free_entries(lt_result_cache *cache, lt_cached_result *dropped) {
    while (dropped != NULL) {
        lt_cached_result *next = dropped->older;
        lathe_tensor_release(dropped->result);
        lt_pool_delete(cache->pool, dropped);
        dropped = next;
    }
}

/* Drops the oldest until at most most_bytes are left. */
static void shrink(lt_result_cache *cache, uint64_t most_bytes) {
    lt_cached_result *dropped = NULL;
    (void)pthread_mutex_lock(&cache->mutex);
    while (cache->n_bytes > most_bytes) {
        evict(cache, cache->oldest, &dropped);
    }
    (void)pthread_mutex_unlock(&cache->mutex);
    free_entries(cache, dropped);
}

static void hear_of_pressure(void *ctx, lathe_pool *pool, lathe_pressure level) {
    lt_result_cache *cache = ctx;
    (void)pool;
    atomic_store(&cache->pressure, (int)level);
    if (level >= LATHE_PRESSURE_HIGH) {
        (void)pthread_mutex_lock(&cache->mutex);
        uint64_t n_bytes = cache->n_bytes;
        (void)pthread_mutex_unlock(&cache->mutex);
        shrink(cache, level >= LATHE_PRESSURE_CRITICAL ? 0 : n_bytes / 2);
    }
}

lathe_status lt_result_cache_init(lt_result_cache *cache, lathe_pool *pool, bool is_used) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    (void)lathe_pool_get_stats(pool, &stats);
    *cache = (lt_result_cache){.pool = pool};
    atomic_init(&cache->pressure, (int)stats.pressure);
    if (pthread_mutex_init(&cache->mutex, NULL) != 0) {
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "cannot make a mutex");
    }
    lathe_status status =
        is_used ? lathe_pool_on_pressure(pool, hear_of_pressure, cache) : LATHE_OK;
    cache->listens = is_used && status == LATHE_OK;
    if (status != LATHE_OK) {
        (void)pthread_mutex_destroy(&cache->mutex);
    }
    return status;
}

void lt_result_cache_destroy(lt_result_cache *cache) {
    if (cache->listens) {
        (void)lathe_pool_off_pressure(cache->pool, hear_of_pressure, cache);
    }
    lt_result_cache_clear(cache);
    (void)pthread_mutex_destroy(&cache->mutex);
}

/* The entry of a stage for a source, whatever its version. */
static lt_cached_result *find(const lt_result_cache *cache, const lathe_tensor *source,
                              uint32_t stage) {
    lt_cached_result *entry = cache->newest;
    while (entry != NULL && (entry->source != source->id || entry->stage != stage)) {
        entry = entry->older;
    }
    return entry;
}

lathe_tensor *lt_result_cache_get(lt_result_cache *cache, const lathe_tensor *source,
                                  uint32_t stage) {
    lathe_tensor *result = NULL;
    lt_cached_result *dropped = NULL;
    (void)pthread_mutex_lock(&cache->mutex);
    lt_cached_result *entry = find(cache, source, stage);
    if (entry != NULL && (entry->source_version != lt_tensor_version(source) ||
                          entry->result_version != lt_tensor_version(entry->result))) {
        evict(cache, entry, &dropped);
    } else if (entry != NULL) {
        unlink_entry(cache, entry);
        link_newest(cache, entry);
        result = lathe_tensor_retain(entry->result);
    }
    (void)pthread_mutex_unlock(&cache->mutex);
    free_entries(cache, dropped);
    return result;
}

void lt_result_cache_put(lt_result_cache *cache, const lathe_tensor *source, uint64_t version,
                         uint32_t stage, lathe_tensor *result, uint64_t most_bytes) {
    uint64_t n_bytes = result->layout.n_bytes + result->layout.n_scales * sizeof(float);
    if (n_bytes > most_bytes || atomic_load(&cache->pressure) >= (int)LATHE_PRESSURE_HIGH) {
        return;
    }
    const lathe_error before = *lt_error();
    lt_cached_result *made = lt_pool_new(cache->pool, sizeof *made);
    if (made == NULL) {
        *lt_error() = before;
        return;
    }
    *made = (lt_cached_result){
        .source = source->id,
        .source_version = version,
        .stage = stage,
        .result = lathe_tensor_retain(result),
        .result_version = lt_tensor_version(result),
        .n_bytes = n_bytes,
    };
    lt_cached_result *dropped = NULL;
    (void)pthread_mutex_lock(&cache->mutex);
    lt_cached_result *same = find(cache, source, stage);
    if (same != NULL) {
        drop(cache, same, &dropped);
    }
    while (cache->n_bytes > most_bytes - n_bytes) {
        evict(cache, cache->oldest, &dropped);
    }
    link_newest(cache, made);
    (void)pthread_mutex_unlock(&cache->mutex);
    free_entries(cache, dropped);
}

void lt_result_cache_clear(lt_result_cache *cache) {
    lt_cached_result *dropped = NULL;
    (void)pthread_mutex_lock(&cache->mutex);
    while (cache->newest != NULL) {
        drop(cache, cache->newest, &dropped);
    }
    (void)pthread_mutex_unlock(&cache->mutex);
    free_entries(cache, dropped);
}
