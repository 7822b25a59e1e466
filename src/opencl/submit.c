/* SPDX-License-Identifier: Apache-2.0 */
/* Passes on the device: works become launches, and what these report becomes the works' outcome. */
#include "core/checked.h"
#include "core/error.h"
#include "core/precise.h"
#include "opencl/batch.h"
#include "opencl/family.h"
#include "opencl/measure.h"
#include "opencl/recode.h"
#include "opencl/rows.h"

/* Room for statistics is made for so many tiles at least: those of a chunk, in a page of memory. */
enum { LEAST_STATS = 1024 };

/* Where columns are cut, bytes of every dtype end at multiples of this many elements. */
enum { BYTE_QUANTUM = 40 };

/* Work-groups for what is seldom there. */
enum { ODD_GROUPS = 64 };

static const uint32_t fresh_report[LATHE_CL_REPORT_WORDS] = {LATHE_CL_NO_FAULT, 0};

/* ---- programs that may be used */

/* Runs the check of a pair, without the mutex. A device that failed meanwhile has not been found to
 * be wrong: it is tried again another time. */
static lathe_status run_check(lt_cl_backend *backend, lathe_dtype src, lathe_dtype dst) {
    atomic_uint_fast64_t *n_errors = &backend->counters->n_device_errors;
    uint_fast64_t n_before = atomic_load(n_errors);
    lathe_status status = backend->check(backend->check_ctx, src, dst);
    if (status == LATHE_OK) {
        lt_cl_programs_judge(&backend->programs, src, dst, true);
    } else if (status == LATHE_DEVICE && atomic_load(n_errors) == n_before) {
        const lathe_error error = *lt_error();
        lt_cl_programs_judge(&backend->programs, src, dst, false);
        *lt_error() = error;
    }
    return status;
}

/* Runs the check of a pair once more, one thread at a time. The mutex is held, but not meanwhile.
 */
static lathe_status check_in_turn(lt_cl_backend *backend, lathe_dtype src, lathe_dtype dst) {
    bool *is_checking = &backend->is_checking[src][dst];
    *is_checking = true;
    (void)pthread_mutex_unlock(&backend->mutex);
    lathe_status status = run_check(backend, src, dst);
    (void)pthread_mutex_lock(&backend->mutex);
    *is_checking = false;
    (void)pthread_cond_broadcast(&backend->checked);
    return status;
}

/* Has a pair checked once, whatever the number of threads that need it. */
static lathe_status ensure_trust(lt_cl_backend *backend, const lt_cl_program *program,
                                 lathe_dtype src, lathe_dtype dst) {
    const bool *is_checking = &backend->is_checking[src][dst];
    lathe_status status = LATHE_OK;
    (void)pthread_mutex_lock(&backend->mutex);
    while (status == LATHE_OK && atomic_load(&program->trust) == LT_CL_UNTESTED) {
        if (*is_checking) {
            (void)pthread_cond_wait(&backend->checked, &backend->mutex);
        } else {
            status = check_in_turn(backend, src, dst);
        }
    }
    (void)pthread_mutex_unlock(&backend->mutex);
    if (status == LATHE_OK && atomic_load(&program->trust) == LT_CL_WRONG) {
        status = lt_fail(LATHE_DEVICE, "%s computes other bits than the reference from %s to %s",
                         backend->device.info.name, lathe_dtype_name(src), lathe_dtype_name(dst));
    }
    return status;
}

lathe_status lt_cl_self_check(lt_backend *base, lathe_dtype src, lathe_dtype dst) {
    lt_cl_backend *backend = lt_cl_of(base);
    if (backend->check == NULL) {
        return LATHE_OK;
    }
    (void)pthread_mutex_lock(&backend->mutex);
    while (backend->is_checking[src][dst]) {
        (void)pthread_cond_wait(&backend->checked, &backend->mutex);
    }
    lathe_status status = check_in_turn(backend, src, dst);
    (void)pthread_mutex_unlock(&backend->mutex);
    return status;
}

