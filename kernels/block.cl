/* SPDX-License-Identifier: Apache-2.0 */
/* The block kernel: a work-group takes whole rows, or a part of one, into local memory as F32. That
 * makes it indifferent to how the source's rows lie, and lets it find scales on the way. */
#include "stream.cl"

/* Four words of padding after each 32 keep work-items that are some scopes or units apart on
 * different banks. */
#define LT_BLOCK_WORDS (LATHE_CL_BLOCK_ELEMS / 32 * 36)

uint lt_padded(uint elem) {
    return elem + (elem >> 5 << 2);
}

/* The part of the launch that a work-group takes, and where it puts it. */
typedef struct lt_block {
    uint row;
    uint col;
    uint n_rows;
    uint n_cols;
    uint elem; /* of the launch: the block's first */
    uint n_elems;
    __local float *x;
} lt_block;

lt_block lt_block_of(const lathe_launch *launch, uint index, __local float *x) {
    lt_block block;
    const uint cut = lt_div(index, &launch->row_units);
    block.row = cut * (uint)launch->block_rows;
    block.col = (index - cut * (uint)launch->row_units.by) * (uint)launch->block_cols;
    block.n_rows = min((uint)launch->block_rows, (uint)launch->n_rows - block.row);
    block.n_cols = min((uint)launch->block_cols, (uint)launch->n_cols - block.col);
    block.elem = block.row * (uint)launch->n_cols + block.col;
    block.n_elems = block.n_rows * block.n_cols;
    block.x = x;
    return block;
}

/* Fours that a work-item loads before it decodes the first. */
#define LT_LOAD_STEPS 4

void lt_load_fours(const lt_block *block, __global const uchar *src, __global const float *scales,
                   const lathe_launch *launch, uint item, __global uint *report) {
    const uint n_fours = block->n_elems / 4;
    for (uint first = item; first < n_fours; first += LT_GROUP * LT_LOAD_STEPS) {
        lt_raw4 raw[LT_LOAD_STEPS];
#pragma unroll
        for (uint step = 0; step < LT_LOAD_STEPS; step++) {
            const uint four = first + step * LT_GROUP;
            if (four < n_fours) {
                raw[step] = lt_fetch_spot(src, &launch->src,
                                          lt_spot_of(&launch->src, block->elem + 4 * four));
            }
        }
#pragma unroll
        for (uint step = 0; step < LT_LOAD_STEPS; step++) {
            const uint four = first + step * LT_GROUP;
            if (four < n_fours) {
                const uint elem = block->elem + 4 * four;
                const lt_spot spot = lt_spot_of(&launch->src, elem);
                lt_check4(raw[step], elem, spot.col, launch->flags, report);
                *(__local float4 *)(block->x + lt_padded(4 * four)) = lt_decode4(
                    raw[step], spot.col, lt_source_scale(&launch->src, scales, spot));
            }
        }
    }
}

void lt_load_block(const lt_block *block, __global const uchar *src, __global const float *scales,
                   const lathe_launch *launch, uint item, __global uint *report) {
    uint done = 0;
    if ((launch->flags & LATHE_CL_SRC_VECTOR) != 0) {
        lt_load_fours(block, src, scales, launch, item, report);
        done = block->n_elems / 4 * 4;
    }
#pragma unroll 4
    for (uint i = done + item; i < block->n_elems; i += LT_GROUP) {
        block->x[lt_padded(i)] = lt_element(src, scales, launch, block->elem + i, report);
    }
}

/* Scopes of the block; the last one of a row may be short. */
typedef struct lt_scopes {
    uint n_elems; /* of a full one */
    uint per_row;
    uint n_scopes;
} lt_scopes;

lt_scopes lt_scopes_of(const lt_block *block, const lathe_launch *launch) {
    lt_scopes scopes;
    /* Longer than the block's rows only where the row is the scope. */
    scopes.n_elems = (uint)min(launch->dst.scale_elems.by, (lathe_u64)block->n_cols);
    scopes.per_row = block->n_rows > 1 ? (uint)launch->row_scopes.by
                                       : (block->n_cols + scopes.n_elems - 1) / scopes.n_elems;
    scopes.n_scopes = scopes.per_row * block->n_rows;
    return scopes;
}

typedef struct lt_scope {
    uint row;
    uint col;
    uint begin; /* in the block */
    uint n_elems;
} lt_scope;

lt_scope lt_scope_at(const lt_block *block, const lt_scopes *scopes, const lathe_launch *launch,
                     uint index) {
    lt_scope scope;
    scope.row = block->n_rows > 1 ? lt_div(index, &launch->row_scopes) : 0;
    scope.col = (index - scope.row * scopes->per_row) * scopes->n_elems;
    scope.begin = scope.row * block->n_cols + scope.col;
    scope.n_elems = min(scopes->n_elems, block->n_cols - scope.col);
    return scope;
}

