/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to its size class. */
#include "pool/size_class.h"

enum { SMALL_STEP = 64, SMALL_MAX = 1024, SMALL_MAX_LOG2 = 10, SMALL_CLASSES = 16 };

static uint32_t log2_floor(size_t n) {
    uint32_t log = 0;
    while (n >>= 1) {
        log++;
    }
    return log;
}

bool lt_size_class_of(size_t n_bytes, uint32_t *index, size_t *capacity) {
    size_t n = n_bytes == 0 ? 1 : n_bytes;
    if (n <= SMALL_MAX) {
        *index = (uint32_t)((n - 1) / SMALL_STEP);
        *capacity = ((size_t)*index + 1) * SMALL_STEP;
        return true;
    }
    /* n lies in (2^log, 2^(log + 1)], which is cut into eight steps. */
    uint32_t log = log2_floor(n - 1);
    if (log >= 63) {
        return false;
    }
    size_t step = (size_t)1 << (log - 3);
    size_t steps = (n - ((size_t)1 << log) + step - 1) / step;
    *index = SMALL_CLASSES + 8 * (log - SMALL_MAX_LOG2) + (uint32_t)steps - 1;
    *capacity = ((size_t)1 << log) + steps * step;
    return true;
}
