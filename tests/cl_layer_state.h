/* SPDX-License-Identifier: Apache-2.0 */
/* What the fault layer knows: live handles, what was counted, and which call is to fail. Shared by
 * the layer's functions (cl_fault_layer.c) and by what tests ask (cl_layer_state.c). */
#ifndef TESTS_CL_LAYER_STATE_H
#define TESTS_CL_LAYER_STATE_H

#include "cl_layer.h"
#include "lathe_launch.h"
#include <pthread.h>

typedef struct layer_handle {
    const void *key; /* NULL: a free slot */
    test_cl_kind kind;
    int64_t n_references;
    uint64_t n_bytes; /* memory */
    int64_t n_mapped; /* memory: maps that have not been undone */
    const char *name; /* kernels */
    cl_mem result;    /* kernels: their third argument */
    cl_mem reports;   /* kernels: their fourth, where it is memory */
    lathe_launch launch;
} layer_handle;

typedef struct layer_record {
    test_cl_faults faults;
    test_cl_device device;
    const char *liar;
    uint64_t n_calls;
    uint64_t n_failed;
    const char *first_failed;
    int64_t n_live[TEST_CL_KINDS];
    int64_t n_mapped;
    uint64_t live_bytes;
    uint64_t peak_bytes;
    uint64_t n_buffers[2];
    uint64_t n_bytes[TEST_CL_TRANSFERS];
    uint64_t largest[TEST_CL_TRANSFERS];
    void *last_mapped;
    uint64_t n_misuses;
    const char *first_misuse;
} layer_record;

/* Guards the state and the handles. */
extern pthread_mutex_t layer_lock;
extern layer_record layer_state;

/* What the calling thread's last call was about, if that was a release that failed. */
extern _Thread_local const void *layer_failed_release;

/* The slot of the handle, or the free one where it would go. With the lock held. */
layer_handle *layer_slot_of(const void *key);

/* With the lock held. `what` is a literal. */
void layer_misuse(const char *what);
void layer_add_live(const void *key, test_cl_kind kind, uint64_t n_bytes);

/* These take the lock. */

void layer_created(const void *key, test_cl_kind kind);

/* Notes a use of a handle that must be live. */
void layer_use(const void *key, test_cl_kind kind, const char *function);
void layer_released(const void *key, test_cl_kind kind, const char *function);
void layer_transferred(test_cl_transfer transfer, uint64_t n_bytes);
void layer_mapped(const void *memory, void *host);
void layer_unmapped(const void *memory);

/* Counts a call: the error with which it has to fail, or CL_SUCCESS. */
cl_int layer_enter(const char *function);
bool layer_device_is_lost(void);

#endif
