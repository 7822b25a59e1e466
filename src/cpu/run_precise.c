/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE on the CPU: the scale of a scope that is in cache, and scans of larger ones. */
#include "core/checked.h"
#include "core/precise.h"
#include "cpu/cpu.h"
#include <string.h>

static void search_elems(const lt_reader *reader, lt_precise *precise, uint64_t elem,
                         uint64_t n_elems) {
    float values[LT_PRECISE_ELEMS];
    lt_reader_decode(reader, elem, n_elems, values);
    lt_precise_search_elems(precise, reader->kernels->precise, values, (size_t)n_elems);
}

/* A histogram, first as threads count, then as the search wants it. */
typedef union histogram {
    uint32_t counts[LT_PRECISE_COPIES * LT_PRECISE_BINS];
    uint64_t wide[LT_PRECISE_BINS];
} histogram;

/* Scopes that a pass finds scales for have fewer than 2^32 elements. */
static void count_all(const lt_reader *reader, const lt_precise *precise, uint64_t elem,
                      uint64_t n_elems, histogram *bins) {
    const lt_precise_loops *loops = reader->kernels->precise;
    float tile[LATHE_STAT_TILE];
    memset(bins->counts, 0, LT_PRECISE_COPIES * LT_PRECISE_BINS * sizeof bins->counts[0]);
    for (uint64_t done = 0; done < n_elems; done += LATHE_STAT_TILE) {
        uint64_t count = lt_min(n_elems - done, LATHE_STAT_TILE);
        lt_reader_decode(reader, elem + done, count, tile);
        loops->count(precise, tile, (size_t)count, bins->counts);
    }
    loops->fold(precise, bins->counts);
}

static void search_counts(const lt_reader *reader, lt_precise *precise, uint64_t elem,
                          uint64_t n_elems) {
    histogram bins;
    uint64_t sums[LT_PRECISE_BINS];
    count_all(reader, precise, elem, n_elems, &bins);
    for (uint32_t i = lt_precise_bins(precise); i > 0; i--) {
        bins.wide[i - 1] = bins.counts[i - 1]; /* a word that is written has been read */
    }
    lt_precise_search_counts(precise, bins.wide, sums);
}

/* The standard scale, or the one that fits the codes of what was found, whichever is better. */
static float choose(const lt_reader *reader, const lt_precise *precise, uint64_t elem,
                    uint64_t n_elems) {
    lt_scale_fit fit = {0};
    float tile[LATHE_STAT_TILE];
    for (uint64_t done = 0; done < n_elems; done += LATHE_STAT_TILE) {
        uint64_t count = lt_min(n_elems - done, LATHE_STAT_TILE);
        lt_reader_decode(reader, elem + done, count, tile);
        reader->kernels->precise->fit(precise, tile, (size_t)count, &fit);
    }
    return lt_precise_choose(precise, &fit);
}

float lt_cpu_precise_scale(const lt_reader *reader, const lt_pass *pass, uint64_t elem,
                           uint64_t n_elems, float scale) {
    lt_precise precise = lt_precise_of(pass->dst.dtype, scale);
    if (precise.inverse == 0 || lt_outcome_element(reader->outcome) < elem + n_elems) {
        return scale; /* nothing but zeros, nearly; or the conversion fails here or before */
    }
    if (n_elems <= LT_PRECISE_ELEMS) {
        search_elems(reader, &precise, elem, n_elems);
    } else {
        search_counts(reader, &precise, elem, n_elems);
    }
    return precise.other == 0 ? scale : choose(reader, &precise, elem, n_elems);
}

void lt_cpu_scan_tiles(const lt_cpu_backend *cpu, const lt_work *work, uint64_t first_tile,
                       uint64_t n_tiles) {
    const lt_pass *pass = work->pass;
    const lt_precise_loops *loops = cpu->kernels.precise;
    lt_reader reader = lt_reader_of(cpu, pass, &pass->src, &work->src, work->outcome);
    lt_scan_part part;
    memset(&part, 0, work->scan->kind == LT_SCAN_COUNTS ? sizeof part : 0);
    part.fit = (lt_scale_fit){0};
    for (uint64_t i = first_tile; i < first_tile + n_tiles; i++) {
        float tile[LATHE_STAT_TILE];
        uint64_t elem;
        uint64_t n_elems;
        lt_tiling_tile(&pass->tiling, i, &elem, &n_elems);
        lt_reader_decode(&reader, elem, n_elems, tile);
        lt_scan_add(work->scan, loops, &part, tile, (size_t)n_elems);
    }
    lt_scan_merge(work->scan, loops, &part);
}
