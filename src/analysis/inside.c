#include "analysis/inside.h"

#include <string.h>

#include "analysis/fourier.h"
#include "analysis/spectrum.h"
#include "base/error.h"
#include "base/memory.h"
#include "device/parallel.h"
#include "mim/model.h"

/* Of a block and of the layer behind it. */
typedef struct {
    HeadStats *heads;
    Spectrum *spectrum;
    Fourier *fourier;
    double shares[INSIDE_SHARES], means[INSIDE_SHARES]; /* summed over pictures; their mean */
    double rank;
    float *pooled, *first;      /* (batch, width): mean patch tokens, and class tokens where there are such */
    const float *tokens, *maps; /* what the program kept of the last run */
} Layer;

struct Inside {
    Features *features;
    HeadLayout layout;
    int depth, width, batch, threads;
    long pictures;
    Layer *layers;       /* (depth + 1) */
    const float *normed; /* tokens behind the final norm, of the last run */
    /* Of the run that is being added. */
    int count;
    const bool *own;
};

static bool open_layer(Inside *in, int l)
{
    Layer *layer = &in->layers[l];
    const HeadLayout *h = &in->layout;
    return (layer->fourier = fourier_new(h->rows, h->columns, in->width)) &&
           (layer->pooled = memory_new((size_t)in->batch * (size_t)in->width, sizeof *layer->pooled)) &&
           (!h->class_tokens || (layer->first = memory_new((size_t)in->batch * (size_t)in->width, sizeof *layer->first))) &&
           (l == 0 || ((layer->heads = heads_new(h)) && (layer->spectrum = spectrum_new(h->rows * h->columns, in->width))));
}

static bool open_features(Inside *in, Backbone *b, const Device *device)
{
    FeatureWant *wants = memory_new((size_t)in->depth + 2, sizeof *wants);
    for (int l = 0; wants && l <= in->depth + 1; l++)
        wants[l] = (FeatureWant){.block = l < in->depth ? l : in->depth, .pool = FEATURE_TOKENS};
    if (wants) {
        wants[in->depth + 1].norm = mim_has_norm(&b->recipe);
        FeaturesOptions o = {.device = *device, .batch = in->batch, .wants = wants, .count = in->depth + 2, .maps = true};
        in->features = features_open(b, &o);
    }
    memory_free(wants);
    return in->features != NULL;
}

Inside *inside_open(Backbone *b, const Device *device, int batch)
{
    const Recipe *r = &b->recipe;
    Inside *in = memory_new(1, sizeof *in);
    if (!in)
        return NULL;
    *in = (Inside){.depth = recipe_depth(r), .width = r->encoder.width, .batch = batch, .threads = device->threads};
    in->layout = (HeadLayout){.heads = r->encoder.heads, .class_tokens = r->encoder.class_token, .stride = r->encoder.patch};
    recipe_grid(r, &in->layout.rows, &in->layout.columns);
    bool ok = (in->layers = memory_new((size_t)in->depth + 1, sizeof *in->layers)) && open_features(in, b, device);
    for (int l = 0; ok && l <= in->depth; l++)
        ok = open_layer(in, l);
    if (!ok) {
        inside_close(in);
        return NULL;
    }
    return in;
}

void inside_close(Inside *in)
{
    if (!in)
        return;
    for (int l = 0; in->layers && l <= in->depth; l++) {
        heads_free(in->layers[l].heads);
        spectrum_free(in->layers[l].spectrum);
        fourier_free(in->layers[l].fourier);
        memory_free(in->layers[l].pooled);
        memory_free(in->layers[l].first);
    }
    memory_free(in->layers);
    features_close(in->features);
    memory_free(in);
}

/* ---- adding */

static void add_spectrum(Layer *layer, const float *patches)
{
    double shares[INSIDE_SHARES];
    const double *values = spectrum_values(layer->spectrum, patches);
    spectrum_shares(values, spectrum_count(layer->spectrum), shares, INSIDE_SHARES);
    for (int j = 0; j < INSIDE_SHARES; j++)
        layer->shares[j] += shares[j];
    layer->rank += spectrum_effective_rank(values, spectrum_count(layer->spectrum));
}

