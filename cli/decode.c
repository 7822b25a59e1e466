/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a tensor of a checkpoint as F32, any range of it, in bounded memory. */
#include "decode.h"
#include <string.h>

/* So many elements of any dtype fill whole bytes: the least common multiple of 8 and 5. */
#define BYTE_ALIGNED UINT64_C(40)

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

lathe_status decode_open(decode_side *side, lathe_pool *pool) {
    float **const buffers[] = {&side->scales, &side->piece, &side->values};
    side->pool = pool;
    lathe_status status = lathe_pool_alloc(pool, DECODE_BYTES, &side->bytes);
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]) && status == LATHE_OK; i++) {
        void *block = NULL;
        status = lathe_pool_alloc(pool, DECODE_ELEMS * sizeof(float), &block);
        *buffers[i] = block;
    }
    return status;
}

void decode_close(decode_side *side) {
    if (side->pool != NULL) {
        lathe_pool_free(side->pool, side->bytes);
        lathe_pool_free(side->pool, side->scales);
        lathe_pool_free(side->pool, side->piece);
        lathe_pool_free(side->pool, side->values);
    }
}

void decode_select(decode_side *side, const lathe_checkpoint *checkpoint, size_t index) {
    const lathe_checkpoint_tensor *tensor = lathe_checkpoint_tensor_at(checkpoint, index);
    side->checkpoint = checkpoint;
    side->index = index;
    side->tensor = tensor;
    uint32_t row_dims = tensor->row_dims != 0 ? tensor->row_dims : 1;
    side->row_elems = 1;
    for (uint32_t d = tensor->n_dims > row_dims ? tensor->n_dims - row_dims : 0; d < tensor->n_dims;
         d++) {
        side->row_elems *= tensor->shape[d];
    }
    side->row_bytes = 0;
    lathe_dtype_row_bytes(tensor->dtype, side->row_elems, &side->row_bytes);
    side->row_scales = 1;
    if (tensor->granularity == LATHE_PER_GROUP && tensor->group_size != 0) {
        side->row_scales =
            side->row_elems / tensor->group_size + (side->row_elems % tensor->group_size != 0);
    }
}

uint64_t decode_step(const decode_side *a, const decode_side *b) {
    /* Both rows are products of trailing extents, so the longer is a multiple of the shorter. */
    uint64_t row = a->row_elems > b->row_elems ? a->row_elems : b->row_elems;
    return row == 0 || row > DECODE_ELEMS ? DECODE_ELEMS : DECODE_ELEMS / row * row;
}

/* Decodes what lies in side->bytes and side->scales, as `desc` says, into `values`. */
static lathe_status decode_buffer(decode_side *side, lathe_engine *engine,
                                  const lathe_tensor_desc *desc, float *values) {
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    lathe_tensor_desc result_desc = {.struct_size = sizeof(result_desc),
                                     .dtype = LATHE_F32,
                                     .n_dims = desc->n_dims,
                                     .shape = desc->shape};
    lathe_target target = {.struct_size = sizeof(target), .dtype = LATHE_F32};
    float *scales = lathe_dtype_is_quantized(desc->dtype) ? side->scales : NULL;
    lathe_status status = lathe_tensor_wrap(side->pool, desc, side->bytes, scales,
                                            LATHE_WRAP_READ_ONLY, NULL, NULL, &source);
    if (status == LATHE_OK) {
        status = lathe_tensor_wrap(side->pool, &result_desc, values, NULL, 0, NULL, NULL, &result);
    }
    if (status == LATHE_OK) {
        status = lathe_convert_into(engine, source, &target, result, NULL);
    }
    lathe_tensor_release(source);
    lathe_tensor_release(result);
    return status;
}

static lathe_status decode_plain(decode_side *side, lathe_engine *engine, uint64_t first,
                                 uint64_t n) {
    uint64_t size = side->tensor->dtype == LATHE_F32 ? 4 : 2;
    void *buffer = side->tensor->dtype == LATHE_F32 ? (void *)side->values : side->bytes;
    lathe_status status = lathe_checkpoint_read(side->checkpoint, side->index, first * size, buffer,
                                                (size_t)(n * size));
    if (status != LATHE_OK || side->tensor->dtype == LATHE_F32) {
        return status;
    }
    lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = side->tensor->dtype, .n_dims = 1, .shape = &n};
    return decode_buffer(side, engine, &desc, side->values);
}

