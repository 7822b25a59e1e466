/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs by the size of their places, which are used again and again. */
#include "engine/batch/bins.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/batch/slab_state.h"
#include "pool/pool.h"

/* A slab has so much memory, and so many places, at most. A launch of a batch takes as many
 * tensors, of no more than 16 slabs. */
#define SLAB_BYTES (UINT64_C(16) << 20)
enum { SLAB_PLACES = 1024 };

/* Of the budget that is left, a slab with more than one place takes this part at most, its structs
 * included. */
enum { LEFT_SHARE = 4 };

/* ---- the list of a bin's slabs that have places left, with the mutex held */

static void link_slab(lt_bin *bin, lt_slab *slab) {
    slab->prev = NULL;
    slab->next = bin->open;
    if (slab->next != NULL) {
        slab->next->prev = slab;
    }
    bin->open = slab;
}

static void unlink_slab(lt_bin *bin, lt_slab *slab) {
    if (slab->prev != NULL) {
        slab->prev->next = slab->next;
    } else {
        bin->open = slab->next;
    }
    if (slab->next != NULL) {
        slab->next->prev = slab->prev;
    }
}

/* ---- places, likewise */

static size_t take_place(lt_bin *bin, lt_slab *slab) {
    size_t index = slab->n_touched;
    if (slab->unused != 0) {
        index = slab->unused - 1;
        slab->unused = slab->parts[index].next_unused;
    } else {
        slab->n_touched++;
    }
    slab->n_live++;
    if (slab->n_live == slab->n_places) {
        unlink_slab(bin, slab);
    }
    return index;
}

/* Returns true if the slab is in the bin no more, as nobody is in it. What has only just got a
 * place comes first: slabs with few tensors then lose them sooner or later. */
static bool leave_place(lt_bin *bin, lt_slab *slab, size_t index) {
    slab->parts[index].next_unused = slab->unused;
    slab->unused = index + 1;
    if (slab->n_live == slab->n_places) {
        link_slab(bin, slab);
    }
    slab->n_live--;
    if (slab->n_live > 0) {
        return false;
    }
    unlink_slab(bin, slab);
    bin->n_places -= slab->n_places;
    return true;
}

static void free_in_bin(void *ctx, void *data, float *scales) {
    lt_slab_part *own = ctx;
    lt_slab *slab = own->slab;
    lt_bins *bins = &slab->backend->bins;
    (void)data;
    (void)scales;
    lt_slab_end_part(own);
    (void)pthread_mutex_lock(&bins->mutex);
    bool is_empty = leave_place(&bins->bins[slab->bin], slab, (size_t)(own - slab->parts));
    (void)pthread_mutex_unlock(&bins->mutex);
    if (is_empty) {
        lt_slab_drop(slab);
    }
}

/* ---- slabs */

/* How many places a new slab has where there are n_places, all in use: as many again, so that half
 * of them are used at least. */
static size_t places_of_slab(const lathe_engine *engine, uint64_t n_places, size_t place_bytes) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    const uint64_t most_bytes = lt_min(SLAB_BYTES, engine->device->max_buffer_bytes);
    uint64_t most = lt_min(most_bytes / place_bytes, SLAB_PLACES);
    if (n_places > 1 && lathe_pool_get_stats(engine->pool, &stats) == LATHE_OK) {
        const uint64_t left = stats.budget_bytes - stats.in_use_bytes;
        const uint64_t struct_bytes = sizeof(lathe_tensor) + sizeof(lt_slab_part);
        most = lt_min(most, left / LEFT_SHARE / (place_bytes + struct_bytes));
    }
    return (size_t)lt_max(lt_min(n_places, most), 1);
}

/* One with n_places places or, where the memory for them is not to be had, with one. */
static lathe_status make_slab(lathe_engine *engine, size_t n_places, size_t place_bytes,
                              lt_slab **slab) {
    lathe_status status =
        lt_slab_create(engine, LATHE_MEMORY_DEVICE, n_places, n_places * place_bytes, slab);
    if (status != LATHE_OK && n_places > 1) {
        n_places = 1;
        status = lt_slab_create(engine, LATHE_MEMORY_DEVICE, n_places, place_bytes, slab);
    }
    if (status == LATHE_OK) {
        (*slab)->n_places = n_places;
        atomic_store(&(*slab)->n_references, 1); /* the bin's */
    }
    return status;
}

/* A place in a slab of the bin, which may be new. Memory is made without the mutex: whom the pool
 * tells of its pressure may release tensors. */
static lathe_status find_place(lathe_engine *engine, uint32_t number, size_t place_bytes,
                               lt_slab **slab, size_t *index) {
    lt_bins *bins = &engine->device->bins;
    lt_bin *bin = &bins->bins[number];
    (void)pthread_mutex_lock(&bins->mutex);
    if (bin->open == NULL) {
        const uint64_t n_places = bin->n_places;
        lt_slab *made = NULL;
        (void)pthread_mutex_unlock(&bins->mutex);
        lathe_status status =
            make_slab(engine, places_of_slab(engine, n_places, place_bytes), place_bytes, &made);
        if (status != LATHE_OK) {
            return status;
        }
        made->bin = number;
        (void)pthread_mutex_lock(&bins->mutex);
        bin->n_places += made->n_places;
        link_slab(bin, made);
    }
    *slab = bin->open;
    *index = take_place(bin, *slab);
    (void)pthread_mutex_unlock(&bins->mutex);
    return LATHE_OK;
}

/* ---- tensors */

/* The bin for such tensors, and the bytes of its places. */
static bool find_bin(const lt_layout *layout, uint32_t *number, size_t *place_bytes) {
    return layout->n_bytes <= SLAB_BYTES && layout->n_scales <= SLAB_BYTES &&
           lt_size_class_of((size_t)(lt_slab_data_bytes(layout) + lt_slab_scale_bytes(layout)),
                            number, place_bytes) &&
           *number < LT_BIN_COUNT;
}

bool lt_bins_suit(const lt_layout *layout) {
    uint32_t number;
    size_t place_bytes;
    return find_bin(layout, &number, &place_bytes);
}

lathe_status lt_bins_make(lathe_engine *engine, const lathe_tensor_desc *desc,
                          const lt_layout *layout, lathe_tensor **tensor) {
    lathe_tensor like = {.free_fn = NULL};
    uint32_t number = 0;
    size_t place_bytes = 0;
    lt_slab *slab = NULL;
    size_t index = 0;
    (void)find_bin(layout, &number, &place_bytes);
    lathe_status status = find_place(engine, number, place_bytes, &slab, &index);
    if (status != LATHE_OK) {
        return status;
    }
    lt_tensor_init(&like, engine->pool, desc, layout);
    const uint64_t offset = index * place_bytes;
    lathe_tensor *made =
        lt_slab_take(slab, index, &like, offset, offset + lt_slab_data_bytes(layout));
    made->id = like.id; /* the place may have had another tensor before */
    made->free_fn = free_in_bin;
    *tensor = made;
    return LATHE_OK;
}
