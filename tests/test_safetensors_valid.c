/* SPDX-License-Identifier: Apache-2.0 */
/* Valid but odd safetensors files: all must be read, and as what they are. The files can be kept
 * for other readers by setting LATHE_KEEP_FILES to a folder. */
#include "checkpoint_files.h"

typedef struct test_case {
    const char *name;
    const char *header;
    size_t data_bytes;
    size_t n_tensors;
    const char *first; /* the name of tensor 0; NULL: there is none */
} test_case;

#define ESCAPED_NAME "\\u0061\\n\\\"\\\\\\/\\ud83d\\ude00"

static const test_case cases[] = {
    {"empty", "{}", 0, 0, NULL},
    {"spaces", " \t\r\n{ \t\r\n} \t\r\n", 0, 0, NULL},
    {"padding", "{}                                            ", 0, 0, NULL},
    {"only_metadata", "{\"__metadata__\":{\"k\":\"v\"}}", 0, 0, NULL},
    {"metadata_empty", "{\"__metadata__\":{}}", 0, 0, NULL},
    {"metadata_null", "{\"__metadata__\":null}", 0, 0, NULL},
    {"metadata_last", "{" ENTRY("a", "F32", "2", 0, 8) ",\"__metadata__\":{\"k\":\"v\"}}", 8, 1,
     "a"},
    {"metadata_odd_values", "{\"__metadata__\":{\"\":\"\",\"x\":\"\\u0001\\u20ac\\\"{}[]\"}}", 0, 0,
     NULL},
    {"scalar", "{" ENTRY("a", "F32", "", 0, 4) "}", 4, 1, "a"},
    {"no_elements", "{" ENTRY("a", "F32", "0", 0, 0) "}", 0, 1, "a"},
    {"no_elements_in_2_dims", "{" ENTRY("a", "F32", "0,5", 0, 0) "}", 0, 1, "a"},
    {"no_elements_huge", "{" ENTRY("a", "F32", "0,4294967296,4294967296", 0, 0) "}", 0, 1, "a"},
    {"many_without_elements",
     "{" ENTRY("c", "U8", "0", 4, 4) "," ENTRY("b", "U8", "0", 0, 0) "," ENTRY(
         "a", "U8", "4", 0, 4) "," ENTRY("d", "F64", "0", 4, 4) "}",
     4, 4, "b"},
    {"unsorted",
     "{" ENTRY("z", "U8", "1", 5, 6) "," ENTRY("m", "U8", "2", 3, 5) "," ENTRY("a", "U8", "3", 0,
                                                                               3) "}",
     6, 3, "a"},
    {"unaligned", "{" ENTRY("a", "U8", "1", 0, 1) "," ENTRY("b", "F32", "1", 1, 5) "}", 5, 2, "a"},
    {"header_not_padded", "{" ENTRY("ab", "F32", "2", 0, 8) "}", 8, 1, "ab"},
    {"empty_name", "{" ENTRY("", "F32", "2", 0, 8) "}", 8, 1, ""},
    {"escaped_name", "{" ENTRY(ESCAPED_NAME, "F32", "2", 0, 8) "}", 8, 1,
     "a\n\"\\/\xf0\x9f\x98\x80"},
    {"utf8_name", "{" ENTRY("\xe2\x82\xac\xf0\x9f\x98\x80", "F32", "2", 0, 8) "}", 8, 1,
     "\xe2\x82\xac\xf0\x9f\x98\x80"},
    {"braces_in_name", "{" ENTRY("}]{[,:\\\"", "F32", "2", 0, 8) "}", 8, 1, "}]{[,:\""},
    {"spaces_everywhere",
     "{ \"a\" : { \"dtype\" : \"F32\" , \"shape\" : [ 2 , 1 ] , \"data_offsets\" : [ 0 , 8 ] } }",
     8, 1, "a"},
    {"lines", "{\n\"a\":\r\n{\t\"dtype\":\"F32\",\n\"shape\":[2],\n\"data_offsets\":[0,8]}\n}\n", 8,
     1, "a"},
    {"fields_in_any_order", "{\"a\":{\"data_offsets\":[0,8],\"shape\":[2],\"dtype\":\"F32\"}}", 8,
     1, "a"},
    {"unknown_fields",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"note\":{\"x\":[1.5,\"}\","
     "true]}}}",
     8, 1, "a"},
    {"escaped_dtype", "{" ENTRY("a", "\\u0046\\u00332", "2", 0, 8) "}", 8, 1, "a"},
    {"seventeen_dims", "{" ENTRY("a", "F32", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2", 0, 8) "}", 8, 1,
     "a"},
    {"f4_whole_byte", "{" ENTRY("a", "F4", "2,3", 0, 3) "}", 3, 1, "a"},
    {"f6_whole_byte",
     "{" ENTRY("a", "F6_E2M3", "4", 0, 3) "," ENTRY("b", "F6_E3M2", "2,2", 3, 6) "}", 6, 2, "a"},
    {"alike_but_for_some",
     "{" ENTRY("a", "U8", "2", 0, 2) "," ENTRY("b", "U8", "2", 2, 4) "," ENTRY(
         "c", "U16", "2", 4, 8) "," ENTRY("d", "U8", "2", 8,
                                          10) ",\"e\":{\"dtype\":\"U8\","
                                              "\"shape\":[2 ],\"data_offsets\":[10,12]}," ENTRY(
                                                  "f", "U8", "2", 12, 14) "}",
     14, 6, "a"},
    {"looks_like_scale", "{" ENTRY("a", "I8", "2", 0, 2) "," ENTRY("a_scale", "F32", "1", 2, 6) "}",
     6, 2, "a"},
    {"other_lathe_key", "{\"__metadata__\":{\"lathe\":\"x\",\"lathe.tensors\":\"y\"}}", 0, 0, NULL},
    {"format_without_tensors", "{\"__metadata__\":{\"lathe.format\":\"1\"}}", 0, 0, NULL},
};

