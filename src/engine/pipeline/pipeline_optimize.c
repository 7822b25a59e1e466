/* SPDX-License-Identifier: Apache-2.0 */
/* Dropping stages that no result depends on.
 *
 * Repeated: the tensor has the stage's dtype, granularity, group_size and row_dims already. The
 * conversion would be a copy, whatever its other options. A float type's rows mean nothing, so that
 * row_dims matters to the last stage alone, whose result carries it.
 *
 * Widening: a stage to F32, from P, before a stage to X. Every conversion decodes to F32 first, so
 * that the stage to X sees the same values without it; and nothing can be lost on the way to F32,
 * strict or not. But:
 *   - P to P is a copy, and P through F32 to P is not where it computes other scales, or quiets a
 *     NaN. A float P whose NaNs are quiet, because a stage has made it of another type, does come
 *     back as it was.
 *   - A corrupt byte of BITNET158 ends the stage to F32; one to X might come upon another fault
 *     first, unless there is none.
 * F32 to F16 and back is no such case: the first of the two rounds. */
#include "core/error.h"
#include "core/layout.h"
#include "engine/pipeline/pipeline.h"
#include <stdio.h>
#include <string.h>

/* A tensor, but for its shape. */
typedef struct kind {
    lathe_dtype dtype;
    lathe_granularity granularity;
    uint64_t group_size;
    uint32_t row_dims;
    bool is_made; /* of another dtype, by a stage */
} kind;

typedef struct optimizer {
    lathe_pipeline_stage stages[LATHE_PIPELINE_MAX_STAGES];
    uint32_t numbers[LATHE_PIPELINE_MAX_STAGES]; /* as they were counted at first */
    uint32_t n_stages;
    lathe_pipeline_report report;
} optimizer;

static uint32_t row_dims_of(uint32_t row_dims) {
    return row_dims == 0 ? 1 : row_dims;
}

static kind kind_of(const kind *before, const lathe_target *target) {
    bool quantized = lathe_dtype_is_quantized(target->dtype);
    return (kind){
        .dtype = target->dtype,
        .granularity = quantized ? target->granularity : LATHE_PER_TENSOR,
        .group_size = quantized ? target->group_size : 0,
        .row_dims = row_dims_of(target->row_dims),
        .is_made = before->is_made || before->dtype != target->dtype,
    };
}

static bool is_repeated(const optimizer *o, const kind *before, uint32_t index) {
    const kind after = kind_of(before, &o->stages[index].target);
    bool is_last = index + 1 == o->n_stages;
    bool rows_matter = is_last || lathe_dtype_is_quantized(after.dtype);
    return before->dtype == after.dtype && before->granularity == after.granularity &&
           before->group_size == after.group_size &&
           (!rows_matter || before->row_dims == after.row_dims);
}

static bool is_widening(const optimizer *o, const kind *before, uint32_t index) {
    if (index + 1 == o->n_stages || o->stages[index].target.dtype != LATHE_F32 ||
        before->dtype == LATHE_F32) {
        return false;
    }
    const lathe_target *next = &o->stages[index + 1].target;
    if (before->dtype == LATHE_BITNET158) {
        return !lathe_dtype_is_quantized(next->dtype) && next->dtype != LATHE_F32 &&
               next->strict == 0;
    }
    return next->dtype != before->dtype
               ? next->dtype != LATHE_F32 /* which is repeated */
               : before->is_made && !lathe_dtype_is_quantized(before->dtype);
}

static void drop(optimizer *o, uint32_t index, const kind *before, bool repeated) {
    lathe_pipeline_report *report = &o->report;
    const char *dtype = lathe_dtype_name(o->stages[index].target.dtype);
    char *line = report->lines[report->n_lines++];
    if (repeated) {
        report->n_repeated++;
        (void)snprintf(line, sizeof report->lines[0],
                       "stage %u (%s) dropped: the tensor is that already",
                       (unsigned)o->numbers[index], dtype);
    } else {
        report->n_widening++;
        (void)snprintf(line, sizeof report->lines[0],
                       "stage %u (%s) dropped: stage %u reads the same values from %s",
                       (unsigned)o->numbers[index], dtype, (unsigned)o->numbers[index + 1],
                       lathe_dtype_name(before->dtype));
    }
    o->n_stages--;
    memmove(&o->stages[index], &o->stages[index + 1], (o->n_stages - index) * sizeof o->stages[0]);
    memmove(&o->numbers[index], &o->numbers[index + 1],
            (o->n_stages - index) * sizeof o->numbers[0]);
}

/* Drops the first stage that can be; false if there is none. */
static bool drop_one(optimizer *o, const kind *source) {
    kind before = *source;
    for (uint32_t i = 0; i < o->n_stages && o->n_stages > 1; i++) {
        const lathe_pipeline_stage *stage = &o->stages[i];
        bool is_asked_for = stage->strategy == LATHE_STRATEGY_DIRECT || stage->cache != 0;
        bool repeated = is_repeated(o, &before, i);
        if (!is_asked_for && (repeated || is_widening(o, &before, i))) {
            drop(o, i, &before, repeated);
            return true;
        }
        before = kind_of(&before, &stage->target);
    }
    return false;
}

lathe_status lathe_pipeline_optimize(lathe_pipeline *pipeline, const lathe_tensor_desc *source,
                                     lathe_pipeline_report *report) {
    const uint64_t shape[LATHE_MAX_DIMS] = {0};
    lt_layout layout;
    if (pipeline == NULL || source == NULL ||
        (report != NULL && report->struct_size != sizeof *report)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pipeline or source is NULL, or report struct_size "
                                               "is not sizeof(lathe_pipeline_report)");
    }
    lathe_tensor_desc any_shape = *source;
    any_shape.n_dims = LATHE_MAX_DIMS;
    any_shape.shape = shape;
    lathe_status status = lt_layout_of(&any_shape, &layout);
    if (status != LATHE_OK) {
        return status;
    }
    bool quantized = lathe_dtype_is_quantized(source->dtype);
    const kind from = {
        .dtype = source->dtype,
        .granularity = quantized ? source->granularity : LATHE_PER_TENSOR,
        .group_size = quantized && source->granularity == LATHE_PER_GROUP ? source->group_size : 0,
        .row_dims = row_dims_of(source->row_dims),
    };
    const lathe_tensor_desc *bound = &pipeline->source;
    if (pipeline->is_optimized &&
        (bound->dtype != from.dtype || bound->granularity != from.granularity ||
         bound->group_size != from.group_size || bound->row_dims != from.row_dims)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "the pipeline was optimized for sources of another kind");
    }
    optimizer o = {.n_stages = pipeline->n_stages,
                   .report = {.struct_size = sizeof o.report, .n_before = pipeline->n_stages}};
    memcpy(o.stages, pipeline->stages, sizeof o.stages);
    for (uint32_t i = 0; i < o.n_stages; i++) {
        o.numbers[i] = i + 1;
    }
    while (drop_one(&o, &from)) {
    }
    lt_result_cache_clear(&pipeline->cache);
    memcpy(pipeline->stages, o.stages, sizeof o.stages);
    pipeline->n_stages = o.n_stages;
    pipeline->is_optimized = true;
    pipeline->source = (lathe_tensor_desc){.struct_size = sizeof pipeline->source,
                                           .dtype = from.dtype,
                                           .granularity = from.granularity,
                                           .group_size = from.group_size,
                                           .row_dims = from.row_dims};
    o.report.n_after = o.n_stages;
    if (report != NULL) {
        *report = o.report;
    }
    return LATHE_OK;
}
