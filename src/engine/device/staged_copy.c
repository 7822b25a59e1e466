/* SPDX-License-Identifier: Apache-2.0 */
/* Large copies between the host's pageable memory and a device's own: chunks through pinned memory,
 * a thread's by thread's, so that the host's copying and the transfers overlap. */
#include "engine/device/staged_copy.h"

#include "core/checked.h"
#include "core/error.h"
#include <string.h>

#define CHUNK_BYTES (UINT64_C(4) << 20)
#define LEAST_BYTES (4 * CHUNK_BYTES)

typedef struct staged_copy {
    lt_backend *backend;
    const lt_buffer *buffer;
    uint64_t offset;
    uint8_t *to_host;         /* a download */
    const uint8_t *from_host; /* an upload */
    uint64_t n_bytes;
    atomic_uint_fast64_t next; /* chunk that nobody has taken */
    atomic_flag has_error;
    atomic_bool has_failed;
    lathe_error error; /* of the first thread that failed */
} staged_copy;

bool lt_staged_copy_suits(const lt_backend *backend, uint64_t n_bytes) {
    bool has_own_memory = backend->is_remote && backend->staged_cost > 1;
    return has_own_memory && n_bytes >= LEAST_BYTES;
}

/* Bytes [at, at + n_bytes), through the memory at `staging`, or directly. */
static lathe_status copy_chunk(const staged_copy *c, lt_queue *queue, uint8_t *staging, uint64_t at,
                               uint64_t n_bytes) {
    const lt_backend_ops *ops = c->backend->ops;
    lathe_status status;
    if (c->from_host != NULL) {
        memcpy(staging, c->from_host + at, (size_t)n_bytes);
        status = ops->upload(c->backend, queue, c->buffer, c->offset + at, staging, n_bytes);
        return status == LATHE_OK ? ops->finish(c->backend, queue) : status;
    }
    status = ops->download(c->backend, queue, c->buffer, c->offset + at, staging, n_bytes);
    if (status == LATHE_OK) {
        status = ops->finish(c->backend, queue);
    }
    if (status == LATHE_OK) {
        memcpy(c->to_host + at, staging, (size_t)n_bytes);
    }
    return status;
}

static void record(staged_copy *c) {
    if (!atomic_flag_test_and_set(&c->has_error)) {
        c->error = *lt_error();
    }
    atomic_store(&c->has_failed, true);
}

/* Copies chunks as long as there are any. Who gets no pinned memory leaves them to the others. */
static void copy_task(void *ctx, size_t i) {
    staged_copy *c = ctx;
    const lt_backend_ops *ops = c->backend->ops;
    lt_buffer staging = {0};
    lt_queue *queue = NULL;
    (void)i;
    if (ops->buffer_create(c->backend, LT_MEMORY_PINNED, CHUNK_BYTES, &staging) != LATHE_OK ||
        ops->queue_open(c->backend, &queue) != LATHE_OK) {
        ops->buffer_destroy(c->backend, &staging);
        return;
    }
    while (!atomic_load(&c->has_failed)) {
        uint64_t at = atomic_fetch_add(&c->next, 1) * CHUNK_BYTES;
        if (at >= c->n_bytes) {
            break;
        }
        uint64_t n_bytes = lt_min(CHUNK_BYTES, c->n_bytes - at);
        if (copy_chunk(c, queue, staging.host, at, n_bytes) != LATHE_OK) {
            record(c);
        }
    }
    ops->queue_close(c->backend, queue);
    ops->buffer_destroy(c->backend, &staging);
}

lathe_status lt_transfer(lt_backend *backend, const lt_buffer *buffer, uint64_t offset,
                         const void *from, void *to, uint64_t n_bytes) {
    lt_queue *queue = NULL;
    lathe_status status = backend->ops->queue_open(backend, &queue);
    if (status != LATHE_OK) {
        return status;
    }
    status = from != NULL ? backend->ops->upload(backend, queue, buffer, offset, from, n_bytes)
                          : backend->ops->download(backend, queue, buffer, offset, to, n_bytes);
    if (status == LATHE_OK) {
        status = backend->ops->finish(backend, queue);
    }
    backend->ops->queue_close(backend, queue);
    return status;
}

static lathe_status run(staged_copy *c) {
    uint64_t n_chunks = lt_ceil_div(c->n_bytes, CHUNK_BYTES);
    atomic_init(&c->next, 0);
    atomic_init(&c->has_failed, false);
    atomic_flag_clear(&c->has_error);
    c->backend->ops->parallel_for(c->backend, (size_t)lt_min(n_chunks, c->backend->n_threads),
                                  copy_task, c);
    if (atomic_load(&c->has_failed)) {
        return lt_fail_with(&c->error);
    }
    if (atomic_load(&c->next) > 0) {
        return LATHE_OK;
    }
    /* There was no pinned memory. */
    return lt_transfer(c->backend, c->buffer, c->offset, c->from_host, c->to_host, c->n_bytes);
}

lathe_status lt_staged_upload(lt_backend *backend, const lt_buffer *buffer, uint64_t offset,
                              const void *host, uint64_t n_bytes) {
    staged_copy c = {.backend = backend,
                     .buffer = buffer,
                     .offset = offset,
                     .from_host = host,
                     .n_bytes = n_bytes};
    return run(&c);
}

lathe_status lt_staged_download(lt_backend *backend, const lt_buffer *buffer, uint64_t offset,
                                void *host, uint64_t n_bytes) {
    staged_copy c = {.backend = backend,
                     .buffer = buffer,
                     .offset = offset,
                     .to_host = host,
                     .n_bytes = n_bytes};
    return run(&c);
}
