/* SPDX-License-Identifier: Apache-2.0 */
/* libfp16: conversions of one value, in a loop that the compiler may vectorise. */
#include "peers.h"
#include <fp16.h>

static void f32_to_f16(const peer_run *run) {
    const float *src = run->src;
    uint16_t *dst = run->dst;
    for (size_t i = 0; i < run->n_elems; i++) {
        dst[i] = fp16_ieee_from_fp32_value(src[i]);
    }
}

static void f16_to_f32(const peer_run *run) {
    const uint16_t *src = run->src;
    float *dst = run->dst;
    for (size_t i = 0; i < run->n_elems; i++) {
        dst[i] = fp16_ieee_to_fp32_value(src[i]);
    }
}

static const peer list[] = {
    {.name = "libfp16",
     .from = LATHE_F32,
     .to = LATHE_F16,
     .scales = PEER_TENSOR,
     .block_elems = 1,
     .src_block_bytes = 4,
     .dst_block_bytes = 2,
     .convert = f32_to_f16},
    {.name = "libfp16",
     .from = LATHE_F16,
     .to = LATHE_F32,
     .scales = PEER_TENSOR,
     .block_elems = 1,
     .src_block_bytes = 2,
     .dst_block_bytes = 4,
     .convert = f16_to_f32},
};

const peer_library peer_library_fp16 = {"libfp16", list, sizeof(list) / sizeof(list[0])};
