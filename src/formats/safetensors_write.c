/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a safetensors header. */
#include "formats/json_text.h"
#include "formats/writer.h"

static void put_entry(lt_json_out *out, const lt_writer_entry *entry) {
    lt_json_put_string(out, entry->name);
    lt_json_put(out, ":{\"dtype\":");
    lt_json_put_string(out, entry->type->name);
    lt_json_put(out, ",\"shape\":[");
    for (uint32_t i = 0; i < entry->n_dims; i++) {
        lt_json_put(out, i == 0 ? "" : ",");
        lt_json_put_number(out, entry->shape[i]);
    }
    lt_json_put(out, "],\"data_offsets\":[");
    lt_json_put_number(out, entry->begin);
    lt_json_put(out, ",");
    lt_json_put_number(out, entry->begin + entry->n_bytes);
    lt_json_put(out, "]}");
}

void lt_st_header_text(const lt_st_pair *metadata, size_t n_metadata,
                       const lt_writer_entry *entries, const size_t *order, size_t n_entries,
                       char *out, uint64_t *n_bytes) {
    lt_json_out text = {.bytes = out};
    lt_json_put(&text, "{");
    if (n_metadata > 0) {
        lt_json_put(&text, "\"" LT_ST_METADATA "\":{");
        for (size_t i = 0; i < n_metadata; i++) {
            lt_json_put(&text, i == 0 ? "" : ",");
            lt_json_put_string(&text, metadata[i].key);
            lt_json_put(&text, ":");
            lt_json_put_string(&text, metadata[i].value);
        }
        lt_json_put(&text, n_entries > 0 ? "}," : "}");
    }
    for (size_t i = 0; i < n_entries; i++) {
        lt_json_put(&text, i == 0 ? "" : ",");
        put_entry(&text, &entries[order[i]]);
    }
    lt_json_put(&text, "}");
    while (text.n_bytes % 8 != 0) {
        lt_json_put(&text, " ");
    }
    *n_bytes = text.n_bytes;
}
