/* SPDX-License-Identifier: Apache-2.0 */
/* The pool: blocks of the host's memory and of other sources under one budget, recycled by size
 * class. */
#include "pool/pool.h"

#include "core/checked.h"
#include "core/error.h"
#include "pool/block_table.h"
#include "pool/pressure.h"
#include "pool/size_class.h"
#include "pool/system_allocator.h"
#include <inttypes.h>
#include <string.h>

/* Blocks of a page or more begin on one, so that devices that share the host's memory can use them
 * where they are. */
enum { BLOCK_ALIGNMENT = 64, PAGE_BYTES = 4096 };

/* New blocks of this size cost so much by themselves that a look at the kernel's files costs little
 * beside them. */
#define LOOK_BYTES ((size_t)1 << 20)

static lathe_status check_config(const lathe_pool_config *config) {
    if (config->struct_size != sizeof *config) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "pool config: struct_size is not sizeof(lathe_pool_config)");
    }
    const lathe_allocator *allocator = config->allocator;
    if (allocator != NULL && (allocator->allocate == NULL || allocator->release == NULL)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool config: allocator lacks a function");
    }
    if (config->pressure_files > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool config pressure_files: %u is neither 0 nor 1",
                       (unsigned)config->pressure_files);
    }
    return LATHE_OK;
}

static void destroy(lathe_pool *pool) {
    lathe_allocator allocator = pool->host.allocator;
    lt_pool_pressure_destroy(pool);
    (void)pthread_mutex_destroy(&pool->mutex);
    allocator.release(allocator.ctx, pool, sizeof *pool);
}

lathe_status lathe_pool_create(const lathe_pool_config *config, lathe_pool **pool) {
    const lathe_pool_config defaults = {.struct_size = sizeof defaults};
    if (config == NULL) {
        config = &defaults;
    }
    if (pool == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool is NULL");
    }
    lathe_status status = check_config(config);
    if (status != LATHE_OK) {
        return status;
    }
    const lathe_allocator *allocator =
        config->allocator != NULL ? config->allocator : &lt_system_allocator;
    lathe_pool *made = allocator->allocate(allocator->ctx, sizeof *made, BLOCK_ALIGNMENT);
    if (made == NULL) {
        status = lt_fail(LATHE_INSUFFICIENT_MEMORY, "no memory for a pool");
        lt_error()->required_bytes = sizeof *made;
        return status;
    }
    memset(made, 0, sizeof *made);
    made->host.allocator = *allocator;
    made->table.allocator = &made->host.allocator;
    made->n_references = 1;
    made->stats.struct_size = sizeof made->stats;
    made->stats.budget_bytes = config->budget_bytes == 0 ? UINT64_MAX : config->budget_bytes;
    (void)pthread_mutex_init(&made->mutex, NULL); /* cannot fail with default attributes on Linux */
    status = lt_pool_pressure_init(made, config);
    if (status != LATHE_OK) {
        destroy(made);
        return status;
    }
    *pool = made;
    return LATHE_OK;
}

lathe_pool *lathe_pool_retain(lathe_pool *pool) {
    if (pool != NULL) {
        (void)pthread_mutex_lock(&pool->mutex);
        pool->n_references++;
        (void)pthread_mutex_unlock(&pool->mutex);
    }
    return pool;
}

