#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

typedef struct {
    const char *name;
    const char *line; /* what it does, in one line */
    int (*run)(int argc, char **argv);
    const char *help; /* how it is called, with examples */
} Verb;

static const Verb VERBS[] = {
    {"pretrain", "pre-train a backbone on pictures", command_pretrain,
     "lacuna pretrain RECIPE [--data DIR] [--val DIR] [--out RUN] [--resume] [FLAGS] [key=value ...]\n"
     "\n"
     "Trains what the recipe (a name of `lacuna recipes`, or a YAML file) describes and leaves a run directory: recipe.yaml,\n"
     "log.jsonl, checkpoints, samples. Keys of the command line win over the file; every run.* key is also a flag.\n"
     "\n"
     "  --data DIR       pictures: a folder of JPEG, PNG, WebP and TIFF, a list (.csv: lines `path` or `path,label`), tar\n"
     "                   shards ('shards-{000..099}.tar'), CIFAR's binary files, or `world` (drawn by the program)\n"
     "  --val DIR        held-out pictures\n"
     "  --out RUN        the run directory; default runs/RECIPE-N\n"
     "  --resume         go on in --out from its newest checkpoint\n"
     "  --from RUN       start from the weights of that run or checkpoint\n"
     "  --max-steps N    stop after N steps\n"
     "  --device D       cpu or ref\n"
     "  --plain          without the exact savings\n"
     "  --quiet          no progress\n"
     "  --json           one JSON object a line on standard output\n"
     "\n"
     "SIGINT saves and exits with 130, SIGTERM and SIGHUP save and exit with 143.\n"
     "\n"
     "Examples:\n"
     "  lacuna pretrain deepmim-shapes --out runs/shapes\n"
     "  lacuna pretrain deepmim-cifar10 --data cifar/train --val cifar/test schedule.epochs=5 decoders.0.weight=0.5\n"
     "  lacuna pretrain deepmim-cifar10 --out runs/deepmim --resume\n"},
    {"reconstruct", "draw what a run makes of masked pictures", command_reconstruct,
     "lacuna reconstruct --from RUN|CHECKPOINT [--images FILE ... | --data DIR] --out SHEET.png [FLAGS]\n"
     "\n"
     "Writes a sheet with a row for each picture: the original, the masked picture, and the reconstruction of every decoder\n"
     "with the visible patches pasted back. Without --images and --data it takes the run's held-out pictures, else the\n"
     "ones it was trained on.\n"
     "\n"
     "  --from RUN        a run directory (its newest checkpoint) or a folder in its checkpoints\n"
     "  --images FILE ... pictures; all words that follow up to the next flag\n"
     "  --data DIR        pictures from a folder, a list, shards, CIFAR's files or `world`\n"
     "  --count N         pictures to take from --data or the run (default 8)\n"
     "  --seed N          draws other masks (default: the run's seed)\n"
     "  --device D        cpu or ref\n"
     "  --threads N       threads (default: as many as processors)\n"
     "  --out FILE        the PNG file to write\n"
     "\n"
     "Examples:\n"
     "  lacuna reconstruct --from runs/deepmim --out sheet.png\n"
     "  lacuna reconstruct --from runs/deepmim --images a.jpg b.png --seed 3 --out sheet.png\n"},
    {"parity", "check the arithmetic against golden cases", command_parity,
     "lacuna parity [FLAGS] CASE.json ...\n"
     "\n"
     "Reads golden cases (docs/spec/recipe.md), does what they say, and prints a line for each tensor: ok or FAIL, its name,\n"
     "the largest relative error, the tolerance. Exits with 0 only if all hold.\n"
     "\n"
     "  --device D       cpu or ref (default cpu)\n"
     "  --precision P    f32 (default), or bf16: the cases' numbers are exact, so only losses are judged, to 2e-2\n"
     "  --threads N      threads (default: as many as processors)\n"
     "  --plain          without the exact savings\n"
     "  --out DIR        write DIR/NAME.safetensors with what was computed, under the names of the case\n"
     "\n"
     "Examples:\n"
     "  lacuna parity tests/golden/*.json\n"
     "  lacuna parity --device ref --out computed tests/golden/deepmim_pixels.json\n"},
    {"bench", "measure a training step, or the loading of pictures", command_bench,
     "lacuna bench train --config NAME [FLAGS]\n"
     "lacuna bench ops [--config NAME] [FLAGS]\n"
     "lacuna bench data --data DIR [--size N] [--seconds N] [--workers N] [--json]\n"
     "\n"
     "Times training steps on random pictures. `ops` tells of each operation, and of each of its sizes, the time, GFLOP/s, "
     "GB/s,\n"
     "and the share of what the machine can do at most, measured before and after those steps: `limit` is what bounds the\n"
     "operation from below, time/floor how far it is from there (small operations that caches hold may beat memory's floor).\n"
     "Configurations: cifar_p4, cifar_p2, vit_s, vit_b, vit_l, deepmim_s, deepmim_b.\n"
     "\n"
     "  --config NAME    what to train (ops: default cifar_p4)\n"
     "  --precision P    f32 (default) or bf16\n"
     "  --device D       cpu or ref (default cpu)\n"
     "  --steps N        measured steps (default 10)\n"
     "  --warmup N       steps before them (default 3)\n"
     "  --batch-size N   pictures of a step (default: the configuration's)\n"
     "  --threads N      threads (default: as many as processors)\n"
     "  --plain          without the exact savings\n"
     "  --profile        train: a table of the time of each op\n"
     "  --json           one JSON object on standard output\n"
     "\n"
     "`data` loads pictures as training does, without keeping any: read, decode, crop a fifth to the whole, resize, flip,\n"
     "normalise.\n"
     "\n"
     "  --data DIR       pictures: a folder, a list, tar shards, CIFAR's files or `world`\n"
     "  --size N         rows and columns of the result (default 224)\n"
     "  --seconds N      how long to measure (default 10)\n"
     "  --workers N      loader threads (default 1)\n"
     "\n"
     "Examples:\n"
     "  lacuna bench train --config cifar_p4 --steps 20 --json\n"
     "  lacuna bench ops --config vit_s\n"
     "  lacuna bench data --data photos/ --workers 2\n"},
    {"data", "look at every picture: what cannot be read, what there is", command_data,
     "lacuna data check DIR [--threads N] [--json]\n"
     "lacuna data stats DIR [--threads N] [--json]\n"
     "\n"
     "`check` decodes every picture and prints a line for each that cannot be read: its name, and why. It exits with 0 if all\n"
     "are good and with 1 if some are not. `stats` tells how many pictures there are, how large, in which formats, which show\n"
     "the same, which show next to nothing, which are not what their suffix says, and the mean and deviation of the pixels.\n"
     "DIR is a folder of pictures, CIFAR's binary files, or `world`. Suffixes count in any case; the content decides.\n"
     "\n"
     "  --threads N      threads (default: as many as processors); the output does not depend on it\n"
     "  --json           check: one JSON object a line for each bad file; stats: one JSON object\n"
     "\n"
     "Examples:\n"
     "  lacuna data check photos/\n"
     "  lacuna data stats world --json\n"},
    {"recipes", "list the recipes that can be named", command_recipes,
     "lacuna recipes [--json]\n"
     "\n"
     "Lists the recipes by name with the file each is read from. LACUNA_RECIPES names a folder that is searched first.\n"
     "\n"
     "Example:\n"
     "  lacuna recipes\n"},
};
enum { VERB_COUNT = sizeof VERBS / sizeof *VERBS };

