/* SPDX-License-Identifier: Apache-2.0 */
/* The pool as the rest of the library uses it. */
#ifndef LT_POOL_POOL_H
#define LT_POOL_POOL_H

#include <lathe/pool.h>

/* lathe_pool_alloc for an object: zeroed, NULL on failure (the last error is set). */
void *lt_pool_new(lathe_pool *pool, size_t n_bytes);

/* An array of count objects of n_bytes each, zeroed; NULL on failure, overflow included. */
void *lt_pool_new_array(lathe_pool *pool, size_t count, size_t n_bytes);

/* Gives back what lt_pool_new, lt_pool_new_array or lathe_pool_alloc made. NULL is legal. */
void lt_pool_delete(lathe_pool *pool, void *object);

#endif
