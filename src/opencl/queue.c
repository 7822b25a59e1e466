/* SPDX-License-Identifier: Apache-2.0 */
/* Queues: made once, used again, and never left with something running after a failure. */
#include "opencl/queue.h"

#include "core/error.h"
#include "opencl/chain_kernel.h"
#include "opencl/release.h"

/* More queues than this are not kept: each holds a driver's resources. */
enum { MAX_IDLE = 16 };

/* A queue that is idle keeps up to so many bytes for launches in place, whose words need not be set
 * to 0 again. */
enum { KEPT_TURNS_BYTES = 256 * 1024 };

enum { REPORT_BYTES = LT_CL_REPORTS_WORDS * (int)sizeof(uint32_t) };

/* ---- commands */

static void release_last(lt_queue *queue) {
    lt_cl_release_event(queue->last);
    queue->last = NULL;
}

static void forget(lt_queue *queue) {
    queue->is_dirty = queue->is_dirty || queue->n_launches > 0;
    queue->is_uploading = false;
    queue->n_launches = 0;
    queue->n_stats = 0;
    queue->n_stats_floats = 0;
    queue->sum = NULL;
    queue->n_many = 0;
    queue->measured.outcome = NULL;
}

/* Waits as well as it can be done. Events of commands that were terminated are complete, too. A
 * driver was seen to return from clFinish while commands flushed before were running (mesa 22.3).
 */
static void settle(const lt_queue *queue) {
    lt_cl_finish_queue(queue->commands);
    for (int i = 0; queue->last != NULL && i < LT_CL_TRIES; i++) {
        if (clWaitForEvents(1, &queue->last) == CL_SUCCESS) {
            break;
        }
    }
}

/* Whether all commands have been done. Nothing runs. Each has waited for the one before it. */
static bool are_done(const lt_queue *queue) {
    cl_int state = CL_COMPLETE;
    cl_int error = queue->last == NULL
                       ? CL_SUCCESS
                       : clGetEventInfo(queue->last, CL_EVENT_COMMAND_EXECUTION_STATUS,
                                        sizeof state, &state, NULL);
    return error == CL_SUCCESS && state == CL_COMPLETE;
}

bool lt_cl_is_complete(lt_backend *backend, const lt_queue *queue) {
    (void)backend;
    return queue == NULL || queue->is_complete;
}

/* Ends mappings that nobody will end any more. Nothing runs. */
static void unmap_all(lt_queue *queue) {
    while (queue->n_mappings > 0) {
        const lt_cl_mapping *mapping = &queue->mappings[--queue->n_mappings];
        for (int i = 0; i < LT_CL_TRIES; i++) {
            cl_event event = NULL;
            if (clEnqueueUnmapMemObject(queue->commands, mapping->memory, mapping->host, 0, NULL,
                                        &event) == CL_SUCCESS) {
                release_last(queue);
                queue->last = event;
                settle(queue);
                break;
            }
        }
    }
}

lathe_status lt_cl_queue_fail(lt_queue *queue, const char *function, cl_int error) {
    lt_count(&queue->backend->counters->n_device_errors, 1);
    settle(queue);
    queue->is_complete = are_done(queue);
    unmap_all(queue);
    release_last(queue);
    forget(queue);
    queue->is_broken = true;
    return lt_cl_fail(&queue->backend->device, function, error);
}

lathe_status lt_cl_queue_give_up(lt_queue *queue, lathe_status status) {
    const lathe_error error = *lt_error();
    if (lt_cl_queue_wait(queue) == LATHE_OK) {
        queue->is_complete = true;
    }
    forget(queue);
    *lt_error() = error;
    return status;
}

lathe_status lt_cl_queue_check(const lt_queue *queue) {
    return !queue->is_broken ? LATHE_OK
                             : lt_fail(LATHE_DEVICE, "%s: an earlier command has failed",
                                       queue->backend->device.info.name);
}

lathe_status lt_cl_queue_chain(lt_queue *queue, const char *function, cl_int error,
                               cl_event event) {
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, function, error);
    }
    release_last(queue);
    queue->last = event;
    return LATHE_OK;
}

lathe_status lt_cl_queue_flush(lt_queue *queue) {
    cl_int error = clFlush(queue->commands);
    return error == CL_SUCCESS ? LATHE_OK : lt_cl_queue_fail(queue, "clFlush", error);
}

