/* SPDX-License-Identifier: Apache-2.0 */
/* The flat kernel's source: a block of elements that follow each other, whatever rows they are of,
 * comes into local memory by sixteens of bytes, as these lie in memory. What is cut at either end
 * of the block is loaded in parts, because it may be another's or nobody's. */
#include "again.cl"

#if (LT_SRC >= LATHE_CL_I8 || LT_DST >= LATHE_CL_I8) && LT_GROUP == LATHE_CL_GROUP &&              \
    !defined LT_BATCH && !defined LT_IN_PLACE && !defined LT_EXTRA_CODES && !defined LT_CHAIN
#define LT_HAS_FLAT 1
#else
#define LT_HAS_FLAT 0
#endif

#if LT_HAS_FLAT

/* Elements of a run, which a work-item converts at once: sixteen bytes of floats, where these are
 * on one side. Runs begin where sixteens of bytes do on that side. */
#if LT_SRC <= LATHE_CL_BF16
#define LT_RUN (128 / LATHE_CL_BITS(LT_SRC))
#elif LT_DST <= LATHE_CL_BF16
#define LT_RUN (128 / LATHE_CL_BITS(LT_DST))
#else
#define LT_RUN 8
#endif

#if LT_RUN == 8
typedef float8 lt_flat_floats;
typedef int8 lt_flat_ints;
#define LT_RUN_INDICES ((int8)(0, 1, 2, 3, 4, 5, 6, 7))
#else
typedef float4 lt_flat_floats;
typedef int4 lt_flat_ints;
#define LT_RUN_INDICES ((int4)(0, 1, 2, 3))
#endif

/* A block's runs, one of which may be shared with the block before it. */
#define LT_FLAT_RUNS (LATHE_CL_BLOCK_ELEMS / LT_RUN + 1)

/* Sixteens of bytes of codes: no row has more bytes than elements. */
#define LT_FLAT_QUADS (LATHE_CL_BLOCK_ELEMS / 16 + 3)

/* Words of codes that are made, one in each byte, and what is loaded behind them at most. */
#define LT_FLAT_WORDS (LATHE_CL_BLOCK_ELEMS / 4 + 16)

/* The most scopes of a block that have 64 work-items each. */
#define LT_FLAT_LONGS 8

typedef struct lt_flat_memory {
#if LT_SRC <= LATHE_CL_BF16
    uint4 x[LT_FLAT_RUNS]; /* elements, as they are */
#elif LT_DST >= LATHE_CL_I8
    lt_flat_floats x[LT_FLAT_RUNS];
#endif
    union {
        uint4 quads[LT_FLAT_QUADS]; /* of a source of codes */
        uint codes[LT_FLAT_WORDS];  /* made of what quads held */
    } bytes;
#if LT_DST >= LATHE_CL_I8
    uint lanes[LATHE_STAT_LANES * LT_FLAT_LONGS];
    uint eighths[LATHE_CL_BLOCK_SCOPES * 8];
    float inverses[LATHE_CL_FLAT_SCOPES];
    uint is_odd;
#endif
} lt_flat_memory;

/* A block's elements of the launch. */
typedef struct lt_flat {
    uint elem;
    uint n_elems;
    uint lead;   /* of the first run, elements before the block */
    uint n_runs; /* with those that are cut */
    ulong from;  /* of the source's bytes, where codes are loaded from */
    uint first;  /* byte of the source in that */
    uint scale;  /* of the target's, the first one */
} lt_flat;

/* The elements of floats that lie before the one at `at` in its sixteen bytes. */
uint lt_flat_lead(__global const uchar *at, uint elem_bytes) {
    return (uint)((size_t)at & 15) / elem_bytes;
}

/* How many elements from the spot on follow each other in one row and with one scale. */
uint lt_flat_left(const lathe_side *side, lt_spot spot) {
    const uint left =
        side->row_elems.by == 0 ? LATHE_CL_MAX_ELEMS : (uint)side->row_elems.by - spot.col;
    if (side->scale_elems.by == 0 || side->scales_per_row == 1) {
        return left;
    }
    const uint scope = (uint)side->scale_elems.by;
    return min(left, scope - (spot.col - lt_div_32(spot.col, &side->scale_elems) * scope));
}

/* The spot so many elements on: those that were left. */
lt_spot lt_flat_next(const lathe_side *side, lt_spot spot, uint left) {
    const bool ends_row = spot.col + left == (uint)side->row_elems.by;
    const lt_spot next = {spot.row + (ends_row ? 1 : 0), ends_row ? 0 : spot.col + left};
    return next;
}

#if LT_SRC <= LATHE_CL_BF16

#define LT_FLAT_BYTES (LATHE_CL_BITS(LT_SRC) / 8)
#define LT_FLAT_LOADS (LATHE_CL_BLOCK_ELEMS / LT_RUN / LT_GROUP)

