#include "analysis/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

/* A field of CSV, in quotes where it has to be. */
static void add_field(Text *out, const char *word)
{
    if (!strpbrk(word, ",\"\n\r")) {
        text_add(out, "%s", word);
        return;
    }
    text_add(out, "\"");
    for (; *word; word++)
        text_add(out, *word == '"' ? "\"\"" : "%c", *word);
    text_add(out, "\"");
}

/* The name of the next column as a key; *at goes behind it. */
static void add_key(Text *out, const char **at)
{
    size_t n = strcspn(*at, ",");
    text_add(out, "\"%.*s\": ", (int)n, *at);
    *at += n + ((*at)[n] == ',');
}

void numbers_row(NumbersTable *t, const char *const *words, const double *numbers, int count)
{
    const char *column = t->columns;
    text_add(&t->json, t->json.length ? ",\n  {" : "\n  {");
    int i = 0;
    for (; words[i]; i++) {
        text_add(&t->csv, i ? "," : "");
        add_field(&t->csv, words[i]);
        text_add(&t->json, i ? ", " : "");
        add_key(&t->json, &column);
        text_add_json_string(&t->json, words[i]);
    }
    for (int k = 0; k < count; k++) {
        bool finite = isfinite(numbers[k]);
        text_add(&t->csv, i + k ? "," : "");
        text_add(&t->json, i + k ? ", " : "");
        add_key(&t->json, &column);
        if (finite)
            text_add(&t->csv, "%.9g", numbers[k]);
        text_add(&t->json, finite ? "%.9g" : "null", numbers[k]);
    }
    text_add(&t->csv, "\n");
    text_add(&t->json, "}");
}

bool numbers_write_csv(const NumbersTable *t, const char *folder)
{
    char name[64];
    Text all = {0};
    snprintf(name, sizeof name, "%s.csv", t->name);
    char *path = file_join(folder, name);
    text_add(&all, "%s\n", t->columns);
    text_add_bytes(&all, t->csv.data ? t->csv.data : "", t->csv.length);
    bool ok = path && !t->csv.failed && !all.failed && file_write(path, all.data, all.length);
    text_free(&all);
    memory_free(path);
    return ok;
}

void numbers_add_json(const NumbersTable *t, Text *out)
{
    text_add(out, "\"%s\": [", t->name);
    text_add_bytes(out, t->json.data ? t->json.data : "", t->json.length);
    text_add(out, "]");
    out->failed = out->failed || t->json.failed;
}

void numbers_free(NumbersTable *t)
{
    text_free(&t->csv);
    text_free(&t->json);
}
