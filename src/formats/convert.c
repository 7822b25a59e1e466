/* SPDX-License-Identifier: Apache-2.0 */
/* Converts a checkpoint, tensor by tensor, through the streaming strategy. */
#include "formats/convert.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/plan/planner.h"
#include "engine/stream/streaming.h"
#include "files/file_io.h"
#include <string.h>
#include <time.h>

typedef struct lt_report {
    lathe_checkpoint_report report; /* first: what the caller has is a pointer to it */
    lathe_pool *pool;
    lt_arena arena;
} lt_report;

/* One conversion of a checkpoint. */
typedef struct conversion {
    const lathe_checkpoint_options *options;
    lathe_pool *pool;
    lathe_checkpoint *input;
    lt_convert_item *items;
    lt_outputs outputs;
    lt_streamer *streamer;
    lt_report *report;
    lathe_tensor_report *tensor_reports;
    lt_progress progress;
    uint64_t done_bytes;
    uint64_t total_bytes;
} conversion;

/* A tensor on its way: the context of its source and its sink. */
typedef struct transfer {
    const lathe_checkpoint *input;
    const lt_checkpoint_tensor *tensor;
    lathe_writer *writer;
    size_t index;
} transfer;

static lathe_status read_data(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    const transfer *t = ctx;
    return lt_checkpoint_read_data(t->input, t->tensor, offset, buffer, n_bytes);
}

static lathe_status read_scales(void *ctx, uint64_t first, float *scales, size_t n_scales) {
    const transfer *t = ctx;
    return lt_checkpoint_read_scales(t->input, t->tensor, first, scales, n_scales);
}

static lathe_status write_data(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    const transfer *t = ctx;
    return lathe_writer_write(t->writer, t->index, offset, bytes, n_bytes);
}

static lathe_status write_scales(void *ctx, uint64_t first, const float *scales, size_t n_scales) {
    const transfer *t = ctx;
    return lathe_writer_write_scales(t->writer, t->index, first, scales, n_scales);
}

static int advance(void *ctx, uint64_t n_bytes) {
    conversion *c = ctx;
    c->done_bytes = lt_min(c->done_bytes + n_bytes, c->total_bytes);
    return c->options->progress(c->options->progress_ctx, c->done_bytes, c->total_bytes);
}

static lathe_status make_report(conversion *c) {
    size_t n_tensors = c->input->n_tensors;
    lt_report *report = lt_pool_new(c->pool, sizeof *report);
    if (report == NULL) {
        return lt_error()->status;
    }
    report->pool = lathe_pool_retain(c->pool);
    report->arena.pool = c->pool;
    c->report = report;
    c->tensor_reports = lt_arena_new_array(&report->arena, n_tensors, sizeof *c->tensor_reports);
    if (c->tensor_reports == NULL) {
        return lt_error()->status;
    }
    uint64_t *matches = lt_arena_new_array(&report->arena, c->options->n_rules, sizeof *matches);
    if (matches == NULL) {
        return lt_error()->status;
    }
    for (size_t i = 0; i < n_tensors; i++) {
        if (c->items[i].rule != SIZE_MAX) {
            matches[c->items[i].rule]++;
        }
    }
    report->report.n_rules = c->options->n_rules;
    report->report.rule_matches = matches;
    report->report.tensors = c->tensor_reports;
    report->report.n_tensors = n_tensors;
    report->report.input_bytes = c->input->file_bytes;
    return LATHE_OK;
}

static uint64_t scale_bytes(uint64_t n_scales) {
    return n_scales * sizeof(float);
}

/* What a person calls the tensor's type. */
static const char *type_name(const lathe_checkpoint_tensor *info) {
    return info->dtype != 0 ? lathe_dtype_name(info->dtype) : info->stored_type;
}

static lathe_status report_tensor(conversion *c, size_t i, const lathe_tensor_desc *to) {
    const lathe_checkpoint_tensor *info = &c->input->tensors[i]->info;
    lathe_tensor_report *report = &c->tensor_reports[i];
    report->name = lt_arena_copy(&c->report->arena, info->name, strlen(info->name));
    if (report->name == NULL) {
        return lt_error()->status;
    }
    report->from = type_name(info);
    report->bytes_in = info->n_bytes + scale_bytes(info->n_scales);
    if (to == NULL) {
        report->to = report->from;
        report->bytes_out = report->bytes_in;
        report->scale_count = info->n_scales;
        return LATHE_OK;
    }
    uint64_t n_bytes = 0;
    lathe_status status = lathe_tensor_desc_sizes(to, NULL, &n_bytes, &report->scale_count);
    report->to = lathe_dtype_name(to->dtype);
    report->converted = 1;
    report->bytes_out = n_bytes + scale_bytes(report->scale_count);
    c->report->report.n_converted++;
    return status;
}

