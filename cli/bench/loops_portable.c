/* SPDX-License-Identifier: Apache-2.0 */
/* Plain reads of memory, where there are no instructions to choose from. */
#include "loops.h"
#include <string.h>

static uint64_t read_words(const void *src, size_t n_bytes) {
    const unsigned char *p = src;
    uint64_t sum[4] = {0};
    size_t at = 0;
    for (; n_bytes - at >= sizeof(sum); at += sizeof(sum)) {
        uint64_t words[4];
        memcpy(words, p + at, sizeof(words));
        for (int i = 0; i < 4; i++) {
            sum[i] += words[i];
        }
    }
    for (; at < n_bytes; at++) {
        sum[0] += p[at];
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

const bench_loops bench_loops_portable = {.read = read_words};
