/* SPDX-License-Identifier: Apache-2.0 */
/* The convert pass on the CPU: a range through direct kernels, or through the F32 tile. */
#include "core/checked.h"
#include "core/dtype.h"
#include "core/precise.h"
#include "core/quality.h"
#include "cpu/groups.h"
#include "cpu/recode.h"
#include "cpu/scopes.h"
#include <math.h>
#include <string.h>

/* One range being converted. */
typedef struct conversion {
    const lt_work *work;
    const lt_pass *pass;
    const lt_kernels *kernels;
    lt_reader src;
    lt_reader dst_reader; /* strict: decodes what has been written */
    uint8_t *dst;
    float *dst_scales;
    lt_convert_fn *direct;            /* NULL: through the tile */
    lt_group_encoder groups;          /* where its `stat` is NULL scopes are converted one by one */
    lt_group_decode_fn *group_decode; /* NULL: groups of the source are decoded one by one */
    lt_recoder recoder;               /* between quantized types */
    lt_scope_encoder scopes;          /* beside `groups` */
    size_t ahead;                     /* of the direct kernel's parameters */
    float max_code;
    float extra_codes;
    lt_quality_sums *quality; /* of this range; NULL: nobody asks */
    bool check_bytes;         /* of the source */
    bool survey;        /* FAST: look for saturated and non-finite elements while converting */
    bool through_codes; /* a BITNET158 byte can hold elements of two groups */
    uint64_t n_saturated;
} conversion;

static uint8_t *dst_at(const conversion *c, uint64_t row, uint64_t col) {
    const lt_layout *layout = &c->pass->dst;
    return c->dst +
           (row * layout->row_bytes + lt_layout_col_bytes(layout, col) - c->work->dst.first_byte);
}

static float *dst_scale_at(const conversion *c, uint64_t row, uint64_t col) {
    return &c->dst_scales[lt_layout_scale_index(&c->pass->dst, row, col) -
                          c->work->dst.first_scale];
}

/* Elements of the target that share kernel parameters. */
typedef struct dst_run {
    uint64_t n_elems; /* that are left of it */
    const float *scale;
    lt_kernel_params params;
} dst_run;

static void set_scale(dst_run *run, const float *scale) {
    run->scale = scale;
    run->params.inv_scale = lt_inverse_scale(*scale);
}

static dst_run dst_run_at(const conversion *c, uint64_t row, uint64_t col) {
    const lt_layout *layout = &c->pass->dst;
    dst_run run = {
        .n_elems = layout->row_elems - col,
        .params = {.max_code = c->max_code, .extra_codes = c->extra_codes, .ahead = c->ahead}};
    if (layout->scale_elems != 0) {
        run.n_elems = lt_min(run.n_elems, layout->scale_elems - col % layout->scale_elems);
    }
    if (layout->n_scales > 0) {
        set_scale(&run, dst_scale_at(c, row, col));
    }
    return run;
}

/* Moves on by n_elems elements, of which more_elems more of the row follow. */
static void dst_run_advance(const conversion *c, dst_run *run, uint64_t n_elems,
                            uint64_t more_elems) {
    run->n_elems -= n_elems;
    if (run->n_elems == 0 && more_elems > 0) {
        run->n_elems = c->pass->dst.scale_elems;
        set_scale(run, run->scale + 1);
    }
}

/* Encodes an F32 tile that begins a byte of the target. */
static void encode_tile(const conversion *c, uint64_t row, uint64_t col, uint64_t n_elems,
                        const float *tile) {
    int8_t codes[LT_TILE];
    lathe_dtype dtype = c->through_codes ? LATHE_I8 : c->pass->dst.dtype;
    lt_convert_fn *encode = c->kernels->convert[LT_HOT][LATHE_F32][dtype];
    dst_run run = dst_run_at(c, row, col);
    for (uint64_t done = 0; done < n_elems;) {
        uint64_t count = lt_min(run.n_elems, n_elems - done);
        void *out = c->through_codes ? (void *)(codes + done) : dst_at(c, row, col + done);
        encode(tile + done, out, (size_t)count, &run.params);
        done += count;
        dst_run_advance(c, &run, count, n_elems - done);
    }
    if (c->through_codes) {
        c->kernels->pack_bitnet158(codes, dst_at(c, row, col), (size_t)n_elems);
    }
}

