/* SPDX-License-Identifier: Apache-2.0 */
/* Codes that become other codes without being decoded one by one (docs/numerics.md, "From codes to
 * codes"): a vector of them in words, and what a scope's map makes of it. BITNET158's codes are in
 * words what I2's are, two bits. */
#include "stats.cl"

/* Only the programs of pairs have them. */
#if LT_SRC >= LATHE_CL_I8 && LT_DST >= LATHE_CL_I8 && LT_SRC != LT_DST && !defined LT_BATCH &&     \
    !defined LT_IN_PLACE && !defined LT_EXTRA_CODES && !defined LT_CHAIN
#define LT_HAS_RECODE 1
#else
#define LT_HAS_RECODE 0
#endif

#if LT_HAS_RECODE

#define LT_SRC_BITS LATHE_CL_CODE_BITS(LT_SRC)
#define LT_DST_BITS LATHE_CL_CODE_BITS(LT_DST)

/* A vector: elements that make 16 bytes on the side that has more, and 4 words at most on either.
 * Where they make half a word, it is the lower half. */
#define LT_VECTOR LATHE_CL_RECODE_VECTOR(LT_SRC, LT_DST)
#define LT_SRC_WORDS ((LT_VECTOR * LT_SRC_BITS + 31) / 32)
#define LT_DST_WORDS ((LT_VECTOR * LT_DST_BITS + 31) / 32)

/* A source's codes are within 2^LT_SRC_BITS / 2 of 0: magnitudes have a field's bits, too. */
#define LT_SRC_ONES (0xffffffffu / ((1u << LT_SRC_BITS) - 1)) /* 1 in each field */
#define LT_SRC_TOP (1u << (LT_SRC_BITS - 1))
#define LT_SRC_SIGNS (LT_SRC_TOP * LT_SRC_ONES)

/* Elements may have to be decoded. */
#define LT_MAY_DECODE (LT_SRC == LATHE_CL_I8 && LT_DST == LATHE_CL_I4)

/* What a scope's codes become: its source's scale, one or two words whose meaning the pair of types
 * decides and, for elements that are decoded, the inverse of the target's scale. */
typedef struct lt_map {
    float scale;
    uint first;
#if LT_DST != LATHE_CL_I1
    uint second;
#endif
#if LT_MAY_DECODE
    float inverse;
#endif
} lt_map;

/* A constant that the compiler does not know (the flag is never set), so that it has it in a
 * register: one instruction does for a mask and a constant, but not for two constants. */
uint lt_opaque(uint number, const lathe_launch *launch) {
    return number | (uint)(launch->flags >> 63);
}

#if LT_SRC <= LATHE_CL_I4

/* lt_numbers_of_i8 and lt_numbers_of_i4 with LT_BIASED in `biased`. */
float4 lt_numbers4(uint bits, uint biased) {
#if LT_SRC == LATHE_CL_I8
    const uint low = bits ^ 0x80808080;
    const uint high = low >> 16;
    const uint4 held = (uint4)(low & 0xff, low & 0xff00, high & 0xff, high & 0xff00) | biased;
    return mad(as_float4(held), (float4)(1, 0x1p-8f, 1, 0x1p-8f),
               -(float4)(0x800080, 0x8080, 0x800080, 0x8080));
#else
    const uint low = bits ^ 0x88888888;
    const uint4 held = (uint4)(low & 0xf, low & 0xf0, low & 0xf00, low & 0xf000) | biased;
    return mad(as_float4(held), (float4)(1, 0x1p-4f, 0x1p-8f, 0x1p-12f),
               -(float4)(0x800008, 0x80008, 0x8008, 0x808));
#endif
}

#endif

/* The nearest whole number to x, from 0 to 2^22, and one as a float: additions, where devices
 * convert few at a time. */
uint lt_nearest_whole(float x) {
    return as_uint(x + 0x1p23f) - LT_BIASED;
}

float lt_number(uint whole) {
    return as_float(whole | LT_BIASED) - 0x1p23f;
}

/* The low bytes of four words. */
uint lt_bytes_of4(uint4 words) {
    return lt_pick_bytes(lt_pick_bytes(words.x, words.y, 0x0040),
                         lt_pick_bytes(words.z, words.w, 0x0040), 0x5410);
}

