/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator of pools that are given none. */
#ifndef LT_POOL_SYSTEM_ALLOCATOR_H
#define LT_POOL_SYSTEM_ALLOCATOR_H

#include <lathe/pool.h>
#include <stdbool.h>

/* Small blocks come from the C library, those of whole pages from runs of such; large ones are
 * mappings. Releasing pages and mappings gives the memory back at once, and the largest ask for
 * huge pages. */
extern const lathe_allocator lt_system_allocator;

/* The same, but none asks for huge pages: less memory where blocks are used in part. */
extern const lathe_allocator lt_small_page_allocator;

/* True if what the allocator gives for so many bytes is a new mapping of the system's, all zero. */
bool lt_system_is_zeroed(const lathe_allocator *allocator, size_t n_bytes);

/* Gives the end of what the allocator has given, n_bytes, back to the system: at least new_bytes
 * stay. Returns how many do: n_bytes if it was no mapping; never so few that it would not be one.
 */
size_t lt_system_shrink(void *memory, size_t n_bytes, size_t new_bytes);

#endif
