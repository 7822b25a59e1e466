/* SPDX-License-Identifier: Apache-2.0 */
/* The hash table of blocks, with records cut from slabs. */
#include "pool/block_table.h"

#include <string.h>

enum { SLAB_BLOCKS = 62, FIRST_BUCKETS = 64, TABLE_ALIGNMENT = 64 };

struct lt_slab {
    lt_slab *next;
    lt_block blocks[SLAB_BLOCKS];
};

static size_t hash(const void *memory) {
    /* Even handles of devices are aligned to 16 bytes; the multiplier is 2^64 divided by the golden
     * ratio. */
    return (size_t)((((uint64_t)(uintptr_t)memory >> 4) * UINT64_C(0x9e3779b97f4a7c15)) >> 20);
}

static void *table_allocate(lt_block_table *table, size_t n_bytes) {
    void *memory = table->allocator->allocate(table->allocator->ctx, n_bytes, TABLE_ALIGNMENT);
    if (memory != NULL) {
        memset(memory, 0, n_bytes);
    }
    return memory;
}

static void table_release(lt_block_table *table, void *memory, size_t n_bytes) {
    if (memory != NULL) {
        table->allocator->release(table->allocator->ctx, memory, n_bytes);
    }
}

static bool grow_buckets(lt_block_table *table) {
    size_t n_buckets = table->n_buckets == 0 ? FIRST_BUCKETS : 2 * table->n_buckets;
    lt_block **buckets = table_allocate(table, n_buckets * sizeof(lt_block *));
    if (buckets == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->n_buckets; i++) {
        lt_block *next;
        for (lt_block *block = table->buckets[i]; block != NULL; block = next) {
            next = block->hash_next;
            lt_block **bucket = &buckets[hash(block->memory) & (n_buckets - 1)];
            block->hash_next = *bucket;
            *bucket = block;
        }
    }
    table_release(table, table->buckets, table->n_buckets * sizeof(lt_block *));
    table->buckets = buckets;
    table->n_buckets = n_buckets;
    return true;
}

static bool add_slab(lt_block_table *table) {
    lt_slab *slab = table_allocate(table, sizeof *slab);
    if (slab == NULL) {
        return false;
    }
    slab->next = table->slabs;
    table->slabs = slab;
    for (size_t i = 0; i < SLAB_BLOCKS; i++) {
        slab->blocks[i].hash_next = table->unused;
        table->unused = &slab->blocks[i];
    }
    return true;
}

lt_block *lt_block_table_add(lt_block_table *table, void *memory) {
    /* A table that cannot grow still works as long as it has a bucket. */
    if (table->n_blocks >= table->n_buckets && !grow_buckets(table) && table->n_buckets == 0) {
        return NULL;
    }
    if (table->unused == NULL && !add_slab(table)) {
        return NULL;
    }
    lt_block *block = table->unused;
    table->unused = block->hash_next;
    lt_block **bucket = &table->buckets[hash(memory) & (table->n_buckets - 1)];
    *block = (lt_block){.memory = memory, .hash_next = *bucket};
    *bucket = block;
    table->n_blocks++;
    return block;
}

lt_block *lt_block_table_find(const lt_block_table *table, const void *memory) {
    if (table->n_buckets == 0) {
        return NULL;
    }
    lt_block *block = table->buckets[hash(memory) & (table->n_buckets - 1)];
    while (block != NULL && block->memory != memory) {
        block = block->hash_next;
    }
    return block;
}

void lt_block_table_remove(lt_block_table *table, lt_block *block) {
    lt_block **link = &table->buckets[hash(block->memory) & (table->n_buckets - 1)];
    while (*link != block) {
        link = &(*link)->hash_next;
    }
    *link = block->hash_next;
    block->hash_next = table->unused;
    table->unused = block;
    table->n_blocks--;
}

void lt_block_table_destroy(lt_block_table *table) {
    lt_slab *next;
    for (lt_slab *slab = table->slabs; slab != NULL; slab = next) {
        next = slab->next;
        table_release(table, slab, sizeof *slab);
    }
    table_release(table, table->buckets, table->n_buckets * sizeof(lt_block *));
    *table = (lt_block_table){.allocator = table->allocator};
}
