/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between quantized types: codes are unpacked to bytes, a few thousand at a time, and
 * become the codes of the other scale without being decoded to memory. */
#include "cpu/recode.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/precise.h"
#include <float.h>
#include <math.h>

/* Codes that are unpacked at a time: whole bytes of every dtype, five whole groups of up to 1,024
 * elements, and few enough for a first-level cache that holds them twice. */
enum { CHUNK = 5120, MAX_UNITS = CHUNK / LATHE_GROUP_MULTIPLE, BYTE_ELEMS = 8 };

static bool is_narrow(lathe_dtype dtype) {
    return dtype != LATHE_I8;
}

/* ---- codes */

/* Columns that are taken at once: where their codes are, and both scales of each unit that they
 * touch. */
typedef struct chunk {
    lathe_dtype dtype;
    const uint8_t *bytes; /* of the source, from the one on that has the first element */
    uint64_t skip;        /* elements that come before it there */
    uint64_t n_elems;
    uint64_t first; /* elements of the first unit, of which the chunk may have the end alone */
    float scales[MAX_UNITS + 1];
    float inverses[MAX_UNITS + 1];
    int8_t buffer[CHUNK + BYTE_ELEMS]; /* for codes that are unpacked */
} chunk;

/* Finds the chunk that begins at an element of the source. */
static void locate(const lt_reader *src, uint64_t row, uint64_t col, chunk *c) {
    const lt_layout *layout = src->layout;
    c->dtype = layout->dtype;
    c->bytes =
        src->bytes + (row * layout->row_bytes + lt_layout_col_bytes(layout, col) - src->first_byte);
    c->skip = lt_layout_col_in_unit(layout, col);
}

/* The same for an element of the target. */
static void locate_target(const lt_recoder *r, const lt_reader *src, uint64_t row, uint64_t col,
                          chunk *c) {
    uint64_t before = src->is_flat ? row * r->pass->dst.row_elems : 0;
    locate(src, src->is_flat ? 0 : row, before + col, c);
}

/* The chunk's codes, a byte each; at most CHUNK of them unless they are so already. */
static const int8_t *unpack(const lt_kernels *kernels, chunk *c) {
    if (c->dtype == LATHE_I8) {
        return (const int8_t *)c->bytes;
    }
    lt_pack_fn *unpack_codes =
        c->dtype == LATHE_BITNET158 ? kernels->unpack_bitnet158 : kernels->unpack[c->dtype];
    unpack_codes(c->bytes, c->buffer, (size_t)(c->skip + c->n_elems));
    return c->buffer + c->skip;
}

/* Signs: the canonical sum of n_elems times the scale. A lane's sum depends on their number alone.
 */
static float sum_of_signs(uint64_t n_elems, float scale) {
    float lanes[LATHE_STAT_LANES];
    float sum = 0;
    for (uint64_t i = 0; i < n_elems / LATHE_STAT_LANES; i++) {
        sum += scale;
    }
    if (n_elems % LATHE_STAT_LANES == 0) {
        return sum * LATHE_STAT_LANES; /* doubling does not round */
    }
    for (uint64_t lane = 0; lane < LATHE_STAT_LANES; lane++) {
        lanes[lane] = lane < n_elems % LATHE_STAT_LANES ? sum + scale : sum;
    }
    for (uint64_t half = LATHE_STAT_LANES / 2; half > 0; half /= 2) {
        for (uint64_t lane = 0; lane < half; lane++) {
            lanes[lane] += lanes[lane + half];
        }
    }
    return lanes[0];
}

/* Signs need not be looked at. */
static void find_sign_stats(const chunk *c, lt_stat which, const lt_recode *how, float *stats) {
    for (uint64_t i = 0, done = 0; done < c->n_elems; i++, done += how->group_elems) {
        uint64_t n_group = lt_min(how->group_elems, c->n_elems - done);
        stats[i] = which == LT_STAT_ABSMAX ? how->scales[i] : sum_of_signs(n_group, how->scales[i]);
    }
}

/* A statistic of each unit. */
static void find_stats(const lt_kernels *kernels, chunk *c, lt_stat which, const lt_recode *how,
                       float *stats) {
    lt_code_stat_fn *packed = kernels->code_stat[which][c->dtype];
    if (c->dtype == LATHE_I1) {
        find_sign_stats(c, which, how, stats);
    } else if (packed != NULL && c->skip == 0) {
        packed(c->bytes, (size_t)c->n_elems, how, stats);
    } else {
        kernels->code_stat[which][LATHE_I8](unpack(kernels, c), (size_t)c->n_elems, how, stats);
    }
}

