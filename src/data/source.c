#include "data/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/kinds.h"

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count)
{
    for (const uint8_t *b = bytes; count; b++, count--)
        hash = (hash ^ *b) * 0x100000001B3u;
    return hash;
}

char *cache_path(const char *kind, uint64_t hash)
{
    char name[64], *folder = file_cache_folder(), *path = NULL;
    snprintf(name, sizeof name, "%s-%016llx", kind, (unsigned long long)hash);
    if (folder)
        path = file_join(folder, name);
    if (!path)
        error_clear();
    memory_free(folder);
    return path;
}

bool source_classes(Source *source, int count)
{
    source->class_names = memory_new((size_t)count, sizeof *source->class_names);
    source->class_count = source->class_names ? count : 0;
    return source->class_names != NULL;
}

bool source_number_classes(Source *source, int count)
{
    if (!source_classes(source, count))
        return false;
    for (int c = 0; c < count; c++) {
        char number[16];
        snprintf(number, sizeof number, "%d", c);
        if (!(source->class_names[c] = memory_string(number)))
            return false;
    }
    return true;
}

bool source_classes_from_text(Source *source, const char *path, char *text, size_t size, int least)
{
    int count = 0, lines = 0;
    if (memchr(text, 0, size))
        return error_set("%s is no list of classes: it holds a zero byte", path);
    for (const char *c = text; c < text + size; c++)
        count += *c == '\n' || c + 1 == text + size;
    if (count < least || count > MOST_CLASSES)
        return error_set("%s names %d classes, a line each, but labels go up to %d", path, count, least - 1);
    if (!source_classes(source, count))
        return false;
    for (char *line = text, *end; lines < count; line = end + 1, lines++) {
        end = line + strcspn(line, "\n");
        *end = 0;
        if (end > line && end[-1] == '\r')
            end[-1] = 0;
        if (!*line)
            return error_set("%s: line %d is empty; it should hold the name of class %d", path, lines + 1, lines);
        if (!(source->class_names[lines] = memory_string(line)))
            return false;
    }
    return true;
}

int32_t class_number_read(const char *text, size_t size)
{
    int32_t number = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        number = 10 * number + (text[i] - '0');
        if (number >= MOST_CLASSES)
            return -1;
    }
    return size ? number : -1;
}

/* The last name of a path in its folder's absolute path without links; of `.`, `..` and a closing slash all is resolved;
 * without such a folder the path as it is. The last name stays, be it a pattern or a link: it tells what kind of source this
 * is. */
static char *absolute(const char *path)
{
    const char *name = file_name(path);
    bool whole = !*name || !strcmp(name, ".") || !strcmp(name, "..");
    char *folder = memory_string(path), *copy = NULL;
    if (!folder)
        return NULL;
    if (!whole)
        folder[name - path] = 0;
    char *real = realpath(*folder ? folder : ".", NULL);
    copy = real && !whole ? file_join(real, name) : memory_string(real ? real : path);
    free(real); /* the C library's */
    memory_free(folder);
    return copy;
}

Source *source_open(const char *where, const SourceOptions *options)
{
    SourceOptions none = {0};
    if (!options)
        options = &none;
    Source *source = memory_new(1, sizeof *source);
    if (!source)
        return NULL;
    source->no_cache = options->no_cache;
    source->damaged = options->damaged;
    source->damaged_context = options->context;
    bool world = !strcmp(where, "world"), ok = false;
    source->where = world ? memory_string(where) : absolute(where);
    if (!source->where)
        goto done;
    if (world)
        ok = world_open(source, options);
    else if (!file_exists(where) && !(strchr(where, '{') && shards_are_here(where))) /* a pattern is no file */
        error_set("no pictures at %s: there is no such file or folder", where);
    else if (cifar_is_here(source->where))
        ok = cifar_open(source);
    else if (list_is_here(source->where))
        ok = list_open(source);
    else if (file_is_folder(source->where))
        ok = folder_open(source);
    else if (shards_are_here(source->where))
        ok = shards_open(source);
    else
        error_set("no pictures at %s: neither a folder nor a list (.csv) nor a shard (.tar) nor one of CIFAR's .bin files",
                  where);
done:
    if (ok)
        return source;
    source_close(source);
    return NULL;
}

void source_close(Source *source)
{
    if (!source)
        return;
    if (source->kind)
        source->kind->close(source->self);
    for (int c = 0; c < source->class_count; c++)
        memory_free(source->class_names[c]);
    memory_free(source->class_names);
    memory_free(source->where);
    text_free(&source->summary);
    text_free(&source->left_out);
    memory_free(source);
}

size_t source_count(const Source *source)
{
    return source->count;
}

char *source_key(const Source *source, size_t i, char *room, size_t size)
{
    if (!room) {
        size = SOURCE_KEY_SIZE;
        room = memory_new(size, 1);
        if (!room)
            return NULL;
    }
    source->kind->key(source, i, room, size);
    return room;
}

