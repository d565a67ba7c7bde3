/* The table of verbs: what each is called, which arguments it takes, what it says of itself. From it come parsing, help, the
 * man page, completion, near misses and the tests of the examples. A verb lies in the file of its command as `const Verb
 * NAME_verb` and has a line in verbs.c. */
#ifndef LACUNA_CLI_VERB_H
#define LACUNA_CLI_VERB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recipe/recipe.h"

/* What a flag stores in its command's structure. */
typedef enum {
    OPTION_SWITCH, /* bool; takes no value */
    OPTION_INT,    /* int within low..high */
    OPTION_SEED,   /* OptionSeed: 0 .. 2^63 - 1 */
    OPTION_TEXT,   /* const char *, borrowed from the command line; NULL: not given */
    OPTION_PATH,   /* likewise, a file or folder: completed as one */
    OPTION_CHOICE, /* int: the place in `choices`; -1: not given, and no default */
    OPTION_WORDS   /* OptionWords: all words that follow up to the next flag; at most one of a verb */
} OptionKind;

typedef struct {
    bool given;
    uint64_t value;
} OptionSeed;

typedef struct {
    const char **at; /* borrowed */
    int count;
} OptionWords;

typedef struct {
    const char *name; /* without dashes; NULL ends a list */
    OptionKind kind;
    size_t offset;              /* in the command's structure */
    const char *value;          /* what help calls the value; a choice is called by its words */
    const char *help;           /* a sentence without its full stop */
    const char *initial;        /* the default, as it would be written; NULL: zero, of which `help` tells */
    const char *wanted;         /* must be given: what is missing without, as in "wants --from RUN, a run directory" */
    int low, high;              /* OPTION_INT */
    const char *const *choices; /* OPTION_CHOICE, NULL at the end */
} Option;

/* key=value or, with `flag`, a flag that stands for a recipe's key; in the order of the command line. */
typedef struct {
    const char *flag, *text;
} Setting;

typedef struct Verb Verb;

/* What is left beside the flags. */
typedef struct {
    const Verb *verb;
    const char **words;
    int count;
    Setting *settings; /* of verbs that take a recipe's keys */
    int setting_count;
    const char **listed; /* behind OPTION_WORDS */
} Arguments;

enum { WORDS_MOST = 4, WORDS_ANY = 1 << 30 };

struct Verb {
    const char *name;               /* "pretrain", or two words: "data check" */
    const char *line;               /* what it does, in one line */
    const char *operands;           /* how its words are called in the synopsis, NULL: none */
    int least, most;                /* how many there must and may be */
    const char *wanted[WORDS_MOST]; /* what is missing when so many are given: "bench wants NAME, .." */
    const char *about;              /* paragraphs, an empty line between them; lines that begin with a blank stay as they are */
    const Option *options;          /* NULL: none */
    const char *examples;           /* a command a line */
    size_t size;                    /* bytes of the command's structure, which starts as zeros and then defaults */
    bool settings;                  /* takes key=value and the flags that stand for keys of a recipe */
    bool recipes;                   /* its words may be names of recipes */
    /* Returns an exit code of cli.h. */
    int (*run)(void *options, const Arguments *arguments);
};

/* All verbs in the order of the help, NULL at the end. */
const Verb *const *verbs_all(void);

/* The verb that argv names with one or two words; *used receives how many. NULL after error_set() with the nearest one. */
const Verb *verb_find(int argc, char **argv, int *used);

/* Whether it is the first word of verbs of two. */
bool verb_is_group(const char *word);

/* A flag as help and completion need it; valid during the call. */
typedef struct {
    const char *name;
    const char *value;   /* NULL: takes none; words to choose from are joined with | */
    bool path, choice;   /* how its value is completed */
    const char *help;    /* without a full stop */
    const char *initial; /* NULL: not to be told */
    bool needed;         /* must be given */
    bool setting;        /* stands for a recipe's key */
} Flag;

/* Calls `see` for every flag of the verb: its own, then those of recipe keys that this version carries out. */
void verb_each_flag(const Verb *verb, void (*see)(void *context, const Flag *flag), void *context);

/* Fills `options` (verb->size bytes) and *arguments from what stands behind the verb. False after error_set(); arguments_free()
 * in either case. `--` ends the flags; `--help` never gets here: cli_main() answers it. */
bool arguments_read(const Verb *verb, int argc, char **argv, void *options, Arguments *arguments);
void arguments_free(Arguments *arguments);

/* Puts the settings upon a recipe, in their order; the keys that KEY=VALUE pairs set are appended to *keys, a line each (NULL:
 * not asked for). False after error_set(). */
bool arguments_apply(const Arguments *arguments, Recipe *recipe, Text *keys);

/* The setting of that key written last, as flag or pair; NULL: not given. */
const char *arguments_setting(const Arguments *arguments, const char *key);

/* The nearest word, if it is near enough to be meant. Offer each candidate, then look at `best`. */
typedef struct {
    const char *word;
    int least;
    char best[64]; /* "" when none is near */
} Nearest;

Nearest nearest_to(const char *word);
void nearest_offer(Nearest *nearest, const char *candidate);

#endif
