/* SPDX-License-Identifier: Apache-2.0 */
/* Name table: finds a number by name, in constant time however hostile the names are. */
#ifndef LT_FORMATS_NAME_TABLE_H
#define LT_FORMATS_NAME_TABLE_H

#include "pool/pool.h"
#include <stddef.h>
#include <stdint.h>

typedef struct lt_name_slot {
    const char *name; /* NULL: free */
    uint32_t hash;
    uint32_t value;
} lt_name_slot;

/* All zero but for the pool is an empty table. Lookups are thread-safe while nothing is added. */
typedef struct lt_name_table {
    lathe_pool *pool;
    lt_name_slot *slots;
    size_t n_slots; /* a power of two, or 0 */
    size_t n_names;
    uint64_t seed;
} lt_name_table;

/* Makes room for n_names names, so that adding them cannot fail. Errors: INSUFFICIENT_MEMORY. */
lathe_status lt_name_table_reserve(lt_name_table *table, size_t n_names);

/* Adds a name, which the caller keeps alive, and its value. If the name is there already, nothing
 * changes, and *existing is its value; otherwise *existing is SIZE_MAX. Errors:
 * INSUFFICIENT_MEMORY. */
lathe_status lt_name_table_add(lt_name_table *table, const char *name, size_t value,
                               size_t *existing);

/* Gets the slot of a name that is going to be added ready: a table of many names is not in a cache.
 */
void lt_name_table_expect(const lt_name_table *table, const char *name);

/* The slot of a name, whose value may be changed; NULL if it is not there. */
lt_name_slot *lt_name_table_slot(const lt_name_table *table, const char *name);

/* Gives every name the value place[value]; LT_NAME_ABSENT: it is as if the name were not there. */
#define LT_NAME_ABSENT UINT32_MAX
void lt_name_table_renumber(lt_name_table *table, const uint32_t *place);

/* The value of a name; SIZE_MAX if it is not there. */
size_t lt_name_table_find(const lt_name_table *table, const char *name);

/* The same for the name that the first `length` bytes of `name` make with `suffix` after them. */
size_t lt_name_table_find_joined(const lt_name_table *table, const char *name, size_t length,
                                 const char *suffix);

/* Frees the slots; the table is empty again. */
void lt_name_table_free(lt_name_table *table);

#endif
