/* lacuna pretrain: arguments in, progress out, signals. The run itself is train/pretrain.c. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "recipe/recipe.h"
#include "train/pretrain.h"

/* A signal handler reaches nothing but this. */
static volatile sig_atomic_t stop_signal;

/* The first signal asks the run to stop behind its present step; the second one ends the process at once. A terminal that goes
 * away may say so twice (the kernel and the shell do): that is nobody's impatience. */
static void on_signal(int number)
{
    stop_signal = number;
    if (number == SIGHUP)
        return;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

static bool is_stopped(void *context)
{
    (void)context;
    return stop_signal != 0;
}

typedef struct {
    bool json, quiet, bar; /* bar: one line that is drawn over; else lines now and then */
    FILE *out;             /* of progress and sentences */
    double shown;          /* when a line was last shown */
    bool drawn;            /* a bar stands on the terminal */
} Display;

typedef struct {
    const char *recipe_name, *out; /* NULL: not given */
    bool resume, json, quiet, plain;
    Recipe recipe;
} Job;

/* ---- progress */

static void add_time(Text *t, double seconds)
{
    long s = (long)seconds;
    if (s >= 3600)
        text_add(t, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        text_add(t, "%ld:%02ld", s / 60, s % 60);
}

static void add_numbers(Text *t, const PretrainProgress *p)
{
    text_add(t, "step %lld/%lld  epoch %.2f  loss %.4f", (long long)p->step, (long long)p->last, p->epoch, p->metrics->loss);
    if (p->decoders > 1) {
        for (int k = 0; k < p->decoders; k++)
            text_add(t, "%s%.4f", k ? " " : " (", p->metrics->losses[k]);
        text_add(t, ")");
    }
    if (p->validated)
        text_add(t, "  val %.4f", p->val_loss);
    text_add(t, "  lr %.2e  %.0f images/s  ", p->lr, p->images_per_second);
    add_time(t, p->seconds_left);
    text_add(t, " left");
}

static void add_bar(Text *t, const PretrainProgress *p)
{
    enum { WIDTH = 20 };
    int done = (int)(p->step * WIDTH / p->last);
    text_add(t, "\r[");
    for (int i = 0; i < WIDTH; i++)
        text_add(t, i < done ? "#" : ".");
    text_add(t, "] ");
}

/* A line that wraps cannot be drawn over. */
static void cut_to_terminal(const Display *d, Text *t)
{
    struct winsize size;
    if (d->bar && !t->failed && ioctl(fileno(d->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && t->length > size.ws_col)
        t->data[t->length = size.ws_col] = 0; /* the first character is the carriage return */
}

static void show_progress(void *context, const PretrainProgress *p)
{
    Display *d = context;
    double now = clock_seconds(), pause = d->bar ? 0.1 : 10;
    if (d->json) {
        printf("%s\n", p->line);
        fflush(stdout);
    }
    bool ends = p->step == p->last || p->validated || stop_signal;
    if (d->quiet || (now - d->shown < pause && !ends && d->shown > 0))
        return;
    Text t = {0};
    d->shown = now;
    if (d->bar)
        add_bar(&t, p);
    add_numbers(&t, p);
    cut_to_terminal(d, &t);
    /* A validation is worth a line that stays. */
    bool stays = !d->bar || p->validated || p->step == p->last;
    fprintf(d->out, "%s%s%s", t.data ? t.data : "", d->bar ? "\033[K" : "", stays ? "\n" : "");
    d->drawn = !stays;
    fflush(d->out);
    text_free(&t);
}

static void show_sentence(void *context, const char *sentence)
{
    Display *d = context;
    if (d->quiet)
        return;
    fprintf(d->out, "%s%s\n", d->drawn ? "\r\033[K" : "", sentence);
    d->drawn = false;
    fflush(d->out);
}

/* ---- the recipe */

static void add_name(void *context, const char *name, const char *path)
{
    (void)path;
    Text *t = context;
    text_add(t, "%s%s", t->length ? ", " : "", name);
}

/* The recipe that the settings are put upon. A run that goes on brings its own; numbers of threads and of steps are a matter of
 * this session. */
static bool load_base(Job *a, bool data)
{
    if (a->resume && a->out) {
        char *path = file_join(a->out, "recipe.yaml");
        bool there = path && file_exists(path), ok = there && recipe_load(&a->recipe, path);
        memory_free(path);
        if (there) {
            a->recipe.run.max_steps = 0;
            a->recipe.run.threads = a->recipe.data.workers = RECIPE_AUTO;
            return ok;
        }
    }
    if (a->resume && !a->out)
        return error_set("--resume goes on with the run in --out: give that folder");
    if (!a->recipe_name && data) {
        Text names = {0};
        recipe_each_name(add_name, &names);
        error_set("with --data a recipe is needed: name one of %s, or a YAML file", names.data ? names.data : "none");
        text_free(&names);
        return false;
    }
    return recipe_load(&a->recipe, a->recipe_name ? a->recipe_name : "deepmim-world");
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    stop_signal = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup has it ignored */
        sigaction(SIGHUP, &action, NULL);
    /* Whoever reads the progress may go; the training stays. */
    signal(SIGPIPE, SIG_IGN);
}

static int run_pretrain(void *options, const Arguments *arguments)
{
    Job *job = options;
    job->recipe_name = arguments->count ? arguments->words[0] : NULL;
    if (!load_base(job, arguments_setting(arguments, "data.train") != NULL) || !arguments_apply(arguments, &job->recipe) ||
        !recipe_check(&job->recipe))
        return cli_usage(arguments->verb);
    Display display = {.json = job->json, .quiet = job->quiet, .out = job->json ? stderr : stdout};
    display.bar = isatty(fileno(display.out)) != 0;
    PretrainOptions run = {.recipe = &job->recipe,
                           .out = job->out,
                           .resume = job->resume,
                           .named = job->recipe_name,
                           .plain = job->plain,
                           .progress = show_progress,
                           .say = show_sentence,
                           .stop = is_stopped,
                           .context = &display};
    catch_signals();
    PretrainOutcome outcome = pretrain_run(&run);
    if (display.drawn)
        fprintf(display.out, "\n");
    if (outcome == PRETRAIN_FAILED)
        return cli_failed();
    if (outcome == PRETRAIN_STOPPED)
        return stop_signal == SIGINT ? EXIT_INTERRUPTED : EXIT_TERMINATED;
    return EXIT_DONE;
}

#define AT(field) offsetof(Job, field)

static const Option OPTIONS[] = {
    {"out", OPTION_PATH, AT(out), .value = "RUN", .help = "the run directory (default runs/RECIPE-N)"},
    {"resume", OPTION_SWITCH, AT(resume), .help = "go on in --out from its newest checkpoint"},
    {"plain", OPTION_SWITCH, AT(plain), .help = "without the exact savings"},
    {"quiet", OPTION_SWITCH, AT(quiet), .help = "no progress"},
    {"json", OPTION_SWITCH, AT(json), .help = "one JSON object a line on standard output"},
    {0}};

const Verb pretrain_verb = {
    .name = "pretrain",
    .line = "pre-train a backbone on pictures",
    .operands = "[RECIPE]",
    .most = 1,
    .about = "Trains what the recipe (a name of `lacuna recipes`, or a YAML file) describes and leaves a run directory: "
             "recipe.yaml, "
             "log.jsonl, checkpoints, samples. Keys of the command line win over the file.\n\n"
             "Pictures are a folder of JPEG, PNG, WebP and TIFF, a list (.csv: lines `path` or `path,label`), tar shards "
             "('shards-{000..099}.tar'), CIFAR's binary files, or `world` (drawn by the program).\n\n"
             "SIGINT saves and exits with 130, SIGTERM and SIGHUP save and exit with 143.",
    .options = OPTIONS,
    .examples = "lacuna pretrain deepmim-world --out runs/world\n"
                "lacuna pretrain deepmim-cifar10 --data cifar/train --val cifar/test schedule.epochs=5 decoders.0.weight=0.5\n"
                "lacuna pretrain deepmim-cifar10 --data photos/ --out runs/deepmim\n"
                "lacuna pretrain --out runs/deepmim --resume\n",
    .size = sizeof(Job),
    .settings = true,
    .recipes = true,
    .run = run_pretrain};
