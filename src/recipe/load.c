/* Recipes from files, text and the command line. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "recipe/document.h"
#include "recipe/find.h"
#include "recipe/recipe.h"
#include "recipe/schema.h"
#include "recipe/words.h"

enum { KEY_BYTES = 256, BASES_MAX = 8, LIST_MAX = 64 };

/* Where reading stands. `schema` is the key as the table has it ("decoders.K.tap"), `shown` as the user wrote it. */
typedef struct {
    Recipe *r;
    yaml_document_t *document; /* NULL for a bare value of the command line */
    const char *origin;
    bool numbered;      /* errors name a line */
    bool skip_case;     /* a top-level `case` is accepted */
    int bases;          /* how many recipes lie above this one */
    const char *folder; /* of the file, for relative bases; NULL: none */
    Text *keys;         /* the file's own are appended, a line each; NULL: not asked for */
    bool written;       /* by the program: it says by which version */
} Reader;

typedef struct {
    char schema[KEY_BYTES], shown[KEY_BYTES];
    RecipeDecoder *decoder; /* NULL outside the list */
    int line;
} Place;

/* What a mapping has named, for keys that exclude each other. */
typedef struct {
    bool blr, lr;
    bool width, depth, heads; /* of a decoder */
} Given;

static bool fail(const Reader *in, const Place *at, const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool fail(const Reader *in, const Place *at, const char *format, ...)
{
    char why[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    const char *colon = at->shown[0] ? ": " : "";
    if (in->numbered)
        return error_set("%s:%d: %s%s%s", in->origin, at->line, at->shown, colon, why);
    return error_set("%s: %s%s%s", in->origin, at->shown, colon, why);
}

static bool read_base(Reader *in, const char *base, const Place *at);

/* "; did you mean encoder.depth?" or "; encoder has kind, patch, ...". */
static void add_advice(const Place *at, Text *out)
{
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    const char *best = words_key(at->schema);
    int least = 1000;
    if (best) {
        text_add(out, "; here that is called %s", best);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == KEY_RESERVED)
            continue;
        int gap = abs((int)strlen(at->schema) - (int)strlen(rows[i].key)), distance = gap;
        if (gap < least) /* else the distance, which is no less, is of no interest */
            distance = text_distance(at->schema, rows[i].key);
        /* A right name in a wrong group is close too. */
        const char *leaf = strrchr(rows[i].key, '.'), *own = strrchr(at->schema, '.');
        if (leaf && !strcmp(leaf + 1, own ? own + 1 : at->schema) && distance > 2)
            distance = 2;
        if (distance < least) {
            least = distance;
            best = rows[i].key;
        }
    }
    size_t length = strlen(at->schema);
    if (best && (least <= 2 || (size_t)least * 4 <= length)) {
        text_add(out, "; did you mean %s?", best);
        return;
    }
    char parent[KEY_BYTES];
    snprintf(parent, sizeof parent, "%s", at->schema);
    char *dot = strrchr(parent, '.');
    size_t depth = 0;
    if (dot) {
        *dot = 0;
        depth = strlen(parent) + 1;
        text_add(out, "; %s accepts", parent);
    } else {
        text_add(out, "; accepted are");
    }
    char last[KEY_BYTES] = "";
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == KEY_RESERVED ||
            (depth && (strncmp(rows[i].key, parent, depth - 1) || rows[i].key[depth - 1] != '.')))
            continue;
        size_t n = strcspn(rows[i].key + depth, ".");
        if (n == strlen(last) && !strncmp(rows[i].key + depth, last, n))
            continue;
        snprintf(last, sizeof last, "%.*s", (int)n, rows[i].key + depth);
        text_add(out, "%s %s", first ? "" : ",", last);
        first = false;
    }
}

static bool fail_unknown(const Reader *in, const Place *at)
{
    Text advice = {0};
    add_advice(at, &advice);
    fail(in, at, "unknown key%s", advice.data ? advice.data : "");
    text_free(&advice);
    return false;
}