/* What four magnitudes become, in the low bytes: scales are plain, so that nothing is a NaN. */
uint4 lt_codes_of4(float4 codes, float scale, float inverse) {
    return lt_nearest(fmin(codes * scale * inverse, (float4)(LT_BOUND)));
}

/* The least magnitude whose code is not 0; any above LT_SRC_TOP, if that has none. Those that lie
 * more than a rounding below or above what becomes a half are clear, so that there are three. */
uint lt_least_coded(float scale, float inverse) {
    const float half_code = fmin(0.5f / (scale * inverse), 2.0f * LT_SRC_TOP);
    const uint least = lt_nearest_whole(fmax(half_code - 0.5f, 0.0f));
    const float first = lt_number(least);
    return least + (first * scale * inverse > 0.5f ? 0 : 1) +
           ((first + 1) * scale * inverse > 0.5f ? 0 : 1);
}

#if LT_DST == LATHE_CL_I1

/* First: 1 in each bit where a source's scale of 0 makes all elements 0, which count as positive.
 */
lt_map lt_map_of(float scale, float inverse, bool is_own) {
    const lt_map map = {scale, scale == 0 ? 0xffffffffu : 0};
    return map;
}

#elif LT_SRC <= LATHE_CL_I4 && LT_DST >= LATHE_CL_I2

/* A target of three codes: what is added to codes without their signs to have a carry into the
 * sign's place, where it says: first, of a code that is not negative, that it becomes 1; second, of
 * a negative one, that it becomes 0. */
lt_map lt_map_of(float scale, float inverse, bool is_own) {
    const uint least = lt_least_coded(scale, inverse);
    const uint some = min(least, LT_SRC_TOP);
    const lt_map map = {scale, (LT_SRC_TOP - some) * LT_SRC_ONES,
                        least > LT_SRC_TOP ? LT_SRC_SIGNS : (some - 1) * LT_SRC_ONES};
    return map;
}

#elif LT_SRC == LATHE_CL_I8

/* To I4: with a scale that m has given, the greatest magnitude, codes are those of 7 q / m
 * (docs/numerics.md), where halves fall either way: that is q = m / 2, if m is even and no multiple
 * of 14. So, plus 8, they are the upper four bits of 16 of first * (q + 128) + second, if first is
 * near enough to 7 * 4096 / m: of an even m the next whole number above, where the half goes up, or
 * below, of an odd one the nearest. Second is there for both halves of a word. For some m, and
 * other scales, that does not do; then first is 0, and elements are decoded. */

/* Those m: multiples of 14 and, by bits, 66, 68, ... 126 and 128, of which 128 is the lowest bit,
 * or 67, 69, ... 127. Of even ones it matters where the half goes. */
#define LT_NO_FACTOR_ODD 0x02090404u
#define LT_NO_FACTOR_UP 0x64080001u
#define LT_NO_FACTOR_DOWN 0x1a540001u

bool lt_has_factor(uint greatest, bool is_up) {
    const uint missing = greatest % 2 != 0 ? LT_NO_FACTOR_ODD
                         : is_up           ? LT_NO_FACTOR_UP
                                           : LT_NO_FACTOR_DOWN;
    return greatest % 14 != 0 && (greatest < 66 || (missing >> (greatest / 2 & 31) & 1) == 0);
}

/* No magnitude may be beyond m, unless even LT_SRC_TOP is within the bound. */
lt_map lt_map_of(float scale, float inverse, bool is_own) {
    const float product = scale * inverse;
    const uint greatest = lt_nearest_whole(fmin(LT_BOUND / product, 2.0f * LT_SRC_TOP));
    const float number = lt_number(greatest);
    const bool is_ratio = fabs(product * number - LT_BOUND) < 0x1p-17f && greatest - 1 < LT_SRC_TOP;
    const bool is_up = 0.5f * number * scale * inverse >= LT_BOUND / 2;
    const bool has_factor = is_ratio && lt_has_factor(greatest, is_up) &&
                            (is_own || LT_SRC_TOP * product < LT_BOUND + 0.5f);
    lt_map map = {scale, 0, 0, inverse};
    /* To the next one, from what is off by less than a 128th. */
    const float toward = greatest % 2 != 0 ? 0 : is_up ? 0.5f + 0x1p-7f : -0.5f - 0x1p-7f;
    map.first = has_factor ? lt_nearest_whole(4096 * product + toward) : 0;
    map.second = (8 * 4096 + 2048 - LT_SRC_TOP * map.first) * 0x00010001u;
    return map;
}

