/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --plot: speed against size as SVG, a panel for each conversion. In each, a line for
 * each device and number of threads, and, dashed in the same colour, the copy beside it. */
#include "plot.h"
#include "cli.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In units of the drawing. */
enum {
    COLUMNS = 2,
    PANEL_WIDTH = 440,
    PANEL_HEIGHT = 270,
    LEFT = 48, /* of a panel's axes: the room for labels and the title */
    RIGHT = 14,
    TOP = 26,
    BOTTOM = 34,
    HEAD = 44,
    LEGEND_LINE = 18,
    Y_TICKS = 4,
    MOST_SERIES = 16,
    SERIES_TEXT = 96,
};

static const char *const colours[] = {"#1f5fa8", "#c2410c", "#15803d", "#7e22ce",
                                      "#b91c1c", "#0e7490", "#a16207", "#475569"};
enum { N_COLOURS = sizeof(colours) / sizeof(colours[0]) };

/* A panel's axes. */
typedef struct axes {
    double left;
    double top;
    double width;
    double height;
    double least_x; /* powers of two of the size */
    double most_x;
    double most_y; /* GB/s */
} axes;

typedef struct plot {
    FILE *file;
    const json_t *rows; /* those that have a size and a speed */
    char series[MOST_SERIES][SERIES_TEXT];
    size_t n_series;
    double least_x;
    double most_x;
} plot;

static double number_of(const json_t *row, const char *key) {
    return json_number_value(json_object_get(row, key));
}

static const char *name_of(const json_t *row) {
    const char *name = json_string_value(json_object_get(row, "name"));
    return name != NULL ? name : "";
}

/* Of the tensor in F32, as --size has it. */
static double size_of(const json_t *row) {
    return number_of(row, "elements") * (double)sizeof(float);
}

static const char *series_of(const json_t *row, char text[SERIES_TEXT]) {
    const char *device = json_string_value(json_object_get(row, "device"));
    const char *isa = json_string_value(json_object_get(row, "isa"));
    const char *mode = json_string_value(json_object_get(row, "mode"));
    const int threads = (int)json_integer_value(json_object_get(row, "threads"));
    const bool is_kernel = mode != NULL && strcmp(mode, "kernel") == 0;
    snprintf(text, SERIES_TEXT, "%s%s%s, %d thread%s%s", device != NULL ? device : "?",
             isa != NULL ? " " : "", isa != NULL ? isa : "", threads, threads == 1 ? "" : "s",
             is_kernel ? ", kernels" : "");
    return text;
}

static void print_escaped(FILE *file, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", file);
            break;
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        default:
            fputc((unsigned char)*text < 0x20 ? '?' : *text, file);
        }
    }
}

static void print_text(FILE *file, double x, double y, const char *class, const char *text) {
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
    print_escaped(file, text);
    fputs("</text>\n", file);
}

/* A round number that is not less: 1, 2 or 5 times a power of ten. */
static double round_up(double value) {
    const double power = pow(10, floor(log10(value)));
    const double steps[] = {1, 2, 4, 5, 8, 10};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (value <= steps[i] * power) {
            return steps[i] * power;
        }
    }
    return value;
}

static double x_at(const axes *a, double log_size) {
    const double range = a->most_x - a->least_x;
    return a->left + (range > 0 ? (log_size - a->least_x) / range : 0.5) * a->width;
}

static double y_at(const axes *a, double gbps) {
    return a->top + a->height * (1 - gbps / a->most_y);
}