static void show_value(const RecipeValue *value, Text *out)
{
    if (value->list)
        text_add(out, "[");
    for (size_t i = 0; i < value->count; i++)
        text_add(out, "%s%.60s", i ? ", " : "", value->items[i].text);
    if (value->list)
        text_add(out, "]");
}

/* Puts a value into its field, with the keys that follow from it. */
static bool assign_value(Reader *in, const Place *at, const RecipeKey *row, const RecipeValue *value, Given *given)
{
    void *field = schema_field(row, in->r, at->decoder);
    ValueVerdict verdict = value_read(row, value, field);
    if (verdict != VALUE_GOOD) {
        Text shown = {0}, accepted = {0};
        show_value(value, &shown);
        schema_describe(row, &accepted);
        const char *what = shown.data ? shown.data : "", *words = accepted.data ? accepted.data : "";
        if (verdict == VALUE_WRONG)
            fail(in, at, "'%s' is not accepted here; give %s%s", what, row->type == KEY_WORD ? "one of " : "", words);
        else if (row->type == KEY_RESERVED)
            fail(in, at, "this key is not carried out yet by this version; leave it out");
        else if (row->now == NOT_YET)
            fail(in, at, "%s is not carried out yet by this version; leave the key out or use %s", what, row->initial);
        else
            fail(in, at, "%s is not carried out yet by this version; use %s", what, words);
        text_free(&shown);
        text_free(&accepted);
        return false;
    }
    if (at->decoder)
        at->decoder->own |= schema_own_bit(row);
    Recipe *r = in->r;
    if (field == &r->schedule.lr && r->schedule.lr >= 0) {
        r->schedule.blr = RECIPE_AUTO;
        given->lr = true;
    } else if (field == &r->schedule.blr && r->schedule.blr >= 0) {
        r->schedule.lr = RECIPE_AUTO;
        given->blr = true;
    }
    if (given->lr && given->blr)
        return fail(in, at, "schedule.blr and schedule.lr exclude each other; give one of them");
    if (at->decoder) {
        given->width |= field == &at->decoder->width;
        given->depth |= field == &at->decoder->depth;
        given->heads |= field == &at->decoder->heads;
    }
    return true;
}

/* Scalars and flat lists as values; everything else is of the wrong type for any row. */
static bool assign_row(Reader *in, const Place *at, const RecipeKey *row, const yaml_node_t *node, Given *given)
{
    RecipeScalar items[LIST_MAX];
    RecipeValue value = {.list = node->type == YAML_SEQUENCE_NODE, .items = items};
    if (in->keys)
        text_add(in->keys, "%s\n", at->shown);
    if (row->type == KEY_RESERVED)
        return assign_value(in, at, row, &value, given);
    bool flat = true;
    if (value.list) {
        for (yaml_node_item_t *i = node->data.sequence.items.start; flat && i < node->data.sequence.items.top; i++) {
            const yaml_node_t *item = yaml_document_get_node(in->document, *i);
            flat = value.count < LIST_MAX && (items[value.count].text = document_scalar(item, &items[value.count].plain));
            value.count += flat;
        }
    } else {
        flat = (items[0].text = document_scalar(node, &items[0].plain));
        value.count = flat;
    }
    if (flat)
        return assign_value(in, at, row, &value, given);
    if (row->type == KEY_OTHER)
        return fail(in, at, "this key is not carried out yet by this version; leave it out or use %s", row->initial);
    Text accepted = {0};
    schema_describe(row, &accepted);
    fail(in, at, "%s is not accepted here; give %s%s",
         node->type == YAML_MAPPING_NODE ? "a mapping"
         : value.list                    ? "a list of this length or nesting"
                                         : "a zero byte",
         row->type == KEY_WORD ? "one of " : "", accepted.data ? accepted.data : "");
    text_free(&accepted);
    return false;
}

static bool assign(Reader *in, const Place *at, const yaml_node_t *node, Given *given);

