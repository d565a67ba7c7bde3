/* A list of pictures: a CSV file with lines `path` or `path,label`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/kinds.h"

static const size_t LARGEST_LIST = (size_t)4 << 30; /* bytes */

typedef struct {
    uint64_t path, label; /* offsets in the text; NO_LABEL: none */
    uint64_t line;        /* from 1 */
    int32_t class_number; /* -1: not labelled */
} Entry;

#define NO_LABEL UINT64_MAX

typedef struct {
    char *text; /* the file; each field, its quotes removed, ends with a zero byte where it stands */
    char *folder;
    Entry *entries;
    size_t count, capacity;
} List;

bool list_is_here(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && !strcasecmp(path + n - 4, ".csv") && !file_is_folder(path);
}

static void list_close(void *self)
{
    List *list = self;
    memory_free(list->text);
    memory_free(list->folder);
    memory_free(list->entries);
    memory_free(list);
}

static const char *path_of(const List *list, size_t i)
{
    return list->text + list->entries[i].path;
}

static void list_key(const Source *source, size_t i, char *room, size_t size)
{
    snprintf(room, size, "%s", path_of(source->self, i));
}

static int list_label(const Source *source, size_t i)
{
    return ((const List *)source->self)->entries[i].class_number;
}

static bool list_picture(const Source *source, size_t i, int channels, Image *out)
{
    const List *list = source->self;
    return picture_file_read(list->folder, path_of(list, i), channels, out);
}

static bool list_fingerprint(const Source *source, const uint64_t *samples, size_t count, uint64_t *hash)
{
    const List *list = source->self;
    *hash = hash_bytes(HASH_START, source->where, strlen(source->where) + 1);
    for (size_t s = 0; s < count; s++)
        if (!picture_file_hash(list->folder, path_of(list, samples[s]), hash))
            return false;
    return true;
}

static bool list_file(const Source *source, size_t i, char **bytes, size_t *size)
{
    const List *list = source->self;
    return picture_file_bytes(list->folder, path_of(list, i), bytes, size);
}

static const SourceKind list_kind = {list_close, list_key, list_label, NULL, list_picture, list_fingerprint, list_file};

/* Takes one field off the line that ends at `end` (a zero byte stands there), removes its quotes in place and ends it with a
 * zero byte. *at moves behind the comma, or becomes NULL behind the last field. NULL with *reason when it is malformed. */
static char *take_field(char **at, char *end, const char **reason)
{
    char *from = *at, *to = from, *field = from;
    if (*from != '"') {
        char *comma = memchr(from, ',', (size_t)(end - from));
        to = comma ? comma : end;
        *reason = "has a quote inside a field: such a field stands in quotes, its own quotes doubled";
        if (memchr(from, '"', (size_t)(to - from)))
            return NULL;
        *at = comma ? comma + 1 : NULL;
        *to = 0;
        return field;
    }
    for (from++; from < end; from++) {
        if (*from == '"' && from[1] == '"') /* the zero byte at `end` stops this look ahead */
            from++;
        else if (*from == '"')
            break;
        *to++ = *from;
    }
    *reason = "has a quote that is not closed";
    if (from == end)
        return NULL;
    *reason = "goes on behind a closing quote without a comma";
    if (from + 1 != end && from[1] != ',')
        return NULL;
    *at = from + 1 == end ? NULL : from + 2;
    *to = 0;
    return field;
}

/* One line that is not empty. */
static bool take_line(List *list, const char *where, char *line, char *end, size_t number)
{
    const char *reason = NULL;
    char *at = line, *fields[2] = {NULL, NULL};
    int count = 0;
    if (memchr(line, 0, (size_t)(end - line)))
        return error_set("%s is not a list of pictures: line %zu holds a zero byte", where, number);
    while (at) {
        if (count == 2)
            return error_set("%s: line %zu has more than the two fields `path,label`; a path with a comma stands in quotes",
                             where, number);
        if (!(fields[count++] = take_field(&at, end, &reason)))
            return error_set("%s: line %zu %s", where, number, reason);
    }
    if (!list->count && !strcasecmp(fields[0], "path") && (count == 1 || !strcasecmp(fields[1], "label")))
        return true;
    if (!*fields[0])
        return error_set("%s: line %zu has no path", where, number);
    if (strlen(fields[0]) >= SOURCE_KEY_SIZE)
        return error_set("%s: line %zu has a path of %zu bytes, more than %d", where, number, strlen(fields[0]),
                         SOURCE_KEY_SIZE - 1);
    if (!memory_grow((void **)&list->entries, list->count, &list->capacity, sizeof *list->entries))
        return false;
    bool labelled = count == 2 && *fields[1];
    list->entries[list->count++] = (Entry){.path = (uint64_t)(fields[0] - list->text),
                                           .label = labelled ? (uint64_t)(fields[1] - list->text) : NO_LABEL,
                                           .line = number,
                                           .class_number = -1};
    return true;
}

