/* SPDX-License-Identifier: Apache-2.0 */
/* Sharded checkpoints: indexes good and bad. */
#include "checkpoint_files.h"

static lathe_pool *make_pool(void) {
    lathe_pool *pool = NULL;
    CHECK_OK(lathe_pool_create(NULL, &pool));
    return pool;
}

#define INDEX "m.safetensors.index.json"
#define MAP(entries) "{\"weight_map\":{" entries "}}"

/* Shards one.safetensors (a, b) and two.safetensors (c). */
static void write_shards(const test_folder *folder) {
    test_write_header(test_path(folder, "one.safetensors"),
                      "{\"__metadata__\":{\"k\":\"1\",\"only\":\"x\"}," ENTRY(
                          "a", "F32", "2", 0, 8) "," ENTRY("b", "U8", "1", 8, 9) "}",
                      9);
    test_write_header(test_path(folder, "two.safetensors"),
                      "{\"__metadata__\":{\"k\":\"2\"}," ENTRY("c", "F16", "3", 0, 6) "}", 6);
}

static void write_index(const test_folder *folder, const char *text) {
    test_write_file(test_path(folder, INDEX), text, strlen(text));
}

#define GOOD "\"c\":\"two.safetensors\",\"a\":\"one.safetensors\",\"b\":\"one.safetensors\""

Test(checkpoint_sharded, opens) {
    static const char *const indexes[] = {
        MAP(GOOD),
        "{\"metadata\":{\"total_size\":15.0,\"x\":[1]},\"weight_map\":{" GOOD "}}",
        "\n{ \"other\" : null , \"weight_map\" : {" GOOD "}, \"metadata\":null}\n",
    };
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    write_shards(&folder);
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        lathe_checkpoint *checkpoint = NULL;
        write_index(&folder, indexes[i]);
        CHECK_OK(lathe_checkpoint_open(pool, test_path(&folder, INDEX), &checkpoint));
        CHECK(lathe_checkpoint_n_tensors(checkpoint) == 3, "tensors");
        CHECK(lathe_checkpoint_n_files(checkpoint) == 2, "files");
        CHECK(strcmp(lathe_checkpoint_file_at(checkpoint, 0),
                     test_path(&folder, "one.safetensors")) == 0,
              "files are not in order");
        size_t c = lathe_checkpoint_find(checkpoint, "c");
        CHECK(c == 2, "c is tensor %zu", c);
        CHECK(strcmp(lathe_checkpoint_tensor_at(checkpoint, c)->file,
                     test_path(&folder, "two.safetensors")) == 0,
              "file");
        const char *value = NULL;
        CHECK(lathe_checkpoint_metadata_at(checkpoint, 0, NULL, &value) && strcmp(value, "1") == 0,
              "the first shard's value counts");
        CHECK(lathe_checkpoint_metadata_at(checkpoint, 1, NULL, &value) && strcmp(value, "x") == 0,
              "metadata 1");
        CHECK(!lathe_checkpoint_metadata_at(checkpoint, 2, NULL, &value), "metadata 2");
        lathe_checkpoint_close(checkpoint);
    }
    lathe_checkpoint *checkpoint = NULL;
    write_index(&folder, MAP(""));
    CHECK_OK(lathe_checkpoint_open(pool, test_path(&folder, INDEX), &checkpoint));
    CHECK(lathe_checkpoint_n_tensors(checkpoint) == 0, "tensors");
    lathe_checkpoint_close(checkpoint);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

