/* SPDX-License-Identifier: Apache-2.0 */
/* Chains on the CPU: a block of values goes through all steps while it is in the cache. */
#include "chain.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "cpu/cpu.h"
#include "cpu/fused.h"
#include "cpu/rounded.h"
#include <math.h>
#include <string.h>

/* Elements that a thread takes from the source at a time; that it converts between prefetches. */
enum { ELEMS_PER_CLAIM = 256 * 1024, MEMORY_ELEMS = 1024, CACHE_LINE = 64 };

/* Elements on their way through the steps. */
typedef struct passage {
    const lt_cpu_backend *cpu;
    const lt_chain_work *work;
    const lt_chain *chain;
    uint8_t *tile;
    bool is_final; /* faults other than those of statistics are looked for, and counts taken */
    const lt_fusion *fusion; /* of final passages, as is the next one */
    const lt_rounded_encoder *rounded;
    lt_fused_ahead ahead;
    uint64_t end; /* of the elements that the thread has taken */
    uint64_t elem;
    uint64_t n_elems;
    lt_buffer data; /* the values after the step that has run last, and its scales */
    lt_buffer scales;
    lt_span span;
} passage;

/* Consecutive elements of a step's target that share kernel parameters. */
typedef struct run {
    uint64_t n_elems;
    float scale;
    lt_kernel_params params;
} run;

/* A step on the elements of a passage. */
typedef struct step_run {
    const lt_kernels *kernels;
    const lt_chain_step *step;
    lt_reader src;
    const float *scales;
    uint64_t first_scale;
    lt_outcome *outcome;
    size_t fetch_bytes; /* from one prefetch of its source to the next; 0: it is in the cache */
} step_run;

/* The reader's and the outcome's counters are all that a chain's run changes in it. */
static lt_outcome *outcome_of(const lt_chain *chain, uint32_t step) {
    return (lt_outcome *)(uintptr_t)&chain->steps[step].outcome;
}

static lt_reader values_before(const passage *p, uint32_t step, const lt_pass *pass,
                               lt_outcome *outcome) {
    bool is_first = step == 0;
    return lt_reader_of(p->cpu, pass, is_first ? &p->chain->src : &p->chain->steps[step - 1].held,
                        is_first ? &p->work->src : &p->span, outcome);
}

static uint64_t scale_index(const lt_layout *layout, uint64_t elem) {
    return layout->scale_elems == 0
               ? 0
               : lt_layout_scale_index(layout, elem / layout->row_elems, elem % layout->row_elems);
}

/* Elements from `elem` on that share a scale. */
static uint64_t scope_left(const lt_layout *layout, uint64_t elem) {
    if (layout->scale_elems == 0) {
        return layout->n_elems - elem;
    }
    uint64_t col = elem % layout->row_elems;
    return lt_min(layout->scale_elems - col % layout->scale_elems, layout->row_elems - col);
}

static run run_at(const step_run *s, uint64_t elem, uint64_t most_elems) {
    const lt_layout *layout = &s->step->pass.dst;
    run made = {.n_elems = lt_min(scope_left(layout, elem), most_elems),
                .params = {.max_code = lt_dtype_traits_of(layout->dtype)->max_code}};
    if (layout->n_scales > 0) {
        made.scale = s->scales[scale_index(layout, elem) - s->first_scale];
        made.params.inv_scale = lt_inverse_scale(made.scale);
    }
    return made;
}

/* ---- scales that are found in the block */

static float scope_scale(const step_run *s, uint64_t elem, uint64_t n_elems) {
    const lt_pass *pass = &s->step->pass;
    bool is_max = lt_stat_of(pass->dst.dtype) == LT_STAT_ABSMAX;
    uint64_t stride = lt_scope_stride(pass->quality, n_elems) * LATHE_STAT_TILE;
    double total = 0;
    uint64_t counted = 0;
    for (uint64_t done = 0; done < n_elems; done += stride) {
        uint64_t count = lt_min(n_elems - done, LATHE_STAT_TILE);
        double stat = lt_tile_stat(&s->src, pass, elem + done, count);
        total = is_max ? (total > stat ? total : stat) : total + stat;
        counted += count;
    }
    return lt_scale_from_stat(pass->dst.dtype, total, counted);
}

