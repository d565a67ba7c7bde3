#include "data/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/kinds.h"
#include "image/image.h"

/* Folders are given by file systems with clocks as coarse as this many seconds (FAT): a folder that changed this short a time
 * before it was read may change again without its time telling. */
enum { COARSEST_CLOCK = 2 };

/* Suffixes of pictures that the program does not read. */
static const char *const foreign[] = {".arw",  ".avif", ".bmp", ".cr2", ".cr3", ".dng", ".exr", ".gif", ".heic", ".heics",
                                      ".heif", ".hif",  ".ico", ".j2k", ".jp2", ".jxl", ".nef", ".orf", ".pbm",  ".pcx",
                                      ".pgm",  ".pnm",  ".ppm", ".psd", ".raf", ".rw2", ".svg", ".tga"};

enum { FOREIGN = sizeof foreign / sizeof *foreign };

/* The place of a name's suffix among them; -1: it is none. */
static int foreign_kind(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (int k = 0; dot && k < FOREIGN; k++)
        if (!strcasecmp(dot, foreign[k]))
            return k;
    return -1;
}

void listing_tell_foreign(const Listing *listing, Text *t)
{
    const char *before = ": ";
    bool one = listing->foreign == 1;
    if (!listing->foreign)
        return;
    text_add(t, "%llu file%s not read", (unsigned long long)listing->foreign, one ? " is" : "s are");
    for (int k = 0; k < FOREIGN; k++)
        if (listing->foreign_kinds >> k & 1) {
            text_add(t, "%s%s", before, foreign[k]);
            before = ", ";
        }
    text_add(t, one ? "; if it is wanted it has to be converted, to PNG for instance"
                    : "; those that are wanted have to be converted, to PNG for instance");
}

void listing_free(Listing *listing)
{
    memory_free(listing->text);
    memory_free(listing->names);
    memory_free(listing->folders);
    *listing = (Listing){0};
}

/* Appends a string to listing->text; its offset, or UINT64_MAX. */
static uint64_t add_text(Listing *listing, const char *string)
{
    size_t need = strlen(string) + 1, capacity = listing->text_capacity ? listing->text_capacity : 4096;
    while (capacity - listing->text_size < need)
        capacity *= 2;
    if (capacity != listing->text_capacity) {
        char *moved = memory_resize(listing->text, capacity, 1);
        if (!moved)
            return UINT64_MAX;
        listing->text = moved;
        listing->text_capacity = capacity;
    }
    uint64_t at = listing->text_size;
    memcpy(listing->text + at, string, need);
    listing->text_size += need;
    return at;
}

static bool was_read(const Listing *listing, const struct stat *info)
{
    for (size_t f = 0; f < listing->folder_count; f++)
        if (listing->folders[f].inode == (uint64_t)info->st_ino && listing->folders[f].device == (uint64_t)info->st_dev)
            return true;
    return false;
}

typedef struct {
    char *name;
    unsigned char type;
} Entry;

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const Entry *)a)->name, ((const Entry *)b)->name);
}

static bool read_folder(Listing *listing, const char *root, const char *below, int depth);

/* One entry of a folder: `below` is its path below the root, `path` the whole one. */
static bool read_entry(Listing *listing, const char *root, const char *below, const char *path, unsigned char type, int depth)
{
    struct stat info;
    bool folder = type == DT_DIR, file = type == DT_REG, link = type == DT_LNK;
    if (type == DT_UNKNOWN && lstat(path, &info) == 0) {
        folder = S_ISDIR(info.st_mode);
        file = S_ISREG(info.st_mode);
        link = S_ISLNK(info.st_mode);
    }
    /* A link to a folder is followed once and never into one that was read: links in a circle end, and however they are
     * entangled, a folder is read no more often than it is deep. A link that leads nowhere is no entry. */
    if (link && stat(path, &info) == 0) {
        folder = S_ISDIR(info.st_mode) && !was_read(listing, &info);
        file = S_ISREG(info.st_mode);
    }
    if (folder)
        return read_folder(listing, root, below, depth + 1);
    if (!file)
        return true;
    if (!image_suffix_format(below)) {
        int kind = foreign_kind(below);
        listing->foreign += kind >= 0;
        listing->foreign_kinds |= kind >= 0 ? UINT64_C(1) << kind : 0;
        return true;
    }
    if (!memory_grow((void **)&listing->names, listing->count, &listing->name_capacity, sizeof *listing->names))
        return false;
    uint64_t at = add_text(listing, below);
    if (at == UINT64_MAX)
        return false;
    listing->names[listing->count++] = at;
    return true;
}