/* Mutex held, which this function gives up, one way or the other. */
static void unlock_and_destroy_if_unused(lathe_pool *pool) {
    bool unused = pool->n_references == 0 && pool->stats.n_live == 0;
    if (unused) {
        (void)lt_pool_trim_locked(pool, 0);
        lt_block_table_destroy(&pool->table);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    if (unused) {
        destroy(pool);
    }
}

void lathe_pool_release(lathe_pool *pool) {
    if (pool != NULL) {
        (void)pthread_mutex_lock(&pool->mutex);
        pool->n_references--;
        unlock_and_destroy_if_unused(pool);
    }
}

void lt_pool_pass_on(lathe_pool *pool, bool has_news) {
    if (has_news) {
        lt_pool_tell(pool);
        lathe_pool_release(pool);
    }
}

/* Mutex held. */
static lathe_status refuse(lathe_pool *pool, size_t capacity, const char *who) {
    bool limited = pool->stats.budget_bytes != UINT64_MAX;
    uint64_t available = limited ? pool->stats.budget_bytes - pool->stats.in_use_bytes : 0;
    pool->stats.n_refused++;
    lathe_status status =
        limited
            ? lt_fail(LATHE_INSUFFICIENT_MEMORY,
                      "%s cannot serve %zu bytes: %" PRIu64 " of the budget's %" PRIu64 " are left",
                      who, capacity, available, pool->stats.budget_bytes)
            : lt_fail(LATHE_INSUFFICIENT_MEMORY, "%s cannot serve %zu bytes", who, capacity);
    lt_error()->required_bytes = capacity;
    lt_error()->available_bytes = available;
    lt_error()->stage = "allocate";
    return status;
}

/* Mutex held. */
static lt_block *take_new(lathe_pool *pool, lt_pool_source *source, size_t capacity,
                          uint32_t size_class) {
    const lathe_allocator *allocator = &source->allocator;
    size_t alignment = capacity < PAGE_BYTES ? BLOCK_ALIGNMENT : PAGE_BYTES;
    void *memory = allocator->allocate(allocator->ctx, capacity, alignment);
    if (memory == NULL && pool->stats.cached_bytes > 0) {
        (void)lt_pool_trim_locked(pool, 0);
        memory = allocator->allocate(allocator->ctx, capacity, alignment);
    }
    if (memory == NULL) {
        return NULL;
    }
    lt_block *block = lt_block_table_add(&pool->table, memory);
    if (block == NULL) {
        allocator->release(allocator->ctx, memory, capacity);
        return NULL;
    }
    block->source = source;
    block->capacity = capacity;
    block->size_class = size_class;
    pool->stats.n_misses++;
    return block;
}

/* Mutex held. */
static lathe_status take_block(lathe_pool *pool, lt_pool_source *source, size_t n_bytes,
                               lt_block **out) {
    uint32_t size_class;
    size_t capacity;
    if (!lt_size_class_of(n_bytes, &size_class, &capacity)) {
        return refuse(pool, n_bytes, "the pool");
    }
    lathe_pool_stats *stats = &pool->stats;
    lathe_pool_kind_stats *kind = &stats->kinds[source->kind];
    lt_block *block = source->cached[size_class];
    if (block != NULL) {
        lt_pool_cache_take(pool, block);
        stats->n_hits++;
    } else {
        uint64_t left = stats->budget_bytes - stats->in_use_bytes;
        if (capacity > left) {
            return refuse(pool, capacity, "the pool's budget");
        }
        (void)lt_pool_trim_locked(pool, left - capacity);
        block = take_new(pool, source, capacity, size_class);
        if (block == NULL) {
            return refuse(pool, capacity, source == &pool->host ? "the system" : "the device");
        }
    }
    block->is_live = true;
    block->requested = n_bytes;
    stats->n_live++;
    stats->in_use_bytes += capacity;
    stats->requested_bytes += n_bytes;
    stats->peak_in_use_bytes = lt_max(stats->peak_in_use_bytes, stats->in_use_bytes);
    stats->peak_bytes = lt_max(stats->peak_bytes, stats->in_use_bytes + stats->cached_bytes);
    kind->n_live++;
    kind->in_use_bytes += capacity;
    kind->peak_bytes = lt_max(kind->peak_bytes, kind->in_use_bytes + kind->cached_bytes);
    *out = block;
    return LATHE_OK;
}

/* *is_new: the block has not been used before. */
static lathe_status alloc_from(lathe_pool *pool, lt_pool_source *source, size_t n_bytes,
                               void **block, bool *is_new) {
    lt_block *taken = NULL;
    (void)pthread_mutex_lock(&pool->mutex);
    uint64_t n_misses = pool->stats.n_misses;
    lathe_status status = take_block(pool, source, n_bytes, &taken);
    void *memory = status == LATHE_OK ? taken->memory : NULL;
    *is_new = pool->stats.n_misses != n_misses;
    bool has_news = lt_pool_settle(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
    if (status == LATHE_OK) {
        *block = memory;
    }
    lt_pool_pass_on(pool, has_news);
    lt_pool_pass_on(pool, *is_new && n_bytes >= LOOK_BYTES && lt_pool_look(pool));
    return status;
}

lathe_status lathe_pool_alloc(lathe_pool *pool, size_t n_bytes, void **block) {
    if (pool == NULL || block == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool or block is NULL");
    }
    bool is_new = false;
    return alloc_from(pool, &pool->host, n_bytes, block, &is_new);
}

lathe_status lt_pool_source_alloc(lathe_pool *pool, lt_pool_source *source, uint64_t n_bytes,
                                  void **block) {
    if (n_bytes > SIZE_MAX) {
        return lt_fail(LATHE_SIZE_OVERFLOW, "a block exceeds memory's address range");
    }
    bool is_new = false;
    return alloc_from(pool, source, (size_t)n_bytes, block, &is_new);
}

void lt_pool_source_close(lathe_pool *pool, lt_pool_source *source) {
    (void)pthread_mutex_lock(&pool->mutex);
    for (size_t i = 0; i < LT_SIZE_CLASS_COUNT; i++) {
        while (source->cached[i] != NULL) {
            lt_pool_give_back(pool, source->cached[i]);
        }
    }
    bool has_news = lt_pool_settle(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
    lt_pool_pass_on(pool, has_news);
}

const lathe_allocator *lt_pool_allocator(const lathe_pool *pool) {
    return &pool->host.allocator;
}

lathe_status lathe_pool_free(lathe_pool *pool, void *block) {
    if (block == NULL) {
        return LATHE_OK;
    }
    if (pool == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool is NULL");
    }
    (void)pthread_mutex_lock(&pool->mutex);
    lt_block *found = lt_block_table_find(&pool->table, block);
    if (found == NULL || !found->is_live) {
        (void)pthread_mutex_unlock(&pool->mutex);
        return lt_fail(LATHE_INVALID_ARGUMENT, "%p is not a live block of this pool", block);
    }
    found->is_live = false;
    pool->stats.n_live--;
    pool->stats.in_use_bytes -= found->capacity;
    pool->stats.requested_bytes -= found->requested;
    lathe_pool_kind_stats *kind = &pool->stats.kinds[found->source->kind];
    kind->n_live--;
    kind->in_use_bytes -= found->capacity;
    lt_pool_cache_add(pool, found);
    /* Nobody listens to a pool that only its blocks keep. */
    bool has_news = pool->n_references > 0 && lt_pool_settle(pool);
    unlock_and_destroy_if_unused(pool);
    lt_pool_pass_on(pool, has_news);
    return LATHE_OK;
}

uint64_t lathe_pool_trim(lathe_pool *pool, uint64_t keep_bytes) {
    if (pool == NULL) {
        return 0;
    }
    (void)pthread_mutex_lock(&pool->mutex);
    uint64_t given_back = lt_pool_trim_locked(pool, keep_bytes);
    bool has_news = lt_pool_settle(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
    lt_pool_pass_on(pool, has_news);
    return given_back;
}

uint64_t lathe_pool_trim_level(lathe_pool *pool, lathe_pressure level) {
    if (pool == NULL || (int)level <= LATHE_PRESSURE_NONE || level > LATHE_PRESSURE_CRITICAL) {
        return 0;
    }
    (void)pthread_mutex_lock(&pool->mutex);
    uint64_t given_back = lt_pool_trim_for(pool, level);
    bool has_news = lt_pool_settle(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
    lt_pool_pass_on(pool, has_news);
    return given_back;
}

lathe_pressure lathe_pool_pressure(lathe_pool *pool) {
    if (pool == NULL) {
        return LATHE_PRESSURE_NONE;
    }
    lt_pool_pass_on(pool, lt_pool_look(pool));
    (void)pthread_mutex_lock(&pool->mutex);
    const lathe_pressure level = lt_pool_level(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
    return level;
}

lathe_status lathe_pool_get_stats(lathe_pool *pool, lathe_pool_stats *stats) {
    if (pool == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "pool or stats is NULL, or struct_size is not sizeof(lathe_pool_stats)");
    }
    (void)pthread_mutex_lock(&pool->mutex);
    *stats = pool->stats;
    stats->pressure = lt_pool_level(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
    uint64_t held = stats->in_use_bytes + stats->cached_bytes;
    stats->fragmentation = held == 0 ? 0 : 1 - (double)stats->requested_bytes / (double)held;
    return LATHE_OK;
}

void *lt_pool_new(lathe_pool *pool, size_t n_bytes) {
    void *object = NULL;
    bool is_new = false;
    if (alloc_from(pool, &pool->host, n_bytes, &object, &is_new) != LATHE_OK) {
        return NULL;
    }
    if (!is_new || !lt_system_is_zeroed(&pool->host.allocator, n_bytes)) {
        memset(object, 0, n_bytes);
    }
    return object;
}

void *lt_pool_new_array(lathe_pool *pool, size_t count, size_t n_bytes) {
    uint64_t total = 0;
    if (!lt_mul(count, n_bytes, &total) || total > SIZE_MAX) {
        (void)lt_fail(LATHE_SIZE_OVERFLOW, "an array of %zu elements overflows", count);
        return NULL;
    }
    return lt_pool_new(pool, (size_t)total);
}

void lt_pool_delete(lathe_pool *pool, void *object) {
    (void)lathe_pool_free(pool, object); /* the library frees only what it allocated */
}