/* What elements lane, lane + 64, ... of a scope add up to. */
uint lt_scope_lane(const lt_block *block, lt_scope scope, uint lane, uint attempt, ulong flags,
                   __global uint *report) {
    uint stat = 0;
    if (attempt == LT_AS_IS) {
#pragma unroll 8
        for (uint i = lane; i < scope.n_elems; i += LATHE_STAT_LANES) {
            stat = lt_stat_join(stat, lt_share(block->x[lt_padded(scope.begin + i)]));
        }
        return stat;
    }
    for (uint i = lane; i < scope.n_elems; i += LATHE_STAT_LANES) {
        const float x = block->x[lt_padded(scope.begin + i)];
        const uint elem = block->elem + scope.begin + i;
        stat = lt_stat_join(stat, lt_odd_share(x, attempt, elem, flags, report));
    }
    return stat;
}

/* Lanes lane, lane + 8, ..., folded. */
uint lt_scope_lanes(const lt_block *block, lt_scope scope, uint lane, uint attempt, ulong flags,
                    __global uint *report) {
    uint stats[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    const uint n_whole = scope.n_elems / LATHE_STAT_LANES * LATHE_STAT_LANES;
    if (attempt == LT_AS_IS) {
        for (uint i = lane; i < n_whole; i += LATHE_STAT_LANES) {
#pragma unroll
            for (uint k = 0; k < 8; k++) {
                const float x = block->x[lt_padded(scope.begin + i + 8 * k)];
                stats[k] = lt_stat_join(stats[k], lt_share(x));
            }
        }
#pragma unroll
        for (uint k = 0; k < 8; k++) {
            const uint i = n_whole + lane + 8 * k;
            if (i < scope.n_elems) {
                stats[k] =
                    lt_stat_join(stats[k], lt_share(block->x[lt_padded(scope.begin + i)]));
            }
        }
    } else {
#pragma unroll
        for (uint k = 0; k < 8; k++) {
            stats[k] = lt_scope_lane(block, scope, lane + 8 * k, attempt, flags, report);
        }
    }
    return lt_fold8(stats);
}

/* Scopes of up to this many elements have eight work-items each, longer ones one for each lane. */
#define LT_SHORT_SCOPE 512

/* Local memory of lt_find_scales. */
typedef struct lt_find {
    uint lanes[LT_GROUP];
    uint eighths[LT_GROUP];
    uint again;
} lt_find;

/* Adds up lanes of the scopes from `first` on: one for each work-item, or eight that it folds. */
void lt_add_lanes(const lt_block *block, const lt_scopes *scopes, const lathe_launch *launch,
                  uint first, uint item, uint attempt, __local lt_find *find,
                  __global uint *report) {
    const bool is_short = scopes->n_elems <= LT_SHORT_SCOPE;
    const uint items = is_short ? 8 : LATHE_STAT_LANES;
    const uint index = first + item / items;
    if (index < scopes->n_scopes) {
        const lt_scope scope = lt_scope_at(block, scopes, launch, index);
        if (is_short) {
            find->eighths[item] =
                lt_scope_lanes(block, scope, item % items, attempt, launch->flags, report);
        } else {
            find->lanes[item] =
                lt_scope_lane(block, scope, item % items, attempt, launch->flags, report);
        }
    }
}

/* Finds the block's scales, stores them, and leaves them with their inverses in `found`. */
void lt_find_scales(const lt_block *block, const lt_scopes *scopes, const lathe_launch *launch,
                    uint item, __local lt_find *find, __local lt_scale *found,
                    __global float *dst_scales, __global uint *report) {
    const bool is_short = scopes->n_elems <= LT_SHORT_SCOPE;
    const uint at_once = LT_GROUP / (is_short ? 8 : LATHE_STAT_LANES);
    for (uint first = 0; first < scopes->n_scopes; first += at_once) {
        const uint index = first + item;
        bool is_found = item >= at_once || index >= scopes->n_scopes;
        bool again = true;
        for (uint attempt = LT_AS_IS; again; attempt++) {
            lt_add_lanes(block, scopes, launch, first, item, attempt, find, report);
            if (item == 0) {
                find->again = 0;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            if (!is_short && item < LT_GROUP / 8) {
                find->eighths[item] =
                    lt_fold8_local(find->lanes + item / 8 * LATHE_STAT_LANES + item % 8, 8);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            if (!is_found) {
                const uint stat = lt_fold8_local(find->eighths + 8 * item, 1);
                is_found = lt_is_finite(stat);
                if (is_found) {
                    const lt_scope scope = lt_scope_at(block, scopes, launch, index);
                    const lt_spot spot = {block->row + scope.row,
                                          (uint)launch->dst.first_col + block->col + scope.col};
                    const float scale = lt_scale_from_stat(stat, scope.n_elems, attempt);
                    dst_scales[lt_scale_index(&launch->dst, spot)] = scale;
                    found[index] = lt_scale_of(scale);
                } else {
                    find->again = 1;
                }
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            again = find->again != 0;
            barrier(CLK_LOCAL_MEM_FENCE);
        }
    }
}

/* Four elements of the block, or fewer. */
float4 lt_block_four(const lt_block *block, uint at, uint count) {
    if (count >= 4 && (at & 3) == 0) {
        return *(__local const float4 *)(block->x + lt_padded(at));
    }
    float4 x = (float4)(LT_MISSING);
    x.x = count > 0 ? block->x[lt_padded(at)] : x.x;
    x.y = count > 1 ? block->x[lt_padded(at + 1)] : x.y;
    x.z = count > 2 ? block->x[lt_padded(at + 2)] : x.z;
    x.w = count > 3 ? block->x[lt_padded(at + 3)] : x.w;
    return x;
}

lt_scale lt_block_scale(const lt_block *block, const lt_scopes *scopes, const lathe_launch *launch,
                        uint row, uint col, __local const lt_scale *found,
                        __global const float *dst_scales) {
    const lt_spot spot = {block->row + row, (uint)launch->dst.first_col + block->col + col};
#if LT_DST >= LATHE_CL_I8
    if ((launch->flags & LATHE_CL_OWN_SCALES) != 0) {
        return found[row * scopes->per_row + lt_div(col, &launch->dst.scale_elems)];
    }
#endif
    return lt_target_scale(&launch->dst, dst_scales, spot);
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_block(__global const uchar *restrict src, __global const float *restrict src_scales,
            __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
            lathe_launch launch) {
    __local float4 memory[LT_BLOCK_WORDS / 4];
    __local lt_find find;
    __local lt_scale found[LATHE_CL_BLOCK_SCOPES];
    const uint item = (uint)get_local_id(0);
    const ulong flags = launch.flags;
    const bool is_vector = (flags & LATHE_CL_DST_VECTOR) != 0;
    const lt_block block =
        lt_block_of(&launch, (uint)get_group_id(0), (__local float *)memory);
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    lt_scopes scopes = {0, 0, 0};

    lt_load_block(&block, src, src_scales, &launch, item, report);
    barrier(CLK_LOCAL_MEM_FENCE);
#if LT_DST >= LATHE_CL_I8
    if ((flags & LATHE_CL_OWN_SCALES) != 0) {
        scopes = lt_scopes_of(&block, &launch);
        lt_find_scales(&block, &scopes, &launch, item, &find, found, dst_scales, report);
    }
#endif
    const uint row_parts =
        block.n_rows > 1 ? (uint)launch.row_parts.by : (block.n_cols + LT_UNIT - 1) / LT_UNIT;
    for (uint part = item; part < row_parts * block.n_rows; part += LT_GROUP) {
        const uint row = block.n_rows > 1 ? lt_div(part, &launch.row_parts) : 0;
        const uint col = (part - row * row_parts) * LT_UNIT;
        const uint count = min(block.n_cols - col, (uint)LT_UNIT);
        const uint at = row * block.n_cols + col;
        const uint elem = block.elem + at;
        __global uchar *out = dst + lt_row_offset(&launch.dst, block.row + row) +
                              lt_target_byte((uint)launch.dst.first_col + block.col + col);
#if LT_DST == LATHE_CL_BITNET158
        uint trits[5];
        for (uint i = 0; i < 5; i++) {
            trits[i] = 0x01010101;
            if (4 * i < count) {
                const float4 x = lt_block_four(&block, at + 4 * i, count - 4 * i);
                const lt_scale scale = lt_block_scale(&block, &scopes, &launch, row, col + 4 * i,
                                                      found, dst_scales);
                trits[i] = lt_trits4(
                    lt_convert4(x, scale, elem + 4 * i, count - 4 * i, flags, report));
            }
        }
        lt_store_trits(out, lt_pack_trits(trits[0], trits[1], trits[2], trits[3], trits[4]), count,
                       flags);
#else
        const lt_scale scale =
            lt_block_scale(&block, &scopes, &launch, row, col, found, dst_scales);
#if LT_UNIT == 4
        const lt_unit x = lt_block_four(&block, at, count);
#else
        const lt_unit x = (float8)(lt_block_four(&block, at, count),
                                   lt_block_four(&block, at + 4, max(count, 4u) - 4));
#endif
        if (is_vector && count == LT_UNIT) {
            lt_store_unit(out, lt_convert_unit(x, scale, elem, count, flags, report));
        } else {
            lt_store_part(out, lt_convert_unit(x, scale, elem, count, flags, report), count);
        }
#endif
    }
}
