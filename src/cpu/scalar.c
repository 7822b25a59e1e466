/* SPDX-License-Identifier: Apache-2.0 */
/* The scalar reference: what every other kernel must equal byte for byte. Plain and slow on
 * purpose. */
#include "core/quality.h"
#include "cpu/kernels.h"
#include "cpu/numerics.h"
#include "lathe_constants.h"
#include <math.h>
#include <string.h>

/* Elements have no alignment, hence memcpy. Bits rather than floats, so that no NaN is touched. */

static uint32_t load_f32(const void *src, size_t i) {
    uint32_t f32;
    memcpy(&f32, (const unsigned char *)src + 4 * i, sizeof f32);
    return f32;
}

static void store_f32(void *dst, size_t i, uint32_t f32) {
    memcpy((unsigned char *)dst + 4 * i, &f32, sizeof f32);
}

static uint16_t load_16(const void *src, size_t i) {
    uint16_t bits;
    memcpy(&bits, (const unsigned char *)src + 2 * i, sizeof bits);
    return bits;
}

static void store_16(void *dst, size_t i, uint16_t bits) {
    memcpy((unsigned char *)dst + 2 * i, &bits, sizeof bits);
}

/* Floats to floats. */

static void f32_to_f16(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    (void)params;
    for (size_t i = 0; i < n_elems; i++)
        store_16(dst, i, lt_f16_from_f32(load_f32(src, i)));
}

static void f32_to_bf16(const void *src, void *dst, size_t n_elems,
                        const lt_kernel_params *params) {
    (void)params;
    for (size_t i = 0; i < n_elems; i++)
        store_16(dst, i, lt_bf16_from_f32(load_f32(src, i)));
}

static void f16_to_f32(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    (void)params;
    for (size_t i = 0; i < n_elems; i++)
        store_f32(dst, i, lt_f32_from_f16(load_16(src, i)));
}

static void bf16_to_f32(const void *src, void *dst, size_t n_elems,
                        const lt_kernel_params *params) {
    (void)params;
    for (size_t i = 0; i < n_elems; i++)
        store_f32(dst, i, lt_f32_from_bf16(load_16(src, i)));
}

/* F32 to codes. */

/* Rounds |x| <= 2^22 to the nearest integer, ties to even: between 2^23 and 2^24 floats are exactly
 * the integers, so the addition itself rounds. 1.5 * 2^23 leaves room for negative x. */
static int round_to_even(float x) {
    const float shift = 0x1.8p23f;
    return (int)((x + shift) - shift);
}

static int encode(float x, float min_code, float max_code, const lt_kernel_params *params) {
    const float scaled = x * params->inv_scale;
    if (isnan(scaled))
        return 0;
    if (scaled > max_code)
        return round_to_even(max_code);
    if (scaled < min_code)
        return round_to_even(min_code);
    return round_to_even(scaled);
}

static float load_float(const void *src, size_t i) {
    return lt_f32_from_bits(load_f32(src, i));
}

static void f32_to_i8(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    unsigned char *out = dst;
    for (size_t i = 0; i < n_elems; i++)
        out[i] =
            (unsigned char)encode(load_float(src, i), -params->max_code, params->max_code, params);
}

/* The low `bits` of each code, the first element lowest in its byte. */
static void f32_to_narrow(const void *src, void *dst, size_t n_elems, unsigned bits,
                          const lt_kernel_params *params) {
    unsigned char *out = dst;
    const unsigned per_byte = 8 / bits;
    const unsigned mask = (1u << bits) - 1;
    const float max_code = params->max_code;
    const float min_code = -max_code - params->extra_codes;

    for (size_t i = 0; i < n_elems; i++) {
        const int signed_code = encode(load_float(src, i), min_code, max_code, params);
        const unsigned code = (unsigned)signed_code & mask;
        const unsigned shift = bits * (unsigned)(i % per_byte);
        const unsigned before = shift == 0 ? 0 : out[i / per_byte];
        out[i / per_byte] = (unsigned char)(before | code << shift);
    }
}

static void f32_to_i4(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    f32_to_narrow(src, dst, n_elems, 4, params);
}

static void f32_to_i2(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    f32_to_narrow(src, dst, n_elems, 2, params);
}

static void f32_to_i1(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    unsigned char *out = dst;
    (void)params;
    for (size_t i = 0; i < n_elems; i++) {
        const unsigned bit = load_float(src, i) < 0 ? 0 : 1;
        const unsigned before = i % 8 == 0 ? 0 : out[i / 8];
        out[i / 8] = (unsigned char)(before | bit << i % 8);
    }
}

static const unsigned powers_of_3[LATHE_BITNET158_PER_BYTE] = {1, 3, 9, 27, 81};

/* Puts ternary code `code` at element i. A byte begins with every digit 1, so that missing elements
 * count as 0. */
static void store_ternary(unsigned char *out, size_t i, int code) {
    const size_t byte = i / LATHE_BITNET158_PER_BYTE;
    const size_t digit = i % LATHE_BITNET158_PER_BYTE;
    const int before = digit == 0 ? LATHE_BITNET158_BYTE_ZERO : out[byte];
    out[byte] = (unsigned char)(before + code * (int)powers_of_3[digit]);
}

/* For a byte that no encoder emits, 243 and up, this is the definition too. */
static int load_ternary(const unsigned char *in, size_t i) {
    const size_t digit = i % LATHE_BITNET158_PER_BYTE;
    return (int)(in[i / LATHE_BITNET158_PER_BYTE] / powers_of_3[digit] % 3) - 1;
}

/* Ternary codes are bounded by 1 whatever max_code says. */
static void f32_to_bitnet158(const void *src, void *dst, size_t n_elems,
                             const lt_kernel_params *params) {
    for (size_t i = 0; i < n_elems; i++)
        store_ternary(
            dst, i, encode(load_float(src, i), -LATHE_BITNET158_MAX, LATHE_BITNET158_MAX, params));
}

