/* SPDX-License-Identifier: Apache-2.0 */
/* The stats pass on the CPU: one statistic for each tile. */
#include "core/checked.h"
#include "cpu/recode.h"
#include <math.h>

/* FAST looks at a sample only: the first fault may lie outside it, so the convert pass looks for
 * it. */
static bool reports_faults(const lt_pass *pass) {
    return pass->quality != LATHE_FAST;
}

/* The slow way for a tile whose statistic is not finite. Non-finite elements are reported or count
 * as 0; a sum that overflows without them is made of smaller terms. */
static double odd_tile_stat(const lt_reader *reader, const lt_pass *pass, uint64_t elem,
                            uint64_t n_elems) {
    float tile[LATHE_STAT_TILE];
    lt_reader_decode(reader, elem, n_elems, tile);
    bool report = pass->nonfinite == LATHE_NONFINITE_ERROR && reports_faults(pass);
    for (uint64_t i = 0; i < n_elems; i++) {
        if (!isfinite(tile[i])) {
            if (report) {
                lt_outcome_fault(reader->outcome, LATHE_NON_FINITE, elem + i);
                return 0;
            }
            tile[i] = 0;
        }
    }
    lt_stat_fn *stat = reader->kernels->stat[LT_HOT][lt_stat_of(pass->dst.dtype)][LATHE_F32];
    float value = stat(tile, (size_t)n_elems);
    if (isfinite(value)) {
        return (double)value;
    }
    for (uint64_t i = 0; i < n_elems; i++) {
        tile[i] *= LATHE_STAT_SHRINK;
    }
    return (double)stat(tile, (size_t)n_elems) * LATHE_STAT_GROW;
}

double lt_tile_stat(const lt_reader *reader, const lt_pass *pass, uint64_t elem, uint64_t n_elems) {
    if (n_elems == 0) {
        return 0;
    }
    lt_stat which = lt_stat_of(pass->dst.dtype);
    lt_stat_fn *direct = reader->kernels->stat[reader->heat][which][reader->layout->dtype];
    float value;
    if (direct != NULL) { /* F32, F16 or BF16, which have no scales and no padding */
        value = direct(lt_reader_run(reader, elem).bytes, (size_t)n_elems);
    } else {
        if (reports_faults(pass)) {
            lt_reader_check(reader, elem, n_elems);
        }
        if (!lt_recode_stat(reader, which, elem, n_elems, &value)) {
            float tile[LATHE_STAT_TILE];
            lt_reader_decode(reader, elem, n_elems, tile);
            value = reader->kernels->stat[LT_HOT][which][LATHE_F32](tile, (size_t)n_elems);
        }
    }
    return isfinite(value) ? (double)value : odd_tile_stat(reader, pass, elem, n_elems);
}

void lt_cpu_stats_tiles(const lt_cpu_backend *cpu, const lt_work *work, uint64_t first_tile,
                        uint64_t n_tiles) {
    const lt_pass *pass = work->pass;
    lt_reader reader = lt_reader_of(cpu, pass, &pass->src, &work->src, work->outcome);
    lt_lane_sums sums = {.is_set = false};
    reader.sums = &sums;
    for (uint64_t tile = first_tile; tile < first_tile + n_tiles; tile++) {
        uint64_t elem;
        uint64_t n_elems;
        lt_tiling_tile(&pass->tiling, tile, &elem, &n_elems);
        if (elem > lt_outcome_element(work->outcome)) {
            return; /* the conversion fails at an earlier element */
        }
        work->stats[tile - work->first_tile] = lt_tile_stat(&reader, pass, elem, n_elems);
    }
}
