/* lacuna runs: a table of the runs in a folder. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "train/run_summary.h"

typedef struct {
    bool json;
} Job;

typedef struct {
    char **names;
    size_t count, capacity;
} Names;

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The runs directly below the folder, sorted by name. */
static bool list_runs(const char *folder, Names *names)
{
    DIR *entries = opendir(folder);
    if (!entries)
        return error_set("cannot open %s: %s; `lacuna pretrain` puts runs into runs/ unless told otherwise", folder,
                         strerror(errno));
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(entries));) {
        char *path = entry->d_name[0] == '.' ? NULL : file_join(folder, entry->d_name);
        if (path && run_summary_is_run(path)) {
            ok = memory_grow((void **)&names->names, names->count, &names->capacity, sizeof *names->names);
            if (ok && (ok = (names->names[names->count] = memory_string(entry->d_name)) != NULL))
                names->count++;
        }
        memory_free(path);
    }
    closedir(entries);
    if (names->count)
        qsort(names->names, names->count, sizeof *names->names, by_name);
    return ok;
}

static void format_time(time_t when, char *out, size_t size)
{
    struct tm parts;
    out[0] = 0;
    if (when && localtime_r(&when, &parts))
        strftime(out, size, "%Y-%m-%d %H:%M", &parts);
}

static void add_number(Text *t, bool known, double x)
{
    if (known)
        text_add(t, "%.9g", x);
    else
        text_add(t, "null");
}

static void print_json(const char *name, const RunSummary *s)
{
    Text t = {0};
    text_add(&t, "{\"run\": ");
    text_add_json_string(&t, name);
    text_add(&t, ", \"recipe\": ");
    text_add_json_string(&t, s->recipe.name);
    text_add(&t, ", \"state\": \"%s\", \"step\": %lld, \"steps\": %lld, \"loss\": ", run_summary_state(s->state),
             (long long)s->step, (long long)s->steps);
    add_number(&t, s->step > 0, s->loss);
    text_add(&t, ", \"val_loss\": ");
    add_number(&t, s->val_step > 0, s->val_loss);
    text_add(&t, ", \"changed\": %lld}\n", (long long)s->changed);
    if (!t.failed)
        fputs(t.data, stdout);
    text_free(&t);
}

static void print_row(const char *name, int width, const RunSummary *s)
{
    char step[64] = "-", loss[32] = "-", val[32] = "-", when[32];
    if (s->step)
        snprintf(step, sizeof step, "%lld/%lld", (long long)s->step, (long long)s->steps);
    if (s->step)
        snprintf(loss, sizeof loss, "%.4f", s->loss);
    if (s->val_step)
        snprintf(val, sizeof val, "%.4f", s->val_loss);
    format_time(s->changed, when, sizeof when);
    printf("%-*s  %-24s  %-8s  %16s  %8s  %8s  %s\n", width, name, s->recipe.name[0] ? s->recipe.name : "-",
           run_summary_state(s->state), step, loss, val, when);
}

static int run_runs(void *options, const Arguments *arguments)
{
    bool json = ((const Job *)options)->json;
    const char *folder = arguments->count ? arguments->words[0] : "runs";
    Names names = {0};
    RunSummary *s = memory_new(1, sizeof *s);
    bool ok = s && list_runs(folder, &names);
    int width = 3, code = EXIT_DONE;
    for (size_t i = 0; i < names.count; i++)
        width = (int)strlen(names.names[i]) > width ? (int)strlen(names.names[i]) : width;
    if (ok && names.count == 0)
        ok = error_set("there is no run in %s", folder);
    if (ok && !json)
        printf("%-*s  %-24s  %-8s  %16s  %8s  %8s  %s\n", width, "run", "recipe", "state", "step", "loss", "val loss",
               "last change");
    for (size_t i = 0; ok && i < names.count; i++) {
        char *path = file_join(folder, names.names[i]);
        if (!path || !run_summary_read(path, s)) /* the others are still of interest */
            code = cli_failed();
        else if (json)
            print_json(names.names[i], s);
        else
            print_row(names.names[i], width, s);
        memory_free(path);
    }
    for (size_t i = 0; i < names.count; i++)
        memory_free(names.names[i]);
    memory_free(names.names);
    memory_free(s);
    return ok ? code : cli_failed();
}

static const Option OPTIONS[] = {{"json", OPTION_SWITCH, offsetof(Job, json), .help = "one JSON object a line for each run"},
                                 {0}};

const Verb runs_verb = {.name = "runs",
                        .line = "list the runs in a folder: state, step, losses",
                        .operands = "[DIR]",
                        .most = 1,
                        .about =
                            "Prints a line for each run directory in DIR (default: runs): its recipe, whether it is active, "
                            "finished or stopped, steps done of those of its schedule, the last loss and validation loss, and "
                            "when its log was last written to.",
                        .options = OPTIONS,
                        .examples = "lacuna runs\n"
                                    "lacuna runs runs/ --json\n",
                        .size = sizeof(Job),
                        .run = run_runs};
