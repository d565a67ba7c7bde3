#include "train/reconstruct.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/draw.h"
#include "report/sheet.h"

enum { AT_ONCE = 4 /* pictures of an evaluation */, COLUMNS_BEFORE = 2, CAPTION_BYTES = 32 };

/* What stays the same for all pictures of a sheet. */
typedef struct {
    const Recipe *recipe;
    int channels, height, width, patch, columns; /* of the picture; columns of its grid */
    int shown;                                   /* channels that are drawn: the first three, or one as grey */
    int places, numbers;                         /* patches, numbers of one */
    float mean[RECIPE_CHANNELS_MAX], std[RECIPE_CHANNELS_MAX];
    float *true_patch, *picture; /* working memory */
    float *predictions;          /* (AT_ONCE, places, numbers) */
} Drawing;

Trainer *reconstruct_open(const Recipe *recipe, const Device *device)
{
    TrainerOptions options = {.device = *device,
                              .batch = AT_ONCE,
                              .micro_batch = AT_ONCE,
                              .plain = true,
                              .keep_predictions = true,
                              .evaluate_only = true};
    Recipe plain = *recipe;
    plain.hybrid.from[0] = 0; /* pictures are drawn with the true patches */
    return trainer_open(&plain, &options);
}

static bool draws_pixels(const RecipeTarget *target)
{
    return target->kind == TARGET_PIXELS && (target->normalise == NORMALISE_NONE || target->normalise == NORMALISE_PATCH);
}

bool reconstruct_can(const Recipe *r)
{
    for (int k = 0; k < r->decoder_count; k++)
        if (!draws_pixels(&r->decoders[k].target))
            return false;
    return r->decoder_count > 0;
}

static void drawing_free(Drawing *d)
{
    memory_free(d->true_patch);
    memory_free(d->picture);
    memory_free(d->predictions);
}

static bool drawing_make(Drawing *d, const Recipe *r)
{
    int rows;
    *d = (Drawing){.recipe = r,
                   .channels = r->image.channels,
                   .shown = r->image.channels < 3 ? 1 : 3,
                   .height = r->image.size[0],
                   .width = r->image.size[1],
                   .patch = r->encoder.patch};
    recipe_grid(r, &rows, &d->columns);
    d->places = rows * d->columns;
    d->numbers = d->channels * d->patch * d->patch;
    if (r->decoder_count == 0)
        return error_set("the model has no decoders, so there is nothing that it could reconstruct");
    for (int k = 0; k < r->decoder_count; k++)
        if (!draws_pixels(&r->decoders[k].target))
            return error_set("decoders.%d predicts no pixels that could be drawn", k);
    if (!recipe_statistics(&r->image.mean, false, d->channels, d->mean) ||
        !recipe_statistics(&r->image.std, true, d->channels, d->std))
        return false;
    size_t picture = (size_t)d->places * (size_t)d->numbers;
    d->true_patch = memory_new((size_t)d->numbers, sizeof(float));
    d->picture = memory_new(picture, sizeof(float));
    d->predictions = memory_new(picture, AT_ONCE * sizeof(float));
    if (d->true_patch && d->picture && d->predictions)
        return true;
    drawing_free(d);
    return false;
}

/* Element k of patch l of a picture (C, H, W): pixel shuffle gives channel, row, column, other decoders row, column, channel.
 */
static size_t element(const Drawing *d, bool shuffled, int l, int k)
{
    int area = d->patch * d->patch;
    int c = shuffled ? k / area : k % d->channels, pixel = shuffled ? k % area : k / d->channels;
    int y = l / d->columns * d->patch + pixel / d->patch, x = l % d->columns * d->patch + pixel % d->patch;
    return ((size_t)c * (size_t)d->height + (size_t)y) * (size_t)d->width + (size_t)x;
}

