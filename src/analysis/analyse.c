#include "analysis/analyse.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/analyse_parts.h"
#include "analysis/weights.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

/* ---- models */

/* Where the last part of from[0 .. *end - 1] begins; *end moves before the slashes behind it. */
static size_t last_part(const char *from, size_t *end)
{
    while (*end > 1 && from[*end - 1] == '/')
        --*end;
    size_t start = *end;
    while (start > 0 && from[start - 1] != '/')
        start--;
    return start;
}

/* The end of the path; a checkpoint, RUN/checkpoints/STEP or the model.safetensors in it, is called RUN-STEP. */
static void name_model(Analysis *a, int m)
{
    const char *from = a->models[m].from;
    char *name = a->models[m].name;
    size_t end = strlen(from), start = last_part(from, &end), n = end - start;
    if (n == strlen("model.safetensors") && start > 1 && !strncmp(from + start, "model.safetensors", n)) {
        end = start;
        start = last_part(from, &end);
    }
    size_t before = start, folder = start > 0 ? last_part(from, &before) : 0, run_end = folder;
    bool checkpoint =
        folder > 0 && before - folder == strlen("checkpoints") && !strncmp(from + folder, "checkpoints", before - folder);
    if (checkpoint) {
        size_t run = last_part(from, &run_end);
        snprintf(name, MODEL_NAME_BYTES, "%.*s-%.*s", (int)(run_end - run), from + run, (int)(end - start), from + start);
    } else {
        end = strlen(from);
        start = last_part(from, &end);
        snprintf(name, MODEL_NAME_BYTES, "%.*s", (int)(end - start), from + start);
    }
}

static void name_by_number(Analysis *a, int m)
{
    enum { KEPT = 80 };
    const char *from = a->models[m].from;
    size_t n = strlen(from);
    snprintf(a->models[m].name, MODEL_NAME_BYTES, "%d: %s%s", m + 1, n > KEPT ? ".." : "", from + (n > KEPT ? n - KEPT : 0));
}

static void name_models(Analysis *a)
{
    for (int m = 0; m < a->count; m++)
        name_model(a, m);
    for (int m = 0; m < a->count; m++)
        for (int k = m + 1; k < a->count; k++)
            if (!strcmp(a->models[m].name, a->models[k].name)) {
                /* Numbers tell apart what paths, of which the end is kept, might not. */
                name_by_number(a, m);
                name_by_number(a, k);
            }
}

static bool open_model(Analysis *a, int m, Text *notes)
{
    Model *model = &a->models[m];
    const AnalyseOptions *o = a->options;
    Text note = {0};
    if (!(model->backbone = backbone_open(model->from, &note))) {
        text_free(&note);
        return false;
    }
    if (note.length)
        text_add(notes, "%s%s: %s", notes->length ? "\n" : "", model->name, note.data);
    text_free(&note);
    const Recipe *r = &model->backbone->recipe;
    if (!(model->source = features_source(o->data, r, true)) ||
        !(model->inside = inside_open(model->backbone, &o->device, o->batch)))
        return error_context("%s", model->from);
    HeadLayout h = inside_layout(model->inside);
    size_t patches = (size_t)h.rows * (size_t)h.columns, depth = (size_t)inside_depth(model->inside);
    size_t picture = (size_t)r->image.channels * (size_t)r->image.size[0] * (size_t)r->image.size[1], rows, all;
    for (int t = 0; t < TOKENS; t++) {
        bool has = t == TOKENS_MEAN || h.class_tokens;
        model->first[t] = has ? a->layer_count[t] : -1;
        a->layer_count[t] += has ? (int)depth + 1 : 0;
    }
    if (!size_multiply(depth * (size_t)h.heads, patches, &rows) || !size_multiply(rows, LOOKED_MOST, &all))
        return error_set("%s: the attention of its %zu blocks is more than memory can address", model->from, depth);
    return (model->rows = memory_new(all, sizeof *model->rows)) &&
           (model->images = memory_new(picture * LOOKED_MOST, sizeof *model->images)) &&
           (model->tokens = memory_new(patches * (size_t)inside_width(model->inside) * LOOKED_MOST, sizeof *model->tokens));
}

