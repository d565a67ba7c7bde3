/* Pictures in tar shards, as WebDataset lays them out: one file, a pattern of numbered files, or a folder of them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/kinds.h"
#include "data/tar.h"

enum { MOST_SHARDS = 1 << 20, MOST_OPEN = 64 };

typedef struct {
    char *path;
    TarIndex index;
    size_t first; /* number of its first sample */
} Shard;

/* A shard's file that is kept open. */
typedef struct {
    const Shard *shard; /* NULL: free */
    int descriptor, users;
    uint64_t turn; /* when it was last taken */
} OpenShard;

typedef struct {
    Shard *shards;
    size_t count, capacity;
    pthread_mutex_t lock; /* of what follows */
    OpenShard open[MOST_OPEN];
    uint64_t turn;
} Shards;

static bool ends_with(const char *path, const char *suffix)
{
    size_t n = strlen(path), m = strlen(suffix);
    return n > m && !strcasecmp(path + n - m, suffix);
}

bool shards_are_here(const char *path)
{
    bool plain = tar_is_plain(path, NULL, 0);
    error_clear();
    return !plain || ends_with(path, ".tar");
}

static void shards_close(void *self)
{
    Shards *shards = self;
    for (int o = 0; o < MOST_OPEN; o++)
        if (shards->open[o].shard)
            close(shards->open[o].descriptor);
    for (size_t s = 0; s < shards->count; s++) {
        memory_free(shards->shards[s].path);
        tar_index_free(&shards->shards[s].index);
    }
    memory_free(shards->shards);
    pthread_mutex_destroy(&shards->lock);
    memory_free(shards);
}

/* The shard and the picture of sample i. */
static const TarPicture *picture_of(const Shards *shards, size_t i, const Shard **shard)
{
    size_t low = 0, high = shards->count;
    while (high - low > 1) { /* the last shard that starts at or before i; empty ones start where the next does */
        size_t middle = low + (high - low) / 2;
        if (shards->shards[middle].first <= i)
            low = middle;
        else
            high = middle;
    }
    *shard = &shards->shards[low];
    return &(*shard)->index.pictures[i - (*shard)->first];
}

static void shards_key(const Source *source, size_t i, char *room, size_t size)
{
    const Shard *shard;
    const TarPicture *picture = picture_of(source->self, i, &shard);
    snprintf(room, size, "%s#%s", file_name(shard->path), shard->index.text + picture->name);
}

static int shards_label(const Source *source, size_t i)
{
    const Shard *shard;
    return (int)picture_of(source->self, i, &shard)->label;
}

