/* SPDX-License-Identifier: Apache-2.0 */
/* The in-place kernel: consecutive elements are converted to a type that is no wider, in their own
 * memory, in one launch. Only programs with LT_IN_PLACE have it.
 *
 * A work-group draws a ticket, which is the number of its tile; reads the tile; says so; waits
 * until the tiles over which its results will lie have been read; and writes. As the target is no
 * wider than the source, these are tiles before its own or its own: their work-groups have drawn
 * their tickets before, so they run already, and wait for none but earlier ones in turn. So there
 * is always one that need not wait, whatever the number of work-groups that run at once.
 *
 * No data goes from one work-group to another, only the news that something has been read. For that
 * the atomic operations of OpenCL 1.2, which promise no order of other accesses, are enough, if a
 * load is over before the news of it is sent, and no store begins before the news is there. The
 * first holds because what is sent depends on every value that was loaded: each work-item decides a
 * condition on all of its own before it comes to the barrier that precedes the news. The second
 * holds because stores are never made on speculation, and here they come after a loop that ends
 * with the news, and a barrier. */
#ifdef LT_IN_PLACE

#include "stats.cl"
#include "lathe_in_place.h"

#define LT_IN_STEPS LATHE_CL_IN_PLACE_STEPS(LT_SRC, LT_DST)
#define LT_IN_UNITS (LT_GROUP * LT_IN_STEPS)

/* Bytes that n elements take, whole ones, and the ones of a tile on both sides. */
#if LT_SRC == LATHE_CL_F32
#define LT_SOURCE_BYTES(n) ((n) * 4)
#elif LT_SRC <= LATHE_CL_BF16
#define LT_SOURCE_BYTES(n) ((n) * 2)
#elif LT_SRC == LATHE_CL_I8
#define LT_SOURCE_BYTES(n) (n)
#elif LT_SRC == LATHE_CL_I4
#define LT_SOURCE_BYTES(n) ((n) / 2)
#elif LT_SRC == LATHE_CL_I2
#define LT_SOURCE_BYTES(n) ((n) / 4)
#else
#define LT_SOURCE_BYTES(n) ((n) / 8)
#endif
#define LT_TILE_READ LT_SOURCE_BYTES((ulong)LT_IN_UNITS * LT_UNIT)
#define LT_TILE_WRITTEN lt_target_byte(LT_IN_UNITS * LT_UNIT)

/* Sends the news that a tile has been read, and waits for those that its results will lie over. */
void lt_in_turn(__global uint *state, uint tile, const lathe_in_place *how, uint news) {
    __global uint *tiles = state + LATHE_CL_IN_PLACE_TILES;
    const ulong first = tile * LT_TILE_WRITTEN;
    const ulong end = first + LT_TILE_WRITTEN;
    (void)atomic_xchg(tiles + tile, news);
    if (end > how->lead) {
        const uint last = (uint)((end - how->lead - 1) / LT_TILE_READ);
        uint over = (uint)((max(first, (ulong)how->lead) - how->lead) / LT_TILE_READ);
        for (; over < min(last + 1, tile); over++) {
            while (atomic_or(tiles + over, 0) != (uint)how->number) {
            }
        }
    }
}

/* The scales of a part of a unit, on either side. */
typedef struct lt_in_scales {
    float source;
    lt_scale target;
} lt_in_scales;

lt_in_scales lt_in_scales_at(const lathe_launch *launch, __global const float *src_scales,
                             __global const float *dst_scales, uint elem) {
    const lt_spot from = {0, (uint)launch->src.first_col + elem};
    const lt_spot to = {0, (uint)launch->dst.first_col + elem};
    const lt_in_scales scales = {lt_source_scale(&launch->src, src_scales, from),
                                 lt_target_scale(&launch->dst, dst_scales, to)};
    return scales;
}

/* A unit is loaded in parts, and becomes codes. */
#if LT_DST == LATHE_CL_BITNET158
#define LT_IN_PARTS 5
typedef uint lt_in_codes; /* four bytes of trits */
#else
#define LT_IN_PARTS 1
typedef lt_words lt_in_codes;
#endif

#define LT_PART_ELEMS (LT_UNIT / LT_IN_PARTS)

lt_in_codes lt_in_encode(const lt_floats *parts, const lt_scale *scales) {
#if LT_DST == LATHE_CL_BITNET158
    uint trits[5];
#pragma unroll
    for (uint k = 0; k < 5; k++) {
        trits[k] = lt_trits4(lt_encode4(parts[k], scales[k]));
    }
    return lt_pack_trits(trits[0], trits[1], trits[2], trits[3], trits[4]);
#elif LT_WIDTH == 8
    return (uint8)(lt_encode4(parts[0].lo, scales[0]), lt_encode4(parts[0].hi, scales[0]));
#else
    return lt_encode4(parts[0], scales[0]);
#endif
}

/* Where part i of a work-item's units begins, of which unit `first` of the launch is the first. */
uint lt_in_part(uint first, uint i) {
    return (first + i / LT_IN_PARTS * LT_GROUP) * LT_UNIT + i % LT_IN_PARTS * LT_PART_ELEMS;
}

