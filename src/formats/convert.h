/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of checkpoint conversion: the plan of what becomes of each tensor, and the output
 * files. */
#ifndef LT_FORMATS_CONVERT_H
#define LT_FORMATS_CONVERT_H

#include "engine/stream/stream_list.h"
#include "formats/checkpoint.h"
#include "formats/index_file.h"
#include "formats/writer.h"

#define LT_CONVERT_DEFAULT_MEMORY (UINT64_C(64) << 20)
#define LT_CONVERT_LEAST_MEMORY (UINT64_C(1) << 20)

/* No rule decided. */
#define LT_CONVERT_NO_RULE UINT32_MAX

/* What becomes of tensors that are stored in the same way and have the same target. */
typedef struct lt_convert_kind {
    const lt_checkpoint_tensor *like; /* the first one */
    lathe_dtype dtype;                /* 0: kept */
    uint32_t row_dims;                /* of the target, clamped to the tensor's dimensions */
    uint32_t rule;                    /* that decided */
    uint32_t next;                    /* kind of the same hash, plus 1 */
    size_t n_tensors;
    const lt_writer_kind *output;
    uint64_t bytes_out;  /* data and scales */
    uint64_t read_bytes; /* of the source, in all passes */
    bool is_small;       /* many at a time, if `small` has been planned or they are kept */
    lt_stream_small small;
} lt_convert_kind;

/* What becomes of one tensor of the input. */
typedef struct lt_convert_item {
    uint32_t kind;
    uint32_t writer;
    uint32_t index; /* in its writer */
} lt_convert_item;

/* All of it. */
typedef struct lt_convert_plan {
    lathe_pool *pool;
    lt_arena arena; /* of the kinds' outputs */
    lt_convert_kind *kinds;
    size_t n_kinds;
    size_t kinds_room;
    uint32_t *buckets;      /* of kinds by hash: number plus 1, or 0 */
    size_t n_buckets;       /* a power of two */
    lt_convert_item *items; /* of the input's tensors */
} lt_convert_plan;

/* Checks the options' own fields. Errors: INVALID_ARGUMENT, NOT_SUPPORTED. */
lathe_status lt_convert_check(const lathe_checkpoint_options *options);

/* Decides for all tensors: kinds, and each item's. The plan is freed in any case. The message names
 * the tensor. Errors: NOT_SUPPORTED, SIZE_OVERFLOW, INVALID_ARGUMENT (a companion's name is taken),
 * INSUFFICIENT_MEMORY. */
lathe_status lt_convert_plan_all(const lathe_checkpoint_options *options,
                                 const lathe_checkpoint *input, lt_convert_plan *plan);

/* Plans how the kinds go through a streamer. */
void lt_convert_plan_streams(const lathe_checkpoint_options *options, const lt_streamer *streamer,
                             lt_convert_plan *plan);

void lt_convert_plan_free(lt_convert_plan *plan);

/* The target of tensors that are converted. */
lathe_target lt_convert_target(const lathe_checkpoint_options *options,
                               const lt_convert_kind *kind);

/* Gives each item its writer: one for each file of the input, one for all, or as many as it takes
 * for shards of at most shard_bytes of data each (0: not so). Returns how many. */
size_t lt_convert_assign(const lathe_checkpoint *input, lt_convert_plan *plan, bool sharded,
                         uint64_t shard_bytes);

/* The files that a conversion writes: one, or the shards and their index. */
typedef struct lt_outputs {
    lathe_pool *pool;
    lt_arena arena;
    lathe_writer **writers;
    lt_index_output *shards; /* with each writer's plain file name */
    size_t n_writers;
    lt_atomic_file *index; /* NULL for a single file */
    lt_file_set *set;      /* of the shards, if they cannot all be open; else NULL */
    bool hides_index;      /* the old index must go before its shards are replaced */
} lt_outputs;

/* True if an output of that path is an index with shards. */
bool lt_outputs_is_sharded(const char *path, uint64_t shard_bytes);

/* Begins n_writers files. Nothing that exists is touched. On failure nothing is left behind.
 * Errors: INVALID_ARGUMENT, EXISTS, IO, INSUFFICIENT_MEMORY. */
lathe_status lt_outputs_open(const lathe_checkpoint *input, const char *path, bool sharded,
                             size_t n_writers, bool overwrite, lt_outputs *outputs);

/* Syncs every file, then gives all of them their names, the index last. Errors: EXISTS, IO. */
lathe_status lt_outputs_publish(lt_outputs *outputs, json_t *index_metadata);

/* Frees everything; what was not published is removed. */
void lt_outputs_close(lt_outputs *outputs);

/* ---- convert_report.c */

typedef struct lt_convert_report {
    lathe_checkpoint_report report; /* first: what the caller has is a pointer to it */
    lathe_tensor_report *tensors;   /* report.tensors, for writing */
    lathe_pool *pool;
    lt_arena arena;
} lt_convert_report;

/* Makes a report, with what the plan says of rules; lathe_checkpoint_report_free frees it.
 * Errors: INSUFFICIENT_MEMORY; *report is then left alone. */
lathe_status lt_convert_report_make(const lathe_checkpoint_options *options,
                                    const lathe_checkpoint *input, const lt_convert_plan *plan,
                                    lt_convert_report **report);

/* What becomes of tensor i. The names are the input's, whose arena the report takes in the end. */
void lt_convert_report_tensor(lt_convert_report *report, const lathe_checkpoint *input,
                              const lt_convert_plan *plan, size_t i);

/* The sizes of the files that have been laid out. */
void lt_convert_report_files(lt_convert_report *report, const lt_outputs *outputs);

#endif
