/* The man page, in roff. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/help.h"

/* A backslash is escaped; a dash is one that can be copied; a dot or quote in front is no command. */
static void print_roff(const char *text, size_t length)
{
    if (length && (text[0] == '.' || text[0] == '\''))
        printf("\\&");
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\')
            printf("\\e");
        else if (text[i] == '-')
            printf("\\-");
        else
            putchar(text[i]);
    }
}

static void print_text(const char *text)
{
    print_roff(text, strlen(text));
}

static void print_about(const char *text)
{
    bool literal = false;
    for (; *text; text += strcspn(text, "\n"), text += *text != 0) {
        size_t length = strcspn(text, "\n");
        bool now = *text == ' ';
        if (now != literal)
            printf(now ? ".PP\n.nf\n" : ".fi\n");
        literal = now;
        if (length == 0)
            printf(".PP");
        else
            print_roff(text, length);
        putchar('\n');
    }
    if (literal)
        printf(".fi\n");
}

static void print_flag(void *context, const Flag *flag)
{
    (void)context;
    printf(".TP\n\\fB\\-\\-");
    print_text(flag->name);
    printf("\\fR");
    if (flag->value) {
        printf(" \\fI");
        print_text(flag->value);
        printf("\\fR");
    }
    putchar('\n');
    putchar(toupper((unsigned char)flag->help[0]));
    print_text(flag->help + 1);
    if (flag->initial) {
        printf(" (default ");
        print_text(flag->initial);
        putchar(')');
    }
    printf(".\n");
}

static void print_verb(const Verb *verb)
{
    Text synopsis = {0};
    help_synopsis(verb, &synopsis);
    printf(".SS ");
    print_text(synopsis.data ? synopsis.data : verb->name);
    putchar('\n');
    text_free(&synopsis);
    print_about(verb->about);
    verb_each_flag(verb, print_flag, NULL);
    printf(".PP\nExamples:\n.PP\n.nf\n.RS\n");
    for (const char *line = verb->examples; *line;) {
        size_t length = strcspn(line, "\n");
        print_roff(line, length);
        putchar('\n');
        line += length + (line[length] != 0);
    }
    printf(".RE\n.fi\n");
}

void help_man(void)
{
    printf(".TH LACUNA 1 \"\" \"lacuna %s\" \"User Commands\"\n"
           ".SH NAME\nlacuna \\- pre\\-train vision backbones by masked image modelling\n"
           ".SH SYNOPSIS\n.B lacuna\n\\fIVERB\\fR [\\fIARGUMENT\\fR ...]\n"
           ".SH DESCRIPTION\nlacuna hides most of each picture and lets a vision transformer guess what is missing (MAE, "
           "DeepMIM).\n"
           "It needs pictures without labels and leaves a run directory with the trained backbone.\n"
           ".SH VERBS\n",
           LACUNA_VERSION);
    for (const Verb *const *verb = verbs_all(); *verb; verb++)
        print_verb(*verb);
    printf(
        ".SH EXIT STATUS\n.TP\n0\nDone.\n.TP\n1\nFailed; standard error says what, where and why.\n.TP\n2\nThe command line is "
        "wrong.\n.TP\n130, 143\nStopped by SIGINT, or by SIGTERM or SIGHUP, with everything saved.\n"
        ".SH ENVIRONMENT\n.TP\nLACUNA_RECIPES\nA folder of recipes that is searched first.\n.TP\nLACUNA_CPU\n"
        "The build of the kernels: ref, avx2, avx512, avx512bf16 or wide; the best one by default.\n.TP\nXDG_CACHE_HOME\n"
        "Where listings and statistics of pictures are kept (lacuna/ in it); ~/.cache by default.\n.TP\nNO_COLOR\n"
        "When set, progress has no colours.\n");
}
