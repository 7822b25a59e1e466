/* SPDX-License-Identifier: Apache-2.0 */
/* Converts a checkpoint through the streaming strategy: large tensors one by one, small ones many
 * at a time. */
#include "formats/convert.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/plan/planner.h"
#include "files/file_io.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

/* From so many tensors on, the headers are worth a thread of their own. */
enum { HEADER_THREAD_TENSORS = 4096 };

/* One conversion of a checkpoint. */
typedef struct conversion {
    const lathe_checkpoint_options *options;
    lathe_pool *pool;
    lathe_checkpoint *input;
    lt_convert_plan plan;
    lt_outputs outputs;
    lt_streamer *streamer;
    lt_convert_report *report; /* NULL: nobody asks */
    lt_progress progress;
    size_t first; /* tensor of the list that is converted */
    bool has_header_thread;
    pthread_t header_thread;  /* writes the headers */
    lathe_error header_error; /* what became of it */
    uint64_t done_bytes;
    uint64_t total_bytes;
} conversion;

static const lt_convert_kind *kind_of(const conversion *c, size_t i) {
    return &c->plan.kinds[c->plan.items[i].kind];
}

static lathe_writer *writer_of(const conversion *c, size_t i) {
    return c->outputs.writers[c->plan.items[i].writer];
}

static int advance(void *ctx, uint64_t n_bytes) {
    conversion *c = ctx;
    c->done_bytes = lt_min(c->done_bytes + n_bytes, c->total_bytes);
    return c->options->progress(c->options->progress_ctx, c->done_bytes, c->total_bytes);
}

/* ---- what the files are to hold */

static lathe_status declare_metadata(lathe_writer *writer, const lt_st_pair *pairs,
                                     size_t n_pairs) {
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < n_pairs && status == LATHE_OK; i++) {
        status = lathe_writer_add_metadata(writer, pairs[i].key, pairs[i].value);
    }
    return status;
}

/* A file that holds what a file of the input held has its metadata; others have all. */
static lathe_status declare_all_metadata(conversion *c) {
    const lathe_checkpoint *input = c->input;
    bool as_input = c->options->shard_bytes == 0 && c->outputs.n_writers == input->n_files;
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < c->outputs.n_writers && status == LATHE_OK; i++) {
        status = as_input
                     ? declare_metadata(c->outputs.writers[i], input->files[i].metadata,
                                        input->files[i].n_metadata)
                     : declare_metadata(c->outputs.writers[i], input->metadata, input->n_metadata);
    }
    return status;
}

/* Makes room in each writer for its tensors, of which item.index is the number meanwhile. */
static lathe_status reserve_writers(conversion *c) {
    const size_t n_tensors = c->input->n_tensors;
    lathe_status status = LATHE_OK;
    uint32_t *counts = lt_pool_new_array(c->pool, c->outputs.n_writers, sizeof *counts);
    if (counts == NULL) {
        return lt_error()->status;
    }
    for (size_t i = 0; i < n_tensors; i++) {
        counts[c->plan.items[i].writer]++;
    }
    for (size_t i = 0; i < c->outputs.n_writers && status == LATHE_OK; i++) {
        status = lt_writer_reserve(c->outputs.writers[i], counts[i]);
    }
    lt_pool_delete(c->pool, counts);
    return status;
}

/* Declares everything and takes the disk space of all files before the first byte is converted. */
static lathe_status declare(conversion *c) {
    lathe_status status = declare_all_metadata(c);
    if (status == LATHE_OK) {
        status = reserve_writers(c);
    }
    for (size_t i = 0; i < c->input->n_tensors && status == LATHE_OK; i++) {
        const lt_convert_kind *kind = kind_of(c, i);
        c->plan.items[i].index = (uint32_t)lt_writer_add_known(
            writer_of(c, i), c->input->tensors[i].info.name, kind->output);
        c->total_bytes += kind->read_bytes;
        if (c->report != NULL) {
            lt_convert_report_tensor(c->report, c->input, &c->plan, i);
        }
    }
    for (size_t i = 0; i < c->outputs.n_writers && status == LATHE_OK; i++) {
        status = lt_writer_lay_out(c->outputs.writers[i]);
    }
    if (status == LATHE_OK && c->report != NULL) {
        lt_convert_report_files(c->report, &c->outputs);
    }
    return status;
}

/* ---- the headers, which take as long as their tensors where these are small and many */

static void *write_headers(void *ctx) {
    conversion *c = ctx;
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < c->outputs.n_writers && status == LATHE_OK; i++) {
        status = lt_writer_write_header(c->outputs.writers[i]);
    }
    c->header_error.status = status;
    if (status != LATHE_OK) {
        c->header_error = *lt_error();
    }
    return NULL;
}