/* Converts columns through F32, at most a tile of them; returns how many. */
static uint64_t convert_through_tile(const conversion *c, uint64_t row, uint64_t col,
                                     uint64_t n_elems) {
    uint64_t elem = row * c->pass->dst.row_elems + col;
    uint64_t count = lt_min(n_elems, LT_TILE);
    if (c->pass->dst.dtype == LATHE_F32) {
        lt_reader_decode(&c->src, elem, count, dst_at(c, row, col));
    } else {
        float tile[LT_TILE];
        lt_reader_decode(&c->src, elem, count, tile);
        encode_tile(c, row, col, count, tile);
    }
    return count;
}

/* FAST quality: saturated elements are counted, and non-finite ones found wherever they are. */
static void survey_columns(conversion *c, uint64_t row, uint64_t col, uint64_t n_elems) {
    uint64_t elem = row * c->pass->dst.row_elems + col;
    float tile[LT_TILE];
    lt_reader_decode(&c->src, elem, n_elems, tile);
    if (c->pass->nonfinite == LATHE_NONFINITE_ERROR &&
        !isfinite(c->kernels->stat[LT_HOT][LT_STAT_ABSMAX][LATHE_F32](tile, (size_t)n_elems))) {
        uint64_t i = 0;
        while (isfinite(tile[i])) {
            i++;
        }
        lt_outcome_fault(c->work->outcome, LATHE_NON_FINITE, elem + i);
    }
    dst_run run = dst_run_at(c, row, col);
    for (uint64_t done = 0; c->max_code > 0 && done < n_elems;) {
        uint64_t count = lt_min(run.n_elems, n_elems - done);
        c->n_saturated += c->kernels->saturated_f32(tile + done, (size_t)count, &run.params);
        done += count;
        dst_run_advance(c, &run, count, n_elems - done);
    }
}

/* Strict mode: decodes what was written and compares it, as values, with the source. */
static void verify_tile(const conversion *c, uint64_t elem, uint64_t n_elems) {
    float before[LT_TILE];
    float after[LT_TILE];
    lt_reader_decode(&c->src, elem, n_elems, before);
    lt_reader_decode(&c->dst_reader, elem, n_elems, after);
    for (uint64_t i = 0; i < n_elems; i++) {
        bool same = before[i] == after[i] || (isnan(before[i]) && isnan(after[i]));
        if (!same) {
            lt_outcome_fault(c->work->outcome, LATHE_DATA_LOSS, elem + i);
            return;
        }
    }
}

/* Decodes what was written, and adds it up beside the source for the quality report. */
static void measure_columns(const conversion *c, uint64_t row, uint64_t col, uint64_t n_elems) {
    uint64_t elem = row * c->pass->dst.row_elems + col;
    float before[LT_TILE];
    float after[LT_TILE];
    lt_reader_decode(&c->src, elem, n_elems, before);
    lt_reader_decode(&c->dst_reader, elem, n_elems, after);
    c->quality->n_elems += n_elems;
    c->kernels->quality(c->quality, before, after, (size_t)n_elems);
    dst_run run = dst_run_at(c, row, col);
    for (uint64_t done = 0; done < n_elems;) {
        uint64_t count = lt_min(run.n_elems, n_elems - done);
        float limit = lt_quality_limit(c->pass->dst.dtype, run.scale != NULL ? *run.scale : 1);
        c->quality->n_saturated +=
            c->kernels->quality_saturated(before + done, after + done, (size_t)count, limit);
        done += count;
        dst_run_advance(c, &run, count, n_elems - done);
    }
}

