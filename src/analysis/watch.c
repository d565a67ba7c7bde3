#include "analysis/watch.h"

#include <math.h>
#include <string.h>

#include "analysis/similarity.h"
#include "analysis/spectrum.h"
#include "analysis/watch_heads.h"
#include "base/error.h"
#include "base/memory.h"
#include "device/parallel.h"
#include "image/augment.h"
#include "mim/model.h"
#include "transfer/features.h"
#include "transfer/neighbours.h"
#include "transfer/table.h"

enum {
    BLOCKS_MOST = 64,
    BATCH_MOST = 32,
    BATCH_LEAST = 16,
    HELD_OUT_LEAST = 100,
    OVERLAP = 10, /* neighbours */
    CKA_BATCH = 256,
    VIEWS = 3 /* the middle, two crops */
};

/* Crops are cut as B.7 has them, whatever the run's own augmentation does. */
static const double CROP_SCALE[] = {0.4, 1}, CROP_RATIO[] = {3. / 4, 4. / 3};

struct Watch {
    Backbone *backbone;
    Features *features; /* during a look */
    WatchHeads *heads;
    int blocks[BLOCKS_MOST], block_count;
    bool held_out;
    const Source *source;
    uint64_t *samples; /* (count) */
    int32_t *labels;
    int classes; /* 0: not labelled */
    size_t count, batch, width, knn_width;
    Table views[VIEWS]; /* planes (count, width) of each block: means of patch tokens */
    Table knn;          /* likewise (count, knn_width), of the middle */
    uint8_t *seen;      /* (count) views in which a picture was read */
    float *scratch;
    size_t *place; /* (count) of readable pictures */
    size_t readable;
};

Watch *watch_new(void)
{
    Watch *w = memory_new(1, sizeof *w);
    if (w)
        *w = (Watch){0};
    return w;
}

static void clear(Watch *w)
{
    features_close(w->features);
    watch_heads_free(w->heads);
    backbone_close(w->backbone);
    memory_free(w->samples);
    memory_free(w->labels);
    memory_free(w->seen);
    memory_free(w->scratch);
    memory_free(w->place);
    for (int v = 0; v < VIEWS; v++)
        table_free(&w->views[v]);
    table_free(&w->knn);
    *w = (Watch){0};
}

void watch_free(Watch *w)
{
    if (w)
        clear(w);
    memory_free(w);
}

/* ---- the parts */

bool watch_agreement(const Device *device, const float *first, const float *second, size_t count, size_t width,
                     double *agreement)
{
    Neighbour *near = memory_new(count, sizeof *near);
    size_t hits = 0;
    bool ok = near != NULL;
    for (int turn = 0; ok && turn < 2; turn++) {
        ok = neighbours_find(device, turn ? first : second, count, turn ? second : first, count, width, 1, near);
        for (size_t i = 0; ok && i < count; i++)
            hits += (size_t)near[i].key == i;
    }
    *agreement = (double)hits / (2 * (double)count);
    memory_free(near);
    return ok;
}

/* The k nearest others of each picture, (count, k + 1), itself taken out and its place at the end unused. */
static bool find_others(const Device *device, const float *features, size_t count, size_t width, int k, Neighbour *near)
{
    if (!neighbours_find(device, features, count, features, count, width, k + 1, near))
        return false;
    for (size_t i = 0; i < count; i++) {
        Neighbour *list = near + i * (size_t)(k + 1);
        int self = 0;
        while (self < k && (size_t)list[self].key != i)
            self++;
        memmove(list + self, list + self + 1, (size_t)(k - self) * sizeof *list);
    }
    return true;
}

bool watch_overlap(const Device *device, const float *first, const float *second, size_t count, size_t width, double *overlap)
{
    int k = count > OVERLAP ? OVERLAP : (int)count - 1;
    Neighbour *a = memory_new(count * (size_t)(k + 1), sizeof *a), *b = memory_new(count * (size_t)(k + 1), sizeof *b);
    bool ok = a && b && find_others(device, first, count, width, k, a) && find_others(device, second, count, width, k, b);
    size_t shared = 0;
    for (size_t i = 0; ok && i < count; i++)
        for (int x = 0; x < k; x++)
            for (int y = 0; y < k; y++)
                shared += a[i * (size_t)(k + 1) + (size_t)x].key == b[i * (size_t)(k + 1) + (size_t)y].key;
    *overlap = (double)shared / ((double)count * k);
    memory_free(a);
    memory_free(b);
    return ok;
}

