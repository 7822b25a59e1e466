/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator of pools that are given none. */
#ifndef LT_POOL_SYSTEM_ALLOCATOR_H
#define LT_POOL_SYSTEM_ALLOCATOR_H

#include <lathe/pool.h>

/* Small blocks come from the C library; large ones are mappings, so that releasing them gives the
 * memory back at once, and the largest ask for huge pages. */
extern const lathe_allocator lt_system_allocator;

#endif
