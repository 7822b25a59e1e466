/* SPDX-License-Identifier: Apache-2.0 */
/* The arena. */
#include "formats/arena.h"

#include "core/checked.h"
#include "core/error.h"
#include <string.h>

enum { FIRST_CHUNK = 4096, LAST_CHUNK = 1 << 20, ALIGNMENT = 8 };

struct lt_arena_chunk {
    lt_arena_chunk *older;
    size_t n_bytes;
    size_t used;
    unsigned char bytes[];
};

/* Chunks double, so that a small arena stays small and a large one has few chunks. */
static lt_arena_chunk *add_chunk(lt_arena *arena, size_t n_bytes) {
    size_t size = FIRST_CHUNK;
    if (arena->newest != NULL) {
        size = arena->newest->n_bytes < LAST_CHUNK / 2 ? 2 * arena->newest->n_bytes : LAST_CHUNK;
    }
    if (size < n_bytes) {
        size = n_bytes;
    }
    uint64_t total = 0;
    if (!lt_add(size, sizeof(lt_arena_chunk), &total)) {
        (void)lt_fail(LATHE_SIZE_OVERFLOW, "a header needs more memory than there are addresses");
        return NULL;
    }
    lt_arena_chunk *chunk = lt_pool_new(arena->pool, (size_t)total);
    if (chunk != NULL) {
        chunk->n_bytes = size;
        chunk->older = arena->newest;
        arena->newest = chunk;
    }
    return chunk;
}

/* The next n_bytes bytes, at a multiple of `alignment`, a power of two up to ALIGNMENT. */
static void *take(lt_arena *arena, size_t n_bytes, size_t alignment) {
    if (n_bytes > SIZE_MAX - ALIGNMENT) {
        (void)lt_fail(LATHE_SIZE_OVERFLOW, "a header needs more memory than there are addresses");
        return NULL;
    }
    lt_arena_chunk *chunk = arena->newest;
    size_t at = chunk == NULL ? 0 : (chunk->used + alignment - 1) & ~(alignment - 1);
    if (chunk == NULL || at > chunk->n_bytes || chunk->n_bytes - at < n_bytes) {
        chunk = add_chunk(arena, n_bytes);
        at = 0;
    }
    if (chunk == NULL) {
        return NULL;
    }
    chunk->used = at + n_bytes;
    return chunk->bytes + at;
}

void *lt_arena_new(lt_arena *arena, size_t n_bytes) {
    return take(arena, n_bytes, ALIGNMENT);
}

void *lt_arena_new_array(lt_arena *arena, size_t count, size_t n_bytes) {
    uint64_t total = 0;
    if (!lt_mul(count, n_bytes, &total)) {
        total = UINT64_MAX; /* refused below */
    }
    return lt_arena_new(arena, (size_t)total);
}

char *lt_arena_copy(lt_arena *arena, const char *text, size_t length) {
    char *copy = take(arena, length == SIZE_MAX ? length : length + 1, 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
    }
    return copy;
}

void lt_arena_take(lt_arena *arena, lt_arena *from) {
    lt_arena_chunk **oldest = &from->newest;
    while (*oldest != NULL) {
        oldest = &(*oldest)->older;
    }
    *oldest = arena->newest;
    arena->newest = from->newest;
    from->newest = NULL;
}

void lt_arena_free(lt_arena *arena) {
    while (arena->newest != NULL) {
        lt_arena_chunk *older = arena->newest->older;
        lt_pool_delete(arena->pool, arena->newest);
        arena->newest = older;
    }
}
