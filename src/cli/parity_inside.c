/* Golden cases from weights and pictures to the reports of a model: kind `analyse` (docs/spec/analysis.md). */
#include <stdio.h>
#include <string.h>

#include "analysis/inside.h"
#include "analysis/similarity.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/parity_case.h"

typedef struct {
    ParityCase *golden;
    Recipe recipe;
    Backbone *backbone;
    Inside *inside;
    float *images;
    int pictures, depth, heads, tokens, width, batch;
} Run;

static bool load_weights(Run *run)
{
    const ParamSet *set = &run->backbone->params;
    const SafeTensors *stored = run->golden->stored;
    for (size_t i = 0; i < safetensors_count(stored); i++) {
        const char *name = safetensors_at(stored, i)->name;
        if (!strncmp(name, "weight.", 7) && param_find(set, name + 7) < 0)
            return error_set("%s is not a parameter of this recipe's encoder", name);
    }
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        char name[256];
        snprintf(name, sizeof name, "weight.%s", p->name);
        float *values = parity_input(run->golden, name, p->shape.n, p->shape.d);
        if (!values)
            return false;
        if (p->kind == PARAM_TRAINED)
            memcpy(run->backbone->weights + p->offset, values, (size_t)p->count * sizeof *values);
        memory_free(values);
        if (p->kind == PARAM_TRAINED)
            continue;
        snprintf(name, sizeof name, "table.%s", p->name);
        float *table = parity_result(run->golden, name, p->shape.n, p->shape.d);
        if (!table)
            return false;
        memcpy(table, run->backbone->fixed + p->offset, (size_t)p->count * sizeof *table);
    }
    return true;
}

static bool put_kept(Run *run)
{
    const int64_t maps[] = {run->depth, run->pictures, run->heads, run->tokens, run->tokens},
                  states[] = {run->pictures, run->tokens, run->width};
    size_t numbers = (size_t)run->pictures * (size_t)run->heads * (size_t)run->tokens * (size_t)run->tokens;
    float *attention = parity_result(run->golden, "expect.attention", 5, maps),
          *tokens = attention ? parity_result(run->golden, "expect.tokens", 3, states) : NULL;
    if (!tokens)
        return false;
    for (int b = 0; b < run->depth; b++)
        memcpy(attention + (size_t)b * numbers, inside_map(run->inside, b + 1), numbers * sizeof *attention);
    memcpy(tokens, inside_tokens(run->inside, run->depth + 1),
           (size_t)run->pictures * (size_t)run->tokens * (size_t)run->width * sizeof *tokens);
    return true;
}

/* The mean over pairs of different heads. */
static double pair_mean(const double *square, int heads)
{
    double sum = 0;
    for (int a = 0; a < heads; a++)
        for (int b = 0; b < heads; b++)
            sum += a != b ? square[a * heads + b] / (heads * (heads - 1)) : 0;
    return sum;
}

static bool put_heads(Run *run)
{
    static const char *const names[] = {"distance", "distance_renormalised", "class_mass", "entropy", "entropy_keep", "kl_head",
                                        "kl_mean",  "cosine_rows",           "cosine_flat"};
    enum { EACH = 6, NAMES = sizeof names / sizeof *names };
    float *to[NAMES];
    for (int k = 0; k < NAMES; k++) {
        char name[64];
        snprintf(name, sizeof name, "expect.%s", names[k]);
        if (!(to[k] = parity_result(run->golden, name, k < EACH ? 2 : 1, (int64_t[]){run->depth, run->heads})))
            return false;
    }
    for (int b = 0; b < run->depth; b++) {
        HeadResult r = inside_heads(run->inside, b + 1);
        const double *each[EACH] = {r.distance, r.distance_renormalised, r.class_mass, r.entropy, r.entropy_keep, r.kl_head};
        for (int k = 0; k < EACH; k++)
            for (int h = 0; h < run->heads; h++)
                to[k][b * run->heads + h] = (float)each[k][h];
        to[EACH][b] = (float)r.kl_mean;
        to[EACH + 1][b] = (float)pair_mean(r.cosine_rows, run->heads);
        to[EACH + 2][b] = (float)pair_mean(r.cosine_flat, run->heads);
    }
    return true;
}

static bool put_shares(Run *run)
{
    float *to = parity_result(run->golden, "expect.share", 2, (int64_t[]){run->depth, INSIDE_SHARES});
    for (int b = 0; to && b < run->depth; b++)
        for (int j = 0; j < INSIDE_SHARES; j++)
            to[b * INSIDE_SHARES + j] = (float)inside_shares(run->inside, b + 1)[j];
    return to != NULL;
}

/* Between the states behind the blocks, over batches of that size. */
static bool put_similarity(Run *run, const char *name, int batch, double (*value)(const Similarity *, int, int))
{
    float *to = parity_result(run->golden, name, 2, (int64_t[]){run->depth, run->depth});
    Similarity *s = to ? similarity_new(run->depth, batch, 1) : NULL;
    LayerFeatures *layers = s ? memory_new((size_t)run->depth, sizeof *layers) : NULL;
    for (int first = 0; layers && first + batch <= run->pictures; first += batch) {
        for (int b = 0; b < run->depth; b++)
            layers[b] = (LayerFeatures){inside_means(run->inside, b + 1) + (size_t)first * (size_t)run->width, run->width};
        similarity_add(s, layers, batch);
    }
    for (int i = 0; layers && i < run->depth * run->depth; i++)
        to[i] = (float)value(s, i / run->depth, i % run->depth);
    bool ok = layers != NULL;
    similarity_free(s);
    memory_free(layers);
    return ok;
}

bool parity_analyse(ParityCase *c, const ParityOptions *options)
{
    Run run = {.golden = c};
    const SafeTensor *images = safetensors_find(c->stored, "image.0");
    bool ok = recipe_load_case(&run.recipe, c->path) && recipe_check(&run.recipe);
    if (ok && (!images || images->ndim != 4 || images->shape[0] < 4 || images->shape[0] > 1 << 12))
        ok = error_set("image.0 is missing, or is not (N, C, H, W) of at least 4 pictures");
    const Recipe *r = &run.recipe;
    ok = ok && parity_int(c->about, "case", "batch", 4, (int)images->shape[0], &run.batch);
    if (ok) {
        const int64_t shape[] = {images->shape[0], r->image.channels, r->image.size[0], r->image.size[1]};
        run.pictures = (int)images->shape[0];
        run.depth = recipe_depth(r);
        run.heads = r->encoder.heads;
        run.width = r->encoder.width;
        run.tokens = recipe_patches(r) + (int)r->encoder.class_token;
        ok = (run.images = parity_input(c, "image.0", 4, shape)) && (run.backbone = backbone_new(r)) && load_weights(&run) &&
             (run.inside = inside_open(run.backbone, &options->device, run.pictures));
    }
    if (ok) {
        ok = inside_run(run.inside, run.images, run.pictures, NULL) && put_kept(&run) && put_heads(&run) && put_shares(&run) &&
             put_similarity(&run, "expect.cka", run.pictures, similarity_biased_cka) &&
             put_similarity(&run, "expect.cka_unbiased", run.pictures, similarity_cka) &&
             put_similarity(&run, "expect.cka_minibatch", run.batch, similarity_cka);
    }
    inside_close(run.inside);
    backbone_close(run.backbone);
    memory_free(run.images);
    return ok;
}
