/* SPDX-License-Identifier: Apache-2.0 */
/* Size classes: the capacities that blocks come in, so that a freed block fits the next request. */
#ifndef LT_POOL_SIZE_CLASS_H
#define LT_POOL_SIZE_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 64, 128, ... 1024 bytes, then eight steps to each doubling: a capacity exceeds the request by at
 * most an eighth, or 63 bytes. */
enum { LT_SIZE_CLASS_COUNT = 16 + 8 * (63 - 10) };

/* The class that serves n_bytes, and its capacity. False if there is none that large. */
bool lt_size_class_of(size_t n_bytes, uint32_t *index, size_t *capacity);

#endif
