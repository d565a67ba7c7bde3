#include "data/tar_write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

enum {
    BLOCK = 512,
    RECORD = 20 * BLOCK,
    NAME_SIZE = 100,
    PREFIX_SIZE = 155,
    SIZE = 124,
    CHECKSUM = 148,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345
};

/* Where a name is cut into prefix and name: the place of a slash, 0 when it fits uncut, -1 when it does not fit. */
static int cut_of(const char *name)
{
    size_t length = strlen(name);
    if (length <= NAME_SIZE)
        return 0;
    for (size_t at = length - 1; at > 0; at--)
        if (name[at] == '/' && at <= PREFIX_SIZE && length - at - 1 <= NAME_SIZE && length - at - 1 > 0)
            return (int)at;
    return -1;
}

static void add_header(Text *out, const char *name, int cut, size_t size, char type)
{
    static const char magic[8] = {'u', 's', 't', 'a', 'r', 0, '0', '0'};
    char header[BLOCK] = {0}, number[16];
    unsigned sum = 0;
    const char *rest = cut > 0 ? name + cut + 1 : name;
    size_t length = strlen(rest);
    memcpy(header, rest, length < NAME_SIZE ? length : NAME_SIZE);
    if (cut > 0)
        memcpy(header + PREFIX, name, (size_t)cut);
    memcpy(header + NAME_SIZE, "0000644\0000000000\0000000000", 24);
    snprintf(number, sizeof number, "%011zo", size); /* at most 1 GiB: 11 digits hold it */
    memcpy(header + SIZE, number, 12);
    memcpy(header + SIZE + 12, "00000000000", 12);
    memset(header + CHECKSUM, ' ', 8);
    header[TYPE] = type;
    memcpy(header + MAGIC, magic, sizeof magic);
    for (int i = 0; i < BLOCK; i++)
        sum += (unsigned char)header[i];
    snprintf(number, sizeof number, "%06o", sum);
    memcpy(header + CHECKSUM, number, 7);
    text_add_bytes(out, header, BLOCK);
}

static size_t padding(size_t size)
{
    return (BLOCK - size % BLOCK) % BLOCK;
}

static void add_padding(Text *out, size_t size)
{
    static const char zeros[BLOCK];
    text_add_bytes(out, zeros, padding(size));
}

/* "LENGTH path=NAME\n", the length counting its own digits. */
static size_t pax_size(const char *name)
{
    size_t rest = strlen(name) + strlen(" path=\n"), digits = 1;
    for (size_t limit = 10; rest + digits >= limit; limit *= 10)
        digits++;
    return rest + digits;
}

uint64_t tar_member_size(const char *name, size_t size)
{
    uint64_t sum = BLOCK + (uint64_t)size + padding(size);
    if (cut_of(name) < 0)
        sum += BLOCK + pax_size(name) + padding(pax_size(name));
    return sum;
}

bool tar_write_member(int descriptor, const char *path, const char *name, const void *bytes, size_t size)
{
    Text head = {0}, tail = {0};
    int cut = cut_of(name);
    if (cut < 0) {
        size_t record = pax_size(name);
        add_header(&head, "pax_header", 0, record, 'x');
        text_add(&head, "%zu path=%s\n", record, name);
        add_padding(&head, record);
    }
    add_header(&head, name, cut, size, '0');
    add_padding(&tail, size);
    bool ok = !head.failed && !tail.failed && file_write_all(descriptor, path, head.data, head.length) &&
              file_write_all(descriptor, path, bytes, size) && file_write_all(descriptor, path, tail.data, tail.length);
    text_free(&head);
    text_free(&tail);
    return ok;
}

bool tar_write_end(int descriptor, const char *path)
{
    static const char zeros[RECORD + 2 * BLOCK];
    off_t written = lseek(descriptor, 0, SEEK_CUR);
    if (written < 0)
        return error_set("cannot write %s: %s", path, strerror(errno));
    off_t behind = (written + 2 * BLOCK) % RECORD;
    return file_write_all(descriptor, path, zeros, 2 * BLOCK + (size_t)(behind ? RECORD - behind : 0));
}
