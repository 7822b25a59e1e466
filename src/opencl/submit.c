/* SPDX-License-Identifier: Apache-2.0 */
/* Passes on the device: works become launches. */
#include "core/checked.h"
#include "core/error.h"
#include "core/precise.h"
#include "opencl/chain_kernel.h"
#include "opencl/family.h"
#include "opencl/launch_stats.h"
#include "opencl/measure.h"
#include "opencl/recode.h"
#include "opencl/reports.h"
#include "opencl/rows.h"

/* Room for statistics is made for so many tiles at least: those of a chunk, in a page of memory. */
enum { LEAST_STATS = 1024 };

/* Where columns are cut, bytes of every dtype end at multiples of this many elements. */
enum { BYTE_QUANTUM = 40 };

/* Work-groups for what is seldom there. */
enum { ODD_GROUPS = 64 };

/* ---- launches */

/* The buffers of a kernel's arguments, in order; the launch itself follows them. */
enum { MAX_BUFFERS = 5 };

typedef struct kernel_args {
    cl_mem buffers[MAX_BUFFERS];
    cl_uint n_buffers;
} kernel_args;

static cl_mem scales_of(const lt_queue *queue, const lt_span *span) {
    return span->scales != NULL ? span->scales->device : queue->reports.device;
}

/* Buffers, the launch and, where the kernel wants it, local memory. */
static cl_int set_args(cl_kernel kernel, const kernel_args *args, const lt_cl_launch *launch,
                       const lathe_launch *told) {
    cl_int error = CL_SUCCESS;
    for (cl_uint i = 0; i < args->n_buffers && error == CL_SUCCESS; i++) {
        error = clSetKernelArg(kernel, i, sizeof(cl_mem), &args->buffers[i]);
    }
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(kernel, args->n_buffers, sizeof *told, told);
    }
    return error == CL_SUCCESS && launch->local_bytes > 0
               ? clSetKernelArg(kernel, args->n_buffers + 1, launch->local_bytes, NULL)
               : error;
}

/* Kernels for blocks without anything odd. */
static bool is_plain(lt_cl_kernel kernel) {
    return kernel == LT_CL_PLAIN || kernel == LT_CL_OWN_GROUPS || kernel == LT_CL_OWN_WHOLE ||
           kernel == LT_CL_TRITS || kernel == LT_CL_ROWS_FEW || kernel == LT_CL_ROWS_MANY ||
           kernel == LT_CL_ROWS_MOST || kernel == LT_CL_ROWS_LONG;
}

/* False for launches that meet nothing to report: fetching a report takes longer than converting a
 * megabyte. */
static bool can_report(const lt_work *work, const lt_cl_launch *launch) {
    uint64_t flags = launch->args.flags;
    bool looks =
        (flags & (LATHE_CL_STRICT | LATHE_CL_SURVEY | LATHE_CL_GATHER | LATHE_CL_LONG)) != 0;
    bool meets_all = launch->kernel != LT_CL_STREAM && launch->kernel != LT_CL_FLAT &&
                     (flags & LATHE_CL_NONFINITE_ERROR) != 0;
    if (is_plain(launch->kernel) && !looks) {
        return false; /* LT_CL_AGAIN does, or the pass that has found the scales */
    }
    looks = looks || lt_cl_is_recode(launch->kernel); /* for what LT_CL_RECODE_ODD does */
    return looks || meets_all || work->pass->src.dtype == LATHE_BITNET158;
}

/* Work-items of a launch's groups. */
static size_t items_of(const lt_queue *queue, const lt_work *work, const lt_cl_launch *launch) {
    const lt_pass *pass = work->pass;
    if (launch->n_items != 0) {
        return launch->n_items;
    }
    return is_plain(launch->kernel)
               ? LATHE_CL_PLAIN_ITEMS((int)pass->src.dtype, (int)pass->dst.dtype)
               : queue->backend->device.group_size;
}

