/* SPDX-License-Identifier: Apache-2.0 */
/* The memory pool: every block that the library uses, under one budget. */
#ifndef LATHE_POOL_H
#define LATHE_POOL_H

#include <lathe/export.h>
#include <lathe/status.h>
#include <stdbool.h>
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
    /* 1: pressure also comes from the kernel's files, as far as they are there (below). Default: it
     * does not, so that what a pool does depends on its callers alone. */
    uint32_t pressure_files;
    uint32_t pressure_interval_ms; /* they are read at most that often; default 200 */
    const char *cgroup_dir;        /* copied; a folder of cgroup v2; default: that of the process */
    const char *psi_file;          /* copied; default: /proc/pressure/memory */
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

/* ---- pressure */

/* How short memory is.
 *
 * Of a budget, in_use and cached bytes together: LOW from 0.70 of it on, MEDIUM from 0.80, HIGH
 * from 0.90, CRITICAL from 0.95. A level is left below 0.65, 0.75, 0.85 and 0.925, so that it does
 * not flicker.
 *
 * From the kernel's files, where the pool's config asks for them: the same shares of a cgroup's
 * memory.max, with memory.current less the file cache that memory.stat says; and the stalls that
 * memory.pressure and /proc/pressure/memory report over ten seconds: LOW from some=10% on, MEDIUM
 * from some=25%, HIGH from full=10%, CRITICAL from full=25%, each left below half of that. They are
 * read when lathe_pool_pressure is called, and when a block of 1 MiB or more is taken from the
 * system.
 *
 * The pool's level is the highest of all. From MEDIUM on it trims itself: for its budget's sake, to
 * below 0.75 of it, as far as that is cached; for the system's, as lathe_pool_trim_level does, each
 * time that the files are read. */
typedef enum lathe_pressure {
    LATHE_PRESSURE_NONE = 0,
    LATHE_PRESSURE_LOW = 1,
    LATHE_PRESSURE_MEDIUM = 2,
    LATHE_PRESSURE_HIGH = 3,
    LATHE_PRESSURE_CRITICAL = 4,
} lathe_pressure;

/* "none", "low", "medium", "high" or "critical"; "invalid" for any other number. Static.
 * Thread-safe. */
LATHE_API const char *lathe_pressure_name(lathe_pressure level);

/* The level, after a look at the files if it is time for one. NONE if pool is NULL. */
LATHE_API lathe_pressure lathe_pool_pressure(lathe_pool *pool);

/* Gives cached blocks back as suits a level: nothing, a quarter, half, three quarters or all of the
 * bytes, the least recently used first. Returns the bytes given back. */
LATHE_API uint64_t lathe_pool_trim_level(lathe_pool *pool, lathe_pressure level);

/* Called when the pool's level has changed, on the thread that changed it, one call at a time for
 * one pool. Changes that follow each other quickly may be told as one. It may use the pool, but
 * must not drop its last reference. */
typedef void lathe_pressure_fn(void *ctx, lathe_pool *pool, lathe_pressure level);

/* Adds a callback; at most LATHE_POOL_MAX_CALLBACKS. Errors: INVALID_ARGUMENT, NOT_SUPPORTED (too
 * many). */
enum { LATHE_POOL_MAX_CALLBACKS = 64 };
LATHE_API lathe_status lathe_pool_on_pressure(lathe_pool *pool, lathe_pressure_fn *fn, void *ctx);

/* Removes it; a call that is under way on another thread has returned by then. Errors:
 * INVALID_ARGUMENT (it is not there). */
LATHE_API lathe_status lathe_pool_off_pressure(lathe_pool *pool, lathe_pressure_fn *fn, void *ctx);

/* ---- statistics */

/* Kinds of blocks. */
typedef enum lathe_pool_kind {
    LATHE_POOL_HOST = 0,   /* ordinary memory */
    LATHE_POOL_PINNED = 1, /* host memory that a device reaches by itself */
    LATHE_POOL_DEVICE = 2, /* a device's own */
} lathe_pool_kind;

enum { LATHE_POOL_KINDS = 3 };

/* The blocks of one kind; bytes of block capacity. */
typedef struct lathe_pool_kind_stats {
    uint64_t in_use_bytes;
    uint64_t cached_bytes;
    uint64_t peak_bytes; /* the greatest in_use + cached so far */
    uint64_t n_live;
} lathe_pool_kind_stats;

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
    uint64_t n_pressure_changes;
    lathe_pressure pressure; /* without a look at the files */
    /* The share of the pool's memory that nobody has asked for: 1 - requested / (in_use + cached);
     * 0 where there is none. What rounding up to block sizes costs, and what the cache holds. */
    double fragmentation;
    lathe_pool_kind_stats kinds[LATHE_POOL_KINDS]; /* by lathe_pool_kind */
} lathe_pool_stats;

/* Fills *stats, whose struct_size the caller has set, with one consistent snapshot.
 * Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_pool_get_stats(lathe_pool *pool, lathe_pool_stats *stats);

LATHE_END_DECLS

#endif