static bool read_folder(Listing *listing, const char *root, const char *below, int depth)
{
    char *path = *below ? file_join(root, below) : memory_string(root);
    DIR *folder = NULL;
    Entry *entries = NULL;
    size_t count = 0, capacity = 0;
    struct stat info;
    bool ok = false, recipe = false, log = false;
    if (!path)
        return false;
    if (depth > 64) {
        error_set("%s: folders lie more than 64 deep in each other; give one further down", path);
        goto done;
    }
    folder = opendir(path);
    if (!folder || fstat(dirfd(folder), &info) < 0) {
        error_set("cannot list the folder %s: %s", path, strerror(errno));
        goto done;
    }
    if (!memory_grow((void **)&listing->folders, listing->folder_count, &listing->folder_capacity, sizeof *listing->folders))
        goto done;
    ListedFolder *listed = &listing->folders[listing->folder_count++];
    *listed = (ListedFolder){add_text(listing, below), (uint64_t)info.st_dev, (uint64_t)info.st_ino, info.st_mtim.tv_sec,
                             info.st_mtim.tv_nsec};
    if (listed->name == UINT64_MAX)
        goto done;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(folder)); errno = 0) {
        if (entry->d_name[0] == '.')
            continue;
        recipe = recipe || !strcmp(entry->d_name, "recipe.yaml");
        log = log || !strcmp(entry->d_name, "log.jsonl");
        if (entry->d_type == DT_REG && !image_suffix_format(entry->d_name) && foreign_kind(entry->d_name) < 0)
            continue;
        if (!memory_grow((void **)&entries, count, &capacity, sizeof *entries))
            goto done;
        entries[count].type = entry->d_type;
        if (!(entries[count].name = memory_string(entry->d_name)))
            goto done;
        count++;
    }
    if (errno) {
        error_set("cannot list the folder %s: %s", path, strerror(errno));
        goto done;
    }
    closedir(folder);
    folder = NULL;
    /* Sheets of a run that lies among its pictures are none of them. */
    if (recipe && log && *below) {
        ok = true;
        goto done;
    }
    /* In order of their names, so that which of two ways through links is taken is the same everywhere. */
    if (count)
        qsort(entries, count, sizeof *entries, compare_entries);
    for (size_t e = 0; e < count; e++) {
        char *inner = file_join(below, entries[e].name), *whole = file_join(path, entries[e].name);
        bool good = inner && whole && read_entry(listing, root, inner, whole, entries[e].type, depth);
        memory_free(inner);
        memory_free(whole);
        if (!good)
            goto done;
    }
    ok = true;
done:
    if (folder)
        closedir(folder);
    for (size_t e = 0; e < count; e++)
        memory_free(entries[e].name);
    memory_free(entries);
    memory_free(path);
    return ok;
}

static int compare_names(const void *a, const void *b, void *text)
{
    return strcmp((const char *)text + *(const uint64_t *)a, (const char *)text + *(const uint64_t *)b);
}

/* The file: this header, the root, what is not read, the folders, the names' offsets, the text. Of use to this machine only, so
 * the layout is the compiler's; a file that is damaged or of another layout fails the hash or the sizes. */
typedef struct {
    char magic[16];
    uint64_t hash; /* of all behind it */
    uint64_t root_size, text_size, count, folder_count;
} StoredHeader;

/* The number is raised when other files count as pictures, or as pictures that are not read: what was stored before lacks them,
 * or has too many. */
static const char magic[16] = "lacuna listing6";

static bool unchanged(const Listing *listing, const char *root)
{
    for (size_t f = 0; f < listing->folder_count; f++) {
        const ListedFolder *folder = &listing->folders[f];
        const char *below = listing->text + folder->name;
        char *path = *below ? file_join(root, below) : memory_string(root);
        struct stat info;
        bool same = path && stat(path, &info) == 0 && (uint64_t)info.st_dev == folder->device &&
                    (uint64_t)info.st_ino == folder->inode && info.st_mtim.tv_sec == folder->seconds &&
                    info.st_mtim.tv_nsec == folder->nanoseconds;
        memory_free(path);
        if (!same)
            return false;
    }
    return true;
}

