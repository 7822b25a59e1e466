/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the ends of a public stream: tensors wherever they are, files and pipes. */
#include "stream_case.h"
#include <fcntl.h>
#include <unistd.h>

TestSuite(stream_ends, .init = setup_engines, .fini = teardown_engines);

static char folder[64];

static const char *path_in_folder(const char *name) {
    return test_text("%s/%s", folder, name);
}

static void make_folder(void) {
    (void)snprintf(folder, sizeof folder, "%s", "stream-XXXXXX");
    CHECK(mkdtemp(folder) != NULL, "a folder");
}

static uint8_t *read_whole(const char *name, size_t *n_bytes) {
    int fd = open(path_in_folder(name), O_RDONLY);
    uint8_t *bytes = malloc(1 << 23);
    CHECK(fd >= 0 && bytes != NULL, "%s: cannot open", name);
    ssize_t n = read(fd, bytes, 1 << 23);
    CHECK(n >= 0, "read");
    (void)close(fd);
    *n_bytes = (size_t)n;
    return bytes;
}

static void write_whole(const char *name, const void *bytes, size_t n_bytes) {
    int fd = open(path_in_folder(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, n_bytes) == (ssize_t)n_bytes && close(fd) == 0, "write");
}

Test(stream_ends, tensors_as_ends) {
    static const shape_option shape = {2, {300, 1001}};
    static const lathe_memory memories[] = {LATHE_MEMORY_HOST, LATHE_MEMORY_PINNED,
                                            LATHE_MEMORY_DEVICE};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 81);
    for (size_t t = 0; t < 3; t++) {
        lathe_target target = target_of(t == 0 ? LATHE_F16 : LATHE_I4, &layout_options[t], 0);
        expected e = convert_case_with(&c, &target);
        for (size_t i = 0; i < n_engines * 9; i++) {
            size_t engine = i / 9;
            lathe_tensor *from = NULL;
            lathe_tensor *to = NULL;
            lathe_tensor_desc desc;
            CHECK_OK(lathe_target_desc(&target, 2, shape.shape, &desc));
            CHECK_OK(lathe_engine_tensor_create(engines[engine], memories[i % 3], &c.from, &from));
            CHECK_OK(lathe_engine_tensor_create(engines[engine], memories[i / 3 % 3], &desc, &to));
            CHECK_OK(lathe_tensor_copy(engines[engine], c.tensor, from));
            const lathe_source source = {
                .struct_size = sizeof source, .kind = LATHE_END_TENSOR, .tensor = from};
            const lathe_sink sink = {
                .struct_size = sizeof sink, .kind = LATHE_END_TENSOR, .tensor = to};
            CHECK_OK(
                lathe_stream_convert(engines[engine], NULL, &target, &source, &sink, NULL, NULL));
            CHECK_OK(lathe_tensor_map(engines[engine], to, false));
            CHECK(test_same(e.tensor, to), "%s: memories %d", describe(&c, &target, engine),
                  (int)(i % 9));
            CHECK_OK(lathe_tensor_unmap(engines[engine], to));
            CHECK_STATUS(lathe_stream_convert(engines[engine], NULL, &target, &source,
                                              &(lathe_sink){.struct_size = sizeof sink,
                                                            .kind = LATHE_END_TENSOR,
                                                            .tensor = from},
                                              NULL, NULL),
                         LATHE_INCOMPATIBLE_TYPES);
            lathe_tensor_release(from);
            lathe_tensor_release(to);
        }
        lathe_tensor_release(e.tensor);
    }
    case_free(&c);
}

/* A conversion between two files: 900 bytes, among them the scales, before the source's data, and
 * 100 before the result's. */
typedef struct file_case {
    convert_case c;
    lathe_target target;
    lathe_tensor *expected;
    char in[128];
    char out[128];
    lathe_source source;
    lathe_sink sink;
} file_case;

