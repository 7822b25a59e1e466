/* SPDX-License-Identifier: Apache-2.0 */
/* Many small tensors in one launch: a table in the device's memory describes them. */
#include "opencl/batch.h"

#include "core/checked.h"
#include "opencl/family.h"
#include "opencl/launch_stats.h"
#include "opencl/reports.h"
#include <string.h>

/* Of each array of a table. */
enum { TABLE_ALIGNMENT = 128 };

_Static_assert(LATHE_CL_HOMES == LT_MANY_HOMES, "the batch kernel has parameters for as many");

/* The offsets of words that kernels load at once are alike modulo this in all tensors that share a
 * lathe_launch. */
enum { WORD_ALIGNMENT = 16 };

/* Where a table's arrays begin, in bytes: reports come first. */
typedef struct table_map {
    uint64_t launches;
    uint64_t entries;
    uint64_t owners;
    uint64_t scales; /* that are known */
    uint64_t n_bytes;
    uint64_t n_groups;
    uint64_t n_tiles; /* stats */
} table_map;

/* ---- the table */

/* True if a launch that was made for one work serves the other, offsets apart. */
static bool same_launch(const lt_work *a, const lt_work *b) {
    return a->pass == b->pass &&
           a->src.data_offset % WORD_ALIGNMENT == b->src.data_offset % WORD_ALIGNMENT &&
           a->dst.data_offset % WORD_ALIGNMENT == b->dst.data_offset % WORD_ALIGNMENT;
}

static cl_mem scales_of(const lt_span *span) {
    return span->scales != NULL ? span->scales->device : NULL;
}

/* True if two works' tensors lie in the same buffers. */
static bool same_home(const lt_work *a, const lt_work *b) {
    return a->src.data->device == b->src.data->device &&
           a->dst.data->device == b->dst.data->device && scales_of(&a->src) == scales_of(&b->src) &&
           scales_of(&a->dst) == scales_of(&b->dst);
}

static bool is_of_stats(const lt_work *work) {
    return work->stats != NULL;
}

static lt_cl_launch launch_of(const lt_queue *queue, const lt_work *work) {
    const uint32_t group_size = queue->backend->device.group_size;
    if (is_of_stats(work)) { /* all by the stats kernel */
        lt_cl_launch launch = lt_cl_launch_stats(work, group_size);
        launch.n_groups = lt_ceil_div(work->n_tiles,
                                      group_size / LATHE_CL_TILE_ITEMS((int)work->pass->src.dtype));
        return launch;
    }
    const lt_range range = lt_ranges_at(work->ranges, work->first_range);
    return lt_cl_launch_blocks(work, &range);
}

static uint64_t n_known_scales(const lt_work *work) {
    return work->scales != NULL ? work->pass->dst.n_scales : 0;
}

static uint64_t aligned(uint64_t offset) {
    return lt_ceil_div(offset, TABLE_ALIGNMENT) * TABLE_ALIGNMENT;
}

static table_map map_table(const lt_queue *queue, const lt_work *works, size_t n_works) {
    table_map map = {0};
    uint64_t n_launches = 0;
    uint64_t n_scales = 0;
    lt_cl_launch launch = {0};
    for (size_t i = 0; i < n_works; i++) {
        if (i == 0 || !same_launch(&works[i - 1], &works[i])) {
            launch = launch_of(queue, &works[i]);
            n_launches++;
        }
        map.n_groups += launch.n_groups;
        map.n_tiles += is_of_stats(&works[i]) ? works[i].n_tiles : 0;
        n_scales += n_known_scales(&works[i]);
    }
    map.launches = aligned(n_works * LATHE_CL_REPORT_WORDS * sizeof(uint32_t));
    map.entries = map.launches + aligned(n_launches * sizeof(lathe_launch));
    map.owners = map.entries + aligned(n_works * sizeof(lathe_entry));
    map.scales = map.owners + aligned(map.n_groups * sizeof(uint32_t));
    map.n_bytes = map.scales + aligned(n_scales * sizeof(float));
    return map;
}

/* Entry `entry` of a work whose launch was made for the work `like`. */
static lathe_entry entry_of(const lt_work *work, const lt_work *like) {
    return (lathe_entry){
        .src_data = work->src.data_offset - like->src.data_offset,
        .src_scales = work->src.scale_offset - like->src.scale_offset,
        .dst_data = work->dst.data_offset - like->dst.data_offset,
        .dst_scales = work->dst.scale_offset - like->dst.scale_offset,
    };
}

static void fill_table(const lt_queue *queue, const table_map *map, const lt_work *works,
                       size_t n_works) {
    uint8_t *table = queue->table_host.host;
    uint32_t *reports = (uint32_t *)(void *)table;
    lathe_launch *launches = (lathe_launch *)(void *)(table + map->launches);
    lathe_entry *entries = (lathe_entry *)(void *)(table + map->entries);
    uint32_t *owners = (uint32_t *)(void *)(table + map->owners);
    float *scales = (float *)(void *)(table + map->scales);
    const lt_work *like = NULL;
    lt_cl_launch launch = {0};
    uint64_t n_launches = 0;
    uint64_t n_groups = 0;
    uint64_t home = 0;
    uint64_t n_scales = 0;
    uint64_t n_tiles = 0;
    for (size_t i = 0; i < n_works; i++) {
        home += i > 0 && !same_home(&works[i - 1], &works[i]) ? 1 : 0;
        if (i == 0 || !same_launch(&works[i - 1], &works[i])) {
            like = &works[i];
            launch = launch_of(queue, like);
            launches[n_launches++] = launch.args;
        }
        entries[i] = entry_of(&works[i], like);
        entries[i].launch = n_launches - 1;
        entries[i].home = home;
        entries[i].first_group = n_groups;
        entries[i].known = n_scales;
        entries[i].n_known = n_known_scales(&works[i]);
        if (entries[i].n_known > 0) {
            memcpy(scales + n_scales, works[i].scales, (size_t)entries[i].n_known * sizeof *scales);
            n_scales += entries[i].n_known;
        }
        if (is_of_stats(&works[i])) {
            entries[i].dst_scales = n_tiles;
            n_tiles += works[i].n_tiles;
        }
        for (uint64_t k = 0; k < launch.n_groups; k++) {
            owners[n_groups++] = (uint32_t)i;
        }
        reports[LATHE_CL_REPORT_WORDS * i] = LATHE_CL_NO_FAULT;
        reports[LATHE_CL_REPORT_WORDS * i + 1] = 0;
    }
}