/* Opens a shard, which must still be the one that was indexed: offsets into another would give garbage. */
static int open_shard(const Shard *shard)
{
    struct stat info;
    int fd = open(shard->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) < 0) {
        error_set("cannot open %s: %s", shard->path, strerror(errno));
    } else if ((uint64_t)info.st_size != shard->index.size || info.st_mtim.tv_sec != shard->index.seconds ||
               info.st_mtim.tv_nsec != shard->index.nanoseconds) {
        error_set("%s has changed since it was indexed; start again", shard->path);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* A descriptor of the shard, kept open for the next sample while few enough are. *place is where it is kept, NULL when the
 * caller closes it. -1 after error_set(). */
static int take_descriptor(Shards *shards, const Shard *shard, OpenShard **place)
{
    OpenShard *oldest = NULL;
    int fd = -1;
    *place = NULL;
    pthread_mutex_lock(&shards->lock);
    for (int o = 0; o < MOST_OPEN && !*place; o++) {
        OpenShard *open = &shards->open[o];
        if (open->shard == shard)
            *place = open;
        else if (!open->users && (!oldest || !open->shard || (oldest->shard && open->turn < oldest->turn)))
            oldest = open;
    }
    if (!*place && oldest) {
        if (oldest->shard)
            close(oldest->descriptor);
        oldest->shard = NULL;
        oldest->descriptor = open_shard(shard);
        if (oldest->descriptor >= 0) {
            oldest->shard = shard;
            *place = oldest;
        }
    } else if (!*place) {
        fd = open_shard(shard); /* more threads than places */
    }
    if (*place) {
        (*place)->users++;
        (*place)->turn = ++shards->turn;
        fd = (*place)->descriptor;
    }
    pthread_mutex_unlock(&shards->lock);
    return fd;
}

static void give_descriptor(Shards *shards, int fd, OpenShard *place)
{
    if (!place) {
        close(fd);
        return;
    }
    pthread_mutex_lock(&shards->lock);
    place->users--;
    pthread_mutex_unlock(&shards->lock);
}

/* Whether a large member is worth reading, before memory is taken for it. False when its start cannot be read. */
static bool look_at_start(int fd, const Shard *shard, const TarPicture *picture, bool *sound)
{
    if (picture->size <= FILE_LARGE)
        return true;
    char *start = memory_new(FILE_START, 1);
    bool ok = start && tar_read(fd, shard->path, start, FILE_START, picture->offset);
    *sound = ok && image_start_is_sound(start, FILE_START, shard->index.text + picture->name);
    memory_free(start);
    return ok;
}

static bool shards_file(const Source *source, size_t i, char **bytes, size_t *size)
{
    Shards *shards = source->self;
    const Shard *shard;
    OpenShard *place;
    const TarPicture *picture = picture_of(shards, i, &shard);
    *bytes = NULL;
    *size = (size_t)picture->size;
    if (picture->size > LARGEST_PICTURE_FILE)
        return error_set("it has %llu bytes, more than the %d that are accepted here", (unsigned long long)picture->size,
                         LARGEST_PICTURE_FILE);
    int fd = take_descriptor(shards, shard, &place);
    bool ok = false, sound = true;
    if (fd >= 0) {
        ok = look_at_start(fd, shard, picture, &sound);
        *bytes = ok && sound ? memory_new_aligned(*size + 1, 1) : NULL;
        ok = ok && (!sound || (*bytes && tar_read(fd, shard->path, *bytes, *size, picture->offset)));
        give_descriptor(shards, fd, place);
    }
    if (ok)
        return sound;
    error_blame_machine(); /* the shard went away or cannot be read: no fault of the picture in it */
    memory_free(*bytes);
    *bytes = NULL;
    return false;
}

static bool shards_picture(const Source *source, size_t i, int channels, Image *out)
{
    char *name = source_key(source, i, NULL, 0), *bytes = NULL;
    size_t size = 0;
    *out = (Image){0};
    bool ok = name && (shards_file(source, i, &bytes, &size) || error_context("%s", name)) &&
              image_decode(bytes, size, name, channels, out);
    memory_free(bytes);
    memory_free(name);
    return ok;
}

static bool shards_fingerprint(const Source *source, const uint64_t *samples, size_t count, uint64_t *hash)
{
    const Shards *shards = source->self;
    *hash = hash_bytes(HASH_START, source->where, strlen(source->where) + 1);
    for (size_t s = 0; s < shards->count; s++) {
        const Shard *shard = &shards->shards[s];
        int64_t what[] = {(int64_t)shard->index.size, shard->index.seconds, shard->index.nanoseconds};
        *hash = hash_bytes(*hash, shard->path, strlen(shard->path) + 1);
        *hash = hash_bytes(*hash, what, sizeof what);
    }
    *hash = hash_bytes(*hash, samples, count * sizeof *samples);
    return true;
}

static const SourceKind shards_kind = {shards_close,   shards_key,         shards_label, NULL,
                                       shards_picture, shards_fingerprint, shards_file};

/* Takes over `path`. */
static bool add_shard(Shards *shards, char *path)
{
    if (!path || !memory_grow((void **)&shards->shards, shards->count, &shards->capacity, sizeof *shards->shards)) {
        memory_free(path);
        return false;
    }
    shards->shards[shards->count++] = (Shard){.path = path};
    return true;
}

/* The next shard's or compressed shard's entry of a folder; dot files are left out as among pictures. */
static const char *next_shard(DIR *folder)
{
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && shards_are_here(entry->d_name))
            return entry->d_name;
    return NULL;
}

bool shards_in_folder(const char *path)
{
    DIR *folder = opendir(path);
    bool found = folder && next_shard(folder);
    if (folder)
        closedir(folder);
    return found;
}

static int compare_shards(const void *a, const void *b)
{
    return strcmp(((const Shard *)a)->path, ((const Shard *)b)->path);
}

static bool add_folder(Shards *shards, const char *where)
{
    DIR *folder = opendir(where);
    bool ok = true;
    if (!folder)
        return error_set("cannot list the folder %s: %s", where, strerror(errno));
    for (const char *name; ok && (name = next_shard(folder));)
        ok = add_shard(shards, file_join(where, name));
    closedir(folder);
    if (ok && shards->count)
        qsort(shards->shards, shards->count, sizeof *shards->shards, compare_shards);
    return ok;
}

