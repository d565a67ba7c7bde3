/* Recipes and the key table as text. */
#include <string.h>

#include "recipe/recipe.h"
#include "recipe/schema.h"

#ifndef LACUNA_VERSION
#define LACUNA_VERSION "0"
#endif

/* The part of a key in front of its last dot has this length; 0 for top-level keys. */
static size_t group_length(const char *key)
{
    const char *dot = strrchr(key, '.');
    return dot ? (size_t)(dot - key) : 0;
}

static bool same_group(const RecipeKey *a, const RecipeKey *b)
{
    size_t n = group_length(a->key);
    return n == group_length(b->key) && !strncmp(a->key, b->key, n);
}

static bool is_first_of_group(const RecipeKey *rows, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (rows[j].type != KEY_RESERVED && same_group(&rows[j], &rows[i]))
            return false;
    return true;
}

static const char *leaf_name(const RecipeKey *row)
{
    size_t n = group_length(row->key);
    return row->key + n + (n > 0);
}

/* "key: "; other YAML readers take `on` without quotes for true. */
static void write_key(const char *lead, const RecipeKey *row, Text *out)
{
    const char *name = leaf_name(row);
    text_add(out, strcmp(name, "on") ? "%s%s: " : "%s\"%s\": ", lead, name);
}

/* The one of blr and lr that does not count is left out, as are sizes that a kind of decoder does not have. */
static bool is_written(const RecipeKey *row, const Recipe *r, const RecipeDecoder *d)
{
    if (row->type == KEY_RESERVED)
        return false;
    const void *field = schema_field_const(row, r, d);
    if (field == &r->schedule.blr)
        return r->schedule.blr >= 0;
    if (field == &r->schedule.lr)
        return r->schedule.lr >= 0;
    if (d && d->kind != DECODER_TRANSFORMER)
        return field != &d->width && field != &d->depth && field != &d->heads;
    return true;
}

/* "    target: {kind: pixels}" with the keys that a decoder names itself. */
static void write_own(const Recipe *r, const RecipeDecoder *d, const char *group, Text *out)
{
    size_t count, length = strlen(group);
    const RecipeKey *rows = schema_rows(&count);
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        if (!(d->own & schema_own_bit(&rows[i])) || strncmp(rows[i].key, group, length) || rows[i].key[length] != '.')
            continue;
        if (any)
            text_add(out, ", ");
        else
            text_add(out, "    %s: {", group);
        any = true;
        write_key("", &rows[i], out);
        value_write(&rows[i], schema_field_const(&rows[i], r, d), out);
    }
    if (any)
        text_add(out, "}\n");
}

static void write_decoders(const Recipe *r, Text *out)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    text_add(out, r->decoder_count ? "decoders:\n" : "decoders: []\n");
    for (int k = 0; k < r->decoder_count; k++) {
        const RecipeDecoder *d = &r->decoders[k];
        const char *lead = "  - ";
        for (size_t i = 0; i < count; i++) {
            if (!schema_in_decoder(&rows[i]) || !is_written(&rows[i], r, d))
                continue;
            write_key(lead, &rows[i], out);
            value_write(&rows[i], schema_field_const(&rows[i], r, d), out);
            text_add(out, "\n");
            lead = "    ";
        }
        write_own(r, d, "target", out);
        write_own(r, d, "loss", out);
    }
}

void recipe_write(const Recipe *r, Text *out)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    text_add(out, "lacuna: %s\n", LACUNA_VERSION);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == KEY_RESERVED || !is_first_of_group(rows, i))
            continue;
        if (schema_in_decoder(&rows[i])) {
            write_decoders(r, out);
            continue;
        }
        size_t length = group_length(rows[i].key);
        if (length)
            text_add(out, "%.*s:\n", (int)length, rows[i].key);
        for (size_t j = i; j < count; j++) {
            if (!same_group(&rows[i], &rows[j]) || !is_written(&rows[j], r, NULL))
                continue;
            write_key(length ? "  " : "", &rows[j], out);
            value_write(&rows[j], schema_field_const(&rows[j], r, NULL), out);
            text_add(out, "\n");
        }
    }
}

