/* SPDX-License-Identifier: Apache-2.0 */
/* Plain copies, reads and writes with AVX-512. */
#include <immintrin.h>

#define VEC __m512i
#define LOAD(p) _mm512_loadu_si512((const void *)(p))
#define STORE(p, v) _mm512_storeu_si512((void *)(p), v)
#define STREAM(p, v) _mm512_stream_si512((void *)(p), v)
#define ADD(a, b) _mm512_add_epi64(a, b)
#define ZERO _mm512_setzero_si512()
#define ONES _mm512_set1_epi8(1)
#define LOOPS bench_loops_avx512
#include "loops_x86.h"
