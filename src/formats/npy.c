#include "formats/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

enum { PREFIX = 10 /* magic, version, length */, ALIGN = 64 };

static const char MAGIC[] = "\x93NUMPY";

bool npy_header(const int64_t *shape, int ndim, Text *out)
{
    Text dict = {0};
    text_add(&dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < ndim; i++)
        text_add(&dict, "%s%" PRId64, i ? ", " : "", shape[i]);
    text_add(&dict, "%s), }", ndim == 1 ? "," : "");
    while (!dict.failed && (PREFIX + dict.length + 1) % ALIGN)
        text_add(&dict, " ");
    text_add(&dict, "\n");
    unsigned char start[PREFIX] = {0};
    memcpy(start, MAGIC, sizeof MAGIC - 1);
    start[6] = 1;
    start[8] = (unsigned char)dict.length;
    start[9] = (unsigned char)(dict.length >> 8);
    text_add_bytes(out, start, PREFIX);
    text_add_bytes(out, dict.data, dict.length);
    bool ok = !dict.failed && !out->failed;
    text_free(&dict);
    return ok;
}

/* ---- reading */

typedef struct {
    const char *text; /* the dictionary, zero-terminated */
    const char *path;
} Header;

static bool refuse(const char *path, const char *why)
{
    return error_set("%s is no .npy file that can be read: %s", path, why);
}

/* What stands behind 'key': */
static const char *value_of(const Header *h, const char *key)
{
    const char *at = strstr(h->text, key);
    if (!at)
        return NULL;
    at += strlen(key);
    while (*at == ' ' || *at == ':')
        at++;
    return at;
}

static bool read_shape(const Header *h, NpyArray *out, size_t *count)
{
    const char *at = value_of(h, "'shape'");
    if (!at || *at++ != '(')
        return refuse(h->path, "its header tells no shape");
    *count = 1;
    while (*at != ')') {
        char *end;
        unsigned long long n = strtoull(at, &end, 10);
        if (end == at || *at == '-' || *at == '+' || out->ndim == NPY_DIMS_MAX || n > INT64_MAX ||
            !size_multiply(*count, (size_t)n, count))
            return refuse(h->path, "its shape makes no sense");
        out->shape[out->ndim++] = (int64_t)n;
        at = end;
        while (*at == ' ' || *at == ',')
            at++;
    }
    return true;
}

static const struct {
    const char *descr;
    size_t bytes;
} TYPES[] = {{"'<f4'", 4}, {"'<f8'", 8}, {"'<i4'", 4}, {"'<i8'", 8}, {"'|u1'", 1}};
enum { TYPE_COUNT = sizeof TYPES / sizeof *TYPES };

static float number(int type, const char *at)
{
    float f4;
    double f8;
    int32_t i4;
    int64_t i8;
    switch (type) {
    case 0:
        memcpy(&f4, at, sizeof f4);
        return f4;
    case 1:
        memcpy(&f8, at, sizeof f8);
        return (float)f8;
    case 2:
        memcpy(&i4, at, sizeof i4);
        return (float)i4;
    case 3:
        memcpy(&i8, at, sizeof i8);
        return (float)i8;
    default:
        return (float)(unsigned char)*at;
    }
}

static bool read_array(const Header *h, const char *data, size_t size, NpyArray *out)
{
    const char *descr = value_of(h, "'descr'"), *order = value_of(h, "'fortran_order'");
    size_t count, bytes;
    int type = 0;
    if (!descr || !order)
        return refuse(h->path, "its header tells no type or order");
    while (type < TYPE_COUNT && strncmp(descr, TYPES[type].descr, 5) != 0)
        type++;
    if (type == TYPE_COUNT)
        return error_set("%s holds numbers of type %.8s; f4, f8, i4 and i8 in little endian and u1 can be read", h->path,
                         descr);
    if (strncmp(order, "False", 5) != 0)
        return refuse(h->path, "its numbers lie in Fortran order");
    if (!read_shape(h, out, &count))
        return false;
    if (!size_multiply(count, TYPES[type].bytes, &bytes) || bytes != size)
        return refuse(h->path, "its size is not that of its shape");
    out->data = memory_new(count, sizeof *out->data);
    for (size_t i = 0; out->data && i < count; i++)
        out->data[i] = number(type, data + i * TYPES[type].bytes);
    return out->data != NULL;
}

bool npy_read(const char *path, NpyArray *out)
{
    size_t size, start = PREFIX, length = 0;
    *out = (NpyArray){0};
    char *bytes = file_read(path, 0, &size), *text = NULL;
    if (!bytes)
        return false;
    const unsigned char *b = (const unsigned char *)bytes;
    bool ok = (size > 12 && !memcmp(bytes, MAGIC, 6) && (b[6] == 1 || b[6] == 2)) || refuse(path, "it does not begin as one");
    if (ok) {
        length = b[8] + 256u * b[9];
        if (b[6] == 2) {
            length += ((size_t)b[10] << 16) + ((size_t)b[11] << 24);
            start += 2;
        }
        ok = (length <= size - start && (text = memory_new(length + 1, 1))) || refuse(path, "its header is cut off");
    }
    if (ok) {
        memcpy(text, bytes + start, length);
        ok = read_array(&(Header){text, path}, bytes + start + length, size - start - length, out);
    }
    memory_free(text);
    memory_free(bytes);
    if (!ok)
        npy_free(out);
    return ok;
}

void npy_free(NpyArray *array)
{
    memory_free(array->data);
    *array = (NpyArray){0};
}
