/* SPDX-License-Identifier: Apache-2.0 */
/* The in-place strategy: who may be converted so, where, and what the tensor is afterwards. */
#include "engine/in_place/in_place.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/device/device_tensor.h"
#include "pool/pool.h"
#include <inttypes.h>
#include <lathe/in_place.h>
#include <lathe/view.h>
#include <string.h>

/* A tensor whose scales are not its own to free keeps the ones that it came with until its last
 * reference goes, and has this. */
typedef struct kept_scales {
    lathe_pool *pool;
    lt_device_memory *on_device; /* NULL: in the host's memory */
    float *host;
    lt_buffer device;
    uint64_t device_offset;
    lathe_free_fn *free_fn;
    void *free_ctx;
} kept_scales;

/* What the result's scales lie in, until the tensor has them. */
typedef struct new_scales {
    float *host;       /* all of them; NULL where there are none */
    lt_buffer buffer;  /* PINNED, where `host` points into it, and DEVICE */
    kept_scales *kept; /* made before anything is written; NULL: the tensor frees its own scales */
} new_scales;

/* ---- scales */

static void free_kept(void *ctx, void *data, float *scales) {
    kept_scales *kept = ctx;
    lathe_pool *pool = kept->pool;
    lt_device_memory *on_device = kept->on_device;
    if (on_device != NULL) {
        on_device->backend->ops->buffer_destroy(on_device->backend, &on_device->scales);
        on_device->scales = kept->device;
        on_device->scale_offset = kept->device_offset;
    } else {
        lt_pool_delete(pool, scales);
    }
    if (kept->free_fn != NULL) {
        kept->free_fn(kept->free_ctx, data, kept->host);
    }
    lt_pool_delete(pool, kept);
}

static lathe_status make_host_scales(lathe_pool *pool, uint64_t n_scales, float **scales) {
    void *block = NULL;
    lathe_status status = lathe_pool_alloc(pool, (size_t)n_scales * sizeof(float), &block);
    *scales = block;
    return status;
}

static lathe_status make_scales(const lathe_tensor *tensor, uint64_t n_scales, new_scales *made) {
    const lt_device_memory *on_device = tensor->on_device;
    uint64_t n_bytes = n_scales * sizeof(float);
    lathe_status status = LATHE_OK;
    if (n_scales > 0 && on_device != NULL) {
        lt_backend *backend = on_device->backend;
        status = backend->ops->buffer_create(
            backend, lt_device_memory_kind(backend, tensor->memory), n_bytes, &made->buffer);
    }
    if (status == LATHE_OK && n_scales > 0) {
        if (tensor->memory == LATHE_MEMORY_PINNED) {
            made->host = made->buffer.host;
        } else {
            status = make_host_scales(tensor->pool, n_scales, &made->host);
        }
    }
    if (status == LATHE_OK && !tensor->owns_memory && tensor->free_fn != free_kept) {
        made->kept = lt_pool_new(tensor->pool, sizeof *made->kept);
        status = made->kept == NULL ? lt_error()->status : LATHE_OK;
    }
    return status;
}

/* Frees what the tensor has not taken. */
static void drop_scales(const lathe_tensor *tensor, new_scales *made) {
    if (tensor->memory != LATHE_MEMORY_PINNED) {
        lt_pool_delete(tensor->pool, made->host);
    }
    if (tensor->on_device != NULL) {
        lt_backend *backend = tensor->on_device->backend;
        backend->ops->buffer_destroy(backend, &made->buffer);
    }
    lt_pool_delete(tensor->pool, made->kept);
    *made = (new_scales){0};
}

/* Puts the scales that the tensor came with aside. */
static void keep_scales(lathe_tensor *tensor, kept_scales *kept) {
    *kept = (kept_scales){
        .pool = tensor->pool,
        .on_device = tensor->on_device,
        .host = tensor->scales,
        .free_fn = tensor->free_fn,
        .free_ctx = tensor->free_ctx,
    };
    if (tensor->on_device != NULL) {
        kept->device = tensor->on_device->scales;
        kept->device_offset = tensor->on_device->scale_offset;
        tensor->on_device->scales = (lt_buffer){0};
    }
    tensor->scales = NULL;
    tensor->free_fn = free_kept;
    tensor->free_ctx = kept;
}

