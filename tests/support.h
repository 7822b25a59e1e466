/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests share: random numbers, special values, guarded memory, allocators that count and
 * fail, and helpers around tensors. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <lathe/lathe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In an emulator of another processor, whose limits and pages are those of its own process. */
#if defined(LT_TEST_EMULATED)
#define LT_TEST_SANITIZED 1
enum { TEST_EMULATED = 1 };
#else
enum { TEST_EMULATED = 0 };
#endif

/* Divides the work of exhaustive loops when a sanitizer, or an emulator, slows everything down. */
#if defined(LT_TEST_SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { TEST_SANITIZED = 1 };
#else
enum { TEST_SANITIZED = 0 };
#endif

/* A printf-style text in a buffer of the calling thread, overwritten by the next call. */
const char *test_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Deterministic random numbers. Any seed will do. */
typedef struct test_rng {
    uint64_t state;
} test_rng;

uint64_t test_random(test_rng *rng);
uint64_t test_random_below(test_rng *rng, uint64_t bound); /* bound > 0 */
void test_random_bytes(test_rng *rng, void *bytes, size_t n_bytes);

uint32_t test_bits(float x);
float test_float(uint32_t bits);

/* F32 patterns at which conversions go wrong: zeros, subnormals, ties and limits of F16, BF16, I8
 * and the rest, infinities and NaNs with all sorts of payloads. */
extern const uint32_t test_special_f32[];
extern const size_t test_n_special_f32;

/* Kinds of data for a float tensor. */
typedef enum test_data {
    TEST_DATA_NORMAL,  /* bell-shaped around 0 with outliers, as weights are */
    TEST_DATA_EXACT,   /* small integers: many conversions keep them */
    TEST_DATA_WIDE,    /* any finite pattern */
    TEST_DATA_HUGE,    /* so large that sums overflow */
    TEST_DATA_TINY,    /* subnormal and so small that scales underflow */
    TEST_DATA_ZERO,    /* zeros of both signs */
    TEST_DATA_SPECIAL, /* test_special_f32, finite ones only, among normal data */
    TEST_DATA_FINITE_COUNT,
    TEST_DATA_NONFINITE = TEST_DATA_FINITE_COUNT, /* infinities and NaNs among normal data */
    TEST_DATA_COUNT
} test_data;

/* Fills n_elems elements of F32, F16 or BF16. */
void test_fill_floats(test_rng *rng, lathe_dtype dtype, test_data data, void *elems,
                      size_t n_elems);

/* Fills the data and scales of a tensor of any dtype: quantized ones get valid bytes with unused
 * bits zero, every code of the type among them, and `data` then chooses the scales. */
void test_fill_tensor(test_rng *rng, const lathe_tensor_desc *desc, test_data data, void *bytes,
                      float *scales);

/* Host tensors have the same type and hold the same. */
bool test_same(const lathe_tensor *a, const lathe_tensor *b);

/* Memory between two pages that cannot be touched. */
typedef struct test_guarded {
    uint8_t *bytes; /* n_bytes of them, the first one right behind a guard page */
    size_t n_bytes; /* whole pages */
} test_guarded;

test_guarded test_guarded_new(size_t n_bytes);
void test_guarded_free(test_guarded *memory);

/* An allocator that counts, and fails when told to. Thread-safe. */
typedef struct test_allocator {
    lathe_allocator interface;
    pthread_mutex_t lock;
    uint64_t n_live;
    uint64_t live_bytes;
    uint64_t peak_bytes;
    uint64_t n_calls;     /* of allocate */
    uint64_t fail_at;     /* this call fails, counted from 0; UINT64_MAX: none */
    bool fail_ever_after; /* and every later one too */
    bool misused;         /* a bad size, alignment or pointer was seen */
} test_allocator;

void test_allocator_init(test_allocator *allocator);
void test_allocator_reset(test_allocator *allocator, uint64_t fail_at); /* the call counter too */

/* The CPU kernel levels that this machine has, LATHE_ISA_SCALAR first. Returns how many. */
enum { TEST_MAX_ISAS = 3 };
size_t test_isas(lathe_isa isas[TEST_MAX_ISAS]);

/* An executor that runs tasks on fresh threads, in reverse order. Its ctx is a test_executor. */
typedef struct test_executor {
    lathe_executor interface;
    pthread_mutex_t lock;
    uint64_t n_calls;
    uint64_t n_tasks;
    uint32_t mxcsr; /* if not 0, what its threads set their MXCSR to first */
} test_executor;

void test_executor_init(test_executor *executor, uint32_t n_threads);

/* The control and status register of SSE, and 0 elsewhere. */
uint32_t test_get_mxcsr(void);
void test_set_mxcsr(uint32_t mxcsr);

#endif
