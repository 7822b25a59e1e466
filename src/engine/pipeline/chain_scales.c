/* SPDX-License-Identifier: Apache-2.0 */
/* The scales of a chain's steps, with as few passes over the source as they can be had.
 *
 * The greatest absolute value after a step follows from the one before it, without a look at the
 * data. What a step does to a value x, f(x), is one of these:
 *   - rounding to F16 or BF16, or nothing (F32);
 *   - (float)code * scale, where code is x * inverse, clamped and rounded to an integer, and the
 *     scale is one number s >= 0 for all values that are looked at; or
 *   - s or -s by the sign of x (I1).
 * Rounding to nearest even, a product with a number that is not negative, and clamping to [-b, b]
 * are odd, f(-x) = -f(x), and monotone; so is what is made of them, and for such an f
 * |f(x)| = f(|x|) <= f(m) wherever |x| <= m. The greatest |x| being m itself, max |f(x)| = f(m).
 * I1's |f(x)| is s whatever x is. Both hold for finite values whose images are finite. Therefore:
 *   - A NaN or an infinity among the values, or an f(m) that is infinite, is looked into by a pass
 *     over the step's own values, which names the element, or counts it as 0.
 *   - An earlier step has to have one scale for the tensor, or the same scopes, so that s is one
 *     number in each scope.
 *   - FAST quality looks at a sample, and the steps before may have looked at all: it takes a pass.
 *   - Means do not follow from means, as rounding is not additive: I1 and BITNET158 take a pass. */
#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "cpu/cpu.h"
#include "engine/pipeline/chain_run.h"
#include "engine/stream/chain_stream.h"
#include "pool/pool.h"
#include <math.h>

/* Tiles whose statistics are held at a time: 32 KiB of them; on a device, which is waited for after
 * each of them, 128 KiB. */
enum { WINDOW = 4096, DEVICE_WINDOW = LT_STATS_WINDOW };

/* Scopes whose values a thread of the host moves on at a time. */
enum { SCOPES_PER_TASK = 4096 };

/* Starts the pass over some tiles of the values after n_steps steps. */
static lathe_status submit_window(lt_chain_run *run, const struct lt_chain_work *window) {
    const lt_backend_ops *ops = run->backend->ops;
    if (window->n_steps > 0) {
        return ops->submit_chain_stats(run->backend, run->queue, window);
    }
    if (run->stream != NULL) {
        return lt_chain_stream_stats(run->stream, window);
    }
    const lt_work work = {
        .pass = window->pass,
        .src = window->src,
        .stats = window->stats,
        .first_tile = window->first_tile,
        .n_tiles = window->n_tiles,
        .outcome = window->outcome,
        .is_trial = window->is_trial,
    };
    lathe_status status = ops->submit_stats(run->backend, run->queue, &work);
    /* The work is on this function's stack. */
    return status == LATHE_OK ? ops->finish(run->backend, run->queue) : status;
}

/* True if the backend folds the tiles of the source. */
static bool backend_folds(const lt_chain_run *run, const lt_tiling *tiling) {
    return run->backend->ops->fetch_stats != NULL && run->stream == NULL &&
           tiling->n_tiles == tiling->tiles_per_scope &&
           tiling->n_tiles <= run->backend->stats_window &&
           (run->work.is_trial || tiling->n_tiles >= LT_LEAST_FOLDED);
}

/* The same for the source, whose tiles the backend folds. *found: no addition of theirs rounds. */
static lathe_status take_sum(lt_chain_run *run, const lt_pass *pass, lathe_dtype dtype,
                             lt_outcome *outcome, float *scale, bool *found) {
    const lt_backend_ops *ops = run->backend->ops;
    lt_tile_sum sum = {0};
    lt_fold fold = {0};
    const lt_work work = {
        .pass = pass,
        .src = run->work.src,
        .sum = &sum,
        .n_tiles = pass->tiling.n_tiles,
        .outcome = outcome,
        .is_trial = run->work.is_trial,
    };
    lathe_status status = ops->submit_stats(run->backend, run->queue, &work);
    if (status == LATHE_OK) {
        status = ops->finish(run->backend, run->queue);
    }
    *found = status == LATHE_OK && (lt_outcome_element(outcome) != LATHE_NO_ELEMENT ||
                                    (sum.is_set && lt_fold_sum(&fold, &pass->tiling, dtype, &sum,
                                                               pass->tiling.n_tiles, scale)));
    return status;
}

/* Takes the statistics of the values after n_steps steps, and folds them as the scales of `dtype`.
 * What it meets goes to the outcome, and ends it. */
