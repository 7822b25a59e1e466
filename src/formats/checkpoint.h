/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of an open checkpoint, for the converter. */
#ifndef LT_FORMATS_CHECKPOINT_H
#define LT_FORMATS_CHECKPOINT_H

#include "files/input_file.h"
#include "formats/name_table.h"
#include "formats/safetensors.h"
#include <jansson.h>
#include <lathe/checkpoint.h>

typedef struct lt_checkpoint_file {
    const char *path;
    lt_input_file input;
    lt_st_pair *metadata; /* without Lathe's own entries */
    size_t n_metadata;
    size_t first_tensor; /* its tensors follow each other in lathe_checkpoint.tensors */
    size_t n_tensors;
} lt_checkpoint_file;

/* Kept small: there may be a hundred thousand. */
typedef struct lt_checkpoint_tensor {
    lathe_checkpoint_tensor info;
    uint64_t data_at; /* bytes from the beginning of the file */
    uint64_t scales_at;
    uint32_t file;
    uint8_t type; /* as in lt_st_tensor */
} lt_checkpoint_tensor;

struct lathe_checkpoint {
    lathe_pool *pool;
    lt_arena arena;
    const char *path; /* as it was opened */
    bool sharded;
    bool is_read_through; /* by the converter: all of it, in about its order */
    lt_input_set *set;    /* of the files */
    lt_checkpoint_file *files;
    size_t n_files;
    lt_checkpoint_tensor *tensors;
    size_t n_tensors;
    lt_name_table names;
    lt_st_pair *metadata; /* of all files; the first value of a key counts */
    size_t n_metadata;
    json_t *index_metadata; /* NULL if there is none */
    uint64_t file_bytes;
};

/* Describes a tensor that Lathe can convert. Errors: NOT_SUPPORTED. */
lathe_status lt_checkpoint_desc(const lt_checkpoint_tensor *tensor, lathe_tensor_desc *desc);

/* Reads from one of the files, whatever lies there. The message does not name it. Errors: IO. */
lathe_status lt_checkpoint_read_at(const lathe_checkpoint *checkpoint, uint32_t file, uint64_t at,
                                   void *buffer, size_t n_bytes);

/* lathe_checkpoint_read and lathe_checkpoint_read_scales, with messages that name neither file nor
 * tensor. */
lathe_status lt_checkpoint_read_data(const lathe_checkpoint *checkpoint,
                                     const lt_checkpoint_tensor *tensor, uint64_t offset,
                                     void *buffer, size_t n_bytes);
lathe_status lt_checkpoint_read_scales(const lathe_checkpoint *checkpoint,
                                       const lt_checkpoint_tensor *tensor, uint64_t first,
                                       float *scales, size_t n_scales);

/* Puts "FILE: tensor "NAME": " before the last error's message and returns its status. */
lathe_status lt_checkpoint_prefix(const lt_checkpoint_tensor *tensor);

#endif
