/* SPDX-License-Identifier: Apache-2.0 */
/* An independent statement of what conversions give. */
#include "oracle.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void *allocate(uint64_t count, size_t n_bytes) {
    void *memory = calloc(count == 0 ? 1 : (size_t)count, n_bytes);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* ---- narrow floats */

/* A binary format: digits of precision (the hidden one included), the exponents of the least and
 * the greatest normal number. */
typedef struct narrow_format {
    int precision;
    int min_exponent;
    int max_exponent;
} narrow_format;

static const narrow_format f16_format = {.precision = 11, .min_exponent = -14, .max_exponent = 15};
static const narrow_format bf16_format = {
    .precision = 8, .min_exponent = -126, .max_exponent = 127};

/* The nearest integer, ties to even, of a number that is not negative. */
static double nearest_even(double x) {
    double below = floor(x);
    double rest = x - below;
    if (rest < 0.5 || (rest == 0.5 && floor(below / 2) * 2 == below)) {
        return below;
    }
    return below + 1.0;
}

/* The magnitude of a pattern, which counts up through subnormals and normals without a gap: each
 * power of two holds 2^(precision-1) patterns. Infinity's pattern gets the value
 * 2^(max_exponent+1). */
static double narrow_value(const narrow_format *format, uint32_t pattern) {
    uint32_t per_exponent = 1u << (format->precision - 1);
    uint32_t exponent = pattern / per_exponent;
    uint32_t fraction = pattern % per_exponent;
    double unit = ldexp(1.0, format->min_exponent - (format->precision - 1));
    if (exponent == 0) {
        return fraction * unit;
    }
    return ldexp((per_exponent + fraction) * unit, (int)exponent - 1);
}

static uint32_t narrow_infinity(const narrow_format *format) {
    uint32_t exponents = (uint32_t)(format->max_exponent - format->min_exponent + 2);
    return exponents << (format->precision - 1);
}

/* The pattern nearest to a finite magnitude. */
static uint32_t narrow_nearest(const narrow_format *format, double magnitude) {
    if (magnitude == 0) {
        return 0; /* frexp gives it no exponent of its own */
    }
    int exponent = 0;
    (void)frexp(magnitude, &exponent); /* magnitude in [2^(exponent-1), 2^exponent) */
    exponent -= 1;
    if (exponent < format->min_exponent) {
        exponent = format->min_exponent;
    }
    double unit = ldexp(1.0, exponent - (format->precision - 1));
    double units = nearest_even(magnitude / unit);
    double rounded = units * unit;
    if (rounded >= ldexp(1.0, format->max_exponent + 1)) {
        return narrow_infinity(format);
    }
    /* Whole units above the first pattern of this exponent; a carry into the next one fits too. */
    double per_exponent = ldexp(1.0, format->precision - 1);
    return (uint32_t)(units + per_exponent * (exponent - format->min_exponent));
}

/* NaN keeps the sign and the payload's upper digits, and is made quiet. */
static uint16_t narrow_from_f32(const narrow_format *format, uint32_t f32) {
    float x = float_of(f32);
    uint32_t sign = f32 >= 0x80000000u ? 0x8000u : 0;
    if (isnan(x)) {
        uint32_t payload = f32 % 0x800000u;
        uint32_t kept = payload / (1u << (24 - format->precision));
        uint32_t quiet = 1u << (format->precision - 2);
        if (kept / quiet % 2 == 0) {
            kept += quiet;
        }
        return (uint16_t)(sign + narrow_infinity(format) + kept);
    }
    if (isinf(x)) {
        return (uint16_t)(sign + narrow_infinity(format));
    }
    return (uint16_t)(sign + narrow_nearest(format, fabs((double)x)));
}

uint16_t oracle_f32_to_f16(uint32_t f32) {
    return narrow_from_f32(&f16_format, f32);
}

uint16_t oracle_f32_to_bf16(uint32_t f32) {
    return narrow_from_f32(&bf16_format, f32);
}

