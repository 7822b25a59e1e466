/* SPDX-License-Identifier: Apache-2.0 */
/* Arena: many small things that are freed together, in chunks of the pool. */
#ifndef LT_FORMATS_ARENA_H
#define LT_FORMATS_ARENA_H

#include "pool/pool.h"
#include <stddef.h>

typedef struct lt_arena_chunk lt_arena_chunk;

/* All zero but for the pool is an empty arena. Used by one thread at a time. */
typedef struct lt_arena {
    lathe_pool *pool;
    lt_arena_chunk *newest;
} lt_arena;

/* n_bytes zeroed bytes, aligned to 8, that live until lt_arena_free; NULL on failure (the last
 * error is set). */
void *lt_arena_new(lt_arena *arena, size_t n_bytes);

/* An array of count objects of n_bytes each; NULL on failure, overflow included. */
void *lt_arena_new_array(lt_arena *arena, size_t count, size_t n_bytes);

/* A copy of length bytes of text with a NUL after them, packed: texts have no alignment. NULL on
 * failure. */
char *lt_arena_copy(lt_arena *arena, const char *text, size_t length);

/* Makes all that is in `from`, which is empty then, live until `arena` is freed. Both are of the
 * same pool. */
void lt_arena_take(lt_arena *arena, lt_arena *from);

/* Frees everything; the arena is empty again. */
void lt_arena_free(lt_arena *arena);

#endif