/* Makes room for a table, on the device and where the host writes it. */
static lathe_status prepare(lt_queue *queue, uint64_t n_bytes) {
    lt_cl_memory *memory = &queue->backend->memory;
    if (queue->table.n_bytes >= n_bytes) {
        return LATHE_OK;
    }
    lt_cl_buffer_destroy(memory, &queue->table);
    lt_cl_buffer_destroy(memory, &queue->table_host);
    lathe_status status =
        lt_cl_buffer_create(memory, LT_MEMORY_PINNED, n_bytes, &queue->table_host);
    if (status == LATHE_OK) {
        status = lt_cl_buffer_create(memory, LT_MEMORY_DEVICE, n_bytes, &queue->table);
    }
    return status == LATHE_OK ? LATHE_OK : lt_cl_queue_give_up(queue, status);
}

/* ---- the launch */

static cl_int set_args(cl_kernel kernel, const lt_queue *queue, const lt_work *works,
                       size_t n_works, const table_map *map) {
    const cl_mem tables[] = {queue->table.device /* the reports, which it begins with */,
                             queue->table.device};
    const cl_ulong places[] = {map->launches, map->entries, map->owners};
    const lt_work *end = works + n_works;
    const lt_work *home = works;
    cl_int error = CL_SUCCESS;
    cl_uint at = 0;
    for (uint32_t i = 0; i < LATHE_CL_HOMES; i++) { /* NULL where there are fewer */
        cl_mem buffers[4] = {NULL};
        if (home < end) {
            buffers[0] = home->src.data->device;
            buffers[1] = scales_of(&home->src);
            buffers[2] = home->dst.data->device;
            buffers[3] = scales_of(&home->dst);
        }
        for (size_t k = 0; error == CL_SUCCESS && k < sizeof buffers / sizeof buffers[0]; k++) {
            error = clSetKernelArg(kernel, at++, sizeof buffers[k], &buffers[k]);
        }
        const lt_work *here = home;
        while (home < end && same_home(here, home)) {
            home++;
        }
    }
    for (size_t i = 0; error == CL_SUCCESS && i < sizeof tables / sizeof tables[0]; i++) {
        error = clSetKernelArg(kernel, at++, sizeof tables[i], &tables[i]);
    }
    for (size_t i = 0; error == CL_SUCCESS && i < sizeof places / sizeof places[0]; i++) {
        error = clSetKernelArg(kernel, at++, sizeof places[i], &places[i]);
    }
    if (error != CL_SUCCESS) {
        return error;
    }
    return is_of_stats(works)
               ? clSetKernelArg(kernel, at, sizeof queue->stats.device, &queue->stats.device)
               : clSetKernelArg(kernel, at, sizeof map->scales, &map->scales);
}

static lathe_status launch_table(lt_queue *queue, const lt_work *works, size_t n_works,
                                 const table_map *map) {
    lt_cl_program *program = NULL;
    cl_kernel kernel = NULL;
    lathe_status status = lt_cl_family_program(queue, LT_CL_FAMILY_MANY, works, &program);
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    status = lt_cl_family_kernel(queue, LT_CL_FAMILY_MANY, is_of_stats(works) ? 1 : 0, works,
                                 program, &kernel);
    if (status != LATHE_OK) {
        return status;
    }
    cl_int error = set_args(kernel, queue, works, n_works, map);
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    size_t local = queue->backend->device.group_size;
    size_t global = (size_t)map->n_groups * local;
    cl_event event = NULL;
    error = clEnqueueNDRangeKernel(queue->commands, kernel, 1, NULL, &global, &local,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status == LATHE_OK) {
        lt_count(&queue->backend->counters->n_launches, 1);
    }
    return status;
}

lathe_status lt_cl_submit_many(lt_backend *backend, lt_queue *queue, const lt_work *works,
                               size_t n_works) {
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK && queue->n_many > 0) {
        status = lt_cl_finish(backend, queue);
    }
    if (status != LATHE_OK || n_works == 0) {
        return status;
    }
    const table_map map = map_table(queue, works, n_works);
    status = prepare(queue, map.n_bytes);
    if (status == LATHE_OK && map.n_tiles > 0) {
        status = lt_cl_prepare_stats(queue, map.n_tiles, map.n_tiles);
    }
    if (status == LATHE_OK) {
        fill_table(queue, &map, works, n_works);
        status =
            lt_cl_upload(backend, queue, &queue->table, 0, queue->table_host.host, map.n_bytes);
    }
    if (status == LATHE_OK) {
        status = launch_table(queue, works, n_works, &map);
    }
    if (status == LATHE_OK && map.n_tiles > 0) {
        status = lt_cl_expect_stats(queue, works[0].stats, map.n_tiles);
    }
    if (status != LATHE_OK) {
        return status;
    }
    queue->many = works;
    queue->n_many = n_works;
    return lt_cl_queue_flush(queue);
}
