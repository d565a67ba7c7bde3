/* The command line: exit codes, the one place where errors are printed, and the verbs. One file a command; how a verb is
 * described stands in verb.h. */
#ifndef LACUNA_CLI_CLI_H
#define LACUNA_CLI_CLI_H

#include "cli/verb.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130, EXIT_TERMINATED = 143 };

extern const Verb pretrain_verb, reconstruct_verb, report_verb, recipes_verb, data_check_verb, data_stats_verb, data_pack_verb,
    data_world_verb, parity_verb, bench_train_verb, bench_ops_verb, bench_data_verb, help_verb;

extern const Verb embed_verb, probe_verb, export_verb, bench_embed_verb;

/* The whole program, as main() runs it. */
int cli_main(int argc, char **argv);

/* Prints "lacuna: " and the present error on standard error and returns EXIT_FAILED, or EXIT_USAGE with a pointer to the verb's
 * help (verb NULL: the program's). */
int cli_failed(void);
int cli_usage(const Verb *verb);

#endif
