/* SPDX-License-Identifier: Apache-2.0 */
/* Planning a chain: how its values are held, which scales are found in passing, and how the source
 * is cut into blocks. */
#include "engine/pipeline/chain_plan.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "lathe_constants.h"

/* What a chain holds of a block at a time that no scope asks more of: about a first-level cache. */
enum { BLOCK_BYTES = 32 * 1024 };

/* Scopes up to this many elements, of one step or of several that have to lie in one block, are
 * held in a core's second-level cache, and their scales found there. */
enum { MOST_BLOCK_ELEMS = 64 * 1024 };

enum { ALIGNMENT = 64 };

/* One row without unused bits: what a layout without scales of its rows is. */
static lt_layout flat(const lt_layout *layout) {
    lt_layout made = *layout;
    made.n_rows = 1;
    made.row_elems = layout->n_elems;
    made.row_bytes = lt_layout_col_bytes(&made, layout->n_elems - 1) + made.unit_bytes;
    made.n_bytes = made.row_bytes;
    return made;
}

/* How the values of a step's target are held. */
static lt_layout held_of(const lt_layout *target) {
    lt_layout held = *target;
    if (target->dtype >= LATHE_I8) { /* sub-byte codes as bytes, signs as what they decode to */
        held.dtype = target->dtype == LATHE_I1 ? LATHE_F32 : LATHE_I8;
    }
    const lt_dtype_traits *traits = lt_dtype_traits_of(held.dtype);
    held.unit_elems = traits->unit_elems;
    held.unit_bytes = traits->unit_bytes;
    held.row_bytes = held.row_elems * held.unit_bytes;
    held.n_bytes = held.n_elems * held.unit_bytes;
    if (held.dtype != LATHE_I8) {
        held.scale_elems = held.scales_per_row = held.n_scales = 0;
    }
    return held.scale_elems == 0 ? flat(&held) : held;
}

static void plan_steps(lt_chain *chain, const lt_backend *backend, const lt_layout *layouts,
                       const lathe_target *targets) {
    const lt_layout *last = &layouts[chain->n_steps - 1];
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        lt_chain_step *step = &chain->steps[i];
        const lathe_target *target = &targets[i];
        bool is_last = i + 1 == chain->n_steps;
        bool is_flat = layouts[i].scale_elems == 0 && lt_layout_is_dense(&layouts[i]);
        *step = (lt_chain_step){
            .pass =
                {
                    .src = i == 0 ? chain->src : chain->steps[i - 1].held,
                    .dst = is_last && is_flat ? flat(&layouts[i]) : layouts[i],
                    .quality = target->quality,
                    .nonfinite = target->nonfinite,
                    .strict = target->strict != 0,
                    .beyond_cache = (i == 0 || is_last) &&
                                    chain->src.n_bytes + last->n_bytes > backend->cache_bytes,
                },
            .held = held_of(&layouts[i]),
        };
        if (step->pass.dst.n_scales > 0) {
            step->pass.tiling = lt_tiling_of(&layouts[i], target->quality);
        }
        lt_outcome_init(&step->outcome);
    }
}

/* ---- blocks */

/* Rows of all steps nest in each other, since each is made of trailing dimensions. */
static uint64_t longest_row(const lt_chain *chain) {
    uint64_t longest = chain->steps[chain->n_steps - 1].pass.dst.row_elems;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_pass *pass = &chain->steps[i].pass;
        longest = pass->own_scales ? lt_max(longest, pass->dst.row_elems) : longest;
    }
    return longest;
}

/* Columns of rows of row_elems elements are cut at multiples of this: where the result's bytes, or
 * its rows, and the scopes of each step that finds its own scales begin. Above MOST_BLOCK_ELEMS:
 * they cannot be cut. */
static uint64_t column_quantum(const lt_chain *chain, uint64_t row_elems) {
    const lt_layout *last = &chain->steps[chain->n_steps - 1].pass.dst;
    uint64_t quantum = last->row_elems < row_elems ? last->row_elems : last->unit_elems;
    for (uint32_t i = 0; i < chain->n_steps && quantum <= MOST_BLOCK_ELEMS; i++) {
        const lt_pass *pass = &chain->steps[i].pass;
        if (pass->own_scales) {
            uint64_t step =
                pass->dst.row_elems < row_elems ? pass->dst.row_elems : pass->dst.scale_elems;
            quantum = quantum / lt_gcd(quantum, step) * step;
        }
    }
    return quantum;
}