static lathe_pool *make_pool(void) {
    lathe_pool *pool = NULL;
    CHECK_OK(lathe_pool_create(NULL, &pool));
    return pool;
}

Test(safetensors, odd_files) {
    const char *kept = getenv("LATHE_KEEP_FILES");
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const test_case *c = &cases[i];
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s.safetensors", kept != NULL ? kept : folder.path,
                       c->name);
        test_write_header(path, c->header, c->data_bytes);
        lathe_checkpoint *checkpoint = NULL;
        CHECK(lathe_checkpoint_open(pool, path, &checkpoint) == LATHE_OK, "%s: %s", c->name,
              lathe_last_error()->message);
        CHECK(lathe_checkpoint_n_tensors(checkpoint) == c->n_tensors, "%s: %zu tensors", c->name,
              lathe_checkpoint_n_tensors(checkpoint));
        const lathe_checkpoint_tensor *first = lathe_checkpoint_tensor_at(checkpoint, 0);
        CHECK((first == NULL) == (c->first == NULL), "%s: tensor 0", c->name);
        CHECK(first == NULL || strcmp(first->name, c->first) == 0, "%s: tensor 0 is \"%s\"",
              c->name, first == NULL ? "" : first->name);
        CHECK(first == NULL || lathe_checkpoint_find(checkpoint, first->name) == 0, "%s", c->name);
        CHECK(lathe_checkpoint_file_bytes(checkpoint) == 8 + strlen(c->header) + c->data_bytes,
              "%s", c->name);
        lathe_checkpoint_close(checkpoint);
    }
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* Every type of the format, with its width, and which of them Lathe converts. */
Test(safetensors, types) {
    static const struct {
        const char *name;
        size_t n_bytes; /* of 8 elements */
        lathe_dtype dtype;
    } types[] = {
        {"BOOL", 8, 0},    {"F4", 4, 0},           {"F6_E2M3", 6, 0},        {"F6_E3M2", 6, 0},
        {"U8", 8, 0},      {"I8", 8, 0},           {"F8_E5M2", 8, 0},        {"F8_E4M3", 8, 0},
        {"F8_E8M0", 8, 0}, {"F8_E4M3FNUZ", 8, 0},  {"F8_E5M2FNUZ", 8, 0},    {"I16", 16, 0},
        {"U16", 16, 0},    {"F16", 16, LATHE_F16}, {"BF16", 16, LATHE_BF16}, {"I32", 32, 0},
        {"U32", 32, 0},    {"F32", 32, LATHE_F32}, {"C64", 64, 0},           {"F64", 64, 0},
        {"I64", 64, 0},    {"U64", 64, 0},
    };
    const char *kept = getenv("LATHE_KEEP_FILES");
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char path[512];
        char header[256];
        (void)snprintf(path, sizeof path, "%s/type_%s.safetensors",
                       kept != NULL ? kept : folder.path, types[i].name);
        (void)snprintf(header, sizeof header,
                       "{\"a\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%zu]}}",
                       types[i].name, types[i].n_bytes);
        test_write_header(path, header, types[i].n_bytes);
        lathe_checkpoint *checkpoint = NULL;
        CHECK_OK(lathe_checkpoint_open(pool, path, &checkpoint));
        const lathe_checkpoint_tensor *tensor = lathe_checkpoint_tensor_at(checkpoint, 0);
        CHECK(strcmp(tensor->stored_type, types[i].name) == 0, "%s", tensor->stored_type);
        CHECK(tensor->dtype == types[i].dtype, "%s is dtype %d", types[i].name, (int)tensor->dtype);
        CHECK(tensor->n_bytes == types[i].n_bytes && tensor->n_elems == 8, "%s", types[i].name);
        CHECK(tensor->n_dims == 2 && tensor->shape[0] == 2 && tensor->shape[1] == 4, "shape");
        lathe_tensor *loaded = NULL;
        if (tensor->dtype == 0) {
            CHECK_STATUS(lathe_checkpoint_load(checkpoint, 0, pool, &loaded), LATHE_NOT_SUPPORTED);
        } else {
            CHECK_OK(lathe_checkpoint_load(checkpoint, 0, pool, &loaded));
            lathe_tensor_release(loaded);
        }
        lathe_checkpoint_close(checkpoint);
    }
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* Data is found where the header says, at any offset. */
Test(safetensors, reading_data) {
    static const char header[] = "{\"__metadata__\":{\"b\":\"2\",\"a\":\"1\"}," ENTRY(
        "y", "F32", "2", 3, 11) "," ENTRY("x", "U8", "3", 0, 3) "}";
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "data.safetensors");
    char data[11] = "xyz";
    const float numbers[2] = {1.5f, -2.25f};
    memcpy(data + 3, numbers, sizeof numbers);
    test_write_container(path, sizeof header - 1, header, sizeof header - 1, data, sizeof data);
    lathe_checkpoint *checkpoint = NULL;
    CHECK_OK(lathe_checkpoint_open(pool, path, &checkpoint));
    char bytes[8] = {0};
    CHECK_OK(lathe_checkpoint_read(checkpoint, 0, 1, bytes, 2));
    CHECK(memcmp(bytes, "yz", 2) == 0, "%.2s", bytes);
    CHECK_OK(lathe_checkpoint_read(checkpoint, 1, 0, bytes, 8));
    CHECK(memcmp(bytes, numbers, 8) == 0, "numbers");
    CHECK_OK(lathe_checkpoint_read(checkpoint, 1, 8, NULL, 0));
    CHECK_STATUS(lathe_checkpoint_read(checkpoint, 1, 1, bytes, 8), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_read(checkpoint, 1, UINT64_MAX, bytes, 8),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_read(checkpoint, 2, 0, bytes, 0), LATHE_INVALID_ARGUMENT);
    float scale = 0;
    CHECK_STATUS(lathe_checkpoint_read_scales(checkpoint, 1, 0, &scale, 1), LATHE_INVALID_ARGUMENT);
    lathe_tensor *tensor = NULL;
    CHECK_OK(lathe_checkpoint_load(checkpoint, 1, pool, &tensor));
    CHECK(memcmp(lathe_tensor_data(tensor), numbers, 8) == 0, "loaded numbers");
    lathe_tensor_release(tensor);

    const char *key = NULL;
    const char *value = NULL;
    CHECK(lathe_checkpoint_metadata_at(checkpoint, 0, &key, &value), "metadata 0");
    CHECK(strcmp(key, "b") == 0 && strcmp(value, "2") == 0, "%s=%s", key, value);
    CHECK(lathe_checkpoint_metadata_at(checkpoint, 1, NULL, &value), "metadata 1");
    CHECK(strcmp(value, "1") == 0, "%s", value);
    CHECK(!lathe_checkpoint_metadata_at(checkpoint, 2, &key, &value), "metadata 2");
    CHECK(lathe_checkpoint_find(checkpoint, "y") == 1, "find y");
    CHECK(lathe_checkpoint_find(checkpoint, "z") == SIZE_MAX, "find z");
    CHECK(lathe_checkpoint_tensor_at(checkpoint, 2) == NULL, "tensor 2");
    CHECK(strcmp(lathe_checkpoint_file_at(checkpoint, 0), path) == 0, "file 0");
    CHECK(lathe_checkpoint_file_at(checkpoint, 1) == NULL, "file 1");

    /* A file that shrinks under the reader is an error, not garbage. */
    CHECK(truncate(path, (off_t)(8 + sizeof header - 1 + 5)) == 0, "truncate");
    CHECK_STATUS(lathe_checkpoint_read(checkpoint, 1, 0, bytes, 8), LATHE_IO);
    CHECK(strstr(lathe_last_error()->message, "tensor \"y\"") != NULL, "%s",
          lathe_last_error()->message);
    lathe_checkpoint_close(checkpoint);
    lathe_checkpoint_close(NULL);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* 100,000 tensors: opened, and each found by name, in no time. */
Test(safetensors, many_tensors, .timeout = 60) {
    const size_t n_tensors = TEST_SANITIZED ? 10000 : 100000;
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "many.safetensors");
    char *header = malloc(n_tensors * 100);
    CHECK(header != NULL, "memory");
    size_t at = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        at += (size_t)sprintf(
            header + at,
            "%c\"layer.%zu\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
            i == 0 ? '{' : ',', i * 7919 % n_tensors, i, i + 1);
    }
    header[at++] = '}';
    test_write_container(path, at, header, at, NULL, n_tensors);
    free(header);
    lathe_checkpoint *checkpoint = NULL;
    CHECK_OK(lathe_checkpoint_open(pool, path, &checkpoint));
    for (size_t i = 0; i < n_tensors; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "layer.%zu", i * 7919 % n_tensors);
        CHECK(lathe_checkpoint_find(checkpoint, name) == i, "%s", name);
    }
    lathe_checkpoint_close(checkpoint);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}
