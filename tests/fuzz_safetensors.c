/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the safetensors parser: the input is a file, of which only the header is looked at. What
 * is accepted must hold together, and what is refused must leave nothing behind. */
#include "core/error.h"
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Mutates the header and then makes its length right, so that few inputs die on the first 8 bytes.
 */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    if (size < 10 || max_size < 16 || seed % 16 == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    size_t length = LLVMFuzzerMutate(data + 8, size - 8, max_size - 8);
    size_t header = length;
    while (header > 0 && data[8 + header - 1] != '}') {
        header--; /* what follows the last brace is data */
    }
    for (unsigned i = 0; i < 8; i++) {
        data[i] = (uint8_t)(header >> 8 * i);
    }
    return length + 8;
}

/* The tensors cover the data without holes, and the sizes of a quantized one agree. */
static void check_table(const lt_st_table *table, uint64_t file_bytes) {
    uint64_t at = 0;
    for (size_t i = 0; i < table->n_tensors; i++) {
        const lt_st_tensor *tensor = &table->tensors[i];
        REQUIRE(tensor->name != NULL && tensor->begin == at && tensor->end >= at);
        REQUIRE(lt_st_tensor_type(tensor)->bits > 0);
        at = tensor->end;
        if (tensor->quantized != NULL) {
            const lt_st_quantized *q = tensor->quantized;
            uint64_t n_bytes = 0;
            uint64_t n_scales = 0;
            REQUIRE(lathe_tensor_desc_sizes(&q->desc, NULL, &n_bytes, &n_scales) == LATHE_OK);
            REQUIRE(n_bytes == tensor->end - tensor->begin && n_bytes == q->n_bytes);
            REQUIRE(n_scales == q->n_scales);
            REQUIRE(q->scales_begin <= file_bytes - table->data_start);
            REQUIRE(n_scales * sizeof(float) <= file_bytes - table->data_start - q->scales_begin);
        }
    }
    REQUIRE(at == file_bytes - table->data_start);
    for (size_t i = 0; i < table->n_metadata; i++) {
        REQUIRE(table->metadata[i].key != NULL && table->metadata[i].value != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lathe_pool *pool = NULL;
    size_t header_bytes = 0;
    REQUIRE(lathe_pool_create(NULL, &pool) == LATHE_OK);
    lt_arena arena = {.pool = pool};
    lt_st_table table = {.pool = pool};
    lathe_status status = lt_st_header_bytes(data, size, &header_bytes);
    if (status == LATHE_OK) {
        /* A copy of the exact size, so that the sanitizer sees a read past the header. */
        char *header = malloc(header_bytes == 0 ? 1 : header_bytes);
        REQUIRE(header != NULL);
        memcpy(header, data + LT_ST_PREFIX_BYTES, header_bytes);
        status = lt_safetensors_parse(pool, &arena, header, header_bytes, size, "fuzz", &table);
        free(header);
    }
    if (status == LATHE_OK) {
        check_table(&table, size);
    } else {
        const char *message = lathe_last_error()->message;
        REQUIRE(status == LATHE_MALFORMED_FILE || status == LATHE_NOT_SUPPORTED);
        REQUIRE(message[0] != '\0' && strchr(message, '\n') == NULL);
        REQUIRE(table.tensors == NULL && table.metadata == NULL);
    }
    lt_st_table_free(&table);
    lt_arena_free(&arena);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    REQUIRE(lathe_pool_get_stats(pool, &stats) == LATHE_OK && stats.n_live == 0);
    lathe_pool_release(pool);
    return 0;
}
