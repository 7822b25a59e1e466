/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between the host and a buffer: through pinned staging where the device has its own memory,
 * and by real mappings, which copy nothing, where it shares the host's. */
#include "core/error.h"
#include "opencl/queue.h"
#include "opencl/release.h"

static lathe_status enqueue_write(lt_queue *queue, const lt_buffer *buffer, uint64_t offset,
                                  const void *host, uint64_t n_bytes) {
    cl_event event = NULL;
    cl_int error = clEnqueueWriteBuffer(queue->commands, buffer->device, CL_FALSE, (size_t)offset,
                                        (size_t)n_bytes, host, lt_cl_n_wait(queue),
                                        lt_cl_wait_list(queue), &event);
    lathe_status status = lt_cl_queue_chain(queue, "clEnqueueWriteBuffer", error, event);
    if (status == LATHE_OK) {
        lt_count(&queue->backend->counters->uploaded_bytes, n_bytes);
        status = lt_cl_queue_flush(queue);
    }
    return status;
}

static lathe_status enqueue_read(lt_queue *queue, const lt_buffer *buffer, uint64_t offset,
                                 void *host, uint64_t n_bytes) {
    cl_event event = NULL;
    cl_int error = clEnqueueReadBuffer(queue->commands, buffer->device, CL_FALSE, (size_t)offset,
                                       (size_t)n_bytes, host, lt_cl_n_wait(queue),
                                       lt_cl_wait_list(queue), &event);
    lathe_status status = lt_cl_queue_chain(queue, "clEnqueueReadBuffer", error, event);
    if (status == LATHE_OK) {
        lt_count(&queue->backend->counters->downloaded_bytes, n_bytes);
    }
    return status;
}

/* ---- memory that both share */

static cl_map_flags map_flags(lt_access access) {
    if ((access & LT_ACCESS_READ) == 0) {
        return CL_MAP_WRITE_INVALIDATE_REGION;
    }
    return (access & LT_ACCESS_WRITE) != 0 ? CL_MAP_READ | CL_MAP_WRITE : CL_MAP_READ;
}

static lathe_status map_shared(lt_queue *queue, const lt_buffer *buffer, uint64_t offset,
                               uint64_t n_bytes, lt_access access) {
    const char *name = queue->backend->device.info.name;
    if (queue->n_mappings == LT_CL_MAX_MAPPINGS) {
        lathe_status full = lt_fail(LATHE_DEVICE, "%s: too many mappings at once", name);
        return lt_cl_queue_give_up(queue, full);
    }
    cl_event event = NULL;
    cl_int error = CL_MAP_FAILURE;
    void *host = clEnqueueMapBuffer(queue->commands, buffer->device, CL_FALSE, map_flags(access),
                                    (size_t)offset, (size_t)n_bytes, lt_cl_n_wait(queue),
                                    lt_cl_wait_list(queue), &event, &error);
    lathe_status status = lt_cl_queue_chain(queue, "clEnqueueMapBuffer", error, event);
    if (status == LATHE_OK) {
        queue->mappings[queue->n_mappings++] = (lt_cl_mapping){buffer->device, host};
        status = lt_cl_queue_wait(queue);
    }
    if (status == LATHE_OK && host != (uint8_t *)buffer->host + offset) {
        status = lt_cl_queue_fail(queue, "clEnqueueMapBuffer", CL_MAP_FAILURE);
    }
    return status;
}