/* So many pictures at even distances, those that all sources have. */
static bool choose_samples(Analysis *a)
{
    size_t all = source_count(a->models[0].source);
    for (int m = 1; m < a->count; m++)
        all = source_count(a->models[m].source) < all ? source_count(a->models[m].source) : all;
    a->wanted = a->options->pictures && a->options->pictures < all ? a->options->pictures : all;
    if (!all)
        return error_set("%s: there are no pictures to analyse", a->options->data);
    if (!(a->samples = memory_new(a->wanted, sizeof *a->samples)))
        return false;
    for (size_t i = 0; i < a->wanted; i++)
        a->samples[i] = (uint64_t)(i * (all / a->wanted) + i * (all % a->wanted) / a->wanted);
    return true;
}

/* Of a picture that several models cannot read one tells: they go through the pictures batch by batch. */
static void tell_bad(void *context, const char *key, const char *reason)
{
    Analysis *a = context;
    Text line = {0};
    text_add(&line, "\n%s\n", key);
    bool told = a->told.length && line.length && strstr(a->told.data, line.data);
    if (!told && a->options->bad)
        a->options->bad(a->options->context, key, reason);
    if (!told)
        text_add(&a->told, "\n%s\n", key);
    text_free(&line);
}

/* Minibatches of CKA are alike, and the rest that fills none is as small as can be. */
static bool open_pass(Analysis *a)
{
    size_t most = (size_t)a->options->cka_batch, parts = (a->wanted + most - 1) / most;
    a->cka_batch = (int)(a->wanted / parts);
    a->cka_batch = a->cka_batch < 4 ? 4 : a->cka_batch;
    for (int t = 0; t < TOKENS; t++)
        if (a->layer_count[t] &&
            (!(a->similarity[t] = similarity_new(a->layer_count[t], a->cka_batch, a->options->device.threads)) ||
             !(a->layers[t] = memory_new((size_t)a->layer_count[t], sizeof *a->layers[t]))))
            return false;
    if (!(a->own = memory_new((size_t)a->options->batch, sizeof *a->own)))
        return false;
    for (int m = 0; m < a->count; m++) {
        Model *model = &a->models[m];
        size_t width = (size_t)inside_width(model->inside), layer = width * (size_t)a->cka_batch;
        int depth = inside_depth(model->inside);
        FeaturesPass pass = {
            .source = model->source, .samples = a->samples, .count = a->wanted, .max_bad = 1, .bad = tell_bad, .context = a};
        if (!(model->loader = features_loader(inside_features(model->inside), &pass)))
            return false;
        for (int t = 0; t < TOKENS; t++) {
            if (model->first[t] < 0)
                continue;
            if (!(model->pooled[t] = memory_new(layer * ((size_t)depth + 1), sizeof *model->pooled[t])))
                return false;
            for (int l = 0; l <= depth; l++)
                a->layers[t][model->first[t] + l] = (LayerFeatures){model->pooled[t] + (size_t)l * layer, (int)width};
        }
    }
    return true;
}

/* ---- pictures */

int analyse_middle(const HeadLayout *h)
{
    return h->rows / 2 * h->columns + h->columns / 2;
}

/* Picture i of the last run is the next one to be shown. */
static void look(Analysis *a, Model *model, size_t i)
{
    HeadLayout h = inside_layout(model->inside);
    const Recipe *r = &model->backbone->recipe;
    size_t patches = (size_t)h.rows * (size_t)h.columns, tokens = patches + (size_t)h.class_tokens, at = (size_t)a->looked,
           width = (size_t)inside_width(model->inside), heads = (size_t)h.heads, depth = (size_t)inside_depth(model->inside);
    size_t picture = (size_t)r->image.channels * (size_t)r->image.size[0] * (size_t)r->image.size[1];
    size_t query = h.class_tokens ? 0 : (size_t)analyse_middle(&h);
    memcpy(model->images + at * picture, model->batch.images + i * picture, picture * sizeof *model->images);
    memcpy(model->tokens + at * patches * width,
           inside_tokens(model->inside, (int)depth + 1) + (i * tokens + (size_t)h.class_tokens) * width,
           patches * width * sizeof *model->tokens);
    for (size_t b = 0; b < depth; b++)
        for (size_t k = 0; k < heads; k++)
            memcpy(model->rows + ((at * depth + b) * heads + k) * patches,
                   inside_map(model->inside, (int)b + 1) + ((i * heads + k) * tokens + query) * tokens + h.class_tokens,
                   patches * sizeof *model->rows);
}