#elif LT_SRC == LATHE_CL_I4

/* To I8: the codes of 1 to 4 in bytes, and those of 5 to 8. */
lt_map lt_map_of(float scale, float inverse, bool is_own) {
    const lt_map map = {scale, lt_bytes_of4(lt_codes_of4((float4)(1, 2, 3, 4), scale, inverse)),
                        lt_bytes_of4(lt_codes_of4((float4)(5, 6, 7, 8), scale, inverse))};
    return map;
}

#else

/* A source of few codes: first is what 1 becomes, second what -1 does, and in the next field of
 * LT_DST_BITS bits what I2's -2 does; of BITNET158 the bits in which these two differ. 0 stays 0.
 * To I8: first has the codes of 0, 1, -2 and -1. */
lt_map lt_map_of(float scale, float inverse, bool is_own) {
    const uint mask = (1u << LT_DST_BITS) - 1;
    const uint4 codes = lt_codes_of4((float4)(1, 2, 0, 0), scale, inverse);
    const uint plus = codes.x & mask;
    const uint minus = (0 - codes.x) & mask;
    const uint twice = (0 - codes.y) & mask;
#if LT_SRC != LATHE_CL_I1 && LT_DST == LATHE_CL_I8
    const lt_map map = {scale, plus << 8 | twice << 16 | minus << 24, 0};
#else
    const lt_map map = {scale, plus,
                        LT_SRC == LATHE_CL_BITNET158 ? plus ^ minus : minus | twice << LT_DST_BITS};
#endif
    return map;
}

#endif

/* ---- fields moved closer together or apart */

/* The two highest bits of each of 16 fields of four bits, the others being 0. Products by 5 and 17
 * put them side by side without a carry: pairs in the upper halves of bytes, fours in whole ones.
 */
uint lt_twos_of_nibbles(uint low, uint high) {
    const uint first = (low * 5 & 0xf0f0f0f0) * 17;
    const uint second = (high * 5 & 0xf0f0f0f0) * 17;
    return lt_pick_bytes(first, second, 0x7531);
}

/* 16 bits, each in the lower bit of a field of two. */
uint lt_twos_of_bits(uint bits) {
    const uint eight = (bits | bits << 8) & 0x00ff00ff;
    const uint four = (eight | eight << 4) & 0x0f0f0f0f;
    const uint two = (four | four << 2) & 0x33333333;
    return (two | two << 1) & 0x55555555;
}

/* Eight fields of two bits in fields of four. */
uint lt_nibbles_of_twos(uint bits) {
    const uint eight = (bits | bits << 8) & 0x00ff00ff;
    const uint four = (eight | eight << 4) & 0x0f0f0f0f;
    return (four | four << 2) & 0x33333333;
}

/* ---- words of the target from words of the source */

#if LT_DST == LATHE_CL_I1

/* Bits: 1 where a code is not negative. Products without a carry move them side by side. */
#if LT_SRC == LATHE_CL_I8

/* In the upper four bits, what is below them being anything. */
uint lt_sign_bits(uint word) {
    return (~word & 0x80808080) * 0x00204081u;
}

void lt_recode(uint *out, const uint *in, lt_map map) {
    const uint even = lt_pick_bytes(lt_sign_bits(in[0]), lt_sign_bits(in[2]), 0x0073);
    const uint odd = lt_pick_bytes(lt_sign_bits(in[1]), lt_sign_bits(in[3]), 0x0073);
    out[0] = (even >> 4 & 0x0f0f) | (odd & 0xf0f0) | map.first;
}

#elif LT_SRC == LATHE_CL_I4

/* In the upper byte. */
uint lt_sign_bits(uint word) {
    const uint two = (~word & 0x88888888) * 9 & 0xc0c0c0c0;
    return (two * 65 & 0xf000f000) * 4097;
}

