/* The pictures of an analysis: attention maps, principal components, reconstructions (docs/spec/analysis.md 9). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/analyse_parts.h"
#include "analysis/pca.h"
#include "base/error.h"
#include "base/memory.h"
#include "image/draw.h"
#include "report/sheet.h"
#include "train/checkpoint.h"
#include "train/pictures.h"
#include "train/reconstruct.h"

enum { CAPTION_BYTES = 24 };

/* A sheet in the making: its cells, and what is written over them. */
typedef struct {
    Image *cells;
    char (*words)[CAPTION_BYTES];
    const char **captions;
    int rows, columns;
} Grid;

static bool grid_open(Grid *g, int rows, int columns)
{
    *g = (Grid){.rows = rows, .columns = columns};
    if (!(g->cells = memory_new((size_t)rows * (size_t)columns, sizeof *g->cells)) ||
        !(g->words = memory_new((size_t)columns, sizeof *g->words)) ||
        !(g->captions = memory_new((size_t)columns, sizeof *g->captions)))
        return false;
    for (int c = 0; c < columns; c++)
        g->captions[c] = g->words[c];
    return true;
}

static void grid_close(Grid *g)
{
    for (int i = 0; g->cells && i < g->rows * g->columns; i++)
        image_free(&g->cells[i]);
    memory_free(g->cells);
    memory_free(g->words);
    memory_free(g->captions);
}

/* Picture `at` of those that are shown, in colours or grey. */
static bool draw_picture(const Model *model, int at, Image *out)
{
    const Recipe *r = &model->backbone->recipe;
    int channels = r->image.channels;
    float mean[RECIPE_CHANNELS_MAX], std[RECIPE_CHANNELS_MAX];
    size_t numbers = (size_t)channels * (size_t)r->image.size[0] * (size_t)r->image.size[1];
    return recipe_statistics(&r->image.mean, false, channels, mean) && recipe_statistics(&r->image.std, true, channels, std) &&
           image_from_tensor(model->images + (size_t)at * numbers, channels < 3 ? 1 : 3, r->image.size[0], r->image.size[1],
                             mean, std, out);
}

/* A colour of 0..1, from dark to bright. */
static void heat_colour(double x, uint8_t colour[3])
{
    static const double stops[][3] = {{10, 8, 34}, {78, 22, 106}, {180, 50, 92}, {246, 132, 58}, {252, 246, 180}};
    double at = fmin(fmax(x, 0), 1) * 4;
    int i = at >= 4 ? 3 : (int)at;
    for (int k = 0; k < 3; k++)
        colour[k] = (uint8_t)lround(stops[i][k] + (stops[i + 1][k] - stops[i][k]) * (at - i));
}

/* A map over the grid, by its own maximum, each patch `side` pixels wide; `marked`: a patch with a box around it, or -1. */
static bool draw_map(const HeadLayout *h, const float *row, int side, int marked, Image *out)
{
    float most = 0;
    if (!image_new(out, h->rows * side, h->columns * side, 3))
        return false;
    for (int k = 0; k < h->rows * h->columns; k++)
        most = row[k] > most ? row[k] : most;
    for (int k = 0; k < h->rows * h->columns; k++) {
        uint8_t colour[3];
        int top = k / h->columns * side, left = k % h->columns * side;
        if (k == marked && side > 4) {
            static const uint8_t box[] = {90, 200, 250};
            draw_rectangle(out, (ImageBox){top, left, side, side}, box);
        }
        heat_colour(most > 0 ? row[k] / most : 0, colour);
        int inset = k == marked && side > 4 ? 1 : 0;
        draw_rectangle(out, (ImageBox){top + inset, left + inset, side - 2 * inset, side - 2 * inset}, colour);
    }
    return true;
}

