/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: safetensors files, single or sharded, read, written and converted in bounded memory.
 */
#ifndef LATHE_CHECKPOINT_H
#define LATHE_CHECKPOINT_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/status.h>
#include <lathe/stream.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* An open checkpoint. Its functions are thread-safe, but for lathe_checkpoint_close. */
typedef struct lathe_checkpoint lathe_checkpoint;

/* One tensor of a checkpoint. Pointers live as long as the checkpoint. A quantized tensor that
 * Lathe wrote is one entry, with its logical shape; its NAME_scale companion is not listed. */
typedef struct lathe_checkpoint_tensor {
    const char *name;        /* UTF-8 */
    const char *stored_type; /* the container's own type name, such as "F32", "I64" or "U8" */
    lathe_dtype dtype; /* 0 when Lathe does not convert it: integers without scales, F64, ... */
    uint32_t n_dims;
    const uint64_t *shape;
    lathe_granularity granularity; /* of a quantized tensor, as in lathe_tensor_desc */
    uint32_t row_dims;
    uint64_t group_size;
    uint64_t n_elems;
    uint64_t n_bytes;  /* of data in the file, without scales */
    uint64_t n_scales; /* F32 scales in the NAME_scale companion */
    const char *file;  /* the file that holds it, as opened */
} lathe_checkpoint_tensor;

/* Opens PATH: a safetensors file, or a *.index.json, whose shards lie in the same folder. Headers
 * are read and checked in full, by the rules of the format's reference reader
 * (docs/safetensors.md); no tensor data is read. Allocates from `pool`, which the checkpoint
 * retains. Errors: INVALID_ARGUMENT, NOT_FOUND, IO (not a regular file, too), MALFORMED_FILE
 * (naming what is wrong, and where), NOT_SUPPORTED (quantized tensors of a later version of Lathe,
 * or a limit of docs/safetensors.md), INSUFFICIENT_MEMORY; *checkpoint is then left alone. */
LATHE_API lathe_status lathe_checkpoint_open(lathe_pool *pool, const char *path,
                                             lathe_checkpoint **checkpoint);

/* Closes it and frees what it holds. NULL is legal. */
LATHE_API void lathe_checkpoint_close(lathe_checkpoint *checkpoint);

/* How many tensors there are. */
LATHE_API size_t lathe_checkpoint_n_tensors(const lathe_checkpoint *checkpoint);

/* Tensor i, in the order of the data in the files; NULL if i is out of range. */
LATHE_API const lathe_checkpoint_tensor *
lathe_checkpoint_tensor_at(const lathe_checkpoint *checkpoint, size_t i);

/* The index of the tensor of that name; SIZE_MAX if there is none. */
LATHE_API size_t lathe_checkpoint_find(const lathe_checkpoint *checkpoint, const char *name);

/* How many files the data lies in (an index is not counted), and the path of one; NULL if i is out
 * of range. */
LATHE_API size_t lathe_checkpoint_n_files(const lathe_checkpoint *checkpoint);
LATHE_API const char *lathe_checkpoint_file_at(const lathe_checkpoint *checkpoint, size_t i);

/* The bytes of all files together. */
LATHE_API uint64_t lathe_checkpoint_file_bytes(const lathe_checkpoint *checkpoint);

/* Entries of the files' metadata other than Lathe's own, key and value (either may be NULL);
 * false if i is out of range. Where shards differ about a key, the first one counts.
 */
LATHE_API bool lathe_checkpoint_metadata_at(const lathe_checkpoint *checkpoint, size_t i,
                                            const char **key, const char **value);

/* Reads `n_bytes` bytes of tensor i's data from byte `offset` on into `buffer`.
 * Errors: INVALID_ARGUMENT (out of range), IO. */
LATHE_API lathe_status lathe_checkpoint_read(const lathe_checkpoint *checkpoint, size_t i,
                                             uint64_t offset, void *buffer, size_t n_bytes);

/* Reads `n_scales` scales of tensor i from scale `first` on. Errors: INVALID_ARGUMENT, IO,
 * CORRUPT_DATA (a scale that is negative or not finite). */
LATHE_API lathe_status lathe_checkpoint_read_scales(const lathe_checkpoint *checkpoint, size_t i,
                                                    uint64_t first, float *scales, size_t n_scales);

/* Reads tensor i, which Lathe can convert, whole into a new tensor of `pool`, which the caller
 * releases. Errors: INVALID_ARGUMENT, NOT_SUPPORTED, IO, CORRUPT_DATA, INSUFFICIENT_MEMORY; *tensor
 * is then left alone. */
LATHE_API lathe_status lathe_checkpoint_load(const lathe_checkpoint *checkpoint, size_t i,
                                             lathe_pool *pool, lathe_tensor **tensor);

/* A rule for the tensors whose name matches a glob (as fnmatch(3): * ? [...], and * crosses dots).
 */
typedef struct lathe_rule {
    const char *glob;
    lathe_dtype dtype; /* 0: keep the tensor as it is */
} lathe_rule;

/* Begins with struct_size; a zero field means its default. */
typedef struct lathe_checkpoint_options {
    size_t struct_size;
    /* Of every tensor without a rule. 1-d tensors, scalars and tensors that Lathe cannot convert
     * are kept, and so are those that have the target's dtype and layout already. row_dims is
     * clamped to each tensor's dimensions. */
    lathe_target target;
    const lathe_rule *rules; /* the first match wins; granularity and the rest come from `target` */
    size_t n_rules;
    uint64_t memory_bytes; /* for all buffers together; default 64 MiB; at least 1 MiB */
    uint64_t shard_bytes; /* not 0: write shards of at most so many bytes of data each; a tensor and
                             its scales, which are never parted, may be more */
    uint32_t overwrite;   /* 1: replace an existing output */
    lathe_progress_fn *progress;
    void *progress_ctx;
} lathe_checkpoint_options;

