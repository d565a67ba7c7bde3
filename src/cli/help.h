/* What the table says of itself: help for people, the man page, completion. All print on standard output. */
#ifndef LACUNA_CLI_HELP_H
#define LACUNA_CLI_HELP_H

#include "base/text.h"
#include "cli/verb.h"

void help_overview(void);
void help_page(const Verb *verb);

/* The pages of all verbs whose first word this is. */
void help_group(const char *word);

/* Appends "lacuna bench train --config NAME [FLAGS]". */
void help_synopsis(const Verb *verb, Text *out);

void help_man(void);

typedef enum { SHELL_BASH, SHELL_ZSH, SHELL_FISH } Shell;

void help_completion(Shell shell);

#endif
