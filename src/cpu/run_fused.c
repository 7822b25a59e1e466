/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the first steps of a chain in one kernel.
 *
 * A rounding to F16 or BF16 is monotone and odd, so that the greatest magnitude after it is what
 * the greatest one before it becomes. Then let a value x of a scope of greatest magnitude m be
 * encoded with a greatest code of a: q = round(x * inverse), |q| <= a, and the code of m is a
 * itself, as rounding the scale m / a and its inverse changes the product by less than 2^-22 of it.
 * What the codes stand for has the greatest magnitude fl(a * scale). If that leads to another scale
 * with the greatest code b, q becomes round(fl(fl(q * scale) * inverse')), which is within 2^-20,
 * relative to it, of q * b / a. The greatest codes a are odd (127, 7, 1): 2bq is no odd multiple of
 * a, so that bq / a is at least 1/2a from where rounding changes, far more than that. The new code
 * is round(b * q / a), whatever the scope. So is what several such steps lead to, a function of q
 * alone, and where a product of integers is found to be the same function for all q, the kernel
 * multiplies. All this is of scales that are normal numbers by far; codes of 0 stay 0. */
#include "cpu/fused.h"

#include "core/checked.h"
#include "core/dtype.h"
#include <float.h>

/* Elements that are encoded while the statistics of as many are taken: both lie in a first-level
 * cache. Longer scopes do not: their statistics are taken first, and what comes next is prefetched
 * during both. How far was measured, on Zen 4. */
enum { SEGMENT_ELEMS = 2048, MOST_BESIDE_BYTES = 8192, PREFETCH_BYTES = 8192, CACHE_LINE = 64 };

/* ---- which steps */

/* round(q * b / a) for q >= 0; there are no ties. */
static int next_code(int q, int a, int b) {
    return (2 * q * b + a) / (2 * a);
}

/* Codes times factor / 2^15, rounded to nearest, ties upwards, as the kernels do it. */
static int product(int q, int factor) {
    enum { MORE = 256 }; /* to divide nothing below 0 */
    return (q * factor + 16384 + MORE * 32768) / 32768 - MORE;
}

int lt_fused_factor(const lt_fused_rule *rule) {
    const int first = (int)rule->max_codes[0];
    const int last = (int)rule->max_codes[rule->n_types - 1];
    const int factor = (2 * 32768 * last + first) / (2 * first);
    if (rule->n_types == 1) {
        return 0;
    }
    for (int q = 0; q <= first; q++) {
        int code = q;
        for (unsigned k = 1; k < rule->n_types; k++) {
            code = next_code(code, (int)rule->max_codes[k - 1], (int)rule->max_codes[k]);
        }
        if (factor > INT16_MAX || product(q, factor) != code || product(-q, factor) != -code) {
            return -1;
        }
    }
    return factor;
}

static bool same_scopes(const lt_layout *a, const lt_layout *b) {
    return a->n_scales == b->n_scales && a->scale_elems == b->scale_elems &&
           (a->n_scales == 1 || a->row_elems == b->row_elems);
}

/* One scale for all, on one run of elements. */
static bool is_known(const lt_chain *chain, const lt_chain_step *step) {
    return chain->is_finite && step->scales != NULL && step->pass.dst.n_scales == 1 &&
           step->pass.dst.scale_elems == 0;
}

/* True if a step makes codes with a scale that its own values lead to. */
static bool is_coding(const lt_chain *chain, const lt_chain_step *step) {
    const lt_pass *pass = &step->pass;
    return lt_dtype_traits_of(pass->dst.dtype)->rule == LT_RULE_ABSMAX &&
           pass->quality == LATHE_BALANCED && !pass->strict &&
           (pass->own_scales || is_known(chain, step));
}

/* Adds a step to those that make codes; false if it cannot be. */
static bool add_coding(lt_fused_rule *rule, int *factor, const lt_chain *chain,
                       const lt_chain_step *first, const lt_chain_step *step) {
    lt_fused_rule more = *rule;
    if (!is_coding(chain, step) || step->pass.own_scales != first->pass.own_scales ||
        !same_scopes(&step->pass.dst, &first->pass.dst) || more.n_types == LT_FUSED_TYPES) {
        return false;
    }
    more.max_codes[more.n_types++] = lt_dtype_traits_of(step->pass.dst.dtype)->max_code;
    const int found = lt_fused_factor(&more);
    if (found < 0) {
        return false;
    }
    *factor = found;
    *rule = more;
    return true;
}

/* ---- how */

static uint64_t segment_of(uint64_t scope) {
    const uint64_t n_scopes = lt_max(SEGMENT_ELEMS / scope, 1);
    return lt_min(n_scopes, LT_FUSED_SCOPES) * scope;
}

/* True if the scales of known steps, from `first` on, are what follows from the first one. */
static bool set_known_scale(lt_fusion *f, const lt_chain_step *first) {
    const float scale = first->scales[0];
    for (unsigned k = 1; k < f->rule.n_types; k++) {
        const float before = f->rule.max_codes[k - 1];
        if (first[k].scales[0] != before * first[k - 1].scales[0] / f->rule.max_codes[k]) {
            return false;
        }
    }
    f->inverse = lt_inverse_scale(scale);
    return scale == 0 || (scale > LT_FUSED_LEAST_SCALE && scale < LT_FUSED_MOST_SCALE);
}

static bool set_kernel(lt_fusion *f, const lt_cpu_backend *cpu, const lt_chain *chain,
                       const lt_chain_step *first) {
    const lt_kernels *kernels = &cpu->kernels;
    const lt_layout *dst = &chain->steps[f->n_steps - 1].pass.dst;
    const lathe_dtype from = chain->src.dtype;
    const lathe_dtype to = f->to_result ? dst->dtype : LATHE_I8;
    const bool is_cold = chain->steps[0].pass.beyond_cache;
    const lt_heat heat = is_cold ? LT_COLD : LT_HOT;
    f->run = kernels->fused[from][f->rule.as][to];
    f->find_scales = kernels->fused_scales;
    f->stat = kernels->stat[heat][LT_STAT_ABSMAX][from];
    f->group_stat = kernels->group_stat[heat][LT_STAT_ABSMAX][from];
    f->row_elems = dst->row_elems;
    f->elem_bytes = chain->src.unit_bytes;
    f->code_bits = f->to_result ? 8U * dst->unit_bytes / dst->unit_elems : 8;
    f->how.streams = is_cold && f->to_result && cpu->features.stream_stores;
    f->how.ahead = is_cold ? PREFETCH_BYTES : 0;
    f->own_scales = first->pass.own_scales;
    if (f->run == NULL) {
        return false;
    }
    if (!f->own_scales) {
        f->how.group_elems = SIZE_MAX;
        return (!f->to_result || dst->n_rows == 1) && set_known_scale(f, first);
    }
    f->how.group_elems = (size_t)lt_layout_scale_run(dst);
    f->segment_elems = segment_of(f->how.group_elems);
    f->is_beside = f->segment_elems * f->elem_bytes <= MOST_BESIDE_BYTES;
    if (is_cold && !f->is_beside) {
        f->how.ahead = (size_t)f->segment_elems * f->elem_bytes;
    }
    return true;
}

lt_fusion lt_fusion_of(const lt_cpu_backend *cpu, const lt_chain *chain) {
    lt_fusion f = {.rule = {.as = chain->src.dtype}};
    uint32_t i = 0;
    int factor = 0;
    if (chain->src.dtype > LATHE_BF16 || cpu->kernels.fused_scales == NULL) {
        return f;
    }
    if (chain->steps[0].pass.dst.n_scales == 0) {
        if (chain->src.dtype != LATHE_F32 || chain->steps[0].pass.strict) {
            return f;
        }
        f.rule.as = chain->steps[0].pass.dst.dtype;
        i++;
    }
    const lt_chain_step *first = &chain->steps[i];
    while (i < chain->n_steps && add_coding(&f.rule, &factor, chain, first, &chain->steps[i])) {
        i++;
    }
    f.n_steps = f.rule.n_types > 0 ? i : 0;
    f.to_result = i == chain->n_steps;
    f.how.factor = (short)factor;
    if (f.n_steps > 0 && !set_kernel(&f, cpu, chain, first)) {
        f.n_steps = 0;
    }
    return f;
}

/* ---- blocks */

/* A segment on its way. */
typedef struct segment {
    const uint8_t *src;
    uint8_t *dst;
    float *scales;
    uint64_t n_elems;
    uint64_t n_scopes;
} segment;

/* The greatest magnitude of a scope, or something that is not finite; what lies as far ahead as the
 * kernel looks is prefetched, every second line: it prefetches them all. */
static float scope_stat(const lt_fusion *f, const uint8_t *src, uint64_t n_elems) {
    const lt_prefetch ahead = {src + f->how.ahead, 2 * (size_t)CACHE_LINE};
    float most = 0;
    if (n_elems <= LATHE_STAT_TILE) {
        f->group_stat(src, (size_t)n_elems, (size_t)n_elems, &most, ahead);
        return most;
    }
    for (uint64_t done = 0; done < n_elems && most <= FLT_MAX; done += LATHE_STAT_TILE) {
        const uint64_t n = lt_min(n_elems - done, LATHE_STAT_TILE);
        const float stat = f->stat(src + done * f->elem_bytes, (size_t)n);
        most = stat <= most ? most : stat;
    }
    return most;
}

/* Statistics that no segment before has taken. */
static void take_stats(const lt_fusion *f, const segment *s, float *stats) {
    const uint64_t group = f->how.group_elems;
    for (uint64_t i = 0; i < s->n_scopes; i++) {
        stats[i] = scope_stat(f, s->src + i * group * f->elem_bytes,
                              lt_min(s->n_elems - i * group, group));
    }
}

/* Whether what is known is of these scopes, or of more. */
static bool is_ahead(const lt_fusion *f, const segment *s, const lt_fused_ahead *ahead) {
    return ahead->at == s->src &&
           (s->n_elems == ahead->n_elems ||
            (s->n_elems < ahead->n_elems && s->n_elems % f->how.group_elems == 0));
}

/* Encodes a segment; `n_beyond` elements follow it. */
static bool run_segment(const lt_fusion *f, const segment *s, uint64_t n_beyond,
                        lt_fused_ahead *ahead) {
    float inverses[LT_FUSED_SCOPES];
    float stats[LT_FUSED_SCOPES];
    const float *known = ahead->of;
    const bool looks = f->is_beside && n_beyond >= s->n_elems;
    lt_fused how = f->how;
    if (!is_ahead(f, s, ahead)) {
        take_stats(f, s, stats);
        known = stats;
    }
    if (!f->find_scales(&f->rule, known, (size_t)s->n_scopes, inverses, s->scales)) {
        return false;
    }
    how.inverses = inverses;
    how.next = looks ? s->src + s->n_elems * f->elem_bytes : s->src;
    how.next_stats = ahead->of;
    f->run(s->src, s->dst, (size_t)s->n_elems, &how);
    ahead->at = looks ? how.next : NULL;
    ahead->n_elems = s->n_elems;
    return true;
}

static void run_with_known_scale(const lt_fusion *f, const lt_fused_block *block) {
    float stat;
    lt_fused how = f->how;
    how.inverses = &f->inverse;
    how.next = block->src;
    how.next_stats = &stat;
    f->run(block->src, block->dst, (size_t)block->n_elems, &how);
}

bool lt_fused_run(const lt_fusion *f, const lt_fused_block *block, lt_fused_ahead *ahead) {
    if (!f->own_scales) {
        run_with_known_scale(f, block);
        return true;
    }
    const uint64_t group = f->how.group_elems;
    const bool rows_fit = f->row_elems % group == 0;
    segment s = {.src = block->src, .dst = block->dst, .scales = block->scales};
    uint64_t col = block->col;
    for (uint64_t left = block->n_elems; left > 0; left -= s.n_elems) {
        const uint64_t limit = rows_fit ? left : lt_min(left, f->row_elems - col);
        s.n_elems = lt_min(limit, f->segment_elems);
        s.n_scopes = lt_ceil_div(s.n_elems, group);
        if (!run_segment(f, &s, left - s.n_elems + block->n_beyond, ahead)) {
            return false;
        }
        const uint64_t whole = s.n_elems / group;
        const uint64_t rest = s.n_elems % group;
        s.src += s.n_elems * f->elem_bytes;
        s.dst += whole * lt_ceil_div(group * f->code_bits, 8) + lt_ceil_div(rest * f->code_bits, 8);
        s.scales += s.n_scopes;
        col = col + s.n_elems == f->row_elems ? 0 : col + s.n_elems;
    }
    return true;
}
