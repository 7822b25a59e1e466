/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of one vector length, included by a file for each. Before it come: VEC, the type; LOAD,
 * STORE, STREAM, ADD, ZERO and ONES, its instructions; and LOOPS, the name of what is defined. */
#include "loops.h"
#include <immintrin.h>
#include <string.h>

/* How far ahead, as in the kernels for cold data: far enough for memory, and a page at the most. */
enum { AHEAD_BYTES = 2048, LINE_BYTES = 64, PAGE_BYTES = 4096, STEP_BYTES = 4 * sizeof(VEC) };

static void copy_prefetch(void *dst, const void *src, size_t n_bytes) {
    const char *from = src;
    char *to = dst;
    size_t at = 0;
    for (; n_bytes - at >= STEP_BYTES; at += STEP_BYTES) {
        for (size_t line = 0; line < STEP_BYTES; line += LINE_BYTES) {
            __builtin_prefetch(from + at + AHEAD_BYTES + line, 0, 3);
            __builtin_prefetch(to + at + AHEAD_BYTES + line, 1, 3);
        }
        const VEC a = LOAD(from + at);
        const VEC b = LOAD(from + at + sizeof(VEC));
        const VEC c = LOAD(from + at + 2 * sizeof(VEC));
        const VEC d = LOAD(from + at + 3 * sizeof(VEC));
        STORE(to + at, a);
        STORE(to + at + sizeof(VEC), b);
        STORE(to + at + 2 * sizeof(VEC), c);
        STORE(to + at + 3 * sizeof(VEC), d);
    }
    memcpy(to + at, from + at, n_bytes - at);
}

static void copy_stream(void *dst, const void *src, size_t n_bytes) {
    const char *from = src;
    char *to = dst;
    size_t at = 0;
    for (; n_bytes - at >= STEP_BYTES; at += STEP_BYTES) {
        for (size_t line = 0; line < STEP_BYTES; line += LINE_BYTES) {
            __builtin_prefetch(from + at + AHEAD_BYTES + line, 0, 3);
        }
        for (size_t i = 0; i < STEP_BYTES; i += sizeof(VEC)) {
            STREAM(to + at + i, LOAD(from + at + i));
        }
    }
    memcpy(to + at, from + at, n_bytes - at);
    _mm_sfence();
}

static uint64_t sum_of(VEC total) {
    uint64_t words[sizeof(VEC) / sizeof(uint64_t)];
    uint64_t sum = 0;
    memcpy(words, &total, sizeof(words));
    for (size_t i = 0; i < sizeof(VEC) / sizeof(uint64_t); i++) {
        sum += words[i];
    }
    return sum;
}

static uint64_t read_plain(const void *src, size_t n_bytes) {
    const char *from = src;
    VEC a = ZERO;
    VEC b = ZERO;
    VEC c = ZERO;
    VEC d = ZERO;
    size_t at = 0;
    for (; n_bytes - at >= STEP_BYTES; at += STEP_BYTES) {
        a = ADD(a, LOAD(from + at));
        b = ADD(b, LOAD(from + at + sizeof(VEC)));
        c = ADD(c, LOAD(from + at + 2 * sizeof(VEC)));
        d = ADD(d, LOAD(from + at + 3 * sizeof(VEC)));
    }
    const uint64_t rest = bench_loops_portable.read(from + at, n_bytes - at);
    return sum_of(ADD(ADD(a, b), ADD(c, d))) + rest;
}

/* Four streams keep more of the memory's requests in flight than one. */
static uint64_t read_prefetch(const void *src, size_t n_bytes) {
    const char *from = src;
    VEC a = ZERO;
    VEC b = ZERO;
    VEC c = ZERO;
    VEC d = ZERO;
    size_t at = 0;
    for (; n_bytes - at >= 4 * PAGE_BYTES; at += 4 * PAGE_BYTES) {
        for (size_t i = at; i < at + PAGE_BYTES; i += LINE_BYTES) {
            __builtin_prefetch(from + i + 4 * PAGE_BYTES, 0, 3);
            __builtin_prefetch(from + i + 5 * PAGE_BYTES, 0, 3);
            __builtin_prefetch(from + i + 6 * PAGE_BYTES, 0, 3);
            __builtin_prefetch(from + i + 7 * PAGE_BYTES, 0, 3);
            for (size_t k = 0; k < LINE_BYTES; k += sizeof(VEC)) {
                a = ADD(a, LOAD(from + i + k));
                b = ADD(b, LOAD(from + i + k + PAGE_BYTES));
                c = ADD(c, LOAD(from + i + k + 2 * PAGE_BYTES));
                d = ADD(d, LOAD(from + i + k + 3 * PAGE_BYTES));
            }
        }
    }
    return sum_of(ADD(ADD(a, b), ADD(c, d))) + read_plain(from + at, n_bytes - at);
}

static void write_stream(void *dst, size_t n_bytes) {
    char *to = dst;
    size_t at = 0;
    for (; n_bytes - at >= sizeof(VEC); at += sizeof(VEC)) {
        STREAM(to + at, ONES);
    }
    memset(to + at, 1, n_bytes - at);
    _mm_sfence();
}

const bench_loops LOOPS = {
    .copy_prefetch = copy_prefetch,
    .copy_stream = copy_stream,
    .read = read_plain,
    .read_prefetch = read_prefetch,
    .write_stream = write_stream,
};