/* The place of a key inside a mapping. False when it is too long to be any key. */
static bool step_into(const Place *at, const char *key, Place *next)
{
    *next = *at;
    const char *dot = at->schema[0] ? "." : "";
    return snprintf(next->schema, KEY_BYTES, "%s%s%s", at->schema, dot, key) < KEY_BYTES &&
           snprintf(next->shown, KEY_BYTES, "%s%s%s", at->shown, dot, key) < KEY_BYTES;
}

static bool same_key(yaml_document_t *document, const yaml_node_pair_t *pair, const char *key)
{
    bool plain;
    const char *text = document_scalar(yaml_document_get_node(document, pair->key), &plain);
    return text && !strcmp(text, key);
}

static bool assign_mapping(Reader *in, const Place *at, const yaml_node_t *node, Given *given)
{
    if (node->type != YAML_MAPPING_NODE)
        return fail(in, at, "a mapping of keys to values is expected here");
    yaml_node_pair_t *start = node->data.mapping.pairs.start, *top = node->data.mapping.pairs.top;
    bool root = !at->schema[0];
    /* The base comes first, wherever it is written. */
    for (yaml_node_pair_t *pair = start; root && pair < top; pair++) {
        if (!same_key(in->document, pair, "base"))
            continue;
        const yaml_node_t *value = yaml_document_get_node(in->document, pair->value);
        Place next;
        bool plain;
        const char *base = document_scalar(value, &plain);
        step_into(at, "base", &next);
        next.line = document_line(value);
        if (!base || !base[0])
            return fail(in, &next, "give the name of a recipe or a path");
        if (!read_base(in, base, &next))
            return false;
        break;
    }
    for (yaml_node_pair_t *pair = start; pair < top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(in->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(in->document, pair->value);
        Place next = *at;
        bool plain;
        const char *key = document_scalar(name, &plain);
        next.line = document_line(name);
        if (!key)
            return fail(in, &next, "a key must be a word");
        if (!step_into(at, key, &next))
            return fail(in, &next, "unknown key: no key is that long");
        next.line = document_line(name);
        for (yaml_node_pair_t *before = start; before < pair; before++)
            if (same_key(in->document, before, key))
                return fail(in, &next, "given twice; the first is in line %d",
                            document_line(yaml_document_get_node(in->document, before->key)));
        if (strchr(key, '.'))
            return fail(in, &next, "dots do not reach into mappings in a file; nest the keys");
        if (root && (!strcmp(key, "base") || (in->skip_case && !strcmp(key, "case"))))
            continue;
        if (root && !strcmp(key, "lacuna")) {
            if (value->type != YAML_SCALAR_NODE)
                return fail(in, &next, "give the version of the program as a word");
            in->written = true;
            continue;
        }
        if (!assign(in, &next, value, given))
            return false;
    }
    return true;
}

/* Keys that only transformers have. */
static bool check_decoder(const Reader *in, const Place *at, const Given *given)
{
    const char *extra = given->width ? "width" : given->depth ? "depth" : given->heads ? "heads" : NULL;
    if (at->decoder->kind == DECODER_TRANSFORMER || !extra)
        return true;
    return fail(in, at, "%s does not apply: only decoders of kind transformer have width, depth and heads", extra);
}

static bool assign_decoders(Reader *in, const Place *at, const yaml_node_t *node)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return fail(in, at, "a list with a mapping per decoder is expected here");
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count > RECIPE_DECODERS_MAX)
        return fail(in, at, "%zu decoders; give at most %d", count, RECIPE_DECODERS_MAX);
    in->r->decoder_count = (int)count;
    memset(in->r->decoders, 0, sizeof in->r->decoders);
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *item = yaml_document_get_node(in->document, node->data.sequence.items.start[i]);
        Place next = *at;
        Given given = {0};
        next.decoder = &in->r->decoders[i];
        next.line = document_line(item);
        recipe_decoder_defaults(in->r, next.decoder);
        snprintf(next.schema, KEY_BYTES, "decoders.K");
        snprintf(next.shown, KEY_BYTES, "decoders.%zu", i);
        if (!assign_mapping(in, &next, item, &given) || !check_decoder(in, &next, &given))
            return false;
    }
    return true;
}

