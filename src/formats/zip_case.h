/* Zip archives made by hand, also wrong ones, for tests. */
#ifndef LACUNA_FORMATS_ZIP_CASE_H
#define LACUNA_FORMATS_ZIP_CASE_H

#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

typedef struct {
    const char *name, *data;
    uint32_t bytes;
    uint16_t method;
    int32_t shift; /* of where the directory says that it begins */
} ZipEntry;

static inline void zip_put(Text *t, uint64_t number, int bytes)
{
    for (int i = 0; i < bytes; i++)
        text_add_bytes(t, &(char){(char)(i < 8 ? number >> (8 * i) : 0)}, 1);
}

static inline void zip_case(Text *t, const ZipEntry *entries, int count)
{
    uint64_t *places = memory_new((size_t)count, sizeof *places);
    t->failed = t->failed || !places;
    count = places ? count : 0;
    for (int i = 0; i < count; i++) {
        const ZipEntry *e = &entries[i];
        places[i] = t->length;
        zip_put(t, 0x04034b50, 4);
        zip_put(t, 20, 2);
        zip_put(t, 0, 2);
        zip_put(t, e->method, 2);
        zip_put(t, 0, 16);
        zip_put(t, strlen(e->name), 2);
        zip_put(t, 0, 2);
        text_add_bytes(t, e->name, strlen(e->name));
        text_add_bytes(t, e->data, e->bytes);
    }
    uint64_t directory = t->length;
    for (int i = 0; i < count; i++) {
        const ZipEntry *e = &entries[i];
        zip_put(t, 0x02014b50, 4);
        zip_put(t, 0, 4);
        zip_put(t, 0, 2);
        zip_put(t, e->method, 2);
        zip_put(t, 0, 8);
        zip_put(t, e->bytes, 4);
        zip_put(t, e->bytes, 4);
        zip_put(t, strlen(e->name), 2);
        zip_put(t, 0, 12);
        zip_put(t, places[i] + (uint64_t)(int64_t)e->shift, 4);
        text_add_bytes(t, e->name, strlen(e->name));
    }
    uint64_t end = t->length;
    zip_put(t, 0x06054b50, 4);
    zip_put(t, 0, 4);
    zip_put(t, (uint64_t)count, 2);
    zip_put(t, (uint64_t)count, 2);
    zip_put(t, end - directory, 4);
    zip_put(t, directory, 4);
    zip_put(t, 0, 2);
    memory_free(places);
}

#endif
