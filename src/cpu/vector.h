/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel templates need on every processor. */
#ifndef LT_CPU_VECTOR_H
#define LT_CPU_VECTOR_H

/* The templates only work when everything in them becomes one function. */
#define LT_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define LT_UNROLL _Pragma("unroll")
#else
#define LT_UNROLL _Pragma("GCC unroll 16")
#endif

typedef enum lt_store { LT_STORE_PLAIN, LT_STORE_STREAM } lt_store;

#endif