static const Verb *verb_find(const char *name)
{
    for (int i = 0; i < VERB_COUNT; i++)
        if (!strcmp(VERBS[i].name, name))
            return &VERBS[i];
    return NULL;
}

static void print_overview(FILE *out)
{
    fprintf(out, "lacuna pre-trains vision backbones on unlabelled pictures by masked image modelling.\n\nlacuna VERB ...\n\n");
    for (int i = 0; i < VERB_COUNT; i++)
        fprintf(out, "  %-12s %s\n", VERBS[i].name, VERBS[i].line);
    fprintf(out,
            "  %-12s %s\n\n`lacuna help VERB` says more. Exit codes: 0 done, 1 failed, 2 usage, 130 and 143 stopped by a "
            "signal with everything saved.\n",
            "help", "this, or the page of a verb");
}

/* The nearest word, if it is near enough to be meant. `candidate(i)` is NULL behind the last. */
static const char *nearest(const char *word, const char *const *candidates)
{
    const char *best = NULL;
    int least = (int)strlen(word) / 3 + 1;
    for (; *candidates; candidates++) {
        int distance = text_distance(word, *candidates);
        if (distance <= least) {
            best = *candidates;
            least = distance - 1;
        }
    }
    return best;
}

static int unknown_verb(const char *name)
{
    const char *names[VERB_COUNT + 2];
    for (int i = 0; i < VERB_COUNT; i++)
        names[i] = VERBS[i].name;
    names[VERB_COUNT] = "help";
    names[VERB_COUNT + 1] = NULL;
    const char *near = nearest(name, names);
    if (near)
        error_set("there is no verb '%s': did you mean %s?", name, near);
    else
        error_set("there is no verb '%s'", name);
    return cli_usage(NULL);
}