/* Begins to write them: at once, or on a thread of their own, which gets no signals. */
static void begin_headers(conversion *c, const lathe_engine *engine) {
    sigset_t all;
    sigset_t before;
    if (c->input->n_tensors >= HEADER_THREAD_TENSORS && engine->cpu->n_threads > 1) {
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        c->has_header_thread = pthread_create(&c->header_thread, NULL, write_headers, c) == 0;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (!c->has_header_thread) {
        (void)write_headers(c);
    }
}

/* Waits for them. Errors: IO, INSUFFICIENT_MEMORY. */
static lathe_status end_headers(conversion *c) {
    if (c->has_header_thread) {
        (void)pthread_join(c->header_thread, NULL);
    }
    return c->header_error.status == LATHE_OK ? LATHE_OK : lt_fail_with(&c->header_error);
}

/* ---- one tensor at a time */

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
    return lt_writer_write_at(t->writer, lt_writer_data_at(t->writer, t->index) + offset, bytes,
                              n_bytes);
}

static lathe_status write_scales(void *ctx, uint64_t first, const float *scales, size_t n_scales) {
    const transfer *t = ctx;
    return lt_writer_write_at(t->writer,
                              lt_writer_scales_at(t->writer, t->index) + first * sizeof *scales,
                              scales, n_scales * sizeof *scales);
}

/* Copies the companion's bytes as well; scales that no encoder writes are an error. */
static lathe_status copy_scales(transfer *t) {
    float scales[256];
    const uint64_t n_scales = t->tensor->info.n_scales;
    lathe_status status = LATHE_OK;
    for (uint64_t first = 0; first < n_scales && status == LATHE_OK;) {
        size_t count = (size_t)lt_min(n_scales - first, sizeof scales / sizeof scales[0]);
        status = lt_checkpoint_read_scales(t->input, t->tensor, first, scales, count);
        if (status == LATHE_OK) {
            status = write_scales(t, first, scales, count);
        }
        first += count;
    }
    return status;
}

static const lt_progress *progress_of(const conversion *c) {
    return c->progress.advance != NULL ? &c->progress : NULL;
}

static lathe_status convert_tensor(conversion *c, size_t i) {
    const lt_checkpoint_tensor *tensor = &c->input->tensors[i];
    const lt_convert_kind *kind = kind_of(c, i);
    transfer t = {.input = c->input,
                  .tensor = tensor,
                  .writer = writer_of(c, i),
                  .index = c->plan.items[i].index};
    const lt_source source = {.ctx = &t, .read = read_data, .read_scales = read_scales};
    const lt_sink sink = {.ctx = &t, .write = write_data, .write_scales = write_scales};
    if (kind->dtype == 0) {
        lathe_status status =
            lt_streamer_copy(c->streamer, tensor->info.n_bytes, &source, &sink, progress_of(c));
        return status == LATHE_OK ? copy_scales(&t) : status;
    }
    lathe_tensor_desc from;
    lathe_status status = lt_checkpoint_desc(tensor, &from);
    if (status != LATHE_OK) {
        return status;
    }
    const lathe_target target = lt_convert_target(c->options, kind);
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    const uint64_t begin = lt_now_ns();
    status =
        lt_streamer_convert(c->streamer, &from, &target, &source, &sink, progress_of(c), &stats);
    lt_streamer_record(c->streamer, &from, &target, stats.n_saturated, lt_now_ns() - begin, status);
    if (c->report != NULL) {
        c->report->tensors[i].n_saturated = stats.n_saturated;
    }
    return status;
}

/* ---- many small tensors at a time */

static void item_at(void *ctx, size_t k, lt_stream_item *item) {
    const conversion *c = ctx;
    const size_t i = c->first + k;
    const lt_checkpoint_tensor *tensor = &c->input->tensors[i];
    const lt_convert_kind *kind = kind_of(c, i);
    const lt_convert_item *planned = &c->plan.items[i];
    const lathe_writer *writer = writer_of(c, i);
    *item = (lt_stream_item){
        .small = kind->dtype != 0 ? &kind->small : NULL,
        .n_bytes = tensor->info.n_bytes,
        .n_scales = tensor->info.n_scales,
        .from = {tensor->data_at, tensor->scales_at, tensor->file},
        .to = {lt_writer_data_at(writer, planned->index),
               lt_writer_scales_at(writer, planned->index), planned->writer},
    };
}

static lathe_status read_at(void *ctx, uint32_t file, uint64_t at, void *buffer, size_t n_bytes) {
    const conversion *c = ctx;
    return lt_checkpoint_read_at(c->input, file, at, buffer, n_bytes);
}

static lathe_status write_at(void *ctx, uint32_t file, uint64_t at, const void *bytes,
                             size_t n_bytes) {
    const conversion *c = ctx;
    return lt_writer_write_at(c->outputs.writers[file], at, bytes, n_bytes);
}

static void item_done(void *ctx, size_t k, uint64_t n_saturated) {
    const conversion *c = ctx;
    if (c->report != NULL) {
        c->report->tensors[c->first + k].n_saturated = n_saturated;
    }
}

