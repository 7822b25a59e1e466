/* SPDX-License-Identifier: Apache-2.0 */
/* The NEON ladder kernel. */
#include "cpu/arm/simd_neon.h"

enum { LADDER_STEP = 64 };

typedef struct ladder {
    vf rungs[LT_LADDER_RUNGS];
} ladder;

static inline ladder ladder_of(const float *rungs) {
    ladder all;
    for (int k = 0; k < LT_LADDER_RUNGS; k++)
        all.rungs[k] = v_set1(rungs[k]);
    return all;
}

/* Minus the number of rungs that each magnitude reaches, by bisection. */
LT_INLINE uint32x4_t ladder_count(vf magnitude, const ladder *rungs) {
    const vf *r = rungs->rungs;
    const uint32x4_t above_3 = vcgeq_f32(magnitude, r[3]);
    const uint32x4_t next = vcgeq_f32(magnitude, vbslq_f32(above_3, r[5], r[1]));
    const vf last = vbslq_f32(above_3, vbslq_f32(next, r[6], r[4]), vbslq_f32(next, r[2], r[0]));
    const uint32x4_t pairs = vaddq_u32(vaddq_u32(above_3, above_3), next);
    return vaddq_u32(vaddq_u32(pairs, pairs), vcgeq_f32(magnitude, last));
}

/* Sixteen codes, a byte each: the complement plus one turns minus the count around where x is not
 * negative. */
LT_INLINE vi ladder_codes(const uint8_t *src, const ladder *rungs) {
    uint32x4_t bits[4];
    uint32x4_t counts[4];
    LT_UNROLL
    for (int i = 0; i < 4; i++) {
        const vf x = v_load_f32(src + i * V_BYTES);
        bits[i] = vreinterpretq_u32_f32(x);
        counts[i] = ladder_count(v_abs(x), rungs);
    }
    const vi plus = vcgezq_s8(vreinterpretq_s8_u8(v_high_bytes(bits)));
    return vsubq_u8(veorq_u8(v_low_bytes(counts), plus), plus);
}

static inline void ladder_step(const uint8_t *src, uint8_t *dst, const ladder *rungs) {
    LT_UNROLL
    for (int i = 0; i < LADDER_STEP / 32; i++) {
        const vi a = ladder_codes(src + 128 * i, rungs);
        const vi b = ladder_codes(src + 128 * i + 64, rungs);
        v_store(dst + V_BYTES * i, v_join_nibbles(a, b), LT_STORE_PLAIN);
    }
}

#define LT_LADDER lt_ladder_f32_to_i4_neon
#include "cpu/x86/ladder_template.h"
