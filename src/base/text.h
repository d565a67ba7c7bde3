/* A growing string. A failed append is remembered, so that a long text is checked once, at the end. */
#ifndef LACUNA_BASE_TEXT_H
#define LACUNA_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *data; /* NULL or zero-terminated */
    size_t length, capacity;
    bool failed; /* memory ran out; error_text() says so, and later appends do nothing */
} Text;

void text_add(Text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_bytes(Text *t, const void *bytes, size_t count);

/* Bytes of the character, not the closing zero, that begins at `at`: 1 to 4, or 0 when this is no UTF-8 (Unicode, table 3-7).
 */
size_t text_utf8_bytes(const char *at);

/* As text_add(), with JSON's escapes and quotes around the string; a byte that is no UTF-8 (of a file's name) becomes U+FFFD.
 */
void text_add_json_string(Text *t, const char *string);

void text_free(Text *t);

/* The number of single-character edits between two words (for "did you mean"); words longer than 63 are cut. */
int text_distance(const char *a, const char *b);

#endif
