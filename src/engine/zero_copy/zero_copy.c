/* SPDX-License-Identifier: Apache-2.0 */
/* The zero-copy strategy, and the tensors that views are. */
#include <lathe/view.h>

#include "core/error.h"
#include "core/view.h"
#include "engine/device/device_tensor.h"
#include "engine/engine.h"
#include "pool/pool.h"

/* ---- making views */

/* A view of a device tensor: one block. */
typedef struct device_view {
    lathe_tensor tensor;
    lt_device_memory memory;
} device_view;

static void free_view(void *ctx, void *data, float *scales) {
    (void)data;
    (void)scales;
    lathe_tensor_release(ctx);
}

static void free_device_view(void *ctx, void *data, float *scales) {
    device_view *view = ctx;
    (void)data;
    (void)scales;
    lt_pool_delete(view->memory.pool, view->memory.mapped);
    if (view->memory.map_queue != NULL) {
        view->memory.backend->ops->queue_close(view->memory.backend, view->memory.map_queue);
    }
    lathe_tensor_release(view->tensor.root);
}

/* The source's buffers, which stay its own, and the part of them that the view shows. */
static void show_device_memory(const lathe_tensor *source, const lt_view *shown,
                               device_view *view) {
    const lt_device_memory *from = source->on_device;
    lt_device_memory *memory = &view->memory;
    *memory = (lt_device_memory){
        .pool = from->pool,
        .backend = from->backend,
        .data = from->data,
        .scales = from->scales,
        .data_offset = from->data_offset + shown->first_byte,
        .scale_offset = from->scale_offset + shown->first_scale,
    };
    memory->data.is_owned = false;
    memory->scales.is_owned = false;
    view->tensor.on_device = memory;
    view->tensor.free_fn = free_device_view;
    view->tensor.free_ctx = view;
}

static void show_host_memory(const lathe_tensor *source, const lt_view *shown, lathe_tensor *view) {
    /* Nothing may be added to a pointer that is NULL. */
    view->data = source->data == NULL ? NULL : (uint8_t *)source->data + shown->first_byte;
    view->scales = source->scales == NULL ? NULL : source->scales + shown->first_scale;
    view->on_device = source->on_device;
    view->free_fn = free_view;
    view->free_ctx = view->root;
}

static lathe_status make_view(lathe_tensor *source, const lt_view *shown, lathe_tensor **view) {
    bool is_remote = source->memory == LATHE_MEMORY_DEVICE;
    lathe_tensor *root = source->root != NULL ? source->root : source;
    lathe_pool *pool = root->pool;
    void *block = lt_pool_new(pool, is_remote ? sizeof(device_view) : sizeof(lathe_tensor));
    if (block == NULL) {
        return lt_error()->status;
    }
    lathe_tensor *made = block;
    lt_tensor_init(made, pool, &shown->desc, &shown->layout);
    made->memory = source->memory;
    made->read_only = source->read_only;
    made->root = lathe_tensor_retain(root);
    if (is_remote) {
        show_device_memory(source, shown, block);
    } else {
        show_host_memory(source, shown, made);
    }
    *view = made;
    return LATHE_OK;
}

static lathe_status check(const lathe_tensor *source, lathe_tensor *const *view) {
    return source == NULL || view == NULL
               ? lt_fail(LATHE_INVALID_ARGUMENT, "source or view is NULL")
               : LATHE_OK;
}

lathe_status lathe_tensor_view_reshape(lathe_tensor *source, uint32_t n_dims, const uint64_t *shape,
                                       uint32_t row_dims, lathe_tensor **view) {
    lt_view shown;
    lathe_status status = check(source, view);
    if (status == LATHE_OK) {
        status = lt_view_reshape(source, n_dims, shape, row_dims, &shown);
    }
    return status == LATHE_OK ? make_view(source, &shown, view) : status;
}

lathe_status lathe_tensor_view_rows(lathe_tensor *source, uint64_t first, uint64_t count,
                                    lathe_tensor **view) {
    lt_view shown;
    lathe_status status = check(source, view);
    if (status == LATHE_OK) {
        status = lt_view_rows(source, first, count, &shown);
    }
    return status == LATHE_OK ? make_view(source, &shown, view) : status;
}

