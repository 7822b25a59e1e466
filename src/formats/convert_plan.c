/* SPDX-License-Identifier: Apache-2.0 */
/* Decides what becomes of each tensor of a checkpoint. */
#include "formats/convert.h"

#include "core/error.h"
#include "core/layout.h"
#include <fnmatch.h>
#include <inttypes.h>

lathe_status lt_convert_check(const lathe_checkpoint_options *options) {
    if (options == NULL || options->struct_size != sizeof *options) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "options is NULL or its struct_size is not "
                                               "sizeof(lathe_checkpoint_options)");
    }
    lathe_status status = lt_target_check(&options->target);
    if (status != LATHE_OK) {
        return status;
    }
    if (options->n_rules > 0 && options->rules == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "options: rules is NULL");
    }
    for (size_t i = 0; i < options->n_rules; i++) {
        const lathe_rule *rule = &options->rules[i];
        if (rule->glob == NULL || (rule->dtype != 0 && !lathe_dtype_is_valid(rule->dtype))) {
            return lt_fail(LATHE_INVALID_ARGUMENT, "options: rule %zu has no glob, or dtype %d", i,
                           (int)rule->dtype);
        }
        /* With the rule's dtype the target may be invalid where the plain one is not. */
        lathe_target target = options->target;
        target.dtype = rule->dtype != 0 ? rule->dtype : target.dtype;
        status = lt_target_check(&target);
        if (status != LATHE_OK) {
            return lt_fail_prefix("options: rule %zu", i);
        }
    }
    if (options->memory_bytes != 0 && options->memory_bytes < LT_CONVERT_LEAST_MEMORY) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options: memory_bytes %" PRIu64 " is less than 1 MiB",
                       options->memory_bytes);
    }
    if (options->overwrite > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "options: overwrite %" PRIu32 " is neither 0 nor 1",
                       options->overwrite);
    }
    return LATHE_OK;
}

/* The first rule that matches; SIZE_MAX if none does. */
static size_t find_rule(const lathe_checkpoint_options *options, const char *name) {
    for (size_t i = 0; i < options->n_rules; i++) {
        if (fnmatch(options->rules[i].glob, name, 0) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

lathe_target lt_convert_target(const lathe_checkpoint_options *options,
                               const lt_convert_item *item) {
    lathe_target target = options->target;
    target.dtype = item->dtype;
    target.row_dims = item->row_dims;
    return target;
}

/* True if the tensor is already what the target asks for. */
static lathe_status is_same(const lt_checkpoint_tensor *tensor, const lathe_target *target,
                            bool *same) {
    lathe_tensor_desc from;
    lathe_tensor_desc to;
    lt_layout a;
    lt_layout b;
    lathe_status status = lt_checkpoint_desc(tensor, &from);
    if (status == LATHE_OK) {
        status = lathe_target_desc(target, from.n_dims, from.shape, &to);
    }
    if (status == LATHE_OK) {
        status = lt_layout_of(&from, &a);
    }
    if (status == LATHE_OK) {
        status = lt_layout_of(&to, &b);
    }
    if (status == LATHE_OK) {
        *same = lt_layout_equal(&a, &b);
    }
    return status;
}

lathe_status lt_convert_decide(const lathe_checkpoint_options *options,
                               const lt_checkpoint_tensor *tensor, lt_convert_item *item) {
    const lathe_checkpoint_tensor *info = &tensor->info;
    *item = (lt_convert_item){.rule = find_rule(options, info->name)};
    const lathe_rule *rule = item->rule != SIZE_MAX ? &options->rules[item->rule] : NULL;
    if (rule != NULL ? rule->dtype == 0 : info->n_dims <= 1 || info->dtype == 0) {
        return LATHE_OK;
    }
    item->dtype = rule != NULL ? rule->dtype : options->target.dtype;
    item->row_dims = options->target.row_dims;
    if (item->row_dims > info->n_dims) {
        item->row_dims = info->n_dims;
    }
    bool same = false;
    const lathe_target target = lt_convert_target(options, item);
    lathe_status status = is_same(tensor, &target, &same);
    if (status != LATHE_OK) {
        return status;
    }
    if (same) {
        item->dtype = (lathe_dtype)0;
    }
    return LATHE_OK;
}
