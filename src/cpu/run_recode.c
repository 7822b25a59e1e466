/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between quantized types: codes are unpacked to bytes, a few thousand at a time, and
 * become the codes of the other scale without being decoded to memory. */
#include "cpu/recode.h"
#include "cpu/recode_chunk.h"
#include "cpu/recode_scales.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/precise.h"
#include <float.h>
#include <math.h>
#include <string.h>

static bool is_narrow(lathe_dtype dtype) {
    return dtype != LATHE_I8;
}

/* ---- codes */

/* From the one on that holds an element of the source. */
static const uint8_t *bytes_from(const lt_reader *src, uint64_t row, uint64_t col) {
    const lt_layout *layout = src->layout;
    return src->bytes +
           (row * layout->row_bytes + lt_layout_col_bytes(layout, col) - src->first_byte);
}

/* Makes codes of BITNET158 those of I2. They need not be shifted where as many bytes come before
 * them, which may be looked at, that whole bytes of I2 are to be skipped. */
static void repack(const lt_reader *src, bool looks_back, lt_chunk *c) {
    const uint64_t n_before = (LT_CRUMBS - c->skip % LT_CRUMBS) % LT_CRUMBS;
    uint64_t skip = c->skip;
    uint64_t n_over = 0;
    if (looks_back && (uint64_t)(c->bytes - src->bytes) >= n_before) {
        c->bytes -= n_before;
        n_over = skip + n_before * LATHE_BITNET158_PER_BYTE;
        skip = 0;
    }
    src->kernels->repack_bitnet158(c->bytes, c->of_trits, (size_t)skip,
                                   (size_t)(n_over + c->n_elems));
    c->dtype = LATHE_I2;
    c->bytes = c->of_trits + n_over / LT_CRUMBS;
    c->skip = 0;
}

/* Finds the codes that begin at an element of the source: n_elems of them, which is set. */
static void locate(const lt_reader *src, uint64_t row, uint64_t col, bool looks_back, lt_chunk *c) {
    const lt_layout *layout = src->layout;
    c->dtype = layout->dtype;
    c->bytes = bytes_from(src, row, col);
    c->skip = lt_layout_col_in_unit(layout, col);
    if (c->dtype == LATHE_BITNET158) {
        repack(src, looks_back, c);
    }
}

/* The same for an element of the target. */
static void locate_target(const lt_recoder *r, const lt_reader *src, uint64_t row, uint64_t col,
                          lt_chunk *c) {
    const lt_pass *pass = r->pass;
    uint64_t before = src->is_flat ? row * pass->dst.row_elems : 0;
    /* In place, others may write there, unless they write behind what they read. */
    bool looks_back = pass->dst.n_bytes >= pass->src.n_bytes;
    locate(src, src->is_flat ? 0 : row, before + col, looks_back, c);
}

/* True if not all of some base-3 codes are 0; most often the first byte tells. */
static bool has_trits(const uint8_t *bytes, uint64_t skip, uint64_t n_elems) {
    enum { PER_BYTE = LATHE_BITNET158_PER_BYTE };
    static const uint8_t powers[PER_BYTE + 1] = {1, 3, 9, 27, 81, 243};
    const uint64_t end = skip + n_elems;
    for (uint64_t first = 0; first < end; first += PER_BYTE) {
        const uint64_t from = first == 0 ? skip : 0;
        const uint64_t to = lt_min(end - first, PER_BYTE);
        const unsigned byte = *bytes++;
        if (byte != LATHE_BITNET158_BYTE_ZERO &&
            byte % powers[to] / powers[from] != LATHE_BITNET158_BYTE_ZERO % powers[to - from]) {
            return true;
        }
    }
    return false;
}

/* The greatest magnitude of base-3 codes of one scale. */
static float greatest_trit(const lt_reader *src, uint64_t row, uint64_t col, uint64_t n_elems,
                           float scale) {
    const uint64_t skip = lt_layout_col_in_unit(src->layout, col);
    return has_trits(bytes_from(src, row, col), skip, n_elems) ? scale : 0;
}

/* ---- columns */