/* One mapping of the list `stages`. */
static bool assign_stage(Reader *in, const Place *at, const yaml_node_t *node, RecipeStage *stage)
{
    *stage = (RecipeStage){.teacher_depth = RECIPE_AUTO};
    if (node->type != YAML_MAPPING_NODE)
        return fail(in, at, "a stage is a mapping, as in {epochs: 100, teacher_depth: 12}");
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(in->document, pair->key);
        RecipeScalar value;
        bool plain, known = true;
        const char *key = document_scalar(name, &plain);
        Place next;
        if (!key || !step_into(at, key, &next))
            return fail(in, at, "a key of a stage must be a word");
        next.line = document_line(name);
        for (yaml_node_pair_t *before = node->data.mapping.pairs.start; before < pair; before++)
            if (same_key(in->document, before, key))
                return fail(in, &next, "given twice");
        value.text = document_scalar(yaml_document_get_node(in->document, pair->value), &value.plain);
        if (!value.text)
            return fail(in, &next, "a number or a word is expected here");
        if (!value_read_stage(stage, key, &value, &known))
            return fail(in, &next,
                        known
                            ? "'%s' is not accepted here; epochs are a whole number of at least 1, teacher_depth one from 0 to "
                              "1024, or all, and optimizer is keep or reset"
                            : "unknown key ('%s'); a stage has epochs, teacher_depth and optimizer",
                        value.text);
    }
    return stage->epochs > 0 || fail(in, at, "how many epochs? Give them as in {epochs: 100, teacher_depth: 12}");
}

static bool assign_stages(Reader *in, const Place *at, const yaml_node_t *node, RecipeStages *stages)
{
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count > RECIPE_STAGES_MAX)
        return fail(in, at, "%zu stages; give at most %d", count, RECIPE_STAGES_MAX);
    memset(stages, 0, sizeof *stages);
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *item = yaml_document_get_node(in->document, node->data.sequence.items.start[i]);
        Place next = *at;
        next.line = document_line(item);
        snprintf(next.schema, KEY_BYTES, "stages.K");
        snprintf(next.shown, KEY_BYTES, "stages.%zu", i);
        if (!assign_stage(in, &next, item, &stages->items[i]))
            return false;
    }
    stages->count = (int)count;
    return true;
}

/* A key of a mapping below `at`: its name and place, given once. */
static bool step_once(Reader *in, const Place *at, const yaml_node_t *node, const yaml_node_pair_t *pair, const char **key,
                      Place *next)
{
    bool plain;
    const yaml_node_t *name = yaml_document_get_node(in->document, pair->key);
    *key = document_scalar(name, &plain);
    if (!*key || !step_into(at, *key, next))
        return fail(in, at, "a key must be a word");
    next->line = document_line(name);
    for (yaml_node_pair_t *before = node->data.mapping.pairs.start; before < pair; before++)
        if (same_key(in->document, before, *key))
            return fail(in, next, "given twice");
    return true;
}

/* One row of target.hybrid's table. */
static bool assign_mix(Reader *in, const Place *at, const yaml_node_t *node, RecipeMix *mix)
{
    bool alpha = false, known;
    int ends = 0;
    *mix = (RecipeMix){0};
    if (node->type != YAML_MAPPING_NODE)
        return fail(in, at, "a row is a mapping, as in {tap: 6, alpha: 0.25}");
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const char *key;
        Place next;
        const yaml_node_t *item = yaml_document_get_node(in->document, pair->value);
        RecipeScalar items[2];
        RecipeValue value = {.list = item->type == YAML_SEQUENCE_NODE, .items = items, .count = 0};
        if (!step_once(in, at, node, pair, &key, &next))
            return false;
        size_t count = value.list ? (size_t)(item->data.sequence.items.top - item->data.sequence.items.start) : 1;
        for (; value.count < count && value.count < 2; value.count++) {
            const yaml_node_t *part =
                value.list ? yaml_document_get_node(in->document, item->data.sequence.items.start[value.count]) : item;
            if (!(items[value.count].text = document_scalar(part, &items[value.count].plain)))
                return fail(in, &next, "a number is expected here");
        }
        if (count > 2 || count < 1 || !value_read_mix(mix, key, &value, &known, &alpha))
            return fail(
                in, &next,
                count > 2 || count < 1 || known
                    ? "not accepted; tap is the number of a block, alpha, from and to are shares from 0 to 1, and epochs "
                      "two rising numbers"
                    : "unknown key; a row has tap and alpha, or tap, from, to and epochs");
        ends += !strcmp(key, "from") || !strcmp(key, "to") || !strcmp(key, "epochs");
    }
    if (mix->tap && (alpha ? ends == 0 : ends == 3))
        return true;
    return fail(in, at, "a row has tap and alpha, or tap, from, to and epochs, as in {tap: 6, alpha: 0.25}");
}

