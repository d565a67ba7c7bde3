/* Values of the key table: from text to field and back. */
#include "recipe/schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decimal numbers only: strtod() would also take hexadecimal, "inf" and "nan". */
static bool looks_decimal(const char *text)
{
    const char *c = text + (*text == '-' || *text == '+');
    size_t whole = strspn(c, "0123456789"), part = 0;
    c += whole;
    if (*c == '.') {
        part = strspn(c + 1, "0123456789");
        c += 1 + part;
    }
    if (!whole && !part)
        return false;
    if (*c == 'e' || *c == 'E') {
        c += 1 + (c[1] == '-' || c[1] == '+');
        size_t digits = strspn(c, "0123456789");
        if (!digits)
            return false;
        c += digits;
    }
    return *c == 0;
}

static bool read_real(const RecipeKey *row, const RecipeScalar *s, double *out)
{
    if (!s->plain || !looks_decimal(s->text))
        return false;
    double x = strtod(s->text, NULL);
    if (!isfinite(x) || x < row->low || x > row->high)
        return false;
    *out = x == 0 ? 0 : x; /* no negative zero: it would be written as "-0" */
    return true;
}

static bool read_whole(const RecipeKey *row, const RecipeScalar *s, int64_t *out)
{
    size_t sign = s->text[0] == '-' || s->text[0] == '+', digits = strspn(s->text + sign, "0123456789");
    if (!s->plain || digits < 1 || digits > 18 + (s->text[0] != '-') || s->text[sign + digits])
        return false;
    unsigned long long size = strtoull(s->text + sign, NULL, 10);
    if (size > INT64_MAX)
        return false;
    int64_t x = s->text[0] == '-' ? -(int64_t)size : (int64_t)size;
    if ((double)x < row->low || (row->type != KEY_SEED && (double)x > row->high))
        return false;
    *out = x;
    return true;
}

/* Whether this is the word that stands in place of a number; quoted too, as JSON has no plain words. */
static bool is_word(const RecipeKey *row, const RecipeValue *value)
{
    return row->word && !value->list && !strcmp(value->items[0].text, row->word);
}

static bool read_size(const RecipeKey *row, const RecipeValue *value, int size[2])
{
    if (is_word(row, value)) {
        size[0] = size[1] = (int)row->word_value;
        return true;
    }
    if (value->list && value->count != 2)
        return false;
    for (size_t i = 0; i < 2; i++) {
        int64_t x;
        if (!read_whole(row, &value->items[value->list ? i : 0], &x))
            return false;
        size[i] = (int)x;
    }
    return true;
}

static const char *const statistics_words[] = {"imagenet", "clip", "auto"};

static bool read_statistics(const RecipeKey *row, const RecipeValue *value, RecipeStatistics *s)
{
    memset(s, 0, sizeof *s);
    if (!value->list) {
        for (int i = 0; i < STATISTICS_LIST; i++)
            if (!strcmp(value->items[0].text, statistics_words[i])) {
                s->kind = (StatisticsKind)i;
                return true;
            }
        return false;
    }
    if (value->count < 1 || value->count > RECIPE_CHANNELS_MAX)
        return false;
    s->kind = STATISTICS_LIST;
    s->count = (int)value->count;
    for (size_t i = 0; i < value->count; i++) {
        double x;
        if (!read_real(row, &value->items[i], &x))
            return false;
        s->values[i] = (float)x;
    }
    return true;
}

/* Strings must be UTF-8, else what we write could not be read back. */
static bool is_utf8(const char *text)
{
    size_t bytes = 1;
    for (; *text && bytes; text += bytes)
        bytes = text_utf8_bytes(text);
    return bytes != 0;
}