/* Many short groups by few kernel calls. False where a statistic is not finite. */
static bool find_group_scales(const step_run *s, uint64_t elem, uint64_t n_elems, float *scales) {
    enum { MOST_GROUPS = 128, MOST_ELEMS = LATHE_STAT_TILE / LATHE_BITNET158_PER_BYTE };
    const lt_layout *layout = &s->step->pass.dst;
    uint64_t group = layout->scale_elems;
    lt_group_stat_fn *stat =
        s->kernels->group_stat[LT_HOT][lt_stat_of(layout->dtype)][s->src.layout->dtype];
    bool is_sampled = lt_scope_stride(s->step->pass.quality, group) > 1;
    if (stat == NULL || is_sampled || group % LATHE_GROUP_MULTIPLE != 0 || group > MOST_ELEMS) {
        return false;
    }
    while (n_elems > 0) {
        float stats[MOST_GROUPS];
        float inverses[MOST_GROUPS];
        uint64_t row_left = layout->row_elems - elem % layout->row_elems;
        uint64_t count = lt_min(lt_min(row_left, MOST_GROUPS * group), n_elems);
        uint64_t n_groups = lt_ceil_div(count, group);
        stat(lt_reader_run(&s->src, elem).bytes, (size_t)count, (size_t)group, stats,
             (lt_prefetch){0});
        for (uint64_t i = 0; i < n_groups; i++) {
            if (!isfinite(stats[i])) {
                return false;
            }
        }
        lt_scales_from_stats(layout->dtype, stats, n_groups, group, count - (n_groups - 1) * group,
                             scales, inverses);
        scales += n_groups;
        elem += count;
        n_elems -= count;
    }
    return true;
}

static void find_scales(const step_run *s, uint64_t elem, uint64_t n_elems, float *scales) {
    const lt_layout *layout = &s->step->pass.dst;
    if (find_group_scales(s, elem, n_elems, scales)) {
        return;
    }
    while (n_elems > 0) {
        uint64_t count = lt_min(scope_left(layout, elem), n_elems);
        *scales++ = scope_scale(s, elem, count);
        elem += count;
        n_elems -= count;
    }
}

/* ---- values */

/* Signs, whose bits cannot begin anywhere, are held as what they decode to. At most a tile. */
static void make_signs(const step_run *s, uint64_t elem, const run *to, float *out) {
    float tile[LT_TILE];
    uint8_t bits[LT_TILE / 8];
    const lt_kernel_params decode = {.scale = to->scale};
    lt_reader_decode(&s->src, elem, to->n_elems, tile);
    s->kernels->convert[LT_HOT][LATHE_F32][LATHE_I1](tile, bits, (size_t)to->n_elems, &to->params);
    s->kernels->convert[LT_HOT][LATHE_I1][LATHE_F32](bits, out, (size_t)to->n_elems, &decode);
}

/* Brings what a step reads of memory soon into the second-level cache. How far ahead, and how much
 * at a time, was measured. */
static void prefetch_ahead(const uint8_t *bytes, uint64_t n_bytes, size_t step_bytes) {
    enum { AHEAD_BYTES = 8192 };
    for (uint64_t at = 0; at < n_bytes; at += step_bytes) {
        __builtin_prefetch(bytes + AHEAD_BYTES + at, 0, 2); /* it may lie past the end */
    }
}