static bool assign_hybrid(Reader *in, const Place *at, const yaml_node_t *node, RecipeHybrid *hybrid)
{
    memset(hybrid, 0, sizeof *hybrid);
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        static const RecipeKey path = {.type = KEY_TEXT, .now = CARRIED_OUT};
        const char *key;
        Place next;
        const yaml_node_t *value = yaml_document_get_node(in->document, pair->value);
        if (!step_once(in, at, node, pair, &key, &next))
            return false;
        if (!strcmp(key, "from")) {
            RecipeScalar text;
            text.text = document_scalar(value, &text.plain);
            if (!text.text || value_read(&path, &(RecipeValue){.items = &text, .count = 1}, hybrid->from) != VALUE_GOOD)
                return fail(in, &next, "give the path of a run or checkpoint");
            continue;
        }
        if (strcmp(key, "table") != 0)
            return fail(in, &next, "unknown key; target.hybrid has from and table");
        size_t count =
            value->type == YAML_SEQUENCE_NODE ? (size_t)(value->data.sequence.items.top - value->data.sequence.items.start) : 0;
        if (count < 1 || count > RECIPE_DECODERS_MAX)
            return fail(in, &next, "give a list of 1 to %d rows, as in [{tap: 6, alpha: 0.25}]", RECIPE_DECODERS_MAX);
        for (size_t i = 0; i < count; i++) {
            const yaml_node_t *item = yaml_document_get_node(in->document, value->data.sequence.items.start[i]);
            Place row = next;
            row.line = document_line(item);
            snprintf(row.shown, KEY_BYTES, "target.hybrid.table.%zu", i);
            if (!assign_mix(in, &row, item, &hybrid->items[i]))
                return false;
        }
        hybrid->count = (int)count;
    }
    return (hybrid->from[0] && hybrid->count) ||
           fail(in, at, "from and table belong together, as in {from: CHECKPOINT, table: [{tap: 6, alpha: 0.25}]}");
}

static bool assign(Reader *in, const Place *at, const yaml_node_t *node, Given *given)
{
    if (!strcmp(at->schema, "decoders"))
        return assign_decoders(in, at, node);
    const RecipeKey *row = schema_find(at->schema);
    if (row && row->type == KEY_STAGES && node->type == YAML_SEQUENCE_NODE)
        return assign_stages(in, at, node, schema_field(row, in->r, NULL));
    if (row && row->type == KEY_HYBRID && at->decoder)
        return fail(in, at, "target.hybrid is the run's, and names the taps itself: give it under target");
    if (row && row->type == KEY_HYBRID && node->type == YAML_MAPPING_NODE)
        return assign_hybrid(in, at, node, schema_field(row, in->r, NULL));
    if (row)
        return assign_row(in, at, row, node, given);
    if (schema_is_group(at->schema))
        return assign_mapping(in, at, node, given);
    return fail_unknown(in, at);
}