/* Converts columns by the direct kernel, run by run, as far as runs begin and end bytes; returns
 * how many. */
static uint64_t convert_direct(const conversion *c, uint64_t row, uint64_t col, uint64_t n_elems) {
    const lt_layout *src = &c->pass->src;
    const lt_layout *dst = &c->pass->dst;
    uint64_t elem = row * dst->row_elems + col;
    uint8_t *out = dst_at(c, row, col);
    dst_run to = dst_run_at(c, row, col);
    lt_run from = {0};
    uint64_t done = 0;
    while (done < n_elems) {
        if (from.n_elems == 0) {
            from = lt_reader_run(&c->src, elem + done);
        }
        uint64_t count = lt_min(lt_min(from.n_elems, to.n_elems), n_elems - done);
        bool row_ends = col + done + count == dst->row_elems;
        bool ends_byte = lt_layout_col_in_unit(dst, count) == 0 || row_ends;
        if (from.bytes == NULL || !ends_byte) {
            break;
        }
        to.params.scale = from.scale;
        c->direct(from.bytes, out, (size_t)count, &to.params);
        done += count;
        out += lt_layout_col_bytes(dst, count);
        dst_run_advance(c, &to, count, n_elems - done);
        from.bytes += lt_layout_col_bytes(src, count);
        /* A run that was left inside a byte is looked up again. */
        from.n_elems = lt_layout_col_in_unit(src, count) == 0 ? from.n_elems - count : 0;
    }
    return done;
}

/* Decodes groups of the source, many at once, from one that begins a byte on; returns how many
 * elements. */
static uint64_t decode_groups(const conversion *c, uint64_t row, uint64_t col, uint64_t n_elems) {
    const lt_layout *src = &c->pass->src;
    uint64_t whole_bytes = src->scale_elems * src->unit_elems;
    uint64_t count = n_elems;
    if (col % src->scale_elems != 0 || lt_layout_col_in_unit(src, col) != 0) {
        return 0;
    }
    if (col + n_elems < src->row_elems) {
        count -= n_elems % whole_bytes;
    }
    if (count > 0) {
        uint64_t elem = row * src->row_elems + col;
        const lt_groups groups = lt_reader_groups(&c->src, elem);
        c->group_decode(groups.bytes, dst_at(c, row, col), (size_t)count, (size_t)src->scale_elems,
                        groups.scales);
    }
    return count;
}

/* Converts columns by kernels alone, as far as they can; returns how many. */
static uint64_t convert_by_kernels(const conversion *c, uint64_t row, uint64_t col,
                                   uint64_t n_elems) {
    if (c->recoder.is_on) {
        return lt_recode_columns(&c->recoder, c->work, &c->src, row, col, n_elems);
    }
    uint64_t count = c->group_decode == NULL ? 0 : decode_groups(c, row, col, n_elems);
    return count > 0 || c->direct == NULL ? count : convert_direct(c, row, col, n_elems);
}

/* How many elements are converted between checks: what is looked at twice should still be in cache.
 */
static uint64_t checked_step(const conversion *c) {
    if (c->survey || c->pass->strict || c->quality != NULL) {
        return LT_TILE;
    }
    if (!c->check_bytes) {
        return UINT64_MAX;
    }
    /* Groups are decoded many at once where they end with a byte. */
    const lt_layout *src = &c->pass->src;
    return lt_min(lt_max(4 * LT_TILE, src->scale_elems * src->unit_elems), 16 * LT_TILE);
}

