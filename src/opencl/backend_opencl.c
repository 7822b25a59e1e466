/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenCL backend: its parts put together. */
#include "core/checked.h"
#include "core/error.h"
#include "cpu/cpu.h"
#include "opencl/batch.h"
#include "opencl/chain_kernel.h"
#include "opencl/family.h"
#include "opencl/in_place.h"
#include "opencl/reports.h"
#include "opencl/rows.h"
#include "opencl/search.h"
#include <string.h>

/* With three slots an upload, a kernel and a download run at once; each slot needs a thread that
 * waits, and one more copies. */
enum { MIN_SLOTS = 3, MAX_SLOTS = 8, MIN_THREADS = 4 };

/* Both sides of a streamed chunk: transfers of some megabytes reach a bus's full rate; what the
 * host's own cores convert should stay in their cache. */
#define REMOTE_CHUNK_BYTES (UINT64_C(24) << 20)
#define SHARED_CHUNK_BYTES (UINT64_C(4) << 20)

/* So many tiles take a fast device longer than the host needs to start it and to fold the last
 * ones: 2 GiB of F32, 512 KiB of statistics. */
enum { STATS_WINDOW = 128 * 1024 };

/* A queue's own struct, its reports and the statistics of chunks, on the device and where they
 * land: what it takes from the budget while streaming. */
enum { QUEUE_BYTES = 64 * 1024 };

/* What the largest buffer has besides a slot's bytes. */
enum { BUFFER_MARGIN = 4096 };

static void destroy(lt_backend *base) {
    lt_cl_backend *backend = lt_cl_of(base);
    lt_cl_queues_destroy(backend);
    lt_cl_chains_destroy(backend);
    lt_cl_families_destroy(backend);
    lt_cl_memory_destroy(&backend->memory);
    lt_cl_device_close(&backend->device);
    if (backend->has_threads) {
        lt_threads_destroy(&backend->threads);
    }
    lt_backend_release(backend->host);
    (void)pthread_mutex_destroy(&backend->base.bins.mutex);
    (void)pthread_cond_destroy(&backend->checked);
    (void)pthread_mutex_destroy(&backend->mutex);
    lt_pool_delete(backend->pool, backend);
}

/* What the pairs that have been checked say together. */
static lathe_self_check self_check(const lt_cl_backend *backend) {
    lathe_self_check result = LATHE_CHECK_NONE;
    for (size_t src = 0; src < LT_CL_DTYPES; src++) {
        for (size_t dst = 0; dst < LT_CL_DTYPES; dst++) {
            lt_cl_trust trust = atomic_load(&lt_cl_pairs(backend)->programs.pairs[src][dst].trust);
            if (trust == LT_CL_WRONG) {
                return LATHE_CHECK_FAILED;
            }
            if (trust == LT_CL_TRUSTED) {
                result = LATHE_CHECK_PASSED;
            }
        }
    }
    return result;
}

static void describe(const lt_backend *base, lathe_device_info *info) {
    const lt_cl_backend *backend = (const lt_cl_backend *)base;
    size_t struct_size = info->struct_size;
    *info = backend->device.info;
    info->struct_size = struct_size;
    info->shares_host_memory = backend->memory.shares_memory;
    info->self_check = self_check(backend);
}

static lathe_status buffer_create(lt_backend *backend, lt_memory kind, uint64_t n_bytes,
                                  lt_buffer *buffer) {
    return lt_cl_buffer_create(&lt_cl_of(backend)->memory, kind, n_bytes, buffer);
}

static lathe_status buffer_wrap(lt_backend *backend, void *host, uint64_t n_bytes,
                                lt_buffer *buffer) {
    return lt_cl_buffer_wrap(&lt_cl_of(backend)->memory, host, n_bytes, buffer);
}

static void buffer_destroy(lt_backend *backend, lt_buffer *buffer) {
    lt_cl_buffer_destroy(&lt_cl_of(backend)->memory, buffer);
}

static void parallel_for(lt_backend *base, size_t n_tasks, void (*task)(void *ctx, size_t i),
                         void *ctx) {
    lt_cl_backend *backend = lt_cl_of(base);
    if (backend->has_threads) {
        lt_threads_run(&backend->threads, n_tasks, task, ctx);
    } else {
        backend->host->ops->parallel_for(backend->host, n_tasks, task, ctx);
    }
}

static bool takes_rows(const lt_backend *base, const lt_pass *pass) {
    return lt_cl_takes_rows(pass, &((const lt_cl_backend *)base)->device);
}

