/* CIFAR-10 and CIFAR-100 as binary files: records of one or two label bytes, then 32 x 32 bytes each of red, green and blue.
 * They are kept in memory, channels last. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/kinds.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE, TEN = 1 + 3 * PIXELS, HUNDRED = 2 + 3 * PIXELS, FILES = 5 };

typedef struct {
    char *name;
    uint8_t *bytes;
    size_t records;
} Part;

typedef struct {
    Part parts[FILES];
    int part_count;
    size_t record; /* bytes */
} Cifar;

static const char *const ten_files[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                                        "data_batch_5.bin"};

static bool has_file(const char *folder, const char *name)
{
    char *path = file_join(folder, name);
    struct stat info;
    bool found = path && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    memory_free(path);
    return found;
}

bool cifar_is_here(const char *path)
{
    size_t n = strlen(path);
    if (!file_is_folder(path))
        return n > 4 && !strcasecmp(path + n - 4, ".bin");
    return has_file(path, ten_files[0]) || has_file(path, "train.bin") || has_file(path, "test_batch.bin") ||
           has_file(path, "test.bin");
}

static void cifar_close(void *self)
{
    Cifar *cifar = self;
    for (int p = 0; p < cifar->part_count; p++) {
        memory_free(cifar->parts[p].name);
        memory_free(cifar->parts[p].bytes);
    }
    memory_free(cifar);
}

/* The record of sample i. */
static const uint8_t *record_of(const Cifar *cifar, size_t i, const Part **part, size_t *inner)
{
    const Part *p = cifar->parts;
    while (i >= p->records) {
        i -= p->records;
        p++;
    }
    if (part)
        *part = p;
    if (inner)
        *inner = i;
    return p->bytes + i * cifar->record;
}

static void cifar_key(const Source *source, size_t i, char *room, size_t size)
{
    const Part *part;
    size_t inner;
    record_of(source->self, i, &part, &inner);
    snprintf(room, size, "%s#%zu", part->name, inner);
}

static int cifar_label(const Source *source, size_t i)
{
    const Cifar *cifar = source->self;
    const uint8_t *record = record_of(cifar, i, NULL, NULL);
    return cifar->record == TEN ? record[0] : record[1];
}

static bool cifar_view(const Source *source, size_t i, int channels, Image *out)
{
    const Cifar *cifar = source->self;
    const uint8_t *record = record_of(cifar, i, NULL, NULL);
    if (channels != 3)
        return false;
    *out = (Image){.height = SIDE, .width = SIDE, .channels = 3, .data = (uint8_t *)record + (cifar->record - 3 * PIXELS)};
    return true;
}

