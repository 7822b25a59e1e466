/* SPDX-License-Identifier: Apache-2.0 */
/* Trying out the launch that converts a tensor in its own memory. */
#include "engine/in_place/in_place_trial.h"

#include "core/error.h"
#include "engine/device/device_tensor.h"
#include "engine/plan/plan.h"
#include <string.h>

typedef struct trial {
    lt_backend *device;
    const lathe_tensor *source;
    lt_pass pass;
    lt_buffer scales;
    lt_queue *queue;
} trial;

static lathe_status upload_scales(trial *t, const lathe_tensor *expected) {
    const lt_backend_ops *ops = t->device->ops;
    uint64_t n_bytes = expected->layout.n_scales * sizeof(float);
    if (n_bytes == 0) {
        return LATHE_OK;
    }
    lathe_status status = ops->buffer_create(t->device, LT_MEMORY_DEVICE, n_bytes, &t->scales);
    return status == LATHE_OK
               ? ops->upload(t->device, t->queue, &t->scales, 0, expected->scales, n_bytes)
               : status;
}

static lathe_status convert(trial *t, lathe_tensor *result) {
    const lt_backend_ops *ops = t->device->ops;
    const lt_span src = lt_device_tensor_span(t->source);
    const lt_ranges all = lt_ranges_cut(&t->pass.dst, t->pass.dst.n_elems, 0);
    lt_outcome outcome;
    lt_outcome_init(&outcome);
    const lt_work work = {
        .pass = &t->pass,
        .src = src,
        .dst = {.data = src.data,
                .data_offset = src.data_offset,
                .scales = t->scales.n_bytes > 0 ? &t->scales : NULL},
        .ranges = &all,
        .n_ranges = all.n_ranges,
        .outcome = &outcome,
        .is_trial = true,
    };
    lathe_status status = ops->submit_in_place(t->device, t->queue, &work);
    if (status == LATHE_OK) {
        status = ops->download(t->device, t->queue, src.data, src.data_offset, result->data,
                               result->layout.n_bytes);
    }
    return status == LATHE_OK ? ops->finish(t->device, t->queue) : status;
}

lathe_status lt_in_place_trial(lathe_engine *engine, const lathe_tensor *source,
                               const lathe_target *target, const lathe_tensor *expected,
                               lathe_tensor *result) {
    trial t = {.device = engine->device, .source = source};
    const lt_layout *from = &source->layout;
    const lt_layout *to = &expected->layout;
    if (t.device->ops->submit_in_place == NULL || to->n_bytes > from->n_bytes) {
        return lt_fail(LATHE_NOT_SUPPORTED, "not in place");
    }
    t.pass = lt_plan_make(t.device, from, to, target, 0).pass;
    t.pass.own_scales = false;
    t.pass.strict = false;
    t.pass.quality = LATHE_BALANCED;
    t.pass.nonfinite = LATHE_NONFINITE_SATURATE;
    lathe_status status = t.device->ops->queue_open(t.device, &t.queue);
    if (status == LATHE_OK) {
        status = upload_scales(&t, expected);
    }
    if (status == LATHE_OK) {
        status = convert(&t, result);
    }
    t.device->ops->queue_close(t.device, t.queue);
    t.device->ops->buffer_destroy(t.device, &t.scales);
    if (status == LATHE_OK && to->n_scales > 0) {
        memcpy(result->scales, expected->scales, (size_t)to->n_scales * sizeof(float));
    }
    return status;
}
