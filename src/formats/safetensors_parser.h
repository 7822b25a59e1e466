/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the safetensors reader: what reads a header's members, one after another. */
#ifndef LT_FORMATS_SAFETENSORS_PARSER_H
#define LT_FORMATS_SAFETENSORS_PARSER_H

#include "formats/json_walk.h"
#include "formats/safetensors.h"

/* Shapes that came lately: most tensors have one that another has. */
enum { LT_ST_RECENT_SHAPES = 64 };

typedef struct lt_st_recent_shape {
    const uint64_t *shape; /* NULL: none yet */
    size_t n_dims;
} lt_st_recent_shape;

typedef struct lt_st_parser {
    lathe_pool *pool;
    lt_arena *arena;
    lt_json_text header;
    lt_st_table *table;
    size_t room; /* for tensors */
    lt_st_recent_shape recent[LT_ST_RECENT_SHAPES];
    lt_st_entry entry; /* the last one that was as usual */
    bool has_metadata;
} lt_st_parser;

/* Reads all members into the table. Errors: those of lt_safetensors_parse. */
lathe_status lt_st_read_members(lt_st_parser *p);

/* Puts "tensor "NAME": " before the last error's message and returns its status. */
lathe_status lt_st_in_tensor(const char *name);

#endif
