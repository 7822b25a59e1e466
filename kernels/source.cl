/* SPDX-License-Identifier: Apache-2.0 */
/* The source's side: where elements lie, loading them, and decoding them to F32. */
#include "rounded.cl"

#define LT_UNIT LATHE_CL_UNIT(LT_SRC, LT_DST)

/* Elements that a work-item loads and encodes at once. */
#define LT_WIDTH LATHE_CL_WIDTH(LT_SRC, LT_DST)

/* For a divisor below 2^31. */
uint lt_div_32(uint n, const lathe_div *div) {
    const uint high = mul_hi(n, (uint)div->magic);
    return (high + ((n - high) >> (uint)(div->magic >> 32 & 0xff))) >> (uint)(div->magic >> 40);
}

uint lt_div(ulong n, const lathe_div *div) {
    return div->magic == 0 ? n >= div->by : lt_div_32((uint)n, div);
}

typedef struct lt_spot {
    uint row;
    uint col;
} lt_spot;

/* The place of element `elem` of the launch. */
lt_spot lt_spot_of(const lathe_side *side, uint elem) {
    const uint at = (uint)side->first_col + elem;
    lt_spot spot = {0, at};
    if (side->row_elems.by != 0) {
        spot.row = lt_div(at, &side->row_elems);
        spot.col = at - spot.row * (uint)side->row_elems.by;
    }
    return spot;
}

/* Bytes before a column that begins a byte. */
ulong lt_source_byte(uint col) {
#if LT_SRC == LATHE_CL_BITNET158
    return col / 5;
#else
    return (ulong)col * LATHE_CL_BITS(LT_SRC) / 8;
#endif
}

ulong lt_row_offset(const lathe_side *side, uint row) {
    return side->data_offset + row * side->row_bytes;
}

ulong lt_scale_index(const lathe_side *side, lt_spot spot) {
    if (side->scale_elems.by == 0) {
        return side->scale_offset;
    }
    if (side->scale_elems.magic == 0) {
        const ulong at = spot.col + (spot.row == 0 ? side->scale_phase : 0);
        return side->scale_offset + spot.row * side->scales_per_row +
               lt_div(at, &side->scale_elems);
    }
    /* Fewer than 2^31 elements to a scale, and fewer than 2^32 scales. */
    const uint at = spot.col + (spot.row == 0 ? (uint)side->scale_phase : 0);
    return side->scale_offset +
           (spot.row * (uint)side->scales_per_row + lt_div_32(at, &side->scale_elems));
}

/* Records a fault at an element of the launch. */
void lt_fault(__global uint *report, uint elem, uint kind) {
    (void)atomic_min(report, (elem + LATHE_CL_FAULT_MARGIN) * LATHE_CL_FAULT_KINDS + kind);
}

/* Elements without an alignment of their own. */

uint lt_load_16(__global const uchar *at) {
    return ((size_t)at & 1) == 0 ? *(__global const ushort *)at : at[0] | (uint)at[1] << 8;
}

uint lt_load_32(__global const uchar *at) {
    return ((size_t)at & 3) == 0 ? *(__global const uint *)at
                                 : at[0] | (uint)at[1] << 8 | (uint)at[2] << 16 | (uint)at[3] << 24;
}

/* lt_raw4 and lt_raw8 are what holds four and eight consecutive elements, the first in a column
 * that is a multiple of so many; `row` is their row's first byte. */

#if LT_SRC == LATHE_CL_F32

typedef uint4 lt_raw4;
typedef uint8 lt_raw8;

lt_raw4 lt_fetch4(__global const uchar *row, uint col) {
    return LT_COME4(*(__global const uint4 *)(row + (ulong)col * 4));
}

lt_raw8 lt_fetch8(__global const uchar *row, uint col) {
    return (uint8)(lt_fetch4(row, col), lt_fetch4(row, col + 4));
}

float4 lt_decode4(lt_raw4 raw, uint col, float scale) {
    return as_float4(raw);
}

uint lt_load1(__global const uchar *row, uint col) {
    return LT_COME1(lt_load_32(row + (ulong)col * 4));
}

float lt_decode1(uint raw, uint col, float scale) {
    return as_float(raw);
}

#elif LT_SRC == LATHE_CL_F16 || LT_SRC == LATHE_CL_BF16

typedef uint2
    lt_raw4; /* words: vectors of more than 8 bytes that are made of less are loaded in parts */
typedef uint4 lt_raw8;

lt_raw4 lt_fetch4(__global const uchar *row, uint col) {
    return *(__global const uint2 *)(row + (ulong)col * 2);
}

lt_raw8 lt_fetch8(__global const uchar *row, uint col) {
    return *(__global const uint4 *)(row + (ulong)col * 2);
}