static lt_recode how_of(const lt_recoder *r, const lt_chunk *c, uint64_t first_unit) {
    return (lt_recode){
        .scales = c->scales + first_unit,
        .inverses = c->inverses + first_unit,
        .group_elems = (size_t)r->unit,
        .max_code = lt_dtype_traits_of(r->pass->dst.dtype)->max_code,
        .extra_codes = lt_extra_codes(r->pass->dst.dtype, r->pass->quality),
        .are_narrow = is_narrow(r->pass->src.dtype),
    };
}

/* True if codes of a dtype can be looked up as they are. */
static bool is_looked_up(const lt_recoder *r, lathe_dtype from, lathe_dtype to, uint64_t skip,
                         uint64_t head) {
    return r->kernels->lookup[r->heat][from][to] != NULL && skip == 0 &&
           head % lt_dtype_traits_of(from)->unit_elems == 0;
}

/* Makes the target's codes of a dtype: its own, or bytes to be packed. */
static void make_codes(const lt_recoder *r, lt_chunk *c, lt_heat heat, lathe_dtype to,
                       uint8_t *out) {
    uint64_t head = c->first < r->unit ? lt_min(c->first, c->n_elems) : 0;
    lt_recode_fn *recode = r->kernels->recode[heat][to];
    uint64_t src_per_byte = 1;
    uint64_t dst_per_byte = lt_dtype_traits_of(to)->unit_elems;
    const uint8_t *codes;
    if (is_looked_up(r, c->dtype, to, c->skip, head)) {
        recode = r->kernels->lookup[heat][c->dtype][to];
        src_per_byte = lt_dtype_traits_of(c->dtype)->unit_elems;
        codes = c->bytes;
    } else {
        codes = (const uint8_t *)lt_chunk_unpack(r->kernels, c);
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

/* Where the target's bytes begin. */
static uint8_t *bytes_at(const lt_recoder *r, const lt_work *work, uint64_t row, uint64_t col) {
    const lt_layout *dst = &r->pass->dst;
    return lt_span_bytes(&work->dst) +
           (row * dst->row_bytes + lt_layout_col_bytes(dst, col) - work->dst.first_byte);
}

/* At most LT_CHUNK codes; a byte may hold codes of two units. */
static void store_ternary_chunk(const lt_recoder *r, lt_chunk *c, uint8_t *out) {
    int8_t codes[LT_CHUNK];
    make_codes(r, c, LT_HOT, LATHE_I8, (uint8_t *)codes);
    r->kernels->pack_bitnet158(codes, out, (size_t)c->n_elems);
}

/* Packed codes become those of I2 first. */
static bool store_crumbs_as_ternary(const lt_recoder *r, const lt_chunk *c, const lt_recode *how,
                                    uint8_t *out) {
    static const float one = 1;
    const lt_recode as_they_are = {.scales = &one,
                                   .inverses = &one,
                                   .group_elems = (size_t)c->n_elems,
                                   .max_code = LATHE_BITNET158_MAX,
                                   .are_narrow = true};
    lt_recode_fn *lookup = r->kernels->lookup[LT_HOT][c->dtype][LATHE_I2];
    lt_ternary_fn *kernel = r->kernels->ternary[LATHE_I2];
    lt_crumbs crumbs;
    if (lookup == NULL || kernel == NULL || c->n_elems > LT_CHUNK) {
        return false;
    }
    lookup(c->bytes, crumbs.bytes, (size_t)c->n_elems, how);
    return kernel(crumbs.bytes, out, (size_t)c->n_elems, &as_they_are);
}

static void store_ternary(const lt_recoder *r, lt_chunk *c, uint8_t *out) {
    const lt_recode how = how_of(r, c, 0);
    const uint64_t n_elems = c->n_elems;
    const bool are_whole = c->first == r->unit || n_elems <= c->first;
    lt_ternary_fn *kernel = r->kernels->ternary[c->dtype];
    if (c->skip == 0 && are_whole &&
        ((kernel != NULL && kernel(c->bytes, out, (size_t)n_elems, &how)) ||
         (c->dtype != LATHE_I8 && store_crumbs_as_ternary(r, c, &how, out)))) {
        return;
    }
    for (uint64_t done = 0; done < n_elems; done += LT_CHUNK) { /* more is one unit's */
        c->n_elems = lt_min(n_elems - done, LT_CHUNK);
        store_ternary_chunk(r, c, out + done / LATHE_BITNET158_PER_BYTE);
        c->bytes += LT_CHUNK / lt_dtype_traits_of(c->dtype)->unit_elems;
    }
    c->n_elems = n_elems;
}

static void store_codes(const lt_recoder *r, const lt_work *work, lt_chunk *c, uint64_t row,
                        uint64_t col) {
    const lathe_dtype dtype = r->pass->dst.dtype;
    uint8_t *out = bytes_at(r, work, row, col);
    if (dtype == LATHE_BITNET158) {
        store_ternary(r, c, out);
    } else {
        make_codes(r, c, r->heat, dtype, out);
    }
}

/* How many columns can be taken at once: as many as share both scales, or as there is room for. */
static uint64_t chunk_elems(const lt_recoder *r, uint64_t skip, uint64_t col, uint64_t n_elems) {
    lathe_dtype to = r->pass->dst.dtype;
    lathe_dtype from = r->pass->src.dtype;
    uint64_t first = r->unit - col % r->unit;
    uint64_t most = UINT64_MAX;
    if (from == LATHE_BITNET158) { /* repacked */
        from = LATHE_I2;
        skip = 0;
        most = LT_LONG_CHUNK;
    }
    bool has_room = from == LATHE_I8 || is_looked_up(r, from, to, skip, lt_min(first, n_elems));
    if (to == LATHE_BITNET158) { /* whose bytes do not end where a unit does */
        has_room = r->kernels->ternary[from] != NULL && skip == 0;
        first -= first % LT_CHUNK;
    }
    return lt_min(n_elems, has_room && first > LT_CHUNK ? lt_min(first, most) : LT_CHUNK);
}

uint64_t lt_recode_columns(const lt_recoder *r, const lt_work *work, const lt_reader *src,
                           uint64_t row, uint64_t col, uint64_t n_elems) {
    uint8_t of_trits[LT_LONG_CHUNK / LT_CRUMBS + LT_REPACK_SLACK];
    lt_chunk c;
    uint64_t done = 0;
    c.of_trits = of_trits;
    while (done < n_elems) {
        uint64_t at = col + done;
        uint64_t before = src->is_flat ? row * r->pass->dst.row_elems : 0;
        uint64_t skip = lt_layout_col_in_unit(&r->pass->src, before + at);
        c.n_elems = chunk_elems(r, skip, at, n_elems - done);
        c.first = r->unit - at % r->unit;
        uint64_t n_units = c.n_elems <= c.first ? 1 : 1 + lt_ceil_div(c.n_elems - c.first, r->unit);
        if (!lt_recode_source_scales(r, src, row, at, n_units, c.scales)) {
            break;
        }
        locate_target(r, src, row, at, &c);
        lt_recode_target_inverses(r, work, row, at, n_units, c.inverses);
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
    return n_elems <= lt_min(step, LT_CHUNK) ? n_elems : lt_min(n_elems, LT_CHUNK / step * step);
}

/* The statistics of a chunk's scopes, from those of its units. False if one is not finite. */
static bool find_scope_stats(const lt_recoder *r, lt_chunk *c, uint64_t n_scopes, float *stats) {
    float found[LT_CHUNK_UNITS];
    const lt_recode how = how_of(r, c, 0);
    uint64_t n_units = lt_ceil_div(c->n_elems, r->unit);
    uint64_t units_per_scope = lt_ceil_div(r->dst_scope, r->unit);
    uint32_t faults = 0;
    lt_chunk_stats(r->kernels, c, lt_stat_of(r->pass->dst.dtype), &how,
                   units_per_scope == 1 ? stats : found);
    if (units_per_scope > 1) { /* only of greatest magnitudes */
        memset(stats, 0, (size_t)n_scopes * sizeof(float));
        for (uint64_t i = 0; i < n_units; i++) {
            float *stat = &stats[i / units_per_scope];
            *stat = found[i] > *stat || !(found[i] <= FLT_MAX) ? found[i] : *stat;
        }
    }
    for (uint64_t i = 0; i < n_scopes; i++) {
        faults |= lt_scale_fault(stats[i]);
    }
    return faults >> 31 == 0;
}

uint64_t lt_recode_scopes(const lt_recoder *r, const lt_work *work, const lt_reader *src,
                          uint64_t row, uint64_t col, uint64_t n_elems) {
    lt_crumbs of_trits;
    lt_chunk c;
    float stats[LT_CHUNK_UNITS];
    float inverses[LT_CHUNK_UNITS];
    uint64_t scope = r->dst_scope;
    c.of_trits = of_trits.bytes;
    c.n_elems = scopes_elems(r, n_elems);
    c.first = r->unit;
    uint64_t n_units = lt_ceil_div(c.n_elems, r->unit);
    uint64_t n_scopes = lt_ceil_div(c.n_elems, scope);
    uint64_t per_scope = lt_ceil_div(scope, r->unit);
    if (c.n_elems == 0 || !lt_recode_source_scales(r, src, row, col, n_units, c.scales)) {
        return 0;
    }
    lt_reader_check(src, row * r->pass->dst.row_elems + col, c.n_elems);
    locate_target(r, src, row, col, &c);
    if (!find_scope_stats(r, &c, n_scopes, stats)) {
        return 0;
    }
    lt_recode_scales_of_stats(r, stats, n_scopes, scope, c.n_elems - (n_scopes - 1) * scope,
                              lt_recode_target_scales(work, row, col),
                              per_scope == 1 ? c.inverses : inverses);
    for (uint64_t i = 0; per_scope > 1 && i < n_units; i++) {
        c.inverses[i] = inverses[i / per_scope];
    }
    store_codes(r, work, &c, row, col);
    return c.n_elems;
}

/* ---- rows */

/* Rows that are looked at twice while they are in the first-level cache. */
static uint64_t rows_at_once(const lt_recoder *r, uint64_t n_rows) {
    enum { CACHED_BYTES = 16384 };
    uint64_t most = lt_max(CACHED_BYTES / lt_max(r->pass->src.row_bytes, 1), 1);
    return lt_min(n_rows, lt_min(most, LT_SUMS_AT_ONCE));
}

/* Where a row's codes are, as lt_chunk has it. */
typedef struct row_codes {
    const uint8_t *bytes;
    uint64_t skip;
} row_codes;

/* The statistics of rows, whose codes are located. False if one is not finite. */
static bool find_row_stats(const lt_recoder *r, const lt_reader *src, uint64_t row, uint64_t n_rows,
                           const float *scales, lt_chunk *c, lt_crumbs *of_trits, row_codes *rows,
                           float *stats) {
    float sums[LT_SUMS_AT_ONCE][LATHE_STAT_LANES];
    const lt_stat which = lt_stat_of(r->pass->dst.dtype);
    const bool takes_sums = lt_takes_lane_sums(r->pass->src.dtype, which, c->n_elems);
    bool is_finite = true;
    if (takes_sums) {
        lt_find_lane_sums(scales, n_rows, c->n_elems, sums);
    }
    for (uint64_t i = 0; i < n_rows; i++) {
        lt_recode how = how_of(r, c, 0);
        how.scales = &scales[i];
        how.lane_sums = takes_sums ? sums[i] : NULL;
        lt_reader_check(src, (row + i) * c->n_elems, c->n_elems);
        c->of_trits = of_trits[i].bytes;
        locate_target(r, src, row + i, 0, c);
        rows[i] = (row_codes){c->bytes, c->skip};
        if (r->pass->src.dtype == LATHE_BITNET158 && which == LT_STAT_ABSMAX) {
            const uint64_t before = src->is_flat ? (row + i) * c->n_elems : 0;
            stats[i] =
                greatest_trit(src, src->is_flat ? 0 : row + i, before, c->n_elems, scales[i]);
        } else {
            lt_chunk_stats(r->kernels, c, which, &how, &stats[i]);
        }
        is_finite = is_finite && stats[i] <= FLT_MAX;
    }
    return is_finite;
}

uint64_t lt_recode_rows(const lt_recoder *r, const lt_work *work, const lt_reader *src,
                        uint64_t row, uint64_t n_rows) {
    lt_crumbs of_trits[LT_SUMS_AT_ONCE];
    row_codes rows[LT_SUMS_AT_ONCE];
    lt_chunk c;
    float scales[LT_SUMS_AT_ONCE];
    float stats[LT_SUMS_AT_ONCE];
    float inverses[LT_SUMS_AT_ONCE];
    uint64_t n = rows_at_once(r, n_rows);
    for (uint64_t i = 0; i < n; i++) {
        if (!lt_recode_source_scales(r, src, row + i, 0, 1, &scales[i])) {
            return 0;
        }
    }
    c.n_elems = r->unit;
    c.first = r->unit;
    if (!find_row_stats(r, src, row, n, scales, &c, of_trits, rows, stats)) {
        return 0;
    }
    lt_recode_scales_of_stats(r, stats, n, r->unit, r->unit, lt_recode_target_scales(work, row, 0),
                              inverses);
    for (uint64_t i = 0; i < n; i++) {
        c.scales[0] = scales[i];
        c.inverses[0] = inverses[i];
        c.bytes = rows[i].bytes;
        c.skip = rows[i].skip;
        store_codes(r, work, &c, row + i, 0);
    }
    return n;
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
    /* Longer ones are looked at twice one by one: memory is read meanwhile. */
    bool is_short = from->unit_elems > 2;
    r.takes_rows = r.finds_scales && pass->own_scales && r.unit == row_elems && is_short;
    return r;
}

/* ---- statistics of tiles */

/* The lane sums of a scale, which are often those of the tile before. */
static const float *keep_lane_sums(lt_lane_sums *kept, float scale) {
    if (!kept->is_set || kept->scale != scale) {
        float sums[LT_SUMS_AT_ONCE][LATHE_STAT_LANES];
        lt_find_lane_sums(&scale, 1, LATHE_STAT_TILE, sums);
        memcpy(kept->of, sums[0], sizeof kept->of);
        kept->scale = scale;
        kept->is_set = true;
    }
    return kept->of;
}

bool lt_recode_stat(const lt_reader *src, lt_stat which, uint64_t elem, uint64_t n_elems,
                    float *stat) {
    const lt_layout *layout = src->layout;
    lt_crumbs of_trits;
    lt_chunk c;
    c.of_trits = of_trits.bytes;
    *stat = 0;
    if (src->kernels->code_stat[which][LATHE_I8] == NULL || layout->n_scales == 0) {
        return false;
    }
    for (uint64_t done = 0; done < n_elems;) {
        const lt_run run = lt_reader_run(src, elem + done);
        uint64_t row = src->is_flat ? 0 : (elem + done) / layout->row_elems;
        uint64_t col = elem + done - row * layout->row_elems;
        float found;
        c.n_elems = lt_min(run.n_elems, n_elems - done);
        lt_recode how = {.scales = &run.scale,
                         .group_elems = (size_t)c.n_elems,
                         .are_narrow = is_narrow(layout->dtype)};
        if (!lt_is_scale(run.scale) || (which == LT_STAT_ABSSUM && c.n_elems < n_elems)) {
            return false;
        }
        if (src->sums != NULL && lt_takes_lane_sums(layout->dtype, which, c.n_elems)) {
            how.lane_sums = keep_lane_sums(src->sums, run.scale);
        }
        if (layout->dtype == LATHE_BITNET158 && which == LT_STAT_ABSMAX) {
            found = greatest_trit(src, row, col, c.n_elems, run.scale);
        } else {
            locate(src, row, col, true,
                   &c); /* in place, nothing is written before scales are known */
            lt_chunk_stats(src->kernels, &c, which, &how, &found);
        }
        *stat = found > *stat ? found : *stat;
        done += c.n_elems;
    }
    return true;
}
