/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of a made-up transformer checkpoint of a given size. */
#ifndef LATHE_CLI_SYNTH_LAYOUT_H
#define LATHE_CLI_SYNTH_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LAYOUT_NAME = 80 };

typedef struct layout_tensor {
    char name[LAYOUT_NAME];
    uint32_t n_dims;
    uint64_t shape[2]; /* n_dims of them */
    uint64_t n_elems;
} layout_tensor;

typedef struct layout {
    layout_tensor *tensors; /* freed with free */
    size_t n_tensors;
} layout;

/* The least file size that a layout exists for. */
#define LAYOUT_LEAST_BYTES UINT64_C(65536)

/* Lays out a model with names and proportions of the Llama family, such that the safetensors file
 * with elements of elem_bytes (2 or 4) is at most max_bytes, and little less. max_bytes is at least
 * LAYOUT_LEAST_BYTES. */
layout layout_make(uint64_t max_bytes, uint64_t elem_bytes);

#endif
