/* SPDX-License-Identifier: Apache-2.0 */
/* The block kernel: a work-group takes whole rows, or a part of one, so that it can find scales
 * before it encodes. Blocks come through local memory, which makes the kernel indifferent to how
 * the source's rows lie; regular ones with scales of their own are for linear.cl. */
#include "stream.cl"

/* A block is made of parts of LT_WIDTH elements; no part has elements of two rows or scopes. */
#define LT_PARTS (LATHE_CL_BLOCK_ELEMS / LT_WIDTH)

/* Elements in local memory. Four words of padding after each 32 keep work-items that are some
 * scopes or parts apart on different banks; BITNET158's twenties are so without. */
#if LT_DST == LATHE_CL_BITNET158
#define LT_BANK_WORDS 32
#else
#define LT_BANK_WORDS 36
#endif
#define LT_BLOCK_WORDS (LATHE_CL_BLOCK_ELEMS / 32 * LT_BANK_WORDS)

uint lt_padded(uint elem) {
    return elem + (elem >> 5) * (LT_BANK_WORDS - 32);
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

/* Four elements of the block in local memory, or fewer. */
float4 lt_local4(__local const float *x, uint at, uint count) {
    if (count >= 4 && (at & 3) == 0) {
        return *(__local const float4 *)(x + lt_padded(at));
    }
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

lt_floats lt_get_local(__local const float *x, lt_part part) {
#if LT_WIDTH == 8
    return (float8)(lt_local4(x, part.at, part.count),
                    lt_local4(x, part.at + 4, max(part.count, 4u) - 4));
#else
    return lt_local4(x, part.at, part.count);
#endif
}

/* ---- scales of the block's own */

void lt_check_finite4(float4 x, uint elem, __global uint *report) {
    const uint first = lt_first4((as_uint4(x) & LT_MAGNITUDE) >= LT_INFINITY);
    if (first < 4) {
        lt_fault(report, elem + first, LATHE_CL_FAULT_NON_FINITE);
    }
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

/* Local memory. */
typedef struct lt_memory {
    float4 x[LT_BLOCK_WORDS / 4];           /* elements */
    uint4 words[LATHE_CL_BLOCK_ELEMS / 16]; /* greatest magnitudes, or trits */
    uint lanes[LATHE_STAT_LANES * 8];
    uint eighths[LATHE_CL_BLOCK_SCOPES * 8];
    lt_scale found[LATHE_CL_BLOCK_SCOPES];
    uint again;
} lt_memory;

/* A NaN or infinity counts as 0, but where the statistics report it, it makes its scope's statistic
 * 0: what strict mode then finds in the scope is what it finds on the CPU. */
bool lt_odd_spoils(ulong flags) {
    return (flags & (LATHE_CL_NONFINITE_ERROR | LATHE_CL_SURVEY)) == LATHE_CL_NONFINITE_ERROR;
}

/* What an element adds to its scope's statistic. */
uint lt_counted(float x, float factor, ulong flags) {
    const uint magnitude = as_uint(x) & LT_MAGNITUDE;
    if (magnitude >= LT_INFINITY && !lt_odd_spoils(flags)) {
        return 0;
    }
#if LT_IS_MEAN
    return as_uint(as_float(magnitude) * factor);
#else
    return magnitude;
#endif
}

/* What one of a scope's work-items finds: the statistic of lane `item`, or of the eight lanes item,
 * item + 8, ... */
uint lt_scope_share(const lt_block *block, lt_scope scope, uint items, uint item, float factor,
                    ulong flags, __local const float *x) {
    const uint begin = scope.row * block->n_cols + scope.col;
    const uint end = begin + scope.n_elems;
    if (items == LATHE_STAT_LANES) {
        uint lane = 0;
#pragma unroll 8
        for (uint i = begin + item; i < end; i += LATHE_STAT_LANES) {
            lane = lt_stat_join(lane, lt_counted(x[lt_padded(i)], factor, flags));
        }
        return lane;
    }
    uint lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (uint i = begin + item; i < end; i += LATHE_STAT_LANES) {
#pragma unroll
        for (uint k = 0; k < 8; k++) {
            if (i + 8 * k < end) {
                const uint counted = lt_counted(x[lt_padded(i + 8 * k)], factor, flags);
                lanes[k] = lt_stat_join(lanes[k], counted);
            }
        }
    }
    return lt_fold8(lanes);
}

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
                                   attempt == 0 ? 1.0f : LATHE_STAT_SHRINK, launch->flags,
                                   (__local const float *)memory->x);
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
                    memory->eighths[item] =
                        lt_fold8_local(memory->lanes + item / 8 * LATHE_STAT_LANES + item % 8, 8);
                }
                barrier(CLK_LOCAL_MEM_FENCE);
            }
            if (!is_found) {
                uint stat = lt_fold8_local(memory->eighths + 8 * item, 1);
                is_found = lt_is_finite(stat) || attempt > 0;
                if (is_found) {
                    stat = lt_is_finite(stat) ? stat : 0;
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

lt_scale lt_block_scale(const lt_block *block, const lt_scopes *scopes, const lathe_launch *launch,
                        lt_part part, __local const lt_memory *memory,
                        __global const float *dst_scales) {
    const lt_spot spot = {block->row + part.row,
                          (uint)launch->dst.first_col + block->col + part.col};
#if LT_DST >= LATHE_CL_I8
    if ((launch->flags & LATHE_CL_OWN_SCALES) != 0) {
        return memory
            ->found[part.row * scopes->per_row + lt_div(part.col, &launch->dst.scale_elems)];
    }
#endif
    return lt_target_scale(&launch->dst, dst_scales, spot);
}

__global uchar *lt_block_out(__global uchar *dst, const lt_block *block, const lathe_launch *launch,
                             uint row, uint col) {
    return dst + lt_row_offset(&launch->dst, block->row + row) +
           lt_target_byte((uint)launch->dst.first_col + block->col + col);
}

#if LT_DST == LATHE_CL_BITNET158
/* Packs and stores the block's digits, which its parts have left in memory->words. */
void lt_store_block_trits(const lt_block *block, __global uchar *dst, const lathe_launch *launch,
                          uint item, __local const lt_memory *memory) {
    __local const uint *trits = (__local const uint *)memory->words;
    const uint row_outputs = (block->n_cols + LT_UNIT - 1) / LT_UNIT;
    for (uint i = item; i < row_outputs * block->n_rows; i += LT_GROUP) {
        const uint row = block->n_rows > 1 ? lt_div(i, &launch->row_outputs) : 0;
        const uint col = (i - row * row_outputs) * LT_UNIT;
        const uint first = row * block->row_parts + col / 4;
        uint mine[5];
#pragma unroll
        for (uint k = 0; k < 5; k++) {
            mine[k] = col + 4 * k < block->n_cols ? trits[first + k] : 0x01010101;
        }
        lt_store_trits(lt_block_out(dst, block, launch, row, col),
                       lt_pack_trits(mine[0], mine[1], mine[2], mine[3], mine[4]),
                       block->n_cols - col, launch->flags);
    }
}
#endif

/* ---- any block: through local memory */

/* Loads vectors, which the host has found to be possible. */
void lt_load_vectors(const lt_block *block, __global const uchar *src, __global const float *scales,
                     const lathe_launch *launch, uint item, __local float *x,
                     __global uint *report) {
    const ulong flags = launch->flags;
#pragma unroll 2
    for (uint i = item; i < LT_PARTS; i += LT_GROUP) {
        const lt_part part = lt_part_of(block, launch, i);
        if (part.count > 0) {
            const uint elem = block->elem + part.at;
            const lt_spot spot = lt_spot_of(&launch->src, elem);
            __global const uchar *row = src + lt_row_offset(&launch->src, spot.row);
            const float scale = lt_source_scale(&launch->src, scales, spot);
            const lt_floats loaded =
                part.count == LT_WIDTH
                    ? lt_decode(LT_FETCH(row, spot.col), spot.col, scale, elem, flags, report)
                    : lt_decode_some(row, spot.col, part.count, scale, elem, flags, report);
            lt_put_local(x, loaded, part.at, part.count);
        }
    }
}

void lt_load_elements(const lt_block *block, __global const uchar *src,
                      __global const float *scales, const lathe_launch *launch, uint item,
                      __local float *x, __global uint *report) {
    for (uint i = item; i < block->n_elems; i += LT_GROUP) {
        x[lt_padded(i)] = lt_element(src, scales, launch, block->elem + i, report);
    }
}

/* Reports NaNs and infinities. */
void lt_check_block(const lt_block *block, uint item, __local const float *x,
                    __global uint *report) {
    for (uint i = item; i < block->n_elems; i += LT_GROUP) {
        if ((as_uint(x[lt_padded(i)]) & LT_MAGNITUDE) >= LT_INFINITY) {
            lt_fault(report, block->elem + i, LATHE_CL_FAULT_NON_FINITE);
        }
    }
}

/* Leaves a BITNET158 block's digits in memory->words, and stores the others. */
void lt_any_block(const lt_block *block, __global const uchar *src,
                  __global const float *src_scales, __global uchar *dst, __global float *dst_scales,
                  const lathe_launch *launch, uint item, __local lt_memory *memory,
                  __global uint *report) {
    const ulong flags = launch->flags;
    __local float *x = (__local float *)memory->x;
    lt_scopes scopes = {0, 0, 0, 0, 0};

    if ((flags & LATHE_CL_SRC_VECTOR) != 0) {
        lt_load_vectors(block, src, src_scales, launch, item, x, report);
    } else {
        lt_load_elements(block, src, src_scales, launch, item, x, report);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#if LT_DST >= LATHE_CL_I8
    if ((flags & LATHE_CL_OWN_SCALES) != 0) {
        if ((flags & LATHE_CL_NONFINITE_ERROR) != 0) {
            lt_check_block(block, item, x, report);
        }
        scopes = lt_scopes_of(block, launch);
        lt_find_scales(block, &scopes, launch, item, memory, dst_scales);
    }
#endif
    for (uint i = item; i < LT_PARTS; i += LT_GROUP) {
        const lt_part part = lt_part_of(block, launch, i);
        if (part.count > 0) {
            const lt_scale scale = lt_block_scale(block, &scopes, launch, part, memory, dst_scales);
            const lt_words codes = lt_convert(lt_get_local(x, part), scale, block->elem + part.at,
                                              part.count, flags, report);
#if LT_DST == LATHE_CL_BITNET158
            ((__local uint *)memory->words)[i] = lt_trits4(codes);
#else
            __global uchar *out = lt_block_out(dst, block, launch, part.row, part.col);
            if (part.count == LT_WIDTH && (flags & LATHE_CL_DST_VECTOR) != 0) {
                lt_store_unit(out, codes);
            } else {
                lt_store_part(out, codes, part.count);
            }
#endif
        }
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_block(__global const uchar *restrict src, __global const float *restrict src_scales,
            __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
            lathe_launch launch) {
    __local lt_memory memory;
    const uint item = (uint)get_local_id(0);
    const lt_block block = lt_block_of(&launch, (uint)get_group_id(0));
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    lt_any_block(&block, src, src_scales, dst, dst_scales, &launch, item, &memory, report);
#if LT_DST == LATHE_CL_BITNET158
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_block_trits(&block, dst, &launch, item, &memory);
#endif
}