static void pool_patches(const float *patches, int count, int width, float *mean)
{
    memset(mean, 0, (size_t)width * sizeof *mean);
    for (int k = 0; k < count; k++)
        for (int c = 0; c < width; c++)
            mean[c] += patches[(size_t)k * (size_t)width + (size_t)c];
    for (int c = 0; c < width; c++)
        mean[c] /= (float)count;
}

/* One part of what there is to do for a layer, picture after picture. */
typedef enum { PART_HEADS, PART_SPECTRUM, PART_REST, PARTS } Part;

static void add_part(Inside *in, int l, Part part)
{
    Layer *layer = &in->layers[l];
    const HeadLayout *h = &in->layout;
    size_t patches = (size_t)h->rows * (size_t)h->columns, tokens = patches + (size_t)h->class_tokens,
           width = (size_t)in->width;
    for (int i = 0; i < in->count; i++) {
        const float *own = layer->tokens + ((size_t)i * tokens + (size_t)h->class_tokens) * width;
        if (part == PART_REST)
            pool_patches(own, (int)patches, in->width, layer->pooled + (size_t)i * width);
        if (part == PART_REST && layer->first)
            memcpy(layer->first + (size_t)i * width, layer->tokens + (size_t)i * tokens * width, width * sizeof *layer->first);
        if (in->own && !in->own[i])
            continue;
        if (part == PART_HEADS)
            heads_add(layer->heads, layer->maps + (size_t)i * (size_t)h->heads * tokens * tokens);
        else if (part == PART_SPECTRUM)
            add_spectrum(layer, own);
        else
            fourier_add(layer->fourier, own);
    }
}

/* Each part of each layer is one thread's, so that sums have one order. */
static void add_all(const Call *call, Worker *worker)
{
    Inside *in = *(Inside *const *)call->attr;
    int64_t tasks = 2 * (int64_t)in->depth + in->depth + 1;
    for (int64_t t; (t = worker_next(worker, tasks)) < tasks;) {
        int l = (int)(t / PARTS) + 1;
        if (l > in->depth)
            add_part(in, 0, PART_REST);
        else
            add_part(in, l, (Part)(t % PARTS));
    }
}

/* By one thread, before many look at them. */
static bool find_kept(Inside *in)
{
    for (int l = 0; l <= in->depth; l++) {
        Layer *layer = &in->layers[l];
        if (!(layer->tokens = features_tokens(in->features, l)) || (l && !(layer->maps = features_map(in->features, l))))
            return false;
    }
    return (in->normed = features_tokens(in->features, in->depth + 1)) != NULL;
}

bool inside_run(Inside *in, const float *images, int count, const bool *own)
{
    if (!features_run(in->features, images, count) || !find_kept(in))
        return false;
    in->count = count;
    in->own = own;
    Call call = {.attr = &in};
    parallel_run(&(Step){.kernel = add_all, .call = &call}, 1, in->threads, NULL);
    for (int i = 0; i < count; i++)
        in->pictures += !own || own[i];
    return true;
}

/* ---- results */

const Features *inside_features(const Inside *in)
{
    return in->features;
}

const float *inside_tokens(const Inside *in, int layer)
{
    return layer > in->depth ? in->normed : in->layers[layer].tokens;
}

const float *inside_map(const Inside *in, int block)
{
    return in->layers[block].maps;
}

int inside_depth(const Inside *in)
{
    return in->depth;
}

int inside_width(const Inside *in)
{
    return in->width;
}

HeadLayout inside_layout(const Inside *in)
{
    return in->layout;
}

long inside_pictures(const Inside *in)
{
    return in->pictures;
}

HeadResult inside_heads(Inside *in, int block)
{
    return heads_result(in->layers[block].heads);
}

const double *inside_shares(const Inside *in, int block)
{
    Layer *layer = &in->layers[block];
    for (int j = 0; j < INSIDE_SHARES; j++)
        layer->means[j] = layer->shares[j] / (double)in->pictures;
    return layer->means;
}

double inside_rank(const Inside *in, int block)
{
    return in->layers[block].rank / (double)in->pictures;
}

int inside_frequencies(const Inside *in)
{
    return fourier_count(in->layers[0].fourier);
}

double inside_amplitude(const Inside *in, int layer, int frequency)
{
    return fourier_amplitude(in->layers[layer].fourier, frequency);
}

const float *inside_means(const Inside *in, int layer)
{
    return in->layers[layer].pooled;
}

const float *inside_class_tokens(const Inside *in, int layer)
{
    return in->layers[layer].first;
}
