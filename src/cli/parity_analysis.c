/* Golden cases of the analysis: attention maps and features in, numbers out (docs/spec/analysis.md). */
#include <stdio.h>
#include <string.h>

#include "analysis/heads.h"
#include "analysis/similarity.h"
#include "analysis/spectrum.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/parity_case.h"

enum { HEADS_MOST = 256, LAYERS_MOST = 64, SHARES = 5 };

static bool put(ParityCase *c, const char *name, int number, int ndim, const int64_t *shape, const double *values)
{
    char whole[64];
    int64_t count = 1;
    if (number >= 0)
        snprintf(whole, sizeof whole, "expect.%s.%d", name, number);
    else
        snprintf(whole, sizeof whole, "expect.%s", name);
    if (!safetensors_find(c->stored, whole))
        return true; /* the case does not ask for it */
    for (int i = 0; i < ndim; i++)
        count *= shape[i];
    float *to = parity_result(c, whole, ndim, shape);
    for (int64_t i = 0; to && i < count; i++)
        to[i] = (float)values[i];
    return to != NULL;
}

static bool put_heads(ParityCase *c, int number, int heads, const HeadResult *r)
{
    const int64_t vector[] = {heads}, square[] = {heads, heads}, one[] = {1};
    return put(c, "distance", number, 1, vector, r->distance) &&
           put(c, "distance_renormalised", number, 1, vector, r->distance_renormalised) &&
           put(c, "class_mass", number, 1, vector, r->class_mass) && put(c, "entropy", number, 1, vector, r->entropy) &&
           put(c, "entropy_keep", number, 1, vector, r->entropy_keep) && put(c, "kl", number, 2, square, r->kl) &&
           put(c, "kl_keep", number, 2, square, r->kl_keep) && put(c, "kl_head", number, 1, vector, r->kl_head) &&
           put(c, "kl_mean", number, 1, one, &r->kl_mean) && put(c, "cosine_rows", number, 2, square, r->cosine_rows) &&
           put(c, "cosine_flat", number, 2, square, r->cosine_flat) &&
           put(c, "diversity_rows", number, 1, one, &r->diversity_rows) &&
           put(c, "diversity_flat", number, 1, one, &r->diversity_flat);
}

/* attention.K (pictures, heads, T, T). grid {0, 0}: a row of patches, when distances are not asked for. number < 0: names have
 * none. */
static bool one_attention(ParityCase *c, int k, int number, HeadLayout layout)
{
    char name[64];
    snprintf(name, sizeof name, "attention.%d", k);
    const SafeTensor *t = safetensors_find(c->stored, name);
    if (!t || t->ndim != 4 || t->shape[2] != t->shape[3] || t->shape[1] > HEADS_MOST || t->shape[2] <= layout.class_tokens)
        return error_set("%s is missing, or is not (pictures, heads, T, T)", name);
    layout.heads = (int)t->shape[1];
    if (!layout.rows) {
        layout.rows = 1;
        layout.columns = (int)t->shape[2] - layout.class_tokens;
    }
    if ((int64_t)layout.rows * layout.columns + layout.class_tokens != t->shape[2])
        return error_set("%s does not fit the grid of the case", name);
    float *maps = parity_input(c, name, t->ndim, t->shape);
    HeadStats *stats = maps ? heads_new(&layout) : NULL;
    bool ok = stats && t->shape[0] > 0;
    for (int64_t i = 0; ok && i < t->shape[0]; i++)
        heads_add(stats, maps + i * t->shape[1] * t->shape[2] * t->shape[3]);
    if (ok) {
        HeadResult r = heads_result(stats);
        ok = put_heads(c, number, layout.heads, &r);
    }
    heads_free(stats);
    memory_free(maps);
    return ok;
}

bool parity_attention(ParityCase *c)
{
    const json_t *settings = json_object_get(c->about, "settings");
    if (!settings)
        return one_attention(c, 0, -1, (HeadLayout){.class_tokens = json_is_true(json_object_get(c->about, "class_token"))});
    for (size_t i = 0; i < json_array_size(settings); i++) {
        const json_t *entry = json_array_get(settings, i), *grid = json_object_get(entry, "grid");
        HeadLayout layout = {.rows = (int)json_integer_value(json_array_get(grid, 0)),
                             .columns = (int)json_integer_value(json_array_get(grid, 1)),
                             .class_tokens = json_is_true(json_object_get(entry, "class_token")),
                             .stride = json_number_value(json_object_get(entry, "patch"))};
        if (layout.rows < 1 || layout.columns < 1 || layout.rows > 1024 || layout.columns > 1024)
            return error_set("case.settings[%zu].grid must be two whole numbers from 1 to 1024", i);
        if (!one_attention(c, (int)i, (int)i, layout))
            return false;
    }
    return true;
}

