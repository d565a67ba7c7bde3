#include "train/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

enum { LINE_BYTES = 1 << 16, CSV_BYTES_MAX = 1 << 30 };

struct RunFolder {
    char *path;
    int lock;       /* descriptor; -1: not locked */
    bool made;      /* the folder was not there before */
    int log;        /* descriptor of log.jsonl; -1: not open */
    int bad;        /* of bad_files.csv */
    Text line;      /* of the log; its memory is kept from line to line */
    BadNames names; /* that bad_files.csv holds */
};

static char *inside(const RunFolder *f, const char *name)
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
    char *path = inside(f, ".lock");
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
    f->lock = f->log = f->bad = -1;
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
        char *lock = inside(f, ".lock");
        if (lock)
            unlink(lock);
        rmdir(f->path);
        memory_free(lock);
    }
    int descriptors[] = {f->log, f->bad, f->lock};
    for (int i = 0; i < 3; i++)
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

bool run_folder_holds_run(const RunFolder *f)
{
    static const char *const signs[] = {"recipe.yaml", "log.jsonl", "checkpoints"};
    bool holds = false;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        char *path = inside(f, signs[i]);
        holds = holds || (path && file_exists(path));
        memory_free(path);
    }
    return holds;
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
    char *path = inside(f, "recipe.yaml");
    if (recipe->name[0] && is_plain(recipe->name))
        text_add(&yaml, "%s%s\n", name_lead, recipe->name);
    recipe_write(recipe, &yaml);
    bool ok = path && !yaml.failed && file_write(path, yaml.data, yaml.length) && file_sync(f->path);
    memory_free(path);
    text_free(&yaml);
    return ok;
}

bool run_folder_read_recipe(const RunFolder *f, Recipe *recipe, bool *found)
{
    char *path = inside(f, "recipe.yaml");
    *found = path && file_exists(path);
    bool ok = *found && recipe_load(recipe, path);
    if (ok)
        read_name(path, recipe->name);
    memory_free(path);
    return ok;
}

/* ---- log.jsonl */

void log_number(Text *text, double value)
{
    char digits[40];
    if (!isfinite(value)) {
        text_add(text, "null");
        return;
    }
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    text_add(text, "%s", digits);
}

/* Where the lines up to `step` end. Lines are looked at one by one: the log of a long run is larger than memory should be
 * spent on. */
static bool find_cut(FILE *file, int64_t step, char *line, off_t *cut)
{
    static const char lead[] = "{\"step\":";
    *cut = 0;
    while (fgets(line, LINE_BYTES, file)) {
        size_t length = strlen(line);
        if (!length || line[length - 1] != '\n' || strncmp(line, lead, sizeof lead - 1))
            break;
        char *end;
        long long at = strtoll(line + sizeof lead - 1, &end, 10);
        if (end == line + sizeof lead - 1 || at > step || length < 3 || line[length - 2] != '}')
            break;
        *cut += (off_t)length;
    }
    return !ferror(file);
}

bool run_folder_open_log(RunFolder *f, int64_t step)
{
    char *path = inside(f, "log.jsonl"), *line = memory_new(LINE_BYTES, 1);
    FILE *file = NULL;
    off_t cut = 0;
    bool ok = path && line;
    if (ok && file_exists(path)) {
        file = fopen(path, "re");
        ok = file && find_cut(file, step, line, &cut);
        if (!ok)
            error_set("cannot read %s: %s", path, strerror(errno));
    }
    if (file)
        fclose(file);
    if (ok) {
        f->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (f->log < 0)
            ok = error_set("cannot open %s: %s", path, strerror(errno));
        else if (ftruncate(f->log, cut) < 0)
            ok = error_set("cannot shorten %s: %s", path, strerror(errno));
    }
    memory_free(line);
    memory_free(path);
    return ok;
}

bool run_folder_log(RunFolder *f, const char *line)
{
    f->line.length = 0;
    text_add(&f->line, "%s\n", line);
    return (!f->line.failed && file_write_all(f->log, "log.jsonl", f->line.data, f->line.length)) ||
           error_context("%s", f->path);
}

bool run_folder_sync_log(RunFolder *f)
{
    if (f->bad >= 0 && fsync(f->bad) < 0)
        return error_set("cannot flush %s/bad_files.csv: %s", f->path, strerror(errno));
    return f->log < 0 || fsync(f->log) == 0 || error_set("cannot flush %s/log.jsonl: %s", f->path, strerror(errno));
}

/* ---- bad_files.csv */

/* The names of earlier sessions; a torn record at the end is cut off. */
static bool open_bad(RunFolder *f)
{
    static const char header[] = "file,reason\n";
    char *path = inside(f, "bad_files.csv"), *text = NULL;
    size_t size = 0, cut = 0;
    bool ok = path != NULL;
    if (ok && file_exists(path)) {
        ok = (text = file_read(path, CSV_BYTES_MAX, &size)) != NULL;
        ok = ok && bad_names_parse(&f->names, text, &cut);
    }
    if (ok) {
        f->bad = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (f->bad < 0 || ftruncate(f->bad, (off_t)cut) < 0)
            ok = error_set("cannot write %s: %s", path, strerror(errno));
    }
    if (ok && cut == 0)
        ok = file_write_all(f->bad, path, header, sizeof header - 1);
    memory_free(text);
    memory_free(path);
    return ok;
}

bool run_folder_bad_names(RunFolder *f, const BadNames **names)
{
    char *path = inside(f, "bad_files.csv");
    bool ok = path && (f->bad >= 0 || !file_exists(path) || open_bad(f));
    memory_free(path);
    *names = &f->names;
    return ok;
}

static void add_field(Text *out, const char *field)
{
    if (!strpbrk(field, ",\"\r\n")) {
        text_add(out, "%s", field);
        return;
    }
    text_add(out, "\"");
    for (; *field; field++) {
        if (*field == '"')
            text_add(out, "\"");
        text_add_bytes(out, field, 1);
    }
    text_add(out, "\"");
}

bool run_folder_bad(RunFolder *f, const char *key, const char *reason)
{
    Text line = {0};
    if (f->bad < 0 && !open_bad(f))
        return false;
    if (bad_names_hold(&f->names, key))
        return true;
    add_field(&line, key);
    text_add(&line, ",");
    add_field(&line, reason);
    text_add(&line, "\n");
    bool ok = !line.failed && file_write_all(f->bad, "bad_files.csv", line.data, line.length) && bad_names_add(&f->names, key);
    text_free(&line);
    return ok || error_context("%s", f->path);
}