/* Gives the tensor its new scales. */
static void take_scales(lathe_tensor *tensor, new_scales *made) {
    lt_device_memory *on_device = tensor->on_device;
    if (made->kept != NULL) {
        keep_scales(tensor, made->kept);
        made->kept = NULL;
    }
    if (on_device != NULL) {
        on_device->backend->ops->buffer_destroy(on_device->backend, &on_device->scales);
        on_device->scales = made->buffer;
        on_device->scale_offset = 0;
        made->buffer = (lt_buffer){0};
        if (tensor->memory == LATHE_MEMORY_PINNED) {
            tensor->scales = made->host;
            made->host = NULL;
        }
    } else {
        lt_pool_delete(tensor->pool, tensor->scales);
        tensor->scales = made->host;
        made->host = NULL;
    }
}

/* ---- what the tensor is afterwards */

static void describe(lathe_tensor *tensor, const lathe_tensor_desc *desc, const lt_layout *layout) {
    tensor->layout = *layout;
    tensor->row_dims = (uint8_t)(desc->row_dims == 0 ? 1 : desc->row_dims);
    tensor->granularity = (uint8_t)desc->granularity;
    tensor->group_size = desc->group_size;
}

/* Gives back what the data no longer needs. */
static void give_back_tail(lathe_tensor *tensor) {
    if (tensor->owns_memory && tensor->memory == LATHE_MEMORY_HOST && tensor->data != NULL) {
        tensor->capacity =
            lt_pool_shrink(tensor->pool, tensor->data, (size_t)tensor->layout.n_bytes);
    }
}

/* ---- where it is converted */

/* A device's tensor as the host sees it meanwhile. */
typedef struct borrowed {
    lathe_tensor *seen; /* with the source's layout */
    lt_queue *queue;    /* maps the buffer; NULL: `copy` is one */
    void *copy;
    float *scales;
    uint64_t n_bytes;
} borrowed;

static lathe_status borrow_data(const lathe_tensor *tensor, borrowed *b, void **data) {
    const lt_device_memory *memory = tensor->on_device;
    const lt_backend_ops *ops = memory->backend->ops;
    lathe_status status;
    if (memory->data.host == NULL) {
        status = lathe_pool_alloc(tensor->pool, (size_t)b->n_bytes, &b->copy);
        *data = b->copy;
        return status == LATHE_OK ? lt_tensor_read(tensor, 0, b->copy, (size_t)b->n_bytes) : status;
    }
    *data = (uint8_t *)memory->data.host + memory->data_offset;
    status = ops->queue_open(memory->backend, &b->queue);
    return status == LATHE_OK
               ? ops->map(memory->backend, b->queue, &memory->data, memory->data_offset, b->n_bytes,
                          LT_ACCESS_READ | LT_ACCESS_WRITE)
               : status;
}

static lathe_status borrow(const lathe_tensor *tensor, borrowed *b) {
    const lathe_tensor_desc desc = lt_tensor_desc_of(tensor);
    uint64_t n_scales = tensor->layout.n_scales;
    void *data = NULL;
    lathe_status status = LATHE_OK;
    if (n_scales > 0) {
        status = make_host_scales(tensor->pool, n_scales, &b->scales);
    }
    if (status == LATHE_OK) {
        status = lt_tensor_read_scales(tensor, 0, b->scales, (size_t)n_scales);
    }
    if (status == LATHE_OK) {
        status = borrow_data(tensor, b, &data);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_wrap(tensor->pool, &desc, data, b->scales, 0, NULL, NULL, &b->seen);
    }
    return status;
}

