/* SPDX-License-Identifier: Apache-2.0 */
/* Base-3 bytes to and from codes of one or two bits, by looking up several codes at once, with
 * VBMI. */
#ifndef LT_CPU_X86_TRITS_VBMI_H
#define LT_CPU_X86_TRITS_VBMI_H

#include "cpu/x86/code_map.h"

/* Digits 0, 1 and 2 of a byte stand for -1, 0 and 1; bytes that no encoder emits for anything. */
#define CRUMB_OF(digit) ((digit) == 1 ? 0 : (digit) == 2 ? 1 : 3)
#define FOUR_CRUMBS(q)                                                                             \
    (uint8_t)(CRUMB_OF((q) % 3) | CRUMB_OF((q) / 3 % 3) << 2 | CRUMB_OF((q) / 9 % 3) << 4 |        \
              CRUMB_OF((q) / 27 % 3) << 6)
#define EACH_OF_4(F, q) F(q), F((q) + 1), F((q) + 2), F((q) + 3)
#define EACH_OF_16(F, q)                                                                           \
    EACH_OF_4(F, q), EACH_OF_4(F, (q) + 4), EACH_OF_4(F, (q) + 8), EACH_OF_4(F, (q) + 12)
#define EACH_OF_64(F, q)                                                                           \
    { EACH_OF_16(F, q), EACH_OF_16(F, (q) + 16), EACH_OF_16(F, (q) + 32), EACH_OF_16(F, (q) + 48) }

_Alignas(64) static const uint8_t four_crumbs[2][64] = {EACH_OF_64(FOUR_CRUMBS, 0),
                                                        EACH_OF_64(FOUR_CRUMBS, 64)};

/* What four bytes stand for is the lower five bytes of a 64-bit lane. Those of 16 bytes of the
 * source are two lanes of one vector, then two of another, from lane 2 * (k / 20) on. */
#define CRUMB_BYTE(k) (uint8_t)((k) % 5 + 8 * ((k) / 5 % 2) + 16 * ((k) / 20) + 64 * ((k) / 10 % 2))

_Alignas(64) static const uint8_t first_crumb_bytes[64] = EACH_OF_64(CRUMB_BYTE, 0);
_Alignas(64) static const uint8_t last_crumb_bytes[64] = {EACH_OF_16(CRUMB_BYTE, 64)};

/* Ten bits in each 16, to forty in each 64. */
LT_INLINE vi join_crumbs(vi words) {
    const vi twenty = _mm512_madd_epi16(words, _mm512_set1_epi32(1024 << 16 | 1));
    const vi mask = _mm512_set1_epi64(0xfffff);
    enum { A_WHERE_C_ELSE_B = 0xe4 };
    return _mm512_ternarylogic_epi64(twenty, _mm512_srli_epi64(twenty, 12), mask, A_WHERE_C_ELSE_B);
}

/* Less 81 where it is not below that: of what is below 162 the remainder. */
LT_INLINE vi modulo_81(vi x) {
    return _mm512_min_epu8(x, _mm512_sub_epi8(x, _mm512_set1_epi8(81)));
}

/* At most n_bytes bytes, and then zeros. */
LT_INLINE vi load_bytes(const uint8_t *src, size_t n_bytes) {
    return n_bytes >= V_BYTES ? v_load(src)
                              : _mm512_maskz_loadu_epi8(((uint64_t)1 << n_bytes) - 1, src);
}

/* V_BYTES bytes to 80. */
LT_INLINE void repack_step(vi x, uint8_t *dst) {
    const vi rest = modulo_81(modulo_81(x));
    const vi four = _mm512_permutex2var_epi8(v_load(four_crumbs[0]), rest, v_load(four_crumbs[1]));
    /* What is taken away is 0, 81 or 162: the fifth digit, in the lowest two bits. */
    const vi digit = _mm512_sub_epi8(x, rest);
    const vi fifth = v_and(v_subtract_1(digit), _mm512_set1_epi8(3));
    const vi low = join_crumbs(_mm512_unpacklo_epi8(four, fifth));
    const vi high = join_crumbs(_mm512_unpackhi_epi8(four, fifth));
    const vi last = _mm512_permutex2var_epi8(low, v_load(last_crumb_bytes), high);
    v_store(dst, _mm512_permutex2var_epi8(low, v_load(first_crumb_bytes), high), LT_STORE_PLAIN);
    _mm_storeu_si128((__m128i *)(void *)(dst + V_BYTES), _mm512_castsi512_si128(last));
}