/* F16C makes signalling NaNs quiet on the way up too. */
uint32_t oracle_f16_to_f32(uint16_t f16) {
    uint32_t sign = f16 >= 0x8000 ? 0x80000000u : 0;
    uint32_t magnitude = f16 % 0x8000u;
    if (magnitude > 0x7c00) {
        uint32_t payload = magnitude - 0x7c00;
        if (payload < 0x200) {
            payload += 0x200;
        }
        return sign + 0x7f800000u + payload * 0x2000u;
    }
    if (magnitude == 0x7c00) {
        return sign + 0x7f800000u;
    }
    return sign + bits_of((float)narrow_value(&f16_format, magnitude));
}

/* A BF16 is the upper half of an F32, NaNs included. */
uint32_t oracle_bf16_to_f32(uint16_t bf16) {
    return bf16 * 0x10000u;
}

oracle_interval *oracle_intervals(lathe_dtype dtype, size_t *n_intervals) {
    const narrow_format *format = dtype == LATHE_F16 ? &f16_format : &bf16_format;
    uint32_t infinity = narrow_infinity(format);
    uint32_t payload_step = 1u << (24 - format->precision);
    oracle_interval *intervals = allocate(0x8002, sizeof *intervals);
    size_t n = 0;
    intervals[n++] = (oracle_interval){.first = 0, .value = 0};
    for (uint32_t pattern = 1; pattern <= infinity; pattern++) {
        double below = narrow_value(format, pattern - 1);
        double tie = below + (narrow_value(format, pattern) - below) / 2;
        if (tie > (double)FLT_MAX || (double)(float)tie != tie) {
            abort(); /* every tie is an F32 */
        }
        /* The tie belongs to the even one of its two neighbours. */
        uint32_t first = bits_of((float)tie) + (pattern % 2 == 0 ? 0 : 1);
        intervals[n++] = (oracle_interval){.first = first, .value = (uint16_t)pattern};
    }
    for (uint32_t nan = 0x7f800000u; nan < 0x80000000u; nan += payload_step) {
        uint32_t first = nan == 0x7f800000u ? nan + 1 : nan;
        uint32_t top = (nan - 0x7f800000u) / payload_step;
        uint32_t quiet = 1u << (format->precision - 2);
        uint32_t value = infinity + (top < quiet ? top + quiet : top);
        intervals[n++] = (oracle_interval){.first = first, .value = (uint16_t)value};
    }
    intervals[n] = (oracle_interval){.first = 0x80000000u, .value = 0};
    *n_intervals = n;
    return intervals;
}

/* ---- layouts and codes */

static uint64_t elems_per_byte(lathe_dtype dtype) {
    switch (dtype) {
    case LATHE_I8:
        return 1;
    case LATHE_I4:
        return 2;
    case LATHE_I2:
        return 4;
    case LATHE_I1:
        return 8;
    case LATHE_BITNET158:
        return 5;
    default:
        return 0;
    }
}

bool oracle_layout_of(const lathe_tensor_desc *desc, oracle_layout *layout) {
    uint32_t row_dims = desc->row_dims == 0 ? 1 : desc->row_dims;
    if (desc->dtype < LATHE_F32 || desc->dtype > LATHE_BITNET158 || desc->n_dims > LATHE_MAX_DIMS ||
        (row_dims > 1 && row_dims > desc->n_dims)) {
        return false;
    }
    *layout = (oracle_layout){.dtype = desc->dtype, .n_rows = 1, .row_elems = 1};
    for (uint32_t i = 0; i < desc->n_dims; i++) {
        if (i + row_dims < desc->n_dims) {
            layout->n_rows *= desc->shape[i];
        } else {
            layout->row_elems *= desc->shape[i];
        }
    }
    uint64_t per_byte = elems_per_byte(desc->dtype);
    layout->quantized = per_byte != 0;
    if (!layout->quantized) {
        layout->row_bytes = layout->row_elems * (desc->dtype == LATHE_F32 ? 4 : 2);
    } else {
        layout->row_bytes = (layout->row_elems + per_byte - 1) / per_byte;
        layout->n_scales = 1;
        if (desc->granularity != LATHE_PER_TENSOR) {
            bool row = desc->granularity == LATHE_PER_ROW;
            /* A group longer than its row is the row. */
            uint64_t group =
                row || desc->group_size > layout->row_elems ? layout->row_elems : desc->group_size;
            layout->scale_elems = group == 0 ? 1 : group;
            layout->scales_per_row =
                row ? 1 : (layout->row_elems + layout->scale_elems - 1) / layout->scale_elems;
            layout->n_scales = layout->n_rows * layout->scales_per_row;
        }
    }
    layout->n_elems = layout->n_rows * layout->row_elems;
    layout->n_bytes = layout->n_rows * layout->row_bytes;
    return true;
}