Test(checkpoint_sharded, malformed_indexes) {
    static const struct {
        const char *text;
        lathe_status status;
        const char *fragment;
    } cases[] = {
        {"", LATHE_MALFORMED_FILE, "the index is not valid JSON at byte 0"},
        {"[]", LATHE_MALFORMED_FILE, "does not begin with '{'"},
        {"{}", LATHE_MALFORMED_FILE, "weight_map is missing"},
        {"{\"weight_map\":[]}", LATHE_MALFORMED_FILE, "weight_map is not an object"},
        {"{\"weight_map\":null}", LATHE_MALFORMED_FILE, "weight_map is not an object"},
        {"{\"weight_map\":{},\"weight_map\":{}}", LATHE_MALFORMED_FILE, "twice"},
        {"{\"metadata\":1,\"weight_map\":{}}", LATHE_MALFORMED_FILE, "metadata is not an object"},
        {"{\"weight_map\":{}", LATHE_MALFORMED_FILE, "ends early"},
        {"{\"weight_map\":{}}x", LATHE_MALFORMED_FILE, "white space"},
        {"{\"weight_map\":{\"\xff\":\"one.safetensors\"}}", LATHE_MALFORMED_FILE, "UTF-8"},
        {MAP("\"a\":1"), LATHE_MALFORMED_FILE, "weight_map \"a\""},
        {MAP("\"a\":null"), LATHE_MALFORMED_FILE, "weight_map \"a\""},
        {MAP("\"a\":\"\""), LATHE_MALFORMED_FILE, "\"\" is not a plain file name"},
        {MAP("\"a\":\".\""), LATHE_MALFORMED_FILE, "\".\" is not a plain file name"},
        {MAP("\"a\":\"..\""), LATHE_MALFORMED_FILE, "\"..\" is not a plain file name"},
        {MAP("\"a\":\"../one.safetensors\""), LATHE_MALFORMED_FILE, "is not a plain file name"},
        {MAP("\"a\":\"sub/one.safetensors\""), LATHE_MALFORMED_FILE, "is not a plain file name"},
        {MAP("\"a\":\"/etc/passwd\""), LATHE_MALFORMED_FILE, "is not a plain file name"},
        {MAP("\"a\":\"one.safetensors\\u0000\""), LATHE_MALFORMED_FILE, "NUL"},
        {MAP(GOOD ",\"a\":\"one.safetensors\""), LATHE_MALFORMED_FILE, "twice"},
        {MAP(GOOD ",\"d\":\"two.safetensors\""), LATHE_MALFORMED_FILE,
         "tensor \"d\" is in the index, but not in the shard \"two.safetensors\""},
        {MAP("\"c\":\"two.safetensors\",\"a\":\"one.safetensors\""), LATHE_MALFORMED_FILE,
         "one.safetensors: tensor \"b\" is in the shard, but the index does not list it"},
        {MAP("\"c\":\"two.safetensors\",\"a\":\"one.safetensors\",\"b\":\"two.safetensors\""),
         LATHE_MALFORMED_FILE, "tensor \"b\" is in the shard, but the index says that another"},
        {MAP(GOOD ",\"e\":\"three.safetensors\""), LATHE_NOT_FOUND, "three.safetensors"},
        {MAP(GOOD ",\"e\":\"bad.safetensors\""), LATHE_MALFORMED_FILE, "bad.safetensors"},
        {MAP(GOOD ",\"e\":\"fifo.safetensors\""), LATHE_IO, "fifo.safetensors: is not a regular"},
        {MAP("\"a\":\"" INDEX "\""), LATHE_MALFORMED_FILE, INDEX},
    };
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    write_shards(&folder);
    test_write_header(test_path(&folder, "bad.safetensors"), "{", 0);
    CHECK(mkfifo(test_path(&folder, "fifo.safetensors"), 0600) == 0, "mkfifo");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lathe_checkpoint *checkpoint = NULL;
        write_index(&folder, cases[i].text);
        lathe_status status = lathe_checkpoint_open(pool, test_path(&folder, INDEX), &checkpoint);
        const char *message = lathe_last_error()->message;
        CHECK(status == cases[i].status, "case %zu: %s: %s", i, lathe_status_name(status), message);
        CHECK(strstr(message, cases[i].fragment) != NULL, "case %zu: %s", i, message);
        CHECK(strstr(message, folder.path) != NULL, "case %zu: no file in %s", i, message);
        CHECK(checkpoint == NULL, "case %zu: a checkpoint was made", i);
    }
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(pool, &stats));
    CHECK(stats.n_live == 0, "%llu blocks leaked", (unsigned long long)stats.n_live);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}