/* Declares the output of tensor i and reports on it. */
static lathe_status declare_tensor(conversion *c, size_t i) {
    const lt_checkpoint_tensor *tensor = c->input->tensors[i];
    const lathe_checkpoint_tensor *info = &tensor->info;
    lt_convert_item *item = &c->items[i];
    lathe_writer *writer = lt_outputs_writer(&c->outputs, tensor->file);
    lathe_tensor_desc from;
    lathe_tensor_desc to;
    lathe_status status = LATHE_OK;
    if (item->dtype == 0 && info->row_dims == 0) { /* not quantized */
        status = lt_writer_add_plain(writer, info->name, tensor->type, info->n_dims, info->shape,
                                     info->n_bytes, &item->index);
        c->total_bytes += info->n_bytes;
        return status == LATHE_OK ? report_tensor(c, i, NULL) : status;
    }
    status = lt_checkpoint_desc(tensor, &from);
    if (status != LATHE_OK) {
        return status;
    }
    if (item->dtype == 0) {
        status = lathe_writer_add(writer, info->name, &from, &item->index);
        c->total_bytes += info->n_bytes;
        return status == LATHE_OK ? report_tensor(c, i, NULL) : status;
    }
    const lathe_target target = lt_convert_target(c->options, item);
    status = lathe_target_desc(&target, info->n_dims, info->shape, &to);
    if (status == LATHE_OK) {
        status = lathe_writer_add(writer, info->name, &to, &item->index);
    }
    c->total_bytes += lt_streamer_read_bytes(c->streamer, &from, &target);
    return status == LATHE_OK ? report_tensor(c, i, &to) : status;
}

static lathe_status declare_metadata(lathe_writer *writer, const lt_st_pair *pairs,
                                     size_t n_pairs) {
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < n_pairs && status == LATHE_OK; i++) {
        status = lathe_writer_add_metadata(writer, pairs[i].key, pairs[i].value);
    }
    return status;
}

/* Declares everything and takes the disk space of all files before the first byte is converted. */
static lathe_status declare(conversion *c) {
    const lathe_checkpoint *input = c->input;
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < c->outputs.n_writers && status == LATHE_OK; i++) {
        bool merged = c->outputs.n_writers != input->n_files;
        status = merged
                     ? declare_metadata(c->outputs.writers[i], input->metadata, input->n_metadata)
                     : declare_metadata(c->outputs.writers[i], input->files[i].metadata,
                                        input->files[i].n_metadata);
    }
    for (size_t i = 0; i < input->n_tensors && status == LATHE_OK; i++) {
        if (declare_tensor(c, i) != LATHE_OK) {
            status = lt_checkpoint_prefix(input->tensors[i]);
        }
    }
    for (size_t i = 0; i < c->outputs.n_writers && status == LATHE_OK; i++) {
        status = lt_writer_begin(c->outputs.writers[i]);
        c->report->report.output_bytes += lt_writer_file_bytes(c->outputs.writers[i]);
    }
    return status;
}

/* Copies the companion's bytes as well; scales that no encoder writes are an error. */
static lathe_status copy_scales(const transfer *t) {
    float scales[256];
    const uint64_t n_scales = t->tensor->info.n_scales;
    lathe_status status = LATHE_OK;
    for (uint64_t first = 0; first < n_scales && status == LATHE_OK;) {
        size_t count = (size_t)lt_min(n_scales - first, sizeof scales / sizeof scales[0]);
        status = lt_checkpoint_read_scales(t->input, t->tensor, first, scales, count);
        if (status == LATHE_OK) {
            status = lathe_writer_write_scales(t->writer, t->index, first, scales, count);
        }
        first += count;
    }
    return status;
}

static lathe_status convert_tensor(conversion *c, size_t i) {
    const lt_checkpoint_tensor *tensor = c->input->tensors[i];
    const lt_convert_item *item = &c->items[i];
    transfer t = {.input = c->input,
                  .tensor = tensor,
                  .writer = lt_outputs_writer(&c->outputs, tensor->file),
                  .index = item->index};
    const lt_source source = {.ctx = &t, .read = read_data, .read_scales = read_scales};
    const lt_sink sink = {.ctx = &t, .write = write_data, .write_scales = write_scales};
    const lt_progress *progress = c->progress.advance != NULL ? &c->progress : NULL;
    if (item->dtype == 0) {
        lathe_status status =
            lt_streamer_copy(c->streamer, tensor->info.n_bytes, &source, &sink, progress);
        return status == LATHE_OK ? copy_scales(&t) : status;
    }
    lathe_tensor_desc from;
    lathe_status status = lt_checkpoint_desc(tensor, &from);
    if (status != LATHE_OK) {
        return status;
    }
    const lathe_target target = lt_convert_target(c->options, item);
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    const uint64_t begin = lt_now_ns();
    status = lt_streamer_convert(c->streamer, &from, &target, &source, &sink, progress, &stats);
    lt_streamer_record(c->streamer, &from, &target, stats.n_saturated, lt_now_ns() - begin, status);
    c->tensor_reports[i].n_saturated = stats.n_saturated;
    return status;
}