static const lt_backend_ops opencl_ops = {
    .destroy = destroy,
    .describe = describe,
    .queue_open = lt_cl_queue_open,
    .queue_close = lt_cl_queue_close,
    .self_check = lt_cl_self_check,
    .buffer_create = buffer_create,
    .buffer_wrap = buffer_wrap,
    .buffer_destroy = buffer_destroy,
    .map = lt_cl_map,
    .unmap = lt_cl_unmap,
    .upload = lt_cl_upload,
    .download = lt_cl_download,
    .copy = lt_cl_copy,
    .submit_stats = lt_cl_submit_stats,
    .submit_convert = lt_cl_submit_convert,
    .convert_rows = lt_cl_convert_rows,
    .takes_rows = takes_rows,
    .fetch_stats = lt_cl_fetch_stats,
    .submit_scales = lt_cl_submit_scales,
    .submit_many = lt_cl_submit_many,
    .submit_in_place = lt_cl_submit_in_place,
    .submit_chain_stats = lt_cl_submit_chain_stats,
    .submit_chain = lt_cl_submit_chain,
    .takes_chain = lt_cl_takes_chain,
    .finish = lt_cl_finish,
    .is_complete = lt_cl_is_complete,
    .parallel_for = parallel_for,
};

/* The caller's executor is asked for all parallel work; otherwise waiting for a device gets threads
 * apart from those that compute. */
static lathe_status init_threads(lt_cl_backend *backend, const lt_backend *host) {
    backend->has_threads = ((const lt_cpu_backend *)host)->threads.is_own;
    if (!backend->has_threads) {
        return LATHE_OK;
    }
    uint32_t n_threads = (uint32_t)lt_max(host->n_threads, MIN_THREADS);
    return lt_threads_init(&backend->threads, n_threads, NULL);
}

static void set_base(lt_cl_backend *backend) {
    bool shares = backend->memory.shares_memory;
    uint64_t n_slots = lt_max(MIN_SLOTS, lt_min(backend->host->n_threads, MAX_SLOTS));
    backend->base = (lt_backend){
        .ops = &opencl_ops,
        .counters = backend->counters,
        .n_threads = (uint32_t)n_slots,
        .cache_bytes = UINT64_MAX,
        .wide_cache_bytes = UINT64_MAX,
        .elems_per_range = LATHE_CL_MAX_ELEMS / LT_COLUMN_QUANTUM * LT_COLUMN_QUANTUM,
        .max_own_scope_elems = LATHE_CL_BLOCK_ELEMS,
        .max_chunk_scope_elems = LATHE_CL_BLOCK_ELEMS,
        .chunk_bytes = shares ? SHARED_CHUNK_BYTES : REMOTE_CHUNK_BYTES,
        .max_buffer_bytes = backend->device.max_alloc_bytes - BUFFER_MARGIN,
        .queue_bytes = QUEUE_BYTES,
        .stats_window = STATS_WINDOW,
        .staged_cost = shares ? 1 : 2,
        .is_remote = true,
    };
    atomic_init(&backend->base.n_references, 1);
    (void)pthread_mutex_init(&backend->base.bins.mutex, NULL);
}

/* Opens the device and what is needed around it. On failure nothing is left open. */
static lathe_status init_parts(lt_cl_backend *backend, const lt_cl_options_in *options) {
    lathe_status status = lt_cl_device_open(options->found, options->context, &backend->device);
    if (status != LATHE_OK) {
        bool has_failed = status == LATHE_DEVICE || status == LATHE_INSUFFICIENT_MEMORY;
        lt_count(&backend->counters->n_device_errors, has_failed ? 1 : 0);
        return status;
    }
    status = lt_cl_families_init(backend, options);
    if (status != LATHE_OK) {
        goto close_device;
    }
    status =
        lt_cl_memory_init(&backend->memory, &backend->device, backend->pool, backend->counters);
    if (status != LATHE_OK) {
        goto destroy_families;
    }
    if (options->pageable_staging) {
        lt_cl_memory_set_pageable(&backend->memory);
    }
    status = init_threads(backend, options->host);
    if (status == LATHE_OK) {
        return LATHE_OK;
    }
    lt_cl_memory_destroy(&backend->memory);
destroy_families:
    lt_cl_families_destroy(backend);
close_device:
    lt_cl_device_close(&backend->device);
    return status;
}

lathe_status lt_cl_backend_create(const lt_cl_options_in *options, lt_backend **backend) {
    lt_cl_backend *made = lt_pool_new(options->pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->pool = options->pool;
    made->counters = options->counters;
    made->check_chain = options->check_chain;
    made->check_rounded = options->check_rounded;
    made->check_ctx = options->check_ctx;
    lathe_status status = init_parts(made, options);
    if (status != LATHE_OK) {
        lt_pool_delete(options->pool, made);
        return status;
    }
    (void)pthread_mutex_init(&made->mutex, NULL); /* cannot fail with default attributes on Linux */
    (void)pthread_cond_init(&made->checked, NULL);
    made->host = lt_backend_retain(options->host);
    set_base(made);
    *backend = &made->base;
    return LATHE_OK;
}

const lt_cl_device *lt_cl_backend_device(const lt_backend *backend) {
    return &((const lt_cl_backend *)backend)->device;
}