/* Mean, and root of unbiased variance + 1e-6, of a true patch. */
static void patch_statistics(const float *values, int count, double *mean, double *root)
{
    double sum = 0, squares = 0;
    for (int k = 0; k < count; k++)
        sum += (double)values[k];
    *mean = sum / count;
    for (int k = 0; k < count; k++)
        squares += ((double)values[k] - *mean) * ((double)values[k] - *mean);
    *root = sqrt(squares / (count - 1) + 1e-6);
}

/* A picture with the predictions (places, numbers) in its hidden patches. */
static bool reconstruction(Drawing *d, int decoder, const float *image, const uint8_t *hidden, const float *predictions,
                           Image *out)
{
    const RecipeDecoder *how = &d->recipe->decoders[decoder];
    bool shuffled = how->kind == DECODER_PIXEL_SHUFFLE;
    memcpy(d->picture, image, (size_t)d->places * (size_t)d->numbers * sizeof *image);
    for (int l = 0; l < d->places; l++) {
        if (!hidden[l])
            continue;
        double mean = 0, root = 1;
        for (int k = 0; k < d->numbers; k++)
            d->true_patch[k] = image[element(d, shuffled, l, k)];
        if (how->target.normalise == NORMALISE_PATCH)
            patch_statistics(d->true_patch, d->numbers, &mean, &root);
        const float *from = predictions + (size_t)l * (size_t)d->numbers;
        for (int k = 0; k < d->numbers; k++)
            d->picture[element(d, shuffled, l, k)] = (float)((double)from[k] * root + mean);
    }
    return image_from_tensor(d->picture, d->shown, d->height, d->width, d->mean, d->std, out);
}

/* Up to AT_ONCE rows of cells. */
static bool draw_rows(Drawing *d, Trainer *t, const float *images, const uint8_t *hidden, int count, Image *cells)
{
    int columns = COLUMNS_BEFORE + d->recipe->decoder_count;
    size_t size = (size_t)d->places * (size_t)d->numbers;
    TrainerMetrics metrics;
    if (!trainer_evaluate(t, &(TrainerBatch){.images = images, .hidden = hidden}, count, &metrics))
        return false;
    for (int i = 0; i < count; i++) {
        const float *image = images + (size_t)i * size;
        Image *row = cells + i * columns;
        for (int k = 0; k < COLUMNS_BEFORE; k++)
            if (!image_from_tensor(image, d->shown, d->height, d->width, d->mean, d->std, &row[k]))
                return false;
        sheet_hide(&row[1], hidden + (size_t)i * (size_t)d->places, d->patch);
    }
    for (int k = 0; k < d->recipe->decoder_count; k++) {
        trainer_prediction(t, k, d->predictions);
        for (int i = 0; i < count; i++)
            if (!reconstruction(d, k, images + (size_t)i * size, hidden + (size_t)i * (size_t)d->places,
                                d->predictions + (size_t)i * size, &cells[i * columns + COLUMNS_BEFORE + k]))
                return false;
    }
    return true;
}

bool reconstruct_sheet(Trainer *t, const Recipe *r, const float *images, const uint8_t *hidden, int count, Image *out)
{
    char text[COLUMNS_BEFORE + RECIPE_DECODERS_MAX][CAPTION_BYTES] = {"original", "masked"};
    const char *captions[COLUMNS_BEFORE + RECIPE_DECODERS_MAX];
    int columns = COLUMNS_BEFORE + r->decoder_count;
    Drawing d;
    *out = (Image){0};
    if (count < 1)
        return error_set("there is no picture to reconstruct");
    if (!drawing_make(&d, r))
        return false;
    for (int k = 0; k < r->decoder_count; k++) {
        if (r->decoders[k].tap == TAP_LAST)
            snprintf(text[COLUMNS_BEFORE + k], CAPTION_BYTES, "last");
        else
            snprintf(text[COLUMNS_BEFORE + k], CAPTION_BYTES, "block %d", r->decoders[k].tap);
    }
    for (int k = 0; k < columns; k++)
        captions[k] = text[k];
    Image *cells = memory_new((size_t)count * (size_t)columns, sizeof *cells);
    bool ok = cells != NULL;
    for (int first = 0; ok && first < count; first += AT_ONCE)
        ok = draw_rows(&d, t, images + (size_t)first * (size_t)d.places * (size_t)d.numbers,
                       hidden + (size_t)first * (size_t)d.places, count - first < AT_ONCE ? count - first : AT_ONCE,
                       cells + (size_t)first * (size_t)columns);
    ok = ok && sheet_make(cells, count, columns, captions, out);
    for (int i = 0; cells && i < count * columns; i++)
        image_free(&cells[i]);
    memory_free(cells);
    drawing_free(&d);
    return ok;
}