static lathe_status plan(conversion *c) {
    lathe_status status = LATHE_OK;
    c->items = lt_pool_new_array(c->pool, c->input->n_tensors, sizeof *c->items);
    if (c->items == NULL) {
        return lt_error()->status;
    }
    for (size_t i = 0; i < c->input->n_tensors && status == LATHE_OK; i++) {
        if (lt_convert_decide(c->options, c->input->tensors[i], &c->items[i]) != LATHE_OK) {
            status = lt_checkpoint_prefix(c->input->tensors[i]);
        }
    }
    return status;
}

/* Where to convert: by the kind of the largest tensor, for the bytes of all. */
static lathe_engine *choose_engine(const conversion *c, lathe_engine *engine) {
    lt_case all = {0};
    uint64_t largest = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < c->input->n_tensors; i++) {
        const lathe_checkpoint_tensor *info = &c->input->tensors[i]->info;
        const lathe_target target = lt_convert_target(c->options, &c->items[i]);
        lathe_tensor_desc from;
        lathe_tensor_desc to;
        lt_layout src;
        lt_layout dst;
        if (c->items[i].dtype == 0 || lt_checkpoint_desc(c->input->tensors[i], &from) != LATHE_OK ||
            lathe_target_desc(&target, info->n_dims, info->shape, &to) != LATHE_OK ||
            lt_layout_of(&from, &src) != LATHE_OK || lt_layout_of(&to, &dst) != LATHE_OK) {
            continue; /* kept, or an error that is reported where the tensor is declared */
        }
        const lt_case one = lt_case_of(&src, &dst, &target);
        total += one.n_bytes;
        if (one.n_bytes > largest) {
            largest = one.n_bytes;
            all = one;
        }
    }
    all.n_bytes = total;
    return largest == 0 ? engine : lt_planner_engine_for_stream(engine, &all);
}

static lathe_status run(conversion *c, lathe_engine *engine, const char *input,
                        const char *output) {
    const uint64_t memory_bytes =
        c->options->memory_bytes != 0 ? c->options->memory_bytes : LT_CONVERT_DEFAULT_MEMORY;
    lathe_status status = lathe_checkpoint_open(c->pool, input, &c->input);
    if (status == LATHE_OK) {
        status = plan(c);
    }
    if (status == LATHE_OK) {
        status = make_report(c);
    }
    if (status == LATHE_OK) {
        status = lt_streamer_create(choose_engine(c, engine), memory_bytes, &c->streamer);
    }
    if (status == LATHE_OK) {
        status = lt_outputs_open(c->input, output, c->options->overwrite == 1, &c->outputs);
    }
    if (status == LATHE_OK) {
        status = declare(c);
    }
    /* What the headers took while they grew is not needed any more. */
    (void)lathe_pool_trim(c->pool, 0);
    for (size_t i = 0; status == LATHE_OK && i < c->input->n_tensors; i++) {
        if (convert_tensor(c, i) != LATHE_OK) {
            status = lt_checkpoint_prefix(c->input->tensors[i]);
        }
    }
    if (status == LATHE_OK) {
        status = lt_outputs_publish(&c->outputs, c->input->index_metadata);
    }
    return status;
}

static double seconds_since(const struct timespec *start) {
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) * 1e-9;
}

lathe_status lathe_checkpoint_convert(lathe_engine *engine, const char *input, const char *output,
                                      const lathe_checkpoint_options *options,
                                      lathe_checkpoint_report **report) {
    struct timespec start = {0};
    if (engine == NULL || input == NULL || output == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, input or output is NULL");
    }
    lathe_status status = lt_convert_check(options);
    if (status != LATHE_OK) {
        return status;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    lathe_pool *pool = lathe_engine_pool(engine);
    conversion c = {
        .options = options, .pool = pool, .outputs = {.pool = pool, .arena = {.pool = pool}}};
    c.progress = (lt_progress){.ctx = &c, .advance = options->progress != NULL ? advance : NULL};
    status = run(&c, engine, input, output);
    lt_outputs_close(&c.outputs);
    lt_streamer_free(c.streamer);
    lt_pool_delete(pool, c.items);
    lathe_checkpoint_close(c.input);
    if (status == LATHE_OK && report != NULL) {
        c.report->report.seconds = seconds_since(&start);
        *report = &c.report->report;
    } else if (c.report != NULL) {
        lathe_checkpoint_report_free(&c.report->report);
    }
    return status;
}

void lathe_checkpoint_report_free(lathe_checkpoint_report *report) {
    if (report == NULL) {
        return;
    }
    lt_report *owner = (lt_report *)(void *)report;
    lathe_pool *pool = owner->pool;
    lt_arena_free(&owner->arena);
    lt_pool_delete(pool, owner);
    lathe_pool_release(pool);
}
