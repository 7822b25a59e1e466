/* SPDX-License-Identifier: Apache-2.0 */
/* Plain copies, reads and writes with AVX2. */
#include <immintrin.h>

#define VEC __m256i
#define LOAD(p) _mm256_loadu_si256((const void *)(p))
#define STORE(p, v) _mm256_storeu_si256((void *)(p), v)
#define STREAM(p, v) _mm256_stream_si256((void *)(p), v)
#define ADD(a, b) _mm256_add_epi64(a, b)
#define ZERO _mm256_setzero_si256()
#define ONES _mm256_set1_epi8(1)
#define LOOPS bench_loops_avx2
#include "loops_x86.h"
