/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing two tensors: a convert pass whose result is there already and is only measured. */
#include "core/error.h"
#include "core/fpenv.h"
#include "core/quality.h"
#include "core/tensor.h"
#include "engine/device/device_tensor.h"
#include "engine/engine.h"
#include "pool/pool.h"
#include <string.h>

/* A tensor as the host sees it: itself, or a copy. */
static lathe_status open_on_host(lathe_engine *engine, const lathe_tensor *tensor,
                                 lathe_tensor **twin) {
    if (tensor->memory != LATHE_MEMORY_DEVICE) {
        *twin = lathe_tensor_retain((lathe_tensor *)(uintptr_t)tensor);
    } else {
        const lathe_tensor_desc desc = lt_tensor_desc_of(tensor);
        lathe_status status = lathe_tensor_create(engine->pool, &desc, twin);
        if (status == LATHE_OK) {
            status = lt_tensor_copy_contents(tensor, *twin);
        }
        if (status != LATHE_OK) {
            return status;
        }
    }
    return lt_scales_check((*twin)->scales, (*twin)->layout.n_scales, 0);
}

static lathe_status measure(lathe_engine *engine, const lathe_tensor *a, const lathe_tensor *b,
                            lt_quality_sums *sums) {
    const lt_buffer data[2] = {{.host = a->data}, {.host = b->data}};
    const lt_buffer scales[2] = {{.host = a->scales}, {.host = b->scales}};
    const lt_pass pass = {.src = a->layout, .dst = b->layout};
    const lt_ranges ranges = lt_ranges_cut(&b->layout, engine->cpu->elems_per_range, 0);
    lt_outcome outcome;
    lt_outcome_init(&outcome);
    outcome.quality = sums;
    const lt_work work = {
        .pass = &pass,
        .src = {.data = &data[0], .scales = &scales[0]},
        .dst = {.data = &data[1], .scales = &scales[1]},
        .measure_only = true,
        .ranges = &ranges,
        .n_ranges = ranges.n_ranges,
        .outcome = &outcome,
    };
    lathe_status status = engine->cpu->ops->submit_convert(engine->cpu, NULL, &work);
    return status == LATHE_OK ? lt_outcome_status(&outcome, a->layout.dtype, b->layout.dtype)
                              : status;
}

static lathe_status check_tensors(const lathe_engine *engine, const lathe_tensor *a,
                                  const lathe_tensor *b) {
    if (engine == NULL || a == NULL || b == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, a or b is NULL");
    }
    if (a->n_dims != b->n_dims || memcmp(a->shape, b->shape, a->n_dims * sizeof a->shape[0]) != 0) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES, "the two tensors' shapes differ");
    }
    return LATHE_OK;
}

static lathe_status check_report(const lathe_quality_report *report) {
    return report == NULL || report->struct_size != sizeof *report
               ? lt_fail(LATHE_INVALID_ARGUMENT, "report is NULL or its struct_size is not "
                                                 "sizeof(lathe_quality_report)")
               : LATHE_OK;
}

static lathe_status compare(lathe_engine *engine, const lathe_tensor *a, const lathe_tensor *b,
                            lt_quality_sums *sums) {
    lathe_tensor *from = NULL;
    lathe_tensor *to = NULL;
    lt_fpenv saved;
    lathe_status status = check_tensors(engine, a, b);
    if (status != LATHE_OK) {
        return status;
    }
    lt_fpenv_enter(&saved);
    status = open_on_host(engine, a, &from);
    if (status == LATHE_OK) {
        status = open_on_host(engine, b, &to);
    }
    if (status == LATHE_OK) {
        status = measure(engine, from, to, sums);
    }
    lt_fpenv_leave(&saved);
    lathe_tensor_release(from);
    lathe_tensor_release(to);
    return status;
}

static void fill(const lt_quality_sums *sums, lathe_quality_report *report) {
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    lt_quality_fill(sums, report);
    lt_fpenv_leave(&saved);
}

lathe_status lathe_tensor_compare(struct lathe_engine *engine, const struct lathe_tensor *a,
                                  const struct lathe_tensor *b, lathe_quality_report *report) {
    lt_quality_sums sums = {0};
    lathe_status status = check_report(report);
    if (status == LATHE_OK) {
        status = compare(engine, a, b, &sums);
    }
    if (status == LATHE_OK) {
        fill(&sums, report);
    }
    return status;
}

/* ---- part by part */

struct lathe_comparison {
    lathe_engine *engine;
    lt_quality_sums sums;
};

lathe_status lathe_comparison_create(struct lathe_engine *engine, lathe_comparison **comparison) {
    if (engine == NULL || comparison == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine or comparison is NULL");
    }
    lathe_comparison *made = lt_pool_new(engine->pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->engine = engine;
    *comparison = made;
    return LATHE_OK;
}

void lathe_comparison_free(lathe_comparison *comparison) {
    if (comparison != NULL) {
        lt_pool_delete(comparison->engine->pool, comparison);
    }
}

lathe_status lathe_comparison_add(lathe_comparison *comparison, const struct lathe_tensor *a,
                                  const struct lathe_tensor *b) {
    lt_quality_sums sums = {0};
    if (comparison == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "comparison is NULL");
    }
    lathe_status status = compare(comparison->engine, a, b, &sums);
    if (status == LATHE_OK) {
        lt_quality_merge(&comparison->sums, &sums);
    }
    return status;
}

lathe_status lathe_comparison_merge(lathe_comparison *comparison, const lathe_comparison *from) {
    if (comparison == NULL || from == NULL || comparison == from) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "comparison or from is NULL, or both are the same");
    }
    lt_quality_merge(&comparison->sums, &from->sums);
    return LATHE_OK;
}

lathe_status lathe_comparison_report(const lathe_comparison *comparison,
                                     lathe_quality_report *report) {
    lathe_status status = check_report(report);
    if (status == LATHE_OK && comparison == NULL) {
        status = lt_fail(LATHE_INVALID_ARGUMENT, "comparison is NULL");
    }
    if (status == LATHE_OK) {
        fill(&comparison->sums, report);
    }
    return status;
}