/* ---- scales */

static bool is_scale(float scale) {
    return scale >= 0 && scale <= FLT_MAX;
}

/* The source's scales of n units, from the one on that has column `col` of the target. False if one
 * is not what a scale has to be. */
static bool source_scales(const lt_recoder *r, const lt_reader *src, uint64_t row, uint64_t col,
                          uint64_t n_units, float *scales) {
    const lt_layout *layout = src->layout;
    bool is_one = layout->scale_elems == 0;
    const float *of_row =
        is_one ? src->scales
               : src->scales + (lt_layout_scale_index(layout, row, 0) - src->first_scale);
    uint64_t at = is_one ? 0 : col / r->src_scope;
    uint64_t left = is_one ? UINT64_MAX : r->src_scope - col % r->src_scope;
    bool are_scales = true;
    for (uint64_t i = 0; i < n_units; i++) {
        scales[i] = of_row[at];
        are_scales = are_scales && is_scale(scales[i]);
        left -= lt_min(left, i == 0 ? r->unit - col % r->unit : r->unit);
        if (left == 0) {
            at++;
            left = r->src_scope;
        }
    }
    return are_scales;
}

static float *target_scales(const lt_work *work, uint64_t row, uint64_t col) {
    return lt_span_scales(&work->dst) +
           (lt_layout_scale_index(&work->pass->dst, row, col) - work->dst.first_scale);
}

/* The inverses of the target's scales of n units. */
static void target_inverses(const lt_recoder *r, const lt_work *work, uint64_t row, uint64_t col,
                            uint64_t n_units, float *inverses) {
    bool is_one = work->pass->dst.scale_elems == 0;
    const float *scale = target_scales(work, row, col);
    uint64_t left = is_one ? UINT64_MAX : r->dst_scope - col % r->dst_scope;
    float inverse = lt_inverse_scale(*scale);
    for (uint64_t i = 0; i < n_units; i++) {
        inverses[i] = inverse;
        left -= lt_min(left, i == 0 ? r->unit - col % r->unit : r->unit);
        if (left == 0 && i + 1 < n_units) {
            inverse = lt_inverse_scale(*++scale);
            left = r->dst_scope;
        }
    }
}

/* ---- columns */

static lt_recode how_of(const lt_recoder *r, const chunk *c, uint64_t first_unit) {
    return (lt_recode){
        .scales = c->scales + first_unit,
        .inverses = c->inverses + first_unit,
        .group_elems = (size_t)r->unit,
        .max_code = lt_dtype_traits_of(r->pass->dst.dtype)->max_code,
        .extra_codes = lt_extra_codes(r->pass->dst.dtype, r->pass->quality),
        .are_narrow = is_narrow(r->pass->src.dtype),
    };
}

/* True if the chunk can be looked up as it is. */
static bool is_looked_up(const lt_recoder *r, lathe_dtype to, uint64_t skip, uint64_t head) {
    const lt_layout *src = &r->pass->src;
    return r->kernels->lookup[r->heat][src->dtype][to] != NULL && skip == 0 &&
           lt_layout_col_in_unit(src, head) == 0;
}

/* Makes the target's codes of a dtype: its own, or bytes to be packed. */
static void make_codes(const lt_recoder *r, chunk *c, lt_heat heat, lathe_dtype to, uint8_t *out) {
    uint64_t head = c->first < r->unit ? lt_min(c->first, c->n_elems) : 0;
    lt_recode_fn *recode = r->kernels->recode[heat][to];
    uint64_t src_per_byte = 1;
    uint64_t dst_per_byte = lt_dtype_traits_of(to)->unit_elems;
    const uint8_t *codes;
    if (is_looked_up(r, to, c->skip, head)) {
        recode = r->kernels->lookup[heat][c->dtype][to];
        src_per_byte = r->pass->src.unit_elems;
        codes = c->bytes;
    } else {
        codes = (const uint8_t *)unpack(r->kernels, c);
    }
    const lt_recode of_head = how_of(r, c, 0);
    const lt_recode of_rest = how_of(r, c, head > 0 ? 1 : 0);
    if (head > 0) {
        recode(codes, out, (size_t)head, &of_head);
    }
    if (head < c->n_elems) {
        recode(codes + head / src_per_byte, out + head / dst_per_byte, (size_t)(c->n_elems - head),
               &of_rest);
    }
}

