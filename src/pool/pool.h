/* SPDX-License-Identifier: Apache-2.0 */
/* The pool as the rest of the library uses it. */
#ifndef LT_POOL_POOL_H
#define LT_POOL_POOL_H

#include "pool/size_class.h"
#include <lathe/pool.h>

struct lt_block;

/* Where blocks of another kind than host memory come from: a device's buffers, pinned memory. They
 * share the pool's budget, its recycling by size class and its trimming. What stands for a block is
 * the pointer that `allocator` gives, which need not point to memory; it is unique among the blocks
 * of the pool while it lives. */
typedef struct lt_pool_source {
    lathe_allocator allocator; /* called with the pool locked: it must not use the pool */
    lathe_pool_kind kind;      /* for the statistics */
    struct lt_block *cached[LT_SIZE_CLASS_COUNT]; /* the pool's */
} lt_pool_source;

/* lathe_pool_alloc from a source, which must outlive its blocks. Given back with lathe_pool_free.
 * Where the source has nothing left, cached blocks are given back and it is asked again. */
lathe_status lt_pool_source_alloc(lathe_pool *pool, lt_pool_source *source, uint64_t n_bytes,
                                  void **block);

/* Gives the source's cached blocks back; none of its blocks is live. */
void lt_pool_source_close(lathe_pool *pool, lt_pool_source *source);

/* Makes n_bytes what a live block is asked for, and gives what is beyond them back to the system
 * and to the budget, as far as the block is a mapping of its own; the rest stays where it is.
 * Returns the bytes that the block has then; 0, and nothing happens, if it is no live block of the
 * pool, or shorter than n_bytes. */
size_t lt_pool_shrink(lathe_pool *pool, const void *memory, size_t n_bytes);

/* The allocator of the pool's own blocks, which a source may use too. It lives as long as the pool.
 */
const lathe_allocator *lt_pool_allocator(const lathe_pool *pool);

/* lathe_pool_alloc for an object: zeroed, NULL on failure (the last error is set). */
void *lt_pool_new(lathe_pool *pool, size_t n_bytes);

/* An array of count objects of n_bytes each, zeroed; NULL on failure, overflow included. */
void *lt_pool_new_array(lathe_pool *pool, size_t count, size_t n_bytes);

/* Gives back what lt_pool_new, lt_pool_new_array or lathe_pool_alloc made. NULL is legal. */
void lt_pool_delete(lathe_pool *pool, void *object);

#endif
