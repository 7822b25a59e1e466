/* SPDX-License-Identifier: Apache-2.0 */
/* Data types: their numbers, names and traits. */
#ifndef LATHE_DTYPE_H
#define LATHE_DTYPE_H

#include <lathe/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* The numbers are part of the ABI and never change. Zero is no dtype, so that a forgotten field is
 * an error. docs/formats.md has each layout bit by bit. */
typedef enum lathe_dtype {
    LATHE_F32 = 1,       /* IEEE 754 binary32 */
    LATHE_F16 = 2,       /* IEEE 754 binary16 */
    LATHE_BF16 = 3,      /* the upper half of a binary32 */
    LATHE_I8 = 4,        /* two's complement, times a scale */
    LATHE_I4 = 5,        /* two's complement, 2 elements a byte, times a scale */
    LATHE_I2 = 6,        /* two's complement, 4 elements a byte, times a scale */
    LATHE_I1 = 7,        /* bit 1 is +1, bit 0 is -1, 8 elements a byte, times a scale */
    LATHE_BITNET158 = 8, /* -1, 0 or +1, 5 elements a byte in base 3, times a scale */
} lathe_dtype;

enum { LATHE_DTYPE_FIRST = LATHE_F32, LATHE_DTYPE_LAST = LATHE_BITNET158 };

/* True for the eight numbers above. Thread-safe, like every function of this header. */
LATHE_API bool lathe_dtype_is_valid(lathe_dtype dtype);

/* "f32", "f16", "bf16", "i8", "i4", "i2", "i1" or "bitnet158"; "invalid" for any other number. The
 * string is static. */
LATHE_API const char *lathe_dtype_name(lathe_dtype dtype);

/* The dtype of that name (lower case, as above); 0, which is no dtype, for any other text or NULL.
 */
LATHE_API lathe_dtype lathe_dtype_from_name(const char *name);

/* True for the types whose codes are multiplied by a scale: I8, I4, I2, I1, BITNET158. */
LATHE_API bool lathe_dtype_is_quantized(lathe_dtype dtype);

/* Bytes of one row of `n_elems` consecutive elements. A row begins on a byte boundary and the
 * unused bits of its last byte are zero (for BITNET158: missing elements count as 0). Returns
 * false, and leaves *n_bytes alone, for an invalid dtype or when the size overflows 64 bits.
 * `n_bytes` must not be NULL. */
LATHE_API bool lathe_dtype_row_bytes(lathe_dtype dtype, uint64_t n_elems, uint64_t *n_bytes);

LATHE_END_DECLS

#endif
