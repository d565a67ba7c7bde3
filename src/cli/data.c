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

void data_print_safely(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

/* ---- check */

typedef struct {
    const DataJob *job;
    DataProgress progress;
    size_t bad;
    char *key;
} Check;

static bool print_bad(const Check *c, const char *why)
{
    if (!c->job->json) {
        data_print_safely(c->key);
        printf(": ");
        data_print_safely(why);
        putchar('\n');
        return true;
    }
    Text line = {0};
    text_add(&line, "{\"key\": ");
    text_add_json_string(&line, c->key);
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
        ok = print_bad(c, facts->why);
        fflush(stdout); /* a survey of millions takes long: a line is wanted when the file was met */
    }
    data_progress_step(&c->progress, i + 1);
    return ok;
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
    if (c.bad)
        fprintf(stderr, "%zu of %zu picture%s cannot be read\n", c.bad, count, count == 1 ? "" : "s");
    else
        fprintf(stderr, "%zu picture%s, all good\n", count, count == 1 ? "" : "s");
    return c.bad ? EXIT_FAILED : EXIT_DONE;
}

/* ---- the command */

static bool read_arguments(DataJob *job, int argc, char **argv)
{
    static const char *const FLAGS[] = {"threads", "json", "help", NULL};
    ArgReader args = arg_reader(argc, argv);
    for (ArgKind kind; (kind = arg_next(&args)) != ARG_END;) {
        bool ok = true;
        if (kind != ARG_FLAG && !job->what)
            job->what = args.text;
        else if (kind != ARG_FLAG && !job->where)
            job->where = args.text;
        else if (kind == ARG_FLAG && arg_is(&args, "threads"))
            ok = arg_int(&args, 1, 1024, &job->threads);
        else if (kind == ARG_FLAG && arg_is(&args, "json"))
            ok = arg_switch(&args, &job->json);
        else
            ok = arg_unknown(&args, FLAGS);
        if (!ok)
            return false;
    }
    if (!job->what)
        return error_set("data wants to be told what to do: check or stats");
    if (strcmp(job->what, "check") != 0 && strcmp(job->what, "stats") != 0)
        return error_set("data does not know '%s': check or stats", job->what);
    if (!job->where)
        return error_set("data %s wants the pictures: a folder, CIFAR's files or `world`", job->what);
    return true;
}

int command_data(int argc, char **argv)
{
    DataJob job = {.threads = cpu_count()};
    if (!read_arguments(&job, argc, argv))
        return cli_usage("data");
    job.source = source_open(job.where, NULL);
    if (!job.source)
        return cli_failed();
    int code = !strcmp(job.what, "check") ? data_check(&job) : data_stats(&job);
    source_close(job.source);
    return code;
}