/* A run of which elements [begin, end) are the block's; the others are 0. */
uint4 lt_flat_cut(__global const uchar *at, uint begin, uint end) {
    uint words[4] = {0, 0, 0, 0};
#pragma unroll
    for (uint i = 0; i < LT_RUN; i++) {
        if (i >= begin && i < end) {
#if LT_SRC == LATHE_CL_F32
            words[i] = LT_COME1(((__global const uint *)at)[i]);
#else
            words[i / 2] |= (uint)((__global const ushort *)at)[i] << i % 2 * 16;
#endif
        }
    }
    return (uint4)(words[0], words[1], words[2], words[3]);
}

/* Leaves the elements in local memory. */
void lt_flat_load(lt_flat *flat, __global const uchar *src, __global const float *scales,
                  const lathe_launch *launch, uint item, __local lt_flat_memory *memory,
                  __global uint *report) {
    __global const uchar *at =
        src + (launch->src.data_offset + (launch->src.first_col + flat->elem) * LT_FLAT_BYTES);
    const uint lead = lt_flat_lead(at, LT_FLAT_BYTES);
    const uint end = lead + flat->n_elems;
    __global const uchar *aligned = at - lead * LT_FLAT_BYTES;
    uint4 raw[LT_FLAT_LOADS];
    flat->lead = lead;
    flat->n_runs = (end + LT_RUN - 1) / LT_RUN;
#pragma unroll
    for (uint i = 0; i < LT_FLAT_LOADS; i++) {
        const uint begin = (item + i * LT_GROUP) * LT_RUN;
        const bool is_whole = begin >= lead && begin + LT_RUN <= end;
        raw[i] = is_whole ? LT_COME4(((__global const uint4 *)aligned)[item + i * LT_GROUP])
                          : (uint4)(0);
    }
#pragma unroll
    for (uint i = 0; i < LT_FLAT_LOADS; i++) {
        memory->x[item + i * LT_GROUP] = raw[i];
    }
    const uint last = flat->n_runs - 1;
    if (item == 0 && lead > 0) {
        memory->x[0] = lt_flat_cut(aligned, lead, min(end, (uint)LT_RUN));
    }
    if (item == last % LT_GROUP && (last > 0 || lead == 0) &&
        (end % LT_RUN != 0 || last == LT_FLAT_RUNS - 1)) {
        const uint begin = last * LT_RUN;
        memory->x[last] = lt_flat_cut(aligned + begin * LT_FLAT_BYTES, 0, end - begin);
    }
}

#else

/* Bits of a field that a code is fetched in, and how many codes a byte has. */
#if LT_SRC == LATHE_CL_BITNET158
#define LT_FIELD_BITS 2
#define LT_BYTE_CODES 5
#else
#define LT_FIELD_BITS LATHE_CL_BITS(LT_SRC)
#define LT_BYTE_CODES (8 / LATHE_CL_BITS(LT_SRC))
#endif

/* The byte of a spot, from the block's first sixteen on. */
uint lt_flat_byte(const lt_flat *flat, const lathe_side *side, lt_spot spot) {
    return (uint)(lt_row_offset(side, spot.row) + spot.col / LT_BYTE_CODES - flat->from);
}

/* Sixteen bytes, of which [begin, end) are the block's; the others are 0. */
uint4 lt_flat_cut(__global const uchar *at, uint begin, uint end) {
    uint words[4] = {0, 0, 0, 0};
#pragma unroll
    for (uint i = 0; i < 16; i++) {
        if (i >= begin && i < end) {
            words[i / 4] |= (uint)at[i] << i % 4 * 8;
        }
    }
    return (uint4)(words[0], words[1], words[2], words[3]);
}

#if LT_SRC == LATHE_CL_BITNET158

/* Reports bytes of a word that no encoder emits. `from`: the word's place in the buffer. */
void lt_flat_corrupt(uint word, ulong from, const lathe_side *side, __global uint *report) {
    for (uint i = 0; i < 4; i++) {
        if ((word >> 8 * i & 0xff) >= LATHE_BITNET158_BYTE_VALUES) {
            const ulong byte = from + i - side->data_offset;
            const ulong row = side->row_elems.by == 0 ? 0 : byte / side->row_bytes;
            const ulong col = 5 * (byte - row * side->row_bytes);
            lt_fault(report, (uint)(row * side->row_elems.by + col - side->first_col),
                     LATHE_CL_FAULT_CORRUPT_DATA);
        }
    }
}

bool lt_flat_is_corrupt(uint4 words) {
    /* a byte of 128 and 115 or more */
    return any((((words & 0x7f7f7f7f) + 0x0d0d0d0d) & words & 0x80808080) != 0);
}

#endif

