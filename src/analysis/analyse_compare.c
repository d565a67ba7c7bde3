/* Of the page of an analysis what stands beside each other: layers, within a model and between models, and weights. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/analyse_charts.h"
#include "analysis/weights.h"
#include "base/memory.h"
#include "report/heat.h"

enum { PAIRS_ALL = 3 /* models of which every pair is drawn; of more each beside the first */, BLOCK_ROOM = 1024 };

/* ---- similarity */

static bool add_heat(const Analysis *a, int m, int k, Text *out)
{
    char title[2 * MODEL_NAME_BYTES + 64], rows[MODEL_NAME_BYTES + 16] = "layer", columns[MODEL_NAME_BYTES + 16] = "layer";
    Heat heat = {.title = title,
                 .rows = inside_depth(a->models[m].inside) + 1,
                 .columns = inside_depth(a->models[k].inside) + 1,
                 .row_name = rows,
                 .column_name = columns};
    double *values = memory_new((size_t)heat.rows * (size_t)heat.columns, sizeof *values);
    for (int i = 0; values && i < heat.rows * heat.columns; i++)
        values[i] = analyse_cka(a, TOKENS_MEAN, m, i / heat.columns, k, i % heat.columns);
    heat.values = values;
    if (m == k) {
        charts_title(a, m, "Similarity of layers (CKA)", title, sizeof title);
        heat.note = "Each cell compares the mean patch tokens of two layers over the same pictures: 1 is the same up to "
                    "rotation and scale, 0 unrelated. A square of strong colour is a run of layers that do much the same; the "
                    "diagonal is 1 by definition.";
    } else {
        snprintf(title, sizeof title, "Between %s and %s (CKA)", a->models[m].name, a->models[k].name);
        snprintf(rows, sizeof rows, "layer of %s", a->models[m].name);
        snprintf(columns, sizeof columns, "layer of %s", a->models[k].name);
        heat.note = "The same between two models: where the strong colours lie on the diagonal, they build up alike, depth by "
                    "depth; where they lie off it, one reaches earlier what the other reaches later.";
    }
    if (values)
        heat_draw(&heat, out);
    memory_free(values);
    return values != NULL;
}

/* One model beside all others, at the same depth. */
static bool others_chart(const Analysis *a, int m, Chart *chart)
{
    int depth = inside_depth(a->models[m].inside);
    chart->x_name = "layer";
    for (int k = 0; k < a->count; k++) {
        if (k == m)
            continue;
        int its = inside_depth(a->models[k].inside);
        ChartSeries *s = chart_series(chart, (size_t)depth + 1, k, CHART_LINE, "%s", a->models[k].name);
        for (int l = 0; s && l <= depth && l <= its; l++)
            s->points[s->count++] = (ChartPoint){l, analyse_cka(a, TOKENS_MEAN, m, l, k, l)};
        if (!s)
            return false;
    }
    return true;
}

static double last_of(const Analysis *a, int m, int l)
{
    return analyse_cka(a, TOKENS_MEAN, m, l, m, inside_depth(a->models[m].inside));
}

static double last_class_of(const Analysis *a, int m, int l)
{
    return analyse_cka(a, TOKENS_CLASS, m, l, m, inside_depth(a->models[m].inside));
}

bool analyse_add_similarity(const Analysis *a, Text *out)
{
    bool ok = true;
    char lead[320];
    if (a->batches)
        snprintf(lead, sizeof lead,
                 "Linear CKA, the unbiased estimate, summed over %d minibatch%s of up to %d pictures, %zu of %zu in all. Layer "
                 "0 is what enters the first block.",
                 a->batches, a->batches == 1 ? "" : "es", a->cka_batch, a->cka_pictures, a->pictures);
    else
        snprintf(lead, sizeof lead, "Linear CKA wants at least 4 pictures, and more to say much; these were %zu.", a->pictures);
    charts_begin_section(out, "How alike layers are", lead);
    for (int m = 0; ok && m < a->count; m++)
        ok = add_heat(a, m, m, out);
    for (int m = 0; ok && m < a->count; m++)
        for (int k = m + 1; ok && k < a->count && (a->count <= PAIRS_ALL || m == 0); k++)
            ok = add_heat(a, m, k, out);
    ok = ok &&
         charts_add_common(a, "Similarity to the last layer (CKA)", last_of, true, "layer",
                           "Each layer beside the last one of its model. A line that is high early on belongs to a model whose "
                           "middle layers are near to what it ends with.",
                           out);
    if (a->similarity[TOKENS_CLASS])
        ok = ok && charts_add_common(
                       a, "Class tokens: similarity to the last layer (CKA)", last_class_of, true, "layer",
                       "The same of class tokens. It is the one to look at for models that train nothing else at their "
                       "end, such as classifiers that read the class token: nothing asks anything of their last patches.",
                       out);
    if (a->count > PAIRS_ALL)
        ok = ok &&
             charts_add_each(a, "Similarity to the other models (CKA)", others_chart, true,
                             "The same layer of two models, by the mean patch tokens. High lines: both make the same of the "
                             "pictures at that depth, whatever they were taught. All pairs of layers stand in cka.csv.",
                             out);
    charts_end_section(out);
    return ok;
}

