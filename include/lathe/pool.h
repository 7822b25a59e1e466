/* SPDX-License-Identifier: Apache-2.0 */
/* The memory pool: every block that the library uses, under one budget. */
#ifndef LATHE_POOL_H
#define LATHE_POOL_H

#include <lathe/export.h>
#include <lathe/status.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* Where a pool gets its memory from. Both functions may be called from any thread, one call at a
 * time for one pool, and must not call into that pool. */
typedef struct lathe_allocator {
    void *ctx; /* handed to both functions */
    /* Returns n_bytes (> 0) of memory aligned to `alignment` bytes (a power of two, 64 or more), or
     * NULL when there is none. The contents are unspecified. */
    void *(*allocate)(void *ctx, size_t n_bytes, size_t alignment);
    /* Takes back what allocate returned for the same n_bytes. */
    void (*release)(void *ctx, void *memory, size_t n_bytes);
} lathe_allocator;

/* Begins with struct_size = sizeof(lathe_pool_config); a zero field means its default. */
typedef struct lathe_pool_config {
    size_t struct_size;
    uint64_t budget_bytes;            /* default: no limit */
    const lathe_allocator *allocator; /* copied; default: the system, huge pages for large blocks */
} lathe_pool_config;

/* A pool is a reference-counted object; every function is thread-safe. */
typedef struct lathe_pool lathe_pool;

/* Makes a pool with one reference, which the caller owns. NULL config means all defaults.
 * Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY; *pool is then left alone. */
LATHE_API lathe_status lathe_pool_create(const lathe_pool_config *config, lathe_pool **pool);

/* Adds a reference and returns the pool. NULL is legal and returns NULL. */
LATHE_API lathe_pool *lathe_pool_retain(lathe_pool *pool);

/* Drops a reference. The last one frees the pool with its cached blocks. Every block holds a
 * reference of its own, so a pool outlives its blocks. NULL is legal. */
LATHE_API void lathe_pool_release(lathe_pool *pool);

/* A block of at least n_bytes (0 is served as 1), aligned to 64 bytes, contents unspecified. The
 * caller owns it and gives it back with lathe_pool_free. The budget is charged with the block's
 * capacity, which exceeds n_bytes by at most an eighth or 63 bytes, whichever is more; the pool's
 * own records, about 100 bytes a block, are not charged. When the budget is short, cached blocks
 * are given back to the system first. Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY (with required
 * and available bytes); *block is then left alone. */
LATHE_API lathe_status lathe_pool_alloc(lathe_pool *pool, size_t n_bytes, void **block);

/* Gives a block back; the pool may cache it. NULL is legal.
 * Errors: INVALID_ARGUMENT for a pointer that is not a live block of this pool; nothing changes. */
LATHE_API lathe_status lathe_pool_free(lathe_pool *pool, void *block);

/* Gives cached blocks back to the system until at most keep_bytes are cached, the least recently
 * used first. Returns the bytes given back. */
LATHE_API uint64_t lathe_pool_trim(lathe_pool *pool, uint64_t keep_bytes);

/* All in bytes of block capacity unless named otherwise. */
typedef struct lathe_pool_stats {
    size_t struct_size;
    uint64_t budget_bytes; /* UINT64_MAX: no limit */
    uint64_t in_use_bytes; /* in live blocks */
    uint64_t cached_bytes; /* in blocks kept for reuse; in_use + cached never exceeds the budget */
    uint64_t peak_bytes;   /* the greatest in_use + cached so far */
    uint64_t peak_in_use_bytes;
    uint64_t requested_bytes; /* what the live blocks were asked for; in_use minus this is waste */
    uint64_t n_live;          /* live blocks */
    uint64_t n_hits;          /* allocations served from the cache */
    uint64_t n_misses;        /* allocations served by the allocator */
    uint64_t n_refused;       /* allocations that failed */
    uint64_t n_trimmed;       /* cached blocks given back to the system */
} lathe_pool_stats;

/* Fills *stats, whose struct_size the caller has set, with one consistent snapshot.
 * Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_pool_get_stats(lathe_pool *pool, lathe_pool_stats *stats);

LATHE_END_DECLS

#endif
