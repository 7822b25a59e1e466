/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE scales: launches over the scopes of a tensor, some of them at a time
 * (kernels/histogram.cl). */
#include "opencl/search.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/precise.h"
#include "lathe_search.h"
#include "opencl/family.h"
#include "opencl/launch_stats.h"
#include "opencl/reports.h"

/* Scopes whose histograms are in memory at once: 32 MiB of them. */
enum { MAX_SCOPES = 2048 };

/* A part of a scope has so many tiles at most, and a launch so many parts, if it has that many
 * tiles: enough for every part of a large device to have some. */
enum { PART_TILES = 16, GOOD_PARTS = 2048 };

/* The family's kernels, in the order of family.c. */
enum { FEW, WHOLE, COUNT, PARTS, FIT, CHOOSE };

/* A work-group searches a scope of so many tiles by itself: it reads it twice, the second time from
 * a cache. */
enum { WHOLE_TILES = 16 };

/* The search for some consecutive scopes. */
typedef struct search {
    lt_queue *queue;
    const lt_work *work;
    const lt_cl_program *program;
    const lt_tiling *tiling;
    lathe_launch launch;
    lathe_search args;
} search;

/* ---- launches */

static cl_mem source_scales(const lt_queue *queue, const lt_work *work) {
    return work->src.scales != NULL ? work->src.scales->device : queue->reports.device;
}

/* What a kernel is given: buffers, then the launch if it has one, the search, and local memory. */
typedef struct kernel_args {
    cl_mem buffers[5];
    cl_uint n_buffers;
    bool has_launch;
    size_t local_bytes; /* 0: none of this kind */
} kernel_args;

static cl_int set_args(cl_kernel kernel, const search *s, const kernel_args *args) {
    cl_uint i = 0;
    cl_int error = CL_SUCCESS;
    for (; error == CL_SUCCESS && i < args->n_buffers; i++) {
        error = clSetKernelArg(kernel, i, sizeof args->buffers[i], &args->buffers[i]);
    }
    if (error == CL_SUCCESS && args->has_launch) {
        error = clSetKernelArg(kernel, i++, sizeof s->launch, &s->launch);
    }
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(kernel, i++, sizeof s->args, &s->args);
    }
    return error == CL_SUCCESS && args->local_bytes > 0
               ? clSetKernelArg(kernel, i, args->local_bytes, NULL)
               : error;
}

/* Work-items of a kernel's group. */
static uint32_t group_items(const search *s, uint32_t which) {
    return which == FEW ? LATHE_CL_FEW_ITEMS : s->queue->backend->device.group_size;
}

static lathe_status enqueue(const search *s, uint32_t which, uint64_t n_groups,
                            const kernel_args *args) {
    lt_queue *queue = s->queue;
    cl_kernel kernel = NULL;
    lathe_status status =
        lt_cl_family_kernel(queue, LT_CL_FAMILY_SEARCH, which, s->work, s->program, &kernel);
    if (status != LATHE_OK) {
        return status;
    }
    cl_int error = set_args(kernel, s, args);
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    size_t local = group_items(s, which);
    size_t global = (size_t)n_groups * local;
    cl_event event = NULL;
    error = clEnqueueNDRangeKernel(queue->commands, kernel, 1, NULL, &global, &local,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status == LATHE_OK) {
        lt_count(&queue->backend->counters->n_launches, 1);
    }
    return status;
}

/* Describes n_scopes scopes, and the tiles that they have. */
static void describe(search *s, uint64_t scope, uint64_t n_scopes) {
    const lt_pass *pass = s->work->pass;
    const lathe_dtype dtype = pass->dst.dtype;
    const lt_span *dst = &s->work->dst;
    const uint64_t n_tiles = s->tiling->tiles_per_scope;
    lt_work tiles = *s->work;
    tiles.first_tile = scope * n_tiles;
    tiles.n_tiles = n_scopes * n_tiles;
    s->launch = lt_cl_launch_stats(&tiles, s->queue->backend->device.group_size).args;
    const uint64_t part_tiles = lt_min(lt_max(tiles.n_tiles / GOOD_PARTS, 1), PART_TILES);
    s->args = (lathe_search){
        .src_dtype = pass->src.dtype,
        .high_code = (uint64_t)lt_dtype_traits_of(dtype)->max_code,
        .extra_codes = (uint64_t)lt_extra_codes(dtype, LATHE_PRECISE),
        .is_mean = dtype == LATHE_BITNET158,
        .bin_bits = dtype == LATHE_I8 ? LATHE_PRECISE_I8_BITS : LATHE_PRECISE_BIN_BITS,
        .first_scale = dst->scale_offset - dst->first_scale + scope,
        .n_scopes = n_scopes,
        .n_parts = lt_ceil_div(n_tiles, part_tiles),
        .part_tiles = part_tiles,
    };
}

