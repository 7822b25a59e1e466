/* SPDX-License-Identifier: Apache-2.0 */
/* Giving back the end of a block that is in use. */
#include "pool/pressure.h"
#include "pool/system_allocator.h"

/* Cuts the block's memory down to what the class of n_bytes has. Mutex held. */
static void cut(lathe_pool *pool, lt_block *block, size_t n_bytes) {
    size_t kept = lt_system_shrink(block->memory, block->capacity, n_bytes);
    uint32_t size_class;
    size_t capacity;
    /* What the system keeps is a capacity of a class, so that the block can be cached like any. */
    if (kept < block->capacity && lt_size_class_of(kept, &size_class, &capacity) &&
        capacity == kept) {
        pool->stats.in_use_bytes -= block->capacity - kept;
        pool->stats.kinds[block->source->kind].in_use_bytes -= block->capacity - kept;
        block->capacity = kept;
        block->size_class = size_class;
    }
}

size_t lt_pool_shrink(lathe_pool *pool, const void *memory, size_t n_bytes) {
    size_t left = 0;
    (void)pthread_mutex_lock(&pool->mutex);
    lt_block *block = lt_block_table_find(&pool->table, memory);
    if (block != NULL && block->is_live && n_bytes <= block->capacity) {
        bool is_system = block->source == &pool->host &&
                         pool->host.allocator.release == lt_system_allocator.release;
        uint32_t size_class;
        size_t capacity;
        if (is_system && lt_size_class_of(n_bytes, &size_class, &capacity)) {
            cut(pool, block, capacity);
        }
        pool->stats.requested_bytes += n_bytes;
        pool->stats.requested_bytes -= block->requested;
        block->requested = n_bytes;
        left = block->capacity;
    }
    bool has_news = lt_pool_settle(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
    lt_pool_pass_on(pool, has_news);
    return left;
}
