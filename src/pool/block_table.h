/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's record of its blocks: a hash table by address, so that a foreign pointer is noticed
 * without reading the memory around it. */
#ifndef LT_POOL_BLOCK_TABLE_H
#define LT_POOL_BLOCK_TABLE_H

#include <lathe/pool.h>
#include <stdbool.h>

struct lt_pool_source;

typedef struct lt_block lt_block;
struct lt_block {
    void *memory;
    struct lt_pool_source *source; /* where it came from and goes back to */
    size_t capacity;
    size_t requested;
    uint32_t size_class;
    bool is_live;         /* false: cached */
    lt_block *hash_next;  /* in the table's bucket, or in the list of unused records */
    lt_block *class_next; /* cached blocks of one source and class, most recently freed first */
    lt_block *class_prev;
    lt_block *older; /* all cached blocks, whatever their source, by time of freeing */
    lt_block *newer;
};

typedef struct lt_slab lt_slab;

typedef struct lt_block_table {
    const lathe_allocator *allocator; /* not owned */
    lt_block **buckets;
    size_t n_buckets; /* a power of two, or 0 */
    size_t n_blocks;
    lt_block *unused;
    lt_slab *slabs;
} lt_block_table;

/* Adds a record for `memory` and returns it; NULL without memory for the record. */
lt_block *lt_block_table_add(lt_block_table *table, void *memory);

/* The record of that address; NULL if there is none. */
lt_block *lt_block_table_find(const lt_block_table *table, const void *memory);

/* Removes and recycles a record of the table. */
void lt_block_table_remove(lt_block_table *table, lt_block *block);

/* Frees all that the table itself allocated. */
void lt_block_table_destroy(lt_block_table *table);

#endif