/* Converts columns [col, col + n_cols) of a row, with the scales in place. */
static void convert_columns(conversion *c, uint64_t row, uint64_t col, uint64_t n_cols) {
    uint64_t step = checked_step(c);
    while (n_cols > 0) {
        uint64_t elem = row * c->pass->dst.row_elems + col;
        uint64_t count = lt_min(n_cols, step);
        if (c->check_bytes) {
            lt_reader_check(&c->src, elem, count);
        }
        uint64_t by_kernel = convert_by_kernels(c, row, col, count);
        count = by_kernel > 0 ? by_kernel : convert_through_tile(c, row, col, count);
        if (c->survey) {
            survey_columns(c, row, col, count);
        }
        if (c->pass->strict) {
            verify_tile(c, elem, count);
        }
        if (c->quality != NULL) {
            measure_columns(c, row, col, count);
        }
        col += count;
        n_cols -= count;
    }
}

/* Finds the scale of a scope of n_elems elements and stores it. */
static void find_scale(const conversion *c, uint64_t row, uint64_t col, uint64_t n_elems) {
    uint64_t elem = row * c->pass->dst.row_elems + col;
    bool is_max = lt_dtype_traits_of(c->pass->dst.dtype)->rule == LT_RULE_ABSMAX;
    uint64_t step = lt_scope_stride(c->pass->quality, n_elems) * LATHE_STAT_TILE;
    double total = 0;
    uint64_t counted = 0;
    for (uint64_t done = 0; done < n_elems; done += step) {
        uint64_t count = lt_min(n_elems - done, LATHE_STAT_TILE);
        double stat = lt_tile_stat(&c->src, c->pass, elem + done, count);
        total = is_max ? (total > stat ? total : stat) : total + stat;
        counted += count;
    }
    float scale = lt_scale_from_stat(c->pass->dst.dtype, total, counted);
    if (c->pass->quality == LATHE_PRECISE) {
        scale = lt_cpu_precise_scale(&c->src, c->pass, elem, n_elems, scale);
    }
    *dst_scale_at(c, row, col) = scale;
}

static void convert_columns_own_scales(conversion *c, uint64_t row, uint64_t col, uint64_t n_cols) {
    const lt_layout *dst = &c->pass->dst;
    uint64_t end = col + n_cols;
    uint64_t scope = lt_layout_scale_run(dst);
    const lt_own_scale_parts parts = lt_own_scale_parts_of(c->pass, c->through_codes, n_cols);
    lt_segment at = {
        .src = lt_reader_run(&c->src, row * dst->row_elems + col).bytes,
        .dst = dst_at(c, row, col),
        .scales = dst_scale_at(c, row, col),
    };
    while (col < end) {
        if (c->recoder.finds_scales) {
            uint64_t n_done = lt_recode_scopes(&c->recoder, c->work, &c->src, row, col, end - col);
            col += n_done;
            if (n_done > 0) {
                continue;
            }
        }
        uint64_t part = end - col <= parts.n_last ? end - col : parts.n_elems;
        at.n_elems = part;
        if (c->groups.stat == NULL || !lt_encode_groups(&c->groups, &at)) {
            for (uint64_t done = 0; done < part; done += scope) {
                find_scale(c, row, col + done, lt_min(scope, part - done));
            }
            convert_columns(c, row, col, part);
        }
        col += part;
        if (c->groups.stat != NULL) {
            at.src += lt_layout_col_bytes(&c->pass->src, part);
            at.dst += lt_layout_col_bytes(dst, part);
            at.scales += lt_ceil_div(part, scope);
        }
    }
}

/* True if a range is scopes that follow each other, to be encoded so. */
static bool is_scopes(const conversion *c, const lt_range *range) {
    const lt_layout *dst = &c->pass->dst;
    return c->scopes.encode != NULL && range->n_cols % dst->scale_elems == 0 &&
           (range->n_rows == 1 || range->n_cols == dst->row_elems);
}