static file_case file_case_new(void) {
    static const shape_option shape = {2, {200, 1001}};
    make_folder();
    file_case f = {.c = normal_case(LATHE_I8, &shape, 1, 82),
                   .target = target_of(LATHE_I4, &layout_options[0], 0)};
    const size_t n = (size_t)f.c.layout.n_bytes;
    uint8_t *image = calloc(1, n + 2000);
    CHECK(image != NULL, "memory");
    memcpy(image + 900, f.c.bytes, n);
    memcpy(image + 13, f.c.scales, 200 * sizeof(float));
    write_whole("in", image, n + 900);
    free(image);
    (void)snprintf(f.in, sizeof f.in, "%s", path_in_folder("in"));
    (void)snprintf(f.out, sizeof f.out, "%s", path_in_folder("out"));
    f.expected = convert_case_with(&f.c, &f.target).tensor;
    f.source = (lathe_source){
        .struct_size = sizeof f.source, .kind = LATHE_END_FILE, .offset = 900, .scales_offset = 13};
    f.sink = (lathe_sink){.struct_size = sizeof f.sink,
                          .kind = LATHE_END_FILE,
                          .offset = 100,
                          .scales_offset = 5,
                          .create = 1};
    return f;
}

static void file_case_free(file_case *f) {
    CHECK(unlink(f->in) == 0 && rmdir(folder) == 0, "files are left");
    lathe_tensor_release(f->expected);
    case_free(&f->c);
}

static lathe_status convert_file(const file_case *f, size_t i, const lathe_source *source,
                                 const lathe_sink *sink) {
    return lathe_stream_convert(engines[i], &f->c.from, &f->target, source, sink, NULL, NULL);
}

/* What the file holds from there on is the result, and nothing comes after it. */
static void check_file(const file_case *f, size_t offset, size_t scales_offset) {
    const size_t n_out = (size_t)lathe_tensor_n_bytes(f->expected);
    size_t n_bytes = 0;
    uint8_t *bytes = read_whole("out", &n_bytes);
    CHECK(n_bytes == n_out + offset, "the file's length");
    CHECK(memcmp(bytes + offset, lathe_tensor_data(f->expected), n_out) == 0, "data");
    CHECK(memcmp(bytes + scales_offset, lathe_tensor_scales(f->expected), 4) == 0, "scale");
    CHECK(memcmp(bytes + 5, lathe_tensor_scales(f->expected), 4) == 0, "what was there");
    CHECK(bytes[0] == 0 && bytes[94] == 0, "what is between");
    free(bytes);
}

/* Into a new file, into it as it exists now, and into it as a descriptor and elsewhere. */
Test(stream_ends, files_as_ends) {
    file_case f = file_case_new();
    f.source.path = f.in;
    f.sink.path = f.out;
    for (size_t i = 0; i < n_small_engines; i++) {
        lathe_sink again = f.sink;
        again.overwrite = 1;
        CHECK_OK(convert_file(&f, i, &f.source, &f.sink));
        check_file(&f, 100, 5);
        CHECK_STATUS(convert_file(&f, i, &f.source, &f.sink), LATHE_EXISTS);
        CHECK_OK(convert_file(&f, i, &f.source, &again));
        lathe_source first = f.source;
        first.path = NULL;
        first.fd = open(f.in, O_RDONLY);
        const lathe_sink second = {.struct_size = sizeof second,
                                   .kind = LATHE_END_FILE,
                                   .fd = open(f.out, O_RDWR),
                                   .offset = 101,
                                   .scales_offset = 95};
        CHECK(first.fd >= 0 && second.fd >= 0, "open");
        CHECK_OK(convert_file(&f, i, &first, &second));
        check_file(&f, 101, 95);
        CHECK(close(first.fd) == 0 && close(second.fd) == 0, "it was closed");
        CHECK(unlink(f.out) == 0, "unlink");
    }
    file_case_free(&f);
}

Test(stream_ends, files_that_do_not_suit) {
    file_case f = file_case_new();
    f.source.path = f.in;
    f.sink.path = f.out;
    for (size_t i = 0; i < n_small_engines; i++) {
        CHECK_OK(convert_file(&f, i, &f.source, &f.sink));
        lathe_source too_short = f.source;
        too_short.offset = 901;
        CHECK_STATUS(convert_file(&f, i, &too_short, &f.sink), LATHE_IO);
        lathe_sink odd = f.sink;
        odd.path = path_in_folder("none");
        odd.create = 0;
        CHECK_STATUS(convert_file(&f, i, &f.source, &odd), LATHE_NOT_FOUND);
        odd = f.sink;
        odd.overwrite = 1;
        odd.scales_offset = 99;
        CHECK_STATUS(convert_file(&f, i, &f.source, &odd), LATHE_INVALID_ARGUMENT);
        CHECK(unlink(f.out) == 0, "unlink");
    }
    file_case_free(&f);
}

