/* Private to src/data: what the members of packed shards are called. */
#ifndef LACUNA_DATA_PACK_NAMES_H
#define LACUNA_DATA_PACK_NAMES_H

#include "base/text.h"
#include "data/source.h"

typedef struct {
    Text text;    /* the stems, each with a zero byte behind it */
    size_t *stem; /* per sample: its offset in the text */
    size_t count;
} PackNames;

/* A stem for each sample of the source; no two are the same. {0} at first. False after error_set(). */
bool pack_names_make(PackNames *names, const Source *source);
void pack_names_free(PackNames *names);

/* Appends to `out` what becomes of a key (pack.h). */
void pack_stem(const char *key, Text *out);

#endif
