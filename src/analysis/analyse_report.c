/* The page of an analysis: a plot for each measurement, models side by side, and below each how it is read. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/analyse_charts.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/draw.h"
#include "report/page.h"

/* ---- heads */

typedef enum { HEAD_DISTANCE, HEAD_ENTROPY, HEAD_KL } HeadNumber;

static const double *numbers_of(const HeadResult *r, HeadNumber which)
{
    return which == HEAD_DISTANCE ? r->distance : which == HEAD_ENTROPY ? r->entropy : r->kl_head;
}

/* Of attention that is the same for all patches. */
static double uniform_distance(const HeadLayout *h)
{
    double sum = 0;
    int n = h->rows * h->columns;
    for (int q = 0; q < n; q++)
        for (int k = 0; k < n; k++) {
            int down = q / h->columns - k / h->columns, right = q % h->columns - k % h->columns;
            sum += h->stride * hypot(down, right);
        }
    return sum / n / n;
}

/* A dot a head, a line through the means, a dashed one at what uniform attention has. */
static bool heads_chart(const Analysis *a, int m, HeadNumber which, Chart *chart)
{
    Inside *in = a->models[m].inside;
    HeadLayout h = inside_layout(in);
    size_t depth = (size_t)inside_depth(in);
    chart->x_name = "block";
    ChartSeries *mean = chart_series(chart, depth, 7, CHART_LINE, "mean of heads");
    for (size_t b = 1; mean && b <= depth; b++) {
        HeadResult r = inside_heads(in, (int)b);
        double sum = 0;
        for (int k = 0; k < h.heads; k++)
            sum += numbers_of(&r, which)[k] / h.heads;
        mean->points[mean->count++] = (ChartPoint){(double)b, sum};
    }
    bool ok = mean != NULL;
    if (ok && which != HEAD_KL) {
        ChartSeries *s = chart_series(chart, 2, 7, CHART_DASHED, "uniform attention");
        double level = which == HEAD_DISTANCE ? uniform_distance(&h) : log(h.rows * h.columns);
        if (s) {
            s->points[s->count++] = (ChartPoint){0, level};
            s->points[s->count++] = (ChartPoint){(double)depth + 0.3, level};
        }
        ok = s != NULL;
    }
    for (int k = 0; ok && k < h.heads; k++) {
        ChartSeries *s = chart_series(chart, depth, k % (CHART_COLOURS - 1), CHART_DOTS, "head %d", k);
        for (size_t b = 1; s && b <= depth; b++) {
            HeadResult r = inside_heads(in, (int)b);
            s->points[s->count++] = (ChartPoint){(double)b, numbers_of(&r, which)[k]};
        }
        ok = s != NULL;
    }
    return ok;
}

static bool add_heads(const Analysis *a, HeadNumber which, const char *what, const char *note, Text *out)
{
    Chart charts[ANALYSE_MODELS_MOST] = {0};
    bool ok = true;
    for (int m = 0; ok && m < a->count; m++) {
        charts_title(a, m, what, charts[m].title, sizeof charts[m].title);
        charts[m].note = note;
        ok = heads_chart(a, m, which, &charts[m]);
    }
    charts_share_axes(charts, a->count, true);
    return charts_draw(charts, a->count, ok, out);
}

/* ---- a line a model */

static double kl_of(const Analysis *a, int m, int l)
{
    return l ? inside_heads(a->models[m].inside, l).kl_mean : NAN;
}

static double cosine_of(const Analysis *a, int m, int l)
{
    return l ? inside_heads(a->models[m].inside, l).diversity_rows : NAN;
}

static double rank_of(const Analysis *a, int m, int l)
{
    return l ? inside_rank(a->models[m].inside, l) : NAN;
}

static double delta_of(const Analysis *a, int m, int l)
{
    return inside_amplitude(a->models[m].inside, l, inside_frequencies(a->models[m].inside) - 1);
}

/* Mean over the heads. */
static double class_mass_of(const Analysis *a, int m, int l)
{
    HeadLayout h = inside_layout(a->models[m].inside);
    if (!l || !h.class_tokens)
        return NAN;
    HeadResult r = inside_heads(a->models[m].inside, l);
    double sum = 0;
    for (int k = 0; k < h.heads; k++)
        sum += r.class_mass[k] / h.heads;
    return sum;
}

/* ---- spectra */

static bool shares_chart(const Analysis *a, int m, Chart *chart)
{
    static const char *const names[INSIDE_SHARES] = {"largest", "two largest", "three largest", "four largest", "five largest"};
    Inside *in = a->models[m].inside;
    int depth = inside_depth(in);
    chart->x_name = "block";
    for (int j = 0; j < INSIDE_SHARES; j++) {
        ChartSeries *s = chart_series(chart, (size_t)depth, j, CHART_LINE, "%s", names[j]);
        for (int b = 1; s && b <= depth; b++)
            s->points[s->count++] = (ChartPoint){b, inside_shares(in, b)[j]};
        if (!s)
            return false;
    }
    return true;
}

