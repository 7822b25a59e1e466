/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=file: checkpoints in the folder that --folder names, converted beside a
 * copy of the same file. Every output is a new file and synced, the copy's too. */
#include "strategies.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The data of the checkpoints is this much, again and again. */
enum { BLOCK_FLOATS = 1 << 20 };
enum { MANY_ELEMS = 1024, MOST_MANY = 100000, COLUMNS = 4096 };
enum { PATH_ROOM = 4096, COPY_PIECE = 1 << 20 };

typedef struct file_bench {
    lathe_engine *engine;
    float *block;
    char in[PATH_ROOM];
    char many[PATH_ROOM];
    char out[PATH_ROOM];
} file_bench;

/* ---- the inputs */

static void fill_block(float *block) {
    uint64_t state = 1;
    for (size_t i = 0; i < BLOCK_FLOATS; i++) {
        double sum = -6; /* of twelve uniform numbers: nearly normal */
        for (int k = 0; k < 12; k++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            sum += (double)(state >> 40) * 0x1p-24;
        }
        block[i] = (float)sum * 0.02F;
    }
}

/* Writes n_tensors F32 tensors of rows x columns. */
static lathe_status write_checkpoint(const file_bench *f, const char *path, size_t n_tensors,
                                     uint64_t rows, uint64_t columns) {
    const uint64_t shape[] = {rows, columns};
    const uint64_t n_bytes = rows * columns * sizeof(float);
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    lathe_writer *writer = NULL;
    size_t index = 0;
    lathe_status status = lathe_writer_create(lathe_engine_pool(f->engine), path, 1, &writer);
    for (size_t i = 0; i < n_tensors && status == LATHE_OK; i++) {
        char name[64];
        snprintf(name, sizeof(name), "model.layers.%zu.block.%zu.weight", i / 100, i % 100);
        status = lathe_writer_add(writer, name, &desc, &index);
    }
    for (size_t i = 0; i < n_tensors && status == LATHE_OK; i++) {
        const uint64_t block_bytes = BLOCK_FLOATS * sizeof(float);
        for (uint64_t at = 0; at < n_bytes && status == LATHE_OK; at += block_bytes) {
            uint64_t part = n_bytes - at < block_bytes ? n_bytes - at : block_bytes;
            status = lathe_writer_write(writer, i, at, f->block, (size_t)part);
        }
    }
    if (status != LATHE_OK) {
        lathe_writer_abort(writer);
        return status;
    }
    return lathe_writer_finish(writer);
}

/* ---- what is timed */

static lathe_status time_convert(const file_bench *f, const char *in, const lathe_target *target,
                                 double *seconds, uint64_t *out_bytes) {
    const lathe_checkpoint_options options = {
        .struct_size = sizeof(options), .target = *target, .overwrite = 1};
    lathe_checkpoint_report *report = NULL;
    unlink(f->out);
    const uint64_t start_ns = cli_now_ns();
    lathe_status status = lathe_checkpoint_convert(f->engine, in, f->out, &options, &report);
    *seconds = bench_seconds_since(start_ns);
    *out_bytes = status == LATHE_OK ? report->output_bytes : 0;
    lathe_checkpoint_report_free(report);
    return status;
}

/* Copies as cp does: the kernel by itself where it can, else through a buffer. */
static int copy_all(int from, int to, uint64_t n_bytes) {
    bool in_kernel = true;
    char *buffer = cli_allocate(1, COPY_PIECE);
    int error = 0;
    for (uint64_t done = 0; done < n_bytes && error == 0;) {
        ssize_t n = -1;
        if (in_kernel) {
            n = copy_file_range(from, NULL, to, NULL, (size_t)(n_bytes - done), 0);
            in_kernel = n > 0;
        }
        if (!in_kernel) {
            n = read(from, buffer, COPY_PIECE);
            n = n > 0 ? write(to, buffer, (size_t)n) : n;
        }
        if (n <= 0 && errno != EINTR) {
            error = n < 0 ? errno : EIO;
        }
        done += n > 0 ? (uint64_t)n : 0;
    }
    free(buffer);
    return error;
}