/* Gives the data back, the first n_bytes of it written. */
static lathe_status give_back(const lathe_tensor *tensor, borrowed *b, uint64_t n_bytes) {
    const lt_device_memory *memory = tensor->on_device;
    const lt_backend_ops *ops = memory->backend->ops;
    if (b->queue == NULL) {
        return lt_tensor_write(tensor, 0, b->copy, (size_t)n_bytes);
    }
    lathe_status status = ops->unmap(memory->backend, b->queue, &memory->data, memory->data_offset,
                                     b->n_bytes, LT_ACCESS_READ | LT_ACCESS_WRITE);
    return status == LATHE_OK ? ops->finish(memory->backend, b->queue) : status;
}

static void end_borrowing(const lathe_tensor *tensor, borrowed *b) {
    lt_backend *backend = tensor->on_device->backend;
    lathe_tensor_release(b->seen);
    if (b->queue != NULL) {
        backend->ops->queue_close(backend, b->queue);
    }
    lt_pool_delete(tensor->pool, b->copy);
    lt_pool_delete(tensor->pool, b->scales);
}

/* Puts the scales that the CPU has found where the device has them. */
static lathe_status upload_scales(const lathe_tensor *tensor, const lt_in_place *job,
                                  const new_scales *made) {
    lt_backend *backend = tensor->on_device->backend;
    const lt_backend_ops *ops = backend->ops;
    lt_queue *queue = NULL;
    if (job->to->n_scales == 0) {
        return LATHE_OK;
    }
    lathe_status status = ops->queue_open(backend, &queue);
    if (status == LATHE_OK) {
        status = ops->upload(backend, queue, &made->buffer, 0, job->scales,
                             job->to->n_scales * sizeof(float));
    }
    if (status == LATHE_OK) {
        status = ops->finish(backend, queue);
    }
    ops->queue_close(backend, queue);
    return status;
}

/* A device tensor by the CPU: mapped, or through a copy, which can be dropped as long as the device
 * has not begun. */
static lathe_status run_on_borrowed(lt_in_place *job, const lathe_tensor *tensor,
                                    const new_scales *made) {
    borrowed b = {.n_bytes = lt_max(tensor->layout.n_bytes, job->to->n_bytes)};
    const bool had_begun = job->has_begun;
    job->is_lost = had_begun;
    lathe_status status = borrow(tensor, &b);
    if (status == LATHE_OK) {
        const lt_in_place_memory memory = {.source = b.seen};
        status = lt_in_place_run(job, job->engine->cpu, &memory);
    }
    if (status == LATHE_OK) {
        job->is_lost = had_begun || b.queue != NULL;
        status = upload_scales(tensor, job, made);
    }
    if (status == LATHE_OK) {
        status = give_back(tensor, &b, job->to->n_bytes);
        job->is_lost = status != LATHE_OK;
    }
    const lathe_error error = *lt_error();
    end_borrowing(tensor, &b);
    *lt_error() = error;
    return status;
}

static lathe_status run_on_cpu(lt_in_place *job, const lathe_tensor *tensor,
                               const new_scales *made) {
    if (tensor->memory == LATHE_MEMORY_DEVICE) {
        return run_on_borrowed(job, tensor, made);
    }
    const lt_in_place_memory memory = {.source = tensor};
    return lt_in_place_run(job, job->engine->cpu, &memory);
}

static lathe_status fail_lost(void) {
    char message[sizeof lt_error()->message];
    memcpy(message, lt_error()->message, sizeof message);
    return lt_fail(LATHE_DEVICE, "the tensor's contents are lost: %s", message);
}

/* True if the CPU does what the device has not: what nobody promised that it does, what it has
 * failed at where the engine allows it, and in any case what it has left unfinished. */
static bool may_use_cpu(const lt_in_place *job, lathe_status status) {
    if (status == LATHE_NOT_SUPPORTED) {
        return !job->engine->require_device || lt_in_place_is_for_cpu(job);
    }
    bool has_failed = status == LATHE_DEVICE || status == LATHE_INSUFFICIENT_MEMORY;
    return (has_failed && job->has_begun && !job->is_lost) ||
           lt_engine_may_fall_back(job->engine, status);
}

