/* SPDX-License-Identifier: Apache-2.0 */
/* The block kernel: a work-group takes whole rows, or a part of one. Its work-items hold the
 * block's elements, so that it can find scales before it encodes; where the source's rows do not
 * allow vectors, the elements come one by one through local memory. */
#include "stream.cl"

/* A block is held in parts of LT_WIDTH elements; no part has elements of two rows or scopes. */
#define LT_PARTS (LATHE_CL_BLOCK_ELEMS / LT_WIDTH)
#define LT_MY_PARTS (LT_PARTS / LT_GROUP)

/* Elements in local memory. Four words of padding after each 32 keep work-items that are some
 * scopes or parts apart on different banks. */
#define LT_BLOCK_WORDS (LATHE_CL_BLOCK_ELEMS / 32 * 36)

uint lt_padded(uint elem) {
    return elem + (elem >> 5 << 2);
}

/* The rows and columns of the launch that a work-group takes. */
typedef struct lt_block {
    uint row;
    uint col;
    uint n_rows;
    uint n_cols;
    uint elem; /* the first one's number in the launch */
    uint n_elems;
    uint row_parts;
} lt_block;

lt_block lt_block_of(const lathe_launch *launch, uint index) {
    lt_block block;
    const uint cut = lt_div(index, &launch->row_units);
    block.row = cut * (uint)launch->block_rows;
    block.col = (index - cut * (uint)launch->row_units.by) * (uint)launch->block_cols;
    block.n_rows = min((uint)launch->block_rows, (uint)launch->n_rows - block.row);
    block.n_cols = min((uint)launch->block_cols, (uint)launch->n_cols - block.col);
    block.elem = block.row * (uint)launch->n_cols + block.col;
    block.n_elems = block.n_rows * block.n_cols;
    block.row_parts = (block.n_cols + LT_WIDTH - 1) / LT_WIDTH;
    return block;
}

/* A place in the block. count: elements of it that there are, 0 for none. */
typedef struct lt_part {
    uint row;
    uint col;
    uint at; /* elements of the block before it */
    uint count;
} lt_part;

lt_part lt_part_of(const lt_block *block, const lathe_launch *launch, uint index) {
    lt_part part = {0, index * LT_WIDTH, 0, 0};
    if (block->n_rows > 1) {
        part.row = lt_div(index, &launch->row_parts);
        part.col = (index - part.row * block->row_parts) * LT_WIDTH;
    }
    part.at = part.row * block->n_cols + part.col;
    if (part.row < block->n_rows && part.col < block->n_cols) {
        part.count = min(block->n_cols - part.col, (uint)LT_WIDTH);
    }
    return part;
}

/* Loads the work-item's parts as vectors, which the host has found to be possible. */
void lt_hold_vectors(lt_floats *held, const lt_block *block, __global const uchar *src,
                     __global const float *scales, const lathe_launch *launch, uint item,
                     __global uint *report) {
    lt_raw raw[LT_MY_PARTS];
#pragma unroll
    for (uint i = 0; i < LT_MY_PARTS; i++) {
        const lt_part part = lt_part_of(block, launch, item + i * LT_GROUP);
        if (part.count == LT_WIDTH) {
            const lt_spot spot = lt_spot_of(&launch->src, block->elem + part.at);
            raw[i] = LT_FETCH(src + lt_row_offset(&launch->src, spot.row), spot.col);
        }
    }
#pragma unroll
    for (uint i = 0; i < LT_MY_PARTS; i++) {
        const lt_part part = lt_part_of(block, launch, item + i * LT_GROUP);
        held[i] = (lt_floats)(LT_MISSING);
        if (part.count > 0) {
            const uint elem = block->elem + part.at;
            const lt_spot spot = lt_spot_of(&launch->src, elem);
            const float scale = lt_source_scale(&launch->src, scales, spot);
            held[i] = part.count == LT_WIDTH
                          ? lt_decode(raw[i], spot.col, scale, elem, launch->flags, report)
                          : lt_decode_some(src + lt_row_offset(&launch->src, spot.row), spot.col,
                                           part.count, scale, elem, launch->flags, report);
        }
    }
}

/* Four elements of the block in local memory, or fewer. */
float4 lt_local4(__local const float *x, uint at, uint count) {
    float4 four = (float4)(LT_MISSING);
    four.x = count > 0 ? x[lt_padded(at)] : four.x;
    four.y = count > 1 ? x[lt_padded(at + 1)] : four.y;
    four.z = count > 2 ? x[lt_padded(at + 2)] : four.z;
    four.w = count > 3 ? x[lt_padded(at + 3)] : four.w;
    return four;
}