/* Converts the small tensors from number `first` on that follow each other; *end is the next one,
 * or on failure the one that it is about. */
static lathe_status convert_list(conversion *c, size_t first, size_t *end) {
    size_t last = first;
    size_t at_fault = 0;
    while (last < c->input->n_tensors && kind_of(c, last)->is_small) {
        last++;
    }
    c->first = first;
    const lt_stream_list list = {.ctx = c,
                                 .n_items = last - first,
                                 .at = item_at,
                                 .read = read_at,
                                 .write = write_at,
                                 .done = item_done};
    lathe_status status = lt_streamer_run_list(c->streamer, &list, progress_of(c), &at_fault);
    *end = status == LATHE_OK ? last : first + at_fault;
    return status;
}

/* ---- the whole */

static lathe_status convert_all(conversion *c) {
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < c->input->n_tensors;) {
        if (kind_of(c, i)->is_small) {
            status = convert_list(c, i, &i);
        } else {
            status = convert_tensor(c, i);
            i += status == LATHE_OK ? 1 : 0;
        }
        if (status != LATHE_OK) {
            return lt_checkpoint_prefix(&c->input->tensors[i]);
        }
    }
    return LATHE_OK;
}

/* Where to convert: by the kind of the largest tensor, for the bytes of all. */
static lathe_engine *choose_engine(const conversion *c, lathe_engine *engine) {
    lt_case all = {0};
    uint64_t largest = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < c->plan.n_kinds; i++) {
        const lt_convert_kind *kind = &c->plan.kinds[i];
        const lathe_target target = lt_convert_target(c->options, kind);
        lathe_tensor_desc from;
        lt_layout src;
        lt_layout dst;
        if (kind->dtype == 0 || lt_checkpoint_desc(kind->like, &from) != LATHE_OK ||
            lt_layout_of(&from, &src) != LATHE_OK ||
            lt_layout_of(&kind->output->desc, &dst) != LATHE_OK) {
            continue; /* kept */
        }
        const lt_case one = lt_case_of(&src, &dst, &target);
        total += one.n_bytes * kind->n_tensors;
        if (one.n_bytes > largest) {
            largest = one.n_bytes;
            all = one;
        }
    }
    all.n_bytes = total;
    return largest == 0 ? engine : lt_planner_engine_for_stream(engine, &all);
}

static lathe_status run(conversion *c, lathe_engine *engine, const char *input, const char *output,
                        bool reports) {
    const lathe_checkpoint_options *options = c->options;
    const uint64_t memory_bytes =
        options->memory_bytes != 0 ? options->memory_bytes : LT_CONVERT_DEFAULT_MEMORY;
    const bool sharded = lt_outputs_is_sharded(output, options->shard_bytes);
    lathe_status status = lathe_checkpoint_open(c->pool, input, &c->input);
    if (status == LATHE_OK) {
        c->input->is_read_through = true;
        status = lt_convert_plan_all(options, c->input, &c->plan);
    }
    if (status == LATHE_OK && reports) {
        status = lt_convert_report_make(c->options, c->input, &c->plan, &c->report);
    }
    if (status == LATHE_OK) {
        status = lt_streamer_create(choose_engine(c, engine), memory_bytes, &c->streamer);
    }
    if (status == LATHE_OK) {
        lt_convert_plan_streams(options, c->streamer, &c->plan);
        const size_t n_writers =
            lt_convert_assign(c->input, &c->plan, sharded, options->shard_bytes);
        status = lt_outputs_open(c->input, output, sharded, n_writers, options->overwrite == 1,
                                 &c->outputs);
    }
    if (status == LATHE_OK) {
        status = declare(c);
    }
    /* What the headers took while they grew is not needed any more. */
    (void)lathe_pool_trim(c->pool, 0);
    if (status == LATHE_OK) {
        begin_headers(c, engine);
        status = convert_all(c);
        if (status != LATHE_OK) {
            const lathe_error error = *lt_error();
            (void)end_headers(c);
            (void)lt_fail_with(&error);
        } else {
            status = end_headers(c);
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
    conversion c = {.options = options,
                    .pool = pool,
                    .plan = {.pool = pool, .arena = {.pool = pool}},
                    .outputs = {.pool = pool, .arena = {.pool = pool}}};
    c.progress = (lt_progress){.ctx = &c, .advance = options->progress != NULL ? advance : NULL};
    status = run(&c, engine, input, output, report != NULL);
    lt_outputs_close(&c.outputs);
    lt_streamer_free(c.streamer);
    lt_convert_plan_free(&c.plan);
    if (status == LATHE_OK && report != NULL) {
        lt_arena_take(&c.report->arena, &c.input->arena);
    }
    lathe_checkpoint_close(c.input);
    if (status == LATHE_OK && report != NULL) {
        c.report->report.seconds = seconds_since(&start);
        *report = &c.report->report;
    } else if (c.report != NULL) {
        lathe_checkpoint_report_free(&c.report->report);
    }
    return status;
}
