/* SPDX-License-Identifier: Apache-2.0 */
/* ggml: the CPU backend's row functions where it has its own, else those of ggml's base. */
#include "peers.h"
#include <ggml-cpu.h>
#include <ggml.h>

static bool start(peer_run *run) {
    ggml_cpu_init(); /* fills its tables; once for the process */
    run->state = NULL;
    return true;
}

static void finish(peer_run *run) {
    (void)run;
}

static void f32_to_f16(const peer_run *run) {
    ggml_cpu_fp32_to_fp16(run->src, run->dst, (int64_t)run->n_elems);
}

static void f16_to_f32(const peer_run *run) {
    ggml_cpu_fp16_to_fp32(run->src, run->dst, (int64_t)run->n_elems);
}

static void f32_to_bf16(const peer_run *run) {
    ggml_cpu_fp32_to_bf16(run->src, run->dst, (int64_t)run->n_elems);
}

static void bf16_to_f32(const peer_run *run) {
    ggml_cpu_bf16_to_fp32(run->src, run->dst, (int64_t)run->n_elems);
}

/* X(name, type): a format of blocks. */
#define BLOCK_FORMATS(X)                                                                           \
    X(q8_0, GGML_TYPE_Q8_0)                                                                        \
    X(q4_0, GGML_TYPE_Q4_0)                                                                        \
    X(tq1_0, GGML_TYPE_TQ1_0)                                                                      \
    X(tq2_0, GGML_TYPE_TQ2_0)

#define BLOCK_FUNCTIONS(name, type)                                                                \
    static void name##_encode(const float *values, void *src, size_t n_elems) {                    \
        ggml_cpu_init();                                                                           \
        ggml_get_type_traits_cpu(type)->from_float(values, src, (int64_t)n_elems);                 \
    }                                                                                              \
    static void f32_to_##name(const peer_run *run) {                                               \
        ggml_get_type_traits_cpu(type)->from_float(run->src, run->dst, (int64_t)run->n_elems);     \
    }                                                                                              \
    static void name##_to_f32(const peer_run *run) {                                               \
        ggml_get_type_traits(type)->to_float(run->src, run->dst, (int64_t)run->n_elems);           \
    }
BLOCK_FORMATS(BLOCK_FUNCTIONS)

/* A pair of floats. */
#define FLOATS(from_dtype, to_dtype, from_bytes, to_bytes, function)                               \
    {                                                                                              \
        .name = "ggml", .from = (from_dtype), .to = (to_dtype), .scales = PEER_TENSOR,             \
        .block_elems = 1, .src_block_bytes = (from_bytes), .dst_block_bytes = (to_bytes),          \
        .open = start, .close = finish, .convert = (function)                                      \
    }

/* Both directions of a format, set beside a dtype of Lathe's. */
#define BLOCKS(what, dtype, elems, bytes, format)                                                  \
    {.name = (what),                                                                               \
     .from = LATHE_F32,                                                                            \
     .to = (dtype),                                                                                \
     .scales = PEER_ROW | PEER_GROUP,                                                              \
     .block_elems = (elems),                                                                       \
     .src_block_bytes = (elems) * sizeof(float),                                                   \
     .dst_block_bytes = (bytes),                                                                   \
     .open = start,                                                                                \
     .close = finish,                                                                              \
     .convert = f32_to_##format},                                                                  \
    {                                                                                              \
        .name = (what), .from = (dtype), .to = LATHE_F32,                                          \
        .scales = PEER_TENSOR | PEER_ROW | PEER_GROUP, .block_elems = (elems),                     \
        .src_block_bytes = (bytes), .dst_block_bytes = (elems) * sizeof(float),                    \
        .make_source = format##_encode, .open = start, .close = finish, .convert = format##_to_f32 \
    }

static const peer list[] = {
    FLOATS(LATHE_F32, LATHE_F16, 4, 2, f32_to_f16),
    FLOATS(LATHE_F16, LATHE_F32, 2, 4, f16_to_f32),
    FLOATS(LATHE_F32, LATHE_BF16, 4, 2, f32_to_bf16),
    FLOATS(LATHE_BF16, LATHE_F32, 2, 4, bf16_to_f32),
    BLOCKS("ggml Q8_0, a scale per 32", LATHE_I8, 32, 34, q8_0),
    BLOCKS("ggml Q4_0, a scale per 32", LATHE_I4, 32, 18, q4_0),
    BLOCKS("ggml TQ1_0, absmax per 256", LATHE_BITNET158, 256, 54, tq1_0),
    BLOCKS("ggml TQ2_0, 2 bits, absmax per 256", LATHE_BITNET158, 256, 66, tq2_0),
};

const peer_library peer_library_ggml = {"ggml", list, sizeof(list) / sizeof(list[0])};
