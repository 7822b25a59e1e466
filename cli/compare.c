/* SPDX-License-Identifier: Apache-2.0 */
/* lathe compare: measures how far the values of two checkpoints differ. */
#include "cli.h"
#include "decode.h"
#include <string.h>

typedef struct compare_options {
    const char *paths[2];
    size_t n_paths;
    bool json;
} compare_options;

static const struct argp_option option_list[] = {
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    compare_options *options = state->input;
    switch (key) {
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->n_paths == 2) {
            argp_error(state, "too many arguments");
        }
        options->paths[options->n_paths++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (options->n_paths != 2) {
            argp_error(state, "two files are required");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "A B",
    .doc = "Measure how far the values of the checkpoint B lie from those of A."
           "\v"
           "Both may be a safetensors file or a *.safetensors.index.json. Quantized tensors are "
           "decoded. A tensor that lathe does not convert is compared byte by byte. A tensor that "
           "only one file has, or that differs in shape, is an error.",
};

/* What was found about a tensor, or about all. */
typedef struct difference {
    lathe_quality_report report; /* of values */
    bool identical;              /* values, or bytes */
} difference;

typedef struct comparison {
    lathe_engine *engine;
    lathe_checkpoint *files[2];
    decode_side sides[2];
    lathe_comparison *total;
    bool bytes_differ; /* of a tensor that is not decoded */
    json_t *json;      /* one of these two takes the results */
    cli_table *table;
} comparison;

static lathe_status report_values(const lathe_comparison *values, difference *d) {
    d->report = (lathe_quality_report){.struct_size = sizeof(d->report)};
    lathe_status status = lathe_comparison_report(values, &d->report);
    d->identical = d->report.max_abs_error == 0 && d->report.n_nonfinite == 0;
    return status;
}

static bool same_shape(const lathe_checkpoint_tensor *a, const lathe_checkpoint_tensor *b) {
    return a->n_dims == b->n_dims &&
           (a->n_dims == 0 || memcmp(a->shape, b->shape, a->n_dims * sizeof(*a->shape)) == 0);
}

/* Values can be compared if both sides decode, bytes if both have the same type. */
static bool same_kind(const lathe_checkpoint_tensor *a, const lathe_checkpoint_tensor *b) {
    if (a->dtype != 0 && b->dtype != 0) {
        return true;
    }
    return a->dtype == b->dtype && strcmp(a->stored_type, b->stored_type) == 0;
}

/* Both files must have the same tensors before anything is read. */
static int check_tensors(const comparison *c, const compare_options *options) {
    for (size_t side = 0; side < 2; side++) {
        const lathe_checkpoint *here = c->files[side];
        const lathe_checkpoint *there = c->files[1 - side];
        for (size_t i = 0; i < lathe_checkpoint_n_tensors(here); i++) {
            const lathe_checkpoint_tensor *a = lathe_checkpoint_tensor_at(here, i);
            size_t k = lathe_checkpoint_find(there, a->name);
            if (k == SIZE_MAX) {
                return cli_fail("tensor '%s' is missing in '%s'", a->name,
                                options->paths[1 - side]);
            }
            const lathe_checkpoint_tensor *b = lathe_checkpoint_tensor_at(there, k);
            if (!same_shape(a, b)) {
                return cli_fail("tensor '%s' has different shapes", a->name);
            }
            if (!same_kind(a, b)) {
                return cli_fail("tensor '%s' is %s in one file and %s in the other, which cannot "
                                "be compared",
                                a->name, a->stored_type, b->stored_type);
            }
        }
    }
    return CLI_OK;
}

/* Adds the n decoded elements that both sides hold. */
static lathe_status add_values(comparison *c, uint64_t n, lathe_comparison *values) {
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 1, .shape = &n};
    lathe_tensor *tensors[2] = {NULL, NULL};
    lathe_status status = LATHE_OK;
    for (size_t side = 0; side < 2 && status == LATHE_OK; side++) {
        status = lathe_tensor_wrap(lathe_engine_pool(c->engine), &desc, c->sides[side].values, NULL,
                                   LATHE_WRAP_READ_ONLY, NULL, NULL, &tensors[side]);
    }
    if (status == LATHE_OK) {
        status = lathe_comparison_add(values, tensors[0], tensors[1]);
    }
    lathe_tensor_release(tensors[0]);
    lathe_tensor_release(tensors[1]);
    return status;
}

/* Adds the values of the tensors that c->sides name, in chunks of whole rows where they fit. */
static lathe_status add_tensors(comparison *c, uint64_t n_elems, lathe_comparison *values) {
    uint64_t step = decode_step(&c->sides[0], &c->sides[1]);
    for (uint64_t first = 0; first < n_elems; first += step) {
        uint64_t n = n_elems - first < step ? n_elems - first : step;
        for (size_t side = 0; side < 2; side++) {
            lathe_status status = decode_values(&c->sides[side], c->engine, first, n);
            if (status != LATHE_OK) {
                return status;
            }
        }
        lathe_status status = add_values(c, n, values);
        if (status != LATHE_OK) {
            return status;
        }
    }
    return LATHE_OK;
}

static lathe_status compare_values(comparison *c, uint64_t n_elems, difference *d) {
    lathe_comparison *values = NULL;
    lathe_status status = lathe_comparison_create(c->engine, &values);
    if (status == LATHE_OK) {
        status = add_tensors(c, n_elems, values);
    }
    if (status == LATHE_OK) {
        status = lathe_comparison_merge(c->total, values);
    }
    if (status == LATHE_OK) {
        status = report_values(values, d);
    }
    lathe_comparison_free(values);
    return status;
}

static lathe_status compare_bytes(comparison *c, uint64_t n_bytes, difference *d) {
    for (uint64_t offset = 0; offset < n_bytes && d->identical; offset += DECODE_BYTES) {
        uint64_t n = n_bytes - offset < DECODE_BYTES ? n_bytes - offset : DECODE_BYTES;
        for (size_t side = 0; side < 2; side++) {
            decode_side *s = &c->sides[side];
            lathe_status status =
                lathe_checkpoint_read(s->checkpoint, s->index, offset, s->bytes, (size_t)n);
            if (status != LATHE_OK) {
                return status;
            }
        }
        d->identical = memcmp(c->sides[0].bytes, c->sides[1].bytes, (size_t)n) == 0;
    }
    c->bytes_differ = c->bytes_differ || !d->identical;
    return LATHE_OK;
}

static json_t *difference_json(const difference *d, bool decoded) {
    if (!decoded) {
        return json_pack("{s:b}", "identical", (int)d->identical);
    }
    return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "identical", (int)d->identical, "mse",
                     cli_json_number(d->report.mse), "sqnr_db", cli_json_number(d->report.sqnr_db),
                     "max_abs", cli_json_number(d->report.max_abs_error), "cosine",
                     cli_json_number(d->report.cosine), "n_nonfinite",
                     cli_json_count(d->report.n_nonfinite));
}