/* Makes what the chain holds after the step. */
static void make_values(const step_run *s, uint64_t elem, uint64_t n_elems, uint8_t *out) {
    lathe_dtype from = s->src.layout->dtype;
    lathe_dtype to = s->step->held.dtype;
    bool is_signs = s->step->pass.dst.dtype == LATHE_I1;
    lt_convert_fn *direct = is_signs ? NULL : s->kernels->convert[LT_HOT][from][to];
    if (s->step->pass.dst.dtype == LATHE_F32) {
        lt_reader_decode(&s->src, elem, n_elems, out);
        return;
    }
    while (n_elems > 0) {
        run next = run_at(s, elem, n_elems);
        lt_run source = {0};
        if (direct != NULL) {
            source = lt_reader_run(&s->src, elem);
        }
        next.n_elems = lt_min(next.n_elems, source.bytes != NULL ? source.n_elems : LT_TILE);
        if (is_signs) {
            make_signs(s, elem, &next, (float *)(void *)out);
        } else if (source.bytes != NULL) {
            next.params.scale = source.scale;
            if (s->fetch_bytes > 0) {
                next.n_elems = lt_min(next.n_elems, MEMORY_ELEMS);
                prefetch_ahead(source.bytes,
                               next.n_elems * s->src.layout->unit_bytes / s->src.layout->unit_elems,
                               s->fetch_bytes);
            }
            direct(source.bytes, out, (size_t)next.n_elems, &next.params);
        } else {
            float tile[LT_TILE];
            lt_reader_decode(&s->src, elem, next.n_elems, tile);
            s->kernels->convert[LT_HOT][LATHE_F32][to](tile, out, (size_t)next.n_elems,
                                                       &next.params);
        }
        elem += next.n_elems;
        n_elems -= next.n_elems;
        out += next.n_elems * s->step->held.unit_bytes;
    }
}

/* FAST quality: counts saturated elements, and finds non-finite ones, of at most a tile. */
static void survey(const step_run *s, uint64_t elem, uint64_t n_elems) {
    const lt_pass *pass = &s->step->pass;
    float tile[LT_TILE];
    lt_reader_decode(&s->src, elem, n_elems, tile);
    for (uint64_t i = 0; pass->nonfinite == LATHE_NONFINITE_ERROR && i < n_elems; i++) {
        if (!isfinite(tile[i])) {
            lt_outcome_fault(s->outcome, LATHE_NON_FINITE, elem + i);
            break;
        }
    }
    uint64_t n_saturated = 0;
    for (uint64_t done = 0; done < n_elems && pass->dst.dtype != LATHE_I1;) {
        run next = run_at(s, elem + done, n_elems - done);
        n_saturated += s->kernels->saturated_f32(tile + done, (size_t)next.n_elems, &next.params);
        done += next.n_elems;
    }
    (void)atomic_fetch_add_explicit(&s->outcome->n_saturated, n_saturated, memory_order_relaxed);
}

/* Strict mode: compares at most a tile's values before and after the step. */
static void verify(const step_run *s, const lt_reader *after, uint64_t elem, uint64_t n_elems) {
    float was[LT_TILE];
    float is[LT_TILE];
    lt_reader_decode(&s->src, elem, n_elems, was);
    lt_reader_decode(after, elem, n_elems, is);
    for (uint64_t i = 0; i < n_elems; i++) {
        bool same = was[i] == is[i] || (isnan(was[i]) && isnan(is[i]));
        if (!same) {
            lt_outcome_fault(s->outcome, LATHE_DATA_LOSS, elem + i);
            return;
        }
    }
}

static void check_values(const passage *p, const step_run *s, const lt_reader *after) {
    const lt_pass *pass = &s->step->pass;
    bool surveys = lathe_dtype_is_quantized(pass->dst.dtype) && pass->quality == LATHE_FAST;
    for (uint64_t done = 0; (surveys || pass->strict) && done < p->n_elems; done += LT_TILE) {
        uint64_t count = lt_min(p->n_elems - done, LT_TILE);
        if (surveys) {
            survey(s, p->elem + done, count);
        }
        if (pass->strict) {
            verify(s, after, p->elem + done, count);
        }
    }
}