static bool read_lines(List *list, const char *where, size_t size)
{
    size_t number = 0;
    char *at = list->text, *stop = at + size;
    if (size >= 3 && !memcmp(at, "\xEF\xBB\xBF", 3))
        at += 3;
    while (at < stop) {
        char *end = memchr(at, '\n', (size_t)(stop - at)), *next = end ? end + 1 : stop;
        end = end ? end : stop;
        if (end > at && end[-1] == '\r')
            end--;
        *end = 0;
        number++;
        if (end > at && !take_line(list, where, at, end, number))
            return false;
        at = next;
    }
    return true;
}

static int compare_labels(const void *a, const void *b, void *text)
{
    const Entry *x = *(Entry *const *)a, *y = *(Entry *const *)b;
    return strcmp((const char *)text + x->label, (const char *)text + y->label);
}

/* Classes in the order of their names; an entry's number is the place of its label. */
static bool name_classes(Source *source, List *list)
{
    Entry **sorted = memory_new(list->count, sizeof(Entry *));
    bool ok = false;
    int classes = 0;
    if (!sorted)
        return false;
    for (size_t i = 0; i < list->count; i++)
        sorted[i] = &list->entries[i];
    qsort_r(sorted, list->count, sizeof *sorted, compare_labels, list->text);
    for (size_t i = 0; i < list->count; i++) {
        if (!i || compare_labels(&sorted[i], &sorted[i - 1], list->text))
            classes++;
        if (classes > MOST_CLASSES) {
            error_set("%s: more than %d different labels; the second column is the picture's class", source->where,
                      MOST_CLASSES);
            goto done;
        }
        sorted[i]->class_number = classes - 1;
    }
    if (!source_classes(source, classes))
        goto done;
    for (size_t i = 0; i < list->count; i++) {
        char **name = &source->class_names[sorted[i]->class_number];
        if (!*name && !(*name = memory_string(list->text + sorted[i]->label)))
            goto done;
    }
    ok = true;
done:
    memory_free(sorted);
    return ok;
}

static bool label(Source *source, List *list)
{
    size_t numbers = 0;
    bool first_is_number = true;
    for (size_t i = 0; i < list->count; i++) {
        const Entry *entry = &list->entries[i], *first = list->entries;
        if ((entry->label == NO_LABEL) != (first->label == NO_LABEL))
            return error_set("%s: line %llu has %s label, unlike line %llu; give all pictures a label or none", source->where,
                             (unsigned long long)entry->line, entry->label == NO_LABEL ? "no" : "a",
                             (unsigned long long)first->line);
        if (entry->label != NO_LABEL) {
            const char *text = list->text + entry->label;
            bool number = text[strspn(text, "0123456789")] == 0;
            first_is_number = i ? first_is_number : number;
            numbers += number;
        }
    }
    if (list->entries[0].label == NO_LABEL)
        return true;
    if (!first_is_number && list->count > 1 && numbers == list->count - 1)
        return error_set("%s: line %llu has the label %.40s, and all others are numbers; if it is a header, write `path,label`",
                         source->where, (unsigned long long)list->entries[0].line, list->text + list->entries[0].label);
    if (numbers < list->count)
        return name_classes(source, list);
    int most = 0;
    for (size_t i = 0; i < list->count; i++) {
        Entry *entry = &list->entries[i];
        const char *text = list->text + entry->label;
        if ((entry->class_number = class_number_read(text, strlen(text))) < 0)
            return error_set("%s: line %llu has the label %.40s; numbers of classes go from 0 to %d", source->where,
                             (unsigned long long)entry->line, text, MOST_CLASSES - 1);
        most = entry->class_number > most ? entry->class_number : most;
    }
    return source_number_classes(source, most + 1);
}

bool list_open(Source *source)
{
    size_t size;
    char *text = file_read(source->where, LARGEST_LIST, &size);
    return text && list_open_text(source, text, size);
}

bool list_open_text(Source *source, char *text, size_t size)
{
    const char *where = source->where;
    List *list = memory_new(1, sizeof *list);
    if (!list) {
        memory_free(text);
        return false;
    }
    list->text = text;
    source->self = list;
    source->kind = &list_kind;
    if (!(list->folder = memory_string(where)))
        return false;
    char *name = strrchr(list->folder, '/');
    *(name ? name + 1 : list->folder) = 0;
    if (!read_lines(list, where, size))
        return false;
    source->count = list->count;
    if (!list->count)
        return error_set("no pictures in the list %s: it has no line `path` or `path,label`", where);
    if (!label(source, list))
        return false;
    text_add(&source->summary, "%zu picture%s ", source->count, source->count == 1 ? "" : "s");
    if (source->class_count)
        text_add(&source->summary, "in %d class%s ", source->class_count, source->class_count == 1 ? "" : "es");
    text_add(&source->summary, "(list %s)", where);
    return !source->summary.failed;
}
