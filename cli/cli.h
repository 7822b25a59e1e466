/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands share: messages, option values, engines, tables, JSON, progress and signals.
 */
#ifndef LATHE_CLI_H
#define LATHE_CLI_H

#include <argp.h>
#include <jansson.h>
#include <lathe/lathe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses. A signal adds its number to CLI_SIGNAL. */
enum { CLI_OK = 0, CLI_FAILURE = 1, CLI_USAGE = 2, CLI_SIGNAL = 128 };

/* The subcommands. argv[0] is "lathe NAME"; each returns the exit status. */
int cli_convert(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_compare(int argc, char **argv);
int cli_devices(int argc, char **argv);
int cli_synth(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_plan(int argc, char **argv);

/* output.c */

#if defined(__GNUC__)
#define CLI_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#else
#define CLI_PRINTF(format_index, first_arg)
#endif

/* Prints "lathe: message" as one line on stderr and returns CLI_FAILURE. Control characters in the
 * message become '?', so that a file's contents cannot break the line. */
int cli_fail(const char *format, ...) CLI_PRINTF(1, 2);

/* The same with the message of the library's last error. */
int cli_fail_last(void);

/* Prints "lathe: warning: text" or "lathe: text", likewise, from any thread; a progress bar makes
 * room. */
void cli_notice(bool warning, const char *text);

/* To be called at exit: reports it when standard output could not be written. */
void cli_close_stdout(void);

/* malloc and realloc that end the tool when there is no memory; count * size is checked. */
void *cli_allocate(size_t count, size_t size);
void *cli_reallocate(void *memory, size_t count, size_t size);

/* A byte count for a person, "1.50 GiB", in a buffer of this size. Returns the buffer. */
enum { CLI_BYTES_TEXT = 24 };
const char *cli_bytes_text(uint64_t n_bytes, char text[CLI_BYTES_TEXT]);

/* Prints a JSON object on stdout and drops the reference. Returns the exit status. */
int cli_print_json(json_t *object);

/* An integer for JSON; counts beyond 63 bits, which no file has, are cut to the greatest. */
json_t *cli_json_count(uint64_t count);

/* A number for JSON, null if it is not finite. */
json_t *cli_json_number(double number);

/* A text of a device or its driver for JSON, which takes UTF-8 only. */
json_t *cli_json_text(const char *text);

/* A table that is printed when all its cells are known. */
typedef struct cli_table cli_table;

/* `headings` holds strlen(alignment) texts; alignment has 'l' or 'r' for each column. */
cli_table *cli_table_new(const char *alignment, const char *const *headings);

/* Adds the next cell, row by row. */
void cli_table_cell(cli_table *table, const char *format, ...) CLI_PRINTF(2, 3);

/* Prints the table on stdout and frees it. */
void cli_table_print(cli_table *table);

/* Frees a table that is not to be printed. NULL is legal. */
void cli_table_free(cli_table *table);

/* options.c: each parser of a value returns false, and leaves the output alone, for any other text.
 */

/* A decimal number from `least` to `most`. */
bool cli_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *count);

/* "tensor", "row" or "group:N" into the target's granularity and group_size. */
bool cli_parse_granularity(const char *text, lathe_target *target);

/* "fast", "balanced" or "precise". */
bool cli_parse_quality(const char *text, lathe_quality *quality);

/* The same for options: the message of a usage error names the option, and argp ends the tool. A
 * size has digits and, at choice, B, K, M, G, T or KiB, MiB, GiB, TiB (powers of 1024) or KB, MB,
 * GB, TB (powers of 1000). */
uint64_t cli_option_size(struct argp_state *state, const char *option, const char *text);
uint64_t cli_option_count(struct argp_state *state, const char *option, const char *text,
                          uint64_t least, uint64_t most);
lathe_dtype cli_option_dtype(struct argp_state *state, const char *option, const char *text,
                             bool or_keep);
lathe_isa cli_option_isa(struct argp_state *state, const char *text);
uint32_t cli_option_threads(struct argp_state *state, const char *text);

/* Checks that text names a file that can be replaced, which standard output is not. Returns it. */
const char *cli_option_output(struct argp_state *state, const char *text);

/* Checks that text is what --device takes, and returns it. */
const char *cli_option_device(struct argp_state *state, const char *text);

/* The text of a granularity, "row" or "group:128", in a buffer of this size. Returns the buffer. */
enum { CLI_GRANULARITY_TEXT = 32 };
const char *cli_granularity_text(lathe_granularity granularity, uint64_t group_size,
                                 char text[CLI_GRANULARITY_TEXT]);

/* engine.c: the options that say where to convert, and the engine made of them. */

typedef struct cli_engine_options {
    lathe_config config;       /* struct_size, notices and the program cache are set on creation */
    const char *program_cache; /* NULL: the user's own folder; "none" */
    bool verbose;
    bool takes_all_devices; /* --device may be "all" */
    bool all_devices;       /* it is */
} cli_engine_options;

/* Children for a command's argp; their input is a cli_engine_options. The first has --config,
 * --device, --require-device and what the second has: --program-cache and --verbose. */
extern const struct argp cli_engine_argp;
extern const struct argp cli_program_argp;

/* The group of their options in --help. */
enum { CLI_ENGINE_GROUP = 3 };

/* lathe_engine_create with the options; NULL means all defaults. */
lathe_status cli_engine_create(const cli_engine_options *options, lathe_engine **engine);

/* config_file.c */

/* Reads the file of --config, which replaces one that was read before. Returns the exit status. */
int cli_config_load(const char *path);

/* The target that it names; NULL: there is no file. dtype 0: it names none. */
const lathe_target *cli_config_target(void);

/* What a command's options say, and the file's settings where they say nothing. Its strings are the
 * options' and the file's, which live to the end. */
lathe_config cli_config_merged(const lathe_config *given);

/* The name of a device's CPU kernels; null for an OpenCL device. */
json_t *cli_isa_json(const lathe_device_info *device);

/* What lathe_engine_get_stats says, as an object. */
json_t *cli_engine_stats_json(const lathe_engine_stats *stats);

/* progress.c */

/* From now on SIGINT, SIGTERM and SIGHUP only leave a mark that cli_caught_signal returns. */
void cli_catch_signals(void);

/* The number of the signal that was caught; 0 if none was. */
int cli_caught_signal(void);

/* Says that a signal ended the work, and returns the exit status for it. */
int cli_interrupted(void);

/* A monotonic clock. */
uint64_t cli_now_ns(void);

/* A progress bar on stderr. */
typedef struct cli_progress {
    bool visible;
    uint64_t start_ns;
    uint64_t drawn_ns; /* 0: never */
} cli_progress;

/* Visible if stderr is a terminal and it is wanted. */
void cli_progress_start(cli_progress *progress, bool wanted);

/* A lathe_progress_fn: draws, and cancels once a signal was caught. */
int cli_progress_update(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

/* Draws a line instead: how many of the steps are done (n_steps 0: not known), and what runs. */
void cli_progress_note(cli_progress *progress, size_t n_done, size_t n_steps, const char *text);

/* Wipes what is drawn, until the next time, so that a line can be printed on stdout. */
void cli_progress_hide(void);

/* Wipes the bar. */
void cli_progress_end(cli_progress *progress);

/* Wipes any bar that is drawn, so that a line can be printed; the next update draws it again. The
 * caller has locked stderr. */
void cli_progress_make_room(void);

/* weights.c: made-up weights. The values depend on the key and the index alone and use only
 * operations that IEEE 754 rounds exactly, so that every machine makes the same bits. */

/* Hashes a number: a bijection of 64 bits. */
uint64_t cli_hash(uint64_t x);

/* Elements [first, first + n) of a sequence with heavy tails, mean 0 and variance near 1, |x| < 21.
 */
void cli_weights(uint64_t key, uint64_t first, size_t n, float *out);

/* The factor of one channel: mostly 1, for one in 128 from 4 to 20. */
float cli_channel_gain(uint64_t key, uint64_t channel);

#endif