bool reconstruct_write(const Recipe *r, const float *weights, const float *fixed, const float *images, const uint8_t *hidden,
                       int count, const char *png_path)
{
    Device device = {0};
    Image sheet = {0};
    Trainer *t = NULL;
    bool ok = device_open(recipe_word("run.device", (int)r->run.device), r->run.threads > 0 ? r->run.threads : 0, &device) &&
              (t = reconstruct_open(r, &device));
    if (ok) {
        const ParamSet *set = trainer_params(t);
        memcpy(trainer_weights(t), weights, (size_t)set->trained_count * sizeof *weights);
        memcpy(trainer_fixed(t), fixed, (size_t)set->fixed_count * sizeof *fixed);
        ok = reconstruct_sheet(t, r, images, hidden, count, &sheet) && image_write_png(png_path, &sheet);
    }
    image_free(&sheet);
    trainer_close(t);
    device_close(&device);
    return ok || error_context("drawing reconstructions");
}

/* ---- mixed targets */

bool reconstruct_can_mix(const Recipe *r)
{
    bool any = false;
    if (recipe_teacher_resizes(r))
        return false; /* a teacher beside the mixes wants pictures of another size, which are not at hand */
    for (int k = 0; k < r->decoder_count; k++) {
        if (!recipe_is_mixed(r, k))
            continue;
        if (!draws_pixels(&r->decoders[k].target))
            return false;
        any = true;
    }
    return any;
}

/* A column of a sheet: the target of a decoder at an epoch. */
typedef struct {
    int decoder;
    double epoch;
    char caption[CAPTION_BYTES];
} Moment;

enum { MOMENTS = 5 };

static int list_moments(const Recipe *r, Moment *out)
{
    int count = 0;
    for (int i = 0; i < r->hybrid.count; i++) {
        const RecipeMix *mix = &r->hybrid.items[i];
        int decoder = 0, times = mix->epochs[1] > 0 ? MOMENTS : 1;
        while (r->decoders[decoder].tap != mix->tap)
            decoder++;
        for (int m = 0; m < times; m++) {
            Moment *to = &out[count++];
            to->decoder = decoder;
            to->epoch = mix->epochs[0] + (mix->epochs[1] - mix->epochs[0]) * m / (MOMENTS - 1);
            if (times > 1)
                snprintf(to->caption, CAPTION_BYTES, "%d epoch %.3g", mix->tap, to->epoch);
            else
                snprintf(to->caption, CAPTION_BYTES, "block %d", mix->tap);
        }
    }
    return count;
}

/* Pictures as the frozen model sees them, AT_ONCE at a time. */
static void see_as_frozen(const Drawing *d, const MimHybrid *hybrid, const float *images, int count, float *out)
{
    size_t plane = (size_t)d->height * (size_t)d->width;
    for (size_t i = 0; i < (size_t)count * (size_t)d->channels * plane; i++) {
        size_t c = i / plane % (size_t)d->channels;
        out[i] = hybrid->renormalise ? images[i] * hybrid->scale[c] + hybrid->shift[c] : images[i];
    }
}

