/* SPDX-License-Identifier: Apache-2.0 */
/* What a caller is told about the conversion of a checkpoint. */
#include "core/error.h"
#include "formats/convert.h"

lathe_status lt_convert_report_make(const lathe_checkpoint_options *options,
                                    const lathe_checkpoint *input, const lt_convert_plan *plan,
                                    lt_convert_report **report) {
    lt_convert_report *made = lt_pool_new(plan->pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->pool = lathe_pool_retain(plan->pool);
    made->arena.pool = plan->pool;
    made->tensors = lt_arena_new_array(&made->arena, input->n_tensors, sizeof *made->tensors);
    uint64_t *matches = made->tensors != NULL
                            ? lt_arena_new_array(&made->arena, options->n_rules, sizeof *matches)
                            : NULL;
    if (matches == NULL) {
        const lathe_status status = lt_error()->status;
        lathe_checkpoint_report_free(&made->report);
        return status;
    }
    for (size_t i = 0; i < plan->n_kinds; i++) {
        if (plan->kinds[i].rule != LT_CONVERT_NO_RULE) {
            matches[plan->kinds[i].rule] += plan->kinds[i].n_tensors;
        }
    }
    made->report.n_rules = options->n_rules;
    made->report.rule_matches = matches;
    made->report.tensors = made->tensors;
    made->report.n_tensors = input->n_tensors;
    made->report.input_bytes = input->file_bytes;
    *report = made;
    return LATHE_OK;
}

/* What a person calls the tensor's type. */
static const char *type_name(const lathe_checkpoint_tensor *info) {
    return info->dtype != 0 ? lathe_dtype_name(info->dtype) : info->stored_type;
}

void lt_convert_report_tensor(lt_convert_report *report, const lathe_checkpoint *input,
                              const lt_convert_plan *plan, size_t i) {
    const lathe_checkpoint_tensor *info = &input->tensors[i].info;
    const lt_convert_kind *kind = &plan->kinds[plan->items[i].kind];
    lathe_tensor_report *tensor = &report->tensors[i];
    tensor->name = info->name;
    tensor->from = type_name(info);
    tensor->to = kind->dtype != 0 ? lathe_dtype_name(kind->dtype) : tensor->from;
    tensor->converted = kind->dtype != 0;
    tensor->bytes_in = info->n_bytes + info->n_scales * sizeof(float);
    tensor->bytes_out = kind->bytes_out;
    tensor->scale_count = kind->output->n_scales;
    report->report.n_converted += kind->dtype != 0;
}

void lt_convert_report_files(lt_convert_report *report, const lt_outputs *outputs) {
    for (size_t i = 0; i < outputs->n_writers; i++) {
        report->report.output_bytes += lt_writer_file_bytes(outputs->writers[i]);
    }
    report->report.n_shards = outputs->index != NULL ? outputs->n_writers : 0;
}

void lathe_checkpoint_report_free(lathe_checkpoint_report *report) {
    if (report == NULL) {
        return;
    }
    lt_convert_report *owner = (lt_convert_report *)(void *)report;
    lathe_pool *pool = owner->pool;
    lt_arena_free(&owner->arena);
    lt_pool_delete(pool, owner);
    lathe_pool_release(pool);
}
