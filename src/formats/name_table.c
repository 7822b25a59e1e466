/* SPDX-License-Identifier: Apache-2.0 */
/* The name table: open addressing with linear probing. */
#include "formats/name_table.h"

#include "core/error.h"
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { LEAST_SLOTS = 16 };

/* A random seed keeps a file from choosing names that all fall into one slot. */
static uint64_t make_seed(const void *salt) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
        seed = (uint64_t)(uintptr_t)salt;
    }
    return seed;
}

static uint32_t hash_of(const lt_name_table *table, const char *name) {
    return (uint32_t)XXH3_64bits_withSeed(name, strlen(name), table->seed);
}

/* The slot that holds the name, or else the free slot where it belongs. */
static lt_name_slot *slot_of(const lt_name_table *table, const char *name, uint32_t hash) {
    size_t mask = table->n_slots - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        lt_name_slot *slot = &table->slots[i];
        if (slot->name == NULL || (slot->hash == hash && strcmp(slot->name, name) == 0)) {
            return slot;
        }
    }
}

static lathe_status resize(lt_name_table *table, size_t n_slots) {
    lt_name_table grown = *table;
    grown.slots = lt_pool_new_array(table->pool, n_slots, sizeof *grown.slots);
    if (grown.slots == NULL) {
        return lt_error()->status;
    }
    grown.n_slots = n_slots;
    if (table->n_slots == 0) {
        grown.seed = make_seed(table);
    }
    for (size_t i = 0; i < table->n_slots; i++) {
        const lt_name_slot *slot = &table->slots[i];
        if (slot->name != NULL) {
            *slot_of(&grown, slot->name, slot->hash) = *slot;
        }
    }
    lt_pool_delete(table->pool, table->slots);
    *table = grown;
    return LATHE_OK;
}

static bool has_room(size_t n_slots, size_t n_names) {
    return n_names <= n_slots / 4 * 3;
}

lathe_status lt_name_table_reserve(lt_name_table *table, size_t n_names) {
    if (n_names >= UINT32_MAX) {
        return lt_fail(LATHE_NOT_SUPPORTED, "more than 2^32 names");
    }
    size_t n_slots = table->n_slots == 0 ? LEAST_SLOTS : table->n_slots;
    while (!has_room(n_slots, n_names)) {
        n_slots *= 2;
    }
    return n_slots == table->n_slots ? LATHE_OK : resize(table, n_slots);
}

lathe_status lt_name_table_add(lt_name_table *table, const char *name, size_t value,
                               size_t *existing) {
    lathe_status status = lt_name_table_reserve(table, table->n_names + 1);
    if (status != LATHE_OK) {
        return status;
    }
    uint32_t hash = hash_of(table, name);
    lt_name_slot *slot = slot_of(table, name, hash);
    if (slot->name != NULL) {
        *existing = slot->value;
        return LATHE_OK;
    }
    *slot = (lt_name_slot){.name = name, .hash = hash, .value = (uint32_t)value};
    table->n_names++;
    *existing = SIZE_MAX;
    return LATHE_OK;
}

void lt_name_table_expect(const lt_name_table *table, const char *name) {
    if (table->n_slots > 0) {
        __builtin_prefetch(&table->slots[hash_of(table, name) & (table->n_slots - 1)], 1);
    }
}

lt_name_slot *lt_name_table_slot(const lt_name_table *table, const char *name) {
    if (table->n_slots == 0) {
        return NULL;
    }
    lt_name_slot *slot = slot_of(table, name, hash_of(table, name));
    return slot->name != NULL ? slot : NULL;
}

size_t lt_name_table_find(const lt_name_table *table, const char *name) {
    const lt_name_slot *slot = lt_name_table_slot(table, name);
    return slot != NULL && slot->value != LT_NAME_ABSENT ? slot->value : SIZE_MAX;
}

size_t lt_name_table_find_joined(const lt_name_table *table, const char *name, size_t length,
                                 const char *suffix) {
    char joined[256];
    const size_t more = strlen(suffix);
    if (table->n_slots == 0) {
        return SIZE_MAX;
    }
    if (length + more < sizeof joined) {
        memcpy(joined, name, length);
        memcpy(joined + length, suffix, more + 1);
        return lt_name_table_find(table, joined);
    }
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    (void)XXH3_64bits_reset_withSeed(&state, table->seed);
    (void)XXH3_64bits_update(&state, name, length);
    (void)XXH3_64bits_update(&state, suffix, more);
    const uint32_t hash = (uint32_t)XXH3_64bits_digest(&state);
    const size_t mask = table->n_slots - 1;
    for (size_t i = hash & mask; table->slots[i].name != NULL; i = (i + 1) & mask) {
        const lt_name_slot *slot = &table->slots[i];
        if (slot->hash == hash && strncmp(slot->name, name, length) == 0 &&
            strcmp(slot->name + length, suffix) == 0) {
            return slot->value != LT_NAME_ABSENT ? slot->value : SIZE_MAX;
        }
    }
    return SIZE_MAX;
}

void lt_name_table_renumber(lt_name_table *table, const uint32_t *place) {
    for (size_t i = 0; i < table->n_slots; i++) {
        lt_name_slot *slot = &table->slots[i];
        if (slot->name != NULL && slot->value != LT_NAME_ABSENT) {
            slot->value = place[slot->value];
        }
    }
}

void lt_name_table_free(lt_name_table *table) {
    lt_pool_delete(table->pool, table->slots);
    *table = (lt_name_table){.pool = table->pool};
}
