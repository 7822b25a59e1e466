/* SPDX-License-Identifier: Apache-2.0 */
/* BITNET158 as a source of the stream kernel: a work-group's bytes are unpacked together, into
 * local memory, so that none is unpacked twice and no element needs a division of its own. A code
 * has a byte there. On an H200, floats of 16 bits take 0.95 of the time, with scales of rows or
 * groups 0.77. */
#include "units.cl"

#if LT_SRC == LATHE_CL_BITNET158 && LT_DST != LATHE_CL_BITNET158

/* To 16 bits: a result is one of three, whose bytes are picked out of eight; each half of a code's
 * byte is the number of one. Otherwise codes are those of I8. */
#ifdef LT_PAIRS
#define LT_PICKS 1
#else
#define LT_PICKS 0
#endif

/* A group's elements, of which rows have LATHE_CL_LEAST_TRITS or more. */
#define LT_TRIT_ELEMS (LT_GROUP * LT_UNIT_STEPS * LT_UNIT)

/* Its bytes: those of its elements, and one that is shared at either end of each row. The first
 * word may begin up to three before. */
#define LT_TRIT_BYTES (LT_TRIT_ELEMS / 5 + 2 * (LT_TRIT_ELEMS / LATHE_CL_LEAST_TRITS + 2) + 3)
#define LT_TRIT_WORDS (LT_TRIT_BYTES / 4 + 1)
#define LT_TRIT_LOADS ((LT_TRIT_WORDS + LT_GROUP - 1) / LT_GROUP)

typedef struct lt_trit_tile {
    ulong from;   /* of the source's bytes, a multiple of 4 in memory */
    uint skew;    /* bytes before the first element's */
    uint n_bytes; /* with these */
} lt_trit_tile;

typedef struct lt_trit_memory {
    ulong table[256]; /* five codes for each byte */
    uint codes[5 * LT_TRIT_WORDS + 2];
} lt_trit_memory;

/* The bytes of the group whose first unit is `first`; its rows follow each other. */
lt_trit_tile lt_trit_tile_of(__global const uchar *src, const lathe_launch *launch, uint first) {
    const uint n_units = LT_GROUP * LT_UNIT_STEPS;
    const lathe_side *side = &launch->src;
    const lt_spot begin = lt_moved(lt_unit_spot(launch, first), side);
    const lt_spot last = lt_moved(lt_unit_spot(launch, first + n_units - 1), side);
    const ulong from = lt_row_offset(side, begin.row) + begin.col / 5;
    const ulong end = lt_row_offset(side, last.row) + (last.col + LT_UNIT - 1) / 5 + 1;
    const uint skew = (uint)(size_t)(src + from) & 3;
    const lt_trit_tile tile = {from - skew, skew, (uint)(end - from) + skew};
    return tile;
}

/* Four bytes, of which n_bytes are the tile's; the others may lie outside the buffer. */
uint lt_trit_word(__global const uchar *from, uint n_bytes) {
    if (n_bytes >= 4) {
        return *(__global const uint *)from;
    }
    uint word = 0;
    for (uint i = 0; i < n_bytes; i++) {
        word |= (uint)from[i] << 8 * i;
    }
    return word;
}

/* Reports the first byte of a word that no encoder emits, if it is the tile's. */
void lt_corrupt_word(uint word, uint at, const lt_trit_tile *tile, const lathe_launch *launch,
                     uint row, __global uint *report) {
    uint i = at < tile->skew ? tile->skew - at : 0;
    while (i < 4 && (word >> 8 * i & 0xff) < LATHE_BITNET158_BYTE_VALUES) {
        i++;
    }
    if (i < 4) {
        const lathe_side *side = &launch->src;
        const ulong byte = tile->from + at + i;
        while (row + 1 < (uint)launch->n_rows && byte >= lt_row_offset(side, row + 1)) {
            row++;
        }
        const uint col = 5 * (uint)(byte - lt_row_offset(side, row)) - (uint)side->first_col;
        lt_fault(report, row * (uint)launch->n_cols + col, LATHE_CL_FAULT_CORRUPT_DATA);
    }
}

