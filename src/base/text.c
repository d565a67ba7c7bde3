#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Room for `more` characters and the zero. */
static bool reserve(Text *t, size_t more)
{
    if (t->failed)
        return false;
    size_t need = t->length + more + 1;
    if (need <= t->capacity)
        return true;
    size_t capacity = t->capacity ? t->capacity : 64;
    while (capacity < need)
        capacity *= 2;
    char *moved = memory_resize(t->data, capacity, 1);
    if (!moved) {
        t->failed = true;
        return false;
    }
    t->data = moved;
    t->capacity = capacity;
    return true;
}

void text_add(Text *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n >= 0 && reserve(t, (size_t)n)) {
        vsnprintf(t->data + t->length, (size_t)n + 1, format, again);
        t->length += (size_t)n;
    }
    va_end(again);
}

void text_add_bytes(Text *t, const void *bytes, size_t count)
{
    if (!reserve(t, count))
        return;
    memcpy(t->data + t->length, bytes, count);
    t->length += count;
    t->data[t->length] = 0;
}

size_t text_utf8_bytes(const char *at)
{
    const unsigned char *c = (const unsigned char *)at;
    size_t count = *c < 0x80 ? 1 : *c < 0xC2 ? 0 : *c < 0xE0 ? 2 : *c < 0xF0 ? 3 : *c < 0xF5 ? 4 : 0;
    unsigned char low = *c == 0xE0 ? 0xA0 : *c == 0xF0 ? 0x90 : 0x80, high = *c == 0xED ? 0x9F : *c == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < count; i++, low = 0x80, high = 0xBF)
        if (c[i] < low || c[i] > high)
            return 0;
    return count;
}

void text_add_json_string(Text *t, const char *string)
{
    size_t bytes;
    text_add(t, "\"");
    for (const unsigned char *c = (const unsigned char *)string; *c; c++) {
        if (*c == '"' || *c == '\\')
            text_add(t, "\\%c", *c);
        else if (*c == '\n')
            text_add(t, "\\n");
        else if (*c < 0x20)
            text_add(t, "\\u%04x", *c);
        else if (*c < 0x80)
            text_add_bytes(t, c, 1);
        else if (!(bytes = text_utf8_bytes((const char *)c)))
            text_add(t, "\\ufffd");
        else {
            text_add_bytes(t, c, bytes);
            c += bytes - 1;
        }
    }
    text_add(t, "\"");
}

void text_free(Text *t)
{
    memory_free(t->data);
    *t = (Text){0};
}

int text_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST);
    int row[LONGEST + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}
