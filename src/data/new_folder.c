#include "data/new_folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

/* Takes an empty folder away at once, so that one that cannot be replaced, such as a mounted one, is told of before the work.
 */
static bool make_room(const char *out)
{
    struct stat info;
    if (lstat(out, &info) < 0)
        return true; /* what else may be wrong shows as the folder is made */
    if (!S_ISDIR(info.st_mode))
        return error_set("%s is there already; give a folder that is not", out);
    if (rmdir(out) == 0)
        return true;
    return errno == ENOTEMPTY || errno == EEXIST
               ? error_set("the folder %s is not empty; give one that is, or that is not there", out)
               : error_set("the folder %s cannot be made anew: %s; give one that is not there", out, strerror(errno));
}

char *new_folder_begin(const char *out)
{
    Text name = {0};
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/')
        length--;
    text_add(&name, "%.*s.tmp", (int)length, out);
    bool ok = !name.failed && (length || error_set("a folder's name is wanted, and it is empty"));
    if (ok && file_exists(name.data))
        ok = error_set("%s is left from an earlier try, or another is under way; remove it first", name.data);
    if (ok && make_room(out) && file_make_folder(name.data))
        return name.data;
    text_free(&name);
    return NULL;
}

/* The folder above is flushed too, so that the new name is on the disk. */
static bool put_in_place(const char *folder, const char *out)
{
    char *above = memory_string(folder);
    bool ok = above && file_sync(folder);
    if (ok && rename(folder, out) < 0)
        ok = error_set("cannot rename %s to %s: %s", folder, out, strerror(errno));
    if (ok) {
        *(char *)file_name(above) = 0;
        ok = file_sync(*above ? above : ".");
    }
    memory_free(above);
    return ok;
}

bool new_folder_end(char *folder, const char *out, bool written)
{
    bool placed = written && put_in_place(folder, out);
    if (!placed) {
        char *why = memory_string(error_text());
        file_remove(folder);
        error_set("%s", why ? why : "out of memory");
        memory_free(why);
    }
    memory_free(folder);
    return placed;
}
