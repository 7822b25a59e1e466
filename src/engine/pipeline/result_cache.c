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

lathe_status lt_result_cache_init(lt_result_cache *cache, lathe_pool *pool) {
    *cache = (lt_result_cache){.pool = pool};
    if (pthread_mutex_init(&cache->mutex, NULL) != 0) {
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "cannot make a mutex");
    }
    return LATHE_OK;
}

void lt_result_cache_destroy(lt_result_cache *cache) {
    lt_result_cache_clear(cache);
    (void)pthread_mutex_destroy(&cache->mutex);
}

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

/* Takes an entry out and frees it; the mutex is held. */
static void drop(lt_result_cache *cache, lt_cached_result *entry) {
    unlink_entry(cache, entry);
    lathe_tensor_release(entry->result);
    lt_pool_delete(cache->pool, entry);
}

static void evict(lt_result_cache *cache, lt_cached_result *entry) {
    drop(cache, entry);
    cache->n_evicted++;
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
    (void)pthread_mutex_lock(&cache->mutex);
    lt_cached_result *entry = find(cache, source, stage);
    if (entry != NULL && (entry->source_version != lt_tensor_version(source) ||
                          entry->result_version != lt_tensor_version(entry->result))) {
        evict(cache, entry);
    } else if (entry != NULL) {
        unlink_entry(cache, entry);
        link_newest(cache, entry);
        result = lathe_tensor_retain(entry->result);
    }
    (void)pthread_mutex_unlock(&cache->mutex);
    return result;
}

void lt_result_cache_put(lt_result_cache *cache, const lathe_tensor *source, uint64_t version,
                         uint32_t stage, lathe_tensor *result, uint64_t most_bytes) {
    uint64_t n_bytes = result->layout.n_bytes + result->layout.n_scales * sizeof(float);
    if (n_bytes > most_bytes) {
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
    (void)pthread_mutex_lock(&cache->mutex);
    lt_cached_result *same = find(cache, source, stage);
    if (same != NULL) {
        drop(cache, same);
    }
    while (cache->n_bytes > most_bytes - n_bytes) {
        evict(cache, cache->oldest);
    }
    link_newest(cache, made);
    (void)pthread_mutex_unlock(&cache->mutex);
}

void lt_result_cache_clear(lt_result_cache *cache) {
    (void)pthread_mutex_lock(&cache->mutex);
    while (cache->newest != NULL) {
        drop(cache, cache->newest);
    }
    (void)pthread_mutex_unlock(&cache->mutex);
}
