/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, tables and JSON on the standard streams. */
#include "cli.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool failed; /* a message is out: a second one would only hide the first */

static void print_line(FILE *stream, const char *text) {
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        putc(c < 0x20 || c == 0x7f ? '?' : c, stream);
    }
}

int cli_fail(const char *format, ...) {
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    fputs("lathe: ", stderr);
    print_line(stderr, message);
    putc('\n', stderr);
    failed = true;
    return CLI_FAILURE;
}

int cli_fail_last(void) {
    if (lathe_last_error()->status == LATHE_EXISTS) {
        return cli_fail("%s (--force replaces it)", lathe_last_error()->message);
    }
    return cli_fail("%s", lathe_last_error()->message);
}

int cli_interrupted(void) {
    cli_fail("interrupted; nothing was written");
    return CLI_SIGNAL + cli_caught_signal();
}

void cli_notice(bool warning, const char *text) {
    flockfile(stderr);
    cli_progress_make_room();
    fputs(warning ? "lathe: warning: " : "lathe: ", stderr);
    print_line(stderr, text);
    putc('\n', stderr);
    funlockfile(stderr);
}

void cli_close_stdout(void) {
    bool bad = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0 || bad) {
        if (!failed) {
            cli_fail("cannot write to standard output: %s",
                     errno != 0 ? strerror(errno) : "an earlier write failed");
        }
        _exit(CLI_FAILURE);
    }
}

static _Noreturn void no_memory(void) {
    cli_fail("out of memory");
    exit(CLI_FAILURE);
}

void *cli_reallocate(void *memory, size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / size) {
        no_memory();
    }
    size_t n_bytes = count * size;
    void *result = realloc(memory, n_bytes != 0 ? n_bytes : 1);
    if (result == NULL) {
        no_memory();
    }
    return result;
}

void *cli_allocate(size_t count, size_t size) {
    return cli_reallocate(NULL, count, size);
}

const char *cli_bytes_text(uint64_t n_bytes, char text[CLI_BYTES_TEXT]) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (n_bytes < 1024) {
        snprintf(text, CLI_BYTES_TEXT, "%u B", (unsigned)n_bytes);
        return text;
    }
    double value = (double)n_bytes / 1024;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    snprintf(text, CLI_BYTES_TEXT, "%.*f %s",
             value < 10    ? 2
             : value < 100 ? 1
                           : 0,
             value, units[unit]);
    return text;
}

json_t *cli_json_count(uint64_t count) {
    return json_integer(count > INT64_MAX ? INT64_MAX : (json_int_t)count);
}

json_t *cli_json_number(double number) {
    return isfinite(number) ? json_real(number) : json_null();
}

json_t *cli_json_text(const char *text) {
    json_t *string = json_string(text);
    if (string != NULL) {
        return string;
    }
    size_t length = strlen(text);
    char *ascii = cli_allocate(length + 1, 1);
    for (size_t i = 0; i <= length; i++) {
        ascii[i] = text[i];
        if ((unsigned char)text[i] >= 0x80) {
            ascii[i] = '?';
        }
    }
    string = json_string(ascii);
    free(ascii);
    return string;
}

int cli_print_json(json_t *object) {
    if (object == NULL) {
        return cli_fail("out of memory");
    }
    int failure = json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(object);
    putchar('\n');
    /* What stdout refused is reported by cli_close_stdout. */
    return failure != 0 && !ferror(stdout) ? cli_fail("out of memory") : CLI_OK;
}

/* A cell that is wider moves the rest of its row, and not of all rows. */
enum { MOST_WIDTH = 100 };

struct cli_table {
    const char *alignment;
    size_t n_columns;
    size_t n_cells;
    size_t capacity;
    char **cells; /* the headings first */
};

static void add_cell(cli_table *table, char *cell) {
    if (table->n_cells == table->capacity) {
        table->capacity = table->capacity != 0 ? 2 * table->capacity : 64;
        table->cells = cli_reallocate(table->cells, table->capacity, sizeof(char *));
    }
    table->cells[table->n_cells++] = cell;
}

void cli_table_cell(cli_table *table, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    size_t size = length < 0 ? 1 : (size_t)length + 1;
    char *cell = cli_allocate(size, 1);
    vsnprintf(cell, size, format, again);
    va_end(again);
    add_cell(table, cell);
}

cli_table *cli_table_new(const char *alignment, const char *const *headings) {
    cli_table *table = cli_allocate(1, sizeof(*table));
    *table = (cli_table){.alignment = alignment, .n_columns = strlen(alignment)};
    for (size_t i = 0; i < table->n_columns; i++) {
        cli_table_cell(table, "%s", headings[i]);
    }
    return table;
}

/* Columns on a terminal that the text takes: continuation bytes of UTF-8 take none. */
static size_t text_width(const char *text) {
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void print_padding(size_t width) {
    printf("%*s", (int)width, "");
}

static void print_cell(const char *cell, char alignment, size_t width, bool last) {
    const size_t taken = text_width(cell);
    const size_t padding = taken < width ? width - taken : 0;
    if (alignment == 'r') {
        print_padding(padding);
    }
    print_line(stdout, cell);
    if (alignment != 'r' && !last) {
        print_padding(padding);
    }
    fputs(last ? "\n" : "  ", stdout);
}

void cli_table_print(cli_table *table) {
    size_t *widths = cli_allocate(table->n_columns, sizeof(*widths));
    memset(widths, 0, table->n_columns * sizeof(*widths));
    for (size_t i = 0; i < table->n_cells; i++) {
        size_t width = text_width(table->cells[i]);
        size_t column = i % table->n_columns;
        width = width < MOST_WIDTH ? width : MOST_WIDTH;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        size_t column = i % table->n_columns;
        print_cell(table->cells[i], table->alignment[column], widths[column],
                   column + 1 == table->n_columns);
    }
    free(widths);
    cli_table_free(table);
}

void cli_table_free(cli_table *table) {
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    free(table);
}