/* Reads text over what in->r holds. */
static bool read_text(Reader *in, const char *text, size_t size)
{
    yaml_document_t document;
    if (!document_parse(&document, text, size, in->origin))
        return false;
    in->document = &document;
    Given given = {0};
    yaml_node_t *root = yaml_document_get_root_node(&document);
    Place at = {.line = document_line(root)};
    bool ok = assign_mapping(in, &at, root, &given);
    yaml_document_delete(&document);
    in->document = NULL;
    if (ok)
        recipe_merge(in->r);
    return ok;
}

static bool read_file(Recipe *r, const char *path, bool skip_case, int bases, Text *keys)
{
    size_t size;
    char *folder = NULL, *text = file_read(path, DOCUMENT_BYTES_MAX, &size);
    bool ok = false;
    if (!text)
        return false;
    const char *name = file_name(path);
    folder = memory_string(path);
    if (!folder)
        goto done;
    folder[name - path] = 0;
    Reader in = {
        .r = r, .origin = path, .numbered = true, .skip_case = skip_case, .bases = bases, .folder = folder, .keys = keys};
    ok = read_text(&in, text, size);
    if (keys && in.written)
        text_free(keys);
    if (keys && keys->failed)
        ok = false;
    /* The outermost recipe names the run. */
    const char *dot = strrchr(name, '.');
    size_t length = dot && dot > name ? (size_t)(dot - name) : strlen(name);
    if (length >= RECIPE_NAME_BYTES)
        length = RECIPE_NAME_BYTES - 1;
    memset(r->name, 0, sizeof r->name);
    memcpy(r->name, name, length);
done:
    memory_free(folder);
    memory_free(text);
    return ok;
}

static bool read_base(Reader *in, const char *base, const Place *at)
{
    if (in->bases >= BASES_MAX)
        return fail(in, at, "more than %d recipes stand on each other; is one its own base?", BASES_MAX);
    char *path = NULL;
    if (!find_is_path(base))
        path = find_named(base);
    else if (!in->folder)
        return fail(in, at, "'%s' is a path; only the name of a recipe is accepted here", base);
    else
        path = file_join(in->folder, base);
    bool ok = path && read_file(in->r, path, false, in->bases + 1, NULL);
    if (!ok && in->bases == 0)
        error_context("%s:%d: base", in->origin, at->line);
    memory_free(path);
    return ok;
}

bool recipe_load_keys(Recipe *r, const char *name_or_path, Text *keys)
{
    recipe_defaults(r);
    if (find_is_path(name_or_path))
        return read_file(r, name_or_path, false, 0, keys);
    char *path = find_named(name_or_path);
    bool ok = path && read_file(r, path, false, 0, keys);
    memory_free(path);
    return ok;
}

bool recipe_load(Recipe *r, const char *name_or_path)
{
    return recipe_load_keys(r, name_or_path, NULL);
}

bool recipe_load_case(Recipe *r, const char *path)
{
    recipe_defaults(r);
    return read_file(r, path, true, 0, NULL);
}

bool recipe_parse(Recipe *r, const char *text, size_t size, const char *origin)
{
    recipe_defaults(r);
    Reader in = {.r = r, .origin = origin, .numbered = true};
    return read_text(&in, text, size);
}

/* decoders.1.tap: the decoder, appended if its number is one past the end, and the key as the table has it. */
static bool find_decoder(Reader *in, Place *at)
{
    static const char prefix[] = "decoders.";
    Recipe *r = in->r;
    if (strncmp(at->shown, prefix, sizeof prefix - 1))
        return true;
    const char *number = at->shown + sizeof prefix - 1;
    size_t digits = strspn(number, "0123456789");
    if (digits < 1 || digits > 4 || (number[digits] && number[digits] != '.'))
        return fail(in, at, "give the number of a decoder, counted from 0, as in decoders.0.weight=0.5");
    int index = atoi(number);
    if (index > r->decoder_count || index >= RECIPE_DECODERS_MAX)
        return fail(in, at, "there is no decoder %d: the recipe has %d, counted from 0, and at most %d are accepted", index,
                    r->decoder_count, RECIPE_DECODERS_MAX);
    if (index == r->decoder_count) {
        recipe_decoder_defaults(r, &r->decoders[index]);
        r->decoder_count++;
    }
    at->decoder = &r->decoders[index];
    char rest[KEY_BYTES];
    snprintf(rest, sizeof rest, "%s", number + digits);
    snprintf(at->schema, KEY_BYTES, "decoders.K%.200s", rest);
    return true;
}