void lt_put_local4(__local float *x, float4 four, uint at, uint count) {
    if (count >= 4 && (at & 3) == 0) {
        *(__local float4 *)(x + lt_padded(at)) = four;
        return;
    }
    const float each[4] = {four.x, four.y, four.z, four.w};
    for (uint i = 0; i < min(count, 4u); i++) {
        x[lt_padded(at + i)] = each[i];
    }
}

void lt_put_local(__local float *x, lt_floats part, uint at, uint count) {
#if LT_WIDTH == 8
    lt_put_local4(x, part.lo, at, count);
    lt_put_local4(x, part.hi, at + 4, max(count, 4u) - 4);
#else
    lt_put_local4(x, part, at, count);
#endif
}

/* Fetches the work-item's parts from where all work-items have put elements one by one. */
void lt_hold_local(lt_floats *held, const lt_block *block, const lathe_launch *launch,
                   __local const float *x, uint item) {
#pragma unroll
    for (uint i = 0; i < LT_MY_PARTS; i++) {
        const lt_part part = lt_part_of(block, launch, item + i * LT_GROUP);
#if LT_WIDTH == 8
        held[i] = (float8)(lt_local4(x, part.at, part.count),
                           lt_local4(x, part.at + 4, max(part.count, 4u) - 4));
#else
        held[i] = lt_local4(x, part.at, part.count);
#endif
    }
}

/* ---- scales of the block's own */

uint lt_greatest(lt_floats x) {
#if LT_WIDTH == 8
    const uint4 two = max(as_uint4(x.lo) & LT_MAGNITUDE, as_uint4(x.hi) & LT_MAGNITUDE);
#else
    const uint4 two = as_uint4(x) & LT_MAGNITUDE;
#endif
    return max(max(two.x, two.y), max(two.z, two.w));
}

/* x with 0 for NaNs and infinities, which are faults unless they saturate. */
float4 lt_finite4(float4 x, uint elem, uint count, ulong flags, __global uint *report) {
    const int4 is_odd = (as_uint4(x) & LT_MAGNITUDE) >= LT_INFINITY;
    const uint first = lt_first4(is_odd);
    if ((flags & LATHE_CL_NONFINITE_ERROR) != 0 && first < min(count, 4u)) {
        lt_fault(report, elem + first, LATHE_CL_FAULT_NON_FINITE);
    }
    return LT_SELECT(is_odd, (float4)(0.0f), x);
}

lt_floats lt_finite(lt_floats x, uint elem, uint count, ulong flags, __global uint *report) {
#if LT_WIDTH == 8
    return (float8)(lt_finite4(x.lo, elem, count, flags, report),
                    lt_finite4(x.hi, elem + 4, max(count, 4u) - 4, flags, report));
#else
    return lt_finite4(x, elem, count, flags, report);
#endif
}

/* The scopes of the block. */
typedef struct lt_scopes {
    uint n_elems; /* of a full one; a row's last may be short */
    uint per_row;
    uint n_scopes;
    uint items;   /* work-items that share one */
    uint at_once; /* scopes that the work-group takes at once */
} lt_scopes;

/* Scopes of up to this many elements have eight work-items each, longer ones 64. */
#define LT_SHORT_SCOPE 512

lt_scopes lt_scopes_of(const lt_block *block, const lathe_launch *launch) {
    lt_scopes scopes;
    scopes.n_elems = (uint)min(launch->dst.scale_elems.by, (lathe_u64)block->n_cols);
    scopes.per_row = block->n_rows > 1 ? (uint)launch->row_scopes.by
                                       : (block->n_cols + scopes.n_elems - 1) / scopes.n_elems;
    scopes.n_scopes = scopes.per_row * block->n_rows;
    scopes.items = scopes.n_elems <= LT_SHORT_SCOPE ? 8 : LATHE_STAT_LANES;
    scopes.at_once = LT_GROUP / scopes.items;
    return scopes;
}

typedef struct lt_scope {
    uint row;
    uint col;
    uint n_elems;
} lt_scope;

lt_scope lt_scope_at(const lt_block *block, const lt_scopes *scopes, const lathe_launch *launch,
                     uint index) {
    lt_scope scope;
    scope.row = block->n_rows > 1 ? lt_div(index, &launch->row_scopes) : 0;
    scope.col = (index - scope.row * scopes->per_row) * scopes->n_elems;
    scope.n_elems = min(scopes->n_elems, block->n_cols - scope.col);
    return scope;
}

/* Local memory. Only one of x and tops is used: the elements that are summed, or the greatest
 * magnitude of each part. */
typedef struct lt_memory {
    float4 x[LT_BLOCK_WORDS / 4];
    uint tops[LT_PARTS];
    uint lanes[LT_GROUP];
    uint eighths[LT_GROUP];
    lt_scale found[LATHE_CL_BLOCK_SCOPES];
    uint again;
} lt_memory;

