/* SPDX-License-Identifier: Apache-2.0 */
/* Decides what becomes of each tensor of a checkpoint. */
#include "formats/convert.h"

#include "core/error.h"
#include "core/layout.h"
#include "pool/pool.h"
#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

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

/* The first rule that matches. */
static uint32_t find_rule(const lathe_checkpoint_options *options, const char *name) {
    for (size_t i = 0; i < options->n_rules; i++) {
        if (fnmatch(options->rules[i].glob, name, 0) == 0) {
            return (uint32_t)i;
        }
    }
    return LT_CONVERT_NO_RULE;
}

lathe_target lt_convert_target(const lathe_checkpoint_options *options,
                               const lt_convert_kind *kind) {
    lathe_target target = options->target;
    target.dtype = kind->dtype;
    target.row_dims = kind->row_dims;
    return target;
}

/* ---- kinds */

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

/* Whether tensors like this one are converted, and to what. */
static lathe_status decide(const lathe_checkpoint_options *options, lt_convert_kind *kind) {
    const lathe_checkpoint_tensor *info = &kind->like->info;
    const lathe_rule *rule = kind->rule != LT_CONVERT_NO_RULE ? &options->rules[kind->rule] : NULL;
    if (rule != NULL ? rule->dtype == 0 : info->n_dims <= 1 || info->dtype == 0) {
        return LATHE_OK;
    }
    kind->dtype = rule != NULL ? rule->dtype : options->target.dtype;
    kind->row_dims = options->target.row_dims;
    if (kind->row_dims > info->n_dims) {
        kind->row_dims = info->n_dims;
    }
    bool same = false;
    const lathe_target target = lt_convert_target(options, kind);
    lathe_status status = is_same(kind->like, &target, &same);
    if (status == LATHE_OK && same) {
        kind->dtype = (lathe_dtype)0;
    }
    return status;
}

/* How tensors of the kind are stored in the output. */
static lathe_status describe(const lathe_checkpoint_options *options, lt_arena *arena,
                             lt_convert_kind *kind) {
    const lathe_checkpoint_tensor *info = &kind->like->info;
    lathe_tensor_desc desc;
    lathe_status status = LATHE_OK;
    if (kind->dtype == 0 && info->row_dims == 0) { /* not quantized */
        status = lt_writer_kind_plain(arena, lt_st_type_at(kind->like->type), info->n_dims,
                                      info->shape, info->n_bytes, &kind->output);
    } else if (kind->dtype == 0) {
        status = lt_checkpoint_desc(kind->like, &desc);
        if (status == LATHE_OK) {
            status = lt_writer_kind_of(arena, &desc, &kind->output);
        }
    } else {
        const lathe_target target = lt_convert_target(options, kind);
        status = lathe_target_desc(&target, info->n_dims, info->shape, &desc);
        if (status == LATHE_OK) {
            status = lt_writer_kind_of(arena, &desc, &kind->output);
        }
    }
    if (status == LATHE_OK) {
        kind->bytes_out = kind->output->n_bytes + kind->output->n_scales * sizeof(float);
    }
    return status;
}

/* ---- finding kinds */

static bool is_like(const lt_checkpoint_tensor *a, const lt_checkpoint_tensor *b) {
    const lathe_checkpoint_tensor *x = &a->info;
    const lathe_checkpoint_tensor *y = &b->info;
    return a->type == b->type && x->dtype == y->dtype && x->n_dims == y->n_dims &&
           x->granularity == y->granularity && x->row_dims == y->row_dims &&
           x->group_size == y->group_size &&
           (x->shape == y->shape || x->n_dims == 0 ||
            memcmp(x->shape, y->shape, x->n_dims * sizeof *x->shape) == 0);
}

static size_t hash_of(const lt_convert_plan *plan, const lt_checkpoint_tensor *tensor,
                      uint32_t rule) {
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 over the golden ratio */
    const lathe_checkpoint_tensor *info = &tensor->info;
    uint64_t mixed = ((uint64_t)tensor->type << 40 | (uint64_t)info->dtype << 32 | rule) * odd;
    for (uint32_t i = 0; i < info->n_dims; i++) {
        mixed = (mixed ^ mixed >> 29 ^ info->shape[i]) * odd;
    }
    return (size_t)(mixed >> 32) & (plan->n_buckets - 1);
}

static lathe_status grow(lt_convert_plan *plan) {
    size_t room = plan->kinds_room == 0 ? 64 : 2 * plan->kinds_room;
    lt_convert_kind *kinds = lt_pool_new_array(plan->pool, room, sizeof *kinds);
    if (kinds == NULL) {
        return lt_error()->status;
    }
    if (plan->n_kinds > 0) {
        memcpy(kinds, plan->kinds, plan->n_kinds * sizeof *kinds);
    }
    lt_pool_delete(plan->pool, plan->kinds);
    plan->kinds = kinds;
    plan->kinds_room = room;
    uint32_t *buckets = lt_pool_new_array(plan->pool, 2 * room, sizeof *buckets);
    if (buckets == NULL) {
        return lt_error()->status;
    }
    lt_pool_delete(plan->pool, plan->buckets);
    plan->buckets = buckets;
    plan->n_buckets = 2 * room;
    for (size_t i = 0; i < plan->n_kinds; i++) {
        uint32_t *bucket = &buckets[hash_of(plan, kinds[i].like, kinds[i].rule)];
        kinds[i].next = *bucket;
        *bucket = (uint32_t)i + 1;
    }
    return LATHE_OK;
}

