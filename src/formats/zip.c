#include "formats/zip.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Signatures and sizes of the parts; the number behind a name is its length without what varies. */
enum {
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END_BYTES = 22,
    LOCATOR_BYTES = 20,
    END64_BYTES = 56,
    COMMENT_MOST = 65535,
    FLAG_ENCRYPTED = 1,
    NAME_SHOWN = 120,
    ZIP64_EXTRA = 1
};
#define LOCAL_SIGN   0x04034b50u
#define CENTRAL_SIGN 0x02014b50u
#define END_SIGN     0x06054b50u
#define LOCATOR_SIGN 0x07064b50u
#define END64_SIGN   0x06064b50u

struct Zip {
    const unsigned char *data;
    size_t size;
    const char *origin;
    ZipRecord *records;
    size_t count;
};

static uint64_t number_at(const unsigned char *at, int bytes)
{
    uint64_t number = 0;
    for (int i = bytes - 1; i >= 0; i--)
        number = number << 8 | at[i];
    return number;
}

static bool is_signed(const Zip *z, uint64_t at, uint64_t bytes, uint32_t sign)
{
    return at <= z->size && bytes <= z->size - at && number_at(z->data + at, 4) == sign;
}

/* The directory: where it lies and how many records it has. */
typedef struct {
    uint64_t at, bytes, count, end; /* end: where the records that close the archive begin */
} Directory;

static bool find_directory(const Zip *z, Directory *d)
{
    uint64_t end = z->size;
    size_t most = END_BYTES + COMMENT_MOST;
    bool found = false;
    for (size_t back = END_BYTES; !found && back <= z->size && back <= most; back++) {
        end = z->size - back;
        found = is_signed(z, end, END_BYTES, END_SIGN) && number_at(z->data + end + 20, 2) == back - END_BYTES;
    }
    if (!found)
        return error_set("%s: the directory at the end of this zip archive is not there; is the file cut short?", z->origin);
    const unsigned char *e = z->data + end;
    if (number_at(e + 4, 2) || number_at(e + 6, 2) || number_at(e + 8, 2) != number_at(e + 10, 2))
        return error_set("%s: a zip archive of several volumes cannot be read", z->origin);
    *d = (Directory){number_at(e + 16, 4), number_at(e + 12, 4), number_at(e + 10, 2), end};
    if (end < LOCATOR_BYTES || !is_signed(z, end - LOCATOR_BYTES, LOCATOR_BYTES, LOCATOR_SIGN))
        return true;
    uint64_t at = number_at(z->data + end - LOCATOR_BYTES + 8, 8);
    if (!is_signed(z, at, END64_BYTES, END64_SIGN))
        return error_set("%s: the 64-bit end of this zip archive is announced at byte %llu and is not there", z->origin,
                         (unsigned long long)at);
    *d = (Directory){number_at(z->data + at + 48, 8), number_at(z->data + at + 40, 8), number_at(z->data + at + 32, 8), at};
    return true;
}

/* Sizes and places of 4 GiB and more stand in an extra field, those that do not fit, in this order. */
static bool wide_numbers(const unsigned char *extra, size_t bytes, uint64_t *numbers[3])
{
    for (size_t at = 0; bytes - at >= 4;) {
        uint64_t kind = number_at(extra + at, 2), length = number_at(extra + at + 2, 2);
        at += 4;
        if (length > bytes - at)
            return false;
        for (size_t i = 0, from = at; kind == ZIP64_EXTRA && i < 3; i++) {
            if (*numbers[i] != UINT32_MAX)
                continue;
            if (from + 8 > at + length)
                return false;
            *numbers[i] = number_at(extra + from, 8);
            from += 8;
        }
        at += (size_t)length;
    }
    return true;
}

