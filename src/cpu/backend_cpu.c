/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU as a backend. Its work is done by the time submit returns. */
#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "cpu/cpu.h"
#include "pool/pool.h"
#include <stdio.h>
#include <unistd.h>

/* 1 MiB of F32: large enough that a range's start costs nothing, small enough to balance threads.
 */
enum { ELEMS_PER_RANGE = 256 * 1024 };

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
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    *info = (lathe_device_info){
        .struct_size = sizeof *info,
        .kind = "cpu",
        .isa = cpu->kernels.isa,
        .threads = cpu->threads.n_threads,
        .memory_bytes = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0,
        .l1d_bytes = cpu->features.l1d_bytes,
        .l2_bytes = cpu->features.l2_bytes,
        .l3_bytes = cpu->features.l3_bytes,
        .shares_host_memory = 1,
    };
    (void)snprintf(info->name, sizeof info->name, "%s", cpu->features.name);
}

static lathe_status buffer_create(lt_backend *backend, uint64_t n_bytes, lt_buffer *buffer) {
    lt_buffer made = {.n_bytes = n_bytes, .is_owned = true};
    if (n_bytes > SIZE_MAX) {
        return lt_fail(LATHE_SIZE_OVERFLOW, "a buffer exceeds memory's address range");
    }
    lathe_status status = lathe_pool_alloc(cpu_of(backend)->pool, (size_t)n_bytes, &made.handle);
    if (status == LATHE_OK) {
        *buffer = made;
    }
    return status;
}

static lathe_status buffer_wrap(lt_backend *backend, void *host, uint64_t n_bytes,
                                lt_buffer *buffer) {
    (void)backend;
    *buffer = (lt_buffer){.handle = host, .n_bytes = n_bytes};
    return LATHE_OK;
}

static void buffer_destroy(lt_backend *backend, lt_buffer *buffer) {
    if (buffer->is_owned) {
        lt_pool_delete(cpu_of(backend)->pool, buffer->handle);
    }
    *buffer = (lt_buffer){0};
}

static lathe_status map(lt_backend *backend, const lt_buffer *buffer, uint64_t offset,
                        uint64_t n_bytes, lt_access access, void **host) {
    (void)backend;
    (void)n_bytes;
    (void)access;
    *host = (uint8_t *)buffer->handle + offset;
    return LATHE_OK;
}

static void unmap(lt_backend *backend, const lt_buffer *buffer, void *host) {
    (void)backend;
    (void)buffer;
    (void)host;
}

static void parallel_for(lt_backend *backend, size_t n_tasks, void (*task)(void *ctx, size_t i),
                         void *ctx) {
    lt_threads_run(&cpu_of(backend)->threads, n_tasks, task, ctx);
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
    lt_cpu_stats_tiles(s->cpu, s->work, s->work->first_tile + first, count);
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

static lathe_status submit_convert(lt_backend *backend, const lt_work *work, lt_event **event) {
    const lt_cpu_backend *cpu = cpu_of(backend);
    spread s = {.cpu = cpu, .work = work};
    run(cpu, work, work->n_ranges, convert_task, &s);
    *event = NULL;
    return LATHE_OK;
}

static lathe_status submit_stats(lt_backend *backend, const lt_work *work, lt_event **event) {
    const lt_cpu_backend *cpu = cpu_of(backend);
    spread s = {.cpu = cpu, .work = work, .tiles_per_task = ELEMS_PER_RANGE / LATHE_STAT_TILE};
    run(cpu, work, lt_ceil_div(work->n_tiles, s.tiles_per_task), stats_task, &s);
    *event = NULL;
    return LATHE_OK;
}

static lathe_status wait(lt_backend *backend, lt_event *event) {
    (void)backend;
    (void)event; /* always NULL */
    return LATHE_OK;
}

static const lt_backend_ops cpu_ops = {
    .destroy = destroy,
    .describe = describe,
    .buffer_create = buffer_create,
    .buffer_wrap = buffer_wrap,
    .buffer_destroy = buffer_destroy,
    .map = map,
    .unmap = unmap,
    .submit_stats = submit_stats,
    .submit_convert = submit_convert,
    .wait = wait,
    .parallel_for = parallel_for,
};

/* Data that does not fit in half of the last cache gains from going around it (measured: on Zen 4
 * from 24 MiB of 32); a last cache that many cores share is as slow as memory long before that. */
static uint64_t cache_bytes(const lt_cpu_features *features) {
    return features->l3_bytes == 0 ? features->l2_bytes
                                   : lt_min(features->l3_bytes / 2, 16 * features->l2_bytes);
}

lathe_status lt_cpu_backend_create(const lathe_config *config, lathe_pool *pool,
                                   lt_backend **backend) {
    lt_cpu_features features;
    lt_cpu_features_detect(&features);
    lathe_isa best = lt_cpu_best_isa(&features);
    if (config->isa > best) {
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
        .n_threads = cpu->threads.n_threads,
        .cache_bytes = cache_bytes(&features),
        .elems_per_range = ELEMS_PER_RANGE,
    };
    *backend = &cpu->base;
    return LATHE_OK;
}