/* Converts scopes; the general way takes those in which something is found. */
static void convert_scopes(conversion *c, const lt_range *range) {
    const lt_layout *dst = &c->pass->dst;
    const uint64_t scope = dst->scale_elems;
    const uint64_t first = range->row * dst->scales_per_row + range->col / scope;
    const uint64_t end = first + range->n_rows * (range->n_cols / scope);
    for (uint64_t i = first; i < end; i++) {
        const uint64_t row = i / dst->scales_per_row;
        const uint64_t col = i % dst->scales_per_row * scope;
        const uint64_t elem = row * dst->row_elems + col;
        const lt_scope_run run = {
            .src = lt_reader_run(&c->src, elem).bytes,
            .dst = dst_at(c, row, col),
            .scales = dst_scale_at(c, row, col),
            .n_scopes = end - i,
        };
        if (elem > lt_outcome_element(c->work->outcome)) {
            break; /* the conversion fails at an earlier element */
        }
        i += lt_encode_scopes(&c->scopes, &run);
        if (i < end) {
            convert_columns_own_scales(c, i / dst->scales_per_row, i % dst->scales_per_row * scope,
                                       scope);
        }
    }
}

/* Finds the kernels for groups, if groups can be converted many at once. */
static void find_group_kernels(conversion *c, const lt_cpu_backend *cpu) {
    const lt_kernels *kernels = &cpu->kernels;
    const lt_pass *pass = c->pass;
    const lt_layout *dst = &pass->dst;
    lathe_dtype from = pass->src.dtype;
    bool is_checked =
        pass->strict || pass->quality != LATHE_BALANCED || c->work->outcome->quality != NULL;
    lt_heat heat = pass->beyond_cache ? LT_COLD : LT_HOT;
    if (!is_checked) {
        c->groups = lt_group_encoder_of(cpu, pass);
    }
    if (c->groups.stat != NULL) {
        c->scopes = lt_scope_encoder_of(cpu, pass);
    }
    if (pass->src.scale_elems > 0 && pass->src.scale_elems % LATHE_GROUP_MULTIPLE == 0 &&
        pass->src.row_elems == dst->row_elems) {
        c->group_decode = kernels->group_decode[heat][from][dst->dtype];
    }
}

/* Kernels for cold data pay to reach a cache line's start: not for runs of few lines. What they
 * have written is no longer in the cache: not for what is read back at once. */
static lt_heat kernel_heat(const lt_work *work) {
    enum { SHORT_RUN_BYTES = 256 };
    const lt_pass *pass = work->pass;
    if (!pass->beyond_cache || pass->strict || work->outcome->quality != NULL) {
        return LT_HOT;
    }
    uint64_t run = lt_min(lt_layout_scale_run(&pass->src), lt_layout_scale_run(&pass->dst));
    return lt_layout_col_bytes(&pass->dst, run) < SHORT_RUN_BYTES ? LT_HOT : LT_COLD;
}

/* How far kernels prefetch; further if they narrow, as they wait for reads. 0: as far as they do by
 * themselves. */
static size_t ahead_of(const lt_cpu_backend *cpu, const lt_pass *pass) {
    enum { FAR_BYTES = 8192, NEAR_BYTES = 2048 };
    if (!cpu->features.far_prefetch) {
        return 0;
    }
    return pass->src.n_bytes > pass->dst.n_bytes ? FAR_BYTES : NEAR_BYTES;
}

