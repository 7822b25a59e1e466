/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of tensors as they are, with the engine's threads where both are the host's. */
#include "engine/direct/host_copy.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/device/device_tensor.h"
#include "engine/plan/planner.h"
#include <string.h>

/* What a task copies: so much that its start costs nothing. */
#define PIECE_BYTES (UINT64_C(1) << 20)

typedef struct host_copy {
    lt_backend *cpu;
    lt_buffer from;
    lt_buffer to;
} host_copy;

static void copy_piece(void *ctx, size_t i) {
    const host_copy *c = ctx;
    const uint64_t at = i * PIECE_BYTES;
    (void)c->cpu->ops->copy(c->cpu, NULL, &c->from, at, &c->to, at,
                            lt_min(PIECE_BYTES, c->from.n_bytes - at)); /* which does not fail */
}

static void copy_data(lathe_engine *engine, const lathe_tensor *from, const lathe_tensor *to) {
    const uint64_t n_bytes = from->layout.n_bytes;
    host_copy c = {
        .cpu = engine->cpu,
        .from = {.host = from->data, .n_bytes = n_bytes},
        .to = {.host = to->data, .n_bytes = n_bytes},
    };
    const lt_case in_memory = {.from = from->layout.dtype,
                               .to = from->layout.dtype,
                               .kind = LT_WORK_PLAIN,
                               .n_bytes = 2 * n_bytes};
    lt_costs *costs = engine->planner->costs;
    const bool spread = lt_costs_spread(costs, &in_memory, true);
    const size_t n_pieces = (size_t)lt_ceil_div(n_bytes, PIECE_BYTES);
    const uint64_t start_ns = lt_now_ns();
    if (spread) {
        c.cpu->ops->parallel_for(c.cpu, n_pieces, copy_piece, &c);
    } else {
        for (size_t i = 0; i < n_pieces; i++) {
            copy_piece(&c, i);
        }
    }
    lt_costs_observe(costs, spread ? LT_ON_THREADS : LT_ON_CALLER, &in_memory,
                     lt_now_ns() - start_ns);
}

lathe_status lt_copy_contents(lathe_engine *engine, const lathe_tensor *from,
                              const lathe_tensor *to) {
    if (from->memory == LATHE_MEMORY_DEVICE || to->memory == LATHE_MEMORY_DEVICE ||
        from->layout.n_bytes == 0) {
        return lt_tensor_copy_contents(from, to);
    }
    copy_data(engine, from, to);
    return lt_tensor_write_scales(to, 0, from->scales, (size_t)from->layout.n_scales);
}

lathe_status lathe_tensor_copy(lathe_engine *engine, const lathe_tensor *from, lathe_tensor *to) {
    if (engine == NULL || from == NULL || to == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, from or to is NULL");
    }
    lathe_tensor_desc desc = lt_tensor_desc_of(from);
    if (from->n_dims != to->n_dims ||
        memcmp(from->shape, to->shape, from->n_dims * sizeof from->shape[0]) != 0 ||
        !lt_tensor_is(to, &desc, &from->layout)) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                       "the tensors differ in shape, dtype or granularity");
    }
    if (to->read_only) {
        return lt_fail(LATHE_READ_ONLY, "the target is read-only");
    }
    lt_tensor_touch(to);
    return from == to ? LATHE_OK : lt_copy_contents(engine, from, to);
}