int cli_failed(void)
{
    fflush(stdout);
    fprintf(stderr, "lacuna: %s\n", *error_text() ? error_text() : "failed for an unknown reason");
    return EXIT_FAILED;
}

int cli_usage(const char *verb)
{
    cli_failed();
    if (verb)
        fprintf(stderr, "lacuna help %s lists what it takes.\n", verb);
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
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return true;
    return false;
}

int cli_main(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stdout);
        return finish_output(EXIT_DONE);
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version")) {
        printf("lacuna %s\n", LACUNA_VERSION);
        return finish_output(EXIT_DONE);
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") ||
        (!strcmp(name, "help") && (argc == 2 || wants_help(argc - 1, argv + 1)))) {
        print_overview(stdout);
        return finish_output(EXIT_DONE);
    }
    bool help = !strcmp(name, "help");
    if (help)
        name = argv[2];
    const Verb *verb = verb_find(name);
    if (!verb)
        return unknown_verb(name);
    if (help || wants_help(argc - 1, argv + 1)) {
        printf("%s", verb->help);
        return finish_output(EXIT_DONE);
    }
    return finish_output(verb->run(argc - 1, argv + 1));
}

/* ---- arguments */

ArgReader arg_reader(int argc, char **argv)
{
    return (ArgReader){.argc = argc, .argv = argv};
}

static bool is_pair(const char *text)
{
    const char *sign = strchr(text, '=');
    if (!sign || !isalpha((unsigned char)*text))
        return false;
    for (; text < sign; text++)
        if (!isalnum((unsigned char)*text) && *text != '.' && *text != '_')
            return false;
    return true;
}

ArgKind arg_next(ArgReader *args)
{
    args->inside = NULL;
    args->name[0] = 0;
    if (++args->at >= args->argc)
        return ARG_END;
    args->text = args->argv[args->at];
    if (args->words)
        return ARG_WORD;
    if (!strcmp(args->text, "--")) {
        args->words = true;
        return arg_next(args);
    }
    if (args->text[0] != '-' || args->text[1] == 0)
        return is_pair(args->text) ? ARG_PAIR : ARG_WORD;
    const char *name = args->text + (args->text[1] == '-' ? 2 : 1), *sign = strchr(name, '=');
    int length = sign ? (int)(sign - name) : (int)strlen(name);
    snprintf(args->name, sizeof args->name, "%.*s", length, name);
    args->inside = sign ? sign + 1 : NULL;
    return ARG_FLAG;
}

bool arg_is(const ArgReader *args, const char *name)
{
    return args->text[1] == '-' && !strcmp(args->name, name);
}

bool arg_has_value(const ArgReader *args)
{
    return args->inside || (args->at + 1 < args->argc && strncmp(args->argv[args->at + 1], "--", 2) != 0);
}

const char *arg_value(ArgReader *args)
{
    if (args->inside)
        return args->inside;
    if (!arg_has_value(args)) {
        error_set("--%s wants a value", args->name);
        return NULL;
    }
    return args->argv[++args->at];
}

/* A whole decimal number, nothing before or behind it. */
static bool read_number(const char *text, long long *number)
{
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && !isspace((unsigned char)*text);
}

bool arg_int(ArgReader *args, int least, int most, int *value)
{
    const char *text = arg_value(args);
    long long number;
    if (!text)
        return false;
    if (!read_number(text, &number) || number < least || number > most) {
        if (most == INT_MAX)
            return error_set("--%s wants a whole number of at least %d, not '%s'", args->name, least, text);
        return error_set("--%s wants a whole number from %d to %d, not '%s'", args->name, least, most, text);
    }
    *value = (int)number;
    return true;
}

bool arg_seed(ArgReader *args, uint64_t *value)
{
    const char *text = arg_value(args);
    long long number;
    if (!text)
        return false;
    if (!read_number(text, &number) || number < 0)
        return error_set("--%s wants a whole number from 0 to 2^63 - 1, not '%s'", args->name, text);
    *value = (uint64_t)number;
    return true;
}

bool arg_switch(ArgReader *args, bool *value)
{
    if (args->inside)
        return error_set("--%s takes no value", args->name);
    *value = true;
    return true;
}

bool arg_unknown(const ArgReader *args, const char *const *flags)
{
    if (!args->name[0])
        return error_set("'%s' is not expected here", args->text);
    const char *near = args->text[1] == '-' ? nearest(args->name, flags) : NULL;
    if (near)
        return error_set("there is no flag --%s: did you mean --%s?", args->name, near);
    return error_set("there is no flag %s", args->text);
}
