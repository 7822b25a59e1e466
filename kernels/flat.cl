/* SPDX-License-Identifier: Apache-2.0 */
/* The flat kernel: what other kernels ask of rows - that vectors begin with them, that groups fill
 * them - this one does without. A block's elements are one run of bytes on either side, of which
 * whole words are loaded and stored; a run of them that ends one row or scope and begins the next
 * has two scales. As for the plain kernel, a block with something odd gets a mark in place of its
 * first scale, and lathe_flat_again does it anew. */
#include "flat_load.cl"

#if LT_HAS_FLAT

#if LT_DST >= LATHE_CL_I8

/* ---- scales of the block's own */

#if LT_SRC == LATHE_CL_F16 || LT_SRC == LATHE_CL_BF16
typedef ushort lt_flat_elem;
#else
typedef uint lt_flat_elem;
#endif

/* A statistic's bits. Magnitudes of 16 bits are compared as they are. */
uint lt_flat_magnitude(__local const lt_flat_elem *x, uint at) {
#if LT_SRC != LATHE_CL_F16 && LT_SRC != LATHE_CL_BF16
    return x[at] & LT_MAGNITUDE;
#elif LT_IS_MEAN
    return as_uint(lt_decode1(x[at] & 0x7fff, 0, 1));
#else
    return x[at] & 0x7fff;
#endif
}

uint lt_flat_stat(uint bits) {
#if LT_IS_MEAN || (LT_SRC != LATHE_CL_F16 && LT_SRC != LATHE_CL_BF16)
    return bits;
#else
    return as_uint(lt_decode1(bits, 0, 1));
#endif
}

/* Scopes of up to so many elements have a work-item each, of up to LT_SHORT_SCOPE eight, others 64.
 */
#define LT_TINY_SCOPE 32

/* In what follows `turn` is what indices are changed by, so that work-items whose scopes begin on
 * the same bank of local memory load from others. It swaps only what is folded with each other. */

/* All of a tiny scope. */
uint lt_flat_tiny(__local const lt_flat_elem *x, uint n_elems, uint turn) {
    const uint low = turn & 7;
    const uint high = turn >> 3 & 3;
    uint eighths[8];
#pragma unroll
    for (uint i = 0; i < 8; i++) {
        uint four[4];
#pragma unroll
        for (uint k = 0; k < 4; k++) {
            const uint at = (i ^ low) + 8 * (k ^ high);
            four[k] = at < n_elems ? lt_flat_magnitude(x, at) : 0;
        }
        eighths[i] = lt_stat_join(lt_stat_join(four[0], four[2]), lt_stat_join(four[1], four[3]));
    }
    return lt_fold8(eighths);
}

/* Lanes item, item + 8, ... of a scope. */
uint lt_flat_eighth(__local const lt_flat_elem *x, uint n_elems, uint item, uint turn) {
    uint lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    uint begin = 0;
    for (; begin + LATHE_STAT_LANES <= n_elems; begin += LATHE_STAT_LANES) {
#pragma unroll
        for (uint k = 0; k < 8; k++) {
            lanes[k] = lt_stat_join(lanes[k], lt_flat_magnitude(x, begin + item + 8 * (k ^ turn)));
        }
    }
    if (begin < n_elems) {
#pragma unroll
        for (uint k = 0; k < 8; k++) {
            const uint at = begin + item + 8 * (k ^ turn);
            if (at < n_elems) {
                lanes[k] = lt_stat_join(lanes[k], lt_flat_magnitude(x, at));
            }
        }
    }
    return lt_fold8(lanes);
}

uint lt_flat_lane(__local const lt_flat_elem *x, uint n_elems, uint item) {
    uint lane = 0;
#pragma unroll 8
    for (uint i = item; i < n_elems; i += LATHE_STAT_LANES) {
        lane = lt_stat_join(lane, lt_flat_magnitude(x, i));
    }
    return lane;
}

/* Leaves a scope's inverse scale, and stores the scale. */
void lt_flat_scale(uint scope, uint n_elems, uint bits, __local lt_flat_memory *memory,
                   __global float *scales) {
    const float stat = as_float(lt_flat_stat(bits));
    const float scale = lt_plain_scale(stat, n_elems);
    scales[scope] = scale;
#if LT_DST != LATHE_CL_I1
    memory->inverses[scope] = scale == 0 ? 0 : lt_inverse_fast(scale);
#endif
    if (lt_is_odd_stat(stat)) {
        memory->is_odd = 1;
    }
}