static void store_codes(const lt_recoder *r, const lt_work *work, chunk *c, uint64_t row,
                        uint64_t col) {
    const lt_layout *dst = &r->pass->dst;
    uint8_t *out = lt_span_bytes(&work->dst) +
                   (row * dst->row_bytes + lt_layout_col_bytes(dst, col) - work->dst.first_byte);
    if (dst->dtype == LATHE_BITNET158) { /* a byte may hold codes of two units */
        int8_t codes[CHUNK];
        make_codes(r, c, LT_HOT, LATHE_I8, (uint8_t *)codes);
        r->kernels->pack_bitnet158(codes, out, (size_t)c->n_elems);
    } else {
        make_codes(r, c, r->heat, dst->dtype, out);
    }
}

/* How many columns can be taken at once: as many as share both scales, or as there is room for. */
static uint64_t chunk_elems(const lt_recoder *r, uint64_t skip, uint64_t col, uint64_t n_elems) {
    lathe_dtype to = r->pass->dst.dtype;
    uint64_t first = r->unit - col % r->unit;
    bool is_in_place = to != LATHE_BITNET158 && (r->pass->src.dtype == LATHE_I8 ||
                                                 is_looked_up(r, to, skip, lt_min(first, n_elems)));
    return lt_min(n_elems, is_in_place && first > CHUNK ? first : CHUNK);
}

uint64_t lt_recode_columns(const lt_recoder *r, const lt_work *work, const lt_reader *src,
                           uint64_t row, uint64_t col, uint64_t n_elems) {
    chunk c;
    uint64_t done = 0;
    while (done < n_elems) {
        uint64_t at = col + done;
        locate_target(r, src, row, at, &c);
        c.n_elems = chunk_elems(r, c.skip, at, n_elems - done);
        c.first = r->unit - at % r->unit;
        uint64_t n_units = c.n_elems <= c.first ? 1 : 1 + lt_ceil_div(c.n_elems - c.first, r->unit);
        if (!source_scales(r, src, row, at, n_units, c.scales)) {
            break;
        }
        target_inverses(r, work, row, at, n_units, c.inverses);
        store_codes(r, work, &c, row, at);
        done += c.n_elems;
    }
    return done;
}

/* ---- scopes whose scales are found first */

/* Columns of whole scopes that end a byte; 0 if there are too many for a chunk. */
static uint64_t scopes_elems(const lt_recoder *r, uint64_t n_elems) {
    const lt_layout *dst = &r->pass->dst;
    bool ends_byte = lt_layout_col_in_unit(dst, r->dst_scope) == 0;
    uint64_t step = ends_byte ? r->dst_scope : r->dst_scope * dst->unit_elems;
    return n_elems <= lt_min(step, CHUNK) ? n_elems : lt_min(n_elems, CHUNK / step * step);
}

/* The statistics of a chunk's scopes, from those of its units. False if one is not finite. */
static bool find_scope_stats(const lt_recoder *r, chunk *c, uint64_t n_scopes, float *stats) {
    float found[MAX_UNITS];
    const lt_recode how = how_of(r, c, 0);
    uint64_t n_units = lt_ceil_div(c->n_elems, r->unit);
    uint64_t units_per_scope = lt_ceil_div(r->dst_scope, r->unit);
    bool is_finite = true;
    find_stats(r->kernels, c, lt_stat_of(r->pass->dst.dtype), &how, found);
    for (uint64_t i = 0; i < n_scopes; i++) {
        stats[i] = 0;
    }
    for (uint64_t i = 0; i < n_units; i++) { /* several to a scope only of greatest magnitudes */
        float *stat = &stats[units_per_scope == 1 ? i : i / units_per_scope];
        *stat = found[i] > *stat ? found[i] : *stat;
        is_finite = is_finite && found[i] <= FLT_MAX;
    }
    return is_finite;
}