/* The same of a program whose codes reach further. */
static lathe_status get_extra_kernel(lt_queue *queue, const lt_work *work, lt_cl_kernel which,
                                     cl_kernel *kernel) {
    lt_cl_program *program = NULL;
    lathe_status status = lt_cl_family_program(queue, LT_CL_FAMILY_EXTRA_CODES, work, &program);
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    return lt_cl_family_kernel_at(queue, LT_CL_FAMILY_EXTRA_CODES, which == LT_CL_STREAM ? 0 : 1,
                                  work, program, kernel);
}

/* The queue's own kernel object, which no other thread uses. */
static lathe_status get_kernel(lt_queue *queue, const lt_work *work, lt_cl_kernel which,
                               cl_kernel *kernel) {
    lt_cl_backend *backend = queue->backend;
    lathe_dtype src = work->pass->src.dtype;
    lathe_dtype dst = work->pass->dst.dtype;
    lt_cl_program *program = NULL;
    bool has_codes = which == LT_CL_STREAM || which == LT_CL_BLOCK;
    if (has_codes && lt_extra_codes(dst, work->pass->quality) != 0) {
        return get_extra_kernel(queue, work, which, kernel);
    }
    lathe_status status = lt_cl_programs_get(&backend->programs, src, dst, &program);
    if (status == LATHE_OK && !work->is_trial && backend->check != NULL &&
        atomic_load(&program->trust) != LT_CL_TRUSTED) {
        status = ensure_trust(backend, program, src, dst);
    }
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    cl_kernel *slot = &queue->kernels[src][dst][which];
    cl_int error = CL_SUCCESS;
    if (*slot == NULL) {
        cl_program built = program->program;
        (void)pthread_mutex_lock(&backend->mutex);
        cl_kernel made = clCreateKernel(built, lt_cl_kernel_name(which), &error);
        (void)pthread_mutex_unlock(&backend->mutex);
        *slot = error == CL_SUCCESS ? made : NULL;
    }
    *kernel = *slot;
    return error == CL_SUCCESS ? LATHE_OK : lt_cl_queue_fail(queue, "clCreateKernel", error);
}

/* ---- what launches report */

