/* SPDX-License-Identifier: Apache-2.0 */
/* The ladder kernel: codes by comparisons alone.
 *
 * Parameters: LT_LADDER, the kernel's name; and, defined before, ladder_of, which prepares the
 * rungs, and ladder_step, which makes the bytes of LADDER_STEP elements anywhere. */
#ifndef LT_CPU_X86_LADDER_TEMPLATE_H
#define LT_CPU_X86_LADDER_TEMPLATE_H

#include <string.h>

void LT_LADDER(const void *src, uint8_t *dst, size_t n_elems, const float *rungs) {
    uint8_t rest[LADDER_STEP * sizeof(float)] = {0};
    uint8_t bytes[LADDER_STEP / 2];
    const ladder steps = ladder_of(rungs);
    const uint8_t *from = src;
    for (; n_elems >= LADDER_STEP; n_elems -= LADDER_STEP) {
        /* How far ahead was measured on Zen 4. A prefetch never faults. */
        for (size_t i = 0; i < LADDER_STEP * sizeof(float); i += 64)
            __builtin_prefetch(from + 2048 + i);
        ladder_step(from, dst, &steps);
        from += LADDER_STEP * sizeof(float);
        dst += LADDER_STEP / 2;
    }
    if (n_elems > 0) {
        memcpy(rest, from, n_elems * sizeof(float));
        ladder_step(rest, bytes, &steps);
        memcpy(dst, bytes, (n_elems + 1) / 2);
    }
}

#endif
