/* SPDX-License-Identifier: Apache-2.0 */
/* The batch strategy: what its parts share. */
#ifndef LT_ENGINE_BATCH_JOB_H
#define LT_ENGINE_BATCH_JOB_H

#include "core/tensor.h"
#include "engine/batch/slab.h"
#include "engine/engine.h"
#include "engine/plan/plan.h"
#include "engine/plan/small_scales.h"
#include <lathe/batch.h>

/* How the tensors of a group are converted. */
typedef enum lt_batch_way {
    LT_BATCH_REFUSED, /* the target is not valid for them */
    LT_BATCH_SHARED,  /* the result is the source */
    LT_BATCH_ALONE,   /* one after another, each as lathe_convert does it */
    LT_BATCH_MANY,    /* small ones: several at once, or many in one launch */
} lt_batch_way;

/* Tensors of the same layout and target, wherever their memory is: they are planned once. */
typedef struct lt_batch_group {
    const lathe_tensor *like; /* one of the sources */
    const lathe_target *target;
    lathe_tensor made; /* what the results are, but for their memory */
    lt_batch_way way;
    lt_plan plan;     /* MANY: on the CPU, of as many tensors as `ranges` has, one after another */
    lt_ranges ranges; /* likewise: one for each of them */
    bool has_table;   /* likewise: it has been planned for a device, as follows */
    lt_plan table_plan;
    lt_ranges table_ranges;
    uint64_t n_bytes;     /* of a result in a slab */
    uint64_t scale_bytes; /* of those, what its scales take */
    uint64_t key;         /* in whose ascending order tensors are worked on */
    uint32_t next;        /* group of the same hash, plus 1 */
} lt_batch_group;

/* One tensor of a round: a line of the cache, as there may be many. */
typedef struct lt_batch_item {
    const lathe_tensor *source;
    lathe_tensor *result;  /* NULL: not made */
    lt_slab *slab;         /* in which the result is to be made; NULL: it is there, or cannot be */
    uint32_t offset;       /* likewise, of its data: slabs are small */
    uint32_t scale_offset; /* likewise, of its scales */
    uint64_t n_saturated;
    lathe_error *error; /* a block of the pool; NULL: none, or no memory for it */
    uint32_t group;
    uint32_t index; /* in the caller's order */
    uint32_t place; /* in the slab: which of its tensors */
    uint8_t status; /* a lathe_status */
    bool is_begun;  /* the result is there */
    bool on_device; /* an OpenCL device did all of it */
    bool fell_back; /* the CPU did it in the device's place */
} lt_batch_item;

_Static_assert(sizeof(lt_batch_item) == 64, "an item is a line");

/* A tensor of a round by the order of its group's key, then of the caller. */
typedef struct lt_batch_key {
    uint64_t key;
    uint64_t index;
} lt_batch_key;

typedef struct lt_batch {
    lathe_engine *engine;
    size_t n_tensors;
    lathe_tensor *const *sources;
    const lathe_target *targets;
    size_t n_targets;
    lathe_tensor *const *into; /* NULL: new results */
    lathe_batch_config limits;
    lathe_quality_report *reports; /* the caller's, one for each tensor; NULL: nobody asks */
    lt_batch_group *groups;
    size_t n_groups;
    size_t room;        /* for groups */
    uint32_t *buckets;  /* of groups by hash: number plus 1, or 0 */
    size_t n_buckets;   /* a power of two */
    uint32_t *group_of; /* each tensor's; NO_GROUP where the source is NULL */
    lt_batch_key *keys; /* of the round's tensors */
    lt_batch_item *items;
    size_t n_items;      /* of the round */
    bool is_in_order;    /* the items are in the caller's order */
    atomic_size_t next;  /* of the items, to be claimed */
    size_t end;          /* of those that can be */
    size_t at_once;      /* so many by one claim */
    uint64_t n_launches; /* of kernels for several tensors */
} lt_batch;

/* What a batch's caller gets. */
typedef struct lt_batch_receiver {
    lathe_batch_fn *on_result;
    void *ctx;
    lathe_tensor **results; /* NULL: nothing is put there */
    lathe_error *errors;    /* likewise */
    lathe_error first;      /* of the tensors' errors */
    size_t first_index;
    bool is_cancelled;
    lathe_batch_stats stats;
} lt_batch_receiver;

#define LT_BATCH_NO_GROUP UINT32_MAX

/* So many small tensors are converted at a time by a thread, at most: between two turns memory
 * stands idle for about what one tensor takes. */
enum { LT_BATCH_TURN = 256 };

/* ---- batch_groups.c */