/* Where a step's own scales lie in the tile. */
static float *block_scales(const passage *p, uint32_t step) {
    uint64_t at = p->chain->part_bytes[0] + p->chain->part_bytes[1];
    for (uint32_t i = 0; i < step; i++) {
        at += p->chain->steps[i].n_block_scales * sizeof(float);
    }
    return (float *)(void *)(p->tile + at);
}

/* Where a step's values lie in the tile. */
static uint8_t *value_part(const passage *p, uint32_t step) {
    return p->tile + (step % 2 == 0 ? 0 : p->chain->part_bytes[0]);
}

/* The values after a step other than the last one, at `out`, become what the next one reads. */
static void hold_values(passage *p, uint32_t index, uint8_t *out, float *scales,
                        uint64_t first_scale) {
    const lt_chain_step *step = &p->chain->steps[index];
    p->data = (lt_buffer){.host = out};
    p->scales = (lt_buffer){.host = scales};
    p->span = (lt_span){
        .data = &p->data,
        .first_byte = p->elem * step->held.unit_bytes,
        .scales = step->held.n_scales > 0 ? &p->scales : NULL,
        .first_scale = first_scale,
    };
}

/* Zen 4 fetches lines by pairs. */
static size_t fetch_step(const lt_cpu_backend *cpu) {
    return cpu->features.far_prefetch ? CACHE_LINE : 2 * (size_t)CACHE_LINE;
}

/* Runs a step that is not the chain's last. */
static void run_step(passage *p, uint32_t index) {
    const lt_chain_step *step = &p->chain->steps[index];
    lt_outcome *outcome = outcome_of(p->chain, index);
    step_run s = {
        .kernels = &p->cpu->kernels,
        .step = step,
        .src = values_before(p, index, &step->pass, outcome),
        .scales = step->scales,
        .outcome = outcome,
        .fetch_bytes = index == 0 && step->pass.beyond_cache ? fetch_step(p->cpu) : 0,
    };
    float *scales = step->scales;
    if (step->pass.own_scales) {
        float *found = block_scales(p, index);
        find_scales(&s, p->elem, p->n_elems, found);
        s.first_scale = scale_index(&step->pass.dst, p->elem);
        s.scales = found;
        scales = found;
    }
    if (index == 0 && p->is_final) {
        lt_reader_check(&s.src, p->elem, p->n_elems);
    }
    uint8_t *out = value_part(p, index);
    make_values(&s, p->elem, p->n_elems, out);
    hold_values(p, index, out, scales, s.first_scale);
    if (p->is_final) {
        lt_reader after = lt_reader_of(p->cpu, &step->pass, &step->held, &p->span, outcome);
        check_values(p, &s, &after);
    }
}

static void run_last_step(const passage *p) {
    const lt_chain *chain = p->chain;
    uint32_t last = chain->n_steps - 1;
    const lt_pass *pass = &chain->steps[last].pass;
    lt_work work = {
        .pass = pass,
        .src = last == 0 ? p->work->src : p->span,
        .dst = p->work->dst,
        .outcome = outcome_of(chain, last),
    };
    /* Blocks are whole rows of the target, or lie in one. */
    uint64_t row_elems = pass->dst.row_elems;
    bool whole_rows = p->elem % row_elems == 0 && p->n_elems % row_elems == 0;
    lt_range range = {
        .row = p->elem / row_elems,
        .n_rows = whole_rows ? p->n_elems / row_elems : 1,
        .col = p->elem % row_elems,
        .n_cols = whole_rows ? row_elems : p->n_elems,
    };
    lt_cpu_convert_range(p->cpu, &work, &range);
}

static const uint8_t *source_at(const passage *p, uint64_t elem) {
    const lt_span *src = &p->work->src;
    return lt_span_bytes(src) + (elem * p->chain->src.unit_bytes - src->first_byte);
}

