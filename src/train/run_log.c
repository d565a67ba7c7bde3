/* What grows in a run's directory: log.jsonl, TensorBoard's events, bad_files.csv. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/run_folder_parts.h"

enum { LINE_BYTES = 1 << 16, CSV_BYTES_MAX = 1 << 30 };

/* ---- log.jsonl */

void log_number(Text *text, double value)
{
    char digits[40];
    if (!isfinite(value)) {
        text_add(text, "null");
        return;
    }
    for (int precision = 6; precision <= 17; precision++) { /* with fewer digits 30 would be 3e+01 */
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

/* RUN/samples/step-N.png of steps that are about to be done again. */
static bool remove_samples(const RunFolder *f, int64_t step)
{
    char *folder = run_folder_inside(f, "samples");
    DIR *entries = folder ? opendir(folder) : NULL;
    bool ok = folder != NULL;
    for (struct dirent *entry; ok && entries && (entry = readdir(entries));) {
        long long at;
        if (sscanf(entry->d_name, "step-%lld.png", &at) != 1 || at <= step)
            continue;
        char *path = file_join(folder, entry->d_name);
        ok = path && file_remove(path);
        memory_free(path);
    }
    if (entries)
        closedir(entries);
    memory_free(folder);
    return ok;
}

/* TensorBoard finds its files by a part of the name, and wants a number behind it. */
static bool open_events(RunFolder *f, int64_t step)
{
    char *path = run_folder_inside(f, "events.out.tfevents.0000000000.lacuna");
    f->events = path ? events_open(path, step, clock_wall()) : -1;
    memory_free(path);
    return f->events >= 0;
}

static bool open_log(RunFolder *f, int64_t step)
{
    char *path = run_folder_inside(f, "log.jsonl"), *line = memory_new(LINE_BYTES, 1);
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

bool run_folder_open_log(RunFolder *f, int64_t step)
{
    if (f->log >= 0)
        close(f->log);
    if (f->events >= 0)
        close(f->events);
    f->log = f->events = -1;
    return open_log(f, step) && open_events(f, step) && remove_samples(f, step);
}

bool run_folder_log(RunFolder *f, const char *line)
{
    f->line.length = 0;
    text_add(&f->line, "%s\n", line);
    return (!f->line.failed && file_write_all(f->log, "log.jsonl", f->line.data, f->line.length)) ||
           error_context("%s", f->path);
}

bool run_folder_events(RunFolder *f, EventDraft *draft, int64_t step)
{
    return event_write(draft, f->events, "TensorBoard's events", clock_wall(), step) || error_context("%s", f->path);
}

bool run_folder_sync_log(RunFolder *f)
{
    if (f->bad >= 0 && fsync(f->bad) < 0)
        return error_set("cannot flush %s/bad_files.csv: %s", f->path, strerror(errno));
    if (f->log >= 0 && fsync(f->log) < 0)
        return error_set("cannot flush %s/log.jsonl: %s", f->path, strerror(errno));
    if (f->events >= 0 && fsync(f->events) < 0)
        return error_set("cannot flush TensorBoard's events in %s: %s", f->path, strerror(errno));
    return true;
}

/* ---- bad_files.csv */

/* The names of earlier sessions; a torn record at the end is cut off. */
static bool open_bad(RunFolder *f)
{
    static const char header[] = "file,reason\n";
    char *path = run_folder_inside(f, "bad_files.csv"), *text = NULL;
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
    char *path = run_folder_inside(f, "bad_files.csv");
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