bool watch_knn(const Device *device, const float *features, const int32_t *labels, int classes, size_t count, size_t width,
               int k, double temperature, double *top1)
{
    k = (size_t)k < count ? k : (int)count - 1;
    Neighbour *near = memory_new(count * (size_t)(k + 1), sizeof *near);
    double *votes = memory_new((size_t)classes, sizeof *votes);
    bool ok = near && votes && find_others(device, features, count, width, k, near);
    size_t hits = 0;
    for (size_t i = 0; ok && i < count; i++) {
        knn_votes(near + i * (size_t)(k + 1), k, temperature, labels, classes, votes);
        hits += votes_rank(votes, classes, labels[i]) == 0;
    }
    *top1 = (double)hits / (double)count;
    memory_free(near);
    memory_free(votes);
    return ok;
}

/* ---- opening */

/* Batches of one size, so that each epoch of crops has all pictures: a few pictures are left out for that. */
static size_t choose_batch(size_t *count)
{
    for (; *count > BATCH_LEAST; --*count)
        for (size_t batch = BATCH_MOST; batch >= BATCH_LEAST; batch--)
            if (*count % batch == 0)
                return batch;
    return *count;
}

static bool choose_pictures(Watch *w, const PretrainLook *look)
{
    const Recipe *r = look->recipe;
    const Pictures *p = look->pictures;
    w->held_out = p->val.count >= HELD_OUT_LEAST;
    const SampleList *from = w->held_out ? &p->val : &p->train;
    w->source = w->held_out && p->val_source ? p->val_source : p->source;
    w->count = from->count < (size_t)r->probe.images ? from->count : (size_t)r->probe.images;
    w->batch = choose_batch(&w->count);
    if (w->count < 8)
        return error_set("%zu pictures are too few to look at", w->count);
    w->classes = source_class_count(w->source);
    w->samples = memory_new(w->count, sizeof *w->samples);
    w->labels = memory_new(w->count, sizeof *w->labels);
    w->seen = memory_new(w->count, 1);
    w->place = memory_new(w->count, sizeof *w->place);
    if (!w->samples || !w->labels || !w->seen || !w->place)
        return false;
    for (size_t i = 0; i < w->count; i++) {
        w->samples[i] = from->samples[i * from->count / w->count];
        w->labels[i] = source_label(w->source, w->samples[i]);
        if (w->labels[i] < 0)
            w->classes = 0;
    }
    return true;
}

static void choose_blocks(Watch *w, const Recipe *r)
{
    int depth = recipe_depth(r);
    w->block_count = r->probe.blocks == PROBE_BLOCKS_LAST ? 1 : depth < BLOCKS_MOST ? depth : BLOCKS_MOST;
    for (int b = 0; b < w->block_count; b++)
        w->blocks[b] = (b + 1) * depth / w->block_count;
}

static FeaturePool knn_pool(const Recipe *r)
{
    return r->encoder.class_token ? (FeaturePool)r->probe.features : FEATURE_MEAN;
}

/* Wants of block b: 2 b its mean as it is, 2 b + 1 what kNN takes. */
static bool open_features(Watch *w, const PretrainLook *look)
{
    const Recipe *r = look->recipe;
    FeatureWant wants[2 * BLOCKS_MOST];
    for (int b = 0; b < w->block_count; b++) {
        wants[2 * b] = (FeatureWant){.block = w->blocks[b], .pool = FEATURE_MEAN};
        wants[2 * b + 1] = (FeatureWant){.block = w->blocks[b], .norm = mim_has_norm(r), .pool = knn_pool(r)};
    }
    FeaturesOptions o = {.device = *look->device,
                         .batch = (int)w->batch,
                         .bf16 = r->run.precision == RUN_PRECISION_BF16,
                         .wants = wants,
                         .count = 2 * w->block_count};
    return (w->features = features_open(w->backbone, &o)) != NULL;
}

static bool open(Watch *w, const PretrainLook *look)
{
    const Recipe *r = look->recipe;
    choose_blocks(w, r);
    if (!choose_pictures(w, look) || !(w->backbone = backbone_new(r)))
        return false;
    size_t rows = w->count * (size_t)w->block_count;
    w->width = (size_t)r->encoder.width;
    w->knn_width = w->width * (knn_pool(r) == FEATURE_CONCAT ? 2 : 1);
    for (int v = 0; v < VIEWS; v++)
        if (!table_make(&w->views[v], rows, w->width, TABLE_MEMORY))
            return false;
    w->scratch = memory_new(w->batch * w->knn_width, sizeof *w->scratch); /* no narrower than width */
    return w->scratch && table_make(&w->knn, rows, w->knn_width, TABLE_MEMORY) &&
           (w->heads = watch_heads_new(w->backbone, w->samples, w->count));
}