#if LT_IS_MEAN

/* What elements begin, begin + 64, ... of the n_elems up to `end` add up to. */
uint lt_lane_sum(__local const float *x, uint begin, uint end, float factor) {
    float sum = 0;
#pragma unroll 8
    for (uint i = begin; i < end; i += LATHE_STAT_LANES) {
        sum += fabs(x[lt_padded(i)]) * factor;
    }
    return as_uint(sum);
}

/* What one of a scope's work-items finds: its lane, or the eight lanes item, item + 8, ... */
uint lt_scope_share(const lt_block *block, lt_scope scope, uint items, uint item, float factor,
                    __local const lt_memory *memory) {
    __local const float *x = (__local const float *)memory->x;
    const uint begin = scope.row * block->n_cols + scope.col;
    const uint end = begin + scope.n_elems;
    if (items == LATHE_STAT_LANES) {
        return lt_lane_sum(x, begin + item, end, factor);
    }
    float sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (uint i = begin + item; i < end; i += LATHE_STAT_LANES) {
#pragma unroll
        for (uint k = 0; k < 8; k++) {
            if (i + 8 * k < end) {
                sums[k] += fabs(x[lt_padded(i + 8 * k)]) * factor;
            }
        }
    }
    uint lanes[8];
#pragma unroll
    for (uint k = 0; k < 8; k++) {
        lanes[k] = as_uint(sums[k]);
    }
    return lt_fold8(lanes);
}

#else

uint lt_scope_share(const lt_block *block, lt_scope scope, uint items, uint item, float factor,
                    __local const lt_memory *memory) {
    const uint first = scope.row * block->row_parts + scope.col / LT_WIDTH;
    const uint n_parts = (scope.n_elems + LT_WIDTH - 1) / LT_WIDTH;
    uint top = 0;
    for (uint i = item; i < n_parts; i += items) {
        top = max(top, memory->tops[first + i]);
    }
    return top;
}

#endif