/* What stands for a byte's codes: see LT_PICKS and lt_picked. */
ulong lt_unpacked_byte(uint byte) {
    const int fields = (int)lt_codes_of_trits(byte);
    ulong codes = 0;
#pragma unroll
    for (uint i = 0; i < 5; i++) {
        const int code = fields << (30 - 2 * i) >> 30;
#if LT_PICKS
        const uint stored = code == 0 ? 0x40 : code > 0 ? 0x21 : 0x31;
#else
        const uint stored = (uint)code & 0xff;
#endif
        codes |= (ulong)stored << 8 * i;
    }
    return codes;
}

/* Unpacks the tile that begins in `row`. All work-items of the group call it. */
void lt_unpack_trits(__global const uchar *restrict src, const lt_trit_tile *tile,
                     const lathe_launch *launch, uint row, uint item,
                     __local lt_trit_memory *memory, __global uint *report) {
    uint words[LT_TRIT_LOADS];
#pragma unroll
    for (uint i = 0; i < LT_TRIT_LOADS; i++) {
        const uint at = 4 * (item + i * LT_GROUP);
        words[i] = at < tile->n_bytes ? lt_trit_word(src + tile->from + at, tile->n_bytes - at) : 0;
    }
    for (uint i = item; i < 256; i += LT_GROUP) {
        memory->table[i] = lt_unpacked_byte(i);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (uint i = 0; i < LT_TRIT_LOADS; i++) {
        const uint word = words[i];
        const uint at = item + i * LT_GROUP;
        if (4 * at < tile->n_bytes) {
            /* a byte of 128 and 115 or more */
            if ((((word & 0x7f7f7f7f) + 0x0d0d0d0d) & word & 0x80808080) != 0) {
                lt_corrupt_word(word, 4 * at, tile, launch, row, report);
            }
            const ulong a = memory->table[word & 0xff];
            const ulong b = memory->table[word >> 8 & 0xff];
            const ulong c = memory->table[word >> 16 & 0xff];
            const ulong d = memory->table[word >> 24];
            __local uint *codes = memory->codes + 5 * at;
            codes[0] = (uint)a;
            codes[1] = (uint)(a >> 32) | (uint)b << 8;
            codes[2] = (uint)(b >> 24) | (uint)c << 16;
            codes[3] = (uint)(c >> 16) | (uint)d << 24;
            codes[4] = (uint)(d >> 8);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

#if LT_UNIT == 8
typedef uint2 lt_held; /* a unit's codes */
#else
typedef uint lt_held;
#endif

/* The unit from the tile's `at`-th code on. */
lt_held lt_trit_unit(__local const lt_trit_memory *memory, uint at) {
    __local const uint *codes = memory->codes + at / 4;
    const uint shift = at % 4 * 8;
    const uint low = (uint)(upsample(codes[1], codes[0]) >> shift);
#if LT_UNIT == 8
    return (uint2)(low, (uint)(upsample(codes[2], codes[1]) >> shift));
#else
    return low;
#endif
}

#if LT_PICKS

/* Eight codes times `scale`. The bytes to pick from: 0, those of the scale, its upper one with the
 * other sign, and that of a 0 times the scale. */
uint4 lt_picked(uint2 codes, float scale) {
    const uint one = LT_PAIRS((float4)(scale), (float4)(scale)).x & 0xffff;
    const uint low = one << 8 | ((one & 0xff00) ^ 0x8000) << 16;
    const uint high = one >> 8 & 0x80;
    return (uint4)(lt_pick_bytes(low, high, codes.x), lt_pick_bytes(low, high, codes.x >> 16),
                   lt_pick_bytes(low, high, codes.y), lt_pick_bytes(low, high, codes.y >> 16));
}

#endif

#endif
