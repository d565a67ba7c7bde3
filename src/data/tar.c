/* The walk over a tar archive's headers. */
#include "data/tar.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

enum { BLOCK = 512, LONGEST_NAME_RECORD = 1 << 16, LONGEST_PAX = 1 << 20 };

/* Offsets in a header. */
enum { NAME = 0, NAME_SIZE = 100, SIZE = 124, CHECKSUM = 148, TYPE = 156, MAGIC = 257, PREFIX = 345, PREFIX_SIZE = 155 };

typedef struct {
    int descriptor;
    const char *path;
    uint64_t at, end; /* the next header; the archive's bytes */
    /* What extension headers say about the next member. */
    char name[TAR_NAME_SIZE];
    bool has_name, name_is_pax, has_size;
    uint64_t size;
} Walk;

#define walk_fail(w, where, ...) (error_write(__VA_ARGS__), walk_context(w, where))

static bool walk_context(const Walk *w, uint64_t where)
{
    return error_context("%s is damaged at byte %llu", w->path, (unsigned long long)where);
}

bool tar_is_plain(const char *path, const void *bytes, size_t size)
{
    static const struct {
        const char *suffixes[2], *magic, *name, *tool;
        size_t magic_size;
    } kinds[] = {
        {{".tar.gz", ".tgz"}, "\x1F\x8B", "gzip", "gunzip", 2},
        {{".tar.zst", ".tzst"}, "\x28\xB5\x2F\xFD", "zstd", "unzstd", 4},
        {{".tar.xz", ".txz"},
         "\xFD"
         "7zXZ",
         "xz",
         "unxz",
         5},
        {{".tar.bz2", ".tbz2"}, "BZh", "bzip2", "bunzip2", 3},
    };
    size_t n = strlen(path);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        bool found = size >= kinds[k].magic_size && !memcmp(bytes, kinds[k].magic, kinds[k].magic_size);
        for (int s = 0; s < 2; s++) {
            size_t m = strlen(kinds[k].suffixes[s]);
            found = found || (n > m && !strcasecmp(path + n - m, kinds[k].suffixes[s]));
        }
        if (found)
            return error_set("%s is compressed with %s: unpack it with %s, random access needs a plain .tar", path,
                             kinds[k].name, kinds[k].tool);
    }
    return true;
}