/* ---- weights */

static bool weights_chart(const Analysis *a, int m, int k, Chart *chart, bool *any)
{
    static const char *const kinds[] = {"qkv", "proj", "fc1", "fc2", "norm"};
    const Backbone *x = a->models[m].backbone, *y = a->models[k].backbone;
    double sums[BLOCK_ROOM + 1];
    int counts[BLOCK_ROOM + 1], depth = inside_depth(a->models[m].inside);
    depth = depth < BLOCK_ROOM ? depth : BLOCK_ROOM;
    chart->x_name = "block";
    *any = false;
    for (int i = 0; i < (int)(sizeof kinds / sizeof *kinds); i++) {
        memset(sums, 0, sizeof sums);
        memset(counts, 0, sizeof counts);
        for (size_t p = 0; p < x->params.count; p++) {
            WeightPair pair;
            /* Matrices say more than biases, of which many are still near zero; a norm has nothing but vectors. */
            if ((x->params.params[p].shape.n < 2 && i != 4) ||
                !weights_compare(&x->params, x->weights, p, &y->params, y->weights, &pair) ||
                strcmp(pair.kind, kinds[i]) != 0 || pair.block < 1 || pair.block > depth || !isfinite(pair.cosine))
                continue;
            sums[pair.block] += pair.cosine;
            counts[pair.block]++;
            *any = true;
        }
        ChartSeries *s = chart_series(chart, (size_t)depth, i, CHART_LINE, "%s", kinds[i]);
        for (int b = 1; s && b <= depth; b++)
            s->points[s->count++] = (ChartPoint){b, counts[b] ? sums[b] / counts[b] : NAN};
        if (!s)
            return false;
    }
    return true;
}

static bool matrices_chart(const Analysis *a, int m, Chart *chart)
{
    static const char *const kinds[] = {"qkv", "proj", "fc1", "fc2"};
    const Model *model = &a->models[m];
    chart->x_name = "block";
    for (int i = 0; i < (int)(sizeof kinds / sizeof *kinds); i++) {
        ChartSeries *s = chart_series(chart, model->matrix_count, i, CHART_LINE, "%s", kinds[i]);
        if (!s)
            return false;
        for (size_t k = 0; k < model->matrix_count; k++) {
            const Matrix *x = &model->matrices[k];
            if (!strcmp(x->kind, kinds[i]))
                s->points[s->count++] = (ChartPoint){x->block, x->effective_rank / x->full};
        }
    }
    return true;
}

/* What independent runs can be compared by. */
static bool add_matrices(const Analysis *a, Text *out)
{
    if (a->count < 2)
        return true;
    charts_begin_section(out, "How many directions weights use",
                         "Singular values of the matrices of each block. The order of neurons does not change them, so "
                         "independent runs can be compared by them.");
    bool ok = charts_add_each(
        a, "Effective rank of weights", matrices_chart, true,
        "The effective rank as a share of what the matrix could have: near 1 all directions weigh alike, as they do when a "
        "network begins; a low line is a matrix that a few directions rule. The largest value's share is in matrices.csv.",
        out);
    charts_end_section(out);
    return ok;
}

bool analyse_add_weights(const Analysis *a, Text *out)
{
    bool ok = true, begun = false;
    for (int m = 0; ok && m < a->count; m++)
        for (int k = m + 1; ok && k < a->count && (a->count <= PAIRS_ALL || m == 0); k++) {
            Chart chart = {
                .note = "The cosine between weights of the same name. Near 1: one grew out of the other, as "
                        "checkpoints of a run or a student from its teacher do. Near 0 is what independent runs have, "
                        "whose neurons stand in another order: it does not mean that they compute other things. Norms begin "
                        "alike, so their line is high in any case."};
            bool any;
            snprintf(chart.title, sizeof chart.title, "Weights of %.40s and %.40s", a->models[m].name, a->models[k].name);
            ok = weights_chart(a, m, k, &chart, &any);
            charts_share_axes(&chart, 1, true);
            if (ok && any && !begun)
                charts_begin_section(out, "How alike weights are", "Tensors of the same name and shape, block by block.");
            begun = begun || any;
            ok = any ? charts_draw(&chart, 1, ok, out) : charts_draw(&chart, 1, false, out) || ok;
        }
    if (begun)
        charts_end_section(out);
    return ok && add_matrices(a, out);
}