static conversion conversion_of(const lt_cpu_backend *cpu, const lt_work *work) {
    const lt_pass *pass = work->pass;
    const lt_layout *dst = &pass->dst;
    bool through_codes = lt_groups_share_bytes(dst);
    lt_convert_fn *direct = cpu->kernels.convert[kernel_heat(work)][pass->src.dtype][dst->dtype];
    conversion c = {
        .work = work,
        .pass = pass,
        .kernels = &cpu->kernels,
        .src = lt_reader_of(cpu, pass, &pass->src, &work->src, work->outcome),
        .dst_reader = lt_reader_of(cpu, pass, dst, &work->dst, work->outcome),
        .dst = lt_span_bytes(&work->dst),
        .dst_scales = lt_span_scales(&work->dst),
        .direct = through_codes || lt_groups_share_bytes(&pass->src) ? NULL : direct,
        .max_code = lt_dtype_traits_of(dst->dtype)->max_code,
        .extra_codes = lt_extra_codes(dst->dtype, pass->quality),
        .ahead = ahead_of(cpu, pass),
        .check_bytes = lt_dtype_traits_of(pass->src.dtype)->byte_values != 0,
        .survey = lathe_dtype_is_quantized(dst->dtype) && pass->quality == LATHE_FAST,
        .through_codes = through_codes,
    };
    c.recoder = lt_recoder_of(&cpu->kernels, work, &c.src);
    find_group_kernels(&c, cpu);
    return c;
}

/* Measures columns that are there already. */
static void measure_row(const conversion *c, uint64_t row, uint64_t col, uint64_t n_cols) {
    while (n_cols > 0) {
        uint64_t elem = row * c->pass->dst.row_elems + col;
        uint64_t count = lt_min(n_cols, LT_TILE);
        lt_reader_check(&c->src, elem, count);
        lt_reader_check(&c->dst_reader, elem, count);
        measure_columns(c, row, col, count);
        col += count;
        n_cols -= count;
    }
}

static void convert_range(conversion *c, const lt_range *range) {
    const lt_work *work = c->work;
    if (is_scopes(c, range)) {
        convert_scopes(c, range);
        return;
    }
    for (uint64_t row = range->row; row < range->row + range->n_rows; row++) {
        if (row * c->pass->dst.row_elems + range->col > lt_outcome_element(work->outcome)) {
            break; /* the conversion fails at an earlier element */
        }
        if (c->recoder.takes_rows && range->n_cols == c->pass->dst.row_elems) {
            uint64_t left = range->row + range->n_rows - row;
            uint64_t n_done = lt_recode_rows(&c->recoder, work, &c->src, row, left);
            if (n_done > 0) {
                row += n_done - 1;
                continue;
            }
        }
        if (work->measure_only) {
            measure_row(c, row, range->col, range->n_cols);
        } else if (c->pass->own_scales) {
            convert_columns_own_scales(c, row, range->col, range->n_cols);
        } else {
            convert_columns(c, row, range->col, range->n_cols);
        }
    }
    if (c->n_saturated > 0) {
        (void)atomic_fetch_add_explicit(&work->outcome->n_saturated, c->n_saturated,
                                        memory_order_relaxed);
    }
}

static void publish(const lt_cpu_backend *cpu) {
    if (cpu->kernels.publish != NULL) {
        cpu->kernels.publish();
    }
}

static void convert_measured(conversion *c, const lt_range *range) {
    lt_quality_sums quality = {0};
    c->quality = &quality;
    convert_range(c, range);
    c->quality = NULL;
    lt_quality_merge(c->work->outcome->quality, &quality);
}

/* One scale or none, and no bits between rows: consecutive elements are one run. */
static bool is_one_run(const lt_layout *layout) {
    return layout->scale_elems == 0 && lt_layout_is_dense(layout);
}

lt_convert_fn *lt_cpu_plain_kernel(const lt_cpu_backend *cpu, const lt_work *work) {
    const lt_pass *pass = work->pass;
    const lathe_dtype from = pass->src.dtype;
    const lathe_dtype to = pass->dst.dtype;
    bool looks = pass->own_scales || pass->strict || work->measure_only ||
                 work->outcome->quality != NULL || lt_dtype_traits_of(from)->byte_values != 0 ||
                 (pass->quality == LATHE_FAST && lathe_dtype_is_quantized(to));
    return looks || !is_one_run(&pass->src) || !is_one_run(&pass->dst)
               ? NULL
               : cpu->kernels.convert[kernel_heat(work)][from][to];
}

