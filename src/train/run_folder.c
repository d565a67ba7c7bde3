/* A run's directory: the lock, recipe.yaml, environment.json, algorithms.json. */
#include "train/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "train/run_folder_parts.h"

char *run_folder_inside(const RunFolder *f, const char *name)
{
    return file_join(f->path, name);
}

/* ---- the folder and its lock */

/* Makes runs/NAME-N for the first N that nobody has. */
static bool make_default(RunFolder *f, const char *name)
{
    enum { RUNS_MOST = 1000000 };
    if (!file_make_folder("runs"))
        return false;
    for (int n = 1; n <= RUNS_MOST; n++) {
        Text path = {0};
        text_add(&path, "runs/%s-%d", name && name[0] ? name : "pretrain", n);
        if (path.failed)
            return false;
        f->path = path.data;
        if (mkdir(f->path, 0777) == 0) {
            f->made = true;
            return true;
        }
        if (errno != EEXIST)
            return error_set("cannot make the folder %s: %s", f->path, strerror(errno));
        memory_free(f->path);
        f->path = NULL;
    }
    return error_set("all names from runs/%s-1 to runs/%s-%d are taken; give another with --out", name, name, RUNS_MOST);
}

static bool make_given(RunFolder *f, const char *path)
{
    f->path = memory_string(path);
    if (!f->path)
        return false;
    f->made = !file_exists(path);
    return file_make_folder(path);
}

static bool lock_folder(RunFolder *f)
{
    char *path = run_folder_inside(f, ".lock");
    if (!path)
        return false;
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool ok = f->lock >= 0;
    if (!ok)
        error_set("cannot create %s: %s", path, strerror(errno));
    else if (flock(f->lock, LOCK_EX | LOCK_NB) < 0)
        ok = errno == EWOULDBLOCK ? error_set("the run %s is in use by another process: wait until it ends, or choose another "
                                              "folder with --out",
                                              f->path)
                                  : error_set("cannot lock %s: %s", path, strerror(errno));
    memory_free(path);
    return ok;
}

RunFolder *run_folder_open(const char *path, const char *name)
{
    RunFolder *f = memory_new(1, sizeof *f);
    if (!f)
        return NULL;
    f->lock = f->log = f->events = f->bad = -1;
    bool ok = (path ? make_given(f, path) : make_default(f, name)) && lock_folder(f);
    if (ok)
        return f;
    if (f->lock >= 0)
        close(f->lock);
    memory_free(f->path);
    memory_free(f);
    return NULL;
}

void run_folder_close(RunFolder *f)
{
    if (!f)
        return;
    if (f->made && !run_folder_holds_run(f)) {
        char *lock = run_folder_inside(f, ".lock");
        if (lock)
            unlink(lock);
        rmdir(f->path);
        memory_free(lock);
    }
    int descriptors[] = {f->log, f->events, f->bad, f->lock};
    for (int i = 0; i < 4; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    bad_names_free(&f->names);
    text_free(&f->line);
    memory_free(f->path);
    memory_free(f);
}

const char *run_folder_path(const RunFolder *f)
{
    return f->path;
}

static bool holds_run(const char *folder)
{
    static const char *const signs[] = {"recipe.yaml", "log.jsonl", "checkpoints"};
    bool holds = false;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        char *path = file_join(folder, signs[i]);
        holds = holds || (path && file_exists(path));
        memory_free(path);
    }
    return holds;
}

bool run_folder_holds_run(const RunFolder *f)
{
    return holds_run(f->path);
}

bool run_folder_is_new(const char *path)
{
    return !holds_run(path) ||
           error_set("%s already holds a run: add --resume to go on with it, or choose another folder with --out", path);
}

/* ---- recipe.yaml */

/* The name of the recipe that a run was begun with stands in a comment in front. */
static const char name_lead[] = "# recipe: ";

static bool is_plain(const char *name)
{
    for (; *name; name++)
        if (*name < ' ' || *name > '~')
            return false;
    return true;
}

static void read_name(const char *path, char *name)
{
    char line[sizeof name_lead - 1 + RECIPE_NAME_BYTES];
    FILE *file = fopen(path, "re");
    memset(name, 0, RECIPE_NAME_BYTES);
    if (file && fgets(line, sizeof line, file) && !strncmp(line, name_lead, sizeof name_lead - 1)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(name, RECIPE_NAME_BYTES, "%s", line + sizeof name_lead - 1);
    }
    if (file)
        fclose(file);
}

bool run_folder_write_recipe(RunFolder *f, const Recipe *recipe)
{
    Text yaml = {0};
    char *path = run_folder_inside(f, "recipe.yaml");
    if (recipe->name[0] && is_plain(recipe->name))
        text_add(&yaml, "%s%s\n", name_lead, recipe->name);
    recipe_write(recipe, &yaml);
    bool ok = path && !yaml.failed && file_write(path, yaml.data, yaml.length) && file_sync(f->path);
    memory_free(path);
    text_free(&yaml);
    return ok;
}

bool run_folder_read_recipe(const char *run, Recipe *recipe, bool *found)
{
    char *path = file_join(run, "recipe.yaml");
    *found = path && file_exists(path);
    bool ok = *found && recipe_load(recipe, path);
    if (ok)
        read_name(path, recipe->name);
    memory_free(path);
    return ok;
}

/* ---- environment.json */

static void add_word(Text *out, const char *key, const char *value)
{
    text_add(out, ",\n  \"%s\": ", key);
    text_add_json_string(out, value);
}

bool run_folder_write_environment(RunFolder *f, const Device *device, const RunDevices *devices)
{
    Text out = {0};
    struct utsname system;
    char model[SYSTEM_PROCESSOR_BYTES];
    char *path = run_folder_inside(f, "environment.json");
    text_add(&out, "{\n  \"lacuna\": \"%s\"", LACUNA_VERSION);
    add_word(&out, "device", device_describe(device));
    if (devices) {
        text_add(&out, ",\n  \"devices\": %d", devices->count);
        add_word(&out, "gradients", devices->gradients);
        add_word(&out, "pictures", devices->pictures);
    }
    system_processor(model);
    add_word(&out, "processor", model);
    text_add(&out, ",\n  \"processors\": %d", cpu_count());
    if (uname(&system) == 0) {
        add_word(&out, "system", system.sysname);
        add_word(&out, "release", system.release);
        add_word(&out, "machine", system.machine);
    }
    text_add(&out, "\n}\n");
    bool ok = path && !out.failed && file_write(path, out.data, out.length);
    memory_free(path);
    text_free(&out);
    return ok;
}

/* ---- algorithms.json */

static const char algorithms_name[] = "algorithms.json";

bool run_folder_write_algorithms(RunFolder *f, const Device *device)
{
    size_t timed = device_timed(device);
    Text out = {0};
    if (timed == f->timed)
        return true;
    char *path = run_folder_inside(f, algorithms_name);
    device_write_timed(device, &out);
    bool ok = path && !out.failed && file_write(path, out.data, out.length);
    if (ok)
        f->timed = timed;
    memory_free(path);
    text_free(&out);
    return ok;
}

bool run_folder_read_algorithms(RunFolder *f, Device *device, bool *fits)
{
    size_t size;
    char *path = run_folder_inside(f, algorithms_name), *json = NULL;
    bool ok = path != NULL;
    *fits = true;
    if (ok && file_exists(path)) {
        ok = (json = file_read(path, 0, &size)) != NULL &&
             (device_read_timed(device, json, fits) || error_context("%s (without it algorithms are timed anew)", path));
        f->timed = ok ? device_timed(device) : 0;
    }
    memory_free(json);
    memory_free(path);
    return ok;
}