static void fill_minibatch(Analysis *a, Model *model, size_t i)
{
    size_t width = (size_t)inside_width(model->inside);
    for (int t = 0; t < TOKENS; t++)
        for (int l = 0; model->pooled[t] && l <= inside_depth(model->inside); l++)
            memcpy(model->pooled[t] + ((size_t)l * (size_t)a->cka_batch + (size_t)a->filled) * width,
                   (t == TOKENS_MEAN ? inside_means : inside_class_tokens)(model->inside, l) + i * width,
                   width * sizeof *model->pooled[t]);
}

static void close_minibatch(Analysis *a)
{
    for (int t = 0; t < TOKENS; t++)
        if (a->similarity[t])
            similarity_add(a->similarity[t], a->layers[t], a->filled);
    a->batches++;
    a->cka_pictures += (size_t)a->filled;
    a->filled = 0;
}

/* One batch through all models; *end: there was none. */
static bool run_batch(Analysis *a, uint64_t step, bool *end)
{
    text_free(&a->told);
    for (int m = 0; m < a->count; m++)
        if (!loader_next(a->models[m].loader, &a->models[m].batch))
            return false;
    size_t count = a->models[0].batch.count;
    if ((*end = !count))
        return true;
    for (size_t i = 0; i < count; i++) {
        a->own[i] = true;
        for (int m = 0; m < a->count; m++)
            a->own[i] =
                a->own[i] && a->models[m].batch.samples[i] == a->samples[step * (uint64_t)a->options->batch + (uint64_t)i];
    }
    for (int m = 0; m < a->count; m++)
        if (!inside_run(a->models[m].inside, a->models[m].batch.images, (int)count, a->own))
            return false;
    for (size_t i = 0; i < count; i++) {
        if (!a->own[i])
            continue;
        for (int m = 0; m < a->count; m++) {
            fill_minibatch(a, &a->models[m], i);
            if (a->looked < LOOKED_MOST)
                look(a, &a->models[m], i);
        }
        if (a->looked < LOOKED_MOST)
            a->looked_samples[a->looked++] = a->models[0].batch.samples[i];
        a->pictures++;
        if (++a->filled == a->cka_batch)
            close_minibatch(a);
    }
    for (int m = 0; m < a->count; m++)
        loader_release(a->models[m].loader);
    if (a->options->progress)
        a->options->progress(a->options->context, step * (size_t)a->options->batch + count, a->wanted);
    return true;
}

static bool run_pass(Analysis *a)
{
    bool end = false;
    for (uint64_t step = 0; !end; step++)
        if (!run_batch(a, step, &end))
            return false;
    /* What is left where unreadable pictures are missing. Of a few pictures an estimate is mostly noise. */
    if (a->filled >= 4 && (!a->batches || a->filled >= a->cka_batch / 2)) {
        if (!a->batches)
            a->cka_batch = a->filled;
        close_minibatch(a);
    }
    return a->pictures > 0 || error_set("%s: not one of %zu pictures could be read", a->options->data, a->wanted);
}

/* ---- tables */

static void tabulate_block(Analysis *a, int m, int b)
{
    Model *model = &a->models[m];
    HeadResult r = inside_heads(model->inside, b);
    int heads = inside_layout(model->inside).heads;
    char block[16], head[16], other[16];
    snprintf(block, sizeof block, "%d", b);
    for (int h = 0; h < heads; h++) {
        const double numbers[] = {r.distance[h], r.distance_renormalised[h], r.class_mass[h],
                                  r.entropy[h],  r.entropy_keep[h],          r.kl_head[h]};
        snprintf(head, sizeof head, "%d", h);
        numbers_row(&a->tables[TABLE_HEADS], (const char *[]){model->name, block, head, NULL}, numbers, 6);
        for (int k = 0; k < heads; k++) {
            int at = h * heads + k;
            const double pair[] = {r.kl[at], r.kl_keep[at], r.cosine_rows[at], r.cosine_flat[at]};
            snprintf(other, sizeof other, "%d", k);
            if (k != h)
                numbers_row(&a->tables[TABLE_PAIRS], (const char *[]){model->name, block, head, other, NULL}, pair, 4);
        }
    }
}

