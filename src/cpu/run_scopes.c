/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes scopes of memory, one while the next one's statistic is taken. */
#include "core/dtype.h"
#include "core/scale.h"
#include "cpu/scopes.h"
#include <math.h>

/* Shorter ones overlap by themselves, a few at a time. How far memory is prefetched was measured.
 */
enum {
    LEAST_BYTES = 2560,
    MOST_BYTES = 65536, /* measured up to there; two of them should stay in the second cache */
    MAX_TILES = MOST_BYTES / sizeof(uint16_t) / LATHE_STAT_TILE + 1,
    NEAR_BYTES = 4096,
    PREFETCH_BYTES = 8192,
    CACHE_LINE = 64,
};

lt_scope_encoder lt_scope_encoder_of(const lt_cpu_backend *cpu, const lt_pass *pass) {
    const lt_kernels *kernels = &cpu->kernels;
    const lt_layout *src = &pass->src;
    const lt_layout *dst = &pass->dst;
    const uint64_t scope = dst->scale_elems;
    const uint64_t src_bytes = scope * src->unit_bytes;
    const bool is_row = scope == dst->row_elems;
    const bool follow = scope > 0 && dst->row_elems % scope == 0 &&
                        (is_row || lt_layout_col_in_unit(dst, scope) == 0);
    lt_scope_encoder encoder = {0};
    if (pass->beyond_cache && follow && src_bytes >= LEAST_BYTES && src_bytes <= MOST_BYTES) {
        encoder = (lt_scope_encoder){
            .encode = kernels->scope_encode[src->dtype][dst->dtype],
            .stat = kernels->group_stat[LT_COLD][lt_stat_of(dst->dtype)][src->dtype],
            .last = kernels->group_encode[LT_COLD][src->dtype][dst->dtype],
            .to = dst->dtype,
            .n_elems = (size_t)scope,
            .src_bytes = (size_t)src_bytes,
            .dst_bytes = (size_t)(is_row ? dst->row_bytes : lt_layout_col_bytes(dst, scope)),
        };
    }
    return encoder;
}

/* Returns false where a statistic is not finite. */
static bool scale_of_tiles(const lt_scope_encoder *e, const float *stats, float *scale,
                           float *inverse) {
    const bool is_max = lt_dtype_traits_of(e->to)->rule == LT_RULE_ABSMAX;
    double total = 0;
    bool is_finite = true;
    for (size_t i = 0; i * LATHE_STAT_TILE < e->n_elems; i++) {
        const double stat = stats[i];
        is_finite = is_finite && isfinite(stat);
        total = is_max ? (total > stat ? total : stat) : total + stat;
    }
    if (is_finite) {
        *scale = lt_scale_from_stat(e->to, total, e->n_elems);
        *inverse = lt_inverse_scale(*scale);
    }
    return is_finite;
}

uint64_t lt_encode_scopes(const lt_scope_encoder *encoder, const lt_scope_run *run) {
    const lt_scope_encoder e = *encoder;
    const uint8_t *src = run->src;
    uint8_t *dst = run->dst;
    float stats[MAX_TILES];
    if (run->n_scopes > 0) {
        const lt_prefetch rest = {src + NEAR_BYTES, 2 * (size_t)CACHE_LINE};
        e.stat(src, e.n_elems, LATHE_STAT_TILE, stats, rest);
    }
    for (uint64_t i = 0; i < run->n_scopes; i++) {
        float inverse;
        if (!scale_of_tiles(&e, stats, &run->scales[i], &inverse)) {
            return i;
        }
        if (i + 1 < run->n_scopes) {
            e.encode(src, dst, e.n_elems, inverse, stats, PREFETCH_BYTES);
        } else {
            const lt_prefetch beyond = {src + e.src_bytes, CACHE_LINE};
            e.last(src, dst, e.n_elems, e.n_elems, &inverse, beyond);
        }
        src += e.src_bytes;
        dst += e.dst_bytes;
    }
    return run->n_scopes;
}