static bool set_key(Recipe *r, const char *origin, const char *key, const char *value, Text *keys)
{
    Recipe copy = *r;
    Reader in = {.r = &copy, .origin = origin, .keys = keys};
    Place at = {0};
    Given given = {0};
    bool ok;
    if (snprintf(at.schema, KEY_BYTES, "%s", key) >= KEY_BYTES || snprintf(at.shown, KEY_BYTES, "%s", key) >= KEY_BYTES)
        return error_set("%s: unknown key: no key is that long", origin);
    if (!find_decoder(&in, &at))
        return false;
    const RecipeKey *row = schema_find(at.schema);
    if (row && row->type == KEY_TEXT) {
        /* A path is taken as it stands: it may hold what YAML would take for its own. */
        RecipeScalar item = {value, true};
        if (keys)
            text_add(keys, "%s\n", key);
        ok = assign_value(&in, &at, row, &(RecipeValue){.items = &item, .count = 1}, &given);
    } else if (!row && !schema_is_group(at.schema) && strcmp(at.schema, "decoders")) {
        ok = fail_unknown(&in, &at);
    } else if (!value[strspn(value, " \t")]) {
        Text accepted = {0};
        if (row)
            schema_describe(row, &accepted);
        ok = fail(&in, &at, "no value; give %s%s", row && row->type == KEY_WORD ? "one of " : "",
                  row && accepted.data ? accepted.data : "one behind the equals sign");
        text_free(&accepted);
    } else {
        yaml_document_t document;
        if (!document_parse(&document, value, strlen(value), origin))
            return error_context("%s", key);
        in.document = &document;
        at.line = 1;
        ok = assign(&in, &at, yaml_document_get_root_node(&document), &given);
        yaml_document_delete(&document);
    }
    ok = ok && (!at.decoder || check_decoder(&in, &at, &given));
    if (ok) {
        recipe_merge(&copy);
        *r = copy;
    }
    return ok;
}

bool recipe_set_keys(Recipe *r, const char *assignment, Text *keys)
{
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment)
        return error_set("'%s' is not a setting; give key=value, as in encoder.depth=6", assignment);
    char key[KEY_BYTES];
    if ((size_t)(equals - assignment) >= sizeof key)
        return error_set("command line: unknown key: no key is that long");
    snprintf(key, sizeof key, "%.*s", (int)(equals - assignment), assignment);
    return set_key(r, "command line", key, equals + 1, keys);
}

bool recipe_set(Recipe *r, const char *assignment)
{
    return recipe_set_keys(r, assignment, NULL);
}

const char *recipe_flag_key(const char *name)
{
    if (!strcmp(name, "data"))
        return "data.train";
    if (!strcmp(name, "val"))
        return "data.val";
    size_t count;
    const RecipeKey *rows = schema_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(rows[i].key, "run.", 4))
            continue;
        const char *a = rows[i].key + 4, *b = name;
        while (*a && (*a == *b || (*a == '_' && *b == '-')))
            a++, b++;
        if (!*a && !*b && !strchr(name, '_'))
            return rows[i].key;
    }
    return NULL;
}

bool recipe_flag_is_switch(const char *name)
{
    const char *key = recipe_flag_key(name);
    const RecipeKey *row = key ? schema_find(key) : NULL;
    return row && row->type == KEY_BOOL;
}

bool recipe_set_flag(Recipe *r, const char *name, const char *value, bool *known)
{
    const char *key = recipe_flag_key(name);
    *known = key != NULL;
    if (!key)
        return false;
    char origin[80];
    snprintf(origin, sizeof origin, "--%.64s", name);
    return set_key(r, origin, key, value, NULL);
}