/* Fills a part of the reports' memory with what a launch expects there. */
static lathe_status fill_reports(lt_queue *queue, const uint32_t *pattern, size_t n_words,
                                 size_t first_word, size_t end_word) {
    cl_event event = NULL;
    cl_int error = clEnqueueFillBuffer(queue->commands, queue->reports.device, pattern,
                                       n_words * sizeof *pattern, first_word * sizeof *pattern,
                                       (end_word - first_word) * sizeof *pattern,
                                       lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    return lt_cl_queue_chain(queue, "clEnqueueFillBuffer", error, event);
}

lathe_status lt_cl_ready_report(lt_queue *queue) {
    const uint32_t zero = 0;
    lathe_status status = LATHE_OK;
    if (queue->n_launches == LT_CL_MAX_LAUNCHES) {
        status = lt_cl_finish(&queue->backend->base, queue);
    }
    if (status != LATHE_OK || queue->n_launches > 0 || !queue->is_dirty) {
        return status;
    }
    status = fill_reports(queue, fresh_report, LATHE_CL_REPORT_WORDS, 0, LT_CL_SUMS_AT);
    if (status == LATHE_OK) {
        status = fill_reports(queue, &zero, 1, LT_CL_SUMS_AT, LT_CL_REPORTS_WORDS);
    }
    queue->is_dirty = status != LATHE_OK;
    return status;
}

/* Puts a read of n_bytes, from byte `at` on, into the landing memory behind what is in the queue.
 */
static lathe_status land(lt_queue *queue, const lt_buffer *from, uint64_t at, void *to,
                         uint64_t n_bytes) {
    cl_event event = NULL;
    cl_int error =
        clEnqueueReadBuffer(queue->commands, from->device, CL_FALSE, (size_t)at, (size_t)n_bytes,
                            to, lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    return lt_cl_queue_chain(queue, "clEnqueueReadBuffer", error, event);
}

/* The word at which the newest sum lies. */
static size_t sum_at(const lt_queue *queue) {
    return LT_CL_SUMS_AT + queue->sum_place * (size_t)LATHE_CL_SUM_WORDS;
}

/* Reports and a sum in one read, if there are any: each costs as much as thousands of words. */
static lathe_status land_reports(lt_queue *queue) {
    size_t n_words = queue->n_launches * LATHE_CL_REPORT_WORDS;
    if (queue->sum != NULL) {
        n_words = sum_at(queue) + LATHE_CL_SUM_WORDS;
    }
    return n_words == 0 ? LATHE_OK
                        : land(queue, &queue->reports, 0, queue->reports_landing.host,
                               n_words * sizeof(uint32_t));
}

static void deliver_tiles(const float *stored, uint64_t n_tiles, double *stats) {
    for (uint64_t i = 0; i < n_tiles; i++) {
        stats[i] = lt_cl_tile_stat(stored[i]);
    }
}

/* Hands over what has landed, and leaves the queue empty. */
static void deliver(lt_queue *queue) {
    const uint32_t *words = queue->reports_landing.host;
    const float *floats = queue->stats_landing.host;
    for (uint32_t i = 0; i < queue->n_launches; i++, words += LATHE_CL_REPORT_WORDS) {
        const lt_cl_pending *launch = &queue->launches[i];
        bool is_fresh = words[0] == fresh_report[0] && words[1] == fresh_report[1];
        queue->is_dirty = queue->is_dirty || !is_fresh;
        queue->has_odd_rows |= words[1] != 0 && (launch->args.flags & LATHE_CL_LONG) != 0;
        lt_cl_launch_report(&launch->args, words, launch->outcome);
    }
    for (uint32_t i = 0; i < queue->n_stats; i++) {
        const lt_cl_pending_stats *landed = &queue->pending_stats[i];
        deliver_tiles(floats + landed->first, landed->n_tiles, landed->stats);
    }
    if (queue->sum != NULL) {
        const uint32_t *sums = queue->reports_landing.host;
        lt_cl_tile_sum(queue->sum_dtype, sums + sum_at(queue), queue->sum);
    }
    queue->sum = NULL;
    queue->n_launches = 0;
    queue->n_stats = 0;
    queue->n_stats_floats = 0;
}

lathe_status lt_cl_finish(lt_backend *backend, lt_queue *queue) {
    (void)backend;
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) {
        status = land_reports(queue);
    }
    if (status == LATHE_OK) {
        status = lt_cl_land_table(queue);
    }
    if (status == LATHE_OK) {
        status = lt_cl_land_measured(queue);
    }
    if (status == LATHE_OK) {
        status = lt_cl_queue_wait(queue);
    }
    if (status == LATHE_OK) {
        deliver(queue);
        lt_cl_deliver_table(queue);
        lt_cl_deliver_measured(queue);
    }
    return status;
}

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
    return kernel == LT_CL_PLAIN || kernel == LT_CL_OWN || kernel == LT_CL_TRITS ||
           kernel == LT_CL_ROWS_FEW || kernel == LT_CL_ROWS_MANY || kernel == LT_CL_ROWS_MOST;
}

/* False for launches that meet nothing to report: fetching a report takes longer than converting a
 * megabyte. */