static bool read_text(const RecipeKey *row, const RecipeValue *value, char *out)
{
    if (value->list)
        return false;
    const RecipeScalar *s = &value->items[0];
    bool null = s->plain && (!strcmp(s->text, "null") || !strcmp(s->text, "~"));
    bool none = row->word && (null || !strcmp(s->text, row->word)); /* a folder of that name is given as ./none */
    size_t length = none ? 0 : strlen(s->text);
    if ((!none && !length) || length >= RECIPE_PATH_BYTES || !is_utf8(s->text))
        return false;
    memset(out, 0, RECIPE_PATH_BYTES);
    memcpy(out, s->text, length);
    return true;
}

static bool read_names(const RecipeValue *value, RecipeNames *names)
{
    if (!value->list || value->count > RECIPE_NAMES_MAX)
        return false;
    memset(names, 0, sizeof *names);
    for (size_t i = 0; i < value->count; i++) {
        size_t length = strlen(value->items[i].text);
        if (!length || length >= RECIPE_NAME_BYTES || !is_utf8(value->items[i].text))
            return false;
        memcpy(names->names[i], value->items[i].text, length);
    }
    names->count = (int)value->count;
    return true;
}

/* Only the default's own text is accepted. */
static bool is_initial(const RecipeKey *row, const RecipeValue *value)
{
    if (value->list)
        return value->count == 0 && !strcmp(row->initial, "[]");
    return !strcmp(value->items[0].text, row->initial);
}

/* Rising, so that they can be looked up. */
static bool read_numbers(const RecipeKey *row, const RecipeValue *value, RecipeNumbers *numbers)
{
    memset(numbers, 0, sizeof *numbers);
    if (!value->list || value->count > RECIPE_NUMBERS_MAX)
        return false;
    for (size_t i = 0; i < value->count; i++)
        if (!read_real(row, &value->items[i], &numbers->values[i]) || (i && numbers->values[i] <= numbers->values[i - 1]))
            return false;
    numbers->count = (int)value->count;
    return true;
}

bool value_read_stage(RecipeStage *stage, const char *key, const RecipeScalar *value, bool *known)
{
    static const RecipeKey epochs = {.type = KEY_INT, .low = 1, .high = 1 << 24, .now = CARRIED_OUT},
                           depth = {.type = KEY_INT,
                                    .low = 0,
                                    .high = 1024,
                                    .word = "all",
                                    .word_value = RECIPE_AUTO,
                                    .now = CARRIED_OUT};
    const RecipeValue one = {.items = value, .count = 1};
    *known = true;
    if (!strcmp(key, "epochs"))
        return value_read(&epochs, &one, &stage->epochs) == VALUE_GOOD;
    if (!strcmp(key, "teacher_depth"))
        return value_read(&depth, &one, &stage->teacher_depth) == VALUE_GOOD;
    if (!strcmp(key, "optimizer")) {
        stage->reset = !strcmp(value->text, "reset");
        return stage->reset || !strcmp(value->text, "keep");
    }
    return *known = false;
}

bool value_read_mix(RecipeMix *mix, const char *key, const RecipeValue *value, bool *known, bool *alpha)
{
    static const RecipeKey tap = {.type = KEY_INT, .low = 1, .high = 1024, .now = CARRIED_OUT},
                           share = {.type = KEY_REAL, .low = 0, .high = 1, .now = CARRIED_OUT},
                           epochs = {.type = KEY_REALS, .low = 0, .high = 1 << 24, .count = 2, .now = CARRIED_OUT};
    *known = true;
    if (!strcmp(key, "tap"))
        return value_read(&tap, value, &mix->tap) == VALUE_GOOD;
    if (!strcmp(key, "alpha")) {
        *alpha = true;
        return value_read(&share, value, &mix->to) == VALUE_GOOD;
    }
    if (!strcmp(key, "from"))
        return value_read(&share, value, &mix->from) == VALUE_GOOD;
    if (!strcmp(key, "to"))
        return value_read(&share, value, &mix->to) == VALUE_GOOD;
    if (!strcmp(key, "epochs"))
        return value_read(&epochs, value, mix->epochs) == VALUE_GOOD && mix->epochs[0] < mix->epochs[1];
    return *known = false;
}

