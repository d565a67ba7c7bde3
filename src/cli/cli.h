/* The command line: exit codes, the one place where errors are printed, and the verbs. One file a command; how a verb is
 * described stands in verb.h. */
#ifndef LACUNA_CLI_CLI_H
#define LACUNA_CLI_CLI_H

#include <stdio.h>

#include "cli/verb.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130, EXIT_TERMINATED = 143 };

/* In the order of the help. */
extern const Verb pretrain_verb;
extern const Verb plan_verb;
extern const Verb show_verb;
extern const Verb runs_verb;
extern const Verb reconstruct_verb;
extern const Verb report_verb;
extern const Verb embed_verb;
extern const Verb probe_verb;
extern const Verb analyse_verb;
extern const Verb export_verb;
extern const Verb recipes_verb;
extern const Verb devices_verb;
extern const Verb data_check_verb;
extern const Verb data_stats_verb;
extern const Verb data_pack_verb;
extern const Verb data_world_verb;
extern const Verb parity_verb;
extern const Verb bench_train_verb;
extern const Verb bench_ops_verb;
extern const Verb bench_data_verb;
extern const Verb bench_embed_verb;
extern const Verb help_verb;

/* The whole program, as main() runs it. */
int cli_main(int argc, char **argv);

/* Prints "lacuna: " and the present error on standard error and returns EXIT_FAILED, or EXIT_USAGE with a pointer to the verb's
 * help (verb NULL: the program's). */
int cli_failed(void);
int cli_usage(const Verb *verb);

/* Prints text from outside, such as a file's name, with '?' for what would steer a terminal. `lines`: line breaks stay. */
void cli_print_safely(FILE *to, const char *text, bool lines);

/* "lacuna: note: TEXT" on standard error, likewise. */
void cli_note(const char *text, bool lines);

/* Prints "lacuna: note: KEY WHAT: REASON" about a picture that cannot be read on standard error. */
void cli_note_bad(const char *key, const char *what, const char *reason);

/* Whether a sheet may be written there, which is always a PNG file. False after error_set(). */
bool cli_names_png(const char *flag, const char *path);

#endif