static bool can_report(const lt_work *work, const lt_cl_launch *launch) {
    uint64_t flags = launch->args.flags;
    bool looks =
        (flags & (LATHE_CL_STRICT | LATHE_CL_SURVEY | LATHE_CL_GATHER | LATHE_CL_LONG)) != 0;
    bool meets_all = launch->kernel != LT_CL_STREAM && (flags & LATHE_CL_NONFINITE_ERROR) != 0;
    if (is_plain(launch->kernel) && !looks) {
        return false; /* LT_CL_AGAIN does, or the pass that has found the scales */
    }
    looks = looks || launch->kernel == LT_CL_RECODE; /* for what LT_CL_RECODE_ODD does */
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

/* The same for such a kernel, which rows that are blocks spare a division. */
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

/* A convert launch: by the plain kernel and the one that does the rest, where that can be. */
static lathe_status enqueue_convert(lt_queue *queue, const lt_work *work,
                                    const lt_cl_launch *launch, const kernel_args *args) {
    const uint64_t group_size = queue->backend->device.group_size;
    if (launch->kernel == LT_CL_RECODE) {
        return enqueue_recode(queue, work, launch, args);
    }
    if (launch->kernel == LT_CL_TRITS) {
        const lt_cl_launch trits = plain_launch(launch, LT_CL_TRITS);
        return enqueue_launch(queue, work, &trits, args);
    }
    if ((launch->args.flags & LATHE_CL_PLAIN) == 0 || group_size != LATHE_CL_GROUP) {
        return enqueue_launch(queue, work, launch, args);
    }
    const bool is_own = (launch->args.flags & LATHE_CL_OWN) != 0;
    lt_cl_launch plain = plain_launch(launch, is_own ? LT_CL_OWN : LT_CL_PLAIN);
    if ((launch->args.flags & LATHE_CL_ROWS) != 0) {
        lt_cl_set_rows(&plain, work->pass);
    }
    lt_cl_launch again = *launch;
    again.kernel = LT_CL_AGAIN;
    again.n_groups = lt_ceil_div(launch->n_groups, group_size);
    lathe_status status = enqueue_launch(queue, work, &plain, args);
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
        if (!lt_cl_launch_rows(work, row, lt_min(most, dst->n_rows - row), &launch)) {
            return lt_fail(LATHE_NOT_SUPPORTED, "the rows lie so that no kernel takes them");
        }
        status = enqueue_launch(queue, work, &launch, &args);
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

/* Makes room for n_floats on the device, and for n_landing where they land. */
static lathe_status prepare_stats(lt_queue *queue, uint64_t n_floats, uint64_t n_landing) {
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
    lt_cl_queue_destroy_stats(queue);
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
    size_t last = sum_at(queue);
    launch->args.flags |= LATHE_CL_GATHER;
    launch->args.next_sums = last;
    launch->args.sums = 2 * (size_t)LT_CL_SUMS_AT + LATHE_CL_SUM_WORDS - last;
}

/* What the launch leaves: what its tiles come to, which is fetched with the reports, or all tiles.
 */
static lathe_status expect_stats(lt_queue *queue, const lt_work *work) {
    uint64_t first = queue->n_stats_floats;
    if (work->sum != NULL) {
        queue->sum = work->sum;
        queue->sum_dtype = work->pass->dst.dtype;
        queue->sum_place = 1 - queue->sum_place;
        return LATHE_OK;
    }
    lathe_status status = land(queue, &queue->stats, 0, (float *)queue->stats_landing.host + first,
                               work->n_tiles * sizeof(float));
    if (status == LATHE_OK) {
        queue->pending_stats[queue->n_stats++] =
            (lt_cl_pending_stats){.stats = work->stats, .first = first, .n_tiles = work->n_tiles};
        queue->n_stats_floats += work->n_tiles;
    }
    return status;
}

lathe_status lt_cl_submit_stats(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    (void)backend;
    lathe_status status = check_work(queue, work);
    if (status != LATHE_OK || work->n_tiles == 0) {
        return status;
    }
    status = prepare_stats(queue, work->n_tiles, work->sum != NULL ? 0 : work->n_tiles);
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
        status = expect_stats(queue, work);
    }
    return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
}

lathe_status lt_cl_fetch_stats(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    lt_cl_memory *memory = &lt_cl_of(backend)->memory;
    const uint64_t n_bytes = work->n_tiles * sizeof(float);
    lt_buffer landing = {0};
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) {
        status = lt_cl_buffer_create(memory, LT_MEMORY_PINNED, n_bytes, &landing);
    }
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    status = land(queue, &queue->stats, 0, landing.host, n_bytes);
    if (status == LATHE_OK) {
        status = lt_cl_queue_wait(queue);
    }
    if (status == LATHE_OK) {
        deliver_tiles(landing.host, work->n_tiles, work->stats);
    }
    lt_cl_buffer_destroy(memory, &landing);
    return status;
}