/* A row a picture: the picture, then the last block's heads. */
static bool attention_sheet(const Analysis *a, const Model *model, Image *out)
{
    HeadLayout h = inside_layout(model->inside);
    int depth = inside_depth(model->inside), side = (int)h.stride, patches = h.rows * h.columns;
    Grid g;
    bool ok = grid_open(&g, a->looked, 1 + h.heads);
    for (int i = 0; ok && i < a->looked; i++) {
        ok = draw_picture(model, i, &g.cells[i * g.columns]);
        for (int k = 0; ok && k < h.heads; k++)
            ok = draw_map(&h,
                          model->rows +
                              (((size_t)i * (size_t)depth + (size_t)depth - 1) * (size_t)h.heads + (size_t)k) * (size_t)patches,
                          side, h.class_tokens ? -1 : analyse_middle(&h), &g.cells[i * g.columns + 1 + k]);
    }
    for (int c = 0; ok && c < g.columns; c++)
        snprintf(g.words[c], CAPTION_BYTES, c ? "head %d" : "picture", c - 1);
    ok = ok && sheet_make(g.cells, g.rows, g.columns, g.captions, out);
    grid_close(&g);
    return ok;
}

/* A row a block, a column a head, of the first picture. */
static bool layers_sheet(const Model *model, Image *out)
{
    HeadLayout h = inside_layout(model->inside);
    int depth = inside_depth(model->inside);
    Grid g;
    bool ok = grid_open(&g, depth, h.heads);
    for (int i = 0; ok && i < depth * h.heads; i++)
        ok = draw_map(&h, model->rows + (size_t)i * (size_t)(h.rows * h.columns), 1, -1, &g.cells[i]);
    for (int c = 0; ok && c < g.columns; c++)
        snprintf(g.words[c], CAPTION_BYTES, "head %d", c);
    ok = ok && sheet_make(g.cells, g.rows, g.columns, g.captions, out);
    grid_close(&g);
    return ok;
}

/* Pictures above, their components below. */
static bool components_sheet(const Analysis *a, const Model *model, Image *out)
{
    HeadLayout h = inside_layout(model->inside);
    int patches = h.rows * h.columns, side = (int)h.stride;
    Grid g = {0};
    Pca pca = {0};
    uint8_t *colours = memory_new((size_t)(a->looked * patches), PCA_COLOURS);
    bool ok = colours && grid_open(&g, 2, a->looked) &&
              pca_colours(model->tokens, (int64_t)a->looked * patches, inside_width(model->inside), &pca, colours);
    for (int i = 0; ok && i < a->looked; i++) {
        Image *cell = &g.cells[a->looked + i];
        ok = draw_picture(model, i, &g.cells[i]) && image_new(cell, h.rows * side, h.columns * side, 3);
        for (int k = 0; ok && k < patches; k++)
            draw_rectangle(cell, (ImageBox){k / h.columns * side, k % h.columns * side, side, side},
                           colours + (size_t)(i * patches + k) * PCA_COLOURS);
        snprintf(g.words[i], CAPTION_BYTES, "picture %d", i + 1);
    }
    ok = ok && sheet_make(g.cells, g.rows, g.columns, g.captions, out);
    grid_close(&g);
    pca_free(&pca);
    memory_free(colours);
    return ok;
}

/* None where the file holds no decoders, or they predict no pixels. */
static bool reconstruction_sheet(const Analysis *a, const Model *model, Image *out)
{
    const Recipe *r = &model->backbone->recipe;
    if (!r->decoder_count || !reconstruct_can(r) || recipe_visible(r) >= recipe_patches(r))
        return true;
    Text note = {0};
    uint8_t *hidden = memory_new((size_t)a->looked, (size_t)recipe_patches(r));
    Trainer *trainer = hidden ? reconstruct_open(r, &a->options->device) : NULL;
    bool ok = trainer && checkpoint_load_weights(model->from, r, trainer, &note);
    /* What decoders that kept their first draw would paint says nothing. */
    if (ok && !(note.data && strstr(note.data, "starts anew"))) {
        pictures_masks(r, true, 0, 0, a->looked_samples, (size_t)a->looked, hidden);
        ok = reconstruct_sheet(trainer, r, model->images, hidden, a->looked, out);
    }
    text_free(&note);
    trainer_close(trainer);
    memory_free(hidden);
    return ok;
}

bool analyse_sheet(const Analysis *a, int m, AnalysisSheet sheet, Image *out)
{
    const Model *model = &a->models[m];
    *out = (Image){0};
    switch (sheet) {
    case SHEET_ATTENTION:
        return attention_sheet(a, model, out);
    case SHEET_LAYERS:
        return layers_sheet(model, out);
    case SHEET_COMPONENTS:
        return components_sheet(a, model, out);
    default:
        return reconstruction_sheet(a, model, out);
    }
}