/* FOLDER/NAME{000..099}REST; numbers are filled up with zeros when one of the ends is. */
static bool add_pattern(Shards *shards, const char *where)
{
    const char *brace = strchr(file_name(where), '{'), *at = brace ? brace + 1 : NULL;
    size_t digits[2];
    long ends[2];
    if (!brace)
        return error_set("no shards at %s: a pattern has its braces in the file's name", where);
    for (int e = 0; e < 2; e++) {
        digits[e] = strspn(at, "0123456789");
        ends[e] = digits[e] && digits[e] < 10 ? strtol(at, NULL, 10) : -1;
        const char *behind = e ? "}" : "..";
        if (ends[e] < 0 || strncmp(at + digits[e], behind, strlen(behind)) != 0)
            return error_set("the pattern %s is none of shards: write two numbers in braces, as in shards-{000..099}.tar",
                             where);
        at += digits[e] + strlen(behind);
    }
    if (strpbrk(at, "{}"))
        return error_set("the pattern %s is none of shards: it has more than one pair of braces", where);
    if (ends[1] < ends[0] || ends[1] - ends[0] >= MOST_SHARDS)
        return error_set("the pattern %s names %s", where,
                         ends[1] < ends[0] ? "no shard: its numbers fall" : "too many shards");
    bool filled = (digits[0] > 1 && brace[1] == '0') || (digits[1] > 1 && *(at - 1 - digits[1]) == '0');
    int width = !filled ? 0 : (int)(digits[0] > digits[1] ? digits[0] : digits[1]);
    for (long n = ends[0]; n <= ends[1]; n++) {
        Text path = {0};
        text_add(&path, "%.*s%0*ld%s", (int)(brace - where), where, width, n, at);
        if (path.failed) {
            text_free(&path);
            return false;
        }
        if (!file_exists(path.data)) {
            error_set("no shard at %s, which the pattern %s names", path.data, where);
            text_free(&path);
            return false;
        }
        if (!add_shard(shards, path.data))
            return false;
    }
    return true;
}

/* Names from the file beside the shards, a line each, or numbers. */
static bool name_classes(Source *source, const char *shard, int least)
{
    enum { LARGEST = 1 << 28 };
    size_t size = 0;
    char *folder = memory_string(shard), *path, *text = NULL;
    if (!folder)
        return false;
    *(char *)file_name(folder) = 0;
    path = file_join(folder, SHARD_CLASSES);
    bool ok = path != NULL;
    if (ok && !file_exists(path))
        ok = source_number_classes(source, least);
    else if (ok)
        ok = (text = file_read(path, LARGEST, &size)) && source_classes_from_text(source, path, text, size, least);
    memory_free(text);
    memory_free(path);
    memory_free(folder);
    return ok;
}

/* All pictures have a label or none has. */
static bool label(Source *source, const Shards *shards)
{
    const Shard *shard;
    char first_key[SOURCE_KEY_SIZE], key[SOURCE_KEY_SIZE];
    int most = -1;
    bool labelled = picture_of(shards, 0, &shard)->label >= 0;
    for (size_t i = 0; i < source->count; i++) {
        int number = (int)picture_of(shards, i, &shard)->label;
        if ((number >= 0) != labelled) {
            shards_key(source, 0, first_key, sizeof first_key);
            shards_key(source, i, key, sizeof key);
            return error_set("%s: %s has %s (a .cls member), unlike %s; give all pictures a label or none", source->where, key,
                             labelled ? "no label" : "a label", first_key);
        }
        most = number > most ? number : most;
    }
    return !labelled || name_classes(source, shards->shards[0].path, most + 1);
}

bool shards_open(Source *source)
{
    const char *where = source->where;
    Shards *shards = memory_new(1, sizeof *shards);
    if (!shards)
        return false;
    pthread_mutex_init(&shards->lock, NULL);
    source->self = shards;
    source->kind = &shards_kind;
    bool ok;
    size_t damaged = 0;
    if (file_is_folder(where))
        ok = add_folder(shards, where);
    else if (file_exists(where))
        ok = add_shard(shards, memory_string(where));
    else
        ok = add_pattern(shards, where);
    for (size_t s = 0; ok && s < shards->count; s++)
        ok = tar_is_plain(shards->shards[s].path, NULL, 0);
    for (size_t s = 0; ok && s < shards->count; s++) {
        Shard *shard = &shards->shards[s];
        char *stored = source->no_cache ? NULL : cache_path("shard", hash_bytes(HASH_START, shard->path, strlen(shard->path)));
        shard->first = source->count;
        ok = tar_index_make(&shard->index, shard->path, stored);
        if (!ok && source->damaged && !error_is_machine()) {
            source->damaged(source->damaged_context, shard->path, error_text());
            damaged++;
            ok = true;
        }
        source->count += shard->index.count;
        memory_free(stored);
    }
    if (ok && !source->count && damaged)
        ok = error_set("no pictures at %s: no shard is whole", where);
    else if (ok && !source->count)
        ok = error_set("no pictures at %s: no member of %s is named .jpg, .jpeg, .jpe, .jfif, .png, .webp, .tif or .tiff",
                       where, shards->count == 1 ? "the shard" : "its shards");
    if (!ok || !label(source, shards))
        return false;
    text_add(&source->summary, "%zu picture%s ", source->count, source->count == 1 ? "" : "s");
    if (source->class_count)
        text_add(&source->summary, "in %d class%s ", source->class_count, source->class_count == 1 ? "" : "es");
    text_add(&source->summary, "(%zu tar shard%s, %s)", shards->count, shards->count == 1 ? "" : "s", where);
    return !source->summary.failed;
}
