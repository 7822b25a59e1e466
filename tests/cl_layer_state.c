/* SPDX-License-Identifier: Apache-2.0 */
/* What the fault layer keeps count of, and what tests tell and ask it (cl_layer.h). */
#include "cl_layer_state.h"
#include <string.h>

__attribute__((visibility("default"))) const test_cl_layer *test_cl_layer_get(void);

enum { SLOTS = 1 << 14 };

pthread_mutex_t layer_lock = PTHREAD_MUTEX_INITIALIZER;
layer_record layer_state;
_Thread_local const void *layer_failed_release;

static layer_handle handles[SLOTS];

static size_t home_of(const void *key) {
    return (size_t)(((uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u) >> 50) % SLOTS;
}

layer_handle *layer_slot_of(const void *key) {
    size_t i = home_of(key);
    while (handles[i].key != NULL && handles[i].key != key) {
        i = (i + 1) % SLOTS;
    }
    return &handles[i];
}

static void forget(layer_handle *gone) {
    size_t hole = (size_t)(gone - handles);
    for (size_t i = (hole + 1) % SLOTS; handles[i].key != NULL; i = (i + 1) % SLOTS) {
        size_t home = home_of(handles[i].key);
        if ((i - home) % SLOTS >= (i - hole) % SLOTS) {
            handles[hole] = handles[i];
            hole = i;
        }
    }
    memset(&handles[hole], 0, sizeof handles[hole]);
}

void layer_misuse(const char *what) {
    layer_state.n_misuses++;
    layer_state.first_misuse = layer_state.first_misuse == NULL ? what : layer_state.first_misuse;
}

void layer_add_live(const void *key, test_cl_kind kind, uint64_t n_bytes) {
    layer_handle *slot = layer_slot_of(key);
    if (slot->key == NULL) {
        *slot = (layer_handle){.key = key, .kind = kind, .n_bytes = n_bytes};
        layer_state.live_bytes += n_bytes;
        if (layer_state.live_bytes > layer_state.peak_bytes) {
            layer_state.peak_bytes = layer_state.live_bytes;
        }
    }
    slot->n_references++;
    layer_state.n_live[kind]++;
}

void layer_created(const void *key, test_cl_kind kind) {
    if (key != NULL) {
        (void)pthread_mutex_lock(&layer_lock);
        layer_add_live(key, kind, 0);
        (void)pthread_mutex_unlock(&layer_lock);
    }
}

void layer_use(const void *key, test_cl_kind kind, const char *function) {
    (void)pthread_mutex_lock(&layer_lock);
    const layer_handle *slot = layer_slot_of(key);
    if (key == NULL || slot->key == NULL || slot->kind != kind) {
        layer_misuse(function);
    }
    (void)pthread_mutex_unlock(&layer_lock);
}

void layer_released(const void *key, test_cl_kind kind, const char *function) {
    (void)pthread_mutex_lock(&layer_lock);
    layer_handle *slot = layer_slot_of(key);
    if (key == NULL || slot->key == NULL || slot->kind != kind) {
        layer_misuse(function);
    } else {
        layer_state.n_live[kind]--;
        if (--slot->n_references == 0) {
            layer_state.live_bytes -= slot->n_bytes;
            layer_state.n_mapped -= slot->n_mapped;
            if (slot->n_mapped != 0 && layer_state.n_failed == 0) {
                layer_misuse("clReleaseMemObject: mapped");
            }
            forget(slot);
        }
    }
    (void)pthread_mutex_unlock(&layer_lock);
}

void layer_transferred(test_cl_transfer transfer, uint64_t n_bytes) {
    (void)pthread_mutex_lock(&layer_lock);
    layer_state.n_bytes[transfer] += n_bytes;
    if (n_bytes > layer_state.largest[transfer]) {
        layer_state.largest[transfer] = n_bytes;
    }
    (void)pthread_mutex_unlock(&layer_lock);
}

void layer_mapped(const void *memory, void *host) {
    (void)pthread_mutex_lock(&layer_lock);
    layer_state.n_mapped++;
    layer_slot_of(memory)->n_mapped++;
    layer_state.last_mapped = host;
    (void)pthread_mutex_unlock(&layer_lock);
}

void layer_unmapped(const void *memory) {
    (void)pthread_mutex_lock(&layer_lock);
    layer_state.n_mapped--;
    layer_slot_of(memory)->n_mapped--;
    (void)pthread_mutex_unlock(&layer_lock);
}

/* ---- faults */

cl_int layer_enter(const char *function) {
    cl_int error = CL_SUCCESS;
    layer_failed_release = NULL;
    (void)pthread_mutex_lock(&layer_lock);
    const test_cl_faults *faults = &layer_state.faults;
    if (faults->function == NULL || strcmp(faults->function, function) == 0) {
        layer_state.n_calls++;
        if (faults->at != 0 && (faults->ever_after ? layer_state.n_calls >= faults->at
                                                   : layer_state.n_calls == faults->at)) {
            error = faults->error != 0 ? faults->error : CL_OUT_OF_RESOURCES;
            layer_state.n_failed++;
            layer_state.first_failed =
                layer_state.first_failed == NULL ? function : layer_state.first_failed;
        }
    }
    (void)pthread_mutex_unlock(&layer_lock);
    return error;
}

bool layer_device_is_lost(void) {
    (void)pthread_mutex_lock(&layer_lock);
    bool lost = layer_state.faults.ever_after && layer_state.n_failed > 0;
    (void)pthread_mutex_unlock(&layer_lock);
    return lost;
}

/* ---- what tests call */

static void reset(void) {
    (void)pthread_mutex_lock(&layer_lock);
    memset(&layer_state.faults, 0, sizeof layer_state.faults);
    memset(&layer_state.device, 0, sizeof layer_state.device);
    layer_state.liar = NULL;
    layer_state.n_calls = 0;
    layer_state.n_failed = 0;
    layer_state.first_failed = NULL;
    layer_state.peak_bytes = layer_state.live_bytes;
    memset(layer_state.n_buffers, 0, sizeof layer_state.n_buffers);
    memset(layer_state.n_bytes, 0, sizeof layer_state.n_bytes);
    memset(layer_state.largest, 0, sizeof layer_state.largest);
    layer_state.last_mapped = NULL;
    layer_state.n_misuses = 0;
    layer_state.first_misuse = NULL;
    (void)pthread_mutex_unlock(&layer_lock);
}

static void set_faults(const test_cl_faults *faults) {
    (void)pthread_mutex_lock(&layer_lock);
    layer_state.faults = *faults;
    layer_state.n_calls = 0;
    layer_state.n_failed = 0;
    layer_state.first_failed = NULL;
    (void)pthread_mutex_unlock(&layer_lock);
}

static test_cl_faults get_faults(void) {
    (void)pthread_mutex_lock(&layer_lock);
    const test_cl_faults faults = layer_state.faults;
    (void)pthread_mutex_unlock(&layer_lock);
    return faults;
}

static void stop_faults(void) {
    (void)pthread_mutex_lock(&layer_lock);
    memset(&layer_state.faults, 0, sizeof layer_state.faults);
    (void)pthread_mutex_unlock(&layer_lock);
}

static void set_device(const test_cl_device *device) {
    (void)pthread_mutex_lock(&layer_lock);
    layer_state.device = *device;
    (void)pthread_mutex_unlock(&layer_lock);
}

static void set_liar(const char *kernel) {
    (void)pthread_mutex_lock(&layer_lock);
    layer_state.liar = kernel;
    (void)pthread_mutex_unlock(&layer_lock);
}

#define ASK(type, name, parameters, expression)                                                    \
    static type name parameters {                                                                  \
        (void)pthread_mutex_lock(&layer_lock);                                                     \
        type answer = (expression);                                                                \
        (void)pthread_mutex_unlock(&layer_lock);                                                   \
        return answer;                                                                             \
    }

ASK(uint64_t, n_calls, (void), layer_state.n_calls)
ASK(uint64_t, n_failed, (void), layer_state.n_failed)
ASK(const char *, first_failed, (void), layer_state.first_failed)
ASK(int64_t, n_live, (test_cl_kind kind), layer_state.n_live[kind])
ASK(int64_t, n_mapped, (void), layer_state.n_mapped)
ASK(uint64_t, live_bytes, (void), layer_state.live_bytes)
ASK(uint64_t, peak_bytes, (void), layer_state.peak_bytes)
ASK(uint64_t, n_buffers, (bool of_host_memory), layer_state.n_buffers[of_host_memory])
ASK(uint64_t, n_bytes, (test_cl_transfer transfer), layer_state.n_bytes[transfer])
ASK(uint64_t, largest, (test_cl_transfer transfer), layer_state.largest[transfer])
ASK(void *, last_mapped, (void), layer_state.last_mapped)
ASK(uint64_t, n_misuses, (void), layer_state.n_misuses)
ASK(const char *, first_misuse, (void), layer_state.first_misuse)

const test_cl_layer *test_cl_layer_get(void) {
    static const test_cl_layer layer = {
        .reset = reset,
        .set_faults = set_faults,
        .get_faults = get_faults,
        .stop_faults = stop_faults,
        .set_device = set_device,
        .set_liar = set_liar,
        .n_calls = n_calls,
        .n_failed = n_failed,
        .first_failed = first_failed,
        .n_live = n_live,
        .n_mapped = n_mapped,
        .live_bytes = live_bytes,
        .peak_bytes = peak_bytes,
        .n_buffers = n_buffers,
        .n_bytes = n_bytes,
        .largest = largest,
        .last_mapped = last_mapped,
        .n_misuses = n_misuses,
        .first_misuse = first_misuse,
    };
    return &layer;
}