lathe_status lathe_tensor_view_bits(lathe_tensor *source, lathe_dtype dtype, lathe_tensor **view) {
    lt_view shown;
    lathe_status status = check(source, view);
    if (status == LATHE_OK) {
        status = lt_view_bits(source, dtype, &shown);
    }
    return status == LATHE_OK ? make_view(source, &shown, view) : status;
}

bool lathe_tensor_is_view(const lathe_tensor *tensor) {
    return tensor->root != NULL;
}

bool lathe_tensor_is_shared(const lathe_tensor *tensor) {
    return tensor->root != NULL ||
           atomic_load_explicit(&tensor->n_references, memory_order_acquire) > 1;
}

/* ---- copies */

lathe_status lathe_tensor_materialize(lathe_engine *engine, const lathe_tensor *tensor,
                                      lathe_tensor **copy) {
    if (engine == NULL || tensor == NULL || copy == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, tensor or copy is NULL");
    }
    const lathe_tensor_desc desc = lt_tensor_desc_of(tensor);
    lathe_tensor *made = NULL;
    lathe_status status = lathe_engine_tensor_create(engine, tensor->memory, &desc, &made);
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(tensor, made);
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return status;
    }
    *copy = made;
    return LATHE_OK;
}

lathe_status lathe_tensor_make_unique(lathe_engine *engine, lathe_tensor **tensor) {
    if (tensor == NULL || *tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "tensor is NULL");
    }
    if (!lathe_tensor_is_shared(*tensor) && !(*tensor)->read_only) {
        return LATHE_OK;
    }
    lathe_tensor *copy = NULL;
    lathe_status status = lathe_tensor_materialize(engine, *tensor, &copy);
    if (status == LATHE_OK) {
        lathe_tensor_release(*tensor);
        *tensor = copy;
    }
    return status;
}

/* ---- conversions */

/* The source as the target asks for it. */
static lathe_status shown_as(const lathe_tensor *source, const lathe_target *target,
                             lt_view *shown) {
    *shown = (lt_view){.first_byte = 0};
    lathe_status status = lathe_target_desc(target, source->n_dims, source->shape, &shown->desc);
    return status == LATHE_OK ? lt_layout_of(&shown->desc, &shown->layout) : status;
}

bool lathe_tensor_can_share(const lathe_tensor *source, const lathe_target *target,
                            const char **reason) {
    lt_view shown;
    const char *why = "the source is NULL, or the target is not valid";
    const lathe_error before = *lt_error();
    if (source != NULL && shown_as(source, target, &shown) == LATHE_OK) {
        why = lt_why_not_shared(&source->layout, &shown.layout);
    }
    *lt_error() = before; /* a question cannot fail */
    if (reason != NULL) {
        *reason = why;
    }
    return why == NULL;
}

static lathe_status share(lathe_tensor *source, const lathe_target *target, lathe_tensor **result) {
    lt_view shown;
    lathe_status status = shown_as(source, target, &shown);
    if (status != LATHE_OK) {
        return status;
    }
    const char *why = lt_why_not_shared(&source->layout, &shown.layout);
    if (why != NULL) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES, "%s to %s takes a copy: %s",
                       lathe_dtype_name(source->layout.dtype), lathe_dtype_name(target->dtype),
                       why);
    }
    if (lt_tensor_is(source, &shown.desc, &shown.layout)) {
        *result = lathe_tensor_retain(source);
        return LATHE_OK;
    }
    return make_view(source, &shown, result);
}

lathe_status lathe_zero_copy_convert(lathe_engine *engine, lathe_tensor *source,
                                     const lathe_target *target, lathe_tensor **result) {
    if (source == NULL || result == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "source or result is NULL");
    }
    uint64_t start = engine == NULL ? 0 : lt_now_ns();
    lathe_status status = share(source, target, result);
    if (status != LATHE_OK) {
        lt_error()->from = source->layout.dtype;
        lt_error()->to = target == NULL ? (lathe_dtype)0 : target->dtype;
        lt_error()->stage = "convert";
    }
    if (engine != NULL) {
        uint64_t n_bytes = source->layout.n_bytes + source->layout.n_scales * sizeof(float);
        lt_metric metric = {
            .strategy = LATHE_STRATEGY_ZERO_COPY,
            .from = source->layout.dtype,
            .to = target == NULL ? (lathe_dtype)0 : target->dtype,
            .src_bytes = n_bytes,
            .dst_bytes = n_bytes,
            .status = status,
        };
        lt_metrics_record_since(engine->metrics, &metric, start);
    }
    return status;
}
