/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests share. */
#include "support.h"

#include "oracle.h"
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

const char *test_text(const char *format, ...) {
    static _Thread_local char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return text;
}

uint64_t test_random(test_rng *rng) {
    rng->state += 0x9e3779b97f4a7c15u;
    uint64_t z = rng->state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t test_random_below(test_rng *rng, uint64_t bound) {
    return test_random(rng) % bound;
}

void test_random_bytes(test_rng *rng, void *bytes, size_t n_bytes) {
    uint8_t *to = bytes;
    while (n_bytes > 0) {
        uint64_t random = test_random(rng);
        size_t step = n_bytes < sizeof random ? n_bytes : sizeof random;
        memcpy(to, &random, step);
        to += step;
        n_bytes -= step;
    }
}

uint32_t test_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

float test_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#define BOTH_SIGNS(bits) (bits), (bits) | 0x80000000u
#define AROUND(bits) BOTH_SIGNS((bits)-1), BOTH_SIGNS(bits), BOTH_SIGNS((bits) + 1)

const uint32_t test_special_f32[] = {
    BOTH_SIGNS(0x00000000u), /* zero */
    BOTH_SIGNS(0x00000001u), /* the least subnormal */
    BOTH_SIGNS(0x00007fffu), BOTH_SIGNS(0x00008000u),
    BOTH_SIGNS(0x00008001u), /* BF16's first tie */
    BOTH_SIGNS(0x00018000u), /* BF16's second tie, which goes up */
    AROUND(0x00800000u),     /* the least normal */
    AROUND(0x33000000u),     /* 2^-25: F16's first tie */
    AROUND(0x33800000u),     /* 2^-24: F16's least subnormal */
    AROUND(0x33c00000u),     /* a tie of F16 subnormals */
    AROUND(0x387fc000u),     /* F16's greatest subnormal */
    AROUND(0x387fe000u),     /* the tie above it */
    AROUND(0x38800000u),     /* 2^-14: F16's least normal */
    AROUND(0x3727c5acu),     /* 1e-5 */
    AROUND(0x3f000000u),     /* 0.5 */
    AROUND(0x3f800000u),     /* 1 */
    AROUND(0x3f801000u),     /* a tie of F16 */
    AROUND(0x3f803000u),     /* the next one */
    AROUND(0x3f808000u),     /* a tie of BF16 */
    AROUND(0x3f818000u),     /* the next one */
    AROUND(0x3fc00000u),     /* 1.5 */
    AROUND(0x40200000u),     /* 2.5 */
    AROUND(0x40f00000u),     /* 7.5 */
    AROUND(0x42fd0000u),     /* 126.5 */
    AROUND(0x42fe0000u),     /* 127 */
    AROUND(0x42ff0000u),     /* 127.5 */
    AROUND(0x43000000u),     /* 128 */
    AROUND(0x477fe000u),     /* 65504: F16's greatest */
    AROUND(0x477ff000u),     /* 65520: the tie to infinity */
    AROUND(0x47800000u),     /* 65536 */
    AROUND(0x4f000000u),     /* 2^31: where conversions to integers break */
    AROUND(0x7f7f0000u),     /* BF16's greatest */
    AROUND(0x7f7f8000u),     /* the tie to infinity */
    BOTH_SIGNS(0x7f7fffffu), /* FLT_MAX */
    BOTH_SIGNS(0x7f800000u), /* infinity */
    BOTH_SIGNS(0x7f800001u), /* signalling NaNs */
    BOTH_SIGNS(0x7f801fffu), BOTH_SIGNS(0x7f802000u),
    BOTH_SIGNS(0x7f80ffffu), BOTH_SIGNS(0x7f810000u),
    BOTH_SIGNS(0x7fbfffffu), BOTH_SIGNS(0x7fc00000u), /* quiet NaNs */
    BOTH_SIGNS(0x7fc00001u), BOTH_SIGNS(0x7fc02000u),
    BOTH_SIGNS(0x7fd55555u), BOTH_SIGNS(0x7fffffffu),
};
const size_t test_n_special_f32 = sizeof test_special_f32 / sizeof test_special_f32[0];

static float finite_special(test_rng *rng) {
    for (;;) {
        float x = test_float(test_special_f32[test_random_below(rng, test_n_special_f32)]);
        if (isfinite(x)) {
            return x;
        }
    }
}

static float nonfinite_special(test_rng *rng) {
    for (;;) {
        float x = test_float(test_special_f32[test_random_below(rng, test_n_special_f32)]);
        if (!isfinite(x)) {
            return x;
        }
    }
}

/* A sum of uniform numbers is nearly bell-shaped. */
static float bell(test_rng *rng) {
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += (int)test_random_below(rng, 4001) - 2000;
    }
    float outlier = test_random_below(rng, 200) == 0 ? 20.0F : 1.0F;
    return outlier * 1e-5F * (float)sum;
}

