/* SPDX-License-Identifier: Apache-2.0 */
/* lathe synth: writes a made-up checkpoint, the same bytes on every machine. */
#include "cli.h"
#include "synth_layout.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct synth_options {
    const char *output;
    uint64_t size;
    uint64_t seed;
    lathe_dtype dtype;
    uint32_t threads;
    uint32_t overwrite;
    bool quiet;
    bool json;
} synth_options;

enum { KEY_SIZE = 256, KEY_SEED, KEY_DTYPE, KEY_THREADS };

static const struct argp_option option_list[] = {
    {"size", KEY_SIZE, "SIZE", 0, "Write at most SIZE bytes, and little less (default 64MiB)", 0},
    {"seed", KEY_SEED, "N", 0, "Make other weights for every N (default 0)", 0},
    {"dtype", KEY_DTYPE, "f32|f16|bf16", 0, "Write this type (default f32)", 0},
    {"threads", KEY_THREADS, "N", 0, "Use N threads (default: one for each processor)", 0},
    {"force", 'f', NULL, 0, "Replace OUT if it exists", 0},
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {"quiet", 'q', NULL, 0, "Print nothing but errors", 0},
    {0},
};

static bool ends_in(const char *text, const char *end) {
    size_t n = strlen(text);
    size_t k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

static void take_output(synth_options *options, struct argp_state *state, const char *arg) {
    if (options->output != NULL) {
        argp_error(state, "too many arguments");
    }
    if (ends_in(arg, ".index.json")) {
        argp_error(state, "'%s': synth writes one safetensors file, not an index", arg);
    }
    options->output = cli_option_output(state, arg);
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    synth_options *options = state->input;
    switch (key) {
    case KEY_SIZE:
        options->size = cli_option_size(state, "--size", arg);
        if (options->size < LAYOUT_LEAST_BYTES || options->size > UINT64_C(1) << 50) {
            argp_error(state, "--size: '%s' is not between 64KiB and 1024TiB", arg);
        }
        return 0;
    case KEY_SEED:
        options->seed = cli_option_count(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case KEY_DTYPE:
        options->dtype = lathe_dtype_from_name(arg);
        if (options->dtype == 0 || lathe_dtype_is_quantized(options->dtype)) {
            argp_error(state, "--dtype: '%s' is none of f32 f16 bf16", arg);
        }
        return 0;
    case KEY_THREADS:
        options->threads = cli_option_threads(state, arg);
        return 0;
    case 'f':
        options->overwrite = 1;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        take_output(options, state, arg);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "the output is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "OUT",
    .doc = "Write a made-up checkpoint OUT: a safetensors file with the names and proportions of a "
           "transformer, heavy-tailed weights with outlier channels, and norms near one."
           "\v"
           "The same size, seed and dtype give the same bytes on every machine.",
};

/* Of the weights: the initializer_range of Llama, and about what training leaves. */
#define DEVIATION 0.02f

#define CHUNK_ELEMS UINT64_C(262144)

/* The work: every tensor cut into chunks, numbered through. */
typedef struct synth_job {
    const synth_options *options;
    const layout *tensors;
    uint64_t *first_chunk; /* of each tensor, and one more: the number of chunks */
    float **gains;         /* of each tensor's columns; NULL for a norm */
    lathe_engine *engine;
    lathe_writer *writer;
    atomic_uint_fast64_t next_chunk;
    atomic_bool stop;
    pthread_mutex_t lock; /* of the rest */
    cli_progress progress;
    uint64_t done_elems;
    uint64_t total_elems;
    char message[sizeof(((lathe_error *)0)->message)]; /* of the first failure; empty if none */
} synth_job;

static void record_failure(synth_job *job) {
    pthread_mutex_lock(&job->lock);
    if (job->message[0] == '\0') {
        memcpy(job->message, lathe_last_error()->message, sizeof(job->message));
    }
    pthread_mutex_unlock(&job->lock);
    atomic_store(&job->stop, true);
}

static void advance(synth_job *job, uint64_t n_elems) {
    pthread_mutex_lock(&job->lock);
    job->done_elems += n_elems;
    if (cli_progress_update(&job->progress, 4 * job->done_elems, 4 * job->total_elems) != 0) {
        atomic_store(&job->stop, true);
    }
    pthread_mutex_unlock(&job->lock);
}

static uint64_t tensor_key(const synth_job *job, size_t tensor) {
    return cli_hash(cli_hash(job->options->seed) + tensor);
}

/* The F32 values of a chunk. */
static void make_values(const synth_job *job, size_t tensor, uint64_t first, uint64_t n,
                        float *values) {
    const float *gains = job->gains[tensor];
    cli_weights(tensor_key(job, tensor), first, (size_t)n, values);
    if (gains == NULL) {
        for (uint64_t i = 0; i < n; i++) {
            values[i] = 1.0f + DEVIATION * values[i];
        }
        return;
    }
    uint64_t n_columns = job->tensors->tensors[tensor].shape[1];
    uint64_t column = first % n_columns;
    for (uint64_t done = 0; done < n;) {
        uint64_t length = n_columns - column < n - done ? n_columns - column : n - done;
        for (uint64_t i = 0; i < length; i++) {
            values[done + i] *= gains[column + i];
        }
        done += length;
        column = 0;
    }
}

/* One thread's buffers. */
typedef struct synth_buffers {
    float *values;
    void *narrow; /* NULL when F32 is written */
} synth_buffers;

static lathe_status write_chunk(synth_job *job, const synth_buffers *buffers, size_t tensor,
                                uint64_t first, uint64_t n) {
    lathe_dtype dtype = job->options->dtype;
    make_values(job, tensor, first, n, buffers->values);
    if (dtype == LATHE_F32) {
        return lathe_writer_write(job->writer, tensor, first * 4, buffers->values, (size_t)n * 4);
    }
    lathe_pool *pool = lathe_engine_pool(job->engine);
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 1, .shape = &n};
    lathe_target target = {.struct_size = sizeof(target), .dtype = dtype};
    lathe_status status =
        lathe_tensor_wrap(pool, &desc, buffers->values, NULL, 0, NULL, NULL, &source);
    desc.dtype = dtype;
    if (status == LATHE_OK) {
        status = lathe_tensor_wrap(pool, &desc, buffers->narrow, NULL, 0, NULL, NULL, &result);
    }
    if (status == LATHE_OK) {
        status = lathe_convert_into(job->engine, source, &target, result, NULL);
    }
    if (status == LATHE_OK) {
        status = lathe_writer_write(job->writer, tensor, first * 2, buffers->narrow, (size_t)n * 2);
    }
    lathe_tensor_release(source);
    lathe_tensor_release(result);
    return status;
}

/* Does the next chunk; false when there is none or the work has stopped. */
static bool do_chunk(synth_job *job, const synth_buffers *buffers) {
    uint64_t chunk = atomic_fetch_add(&job->next_chunk, 1);
    if (chunk >= job->first_chunk[job->tensors->n_tensors] || atomic_load(&job->stop)) {
        return false;
    }
    size_t tensor = 0;
    while (job->first_chunk[tensor + 1] <= chunk) {
        tensor++;
    }
    uint64_t n_elems = job->tensors->tensors[tensor].n_elems;
    uint64_t first = (chunk - job->first_chunk[tensor]) * CHUNK_ELEMS;
    uint64_t n = n_elems - first < CHUNK_ELEMS ? n_elems - first : CHUNK_ELEMS;
    if (write_chunk(job, buffers, tensor, first, n) != LATHE_OK) {
        record_failure(job);
        return false;
    }
    advance(job, n);
    return true;
}

/* Does the first `most` chunks that come. */
static void do_chunks(synth_job *job, uint64_t most) {
    lathe_pool *pool = lathe_engine_pool(job->engine);
    synth_buffers buffers = {0};
    void *values = NULL;
    if (lathe_pool_alloc(pool, CHUNK_ELEMS * 4, &values) != LATHE_OK ||
        (job->options->dtype != LATHE_F32 &&
         lathe_pool_alloc(pool, CHUNK_ELEMS * 2, &buffers.narrow) != LATHE_OK)) {
        record_failure(job);
        lathe_pool_free(pool, values);
        return;
    }
    buffers.values = values;
    while (most > 0 && do_chunk(job, &buffers)) {
        most--;
    }
    lathe_pool_free(pool, values);
    lathe_pool_free(pool, buffers.narrow);
}

static void *worker(void *ctx) {
    do_chunks(ctx, UINT64_MAX);
    return NULL;
}

/* The first chunk alone, because the writer's first write must be; the rest on all threads. */
static void do_all(synth_job *job, uint32_t n_threads) {
    do_chunks(job, 1);
    pthread_t *threads = cli_allocate(n_threads, sizeof(*threads));
    uint32_t started = 0;
    while (started + 1 < n_threads && pthread_create(&threads[started], NULL, worker, job) == 0) {
        started++;
    }
    do_chunks(job, UINT64_MAX);
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
}

static lathe_status declare_tensors(synth_job *job) {
    lathe_status status = lathe_writer_add_metadata(job->writer, "format", "pt");
    for (size_t i = 0; i < job->tensors->n_tensors && status == LATHE_OK; i++) {
        const layout_tensor *tensor = &job->tensors->tensors[i];
        lathe_tensor_desc desc = {.struct_size = sizeof(desc),
                                  .dtype = job->options->dtype,
                                  .n_dims = tensor->n_dims,
                                  .shape = tensor->shape};
        size_t index = 0;
        status = lathe_writer_add(job->writer, tensor->name, &desc, &index);
    }
    return status;
}

static void plan_chunks(synth_job *job) {
    size_t n_tensors = job->tensors->n_tensors;
    job->first_chunk = cli_allocate(n_tensors + 1, sizeof(*job->first_chunk));
    job->gains = cli_allocate(n_tensors, sizeof(*job->gains));
    uint64_t n_chunks = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        const layout_tensor *tensor = &job->tensors->tensors[i];
        job->first_chunk[i] = n_chunks;
        n_chunks += (tensor->n_elems + CHUNK_ELEMS - 1) / CHUNK_ELEMS;
        job->total_elems += tensor->n_elems;
        job->gains[i] = NULL;
        if (tensor->n_dims == 2) {
            job->gains[i] = cli_allocate((size_t)tensor->shape[1], sizeof(float));
            for (uint64_t c = 0; c < tensor->shape[1]; c++) {
                job->gains[i][c] = DEVIATION * cli_channel_gain(tensor_key(job, i), c);
            }
        }
    }
    job->first_chunk[n_tensors] = n_chunks;
}

static void free_plan(synth_job *job) {
    for (size_t i = 0; job->gains != NULL && i < job->tensors->n_tensors; i++) {
        free(job->gains[i]);
    }
    free(job->gains);
    free(job->first_chunk);
}

static uint32_t processor_count(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 16 ? 16 : (uint32_t)n;
}

/* Writes the file, but for its final name. */
static int fill(synth_job *job) {
    const synth_options *options = job->options;
    lathe_config config = {.struct_size = sizeof(config), .n_threads = 1};
    if (lathe_engine_create(&config, &job->engine) != LATHE_OK ||
        lathe_writer_create(lathe_engine_pool(job->engine), options->output, options->overwrite,
                            &job->writer) != LATHE_OK ||
        declare_tensors(job) != LATHE_OK) {
        return cli_fail_last();
    }
    plan_chunks(job);
    cli_progress_start(&job->progress, !options->quiet && !options->json);
    do_all(job, options->threads != 0 ? options->threads : processor_count());
    cli_progress_end(&job->progress);
    if (cli_caught_signal() != 0) {
        return cli_interrupted();
    }
    return job->message[0] != '\0' ? cli_fail("%s", job->message) : CLI_OK;
}

static int print_result(const synth_job *job, double seconds) {
    const synth_options *options = job->options;
    uint64_t n_bytes = job->total_elems * (options->dtype == LATHE_F32 ? 4 : 2);
    if (options->json) {
        return cli_print_json(
            json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:f}", "path", cli_json_text(options->output),
                      "tensors", cli_json_count(job->tensors->n_tensors), "elements",
                      cli_json_count(job->total_elems), "bytes", cli_json_count(n_bytes), "dtype",
                      lathe_dtype_name(options->dtype), "seed", cli_json_count(options->seed),
                      "seconds", seconds));
    }
    if (!options->quiet) {
        char text[CLI_BYTES_TEXT];
        printf("%s: %zu tensors, %s of %s in %.2f s, %.0f MB/s\n", options->output,
               job->tensors->n_tensors, cli_bytes_text(n_bytes, text),
               lathe_dtype_name(options->dtype), seconds,
               seconds > 0 ? (double)n_bytes / seconds * 1e-6 : 0);
    }
    return CLI_OK;
}

int cli_synth(int argc, char **argv) {
    synth_options options = {.size = UINT64_C(64) << 20, .dtype = LATHE_F32};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    uint64_t start_ns = cli_now_ns();
    layout tensors = layout_make(options.size, options.dtype == LATHE_F32 ? 4 : 2);
    synth_job job = {.options = &options, .tensors = &tensors, .lock = PTHREAD_MUTEX_INITIALIZER};
    cli_catch_signals();
    int status = fill(&job);
    if (status == CLI_OK) {
        lathe_writer *writer = job.writer;
        job.writer = NULL;
        if (lathe_writer_finish(writer) != LATHE_OK) {
            status = cli_fail_last();
        } else {
            status = print_result(&job, (double)(cli_now_ns() - start_ns) * 1e-9);
        }
    }
    lathe_writer_abort(job.writer);
    lathe_engine_free(job.engine);
    free_plan(&job);
    free(tensors.tensors);
    return status;
}
