#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/help.h"

void cli_print_safely(FILE *to, const char *text, bool lines)
{
    enum { DELETE = 127, UTF8_LEAD = 0xC2, C1_FIRST = 0x80, C1_LAST = 0x9F };
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool c1 = c[0] == UTF8_LEAD && c[1] >= C1_FIRST && c[1] <= C1_LAST; /* one of them stands for ESC [ */
        bool kept = lines && *c == '\n';
        putc(c1 || ((*c < ' ' || *c == DELETE) && !kept) ? '?' : *c, to);
        c += c1;
    }
}

void cli_note(const char *text, bool lines)
{
    fputs("lacuna: note: ", stderr);
    cli_print_safely(stderr, text, lines);
    fputc('\n', stderr);
}

int cli_failed(void)
{
    fflush(stdout);
    fputs("lacuna: ", stderr);
    cli_print_safely(stderr, *error_text() ? error_text() : "failed for an unknown reason", true);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

void cli_note_bad(const char *key, const char *what, const char *reason)
{
    fputs("lacuna: note: ", stderr);
    cli_print_safely(stderr, key, false);
    fprintf(stderr, " %s: ", what);
    cli_print_safely(stderr, reason, false);
    fputc('\n', stderr);
}

int cli_usage(const Verb *verb)
{
    cli_failed();
    if (verb)
        fprintf(stderr, "lacuna help %s lists what it takes.\n", verb->name);
    else
        fprintf(stderr, "lacuna help lists the verbs.\n");
    return EXIT_USAGE;
}

/* Standard output may be a full disk: what was printed counts only when it has arrived. */
static int finish_output(int code)
{
    bool flushed = fflush(stdout) == 0;
    if (flushed && !ferror(stdout))
        return code;
    /* Only a flush that failed just now has left its reason in errno. */
    error_set("standard output cannot be written: %s", flushed ? "an earlier write failed" : strerror(errno));
    return code == EXIT_DONE ? cli_failed() : code;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return true;
    return false;
}

static int run_verb(const Verb *verb, int argc, char **argv)
{
    Arguments arguments = {0};
    void *options = memory_new(1, verb->size + 1);
    int code;
    if (!options)
        code = cli_failed();
    else if (!arguments_read(verb, argc, argv, options, &arguments))
        code = cli_usage(verb);
    else
        code = verb->run(options, &arguments);
    arguments_free(&arguments);
    memory_free(options);
    return code;
}

int cli_main(int argc, char **argv)
{
    int used;
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        help_overview();
        return finish_output(EXIT_DONE);
    }
    if (!strcmp(argv[1], "--version")) {
        printf("lacuna %s\n", LACUNA_VERSION);
        return finish_output(EXIT_DONE);
    }
    bool help = wants_help(argc - 1, argv + 1);
    if (help && verb_is_group(argv[1]) && (argc < 3 || argv[2][0] == '-')) {
        help_group(argv[1]);
        return finish_output(EXIT_DONE);
    }
    const Verb *verb = verb_find(argc - 1, argv + 1, &used);
    if (!verb)
        return cli_usage(NULL);
    if (help) {
        help_page(verb);
        return finish_output(EXIT_DONE);
    }
    return finish_output(run_verb(verb, argc - 1 - used, argv + 1 + used));
}

bool cli_names_png(const char *flag, const char *path)
{
    size_t n = strlen(path);
    return (n > 4 && !strcasecmp(path + n - 4, ".png")) ||
           error_set("--%s %s: a sheet is a PNG file; give a name that ends in .png", flag, path);
}