static lathe_status take_stats(lt_chain_run *run, uint32_t n_steps, const lt_pass *pass,
                               lathe_dtype dtype, lt_outcome *outcome, float *scales) {
    lathe_pool *pool = run->engine->pool;
    uint64_t most = run->backend->is_remote ? DEVICE_WINDOW : WINDOW;
    uint64_t window = lt_min(pass->tiling.n_tiles, most);
    struct lt_chain_work work = run->work;
    lt_fold fold = {0};
    void *stats = NULL;
    lathe_status status = LATHE_OK;
    if (n_steps == 0 && backend_folds(run, &pass->tiling)) {
        bool is_found = false;
        status = take_sum(run, pass, dtype, outcome, scales, &is_found);
        if (status != LATHE_OK || is_found) {
            run->report->n_passes++;
            return status;
        }
    }
    status = lathe_pool_alloc(pool, (size_t)window * sizeof(double), &stats);
    work.n_steps = n_steps;
    work.pass = pass;
    work.outcome = outcome;
    work.stats = stats;
    run->report->n_passes++;
    for (uint64_t tile = 0; status == LATHE_OK && tile < pass->tiling.n_tiles; tile += window) {
        work.first_tile = tile;
        work.n_tiles = lt_min(window, pass->tiling.n_tiles - tile);
        status = submit_window(run, &work);
        if (status == LATHE_OK) {
            status = run->backend->ops->finish(run->backend, run->queue);
        }
        if (status == LATHE_OK && lt_outcome_element(outcome) != LATHE_NO_ELEMENT) {
            break;
        }
        if (status == LATHE_OK) {
            lt_fold_tiles(&fold, &pass->tiling, dtype, stats, work.n_tiles, scales);
        }
    }
    lt_pool_delete(pool, stats);
    return status;
}

/* ---- greatest absolute values */

static bool same_scopes(const lt_layout *a, const lt_layout *b) {
    return a->n_scales == b->n_scales &&
           (a->n_scales == 1 || (a->scale_elems == b->scale_elems && a->row_elems == b->row_elems));
}

/* The earliest step so that the greatest absolute values, by the scopes of step `index`, before it
 * lead to those before step `index`. */
static uint32_t earliest_base(const lt_chain *chain, uint32_t index) {
    const lt_layout *scopes = &chain->steps[index].pass.dst;
    uint32_t base = index;
    while (base > 0) {
        const lt_layout *before = &chain->steps[base - 1].pass.dst;
        if (before->n_scales > 1 && !same_scopes(before, scopes)) {
            break;
        }
        base--;
    }
    return base;
}

/* What a step makes of a value that is not negative, in one of its scopes, as an absolute
 * value. */
static float image_of(const lathe_engine *engine, const lt_chain_step *step, uint64_t scope,
                      float x) {
    const lt_kernels *kernels = &((const lt_cpu_backend *)engine->cpu)->kernels;
    const lt_layout *to = &step->pass.dst;
    uint16_t narrow;
    int8_t code;
    float result = x;
    if (to->n_scales == 0) {
        if (to->dtype != LATHE_F32) {
            const lt_kernel_params none = {0};
            kernels->convert[LT_HOT][LATHE_F32][to->dtype](&x, &narrow, 1, &none);
            kernels->convert[LT_HOT][to->dtype][LATHE_F32](&narrow, &result, 1, &none);
        }
        return result;
    }
    float scale = step->scales[to->n_scales == 1 ? 0 : scope];
    if (to->dtype == LATHE_I1) {
        return scale;
    }
    const lt_kernel_params params = {.scale = scale,
                                     .inv_scale = lt_inverse_scale(scale),
                                     .max_code = lt_dtype_traits_of(to->dtype)->max_code};
    kernels->convert[LT_HOT][LATHE_F32][LATHE_I8](&x, &code, 1, &params);
    kernels->convert[LT_HOT][LATHE_I8][LATHE_F32](&code, &result, 1, &params);
    return result;
}

/* What a step makes of what is known, by several threads. */
typedef struct advance {
    lt_chain_run *run;
    atomic_bool is_infinite; /* one of the values */
} advance;

static void advance_scopes(void *ctx, size_t task) {
    advance *a = ctx;
    lt_chain_run *run = a->run;
    const lt_chain_step *step = &run->chain->steps[run->known_at];
    uint64_t first = (uint64_t)task * SCOPES_PER_TASK;
    uint64_t end = lt_min(first + SCOPES_PER_TASK, run->known_scopes.n_scales);
    for (uint64_t i = first; i < end; i++) {
        run->absmax[i] = image_of(run->engine, step, i, run->absmax[i]);
        if (!isfinite(run->absmax[i])) {
            atomic_store(&a->is_infinite, true);
        }
    }
}

