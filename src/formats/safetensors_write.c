/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a safetensors header: what it says of each kind of tensor, and the whole. */
#include "formats/safetensors_write.h"

#include "core/error.h"
#include <string.h>

/* ---- kinds */

/* The text of an entry from its tensor's name to its offsets. */
static void put_kind(lt_json_out *out, const char *suffix, const lt_st_type *type, uint32_t n_dims,
                     const uint64_t *shape) {
    lt_json_put(out, suffix);
    lt_json_put(out, "\":{\"dtype\":");
    lt_json_put_string(out, type->name);
    lt_json_put(out, ",\"shape\":[");
    for (uint32_t i = 0; i < n_dims; i++) {
        lt_json_put(out, i == 0 ? "" : ",");
        lt_json_put_number(out, shape[i]);
    }
    lt_json_put(out, "],\"data_offsets\":[");
}

static lt_writer_text kind_text(lt_arena *arena, const char *suffix, const lt_st_type *type,
                                uint32_t n_dims, const uint64_t *shape) {
    lt_json_out measured = {0};
    put_kind(&measured, suffix, type, n_dims, shape);
    const size_t n_bytes = (size_t)measured.n_bytes;
    lt_json_out out = {.bytes = lt_arena_new(arena, n_bytes), .room = n_bytes};
    if (out.bytes != NULL) {
        put_kind(&out, suffix, type, n_dims, shape);
    }
    return (lt_writer_text){.bytes = out.bytes, .n_bytes = n_bytes};
}

static void put_description(lt_json_out *out, const lt_st_description *description) {
    lt_json_put(out, "\":\"");
    lt_json_put_escaped(out, description->text);
    lt_json_put(out, "\"");
}

static lt_writer_text description_text(lt_arena *arena, const lathe_tensor_desc *desc) {
    const lt_st_description description = lt_st_describe(desc);
    lt_json_out measured = {0};
    put_description(&measured, &description);
    const size_t n_bytes = (size_t)measured.n_bytes;
    lt_json_out out = {.bytes = lt_arena_new(arena, n_bytes), .room = n_bytes};
    if (out.bytes != NULL) {
        put_description(&out, &description);
    }
    return (lt_writer_text){.bytes = out.bytes, .n_bytes = n_bytes};
}

lathe_status lt_writer_kind_plain(lt_arena *arena, const lt_st_type *type, uint32_t n_dims,
                                  const uint64_t *shape, uint64_t n_bytes,
                                  const lt_writer_kind **kind) {
    lt_writer_kind *made = lt_arena_new(arena, sizeof *made);
    const lt_writer_text text = kind_text(arena, "", type, n_dims, shape);
    if (made == NULL || text.bytes == NULL) {
        return lt_error()->status;
    }
    *made = (lt_writer_kind){.type = type, .n_bytes = n_bytes, .data_text = text};
    *kind = made;
    return LATHE_OK;
}

/* The description with a shape of its own. */
static lathe_status copy_desc(lt_arena *arena, const lathe_tensor_desc *desc,
                              lathe_tensor_desc *copy) {
    uint64_t *shape = lt_arena_new_array(arena, desc->n_dims, sizeof *shape);
    if (shape == NULL) {
        return lt_error()->status;
    }
    if (desc->n_dims > 0) {
        memcpy(shape, desc->shape, desc->n_dims * sizeof *shape);
    }
    *copy = *desc;
    copy->shape = shape;
    return LATHE_OK;
}