void LT_NAME_PLAIN(repack_bitnet158)(const void *src, void *dst, size_t skip, size_t n_elems) {
    enum { CODES = 4, STEP = V_BYTES / CODES * LATHE_BITNET158_PER_BYTE };
    const uint8_t *in = src;
    uint8_t *out = dst;
    size_t n_bytes = (skip + n_elems + LATHE_BITNET158_PER_BYTE - 1) / LATHE_BITNET158_PER_BYTE;
    for (; n_bytes >= V_BYTES; n_bytes -= V_BYTES, in += V_BYTES, out += STEP) {
        __builtin_prefetch(in + STREAM_PREFETCH_BYTES); /* which is to be checked next */
        repack_step(v_load(in), out);
    }
    if (n_bytes > 0)
        repack_step(load_bytes(in, n_bytes), out);
    if (skip > 0) { /* all move down */
        const vi bits = _mm512_set1_epi64((long long)skip * (8 / CODES));
        out = dst;
        for (size_t i = 0; i < n_elems; i += CODES * V_BYTES, out += V_BYTES)
            v_store(out, _mm512_shrdv_epi64(v_load(out), v_load(out + 8), bits), LT_STORE_PLAIN);
    }
}

/* ---- to base 3 */

/* 5 consecutive bytes to each 64-bit lane. */
#define FIVE_BYTES(g) 5 * (g), 5 * (g) + 1, 5 * (g) + 2, 5 * (g) + 3, 5 * (g) + 4, 0, 0, 0
_Alignas(64) static const uint8_t five_bytes[64] = {FIVE_BYTES(0), FIVE_BYTES(1), FIVE_BYTES(2),
                                                    FIVE_BYTES(3), FIVE_BYTES(4), FIVE_BYTES(5),
                                                    FIVE_BYTES(6), FIVE_BYTES(7)};
enum { FIVES_BYTES = 40 };

/* Digits of codes that become 0, 1, -1 and -1, and of bits: the first three of five codes, and the
 * last two, whatever follows those in the index. */
#define DIGIT_OF(code) ((code) == 0 ? 1 : (code) == 1 ? 2 : 0)
#define FIRST_DIGITS(q)                                                                            \
    (uint8_t)(DIGIT_OF((q)&3) + 3 * DIGIT_OF((q) >> 2 & 3) + 9 * DIGIT_OF((q) >> 4 & 3))
#define LAST_DIGITS(q) (uint8_t)(27 * DIGIT_OF((q)&3) + 81 * DIGIT_OF((q) >> 2 & 3))
#define FIVE_SIGNS(q)                                                                              \
    (uint8_t)(2 * (((q)&1) + 3 * ((q) >> 1 & 1) + 9 * ((q) >> 2 & 1) + 27 * ((q) >> 3 & 1) +       \
                   81 * ((q) >> 4 & 1)))
_Alignas(64) static const uint8_t first_digits[64] = EACH_OF_64(FIRST_DIGITS, 0);
_Alignas(64) static const uint8_t last_digits[64] = EACH_OF_64(LAST_DIGITS, 0);
_Alignas(64) static const uint8_t five_signs[64] = EACH_OF_64(FIVE_SIGNS, 0);

/* Eight bits from each of these positions of a 64-bit lane: one number for each byte. */
LT_INLINE vi extract_bits(vi x, uint64_t positions) {
    return _mm512_multishift_epi64_epi8(_mm512_set1_epi64((long long)positions), x);
}

/* V_BYTES base-3 bytes from 40 bytes of signs. */
LT_INLINE vi bytes_of_signs(vi x) {
    const vi fives =
        extract_bits(_mm512_permutexvar_epi8(v_load(five_bytes), x), 0x231e19140f0a0500);
    return _mm512_permutexvar_epi8(fives, v_load(five_signs));
}

/* The same from twice 40 bytes of I2. A lane of four times five codes: the first three of each,
 * then the last two. */