static bool read_type(const RecipeKey *row, const RecipeValue *value, void *field)
{
    const RecipeScalar *s = value->items;
    int64_t whole;
    double x;
    switch (row->type) {
    case KEY_SIZE:
        return read_size(row, value, field);
    case KEY_STATISTICS:
        return read_statistics(row, value, field);
    case KEY_TEXT:
        return read_text(row, value, field);
    case KEY_NAMES:
        return read_names(value, field);
    case KEY_NUMBERS:
        return read_numbers(row, value, field);
    case KEY_STAGES: /* an empty list; all others are read key by key */
        memset(field, 0, sizeof(RecipeStages));
        return value->list && value->count == 0;
    case KEY_HYBRID: /* none; a mapping is read key by key */
        memset(field, 0, sizeof(RecipeHybrid));
        return !value->list && (!strcmp(s->text, "none") || (s->plain && (!strcmp(s->text, "null") || !strcmp(s->text, "~"))));
    case KEY_REALS:
        if (!value->list || value->count != (size_t)row->count)
            return false;
        for (int i = 0; i < row->count; i++)
            if (!read_real(row, &s[i], (double *)field + i))
                return false;
        return true;
    case KEY_VIEWS:
        if (value->list && value->count != 2)
            return false;
        for (size_t i = 0; i < 2; i++)
            if (!read_real(row, &s[value->list ? i : 0], (double *)field + i))
                return false;
        return true;
    default:
        break;
    }
    if (value->list)
        return false;
    bool word = is_word(row, value);
    switch (row->type) {
    case KEY_COUNT:
        if (s->plain && (!strcmp(s->text, "true") || !strcmp(s->text, "false"))) {
            *(int *)field = !strcmp(s->text, "true");
            return true;
        }
        /* fall through */
    case KEY_INT:
        if (!word && !read_whole(row, s, &whole))
            return false;
        *(int *)field = word ? (int)row->word_value : (int)whole;
        return true;
    case KEY_LONG:
        if (!word && !read_whole(row, s, &whole))
            return false;
        *(int64_t *)field = word ? (int64_t)row->word_value : whole;
        return true;
    case KEY_SEED:
        if (!read_whole(row, s, &whole))
            return false;
        *(uint64_t *)field = (uint64_t)whole;
        return true;
    case KEY_REAL:
        if (!word && !read_real(row, s, &x))
            return false;
        *(double *)field = word ? row->word_value : x;
        return true;
    case KEY_BOOL:
        if (!s->plain || (strcmp(s->text, "true") && strcmp(s->text, "false")))
            return false;
        *(bool *)field = !strcmp(s->text, "true");
        return true;
    case KEY_WORD:
        for (int i = 0; row->names[i]; i++)
            // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): rows of words always have their list
            if (!strcmp(s->text, row->names[i])) {
                *(int *)field = i;
                return true;
            }
        return false;
    default:
        return false;
    }
}

/* The items of a default: "x" or "[x, y]", cut up in `copy`. */
static RecipeValue split_initial(const char *initial, char *copy, size_t room, RecipeScalar *items, size_t most)
{
    RecipeValue value = {.list = initial[0] == '[', .items = items};
    snprintf(copy, room, "%s", initial);
    char *save = NULL;
    for (char *part = strtok_r(copy, value.list ? "[], " : "", &save); part && value.count < most;
         part = strtok_r(NULL, value.list ? "[], " : "", &save))
        items[value.count++] = (RecipeScalar){part, true};
    return value;
}

void value_default(const RecipeKey *row, void *field)
{
    char copy[128];
    RecipeScalar items[8];
    if (row->type == KEY_OTHER || row->type == KEY_RESERVED)
        return;
    RecipeValue value = split_initial(row->initial, copy, sizeof copy, items, sizeof items / sizeof *items);
    read_type(row, &value, field);
}