static int time_copy(const file_bench *f, uint64_t n_bytes, double *seconds) {
    unlink(f->out);
    const uint64_t start_ns = cli_now_ns();
    int from = open(f->in, O_RDONLY | O_CLOEXEC);
    int to = open(f->out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int error = from >= 0 && to >= 0 ? copy_all(from, to, n_bytes) : errno;
    if (error == 0 && fsync(to) != 0) {
        error = errno;
    }
    *seconds = bench_seconds_since(start_ns);
    if (from >= 0) {
        close(from);
    }
    if (to >= 0) {
        close(to);
    }
    return error;
}

/* ---- rows */

/* What one row compares. */
typedef struct file_row {
    lathe_target target;
    const char *what;
    const char *against;
    bool is_many;      /* many tensors beside one, else a conversion beside a copy */
    uint64_t in_bytes; /* of the file */
} file_row;

/* One repetition, whose second time is what the other way takes for the same bytes moved. */
static lathe_status time_both(bench *b, const file_bench *f, const file_row *row,
                              double seconds[2]) {
    const bool is_twice =
        lathe_dtype_is_quantized(row->target.dtype) && row->target.granularity == LATHE_PER_TENSOR;
    uint64_t out_bytes = 0;
    lathe_status status =
        time_convert(f, row->is_many ? f->many : f->in, &row->target, &seconds[0], &out_bytes);
    if (status != LATHE_OK || row->is_many) {
        return status == LATHE_OK ? time_convert(f, f->in, &row->target, &seconds[1], &out_bytes)
                                  : status;
    }
    int error = time_copy(f, row->in_bytes, &seconds[1]);
    if (error != 0) {
        cli_fail("%s: cannot copy the checkpoint: %s", f->out, strerror(error));
        b->has_complained = true;
        return LATHE_IO;
    }
    const double moved = (double)row->in_bytes * (is_twice ? 2 : 1) + (double)out_bytes;
    seconds[1] *= moved / (2 * (double)row->in_bytes);
    return LATHE_OK;
}

static lathe_status run_row(bench *b, const file_bench *f, const file_row *row) {
    double seconds[2][BENCH_MOST_REPEATS];
    double ratios[BENCH_MOST_REPEATS];
    const size_t n_repeats = (size_t)b->options->repeat;
    double both[2];
    lathe_status status = time_both(b, f, row, both); /* to warm up */
    for (size_t i = 0; i < n_repeats && status == LATHE_OK; i++) {
        status = time_both(b, f, row, both);
        seconds[0][i] = both[0];
        seconds[1][i] = both[1];
        ratios[i] = both[1] / both[0];
    }
    if (status == LATHE_OK) {
        bench_times times = {.ratio = {1, bench_median(ratios, n_repeats)}};
        times.seconds[0] = bench_quartiles(seconds[0], n_repeats, times.quartiles[0]);
        times.seconds[1] = bench_quartiles(seconds[1], n_repeats, times.quartiles[1]);
        bench_strategy_row(b, row->what, row->against, &times);
    }
    return status;
}

static lathe_status file_bytes(const file_bench *f, uint64_t *n_bytes) {
    lathe_checkpoint *checkpoint = NULL;
    lathe_status status = lathe_checkpoint_open(lathe_engine_pool(f->engine), f->in, &checkpoint);
    *n_bytes = lathe_checkpoint_file_bytes(checkpoint);
    lathe_checkpoint_close(checkpoint);
    return status;
}

static lathe_status run_copies(bench *b, const file_bench *f) {
    static const struct {
        lathe_dtype dtype;
        lathe_granularity granularity;
        const char *what;
    } rows[] = {
        {LATHE_F16, LATHE_PER_TENSOR, "f32->f16"},
        {LATHE_I8, LATHE_PER_TENSOR, "f32->i8/tensor"},
        {LATHE_I8, LATHE_PER_ROW, "f32->i8/row"},
        {LATHE_BITNET158, LATHE_PER_TENSOR, "f32->bitnet158/tensor"},
    };
    uint64_t rows_of = b->size / (COLUMNS * sizeof(float));
    lathe_status status = write_checkpoint(f, f->in, 1, rows_of == 0 ? 1 : rows_of, COLUMNS);
    file_row row = {.against = "a copy, for the same bytes read and written"};
    if (status == LATHE_OK) {
        status = file_bytes(f, &row.in_bytes);
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && status == LATHE_OK; i++) {
        row.what = rows[i].what;
        row.target = (lathe_target){.struct_size = sizeof(row.target),
                                    .dtype = rows[i].dtype,
                                    .granularity = rows[i].granularity};
        status = run_row(b, f, &row);
    }
    return status;
}

static lathe_status run_many(bench *b, const file_bench *f) {
    static const struct {
        lathe_dtype dtype;
        lathe_granularity granularity;
        const char *what;
    } rows[] = {
        {LATHE_F16, LATHE_PER_TENSOR, "f32->f16"},
        {LATHE_I8, LATHE_PER_TENSOR, "f32->i8/tensor"},
        {LATHE_BITNET158, LATHE_PER_ROW, "f32->bitnet158/row"},
    };
    uint64_t n_tensors = b->size / (MANY_ELEMS * sizeof(float));
    n_tensors = n_tensors > MOST_MANY ? MOST_MANY : n_tensors == 0 ? 1 : n_tensors;
    char what[64];
    lathe_status status = write_checkpoint(f, f->many, (size_t)n_tensors, 4, MANY_ELEMS / 4);
    if (status == LATHE_OK) {
        status = write_checkpoint(f, f->in, 1, 4 * n_tensors, MANY_ELEMS / 4);
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && status == LATHE_OK; i++) {
        snprintf(what, sizeof(what), "%s, %llu tensors of 4 KiB", rows[i].what,
                 (unsigned long long)n_tensors);
        const file_row row = {
            .target = {.struct_size = sizeof(row.target),
                       .dtype = rows[i].dtype,
                       .granularity = rows[i].granularity},
            .what = what,
            .against = "one tensor of the same bytes",
            .is_many = true,
        };
        status = run_row(b, f, &row);
    }
    return status;
}

lathe_status bench_file(bench *b) {
    const char *folder = b->options->folder;
    if (folder == NULL) {
        return LATHE_OK; /* of all strategies; by itself it is refused */
    }
    file_bench *f = cli_allocate(1, sizeof(*f));
    f->block = cli_allocate(BLOCK_FLOATS, sizeof(float));
    fill_block(f->block);
    snprintf(f->in, PATH_ROOM, "%s/lathe-bench-%ld-in.safetensors", folder, (long)getpid());
    snprintf(f->many, PATH_ROOM, "%s/lathe-bench-%ld-many.safetensors", folder, (long)getpid());
    snprintf(f->out, PATH_ROOM, "%s/lathe-bench-%ld-out.safetensors", folder, (long)getpid());
    lathe_status status = bench_strategy_engine(b, &f->engine);
    if (status == LATHE_OK) {
        status = run_copies(b, f);
    }
    if (status == LATHE_OK) {
        status = run_many(b, f);
    }
    unlink(f->in);
    unlink(f->many);
    unlink(f->out);
    lathe_engine_free(f->engine);
    free(f->block);
    free(f);
    return status;
}