static void difference_cells(cli_table *table, const difference *d, bool decoded) {
    if (!decoded) {
        cli_table_cell(table, "-");
        cli_table_cell(table, "-");
        cli_table_cell(table, "-");
        cli_table_cell(table, d->identical ? "same bytes" : "bytes differ");
        return;
    }
    cli_table_cell(table, "%.4g", d->report.mse);
    cli_table_cell(table, "%.2f", d->report.sqnr_db);
    cli_table_cell(table, "%.4g", d->report.max_abs_error);
    cli_table_cell(table, "%.8f", d->report.cosine);
}

static void report_tensor(comparison *c, const difference *d) {
    const lathe_checkpoint_tensor *a = c->sides[0].tensor;
    const lathe_checkpoint_tensor *b = c->sides[1].tensor;
    const char *from = a->dtype != 0 ? lathe_dtype_name(a->dtype) : a->stored_type;
    const char *to = b->dtype != 0 ? lathe_dtype_name(b->dtype) : b->stored_type;
    if (c->json != NULL) {
        json_t *object = json_pack("{s:s, s:s, s:s}", "name", a->name, "a", from, "b", to);
        json_object_update_new(object, difference_json(d, a->dtype != 0));
        json_array_append_new(c->json, object);
        return;
    }
    cli_table_cell(c->table, "%s", a->name);
    cli_table_cell(c->table, "%s", from);
    cli_table_cell(c->table, "%s", to);
    difference_cells(c->table, d, a->dtype != 0);
}

