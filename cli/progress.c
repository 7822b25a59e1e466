/* SPDX-License-Identifier: Apache-2.0 */
/* The progress bar, and the signals that end long work early. */
#include "cli.h"
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static bool drawn; /* a bar is on the screen; guarded by stderr's lock */

/* A second signal finds the same handler, so it cannot cut the cleanup short. */
static void on_signal(int number) {
    caught = number;
}

void cli_catch_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct sigaction action;
        /* What the parent ignores (nohup) stays ignored. */
        if (sigaction(numbers[i], NULL, &action) != 0 || action.sa_handler == SIG_IGN) {
            continue;
        }
        memset(&action, 0, sizeof(action));
        action.sa_handler = on_signal;
        action.sa_flags = SA_RESTART;
        sigemptyset(&action.sa_mask);
        sigaction(numbers[i], &action, NULL);
    }
}

int cli_caught_signal(void) {
    return (int)caught;
}

uint64_t cli_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void cli_progress_start(cli_progress *progress, bool wanted) {
    *progress =
        (cli_progress){.visible = wanted && isatty(STDERR_FILENO) == 1, .start_ns = cli_now_ns()};
}

static void draw(const cli_progress *progress, uint64_t now_ns, uint64_t done, uint64_t total) {
    enum { WIDTH = 32 };
    static const char full[WIDTH + 1] = "################################";
    static const char rest[WIDTH + 1] = "................................";
    double fraction = total != 0 && done < total ? (double)done / (double)total : 1;
    double seconds = (double)(now_ns - progress->start_ns) * 1e-9;
    double speed = seconds > 0 ? (double)done / seconds : 0;
    double left = speed > 0 && done < total ? (double)(total - done) / speed : 0;
    int filled = (int)(fraction * WIDTH);
    flockfile(stderr);
    fprintf(stderr, "\r[%.*s%.*s] %3d%%", filled, full, WIDTH - filled, rest,
            (int)(fraction * 100));
    if (seconds > 0.5) { /* sooner it would be a guess */
        fprintf(stderr, "  reads %.0f MB/s  %.0f s left", speed * 1e-6, left);
    }
    fputs(" \033[K", stderr);
    fflush(stderr);
    drawn = true;
    funlockfile(stderr);
}

int cli_progress_update(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    cli_progress *progress = ctx;
    const uint64_t interval_ns = 100000000;
    if (progress->visible) {
        uint64_t now_ns = cli_now_ns();
        if (progress->drawn_ns == 0 || now_ns - progress->drawn_ns >= interval_ns) {
            draw(progress, now_ns, done_bytes, total_bytes);
            progress->drawn_ns = now_ns;
        }
    }
    return cli_caught_signal() != 0;
}

void cli_progress_note(cli_progress *progress, size_t n_done, size_t n_steps, const char *text) {
    if (!progress->visible) {
        return;
    }
    flockfile(stderr);
    if (n_steps != 0) {
        fprintf(stderr, "\r[%zu/%zu] %s\033[K", n_done + 1, n_steps, text);
    } else {
        fprintf(stderr, "\r%s\033[K", text);
    }
    fflush(stderr);
    drawn = true;
    funlockfile(stderr);
}

void cli_progress_hide(void) {
    flockfile(stderr);
    cli_progress_make_room();
    funlockfile(stderr);
}

void cli_progress_make_room(void) {
    if (drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        drawn = false;
    }
}

void cli_progress_end(cli_progress *progress) {
    progress->visible = false;
    flockfile(stderr);
    cli_progress_make_room();
    funlockfile(stderr);
}
