/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes groups, segment by segment: statistics, scales, codes, while what comes next is being
 * fetched. */
#include "core/checked.h"
#include "core/dtype.h"
#include "core/scale.h"
#include "cpu/groups.h"
#include <float.h>

enum {
    /* Of the source: enough groups for kernels that take four at a time, and so little that the
     * processor, which executes out of order, reads ahead into the next ones meanwhile. */
    SEGMENT_BYTES = 5120,
    MAX_SEGMENT_SCOPES = SEGMENT_BYTES / LATHE_GROUP_MULTIPLE,
    FAR_BYTES = 4096, /* beyond a segment */
    NEAR_BYTES = 2048,
    CACHE_LINE = 64,
    SIGNS_LEAST_ELEMS = 512,  /* sums of shorter scopes are folded several at a time */
    SIGNS_AHEAD_BYTES = 8192, /* as far as kernels that narrow in one pass */
};

lt_group_encoder lt_group_encoder_of(const lt_cpu_backend *cpu, const lt_pass *pass) {
    const lt_kernels *kernels = &cpu->kernels;
    const lt_layout *dst = &pass->dst;
    const lathe_dtype from = pass->src.dtype;
    const uint64_t scope = dst->scale_elems;
    const lt_heat heat = pass->beyond_cache ? LT_COLD : LT_HOT;
    const bool is_group =
        scope > 0 && (scope % LATHE_GROUP_MULTIPLE == 0 || scope == dst->row_elems);
    lt_group_encoder encoder = {
        .encode = kernels->group_encode[heat][from][dst->dtype],
        .scales = kernels->scales,
        .to = dst->dtype,
        .group_elems = (size_t)lt_layout_scale_run(dst),
        .elem_bytes = (size_t)pass->src.unit_bytes,
        .far_prefetch = cpu->features.far_prefetch,
    };
    /* Of scopes of several tiles a segment has one. */
    const bool is_one =
        scope <= (uint64_t)MAX_SEGMENT_SCOPES * LATHE_STAT_TILE && !lt_groups_share_bytes(dst);
    if (pass->own_scales && is_group && (scope <= LATHE_STAT_TILE || is_one) &&
        encoder.encode != NULL) {
        encoder.stat = kernels->group_stat[heat][lt_stat_of(dst->dtype)][from];
    }
    if (encoder.stat != NULL && dst->dtype == LATHE_I1 && scope >= SIGNS_LEAST_ELEMS) {
        encoder.sign_sums = kernels->sign_sums[heat][from];
        encoder.ahead = cpu->features.far_prefetch ? SIGNS_AHEAD_BYTES : 0;
    }
    return encoder;
}

lt_own_scale_parts lt_own_scale_parts_of(const lt_pass *pass, bool through_codes,
                                         uint64_t n_elems) {
    const uint64_t scope = lt_layout_scale_run(&pass->dst);
    const uint64_t least = through_codes ? scope * LATHE_BITNET158_PER_BYTE : scope;
    const uint64_t elems = SEGMENT_BYTES / pass->src.unit_bytes;
    const uint64_t unit = elems >= 8 * least ? 4 * least : least; /* kernels take four at a time */
    const uint64_t units = elems / unit;
    if (units < 2) {
        return (lt_own_scale_parts){.n_elems = unit, .n_last = unit};
    }
    const uint64_t n_units = lt_ceil_div(n_elems, unit);
    const uint64_t n_parts = lt_max((n_units + units / 2) / units, 1);
    const uint64_t n_part = (n_units + n_parts / 2) / n_parts * unit;
    return (lt_own_scale_parts){.n_elems = n_part, .n_last = n_part + units / 2 * unit};
}

/* What the two passes over a segment prefetch. */
typedef struct prefetches {
    lt_prefetch by_stat;
    lt_prefetch by_encoder;
} prefetches;

/* Far: the segment after next, the halves one after the other. Near: every other line, beginning
 * with an even one, as the processor fetches lines in pairs; where the segment is long both passes
 * do so a little ahead, else they take turns, or, of 16 bits, do the same: what the first pass asks
 * for at once is too much for some of it to come. All this was measured. */