/* Finding the block's scales takes three steps, between which there are barriers. `scales`: the
 * first one's place. First each work-item finds its share of a scope, and the scale of a tiny one.
 */
void lt_flat_shares(const lt_flat *flat, const lt_block *block, const lt_scopes *scopes,
                    const lathe_launch *launch, uint item, __local lt_flat_memory *memory,
                    __global float *scales) {
    __local const lt_flat_elem *x = (__local const lt_flat_elem *)memory->x + flat->lead;
    const uint shift = scopes->n_elems <= LT_TINY_SCOPE ? 0 : scopes->items == 8 ? 3 : 6;
    for (uint i = item; i < scopes->n_scopes << shift; i += LT_GROUP) {
        const uint index = i >> shift;
        const lt_scope scope = lt_scope_at(block, scopes, launch, index);
        __local const lt_flat_elem *mine = x + scope.row * block->n_cols + scope.col;
        if (shift == 0) {
            lt_flat_scale(index, scope.n_elems, lt_flat_tiny(mine, scope.n_elems, index), memory,
                          scales);
        } else if (shift == 3) {
            memory->eighths[i] = lt_flat_eighth(mine, scope.n_elems, i % 8, index % 4);
        } else {
            memory->lanes[i] = lt_flat_lane(mine, scope.n_elems, i % LATHE_STAT_LANES);
        }
    }
}

void lt_flat_fold_lanes(const lt_scopes *scopes, uint item, __local lt_flat_memory *memory) {
    if (scopes->items != 8 && item < 8 * scopes->n_scopes) {
        memory->eighths[item] =
            lt_fold8_local(memory->lanes + item / 8 * LATHE_STAT_LANES + item % 8, 8);
    }
}

void lt_flat_fold_eighths(const lt_block *block, const lt_scopes *scopes,
                          const lathe_launch *launch, uint item, __local lt_flat_memory *memory,
                          __global float *scales) {
    if (scopes->n_elems > LT_TINY_SCOPE && item < scopes->n_scopes) {
        const lt_scope scope = lt_scope_at(block, scopes, launch, item);
        lt_flat_scale(item, scope.n_elems, lt_fold8_local(memory->eighths + 8 * item, 1), memory,
                      scales);
    }
}

/* ---- codes, each in a byte */

uint lt_flat_codes4(float4 x, float4 inverses, bool is_own) {
#if LT_DST == LATHE_CL_I1
    return lt_pack4(lt_sign_codes(x), 8);
#else
    const float4 scaled = x * inverses;
#if !LT_IS_MEAN
    if (is_own) { /* no element is beyond the greatest */
        return lt_pack4(lt_nearest(scaled), 8);
    }
#endif
    const uint4 codes = lt_nearest(fmin(fmax(scaled, -LT_BOUND), LT_BOUND));
    const uint4 numbers = LT_SELECT(isnan(scaled), (uint4)(0), codes);
#if LT_DST == LATHE_CL_BITNET158
    return lt_trits4(numbers);
#else
    return lt_pack4(numbers, 8);
#endif
#endif
}

/* The inverse scales of a run, of which the first `skip` elements are not the block's, and the next
 * one is its element `at`. */
void lt_flat_inverses(lt_flat_floats *inverses, const lt_flat *flat, const lathe_side *side,
                      uint at, uint skip, __local const lt_flat_memory *memory) {
    if (side->scale_elems.by == 0) {
        *inverses = (lt_flat_floats)(memory->inverses[0]);
        return;
    }
    const uint end = min(flat->n_elems - at + skip, (uint)LT_RUN);
    lt_spot spot = lt_spot_of(side, flat->elem + at);
    uint scope = lt_given_index(side, spot) - flat->scale;
    uint left = lt_flat_left(side, spot);
    *inverses = (lt_flat_floats)(memory->inverses[scope]);
    for (uint done = skip + left; done < end; done += left) {
        spot = lt_flat_next(side, spot, left);
        left = lt_flat_left(side, spot);
        scope++;
        *inverses = LT_SELECT((lt_flat_ints)((int)done) <= LT_RUN_INDICES,
                              (lt_flat_floats)(memory->inverses[scope]), *inverses);
    }
}

/* Four elements from local memory. */
float4 lt_flat_four(__local const lt_flat_memory *memory, uint run, uint part) {
#if LT_SRC == LATHE_CL_F32
    return as_float4(memory->x[run]);
#elif LT_SRC <= LATHE_CL_BF16
    return lt_decode4(((__local const uint2 *)memory->x)[2 * run + part], 0, 1);
#else
    return ((__local const float4 *)memory->x)[2 * run + part];
#endif
}

