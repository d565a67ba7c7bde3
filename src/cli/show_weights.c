#include "cli/show_weights.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Tensors that differ in the numbers of their names alone. */
typedef struct {
    char *theirs, *ours; /* patterns, # for a number; ours: or why it is left out */
    const StridedTensor *tensor;
    const Weight *weight; /* NULL when left out */
    ForeignFate fate;
    int count;
} Row;

/* A name with # for each part of it that is a number, but for that of a decoder, of which there are few. */
static char *pattern_of(const char *name)
{
    Text t = {0};
    const char *first = strncmp(name, "decoders.", 9) ? name : name + 9;
    for (const char *at = name; *at;) {
        size_t length = strcspn(at, ".");
        bool number = length && strspn(at, "0123456789") == length && (first == name || at != first);
        text_add(&t, "%.*s", number ? 1 : (int)length, number ? "#" : at);
        at += length;
        if (*at == '.')
            text_add(&t, "%s", "."), at++;
    }
    return t.data ? t.data : memory_string("");
}

static int by_pattern(const void *a, const void *b)
{
    const Row *x = a, *y = b;
    int order = (x->fate > y->fate) - (x->fate < y->fate);
    order = order ? order : strcmp(x->ours, y->ours);
    return order ? order : strcmp(x->theirs, y->theirs);
}

static bool same_row(const Row *a, const Row *b)
{
    return a->fate == b->fate && !strcmp(a->ours, b->ours) && !strcmp(a->theirs, b->theirs) &&
           a->tensor->ndim == b->tensor->ndim &&
           !memcmp(a->tensor->shape, b->tensor->shape, sizeof *a->tensor->shape * (size_t)a->tensor->ndim);
}

/* One row for each pattern; *count is their number. NULL when memory is out. */
static Row *make_rows(const Foreign *f, size_t *count)
{
    size_t tensors, kept = 0;
    const ForeignTensor *t = foreign_tensors(f, &tensors);
    Row *rows = memory_new(tensors, sizeof *rows);
    for (size_t i = 0; rows && i < tensors; i++)
        rows[i] = (Row){.theirs = pattern_of(t[i].tensor->name),
                        .ours = t[i].fate == FOREIGN_USED ? pattern_of(t[i].what) : memory_string(t[i].what),
                        .tensor = t[i].tensor,
                        .weight = t[i].fate == FOREIGN_USED ? foreign_find(f, t[i].what) : NULL,
                        .fate = t[i].fate,
                        .count = 1};
    *count = 0;
    if (!rows || !tensors)
        return rows;
    qsort(rows, tensors, sizeof *rows, by_pattern);
    for (size_t i = 0; i < tensors; i++) {
        if (kept && same_row(&rows[kept - 1], &rows[i])) {
            rows[kept - 1].count++;
            memory_free(rows[i].theirs);
            memory_free(rows[i].ours);
        } else {
            rows[kept++] = rows[i];
        }
    }
    *count = kept;
    return rows;
}

static void add_shape(Text *out, int ndim, const int64_t *shape)
{
    text_add(out, "[");
    for (int i = 0; i < ndim; i++)
        text_add(out, "%s%" PRId64, i ? ", " : "", shape[i]);
    text_add(out, "]");
}

static bool is_reshaped(const Row *r)
{
    return r->weight && (r->weight->ndim != r->tensor->ndim ||
                         memcmp(r->weight->shape, r->tensor->shape, sizeof *r->weight->shape * (size_t)r->weight->ndim) != 0);
}

static void add_row(Text *out, const Row *r)
{
    text_add(out, "  ");
    if (r->count > 1)
        text_add(out, "%d x ", r->count);
    text_add(out, "%s ", r->theirs);
    add_shape(out, r->tensor->ndim, r->tensor->shape);
    if (r->fate != FOREIGN_USED)
        text_add(out, ": %s", r->ours);
    else if (is_reshaped(r)) {
        text_add(out, "%s %s ", r->weight->piece_count > 1 ? " in" : " ->", r->ours);
        add_shape(out, r->weight->ndim, r->weight->shape);
    } else if (strcmp(r->theirs, r->ours) != 0) {
        text_add(out, " -> %s", r->ours);
    }
    text_add(out, "\n");
}