lathe_status lt_writer_kind_of(lt_arena *arena, const lathe_tensor_desc *desc,
                               const lt_writer_kind **kind) {
    lt_st_stored stored;
    lathe_status status = lt_st_stored_of(desc, &stored);
    if (status != LATHE_OK) {
        return status;
    }
    lt_writer_kind *made = lt_arena_new(arena, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->type = stored.type;
    made->n_bytes = stored.n_bytes;
    made->n_scales = stored.n_scales;
    made->is_quantized = lathe_dtype_is_quantized(desc->dtype);
    made->data_text = kind_text(arena, "", stored.type, stored.n_dims, stored.shape);
    bool is_made = made->data_text.bytes != NULL;
    if (made->is_quantized) {
        made->scales_text = kind_text(arena, LT_ST_SCALE_SUFFIX, lt_st_type_of(LATHE_F32),
                                      stored.scales_n_dims, stored.scales_shape);
        made->description = description_text(arena, desc);
        is_made = is_made && made->scales_text.bytes != NULL && made->description.bytes != NULL;
    }
    status = is_made ? copy_desc(arena, desc, &made->desc) : lt_error()->status;
    *kind = made;
    return status;
}

/* ---- the header */

void lt_st_visit(lathe_writer *writer, lt_st_visit_fn *visit, void *ctx) {
    for (uint32_t width = 8; width >= 1; width /= 2) {
        if ((writer->widths & width) == 0) {
            continue;
        }
        for (size_t i = 0; i < writer->n_tensors; i++) {
            lt_writer_tensor *tensor = &writer->tensors[i];
            const lt_writer_kind *kind = tensor->kind;
            if (lt_st_type_width(kind->type) == width) {
                visit(ctx, tensor, false);
            }
            if (kind->is_quantized && width == sizeof(float)) {
                visit(ctx, tensor, true);
            }
        }
    }
}

static void put_name(lt_json_out *out, const lt_writer_tensor *tensor) {
    if (tensor->plain_bytes > 0) {
        lt_json_put_bytes(out, tensor->name, tensor->plain_bytes);
    } else {
        lt_json_put_escaped(out, tensor->name);
    }
}

/* The header on its way out. */
typedef struct header {
    lt_json_out *out;
    bool has_before;     /* an entry, which a comma follows */
    lt_json_number last; /* offset: where data ends the next one mostly begins */
} header;

/* Measured, it is only counted. */
static void put_offset(header *h, uint64_t offset) {
    if (h->out->bytes == NULL) {
        h->out->n_bytes += lt_json_n_digits(offset);
        return;
    }
    if (offset != h->last.value) {
        h->last = lt_json_number_of(offset);
    }
    lt_json_put_digits(h->out, &h->last);
}

static void put_entry(void *ctx, lt_writer_tensor *tensor, bool is_companion) {
    header *h = ctx;
    lt_json_out *out = h->out;
    const lt_writer_kind *kind = tensor->kind;
    const lt_writer_text *text = is_companion ? &kind->scales_text : &kind->data_text;
    const uint64_t begin = is_companion ? tensor->scales_begin : tensor->begin;
    const uint64_t n_bytes = is_companion ? kind->n_scales * sizeof(float) : kind->n_bytes;
    lt_json_put(out, h->has_before ? ",\"" : "\"");
    put_name(out, tensor);
    lt_json_put_bytes(out, text->bytes, text->n_bytes);
    put_offset(h, begin);
    lt_json_put(out, ",");
    put_offset(h, begin + n_bytes);
    lt_json_put(out, "]}");
    h->has_before = true;
}

static void put_metadata(const lathe_writer *writer, lt_json_out *out) {
    const char *separator = "";
    lt_json_put(out, "\"" LT_ST_METADATA "\":{");
    for (size_t i = 0; i < writer->n_metadata; i++) {
        lt_json_put(out, separator);
        lt_json_put_string(out, writer->metadata[i].key);
        lt_json_put(out, ":");
        lt_json_put_string(out, writer->metadata[i].value);
        separator = ",";
    }
    if (writer->has_quantized) {
        lt_json_put(out, separator);
        lt_json_put(out, "\"" LT_ST_FORMAT_KEY "\":\"" LT_ST_FORMAT_VERSION "\"");
    }
    for (size_t i = 0; i < writer->n_tensors; i++) {
        const lt_writer_tensor *tensor = &writer->tensors[i];
        if (tensor->kind->is_quantized) {
            const lt_writer_text *description = &tensor->kind->description;
            lt_json_put(out, ",\"" LT_ST_TENSOR_KEY);
            put_name(out, tensor);
            lt_json_put_bytes(out, description->bytes, description->n_bytes);
        }
    }
    lt_json_put(out, "}");
}

void lt_st_put_header(lathe_writer *writer, lt_json_out *out) {
    const uint64_t first = out->n_bytes;
    header h = {.out = out, .last = lt_json_number_of(0)};
    lt_json_put(out, "{");
    if (writer->n_metadata > 0 || writer->has_quantized) {
        put_metadata(writer, out);
        h.has_before = true;
    }
    lt_st_visit(writer, put_entry, &h);
    lt_json_put(out, "}");
    while ((out->n_bytes - first) % 8 != 0) {
        lt_json_put(out, " ");
    }
}