uint64_t lt_recode_scopes(const lt_recoder *r, const lt_work *work, const lt_reader *src,
                          uint64_t row, uint64_t col, uint64_t n_elems) {
    chunk c;
    float stats[MAX_UNITS];
    float inverses[MAX_UNITS];
    uint64_t scope = r->dst_scope;
    c.n_elems = scopes_elems(r, n_elems);
    c.first = r->unit;
    uint64_t n_units = lt_ceil_div(c.n_elems, r->unit);
    uint64_t n_scopes = lt_ceil_div(c.n_elems, scope);
    if (c.n_elems == 0 || !source_scales(r, src, row, col, n_units, c.scales)) {
        return 0;
    }
    lt_reader_check(src, row * r->pass->dst.row_elems + col, c.n_elems);
    locate_target(r, src, row, col, &c);
    if (!find_scope_stats(r, &c, n_scopes, stats)) {
        return 0;
    }
    lt_scales_from_stats(r->pass->dst.dtype, stats, n_scopes, scope,
                         c.n_elems - (n_scopes - 1) * scope, target_scales(work, row, col),
                         inverses);
    for (uint64_t i = 0, per_scope = lt_ceil_div(scope, r->unit); i < n_units; i++) {
        c.inverses[i] = inverses[per_scope == 1 ? i : i / per_scope];
    }
    store_codes(r, work, &c, row, col);
    return c.n_elems;
}

/* ---- what a pass allows */

/* Elements of a row that share a scale; more than a row where all do. */
static uint64_t scope_of(const lt_layout *layout, uint64_t row_elems) {
    bool is_long = layout->scale_elems == 0 || layout->scale_elems >= row_elems;
    return is_long ? row_elems : layout->scale_elems;
}

lt_recoder lt_recoder_of(const lt_kernels *kernels, const lt_work *work, const lt_reader *src) {
    const lt_pass *pass = work->pass;
    const lt_layout *from = &pass->src;
    const lt_layout *to = &pass->dst;
    uint64_t row_elems = to->row_elems;
    lathe_dtype codes = to->dtype == LATHE_BITNET158 ? LATHE_I8 : to->dtype;
    bool is_read_back = pass->strict || work->outcome->quality != NULL;
    lt_recoder r = {.kernels = kernels,
                    .pass = pass,
                    .heat = pass->beyond_cache && !is_read_back ? LT_COLD : LT_HOT};
    if (kernels->recode[r.heat][codes] == NULL || !lathe_dtype_is_quantized(from->dtype) ||
        row_elems == 0 || (!src->is_flat && from->row_elems != row_elems)) {
        return r;
    }
    r.src_scope = scope_of(from, row_elems);
    r.dst_scope = scope_of(to, row_elems);
    r.unit = lt_min(r.src_scope, r.dst_scope);
    uint64_t longer = lt_max(r.src_scope, r.dst_scope);
    r.is_on = longer % r.unit == 0 || longer == row_elems;
    bool is_plain = pass->quality == LATHE_BALANCED && !is_read_back;
    bool by_units = r.unit == r.dst_scope || lt_stat_of(to->dtype) == LT_STAT_ABSMAX;
    r.finds_scales = r.is_on && is_plain && by_units && r.dst_scope <= LATHE_STAT_TILE;
    return r;
}

/* ---- statistics of tiles */

bool lt_recode_stat(const lt_reader *src, lt_stat which, uint64_t elem, uint64_t n_elems,
                    float *stat) {
    const lt_layout *layout = src->layout;
    chunk c;
    *stat = 0;
    if (src->kernels->code_stat[which][LATHE_I8] == NULL || layout->n_scales == 0) {
        return false;
    }
    for (uint64_t done = 0; done < n_elems;) {
        const lt_run run = lt_reader_run(src, elem + done);
        uint64_t row = src->is_flat ? 0 : (elem + done) / layout->row_elems;
        float found;
        c.n_elems = lt_min(run.n_elems, n_elems - done);
        const lt_recode how = {.scales = &run.scale,
                               .group_elems = (size_t)c.n_elems,
                               .are_narrow = is_narrow(layout->dtype)};
        if (!is_scale(run.scale) || (which == LT_STAT_ABSSUM && c.n_elems < n_elems)) {
            return false;
        }
        locate(src, row, elem + done - row * layout->row_elems, &c);
        find_stats(src->kernels, &c, which, &how, &found);
        *stat = found > *stat ? found : *stat;
        done += c.n_elems;
    }
    return true;
}
