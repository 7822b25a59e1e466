/* SPDX-License-Identifier: Apache-2.0 */
/* The header that a writer writes. */
#ifndef LT_FORMATS_SAFETENSORS_WRITE_H
#define LT_FORMATS_SAFETENSORS_WRITE_H

#include "formats/json_text.h"
#include "formats/writer.h"

/* Called for each piece of data in the file: a tensor's, or its companion's. */
typedef void lt_st_visit_fn(void *ctx, lt_writer_tensor *tensor, bool is_companion);

/* Visits all data in the order that it has in the file: wider types first, so that every tensor is
 * aligned to its type, and in the order of declaration among equals. */
void lt_st_visit(lathe_writer *writer, lt_st_visit_fn *visit, void *ctx);

/* The header's text of a file that is laid out, padded with spaces to a multiple of 8 bytes. */
void lt_st_put_header(lathe_writer *writer, lt_json_out *out);

#endif
