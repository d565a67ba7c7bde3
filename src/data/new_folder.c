#include "data/new_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

static const char aside[] = ".tmp";

/* The folder above a path that does not end in a slash, to be freed; NULL when out of memory. */
static char *folder_above(const char *path)
{
    Text t = {0};
    size_t length = (size_t)(file_name(path) - path);
    if (length)
        text_add(&t, "%.*s", (int)length, path);
    else
        text_add(&t, ".");
    if (t.failed)
        text_free(&t);
    return t.data;
}

static bool cannot_replace(const char *out, int number)
{
    return error_set("%s is an empty folder, which has to be replaced and cannot be: %s; give a name that is not there, in a "
                     "folder you can write to",
                     out, strerror(number));
}

/* Whether the folder, which is there, is empty and its own place can be another's. */
static bool can_be_replaced(const char *out, const char *above, const struct stat *info)
{
    struct stat around;
    DIR *folder = opendir(out);
    if (!folder)
        return error_set("cannot look into the folder %s: %s", out, strerror(errno));
    bool empty = true;
    for (struct dirent *entry; empty && (entry = readdir(folder));)
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    closedir(folder);
    if (!empty)
        return error_set("the folder %s is not empty; give one that is, or that is not there", out);
    if (stat(above, &around) < 0)
        return error_set("cannot look at %s: %s", above, strerror(errno));
    /* Else it is known at the end, when OUT.tmp is written. */
    return around.st_dev == info->st_dev || cannot_replace(out, EBUSY);
}

/* Makes `folder`, which nobody else has made, beside `out`. */
static bool make(const char *folder, const char *out)
{
    struct stat info;
    char *above = folder_above(out);
    bool ok = above != NULL, there = ok && lstat(out, &info) == 0;
    if (there)
        ok = S_ISDIR(info.st_mode) ? can_be_replaced(out, above, &info)
                                   : error_set("%s is there already; give a folder that is not", out);
    else if (ok && errno != ENOENT)
        ok = error_set("cannot look at %s: %s", out, strerror(errno));
    ok = ok && file_make_folder(above);
    if (ok && mkdir(folder, 0777) < 0) {
        if (errno == EEXIST)
            ok = error_set(
                "%s is in the way: left from an earlier try, or another is under way, or it is yours; look, and remove it or "
                "give another name",
                folder);
        else
            ok = there ? cannot_replace(out, errno) : error_set("cannot make the folder %s: %s", folder, strerror(errno));
    }
    memory_free(above);
    return ok;
}

char *new_folder_begin(const char *out)
{
    Text place = {0}, folder = {0};
    size_t length = strlen(out);
    while (length && out[length - 1] == '/')
        length--;
    text_add(&place, "%.*s", (int)length, out);
    text_add(&folder, "%.*s%s", (int)length, out, aside);
    bool ok = !place.failed && !folder.failed;
    const char *name = ok ? file_name(place.data) : "";
    if (ok && (!*name || !strcmp(name, ".") || !strcmp(name, "..")))
        ok = error_set("'%s' cannot be made as a new folder: give a folder with a name of its own", out);
    ok = ok && make(folder.data, place.data);
    text_free(&place);
    if (!ok)
        text_free(&folder);
    return folder.data;
}

/* Flushes all that lies in the folder, with what else waits to be written to that disk. */
static bool flush(const char *folder)
{
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = descriptor >= 0 && syncfs(descriptor) == 0;
    if (!ok)
        error_set("%s is written and cannot be flushed to the disk: %s; look whether it is whole, and rename it yourself",
                  folder, strerror(errno));
    if (descriptor >= 0)
        close(descriptor);
    return ok;
}

static bool put_in_place(const char *folder)
{
    Text out = {0};
    text_add(&out, "%.*s", (int)(strlen(folder) - strlen(aside)), folder);
    bool ok = out.failed ? error_context("all of it is written and lies in %s, which is to be renamed", folder) : flush(folder);
    if (ok && rename(folder, out.data) < 0)
        ok = error_set("all of it is written and lies in %s, which cannot be renamed to %s: %s; rename it yourself", folder,
                       out.data, strerror(errno));
    char *above = ok ? folder_above(out.data) : NULL;
    /* It is there: should this fail, only a power cut in the next seconds can take the name back. */
    if (ok && (!above || !file_sync(above)))
        error_clear();
    memory_free(above);
    text_free(&out);
    return ok;
}

static void take_away(const char *folder)
{
    char *why = memory_string(error_text());
    if (file_remove(folder))
        error_set("%s", why ? why : "out of memory");
    else
        error_context("%s; what was written is not removed", why ? why : "out of memory");
    memory_free(why);
}

bool new_folder_end(char *folder, bool written)
{
    if (!written)
        take_away(folder);
    bool placed = written && put_in_place(folder);
    memory_free(folder);
    return placed;
}
