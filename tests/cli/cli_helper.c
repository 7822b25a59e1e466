/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the tool need beside a shell: JSON, made files, and processes that are watched.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int usage(void) {
    fputs("usage: cli_helper json FILE [PATH]\n"
          "       cli_helper safetensors FILE HEADER HEX\n"
          "       cli_helper unnamed FOLDER\n"
          "       cli_helper watch REPORT [SIGNAL:MICROSECONDS]... -- COMMAND [ARGUMENT]...\n",
          stderr);
    return 2;
}

/* One step of a path: a key, an index, or # for the number of elements (then *count is set). */
static const json_t *step(const json_t *at, const char *key, long *count) {
    if (strcmp(key, "#") == 0) {
        *count = (long)(json_is_array(at) ? json_array_size(at) : json_object_size(at));
        return at;
    }
    return json_is_array(at) ? json_array_get(at, (size_t)strtoul(key, NULL, 10))
                             : json_object_get(at, key);
}

/* Parses a file that must be one JSON value; prints what a dotted path leads to. */
static int print_json(const char *file, char *path) {
    json_error_t error;
    json_t *root = json_load_file(file, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        fprintf(stderr, "%s:%d: %s\n", file, error.line, error.text);
        return 1;
    }
    const json_t *at = root;
    long count = -1;
    char *rest = NULL;
    for (char *key = path != NULL ? strtok_r(path, ".", &rest) : NULL; key != NULL && at != NULL;
         key = strtok_r(NULL, ".", &rest)) {
        at = step(at, key, &count);
    }
    if (at == NULL) {
        printf("(none)\n");
    } else if (count >= 0) {
        printf("%ld\n", count);
    } else if (json_is_string(at)) {
        printf("%s\n", json_string_value(at));
    } else if (path != NULL) {
        json_dumpf(at, stdout, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
        printf("\n");
    }
    json_decref(root);
    return at == NULL;
}

/* Writes a safetensors file of this header and these bytes. */
static int write_safetensors(const char *path, const char *header, const char *hex) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        return 1;
    }
    uint64_t length = strlen(header);
    for (int i = 0; i < 8; i++) {
        putc((int)(length >> (8 * i) & 0xff), file);
    }
    fputs(header, file);
    for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        char digits[3] = {hex[0], hex[1], '\0'};
        putc((int)strtoul(digits, NULL, 16), file);
    }
    return fclose(file) != 0;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void wait_until(double when) {
    double left = when - now();
    if (left > 0) {
        struct timespec t = {.tv_sec = (time_t)left};
        t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
        nanosleep(&t, NULL);
    }
}

/* Runs a command, sends it signals at the given times after its start, and reports how it ended. */
static int watch(const char *report, char **argv) {
    char **command = argv;
    while (*command != NULL && strcmp(*command, "--") != 0) {
        command++;
    }
    if (*command == NULL || command[1] == NULL) {
        return usage();
    }
    double start = now();
    pid_t child = fork();
    if (child == 0) {
        execvp(command[1], command + 1);
        _exit(127);
    }
    for (; *argv != NULL && argv < command; argv++) {
        char *rest = NULL;
        int number = (int)strtol(*argv, &rest, 10);
        wait_until(start + (*rest == ':' ? strtod(rest + 1, NULL) * 1e-6 : 0));
        kill(child, number); /* not yet waited for, so the id is still the child's */
    }
    int status = 0;
    struct rusage used;
    while (wait4(child, &status, 0, &used) < 0 && errno == EINTR) {
    }
    FILE *file = fopen(report, "w");
    if (file == NULL) {
        return 1;
    }
    fprintf(file, "exit=%d signal=%d maxrss_kib=%ld us=%.0f\n",
            WIFEXITED(status) ? WEXITSTATUS(status) : -1,
            WIFSIGNALED(status) ? WTERMSIG(status) : 0, used.ru_maxrss, (now() - start) * 1e6);
    return fclose(file) != 0;
}

/* Succeeds if the folder's file system can make files that have no name. */
static int can_be_unnamed(const char *folder) {
    int fd = open(folder, O_TMPFILE | O_RDWR, 0600);
    if (fd < 0) {
        return 1;
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 3 && argc <= 4 && strcmp(argv[1], "json") == 0) {
        return print_json(argv[2], argv[3]);
    }
    if (argc == 5 && strcmp(argv[1], "safetensors") == 0) {
        return write_safetensors(argv[2], argv[3], argv[4]);
    }
    if (argc == 3 && strcmp(argv[1], "unnamed") == 0) {
        return can_be_unnamed(argv[2]);
    }
    if (argc >= 5 && strcmp(argv[1], "watch") == 0) {
        return watch(argv[2], argv + 3);
    }
    return usage();
}
