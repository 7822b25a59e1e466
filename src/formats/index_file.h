/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a sharded checkpoint: *.safetensors.index.json. */
#ifndef LT_FORMATS_INDEX_FILE_H
#define LT_FORMATS_INDEX_FILE_H

#include "files/atomic_file.h"
#include "formats/name_table.h"
#include "formats/writer.h"
#include <jansson.h>

#define LT_INDEX_SUFFIX ".index.json"

typedef struct lt_index_shard {
    const char *name; /* a plain file name */
    uint32_t id;      /* what `names` has for its tensors */
} lt_index_shard;

/* A parsed index. Strings live in the arena that lt_index_read was given. */
typedef struct lt_index {
    lathe_pool *pool;
    lt_name_table names;    /* every tensor, to the id of its shard */
    lt_index_shard *shards; /* sorted by name */
    size_t n_shards;
    json_t *metadata; /* the object called "metadata"; NULL if there is none */
} lt_index;

/* True if the path is that of an index. */
bool lt_index_is_path(const char *path);

/* Reads and checks an index; the caller frees it with lt_index_free. On failure it is empty.
 * Errors: NOT_FOUND, IO, MALFORMED_FILE, INSUFFICIENT_MEMORY. */
lathe_status lt_index_read(lathe_pool *pool, lt_arena *arena, const char *path, lt_index *index);

void lt_index_free(lt_index *index);

/* Notes that a shard holds a tensor, which must be what the index says. Errors: MALFORMED_FILE. */
lathe_status lt_index_take(lt_index *index, uint32_t shard_id, const char *tensor);

/* After all shards: every tensor of the index must have been taken. Errors: MALFORMED_FILE. */
lathe_status lt_index_check_taken(const lt_index *index);

/* A shard that has been written. */
typedef struct lt_index_output {
    const char *name; /* plain file name */
    const lathe_writer *writer;
} lt_index_output;

/* Writes the index of the given shards; `metadata` is carried over (NULL: none), total_size is new.
 * The file is reserved, written and synced, not published. Errors: IO, INSUFFICIENT_MEMORY. */
lathe_status lt_index_write(lathe_pool *pool, lt_atomic_file *file, json_t *metadata,
                            const lt_index_output *shards, size_t n_shards);

#endif
