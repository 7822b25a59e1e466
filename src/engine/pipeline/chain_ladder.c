/* SPDX-License-Identifier: Apache-2.0 */
/* Chains that come down to comparisons.
 *
 * With one scale a step, every step is odd and monotone, as chain_scales.c says, and so is what
 * they make together: from |x| = 0 to infinity the last step's code climbs from 0 to 7 and never
 * falls. Where it climbs is found once, by bisection over the bit patterns of the numbers that are
 * not negative, which are ordered as the numbers are. Then a code is the number of those rungs that
 * |x| reaches: no rounding, no product, nothing to hold in between.
 *
 * An infinity stays one up to the first quantized step, which gives it its greatest code, as it
 * does to large numbers; times an inverse of 0 it is a NaN, whose code is 0, and so are all other
 * codes then. A NaN's code is 0, and it reaches no rung. I1 is not odd: both zeros give +1. */
#include "core/dtype.h"
#include "cpu/cpu.h"
#include "cpu/numerics.h"
#include "engine/pipeline/chain_run.h"
#include <math.h>

static bool is_climbing(const lt_pass *pass) {
    return pass->dst.n_scales <= 1 && pass->dst.dtype != LATHE_I1 && !pass->strict &&
           !pass->own_scales && pass->quality != LATHE_FAST;
}

/* The last step's code for a number that is not negative. */
static int code_of(const lt_chain_run *run, float x) {
    const lt_kernels *kernels = &((const lt_cpu_backend *)run->engine->cpu)->kernels;
    const lt_chain *chain = run->chain;
    const lt_chain_step *last = &chain->steps[chain->n_steps - 1];
    const lt_kernel_params params = {
        .inv_scale = lt_inverse_scale(lt_span_scales(&run->work.dst)[0]),
        .max_code = lt_dtype_traits_of(last->pass.dst.dtype)->max_code,
    };
    int8_t code;
    for (uint32_t i = 0; i + 1 < chain->n_steps; i++) {
        x = lt_chain_image(run->engine, &chain->steps[i], 0, x);
    }
    kernels->convert[LT_HOT][LATHE_F32][LATHE_I8](&x, &code, 1, &params);
    return code;
}

/* The least number whose code is k or more; NaN, which nothing reaches, if there is none. */
static float rung_of(const lt_chain_run *run, int k) {
    const uint32_t infinity = 0x7f800000;
    uint32_t below = 0; /* its code is 0 */
    uint32_t reached = infinity;
    if (code_of(run, INFINITY) < k) {
        return NAN;
    }
    while (reached - below > 1) {
        uint32_t middle = below + (reached - below) / 2;
        *(code_of(run, lt_f32_from_bits(middle)) < k ? &below : &reached) = middle;
    }
    return lt_f32_from_bits(reached);
}

void lt_chain_find_ladder(lt_chain_run *run) {
    lt_chain *chain = run->chain;
    const lt_layout *last = &chain->steps[chain->n_steps - 1].pass.dst;
    const lt_cpu_backend *cpu = (const lt_cpu_backend *)run->engine->cpu;
    bool is_ladder = run->backend == run->engine->cpu && chain->src.dtype == LATHE_F32 &&
                     last->dtype == LATHE_I4 && last->n_rows == 1 &&
                     cpu->kernels.ladder_f32_to_i4 != NULL;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        is_ladder = is_ladder && is_climbing(&chain->steps[i].pass);
    }
    for (int k = 1; is_ladder && k <= LT_CHAIN_RUNGS; k++) {
        chain->rungs[k - 1] = rung_of(run, k);
    }
    chain->is_ladder = is_ladder;
}
