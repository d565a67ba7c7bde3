#include "train/propose.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/source.h"

/* ---- looking */

static bool look_at(const Source *source, size_t i, int *short_side, int *channels)
{
    char *bytes;
    size_t size;
    int height = 0, width = 0;
    *channels = 3;
    if (!source_file(source, i, &bytes, &size))
        return false;
    Image image = {0};
    bool ok = bytes ? image_probe(bytes, size, "picture", &height, &width, channels) : source_picture(source, i, 3, &image);
    if (ok && !bytes) {
        height = image.height;
        width = image.width;
    }
    image_free(&image);
    memory_free(bytes);
    *short_side = height < width ? height : width;
    return ok;
}

static int by_size(const void *a, const void *b)
{
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

bool propose_look(const char *where, PictureSurvey *s)
{
    static int const most = PROPOSE_LOOKED_AT;
    int sides[PROPOSE_LOOKED_AT], good = 0;
    *s = (PictureSurvey){0};
    Source *source = source_open(where, NULL);
    if (!source)
        return false;
    s->count = source_count(source);
    s->looked_at = s->count < (size_t)most ? s->count : (size_t)most;
    for (size_t k = 0; k < s->looked_at; k++) {
        int channels;
        if (!look_at(source, k * s->count / s->looked_at, &sides[good], &channels))
            continue;
        s->channels = good == 0 || s->channels == channels ? channels : 3;
        good++;
    }
    source_close(source);
    s->unreadable = s->looked_at - (size_t)good;
    if (good == 0)
        return error_set("%s: none of the %zu pictures that were tried can be read: %s; `lacuna data check` tells of each",
                         where, s->looked_at, error_text());
    error_clear();
    qsort(sides, (size_t)good, sizeof *sides, by_size);
    s->short_side = sides[good / 2];
    return true;
}

/* ---- tables; the first row whose limit is not reached holds */

/* A small encoder has a small decoder: with MAE's of 512 x 8 most of its time would go there. The rate is the blr of the spec's
 * rule (15.4): MAE's for its own size, larger for smaller encoders, which bear and in short runs need it (those of the demo
 * and of README's CIFAR run). */
typedef struct {
    size_t pictures_below;
    int processors_below;
    int width, depth, heads;
    int decoder_width, decoder_depth, decoder_heads;
    double blr;
    int batch_most; /* for a million pictures */
    const char *name;
} Encoder;

static const Encoder encoders[] = {
    {2000, 1 << 30, 96, 6, 3, 64, 1, 2, 4e-3, 256, "very small"},
    {50000, 8, 192, 12, 3, 128, 2, 4, 1e-3, 256, "tiny (ViT-Ti)"},
    {500000, 64, 384, 12, 6, 256, 4, 8, 5e-4, 1024, "small (ViT-S)"},
    {(size_t)-1, 1 << 30, 768, 12, 12, 512, 8, 16, 1.5e-4, 1024, "base (ViT-B)"},
};
enum { ENCODERS = sizeof encoders / sizeof *encoders };

typedef struct {
    int side_below, size, patch;
} Grid;

static const Grid grids[] = {{49, 32, 4}, {81, 64, 8}, {113, 96, 8}, {161, 128, 16}, {1 << 30, 224, 16}};

/* On few processors a smaller picture buys more passes over the set. */
static const Grid few_processors = {1 << 30, 128, 16};
enum { FEW_PROCESSORS = 8, MANY_PROCESSORS = 64 };

static int choose_encoder(const PictureSurvey *s, int processors, int *by_pictures)
{
    int place = 0;
    while (place + 1 < ENCODERS && s->count >= encoders[place].pictures_below)
        place++;
    *by_pictures = place;
    for (int i = 0; i < place; i++)
        if (processors < encoders[i].processors_below && encoders[i].processors_below < 1 << 30)
            place = i;
    return place;
}

/* The largest power of two, up to 256 (1024 for a million pictures and an encoder that is worth it), that fills twice in an
 * epoch. */
static int choose_batch(size_t trained, const Encoder *e)
{
    int batch = 8, most = trained < 1000000 ? 256 : e->batch_most;
    while (batch * 2 <= most && (size_t)batch * 2 * 2 <= trained)
        batch *= 2;
    return batch;
}

/* Passes so that the run looks at some millions of pictures, within what the papers do and a little that shows learning. */
static int choose_epochs(size_t trained, int processors)
{
    double views = processors < FEW_PROCESSORS ? 1e6 : processors < MANY_PROCESSORS ? 20e6 : 400e6;
    double epochs = views / (double)trained;
    return epochs > 1600 ? 1600 : epochs < 10 ? 10 : (int)(epochs + 0.5);
}

/* ---- the recipe */

static void name_recipe(const char *where, Recipe *r)
{
    char *copy = memory_string(where);
    size_t length = copy ? strlen(copy) : 0;
    while (length && copy[length - 1] == '/')
        copy[--length] = 0;
    const char *last = copy ? file_name(copy) : "";
    char stem[64];
    snprintf(stem, sizeof stem, "%.*s", (int)strcspn(last, "."), last);
    for (char *c = stem; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
            *c = '-';
    snprintf(r->name, sizeof r->name, "mae%s%s", stem[0] ? "-" : "", stem);
    memory_free(copy);
}

static void set_encoder(const Encoder *e, Recipe *r)
{
    RecipeDecoder *d = &r->decoders[0];
    r->encoder.width = e->width;
    r->encoder.depth = e->depth;
    r->encoder.heads = e->heads;
    d->width = e->decoder_width;
    d->depth = e->decoder_depth;
    d->heads = e->decoder_heads;
    r->schedule.blr = e->blr;
    r->schedule.lr = RECIPE_AUTO;
}

bool propose_recipe(const PictureSurvey *s, const char *where, int processors, int smaller, Recipe *r, Text *why)
{
    if (s->count < PROPOSE_PICTURES_LEAST)
        return error_set(
            "%s holds %zu picture%s: at least %d are needed to train on, and a backbone worth having wants thousands", where,
            s->count, s->count == 1 ? "" : "s", PROPOSE_PICTURES_LEAST);
    if (s->short_side < PROPOSE_SIDE_LEAST)
        return error_set(
            "the pictures of %s are only %d pixels across: at least %d are needed; name a recipe to choose image.size "
            "and encoder.patch yourself",
            where, s->short_side, PROPOSE_SIDE_LEAST);
    int by_pictures, place = choose_encoder(s, processors, &by_pictures), chosen = place - smaller;
    if (chosen < 0)
        return error_set("not even the smallest encoder fits into the memory of this machine");
    const Encoder *e = &encoders[chosen];
    const Grid *g = grids;
    while (s->short_side >= g->side_below)
        g++;
    bool reduced = g->size > few_processors.size && processors < FEW_PROCESSORS;
    if (reduced)
        g = &few_processors;
    recipe_defaults(r);
    name_recipe(where, r);
    snprintf(r->data.train, sizeof r->data.train, "%s", where);
    /* So that some dozens are held out of a small set too, but of the smallest ones. */
    r->data.val_share = s->count < 200 ? 0.2 : s->count < 1000 ? 0.1 : s->count < 10000 ? 0.05 : 0.02;
    size_t trained = (size_t)((double)s->count * (1 - r->data.val_share) * 0.9); /* the split is drawn: some may be missing */
    r->image.size[0] = r->image.size[1] = g->size;
    r->encoder.patch = g->patch;
    r->image.channels = s->channels;
    r->image.exif = true;
    /* As image.draft counts: even the smallest crop then has twice the pixels a side that are needed. */
    double needed = g->size / sqrt(r->augment.crop_scale[0]);
    r->image.draft = s->short_side >= 2 * needed;
    /* Measuring decodes all pictures once: not worth its time where there are many with three. */
    bool measured = s->channels != 3 || s->count <= 20000;
    if (measured)
        r->image.mean.kind = r->image.std.kind = STATISTICS_AUTO;
    r->target.normalise = NORMALISE_PATCH;
    r->decoders[0].target.normalise = NORMALISE_PATCH;
    set_encoder(e, r);
    r->schedule.batch_size = choose_batch(trained, e);
    r->schedule.epochs = choose_epochs(trained, processors);
    r->data.val_every = r->schedule.epochs <= 100 ? 1 : r->schedule.epochs / 100;
    r->schedule.warmup_epochs = r->schedule.epochs / 20 < 1 ? 1 : r->schedule.epochs / 20 > 40 ? 40 : r->schedule.epochs / 20;

    text_add(why, "%zu pictures of %d channel%s, %d pixels across (median of %zu): image.size %d, encoder.patch %d%s\n",
             s->count, s->channels, s->channels == 1 ? "" : "s", s->short_side, s->looked_at - s->unreadable, g->size, g->patch,
             reduced ? "; larger ones would be slow on this machine" : "");
    if (r->image.draft)
        text_add(why, "JPEG pictures are decoded at a half or less where that keeps enough pixels (image.draft): faster\n");
    text_add(
        why,
        "a %s encoder, width %d and %d blocks, for so many pictures%s, and a decoder to its size, width %d and %d block%s\n",
        e->name, e->width, e->depth,
        smaller                ? " and the memory of this machine"
        : place != by_pictures ? " and this machine"
                               : "",
        e->decoder_width, e->decoder_depth, e->decoder_depth == 1 ? "" : "s");
    text_add(why, "batch %d, %d epochs of which %g warm up, peak rate %g x %d / 256\n", r->schedule.batch_size,
             r->schedule.epochs, r->schedule.warmup_epochs, r->schedule.blr, r->schedule.batch_size);
    if (s->unreadable)
        text_add(why, "%zu of %zu pictures that were tried cannot be read: `lacuna data check` names them\n", s->unreadable,
                 s->looked_at);
    if (s->count < 1000)
        text_add(why, "so few pictures show how it works; for a backbone that is of use elsewhere, thousands are needed\n");
    return !why->failed;
}