static float any_finite(test_rng *rng) {
    for (;;) {
        float x = test_float((uint32_t)test_random(rng));
        if (isfinite(x)) {
            return x;
        }
    }
}

static float data_value(test_rng *rng, test_data data) {
    switch (data) {
    case TEST_DATA_EXACT:
        return (float)test_random_below(rng, 3) - 1.0F;
    case TEST_DATA_WIDE:
        return any_finite(rng);
    case TEST_DATA_HUGE:
        return (test_random(rng) & 1 ? FLT_MAX : -FLT_MAX) *
               (1.0F - (float)test_random_below(rng, 1000) / 2048.0F);
    case TEST_DATA_TINY:
        return test_float((uint32_t)(test_random(rng) & 0x800000ffu));
    case TEST_DATA_ZERO:
        return test_random(rng) & 1 ? 0.0F : -0.0F;
    case TEST_DATA_SPECIAL:
        return test_random_below(rng, 4) == 0 ? finite_special(rng) : bell(rng);
    case TEST_DATA_NONFINITE:
        return test_random_below(rng, 5) == 0 ? nonfinite_special(rng) : bell(rng);
    case TEST_DATA_NORMAL:
    default:
        return bell(rng);
    }
}

/* The nearest finite value of a narrow type: an overflow must not slip in where finite data was
 * asked. */
static uint16_t narrow(lathe_dtype dtype, float x, bool keep_finite) {
    uint16_t bits =
        dtype == LATHE_F16 ? oracle_f32_to_f16(test_bits(x)) : oracle_f32_to_bf16(test_bits(x));
    uint16_t infinity = dtype == LATHE_F16 ? 0x7c00 : 0x7f80;
    if (keep_finite && (bits & 0x7fff) >= infinity) {
        bits = (uint16_t)((bits & 0x8000) | (infinity - 1));
    }
    return bits;
}

void test_fill_floats(test_rng *rng, lathe_dtype dtype, test_data data, void *elems,
                      size_t n_elems) {
    uint8_t *to = elems;
    for (size_t i = 0; i < n_elems; i++) {
        float x = data_value(rng, data);
        if (dtype == LATHE_F32) {
            memcpy(to + 4 * i, &x, 4);
        } else {
            uint16_t bits = narrow(dtype, x, data != TEST_DATA_NONFINITE);
            memcpy(to + 2 * i, &bits, 2);
        }
    }
}

static float data_scale(test_rng *rng, test_data data) {
    switch (data) {
    case TEST_DATA_EXACT:
        return 1.0F;
    case TEST_DATA_WIDE:
        return test_float(
            (uint32_t)test_random_below(rng, 0x7b000000u)); /* 128 * scale is finite */
    case TEST_DATA_HUGE:
        return 0x1p120F * (1.0F + (float)test_random_below(rng, 100) / 128.0F);
    case TEST_DATA_TINY:
        return test_float((uint32_t)test_random_below(rng, 300));
    case TEST_DATA_ZERO:
        return 0.0F;
    default:
        return 1e-3F * (float)(1 + test_random_below(rng, 1000));
    }
}