static bool spectrum_chart(const Analysis *a, int m, Chart *chart)
{
    Inside *in = a->models[m].inside;
    int depth = inside_depth(in), count = inside_frequencies(in);
    chart->x_name = "cycles";
    for (int l = 0; l <= depth; l++) {
        /* Of many layers a few are drawn in strong lines and named. */
        bool named = l == 0 || l == depth || depth <= 6 || l % ((depth + 3) / 4) == 0;
        ChartSeries *s = chart_series(chart, (size_t)count, l * (CHART_COLOURS - 1) / (depth + 1),
                                      named ? CHART_LINE : CHART_FAINT, "layer %d", l);
        for (int i = 0; s && i < count; i++)
            s->points[s->count++] = (ChartPoint){i, inside_amplitude(in, l, i)};
        if (!s)
            return false;
    }
    return true;
}

/* ---- pictures */

static bool add_sheet(const Analysis *a, int m, AnalysisSheet sheet, const char *file, const char *what, const char *note,
                      Text *out)
{
    Image image = {0};
    char title[2 * MODEL_NAME_BYTES], name[64];
    size_t size;
    uint8_t *png = NULL;
    snprintf(name, sizeof name, "pictures/%d-%s.png", m + 1, file);
    char *path = file_join(a->options->out, name);
    bool ok = path && analyse_sheet(a, m, sheet, &image);
    if (ok && image.data) {
        charts_title(a, m, what, title, sizeof title);
        ok = (png = image_encode_png(&image, &size)) && file_write(path, png, size);
        text_add(out, "<figure><figcaption>");
        html_text(out, title);
        text_add(out, "</figcaption>");
        if (ok)
            page_image(out, title, png, size);
        chart_note(note, out);
        text_add(out, "</figure>\n");
    }
    memory_free(png);
    memory_free(path);
    image_free(&image);
    return ok;
}

static bool add_pictures(const Analysis *a, Text *out)
{
    static const struct {
        AnalysisSheet sheet;
        const char *file, *title, *note;
    } sheets[] = {
        {SHEET_ATTENTION, "attention", "Attention of the last block",
         "Where the class token looks (without one: the patch in the middle, in a box), a column a head, each by its own "
         "maximum. Heads that light up different things have divided the work; heads that all show the same have not."},
        {SHEET_LAYERS, "layers", "Attention of every block",
         "The first picture through all blocks, from the first at the top to the last at the bottom, a column a head. Small "
         "bright spots are heads that look near, even surfaces such that look everywhere."},
        {SHEET_COMPONENTS, "components", "Components of patch features",
         "The three directions in which patches differ most, as red, green and blue, the same for all pictures. Parts of one "
         "colour are alike to the model: a good one gives an object's parts one colour across pictures. Hues mean nothing in "
         "themselves and cannot be compared between models."},
        {SHEET_RECONSTRUCTION, "reconstruction", "Reconstruction",
         "The picture, what the model was shown of it, and what each decoder paints where patches were hidden. Contrast and "
         "colour of patch-normalised targets are taken from the true patch."}};
    char *folder = file_join(a->options->out, "pictures");
    bool ok = folder && file_make_folder(folder);
    charts_begin_section(out, "Pictures",
                         "The same pictures for all models, with every patch visible, but for reconstructions.");
    for (size_t s = 0; ok && s < sizeof sheets / sizeof *sheets; s++)
        for (int m = 0; ok && m < a->count; m++)
            ok = add_sheet(a, m, sheets[s].sheet, sheets[s].file, sheets[s].title, sheets[s].note, out);
    charts_end_section(out);
    memory_free(folder);
    return ok;
}

/* ---- the whole */

static void add_models(const Analysis *a, Text *out)
{
    text_add(out, "<div class=\"wide\"><table>\n<tr><th>Model</th><th>From</th><th>Encoder</th></tr>\n");
    for (int m = 0; m < a->count; m++) {
        const Model *model = &a->models[m];
        const Recipe *r = &model->backbone->recipe;
        char blocks[RECIPE_BLOCKS_SIZE];
        text_add(out, "<tr><td>");
        html_text(out, model->name);
        text_add(out, "</td><td>");
        html_text(out, model->from);
        text_add(out, "</td><td>patch %d, width %d, %s, %d heads; pictures of %d x %d%s</td></tr>\n", r->encoder.patch,
                 r->encoder.width, recipe_blocks(r, blocks), r->encoder.heads, r->image.size[0], r->image.size[1],
                 r->encoder.class_token ? "" : "; no class token");
    }
    text_add(out, "</table></div>\n");
}