static lathe_status decode_rows(decode_side *side, lathe_engine *engine, uint64_t row,
                                uint64_t n_rows) {
    const lathe_checkpoint_tensor *tensor = side->tensor;
    bool per_tensor = tensor->granularity == LATHE_PER_TENSOR;
    lathe_status status =
        lathe_checkpoint_read(side->checkpoint, side->index, row * side->row_bytes, side->bytes,
                              (size_t)(n_rows * side->row_bytes));
    if (status == LATHE_OK) {
        status = lathe_checkpoint_read_scales(side->checkpoint, side->index,
                                              per_tensor ? 0 : row * side->row_scales, side->scales,
                                              per_tensor ? 1 : (size_t)(n_rows * side->row_scales));
    }
    if (status != LATHE_OK) {
        return status;
    }
    const uint64_t shape[2] = {n_rows, side->row_elems};
    lathe_tensor_desc desc = {.struct_size = sizeof(desc),
                              .dtype = tensor->dtype,
                              .n_dims = 2,
                              .shape = shape,
                              .granularity = tensor->granularity,
                              .group_size = tensor->group_size};
    return decode_buffer(side, engine, &desc, side->values);
}

/* Decodes n elements of one scale from column `column` of a row on. The bytes are read from the
 * last whole-byte boundary before `column` to the first one after the end, as a row of their own;
 * the elements too many, and their wrong scale, are dropped. */
static lathe_status decode_piece(decode_side *side, lathe_engine *engine, uint64_t row,
                                 uint64_t column, uint64_t n, float *out) {
    const lathe_checkpoint_tensor *tensor = side->tensor;
    uint64_t begin = column - column % BYTE_ALIGNED;
    uint64_t end = column + n + (BYTE_ALIGNED - 1);
    end = least(end - end % BYTE_ALIGNED, side->row_elems);
    uint64_t length = end - begin;
    uint64_t offset = 0;
    uint64_t n_bytes = 0;
    uint64_t scale = tensor->granularity == LATHE_PER_TENSOR ? 0 : row * side->row_scales;
    if (tensor->granularity == LATHE_PER_GROUP) {
        scale += column / tensor->group_size;
    }
    lathe_dtype_row_bytes(tensor->dtype, begin, &offset);
    lathe_dtype_row_bytes(tensor->dtype, length, &n_bytes);
    lathe_status status =
        lathe_checkpoint_read(side->checkpoint, side->index, row * side->row_bytes + offset,
                              side->bytes, (size_t)n_bytes);
    if (status == LATHE_OK) {
        status =
            lathe_checkpoint_read_scales(side->checkpoint, side->index, scale, side->scales, 1);
    }
    lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = tensor->dtype, .n_dims = 1, .shape = &length};
    if (status == LATHE_OK) {
        status = decode_buffer(side, engine, &desc, side->piece);
    }
    if (status == LATHE_OK) {
        memcpy(out, side->piece + (column - begin), (size_t)n * sizeof(float));
    }
    return status;
}

/* Rows too long for the buffers: piece by piece, each inside one row and one scale. */
static lathe_status decode_pieces(decode_side *side, lathe_engine *engine, uint64_t first,
                                  uint64_t n) {
    const uint64_t most = DECODE_ELEMS - 2 * BYTE_ALIGNED;
    uint64_t done = 0;
    while (done < n) {
        uint64_t row = (first + done) / side->row_elems;
        uint64_t column = (first + done) % side->row_elems;
        uint64_t length = least(least(n - done, most), side->row_elems - column);
        if (side->tensor->granularity == LATHE_PER_GROUP) {
            length = least(length, side->tensor->group_size - column % side->tensor->group_size);
        }
        lathe_status status = decode_piece(side, engine, row, column, length, side->values + done);
        if (status != LATHE_OK) {
            return status;
        }
        done += length;
    }
    return LATHE_OK;
}

lathe_status decode_values(decode_side *side, lathe_engine *engine, uint64_t first, uint64_t n) {
    if (!lathe_dtype_is_quantized(side->tensor->dtype)) {
        return decode_plain(side, engine, first, n);
    }
    if (first % side->row_elems == 0 && n % side->row_elems == 0) {
        return decode_rows(side, engine, first / side->row_elems, n / side->row_elems);
    }
    return decode_pieces(side, engine, first, n);
}