static lathe_status find_kind(const lathe_checkpoint_options *options, lt_convert_plan *plan,
                              const lt_checkpoint_tensor *tensor, uint32_t *found) {
    const uint32_t rule = find_rule(options, tensor->info.name);
    const lt_convert_kind *last = plan->n_kinds > 0 ? &plan->kinds[*found] : NULL;
    if (last != NULL && last->rule == rule && is_like(last->like, tensor)) {
        return LATHE_OK; /* as the tensor before */
    }
    lathe_status status = plan->n_kinds == plan->kinds_room ? grow(plan) : LATHE_OK;
    if (status != LATHE_OK) {
        return status;
    }
    uint32_t *bucket = &plan->buckets[hash_of(plan, tensor, rule)];
    for (uint32_t i = *bucket; i != 0; i = plan->kinds[i - 1].next) {
        if (plan->kinds[i - 1].rule == rule && is_like(plan->kinds[i - 1].like, tensor)) {
            *found = i - 1;
            return LATHE_OK;
        }
    }
    lt_convert_kind *kind = &plan->kinds[plan->n_kinds];
    *kind = (lt_convert_kind){.like = tensor, .rule = rule, .next = *bucket};
    status = decide(options, kind);
    if (status == LATHE_OK) {
        status = describe(options, &plan->arena, kind);
    }
    if (status == LATHE_OK) {
        *found = (uint32_t)plan->n_kinds++;
        *bucket = *found + 1;
    }
    return status;
}

/* ---- the plan */

/* True if the scales of some tensor may get the name of another. */
static bool has_scale_names(const lathe_checkpoint *input) {
    const size_t suffix = strlen(LT_ST_SCALE_SUFFIX);
    for (size_t i = 0; i < input->n_tensors; i++) {
        const char *name = input->tensors[i].info.name;
        const size_t length = strlen(name);
        if (length >= suffix && memcmp(name + length - suffix, LT_ST_SCALE_SUFFIX, suffix) == 0) {
            return true;
        }
    }
    return false;
}

/* No tensor may have the name that the scales of another get. */
static lathe_status check_companion(const lathe_checkpoint *input, const char *name) {
    return lt_name_table_find_joined(&input->names, name, strlen(name), LT_ST_SCALE_SUFFIX) ==
                   SIZE_MAX
               ? LATHE_OK
               : lt_writer_fail_companion(name);
}

lathe_status lt_convert_plan_all(const lathe_checkpoint_options *options,
                                 const lathe_checkpoint *input, lt_convert_plan *plan) {
    const bool may_clash = has_scale_names(input);
    uint32_t kind = 0;
    lathe_status status = LATHE_OK;
    plan->items = lt_pool_new_array(plan->pool, input->n_tensors, sizeof *plan->items);
    if (plan->items == NULL) {
        return lt_error()->status;
    }
    for (size_t i = 0; i < input->n_tensors && status == LATHE_OK; i++) {
        const lt_checkpoint_tensor *tensor = &input->tensors[i];
        status = find_kind(options, plan, tensor, &kind);
        if (status == LATHE_OK && may_clash && plan->kinds[kind].output->is_quantized) {
            status = check_companion(input, tensor->info.name);
        }
        if (status == LATHE_OK) {
            plan->items[i].kind = kind;
            plan->kinds[kind].n_tensors++;
        } else {
            status = lt_checkpoint_prefix(tensor);
        }
    }
    return status;
}

void lt_convert_plan_streams(const lathe_checkpoint_options *options, const lt_streamer *streamer,
                             lt_convert_plan *plan) {
    for (size_t i = 0; i < plan->n_kinds; i++) {
        lt_convert_kind *kind = &plan->kinds[i];
        const lathe_checkpoint_tensor *info = &kind->like->info;
        lathe_tensor_desc from;
        kind->read_bytes = info->n_bytes;
        if (kind->dtype == 0) {
            kind->is_small =
                lt_streamer_copies_small(streamer, info->n_bytes + info->n_scales * sizeof(float));
        } else if (lt_checkpoint_desc(kind->like, &from) == LATHE_OK) { /* as decided before */
            const lathe_target target = lt_convert_target(options, kind);
            kind->is_small = lt_streamer_plan_small(streamer, &from, &target, &kind->small);
            kind->read_bytes =
                kind->is_small ? info->n_bytes : lt_streamer_read_bytes(streamer, &from, &target);
        }
    }
}

void lt_convert_plan_free(lt_convert_plan *plan) {
    lt_pool_delete(plan->pool, plan->kinds);
    lt_pool_delete(plan->pool, plan->buckets);
    lt_pool_delete(plan->pool, plan->items);
    lt_arena_free(&plan->arena);
    *plan = (lt_convert_plan){.pool = plan->pool, .arena = {.pool = plan->pool}};
}

size_t lt_convert_assign(const lathe_checkpoint *input, lt_convert_plan *plan, bool sharded,
                         uint64_t shard_bytes) {
    uint32_t writer = 0;
    uint64_t n_bytes = 0;
    if (!sharded || (shard_bytes == 0 && input->n_files <= 1)) {
        return 1; /* the items' writer is 0 */
    }
    for (size_t i = 0; i < input->n_tensors; i++) {
        if (shard_bytes == 0) {
            plan->items[i].writer = input->tensors[i].file;
            continue;
        }
        uint64_t more = plan->kinds[plan->items[i].kind].bytes_out;
        if (n_bytes > 0 && (more > shard_bytes || n_bytes > shard_bytes - more)) {
            writer++;
            n_bytes = 0;
        }
        n_bytes += more;
        plan->items[i].writer = writer;
    }
    return shard_bytes == 0 ? input->n_files : (size_t)writer + 1;
}
