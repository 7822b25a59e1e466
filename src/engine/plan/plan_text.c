/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as a sentence, and as JSON. */
#include "core/error.h"
#include "core/text.h"
#include "engine/plan/amount.h"
#include "pool/pool.h"
#include <inttypes.h>
#include <lathe/plan.h>

static void put_passes(lt_text *text, const lathe_plan *plan, const char *between) {
    for (uint32_t i = 0; i < plan->n_passes && i < LATHE_PLAN_MAX_PASSES; i++) {
        lt_text_put(text, "%s%s", i == 0 ? "" : between, plan->passes[i]);
    }
}

static void put_sentence(lt_text *text, const lathe_plan *plan) {
    lt_text_put(text, "%s on %s", lathe_strategy_name(plan->strategy), plan->device);
    if (plan->n_threads > 0) {
        lt_text_put(text, " with %u thread%s", (unsigned)plan->n_threads,
                    plan->n_threads == 1 ? "" : "s");
    }
    if (plan->n_passes > 0) {
        lt_text_put(text, " in %u pass%s (", (unsigned)plan->n_passes,
                    plan->n_passes == 1 ? "" : "es");
        put_passes(text, plan, ", ");
        lt_text_put(text, ")");
    }
    const uint64_t hundredths = (uint64_t)(plan->compression * 100 + 0.5);
    lt_text_put(text, ", about %s, %s beside the source, compression %" PRIu64 ".%02d",
                lt_time_text((double)plan->estimated_ns).text,
                lt_bytes_text(plan->extra_bytes).text, hundredths / 100, (int)(hundredths % 100));
    lt_text_put(text, ": %s.", plan->reason);
}

static void put_json(lt_text *text, const lathe_plan *plan) {
    lt_text_put(text, "{");
    lt_text_put_string(text, "strategy", lathe_strategy_name(plan->strategy));
    lt_text_put_string(text, "device", plan->device);
    lt_text_put_name(text, "passes");
    lt_text_put(text, "[");
    for (uint32_t i = 0; i < plan->n_passes && i < LATHE_PLAN_MAX_PASSES; i++) {
        lt_text_put_string(text, NULL, plan->passes[i]);
    }
    lt_text_put(text, "]");
    lt_text_put_count(text, "estimated_ns", plan->estimated_ns);
    lt_text_put_count(text, "extra_bytes", plan->extra_bytes);
    lt_text_put_name(text, "compression");
    lt_text_put_fixed(text, plan->compression);
    lt_text_put_string(text, "reason", plan->reason);
    lt_text_put(text, "}");
}

/* Writes it into a block of the pool, once its length is known. */
static lathe_status write(const lathe_plan *plan, lathe_pool *pool, char **text,
                          void (*put)(lt_text *text, const lathe_plan *plan)) {
    if (plan == NULL || plan->struct_size != sizeof *plan || pool == NULL || text == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "plan, pool or text is NULL, or struct_size is not sizeof(lathe_plan)");
    }
    lt_text length = {0};
    put(&length, plan);
    lt_text made = {.bytes = lt_pool_new(pool, length.n_bytes + 1)};
    if (made.bytes == NULL) {
        return lt_error()->status;
    }
    put(&made, plan);
    *text = made.bytes;
    return LATHE_OK;
}

lathe_status lathe_plan_text(const lathe_plan *plan, lathe_pool *pool, char **text) {
    return write(plan, pool, text, put_sentence);
}

lathe_status lathe_plan_json(const lathe_plan *plan, lathe_pool *pool, char **text) {
    return write(plan, pool, text, put_json);
}