/* The codes of a work-item's units of a whole tile: all loads are on their way before the first is
 * needed. */
void lt_in_whole(lt_in_codes *codes, __global const uchar *row, __global const float *src_scales,
                 __global const float *dst_scales, const lathe_launch *launch, uint first) {
    lt_raw raw[LT_IN_STEPS * LT_IN_PARTS];
    const uint col = (uint)launch->src.first_col;
#pragma unroll
    for (uint i = 0; i < LT_IN_STEPS * LT_IN_PARTS; i++) {
        raw[i] = LT_FETCH(row, col + lt_in_part(first, i));
    }
#pragma unroll
    for (uint step = 0; step < LT_IN_STEPS; step++) {
        lt_floats parts[LT_IN_PARTS];
        lt_scale targets[LT_IN_PARTS];
#pragma unroll
        for (uint k = 0; k < LT_IN_PARTS; k++) {
            const uint i = step * LT_IN_PARTS + k;
            const uint elem = lt_in_part(first, i);
            const lt_in_scales scales = lt_in_scales_at(launch, src_scales, dst_scales, elem);
            parts[k] = lt_decode(raw[i], col + elem, scales.source, 0, 0, 0);
            targets[k] = scales.target;
        }
        codes[step] = lt_in_encode(parts, targets);
    }
}

/* The same of a tile that the launch's elements end in. */
void lt_in_rest(lt_in_codes *codes, __global const uchar *row, __global const float *src_scales,
                __global const float *dst_scales, const lathe_launch *launch, uint first) {
    const uint col = (uint)launch->src.first_col;
    for (uint step = 0; step < LT_IN_STEPS; step++) {
        lt_floats parts[LT_IN_PARTS];
        lt_scale targets[LT_IN_PARTS];
        for (uint k = 0; k < LT_IN_PARTS; k++) {
            const uint elem = min(lt_in_part(first, step * LT_IN_PARTS + k), (uint)launch->n_cols);
            const uint count = min((uint)launch->n_cols - elem, (uint)LT_PART_ELEMS);
            /* Where nothing is left, the last element's scales do. */
            const lt_in_scales scales = lt_in_scales_at(launch, src_scales, dst_scales,
                                                        elem - (count == 0 ? 1 : 0));
            parts[k] = lt_decode_some(row, col + elem, count, scales.source, 0, 0, 0);
            targets[k] = scales.target;
        }
        codes[step] = lt_in_encode(parts, targets);
    }
}

/* Bits of all codes. */
uint lt_in_bits(lt_in_codes codes) {
#if LT_DST == LATHE_CL_BITNET158
    return codes;
#elif LT_WIDTH == 8
    const uint4 four = codes.lo | codes.hi;
    return four.x | four.y | four.z | four.w;
#else
    return codes.x | codes.y | codes.z | codes.w;
#endif
}

void lt_in_store(__global uchar *at, lt_in_codes codes, uint count) {
#if LT_DST == LATHE_CL_BITNET158
    lt_store_trits(at, codes, count, LATHE_CL_DST_VECTOR);
#else
    if (count == LT_UNIT) {
        lt_store_unit(at, codes);
    } else if (count > 0) {
        lt_store_part(at, codes, count);
    }
#endif
}

/* `src` and `dst` are the same memory, so nothing here is `restrict`. The data has been found to
 * be faultless: nothing is reported. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_in_place_kernel(__global const uchar *src, __global const float *src_scales,
                      __global uchar *dst, __global const float *dst_scales,
                      __global uint *state, lathe_launch launch, lathe_in_place how) {
    __local uint ticket;
    __local uint odd;
    lt_in_codes codes[LT_IN_STEPS];
    const uint item = (uint)get_local_id(0);
    if (item == 0) {
        ticket = atomic_inc(state) - (uint)how.n_tickets;
        odd = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint tile = ticket;
    const uint first = tile * LT_IN_UNITS + item;
    __global const uchar *row = src + launch.src.data_offset;
    if ((tile + 1) * LT_IN_UNITS * LT_UNIT <= (uint)launch.n_cols) {
        lt_in_whole(codes, row, src_scales, dst_scales, &launch, first);
    } else {
        lt_in_rest(codes, row, src_scales, dst_scales, &launch, first);
    }
    uint bits = 0;
#pragma unroll
    for (uint step = 0; step < LT_IN_STEPS; step++) {
        bits |= lt_in_bits(codes[step]);
    }
    /* Never: `zero` is 0. But who decides it has all of `bits`. */
    if ((bits & (uint)how.zero) != 0) {
        odd = 1;
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    if (item == 0) {
        lt_in_turn(state, tile, &how, (uint)how.number + odd);
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
#pragma unroll
    for (uint step = 0; step < LT_IN_STEPS; step++) {
        const uint elem = min((first + step * LT_GROUP) * LT_UNIT, (uint)launch.n_cols);
        const uint count = min((uint)launch.n_cols - elem, (uint)LT_UNIT);
        lt_in_store(dst + launch.dst.data_offset +
                        lt_target_byte((uint)launch.dst.first_col + elem),
                    codes[step], count);
    }
}

#endif