void test_fill_tensor(test_rng *rng, const lathe_tensor_desc *desc, test_data data, void *bytes,
                      float *scales) {
    oracle_layout layout;
    if (!oracle_layout_of(desc, &layout)) {
        abort();
    }
    if (!layout.quantized) {
        test_fill_floats(rng, desc->dtype, data, bytes, (size_t)layout.n_elems);
        return;
    }
    for (uint64_t row = 0; row < layout.n_rows; row++) {
        uint8_t *to = (uint8_t *)bytes + row * layout.row_bytes;
        oracle_clear_row(desc->dtype, to, layout.row_bytes);
        for (uint64_t i = 0; i < layout.row_elems; i++) {
            int low = oracle_lowest_code(desc->dtype);
            int high = oracle_highest_code(desc->dtype);
            int code = low + (int)test_random_below(rng, (uint64_t)(high - low + 1));
            oracle_put_code(desc->dtype, to, i, desc->dtype == LATHE_I1 && code == 0 ? 1 : code);
        }
    }
    for (uint64_t i = 0; i < layout.n_scales; i++) {
        scales[i] = data_scale(rng, data);
    }
}

bool test_same(const lathe_tensor *a, const lathe_tensor *b) {
    const size_t n_bytes = (size_t)lathe_tensor_n_bytes(a);
    const size_t n_scales = (size_t)lathe_tensor_n_scales(a);
    return lathe_tensor_dtype(a) == lathe_tensor_dtype(b) && lathe_tensor_n_bytes(b) == n_bytes &&
           lathe_tensor_n_scales(b) == n_scales &&
           (n_bytes == 0 || memcmp(lathe_tensor_data(a), lathe_tensor_data(b), n_bytes) == 0) &&
           (n_scales == 0 ||
            memcmp(lathe_tensor_scales(a), lathe_tensor_scales(b), n_scales * sizeof(float)) == 0);
}

test_guarded test_guarded_new(size_t n_bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inside = (n_bytes + page - 1) / page * page;
    uint8_t *all = mmap(NULL, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all + page, inside, PROT_READ | PROT_WRITE) != 0) {
        abort();
    }
    return (test_guarded){.bytes = all + page, .n_bytes = inside};
}

void test_guarded_free(test_guarded *memory) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    (void)munmap(memory->bytes - page, memory->n_bytes + 2 * page);
    *memory = (test_guarded){0};
}

/* Every block is preceded by a note of what was asked for. */
enum { NOTE_BYTES = 64 };

static void *counting_allocate(void *ctx, size_t n_bytes, size_t alignment) {
    test_allocator *self = ctx;
    (void)pthread_mutex_lock(&self->lock);
    uint64_t call = self->n_calls++;
    bool fail = call == self->fail_at || (self->fail_ever_after && call > self->fail_at);
    if (n_bytes == 0 || alignment < 64 || (alignment & (alignment - 1)) != 0) {
        self->misused = true;
        fail = true;
    }
    (void)pthread_mutex_unlock(&self->lock);
    if (fail) {
        return NULL;
    }
    size_t before = alignment > NOTE_BYTES ? alignment : NOTE_BYTES;
    if (n_bytes > (size_t)1 << 40) { /* more than any machine has */
        return NULL;
    }
    void *raw = NULL;
    if (posix_memalign(&raw, alignment, n_bytes + before) != 0) {
        return NULL;
    }
    uint8_t *memory = (uint8_t *)raw + before;
    memcpy(memory - 8, &n_bytes, 8);
    memcpy(memory - 16, &raw, 8);
    (void)pthread_mutex_lock(&self->lock);
    self->n_live++;
    self->live_bytes += n_bytes;
    if (self->live_bytes > self->peak_bytes) {
        self->peak_bytes = self->live_bytes;
    }
    (void)pthread_mutex_unlock(&self->lock);
    return memory;
}

