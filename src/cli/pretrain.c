/* lacuna pretrain: arguments in, progress out, signals. The run itself is train/pretrain.c. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/watch.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/choose.h"
#include "cli/cli.h"
#include "cli/launch.h"
#include "cli/progress.h"
#include "recipe/recipe.h"
#include "train/forecast.h"
#include "train/pretrain.h"
#include "train/run_folder.h"

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

/* Of one process of several: whoever stops them may signal each, and the launcher too, so a second signal is no impatience
 * here. The launcher, which sees people's, ends all at their second one. */
static void on_signal_of_rank(int number)
{
    if (!stop_signal)
        stop_signal = number;
}

static bool is_stopped(void *context)
{
    (void)context;
    return stop_signal != 0;
}

typedef struct {
    const char *out; /* NULL: not given */
    bool resume, json, quiet, plain;
    Recipe recipe;
    RankGroup *ranks;   /* NULL: this process alone */
    int stored_devices; /* of a run that goes on */
} Job;

static void show_progress(void *context, const PretrainProgress *step)
{
    progress_step(context, step, stop_signal != 0);
}

static void show_sentence(void *context, const char *sentence)
{
    progress_say(context, sentence);
}

/* ---- the recipe */

/* As many as mpirun has started, if it has. */
static bool count_devices(Job *job, const Arguments *arguments)
{
    int started = ranks_count(job->ranks);
    if (!job->ranks)
        return true;
    if (arguments_setting(arguments, "run.devices") && job->recipe.run.devices != started)
        return error_set("run.devices %d: mpirun has started %d processes", job->recipe.run.devices, started);
    job->recipe.run.devices = started;
    return true;
}

/* The stored recipe with the settings of the command line; `anew`: how a batch is cut is left to be found again. */
static bool load_stored(Job *job, const Arguments *arguments, const char *path, bool anew, int *code)
{
    bool ok = recipe_load(&job->recipe, path);
    *code = ok ? EXIT_USAGE : EXIT_FAILED;
    job->stored_devices = job->recipe.run.devices;
    job->recipe.run.max_steps = 0;
    job->recipe.run.threads = job->recipe.data.workers = RECIPE_AUTO;
    if (anew)
        job->recipe.run.micro_batch = job->recipe.schedule.accumulate = RECIPE_AUTO;
    return ok && arguments_apply(arguments, &job->recipe, NULL);
}

/* A run that goes on brings its own recipe; numbers of threads and of steps are a matter of this session. *found tells whether
 * there is one. Of a failure *code is the exit code: the command line may be wrong, or the stored recipe. */
static bool load_own(Job *job, const Arguments *arguments, bool *found, int *code)
{
    char *path = file_join(job->out, "recipe.yaml");
    bool ok = path != NULL;
    *found = ok && file_exists(path);
    if (*found)
        ok = load_stored(job, arguments, path, false, code);
    /* What was computed at once before need not fit another number of devices. */
    if (*found && ok) {
        int now = job->ranks ? ranks_count(job->ranks) : job->recipe.run.devices;
        if (now != job->stored_devices)
            ok = load_stored(job, arguments, path, true, code);
        ok = ok && count_devices(job, arguments) && recipe_check(&job->recipe);
    }
    memory_free(path);
    return ok;
}

/* A proposal is told of before it starts, with the time it will take. */
static bool tell(Progress *progress, Job *job, const Text *why)
{
    Text time = {0};
    Forecast *forecast = memory_new(1, sizeof *forecast);
    bool ok = forecast != NULL;
    for (const char *line = why->data; ok && *line;) {
        char sentence[512];
        snprintf(sentence, sizeof sentence, "%.*s", (int)strcspn(line, "\n"), line);
        progress_say(progress, sentence);
        line += strcspn(line, "\n") + 1;
    }
    ok = ok && forecast_make(&job->recipe, true, forecast);
    if (ok && forecast->step_seconds > 0) {
        text_add(&time, "about ");
        progress_add_time(&time, forecast->step_seconds * (double)forecast->steps);
        text_add(&time, " for %lld steps; recipe.yaml in the run has every setting, and key=value changes it",
                 (long long)forecast->steps);
        progress_say(progress, time.data ? time.data : "");
    }
    if (forecast)
        device_close(&forecast->device);
    text_free(&time);
    memory_free(forecast);
    return ok;
}

static bool get_recipe(Job *job, const Arguments *arguments, Text *why, Text *notes, int *code)
{
    bool found = false, named = arguments->count > 0 || arguments_setting(arguments, "data.train");
    *code = EXIT_USAGE;
    if (job->resume && !job->out)
        return error_set("--resume goes on with the run in --out: give that folder");
    if (job->resume && !load_own(job, arguments, &found, code))
        return false;
    if (found)
        return true;
    *code = EXIT_FAILED;
    /* What a run would be begun with here is the program's own pictures: nobody who mistook the folder wants these. */
    if (job->resume && !named)
        return error_set("there is no run at %s to go on with, since it has no recipe.yaml; without --resume, or with a recipe "
                         "or --data, a new one would begin there",
                         job->out);
    /* Seen now, before pictures are looked at for minutes. */
    if (job->out && !job->resume && !run_folder_is_new(job->out))
        return false;
    if (!choose_recipe(arguments, &job->recipe, why, notes, code))
        return false;
    *code = EXIT_USAGE;
    return count_devices(job, arguments) && recipe_check(&job->recipe);
}

