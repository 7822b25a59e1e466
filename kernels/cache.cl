/* SPDX-License-Identifier: Apache-2.0 */
/* What a device's cache is told where the compiler has words for it, which OpenCL C lacks. It
 * changes no result.
 *
 * Memory takes time to turn from writing to reading. NVIDIA's H200 reads and writes at 4,650 GB/s
 * each, but the least reading between the writes, 3% of all bytes say, makes them a sixth slower.
 * So a conversion reads in bursts: from time to time some work-groups that follow each other ask
 * the cache for the source's next megabytes and their scales, and for nothing but results to make
 * room for them. */
#include "codes.cl"

#define LT_CAN_FETCH LT_HAS_PTX

/* Stores what will not be read again soon. */
void lt_store_last(__global uchar *at, uint4 words) {
#if LT_CAN_FETCH
    __asm__ volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(at), "r"(words.x),
                     "r"(words.y), "r"(words.z), "r"(words.w)
                     : "memory");
#else
    *(__global uint4 *)at = words;
#endif
}

#if LT_CAN_FETCH

#define LT_LINE_BYTES 128

/* Has the cache fetch n_bytes, a line for each work-item at a time. */
void lt_fetch_lines(__global const uchar *from, uint n_bytes, uint item) {
    for (uint at = item * LT_LINE_BYTES; at < n_bytes; at += LT_GROUP * LT_LINE_BYTES) {
        __asm__ volatile("prefetch.global.L2::evict_last [%0];" ::"l"(from + at));
    }
}

#endif