void lt_flat_encode(const lt_flat *flat, const lathe_launch *launch, uint item,
                    __local lt_flat_memory *memory) {
    const bool is_own = (launch->flags & LATHE_CL_OWN_SCALES) != 0;
#pragma unroll 2
    for (uint run = item; run < flat->n_runs; run += LT_GROUP) {
        const uint begin = run * LT_RUN;
        const uint skip = begin < flat->lead ? flat->lead - begin : 0;
        lt_flat_floats inverses = (lt_flat_floats)(1.0f);
#if LT_DST != LATHE_CL_I1
        lt_flat_inverses(&inverses, flat, &launch->dst, begin + skip - flat->lead, skip, memory);
#endif
        __local uint *codes = memory->bytes.codes + begin / 4;
#if LT_RUN == 8
        codes[0] = lt_flat_codes4(lt_flat_four(memory, run, 0), inverses.lo, is_own);
        codes[1] = lt_flat_codes4(lt_flat_four(memory, run, 1), inverses.hi, is_own);
#else
        codes[0] = lt_flat_codes4(lt_flat_four(memory, run, 0), inverses, is_own);
#endif
    }
}

/* ---- bytes of the target */

/* Elements of a byte, and fours of codes that make four bytes: as many. */
#if LT_DST == LATHE_CL_BITNET158
#define LT_PER_BYTE 5
#define LT_MISSING_CODES 0x01010101u
#else
#define LT_PER_BYTE (8 / LATHE_CL_BITS(LT_DST))
#define LT_MISSING_CODES 0u
#endif

/* The low bits of four codes side by side. */
uint lt_flat_pack4(uint codes) {
#if LT_DST == LATHE_CL_I4
    const uint two = (codes & 0x0f0f0f0f) | (codes >> 4 & 0x00f000f0);
    return (two & 0xff) | (two >> 8 & 0xff00);
#elif LT_DST == LATHE_CL_I2
    const uint two = (codes & 0x03030303) | (codes >> 6 & 0x000c000c);
    return (two & 0xf) | (two >> 12 & 0xf0);
#else
    const uint two = (codes & 0x01010101) | (codes >> 7 & 0x00020002);
    return (two & 3) | (two >> 14 & 0xc);
#endif
}

/* Four bytes of the codes from position `at` on, of which `left` are the row's. */
uint lt_flat_word(__local const uint *codes, uint at, uint left) {
    const uint shift = at % 4 * 8;
    uint fours[LT_PER_BYTE];
    codes += at / 4;
    uint low = codes[0];
#pragma unroll
    for (uint k = 0; k < LT_PER_BYTE; k++) {
        const uint high = codes[k + 1];
        fours[k] = (uint)(upsample(high, low) >> shift);
        low = high;
    }
#if LT_PER_BYTE > 1
    if (left < 4 * LT_PER_BYTE) {
#pragma unroll
        for (uint k = 0; k < LT_PER_BYTE; k++) {
            const uint count = min(max(left, 4 * k) - 4 * k, 4u);
            const uint mask = (uint)((1UL << 8 * count) - 1);
            fours[k] = (fours[k] & mask) | (LT_MISSING_CODES & ~mask);
        }
    }
#endif
#if LT_DST == LATHE_CL_I8
    return fours[0];
#elif LT_DST == LATHE_CL_BITNET158
    return lt_pack_trits(fours[0], fours[1], fours[2], fours[3], fours[4]);
#else
    uint bytes = 0;
#pragma unroll
    for (uint k = 0; k < LT_PER_BYTE; k++) {
        bytes |= lt_flat_pack4(fours[k]) << k * 4 * LATHE_CL_BITS(LT_DST);
    }
    return bytes;
#endif
}

/* The block's bytes [begin, begin + n_bytes), four at most. */
uint lt_flat_bytes(const lt_flat *flat, const lt_block *block, const lathe_launch *launch,
                   uint begin, uint n_bytes, __local const uint *codes) {
    if (launch->flat_bytes.by == 0 || block->n_rows == 1) {
        const uint at = begin * LT_PER_BYTE;
        return lt_flat_word(codes, flat->lead + at, flat->n_elems - at);
    }
    const uint row_bytes = (uint)launch->flat_bytes.by;
    const uint row = lt_div_32(begin, &launch->flat_bytes);
    const uint byte = begin - row * row_bytes;
    const uint col = byte * LT_PER_BYTE;
    uint at = flat->lead + row * block->n_cols;
    uint bytes = lt_flat_word(codes, at + col, block->n_cols - col);
    for (uint done = row_bytes - byte; done < n_bytes; done += row_bytes) {
        at += block->n_cols;
        bytes = (bytes & ((1u << 8 * done) - 1)) | lt_flat_word(codes, at, block->n_cols)
                                                       << 8 * done;
    }
    return bytes;
}