static bool cifar_picture(const Source *source, size_t i, int channels, Image *out)
{
    Image view;
    cifar_view(source, i, 3, &view);
    if (!image_new(out, SIDE, SIDE, channels))
        return false;
    if (channels == 3) {
        memcpy(out->data, view.data, 3 * PIXELS);
        return true;
    }
    for (int p = 0; p < PIXELS; p++) {
        const uint8_t *rgb = view.data + 3 * p;
        out->data[p] = (uint8_t)((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16);
    }
    return true;
}

/* No fingerprint: hashing the bytes would cost as much as the statistics themselves. */
static const SourceKind cifar_kind = {cifar_close, cifar_key, cifar_label, cifar_view, cifar_picture, NULL, NULL};

/* Checks a file's bytes, which are taken over in any case, and puts the channels last. */
static bool take_part(Cifar *cifar, const char *folder, const char *name, uint8_t *bytes, size_t size)
{
    Part *part = &cifar->parts[cifar->part_count++];
    char *path = file_join(folder, name);
    bool ok = false;
    part->bytes = bytes;
    part->name = memory_string(name);
    if (!path || !part->name)
        goto done;
    if (!cifar->record)
        cifar->record = size % TEN && size % HUNDRED == 0 ? HUNDRED : TEN;
    if (size == 0 || size % cifar->record) {
        error_set("%s is not one of CIFAR's binary files: its %zu bytes are not a multiple of %s", path, size,
                  cifar->record == TEN ? "3073 (CIFAR-10) or of 3074 (CIFAR-100)" : "3074 (CIFAR-100)");
        goto done;
    }
    part->records = size / cifar->record;
    for (size_t i = 0; i < part->records; i++) {
        uint8_t *labels = part->bytes + i * cifar->record, *planes = labels + (cifar->record - 3 * PIXELS);
        uint8_t rgb[3 * PIXELS];
        bool good = cifar->record == TEN ? labels[0] < 10 : labels[0] < 20 && labels[1] < 100;
        if (!good) {
            error_set("%s is not one of CIFAR's binary files: record %zu has a label that does not exist", path, i);
            goto done;
        }
        for (int pixel = 0; pixel < PIXELS; pixel++)
            for (int c = 0; c < 3; c++)
                rgb[3 * pixel + c] = planes[c * PIXELS + pixel];
        memcpy(planes, rgb, sizeof rgb);
    }
    ok = true;
done:
    memory_free(path);
    return ok;
}

static bool read_part(Cifar *cifar, const char *folder, const char *name)
{
    size_t size = 0;
    char *path = file_join(folder, name), *bytes = path ? file_read(path, (size_t)4 << 30, &size) : NULL;
    memory_free(path);
    return bytes && take_part(cifar, folder, name, (uint8_t *)bytes, size);
}

/* Names from the text of the file that comes with the pictures (NULL: none; it is cut up), or numbers. */
static bool take_names(Source *source, char *text, bool ten)
{
    int count = ten ? 10 : 100, found = 0;
    if (!source_classes(source, count))
        return false;
    for (char *line = text, *end; line && *line && found < count; line = end) {
        end = line + strcspn(line, "\r\n");
        char *next = end + strspn(end, "\r\n");
        *end = 0;
        end = next;
        if (*line && !(source->class_names[found++] = memory_string(line)))
            return false;
    }
    for (; found < count; found++) {
        char number[16];
        snprintf(number, sizeof number, "%d", found);
        if (!(source->class_names[found] = memory_string(number)))
            return false;
    }
    return true;
}

static bool read_names(Source *source, const char *folder, bool ten)
{
    size_t size = 0;
    char *path = file_join(folder, ten ? "batches.meta.txt" : "fine_label_names.txt"), *text = NULL;
    if (path && file_exists(path) && !(text = file_read(path, 1 << 16, &size)))
        error_clear();
    bool ok = path && take_names(source, text, ten);
    memory_free(path);
    memory_free(text);
    return ok;
}

static Cifar *cifar_new(Source *source)
{
    Cifar *cifar = memory_new(1, sizeof *cifar);
    source->self = cifar;
    source->kind = cifar ? &cifar_kind : NULL;
    return cifar;
}

/* What is left to do when all parts are there. */
static bool finish(Source *source, const Cifar *cifar)
{
    bool ten = cifar->record == TEN;
    for (int p = 0; p < cifar->part_count; p++)
        source->count += cifar->parts[p].records;
    text_add(&source->summary, "%zu pictures of 32 x 32 in %d classes (%s, %s)", source->count, ten ? 10 : 100,
             ten ? "CIFAR-10" : "CIFAR-100", source->where);
    return !source->summary.failed;
}

bool cifar_open_bytes(Source *source, uint8_t *bytes, size_t size, char *names)
{
    Cifar *cifar = cifar_new(source);
    if (!cifar)
        memory_free(bytes);
    bool ok = cifar && take_part(cifar, "", file_name(source->where), bytes, size) &&
              take_names(source, names, cifar->record == TEN) && finish(source, cifar);
    memory_free(names);
    return ok;
}

bool cifar_open(Source *source)
{
    const char *where = source->where;
    char *folder = NULL;
    Cifar *cifar = cifar_new(source);
    if (!cifar)
        return false;
    bool ok = true;
    if (!file_is_folder(where)) {
        folder = memory_string(where);
        if (!folder)
            return false;
        char *slash = strrchr(folder, '/');
        if (slash == folder)
            slash++; /* a file of the root */
        if (slash)
            *slash = 0;
        else
            *folder = 0;
        ok = read_part(cifar, folder, file_name(where));
    } else if (has_file(where, ten_files[0])) {
        cifar->record = TEN;
        for (int p = 0; ok && p < FILES; p++)
            if (has_file(where, ten_files[p]))
                ok = read_part(cifar, where, ten_files[p]);
    } else {
        static const char *const rest[] = {"train.bin", "test_batch.bin", "test.bin"};
        int r = has_file(where, rest[0]) ? 0 : has_file(where, rest[1]) ? 1 : 2;
        cifar->record = r == 1 ? TEN : HUNDRED;
        ok = read_part(cifar, where, rest[r]);
    }
    ok = ok && read_names(source, folder ? folder : where, cifar->record == TEN) && finish(source, cifar);
    memory_free(folder);
    return ok;
}
