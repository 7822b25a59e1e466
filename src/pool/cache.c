/* SPDX-License-Identifier: Apache-2.0 */
/* Cached blocks: by source and size class for whoever takes them, by age for giving them back. */
#include "pool/pool_state.h"

static void remove_from_lists(lathe_pool *pool, lt_block *block) {
    if (block->class_prev != NULL) {
        block->class_prev->class_next = block->class_next;
    } else {
        block->source->cached[block->size_class] = block->class_next;
    }
    if (block->class_next != NULL) {
        block->class_next->class_prev = block->class_prev;
    }
    if (block->older != NULL) {
        block->older->newer = block->newer;
    } else {
        pool->oldest = block->newer;
    }
    if (block->newer != NULL) {
        block->newer->older = block->older;
    } else {
        pool->newest = block->older;
    }
    block->class_next = block->class_prev = block->older = block->newer = NULL;
}

void lt_pool_cache_add(lathe_pool *pool, lt_block *block) {
    pool->stats.cached_bytes += block->capacity;
    pool->stats.kinds[block->source->kind].cached_bytes += block->capacity;
    block->class_prev = NULL;
    block->class_next = block->source->cached[block->size_class];
    if (block->class_next != NULL) {
        block->class_next->class_prev = block;
    }
    block->source->cached[block->size_class] = block;
    block->newer = NULL;
    block->older = pool->newest;
    if (block->older != NULL) {
        block->older->newer = block;
    } else {
        pool->oldest = block;
    }
    pool->newest = block;
}

void lt_pool_cache_take(lathe_pool *pool, lt_block *block) {
    remove_from_lists(pool, block);
    pool->stats.cached_bytes -= block->capacity;
    pool->stats.kinds[block->source->kind].cached_bytes -= block->capacity;
}

void lt_pool_give_back(lathe_pool *pool, lt_block *block) {
    const lathe_allocator *allocator = &block->source->allocator;
    lt_pool_cache_take(pool, block);
    pool->stats.n_trimmed++;
    allocator->release(allocator->ctx, block->memory, block->capacity);
    lt_block_table_remove(&pool->table, block);
}

uint64_t lt_pool_trim_locked(lathe_pool *pool, uint64_t keep_bytes) {
    uint64_t cached_bytes = pool->stats.cached_bytes;
    while (pool->stats.cached_bytes > keep_bytes) {
        lt_pool_give_back(pool, pool->oldest);
    }
    return cached_bytes - pool->stats.cached_bytes;
}