static void tabulate_layers(Analysis *a, int m)
{
    Model *model = &a->models[m];
    Inside *in = model->inside;
    for (int l = 0; l <= inside_depth(in); l++) {
        double numbers[4 + INSIDE_SHARES + 1] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
        char layer[16], frequency[16];
        snprintf(layer, sizeof layer, "%d", l);
        if (l) {
            HeadResult r = inside_heads(in, l);
            numbers[0] = r.kl_mean;
            numbers[1] = r.diversity_rows;
            numbers[2] = r.diversity_flat;
            memcpy(numbers + 3, inside_shares(in, l), INSIDE_SHARES * sizeof *numbers);
            numbers[3 + INSIDE_SHARES] = inside_rank(in, l);
        }
        numbers[4 + INSIDE_SHARES] = inside_amplitude(in, l, inside_frequencies(in) - 1);
        numbers_row(&a->tables[TABLE_LAYERS], (const char *[]){model->name, layer, NULL}, numbers, 5 + INSIDE_SHARES);
        for (int i = 0; i < inside_frequencies(in); i++) {
            double amplitude = inside_amplitude(in, l, i);
            snprintf(frequency, sizeof frequency, "%d", i);
            numbers_row(&a->tables[TABLE_FREQUENCIES], (const char *[]){model->name, layer, frequency, NULL}, &amplitude, 1);
        }
        if (l)
            tabulate_block(a, m, l);
    }
}

double analyse_cka(const Analysis *a, AnalysisTokens t, int m, int l, int k, int j)
{
    int x = a->models[m].first[t], y = a->models[k].first[t];
    return a->batches && x >= 0 && y >= 0 ? similarity_cka(a->similarity[t], x + l, y + j) : NAN;
}

static void tabulate_similarity(Analysis *a)
{
    for (int m = 0; m < a->count; m++)
        for (int k = m; k < a->count; k++)
            for (int l = 0; l <= inside_depth(a->models[m].inside); l++)
                for (int j = 0; j <= inside_depth(a->models[k].inside); j++) {
                    char layer[16], other[16];
                    int x = a->models[m].first[TOKENS_MEAN] + l, y = a->models[k].first[TOKENS_MEAN] + j;
                    double numbers[] = {analyse_cka(a, TOKENS_MEAN, m, l, k, j),
                                        a->batches ? similarity_biased_cka(a->similarity[TOKENS_MEAN], x, y) : NAN,
                                        analyse_cka(a, TOKENS_CLASS, m, l, k, j)};
                    snprintf(layer, sizeof layer, "%d", l);
                    snprintf(other, sizeof other, "%d", j);
                    numbers_row(&a->tables[TABLE_CKA],
                                (const char *[]){a->models[m].name, layer, a->models[k].name, other, NULL}, numbers, 3);
                }
}

static void tabulate_weights(Analysis *a)
{
    for (int m = 0; m < a->count; m++)
        for (int k = m + 1; k < a->count; k++) {
            const Backbone *x = a->models[m].backbone, *y = a->models[k].backbone;
            for (size_t i = 0; i < x->params.count; i++) {
                WeightPair pair;
                char block[16];
                if (!weights_compare(&x->params, x->weights, i, &y->params, y->weights, &pair))
                    continue;
                snprintf(block, sizeof block, "%d", pair.block);
                const double numbers[] = {pair.cosine, pair.relative, pair.ratio};
                numbers_row(&a->tables[TABLE_WEIGHTS],
                            (const char *[]){a->models[m].name, a->models[k].name, pair.name, block, pair.kind, NULL}, numbers,
                            3);
            }
        }
}

/* What several models can be compared by. */
static bool tabulate_matrices(Analysis *a)
{
    for (int m = 0; a->count > 1 && m < a->count; m++) {
        Model *model = &a->models[m];
        const Backbone *b = model->backbone;
        if (!matrices_measure(&b->params, b->weights, a->options->device.threads, &model->matrices, &model->matrix_count))
            return false;
        for (size_t i = 0; i < model->matrix_count; i++) {
            const Matrix *x = &model->matrices[i];
            char block[16];
            const double numbers[] = {x->norm, x->share, x->effective_rank};
            snprintf(block, sizeof block, "%d", x->block);
            numbers_row(&a->tables[TABLE_MATRICES], (const char *[]){model->name, x->name, block, x->kind, NULL}, numbers, 3);
        }
    }
    return true;
}

