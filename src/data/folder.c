/* A folder of pictures, flat or in one subfolder per class. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/kinds.h"
#include "data/listing.h"

typedef struct {
    Listing listing;
    int32_t *labels; /* NULL: not labelled */
} Folder;

static const char *name_of(const Folder *folder, size_t i)
{
    return folder->listing.text + folder->listing.names[i];
}

static void folder_close(void *self)
{
    Folder *folder = self;
    listing_free(&folder->listing);
    memory_free(folder->labels);
    memory_free(folder);
}

static void folder_key(const Source *source, size_t i, char *room, size_t size)
{
    snprintf(room, size, "%s", name_of(source->self, i));
}

static int folder_label(const Source *source, size_t i)
{
    const Folder *folder = source->self;
    return folder->labels ? folder->labels[i] : -1;
}

static bool folder_file(const Source *source, size_t i, char **bytes, size_t *size)
{
    return picture_file_bytes(source->where, name_of(source->self, i), bytes, size);
}

static bool folder_picture(const Source *source, size_t i, int channels, Image *out)
{
    return picture_file_read(source->where, name_of(source->self, i), channels, out);
}

static bool folder_fingerprint(const Source *source, const uint64_t *samples, size_t count, uint64_t *hash)
{
    *hash = hash_bytes(HASH_START, source->where, strlen(source->where) + 1);
    for (size_t s = 0; s < count; s++)
        if (!picture_file_hash(source->where, name_of(source->self, samples[s]), hash))
            return false;
    return true;
}

static const SourceKind folder_kind = {folder_close,   folder_key,         folder_label, NULL,
                                       folder_picture, folder_fingerprint, folder_file};

static int compare_classes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Classes are the first-level subfolders that pictures lie in; those of one class follow each other in the listing, though the
 * classes may come in another order ("a b/" is sorted before "a/"). */
static bool label(Source *source, Folder *folder)
{
    size_t count = folder->listing.count, capacity = 0;
    char **names = NULL;
    int classes = 0;
    bool ok = false;
    for (size_t i = 0; i < count; i++)
        if (!strchr(name_of(folder, i), '/'))
            return true; /* a picture outside: no classes */
    folder->labels = memory_new(count, sizeof *folder->labels);
    if (!folder->labels)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *name = name_of(folder, i);
        size_t n = (size_t)(strchr(name, '/') - name);
        if (classes && strlen(names[classes - 1]) == n && !memcmp(names[classes - 1], name, n))
            continue;
        if (!memory_grow((void **)&names, (size_t)classes, &capacity, sizeof *names) ||
            !(names[classes] = memory_new(n + 1, 1)))
            goto done;
        memcpy(names[classes++], name, n);
    }
    if (classes > 1)
        qsort(names, (size_t)classes, sizeof *names, compare_classes);
    for (size_t i = 0; i < count; i++) {
        const char *name = name_of(folder, i);
        size_t n = (size_t)(strchr(name, '/') - name);
        if (i && !strncmp(name, name_of(folder, i - 1), n + 1)) {
            folder->labels[i] = folder->labels[i - 1];
            continue;
        }
        int low = 0, high = classes - 1;
        while (low < high) {
            int middle = (low + high) / 2, order = strncmp(names[middle], name, n);
            if (order > 0 || (order == 0 && strlen(names[middle]) >= n))
                high = middle;
            else
                low = middle + 1;
        }
        folder->labels[i] = low;
    }
    ok = true;
done:
    source->class_names = names;
    source->class_count = classes;
    return ok;
}

bool folder_open(Source *source)
{
    Folder *folder = memory_new(1, sizeof *folder);
    if (!folder)
        return false;
    source->self = folder;
    source->kind = &folder_kind;
    const char *where = source->where;
    char *stored = source->no_cache ? NULL : cache_path("listing", hash_bytes(HASH_START, where, strlen(where)));
    bool ok = listing_make(&folder->listing, where, stored);
    memory_free(stored);
    if (!ok)
        return false;
    source->count = folder->listing.count;
    if (source->count == 0 && shards_in_folder(where)) {
        folder_close(folder);
        source->self = NULL;
        source->kind = NULL;
        return shards_open(source);
    }
    listing_tell_foreign(&folder->listing, &source->left_out);
    source->left_out_count = folder->listing.foreign;
    if (source->left_out.failed)
        return false;
    if (source->count == 0)
        return error_set("no pictures at %s: neither it nor the folders in it hold a .jpg, .jpeg, .jpe, .jfif, .png, .webp, "
                         ".tif or .tiff file%s%s",
                         where, source->left_out_count ? "; " : "", source->left_out_count ? source->left_out.data : "");
    if (!label(source, folder))
        return false;
    text_add(&source->summary, "%zu picture%s ", source->count, source->count == 1 ? "" : "s");
    if (source->class_count)
        text_add(&source->summary, "in %d class%s ", source->class_count, source->class_count == 1 ? "" : "es");
    text_add(&source->summary, "(folder %s)", where);
    return !source->summary.failed;
}
