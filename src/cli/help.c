/* Help in a terminal, and `lacuna help` itself. */
#include "cli/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

enum { WIDTH = 96, FLAG_COLUMN = 26, VERB_COLUMN = 16 };

/* Prints words from column `at` on, further lines `indent` deep. Ends the line. */
static void print_wrapped(const char *text, size_t length, int at, int indent)
{
    bool first = true;
    for (size_t i = 0; i < length;) {
        size_t word = strcspn(text + i, " \n");
        if (i + word > length)
            word = length - i;
        if (word == 0) {
            i++;
            continue;
        }
        if (!first && at + 1 + (int)word > WIDTH) {
            printf("\n%*s", indent, "");
            at = indent;
            first = true;
        }
        printf("%s%.*s", first ? "" : " ", (int)word, text + i);
        at += (int)word + !first;
        first = false;
        i += word;
    }
    putchar('\n');
}

/* Paragraphs, wrapped, with the lines that begin with a blank as they are. */
static void print_about(const char *text)
{
    while (*text) {
        const char *end = text;
        if (*text == ' ' || *text == '\n') {
            size_t line = strcspn(text, "\n");
            printf("%.*s\n", (int)line, text);
            text += line + (text[line] != 0);
            continue;
        }
        while (*end && !(end[0] == '\n' && (end[1] == '\n' || end[1] == ' ' || !end[1])))
            end++;
        print_wrapped(text, (size_t)(end - text), 0, 0);
        text = end + (*end != 0);
    }
}

static void add_needed(void *context, const Flag *flag)
{
    if (flag->needed)
        text_add(context, " --%s %s", flag->name, flag->value);
}

static void count_optional(void *context, const Flag *flag)
{
    *(int *)context += !flag->needed;
}

void help_synopsis(const Verb *verb, Text *out)
{
    int optional = 0;
    text_add(out, "lacuna %s", verb->name);
    if (verb->operands)
        text_add(out, " %s", verb->operands);
    verb_each_flag(verb, add_needed, out);
    verb_each_flag(verb, count_optional, &optional);
    if (optional)
        text_add(out, " [FLAGS]");
    if (verb->settings)
        text_add(out, " [KEY=VALUE ...]");
}

static void print_flag(void *context, const Flag *flag)
{
    Text left = {0}, right = {0};
    const bool *settings = context;
    if (flag->setting == *settings) {
        text_add(&left, "  --%s%s%s", flag->name, flag->value ? " " : "", flag->value ? flag->value : "");
        text_add(&right, "%c%s", toupper((unsigned char)flag->help[0]), flag->help + 1);
        if (flag->initial)
            text_add(&right, " (default %s)", flag->initial);
        if (!left.failed && !right.failed) {
            if (left.length + 2 > FLAG_COLUMN)
                printf("%s\n%*s", left.data, FLAG_COLUMN, "");
            else
                printf("%-*s", FLAG_COLUMN, left.data);
            print_wrapped(right.data, right.length, FLAG_COLUMN, FLAG_COLUMN);
        }
    }
    text_free(&left);
    text_free(&right);
}

static void print_examples(const char *examples)
{
    for (const char *line = examples; *line;) {
        size_t length = strcspn(line, "\n");
        printf("  %.*s\n", (int)length, line);
        line += length + (line[length] != 0);
    }
}

void help_page(const Verb *verb)
{
    Text synopsis = {0};
    help_synopsis(verb, &synopsis);
    printf("%s\n\n", synopsis.data ? synopsis.data : "");
    text_free(&synopsis);
    print_about(verb->about);
    bool settings = false;
    if (verb->options && verb->options->name) {
        printf("\nFlags:\n");
        verb_each_flag(verb, print_flag, &settings);
    }
    if (verb->settings) {
        printf("\nFlags that set keys of the recipe:\n");
        settings = true;
        verb_each_flag(verb, print_flag, &settings);
    }
    printf("\nExamples:\n");
    print_examples(verb->examples);
}

void help_group(const char *word)
{
    bool any = false;
    size_t length = strlen(word);
    for (const Verb *const *verb = verbs_all(); *verb; verb++)
        if (!strncmp((*verb)->name, word, length) && (*verb)->name[length] == ' ') {
            printf("%s", any ? "\n\n" : "");
            help_page(*verb);
            any = true;
        }
}

void help_overview(void)
{
    printf("lacuna pre-trains vision backbones on unlabelled pictures by masked image modelling.\n\nlacuna VERB ...\n\n");
    for (const Verb *const *verb = verbs_all(); *verb; verb++)
        printf("  %-*s%s\n", VERB_COLUMN - 2, (*verb)->name, (*verb)->line);
    printf("\n`lacuna help VERB` says more. Exit codes: 0 done, 1 failed, 2 usage, 130 and 143 stopped by a signal with\n"
           "everything saved.\n");
}

/* ---- lacuna help */

typedef struct {
    bool man, keys;
    int shell;
} HelpOptions;

static int run_help(void *options, const Arguments *arguments)
{
    const HelpOptions *o = options;
    char *words[2];
    int used;
    if (o->man || o->shell >= 0 || o->keys) {
        Text keys = {0};
        if (o->keys) {
            recipe_print_markdown(&keys);
            fputs(keys.data ? keys.data : "", stdout);
        } else if (o->man) {
            help_man();
        } else {
            help_completion((Shell)o->shell);
        }
        bool ok = !keys.failed;
        text_free(&keys);
        return ok ? EXIT_DONE : cli_failed();
    }
    if (arguments->count == 0) {
        help_overview();
        return EXIT_DONE;
    }
    for (int i = 0; i < arguments->count; i++)
        words[i] = (char *)(uintptr_t)arguments->words[i];
    if (arguments->count == 1 && verb_is_group(words[0])) {
        help_group(words[0]);
        return EXIT_DONE;
    }
    const Verb *verb = verb_find(arguments->count, words, &used);
    if (!verb)
        return cli_usage(NULL);
    help_page(verb);
    return EXIT_DONE;
}

#define AT(field) offsetof(HelpOptions, field)

static const char *const SHELLS[] = {"bash", "zsh", "fish", NULL};

static const Option OPTIONS[] = {
    {"man", OPTION_SWITCH, AT(man), .help = "print the man page, lacuna.1"},
    {"completion", OPTION_CHOICE, AT(shell), .help = "print a shell's completion", .choices = SHELLS},
    {"keys", OPTION_SWITCH, AT(keys), .help = "print the reference of recipe keys, docs/recipe.md"},
    {0}};

const Verb help_verb = {.name = "help",
                        .line = "list the verbs, or tell of one",
                        .operands = "[VERB]",
                        .most = 2,
                        .about = "Lists the verbs, or prints the page of one, as `lacuna VERB --help` does.",
                        .options = OPTIONS,
                        .examples = "lacuna help\n"
                                    "lacuna help data check\n"
                                    "lacuna help --completion bash\n",
                        .size = sizeof(HelpOptions),
                        .run = run_help};