/* Converts the data. The tensor itself is as it was. */
static lathe_status run(lt_in_place *job, const lathe_tensor *tensor, new_scales *made,
                        lt_metric *metric) {
    lt_backend *device = job->engine->device;
    lathe_status status = LATHE_OK;
    if (device != NULL) {
        bool is_on_device = tensor->memory == LATHE_MEMORY_DEVICE;
        const lt_in_place_memory memory = {
            .source = tensor,
            .new_scales = is_on_device && made->host != NULL ? &made->buffer : NULL,
        };
        status = lt_in_place_run(job, device, &memory);
        metric->on_device = status == LATHE_OK;
        metric->fell_back = status != LATHE_OK && status != LATHE_NOT_SUPPORTED;
    }
    if (device == NULL || (status != LATHE_OK && !job->is_lost && may_use_cpu(job, status))) {
        status = run_on_cpu(job, tensor, made);
    }
    return status != LATHE_OK && job->is_lost ? fail_lost() : status;
}

/* ---- the whole */

/* Rows without elements may have scales. */
static void fill_empty(const lt_layout *to, float *scales) {
    for (uint64_t i = 0; i < to->n_scales; i++) {
        scales[i] = lt_scale_from_stat(to->dtype, 0, 0);
    }
}

static lathe_status run_empty(lt_in_place *job, const lathe_tensor *tensor,
                              const new_scales *made) {
    fill_empty(job->to, job->scales);
    return tensor->memory == LATHE_MEMORY_DEVICE ? upload_scales(tensor, job, made) : LATHE_OK;
}

static lathe_status convert(lathe_engine *engine, lathe_tensor *tensor, const lathe_target *target,
                            const lathe_tensor_desc *desc, const lt_layout *to, lt_metric *metric,
                            lathe_quality_report *report) {
    new_scales made = {0};
    lt_fpenv saved;
    lathe_status status = make_scales(tensor, to->n_scales, &made);
    lt_in_place job = {
        .engine = engine, .target = target, .to = to, .scales = made.host, .report = report};
    if (status == LATHE_OK) {
        lt_fpenv_enter(&saved);
        status =
            to->n_elems == 0 ? run_empty(&job, tensor, &made) : run(&job, tensor, &made, metric);
        lt_fpenv_leave(&saved);
    }
    if (status == LATHE_OK) {
        take_scales(tensor, &made);
        describe(tensor, desc, to);
        give_back_tail(tensor);
        metric->n_saturated = job.n_saturated;
    }
    drop_scales(tensor, &made);
    return status;
}

/* Whether the tensor may be changed, and has room for what it becomes. */
static lathe_status check_tensor(const lathe_tensor *tensor, const lt_layout *to) {
    if (tensor->read_only) {
        return lt_fail(LATHE_READ_ONLY, "the tensor is read-only");
    }
    if (lathe_tensor_is_shared(tensor)) {
        return lt_fail(LATHE_SHARED, "the tensor is %s: lathe_tensor_make_unique gives a copy",
                       tensor->root != NULL ? "a view of another"
                                            : "shared: there are views of it, or other references");
    }
    if (tensor->memory == LATHE_MEMORY_DEVICE && tensor->data != NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the tensor is mapped");
    }
    if (to->n_bytes > tensor->capacity) {
        (void)lt_fail(LATHE_INSUFFICIENT_MEMORY,
                      "in place the result takes %" PRIu64 " bytes, and the tensor has %" PRIu64,
                      to->n_bytes, tensor->capacity);
        lt_error()->required_bytes = to->n_bytes;
        lt_error()->available_bytes = tensor->capacity;
        return LATHE_INSUFFICIENT_MEMORY;
    }
    /* A device tensor's scales are the device's: it converts with what it finds. */
    return tensor->memory == LATHE_MEMORY_DEVICE || lt_layout_equal(&tensor->layout, to)
               ? LATHE_OK
               : lt_scales_check(tensor->scales, tensor->layout.n_scales, 0);
}

