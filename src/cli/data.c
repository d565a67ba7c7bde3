/* lacuna data: what a source of pictures holds, before anything is trained on it. */
#include "cli/data.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"

DataProgress data_progress(const DataJob *job)
{
    return (DataProgress){.shown = isatty(STDERR_FILENO), .count = source_count(job->source), .last = clock_seconds()};
}

void data_progress_step(DataProgress *progress, size_t done)
{
    enum { TIMES_A_SECOND = 5 };
    if (!progress->shown || clock_seconds() - progress->last < 1.0 / TIMES_A_SECOND)
        return;
    fprintf(stderr, "\r\033[K%zu of %zu pictures", done, progress->count);
    fflush(stderr);
    progress->drawn = true;
    progress->last = clock_seconds();
}

void data_progress_clear(DataProgress *progress)
{
    if (progress->drawn)
        fprintf(stderr, "\r\033[K");
    progress->drawn = false;
}

/* ---- check */

typedef struct {
    const DataJob *job;
    DataProgress progress;
    size_t bad;
    char *key;
} Check;

static bool print_bad(bool json, const char *key, const char *why)
{
    if (!json) {
        cli_print_safely(stdout, key, false);
        printf(": ");
        cli_print_safely(stdout, why, false);
        putchar('\n');
        return true;
    }
    Text line = {0};
    text_add(&line, "{\"key\": ");
    text_add_json_string(&line, key);
    text_add(&line, ", \"why\": ");
    text_add_json_string(&line, why);
    text_add(&line, "}\n");
    bool ok = !line.failed;
    if (ok)
        fputs(line.data, stdout);
    text_free(&line);
    return ok;
}

static bool check_picture(void *context, size_t i, const PictureFacts *facts)
{
    Check *c = context;
    bool ok = true;
    if (facts->why) {
        c->bad++;
        source_key(c->job->source, i, c->key, SOURCE_KEY_SIZE);
        data_progress_clear(&c->progress);
        ok = print_bad(c->job->json, c->key, facts->why);
        fflush(stdout); /* a survey of millions takes long: a line is wanted when the file was met */
    }
    data_progress_step(&c->progress, i + 1);
    return ok;
}

static void tell_damaged(void *context, const char *path, const char *why)
{
    DataJob *job = context;
    size_t length = strlen(path);
    job->damaged++;
    /* It is printed before the reason anyway. */
    why = error_without(path, why);
    if (!strncmp(why, path, length) && !strncmp(why + length, " is ", 4))
        why += length + 4;
    print_bad(job->json, path, why);
    fflush(stdout);
}

int data_check(const DataJob *job)
{
    Check c = {.job = job, .progress = data_progress(job), .key = memory_new(SOURCE_KEY_SIZE, 1)};
    bool ok = c.key && source_survey(job->source, job->threads, false, check_picture, &c);
    data_progress_clear(&c.progress);
    memory_free(c.key);
    if (!ok)
        return cli_failed();
    fflush(stdout);
    size_t count = source_count(job->source);
    const char *plural = count == 1 ? "" : "s";
    if (c.bad)
        fprintf(stderr, "%zu of %zu picture%s cannot be read\n", c.bad, count, plural);
    else
        fprintf(stderr, "%zu picture%s, all good\n", count, plural);
    if (source_left_out(job->source, NULL))
        fprintf(stderr, "%s\n", source_left_out(job->source, NULL));
    if (job->damaged)
        fprintf(stderr, "%zu damaged shard%s left out\n", job->damaged, job->damaged == 1 ? " is" : "s are");
    return c.bad || job->damaged ? EXIT_FAILED : EXIT_DONE;
}

/* ---- the verbs */

static int run_data(void *options, const Arguments *arguments, int (*look)(const DataJob *job))
{
    DataJob *job = options;
    SourceOptions how = {.damaged = look == data_check ? tell_damaged : NULL, .context = job};
    job->where = arguments->words[0];
    job->threads = job->threads ? job->threads : cpu_count();
    job->source = source_open(job->where, &how);
    if (!job->source)
        return cli_failed();
    int code = look(job);
    source_close(job->source);
    return code;
}

static int run_check(void *options, const Arguments *arguments)
{
    return run_data(options, arguments, data_check);
}

static int run_stats(void *options, const Arguments *arguments)
{
    return run_data(options, arguments, data_stats);
}

#define AT(field) offsetof(DataJob, field)
#define THREADS                                                                                                           \
    {                                                                                                                     \
        "threads", OPTION_INT, AT(threads),                                                                               \
            .value = "N", .help = "threads (default: as many as processors); the output does not depend on it", .low = 1, \
            .high = 1024                                                                                                  \
    }

static const Option CHECK_OPTIONS[] = {
    THREADS, {"json", OPTION_SWITCH, AT(json), .help = "one JSON object a line for each bad file"}, {0}};
static const Option STATS_OPTIONS[] = {THREADS, {"json", OPTION_SWITCH, AT(json), .help = "one JSON object"}, {0}};

const Verb data_check_verb = {
    .name = "data check",
    .line = "name every picture that cannot be read, and why",
    .operands = "DIR",
    .least = 1,
    .most = 1,
    .wanted = {"the pictures: a folder, a list, shards, CIFAR's files or `world`"},
    .about =
        "Decodes every picture and prints a line for each that cannot be read: its name, and why. Exits with 0 if all are good "
        "and with 1 if some are not. DIR is a folder of pictures, a list (.csv), tar shards, CIFAR's binary files, or `world`. "
        "Suffixes count in any case; the content decides. Files of a folder with suffixes of other kinds of pictures (.gif, "
        ".bmp, .heic, ..) are counted and not read.",
    .options = CHECK_OPTIONS,
    .examples = "lacuna data check photos/\n",
    .size = sizeof(DataJob),
    .run = run_check};

const Verb data_stats_verb = {
    .name = "data stats",
    .line = "tell what pictures there are: sizes, formats, duplicates",
    .operands = "DIR",
    .least = 1,
    .most = 1,
    .wanted = {"the pictures: a folder, a list, shards, CIFAR's files or `world`"},
    .about = "Tells how many pictures there are, how large, in which formats, which show the same, which show next to nothing, "
             "which are not what their suffix says, and the mean and deviation of the pixels. DIR is as in `lacuna data "
             "check`.",
    .options = STATS_OPTIONS,
    .examples = "lacuna data stats photos/\n"
                "lacuna data stats photos/ --json\n",
    .size = sizeof(DataJob),
    .run = run_stats};