static bool is_default(const RecipeKey *row, const void *field)
{
    /* The largest field there is, aligned for all. */
    union {
        RecipeNames names;
        RecipeStages stages;
        RecipeHybrid hybrid;
        RecipeNumbers numbers;
        RecipeStatistics statistics;
        char text[RECIPE_PATH_BYTES];
        double reals[8];
        int64_t whole;
    } initial;
    memset(&initial, 0, sizeof initial);
    value_default(row, &initial);
    return !memcmp(&initial, field, schema_field_bytes(row));
}

ValueVerdict value_read(const RecipeKey *row, const RecipeValue *value, void *field)
{
    if (row->type == KEY_RESERVED)
        return VALUE_NOT_YET;
    if (row->type == KEY_OTHER)
        return is_initial(row, value) ? VALUE_GOOD : VALUE_NOT_YET;
    if (!read_type(row, value, field))
        return VALUE_WRONG;
    bool carried = row->now == CARRIED_OUT;
    if (row->type == KEY_WORD)
        carried = row->now >> *(int *)field & 1;
    if (row->type == KEY_COUNT && row->now_high && *(int *)field > row->now_high)
        carried = false;
    return carried || is_default(row, field) ? VALUE_GOOD : VALUE_NOT_YET;
}

/* Other YAML readers take a number with an exponent for text unless it has a point: 1e-06 becomes 1.0e-06. */
static void write_number(const char *digits, Text *out)
{
    const char *exponent = strchr(digits, 'e');
    if (exponent && !strchr(digits, '.'))
        text_add(out, "%.*s.0%s", (int)(exponent - digits), digits, exponent);
    else
        text_add(out, "%s", digits);
}

/* And `off` without quotes for false. */
static void write_word(const char *word, Text *out)
{
    text_add(out, strcmp(word, "off") ? "%s" : "\"%s\"", word);
}

void value_write_real(double x, Text *out)
{
    char buffer[40];
    if (x == floor(x) && fabs(x) < 1e15) {
        text_add(out, "%.0f", x);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buffer, sizeof buffer, "%.*g", digits, x);
        if (strtod(buffer, NULL) == x)
            break;
    }
    write_number(buffer, out);
}

static void write_float(float x, Text *out)
{
    char buffer[40];
    if (x == floorf(x) && fabsf(x) < 1e6f) {
        text_add(out, "%.0f", (double)x);
        return;
    }
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(buffer, sizeof buffer, "%.*g", digits, (double)x);
        if ((float)strtod(buffer, NULL) == x)
            break;
    }
    write_number(buffer, out);
}

/* Plain where no reader could take it for something else, else with double quotes. */
static void write_string(const char *text, Text *out)
{
    static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    if (text[0] && text[0] != '-' && !text[strspn(text, harmless)] && strcmp(text, "none") && strcmp(text, "null")) {
        text_add(out, "%s", text);
        return;
    }
    text_add(out, "\"");
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            text_add(out, "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f)
            text_add(out, "\\x%02x", *c);
        else if (*c == 0xc2 && c[1] < 0xa0) /* U+0080..U+009F, which YAML counts as not printable */
            text_add(out, "\\x%02x", *++c);
        else if (*c == 0xef && c[1] == 0xbb && c[2] == 0xbf) /* the byte order mark */
            text_add(out, "\\ufeff"), c += 2;
        else if (*c == 0xef && c[1] == 0xbf && c[2] >= 0xbe) /* U+FFFE, U+FFFF */
            text_add(out, "\\ufff%c", c[2] == 0xbe ? 'e' : 'f'), c += 2;
        else if (*c == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9)) /* line and paragraph separator */
            text_add(out, "\\u202%c", c[2] == 0xa8 ? '8' : '9'), c += 2;
        else
            text_add_bytes(out, c, 1);
    }
    text_add(out, "\"");
}

