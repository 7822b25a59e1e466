/* SPDX-License-Identifier: Apache-2.0 */
/* The stats kernel: the statistic of each tile, in the order of docs/numerics.md. */
#include "block.cl"

#define LT_GROUP_TILES (LT_GROUP / LATHE_CL_TILE_ITEMS)

/* Elements of the launch. */
typedef struct lt_tile {
    uint elem;
    uint n_elems;
} lt_tile;

/* Tile number `index` of the launch. */
lt_tile lt_tile_of(const lathe_launch *launch, uint index) {
    lt_tile tile = {0, 0};
    if (index >= launch->n_tiles) {
        return tile;
    }
    const ulong at = launch->tile_phase + index;
    const uint scope = lt_div(at, &launch->tiles_per_scope);
    const ulong row_scope = launch->scope_phase + scope;
    const uint row = lt_div(row_scope, &launch->scopes_per_row);
    const ulong in_scope = at - scope * launch->tiles_per_scope.by;
    const ulong begin = (row_scope - row * launch->scopes_per_row.by) * launch->scope_elems;
    const ulong end = begin + min(launch->scope_elems, launch->tiling_row - begin);
    const bool is_sampled = (launch->flags & LATHE_CL_FAST) != 0 &&
                            end - begin > (ulong)LATHE_FAST_STRIDE * LATHE_STAT_TILE;
    const ulong step = (is_sampled ? LATHE_FAST_STRIDE : 1) * LATHE_STAT_TILE;
    const ulong first = min(begin + in_scope * step, end);
    tile.elem = (uint)(row * launch->tiling_row + first - launch->tile_origin);
    tile.n_elems = (uint)min(end - first, (ulong)LATHE_STAT_TILE);
    return tile;
}

uint4 lt_stat_join4(uint4 a, uint4 b) {
#if LT_IS_MEAN
    return as_uint4(as_float4(a) + as_float4(b));
#else
    return max(a, b);
#endif
}

#define LT_STAT_STEPS 8

/* Four lanes of a whole tile, from `lane` on. */
uint4 lt_whole_tile(__global const uchar *src, __global const float *scales,
                    const lathe_launch *launch, lt_tile tile, uint lane, __global uint *report) {
    uint4 stats = (uint4)(0);
    for (uint i = lane; i < LATHE_STAT_TILE; i += LATHE_STAT_LANES * LT_STAT_STEPS) {
        lt_raw4 raw[LT_STAT_STEPS];
#pragma unroll
        for (uint step = 0; step < LT_STAT_STEPS; step++) {
            const uint elem = tile.elem + i + step * LATHE_STAT_LANES;
            raw[step] = lt_fetch_spot(src, &launch->src, lt_spot_of(&launch->src, elem));
        }
#pragma unroll
        for (uint step = 0; step < LT_STAT_STEPS; step++) {
            const uint elem = tile.elem + i + step * LATHE_STAT_LANES;
            const lt_spot spot = lt_spot_of(&launch->src, elem);
            lt_check4(raw[step], elem, spot.col, launch->flags, report);
            const float4 x = lt_decode4(raw[step], spot.col,
                                        lt_source_scale(&launch->src, scales, spot));
            stats = lt_stat_join4(stats, as_uint4(x) & LT_MAGNITUDE);
        }
    }
    return stats;
}

/* Elements lane, lane + 64, ... of any tile. */
uint lt_tile_lane(__global const uchar *src, __global const float *scales,
                  const lathe_launch *launch, lt_tile tile, uint lane, uint attempt,
                  __global uint *report) {
    uint stat = 0;
    for (uint i = lane; i < tile.n_elems; i += LATHE_STAT_LANES) {
        const float x = lt_element(src, scales, launch, tile.elem + i, report);
        const uint share = attempt == LT_AS_IS
                               ? lt_share(x)
                               : lt_odd_share(x, attempt, tile.elem + i, launch->flags, report);
        stat = lt_stat_join(stat, share);
    }
    return stat;
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_stats(__global const uchar *restrict src, __global const float *restrict src_scales,
            __global float *restrict stats, __global uint *reports, lathe_launch launch) {
    __local uint4 lanes[LT_GROUP];
    __local uint eighths[LT_GROUP_TILES * 8];
    __local uint is_odd;
    const uint item = (uint)get_local_id(0);
    const uint first = (uint)get_group_id(0) * LT_GROUP_TILES;
    const lt_tile tile = lt_tile_of(&launch, first + item / LATHE_CL_TILE_ITEMS);
    const uint lane = item % LATHE_CL_TILE_ITEMS * 4;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    const bool is_vector =
        (launch.flags & LATHE_CL_SRC_VECTOR) != 0 && tile.n_elems == LATHE_STAT_TILE;
    bool is_found = item >= LT_GROUP_TILES || first + item >= launch.n_tiles;
    bool again = true;

    for (uint attempt = LT_AS_IS; again; attempt++) {
        if (is_vector && attempt == LT_AS_IS) {
            lanes[item] = lt_whole_tile(src, src_scales, &launch, tile, lane, report);
        } else {
            uint4 four;
            four.x = lt_tile_lane(src, src_scales, &launch, tile, lane, attempt, report);
            four.y = lt_tile_lane(src, src_scales, &launch, tile, lane + 1, attempt, report);
            four.z = lt_tile_lane(src, src_scales, &launch, tile, lane + 2, attempt, report);
            four.w = lt_tile_lane(src, src_scales, &launch, tile, lane + 3, attempt, report);
            lanes[item] = four;
        }
        if (item == 0) {
            is_odd = 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < LT_GROUP_TILES * 8) {
            __local const uint *mine = (__local const uint *)lanes + item / 8 * LATHE_STAT_LANES;
            eighths[item] = lt_fold8_local(mine + item % 8, 8);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (!is_found) {
            const uint stat = lt_fold8_local(eighths + 8 * item, 1);
            is_found = lt_is_finite(stat);
            if (is_found) {
                stats[first + item] =
                    attempt == LT_SHRUNK ? -as_float(stat) : as_float(stat);
            } else {
                is_odd = 1;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        again = is_odd != 0;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