float4 lt_decode4(lt_raw4 raw, uint col, float scale) {
#if LT_SRC == LATHE_CL_F16 && LT_DST >= LATHE_CL_I8
    return lt_number_of_f16(raw);
#elif LT_SRC == LATHE_CL_F16
    return as_float4(lt_f32_of_f16(raw));
#else
    return as_float4((uint4)(raw.x << 16, raw.x & 0xffff0000u, raw.y << 16, raw.y & 0xffff0000u));
#endif
}

uint lt_load1(__global const uchar *row, uint col) {
    return lt_load_16(row + (ulong)col * 2);
}

float lt_decode1(uint raw, uint col, float scale) {
    return lt_decode4((uint2)(raw, 0), col, scale).x;
}

#elif LT_SRC == LATHE_CL_I8

typedef uint lt_raw4;
typedef uint2 lt_raw8;

lt_raw4 lt_fetch4(__global const uchar *row, uint col) {
    return *(__global const uint *)(row + col);
}

lt_raw8 lt_fetch8(__global const uchar *row, uint col) {
    return *(__global const uint2 *)(row + col);
}

float4 lt_decode4(lt_raw4 raw, uint col, float scale) {
    return lt_numbers_of_i8(raw) * scale;
}

uint lt_load1(__global const uchar *row, uint col) {
    return row[col];
}

float lt_decode1(uint raw, uint col, float scale) {
    return (float)(char)raw * scale;
}

#elif LT_SRC == LATHE_CL_I4

typedef ushort lt_raw4;
typedef uint lt_raw8;
#define LT_RAW_LOW(raw) ((ushort)(raw))
#define LT_RAW_HIGH(raw) ((ushort)((raw) >> 16))

lt_raw4 lt_fetch4(__global const uchar *row, uint col) {
    return *(__global const ushort *)(row + col / 2);
}

lt_raw8 lt_fetch8(__global const uchar *row, uint col) {
    return *(__global const uint *)(row + col / 2);
}

float4 lt_decode4(lt_raw4 raw, uint col, float scale) {
    return lt_numbers_of_i4(raw) * scale;
}

uint lt_load1(__global const uchar *row, uint col) {
    return (uint)row[col / 2] >> 4 * (col % 2);
}

float lt_decode1(uint raw, uint col, float scale) {
    return lt_decode4((ushort)raw, col, scale).x;
}

#elif LT_SRC == LATHE_CL_I2

typedef uchar lt_raw4;
typedef ushort lt_raw8;
#define LT_RAW_LOW(raw) ((uchar)(raw))
#define LT_RAW_HIGH(raw) ((uchar)((raw) >> 8))

lt_raw4 lt_fetch4(__global const uchar *row, uint col) {
    return row[col / 4];
}

lt_raw8 lt_fetch8(__global const uchar *row, uint col) {
    return *(__global const ushort *)(row + col / 4);
}

float4 lt_decode4(lt_raw4 raw, uint col, float scale) {
    return lt_numbers_of_i2(raw) * scale;
}

uint lt_load1(__global const uchar *row, uint col) {
    return (uint)row[col / 4] >> 2 * (col % 4);
}

float lt_decode1(uint raw, uint col, float scale) {
    return lt_decode4((uchar)raw, col, scale).x;
}

#elif LT_SRC == LATHE_CL_I1

typedef uchar lt_raw4;
typedef uchar lt_raw8;
#define LT_RAW_LOW(raw) (raw)
#define LT_RAW_HIGH(raw) (raw)

lt_raw4 lt_fetch4(__global const uchar *row, uint col) {
    return row[col / 8];
}

lt_raw8 lt_fetch8(__global const uchar *row, uint col) {
    return row[col / 8];
}

float4 lt_decode4(lt_raw4 raw, uint col, float scale) {
    return lt_signed_of_i1((uint)raw >> (col & 4), scale);
}

uint lt_load1(__global const uchar *row, uint col) {
    return (uint)row[col / 8] >> col % 8;
}

float lt_decode1(uint raw, uint col, float scale) {
    return lt_decode4((uchar)raw, 0, scale).x;
}

#else /* BITNET158: four elements lie in one byte or two, of which the second may be another's */

typedef ushort lt_raw4;
typedef uint lt_raw8;
#define LT_RAW_LOW(raw) ((ushort)(raw))
#define LT_RAW_HIGH(raw) ((ushort)((raw) >> 16))

lt_raw4 lt_fetch4(__global const uchar *row, uint col) {
    return (ushort)(row[col / 5] | (uint)row[(col + 3) / 5] << 8);
}

lt_raw8 lt_fetch8(__global const uchar *row, uint col) {
    const uint byte = col / 5;
    const uint low = row[byte] | (uint)row[byte + 1] << 8;
    const uint high = (low >> 8) | (uint)row[(col + 7) / 5] << 8;
    return low | (col == 5 * byte ? low : high) << 16;
}

