/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a tensor of a checkpoint as F32, any range of it, in bounded memory. */
#ifndef LATHE_CLI_DECODE_H
#define LATHE_CLI_DECODE_H

#include <lathe/lathe.h>

/* The most elements of one call, a multiple of 40: so many elements of any dtype fill whole bytes.
 */
#define DECODE_ELEMS UINT64_C(327680)
#define DECODE_BYTES (DECODE_ELEMS * 4)

/* A tensor and the buffers to read it through. Zero-initialised, then decode_open. */
typedef struct decode_side {
    const lathe_checkpoint *checkpoint;
    size_t index;
    const lathe_checkpoint_tensor *tensor;
    uint64_t row_elems;
    uint64_t row_bytes;
    uint64_t row_scales; /* PER_ROW and PER_GROUP */
    lathe_pool *pool;
    void *bytes;   /* DECODE_BYTES */
    float *scales; /* DECODE_ELEMS */
    float *piece;  /* DECODE_ELEMS */
    float *values; /* DECODE_ELEMS: the result */
} decode_side;

/* Takes the buffers from the pool. Errors: INSUFFICIENT_MEMORY. */
lathe_status decode_open(decode_side *side, lathe_pool *pool);

/* Gives the buffers back; legal after a failed decode_open or none. */
void decode_close(decode_side *side);

/* Turns to tensor `index`, whose dtype Lathe knows if it is to be decoded. */
void decode_select(decode_side *side, const lathe_checkpoint *checkpoint, size_t index);

/* How many elements at a time suit two tensors of one shape: whole rows of both if one fits. */
uint64_t decode_step(const decode_side *a, const decode_side *b);

/* Puts elements [first, first + n) into side->values; first is a multiple of a decode_step, and n
 * at most that. Errors: IO, CORRUPT_DATA, INSUFFICIENT_MEMORY. */
lathe_status decode_values(decode_side *side, lathe_engine *engine, uint64_t first, uint64_t n);

#endif