/* features.I (n, width): as many layers as there are. */
static int read_layers(ParityCase *c, LayerFeatures layers[LAYERS_MOST], float *data[LAYERS_MOST], int *n)
{
    int count = 0;
    for (; count < LAYERS_MOST; count++) {
        char name[64];
        snprintf(name, sizeof name, "features.%d", count);
        const SafeTensor *t = safetensors_find(c->stored, name);
        if (!t)
            break;
        if (t->ndim != 2 || (count && t->shape[0] != *n) || t->shape[0] < 4 || t->shape[0] > 1 << 14 || t->shape[1] > 1 << 20) {
            error_set("%s is not (samples, width) of the samples of the others, at least 4", name);
            return -1;
        }
        *n = (int)t->shape[0];
        if (!(data[count] = parity_input(c, name, 2, t->shape)))
            return -1;
        layers[count] = (LayerFeatures){data[count], (int)t->shape[1]};
    }
    return count;
}

/* (layers, layers) of a similarity over batches of that size; `first` the batches that count. */
static bool over_batches(const LayerFeatures *layers, int count, int n, int batch, int most, double *cka, double *hsic)
{
    Similarity *s = similarity_new(count, batch, 1);
    for (int first = 0; s && first + batch <= n && first < most * batch; first += batch) {
        LayerFeatures part[LAYERS_MOST];
        for (int i = 0; i < count; i++)
            part[i] = (LayerFeatures){layers[i].data + (size_t)first * (size_t)layers[i].width, layers[i].width};
        similarity_add(s, part, batch);
    }
    for (int i = 0; s && i < count * count; i++) {
        cka[i] = similarity_cka(s, i / count, i % count);
        hsic[i] = similarity_hsic(s, i / count, i % count);
    }
    similarity_free(s);
    return s != NULL;
}

bool parity_similarity(ParityCase *c)
{
    LayerFeatures layers[LAYERS_MOST];
    float *data[LAYERS_MOST] = {NULL};
    int n = 0, batch = 0, count = read_layers(c, layers, data, &n);
    bool ok = count > 0 && parity_int(c->about, "case", "batch", 4, n, &batch);
    double cka[LAYERS_MOST * LAYERS_MOST] = {0}, hsic[LAYERS_MOST * LAYERS_MOST] = {0};
    const int64_t shape[] = {count, count};
    for (int i = 0; ok && i < count * count; i++)
        ok = similarity_biased(&layers[i / count], &layers[i % count], n, &cka[i]);
    ok = ok && put(c, "cka", -1, 2, shape, cka);
    ok = ok && over_batches(layers, count, n, n, 1, cka, hsic) && put(c, "cka_unbiased", -1, 2, shape, cka);
    ok = ok && over_batches(layers, count, n, batch, n, cka, hsic) && put(c, "cka_minibatch", -1, 2, shape, cka);
    ok = ok && over_batches(layers, count, n, batch, 1, cka, hsic) && put(c, "hsic", -1, 2, shape, hsic);
    for (int i = 0; i < LAYERS_MOST; i++)
        memory_free(data[i]);
    return ok || (count == 0 && error_set("features.0 is missing"));
}

bool parity_spectrum(ParityCase *c)
{
    for (int k = 0;; k++) {
        char name[64];
        snprintf(name, sizeof name, "features.%d", k);
        const SafeTensor *t = safetensors_find(c->stored, name);
        if (!t)
            return k > 0 || error_set("features.0 is missing");
        if (t->ndim != 3 || t->shape[0] < 1 || t->shape[1] > 1 << 14 || t->shape[2] > 1 << 20)
            return error_set("%s is not (pictures, tokens, width)", name);
        double mean[SHARES] = {0}, shares[SHARES];
        float *tokens = parity_input(c, name, 3, t->shape);
        Spectrum *s = tokens ? spectrum_new((int)t->shape[1], (int)t->shape[2]) : NULL;
        for (int64_t i = 0; s && i < t->shape[0]; i++) {
            spectrum_shares(spectrum_values(s, tokens + i * t->shape[1] * t->shape[2]), spectrum_count(s), shares, SHARES);
            for (int j = 0; j < SHARES; j++)
                mean[j] += shares[j] / (double)t->shape[0];
        }
        bool ok = s && put(c, "share", k, 1, (const int64_t[]){SHARES}, mean);
        spectrum_free(s);
        memory_free(tokens);
        if (!ok)
            return false;
    }
}
