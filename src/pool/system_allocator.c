/* SPDX-License-Identifier: Apache-2.0 */
/* Memory from the operating system. */
#include "pool/system_allocator.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MAP_THRESHOLD ((size_t)256 << 10)
#define HUGE_PAGE ((size_t)2 << 20)

/* Page faults cost more than any conversion kernel, and a huge page takes 512 of them away. The
 * mapping is made larger by one huge page and then cut back so that it begins on one. */
static void *map_huge(size_t n_bytes) {
    size_t padded = n_bytes + HUGE_PAGE;
    if (padded < n_bytes) {
        return NULL;
    }
    uint8_t *memory =
        mmap(NULL, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    size_t head = (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
    if (head != 0) {
        (void)munmap(memory, head);
    }
    /* The pool's capacities of this size are multiples of any page, so this cut is exact. */
    size_t tail = padded - head - n_bytes;
    if (tail != 0) {
        (void)munmap(memory + head + n_bytes, tail);
    }
#if defined(MADV_HUGEPAGE)
    (void)madvise(memory + head, n_bytes, MADV_HUGEPAGE); /* a hint: without it pages are small */
#endif
    return memory + head;
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
    void *memory = NULL;
    return posix_memalign(&memory, alignment, n_bytes) == 0 ? memory : NULL;
}

static void system_release(void *ctx, void *memory, size_t n_bytes) {
    (void)ctx;
    if (n_bytes >= MAP_THRESHOLD) {
        (void)munmap(memory, n_bytes);
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