static void catch_signals(const Job *job)
{
    struct sigaction action = {.sa_handler = job->ranks ? on_signal_of_rank : on_signal, .sa_flags = SA_RESTART};
    stop_signal = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (job->ranks) {
        sigaction(LAUNCH_INTERRUPT, &action, NULL);
        sigaction(LAUNCH_TERMINATE, &action, NULL);
    }
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup has it ignored */
        sigaction(SIGHUP, &action, NULL);
    /* Whoever reads the progress may go; the training stays. */
    signal(SIGPIPE, SIG_IGN);
}

static int train(Job *job, const Arguments *arguments, Progress *progress, Watch *watch)
{
    PretrainOptions run = {.recipe = &job->recipe,
                           .out = job->out,
                           .resume = job->resume,
                           .named = arguments->count ? arguments->words[0] : NULL,
                           .plain = job->plain,
                           .ranks = job->ranks,
                           .progress = show_progress,
                           .say = show_sentence,
                           .stop = is_stopped,
                           .context = progress,
                           .probe = watch_look,
                           .probe_context = watch};
    PretrainOutcome outcome = pretrain_run(&run);
    progress_close(progress);
    if (outcome == PRETRAIN_FAILED)
        return cli_failed();
    if (outcome == PRETRAIN_STOPPED)
        return stop_signal == SIGINT || stop_signal == LAUNCH_INTERRUPT ? EXIT_INTERRUPTED : EXIT_TERMINATED;
    return EXIT_DONE;
}

/* The whole job in this process, or as rank 0 of several. */
static int lead(Job *job, const Arguments *arguments)
{
    Text why = {0}, notes = {0};
    int code;
    bool ok = get_recipe(job, arguments, &why, &notes, &code);
    if (!ok) {
        text_free(&why);
        text_free(&notes);
        return code == EXIT_USAGE ? cli_usage(arguments->verb) : cli_failed();
    }
    if (job->recipe.run.devices > 1 && !job->ranks) {
        text_free(&why);
        text_free(&notes); /* rank 0 tells */
        return launch_ranks(job->recipe.run.devices);
    }
    Progress progress = progress_open(job->json, job->quiet);
    catch_signals(job);
    choose_tell(&notes);
    ok = !why.length || tell(&progress, job, &why);
    text_free(&why);
    Watch *watch = ok ? watch_new() : NULL;
    code = watch ? train(job, arguments, &progress, watch) : cli_failed();
    watch_free(watch);
    return code;
}

/* A device that has failed holds up the process: mpirun ends the others when it is gone. */
static void end_at_last(void *context, const char *why)
{
    (void)context;
    error_set("%s", why);
    cli_failed();
    _exit(launch_exit_code(EXIT_FAILED));
}

/* A process that mpirun has started. */
static int join(Job *job, const Arguments *arguments)
{
    enum { CLEANING_SECONDS = 60 };
    int code = EXIT_DONE;
    /* NVLink's switches may add up in another order each time, and the run would not be the same when it goes on. */
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    if (!(job->ranks = ranks_open()))
        return cli_failed();
    ranks_set_exit_code(job->ranks, launch_exit_code(EXIT_FAILED));
    ranks_set_last_resort(job->ranks, CLEANING_SECONDS, end_at_last, NULL);
    if (ranks_rank(job->ranks) > 0) {
        launch_ignore_signals();
        code = trainer_serve(job->ranks) ? EXIT_DONE : cli_failed();
    } else {
        code = launch_exit_code(lead(job, arguments));
        trainer_dismiss(job->ranks);
    }
    ranks_close(job->ranks);
    return code;
}

static int run_pretrain(void *options, const Arguments *arguments)
{
    Job *job = options;
    const char *devices = arguments_setting(arguments, "run.devices");
    if (ranks_started() > 1)
        return join(job, arguments);
    /* Before pictures are looked at for minutes: rank 0 will. A number that is none is told of by whoever reads the recipe. */
    int count = devices ? (int)strtol(devices, NULL, 10) : 1;
    return count > 1 && count <= LAUNCH_MOST ? launch_ranks(count) : lead(job, arguments);
}

#define AT(field) offsetof(Job, field)

static const Option OPTIONS[] = {
    {"out", OPTION_PATH, AT(out), .value = "RUN", .help = "the run directory (default runs/RECIPE-N)"},
    {"resume", OPTION_SWITCH, AT(resume), .help = "go on in --out from its newest checkpoint"},
    {"plain", OPTION_SWITCH, AT(plain),
     .help = "compute everything the long way: slower, the same up to rounding; to check the program"},
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
             "--data alone will do: a recipe that fits those pictures and this machine is then proposed, told of, and kept in "
             "the run. With neither recipe nor --data the program trains on the world that it draws (deepmim-world).\n\n"
             "Pictures are a folder of JPEG, PNG, WebP and TIFF, a list (.csv: lines `path` or `path,label`), tar shards "
             "('shards-{000..099}.tar'), CIFAR's binary files, or `world` (drawn by the program).\n\n"
             "--devices N trains on N devices of this machine, GPUs or parts of the processor: it starts a process for each "
             "with mpirun (Debian: openmpi-bin), and each computes its share of every batch. The run is the same up to "
             "rounding, and --resume may go on with another number of devices.\n\n"
             "SIGINT saves and exits with 130, SIGTERM and SIGHUP save and exit with 143.",
    .options = OPTIONS,
    .examples = "lacuna pretrain --data photos/ --out runs/photos\n"
                "lacuna pretrain deepmim-world --out runs/world\n"
                "lacuna pretrain deepmim-cifar10 --data cifar/train --val cifar/test schedule.epochs=5 decoders.0.weight=0.5\n"
                "lacuna pretrain deepmim-cifar10 --data photos/ --out runs/deepmim\n"
                "lacuna pretrain --out runs/deepmim --resume\n",
    .size = sizeof(Job),
    .settings = true,
    .recipes = true,
    .run = run_pretrain};