lathe_status lt_cl_queue_wait(lt_queue *queue) {
    if (queue->last != NULL) {
        cl_int error = clWaitForEvents(1, &queue->last);
        if (error != CL_SUCCESS) {
            return lt_cl_queue_fail(queue, "clWaitForEvents", error);
        }
        release_last(queue);
    }
    queue->is_uploading = false;
    return LATHE_OK;
}

/* ---- queues */

/* Frees what works have needed, which the pool keeps for whoever is next, but for what is worth
 * keeping here. Nothing is in the queue. */
static void drop_buffers(lt_queue *queue) {
    lt_buffer *const buffers[] = {
        &queue->stats,       &queue->stats_landing,  &queue->table,
        &queue->table_host,  &queue->search.counts,  &queue->search.states,
        &queue->search.sums, &queue->measured.words, &queue->measured.landing,
    };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        lt_cl_buffer_destroy(&queue->backend->memory, buffers[i]);
    }
    if (queue->turns.n_bytes > KEPT_TURNS_BYTES) {
        lt_cl_buffer_destroy(&queue->backend->memory, &queue->turns);
    }
}

static void destroy_queue(lt_queue *queue) {
    lt_cl_backend *backend = queue->backend;
    for (size_t src = 0; src < LT_CL_DTYPES; src++) {
        for (size_t dst = 0; dst < LT_CL_DTYPES; dst++) {
            for (size_t kernel = 0; kernel < LT_CL_ALL_KERNELS; kernel++) {
                lt_cl_release_kernel(queue->kernels[src][dst][kernel]);
            }
        }
    }
    lt_cl_drop_rounded(queue);
    drop_buffers(queue);
    lt_cl_buffer_destroy(&backend->memory, &queue->turns);
    lt_cl_buffer_destroy(&backend->memory, &queue->reports);
    lt_cl_buffer_destroy(&backend->memory, &queue->reports_landing);
    lt_cl_release_queue(queue->commands);
    lt_pool_delete(backend->pool, queue);
}

static lathe_status make_queue(lt_cl_backend *backend, lt_queue **queue) {
    lt_queue *made = lt_pool_new(backend->pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->backend = backend;
    made->is_dirty = true;
    cl_int error = CL_OUT_OF_HOST_MEMORY;
    made->commands = clCreateCommandQueue(backend->device.context, backend->device.id, 0, &error);
    lathe_status status =
        error == CL_SUCCESS ? LATHE_OK : lt_cl_queue_fail(made, "clCreateCommandQueue", error);
    if (status == LATHE_OK) {
        status =
            lt_cl_buffer_create(&backend->memory, LT_MEMORY_DEVICE, REPORT_BYTES, &made->reports);
    }
    if (status == LATHE_OK) {
        status = lt_cl_buffer_create(&backend->memory, LT_MEMORY_PINNED, REPORT_BYTES,
                                     &made->reports_landing);
    }
    if (status != LATHE_OK) {
        destroy_queue(made);
        return status;
    }
    *queue = made;
    return LATHE_OK;
}

lathe_status lt_cl_queue_open(lt_backend *base, lt_queue **queue) {
    lt_cl_backend *backend = lt_cl_of(base);
    (void)pthread_mutex_lock(&backend->mutex);
    lt_queue *found = backend->idle;
    if (found != NULL) {
        backend->idle = found->next;
        backend->n_idle--;
    }
    (void)pthread_mutex_unlock(&backend->mutex);
    if (found == NULL) {
        return make_queue(backend, queue);
    }
    *queue = found;
    return LATHE_OK;
}

/* Back to a queue as make_queue makes it. */
static void clean(lt_queue *queue) {
    if (queue->n_mappings > 0) {
        settle(queue);
        unmap_all(queue);
    }
    (void)lt_cl_queue_wait(queue);
    forget(queue);
    drop_buffers(queue);
}

void lt_cl_queue_close(lt_backend *base, lt_queue *queue) {
    lt_cl_backend *backend = lt_cl_of(base);
    if (queue == NULL) {
        return;
    }
    clean(queue);
    bool keep = !queue->is_broken;
    (void)pthread_mutex_lock(&backend->mutex);
    if (keep && backend->n_idle < MAX_IDLE) {
        queue->next = backend->idle;
        backend->idle = queue;
        backend->n_idle++;
        queue = NULL;
    }
    (void)pthread_mutex_unlock(&backend->mutex);
    if (queue != NULL) {
        destroy_queue(queue);
    }
}

void lt_cl_queues_destroy(lt_cl_backend *backend) {
    while (backend->idle != NULL) {
        lt_queue *queue = backend->idle;
        backend->idle = queue->next;
        destroy_queue(queue);
    }
    backend->n_idle = 0;
}
