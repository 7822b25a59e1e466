/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of checkpoint conversion: the plan of what becomes of each tensor, and the output
 * files. */
#ifndef LT_FORMATS_CONVERT_H
#define LT_FORMATS_CONVERT_H

#include "formats/checkpoint.h"
#include "formats/index_file.h"
#include "formats/writer.h"

#define LT_CONVERT_DEFAULT_MEMORY (UINT64_C(64) << 20)
#define LT_CONVERT_LEAST_MEMORY (UINT64_C(1) << 20)

/* What becomes of one tensor of the input. */
typedef struct lt_convert_item {
    lathe_dtype dtype; /* 0: kept */
    uint32_t row_dims; /* of the target, clamped to the tensor's dimensions */
    size_t index;      /* in its writer */
    size_t rule;       /* that decided; SIZE_MAX: none */
} lt_convert_item;

/* Checks the options' own fields. Errors: INVALID_ARGUMENT, NOT_SUPPORTED. */
lathe_status lt_convert_check(const lathe_checkpoint_options *options);

/* Decides for one tensor. Errors: NOT_SUPPORTED, SIZE_OVERFLOW; the message does not name it. */
lathe_status lt_convert_decide(const lathe_checkpoint_options *options,
                               const lt_checkpoint_tensor *tensor, lt_convert_item *item);

/* The target of a tensor that is converted. */
lathe_target lt_convert_target(const lathe_checkpoint_options *options,
                               const lt_convert_item *item);

/* The files that a conversion writes: one, or the shards and their index. */
typedef struct lt_outputs {
    lathe_pool *pool;
    lt_arena arena;
    lathe_writer **writers;
    lt_index_output *shards; /* with each writer's plain file name */
    size_t n_writers;
    lt_atomic_file *index; /* NULL for a single file */
    bool hides_index;      /* the old index must go before its shards are replaced */
} lt_outputs;

/* Begins all files. Nothing that exists is touched. On failure nothing is left behind.
 * Errors: INVALID_ARGUMENT, EXISTS, IO, INSUFFICIENT_MEMORY. */
lathe_status lt_outputs_open(const lathe_checkpoint *input, const char *path, bool overwrite,
                             lt_outputs *outputs);

/* The writer for the tensors of an input file. */
static inline lathe_writer *lt_outputs_writer(const lt_outputs *outputs, uint32_t file) {
    return outputs->writers[outputs->n_writers == 1 ? 0 : file];
}

/* Syncs every file, then gives all of them their names, the index last. Errors: EXISTS, IO. */
lathe_status lt_outputs_publish(lt_outputs *outputs, json_t *index_metadata);

/* Frees everything; what was not published is removed. */
void lt_outputs_close(lt_outputs *outputs);

#endif