/* The rows of a fate, of those that are used the reshaped ones or the others. */
static void add_rows(Text *out, const char *title, const Row *rows, size_t count, ForeignFate fate, bool reshaped)
{
    int tensors = 0;
    for (size_t i = 0; i < count; i++)
        tensors += rows[i].fate == fate && is_reshaped(&rows[i]) == reshaped ? rows[i].count : 0;
    text_add(out, "%-11s %d tensor%s\n", title, tensors, tensors == 1 ? "" : "s");
    for (size_t i = 0; i < count; i++)
        if (rows[i].fate == fate && is_reshaped(&rows[i]) == reshaped)
            add_row(out, &rows[i]);
}

/* What our model has and the file has not: what the encoder needs is always there. */
static void add_missing(Text *out, const Foreign *f, const Recipe *r)
{
    bool token = r->encoder.input == ENCODER_INPUT_MASK_TOKEN && !foreign_find(f, "mask_token");
    bool decoder = !foreign_find(f, "decoders.0.pred.weight");
    text_add(out, "missing     %s%s%s\n", token ? "mask_token" : "", token && decoder ? ", " : "",
             decoder ? "decoders: a run that begins with these weights draws new ones"
             : token ? ""
                     : "nothing");
}

void show_tensors(Text *out, const StateDict *s)
{
    size_t count = state_count(s), kept = 0;
    Row *rows = memory_new(count, sizeof *rows);
    for (size_t i = 0; rows && i < count; i++)
        rows[i] =
            (Row){.theirs = pattern_of(state_at(s, i)->name), .ours = memory_string(""), .tensor = state_at(s, i), .count = 1};
    text_add(out, "container   %s\ntensors     %zu\n", state_words(s), count);
    for (size_t i = 0; rows && i < count; i++)
        out->failed = out->failed || !rows[i].theirs || !rows[i].ours;
    out->failed = out->failed || !rows;
    if (!out->failed && count)
        qsort(rows, count, sizeof *rows, by_pattern);
    for (size_t i = 0; !out->failed && i < count; i++) {
        if (i > 0 && same_row(&rows[kept], &rows[i]))
            rows[kept].count++;
        else
            kept = i;
        if (i + 1 == count || !same_row(&rows[kept], &rows[i + 1])) {
            text_add(out, "  ");
            if (rows[kept].count > 1)
                text_add(out, "%d x ", rows[kept].count);
            text_add(out, "%s ", rows[kept].theirs);
            add_shape(out, rows[kept].tensor->ndim, rows[kept].tensor->shape);
            text_add(out, "\n");
        }
    }
    if (state_others(s)[0])
        text_add(out, "beside them %s\n", state_others(s));
    for (size_t i = 0; rows && i < count; i++) {
        memory_free(rows[i].theirs);
        memory_free(rows[i].ours);
    }
    memory_free(rows);
}

void show_weights(Text *out, const Weights *w, const Recipe *r)
{
    const Foreign *f = weights_foreign(w);
    size_t count = 0;
    Row *rows = make_rows(f, &count);
    text_add(out, "container   %s\n", weights_words(w));
    add_rows(out, "matched", rows, count, FOREIGN_USED, false);
    add_rows(out, "reshaped", rows, count, FOREIGN_USED, true);
    add_missing(out, f, r);
    add_rows(out, "left out", rows, count, FOREIGN_DROPPED, false);
    add_rows(out, "no weights", rows, count, FOREIGN_IGNORED, false);
    add_rows(out, "unexpected", rows, count, FOREIGN_UNEXPECTED, false);
    if (weights_others(w)[0])
        text_add(out, "beside them %s\n", weights_others(w));
    if (foreign_notes(f)[0])
        text_add(out, "notes       %s\n", foreign_notes(f));
    for (size_t i = 0; i < count; i++) {
        memory_free(rows[i].theirs);
        memory_free(rows[i].ours);
    }
    memory_free(rows);
    if (!rows)
        out->failed = true;
}