static lathe_status compare_all(comparison *c, difference *total) {
    for (size_t i = 0; i < lathe_checkpoint_n_tensors(c->files[0]); i++) {
        const lathe_checkpoint_tensor *a = lathe_checkpoint_tensor_at(c->files[0], i);
        decode_select(&c->sides[0], c->files[0], i);
        decode_select(&c->sides[1], c->files[1], lathe_checkpoint_find(c->files[1], a->name));
        difference d = {.identical = true};
        lathe_status status =
            a->dtype != 0 ? compare_values(c, a->n_elems, &d) : compare_bytes(c, a->n_bytes, &d);
        if (status != LATHE_OK) {
            return status;
        }
        report_tensor(c, &d);
    }
    lathe_status status = report_values(c->total, total);
    total->identical = total->identical && !c->bytes_differ;
    return status;
}

static int print_result(comparison *c, const difference *total) {
    if (c->json != NULL) {
        json_t *tensors = c->json;
        c->json = NULL;
        return cli_print_json(
            json_pack("{s:o, s:o}", "tensors", tensors, "total", difference_json(total, true)));
    }
    cli_table_cell(c->table, "total");
    cli_table_cell(c->table, "%s", "");
    cli_table_cell(c->table, "%s", "");
    difference_cells(c->table, total, true);
    cli_table_print(c->table);
    c->table = NULL;
    if (total->report.n_nonfinite != 0) {
        printf("%llu elements are NaN or infinite on one side only\n",
               (unsigned long long)total->report.n_nonfinite);
    }
    return CLI_OK;
}

static int run(comparison *c, const compare_options *options) {
    static const char *const headings[] = {"tensor",  "A",       "B",     "mse",
                                           "sqnr dB", "max abs", "cosine"};
    if (cli_engine_create(NULL, &c->engine) != LATHE_OK) {
        return cli_fail_last();
    }
    if (lathe_comparison_create(c->engine, &c->total) != LATHE_OK) {
        return cli_fail_last();
    }
    lathe_pool *pool = lathe_engine_pool(c->engine);
    for (size_t side = 0; side < 2; side++) {
        if (lathe_checkpoint_open(pool, options->paths[side], &c->files[side]) != LATHE_OK ||
            decode_open(&c->sides[side], pool) != LATHE_OK) {
            return cli_fail_last();
        }
    }
    int status = check_tensors(c, options);
    if (status != CLI_OK) {
        return status;
    }
    if (options->json) {
        c->json = json_array();
    } else {
        c->table = cli_table_new("lllrrrr", headings);
    }
    difference total = {0};
    if (compare_all(c, &total) != LATHE_OK) {
        return cli_fail_last();
    }
    return print_result(c, &total);
}

int cli_compare(int argc, char **argv) {
    compare_options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    comparison c = {0};
    int status = run(&c, &options);
    for (size_t side = 0; side < 2; side++) {
        decode_close(&c.sides[side]);
        lathe_checkpoint_close(c.files[side]);
    }
    lathe_comparison_free(c.total);
    cli_table_free(c.table);
    json_decref(c.json);
    lathe_engine_free(c.engine);
    return status;
}