void lt_recode(uint *out, const uint *in, lt_map map) {
    const uint low = lt_pick_bytes(lt_sign_bits(in[0]), lt_sign_bits(in[1]), 0x0073);
    const uint high = lt_pick_bytes(lt_sign_bits(in[2]), lt_sign_bits(in[3]), 0x7300);
    out[0] = lt_pick_bytes(low, high, 0x7610) | map.first;
}

#else

/* Those of two words, first in twos that are the upper halves of fours. */
uint lt_sign_bits(uint low, uint high) {
    return lt_twos_of_nibbles((~low & 0xaaaaaaaa) * 3 & 0xcccccccc,
                              (~high & 0xaaaaaaaa) * 3 & 0xcccccccc);
}

void lt_recode(uint *out, const uint *in, lt_map map) {
    out[0] = lt_sign_bits(in[0], in[1]) | map.first;
    out[1] = lt_sign_bits(in[2], in[3]) | map.first;
}

#endif

#elif LT_SRC <= LATHE_CL_I4 && LT_DST == LATHE_CL_BITNET158

/* A word's codes as digits of base 3, 0 to 2, in the lowest bits of the fields. Where no code
 * becomes other than 0, `second` has the signs' places themselves. */
uint lt_digits(uint word, lt_map map) {
    const uint low = word & ~LT_SRC_SIGNS;
    const uint plus = low + map.first;
    const uint minus = low + map.second;
    const uint is_two = plus & ~word;
    const uint is_one = (minus & word) | ~(plus | word);
    return ((is_two & LT_SRC_SIGNS) | (is_one >> 1 & ~LT_SRC_SIGNS)) >> (LT_SRC_BITS - 2) &
           3 * LT_SRC_ONES;
}

#elif LT_SRC <= LATHE_CL_I4 && LT_DST == LATHE_CL_I2

/* A word's codes as 1, 0 and -1, in the two upper bits of the fields. Where no code becomes other
 * than 0, `second` has the signs' places themselves, and the negative ones' carries, too. */
uint lt_three_codes(uint word, lt_map map) {
    const uint low = word & ~LT_SRC_SIGNS;
    const uint plus = low + map.first;
    const uint minus = ~(low + map.second);
    const uint some = (plus & ~word) | (minus & word);
    return (some >> 1 & LT_SRC_SIGNS >> 1) | (minus & word & LT_SRC_SIGNS);
}

void lt_recode(uint *out, const uint *in, lt_map map) {
#if LT_SRC == LATHE_CL_I8
    /* The products have the codes of four bytes in their upper byte. */
    const uint a = lt_three_codes(in[0], map) * 0x00041041u;
    const uint b = lt_three_codes(in[1], map) * 0x00041041u;
    const uint c = lt_three_codes(in[2], map) * 0x00041041u;
    const uint d = lt_three_codes(in[3], map) * 0x00041041u;
    out[0] = lt_pick_bytes(lt_pick_bytes(a, b, 0x0073), lt_pick_bytes(c, d, 0x0073), 0x5410);
#else
    out[0] = lt_twos_of_nibbles(lt_three_codes(in[0], map), lt_three_codes(in[1], map));
    out[1] = lt_twos_of_nibbles(lt_three_codes(in[2], map), lt_three_codes(in[3], map));
#endif
}

#elif LT_SRC == LATHE_CL_I8

/* A word's codes in its second and fourth bytes. */
uint lt_multiplied(uint word, lt_map map) {
    const uint biased = word ^ LT_SRC_SIGNS;
    const uint even = (biased & 0x00ff00ff) * map.first + map.second;
    const uint odd = (biased >> 8 & 0x00ff00ff) * map.first + map.second;
    return (even >> 4 & 0x0f000f00) | (odd & 0xf000f000);
}

/* The same of codes that are decoded. No code wants clamping: scales are not given, they come of
 * the greatest magnitude of the scope or of all. */
uint lt_decoded(uint word, lt_map map) {
    const uint4 codes = lt_nearest(lt_numbers4(word, LT_BIASED) * map.scale * map.inverse);
    return (lt_bytes_of4(codes) & 0x0f0f0f0f) * 0x0110;
}

