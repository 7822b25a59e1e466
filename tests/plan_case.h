/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of planning share. */
#ifndef TESTS_PLAN_CASE_H
#define TESTS_PLAN_CASE_H

#include "check.h"
#include "support.h"
#include <lathe/lathe.h>

static inline lathe_engine *engine_of(lathe_config config) {
    lathe_engine *made = NULL;
    config.struct_size = sizeof config;
    config.device = config.device != NULL ? config.device : "cpu";
    CHECK_OK(lathe_engine_create(&config, &made));
    return made;
}

static const uint64_t small_shape[] = {512, 512};

static inline lathe_tensor_desc desc_of(lathe_dtype dtype, const uint64_t *shape) {
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc), .dtype = dtype, .n_dims = 2, .shape = shape};
}

static inline lathe_target target_of(lathe_dtype dtype) {
    return (lathe_target){.struct_size = sizeof(lathe_target), .dtype = dtype};
}

static inline lathe_status make(lathe_engine *on, const uint64_t *shape, lathe_dtype from,
                                lathe_dtype to, lathe_plan_options options, lathe_plan *plan) {
    const lathe_tensor_desc desc = desc_of(from, shape);
    const lathe_target target = target_of(to);
    options.struct_size = sizeof options;
    plan->struct_size = sizeof *plan;
    return lathe_plan_make(on, &desc, LATHE_MEMORY_HOST, &target, &options, plan);
}

static inline lathe_plan plan_of(lathe_engine *on, const uint64_t *shape, lathe_dtype from,
                                 lathe_dtype to, lathe_plan_options options) {
    lathe_plan plan = {0};
    CHECK_OK(make(on, shape, from, to, options, &plan));
    CHECK(plan.estimated_ns > 0 && plan.reason[0] != '\0', "an estimate and a reason");
    return plan;
}

#endif
