#include "data/pack_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/tar.h"

enum { LONGEST_STEM = 3000 }; /* bytes; a number and a suffix follow, and the longest name that is read has 3583 */

void pack_names_free(PackNames *names)
{
    text_free(&names->text);
    memory_free(names->stem);
    *names = (PackNames){0};
}

void pack_stem(const char *key, Text *out)
{
    size_t begin = out->length, last = begin, length = strlen(key);
    const char *dot = strrchr(key, '.');
    if (dot && image_suffix_format(key))
        length = (size_t)(dot - key);
    for (size_t at = 0; at < length;) {
        size_t n = 0;
        while (at + n < length && key[at + n] != '/' && key[at + n] != '#')
            n++;
        const char *part = key + at;
        bool nothing = n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.');
        if (!nothing && out->length + n - begin < LONGEST_STEM) {
            if (out->length > begin)
                text_add(out, "/");
            bool note = out->length == begin && tar_is_note(part, n);
            last = out->length;
            text_add_bytes(out, part, n);
            if (note) /* or readers pass over it */
                text_add(out, "-");
        }
        at += n + 1;
    }
    if (out->length == begin)
        text_add(out, "picture");
    for (char *c = out->failed ? NULL : out->data + last; c && c < out->data + out->length; c++)
        if (*c == '.')
            *c = '_';
}

typedef struct {
    const char *stem;
    size_t sample;
} Named;

static int compare(const void *a, const void *b)
{
    const Named *x = a, *y = b;
    int order = strcmp(x->stem, y->stem);
    return order ? order : x->sample < y->sample ? -1 : x->sample > y->sample;
}

/* Appends its number to every stem that another sample has, too; *changed tells whether there was one. */
static bool number_twins(PackNames *names, bool *changed)
{
    Named *sorted = memory_new(names->count, sizeof *sorted);
    bool *twin = memory_new(names->count, sizeof *twin);
    Text text = {0};
    *changed = false;
    bool ok = sorted && twin;
    for (size_t i = 0; ok && i < names->count; i++)
        sorted[i] = (Named){names->text.data + names->stem[i], i};
    if (ok)
        qsort(sorted, names->count, sizeof *sorted, compare);
    for (size_t i = 1; ok && i < names->count; i++)
        if (!strcmp(sorted[i - 1].stem, sorted[i].stem))
            *changed = twin[sorted[i - 1].sample] = twin[sorted[i].sample] = true;
    for (size_t i = 0; ok && *changed && i < names->count; i++) {
        size_t at = text.length;
        text_add(&text, "%s", names->text.data + names->stem[i]);
        if (twin[i])
            text_add(&text, "-%zu", i);
        text_add_bytes(&text, "", 1);
        names->stem[i] = at;
        ok = !text.failed;
    }
    if (ok && *changed) {
        text_free(&names->text);
        names->text = text;
    } else {
        text_free(&text);
    }
    memory_free(sorted);
    memory_free(twin);
    return ok;
}

bool pack_names_make(PackNames *names, const Source *source)
{
    enum { ROUNDS = 16 }; /* a number that is put behind may make another's stem, but not for long */
    char *key = memory_new(SOURCE_KEY_SIZE, 1);
    bool changed = true;
    names->count = source_count(source);
    names->stem = memory_new(names->count, sizeof *names->stem);
    bool ok = key && names->stem;
    for (size_t i = 0; ok && i < names->count; i++) {
        source_key(source, i, key, SOURCE_KEY_SIZE);
        names->stem[i] = names->text.length;
        pack_stem(key, &names->text);
        text_add_bytes(&names->text, "", 1);
        ok = !names->text.failed;
    }
    for (int r = 0; ok && changed && r < ROUNDS; r++)
        ok = number_twins(names, &changed);
    if (ok && changed)
        ok = error_set("the pictures of %s have names that cannot be told apart", source_where(source));
    memory_free(key);
    return ok;
}
