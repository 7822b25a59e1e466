/* SPDX-License-Identifier: Apache-2.0 */
/* Brings device tensors of the same buffers together, because a launch takes those of few. */
#include "engine/batch/batch_job.h"
#include "engine/device/device_tensor.h"
#include "pool/pool.h"

/* More of them are not looked for: tensors are then taken as they come. */
enum { MOST_HOMES = 1024, N_BUCKETS = 2048 };

/* The buffers of a tensor and of its result. */
typedef struct home {
    const void *from;
    const void *to; /* NULL: of its own making */
    size_t n_items; /* then: where the next one of them goes */
} home;

typedef struct homes {
    home all[MOST_HOMES];
    uint32_t n;
    uint16_t buckets[N_BUCKETS]; /* number plus 1; 0: none */
} homes;

static const void *buffer_of(const lathe_tensor *tensor) {
    return tensor != NULL && tensor->memory == LATHE_MEMORY_DEVICE ? tensor->on_device->data.device
                                                                   : NULL;
}

static home home_of(const lt_batch_item *item) {
    return (home){.from = buffer_of(item->source), .to = buffer_of(item->result)};
}

static bool is_same(const home *a, const home *b) {
    return a->from == b->from && a->to == b->to;
}

/* The item's home, which may be new; NULL if there are too many. */
static home *find_home(homes *h, const lt_batch_item *item) {
    const home wanted = home_of(item);
    const uint64_t mixed = ((uint64_t)(uintptr_t)wanted.from + 3 * (uint64_t)(uintptr_t)wanted.to) *
                           UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(mixed >> 40) % N_BUCKETS;
    while (h->buckets[at] != 0 && !is_same(&h->all[h->buckets[at] - 1], &wanted)) {
        at = (at + 1) % N_BUCKETS;
    }
    if (h->buckets[at] == 0) {
        if (h->n == MOST_HOMES) {
            return NULL;
        }
        h->all[h->n++] = wanted;
        h->buckets[at] = (uint16_t)h->n;
    }
    return &h->all[h->buckets[at] - 1];
}

/* How often an item lies elsewhere than the one before it. */
static size_t count_changes(const lt_batch_item *items, size_t n) {
    size_t n_changes = 0;
    for (size_t i = 1; i < n; i++) {
        const home before = home_of(&items[i - 1]);
        const home here = home_of(&items[i]);
        n_changes += is_same(&before, &here) ? 0 : 1;
    }
    return n_changes;
}

/* Fills `places` with where each item goes, if that makes fewer changes. */
static bool find_places(homes *h, const lt_batch_item *items, size_t n, size_t n_changes,
                        size_t *places) {
    for (size_t i = 0; i < n; i++) {
        home *of_item = find_home(h, &items[i]);
        if (of_item == NULL) {
            return false;
        }
        of_item->n_items++;
    }
    if (n_changes < 2 * (size_t)h->n) {
        return false;
    }
    size_t next = 0;
    for (uint32_t k = 0; k < h->n; k++) {
        const size_t n_items = h->all[k].n_items;
        h->all[k].n_items = next;
        next += n_items;
    }
    for (size_t i = 0; i < n; i++) {
        places[i] = find_home(h, &items[i])->n_items++;
    }
    return true;
}

static void permute(lt_batch_item *items, size_t n, size_t *places) {
    for (size_t i = 0; i < n; i++) {
        while (places[i] != i) {
            const size_t place = places[i];
            const lt_batch_item moved = items[place];
            items[place] = items[i];
            items[i] = moved;
            places[i] = places[place];
            places[place] = place;
        }
    }
}

/* Items of one group. Without the memory for it they stay as they are. */
static void gather(lt_batch *b, lt_batch_item *items, size_t n) {
    lathe_pool *pool = b->engine->pool;
    const size_t n_changes = count_changes(items, n);
    if (n_changes < LT_MANY_HOMES) {
        return;
    }
    homes *h = lt_pool_new(pool, sizeof *h);
    size_t *places = h == NULL ? NULL : lt_pool_new_array(pool, n, sizeof *places);
    if (places != NULL && find_places(h, items, n, n_changes, places)) {
        permute(items, n, places);
        b->is_in_order = false;
    }
    lt_pool_delete(pool, places);
    lt_pool_delete(pool, h);
}

void lt_batch_gather_homes(lt_batch *b, size_t first, size_t end) {
    while (first < end) {
        size_t next = first + 1;
        while (next < end && b->items[next].group == b->items[first].group) {
            next++;
        }
        if (buffer_of(b->items[first].source) != NULL) {
            gather(b, &b->items[first], next - first);
        }
        first = next;
    }
}
