/* SPDX-License-Identifier: Apache-2.0 */
/* lathe inspect: shows what a checkpoint holds. */
#include "cli.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct inspect_options {
    const char *path;
    bool json;
    bool tensors;
} inspect_options;

static const struct argp_option option_list[] = {
    {"json", 'j', NULL, 0, "Print one JSON object, with every tensor", 0},
    {"tensors", 't', NULL, 0, "List every tensor", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    inspect_options *options = state->input;
    switch (key) {
    case 'j':
        options->json = true;
        return 0;
    case 't':
        options->tensors = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->path != NULL) {
            argp_error(state, "too many arguments");
        }
        options->path = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "the file is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "FILE",
    .doc =
        "Show what the checkpoint FILE, a safetensors file or a *.safetensors.index.json, holds.",
};

/* The type's name for a person and for JSON: Lathe's where it has one, else the container's. */
static const char *type_name(const lathe_checkpoint_tensor *tensor) {
    return tensor->dtype != 0 ? lathe_dtype_name(tensor->dtype) : tensor->stored_type;
}

static uint64_t total_bytes(const lathe_checkpoint_tensor *tensor) {
    return tensor->n_bytes + tensor->n_scales * sizeof(float);
}

static uint64_t file_size(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && info.st_size > 0 ? (uint64_t)info.st_size : 0;
}

/* The tensors of one type. */
typedef struct type_total {
    const char *type;
    uint64_t n_tensors;
    uint64_t n_elems;
    uint64_t n_bytes;
} type_total;

static type_total *sum_types(const lathe_checkpoint *checkpoint, size_t *n_types) {
    size_t n_tensors = lathe_checkpoint_n_tensors(checkpoint);
    type_total *totals = cli_allocate(n_tensors, sizeof(*totals));
    *n_types = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        const lathe_checkpoint_tensor *tensor = lathe_checkpoint_tensor_at(checkpoint, i);
        size_t k = 0;
        while (k < *n_types && strcmp(totals[k].type, type_name(tensor)) != 0) {
            k++;
        }
        if (k == *n_types) {
            totals[(*n_types)++] = (type_total){.type = type_name(tensor)};
        }
        totals[k].n_tensors++;
        totals[k].n_elems += tensor->n_elems;
        totals[k].n_bytes += total_bytes(tensor);
    }
    return totals;
}

static json_t *tensor_json(const lathe_checkpoint_tensor *tensor) {
    char granularity[CLI_GRANULARITY_TEXT];
    json_t *shape = json_array();
    for (uint32_t d = 0; d < tensor->n_dims; d++) {
        json_array_append_new(shape, cli_json_count(tensor->shape[d]));
    }
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "name", tensor->name, "dtype",
                  type_name(tensor), "stored_type", tensor->stored_type, "shape", shape, "elements",
                  cli_json_count(tensor->n_elems), "bytes", cli_json_count(tensor->n_bytes),
                  "scales", cli_json_count(tensor->n_scales), "file", cli_json_text(tensor->file));
    if (object != NULL && lathe_dtype_is_quantized(tensor->dtype)) {
        json_object_set_new(object, "granularity",
                            json_string(cli_granularity_text(tensor->granularity,
                                                             tensor->group_size, granularity)));
        json_object_set_new(object, "row_dims", cli_json_count(tensor->row_dims));
    }
    return object;
}

static json_t *checkpoint_json(const lathe_checkpoint *checkpoint) {
    json_t *files = json_array();
    for (size_t i = 0; i < lathe_checkpoint_n_files(checkpoint); i++) {
        const char *path = lathe_checkpoint_file_at(checkpoint, i);
        json_array_append_new(files, json_pack("{s:o, s:o}", "path", cli_json_text(path), "bytes",
                                               cli_json_count(file_size(path))));
    }
    json_t *metadata = json_object();
    const char *key = NULL;
    const char *value = NULL;
    for (size_t i = 0; lathe_checkpoint_metadata_at(checkpoint, i, &key, &value); i++) {
        json_object_set_new(metadata, key, json_string(value));
    }
    json_t *types = json_array();
    size_t n_types = 0;
    type_total *totals = sum_types(checkpoint, &n_types);
    for (size_t i = 0; i < n_types; i++) {
        json_array_append_new(types, json_pack("{s:s, s:o, s:o, s:o}", "dtype", totals[i].type,
                                               "tensors", cli_json_count(totals[i].n_tensors),
                                               "elements", cli_json_count(totals[i].n_elems),
                                               "bytes", cli_json_count(totals[i].n_bytes)));
    }
    free(totals);
    json_t *tensors = json_array();
    size_t n_tensors = lathe_checkpoint_n_tensors(checkpoint);
    for (size_t i = 0; i < n_tensors; i++) {
        json_array_append_new(tensors, tensor_json(lathe_checkpoint_tensor_at(checkpoint, i)));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "files", files, "file_bytes",
                     cli_json_count(lathe_checkpoint_file_bytes(checkpoint)), "metadata", metadata,
                     "n_tensors", cli_json_count(n_tensors), "types", types, "tensors", tensors);
}