/* ---- scopes of few elements */

/* The work-items that search such a scope together. */
static uint64_t team_of(uint64_t n_elems) {
    uint64_t team = 1;
    while (team * LATHE_CL_FEW_ELEMS < n_elems) {
        team *= 2;
    }
    return team;
}

/* `most` is the most elements of such a scope. */
static lathe_status search_few(search *s, uint64_t scope, uint64_t n_scopes, uint64_t most) {
    lt_queue *queue = s->queue;
    const uint64_t team = team_of(most);
    const uint64_t n_teams = LATHE_CL_FEW_ITEMS / team;
    const uint64_t n_levels = lt_max(lt_ceil_div(most, 4) * 4, team * LATHE_CL_LEVEL_STEP);
    lathe_status status = lt_cl_ready_report(queue);
    if (status != LATHE_OK) {
        return status;
    }
    describe(s, scope, n_scopes);
    s->launch.report = queue->n_launches;
    s->args.team = team;
    const kernel_args args = {
        .buffers = {s->work->src.data->device, source_scales(queue, s->work),
                    s->work->dst.scales->device, queue->reports.device},
        .n_buffers = 4,
        .has_launch = true,
        .local_bytes = (size_t)(n_teams * n_levels * sizeof(int16_t)),
    };
    status = enqueue(s, FEW, lt_ceil_div(n_scopes, n_teams), &args);
    if (status == LATHE_OK) {
        queue->launches[queue->n_launches++] =
            (lt_cl_pending){.args = s->launch, .outcome = s->work->outcome};
    }
    return status;
}

/* ---- longer scopes */

/* Makes a buffer at least so large. */
static lathe_status make_room(lt_queue *queue, lt_buffer *buffer, uint64_t n_bytes) {
    lt_cl_memory *memory = &queue->backend->memory;
    lathe_status status = LATHE_OK;
    if (buffer->n_bytes >= n_bytes) {
        return LATHE_OK;
    }
    if (buffer->n_bytes > 0) {
        status = lt_cl_finish(&queue->backend->base, queue);
        lt_cl_buffer_destroy(memory, buffer);
    }
    if (status != LATHE_OK) {
        return status;
    }
    status = lt_cl_buffer_create(memory, LT_MEMORY_DEVICE, n_bytes, buffer);
    return status == LATHE_OK ? LATHE_OK : lt_cl_queue_give_up(queue, status);
}

static lathe_status prepare(search *s) {
    lt_queue *queue = s->queue;
    const cl_uint zero = 0;
    const uint64_t n_scopes = s->args.n_scopes;
    const uint64_t count_bytes = n_scopes * LATHE_PRECISE_BINS * sizeof(uint32_t);
    cl_event event = NULL;
    lathe_status status = make_room(queue, &queue->search.counts, count_bytes);
    if (status == LATHE_OK) {
        status = make_room(queue, &queue->search.states,
                           n_scopes * LATHE_CL_STATE_WORDS * sizeof(float));
    }
    if (status == LATHE_OK) {
        status = make_room(queue, &queue->search.sums,
                           n_scopes * s->args.n_parts * LATHE_CL_FIT_SUMS * sizeof(uint64_t));
    }
    if (status != LATHE_OK) {
        return status;
    }
    cl_int error = clEnqueueFillBuffer(queue->commands, queue->search.counts.device, &zero,
                                       sizeof zero, 0, (size_t)count_bytes, lt_cl_n_wait(queue),
                                       lt_cl_wait_list(queue), &event);
    return lt_cl_queue_chain(queue, "clEnqueueFillBuffer", error, event);
}

