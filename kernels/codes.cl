/* SPDX-License-Identifier: Apache-2.0 */
/* Codes of the quantized types: unpacking and packing four at a time, and rounding to them. */
#include "floats.cl"

/* Numbers of four consecutive elements from the bits that hold them, the first one lowest. Codes
 * are two's complement: with the sign's bit the other way round, a code is not negative. Put into
 * the low bits of the number 2^23, where it is, it needs a scaling and a subtraction. Both are
 * exact, so that mad is, too: devices shift and convert fewer integers at a time than they add
 * floats. */
#define LT_BIASED 0x4b000000u

float4 lt_numbers_of_i8(uint bits) {
    const uint4 low =
        (uint4)(bits, bits, bits >> 16, bits >> 16) & (uint4)(0xff, 0xff00, 0xff, 0xff00);
    const uint4 biased =
        low ^ (uint4)(LT_BIASED ^ 0x80, LT_BIASED ^ 0x8000, LT_BIASED ^ 0x80, LT_BIASED ^ 0x8000);
    return mad(as_float4(biased), (float4)(1, 0x1p-8f, 1, 0x1p-8f),
               -(float4)(0x800080, 0x8080, 0x800080, 0x8080));
}

float4 lt_numbers_of_i4(uint bits) {
    const uint4 biased =
        ((uint4)(bits) & (uint4)(0xf, 0xf0, 0xf00, 0xf000)) ^
        (uint4)(LT_BIASED ^ 8, LT_BIASED ^ 0x80, LT_BIASED ^ 0x800, LT_BIASED ^ 0x8000);
    return mad(as_float4(biased), (float4)(1, 0x1p-4f, 0x1p-8f, 0x1p-12f),
               -(float4)(0x800008, 0x80008, 0x8008, 0x808));
}

float4 lt_numbers_of_i2(uint bits) {
    const uint4 biased = ((uint4)(bits) & (uint4)(3, 0xc, 0x30, 0xc0)) ^
                         (uint4)(LT_BIASED ^ 2, LT_BIASED ^ 8, LT_BIASED ^ 0x20, LT_BIASED ^ 0x80);
    return mad(as_float4(biased), (float4)(1, 0x1p-2f, 0x1p-4f, 0x1p-6f),
               -(float4)(0x800002, 0x200002, 0x80002, 0x20002));
}

/* I1: scale where the bit is 1, else -scale. */
float4 lt_signed_of_i1(uint bits, float scale) {
    const uint4 minus = ~((uint4)(bits) << (uint4)(31, 30, 29, 28)) & 0x80000000u;
    return as_float4(as_uint(scale) ^ minus);
}

/* BITNET158: the five codes of a byte in the low half of the word, and of one in the upper half, as
 * I2 has them: ten bits each. With f_k = byte / 3^k, rounded down, digit k is f_k - 3 f_{k+1}, so
 * that the digits in fields of two bits are f_0 + f_1 + 4 f_2 + 16 f_3 + 64 f_4. Each factor is 2^9
 * / 3^k or 2^14 / 3^k, rounded up, by so little that the quotients of 0 to 255 are right. 1 more in
 * each field and its upper bit the other way round: digit - 1. */
uint lt_codes_of_trits(uint bytes) {
    const uint fields = bytes + (bytes * 171 >> 9 & 0x007f007f) + (bytes * 57 >> 7 & 0x007c007c) +
                        (bytes * 19 >> 5 & 0x00f000f0) + (bytes * 203 >> 8 & 0x00c000c0);
    return (fields + 0x01550155) ^ 0x02aa02aa;
}

/* The nearest integers, ties to even, in the low bytes of the result; x no more than 127. Between
 * 2^23 and 2^24 floats are exactly the integers, so that the addition itself rounds. */
uint4 lt_nearest(float4 x) {
    return as_uint4(x + 0x1.8p23f);
}

/* The low bytes of codes: x * inverse between -bound, or one code below that, and bound; the lowest
 * where that is a NaN. */
uint4 lt_quantized(float4 x, float inverse, float bound) {
#ifdef LT_EXTRA_CODES
    const float low = bound == 0 ? 0 : -bound - 1;
#else
    const float low = -bound;
#endif
    return lt_nearest(fmin(fmax(x * inverse, low), bound));
}

/* 0 where x < 0, else 1: the patterns from the least negative number's to minus infinity's. */
uint4 lt_sign_codes(float4 x) {
    return LT_SELECT(as_uint4(x) - 0x80000001u <= 0x7f7fffffu, (uint4)(0), (uint4)(1));
}

/* Four bytes of eight: four bits of `picks`, from the lowest on, are the number of a byte, or that
 * and 8, which picks its sign for all bits. */
uint lt_pick_bytes(uint low, uint high, uint picks) {
#if LT_HAS_PTX
    uint bytes;
    __asm__("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(low), "r"(high), "r"(picks));
    return bytes;
#else
    const uint4 numbers = (uint4)(picks, picks >> 4, picks >> 8, picks >> 12);
    const char4 bytes =
        as_char4(shuffle(as_uchar8((uint2)(low, high)), convert_uchar4(numbers & 7)));
    return as_uint(
        select(bytes, bytes >> (char4)(7), as_char4(convert_uchar4((numbers & 8) << 4))));
#endif
}