bool recipe_target_equal(const RecipeTarget *a, const RecipeTarget *b)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    for (size_t i = 0; i < count; i++) {
        size_t at = rows[i].offset - offsetof(Recipe, target);
        if (!strncmp(rows[i].key, "target.", 7) && schema_own_bit(&rows[i]) &&
            memcmp((const char *)a + at, (const char *)b + at, schema_field_bytes(&rows[i])))
            return false;
    }
    return true;
}

/* One line when a field differs. */
static int compare(const RecipeKey *row, const char *key, const void *a, const void *b, Text *out)
{
    if (!memcmp(a, b, schema_field_bytes(row)))
        return 0;
    text_add(out, "%s: ", key);
    value_write(row, a, out);
    text_add(out, " -> ");
    value_write(row, b, out);
    text_add(out, "\n");
    return 1;
}

int recipe_differences(const Recipe *a, const Recipe *b, Text *out)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    int lines = 0;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == KEY_OTHER || rows[i].type == KEY_RESERVED || schema_in_decoder(&rows[i]))
            continue;
        lines +=
            compare(&rows[i], rows[i].key, schema_field_const(&rows[i], a, NULL), schema_field_const(&rows[i], b, NULL), out);
    }
    if (a->decoder_count != b->decoder_count) {
        text_add(out, "decoders: %d -> %d of them\n", a->decoder_count, b->decoder_count);
        lines++;
    }
    for (int k = 0; k < a->decoder_count && k < b->decoder_count; k++) {
        for (size_t i = 0; i < count; i++) {
            bool inside = schema_in_decoder(&rows[i]);
            if (!inside && !((a->decoders[k].own | b->decoders[k].own) & schema_own_bit(&rows[i])))
                continue;
            Text key = {0};
            text_add(&key, "decoders.%d.%s", k, inside ? leaf_name(&rows[i]) : rows[i].key);
            out->failed = out->failed || key.failed;
            lines += compare(&rows[i], key.data ? key.data : rows[i].key, schema_field_const(&rows[i], a, &a->decoders[k]),
                             schema_field_const(&rows[i], b, &b->decoders[k]), out);
            text_free(&key);
        }
    }
    return lines;
}

const char *recipe_word(const char *key, int value)
{
    const RecipeKey *row = schema_find(key);
    if (!row || row->type != KEY_WORD || value < 0)
        return "?";
    for (int i = 0; row->names[i]; i++)
        if (i == value)
            return row->names[i];
    return "?";
}

static void write_short(const RecipeKey *row, Text *out)
{
    bool any = false;
    switch (row->type) {
    case KEY_WORD:
        for (int i = 0; row->names[i]; i++)
            if (row->now >> i & 1) {
                text_add(out, "%s%s", any ? "|" : "", row->names[i]);
                any = true;
            }
        break;
    case KEY_INT:
    case KEY_COUNT:
    case KEY_LONG:
    case KEY_SEED:
        text_add(out, "N");
        break;
    case KEY_REAL:
        text_add(out, "X");
        break;
    case KEY_TEXT:
        text_add(out, "PATH");
        break;
    default:
        text_add(out, "VALUE");
    }
}

void recipe_each(void (*see)(void *context, const RecipeKeyInfo *info), void *context)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    for (size_t i = 0; i < count; i++) {
        Text values = {0}, value = {0};
        schema_describe(&rows[i], &values);
        write_short(&rows[i], &value);
        see(context, &(RecipeKeyInfo){.key = rows[i].key,
                                      .values = values.data ? values.data : "",
                                      .value = value.data ? value.data : "",
                                      .is_text = rows[i].type == KEY_TEXT,
                                      .is_word = rows[i].type == KEY_WORD,
                                      .initial = rows[i].initial ? rows[i].initial : "",
                                      .help = rows[i].help,
                                      .carried_out = rows[i].now != NOT_YET,
                                      .reserved = rows[i].type == KEY_RESERVED});
        text_free(&values);
        text_free(&value);
    }
}