/* Converts n_elems elements from `elem` on by a plain kernel. Returns false, with nothing done,
 * where they do not begin bytes. */
static bool convert_plainly(const lt_cpu_backend *cpu, lt_convert_fn *kernel, const lt_work *work,
                            uint64_t elem, uint64_t n_elems) {
    const lt_pass *pass = work->pass;
    const lt_layout *src = &pass->src;
    const lt_layout *dst = &pass->dst;
    lt_kernel_params params = {.ahead = ahead_of(cpu, pass)};
    if (lt_layout_col_in_unit(src, elem) != 0 || lt_layout_col_in_unit(dst, elem) != 0) {
        return false;
    }
    if (src->n_scales > 0) {
        params.scale = *lt_span_scales(&work->src);
    }
    if (dst->n_scales > 0) {
        params.inv_scale = lt_inverse_scale(*lt_span_scales(&work->dst));
        params.max_code = lt_dtype_traits_of(dst->dtype)->max_code;
        params.extra_codes = lt_extra_codes(dst->dtype, pass->quality);
    }
    kernel(lt_span_bytes(&work->src) + (lt_layout_col_bytes(src, elem) - work->src.first_byte),
           lt_span_bytes(&work->dst) + (lt_layout_col_bytes(dst, elem) - work->dst.first_byte),
           (size_t)n_elems, &params);
    return true;
}

void lt_cpu_convert_range(const lt_cpu_backend *cpu, const lt_work *work, const lt_range *range) {
    const uint64_t row_elems = work->pass->dst.row_elems;
    const uint64_t n_elems = range->n_rows == 1 ? range->n_cols : range->n_rows * row_elems;
    lt_convert_fn *plain = lt_cpu_plain_kernel(cpu, work);
    if (plain == NULL ||
        !convert_plainly(cpu, plain, work, range->row * row_elems + range->col, n_elems)) {
        conversion c = conversion_of(cpu, work);
        if (work->outcome->quality != NULL) {
            convert_measured(&c, range);
        } else {
            convert_range(&c, range);
        }
    }
    publish(cpu);
}

/* Points a conversion to another work of the same pass. */
static void retarget(conversion *c, const lt_work *work) {
    c->work = work;
    lt_reader_retarget(&c->src, &work->src, work->outcome);
    lt_reader_retarget(&c->dst_reader, &work->dst, work->outcome);
    c->dst = lt_span_bytes(&work->dst);
    c->dst_scales = lt_span_scales(&work->dst);
}

/* A work's ranges as one: they follow each other. */
static lt_range whole_range(const lt_work *work) {
    lt_range whole = lt_ranges_at(work->ranges, work->first_range);
    if (work->n_ranges > 1) {
        const lt_range last = lt_ranges_at(work->ranges, work->first_range + work->n_ranges - 1);
        whole.n_rows = last.row + last.n_rows - whole.row;
        whole.n_cols = last.col + last.n_cols - whole.col;
    }
    return whole;
}

void lt_cpu_convert_works(const lt_cpu_backend *cpu, const lt_work *works, size_t n_works) {
    lt_convert_fn *plain = NULL;
    conversion c;
    for (size_t i = 0; i < n_works; i++) {
        const lt_work *work = &works[i];
        const lt_range range = whole_range(work);
        if (i == 0 || work->pass != works[i - 1].pass) {
            plain = lt_cpu_plain_kernel(cpu, work);
            if (plain == NULL) {
                c = conversion_of(cpu, work);
            }
        } else if (plain == NULL) {
            retarget(&c, work);
        }
        if (plain != NULL) { /* whole tensors: they begin bytes */
            (void)convert_plainly(cpu, plain, work, 0, range.n_rows * range.n_cols);
            continue;
        }
        c.n_saturated = 0;
        if (work->outcome->quality != NULL) {
            convert_measured(&c, &range);
        } else {
            convert_range(&c, &range);
        }
    }
    publish(cpu);
}