/* Finds the block's scales, stores them, and leaves them with their inverses in memory->found. */
void lt_find_scales(const lt_block *block, const lt_scopes *scopes, const lathe_launch *launch,
                    uint item, __local lt_memory *memory, __global float *dst_scales) {
    for (uint first = 0; first < scopes->n_scopes; first += scopes->at_once) {
        const uint shared = first + item / scopes->items;
        const uint mine = first + item;
        bool is_found = item >= scopes->at_once || mine >= scopes->n_scopes;
        bool again = true;
        for (uint attempt = 0; again; attempt++) {
            if (shared < scopes->n_scopes) {
                const lt_scope scope = lt_scope_at(block, scopes, launch, shared);
                const uint share =
                    lt_scope_share(block, scope, scopes->items, item & (scopes->items - 1),
                                   attempt == 0 ? 1.0f : LATHE_STAT_SHRINK, memory);
                if (scopes->items == 8) {
                    memory->eighths[item] = share;
                } else {
                    memory->lanes[item] = share;
                }
            }
            if (item == 0) {
                memory->again = 0;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            if (scopes->items != 8) {
                if (item < LT_GROUP / 8) {
                    memory->eighths[item] = lt_fold8_local(
                        memory->lanes + item / 8 * LATHE_STAT_LANES + item % 8, 8);
                }
                barrier(CLK_LOCAL_MEM_FENCE);
            }
            if (!is_found) {
                const uint stat = lt_fold8_local(memory->eighths + 8 * item, 1);
                is_found = lt_is_finite(stat);
                if (is_found) {
                    const lt_scope scope = lt_scope_at(block, scopes, launch, mine);
                    const lt_spot spot = {block->row + scope.row,
                                          (uint)launch->dst.first_col + block->col + scope.col};
                    const float scale = lt_scale_from_stat(stat, scope.n_elems, attempt != 0);
                    dst_scales[lt_scale_index(&launch->dst, spot)] = scale;
                    memory->found[mine] = lt_scale_of(scale);
                } else {
                    memory->again = 1;
                }
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            again = memory->again != 0;
            if (again || first + scopes->at_once < scopes->n_scopes) {
                barrier(CLK_LOCAL_MEM_FENCE);
            }
        }
    }
}

/* Puts what the scales are found from into local memory. */
void lt_put_stats(const lt_floats *held, const lt_block *block, const lathe_launch *launch,
                  uint item, __local lt_memory *memory, __global uint *report) {
    const bool is_local = (launch->flags & LATHE_CL_SRC_VECTOR) == 0;
#pragma unroll
    for (uint i = 0; i < LT_MY_PARTS; i++) {
        const uint index = item + i * LT_GROUP;
        const lt_part part = lt_part_of(block, launch, index);
        lt_floats x = held[i];
        const bool is_odd = lt_greatest(x) >= LT_INFINITY;
        if (is_odd) {
            x = lt_finite(x, block->elem + part.at, part.count, launch->flags, report);
        }
#if LT_IS_MEAN
        if (is_odd || !is_local) {
            lt_put_local((__local float *)memory->x, x, part.at, part.count);
        }
#else
        memory->tops[index] = lt_greatest(x);
#endif
    }
}

lt_scale lt_block_scale(const lt_block *block, const lt_scopes *scopes, const lathe_launch *launch,
                        lt_part part, __local const lt_memory *memory,
                        __global const float *dst_scales) {
    const lt_spot spot = {block->row + part.row,
                          (uint)launch->dst.first_col + block->col + part.col};
#if LT_DST >= LATHE_CL_I8
    if ((launch->flags & LATHE_CL_OWN_SCALES) != 0) {
        return memory->found[part.row * scopes->per_row +
                             lt_div(part.col, &launch->dst.scale_elems)];
    }
#endif
    return lt_target_scale(&launch->dst, dst_scales, spot);
}

__global uchar *lt_block_out(__global uchar *dst, const lt_block *block,
                             const lathe_launch *launch, uint row, uint col) {
    return dst + lt_row_offset(&launch->dst, block->row + row) +
           lt_target_byte((uint)launch->dst.first_col + block->col + col);
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_block(__global const uchar *restrict src, __global const float *restrict src_scales,
            __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
            lathe_launch launch) {
    __local lt_memory memory;
    const uint item = (uint)get_local_id(0);
    const ulong flags = launch.flags;
    const lt_block block = lt_block_of(&launch, (uint)get_group_id(0));
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    lt_scopes scopes = {0, 0, 0, 0, 0};
    lt_floats held[LT_MY_PARTS];

    if ((flags & LATHE_CL_SRC_VECTOR) != 0) {
        lt_hold_vectors(held, &block, src, src_scales, &launch, item, report);
    } else {
        __local float *x = (__local float *)memory.x;
        for (uint i = item; i < block.n_elems; i += LT_GROUP) {
            x[lt_padded(i)] = lt_element(src, src_scales, &launch, block.elem + i, report);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_hold_local(held, &block, &launch, x, item);
    }
#if LT_DST >= LATHE_CL_I8
    if ((flags & LATHE_CL_OWN_SCALES) != 0) {
        scopes = lt_scopes_of(&block, &launch);
        /* Other work-items may still fetch their parts. */
        if ((flags & LATHE_CL_SRC_VECTOR) == 0) {
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        lt_put_stats(held, &block, &launch, item, &memory, report);
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_find_scales(&block, &scopes, &launch, item, &memory, dst_scales);
    }
#endif
#if LT_DST == LATHE_CL_BITNET158
    /* The elements are done with: their memory holds the trits now. */
    barrier(CLK_LOCAL_MEM_FENCE);
    __local uint *trits = (__local uint *)memory.x;
#endif
#pragma unroll
    for (uint i = 0; i < LT_MY_PARTS; i++) {
        const uint index = item + i * LT_GROUP;
        const lt_part part = lt_part_of(&block, &launch, index);
        if (part.count > 0) {
            const lt_scale scale =
                lt_block_scale(&block, &scopes, &launch, part, &memory, dst_scales);
            const lt_words codes =
                lt_convert(held[i], scale, block.elem + part.at, part.count, flags, report);
#if LT_DST == LATHE_CL_BITNET158
            trits[index] = lt_trits4(codes);
#else
            __global uchar *out = lt_block_out(dst, &block, &launch, part.row, part.col);
            if (part.count == LT_WIDTH && (flags & LATHE_CL_DST_VECTOR) != 0) {
                lt_store_unit(out, codes);
            } else {
                lt_store_part(out, codes, part.count);
            }
#endif
        }
    }
#if LT_DST == LATHE_CL_BITNET158
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint row_outputs = (block.n_cols + LT_UNIT - 1) / LT_UNIT;
    for (uint i = item; i < row_outputs * block.n_rows; i += LT_GROUP) {
        const uint row = block.n_rows > 1 ? lt_div(i, &launch.row_outputs) : 0;
        const uint col = (i - row * row_outputs) * LT_UNIT;
        const uint first = row * block.row_parts + col / 4;
        uint mine[5];
#pragma unroll
        for (uint k = 0; k < 5; k++) {
            mine[k] = col + 4 * k < block.n_cols ? trits[first + k] : 0x01010101;
        }
        lt_store_trits(lt_block_out(dst, &block, &launch, row, col),
                       lt_pack_trits(mine[0], mine[1], mine[2], mine[3], mine[4]),
                       block.n_cols - col, flags);
    }
#endif
}
