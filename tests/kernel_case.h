/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): for tests of kernels: their tables on every ISA, with and
 * without the features that choose between variants, and memory between guard pages. */
#ifndef LATHE_TESTS_KERNEL_CASE_H
#define LATHE_TESTS_KERNEL_CASE_H

#include "cpu/kernels.h"
#include "support.h"

/* Streaming stores or not; far prefetches and VBMI or not. */
enum { N_TABLE_VARIANTS = 4, MAX_TABLES = N_TABLE_VARIANTS * LATHE_ISA_NEON };

static lt_kernels reference; /* scalar */
static lt_kernels tables[MAX_TABLES];
static size_t n_tables;
static test_guarded src_memory;
static test_guarded dst_memory;

/* Makes `reference`, and tables of the ISAs from `first` on that this processor has. */
static inline void make_tables(lathe_isa first) {
    lt_cpu_features detected;
    lt_cpu_features_detect(&detected);
    lt_kernels_init(&reference, LATHE_ISA_SCALAR, &detected);
    n_tables = 0;
    for (int isa = (int)first; isa <= (int)lt_cpu_best_isa(&detected); isa++) {
        const int n_variants = isa == LATHE_ISA_NEON ? 1 : N_TABLE_VARIANTS;
        for (int variant = 0; variant < n_variants && lt_cpu_has_isa(&detected, (lathe_isa)isa);
             variant++) {
            lt_cpu_features features = detected;
            features.stream_stores = (variant & 1) != 0;
            features.far_prefetch = (variant & 2) != 0;
            features.avx512_vbmi = detected.avx512_vbmi && (variant & 2) != 0;
            lt_kernels_init(&tables[n_tables++], (lathe_isa)isa, &features);
        }
    }
}

/* Those, and the memory. */
static inline void open_kernels(lathe_isa first, size_t src_bytes, size_t dst_bytes) {
    make_tables(first);
    src_memory = test_guarded_new(src_bytes);
    dst_memory = test_guarded_new(dst_bytes);
}

static inline void close_kernels(void) {
    test_guarded_free(&src_memory);
    test_guarded_free(&dst_memory);
}

/* n bytes at the end of the memory, or `offset` bytes from its beginning. */
static inline uint8_t *place(const test_guarded *memory, size_t n_bytes, size_t offset,
                             bool at_end) {
    return at_end ? memory->bytes + memory->n_bytes - n_bytes : memory->bytes + offset;
}

static inline size_t bytes_of(lathe_dtype dtype, size_t n_elems) {
    uint64_t n_bytes = 0;
    (void)lathe_dtype_row_bytes(dtype, n_elems, &n_bytes);
    return (size_t)n_bytes;
}

#endif