void lt_flat_store(const lt_flat *flat, const lt_block *block, __global uchar *dst,
                   const lathe_launch *launch, uint item, __local const lt_flat_memory *memory) {
    __global uchar *out = lt_block_out(dst, block, launch, 0, 0);
    const uint skew = (uint)(size_t)out & 3;
    const uint n_bytes = launch->flat_bytes.by == 0 || block->n_rows == 1
                             ? (flat->n_elems + LT_PER_BYTE - 1) / LT_PER_BYTE
                             : block->n_rows * (uint)launch->flat_bytes.by;
    for (uint end = 4 * item + 4 - skew; end < n_bytes + 4; end += 4 * LT_GROUP) {
        const uint begin = max(end, 4u) - 4;
        const uint count = min(end, n_bytes) - begin;
        const uint bytes = lt_flat_bytes(flat, block, launch, begin, count, memory->bytes.codes);
        if (count == 4) {
            *(__global uint *)(out + begin) = bytes;
        } else {
            lt_store_bytes(out + begin, bytes, count);
        }
    }
}

#if LT_SRC >= LATHE_CL_I8

/* Leaves the numbers of codes in local memory. */
void lt_flat_load(lt_flat *flat, __global const uchar *src, __global const float *scales,
                  const lathe_launch *launch, uint item, __local lt_flat_memory *memory,
                  __global uint *report) {
    lt_flat_stage(flat, src, launch, item, memory, report);
    flat->lead = 0;
    flat->n_runs = (flat->n_elems + LT_RUN - 1) / LT_RUN;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint run = item; run < flat->n_runs; run += LT_GROUP) {
        const uint begin = run * LT_RUN;
        lt_flat_floats x;
        lt_flat_decode(&x, flat, scales, &launch->src, flat->elem + begin,
                       min(flat->n_elems - begin, (uint)LT_RUN), memory);
        memory->x[run] = x;
    }
}

#endif

/* Loads the block's given scales. */
void lt_flat_given_scales(const lt_flat *flat, const lathe_launch *launch, uint item,
                          __global const float *scales, __local lt_flat_memory *memory) {
    uint n_scales = 1;
    if (launch->dst.scale_elems.by != 0) {
        const lt_spot last = lt_spot_of(&launch->dst, flat->elem + flat->n_elems - 1);
        n_scales = lt_given_index(&launch->dst, last) - flat->scale + 1;
    }
    for (uint i = item; i < n_scales; i += LT_GROUP) {
        memory->inverses[i] = lt_inverse(scales[i]);
    }
}

#else

/* ---- floats */