/* Takes the listing from the file when it is whole and no folder has changed. */
bool listing_parse(Listing *listing, const char *root, const char *data, size_t size)
{
    size_t left, bytes;
    StoredHeader header;
    bool ok = false;
    *listing = (Listing){0};
    if (size < sizeof header)
        return false;
    memcpy(&header, data, sizeof header);
    const char *at = data + sizeof header;
    left = size - sizeof header;
    if (memcmp(header.magic, magic, sizeof magic) || hash_bytes(HASH_START, at, left) != header.hash)
        goto done;
    if (header.root_size != strlen(root) || header.root_size > left || memcmp(at, root, header.root_size))
        goto done;
    at += header.root_size;
    left -= header.root_size;
    if (left < 2 * sizeof(uint64_t))
        goto done;
    memcpy(&listing->foreign, at, sizeof(uint64_t));
    memcpy(&listing->foreign_kinds, at + sizeof(uint64_t), sizeof(uint64_t));
    at += 2 * sizeof(uint64_t);
    left -= 2 * sizeof(uint64_t);
    if (!size_multiply(header.folder_count, sizeof(ListedFolder), &bytes) || bytes > left)
        goto done;
    listing->folders = memory_new(header.folder_count, sizeof(ListedFolder));
    if (!listing->folders)
        goto done;
    memcpy(listing->folders, at, bytes);
    at += bytes;
    left -= bytes;
    if (!size_multiply(header.count, sizeof(uint64_t), &bytes) || bytes > left || left - bytes != header.text_size)
        goto done;
    listing->names = memory_new(header.count, sizeof(uint64_t));
    listing->text = memory_new(header.text_size + 1, 1);
    if (!listing->names || !listing->text)
        goto done;
    memcpy(listing->names, at, bytes);
    memcpy(listing->text, at + bytes, header.text_size);
    listing->text_size = listing->text_capacity = header.text_size;
    listing->count = listing->name_capacity = header.count;
    listing->folder_count = listing->folder_capacity = header.folder_count;
    for (size_t i = 0; i < listing->count; i++)
        if (listing->names[i] >= header.text_size)
            goto done;
    for (size_t f = 0; f < listing->folder_count; f++)
        if (listing->folders[f].name >= header.text_size)
            goto done;
    ok = listing->folder_count > 0;
done:
    if (!ok)
        listing_free(listing);
    return ok;
}

static bool take_stored(Listing *listing, const char *root, const char *stored)
{
    size_t size = 0;
    char *data = file_exists(stored) ? file_read(stored, 0, &size) : NULL;
    bool ok = data && listing_parse(listing, root, data, size) && unchanged(listing, root);
    memory_free(data);
    if (!ok)
        listing_free(listing);
    listing->stored = ok;
    return ok;
}

/* Best effort: without the file the next start reads the folders again. */
static void store(const Listing *listing, const char *root, const char *stored, time_t started)
{
    for (size_t f = 0; f < listing->folder_count; f++)
        if (listing->folders[f].seconds >= started - COARSEST_CLOCK)
            return;
    StoredHeader header = {.root_size = strlen(root),
                           .text_size = listing->text_size,
                           .count = listing->count,
                           .folder_count = listing->folder_count};
    memcpy(header.magic, magic, sizeof magic);
    Text t = {0};
    text_add_bytes(&t, &header, sizeof header);
    text_add_bytes(&t, root, header.root_size);
    text_add_bytes(&t, &listing->foreign, sizeof listing->foreign);
    text_add_bytes(&t, &listing->foreign_kinds, sizeof listing->foreign_kinds);
    text_add_bytes(&t, listing->folders, listing->folder_count * sizeof *listing->folders);
    text_add_bytes(&t, listing->names, listing->count * sizeof *listing->names);
    text_add_bytes(&t, listing->text, listing->text_size);
    if (!t.failed) {
        header.hash = hash_bytes(HASH_START, t.data + sizeof header, t.length - sizeof header);
        memcpy(t.data, &header, sizeof header);
        file_write(stored, t.data, t.length);
    }
    text_free(&t);
    error_clear();
}

bool listing_make(Listing *listing, const char *root, const char *stored)
{
    *listing = (Listing){0};
    if (stored && take_stored(listing, root, stored))
        return true;
    error_clear();
    time_t started = time(NULL);
    if (!read_folder(listing, root, "", 0)) {
        listing_free(listing);
        return false;
    }
    if (listing->count)
        qsort_r(listing->names, listing->count, sizeof *listing->names, compare_names, listing->text);
    if (stored && listing->count)
        store(listing, root, stored, started);
    return true;
}
