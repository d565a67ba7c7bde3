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

enum { FLAGS_MOST = 64, FLAG_BYTES = 64 };

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
} Arguments;

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

/* ---- arguments */

typedef struct {
    char names[FLAGS_MOST][FLAG_BYTES];
    const char *list[FLAGS_MOST + 1];
    int count;
} Flags;

static void add_flag(Flags *flags, const char *name)
{
    if (flags->count == FLAGS_MOST)
        return;
    char *to = flags->names[flags->count];
    snprintf(to, FLAG_BYTES, "%s", name);
    for (; *to; to++)
        if (*to == '_')
            *to = '-';
    flags->list[flags->count] = flags->names[flags->count];
    flags->list[++flags->count] = NULL;
}

static void add_run_flag(void *context, const RecipeKeyInfo *info)
{
    if (!strncmp(info->key, "run.", 4))
        add_flag(context, info->key + 4);
}

static bool unknown_flag(const ArgReader *args)
{
    static const char *const own[] = {"data", "val", "out", "resume", "json", "quiet", "plain", "help"};
    Flags flags = {0};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        add_flag(&flags, own[i]);
    recipe_each(add_run_flag, &flags);
    return arg_unknown(args, flags.list);
}

/* One argument. Those that are about the recipe wait (`settings` false) until it is loaded. */
static bool take(ArgReader *args, ArgKind kind, bool settings, Arguments *a, bool *data)
{
    bool known = false;
    if (kind == ARG_WORD) {
        if (!settings && a->recipe_name)
            return error_set("two recipes are named, '%s' and '%s'", a->recipe_name, args->text);
        a->recipe_name = args->text;
        return true;
    }
    if (kind == ARG_PAIR) {
        *data = *data || !strncmp(args->text, "data.train=", 11);
        return !settings || recipe_set(&a->recipe, args->text);
    }
    if (arg_is(args, "out"))
        return (a->out = arg_value(args)) != NULL;
    if (arg_is(args, "resume"))
        return arg_switch(args, &a->resume);
    if (arg_is(args, "json"))
        return arg_switch(args, &a->json);
    if (arg_is(args, "quiet"))
        return arg_switch(args, &a->quiet);
    if (arg_is(args, "plain"))
        return arg_switch(args, &a->plain);
    if (strncmp(args->text, "--", 2) != 0 || !recipe_flag_key(args->name))
        return unknown_flag(args);
    *data = *data || arg_is(args, "data");
    const char *value = recipe_flag_is_switch(args->name) && !args->inside ? "true" : arg_value(args);
    return value && (!settings || recipe_set_flag(&a->recipe, args->name, value, &known));
}

static bool take_all(int argc, char **argv, bool settings, Arguments *a, bool *data)
{
    ArgReader args = arg_reader(argc, argv);
    bool ok = true;
    for (ArgKind kind; ok && (kind = arg_next(&args)) != ARG_END;)
        ok = take(&args, kind, settings, a, data);
    return ok;
}

static void add_name(void *context, const char *name, const char *path)
{
    (void)path;
    Text *t = context;
    text_add(t, "%s%s", t->length ? ", " : "", name);
}

/* The recipe that the settings are put upon. A run that goes on brings its own; numbers of threads and of steps are a matter of
 * this session. */
static bool load_base(Arguments *a, bool data)
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

int command_pretrain(int argc, char **argv)
{
    int code = EXIT_USAGE;
    bool data = false;
    Arguments *a = memory_new(1, sizeof *a);
    if (!a)
        return cli_failed();
    if (!take_all(argc, argv, false, a, &data) || !load_base(a, data) || !take_all(argc, argv, true, a, &data) ||
        !recipe_check(&a->recipe)) {
        cli_usage("pretrain");
        goto done;
    }
    Display display = {.json = a->json, .quiet = a->quiet, .out = a->json ? stderr : stdout};
    display.bar = isatty(fileno(display.out)) != 0;
    PretrainOptions options = {.recipe = &a->recipe,
                               .out = a->out,
                               .resume = a->resume,
                               .named = a->recipe_name,
                               .plain = a->plain,
                               .progress = show_progress,
                               .say = show_sentence,
                               .stop = is_stopped,
                               .context = &display};
    catch_signals();
    PretrainOutcome outcome = pretrain_run(&options);
    if (display.drawn)
        fprintf(display.out, "\n");
    if (outcome == PRETRAIN_FAILED)
        code = cli_failed();
    else if (outcome == PRETRAIN_STOPPED)
        code = stop_signal == SIGINT ? EXIT_INTERRUPTED : EXIT_TERMINATED;
    else
        code = EXIT_DONE;
done:
    memory_free(a);
    return code;
}
