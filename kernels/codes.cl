/* SPDX-License-Identifier: Apache-2.0 */
/* Codes of the quantized types: unpacking and packing four at a time, and rounding to them. */
#include "floats.cl"

/* Codes of four consecutive elements from the bits that hold them, the first one lowest. */

int4 lt_codes_of_i4(uint bits) {
    return (int4)((int)bits) << (int4)(28, 24, 20, 16) >> 28;
}

int4 lt_codes_of_i2(uint bits) {
    return (int4)((int)bits) << (int4)(30, 28, 26, 24) >> 30;
}

/* I1: scale where the bit is 1, else -scale. */
float4 lt_signed_of_i1(uint bits, float scale) {
    const uint4 minus = ~((uint4)(bits) << (uint4)(31, 30, 29, 28)) & 0x80000000u;
    return as_float4(as_uint(scale) ^ minus);
}

/* BITNET158: the digits from `first`, 0 to 4, on in two bytes. As a fraction of 3^10, the two hold
 * ten digits; multiplied by a power of 3 and cut to 32 bits, the digits above the fourth wanted one
 * are gone, and each further multiplication by 3 brings the next one down to the integer part.
 * 72736 is 2^32 / 3^10, rounded up; the error stays below the last digit. */
int4 lt_codes_of_trits(uint low, uint high, uint first) {
    const uint power = first == 0   ? 729u * 72736u
                       : first == 1 ? 243u * 72736u
                       : first == 2 ? 81u * 72736u
                       : first == 3 ? 27u * 72736u
                                    : 9u * 72736u;
    int4 digits;
    ulong part = (ulong)((low + LATHE_BITNET158_BYTE_VALUES * high) * power) * 3;
    digits.w = (int)(part >> 32);
    part = (part & 0xffffffff) * 3;
    digits.z = (int)(part >> 32);
    part = (part & 0xffffffff) * 3;
    digits.y = (int)(part >> 32);
    part = (part & 0xffffffff) * 3;
    digits.x = (int)(part >> 32);
    return digits - 1;
}

/* Five digits, 0 to 2, in bytes of which the first is the lowest of `four`. The product's upper
 * byte is the sum of four digits times 1, 3, 9 and 27; no lower byte carries. */
uint lt_trits_byte(uint four, uint fifth) {
    return (four * 0x0103091bu >> 24) + 81 * fifth;
}

/* The nearest integers, ties to even, in the low bytes of the result; x no more than 127. Between
 * 2^23 and 2^24 floats are exactly the integers, so that the addition itself rounds. */
uint4 lt_nearest(float4 x) {
    return as_uint4(x + 0x1.8p23f);
}

/* The low bytes of codes: x * inverse between -bound and bound; -bound where that is a NaN. */
uint4 lt_quantized(float4 x, float inverse, float bound) {
    return lt_nearest(fmin(fmax(x * inverse, -bound), bound));
}

/* 0 where x < 0, else 1: the patterns from the least negative number's to minus infinity's. */
uint4 lt_sign_codes(float4 x) {
    return LT_SELECT(as_uint4(x) - 0x80000001u <= 0x7f7fffffu, (uint4)(0), (uint4)(1));
}