static void write_cell(const RecipeKey *row, Text *out)
{
    if (row->type == KEY_WORD) {
        bool any = false;
        for (int i = 0; row->names[i]; i++)
            if (row->now >> i & 1) {
                text_add(out, "%s`%s`", any ? ", " : "", row->names[i]);
                any = true;
            }
        return;
    }
    schema_describe(row, out);
}

/* Values of a key that the vocabulary has and this version refuses. */
static void write_refused(const RecipeKey *row, Text *out)
{
    if (row->type == KEY_COUNT && row->now_high && row->now_high < row->high) {
        text_add(out, " Larger numbers are not carried out yet.");
        return;
    }
    if (row->type != KEY_WORD || row->now == CARRIED_OUT || row->now == NOT_YET)
        return;
    const char *lead = " Not carried out yet: ";
    bool any = false;
    for (int i = 0; row->names[i]; i++)
        if (!(row->now >> i & 1)) {
            text_add(out, "%s`%s`", lead, row->names[i]);
            lead = ", ";
            any = true;
        }
    if (any)
        text_add(out, ".");
}

void recipe_print_markdown(Text *out)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    text_add(out, "# Keys of a recipe\n\n"
                  "This page is made from the program's key table (`src/recipe/schema.c`); do not edit it.\n\n"
                  "A recipe is a YAML mapping. `base: NAME` starts from another recipe, `lacuna: VERSION` is written into the "
                  "copy that a run\n"
                  "keeps. On the command line `key.sub=value` wins over the file, decoders are counted from 0 "
                  "(`decoders.0.weight=0.5`), every\n"
                  "`run.*` key is a flag too (`--max-steps 100`), and `--data` and `--val` set `data.train` and `data.val`. A "
                  "decoder may hold\n"
                  "`target` and `loss` mappings of its own: keys in them replace those of the recipe for that decoder. Lists "
                  "are written\n"
                  "`[a, b]`. `auto` is computed; what depends on the pictures or the machine is then stored in the run.\n");
    for (size_t i = 0; i < count; i++) {
        size_t length = group_length(rows[i].key);
        if (!is_first_of_group(rows, i) || rows[i].type == KEY_RESERVED || (!length && rows[i].now == NOT_YET))
            continue;
        bool any = false;
        for (size_t j = i; j < count; j++) {
            const RecipeKey *row = &rows[j];
            if (!same_group(&rows[i], row) || row->type == KEY_RESERVED || row->now == NOT_YET)
                continue;
            if (!any)
                text_add(out, "\n## %.*s\n\n| key | default | values | meaning |\n| --- | --- | --- | --- |\n",
                         (int)(length ? length : strlen(rows[i].key)), row->key);
            any = true;
            text_add(out, "| `%s` | `%s` | ", row->key, row->initial);
            write_cell(row, out);
            text_add(out, " | %s", row->help);
            write_refused(row, out);
            text_add(out, " |\n");
        }
    }
    text_add(
        out,
        "\n## Known, not carried out yet\n\n"
        "These keys are refused by name unless they hold their default.\n\n| key | default | meaning |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < count; i++)
        if (rows[i].now == NOT_YET && rows[i].type != KEY_RESERVED)
            text_add(out, "| `%s` | `%s` | %s |\n", rows[i].key, rows[i].initial, rows[i].help);
    text_add(out, "\n## Reserved\n\nThese names, and all keys below them, are kept for later versions and refused.\n\n"
                  "| key | meaning |\n| --- | --- |\n");
    for (size_t i = 0; i < count; i++)
        if (rows[i].type == KEY_RESERVED)
            text_add(out, "| `%s` | %s |\n", rows[i].key, rows[i].help);
}