static void write_hybrid(const RecipeHybrid *h, Text *out)
{
    if (!h->from[0]) {
        text_add(out, "none");
        return;
    }
    text_add(out, "{from: ");
    write_string(h->from, out);
    text_add(out, ", table: [");
    for (int i = 0; i < h->count; i++) {
        const RecipeMix *mix = &h->items[i];
        text_add(out, "%s{tap: %d, ", i ? ", " : "", mix->tap);
        text_add(out, mix->epochs[1] > 0 ? "from: " : "alpha: ");
        value_write_real(mix->epochs[1] > 0 ? mix->from : mix->to, out);
        if (mix->epochs[1] > 0) {
            text_add(out, ", to: ");
            value_write_real(mix->to, out);
            text_add(out, ", epochs: [");
            value_write_real(mix->epochs[0], out);
            text_add(out, ", ");
            value_write_real(mix->epochs[1], out);
            text_add(out, "]");
        }
        text_add(out, "}");
    }
    text_add(out, "]}");
}

void value_write(const RecipeKey *row, const void *field, Text *out)
{
    const int *whole = field;
    switch (row->type) {
    case KEY_INT:
    case KEY_COUNT:
        if (row->word && *whole == (int)row->word_value)
            write_word(row->word, out);
        else
            text_add(out, "%d", *whole);
        break;
    case KEY_LONG:
        if (row->word && *(const int64_t *)field == (int64_t)row->word_value)
            write_word(row->word, out);
        else
            text_add(out, "%lld", (long long)*(const int64_t *)field);
        break;
    case KEY_SEED:
        text_add(out, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case KEY_REAL:
        if (row->word && *(const double *)field == row->word_value)
            write_word(row->word, out);
        else
            value_write_real(*(const double *)field, out);
        break;
    case KEY_REALS:
        for (int i = 0; i < row->count; i++) {
            text_add(out, i ? ", " : "[");
            value_write_real(((const double *)field)[i], out);
        }
        text_add(out, "]");
        break;
    case KEY_VIEWS:
        text_add(out, ((const double *)field)[0] == ((const double *)field)[1] ? "" : "[");
        for (int i = 0; i < (((const double *)field)[0] == ((const double *)field)[1] ? 1 : 2); i++) {
            text_add(out, i ? ", " : "");
            value_write_real(((const double *)field)[i], out);
        }
        text_add(out, ((const double *)field)[0] == ((const double *)field)[1] ? "" : "]");
        break;
    case KEY_BOOL:
        text_add(out, *(const bool *)field ? "true" : "false");
        break;
    case KEY_WORD:
        write_word(row->names[*whole], out);
        break;
    case KEY_SIZE:
        if (row->word && whole[0] == (int)row->word_value)
            write_word(row->word, out);
        else if (whole[0] == whole[1])
            text_add(out, "%d", whole[0]);
        else
            text_add(out, "[%d, %d]", whole[0], whole[1]);
        break;
    case KEY_STATISTICS: {
        const RecipeStatistics *s = field;
        if (s->kind != STATISTICS_LIST) {
            text_add(out, "%s", statistics_words[s->kind]);
            break;
        }
        for (int i = 0; i < s->count; i++) {
            text_add(out, i ? ", " : "[");
            write_float(s->values[i], out);
        }
        text_add(out, "]");
        break;
    }
    case KEY_TEXT:
        if (row->word && !*(const char *)field)
            write_word(row->word, out);
        else
            write_string(field, out);
        break;
    case KEY_NAMES: {
        const RecipeNames *names = field;
        text_add(out, "[");
        for (int i = 0; i < names->count; i++) {
            text_add(out, i ? ", " : "");
            write_string(names->names[i], out);
        }
        text_add(out, "]");
        break;
    }
    case KEY_NUMBERS: {
        const RecipeNumbers *numbers = field;
        text_add(out, "[");
        for (int i = 0; i < numbers->count; i++) {
            text_add(out, i ? ", " : "");
            value_write_real(numbers->values[i], out);
        }
        text_add(out, "]");
        break;
    }
    case KEY_STAGES: {
        const RecipeStages *stages = field;
        text_add(out, "[");
        for (int i = 0; i < stages->count; i++) {
            const RecipeStage *s = &stages->items[i];
            text_add(out, "%s{epochs: %d, teacher_depth: ", i ? ", " : "", s->epochs);
            if (s->teacher_depth == RECIPE_AUTO)
                text_add(out, "all");
            else
                text_add(out, "%d", s->teacher_depth);
            text_add(out, ", optimizer: %s}", s->reset ? "reset" : "keep");
        }
        text_add(out, "]");
        break;
    }
    case KEY_HYBRID:
        write_hybrid(field, out);
        break;
    case KEY_OTHER:
        text_add(out, "%s", row->initial);
        break;
    case KEY_RESERVED:
        break;
    }
}

static void describe_range(const RecipeKey *row, const char *what, Text *out)
{
    if (row->type == KEY_SEED || row->high >= 1e9) {
        text_add(out, "%s of at least ", what);
        value_write_real(row->low, out);
        return;
    }
    text_add(out, "%s from ", what);
    value_write_real(row->low, out);
    text_add(out, " to ");
    value_write_real(row->type == KEY_COUNT && row->now_high ? row->now_high : row->high, out);
}

void schema_describe(const RecipeKey *row, Text *out)
{
    char what[48];
    switch (row->type) {
    case KEY_INT:
    case KEY_LONG:
    case KEY_SEED:
        describe_range(row, "a whole number", out);
        break;
    case KEY_COUNT:
        describe_range(row, "a whole number", out);
        text_add(out, ", true or false");
        break;
    case KEY_REAL:
        describe_range(row, "a number", out);
        break;
    case KEY_REALS:
        snprintf(what, sizeof what, "a list of %d numbers", row->count);
        describe_range(row, what, out);
        break;
    case KEY_VIEWS:
        describe_range(row, "a number", out);
        text_add(out, ", or [first view, second view]");
        break;
    case KEY_BOOL:
        text_add(out, "true or false");
        break;
    case KEY_WORD: {
        int shown = 0;
        for (int i = 0; row->names[i]; i++)
            if ((row->now >> i & 1) || (!row->now && !strcmp(row->names[i], row->initial)))
                text_add(out, "%s%s", shown++ ? ", " : "", row->names[i]);
        break;
    }
    case KEY_SIZE:
        describe_range(row, "a whole number", out);
        text_add(out, ", or [rows, columns]");
        break;
    case KEY_STATISTICS:
        text_add(out, "imagenet, clip, auto, or a list in brackets with a number per channel");
        break;
    case KEY_TEXT:
        text_add(out, "%sa path of at most %d bytes of UTF-8", !strcmp(row->key, "data.train") ? "world, or " : "",
                 RECIPE_PATH_BYTES - 1);
        break;
    case KEY_NAMES:
        text_add(out, "a list of at most %d names", RECIPE_NAMES_MAX);
        break;
    case KEY_NUMBERS:
        text_add(out, "a list of at most %d rising numbers", RECIPE_NUMBERS_MAX);
        break;
    case KEY_STAGES:
        text_add(out, "a list of at most %d stages, as in [{epochs: 100, teacher_depth: 12}, {epochs: 100}]",
                 RECIPE_STAGES_MAX);
        break;
    case KEY_HYBRID:
        text_add(out,
                 "none, or {from: CHECKPOINT, table: [{tap: 6, alpha: 0.25}, {tap: 8, from: 0, to: 1, epochs: [0, 100]}]}");
        break;
    case KEY_OTHER:
        text_add(out, "%s", row->initial);
        break;
    case KEY_RESERVED:
        break;
    }
    if (row->word)
        text_add(out, ", or %s", row->word);
}