/* Fewer would not pay for what a step costs by itself. */
static uint64_t usual_block_elems(const lt_chain *chain) {
    uint64_t widest = 1;
    for (uint32_t i = 0; i + 1 < chain->n_steps; i++) {
        widest = lt_max(widest, chain->steps[i].held.unit_bytes);
    }
    return BLOCK_BYTES / widest;
}

/* Cuts the source into blocks. False if scopes are in the way. */
static bool cut_blocks(lt_chain *chain) {
    uint64_t row_elems = longest_row(chain);
    uint64_t usual = usual_block_elems(chain);
    lt_ranges *blocks = &chain->blocks;
    *blocks = (lt_ranges){
        .n_rows = chain->src.n_elems / row_elems,
        .row_elems = row_elems,
        .rows_per_range = 1,
        .cols_per_range = row_elems,
        .ranges_per_row = 1,
    };
    if (row_elems <= MOST_BLOCK_ELEMS) {
        blocks->rows_per_range = lt_max(usual / row_elems, 1);
        blocks->n_ranges = lt_ceil_div(blocks->n_rows, blocks->rows_per_range);
    } else {
        uint64_t quantum = column_quantum(chain, row_elems);
        if (quantum > MOST_BLOCK_ELEMS) {
            return false;
        }
        blocks->cols_per_range = lt_max(usual / quantum, 1) * quantum;
        blocks->ranges_per_row = lt_ceil_div(row_elems, blocks->cols_per_range);
        blocks->n_ranges = blocks->n_rows * blocks->ranges_per_row;
    }
    chain->block_elems =
        lt_min(blocks->rows_per_range * blocks->cols_per_range, chain->src.n_elems);
    return true;
}

/* Steps from `first` on find their own scales where their scopes allow it. Returns false, with
 * *first the first step that has to be excluded, where they do not. */
static bool try_own_scales(lt_chain *chain, uint32_t *first) {
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        lt_pass *pass = &chain->steps[i].pass;
        pass->own_scales = i >= *first && pass->dst.n_scales > 0;
    }
    if (cut_blocks(chain)) {
        return true;
    }
    while (!chain->steps[*first].pass.own_scales) {
        (*first)++;
    }
    (*first)++;
    return false;
}

/* A statistics pass runs the steps before it on tiles of its own, which do not lie in the blocks:
 * all scales before the last one that takes a pass are found by passes as well. */
static void plan_scales(lt_chain *chain, const lt_backend *backend) {
    uint32_t first = 0;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_layout *dst = &chain->steps[i].pass.dst;
        bool is_long = dst->scale_elems == 0 || dst->scale_elems > MOST_BLOCK_ELEMS;
        if (dst->n_scales > 0 && (is_long || backend->is_remote)) {
            first = i + 1;
        }
    }
    while (!try_own_scales(chain, &first)) {
    }
}

/* ---- memory */

static uint64_t align(uint64_t n_bytes) {
    return (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static uint64_t scales_of_block(const lt_chain *chain, const lt_layout *layout) {
    uint64_t rows = lt_ceil_div(chain->block_elems, layout->row_elems);
    uint64_t in_row =
        lt_ceil_div(lt_min(chain->block_elems, layout->row_elems), lt_max(layout->scale_elems, 1));
    return align(rows * in_row * sizeof(float)) / sizeof(float);
}

static void plan_tile(lt_chain *chain) {
    /* Tiles of statistics go through the steps, too. */
    uint64_t most = lt_max(chain->block_elems, lt_min(LATHE_STAT_TILE, chain->src.n_elems));
    for (uint32_t i = 0; i + 1 < chain->n_steps; i++) {
        lt_chain_step *step = &chain->steps[i];
        uint64_t *part = &chain->part_bytes[i % 2];
        *part = lt_max(*part, align(most * step->held.unit_bytes));
        step->n_block_scales = step->pass.own_scales ? scales_of_block(chain, &step->pass.dst) : 0;
        chain->tile_bytes += step->n_block_scales * sizeof(float);
    }
    chain->tile_bytes += chain->part_bytes[0] + chain->part_bytes[1];
}

void lt_chain_plan(lt_chain *chain, const lt_backend *backend, const lt_layout *src,
                   uint32_t n_steps, const lt_layout *layouts, const lathe_target *targets) {
    *chain = (lt_chain){.n_steps = n_steps, .src = *src};
    plan_steps(chain, backend, layouts, targets);
    plan_scales(chain, backend);
    plan_tile(chain);
}