int oracle_max_code(lathe_dtype dtype) {
    return dtype == LATHE_I8 ? 127 : dtype == LATHE_I4 ? 7 : 1;
}

int oracle_highest_code(lathe_dtype dtype) {
    return oracle_max_code(dtype);
}

int oracle_lowest_code(lathe_dtype dtype) {
    bool symmetric = dtype == LATHE_I1 || dtype == LATHE_BITNET158;
    return -oracle_max_code(dtype) - (symmetric ? 0 : 1);
}

void oracle_clear_row(lathe_dtype dtype, uint8_t *row, uint64_t row_bytes) {
    uint8_t unused = dtype == LATHE_BITNET158 ? 1 + 3 + 9 + 27 + 81 : 0;
    if (row_bytes > 0) {
        memset(row, unused, (size_t)row_bytes);
    }
}

/* Every layout packs digits of some base into bytes, the first element at the lowest digit. What is
 * stored is the code modulo the base, but I1 stores 1 for +1 and 0 for -1, and ternary stores t
 * + 1. */
typedef struct digit_place {
    int base;
    int weight;
} digit_place;

static digit_place place_of(lathe_dtype dtype, uint64_t i) {
    static const int bases[LATHE_DTYPE_LAST + 1] = {
        [LATHE_I8] = 256, [LATHE_I4] = 16, [LATHE_I2] = 4, [LATHE_I1] = 2, [LATHE_BITNET158] = 3};
    static const int powers[][8] = {
        [2] = {1, 2, 4, 8, 16, 32, 64, 128},
        [3] = {1, 3, 9, 27, 81},
        [4] = {1, 4, 16, 64},
        [16] = {1, 16},
        [256] = {1},
    };
    int base = bases[dtype];
    return (digit_place){.base = base, .weight = powers[base][i % elems_per_byte(dtype)]};
}

static int digit_of_code(lathe_dtype dtype, int base, int code) {
    if (dtype == LATHE_I1) {
        return code > 0 ? 1 : 0;
    }
    if (dtype == LATHE_BITNET158) {
        return code + 1;
    }
    return (code + base) % base;
}

void oracle_put_code(lathe_dtype dtype, uint8_t *row, uint64_t i, int code) {
    digit_place place = place_of(dtype, i);
    uint8_t *byte = &row[i / elems_per_byte(dtype)];
    int old = *byte / place.weight % place.base;
    int digit = digit_of_code(dtype, place.base, code);
    *byte = (uint8_t)(*byte + (digit - old) * place.weight);
}

int oracle_get_code(lathe_dtype dtype, const uint8_t *row, uint64_t i) {
    digit_place place = place_of(dtype, i);
    int digit = row[i / elems_per_byte(dtype)] / place.weight % place.base;
    if (dtype == LATHE_I1) {
        return digit == 1 ? 1 : -1;
    }
    if (dtype == LATHE_BITNET158) {
        return digit - 1;
    }
    return digit >= place.base / 2 ? digit - place.base : digit;
}

/* The product of two F32 is exact in double, so that one rounding remains. */
static float product(float a, float b) {
    return (float)((double)a * (double)b);
}