/* ---- features */

static float *plane(const Table *t, const Watch *w, int b)
{
    return t->data + (size_t)b * w->count * t->columns;
}

static size_t find_sample(const Watch *w, uint64_t sample)
{
    size_t low = 0, high = w->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (w->samples[middle] < sample)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->count && w->samples[low] == sample ? low : w->count;
}

/* The numbers of a batch at their pictures' places; of one that stands in for another nothing is lost either. */
static bool take(Watch *w, const LoaderBatch *batch, int view)
{
    for (int want = 0; want < 2 * w->block_count; want++) {
        Table *to = want % 2 ? &w->knn : &w->views[view];
        if (want % 2 && view)
            continue;
        if (!features_read(w->features, want, (int)batch->count, w->scratch))
            return false;
        for (size_t i = 0; i < batch->count; i++) {
            size_t at = find_sample(w, batch->samples[i]);
            if (at < w->count)
                memcpy(plane(to, w, want / 2) + at * to->columns, w->scratch + i * to->columns,
                       to->columns * sizeof *w->scratch);
        }
    }
    for (size_t i = 0; i < batch->count; i++) {
        size_t at = find_sample(w, batch->samples[i]);
        if (at < w->count)
            w->seen[at] |= (uint8_t)(1 << view);
    }
    return true;
}

/* How the middle of each picture is loaded, as a probe sees it. */
static LoaderOptions middle_options(const Watch *w, const PretrainLook *look)
{
    const Recipe *r = look->recipe;
    LoaderOptions o = pictures_val_options(look->pictures, r, (int)w->batch);
    if (!w->held_out) {
        o.source = look->pictures->source;
        o.cache = look->pictures->cache;
    }
    o.samples = w->samples;
    o.count = w->count;
    o.max_bad = 1;
    o.other[0] = o.other[1] = 0; /* only the encoder looks */
    if (r->image.size[0] == r->image.size[1])
        o.evaluate = image_evaluate_side(r->image.size[0]);
    return o;
}

/* These, or two epochs of crops. */
static bool pass(Watch *w, const PretrainLook *look, bool crops)
{
    LoaderOptions o = middle_options(w, look);
    if (crops) {
        o.train = true;
        memcpy(o.crop_scale, CROP_SCALE, sizeof o.crop_scale);
        memcpy(o.crop_ratio, CROP_RATIO, sizeof o.crop_ratio);
        o.steps = 2 * (w->count / w->batch);
    }
    Loader *loader = loader_open(&o);
    bool ok = loader != NULL;
    LoaderBatch batch = {0};
    while (ok && (ok = loader_next(loader, &batch)) && batch.count) {
        ok = features_run(w->features, batch.images, (int)batch.count) && take(w, &batch, crops ? 1 + (int)batch.epoch : 0);
        loader_release(loader);
    }
    loader_close(loader);
    return ok;
}

/* Pictures that every view has, without gaps. Where neighbours are looked for, features get length 1. */
static void close_gaps(Watch *w)
{
    enum { ALL = (1 << VIEWS) - 1 };
    w->readable = 0;
    for (size_t i = 0; i < w->count; i++)
        if (w->seen[i] == ALL)
            w->place[w->readable++] = i;
    for (int b = 0; b < w->block_count; b++)
        for (int v = 0; v <= VIEWS; v++) {
            Table *t = v < VIEWS ? &w->views[v] : &w->knn;
            float *rows = plane(t, w, b);
            for (size_t i = 0; i < w->readable; i++)
                memmove(rows + i * t->columns, rows + w->place[i] * t->columns, t->columns * sizeof *rows);
            if (v > 0)
                rows_normalise(rows, w->readable, t->columns);
        }
}

static bool make_features(Watch *w, const PretrainLook *look)
{
    memset(w->seen, 0, w->count);
    bool ok = open_features(w, look) && pass(w, look, false) && pass(w, look, true);
    features_close(w->features);
    w->features = NULL;
    if (!ok)
        return false;
    close_gaps(w);
    return w->readable >= 8 || error_set("%zu readable pictures are too few to look at", w->readable);
}

/* ---- findings */

