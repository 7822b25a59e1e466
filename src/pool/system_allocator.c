/* SPDX-License-Identifier: Apache-2.0 */
/* Memory from the operating system. */
#include "pool/system_allocator.h"

#include "pool/page_runs.h"
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MAP_THRESHOLD ((size_t)256 << 10)
#define HUGE_PAGE ((size_t)2 << 20)

/* AddressSanitizer looks at what lies around the C library's blocks, and around no others. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IN_RUNS 0
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define IN_RUNS 0
#endif
#if !defined(IN_RUNS)
#define IN_RUNS 1
#endif

/* Whether so many bytes are cut out of a run. */
static bool is_in_run(size_t n_bytes) {
    return IN_RUNS && n_bytes >= LT_RUN_PAGE_BYTES && n_bytes % LT_RUN_PAGE_BYTES == 0 &&
           n_bytes < MAP_THRESHOLD;
}

/* Page faults cost more than any conversion kernel, and a huge page takes 512 of them away. */
static void *map_huge(size_t n_bytes) {
    void *memory = lt_map_aligned(n_bytes, HUGE_PAGE);
#if defined(MADV_HUGEPAGE)
    if (memory != NULL) {
        (void)madvise(memory, n_bytes, MADV_HUGEPAGE); /* a hint: without it pages are small */
    }
#endif
    return memory;
}

static void *map_small(size_t n_bytes) {
    void *memory = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
#if defined(MADV_NOHUGEPAGE)
    if (n_bytes >= 2 * HUGE_PAGE) {
        (void)madvise(memory, n_bytes, MADV_NOHUGEPAGE); /* some systems give them unasked */
    }
#endif
    return memory;
}

/* ctx: not NULL for small pages alone. */
static void *system_allocate(void *ctx, size_t n_bytes, size_t alignment) {
    if (n_bytes >= 2 * HUGE_PAGE && ctx == NULL) {
        return map_huge(n_bytes);
    }
    if (n_bytes >= MAP_THRESHOLD) {
        return map_small(n_bytes);
    }
    if (is_in_run(n_bytes)) {
        return lt_run_allocate(n_bytes, ctx == NULL);
    }
    void *memory = NULL;
    return posix_memalign(&memory, alignment, n_bytes) == 0 ? memory : NULL;
}

static void system_release(void *ctx, void *memory, size_t n_bytes) {
    (void)ctx;
    if (n_bytes >= MAP_THRESHOLD) {
        (void)munmap(memory, n_bytes);
    } else if (is_in_run(n_bytes)) {
        lt_run_release(memory, n_bytes);
    } else {
        free(memory);
    }
}

bool lt_system_is_zeroed(const lathe_allocator *allocator, size_t n_bytes) {
    return allocator->allocate == system_allocate && n_bytes >= MAP_THRESHOLD;
}

size_t lt_system_shrink(void *memory, size_t n_bytes, size_t new_bytes) {
    size_t kept = new_bytes < MAP_THRESHOLD ? MAP_THRESHOLD : new_bytes;
    if (n_bytes < MAP_THRESHOLD || kept >= n_bytes) {
        return n_bytes;
    }
    return munmap((uint8_t *)memory + kept, n_bytes - kept) == 0 ? kept : n_bytes;
}

const lathe_allocator lt_system_allocator = {
    .allocate = system_allocate,
    .release = system_release,
};

static char small_pages; /* its address is what tells the two apart */

const lathe_allocator lt_small_page_allocator = {
    .ctx = &small_pages,
    .allocate = system_allocate,
    .release = system_release,
};
