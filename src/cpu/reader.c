/* SPDX-License-Identifier: Apache-2.0 */
/* Reading elements of any layout, at any position, as F32. */
#include "core/checked.h"
#include "core/dtype.h"
#include "core/tensor.h"
#include "cpu/cpu.h"
#include <string.h>

bool lt_groups_share_bytes(const lt_layout *layout) {
    return layout->dtype == LATHE_BITNET158 && layout->scale_elems < layout->row_elems &&
           layout->scale_elems % LATHE_BITNET158_PER_BYTE != 0;
}

lt_reader lt_reader_of(const lt_cpu_backend *cpu, const lt_pass *pass, const lt_layout *layout,
                       const lt_span *span, lt_outcome *outcome) {
    return (lt_reader){
        .kernels = &cpu->kernels,
        .heat = pass->beyond_cache ? LT_COLD : LT_HOT,
        .layout = layout,
        .is_flat = layout->scale_elems == 0 && lt_layout_is_dense(layout),
        .through_codes = lt_groups_share_bytes(layout),
        .bytes = lt_span_bytes(span),
        .first_byte = span->first_byte,
        .scales = lt_span_scales(span),
        .first_scale = span->first_scale,
        .outcome = outcome,
    };
}

void lt_reader_retarget(lt_reader *reader, const lt_span *span, lt_outcome *outcome) {
    reader->bytes = lt_span_bytes(span);
    reader->first_byte = span->first_byte;
    reader->scales = lt_span_scales(span);
    reader->first_scale = span->first_scale;
    reader->outcome = outcome;
}

/* Where the byte that holds an element lies. */
static const uint8_t *byte_at(const lt_reader *reader, uint64_t row, uint64_t col) {
    return reader->bytes + (row * reader->layout->row_bytes +
                            lt_layout_col_bytes(reader->layout, col) - reader->first_byte);
}

static float scale_at(const lt_reader *reader, uint64_t row, uint64_t col) {
    return reader->layout->n_scales == 0
               ? 1.0f
               : reader->scales[lt_layout_scale_index(reader->layout, row, col) -
                                reader->first_scale];
}

/* Elements from `elem` on that lie in one row, or to the end of the tensor where rows do not
 * matter. */
static uint64_t row_run(const lt_reader *reader, uint64_t elem, uint64_t *row, uint64_t *col) {
    const lt_layout *layout = reader->layout;
    if (reader->is_flat) {
        *row = 0;
        *col = elem;
        return layout->n_elems - elem;
    }
    *row = elem / layout->row_elems;
    *col = elem % layout->row_elems;
    return layout->row_elems - *col;
}

lt_run lt_reader_run(const lt_reader *reader, uint64_t elem) {
    const lt_layout *layout = reader->layout;
    uint64_t row;
    uint64_t col;
    lt_run run = {.n_elems = row_run(reader, elem, &row, &col)};
    if (layout->scale_elems != 0) {
        run.n_elems = lt_min(run.n_elems, layout->scale_elems - col % layout->scale_elems);
    }
    run.scale = scale_at(reader, row, col);
    if (lt_layout_col_in_unit(layout, col) == 0 && !reader->through_codes) {
        run.bytes = byte_at(reader, row, col);
    }
    return run;
}

lt_groups lt_reader_groups(const lt_reader *reader, uint64_t elem) {
    const lt_layout *layout = reader->layout;
    uint64_t row = elem / layout->row_elems;
    uint64_t col = elem % layout->row_elems;
    uint64_t scale = lt_layout_scale_index(layout, row, col) - reader->first_scale;
    return (lt_groups){byte_at(reader, row, col), reader->scales + scale};
}

/* The common decoders begin at an element that begins a byte; this one begins anywhere. It decodes
 * the elements up to the next byte of their row, at most n_elems, and returns how many. */