void lt_recode(uint *out, const uint *in, lt_map map) {
    if (map.first != 0) {
#pragma unroll
        for (uint i = 0; i < 2; i++) {
            const uint low = lt_multiplied(in[2 * i], map);
            const uint high = lt_multiplied(in[2 * i + 1], map);
            out[i] = lt_pick_bytes(low, high, 0x7531) ^ 0x88888888;
        }
    } else {
#pragma unroll
        for (uint i = 0; i < 2; i++) {
            const uint low = lt_decoded(in[2 * i], map);
            const uint high = lt_decoded(in[2 * i + 1], map);
            out[i] = lt_pick_bytes(low, high, 0x7531);
        }
    }
}

#elif LT_SRC == LATHE_CL_I4

/* Codes that are not negative pick theirs from those of 0 to 7; negative ones, the other way round,
 * theirs without the sign from those of 1 to 8. Others pick the sign of one of these, which is 0.
 */
void lt_recode(uint *out, const uint *in, lt_map map) {
    const uint low = map.first << 8;
    const uint high = map.second << 8 | map.first >> 24;
#pragma unroll
    for (uint i = 0; i < LT_DST_WORDS; i++) {
        const uint picks = in[i / 2] >> 16 * (i % 2);
        const uint minus = lt_pick_bytes(map.first, map.second, ~picks);
        out[i] = lt_pick_bytes(low, high, picks) | ((0x80808080 - minus) ^ 0x80808080);
    }
}

#elif LT_SRC == LATHE_CL_I1

/* A word of the target from the lowest bits: fields of `minus`, of which those that are 1 become
 * `plus`. */
uint lt_word_of_bits(uint bits, lt_map map) {
#if LT_DST == LATHE_CL_I8
    const uint fields = (bits & 0xf) * 0x00204081u & 0x01010101;
#elif LT_DST == LATHE_CL_I4
    const uint four = ((bits & 0xff) | bits << 12) & 0x000f000f;
    const uint two = (four | four << 6) & 0x03030303;
    const uint fields = (two | two << 3) & 0x11111111;
#else
    const uint fields = lt_twos_of_bits(bits & 0xffff);
#endif
    const uint minus = map.second & ((1u << LT_DST_BITS) - 1);
    const uint ones = 0xffffffffu / ((1u << LT_DST_BITS) - 1);
    return minus * ones ^ fields * (map.first ^ minus);
}

void lt_recode(uint *out, const uint *in, lt_map map) {
#pragma unroll
    for (uint i = 0; i < LT_DST_WORDS; i++) {
        const uint at = i * (32 / LT_DST_BITS);
        out[i] = lt_word_of_bits(in[at / 32] >> at % 32, map);
    }
}

#else /* I2, BITNET158 */

#define LT_DST_ONES (0xffffffffu / ((1u << LT_DST_BITS) - 1))

#if LT_DST == LATHE_CL_I8

void lt_recode(uint *out, const uint *in, lt_map map) {
#pragma unroll
    for (uint i = 0; i < LT_DST_WORDS; i += 2) {
        const uint picks = lt_nibbles_of_twos(in[i / 4] >> 16 * (i / 2 % 2) & 0xffff);
        out[i] = lt_pick_bytes(map.first, 0, picks);
        out[i + 1] = lt_pick_bytes(map.first, 0, picks >> 16);
    }
}

#else

/* A word of the target from the lowest bits. */
uint lt_word_of_twos(uint bits, lt_map map) {
#if LT_DST == LATHE_CL_I4
    const uint fields = lt_nibbles_of_twos(bits & 0xffff);
#else
    const uint fields = bits;
#endif
    const uint fields_mask = (1u << LT_DST_BITS) - 1;
    const uint low = fields & LT_DST_ONES;
    const uint high = fields >> 1 & LT_DST_ONES;
#if LT_SRC == LATHE_CL_I2
    return (low & ~high) * map.first | (low & high) * (map.second & fields_mask) |
           (high & ~low) * (map.second >> LT_DST_BITS & fields_mask);
#else
    return low * map.first ^ high * map.second;
#endif
}

void lt_recode(uint *out, const uint *in, lt_map map) {
#pragma unroll
    for (uint i = 0; i < LT_DST_WORDS; i++) {
        const uint at = i * (32 / LT_DST_BITS) * 2;
        out[i] = lt_word_of_twos(in[at / 32] >> at % 32, map);
    }
}

#endif

#endif

#endif