/* Of the result's layout, which has an element there that begins a byte. */
static uint8_t *result_at(const passage *p, uint64_t elem) {
    const lt_layout *to = &p->chain->steps[p->chain->n_steps - 1].pass.dst;
    return lt_span_bytes(&p->work->dst) +
           (elem / to->row_elems * to->row_bytes + lt_layout_col_bytes(to, elem % to->row_elems) -
            p->work->dst.first_byte);
}

/* The first steps in one kernel. False where it does not take the block. */
static bool run_fused_steps(passage *p) {
    const lt_fusion *fusion = p->fusion;
    const lt_span *dst = &p->work->dst;
    uint32_t last = fusion->n_steps - 1;
    const lt_chain_step *step = &p->chain->steps[last];
    const lt_layout *to = &step->pass.dst;
    uint64_t first_scale = scale_index(to, p->elem);
    lt_fused_block block = {
        .src = source_at(p, p->elem),
        .dst = fusion->to_result ? result_at(p, p->elem) : value_part(p, last),
        .scales = step->scales,
        .col = p->elem % to->row_elems,
        .n_elems = p->n_elems,
        .n_beyond = p->end - p->elem - p->n_elems,
    };
    if (fusion->own_scales) {
        block.scales = fusion->to_result ? lt_span_scales(dst) + (first_scale - dst->first_scale)
                                         : block_scales(p, last);
    }
    if (!lt_fused_run(fusion, &block, &p->ahead)) {
        return false;
    }
    if (!fusion->to_result) {
        hold_values(p, last, block.dst, block.scales, fusion->own_scales ? first_scale : 0);
    }
    return true;
}

/* All steps, where they are roundings and one to codes. False where that does not take the block.
 */
static bool run_rounded(passage *p) {
    const lt_span *dst = &p->work->dst;
    const lt_pass *last = p->rounded->last;
    lt_rounded_block block = {
        .src = source_at(p, p->elem),
        .tile = p->tile,
        .dst = result_at(p, p->elem),
        .n_elems = p->n_elems,
    };
    if (last->own_scales) {
        block.scales = lt_span_scales(dst) + (scale_index(&last->dst, p->elem) - dst->first_scale);
    }
    return lt_rounded_encode(p->rounded, &block);
}

static void run_block(passage *p, uint64_t elem, uint64_t n_elems) {
    uint32_t n_steps = lt_chain_steps_left(p->chain, p->work->n_steps, elem);
    uint32_t n_fused = p->fusion->n_steps;
    p->elem = elem;
    p->n_elems = n_elems;
    if (n_steps == p->chain->n_steps && n_fused == 0 && p->rounded->is_on && run_rounded(p)) {
        return;
    }
    if (n_steps < p->chain->n_steps || n_fused == 0 || !run_fused_steps(p)) {
        n_fused = 0;
    }
    for (uint32_t i = n_fused; i < n_steps; i++) {
        if (i + 1 == p->chain->n_steps) {
            run_last_step(p);
        } else {
            run_step(p, i);
        }
    }
}

/* ---- threads */

typedef struct spread {
    const lt_cpu_backend *cpu;
    const lt_chain_work *work;
    const lt_fusion *fusion;           /* convert */
    const lt_rounded_encoder *rounded; /* the same */
    atomic_uint_fast64_t next;         /* claim that no thread has taken */
    uint64_t n_claims;
    uint64_t per_claim; /* blocks or tiles */
} spread;

static passage passage_of(const spread *s, size_t i, bool is_final) {
    return (passage){
        .cpu = s->cpu,
        .work = s->work,
        .chain = s->work->chain,
        .tile = s->work->tiles + i * s->work->chain->tile_bytes,
        .is_final = is_final,
        .fusion = s->fusion,
        .rounded = s->rounded,
    };
}

/* The units [*first, *end) of the next claim; false if there is none. */
static bool next_claim(spread *s, uint64_t n_units, bool last_first, uint64_t *first,
                       uint64_t *end) {
    uint64_t claim = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
    if (claim >= s->n_claims) {
        return false;
    }
    claim = last_first ? s->n_claims - 1 - claim : claim;
    *first = claim * s->per_claim;
    *end = lt_min(*first + s->per_claim, n_units);
    return true;
}