static uint64_t decode_head(const lt_reader *reader, uint64_t elem, uint64_t n_elems,
                            uint8_t *out) {
    const lt_layout *layout = reader->layout;
    uint64_t row;
    uint64_t col;
    uint64_t limit = lt_min(row_run(reader, elem, &row, &col), n_elems);
    uint64_t skip = lt_layout_col_in_unit(layout, col);
    uint64_t count = lt_min(layout->unit_elems - skip, limit);
    float decoded[8];
    lt_kernel_params params = {.scale = scale_at(reader, row, col)};
    reader->kernels->convert[LT_HOT][layout->dtype][LATHE_F32](
        byte_at(reader, row, col - skip), decoded, (size_t)(skip + count), &params);
    memcpy(out, decoded + skip, (size_t)count * sizeof(float));
    return count;
}

/* Groups that share bytes: the codes of all are unpacked at once, and each group's are scaled.
 * Decodes at most n_elems elements of one row and returns how many. */
static uint64_t decode_codes(const lt_reader *reader, uint64_t elem, uint64_t n_elems,
                             uint8_t *out) {
    const lt_layout *layout = reader->layout;
    int8_t codes[LT_TILE];
    uint64_t row;
    uint64_t col;
    uint64_t limit = lt_min(row_run(reader, elem, &row, &col), n_elems);
    uint64_t skip = lt_layout_col_in_unit(layout, col);
    uint64_t count = lt_min(LT_TILE - skip, limit);
    reader->kernels->unpack_bitnet158(byte_at(reader, row, col - skip), codes,
                                      (size_t)(skip + count));
    for (uint64_t done = 0; done < count;) {
        uint64_t group_left = layout->scale_elems - (col + done) % layout->scale_elems;
        uint64_t part = lt_min(group_left, count - done);
        lt_kernel_params params = {.scale = scale_at(reader, row, col + done)};
        reader->kernels->convert[LT_HOT][LATHE_I8][LATHE_F32](
            codes + skip + done, out + done * sizeof(float), (size_t)part, &params);
        done += part;
    }
    return count;
}

/* One run of elements that share a scale. */
static uint64_t decode_run(const lt_reader *reader, uint64_t elem, uint64_t n_elems, uint8_t *out) {
    lt_run run = lt_reader_run(reader, elem);
    uint64_t count = lt_min(run.n_elems, n_elems);
    if (run.bytes == NULL) {
        return decode_head(reader, elem, count, out);
    }
    lathe_dtype dtype = reader->layout->dtype;
    if (dtype == LATHE_F32) {
        memcpy(out, run.bytes, (size_t)count * sizeof(float));
    } else {
        lt_kernel_params params = {.scale = run.scale};
        reader->kernels->convert[LT_HOT][dtype][LATHE_F32](run.bytes, out, (size_t)count, &params);
    }
    return count;
}

void lt_reader_decode(const lt_reader *reader, uint64_t elem, uint64_t n_elems, void *out) {
    uint8_t *next = out;
    while (n_elems > 0) {
        uint64_t count = reader->through_codes ? decode_codes(reader, elem, n_elems, next)
                                               : decode_run(reader, elem, n_elems, next);
        elem += count;
        n_elems -= count;
        next += count * sizeof(float);
    }
}

void lt_reader_check(const lt_reader *reader, uint64_t elem, uint64_t n_elems) {
    const lt_layout *layout = reader->layout;
    if (lt_dtype_traits_of(layout->dtype)->byte_values == 0) {
        return;
    }
    while (n_elems > 0) {
        uint64_t row;
        uint64_t col;
        uint64_t count = lt_min(row_run(reader, elem, &row, &col), n_elems);
        uint64_t skip = lt_layout_col_in_unit(layout, col);
        size_t n_bytes = (size_t)lt_ceil_div(skip + count, layout->unit_elems);
        size_t bad =
            lt_first_invalid_byte(layout->dtype, byte_at(reader, row, col - skip), n_bytes);
        if (bad < n_bytes) {
            lt_outcome_fault(reader->outcome, LATHE_CORRUPT_DATA,
                             elem - skip + bad * layout->unit_elems);
            return;
        }
        elem += count;
        n_elems -= count;
    }
}