/* Stores the first `count` elements of a run. */
void lt_flat_store(__global uchar *at, const lt_flat_floats *x, uint count) {
#if LT_DST == LATHE_CL_F32
    const uint4 words = as_uint4(*x);
#else
    const uint4 words = LT_PAIRS(x->lo, x->hi);
#endif
    if (count == LT_RUN) {
        lt_store_last(at, words);
        return;
    }
    const uint each[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (uint i = 0; i < LT_RUN; i++) {
        if (i < count) {
#if LT_DST == LATHE_CL_F32
            ((__global uint *)at)[i] = each[i];
#else
            ((__global ushort *)at)[i] = (ushort)(each[i / 2] >> i % 2 * 16);
#endif
        }
    }
}

/* Runs begin where sixteens of bytes do. The first one's elements, if it is cut, go one by one. */
void lt_flat_decode_all(const lt_flat *flat, __global uchar *dst, __global const float *scales,
                        const lathe_launch *launch, uint item,
                        __local const lt_flat_memory *memory) {
    const uint elem_bytes = LATHE_CL_BITS(LT_DST) / 8;
    __global uchar *out =
        dst + (launch->dst.data_offset + (launch->dst.first_col + flat->elem) * elem_bytes);
    const uint lead = lt_flat_lead(out, elem_bytes);
    const uint end = lead + flat->n_elems;
    for (uint run = item * LT_RUN; run < end; run += LT_GROUP * LT_RUN) {
        const bool is_cut = run < lead;
        const uint run_end = min(end, run + LT_RUN);
        const uint step = is_cut ? 1 : run_end - run;
        for (uint at = is_cut ? lead : run; at < run_end; at += step) {
            lt_flat_floats x;
            lt_flat_decode(&x, flat, scales, &launch->src, flat->elem + at - lead, step, memory);
            lt_flat_store(out + (at - lead) * elem_bytes, &x, step);
        }
    }
}

#endif

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_flat_blocks(__global const uchar *restrict src, __global const float *restrict src_scales,
                  __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
                  lathe_launch launch) {
    __local lt_flat_memory memory;
    const uint item = (uint)get_local_id(0);
    const uint n_blocks = (uint)launch.flat_blocks;
    lt_block block = lt_block_of(&launch, (uint)get_group_id(0) * n_blocks);
    block.n_rows = min(n_blocks * (uint)launch.block_rows, (uint)launch.n_rows - block.row);
    block.n_elems = block.n_rows * block.n_cols;
    lt_flat flat = {block.elem, block.n_elems, 0, 0, 0, 0, 0};
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
#if LT_DST < LATHE_CL_I8
    lt_flat_stage(&flat, src, &launch, item, &memory, report);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_flat_decode_all(&flat, dst, src_scales, &launch, item, &memory);
#else
    const bool is_own = (launch.flags & LATHE_CL_OWN_SCALES) != 0;
    if (launch.dst.scale_elems.by != 0) {
        flat.scale = lt_given_index(&launch.dst, lt_spot_of(&launch.dst, flat.elem));
    }
    __global float *scales = dst_scales + launch.dst.scale_offset + flat.scale;
    if (item == 0) {
        memory.is_odd = 0;
    }
    lt_flat_load(&flat, src, src_scales, &launch, item, &memory, report);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_scopes scopes = {0, 0, 0, 8, 0}; /* none */
    if (is_own) {
        scopes = lt_scopes_of(&block, &launch);
        if (scopes.n_scopes > LT_FLAT_LONGS) { /* rows' short last ones count, too */
            scopes.items = 8;
        }
        lt_flat_shares(&flat, &block, &scopes, &launch, item, &memory, scales);
    } else {
        lt_flat_given_scales(&flat, &launch, item, scales, &memory);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_flat_fold_lanes(&scopes, item, &memory);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_flat_fold_eighths(&block, &scopes, &launch, item, &memory, scales);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0 && memory.is_odd != 0) {
        scales[0] = as_float(LT_MARK);
    }
    lt_flat_encode(&flat, &launch, item, &memory);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_flat_store(&flat, &block, dst, &launch, item, &memory);
#endif
}

#if LT_DST >= LATHE_CL_I8

/* A work-group looks at LT_GROUP blocks of the flat kernel. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_flat_again(__global const uchar *restrict src, __global const float *restrict src_scales,
                 __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
                 lathe_launch launch) {
    __local lt_memory memory;
    __local uint marks[LT_GROUP];
    __local uint is_marked;
    const uint item = (uint)get_local_id(0);
    const uint n_blocks = (uint)launch.flat_blocks;
    const uint first = (uint)get_group_id(0) * LT_GROUP;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;

    if (item == 0) {
        is_marked = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    marks[item] = 0;
    if ((first + item) * n_blocks < (uint)launch.n_units) {
        const lt_block block = lt_block_of(&launch, (first + item) * n_blocks);
        const lt_spot spot = lt_spot_of(&launch.dst, block.elem);
        if (as_uint(dst_scales[lt_scale_index(&launch.dst, spot)]) == LT_MARK) {
            marks[item] = 1;
            is_marked = 1;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* the scales looked at are written next */
    if (is_marked == 0) {
        return;
    }
    for (uint i = 0; i < LT_GROUP * n_blocks; i++) {
        if (marks[i / n_blocks] != 0 && first * n_blocks + i < (uint)launch.n_units) {
            const lt_block block = lt_block_of(&launch, first * n_blocks + i);
            lt_any_block(&block, src, src_scales, dst, dst_scales, &launch, item, &memory, report);
            barrier(CLK_LOCAL_MEM_FENCE);
#if LT_DST == LATHE_CL_BITNET158
            lt_store_block_trits(&block, dst, &launch, item, &memory);
            barrier(CLK_LOCAL_MEM_FENCE);
#endif
        }
    }
}

#endif

#endif
