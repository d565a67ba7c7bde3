#include "train/run_summary.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/run_folder.h"

bool run_summary_is_run(const char *path)
{
    char *recipe = file_join(path, "recipe.yaml");
    bool is = recipe && file_exists(recipe);
    memory_free(recipe);
    return is;
}

const char *run_summary_state(RunState state)
{
    static const char *const names[] = {"active", "finished", "stopped", "empty"};
    return names[state];
}

static bool is_locked(const char *path)
{
    char *lock = file_join(path, ".lock");
    int descriptor = lock ? open(lock, O_RDONLY | O_CLOEXEC) : -1;
    bool locked = descriptor >= 0 && flock(descriptor, LOCK_SH | LOCK_NB) != 0;
    if (descriptor >= 0)
        close(descriptor);
    memory_free(lock);
    return locked;
}

static void read_losses(const json_t *line, const char *key, double *total, double *each)
{
    char name[64];
    *total = json_number_value(json_object_get(line, key));
    for (int k = 0; k < RECIPE_DECODERS_MAX; k++) {
        snprintf(name, sizeof name, "%s.%d", key, k);
        each[k] = json_number_value(json_object_get(line, name));
    }
}

static double read_accuracy(const json_t *line, const char *key)
{
    const json_t *number = json_object_get(line, key);
    return json_is_number(number) ? json_number_value(number) : (double)NAN;
}

static void read_line(const json_t *line, RunSummary *s)
{
    json_int_t step = json_integer_value(json_object_get(line, "step"));
    if (step <= 0)
        return;
    s->step = step;
    s->epoch = json_number_value(json_object_get(line, "epoch"));
    s->seconds += json_number_value(json_object_get(line, "seconds"));
    s->images_per_second = json_number_value(json_object_get(line, "images_per_second"));
    read_losses(line, "loss", &s->loss, s->losses);
    s->accuracy = read_accuracy(line, "accuracy");
    if (json_object_get(line, "val_loss")) {
        s->val_step = step;
        read_losses(line, "val_loss", &s->val_loss, s->val_losses);
        s->val_accuracy = read_accuracy(line, "val_accuracy");
    }
}

/* A run that has not begun has no log. */
static bool read_log(const char *path, RunSummary *s)
{
    char *name = file_join(path, "log.jsonl"), *line = NULL;
    size_t room = 0;
    FILE *file = name ? fopen(name, "re") : NULL;
    struct stat about;
    bool ok = name != NULL;
    if (file && fstat(fileno(file), &about) == 0)
        s->changed = about.st_mtime;
    while (file && getline(&line, &room, file) > 0) {
        json_t *json = json_loads(line, 0, NULL);
        if (json_is_object(json))
            read_line(json, s);
        json_decref(json);
    }
    if (file && ferror(file))
        ok = error_set("%s cannot be read", name);
    if (file)
        fclose(file);
    free(line);
    memory_free(name);
    return ok;
}

bool run_summary_read(const char *path, RunSummary *s)
{
    memset(s, 0, sizeof *s);
    s->accuracy = s->val_accuracy = (double)NAN;
    bool found;
    if (!run_folder_read_recipe(path, &s->recipe, &found))
        return found ? false : error_set("there is no run at %s: it has no recipe.yaml", path);
    if (!read_log(path, s))
        return false;
    if (s->step && s->epoch > 0) /* a line's epoch is its step by the steps of an epoch */
        s->steps = (int64_t)nearbyint((double)s->step / s->epoch) * s->recipe.schedule.epochs;
    s->state = is_locked(path)                       ? RUN_ACTIVE
               : s->step == 0                        ? RUN_EMPTY
               : s->steps > 0 && s->step >= s->steps ? RUN_FINISHED
                                                     : RUN_STOPPED;
    return true;
}