/* Scopes for each of which there is a work-group. */
static lathe_status search_whole(search *s, uint64_t scope, uint64_t n_scopes) {
    describe(s, scope, n_scopes);
    const kernel_args args = {
        .buffers = {s->work->src.data->device, source_scales(s->queue, s->work),
                    s->work->dst.scales->device},
        .n_buffers = 3,
        .has_launch = true,
    };
    return enqueue(s, WHOLE, n_scopes, &args);
}

/* Scopes that many work-groups share. */
static lathe_status search_parts(search *s, uint64_t scope, uint64_t n_scopes) {
    lt_queue *queue = s->queue;
    const lt_cl_search_memory *memory = &queue->search;
    const cl_mem src = s->work->src.data->device;
    const cl_mem src_scales = source_scales(queue, s->work);
    const cl_mem scales = s->work->dst.scales->device;
    describe(s, scope, n_scopes);
    lathe_status status = prepare(s);
    const uint64_t n_groups = n_scopes * s->args.n_parts;
    const struct {
        uint32_t kernel;
        uint64_t n_groups;
        kernel_args args;
    } steps[] = {
        {COUNT, n_groups, {{src, src_scales, scales, memory->counts.device}, 4, true, 0}},
        {PARTS, n_scopes, {{scales, memory->counts.device, memory->states.device}, 3, false, 0}},
        {FIT,
         n_groups,
         {{src, src_scales, scales, memory->states.device, memory->sums.device}, 5, true, 0}},
        {CHOOSE, n_scopes, {{scales, memory->states.device, memory->sums.device}, 3, false, 0}},
    };
    for (size_t i = 0; status == LATHE_OK && i < sizeof steps / sizeof steps[0]; i++) {
        status = enqueue(s, steps[i].kernel, steps[i].n_groups, &steps[i].args);
    }
    return status;
}

/* The most elements of a scope that is searched element by element; 0: there is none. Where scopes
 * are longer, the last one of each row may be. */
static uint64_t few_elems(const lt_tiling *tiling) {
    const uint64_t row = tiling->row_elems == 0 ? tiling->n_elems : tiling->row_elems;
    const uint64_t last = row % tiling->scope_elems;
    if (tiling->scope_elems <= LATHE_PRECISE_ELEMS) {
        return tiling->scope_elems;
    }
    return last <= LATHE_PRECISE_ELEMS ? last : 0;
}

lathe_status lt_cl_submit_scales(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    (void)backend;
    const lt_tiling *tiling = &work->pass->tiling;
    const uint64_t first = work->first_tile / tiling->tiles_per_scope;
    const uint64_t end = first + work->n_tiles / tiling->tiles_per_scope;
    const uint64_t few = few_elems(tiling);
    lt_cl_program *program = NULL;
    lathe_status status = lt_cl_queue_check(queue);
    if (status != LATHE_OK) {
        return status;
    }
    if (tiling->scope_elems > LATHE_CL_MAX_ELEMS) {
        status = lt_fail(LATHE_NOT_SUPPORTED, "the device searches no scope that is so large");
        return lt_cl_queue_give_up(queue, status);
    }
    status = lt_cl_family_program(queue, LT_CL_FAMILY_SEARCH, work, &program);
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    search s = {.queue = queue, .work = work, .program = program, .tiling = tiling};
    const uint64_t most = LATHE_CL_MAX_ELEMS / tiling->scope_elems;
    const bool has_long = tiling->scope_elems > LATHE_PRECISE_ELEMS;
    const bool is_whole = tiling->tiles_per_scope <= WHOLE_TILES;
    const uint64_t step = is_whole ? most : lt_min(most, MAX_SCOPES);
    for (uint64_t i = first; has_long && status == LATHE_OK && i < end; i += step) {
        const uint64_t n_scopes = lt_min(step, end - i);
        status = is_whole ? search_whole(&s, i, n_scopes) : search_parts(&s, i, n_scopes);
    }
    for (uint64_t i = first; few > 0 && status == LATHE_OK && i < end; i += most) {
        status = search_few(&s, i, lt_min(most, end - i), few);
    }
    return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
}