static lathe_status unmap_shared(lt_queue *queue, const lt_buffer *buffer, uint64_t offset) {
    void *host = (uint8_t *)buffer->host + offset;
    for (uint32_t i = 0; i < queue->n_mappings; i++) {
        lt_cl_mapping *mapping = &queue->mappings[i];
        if (mapping->memory != buffer->device || mapping->host != host) {
            continue;
        }
        cl_event event = NULL;
        cl_int error = clEnqueueUnmapMemObject(queue->commands, buffer->device, host,
                                               lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
        if (error == CL_SUCCESS) {
            *mapping = queue->mappings[--queue->n_mappings];
        }
        lathe_status status = lt_cl_queue_chain(queue, "clEnqueueUnmapMemObject", error, event);
        return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
    }
    return LATHE_OK;
}

/* ---- memory of the device's own */

static lathe_status map_staged(lt_queue *queue, const lt_buffer *buffer, uint64_t offset,
                               uint64_t n_bytes, lt_access access) {
    if ((access & LT_ACCESS_READ) == 0) {
        /* What an earlier transfer is still reading must not be overwritten. */
        return queue->is_uploading ? lt_cl_queue_wait(queue) : LATHE_OK;
    }
    lathe_status status =
        enqueue_read(queue, buffer, offset, (uint8_t *)buffer->host + offset, n_bytes);
    return status == LATHE_OK ? lt_cl_queue_wait(queue) : status;
}

/* ---- the backend's functions */

static bool is_shared(const lt_queue *queue) {
    return queue->backend->memory.shares_memory;
}

lathe_status lt_cl_map(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                       uint64_t offset, uint64_t n_bytes, lt_access access) {
    (void)backend;
    if (buffer->device == NULL || n_bytes == 0) {
        return LATHE_OK; /* the host's own, or nothing to see */
    }
    lathe_status status = lt_cl_queue_check(queue);
    if (status != LATHE_OK) {
        return status;
    }
    if (buffer->host == NULL) {
        status = lt_fail(LATHE_NOT_SUPPORTED, "a device buffer without staging cannot be mapped");
        return lt_cl_queue_give_up(queue, status);
    }
    return is_shared(queue) ? map_shared(queue, buffer, offset, n_bytes, access)
                            : map_staged(queue, buffer, offset, n_bytes, access);
}

lathe_status lt_cl_unmap(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                         uint64_t offset, uint64_t n_bytes, lt_access access) {
    (void)backend;
    if (buffer->device == NULL || buffer->host == NULL || n_bytes == 0) {
        return LATHE_OK;
    }
    lathe_status status = lt_cl_queue_check(queue);
    if (status != LATHE_OK) {
        return status;
    }
    if (is_shared(queue)) {
        return unmap_shared(queue, buffer, offset);
    }
    if ((access & LT_ACCESS_WRITE) == 0) {
        return LATHE_OK;
    }
    queue->is_uploading = true;
    return enqueue_write(queue, buffer, offset, (uint8_t *)buffer->host + offset, n_bytes);
}

lathe_status lt_cl_upload(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                          uint64_t offset, const void *host, uint64_t n_bytes) {
    (void)backend;
    lathe_status status = lt_cl_queue_check(queue);
    return status == LATHE_OK && n_bytes > 0 ? enqueue_write(queue, buffer, offset, host, n_bytes)
                                             : status;
}

lathe_status lt_cl_download(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                            uint64_t offset, void *host, uint64_t n_bytes) {
    (void)backend;
    lathe_status status = lt_cl_queue_check(queue);
    return status == LATHE_OK && n_bytes > 0 ? enqueue_read(queue, buffer, offset, host, n_bytes)
                                             : status;
}

lathe_status lt_cl_copy(lt_backend *backend, lt_queue *queue, const lt_buffer *from,
                        uint64_t from_offset, const lt_buffer *to, uint64_t to_offset,
                        uint64_t n_bytes) {
    (void)backend;
    lathe_status status = lt_cl_queue_check(queue);
    if (status != LATHE_OK || n_bytes == 0) {
        return status;
    }
    cl_event event = NULL;
    cl_int error = clEnqueueCopyBuffer(queue->commands, from->device, to->device,
                                       (size_t)from_offset, (size_t)to_offset, (size_t)n_bytes,
                                       lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    /* Not flushed: after a failure nothing has been copied. */
    return lt_cl_queue_chain(queue, "clEnqueueCopyBuffer", error, event);
}