int oracle_encode(lathe_dtype dtype, float x, float inverse) {
    if (dtype == LATHE_I1) {
        return x < 0 ? -1 : 1;
    }
    double scaled = (double)product(x, inverse);
    if (isnan(scaled)) {
        return 0;
    }
    double max = oracle_max_code(dtype);
    double code = fabs(scaled) >= max ? max : nearest_even(fabs(scaled));
    return scaled < 0 ? -(int)code : (int)code;
}

/* ---- statistics */

enum { TILE = 4096, LANES = 64, FAST_STRIDE = 16 };

/* The sum of one tile whose elements are x times `shrink`. */
static float lane_sum(const float *x, uint64_t n, float shrink) {
    float lanes[LANES] = {0};
    for (uint64_t lane = 0; lane < LANES; lane++) {
        for (uint64_t i = lane; i < n; i += LANES) {
            float magnitude = isfinite(x[i]) ? fabsf(x[i]) : 0.0F;
            lanes[lane] = lanes[lane] + product(magnitude, shrink);
        }
    }
    for (int half = LANES / 2; half >= 1; half /= 2) {
        for (int lane = 0; lane < half; lane++) {
            lanes[lane] = lanes[lane] + lanes[lane + half];
        }
    }
    return lanes[0];
}

float oracle_tile_sum(const float *x, uint64_t n) {
    return lane_sum(x, n, 1.0F);
}

float oracle_absmax(const float *x, uint64_t n) {
    float max = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (isfinite(x[i]) && fabsf(x[i]) > max) {
            max = fabsf(x[i]);
        }
    }
    return max;
}

static double wide_tile_sum(const float *x, uint64_t n) {
    float sum = lane_sum(x, n, 1.0F);
    if (isfinite(sum)) {
        return (double)sum;
    }
    return (double)lane_sum(x, n, 1.0F / 65536) * 65536.0;
}

float oracle_scale(lathe_dtype dtype, lathe_quality quality, const float *x, uint64_t n,
                   float *inverse) {
    uint64_t stride = quality == LATHE_FAST && n > (uint64_t)FAST_STRIDE * TILE ? FAST_STRIDE : 1;
    float absmax = 0;
    double total = 0;
    uint64_t counted = 0;
    bool by_mean = dtype == LATHE_I1 || dtype == LATHE_BITNET158;
    for (uint64_t tile = 0; tile * TILE < n; tile += stride) {
        uint64_t first = tile * TILE;
        uint64_t length = n - first < TILE ? n - first : TILE;
        float tile_max = by_mean ? 0 : oracle_absmax(x + first, length);
        absmax = tile_max > absmax ? tile_max : absmax;
        total += by_mean ? wide_tile_sum(x + first, length) : 0;
        counted += length;
    }
    double mean = counted == 0 ? 0.0 : total / (double)counted;
    float mean_f32 = mean > (double)FLT_MAX ? FLT_MAX : (float)mean;
    float scale;
    if (dtype == LATHE_I1) {
        scale = mean_f32;
    } else if (dtype == LATHE_BITNET158) {
        scale = mean_f32 > 1e-5F ? mean_f32 : 1e-5F;
    } else {
        /* A quotient of F32 rounded to double first rounds to the same F32. */
        scale = (float)((double)absmax / oracle_max_code(dtype));
    }
    double exact_inverse = scale == 0 ? 0.0 : 1.0 / (double)scale;
    float inverse_f32 = exact_inverse > (double)FLT_MAX ? INFINITY : (float)exact_inverse;
    *inverse = isinf(inverse_f32) ? 0.0F : inverse_f32;
    return scale;
}

/* ---- conversions */

static const float *scale_at(const oracle_layout *layout, const float *scales, uint64_t row,
                             uint64_t col) {
    uint64_t i =
        layout->scale_elems == 0 ? 0 : row * layout->scales_per_row + col / layout->scale_elems;
    return &scales[i];
}