/* The queue's own kernel object, which no other thread uses. */
static lathe_status get_kernel(lt_queue *queue, const lt_work *work, lt_cl_kernel which,
                               cl_kernel *kernel) {
    const lt_pass *pass = work->pass;
    if (pass->rounds[0] != 0) {
        return lt_cl_rounded_kernel(queue, work, which, kernel);
    }
    const bool has_codes = which == LT_CL_STREAM || which == LT_CL_BLOCK;
    const bool is_extra = has_codes && lt_extra_codes(pass->dst.dtype, pass->quality) != 0;
    const lt_cl_family_id family = is_extra ? LT_CL_FAMILY_EXTRA_CODES : LT_CL_FAMILY_PAIRS;
    const uint32_t number = !is_extra ? which : which == LT_CL_STREAM ? 0 : 1;
    lt_cl_program *program = NULL;
    lathe_status status = lt_cl_family_program(queue, family, work, &program);
    return status == LATHE_OK ? lt_cl_family_kernel(queue, family, number, work, program, kernel)
                              : lt_cl_queue_give_up(queue, status);
}

static lathe_status enqueue_launch(lt_queue *queue, const lt_work *work, const lt_cl_launch *launch,
                                   const kernel_args *args) {
    const bool shares = launch->kernel == LT_CL_RECODE_ODD; /* the last launch's report */
    const bool reports = !shares && can_report(work, launch);
    lathe_status status = reports ? lt_cl_ready_report(queue) : LATHE_OK;
    cl_kernel kernel = NULL;
    if (status == LATHE_OK) {
        status = get_kernel(queue, work, launch->kernel, &kernel);
    }
    if (status != LATHE_OK) {
        return status;
    }
    lt_cl_pending pending = {.args = launch->args, .outcome = work->outcome};
    pending.args.report = reports ? queue->n_launches : shares ? queue->n_launches - 1 : 0;
    cl_int error = set_args(kernel, args, launch, &pending.args);
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    size_t local = items_of(queue, work, launch);
    size_t global = (size_t)launch->n_groups * local;
    cl_event event = NULL;
    error = clEnqueueNDRangeKernel(queue->commands, kernel, 1, NULL, &global, &local,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status != LATHE_OK) {
        return status;
    }
    if (reports) {
        queue->launches[queue->n_launches++] = pending;
    }
    lt_count(&queue->backend->counters->n_launches, 1);
    return LATHE_OK;
}

/* The recode kernel, and few work-groups that look whether it has left something out. */
static lathe_status enqueue_recode(lt_queue *queue, const lt_work *work, const lt_cl_launch *launch,
                                   const kernel_args *args) {
    lt_cl_launch odd = *launch;
    odd.kernel = LT_CL_RECODE_ODD;
    odd.n_groups = lt_min(launch->n_groups, ODD_GROUPS);
    lathe_status status = enqueue_launch(queue, work, launch, args);
    return status == LATHE_OK ? enqueue_launch(queue, work, &odd, args) : status;
}

/* NOT_SUPPORTED where the driver has compiled the launch's kernel for fewer work-items, as it may
 * those that do not say how many they are for. Of the others drivers tell what they like. */
static lathe_status check_items(lt_queue *queue, const lt_work *work, const lt_cl_launch *launch) {
    const bool is_any = launch->kernel == LT_CL_ROWS_FEW || launch->kernel == LT_CL_RECODE_ROWS ||
                        launch->kernel == LT_CL_ROWS_MANY;
    if (!is_any || launch->n_items > LATHE_CL_GROUP) {
        return LATHE_OK;
    }
    cl_kernel kernel = NULL;
    size_t most = 0;
    lathe_status status = get_kernel(queue, work, launch->kernel, &kernel);
    if (status != LATHE_OK) {
        return status;
    }
    const cl_int error = clGetKernelWorkGroupInfo(
        kernel, queue->backend->device.id, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL);
    return error != CL_SUCCESS || launch->n_items <= most
               ? LATHE_OK
               : lt_fail(LATHE_NOT_SUPPORTED, "the kernel's work-groups are too small for a row");
}

/* The same launch for a plain kernel, which rows that are blocks spare a division. */
static lt_cl_launch plain_launch(const lt_cl_launch *launch, lt_cl_kernel kernel) {
    lt_cl_launch plain = *launch;
    plain.kernel = kernel;
    if (plain.args.row_units.by == 1) {
        plain.args.block_bytes = plain.args.dst.row_bytes;
        plain.args.n_cols *= plain.args.n_rows;
        plain.args.n_rows = 1;
    }
    return plain;
}