float4 lt_decode4(lt_raw4 raw, uint col, float scale) {
    const uint two = lt_codes_of_trits((raw & 0xff) | (uint)(raw & 0xff00) << 8);
    return lt_numbers_of_i2(((two & 0x3ff) | (two >> 6 & 0xffc00)) >> 2 * (col % 5)) * scale;
}

uint lt_load1(__global const uchar *row, uint col) {
    return row[col / 5];
}

float lt_decode1(uint raw, uint col, float scale) {
    return lt_numbers_of_i2(lt_codes_of_trits(raw) >> 2 * (col % 5)).x * scale;
}

#endif

#ifndef LT_RAW_LOW
#define LT_RAW_LOW(raw) ((raw).lo)
#define LT_RAW_HIGH(raw) ((raw).hi)
#endif

/* Reports a byte that no encoder emits at the byte's first element. */
void lt_check1(uint raw, uint elem, uint col, ulong flags, __global uint *report) {
#if LT_SRC == LATHE_CL_BITNET158
    if ((flags & LATHE_CL_CHECK_BYTES) != 0 && raw >= LATHE_BITNET158_BYTE_VALUES) {
        lt_fault(report, elem - col % 5, LATHE_CL_FAULT_CORRUPT_DATA);
    }
#endif
}

void lt_check4(lt_raw4 raw, uint elem, uint col, ulong flags, __global uint *report) {
#if LT_SRC == LATHE_CL_BITNET158
    const uint low = raw & 0xff;
    const uint high = raw >> 8;
    if (max(low, high) >= LATHE_BITNET158_BYTE_VALUES) {
        lt_check1(low, elem, col, flags, report);
        if (col % 5 > 1) {
            lt_check1(high, elem + 3, col + 3, flags, report);
        }
    }
#endif
}

float lt_source_scale(const lathe_side *side, __global const float *scales, lt_spot spot) {
#if LT_SRC >= LATHE_CL_I8
    return scales[lt_scale_index(side, spot)];
#else
    return 1;
#endif
}

/* One element of the launch, wherever it lies. */
float lt_element(__global const uchar *src, __global const float *scales,
                 const lathe_launch *launch, uint elem, __global uint *report) {
    const lt_spot spot = lt_spot_of(&launch->src, elem);
    const uint raw = lt_load1(src + lt_row_offset(&launch->src, spot.row), spot.col);
    lt_check1(raw, elem, spot.col, launch->flags, report);
    return lt_decode1(raw, spot.col, lt_source_scale(&launch->src, scales, spot));
}

#if LT_WIDTH == 8
typedef lt_raw8 lt_raw;
typedef float8 lt_floats;
#define LT_FETCH lt_fetch8
#else
typedef lt_raw4 lt_raw;
typedef float4 lt_floats;
#define LT_FETCH lt_fetch4
#endif

lt_floats lt_decode(lt_raw raw, uint col, float scale, uint elem, ulong flags,
                    __global uint *report) {
#if LT_WIDTH == 8
    lt_check4(LT_RAW_LOW(raw), elem, col, flags, report);
    lt_check4(LT_RAW_HIGH(raw), elem + 4, col + 4, flags, report);
    return (float8)(lt_decode4(LT_RAW_LOW(raw), col, scale),
                    lt_decode4(LT_RAW_HIGH(raw), col + 4, scale));
#else
    lt_check4(raw, elem, col, flags, report);
    return lt_decode4(raw, col, scale);
#endif
}

/* What stands for a missing element, so that its bits are the unused ones' (BITNET158: digit 1). */
#if LT_DST == LATHE_CL_I1
#define LT_MISSING (-1.0f)
#else
#define LT_MISSING 0.0f
#endif

float4 lt_decode_some4(__global const uchar *row, uint col, uint count, float scale, uint elem,
                       ulong flags, __global uint *report) {
    float x[4] = {LT_MISSING, LT_MISSING, LT_MISSING, LT_MISSING};
    for (uint i = 0; i < min(count, 4u); i++) {
        const uint raw = lt_load1(row, col + i);
        lt_check1(raw, elem + i, col + i, flags, report);
        x[i] = lt_decode1(raw, col + i, scale);
    }
    return (float4)(x[0], x[1], x[2], x[3]);
}

/* The first `count` of LT_WIDTH elements of a row. */
lt_floats lt_decode_some(__global const uchar *row, uint col, uint count, float scale, uint elem,
                         ulong flags, __global uint *report) {
    const float4 low = lt_decode_some4(row, col, count, scale, elem, flags, report);
#if LT_WIDTH == 8
    const uint rest = max(count, 4u) - 4;
    return (float8)(low, lt_decode_some4(row, col + 4, rest, scale, elem + 4, flags, report));
#else
    return low;
#endif
}
