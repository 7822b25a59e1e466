/* SPDX-License-Identifier: Apache-2.0 */
/* Structs that begin with struct_size and have grown since callers were compiled. */
#ifndef LT_CORE_STRUCT_SIZE_H
#define LT_CORE_STRUCT_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Copies a caller's struct, whose struct_size must be one of the n_sizes that it has had so far, to
 * one of today's size; what it lacks is zero, which means default, and struct_size is today's.
 * False for any other size; *out is then left alone. */
static inline bool lt_struct_take(void *out, size_t out_bytes, const void *given,
                                  const size_t *sizes, size_t n_sizes) {
    size_t given_bytes;
    memcpy(&given_bytes, given, sizeof given_bytes);
    for (size_t i = 0; i < n_sizes; i++) {
        if (given_bytes == sizes[i]) {
            memcpy(out, given, given_bytes);
            memset((char *)out + given_bytes, 0, out_bytes - given_bytes);
            memcpy(out, &out_bytes, sizeof out_bytes);
            return true;
        }
    }
    return false;
}

#endif