/* Finds each tensor's group and plans it. Errors: INSUFFICIENT_MEMORY. */
lathe_status lt_batch_group_all(lt_batch *b);

/* Makes the items of tensors [first, end), in the order in which they are to be worked on. */
void lt_batch_order(lt_batch *b, size_t first, size_t end);

static inline lt_batch_group *lt_batch_group_of(const lt_batch *b, const lt_batch_item *item) {
    return &b->groups[item->group];
}

static inline const lathe_target *lt_batch_target_of(const lt_batch *b, const lt_batch_item *item) {
    return &b->targets[b->n_targets == 1 ? 0 : item->index];
}

/* ---- batch_items.c */

/* Takes the thread's last error as the item's, and leaves the item without a result. Thread-safe
 * for different items. */
void lt_batch_fail(lt_batch *b, lt_batch_item *item);

/* Finds room for the results of items [first, end), which are small and the batch's own. */
void lt_batch_make_slabs(lt_batch *b, size_t first, size_t end);

/* Makes the item's result in its slab, or checks the caller's: item->is_begun, or it has failed. */
void lt_batch_begin_item(lt_batch *b, lt_batch_item *item);

/* Records what became of n items of one group that have ended alike at end_ns, each of which took
 * so long. */
void lt_batch_end_items(lt_batch *b, const lt_batch_item *items, size_t n, uint64_t ns,
                        uint64_t end_ns);

/* True if an item that has been begun has not failed. */
static inline bool lt_batch_is_waiting(const lt_batch_item *item) {
    return item->is_begun && item->status == LATHE_OK;
}

/* Where the item's report goes; NULL: nowhere. */
static inline lathe_quality_report *lt_batch_report_of(const lt_batch *b,
                                                       const lt_batch_item *item) {
    return b->reports == NULL ? NULL : &b->reports[item->index];
}

/* Gives an item its source as the result. */
void lt_batch_share(lt_batch *b, lt_batch_item *item);

/* Converts an item as lathe_convert does it, on the engine's device if it has one. */
void lt_batch_convert_alone(lt_batch *b, lt_batch_item *item);

/* ---- batch_results.c */

/* Hands over the items of the round that began with tensor `first`. */
void lt_batch_hand_over_round(lt_batch_receiver *to, lt_batch *b, size_t first);

/* For a tensor that on_result is not told of any more. */
void lt_batch_note_cancelled(lt_batch_receiver *to, size_t index);

/* ---- batch_many.c */

/* Converts items [first, end), all MANY, on the CPU: several at once where the limits let it. */
void lt_batch_run_cpu(lt_batch *b, size_t first, size_t end);

/* Converts those of items [first, end) that have been begun and have not failed, on the CPU on this
 * thread. */
void lt_batch_convert_begun(lt_batch *b, size_t first, size_t end);

/* Finds the scales of a host tensor's target by a stats pass of that plan, of at most
 * LT_SMALL_TILES tiles: n_scales floats. Errors: those of a conversion's data. */
lathe_status lt_batch_find_scales(lt_batch *b, const lathe_tensor *source, const lt_pass *pass,
                                  float *scales);

/* Ends items that have been begun, together, from start_ns to end_ns. */
void lt_batch_end_begun(lt_batch *b, size_t first, size_t end, uint64_t start_ns, uint64_t end_ns);

/* ---- batch_device_scales.c */

/* Statistics of tensors, until the queue is finished, and the scales that they lead to, one
 * tensor's after another's. NULL: none are wanted. */
typedef struct lt_batch_found {
    double *stats;
    float *scales;
} lt_batch_found;

/* Finds the scales of those of items [first, end) that are waiting, and whose tables' plans want
 * statistics first, of the device's tensors. Items whose data is at fault fail, and have none.
 * `works` and `outcomes` are room for as many. Errors: DEVICE, INSUFFICIENT_MEMORY; *found is to be
 * dropped in any case. */
lathe_status lt_batch_find_on_device(lt_batch *b, size_t first, size_t end, lt_queue *queue,
                                     lt_work *works, lt_outcome *outcomes, lt_batch_found *found);

/* Once the queue is finished. */
void lt_batch_drop_found(lt_batch *b, lt_batch_found *found);

/* ---- batch_homes.c */

/* Puts those of items [first, end) that are of one group and follow each other in another order, if
 * they are scattered over a device's buffers: by these. */
void lt_batch_gather_homes(lt_batch *b, size_t first, size_t end);

/* ---- batch_device.c */

/* Converts them on the engine's device, as many in one launch as can be; what it fails at, the CPU
 * does. */
void lt_batch_run_device(lt_batch *b, size_t first, size_t end);

#endif