static void counting_release(void *ctx, void *memory, size_t n_bytes) {
    test_allocator *self = ctx;
    size_t noted = 0;
    void *raw = NULL;
    memcpy(&noted, (uint8_t *)memory - 8, 8);
    memcpy(&raw, (uint8_t *)memory - 16, 8);
    (void)pthread_mutex_lock(&self->lock);
    if (noted != n_bytes) {
        self->misused = true;
    }
    self->n_live--;
    self->live_bytes -= noted;
    (void)pthread_mutex_unlock(&self->lock);
    free(raw);
}

void test_allocator_init(test_allocator *allocator) {
    *allocator = (test_allocator){
        .interface = {.ctx = allocator, .allocate = counting_allocate, .release = counting_release},
        .fail_at = UINT64_MAX,
    };
    (void)pthread_mutex_init(&allocator->lock, NULL);
}

void test_allocator_reset(test_allocator *allocator, uint64_t fail_at) {
    (void)pthread_mutex_lock(&allocator->lock);
    allocator->n_calls = 0;
    allocator->fail_at = fail_at;
    allocator->peak_bytes = allocator->live_bytes;
    (void)pthread_mutex_unlock(&allocator->lock);
}

size_t test_isas(lathe_isa isas[TEST_MAX_ISAS]) {
    size_t n = 0;
    for (int isa = LATHE_ISA_SCALAR; isa <= LATHE_ISA_NEON; isa++) {
        lathe_config config = {.struct_size = sizeof config, .isa = (lathe_isa)isa, .n_threads = 1};
        lathe_engine *engine = NULL;
        if (lathe_engine_create(&config, &engine) == LATHE_OK) {
            isas[n++] = (lathe_isa)isa;
            lathe_engine_free(engine);
        }
    }
    return n;
}

typedef struct task_run {
    void (*task)(void *task_ctx, size_t i);
    void *task_ctx;
    size_t first;
    size_t step;
    size_t n_tasks;
    uint32_t mxcsr;
} task_run;

static void *run_tasks(void *ctx) {
    const task_run *run = ctx;
    if (run->mxcsr != 0) {
        test_set_mxcsr(run->mxcsr);
    }
    for (size_t i = run->first; i < run->n_tasks; i += run->step) {
        run->task(run->task_ctx, run->n_tasks - 1 - i);
    }
    return NULL;
}

enum { MAX_EXECUTOR_THREADS = 16 };

static void executor_parallel_for(void *ctx, size_t n_tasks, void (*task)(void *task_ctx, size_t i),
                                  void *task_ctx) {
    test_executor *self = ctx;
    (void)pthread_mutex_lock(&self->lock);
    self->n_calls++;
    self->n_tasks += n_tasks;
    (void)pthread_mutex_unlock(&self->lock);
    size_t n_threads = self->interface.n_threads;
    if (n_threads > MAX_EXECUTOR_THREADS) {
        n_threads = MAX_EXECUTOR_THREADS;
    }
    if (n_threads > n_tasks) {
        n_threads = n_tasks;
    }
    pthread_t threads[MAX_EXECUTOR_THREADS];
    task_run runs[MAX_EXECUTOR_THREADS];
    size_t started = 0;
    for (; started < n_threads; started++) {
        runs[started] = (task_run){task, task_ctx, started, n_threads, n_tasks, self->mxcsr};
        if (pthread_create(&threads[started], NULL, run_tasks, &runs[started]) != 0) {
            abort();
        }
    }
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

void test_executor_init(test_executor *executor, uint32_t n_threads) {
    *executor = (test_executor){
        .interface = {.ctx = executor,
                      .parallel_for = executor_parallel_for,
                      .n_threads = n_threads},
    };
    (void)pthread_mutex_init(&executor->lock, NULL);
}

uint32_t test_get_mxcsr(void) {
#if defined(__x86_64__)
    return _mm_getcsr();
#else
    return 0;
#endif
}

void test_set_mxcsr(uint32_t mxcsr) {
#if defined(__x86_64__)
    _mm_setcsr(mxcsr);
#else
    (void)mxcsr;
#endif
}