/* One entry of the directory at `at`; *next is the byte behind it. */
static bool read_entry(const Zip *z, const Directory *d, uint64_t at, ZipRecord *record, uint64_t *next)
{
    if (at > d->at + d->bytes || CENTRAL_BYTES > d->at + d->bytes - at || number_at(z->data + at, 4) != CENTRAL_SIGN)
        return error_set("%s: the entry at byte %llu of its zip directory is damaged", z->origin, (unsigned long long)at);
    const unsigned char *e = z->data + at;
    uint64_t flags = number_at(e + 8, 2), method = number_at(e + 10, 2), stored = number_at(e + 20, 4),
             bytes = number_at(e + 24, 4), name = number_at(e + 28, 2), extra = number_at(e + 30, 2),
             comment = number_at(e + 32, 2), local = number_at(e + 42, 4);
    *next = at + CENTRAL_BYTES + name + extra + comment;
    if (*next > d->at + d->bytes)
        return error_set("%s: the entry at byte %llu of its zip directory is damaged", z->origin, (unsigned long long)at);
    *record = (ZipRecord){.name = (const char *)e + CENTRAL_BYTES, .name_bytes = (uint32_t)name};
    int shown = name < NAME_SHOWN ? (int)name : NAME_SHOWN;
    if (!wide_numbers(e + CENTRAL_BYTES + name, (size_t)extra, (uint64_t *[]){&bytes, &stored, &local}))
        return error_set("%s: record '%.*s': its extra fields are damaged", z->origin, shown, record->name);
    if (!is_signed(z, local, LOCAL_BYTES, LOCAL_SIGN))
        return error_set("%s: record '%.*s' is announced at byte %llu and is not there", z->origin, shown, record->name,
                         (unsigned long long)local);
    uint64_t data = local + LOCAL_BYTES + number_at(z->data + local + 26, 2) + number_at(z->data + local + 28, 2);
    if (data > d->at || stored > d->at - data)
        return error_set("%s: record '%.*s' has %llu bytes from byte %llu on, which reaches into the directory at byte %llu",
                         z->origin, shown, record->name, (unsigned long long)stored, (unsigned long long)data,
                         (unsigned long long)d->at);
    record->data = z->data + data;
    record->bytes = stored;
    record->packed = method || (flags & FLAG_ENCRYPTED) || bytes != stored;
    return true;
}

static int by_place(const void *a, const void *b)
{
    const ZipRecord *s = a, *t = b;
    if (s->data != t->data)
        return (const char *)s->data < (const char *)t->data ? -1 : 1;
    return (s->bytes > t->bytes) - (s->bytes < t->bytes);
}

static int compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int by_name(const void *a, const void *b)
{
    const ZipRecord *s = a, *t = b;
    return compare_names(s->name, s->name_bytes, t->name, t->name_bytes);
}

static int shown_bytes(const ZipRecord *r)
{
    return r->name_bytes < NAME_SHOWN ? (int)r->name_bytes : NAME_SHOWN;
}

static bool read_directory(Zip *z)
{
    Directory d;
    if (!find_directory(z, &d))
        return false;
    if (d.at > d.end || d.bytes > d.end - d.at || d.count > d.bytes / CENTRAL_BYTES)
        return error_set("%s: its zip directory of %llu records does not lie in the file; is the file cut short?", z->origin,
                         (unsigned long long)d.count);
    if (d.count > ZIP_RECORDS_MAX)
        return error_set("%s: %llu records in a zip archive, at most %d are accepted", z->origin, (unsigned long long)d.count,
                         ZIP_RECORDS_MAX);
    z->records = memory_new((size_t)d.count, sizeof *z->records);
    if (!z->records)
        return false;
    uint64_t at = d.at;
    for (; z->count < d.count; z->count++)
        if (!read_entry(z, &d, at, &z->records[z->count], &at))
            return false;
    if (z->count)
        qsort(z->records, z->count, sizeof *z->records, by_place);
    for (size_t i = 1; i < z->count; i++) {
        const ZipRecord *a = &z->records[i - 1], *b = &z->records[i];
        if ((const char *)a->data + a->bytes > (const char *)b->data)
            return error_set("%s: records '%.*s' and '%.*s' overlap", z->origin, shown_bytes(a), a->name, shown_bytes(b),
                             b->name);
    }
    if (z->count)
        qsort(z->records, z->count, sizeof *z->records, by_name);
    for (size_t i = 1; i < z->count; i++)
        if (!by_name(&z->records[i - 1], &z->records[i]))
            return error_set("%s: record '%.*s' occurs twice", z->origin, shown_bytes(&z->records[i]), z->records[i].name);
    return true;
}

Zip *zip_open(const void *data, size_t size, const char *origin)
{
    Zip *z = memory_new(1, sizeof *z);
    if (!z)
        return NULL;
    *z = (Zip){.data = data, .size = size, .origin = origin};
    if (!read_directory(z)) {
        zip_close(z);
        return NULL;
    }
    return z;
}

void zip_close(Zip *z)
{
    if (!z)
        return;
    memory_free(z->records);
    memory_free(z);
}

size_t zip_count(const Zip *z)
{
    return z->count;
}

const ZipRecord *zip_at(const Zip *z, size_t i)
{
    return &z->records[i];
}

const ZipRecord *zip_find(const Zip *z, const char *name)
{
    size_t low = 0, high = z->count, bytes = strlen(name);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const ZipRecord *r = &z->records[middle];
        int order = compare_names(name, bytes, r->name, r->name_bytes);
        if (!order)
            return r;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