static bool draw_moments(Drawing *d, Trainer *t, const MimHybrid *hybrid, const float *images, const uint8_t *hidden, int count,
                         const Moment *moments, int columns, Image *cells)
{
    size_t size = (size_t)d->places * (size_t)d->numbers;
    float *seen = memory_new((size_t)count * size, sizeof *seen);
    bool ok = seen != NULL;
    if (ok)
        see_as_frozen(d, hybrid, images, count, seen);
    for (int k = 0; ok && k < columns - COLUMNS_BEFORE; k++) {
        TrainerMetrics metrics;
        TrainerBatch batch = {.images = images, .hidden = hidden, .epoch = moments[k].epoch};
        ok = trainer_evaluate(t, &batch, count, &metrics);
        if (ok)
            trainer_target(t, moments[k].decoder, d->predictions);
        for (int i = 0; ok && i < count; i++)
            ok = reconstruction(d, moments[k].decoder, seen + (size_t)i * size, hidden + (size_t)i * (size_t)d->places,
                                d->predictions + (size_t)i * size, &cells[i * columns + COLUMNS_BEFORE + k]);
    }
    for (int i = 0; ok && i < count; i++) {
        for (int k = 0; ok && k < COLUMNS_BEFORE; k++)
            ok = image_from_tensor(seen + (size_t)i * size, d->shown, d->height, d->width, d->mean, d->std,
                                   &cells[i * columns + k]);
        if (ok)
            sheet_hide(&cells[i * columns + 1], hidden + (size_t)i * (size_t)d->places, d->patch);
    }
    memory_free(seen);
    return ok;
}

bool reconstruct_targets(const Recipe *r, const MimTeacher *teacher, const float *teacher_weights, const float *images,
                         const uint8_t *hidden, int count, const char *png_path)
{
    Moment moments[MOMENTS * RECIPE_DECODERS_MAX];
    const char *captions[COLUMNS_BEFORE + MOMENTS * RECIPE_DECODERS_MAX] = {"original", "masked"};
    int columns = COLUMNS_BEFORE + list_moments(r, moments);
    count = count < AT_ONCE ? count : AT_ONCE;
    TrainerOptions options = {.batch = count,
                              .micro_batch = count,
                              .plain = true,
                              .keep_predictions = true,
                              .evaluate_only = true,
                              .teacher = teacher};
    Drawing d = {0};
    Image sheet = {0};
    Trainer *t = NULL;
    Image *cells = memory_new((size_t)count * (size_t)columns, sizeof *cells);
    Recipe *shown = memory_new(1, sizeof *shown);
    bool ok = cells && shown;
    if (ok) { /* mixes are drawn with the frozen model's statistics; what is not mixed is not drawn */
        *shown = *r;
        shown->image.mean = teacher->hybrid.recipe.image.mean;
        shown->image.std = teacher->hybrid.recipe.image.std;
        for (int k = 0; k < r->decoder_count; k++)
            if (!recipe_is_mixed(r, k))
                shown->decoders[k].target = shown->decoders[moments[0].decoder].target;
    }
    for (int k = 0; k < columns - COLUMNS_BEFORE; k++)
        captions[COLUMNS_BEFORE + k] = moments[k].caption;
    ok = ok && drawing_make(&d, shown) &&
         device_open(recipe_word("run.device", (int)r->run.device), r->run.threads > 0 ? r->run.threads : 0, &options.device) &&
         (t = trainer_open(r, &options));
    if (ok)
        memcpy(trainer_teacher_weights(t), teacher_weights,
               (size_t)trainer_teacher_params(t)->trained_count * sizeof *teacher_weights);
    ok = ok && draw_moments(&d, t, &teacher->hybrid, images, hidden, count, moments, columns, cells) &&
         sheet_make(cells, count, columns, captions, &sheet) && image_write_png(png_path, &sheet);
    for (int i = 0; cells && i < count * columns; i++)
        image_free(&cells[i]);
    image_free(&sheet);
    memory_free(cells);
    memory_free(shown);
    drawing_free(&d);
    trainer_close(t);
    device_close(&options.device);
    return ok || error_context("drawing mixed targets");
}