bool tar_read(int descriptor, const char *path, void *bytes, size_t size, uint64_t offset)
{
    for (char *to = bytes; size;) {
        ssize_t n = pread(descriptor, to, size > 1u << 30 ? 1u << 30 : size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set("cannot read %s: %s", path, strerror(errno));
        if (n == 0)
            return error_set("%s: it ends at byte %llu, before what it should hold there", path, (unsigned long long)offset);
        to += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

/* An octal number, blanks around it, or GNU's binary one (first bit set). False when it is neither or beyond 2^63 - 1. */
static bool read_number(const uint8_t *field, size_t size, uint64_t *number)
{
    *number = 0;
    if (field[0] & 0x80) {
        if (field[0] != 0x80) /* negative, or larger than any file */
            return false;
        for (size_t i = 1; i < size; i++) {
            if (*number >> 55)
                return false;
            *number = *number << 8 | field[i];
        }
        return true;
    }
    size_t i = 0;
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
        *number = *number << 3 | (uint64_t)(field[i] - '0'); /* 12 digits are 36 bits */
    for (; i < size; i++)
        if (field[i] && field[i] != ' ')
            return false;
    return true;
}

/* Old programs summed signed characters. */
static bool checksum_holds(const uint8_t *header)
{
    uint64_t stored, sum = 0;
    int64_t signed_sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint8_t byte = i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : header[i];
        sum += byte;
        signed_sum += (int8_t)byte;
    }
    return read_number(header + CHECKSUM, 8, &stored) && (stored == sum || (int64_t)stored == signed_sum);
}

/* The data of an extension header, with a zero byte behind it, owned by the caller. */
static char *read_extension(const Walk *w, uint64_t header, uint64_t size, size_t limit)
{
    if (size > limit) {
        walk_fail(w, header, "an extension header of %llu bytes, more than %zu", (unsigned long long)size, limit);
        return NULL;
    }
    char *data = memory_new((size_t)size + 1, 1);
    if (data && !tar_read(w->descriptor, w->path, data, (size_t)size, header + BLOCK)) {
        memory_free(data);
        data = NULL;
    }
    return data;
}

static bool set_name(Walk *w, uint64_t header, const char *name, size_t size)
{
    if (size >= sizeof w->name)
        return walk_fail(w, header, "a name of %zu bytes, more than %zu", size, sizeof w->name - 1);
    memcpy(w->name, name, size);
    w->name[size] = 0;
    w->has_name = true;
    return true;
}

static bool take_long_name(Walk *w, uint64_t header, uint64_t size)
{
    char *data = read_extension(w, header, size, LONGEST_NAME_RECORD);
    bool ok = data && (w->name_is_pax || set_name(w, header, data, strlen(data)));
    memory_free(data);
    return ok;
}

/* One `key=value` of a pax header. */
static bool take_pax_record(Walk *w, uint64_t header, bool global, const char *key, size_t key_size, const char *value,
                            size_t size)
{
    bool path = key_size == 4 && !memcmp(key, "path", 4), length = key_size == 4 && !memcmp(key, "size", 4);
    if (key_size >= 11 && !memcmp(key, "GNU.sparse.", 11))
        return walk_fail(w, header, "a sparse member; make the archive without --sparse");
    if ((path || length) && global)
        return walk_fail(w, header, "a %s for all members that follow", path ? "path" : "size");
    if (path) {
        if (memchr(value, 0, size))
            return walk_fail(w, header, "a path with a zero byte");
        w->name_is_pax = true;
        return set_name(w, header, value, size);
    }
    if (length) {
        w->size = 0;
        w->has_size = true;
        for (size_t i = 0; i < size; i++) {
            if (value[i] < '0' || value[i] > '9' || w->size > (INT64_MAX - 9) / 10)
                return walk_fail(w, header, "a pax size that is no number, or too large");
            w->size = 10 * w->size + (uint64_t)(value[i] - '0');
        }
        return size > 0 || walk_fail(w, header, "an empty pax size");
    }
    return true;
}

/* Records "LENGTH KEY=VALUE\n", the length counting all of it. */
static bool take_pax(Walk *w, uint64_t header, uint64_t size, bool global)
{
    char *data = read_extension(w, header, size, LONGEST_PAX);
    bool ok = data != NULL;
    for (size_t at = 0; ok && at < size;) {
        size_t length = 0, digits = 0, left = (size_t)size - at;
        const char *record = data + at;
        while (digits < left && digits < 8 && record[digits] >= '0' && record[digits] <= '9')
            length = 10 * length + (size_t)(record[digits++] - '0');
        if (!digits || length > left || length < digits + 3 || record[digits] != ' ' || record[length - 1] != '\n') {
            ok = walk_fail(w, header, "a pax record that is malformed");
            break;
        }
        const char *key = record + digits + 1, *end = record + length - 1, *equals = memchr(key, '=', (size_t)(end - key));
        if (!equals) {
            ok = walk_fail(w, header, "a pax record without a value");
            break;
        }
        ok = take_pax_record(w, header, global, key, (size_t)(equals - key), equals + 1, (size_t)(end - equals - 1));
        at += length;
    }
    memory_free(data);
    return ok;
}

/* The name of a header: the extension's, or prefix/name. */
static bool take_header_name(Walk *w, const uint8_t *header)
{
    if (w->has_name)
        return true;
    const char *name = (const char *)header + NAME, *prefix = (const char *)header + PREFIX;
    size_t n = strnlen(name, NAME_SIZE), p = 0;
    char whole[PREFIX_SIZE + 1 + NAME_SIZE];
    if (!memcmp(header + MAGIC, "ustar", 6)) /* with its zero byte: GNU's old form keeps times where the prefix stands */
        p = strnlen(prefix, PREFIX_SIZE);
    memcpy(whole, prefix, p);
    if (p)
        whole[p++] = '/';
    memcpy(whole + p, name, n);
    return set_name(w, w->at, whole, p + n);
}

/* What stands behind the mark of the end is padding; anything else would be pictures that get lost (archives put together with
 * cat). */
static bool end_is_clean(Walk *w)
{
    uint8_t bytes[16 * BLOCK];
    while (w->at < w->end) {
        size_t n = w->end - w->at < sizeof bytes ? (size_t)(w->end - w->at) : sizeof bytes;
        if (!tar_read(w->descriptor, w->path, bytes, n, w->at))
            return false;
        if (!is_zero(bytes, n))
            return walk_fail(w, w->at,
                             "data behind the mark of the archive's end; put archives together with tar --concatenate");
        w->at += n;
    }
    return true;
}

/* The entry whose header was read: an extension is kept for the next, all else is handed on. */
static bool take_entry(Walk *w, const uint8_t *header, TarVisit visit, void *self)
{
    char type = (char)header[TYPE];
    uint64_t size, start = w->at;
    if (!checksum_holds(header))
        return walk_fail(w, start, start ? "the checksum of a header does not hold" : "no tar archive, or a wrong checksum");
    if (!read_number(header + SIZE, 12, &size))
        return walk_fail(w, start, "a size that is negative, too large or no number");
    bool extension = type == 'L' || type == 'K' || type == 'x' || type == 'g';
    if (!extension && w->has_size)
        size = w->size;
    if (type >= '1' && type <= '6')
        size = 0; /* links, devices and folders have no bytes whatever their header says */
    if (type == 'S' || type == 'M')
        return walk_fail(w, start, "a member that is %s",
                         type == 'S' ? "sparse; make the archive without --sparse" : "continued");
    uint64_t left = w->end - start - BLOCK;
    if (size > left)
        return walk_fail(w, start, "truncated: a member of %llu bytes where %llu are left", (unsigned long long)size,
                         (unsigned long long)left);
    uint64_t blocks = size / BLOCK + (size % BLOCK != 0);
    w->at = blocks > left / BLOCK ? w->end : start + BLOCK + blocks * BLOCK;
    if (type == 'L')
        return take_long_name(w, start, size);
    if (type == 'x' || type == 'g')
        return take_pax(w, start, size, type == 'g');
    if (type == 'K')
        return true;
    if (!take_header_name(w, header))
        return false;
    bool old_folder = !type && w->name[0] && w->name[strlen(w->name) - 1] == '/';
    TarMember member = {w->name, type == 0 || type == '7' ? '0' : type, start, start + BLOCK, size};
    if (old_folder)
        member.type = '5';
    if (!w->name[0])
        return walk_fail(w, start, "a member without a name");
    bool ok = visit(self, w->descriptor, &member);
    w->has_name = w->name_is_pax = w->has_size = false;
    return ok;
}

bool tar_walk(int descriptor, const char *path, TarVisit visit, void *self)
{
    Walk w = {.descriptor = descriptor, .path = path};
    struct stat info;
    uint8_t header[BLOCK];
    if (fstat(descriptor, &info) < 0)
        return error_set("cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set("cannot read %s: not a regular file", path);
    w.end = (uint64_t)info.st_size;
    for (;;) {
        if (w.end - w.at < BLOCK) {
            if (w.at == 0 && w.end > 0 && tar_read(descriptor, path, header, (size_t)w.end, 0) &&
                !tar_is_plain(path, header, (size_t)w.end))
                return false;
            return walk_fail(&w, w.at, "truncated: the archive's end is not marked");
        }
        if (!tar_read(descriptor, path, header, BLOCK, w.at))
            return false;
        if (w.at == 0 && !tar_is_plain(path, header, BLOCK))
            return false;
        if (is_zero(header, BLOCK)) {
            if (w.has_name || w.has_size)
                return walk_fail(&w, w.at, "an extension header without a member");
            return end_is_clean(&w);
        }
        if (!take_entry(&w, header, visit, self))
            return false;
    }
}
