#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/help.h"

int cli_failed(void)
{
    fflush(stdout);
    fprintf(stderr, "lacuna: %s\n", *error_text() ? error_text() : "failed for an unknown reason");
    return EXIT_FAILED;
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