static void print_files(const lathe_checkpoint *checkpoint) {
    static const char *const headings[] = {"file", "size"};
    char text[CLI_BYTES_TEXT];
    cli_table *table = cli_table_new("lr", headings);
    for (size_t i = 0; i < lathe_checkpoint_n_files(checkpoint); i++) {
        const char *path = lathe_checkpoint_file_at(checkpoint, i);
        cli_table_cell(table, "%s", path);
        cli_table_cell(table, "%s", cli_bytes_text(file_size(path), text));
    }
    cli_table_print(table);
}

static void print_metadata(const lathe_checkpoint *checkpoint) {
    static const char *const headings[] = {"metadata", "value"};
    const char *key = NULL;
    const char *value = NULL;
    if (!lathe_checkpoint_metadata_at(checkpoint, 0, &key, &value)) {
        return;
    }
    cli_table *table = cli_table_new("ll", headings);
    for (size_t i = 0; lathe_checkpoint_metadata_at(checkpoint, i, &key, &value); i++) {
        cli_table_cell(table, "%s", key);
        cli_table_cell(table, "%.200s%s", value, strlen(value) > 200 ? "..." : "");
    }
    putchar('\n');
    cli_table_print(table);
}

static void add_total(cli_table *table, const type_total *total) {
    char text[CLI_BYTES_TEXT];
    cli_table_cell(table, "%s", total->type);
    cli_table_cell(table, "%llu", (unsigned long long)total->n_tensors);
    cli_table_cell(table, "%llu", (unsigned long long)total->n_elems);
    cli_table_cell(table, "%s", cli_bytes_text(total->n_bytes, text));
}

static void print_types(const lathe_checkpoint *checkpoint) {
    static const char *const headings[] = {"dtype", "tensors", "elements", "size"};
    type_total all = {.type = "total"};
    size_t n_types = 0;
    type_total *totals = sum_types(checkpoint, &n_types);
    cli_table *table = cli_table_new("lrrr", headings);
    for (size_t i = 0; i < n_types; i++) {
        add_total(table, &totals[i]);
        all.n_tensors += totals[i].n_tensors;
        all.n_elems += totals[i].n_elems;
        all.n_bytes += totals[i].n_bytes;
    }
    add_total(table, &all);
    putchar('\n');
    cli_table_print(table);
    free(totals);
}

static void shape_text(const lathe_checkpoint_tensor *tensor, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "[");
    for (uint32_t d = 0; d < tensor->n_dims && used < size; d++) {
        used += (size_t)snprintf(text + used, size - used, "%s%llu", d != 0 ? ", " : "",
                                 (unsigned long long)tensor->shape[d]);
    }
    if (used < size) {
        snprintf(text + used, size - used, "]");
    }
}

static void print_tensors(const lathe_checkpoint *checkpoint) {
    static const char *const headings[] = {"tensor",      "dtype", "stored", "shape",
                                           "granularity", "bytes", "scales"};
    cli_table *table = cli_table_new("lllllrr", headings);
    for (size_t i = 0; i < lathe_checkpoint_n_tensors(checkpoint); i++) {
        const lathe_checkpoint_tensor *tensor = lathe_checkpoint_tensor_at(checkpoint, i);
        char granularity[CLI_GRANULARITY_TEXT];
        char shape[32 + 24 * LATHE_MAX_DIMS];
        shape_text(tensor, shape, sizeof(shape));
        cli_table_cell(table, "%s", tensor->name);
        cli_table_cell(table, "%s", type_name(tensor));
        cli_table_cell(table, "%s", tensor->stored_type);
        cli_table_cell(table, "%s", shape);
        cli_table_cell(
            table, "%s",
            lathe_dtype_is_quantized(tensor->dtype)
                ? cli_granularity_text(tensor->granularity, tensor->group_size, granularity)
                : "-");
        cli_table_cell(table, "%llu", (unsigned long long)tensor->n_bytes);
        cli_table_cell(table, "%llu", (unsigned long long)tensor->n_scales);
    }
    putchar('\n');
    cli_table_print(table);
}

int cli_inspect(int argc, char **argv) {
    inspect_options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    int status = CLI_OK;
    lathe_pool *pool = NULL;
    lathe_checkpoint *checkpoint = NULL;
    if (lathe_pool_create(NULL, &pool) != LATHE_OK ||
        lathe_checkpoint_open(pool, options.path, &checkpoint) != LATHE_OK) {
        status = cli_fail_last();
    } else if (options.json) {
        status = cli_print_json(checkpoint_json(checkpoint));
    } else {
        print_files(checkpoint);
        print_metadata(checkpoint);
        print_types(checkpoint);
        if (options.tensors) {
            print_tensors(checkpoint);
        }
    }
    lathe_checkpoint_close(checkpoint);
    lathe_pool_release(pool);
    return status;
}