LT_INLINE vi bytes_of_crumbs(vi x, vi y) {
    const uint64_t positions = 0x241a10061e140a00;
    const vi even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const vi odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const vi a = extract_bits(_mm512_permutexvar_epi8(v_load(five_bytes), x), positions);
    const vi b = extract_bits(_mm512_permutexvar_epi8(v_load(five_bytes), y), positions);
    const vi first = _mm512_permutex2var_epi32(a, even, b);
    const vi last = _mm512_permutex2var_epi32(a, odd, b);
    return _mm512_add_epi8(_mm512_permutexvar_epi8(first, v_load(first_digits)),
                           _mm512_permutexvar_epi8(last, v_load(last_digits)));
}

LT_INLINE vi ternary_bytes(const uint8_t *src, size_t n_bytes, unsigned bits) {
    const vi first = load_bytes(src, n_bytes);
    if (bits == 1)
        return bytes_of_signs(first);
    const size_t n_first = n_bytes < FIVES_BYTES ? n_bytes : FIVES_BYTES;
    return bytes_of_crumbs(first, load_bytes(src + n_first, n_bytes - n_first));
}

/* What codes become that stay as they are. */
LT_INLINE void to_ternary(const uint8_t *src, uint8_t *dst, size_t n_elems, unsigned bits) {
    enum { STEP = LATHE_BITNET158_PER_BYTE * V_BYTES };
    static const uint8_t powers[] = {1, 3, 9, 27, 81};
    size_t n_src = (n_elems * bits + 7) / 8;
    const size_t step_bytes = FIVES_BYTES * bits;

    for (; n_elems >= STEP; n_elems -= STEP) {
        v_store(dst, ternary_bytes(src, n_src, bits), LT_STORE_PLAIN);
        src += step_bytes;
        n_src -= step_bytes;
        dst += V_BYTES;
    }
    if (n_elems > 0) {
        const size_t n_dst = (n_elems + LATHE_BITNET158_PER_BYTE - 1) / LATHE_BITNET158_PER_BYTE;
        const size_t n_over = n_elems % LATHE_BITNET158_PER_BYTE;
        _Alignas(64) uint8_t out[V_BYTES];
        v_store(out, ternary_bytes(src, n_src, bits), LT_STORE_PLAIN);
        if (n_over != 0) /* digits that are missing are 1 */
            out[n_dst - 1] = (uint8_t)(out[n_dst - 1] % powers[n_over] +
                                       (LATHE_BITNET158_BYTE_ZERO * 2 + 1 - powers[n_over]) / 2);
        memcpy(dst, out, n_dst);
    }
}

/* What a code below 0 becomes, with one group's scales; that of 1/2 is 0. */
LT_INLINE int map_one(const lt_recode *how, float code) {
    const float value = code * how->scales[0] * how->inverses[0];
    return value < -0.5f ? -1 : 0;
}

LT_INLINE bool make_ternary(const uint8_t *src, uint8_t *dst, size_t n_elems, unsigned bits,
                            const lt_recode *how) {
    const size_t n_groups = (n_elems + how->group_elems - 1) / how->group_elems;
    const int of_minus_1 = map_one(how, -1);
    const int of_minus_2 = bits == 1 ? of_minus_1 : map_one(how, -2);
    if (of_minus_1 != of_minus_2)
        return false;
    if (n_groups > 1 &&
        (!map_alike(how, n_groups, -1) || (bits == 2 && !map_alike(how, n_groups, -2))))
        return false;
    if (of_minus_1 == 0)
        memset(dst, LATHE_BITNET158_BYTE_ZERO,
               (n_elems + LATHE_BITNET158_PER_BYTE - 1) / LATHE_BITNET158_PER_BYTE);
    else
        to_ternary(src, dst, n_elems, bits);
    return true;
}

bool LT_NAME_PLAIN(i2_to_ternary)(const void *codes, void *dst, size_t n_elems,
                                  const lt_recode *how) {
    return make_ternary(codes, dst, n_elems, 2, how);
}

bool LT_NAME_PLAIN(i1_to_ternary)(const void *codes, void *dst, size_t n_elems,
                                  const lt_recode *how) {
    return make_ternary(codes, dst, n_elems, 1, how);
}

#endif
