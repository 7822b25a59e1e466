/* SPDX-License-Identifier: Apache-2.0 */
/* From floats of 16 bits to BITNET158 with a given scale. As memory has so many of them on their
 * way that instructions count, the bits of an element, compared with those of the least one whose
 * code is 1, say what its code is, and digits lie in bytes until twenty of them become four: on an
 * H200 0.6 of the stream kernel's time. */
#include "plain_mean.cl"

#define LT_HAS_TRITS (LT_HAS_PLAIN && LATHE_CL_HAS_TRITS(LT_SRC, LT_DST))

#if LT_HAS_TRITS

/* What is added to magnitudes for any scale; for one without an inverse no sum reaches the highest
 * bit. */
uint lt_rest_of_given(float scale) {
    const float inverse = lt_inverse(scale);
    if (as_uint(scale) - 0x01800000u < 0x7c000000u) {
        return lt_rest_to(lt_least_elem(scale));
    }
    uint below = 0;
    uint reaches = LT_ELEM_INFINITY;
    while (reaches - below > 1) {
        const uint middle = (below + reaches) / 2;
        const bool is_above = lt_decode1(middle, 0, 1) * inverse > 0.5f;
        reaches = is_above ? middle : reaches;
        below = is_above ? below : middle;
    }
    return inverse == 0 ? 0 : lt_rest_to(reaches);
}

/* A NaN's code is 0. */
uint lt_digits4(uint2 raw, uint rest) {
    const uint2 magnitudes = raw & 0x7fff7fff;
    const uint2 beyond = magnitudes + lt_rest_to(LT_ELEM_INFINITY + 1);
    return lt_digits_of_bits(raw, (magnitudes + rest) & ~beyond);
}

/* A block with a given scale, which has no odd elements. */
void lt_given_block(const lt_plain *plain, uint item, __local lt_digits *digits) {
    uint4 raw[LT_QUADS];
    lt_load_quads(raw, plain, item);
    const uint rest = lt_rest_of_given(plain->scales[0]);
#pragma unroll
    for (uint i = 0; i < LT_QUADS; i++) {
        digits->quads[item + i * LT_ITEMS] =
            (uint2)(lt_digits4(raw[i].lo, rest), lt_digits4(raw[i].hi, rest));
    }
    if (item == 0) {
        lt_frame_digits(digits);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_digits(plain->out, plain->n_cols, item, LT_ITEMS, (__local const uint *)digits);
}

#endif