static bool add_sections(const Analysis *a, Text *out)
{
    charts_begin_section(out, "How far attention looks",
                         "Means over pictures and patches, in pixels of the network's input. What is "
                         "given to the class token counts as distance 0.");
    bool ok = add_heads(a, HEAD_DISTANCE, "Attention distance",
                        "Each dot is a head: the distance from a patch to what it looks at. Low dots are local, like small "
                        "convolutions; dots near the dashed line look everywhere alike. Models trained by masking tend to keep "
                        "low dots in every block, others lose them with depth.",
                        out);
    for (int m = 0, any = 0; m < a->count && !any; m++)
        if ((any = inside_layout(a->models[m].inside).class_tokens))
            ok = ok && charts_add_common(
                           a, "What the class token gets", class_mass_of, true, "block",
                           "The share of a patch's attention that goes to the class token, mean of the heads. Where it is "
                           "large, the distances above are small for that reason alone: look at distance_renormalised in "
                           "heads.csv, which leaves it out.",
                           out);
    charts_end_section(out);
    charts_begin_section(out, "How spread out attention is", "Entropy of a patch's attention to the patches, in nats.");
    ok = ok && add_heads(a, HEAD_ENTROPY, "Entropy of attention",
                         "Each dot is a head: 0 would be a single patch that is looked at, the dashed line all patches alike. "
                         "Dots far apart in a block mean that it has focused heads and broad ones at once.",
                         out);
    charts_end_section(out);
    charts_begin_section(out, "How heads differ",
                         "Divergence between heads of one block, of each query and picture apart, then the mean.");
    ok = ok && add_heads(a, HEAD_KL, "Divergence of each head from the others (KL)",
                         "Each dot is a head beside the others of its block. Dots near 0 are heads that look where the others "
                         "look, and could be spared.",
                         out);
    ok = ok && charts_add_common(
                   a, "Diversity of heads (KL)", kl_of, true, "block",
                   "The mean over pairs of heads. A line that falls to 0 belongs to a model whose last blocks repeat one "
                   "head; masking tends to keep it up.",
                   out);
    ok = ok && charts_add_common(
                   a, "Diversity of heads (1 - cosine)", cosine_of, true, "block",
                   "The same by the cosine between rows of attention: 0 when all heads look alike, 1 when no two look at "
                   "the same patches.",
                   out);
    charts_end_section(out);
    ok = ok && analyse_add_similarity(a, out);
    charts_begin_section(out, "Directions that tokens share", "Singular values of a picture's patch tokens, each of length 1.");
    ok = ok && charts_add_each(
                   a, "Share of the largest singular values", shares_chart, true,
                   "How much of the sum of all singular values the largest have. High lines: tokens of a picture lie near "
                   "a few directions, so they say much the same; low ones: every patch keeps something of its own.",
                   out);
    ok = ok && charts_add_common(a, "Effective rank of tokens", rank_of, true, "block",
                                 "The same in one number: how many directions the patches of a picture use.", out);
    charts_end_section(out);
    charts_begin_section(out, "Frequencies",
                         "Tokens as maps, one a channel: log amplitude along the diagonal of the Fourier "
                         "transform, above that of the constant part.");
    ok = ok &&
         charts_add_each(a, "Log amplitude by frequency", spectrum_chart, false,
                         "Cycles over the height of the grid, from coarse to fine; a line a layer. Lines that fall steeply "
                         "belong to smooth features, flat ones to features with much detail.",
                         out);
    ok = ok && charts_add_common(
                   a, "Amplitude of the highest frequency", delta_of, false, "layer",
                   "The last point of each line above, just below the highest frequency; compare only models with equal "
                   "grids. Masking tends to keep fine detail to the end, contrastive learning loses it with depth.",
                   out);
    charts_end_section(out);
    return ok && analyse_add_weights(a, out) && add_pictures(a, out);
}

bool analyse_report(Analysis *a)
{
    Text out = {0}, title = {0};
    char *path = file_join(a->options->out, "report.html");
    for (int m = 0; m < a->count; m++)
        text_add(&title, "%s%s", m == 0 ? "Inside " : m + 1 == a->count ? " and " : ", ", a->models[m].name);
    page_begin(&out, title.data ? title.data : "");
    text_add(&out, "<h1>");
    html_text(&out, title.data ? title.data : "");
    text_add(&out, "</h1>\n<p class=\"lead\">%zu pictures of ", a->pictures);
    html_text(&out, source_summary(a->models[0].source));
    text_add(&out, ", by lacuna " LACUNA_VERSION ". Every number stands in numbers.json and in the tables beside it.</p>\n");
    add_models(a, &out);
    bool ok = path && add_sections(a, &out);
    page_end(&out);
    if (title.failed || out.failed) /* whatever was said of it is forgotten by now: models were loaded since */
        ok = error_set("out of memory for the page %s", path ? path : "");
    ok = ok && file_write(path, out.data, out.length);
    text_free(&out);
    text_free(&title);
    memory_free(path);
    return ok;
}