static prefetches prefetches_of(const lt_group_encoder *e, const lt_segment *at) {
    const size_t pair = 2 * (size_t)CACHE_LINE;
    const uint8_t *src = at->src;
    const size_t n_bytes = (size_t)at->n_elems * e->elem_bytes;
    if (at->fetch != NULL) { /* half of it each */
        return (prefetches){{at->fetch, pair}, {at->fetch + at->fetch_bytes / 2, pair}};
    }
    if (e->far_prefetch) {
        const uint8_t *first = src + n_bytes + FAR_BYTES;
        return (prefetches){{first, CACHE_LINE}, {first + n_bytes / 2, CACHE_LINE}};
    }
    if (n_bytes > SEGMENT_BYTES) {
        const uint8_t *first = src + NEAR_BYTES;
        return (prefetches){{first, pair}, {first + n_bytes, pair}};
    }
    const uint8_t *first = src + n_bytes + NEAR_BYTES;
    if (e->elem_bytes < sizeof(float)) {
        return (prefetches){{first, pair}, {first, pair}};
    }
    return (prefetches){{first, 2 * pair}, {first + pair, 2 * pair}};
}

/* The scale of one scope, from the statistics of its tiles. */
static void scale_of_tiles(const lt_group_encoder *e, const float *stats, uint64_t n_tiles,
                           uint64_t n_elems, float *scale, float *inverse) {
    const bool is_max = lt_dtype_traits_of(e->to)->rule == LT_RULE_ABSMAX;
    double total = 0;
    for (uint64_t i = 0; i < n_tiles; i++) {
        const double stat = stats[i];
        total = is_max ? (total > stat ? total : stat) : total + stat;
    }
    *scale = lt_scale_from_stat(e->to, total, n_elems);
    *inverse = lt_inverse_scale(*scale);
}

/* The scales of scopes of a tile or less. Statistics are stored four at a time, so that vectors of
 * them come late: a kernel pays where there are several. */
static void scales_of_scopes(const lt_group_encoder *e, const float *stats, uint64_t n_scopes,
                             uint64_t last_elems, float *scales, float *inverses) {
    enum { MANY = 32 };
    const lt_dtype_traits *traits = lt_dtype_traits_of(e->to);
    uint64_t n_done = 0;
    if (e->scales != NULL && n_scopes >= MANY) {
        const lt_scale_of how = {.max_code = traits->rule == LT_RULE_ABSMAX ? traits->max_code : 0,
                                 .n_elems = (double)e->group_elems,
                                 .least = traits->min_scale};
        n_done = n_scopes - (last_elems != e->group_elems);
        e->scales(&how, stats, (size_t)n_done, scales, inverses);
    }
    if (n_done < n_scopes) {
        lt_scales_from_stats(e->to, stats + n_done, n_scopes - n_done, e->group_elems, last_elems,
                             scales + n_done, inverses + n_done);
    }
}

/* Without a branch for each: compilers make vectors of this. */
static bool are_finite(const float *stats, uint64_t n) {
    unsigned n_others = 0;
    for (uint64_t i = 0; i < n; i++) {
        n_others += !(stats[i] <= FLT_MAX); /* no statistic is negative */
    }
    return n_others == 0;
}

bool lt_encode_groups(const lt_group_encoder *encoder, const lt_segment *at) {
    float stats[MAX_SEGMENT_SCOPES];
    float inverses[MAX_SEGMENT_SCOPES];
    const lt_group_encoder e = *encoder;
    const size_t n_elems = (size_t)at->n_elems;
    const bool is_long = e.group_elems > LATHE_STAT_TILE; /* one scope, of several tiles */
    const size_t stat_elems = is_long ? LATHE_STAT_TILE : e.group_elems;
    const uint64_t n_stats = lt_ceil_div(n_elems, stat_elems);
    const prefetches ahead = prefetches_of(&e, at);
    const bool is_one_pass = e.sign_sums != NULL && at->fetch == NULL;
    if (is_one_pass) {
        e.sign_sums(at->src, at->dst, n_elems, stat_elems, stats, e.ahead);
    } else {
        e.stat(at->src, n_elems, stat_elems, stats, ahead.by_stat);
    }
    if (!are_finite(stats, n_stats)) {
        return false;
    }
    if (is_long) {
        scale_of_tiles(&e, stats, n_stats, n_elems, at->scales, inverses);
    } else {
        const uint64_t n_last = n_elems - (n_stats - 1) * stat_elems;
        scales_of_scopes(&e, stats, n_stats, n_last, at->scales, inverses);
    }
    if (!is_one_pass) {
        e.encode(at->src, at->dst, n_elems, e.group_elems, inverses, ahead.by_encoder);
    }
    return true;
}
