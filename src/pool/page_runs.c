/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of pages, mappings out of which blocks are cut in ascending order, none twice. */
#include "pool/page_runs.h"

#include "core/process_lock.h"
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* A run begins on a multiple of its size, so that a block's address leads to it. */
#define RUN_BYTES ((size_t)2 << 20)

/* In the run's first page. */
typedef struct run {
    size_t n_used; /* bytes that have been handed out, and that page */
    size_t n_live; /* blocks that have not been released */
} run;

/* Under the lock of the process's page runs. */
static run *small_run; /* out of which the next block is cut; NULL: a new one */
static run *huge_run;  /* likewise, where huge pages are wanted */

/* The mapping is made larger and then cut back so that it begins where it should. */
void *lt_map_aligned(size_t n_bytes, size_t alignment) {
    size_t padded = n_bytes + alignment;
    if (padded < n_bytes) {
        return NULL;
    }
    uint8_t *memory =
        mmap(NULL, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    size_t head = (alignment - (uintptr_t)memory % alignment) % alignment;
    if (head != 0) {
        (void)munmap(memory, head);
    }
    /* The pool's capacities of this size are multiples of any page, so this cut is exact. */
    size_t tail = padded - head - n_bytes;
    if (tail != 0) {
        (void)munmap(memory + head + n_bytes, tail);
    }
    return memory + head;
}

/* Who has filled a run will fill another: only then is it to be a huge page, which some systems
 * give unasked. */
static run *new_run(bool is_huge) {
    run *made = lt_map_aligned(RUN_BYTES, RUN_BYTES);
#if defined(MADV_HUGEPAGE) && defined(MADV_NOHUGEPAGE)
    if (made != NULL) {
        (void)madvise(made, RUN_BYTES, is_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    }
#else
    (void)is_huge;
#endif
    if (made != NULL) {
        made->n_used = LT_RUN_PAGE_BYTES;
    }
    return made;
}

void *lt_run_allocate(size_t n_bytes, bool huge_pages) {
    void *memory = NULL;
    run **current = huge_pages ? &huge_run : &small_run;
    lt_lock_process(LT_LOCK_PAGE_RUNS);
    if (*current == NULL || (*current)->n_used + n_bytes > RUN_BYTES) {
        *current = new_run(huge_pages && *current != NULL); /* what is full goes with its blocks */
    }
    if (*current != NULL) {
        memory = (uint8_t *)*current + (*current)->n_used;
        (*current)->n_used += n_bytes;
        (*current)->n_live++;
    }
    lt_unlock_process(LT_LOCK_PAGE_RUNS);
    return memory;
}

void lt_run_release(void *memory, size_t n_bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE); /* elsewhere larger than this file's */
    run *of = (run *)(void *)((uint8_t *)memory - (uintptr_t)memory % RUN_BYTES);
    lt_lock_process(LT_LOCK_PAGE_RUNS);
    of->n_live--;
    if (of->n_live == 0) {
        small_run = of == small_run ? NULL : small_run;
        huge_run = of == huge_run ? NULL : huge_run;
        (void)munmap(of, RUN_BYTES);
    } else if ((uintptr_t)memory % page == 0 && n_bytes % page == 0) {
        (void)madvise(memory, n_bytes, MADV_DONTNEED); /* the pages go, the addresses stay */
    }
    lt_unlock_process(LT_LOCK_PAGE_RUNS);
}
