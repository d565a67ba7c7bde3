/* The command line: the table of verbs, and what every command needs: a reader of arguments, exit codes, the one place where
 * errors are printed. One file a command; each is `int command_VERB(int argc, char **argv)`, argv[0] being the verb, and
 * returns one of the exit codes. */
#ifndef LACUNA_CLI_CLI_H
#define LACUNA_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130, EXIT_TERMINATED = 143 };

int command_pretrain(int argc, char **argv);
int command_reconstruct(int argc, char **argv);
int command_parity(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_data(int argc, char **argv);
int command_recipes(int argc, char **argv);
int command_report(int argc, char **argv);

/* The whole program, as main() runs it. */
int cli_main(int argc, char **argv);

/* Prints "lacuna: " and the present error on standard error and returns EXIT_FAILED, or EXIT_USAGE with a pointer to the verb's
 * help (verb NULL: the program's). */
int cli_failed(void);
int cli_usage(const char *verb);

/* Reads a command's arguments in order:
 *
 *     ArgReader args = arg_reader(argc, argv);
 *     for (ArgKind kind; (kind = arg_next(&args)) != ARG_END;)
 *         if (kind == ARG_FLAG && arg_is(&args, "steps")) ok = arg_int(&args, 1, INT_MAX, &steps);
 *         else if (kind == ARG_WORD) word = args.text;
 *         else if (kind == ARG_PAIR) ok = recipe_set(&recipe, args.text);
 *         else ok = arg_unknown(&args, flags);
 *
 * `--help` and `-h` never get here: cli_main() answers them. */
typedef enum {
    ARG_END,
    ARG_FLAG, /* --NAME or --NAME=VALUE: args.name is NAME */
    ARG_WORD, /* neither a flag nor a pair: args.text */
    ARG_PAIR  /* key=value, a letter first and no slash before the sign: args.text */
} ArgKind;

typedef struct {
    int argc, at;
    char **argv;
    const char *text;   /* the present argument as it stands */
    char name[64];      /* of the present flag, without dashes; cut when longer */
    const char *inside; /* what stands behind the sign of --NAME=VALUE, else NULL */
    bool words;         /* `--` has been seen: all that follows are words */
} ArgReader;

ArgReader arg_reader(int argc, char **argv);
ArgKind arg_next(ArgReader *args);
bool arg_is(const ArgReader *args, const char *name);

/* True when the present flag has a value: behind its sign, or as a following argument that does not begin with `--`. Takes
 * nothing. */
bool arg_has_value(const ArgReader *args);

/* The present flag's value: behind its sign, or the next argument, which is taken. NULL after error_set() when there is none.
 */
const char *arg_value(ArgReader *args);

/* The value as a number within limits. False after error_set(). */
bool arg_int(ArgReader *args, int least, int most, int *value);
bool arg_seed(ArgReader *args, uint64_t *value); /* 0 .. 2^63 - 1 */

/* A flag without a value. False after error_set() when one was written (--json=yes). */
bool arg_switch(ArgReader *args, bool *value);

/* Sets the error for an argument that the command does not know: for a flag with the nearest one of `flags` (names without
 * dashes, NULL at the end). Always false. */
bool arg_unknown(const ArgReader *args, const char *const *flags);

#endif