static bool write_json(const Analysis *a)
{
    Text out = {0};
    char *path = file_join(a->options->out, "numbers.json");
    text_add(&out, "{\n\"lacuna\": \"" LACUNA_VERSION "\",\n\"data\": ");
    text_add_json_string(&out, a->options->data);
    text_add(&out, ",\n\"pictures\": %zu,\n\"cka_batch\": %d,\n\"cka_batches\": %d,\n\"cka_pictures\": %zu,\n\"models\": [",
             a->pictures, a->cka_batch, a->batches, a->cka_pictures);
    for (int m = 0; m < a->count; m++) {
        const Model *model = &a->models[m];
        HeadLayout h = inside_layout(model->inside);
        text_add(&out, "%s\n  {\"name\": ", m ? "," : "");
        text_add_json_string(&out, model->name);
        text_add(&out, ", \"from\": ");
        text_add_json_string(&out, model->from);
        text_add(&out, ", \"weights\": \"%016" PRIx64 "\"", backbone_hash(model->backbone));
        text_add(&out,
                 ", \"blocks\": %d, \"full_depth\": %d, \"heads\": %d, \"width\": %d, \"rows\": %d, \"columns\": %d, "
                 "\"patch\": %g, ",
                 inside_depth(model->inside), model->backbone->recipe.encoder.depth, h.heads, inside_width(model->inside),
                 h.rows, h.columns, h.stride);
        text_add(&out, "\"class_token\": %s}", h.class_tokens ? "true" : "false");
    }
    text_add(&out, "]");
    for (int t = 0; t < TABLES; t++) {
        text_add(&out, ",\n");
        numbers_add_json(&a->tables[t], &out);
    }
    text_add(&out, "\n}\n");
    bool ok = path && !out.failed && file_write(path, out.data, out.length);
    text_free(&out);
    memory_free(path);
    return ok;
}

static bool write_tables(Analysis *a)
{
    for (int m = 0; m < a->count; m++)
        tabulate_layers(a, m);
    tabulate_similarity(a);
    tabulate_weights(a);
    for (int t = 0; t < TABLES; t++)
        if (!numbers_write_csv(&a->tables[t], a->options->out))
            return false;
    return write_json(a);
}

/* ---- the whole */

static void close_all(Analysis *a)
{
    for (int m = 0; m < a->count; m++) {
        Model *model = &a->models[m];
        loader_close(model->loader);
        inside_close(model->inside);
        source_close(model->source);
        backbone_close(model->backbone);
        for (int t = 0; t < TOKENS; t++)
            memory_free(model->pooled[t]);
        memory_free(model->matrices);
        memory_free(model->images);
        memory_free(model->rows);
        memory_free(model->tokens);
    }
    for (int t = 0; t < TOKENS; t++) {
        similarity_free(a->similarity[t]);
        memory_free(a->layers[t]);
    }
    text_free(&a->told);
    memory_free(a->own);
    memory_free(a->samples);
    for (int t = 0; t < TABLES; t++)
        numbers_free(&a->tables[t]);
    memory_free(a);
}

bool analyse_write(const AnalyseOptions *o, Text *notes, size_t *pictures)
{
    static const NumbersTable tables[TABLES] = {
        {.name = "heads", .columns = "model,block,head,distance,distance_renormalised,class_mass,entropy,entropy_keep,kl"},
        {.name = "pairs", .columns = "model,block,head,other_head,kl,kl_keep,cosine_rows,cosine_flat"},
        {.name = "layers",
         .columns = "model,layer,kl,diversity_rows,diversity_flat,share_1,share_2,share_3,share_4,share_5,effective_rank,"
                    "high_frequency"},
        {.name = "frequencies", .columns = "model,layer,frequency,log_amplitude"},
        {.name = "cka", .columns = "model,layer,other_model,other_layer,cka,cka_biased,cka_class"},
        {.name = "weights", .columns = "model,other_model,tensor,block,kind,cosine,relative_distance,norm_ratio"},
        {.name = "matrices", .columns = "model,tensor,block,kind,norm,share_1,effective_rank"}};
    if (o->count < 1 || o->count > ANALYSE_MODELS_MOST)
        return error_set("an analysis is of 1 to %d models, not of %d", ANALYSE_MODELS_MOST, o->count);
    Analysis *a = memory_new(1, sizeof *a);
    if (!a)
        return false;
    a->options = o;
    a->count = o->count;
    memcpy(a->tables, tables, sizeof tables);
    for (int m = 0; m < a->count; m++)
        a->models[m].from = o->from[m];
    name_models(a);
    bool ok = true;
    for (int m = 0; ok && m < a->count; m++)
        ok = open_model(a, m, notes);
    ok = ok && choose_samples(a) && open_pass(a) && file_make_folder(o->out) && tabulate_matrices(a) && run_pass(a) &&
         write_tables(a) && analyse_report(a);
    *pictures = a->pictures;
    close_all(a);
    return ok;
}
