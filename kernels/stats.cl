/* SPDX-License-Identifier: Apache-2.0 */
/* The stats kernel: the statistic of each tile, in the order of docs/numerics.md. */
#include "fold.cl"

#define LT_TILE_ITEMS LATHE_CL_TILE_ITEMS(LT_SRC)
#define LT_TILE_LANES (LATHE_STAT_LANES / LT_TILE_ITEMS)
#define LT_GROUP_TILES (LT_GROUP / LT_TILE_ITEMS)

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

#define LT_STAT_STEPS 16

/* The work-item's lanes of a whole tile, of which the first is `lane`: LT_TILE_LANES statistics. */

#if LT_SRC <= LATHE_CL_BF16

/* Two lanes. Floats have no scales, so that they are consecutive. */
#if LT_SRC == LATHE_CL_F32
typedef uint2 lt_pair;
#define LT_FLOAT_BYTES 4
#else
typedef uint lt_pair;
#define LT_FLOAT_BYTES 2
#endif

float2 lt_pair_floats(lt_pair pair) {
#if LT_SRC == LATHE_CL_F32
    return as_float2(pair);
#elif LT_SRC == LATHE_CL_F16
    return vload_half2(0, (const half *)&pair);
#else
    return as_float2((uint2)(pair << 16, pair & 0xffff0000u));
#endif
}

/* Magnitudes order like their bits in every float type. Those of 16 bits are compared in the upper
 * bits of words, where what lies below them decides nothing: the second lane's has the first one's
 * there. */
uint2 lt_top_words(lt_pair pair) {
#if LT_SRC == LATHE_CL_F32
    return pair & LT_MAGNITUDE;
#else
    return (uint2)(pair << 17, pair << 1);
#endif
}

float2 lt_tops_of_words(uint2 words) {
#if LT_SRC == LATHE_CL_F32
    return as_float2(words);
#else
    return lt_pair_floats(words.x >> 17 | words.y >> 17 << 16);
#endif
}

void lt_whole_tile(uint *stats, __global const uchar *src, __global const float *scales,
                   const lathe_launch *launch, lt_tile tile, uint lane, __global uint *report) {
    __global const lt_pair *pairs =
        (__global const lt_pair *)(src + launch->src.data_offset +
                                   (launch->src.first_col + tile.elem + lane) * LT_FLOAT_BYTES);
#if LT_IS_MEAN
    float2 floats = (float2)(0.0f);
#else
    uint2 words = (uint2)(0);
#endif
    for (uint i = 0; i < LATHE_STAT_TILE / LATHE_STAT_LANES; i += LT_STAT_STEPS) {
        lt_pair raw[LT_STAT_STEPS];
#pragma unroll
        for (uint step = 0; step < LT_STAT_STEPS; step++) {
            raw[step] = LT_COME2(pairs[(i + step) * (LATHE_STAT_LANES / 2)]);
        }
#pragma unroll
        for (uint step = 0; step < LT_STAT_STEPS; step++) {
#if LT_IS_MEAN
            floats += fabs(lt_pair_floats(raw[step]));
#else
            words = max(words, lt_top_words(raw[step]));
#endif
        }
    }
#if !LT_IS_MEAN
    const float2 floats = lt_tops_of_words(words);
#endif
    stats[0] = as_uint(floats.x) & LT_MAGNITUDE;
    stats[1] = as_uint(floats.y) & LT_MAGNITUDE;
}

#else

uint4 lt_stat_join4(uint4 a, uint4 b) {
#if LT_IS_MEAN
    return as_uint4(as_float4(a) + as_float4(b));
#else
    return max(a, b);
#endif
}

#define LT_CODE_STEPS 8

/* Four lanes. */
void lt_whole_tile(uint *stats, __global const uchar *src, __global const float *scales,
                   const lathe_launch *launch, lt_tile tile, uint lane, __global uint *report) {
    const lt_spot none = {0, 0};
    const bool one_scale = launch->src.scale_elems.by == 0;
    const float common = one_scale ? lt_source_scale(&launch->src, scales, none) : 1;
    uint4 found = (uint4)(0);
    for (uint i = lane; i < LATHE_STAT_TILE; i += LATHE_STAT_LANES * LT_CODE_STEPS) {
        lt_raw4 raw[LT_CODE_STEPS];
        lt_spot spots[LT_CODE_STEPS];
#pragma unroll
        for (uint step = 0; step < LT_CODE_STEPS; step++) {
            spots[step] = lt_spot_of(&launch->src, tile.elem + i + step * LATHE_STAT_LANES);
            raw[step] =
                lt_fetch4(src + lt_row_offset(&launch->src, spots[step].row), spots[step].col);
        }
#pragma unroll
        for (uint step = 0; step < LT_CODE_STEPS; step++) {
            const uint elem = tile.elem + i + step * LATHE_STAT_LANES;
            const float scale =
                one_scale ? common : lt_source_scale(&launch->src, scales, spots[step]);
            lt_check4(raw[step], elem, spots[step].col, launch->flags, report);
            const float4 x = lt_decode4(raw[step], spots[step].col, scale);
            found = lt_stat_join4(found, as_uint4(x) & LT_MAGNITUDE);
        }
    }
    stats[0] = found.x;
    stats[1] = found.y;
    stats[2] = found.z;
    stats[3] = found.w;
}