static float load_float(lathe_dtype dtype, const uint8_t *data, uint64_t i) {
    uint32_t f32;
    if (dtype == LATHE_F32) {
        memcpy(&f32, data + 4 * i, 4);
        return float_of(f32);
    }
    uint16_t narrow;
    memcpy(&narrow, data + 2 * i, 2);
    return float_of(dtype == LATHE_F16 ? oracle_f16_to_f32(narrow) : oracle_bf16_to_f32(narrow));
}

static void store_float(lathe_dtype dtype, uint8_t *data, uint64_t i, float x) {
    if (dtype == LATHE_F32) {
        memcpy(data + 4 * i, &x, 4);
        return;
    }
    uint16_t narrow =
        dtype == LATHE_F16 ? oracle_f32_to_f16(bits_of(x)) : oracle_f32_to_bf16(bits_of(x));
    memcpy(data + 2 * i, &narrow, 2);
}

static void decode_row(const oracle_layout *layout, const uint8_t *bytes, const float *scales,
                       uint64_t row, float *x, uint64_t *corrupt) {
    const uint8_t *row_bytes = bytes + row * layout->row_bytes;
    for (uint64_t col = 0; col < layout->row_elems; col++) {
        uint64_t element = row * layout->row_elems + col;
        int code = oracle_get_code(layout->dtype, row_bytes, col);
        x[col] = product((float)code, *scale_at(layout, scales, row, col));
        if (layout->dtype == LATHE_BITNET158 && col % 5 == 0 && row_bytes[col / 5] > 242 &&
            *corrupt == UINT64_MAX) {
            *corrupt = element;
        }
    }
}

float *oracle_decode(const oracle_layout *layout, const void *data, const float *scales,
                     uint64_t *corrupt) {
    float *x = allocate(layout->n_elems, sizeof *x);
    *corrupt = UINT64_MAX;
    if (!layout->quantized) {
        for (uint64_t i = 0; i < layout->n_elems; i++) {
            x[i] = load_float(layout->dtype, data, i);
        }
        return x;
    }
    for (uint64_t row = 0; row < layout->n_rows; row++) {
        decode_row(layout, data, scales, row, x + row * layout->row_elems, corrupt);
    }
    return x;
}

/* One scale over x[first .. first + n), which are elements [col, col + n) of a row. */
static void quantize_run(const oracle_layout *to, const float *x, uint8_t *row_bytes, uint64_t col,
                         uint64_t n, float inverse, oracle_result *result) {
    double bound = oracle_max_code(to->dtype) + 0.5;
    for (uint64_t i = 0; i < n; i++) {
        oracle_put_code(to->dtype, row_bytes, col + i, oracle_encode(to->dtype, x[i], inverse));
        if (to->dtype != LATHE_I1 && fabs((double)product(x[i], inverse)) >= bound) {
            result->n_saturated++;
        }
    }
}

static void quantize(const oracle_layout *to, lathe_quality quality, const float *x,
                     oracle_result *result) {
    float inverse = 0;
    if (to->scale_elems == 0) {
        result->scales[0] = oracle_scale(to->dtype, quality, x, to->n_elems, &inverse);
    }
    for (uint64_t row = 0; row < to->n_rows; row++) {
        uint8_t *row_bytes = result->bytes + row * to->row_bytes;
        const float *row_x = x + row * to->row_elems;
        oracle_clear_row(to->dtype, row_bytes, to->row_bytes);
        if (to->scale_elems == 0) {
            quantize_run(to, row_x, row_bytes, 0, to->row_elems, inverse, result);
            continue;
        }
        for (uint64_t i = 0; i < to->scales_per_row; i++) {
            uint64_t col = i * to->scale_elems;
            uint64_t rest = to->row_elems - col;
            uint64_t n = rest < to->scale_elems ? rest : to->scale_elems;
            float scale = oracle_scale(to->dtype, quality, row_x + col, n, &inverse);
            result->scales[row * to->scales_per_row + i] = scale;
            quantize_run(to, row_x + col, row_bytes, col, n, inverse, result);
        }
    }
}