/* A stream that is given up leaves no file, and one that is finished does. */
Test(stream_ends, files_that_are_fed) {
    file_case f = file_case_new();
    f.sink.path = f.out;
    for (size_t i = 0; i < n_small_engines; i++) {
        lathe_stream *stream = NULL;
        CHECK_OK(lathe_stream_begin(engines[i], &f.c.from, &f.target, &f.sink, NULL, &stream));
        CHECK_OK(lathe_stream_feed_scales(stream, f.c.scales, 200));
        CHECK_OK(lathe_stream_feed(stream, f.c.bytes, 1000));
        lathe_stream_free(stream);
        CHECK(access(f.out, F_OK) != 0, "the file is there");
        CHECK_OK(lathe_stream_begin(engines[i], &f.c.from, &f.target, &f.sink, NULL, &stream));
        test_rng rng = {83};
        CHECK_OK(feed_all(stream, &f.c, &rng));
        CHECK(access(f.out, F_OK) != 0, "the file is there");
        CHECK_OK(lathe_stream_finish(stream, NULL));
        CHECK(access(f.out, F_OK) == 0, "the file is not there");
        lathe_stream_free(stream);
        CHECK(unlink(f.out) == 0, "unlink");
    }
    file_case_free(&f);
}

typedef struct pumped {
    int fd;
    const uint8_t *bytes;
    size_t n_bytes;
} pumped;

static void *pump(void *ctx) {
    const pumped *p = ctx;
    for (size_t at = 0; at < p->n_bytes;) {
        size_t piece = p->n_bytes - at < 777 ? p->n_bytes - at : 777;
        ssize_t n = write(p->fd, p->bytes + at, piece);
        if (n <= 0) {
            break;
        }
        at += (size_t)n;
    }
    (void)close(p->fd);
    return NULL;
}

/* From a pipe to a pipe, whose other ends are threads. */
Test(stream_ends, pipes_as_ends) {
    static const shape_option shape = {2, {100, 1001}};
    convert_case c = normal_case(LATHE_F32, &shape, 0, 84);
    lathe_target target = target_of(LATHE_BF16, &layout_options[0], 0);
    expected e = convert_case_with(&c, &target);
    const size_t n_out = (size_t)lathe_tensor_n_bytes(e.tensor);
    for (size_t i = 0; i < n_small_engines * 2; i++) {
        bool is_short = i % 2 == 1;
        int in[2];
        int out[2];
        pthread_t thread;
        CHECK(pipe(in) == 0 && pipe(out) == 0, "pipes");
        CHECK(fcntl(out[1], F_SETPIPE_SZ, 1 << 20) >= (int)n_out, "a large pipe");
        pumped p = {in[1], c.bytes, (size_t)c.layout.n_bytes - is_short};
        CHECK(pthread_create(&thread, NULL, pump, &p) == 0, "thread");
        const lathe_source source = {
            .struct_size = sizeof source, .kind = LATHE_END_FILE, .fd = in[0], .in_order = 1};
        const lathe_sink sink = {
            .struct_size = sizeof sink, .kind = LATHE_END_FILE, .fd = out[1], .in_order = 1};
        const lathe_stream_options options = {.struct_size = sizeof options,
                                              .streaming = {.chunk_bytes = 64 * KIB}};
        lathe_status status =
            lathe_stream_convert(engines[i / 2], &c.from, &target, &source, &sink, &options, NULL);
        (void)close(out[1]);
        if (is_short) {
            CHECK_STATUS(status, LATHE_IO);
            CHECK(strstr(lathe_last_error()->message, "ends at") != NULL, "%s",
                  lathe_last_error()->message);
        } else {
            CHECK_OK(status);
            uint8_t *bytes = malloc(n_out + 1);
            CHECK(bytes != NULL, "memory");
            size_t n = 0;
            ssize_t got = 1;
            while (got > 0) {
                got = read(out[0], bytes + n, n_out + 1 - n);
                n += got > 0 ? (size_t)got : 0;
            }
            CHECK(n == n_out && memcmp(bytes, lathe_tensor_data(e.tensor), n) == 0, "bytes");
            free(bytes);
        }
        CHECK(pthread_join(thread, NULL) == 0, "join");
        (void)close(in[0]);
        (void)close(out[0]);
    }
    lathe_tensor_release(e.tensor);
    case_free(&c);
}
