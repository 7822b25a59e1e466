/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of children that begin while another thread holds what all engines of a process share. */
#include "check.h"
#include "core/precise.h"
#include "core/quality.h"
#include "pool/page_runs.h"
#include "support.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static void take_and_release_a_run(void) {
    lt_run_release(lt_run_allocate(LT_RUN_PAGE_BYTES, true), LT_RUN_PAGE_BYTES);
}

static void merge_a_report(void) {
    lt_quality_sums sums = {0};
    lt_quality_merge(&sums, &sums);
}

static void fold_nothing(const lt_precise *precise, uint32_t *counts) {
    (void)precise;
    (void)counts;
}

static void merge_a_scan(void) {
    static const lt_precise_loops loops = {.fold = fold_nothing};
    static lt_scan_part part;
    static lt_scan scan = {.kind = LT_SCAN_COUNTS};
    scan.precise.n_bins = LT_PRECISE_BINS;
    lt_scan_merge(&scan, &loops, &part);
}

typedef struct busy {
    void (*work)(void);
    atomic_bool is_over;
} busy;

static void *repeat(void *ctx) {
    busy *self = ctx;
    while (!atomic_load(&self->is_over)) {
        self->work();
    }
    return NULL;
}

/* Each child does the same work once. */
static void check_children(void (*work)(void)) {
    busy other = {.work = work};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, repeat, &other) == 0, "thread");
    for (int i = 0; i < 50; i++) {
        const pid_t child = fork();
        if (child == 0) {
            (void)signal(SIGALRM, SIG_DFL);
            (void)alarm(20);
            work();
            _exit(0);
        }
        int status = 0;
        CHECK(child > 0 && waitpid(child, &status, 0) == child, "fork");
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with %x", i,
              (unsigned)status);
    }
    atomic_store(&other.is_over, true);
    CHECK(pthread_join(thread, NULL) == 0, "join");
}

Test(forks, children_are_not_locked_out) {
    check_children(take_and_release_a_run);
    check_children(merge_a_report);
    check_children(merge_a_scan);
}
