/* SPDX-License-Identifier: Apache-2.0 */
/* Chains: several conversions after one another whose intermediate values are never stored. The
 * pipeline strategy makes them, and a backend runs them. */
#ifndef LT_CHAIN_H
#define LT_CHAIN_H

#include "backend.h"
#include "lathe_constants.h"

enum { LT_CHAIN_MAX_STEPS = 16 };

/* One conversion of a chain. */
typedef struct lt_chain_step {
    /* From the values before the step, as the chain holds them, to the layout that the step's
     * target has. own_scales: the scopes lie whole inside the chain's blocks. */
    lt_pass pass;
    /* How the chain holds the values after the step: in F32, F16, BF16 or I8 codes, so that any
     * element can be the first, with the scopes of pass.dst. Not of the last step. */
    lt_layout held;
    float *scales;           /* pass.dst.n_scales of them, on the host, where they are found before
                                the step runs; NULL: own_scales, or there are none */
    uint64_t n_block_scales; /* own_scales, but for the last step: of a block, at most */
    lt_outcome outcome;
} lt_chain_step;

typedef struct lt_chain {
    uint32_t n_steps; /* at least 1 */
    lt_chain_step steps[LT_CHAIN_MAX_STEPS];
    lt_layout src;
    lt_ranges blocks; /* what goes through all steps at once: the CPU's */
    uint64_t block_elems;
    bool last_first; /* the source's end is in the caches */
    bool is_finite;  /* neither the source nor what its greatest value becomes has been found to be
                        anything else: only where that has been looked for */
    /* What one thread of the CPU holds: two parts in which steps' values take turns, then the
     * scales that it finds. */
    uint64_t tile_bytes;
    uint64_t part_bytes[2];
} lt_chain;

/* Where the memory of a chain's source and result is, and what is to be done. On a device a convert
 * is of elements [first_elem, first_elem + n_elems), which both spans begin with: columns of a row
 * of the last layout, or whole rows. The CPU does all. */
struct lt_chain_work {
    lt_chain *chain;
    lt_span src;
    lt_span dst; /* convert: of the last step */
    /* Stats: so many steps come before the values that are looked at. Convert: the chain's own
     * number; or fewer, whose values are checked and not kept. */
    uint32_t n_steps;
    const lt_pass *pass; /* stats: of the statistics; its tiling says which tiles there are */
    lt_outcome *outcome; /* stats: of the values that are looked at; convert on a device: what it
                            meets, which belongs to lt_chain_blamed_step */
    uint64_t first_elem; /* convert on a device, as are the next three */
    uint64_t n_elems;
    bool own_scales;  /* the scales of all steps are found on the way. A value there that is not
                         finite is a fault, without its element, and nothing holds of the result */
    lt_tile_sum *top; /* own_scales: room for what a source comes to that has one scale for all,
                         until the queue is finished */
    const lt_buffer *step_scales; /* of the steps before the last, one after another */
    uint64_t first_tile;          /* stats */
    uint64_t n_tiles;
    double *stats;
    uint8_t *tiles;   /* n_tasks times tile_bytes, for the CPU */
    uint32_t n_tasks; /* at least 1 */
    bool is_trial;    /* of the self-check: runs kernels that have not passed it yet */
};

/* How many of the first n_steps steps are to be run on elements from `elem` on: an earlier step's
 * fault is what is reported, so that later steps need not run, nor the step itself beyond it. */
static inline uint32_t lt_chain_steps_left(const lt_chain *chain, uint32_t n_steps, uint64_t elem) {
    for (uint32_t i = 0; i < n_steps; i++) {
        const uint64_t fault = lt_outcome_element(&chain->steps[i].outcome);
        if (fault != LATHE_NO_ELEMENT) {
            return fault < elem ? i : i + 1;
        }
    }
    return n_steps;
}

/* True if a chain is one conversion whose source, of F32, is rounded first: to `rounds`. */
static inline bool lt_chain_rounds(const lt_chain *chain, lathe_dtype rounds[LT_MOST_ROUNDS]) {
    const uint32_t n = chain->n_steps - 1;
    bool is_rounded = chain->src.dtype == LATHE_F32 && n > 0 && n <= LT_MOST_ROUNDS &&
                      lathe_dtype_is_quantized(chain->steps[n].pass.dst.dtype);
    for (uint32_t i = 0; is_rounded && i < n; i++) {
        const lt_pass *pass = &chain->steps[i].pass;
        rounds[i] = pass->dst.dtype;
        is_rounded = !pass->strict && (rounds[i] == LATHE_F16 || rounds[i] == LATHE_BF16);
    }
    return is_rounded;
}

/* The step that meets all faults of a convert on a device: corrupt bytes, or what the last step
 * finds. */
static inline uint32_t lt_chain_blamed_step(const lt_chain *chain) {
    return chain->src.dtype == LATHE_BITNET158 ? 0 : chain->n_steps - 1;
}

#endif