/* The flat kernel, and where it finds scales the one that does the rest. */
static lathe_status enqueue_flat(lt_queue *queue, const lt_work *work, const lt_cl_launch *launch,
                                 const kernel_args *args) {
    lt_cl_launch flat = *launch;
    flat.kernel = LT_CL_FLAT;
    flat.n_groups = lt_ceil_div(launch->n_groups, launch->args.flat_blocks);
    lathe_status status = enqueue_launch(queue, work, &flat, args);
    if (status != LATHE_OK || (launch->args.flags & LATHE_CL_OWN_SCALES) == 0) {
        return status;
    }
    lt_cl_launch again = flat;
    again.kernel = LT_CL_FLAT_AGAIN;
    again.n_groups = lt_ceil_div(flat.n_groups, LATHE_CL_GROUP);
    return enqueue_launch(queue, work, &again, args);
}

/* A convert launch: by the plain kernel and the one that does the rest, where that can be. */
static lathe_status enqueue_convert(lt_queue *queue, const lt_work *work,
                                    const lt_cl_launch *launch, const kernel_args *args) {
    const uint64_t group_size = queue->backend->device.group_size;
    if (lt_cl_is_recode(launch->kernel)) {
        return enqueue_recode(queue, work, launch, args);
    }
    if (launch->kernel == LT_CL_TRITS) {
        const lt_cl_launch trits = plain_launch(launch, LT_CL_TRITS);
        return enqueue_launch(queue, work, &trits, args);
    }
    if ((launch->args.flags & LATHE_CL_FLAT) != 0 && group_size == LATHE_CL_GROUP) {
        return enqueue_flat(queue, work, launch, args);
    }
    if ((launch->args.flags & LATHE_CL_PLAIN) == 0 || group_size != LATHE_CL_GROUP) {
        return enqueue_launch(queue, work, launch, args);
    }
    const uint64_t flags = launch->args.flags;
    lt_cl_launch plain = plain_launch(launch, (flags & LATHE_CL_WHOLE) != 0 ? LT_CL_OWN_WHOLE
                                              : (flags & LATHE_CL_OWN) != 0 ? LT_CL_OWN_GROUPS
                                                                            : LT_CL_PLAIN);
    lathe_status status = LATHE_OK;
    if ((flags & LATHE_CL_ROWS) != 0) {
        lt_cl_set_rows(&plain, work->pass);
        status = check_items(queue, work, &plain);
        if (status == LATHE_NOT_SUPPORTED) {
            return enqueue_launch(queue, work, launch, args);
        }
    }
    lt_cl_launch again = *launch;
    again.kernel = LT_CL_AGAIN;
    again.n_groups = lt_ceil_div(launch->n_groups, group_size);
    status = status == LATHE_OK ? enqueue_launch(queue, work, &plain, args) : status;
    return status == LATHE_OK ? enqueue_launch(queue, work, &again, args) : status;
}

/* OK, unless the queue is broken, or a convert pass is to find PRECISE scales by itself, for which
 * there are no kernels. */
static lathe_status check_work(lt_queue *queue, const lt_work *work) {
    lathe_status status = lt_cl_queue_check(queue);
    if (status != LATHE_OK || work->pass->quality != LATHE_PRECISE || !work->pass->own_scales) {
        return status;
    }
    status = lt_fail(LATHE_NOT_SUPPORTED, "no kernels for scales of quality precise and codes");
    return lt_cl_queue_give_up(queue, status);
}

/* ---- convert */