/* Moves what is known on to the values before step `index`. False if one of them is not finite. */
static bool advance_known(lt_chain_run *run, uint32_t index) {
    lt_backend *cpu = run->engine->cpu;
    const size_t n_tasks = (size_t)lt_ceil_div(run->known_scopes.n_scales, SCOPES_PER_TASK);
    advance a = {.run = run};
    atomic_init(&a.is_infinite, false);
    for (; run->known_at < index && !atomic_load(&a.is_infinite); run->known_at++) {
        if (n_tasks == 1) {
            advance_scopes(&a, 0);
        } else {
            cpu->ops->parallel_for(cpu, n_tasks, advance_scopes, &a);
        }
    }
    return !atomic_load(&a.is_infinite);
}

/* Takes the greatest absolute values of the values before step `base`, by the scopes of step
 * `index`: what is known, unless a value is not finite. */
static lathe_status take_absmax(lt_chain_run *run, uint32_t base, uint32_t index) {
    lt_chain *chain = run->chain;
    lt_pass pass = chain->steps[index].pass;
    lt_outcome outcome;
    lt_outcome_init(&outcome);
    pass.src = base == 0 ? chain->src : chain->steps[base - 1].held;
    pass.nonfinite = LATHE_NONFINITE_ERROR;
    pass.beyond_cache = base == 0 && chain->src.n_bytes > run->backend->cache_bytes;
    /* I2's scale is the greatest absolute value. */
    lathe_status status = take_stats(run, base, &pass, LATHE_I2, &outcome, run->absmax);
    if (status != LATHE_OK) {
        return status;
    }
    run->is_known = lt_outcome_element(&outcome) == LATHE_NO_ELEMENT;
    run->is_of_source = base == 0;
    run->known_at = base;
    run->known_scopes = pass.dst;
    return LATHE_OK;
}

/* Scales of greatest absolute values, from what is known. *found: they are. */
static lathe_status derive_scales(lt_chain_run *run, uint32_t index, bool *found) {
    lt_chain_step *step = &run->chain->steps[index];
    uint32_t base = earliest_base(run->chain, index);
    bool is_usable =
        run->is_known && run->known_at >= base && same_scopes(&run->known_scopes, &step->pass.dst);
    lathe_status status = LATHE_OK;
    *found = false;
    if (!is_usable) {
        if (base == index) {
            return LATHE_OK; /* a pass over its own values it is */
        }
        status = take_absmax(run, base, index);
    }
    if (status != LATHE_OK || !run->is_known) {
        return status;
    }
    run->is_known = advance_known(run, index);
    if (run->is_known) {
        for (uint64_t i = 0; i < step->pass.dst.n_scales; i++) {
            step->scales[i] = lt_scale_from_stat(step->pass.dst.dtype, (double)run->absmax[i], 0);
        }
        run->report->n_derived++;
        *found = true;
    }
    return LATHE_OK;
}

/* ---- all scales */

static bool is_derivable(const lt_pass *pass) {
    return lt_dtype_traits_of(pass->dst.dtype)->rule == LT_RULE_ABSMAX &&
           pass->quality == LATHE_BALANCED;
}

static lathe_status find_step_scales(lt_chain_run *run, uint32_t index) {
    lt_chain *chain = run->chain;
    lt_chain_step *step = &chain->steps[index];
    lt_pass pass = step->pass;
    bool is_found = false;
    lathe_status status = LATHE_OK;
    if (is_derivable(&pass)) {
        status = derive_scales(run, index, &is_found);
    }
    if (status != LATHE_OK || is_found) {
        return status;
    }
    pass.src = index == 0 ? chain->src : chain->steps[index - 1].held;
    pass.beyond_cache = index == 0 && chain->src.n_bytes > run->backend->cache_bytes;
    if (!is_derivable(&pass)) {
        return take_stats(run, index, &pass, pass.dst.dtype, &step->outcome, step->scales);
    }
    status = take_stats(run, index, &pass, LATHE_I2, &step->outcome, run->absmax);
    if (status == LATHE_OK) {
        run->is_known = true;
        run->is_of_source = index == 0 && pass.nonfinite == LATHE_NONFINITE_ERROR;
        run->known_at = index;
        run->known_scopes = pass.dst;
        for (uint64_t i = 0; i < pass.dst.n_scales; i++) {
            step->scales[i] = lt_scale_from_stat(pass.dst.dtype, (double)run->absmax[i], 0);
        }
    }
    return status;
}

lathe_status lt_chain_find_scales(lt_chain_run *run) {
    lathe_status status = LATHE_OK;
    for (uint32_t i = 0; status == LATHE_OK && i < run->chain->n_steps; i++) {
        const lt_chain_step *step = &run->chain->steps[i];
        if (!lt_chain_step_needs_scales(step)) {
            continue;
        }
        status = find_step_scales(run, i);
        if (status == LATHE_OK && lt_outcome_element(&step->outcome) != LATHE_NO_ELEMENT) {
            status = lt_chain_fault(run);
        }
    }
    return status;
}