static lathe_status convert_in_place(lathe_engine *engine, lathe_tensor *tensor,
                                     const lathe_target *target, lt_metric *metric,
                                     lathe_quality_report *report) {
    lathe_tensor_desc desc;
    lt_layout to;
    lathe_status status = lathe_target_desc(target, tensor->n_dims, tensor->shape, &desc);
    if (status == LATHE_OK) {
        status = lt_layout_of(&desc, &to);
    }
    if (status != LATHE_OK) {
        return status;
    }
    metric->dst_bytes = to.n_bytes + to.n_scales * sizeof(float);
    if (!lt_layout_equal(&tensor->layout, &to)) {
        status = check_tensor(tensor, &to);
        return status == LATHE_OK ? convert(engine, tensor, target, &desc, &to, metric, report)
                                  : status;
    }
    bool is_already = lt_tensor_is(tensor, &desc, &to);
    status = is_already ? LATHE_OK : check_tensor(tensor, &to);
    if (status == LATHE_OK && report != NULL) {
        status = lathe_tensor_compare(engine, tensor, tensor, report);
    }
    if (status == LATHE_OK && !is_already) {
        describe(tensor, &desc, &to); /* other names for the same layout */
    }
    return status;
}

static lathe_status check_arguments(const lathe_engine *engine, const lathe_tensor *tensor,
                                    const lathe_convert_stats *stats) {
    if (engine == NULL || tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine or tensor is NULL");
    }
    if (stats != NULL && stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "stats struct_size is not sizeof(lathe_convert_stats)");
    }
    const lathe_quality_report *report = stats == NULL ? NULL : stats->quality;
    return report != NULL && report->struct_size != sizeof *report
               ? lt_fail(LATHE_INVALID_ARGUMENT,
                         "quality struct_size is not sizeof(lathe_quality_report)")
               : LATHE_OK;
}

lathe_status lathe_convert_in_place(lathe_engine *engine, lathe_tensor *tensor,
                                    const lathe_target *target, lathe_convert_stats *stats) {
    lathe_status status = check_arguments(engine, tensor, stats);
    if (status != LATHE_OK) {
        return status;
    }
    const uint64_t start = lt_now_ns();
    lt_tensor_touch(tensor); /* it is about to be written to */
    lt_metric metric = {
        .strategy = LATHE_STRATEGY_IN_PLACE,
        .from = tensor->layout.dtype,
        .to = target == NULL ? (lathe_dtype)0 : target->dtype,
        .src_bytes = tensor->layout.n_bytes + tensor->layout.n_scales * sizeof(float),
    };
    status =
        convert_in_place(engine, tensor, target, &metric, stats == NULL ? NULL : stats->quality);
    if (status != LATHE_OK) {
        lathe_error *error = lt_error();
        error->from = metric.from;
        error->to = metric.to;
        error->stage = error->stage != NULL ? error->stage : "convert";
    } else if (stats != NULL) {
        stats->n_saturated = metric.n_saturated;
    }
    metric.status = status;
    lt_metrics_record_since(engine->metrics, &metric, start);
    return status;
}

uint64_t lathe_tensor_capacity(const lathe_tensor *tensor) {
    return tensor->capacity;
}

lathe_status lathe_tensor_set_capacity(lathe_tensor *tensor, uint64_t n_bytes) {
    if (tensor == NULL || tensor->memory != LATHE_MEMORY_HOST || tensor->owns_memory ||
        tensor->is_part || n_bytes < tensor->layout.n_bytes || n_bytes > SIZE_MAX / 2) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "no tensor of wrapped memory, or %" PRIu64 " bytes do not suit it", n_bytes);
    }
    if (lathe_tensor_is_shared(tensor)) {
        return lt_fail(LATHE_SHARED, "the tensor is shared");
    }
    tensor->capacity = n_bytes;
    return LATHE_OK;
}
