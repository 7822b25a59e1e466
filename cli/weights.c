/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up weights from a counter-based generator, for synth and bench. */
#include "cli.h"
#include <math.h>

/* The finisher of SplitMix64 (Steele, Lea, Flood 2014), a bijection with good avalanche. */
uint64_t cli_hash(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* A bell over the square root of a uniform number, which is Student's t with two degrees of freedom
 * but for the cut at 1/256: that keeps the tail heavy (up to 16 times the bell) and bounded.
 *   bell: three 16-bit uniforms, mean 98302.5, standard deviation 32768
 *   variance of the quotient: the integral of 1/u from 1/256 to 1 + 1/256, which is ln 257 = 5.549
 */
static float heavy_tailed(uint64_t bits) {
    const float norm = 1.0f / (32768.0f * 2.3556f);
    uint32_t sum = (uint32_t)(bits & 0xffff) + (uint32_t)(bits >> 16 & 0xffff) +
                   (uint32_t)(bits >> 32 & 0xffff);
    float bell = ((float)(int32_t)sum - 98302.5f) * norm;
    float uniform = ((float)(int32_t)(bits >> 48) + 256.0f) * 0x1p-16f;
    return bell / sqrtf(uniform);
}

void cli_weights(uint64_t key, uint64_t first, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = heavy_tailed(cli_hash(key + first + i));
    }
}

float cli_channel_gain(uint64_t key, uint64_t channel) {
    uint64_t bits = cli_hash(~key ^ cli_hash(channel));
    if (bits % 128 != 0) {
        return 1.0f;
    }
    return 4.0f + (float)(int32_t)(bits >> 52) * (16.0f / 4096.0f);
}