static bool find_pairs(Watch *w, const PretrainLook *look, PretrainFindings *f, bool overlap)
{
    bool ok = true;
    for (int b = 0; ok && b < w->block_count; b++) {
        double value;
        const float *first = plane(&w->views[1], w, b), *second = plane(&w->views[2], w, b);
        ok = (overlap ? watch_overlap : watch_agreement)(look->device, first, second, w->readable, w->width, &value) &&
             pretrain_found(f, overlap ? "neighbour_overlap" : "crop_agreement", w->blocks[b], value);
    }
    return ok;
}

static bool find_knn(Watch *w, const PretrainLook *look, PretrainFindings *f)
{
    int32_t *labels = memory_new(w->readable, sizeof *labels);
    bool ok = labels != NULL;
    for (size_t i = 0; ok && i < w->readable; i++)
        labels[i] = w->labels[w->place[i]];
    for (int b = 0; ok && b < w->block_count; b++) {
        double value;
        ok = watch_knn(look->device, plane(&w->knn, w, b), labels, w->classes, w->readable, w->knn_width, look->recipe->probe.k,
                       look->recipe->probe.temperature, &value) &&
             pretrain_found(f, "knn", w->blocks[b], value);
    }
    memory_free(labels);
    return ok;
}

/* Each block's rank is one thread's, with room of its own. */
typedef struct {
    Watch *watch;
    Spectrum **rooms; /* of the threads */
    double *ranks;    /* of the blocks */
} Ranks;

static void rank_blocks(const Call *call, Worker *worker)
{
    const Ranks *r = call->attr;
    Spectrum *s = r->rooms[worker->thread];
    for (int64_t b, count = r->watch->block_count; (b = worker_next(worker, count)) < count;)
        r->ranks[b] =
            spectrum_effective_rank(spectrum_centred(s, plane(&r->watch->views[0], r->watch, (int)b)), spectrum_count(s));
}

static bool find_rank(Watch *w, const PretrainLook *look, PretrainFindings *f)
{
    double values[BLOCKS_MOST];
    int threads = look->device->threads < w->block_count ? look->device->threads : w->block_count;
    Ranks ranks = {w, memory_new((size_t)threads, sizeof *ranks.rooms), values};
    bool ok = ranks.rooms != NULL;
    for (int t = 0; ok && t < threads; t++)
        ok = (ranks.rooms[t] = spectrum_new((int)w->readable, (int)w->width)) != NULL;
    if (ok)
        parallel_run(&(Step){.kernel = rank_blocks, .call = &(Call){.attr = &ranks}}, 1, threads, NULL);
    for (int b = 0; ok && b < w->block_count; b++)
        ok = pretrain_found(f, "effective_rank", w->blocks[b], values[b]);
    for (int t = 0; ranks.rooms && t < threads; t++)
        spectrum_free(ranks.rooms[t]);
    memory_free(ranks.rooms);
    return ok;
}

static bool find_similarity(Watch *w, const PretrainLook *look, PretrainFindings *f)
{
    LayerFeatures layers[BLOCKS_MOST];
    size_t batches = (w->readable + CKA_BATCH - 1) / CKA_BATCH, size = w->readable / batches;
    Similarity *s = similarity_new(w->block_count, (int)size, look->device->threads);
    bool ok = s != NULL;
    for (size_t i = 0; ok && i < batches; i++) {
        for (int b = 0; b < w->block_count; b++)
            layers[b] = (LayerFeatures){plane(&w->views[0], w, b) + i * size * w->width, (int)w->width};
        similarity_add(s, layers, (int)size);
    }
    for (int b = 0; ok && b + 1 < w->block_count; b++)
        ok = pretrain_found(f, "cka_last", w->blocks[b], similarity_cka(s, b, w->block_count - 1));
    similarity_free(s);
    return ok;
}

bool watch_look(void *watch, const PretrainLook *look, PretrainFindings *f)
{
    Watch *w = watch;
    if (!w->backbone && !open(w, look)) {
        clear(w);
        return false;
    }
    LoaderOptions middle = middle_options(w, look);
    return backbone_take(w->backbone, look->params, look->weights) && make_features(w, look) &&
           (!w->classes || find_knn(w, look, f)) && find_pairs(w, look, f, false) && find_pairs(w, look, f, true) &&
           find_rank(w, look, f) && find_similarity(w, look, f) &&
           watch_heads_look(w->heads, look, &middle, w->blocks, w->block_count, f);
}
