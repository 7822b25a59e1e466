/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds floats into parts of the first-level cache, whence they are looked at and encoded: the
 * source of the next part is fetched meanwhile, so that memory is read all the time. */
#include "cpu/rounded.h"

#include "core/checked.h"
#include "core/dtype.h"
#include <math.h>

/* Elements of a part whose scale is known: whole vectors, and whole bytes of all types. How far
 * ahead is prefetched was measured, on Zen 4, which fetches lines by pairs. */
enum { PART_ELEMS = 2560, AHEAD_BYTES = 8192, PAIR_BYTES = 128 };

static bool is_rounding(const lt_kernels *kernels, const lt_pass *pass) {
    return pass->dst.n_scales == 0 && !pass->strict &&
           kernels->convert[LT_HOT][pass->src.dtype][pass->dst.dtype] != NULL;
}

lt_rounder lt_rounder_of(const lt_cpu_backend *cpu, const lt_chain *chain, uint32_t n_steps) {
    lt_rounder r = {
        .is_on = n_steps > 0 && chain->src.dtype <= LATHE_BF16,
        .kernels = &cpu->kernels,
        .chain = chain,
        .n_steps = n_steps,
        .fetches = chain->steps[0].pass.beyond_cache,
    };
    for (uint32_t i = 0; i < n_steps; i++) {
        r.is_on = r.is_on && is_rounding(&cpu->kernels, &chain->steps[i].pass);
    }
    return r;
}

lt_rounded_encoder lt_rounded_encoder_of(const lt_cpu_backend *cpu, const lt_chain *chain) {
    const lt_chain_step *step = &chain->steps[chain->n_steps - 1];
    const lt_pass *last = &step->pass;
    const lt_heat heat = last->beyond_cache ? LT_COLD : LT_HOT;
    lt_rounded_encoder e = {
        .rounder = lt_rounder_of(cpu, chain, chain->n_steps - 1),
        .last = last,
        .shares_bytes = lt_groups_share_bytes(&last->dst),
    };
    if (!e.rounder.is_on || last->strict || last->quality != LATHE_BALANCED) {
        return e;
    }
    if (last->own_scales) {
        e.groups = lt_group_encoder_of(cpu, last);
        e.is_on = e.groups.stat != NULL;
    } else if (last->dst.n_scales == 1) {
        e.encode = cpu->kernels.convert[heat][last->src.dtype][last->dst.dtype];
        e.is_on = e.encode != NULL;
        e.params = (lt_kernel_params){
            .inv_scale = lt_inverse_scale(step->scales[0]),
            .max_code = lt_dtype_traits_of(last->dst.dtype)->max_code,
        };
    }
    return e;
}

/* Prefetches what comes as far ahead as n_bytes that are rounded next. */
static void prefetch_ahead(const uint8_t *bytes, size_t n_bytes) {
    for (size_t at = 0; at < n_bytes; at += PAIR_BYTES) {
        __builtin_prefetch(bytes + AHEAD_BYTES + at, 0, 2); /* it may lie past the end */
    }
}

/* Returns where the rounded values are. */
static const uint8_t *round_part(const lt_rounder *r, const uint8_t *src, uint8_t *tile,
                                 uint64_t n_elems) {
    const lt_chain *chain = r->chain;
    const lt_kernel_params none = {0};
    for (uint32_t i = 0; i < r->n_steps; i++) {
        const lt_pass *pass = &chain->steps[i].pass;
        uint8_t *out = tile + (i % 2 == 0 ? 0 : chain->part_bytes[0]);
        r->kernels->convert[LT_HOT][pass->src.dtype][pass->dst.dtype](src, out, (size_t)n_elems,
                                                                      &none);
        src = out;
    }
    return src;
}

bool lt_rounded_stat(const lt_rounder *r, lt_stat which, const uint8_t *src, uint8_t *tile,
                     uint64_t n_elems, double *result) {
    const lt_layout *from = &r->chain->src;
    const lathe_dtype to = r->chain->steps[r->n_steps - 1].pass.dst.dtype;
    const bool is_sum = r->n_steps == 1 && from->dtype == LATHE_F32 && which == LT_STAT_ABSSUM;
    lt_stat_fn *sum = is_sum ? r->kernels->rounded_sum[to] : NULL;
    lt_group_stat_fn *stat = r->kernels->group_stat[r->fetches ? LT_COLD : LT_HOT][which][to];
    float value;
    if (sum != NULL) {
        value = sum(src, (size_t)n_elems);
    } else if (stat != NULL) {
        const lt_prefetch next = {src + n_elems * from->unit_bytes + AHEAD_BYTES, PAIR_BYTES};
        stat(round_part(r, src, tile, n_elems), (size_t)n_elems, (size_t)n_elems, &value, next);
    } else {
        return false;
    }
    *result = (double)value;
    return isfinite(value);
}

/* Rounds and encodes a part; false where it cannot. */
static bool encode_part(const lt_rounded_encoder *e, const uint8_t *src, uint8_t *tile,
                        lt_segment *part) {
    const lt_rounder *r = &e->rounder;
    const size_t n_bytes = (size_t)(part->n_elems * r->chain->src.unit_bytes);
    if (e->encode != NULL) {
        if (r->fetches) {
            prefetch_ahead(src, n_bytes);
        }
        e->encode(round_part(r, src, tile, part->n_elems), part->dst, (size_t)part->n_elems,
                  &e->params);
        return true;
    }
    part->src = round_part(r, src, tile, part->n_elems);
    part->fetch = r->fetches ? src + n_bytes + AHEAD_BYTES : NULL;
    part->fetch_bytes = n_bytes;
    return lt_encode_groups(&e->groups, part);
}

/* Columns of a row. */
static bool encode_columns(const lt_rounded_encoder *e, const uint8_t *src, uint8_t *tile,
                           lt_segment part, uint64_t n_elems) {
    const uint64_t scope = lt_layout_scale_run(&e->last->dst);
    lt_own_scale_parts parts = {.n_elems = PART_ELEMS, .n_last = PART_ELEMS};
    if (e->encode == NULL) {
        parts = lt_own_scale_parts_of(e->last, e->shares_bytes, n_elems);
    }
    while (n_elems > 0) {
        part.n_elems = n_elems <= parts.n_last ? n_elems : parts.n_elems;
        if (!encode_part(e, src, tile, &part)) {
            return false;
        }
        src += part.n_elems * e->rounder.chain->src.unit_bytes;
        part.dst += lt_layout_col_bytes(&e->last->dst, part.n_elems);
        if (e->encode == NULL) {
            part.scales += lt_ceil_div(part.n_elems, scope);
        }
        n_elems -= part.n_elems;
    }
    return true;
}

bool lt_rounded_encode(const lt_rounded_encoder *e, const lt_rounded_block *block) {
    const lt_layout *dst = &e->last->dst;
    const uint64_t n_cols = lt_min(block->n_elems, dst->row_elems);
    const uint8_t *src = block->src;
    lt_segment at = {.dst = block->dst, .scales = block->scales};
    for (uint64_t left = block->n_elems; left > 0; left -= n_cols) {
        if (!encode_columns(e, src, block->tile, at, n_cols)) {
            return false;
        }
        src += n_cols * e->rounder.chain->src.unit_bytes;
        at.dst += dst->row_bytes;
        if (e->encode == NULL) {
            at.scales += dst->scales_per_row;
        }
    }
    return true;
}