/* What happened to one tensor. */
typedef struct lathe_tensor_report {
    const char *name;
    const char *from; /* type name: a dtype's as in lathe_dtype_name, else the container's */
    const char *to;
    uint32_t converted; /* 0: kept */
    uint64_t bytes_in;  /* data and scales */
    uint64_t bytes_out;
    uint64_t scale_count;
    uint64_t n_saturated; /* as in lathe_convert_stats */
} lathe_tensor_report;

/* The caller frees it with lathe_checkpoint_report_free. */
typedef struct lathe_checkpoint_report {
    uint64_t input_bytes; /* of the files, headers included */
    uint64_t output_bytes;
    uint64_t n_tensors;
    uint64_t n_converted;
    uint64_t n_shards; /* that were written; 0: a single file without an index */
    double seconds;
    const lathe_tensor_report *tensors; /* n_tensors of them, in the input's order */
    uint64_t n_rules;
    const uint64_t *rule_matches; /* for each of the n_rules rules, how many tensors it decided
                                     about; 0 may be a misspelt glob */
} lathe_checkpoint_report;

/* Converts the checkpoint at `input` into `output`. An output that ends in ".index.json" is sharded
 * as the input is, unless shard_bytes says otherwise; any other is one safetensors file or, with
 * shard_bytes, an index to whose path ".index.json" is added. Tensors are streamed through fixed
 * buffers, so that the memory in use depends on memory_bytes and the headers, never on a tensor's
 * size. The output appears under its name when it is complete and synced, and not at all otherwise;
 * until then it is a file without a name, or a temporary one beside it. `input` and `output` may be
 * the same file if `overwrite` is set. `report` may be NULL; it is set on success. Shards called
 * NAME-00001-of-0000N.safetensors lie beside NAME.safetensors.index.json, which appears last. A
 * file of a sharded input is never replaced: EXISTS. A rule that names a tensor that Lathe cannot
 * convert is NOT_SUPPORTED; a NAME_scale that is both a tensor and a companion is INVALID_ARGUMENT.
 * Errors: those of lathe_checkpoint_open and lathe_convert, EXISTS, IO, CANCELLED. The message
 * names the tensor. Thread-safe. */
LATHE_API lathe_status lathe_checkpoint_convert(lathe_engine *engine, const char *input,
                                                const char *output,
                                                const lathe_checkpoint_options *options,
                                                lathe_checkpoint_report **report);

/* Frees a report. NULL is legal. */
LATHE_API void lathe_checkpoint_report_free(lathe_checkpoint_report *report);

/* A safetensors file that is being written. Used by one thread. */
typedef struct lathe_writer lathe_writer;

/* Starts a file that will appear at `path`. Allocates from `pool`, which the writer retains.
 * The caller ends it with lathe_writer_finish or lathe_writer_abort. Errors: INVALID_ARGUMENT,
 * EXISTS (unless overwrite), IO, INSUFFICIENT_MEMORY; *writer is then left alone. */
LATHE_API lathe_status lathe_writer_create(lathe_pool *pool, const char *path, uint32_t overwrite,
                                           lathe_writer **writer);

/* Declares a tensor; all are declared before the first byte is written. `*index` counts up from 0.
 * A quantized tensor's companion NAME_scale and its metadata come with it. After an error
 * the writer is as it was.
 * Errors: INVALID_ARGUMENT (a name twice or not UTF-8, data has been written), SIZE_OVERFLOW,
 * INSUFFICIENT_MEMORY. */
LATHE_API lathe_status lathe_writer_add(lathe_writer *writer, const char *name,
                                        const lathe_tensor_desc *desc, size_t *index);

/* Adds a metadata entry. Errors: INVALID_ARGUMENT (a key twice, one of Lathe's own, or not
 * UTF-8), INSUFFICIENT_MEMORY. */
LATHE_API lathe_status lathe_writer_add_metadata(lathe_writer *writer, const char *key,
                                                 const char *value);

/* Writes bytes of tensor `index`'s data at byte `offset`; any order, each byte once.
 * The first call that writes anything lays the file out and takes its disk space; after it threads
 * may write different bytes at once. Errors: INVALID_ARGUMENT (out of range), NOT_SUPPORTED (a
 * header over the format's 100,000,000 bytes), SIZE_OVERFLOW, INSUFFICIENT_MEMORY, IO. */
LATHE_API lathe_status lathe_writer_write(lathe_writer *writer, size_t index, uint64_t offset,
                                          const void *bytes, size_t n_bytes);

/* Writes scales of tensor `index` from scale `first` on; likewise. */
LATHE_API lathe_status lathe_writer_write_scales(lathe_writer *writer, size_t index, uint64_t first,
                                                 const float *scales, size_t n_scales);

/* Syncs the file and gives it its final name. Whatever comes of it, the writer is gone; after an
 * error there is no new file. Errors: INVALID_ARGUMENT (bytes have not been written), EXISTS (a
 * file came into being meanwhile), and those of lathe_writer_write. */
LATHE_API lathe_status lathe_writer_finish(lathe_writer *writer);

/* Drops the file and the writer. NULL is legal. */
LATHE_API void lathe_writer_abort(lathe_writer *writer);

LATHE_END_DECLS

#endif