static lathe_status convert_part(lt_queue *queue, const lt_work *work, const lt_range *part) {
    if (part->row * work->pass->dst.row_elems + part->col > lt_outcome_element(work->outcome)) {
        return LATHE_OK; /* the conversion fails at an earlier element */
    }
    const kernel_args args = {
        .buffers = {work->src.data->device, scales_of(queue, &work->src), work->dst.data->device,
                    scales_of(queue, &work->dst), queue->reports.device},
        .n_buffers = 5,
    };
    lt_cl_launch launch;
    const lt_cl_device *device = &queue->backend->device;
    if (!lt_cl_launch_recode(work, part, device, &launch) &&
        !lt_cl_launch_trits(work, part, device->group_size, &launch)) {
        launch = lt_cl_launch_convert(work, part);
    }
    lathe_status status = launch.n_groups == 0 || work->measure_only
                              ? LATHE_OK
                              : enqueue_convert(queue, work, &launch, &args);
    return status == LATHE_OK && work->outcome->quality != NULL ? lt_cl_measure(queue, work, part)
                                                                : status;
}

/* Where a row is cut that is too long for a launch: scopes that the launch finds scales for stay
 * whole, which are short. */
static uint64_t column_quantum(const lt_pass *pass) {
    return pass->own_scales && pass->dst.scale_elems != 0 ? BYTE_QUANTUM * pass->dst.scale_elems
                                                          : LT_COLUMN_QUANTUM;
}

static lathe_status convert_range(lt_queue *queue, const lt_work *work, const lt_range *range) {
    uint64_t quantum = column_quantum(work->pass);
    uint64_t max_rows = lt_max(LATHE_CL_MAX_ELEMS / lt_max(range->n_cols, 1), 1);
    uint64_t max_cols = range->n_cols <= LATHE_CL_MAX_ELEMS
                            ? lt_max(range->n_cols, 1)
                            : LATHE_CL_MAX_ELEMS / quantum * quantum;
    for (uint64_t row = 0; row < range->n_rows; row += max_rows) {
        for (uint64_t col = 0; col < range->n_cols; col += max_cols) {
            lt_range part = {
                .row = range->row + row,
                .n_rows = lt_min(max_rows, range->n_rows - row),
                .col = range->col + col,
                .n_cols = lt_min(max_cols, range->n_cols - col),
            };
            lathe_status status = convert_part(queue, work, &part);
            if (status != LATHE_OK) {
                return status;
            }
        }
    }
    return LATHE_OK;
}

lathe_status lt_cl_submit_convert(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    (void)backend;
    lathe_status status = check_work(queue, work);
    for (uint64_t i = 0; status == LATHE_OK && i < work->n_ranges; i++) {
        lt_range range = lt_ranges_at(work->ranges, work->first_range + i);
        status = convert_range(queue, work, &range);
    }
    return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
}

/* All rows, without a look at what that leads to. */
static lathe_status submit_rows(lt_queue *queue, const lt_work *work) {
    const lt_layout *dst = &work->pass->dst;
    const uint64_t most = LATHE_CL_MAX_ELEMS / dst->row_elems;
    const kernel_args args = {
        .buffers = {work->src.data->device, scales_of(queue, &work->src), work->dst.data->device,
                    scales_of(queue, &work->dst), queue->reports.device},
        .n_buffers = 5,
    };
    lathe_status status = LATHE_OK;
    for (uint64_t row = 0; status == LATHE_OK && row < dst->n_rows; row += most) {
        lt_cl_launch launch;
        const uint64_t n_rows = lt_min(most, dst->n_rows - row);
        if (!lt_cl_launch_rows(work, row, n_rows, &queue->backend->device, &launch)) {
            return lt_fail(LATHE_NOT_SUPPORTED, "the rows lie so that no kernel takes them");
        }
        status = check_items(queue, work, &launch);
        if (status == LATHE_OK) {
            status = enqueue_launch(queue, work, &launch, &args);
        }
    }
    return status;
}

lathe_status lt_cl_convert_rows(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    const lt_cl_device *device = &lt_cl_of(backend)->device;
    lathe_status status = check_work(queue, work);
    if (status == LATHE_OK && !lt_cl_takes_rows(work->pass, device)) {
        status = lt_fail(LATHE_NOT_SUPPORTED, "no kernel finds the scales of such rows");
    }
    if (status != LATHE_OK) {
        return status;
    }
    queue->has_odd_rows = false;
    status = submit_rows(queue, work);
    if (status == LATHE_OK) {
        status = lt_cl_finish(backend, queue);
    }
    return status == LATHE_OK && queue->has_odd_rows
               ? lt_fail(LATHE_NOT_SUPPORTED, "a row wants more than its kernel does")
               : status;
}