static void pack_bitnet158(const void *src, void *dst, size_t n_elems) {
    const signed char *codes = src;
    for (size_t i = 0; i < n_elems; i++)
        store_ternary(dst, i, codes[i]);
}

/* Codes to F32. */

static void decode(void *dst, size_t i, int code, const lt_kernel_params *params) {
    store_f32(dst, i, lt_f32_bits((float)code * params->scale));
}

/* Two's complement of `bits` bits. */
static int sign_extend(unsigned code, unsigned bits) {
    const unsigned sign = 1u << (bits - 1);
    return (int)(code ^ sign) - (int)sign;
}

static void i8_to_f32(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    const unsigned char *in = src;
    for (size_t i = 0; i < n_elems; i++)
        decode(dst, i, sign_extend(in[i], 8), params);
}

static void i4_to_f32(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    const unsigned char *in = src;
    for (size_t i = 0; i < n_elems; i++)
        decode(dst, i, sign_extend(in[i / 2] >> 4 * (i % 2) & 0xf, 4), params);
}

static void i2_to_f32(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    const unsigned char *in = src;
    for (size_t i = 0; i < n_elems; i++)
        decode(dst, i, sign_extend(in[i / 4] >> 2 * (i % 4) & 3, 2), params);
}

static void i1_to_f32(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    const unsigned char *in = src;
    for (size_t i = 0; i < n_elems; i++)
        decode(dst, i, 2 * (in[i / 8] >> i % 8 & 1) - 1, params);
}

static void bitnet158_to_f32(const void *src, void *dst, size_t n_elems,
                             const lt_kernel_params *params) {
    for (size_t i = 0; i < n_elems; i++)
        decode(dst, i, load_ternary(src, i), params);
}

static void unpack_bitnet158(const void *src, void *dst, size_t n_elems) {
    signed char *codes = dst;
    for (size_t i = 0; i < n_elems; i++)
        codes[i] = (signed char)load_ternary(src, i);
}

/* Statistics. */

typedef uint32_t load_fn(const void *src, size_t i);

static uint32_t load_f16_as_f32(const void *src, size_t i) {
    return lt_f32_from_f16(load_16(src, i));
}

static uint32_t load_bf16_as_f32(const void *src, size_t i) {
    return lt_f32_from_bf16(load_16(src, i));
}

/* Magnitudes order like their bits, and NaN above infinity, so this needs no special case. */
static float absmax(const void *src, size_t n_elems, load_fn *load) {
    uint32_t greatest = 0;
    for (size_t i = 0; i < n_elems; i++) {
        const uint32_t magnitude = load(src, i) & 0x7fffffff;
        if (magnitude > greatest)
            greatest = magnitude;
    }
    return lt_f32_one_nan(lt_f32_from_bits(greatest));
}

/* The canonical order: docs/numerics.md. */
static float abssum(const void *src, size_t n_elems, load_fn *load) {
    float lanes[LATHE_STAT_LANES] = {0};

    for (size_t i = 0; i < n_elems; i++)
        lanes[i % LATHE_STAT_LANES] += lt_f32_from_bits(load(src, i) & 0x7fffffff);
    for (size_t half = LATHE_STAT_LANES / 2; half > 0; half /= 2) {
        for (size_t lane = 0; lane < half; lane++)
            lanes[lane] += lanes[lane + half];
    }
    return lt_f32_one_nan(lanes[0]);
}

static float absmax_f32(const void *src, size_t n_elems) {
    return absmax(src, n_elems, load_f32);
}

static float absmax_f16(const void *src, size_t n_elems) {
    return absmax(src, n_elems, load_f16_as_f32);
}

static float absmax_bf16(const void *src, size_t n_elems) {
    return absmax(src, n_elems, load_bf16_as_f32);
}

static float abssum_f32(const void *src, size_t n_elems) {
    return abssum(src, n_elems, load_f32);
}

static float abssum_f16(const void *src, size_t n_elems) {
    return abssum(src, n_elems, load_f16_as_f32);
}

static float abssum_bf16(const void *src, size_t n_elems) {
    return abssum(src, n_elems, load_bf16_as_f32);
}

static uint64_t saturated_f32(const float *src, size_t n_elems, const lt_kernel_params *params) {
    const float bound = params->max_code + 0.5f;
    uint64_t count = 0;
    for (size_t i = 0; i < n_elems; i++)
        count += fabsf(load_float(src, i) * params->inv_scale) >= bound;
    return count;
}

static void copy(const void *src, void *dst, size_t n_elems, const lt_kernel_params *params) {
    (void)params;
    memcpy(dst, src, n_elems);
}

void lt_kernels_init_scalar(lt_kernels *kernels) {
    kernels->isa = LATHE_ISA_SCALAR;
    kernels->copy = copy;
    for (int heat = 0; heat < LT_HEAT_COUNT; heat++) {
#define SET_CONVERT(name, from, to) kernels->convert[heat][from][to] = name;
        LT_CORE_KERNELS(SET_CONVERT)
#undef SET_CONVERT
#define SET_STAT(name, dtype, statistic) kernels->stat[heat][statistic][dtype] = name;
        LT_STAT_KERNELS(SET_STAT)
#undef SET_STAT
    }
#define SET_PACK(name) kernels->name = name;
    LT_PACK_KERNELS(SET_PACK)
#undef SET_PACK
    kernels->saturated_f32 = saturated_f32;
    kernels->quality = lt_quality_add;
    kernels->quality_saturated = lt_quality_saturated;
    kernels->precise = &lt_precise_loops_scalar;
}
