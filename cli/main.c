/* SPDX-License-Identifier: Apache-2.0 */
/* The `lathe` tool: finds the subcommand and hands over. */
#include "cli.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    {"convert", cli_convert}, {"inspect", cli_inspect}, {"compare", cli_compare},
    {"synth", cli_synth},     {"devices", cli_devices}, {"bench", cli_bench},
    {"plan", cli_plan},
};

typedef struct main_options {
    const command *command;
    int first; /* index of the command's name in argv */
} main_options;

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    main_options *options = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
            if (strcmp(arg, commands[i].name) == 0) {
                options->command = &commands[i];
            }
        }
        if (options->command == NULL) {
            argp_error(state, "'%s' is not a command", arg);
        }
        options->first = state->next - 1;
        state->next = state->argc; /* the rest is the command's */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "a command is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse_option,
    .args_doc = "COMMAND [OPTION...]",
    .doc = "Convert tensors between data types in as little memory as possible."
           "\v"
           "Commands:\n"
           "  convert   convert a checkpoint\n"
           "  inspect   show what a checkpoint holds\n"
           "  compare   measure how far two checkpoints differ\n"
           "  synth     write a made-up checkpoint\n"
           "  devices   list the devices\n"
           "  bench     measure the speed of conversions\n"
           "  plan      say how a tensor would be converted\n"
           "\n"
           "'lathe COMMAND --help' or 'lathe help COMMAND' describes a command.",
};

static void print_version(FILE *stream, struct argp_state *state) {
    (void)state;
    fprintf(stream, "lathe %s\n", lathe_version());
}

/* A file must never land on the number of a standard stream that the parent closed: messages would
 * be written into it. The stand-ins fail every use, as a closed stream would. */
static void reserve_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            _exit(CLI_FAILURE);
        }
    }
}

int main(int argc, char **argv) {
    reserve_standard_streams();
    atexit(cli_close_stdout);
    /* A write beyond the limit on file sizes should fail with EFBIG, so that it can be cleaned up.
     */
    signal(SIGXFSZ, SIG_IGN);
    argp_err_exit_status = CLI_USAGE;
    argp_program_version_hook = print_version;

    static char help[] = "--help";
    if (argc > 1 && argc <= 3 && strcmp(argv[1], "help") == 0) {
        argv[1] = argc == 3 ? argv[2] : help; /* help COMMAND is COMMAND --help */
        argv[argc - 1] = help;
    } else if (argc > 1 && argc <= 3 && strcmp(argv[argc - 1], "-h") == 0) {
        argv[argc - 1] = help;
    }
    main_options options = {0};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &options);

    char name[32];
    snprintf(name, sizeof(name), "lathe %s", options.command->name);
    argv[options.first] = name;
    return options.command->run(argc - options.first, argv + options.first);
}