/* ---- statistics */

static void drop_stats(lt_queue *queue) {
    lt_cl_buffer_destroy(&queue->backend->memory, &queue->stats);
    lt_cl_buffer_destroy(&queue->backend->memory, &queue->stats_landing);
}

lathe_status lt_cl_prepare_stats(lt_queue *queue, uint64_t n_floats, uint64_t n_landing) {
    lt_cl_memory *memory = &queue->backend->memory;
    uint64_t have = queue->stats.n_bytes / sizeof(float);
    uint64_t room = queue->stats_landing.n_bytes / sizeof(float);
    lathe_status status = LATHE_OK;
    if (queue->n_stats == LT_CL_MAX_STATS || queue->sum != NULL ||
        queue->n_stats_floats + n_landing > room || n_floats > have) {
        status = lt_cl_finish(&queue->backend->base, queue);
    }
    if (status != LATHE_OK || (n_floats <= have && n_landing <= room)) {
        return status;
    }
    drop_stats(queue);
    status = lt_cl_buffer_create(memory, LT_MEMORY_DEVICE,
                                 lt_max(n_floats, LEAST_STATS) * sizeof(float), &queue->stats);
    if (status == LATHE_OK && n_landing > 0) {
        status = lt_cl_buffer_create(memory, LT_MEMORY_PINNED,
                                     lt_max(n_landing, LEAST_STATS) * sizeof(float),
                                     &queue->stats_landing);
    }
    return status == LATHE_OK ? LATHE_OK : lt_cl_queue_give_up(queue, status);
}

/* Has the launch add up its tiles, in the place that the last one has set to 0. */
static void gather(const lt_queue *queue, lt_cl_launch *launch) {
    size_t last = lt_cl_sum_at(queue);
    launch->args.flags |= LATHE_CL_GATHER;
    launch->args.next_sums = last;
    launch->args.sums = 2 * (size_t)LT_CL_SUMS_AT + LATHE_CL_SUM_WORDS - last;
}

lathe_status lt_cl_expect_stats(lt_queue *queue, double *stats, uint64_t n_tiles) {
    const uint64_t first = queue->n_stats_floats;
    lathe_status status = lt_cl_land(queue, &queue->stats, n_tiles * sizeof(float),
                                     (float *)queue->stats_landing.host + first);
    if (status == LATHE_OK) {
        queue->pending_stats[queue->n_stats++] =
            (lt_cl_pending_stats){.stats = stats, .first = first, .n_tiles = n_tiles};
        queue->n_stats_floats += n_tiles;
    }
    return status;
}

/* What the launch leaves: what its tiles come to, which is fetched with the reports, or all tiles.
 */
static lathe_status expect_tiles(lt_queue *queue, const lt_work *work) {
    if (work->sum != NULL) {
        queue->sum = work->sum;
        queue->sum_dtype = work->pass->dst.dtype;
        queue->sum_place = 1 - queue->sum_place;
        return LATHE_OK;
    }
    return lt_cl_expect_stats(queue, work->stats, work->n_tiles);
}

lathe_status lt_cl_submit_stats(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    (void)backend;
    lathe_status status = check_work(queue, work);
    if (status != LATHE_OK || work->n_tiles == 0) {
        return status;
    }
    status = lt_cl_prepare_stats(queue, work->n_tiles, work->sum != NULL ? 0 : work->n_tiles);
    if (status != LATHE_OK) {
        return status;
    }
    const kernel_args args = {
        .buffers = {work->src.data->device, scales_of(queue, &work->src), queue->stats.device,
                    queue->reports.device},
        .n_buffers = 4,
    };
    lt_cl_launch launch = lt_cl_launch_stats(work, queue->backend->device.group_size);
    if (work->sum != NULL) {
        gather(queue, &launch);
    }
    status = enqueue_launch(queue, work, &launch, &args);
    if (status == LATHE_OK) {
        status = expect_tiles(queue, work);
    }
    return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
}