#endif

/* What is done with a tile's elements; each attempt follows one whose result is not finite. */
#define LT_AS_IS 0  /* every element counts */
#define LT_FINITE 1 /* a NaN or infinity is a fault, or counts as 0 */
#define LT_SHRUNK 2 /* the sum overflowed: each element times LATHE_STAT_SHRINK */

uint lt_share(float x, uint attempt, uint elem, ulong flags, __global uint *report) {
    const uint magnitude = as_uint(x) & LT_MAGNITUDE;
    if (attempt == LT_AS_IS) {
        return magnitude;
    }
    if (magnitude >= LT_INFINITY) {
        if ((flags & LATHE_CL_NONFINITE_ERROR) != 0) {
            lt_fault(report, elem, LATHE_CL_FAULT_NON_FINITE);
        }
        return 0;
    }
    return attempt < LT_SHRUNK ? magnitude : as_uint(as_float(magnitude) * LATHE_STAT_SHRINK);
}

/* Elements lane, lane + 64, ... of any tile. */
uint lt_tile_lane(__global const uchar *src, __global const float *scales,
                  const lathe_launch *launch, lt_tile tile, uint lane, uint attempt,
                  __global uint *report) {
    uint stat = 0;
    for (uint i = lane; i < tile.n_elems; i += LATHE_STAT_LANES) {
        const uint elem = tile.elem + i;
        const float x = lt_element(src, scales, launch, elem, report);
        stat = lt_stat_join(stat, lt_share(x, attempt, elem, launch->flags, report));
    }
    return stat;
}

typedef struct lt_tiles_memory {
    uint lanes[LT_GROUP * LT_TILE_LANES];
    uint eighths[LT_GROUP_TILES * 8];
    uint is_odd;
} lt_tiles_memory;

/* The tiles of work-group `group`. */
void lt_take_tiles(__global const uchar *src, __global const float *src_scales,
                   __global float *stats, __global uint *reports, __global uint *report,
                   const lathe_launch *launch, uint group, __local lt_tiles_memory *memory) {
    const uint item = (uint)get_local_id(0);
    const uint first = group * LT_GROUP_TILES;
    const lt_tile tile = lt_tile_of(launch, first + item / LT_TILE_ITEMS);
    const uint lane = item % LT_TILE_ITEMS * LT_TILE_LANES;
    const bool is_vector =
        (launch->flags & LATHE_CL_SRC_VECTOR) != 0 && tile.n_elems == LATHE_STAT_TILE;
    bool is_found = item >= LT_GROUP_TILES || first + item >= launch->n_tiles;
    bool again = true;
    uint tile_stat = 0;

    for (uint attempt = LT_AS_IS; again; attempt++) {
        uint mine[LT_TILE_LANES];
        if (is_vector && attempt == LT_AS_IS) {
            lt_whole_tile(mine, src, src_scales, launch, tile, lane, report);
        } else {
            for (uint i = 0; i < LT_TILE_LANES; i++) {
                mine[i] = lt_tile_lane(src, src_scales, launch, tile, lane + i, attempt, report);
            }
        }
#pragma unroll
        for (uint i = 0; i < LT_TILE_LANES; i++) {
            memory->lanes[item * LT_TILE_LANES + i] = mine[i];
        }
        if (item == 0) {
            memory->is_odd = 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < LT_GROUP_TILES * 8) {
            memory->eighths[item] =
                lt_fold8_local(memory->lanes + item / 8 * LATHE_STAT_LANES + item % 8, 8);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (!is_found) {
            const uint stat = lt_fold8_local(memory->eighths + 8 * item, 1);
            is_found = lt_is_finite(stat);
            if (is_found) {
                tile_stat = attempt == LT_SHRUNK ? stat | 0x80000000u : stat;
                stats[first + item] = as_float(tile_stat);
            } else {
                memory->is_odd = 1;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        again = memory->is_odd != 0;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if ((launch->flags & LATHE_CL_GATHER) != 0) {
        if (item < LT_GROUP_TILES) {
            const uint2 words = lt_to_gather(tile_stat);
            memory->lanes[item] = words.x;
            memory->lanes[LT_GROUP_TILES + item] = words.y;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < LATHE_CL_SUM_PARTS) {
            lt_gather(reports + launch->sums, memory->lanes, memory->lanes + LT_GROUP_TILES,
                      LT_GROUP_TILES, item);
        }
        if (group == 0) {
            for (uint i = item; i < LATHE_CL_SUM_WORDS; i += LT_GROUP) {
                reports[launch->next_sums + i] = 0;
            }
        }
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_stats(__global const uchar *restrict src, __global const float *restrict src_scales,
            __global float *restrict stats, __global uint *reports, lathe_launch launch) {
    __local lt_tiles_memory memory;
    lt_take_tiles(src, src_scales, stats, reports, reports + launch.report * LATHE_CL_REPORT_WORDS,
                  &launch, (uint)get_group_id(0), &memory);
}