static void convert_task(void *ctx, size_t i) {
    spread *s = ctx;
    passage p = passage_of(s, i, true);
    const lt_ranges *blocks = &p.chain->blocks;
    uint64_t first;
    uint64_t end;
    while (next_claim(s, blocks->n_ranges, p.chain->last_first, &first, &end)) {
        lt_range last = lt_ranges_at(blocks, end - 1);
        p.end = (last.row + last.n_rows - 1) * blocks->row_elems + last.col + last.n_cols;
        for (uint64_t block = first; block < end; block++) {
            lt_range range = lt_ranges_at(blocks, block);
            uint64_t elem = range.row * blocks->row_elems + range.col;
            run_block(&p, elem, range.n_rows * range.n_cols);
        }
    }
    if (p.cpu->kernels.publish != NULL) {
        p.cpu->kernels.publish();
    }
}

static void stats_task(void *ctx, size_t i) {
    spread *s = ctx;
    passage p = passage_of(s, i, false);
    const lt_chain_work *work = s->work;
    const lt_rounder rounder = lt_rounder_of(p.cpu, p.chain, work->n_steps);
    uint64_t first;
    uint64_t end;
    while (next_claim(s, work->n_tiles, false, &first, &end)) {
        for (uint64_t tile = first; tile < end; tile++) {
            uint64_t elem;
            uint64_t n_elems;
            lt_tiling_tile(&work->pass->tiling, work->first_tile + tile, &elem, &n_elems);
            if (elem > lt_outcome_element(work->outcome)) {
                break; /* the conversion fails at an earlier element */
            }
            if (n_elems == 0) {
                work->stats[tile] = 0;
                continue;
            }
            p.elem = elem;
            p.n_elems = n_elems;
            if (rounder.is_on &&
                lt_rounded_stat(&rounder, lt_stat_of(work->pass->dst.dtype), source_at(&p, elem),
                                p.tile, n_elems, &work->stats[tile])) {
                continue;
            }
            for (uint32_t step = 0; step < work->n_steps; step++) {
                run_step(&p, step);
            }
            lt_reader reader = values_before(&p, work->n_steps, work->pass, work->outcome);
            work->stats[tile] = lt_tile_stat(&reader, work->pass, elem, n_elems);
        }
    }
}

lathe_status lt_cpu_submit_chain(lt_backend *backend, lt_queue *queue, const lt_chain_work *work) {
    (void)queue;
    const lt_cpu_backend *cpu = (const lt_cpu_backend *)backend;
    const lt_chain *chain = work->chain;
    spread s = {
        .cpu = cpu, .work = work, .per_claim = lt_max(ELEMS_PER_CLAIM / chain->block_elems, 1)};
    const lt_fusion fusion = lt_fusion_of(cpu, chain);
    const lt_rounded_encoder rounded = lt_rounded_encoder_of(cpu, chain);
    s.fusion = &fusion;
    s.rounded = &rounded;
    s.n_claims = lt_ceil_div(chain->blocks.n_ranges, s.per_claim);
    lt_threads_run(&cpu->threads, work->n_tasks, convert_task, &s);
    return LATHE_OK;
}

lathe_status lt_cpu_submit_chain_stats(lt_backend *backend, lt_queue *queue,
                                       const lt_chain_work *work) {
    (void)queue;
    const lt_cpu_backend *cpu = (const lt_cpu_backend *)backend;
    spread s = {.cpu = cpu, .work = work, .per_claim = ELEMS_PER_CLAIM / LATHE_STAT_TILE};
    s.n_claims = lt_ceil_div(work->n_tiles, s.per_claim);
    lt_threads_run(&cpu->threads, work->n_tasks, stats_task, &s);
    return LATHE_OK;
}
