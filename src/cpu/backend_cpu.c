/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU as a backend. Its work is done by the time submit returns. */
#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "cpu/cpu.h"
#include "pool/pool.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 1 MiB of F32: large enough that a range's start costs nothing, small enough to balance threads.
 */
enum { ELEMS_PER_RANGE = 256 * 1024 };

/* Scopes up to this many elements (512 KiB of F32) stay in a core's cache between the statistics
 * and the codes, so that memory is read once. */
enum { MAX_OWN_SCOPE_ELEMS = 128 * 1024 };

/* Both sides of a streamed chunk: half of a common second-level cache. */
enum { CHUNK_BYTES = 768 * 1024 };

static lt_cpu_backend *cpu_of(lt_backend *backend) {
    return (lt_cpu_backend *)backend;
}

static void destroy(lt_backend *backend) {
    lt_cpu_backend *cpu = cpu_of(backend);
    lt_threads_destroy(&cpu->threads);
    lt_pool_delete(cpu->pool, cpu);
}

static void describe(const lt_backend *backend, lathe_device_info *info) {
    const lt_cpu_backend *cpu = (const lt_cpu_backend *)backend;
    lt_cpu_describe(&cpu->features, info);
    info->isa = cpu->kernels.isa;
    info->threads = cpu->threads.n_threads;
}

static lathe_status queue_open(lt_backend *backend, lt_queue **queue) {
    (void)backend;
    *queue = NULL;
    return LATHE_OK;
}

static void queue_close(lt_backend *backend, lt_queue *queue) {
    (void)backend;
    (void)queue;
}

static lathe_status self_check(lt_backend *backend, lathe_dtype src, lathe_dtype dst) {
    (void)backend;
    (void)src;
    (void)dst;
    return LATHE_OK;
}

static lathe_status buffer_create(lt_backend *backend, lt_memory kind, uint64_t n_bytes,
                                  lt_buffer *buffer) {
    (void)kind; /* all memory is the host's */
    lt_buffer made = {.n_bytes = n_bytes, .is_owned = true};
    if (n_bytes > SIZE_MAX) {
        return lt_fail(LATHE_SIZE_OVERFLOW, "a buffer exceeds memory's address range");
    }
    lathe_status status = lathe_pool_alloc(cpu_of(backend)->pool, (size_t)n_bytes, &made.host);
    if (status == LATHE_OK) {
        *buffer = made;
    }
    return status;
}

static lathe_status buffer_wrap(lt_backend *backend, void *host, uint64_t n_bytes,
                                lt_buffer *buffer) {
    (void)backend;
    *buffer = (lt_buffer){.host = host, .n_bytes = n_bytes};
    return LATHE_OK;
}

static void buffer_destroy(lt_backend *backend, lt_buffer *buffer) {
    if (buffer->is_owned) {
        lt_pool_delete(cpu_of(backend)->pool, buffer->host);
    }
    *buffer = (lt_buffer){0};
}

/* The host and the device are one: a mapping is there already. */
static lathe_status map(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                        uint64_t offset, uint64_t n_bytes, lt_access access) {
    (void)backend;
    (void)queue;
    (void)buffer;
    (void)offset;
    (void)n_bytes;
    (void)access;
    return LATHE_OK;
}

static lathe_status upload(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                           uint64_t offset, const void *host, uint64_t n_bytes) {
    (void)backend;
    (void)queue;
    memcpy((uint8_t *)buffer->host + offset, host, (size_t)n_bytes);
    return LATHE_OK;
}

static lathe_status download(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                             uint64_t offset, void *host, uint64_t n_bytes) {
    (void)backend;
    (void)queue;
    memcpy(host, (const uint8_t *)buffer->host + offset, (size_t)n_bytes);
    return LATHE_OK;
}

static void parallel_for(lt_backend *backend, size_t n_tasks, void (*task)(void *ctx, size_t i),
                         void *ctx) {
    lt_threads_run(&cpu_of(backend)->threads, n_tasks, task, ctx);
}

static lathe_status copy(lt_backend *backend, lt_queue *queue, const lt_buffer *from,
                         uint64_t from_offset, const lt_buffer *to, uint64_t to_offset,
                         uint64_t n_bytes) {
    const lt_kernels *kernels = &cpu_of(backend)->kernels;
    const uint8_t *src = (const uint8_t *)from->host + from_offset;
    if (from->n_bytes + to->n_bytes <= backend->cache_bytes) {
        return upload(backend, queue, to, to_offset, src, n_bytes);
    }
    kernels->copy(src, (uint8_t *)to->host + to_offset, (size_t)n_bytes, NULL);
    if (kernels->publish != NULL) {
        kernels->publish();
    }
    return LATHE_OK;
}

/* A work unit on its way to the threads. */
typedef struct spread {
    const lt_cpu_backend *cpu;
    const lt_work *work;
    uint64_t tiles_per_task;
} spread;

static void convert_task(void *ctx, size_t i) {
    const spread *s = ctx;
    lt_range range = lt_ranges_at(s->work->ranges, s->work->first_range + i);
    lt_cpu_convert_range(s->cpu, s->work, &range);
}

static void stats_task(void *ctx, size_t i) {
    const spread *s = ctx;
    uint64_t first = i * s->tiles_per_task;
    uint64_t count = lt_min(s->tiles_per_task, s->work->n_tiles - first);
    if (s->work->scan != NULL) {
        lt_cpu_scan_tiles(s->cpu, s->work, s->work->first_tile + first, count);
    } else {
        lt_cpu_stats_tiles(s->cpu, s->work, s->work->first_tile + first, count);
    }
}