/* Leaves the block's bytes in local memory. */
void lt_flat_stage(lt_flat *flat, __global const uchar *src, const lathe_launch *launch, uint item,
                   __local lt_flat_memory *memory, __global uint *report) {
    const lathe_side *side = &launch->src;
    const lt_spot first = lt_spot_of(side, flat->elem);
    const lt_spot last = lt_spot_of(side, flat->elem + flat->n_elems - 1);
    const ulong begin = lt_row_offset(side, first.row) + first.col / LT_BYTE_CODES;
    const ulong end = lt_row_offset(side, last.row) + last.col / LT_BYTE_CODES + 1;
    flat->first = (uint)((size_t)(src + begin) & 15);
    flat->from = begin - flat->first;
    const uint n_bytes = (uint)(end - flat->from);
    for (uint at = 16 * item; at < n_bytes; at += 16 * LT_GROUP) {
        __global const uchar *from = src + flat->from + at;
        const bool is_whole = at >= flat->first && at + 16 <= n_bytes;
        const uint4 quad =
            is_whole ? *(__global const uint4 *)from
                     : lt_flat_cut(from, max(flat->first, at) - at, min(n_bytes - at, 16u));
        memory->bytes.quads[at / 16] = quad;
#if LT_SRC == LATHE_CL_BITNET158
        if ((launch->flags & LATHE_CL_CHECK_BYTES) != 0 && lt_flat_is_corrupt(quad)) {
            lt_flat_corrupt(quad.x, flat->from + at, side, report);
            lt_flat_corrupt(quad.y, flat->from + at + 4, side, report);
            lt_flat_corrupt(quad.z, flat->from + at + 8, side, report);
            lt_flat_corrupt(quad.w, flat->from + at + 12, side, report);
        }
#endif
    }
}

/* The fields of LT_RUN codes from the spot on, the first one lowest; behind their row's end they
 * are anything. */
ulong lt_flat_fields(const lt_flat *flat, const lathe_side *side, lt_spot spot,
                     __local const lt_flat_memory *memory) {
    const uint byte = lt_flat_byte(flat, side, spot);
    __local const uint *words = (__local const uint *)memory->bytes.quads + byte / 4;
    const uint shift = byte % 4 * 8;
    const uint part = spot.col % LT_BYTE_CODES * LT_FIELD_BITS;
    const ulong two = upsample(words[1], words[0]) >> shift;
#if LT_SRC == LATHE_CL_I8 && LT_RUN == 8
    return upsample((uint)(upsample(words[2], words[1]) >> shift), (uint)two);
#elif LT_SRC == LATHE_CL_BITNET158
    const uint low = lt_codes_of_trits((uint)(two & 0xff) | (uint)(two & 0xff00) << 8);
    const uint fields = (low & 0x3ff) | (low >> 6 & 0xffc00);
#if LT_RUN == 8
    const uint high = lt_codes_of_trits((uint)(two >> 16) & 0xff);
    return (fields | high << 20) >> part;
#else
    return fields >> part;
#endif
#else
    return two >> part;
#endif
}

/* Four numbers, the first of which is in the lowest field. */
float4 lt_flat_numbers(uint fields, float scale) {
#if LT_SRC == LATHE_CL_I8
    return lt_numbers_of_i8(fields) * scale;
#elif LT_SRC == LATHE_CL_I4
    return lt_numbers_of_i4(fields) * scale;
#elif LT_SRC == LATHE_CL_I1
    return lt_signed_of_i1(fields, scale);
#else
    return lt_numbers_of_i2(fields) * scale;
#endif
}

/* LT_RUN numbers from the spot on, of which the first `skip` are left out. */
void lt_flat_decode_spot(lt_flat_floats *x, const lt_flat *flat, __global const float *scales,
                         const lathe_side *side, lt_spot spot, uint skip,
                         __local const lt_flat_memory *memory) {
    const ulong fields = lt_flat_fields(flat, side, spot, memory) << skip * LT_FIELD_BITS;
    const float scale =
        scales[side->scale_offset + (side->scale_elems.by == 0 ? 0 : lt_given_index(side, spot))];
#if LT_RUN == 8
    x->lo = lt_flat_numbers((uint)fields, scale);
    x->hi = lt_flat_numbers((uint)(fields >> 4 * LT_FIELD_BITS), scale);
#else
    *x = lt_flat_numbers((uint)fields, scale);
#endif
}

/* A run's `count` numbers from an element of the launch on; those behind them are anything. */
void lt_flat_decode(lt_flat_floats *x, const lt_flat *flat, __global const float *scales,
                    const lathe_side *side, uint elem, uint count,
                    __local const lt_flat_memory *memory) {
    lt_spot spot = lt_spot_of(side, elem);
    uint left = lt_flat_left(side, spot);
    lt_flat_decode_spot(x, flat, scales, side, spot, 0, memory);
    for (uint done = left; done < count; done += left) {
        lt_flat_floats more;
        spot = lt_flat_next(side, spot, left);
        left = lt_flat_left(side, spot);
        lt_flat_decode_spot(&more, flat, scales, side, spot, done, memory);
        *x = LT_SELECT((lt_flat_ints)((int)done) <= LT_RUN_INDICES, more, *x);
    }
}

#endif

#endif