/* Bytes in front of the keys that are the folder all of them lie in. */
static size_t common_folder(const Source *source, const uint64_t *samples, size_t count, char *first, char *room)
{
    size_t common = 0;
    for (size_t i = 0; i < count; i++) {
        const char *key = source_key(source, (size_t)samples[i], i ? room : first, SOURCE_KEY_SIZE);
        const char *slash = strrchr(key, '/');
        size_t same = 0, folder = slash ? (size_t)(slash - key) + 1 : 0;
        if (!i)
            common = folder;
        while (same < common && same < folder && key[same] == first[same])
            same++;
        while (same > 0 && first[same - 1] != '/')
            same--;
        common = same;
    }
    return common;
}

uint64_t source_names(const Source *source, const uint64_t *samples, size_t count)
{
    static const char SHARD[] = ".tar#";
    char *room = memory_new(SOURCE_KEY_SIZE, 1), *first = memory_new(SOURCE_KEY_SIZE, 1);
    uint64_t hash = room && first ? HASH_START : 0;
    size_t common = hash ? common_folder(source, samples, count, first, room) : 0;
    for (size_t i = 0; hash && i < count; i++) {
        const char *key = source_key(source, (size_t)samples[i], room, SOURCE_KEY_SIZE), *member = strstr(key, SHARD);
        int32_t label = source_label(source, (size_t)samples[i]);
        key = member ? member + strlen(SHARD) : key + common;
        hash = hash_bytes(hash, key, strlen(key) + 1);
        hash = hash_bytes(hash, &label, sizeof label);
    }
    memory_free(room);
    memory_free(first);
    return hash;
}

int source_label(const Source *source, size_t i)
{
    return source->kind->label && source->class_count ? source->kind->label(source, i) : -1;
}

int source_class_count(const Source *source)
{
    return source->class_count;
}

const char *source_class_name(const Source *source, int label)
{
    return source->class_names[label];
}

bool source_picture(const Source *source, size_t i, int channels, Image *out)
{
    return source->kind->picture(source, i, channels, out);
}

bool source_has_channels(const Source *source, int channels)
{
    return source->kind->file || channels == 1 || channels == 3 ||
           error_set("the pictures of %s have 3 channels, not %d: set image.channels", source->where, channels);
}

bool source_part(const Source *source, size_t i, const ImageRequest *request, Image *out, ImageBox *box)
{
    char *bytes;
    size_t size;
    *out = (Image){0};
    if (!source->kind->file) { /* drawn, or taken from a larger file: always whole */
        if (!source_has_channels(source, request->channels) || !source_picture(source, i, request->channels, out))
            return false;
        *box = image_choose(request, out);
        return true;
    }
    char *key = source_key(source, i, NULL, 0);
    bool ok = key && (source_file(source, i, &bytes, &size) || error_context("%s", key));
    if (ok) {
        ok = image_decode_part(bytes, size, key, request, out);
        *box = (ImageBox){0, 0, out->height, out->width};
        memory_free(bytes);
    }
    memory_free(key);
    return ok;
}

bool source_view(const Source *source, size_t i, int channels, Image *out)
{
    return source->kind->view && source->kind->view(source, i, channels, out);
}

bool source_file(const Source *source, size_t i, char **bytes, size_t *size)
{
    *bytes = NULL;
    *size = 0;
    return !source->kind->file || source->kind->file(source, i, bytes, size);
}

const char *source_summary(const Source *source)
{
    return source->summary.data;
}

const char *source_left_out(const Source *source, size_t *count)
{
    if (count)
        *count = source->left_out_count;
    return source->left_out.data;
}

const char *source_where(const Source *source)
{
    return source->where;
}

void sample_list_free(SampleList *list)
{
    memory_free(list->samples);
    *list = (SampleList){0};
}

bool source_split(const Source *source, double share, SampleList *train, SampleList *held_out)
{
    *train = *held_out = (SampleList){0};
    size_t count = source->count;
    double *draws = memory_new(count, sizeof *draws);
    char *key = memory_new(SOURCE_KEY_SIZE, 1);
    train->samples = memory_new(count, sizeof *train->samples);
    held_out->samples = memory_new(count, sizeof *held_out->samples);
    bool ok = draws && key && train->samples && held_out->samples;
    if (ok && !(share >= 0 && share <= 1))
        ok = error_set("a share of %g of the pictures cannot be held out: data.val_share goes from 0 to 1", share);
    if (!ok)
        goto done;
    size_t smallest = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        source_key(source, i, key, SOURCE_KEY_SIZE);
        /* Not the run's seed: two runs that are compared, and a later probe, must hold out the same pictures. */
        Random r = random_stream(0, RANDOM_SPLIT, 0, 0, random_hash(key));
        draws[i] = random_uniform(&r);
        if (draws[i] < draws[smallest])
            smallest = i;
        if (draws[i] >= draws[largest])
            largest = i;
    }
    bool both = share > 0 && share < 1 && count > 1;
    for (size_t i = 0; i < count; i++) {
        bool held = draws[i] < share;
        if (both && i == smallest)
            held = true;
        if (both && i == largest)
            held = false;
        SampleList *list = held ? held_out : train;
        list->samples[list->count++] = i;
    }
done:
    memory_free(draws);
    memory_free(key);
    if (!ok) {
        sample_list_free(train);
        sample_list_free(held_out);
    }
    return ok;
}