static void run(const lt_cpu_backend *cpu, const lt_work *work, uint64_t n_tasks,
                void (*task)(void *ctx, size_t i), spread *s) {
    if (work->on_this_thread) {
        for (uint64_t i = 0; i < n_tasks; i++) {
            task(s, (size_t)i);
        }
    } else {
        lt_threads_run(&cpu->threads, (size_t)n_tasks, task, s);
    }
}

static lathe_status submit_convert(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    (void)queue;
    const lt_cpu_backend *cpu = cpu_of(backend);
    spread s = {.cpu = cpu, .work = work};
    run(cpu, work, work->n_ranges, convert_task, &s);
    return LATHE_OK;
}

static lathe_status submit_stats(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    (void)queue;
    const lt_cpu_backend *cpu = cpu_of(backend);
    /* Two tasks for each thread, but none that is over before a thread has woken for it. */
    const uint64_t least = 4;
    const uint64_t most = ELEMS_PER_RANGE / LATHE_STAT_TILE;
    uint64_t share = work->n_tiles / (2 * (uint64_t)cpu->threads.n_threads);
    spread s = {.cpu = cpu, .work = work, .tiles_per_task = lt_min(lt_max(share, least), most)};
    run(cpu, work, lt_ceil_div(work->n_tiles, s.tiles_per_task), stats_task, &s);
    return LATHE_OK;
}

static lathe_status submit_many(lt_backend *backend, lt_queue *queue, const lt_work *works,
                                size_t n_works) {
    (void)queue;
    lt_cpu_convert_works(cpu_of(backend), works, n_works);
    return LATHE_OK;
}

static lathe_status finish(lt_backend *backend, lt_queue *queue) {
    (void)backend;
    (void)queue;
    return LATHE_OK;
}

static bool is_complete(lt_backend *backend, const lt_queue *queue) {
    (void)backend;
    (void)queue;
    return true;
}

static const lt_backend_ops cpu_ops = {
    .destroy = destroy,
    .describe = describe,
    .queue_open = queue_open,
    .queue_close = queue_close,
    .self_check = self_check,
    .buffer_create = buffer_create,
    .buffer_wrap = buffer_wrap,
    .buffer_destroy = buffer_destroy,
    .map = map,
    .unmap = map,
    .upload = upload,
    .download = download,
    .copy = copy,
    .submit_stats = submit_stats,
    .submit_convert = submit_convert,
    .submit_many = submit_many,
    .submit_chain_stats = lt_cpu_submit_chain_stats,
    .submit_chain = lt_cpu_submit_chain,
    .finish = finish,
    .is_complete = is_complete,
    .parallel_for = parallel_for,
};

/* Data that does not fit in half of the last cache gains from going around it (measured: on Zen 4
 * from 24 MiB of 32); a last cache that many cores share is as slow as memory long before that. */
static uint64_t cache_bytes(const lt_cpu_features *features) {
    return features->l3_bytes == 0 ? features->l2_bytes
                                   : lt_min(features->l3_bytes / 2, 16 * features->l2_bytes);
}

/* Where most is written, keeping it pays for longer: what comes after finds it in the cache. */
static uint64_t wide_cache_bytes(const lt_cpu_features *features) {
    const uint64_t n_bytes = cache_bytes(features);
    return n_bytes == features->l3_bytes / 2 ? n_bytes / 2 * 3 : n_bytes;
}

lathe_status lt_cpu_backend_create(const lathe_config *config, lathe_pool *pool,
                                   lt_backend **backend) {
    lt_cpu_features features;
    lt_cpu_features_detect(&features);
    lathe_isa best = lt_cpu_best_isa(&features);
    if (config->isa != LATHE_ISA_AUTO && !lt_cpu_has_isa(&features, config->isa)) {
        return lt_fail(LATHE_NOT_SUPPORTED, "config isa: this CPU has no %s, only %s",
                       lathe_isa_name(config->isa), lathe_isa_name(best));
    }
    lt_cpu_backend *cpu = lt_pool_new(pool, sizeof *cpu);
    if (cpu == NULL) {
        return lt_error()->status;
    }
    cpu->pool = pool;
    cpu->features = features;
    lathe_status status = lt_threads_init(&cpu->threads, config->n_threads, config->executor);
    if (status != LATHE_OK) {
        lt_pool_delete(pool, cpu);
        return status;
    }
    lt_kernels_init(&cpu->kernels, config->isa == LATHE_ISA_AUTO ? best : config->isa, &features);
    cpu->base = (lt_backend){
        .ops = &cpu_ops,
        .counters = &cpu->counters,
        .n_threads = cpu->threads.n_threads,
        .cache_bytes = cache_bytes(&features),
        .wide_cache_bytes = wide_cache_bytes(&features),
        .elems_per_range = ELEMS_PER_RANGE,
        .max_own_scope_elems = MAX_OWN_SCOPE_ELEMS,
        .max_chunk_scope_elems = UINT64_MAX, /* a chunk is in the cache when it has been read */
        .chunk_bytes = CHUNK_BYTES,
        .max_buffer_bytes = UINT64_MAX,
        .stats_window = LT_STATS_WINDOW,
        .staged_cost = 1,
    };
    atomic_init(&cpu->base.n_references, 1);
    *backend = &cpu->base;
    return LATHE_OK;
}