static bool same_value(float a, float b) {
    return a == b || (isnan(a) && isnan(b));
}

static bool is_dense(const oracle_layout *layout) {
    return layout->n_rows <= 1 || !layout->quantized ||
           layout->row_elems % elems_per_byte(layout->dtype) == 0;
}

/* Whether the bytes and scales of one mean the same in the other. */
static bool same_layout(const oracle_layout *a, const oracle_layout *b) {
    if (a->dtype != b->dtype) {
        return false;
    }
    if (!a->quantized) {
        return true;
    }
    bool same_rows = a->n_rows == b->n_rows && a->row_elems == b->row_elems;
    bool whole_groups = a->scale_elems == 0 ||
                        (a->row_elems % a->scale_elems == 0 && b->row_elems % a->scale_elems == 0);
    return a->scale_elems == b->scale_elems && a->n_scales == b->n_scales &&
           (same_rows || (whole_groups && is_dense(a) && is_dense(b)));
}

static uint64_t first_nonfinite(const float *x, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return i;
        }
    }
    return UINT64_MAX;
}

static void fail(oracle_result *result, lathe_status status, uint64_t element) {
    result->status = status;
    result->element = element;
}

static void check_strict(const float *x, oracle_result *result) {
    uint64_t corrupt;
    float *back = oracle_decode(&result->layout, result->bytes, result->scales, &corrupt);
    for (uint64_t i = 0; i < result->layout.n_elems && result->status == LATHE_OK; i++) {
        if (!same_value(x[i], back[i])) {
            fail(result, LATHE_DATA_LOSS, i);
        }
    }
    free(back);
}

static void convert_values(const float *x, const lathe_target *target, oracle_result *result) {
    const oracle_layout *to = &result->layout;
    if (!to->quantized) {
        for (uint64_t i = 0; i < to->n_elems; i++) {
            store_float(to->dtype, result->bytes, i, x[i]);
        }
    } else {
        uint64_t nonfinite = first_nonfinite(x, to->n_elems);
        if (nonfinite != UINT64_MAX && target->nonfinite == LATHE_NONFINITE_ERROR) {
            fail(result, LATHE_NON_FINITE, nonfinite);
            return;
        }
        quantize(to, target->quality, x, result);
        if (target->quality != LATHE_FAST) {
            result->n_saturated = 0;
        }
    }
    if (target->strict) {
        check_strict(x, result);
    }
}

void oracle_convert(const lathe_tensor_desc *from, const void *data, const float *scales,
                    const lathe_target *target, oracle_result *result) {
    lathe_tensor_desc to = *from;
    to.dtype = target->dtype;
    to.granularity = target->granularity;
    to.group_size = target->group_size;
    to.row_dims = target->row_dims;
    oracle_layout source;
    *result = (oracle_result){.status = LATHE_OK, .element = UINT64_MAX};
    if (!oracle_layout_of(from, &source) || !oracle_layout_of(&to, &result->layout)) {
        abort();
    }
    result->bytes = allocate(result->layout.n_bytes, 1);
    result->scales = allocate(result->layout.n_scales, sizeof *result->scales);
    uint64_t corrupt;
    float *x = oracle_decode(&source, data, scales, &corrupt);
    if (corrupt != UINT64_MAX) {
        fail(result, LATHE_CORRUPT_DATA, corrupt);
    } else if (same_layout(&source, &result->layout)) {
        if (source.n_bytes > 0) {
            memcpy(result->bytes, data, (size_t)source.n_bytes);
        }
        if (source.n_scales > 0) {
            memcpy(result->scales, scales, (size_t)source.n_scales * sizeof *scales);
        }
    } else {
        convert_values(x, target, result);
    }
    free(x);
}

void oracle_result_free(oracle_result *result) {
    free(result->bytes);
    free(result->scales);
    result->bytes = NULL;
    result->scales = NULL;
}
