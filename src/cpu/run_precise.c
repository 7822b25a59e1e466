/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE on the CPU: the scale of a scope that is in cache, and scans of larger ones. */
#include "core/checked.h"
#include "core/precise.h"
#include "cpu/cpu.h"
#include <string.h>

static float from_elems(const lt_reader *reader, const lt_precise *precise, uint64_t elem,
                        uint64_t n_elems) {
    float values[LT_PRECISE_ELEMS];
    lt_reader_decode(reader, elem, n_elems, values);
    return lt_precise_from_elems(precise, values, (size_t)n_elems);
}

/* Scopes that a pass finds scales for have fewer than 2^32 elements. */
static float from_counts(const lt_reader *reader, const lt_precise *precise, uint64_t elem,
                         uint64_t n_elems) {
    uint32_t counts[LT_PRECISE_BINS] = {0};
    float tile[LT_PRECISE_BINS]; /* at first for elements, then for what the search keeps */
    for (uint64_t done = 0; done < n_elems; done += LT_TILE) {
        uint64_t count = lt_min(n_elems - done, LT_TILE);
        lt_reader_decode(reader, elem + done, count, tile);
        lt_precise_count(precise, tile, (size_t)count, counts);
    }
    return lt_precise_from_counts(precise, counts, NULL, tile);
}

/* The scale that fits the codes that `other` gives. */
static float fitted(const lt_reader *reader, const lt_precise *precise, float other, uint64_t elem,
                    uint64_t n_elems) {
    lt_scale_fit fit = {0};
    float tile[LT_TILE];
    for (uint64_t done = 0; done < n_elems; done += LT_TILE) {
        uint64_t count = lt_min(n_elems - done, LT_TILE);
        lt_reader_decode(reader, elem + done, count, tile);
        lt_scale_fit_add(&fit, precise, other, tile, (size_t)count);
    }
    return lt_scale_fitted(precise, &fit);
}

/* Whichever of the two scales has the less error. */
static float choose(const lt_reader *reader, const lt_precise *precise, float other, uint64_t elem,
                    uint64_t n_elems) {
    lt_scale_errors errors = {0};
    float tile[LT_TILE];
    for (uint64_t done = 0; done < n_elems; done += LT_TILE) {
        uint64_t count = lt_min(n_elems - done, LT_TILE);
        lt_reader_decode(reader, elem + done, count, tile);
        lt_scale_errors_add(&errors, precise, other, tile, (size_t)count);
    }
    return lt_precise_choose(precise, other, &errors);
}

float lt_cpu_precise_scale(const lt_reader *reader, const lt_pass *pass, uint64_t elem,
                           uint64_t n_elems, float scale) {
    lt_precise precise = lt_precise_of(pass->dst.dtype, n_elems, scale);
    if (precise.inverse == 0 || lt_outcome_element(reader->outcome) < elem + n_elems) {
        return scale; /* nothing but zeros, nearly; or the conversion fails here or before */
    }
    float other = n_elems <= LT_PRECISE_ELEMS ? from_elems(reader, &precise, elem, n_elems)
                                              : from_counts(reader, &precise, elem, n_elems);
    other = fitted(reader, &precise, other, elem, n_elems);
    return other == scale ? scale : choose(reader, &precise, other, elem, n_elems);
}

void lt_cpu_scan_tiles(const lt_cpu_backend *cpu, const lt_work *work, uint64_t first_tile,
                       uint64_t n_tiles) {
    const lt_pass *pass = work->pass;
    lt_reader reader = lt_reader_of(cpu, pass, &pass->src, &work->src, work->outcome);
    lt_scan_part part;
    memset(&part, 0, work->scan->kind == LT_SCAN_COUNTS ? sizeof part : 0);
    part.fit = (lt_scale_fit){0};
    part.errors = (lt_scale_errors){0};
    for (uint64_t i = first_tile; i < first_tile + n_tiles; i++) {
        float tile[LATHE_STAT_TILE];
        uint64_t elem;
        uint64_t n_elems;
        lt_tiling_tile(&pass->tiling, i, &elem, &n_elems);
        lt_reader_decode(&reader, elem, n_elems, tile);
        lt_scan_add(work->scan, &part, elem, tile, (size_t)n_elems);
    }
    lt_scan_merge(work->scan, &part);
}