static void draw_axes(const plot *p, const axes *a, const char *name) {
    char text[CLI_BYTES_TEXT];
    print_text(p->file, a->left, a->top - 9, "title", name);
    for (int i = 0; i <= Y_TICKS; i++) {
        const double gbps = a->most_y * i / Y_TICKS;
        const double y = y_at(a, gbps);
        fprintf(p->file, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/>\n", a->left, y, a->width);
        snprintf(text, sizeof(text), "%.4g", gbps);
        print_text(p->file, a->left - 6, y + 4, "y", text);
    }
    /* Every second power of two, or fewer, so that labels do not touch. */
    const double step = fmax(2, ceil((a->most_x - a->least_x) / 8 / 2) * 2);
    const int n_steps = (int)((a->most_x + 0.01 - a->least_x) / step);
    for (int i = 0; i <= n_steps; i++) {
        const double power = a->least_x + i * step;
        const double x = x_at(a, power);
        const uint64_t size = (uint64_t)(pow(2, power) + 0.5);
        fprintf(p->file, "<path class=\"grid\" d=\"M%.1f %.1fv%.1f\"/>\n", x, a->top, a->height);
        const char *unit = size >= (1u << 30) ? "G" : size >= (1u << 20) ? "M" : "K";
        const double scale = size >= (1u << 30) ? 1u << 30 : size >= (1u << 20) ? 1u << 20 : 1024;
        snprintf(text, sizeof(text), "%.4g%s", (double)size / scale, unit);
        print_text(p->file, x, a->top + a->height + 16, "x", text);
    }
}

static int by_size(const void *a, const void *b) {
    const double x = size_of(*(const json_t *const *)a);
    const double y = size_of(*(const json_t *const *)b);
    return (x > y) - (x < y);
}

/* The rows of a panel's line, by size. The caller frees the list. */
static const json_t **points_of(const plot *p, const char *name, const char *series, size_t *n) {
    const json_t **points = cli_allocate(json_array_size(p->rows), sizeof(*points));
    char text[SERIES_TEXT];
    size_t i = 0;
    const json_t *row = NULL;
    *n = 0;
    json_array_foreach(p->rows, i, row) {
        if (strcmp(name_of(row), name) == 0 && strcmp(series_of(row, text), series) == 0) {
            points[(*n)++] = row;
        }
    }
    qsort(points, *n, sizeof(*points), by_size);
    return points;
}

static void draw_line(const plot *p, const axes *a, const json_t *const *points, size_t n,
                      const char *key, const char *class, const char *colour) {
    fprintf(p->file, "<path class=\"%s\" stroke=\"%s\" d=\"", class, colour);
    for (size_t i = 0; i < n; i++) {
        fprintf(p->file, "%s%.1f %.1f", i == 0 ? "M" : "L", x_at(a, log2(size_of(points[i]))),
                y_at(a, number_of(points[i], key)));
    }
    fputs("\"/>\n", p->file);
}

static void draw_series(const plot *p, const axes *a, const char *name, size_t series) {
    const char *colour = colours[series % N_COLOURS];
    size_t n = 0;
    const json_t **points = points_of(p, name, p->series[series], &n);
    if (n > 0) {
        draw_line(p, a, points, n, "copy_gbps", "copy", colour);
        draw_line(p, a, points, n, "gbps", "speed", colour);
    }
    for (size_t i = 0; i < n; i++) {
        const double x = x_at(a, log2(size_of(points[i])));
        fprintf(p->file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x,
                y_at(a, number_of(points[i], "gbps")), colour);
        fprintf(p->file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2\" fill=\"none\" stroke=\"%s\"/>\n",
                x, y_at(a, number_of(points[i], "copy_gbps")), colour);
    }
    free(points);
}

static void draw_panel(const plot *p, const char *name, size_t panel) {
    const size_t column = panel % COLUMNS;
    const size_t line = panel / COLUMNS;
    axes a = {.left = (double)column * PANEL_WIDTH + LEFT,
              .top = (double)line * PANEL_HEIGHT + TOP + HEAD + (double)p->n_series * LEGEND_LINE,
              .width = PANEL_WIDTH - LEFT - RIGHT,
              .height = PANEL_HEIGHT - TOP - BOTTOM,
              .least_x = p->least_x,
              .most_x = p->most_x};
    size_t i = 0;
    const json_t *row = NULL;
    double most = 0;
    json_array_foreach(p->rows, i, row) {
        if (strcmp(name_of(row), name) == 0) {
            most = fmax(most, fmax(number_of(row, "gbps"), number_of(row, "copy_gbps")));
        }
    }
    a.most_y = round_up(most > 0 ? most : 1);
    draw_axes(p, &a, name);
    for (size_t s = 0; s < p->n_series; s++) {
        draw_series(p, &a, name, s);
    }
}

static void draw_head(const plot *p, const json_t *document) {
    char text[256];
    const json_t *machine = json_object_get(document, "machine");
    const char *cpu = json_string_value(json_object_get(machine, "cpu"));
    const char *version = json_string_value(json_object_get(machine, "version"));
    const char *date = json_string_value(json_object_get(machine, "date"));
    snprintf(text, sizeof(text),
             "lathe %s on %s, %s: GB/s read and written, by bytes of the tensor in f32",
             version != NULL ? version : "", cpu != NULL ? cpu : "", date != NULL ? date : "");
    print_text(p->file, 14, 24, "head", text);
    for (size_t i = 0; i < p->n_series; i++) {
        const double y = HEAD + (double)i * LEGEND_LINE;
        const char *colour = colours[i % N_COLOURS];
        fprintf(p->file, "<path class=\"speed\" stroke=\"%s\" d=\"M14 %.1fh26\"/>\n", colour,
                y - 4);
        print_text(p->file, 46, y, "legend", p->series[i]);
        fprintf(p->file, "<path class=\"copy\" stroke=\"%s\" d=\"M320 %.1fh26\"/>\n", colour,
                y - 4);
        print_text(p->file, 352, y, "legend", "copy of as many bytes, beside it");
    }
}

static void add_series(plot *p, const json_t *row) {
    char text[SERIES_TEXT];
    series_of(row, text);
    for (size_t i = 0; i < p->n_series; i++) {
        if (strcmp(p->series[i], text) == 0) {
            return;
        }
    }
    if (p->n_series < MOST_SERIES) {
        memcpy(p->series[p->n_series++], text, sizeof(text));
    }
}

/* True for the first row of its name: a panel. */
static bool begins_panel(const plot *p, size_t index) {
    const char *name = name_of(json_array_get(p->rows, index));
    for (size_t i = 0; i < index; i++) {
        if (strcmp(name_of(json_array_get(p->rows, i)), name) == 0) {
            return false;
        }
    }
    return true;
}

static json_t *speeds_of(const json_t *document) {
    json_t *rows = json_array();
    size_t i = 0;
    json_t *row = NULL;
    json_array_foreach(json_object_get(document, "results"), i, row) {
        if (number_of(row, "elements") > 0 && number_of(row, "gbps") > 0) {
            json_array_append(rows, row);
        }
    }
    return rows;
}

static void draw(plot *p, const json_t *document) {
    size_t n_panels = 0;
    size_t i = 0;
    const json_t *row = NULL;
    p->least_x = INFINITY;
    json_array_foreach(p->rows, i, row) {
        add_series(p, row);
        n_panels += begins_panel(p, i);
        p->least_x = fmin(p->least_x, floor(log2(size_of(row))));
        p->most_x = fmax(p->most_x, ceil(log2(size_of(row))));
    }
    const int width = COLUMNS * PANEL_WIDTH;
    const int height = (int)((n_panels + COLUMNS - 1) / COLUMNS) * PANEL_HEIGHT + HEAD +
                       (int)p->n_series * LEGEND_LINE;
    fprintf(p->file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\">\n"
            "<style>.grid{stroke:#ddd;fill:none}.speed{fill:none;stroke-width:2}"
            ".copy{fill:none;stroke-width:1.3;stroke-dasharray:5 4}"
            ".title{font-size:13px;font-weight:bold}.head{font-size:13px}"
            ".legend{font-size:12px}.x{font-size:11px;text-anchor:middle}"
            ".y{font-size:11px;text-anchor:end}</style>\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            width, height, width, height, width, height);
    draw_head(p, document);
    size_t panel = 0;
    json_array_foreach(p->rows, i, row) {
        if (begins_panel(p, i)) {
            draw_panel(p, name_of(row), panel++);
        }
    }
    fputs("</svg>\n", p->file);
}

int bench_plot(const json_t *document, const char *path) {
    json_t *rows = speeds_of(document);
    plot p = {.rows = rows};
    int status = CLI_OK;
    if (json_array_size(rows) == 0) {
        json_decref(rows);
        return cli_fail("--plot: the results have no speeds of conversions");
    }
    p.file = fopen(path, "w");
    if (p.file == NULL) {
        json_decref(rows);
        return cli_fail("cannot write %s: %s", path, strerror(errno));
    }
    draw(&p, document);
    const bool is_written = ferror(p.file) == 0;
    if (fclose(p.file) != 0 || !is_written) {
        status = cli_fail("cannot write %s: %s", path, strerror(errno));
    }
    json_decref(rows);
    return status;
}
