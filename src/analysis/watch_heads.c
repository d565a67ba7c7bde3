#include "analysis/watch_heads.h"

#include "analysis/heads.h"
#include "base/error.h"
#include "base/memory.h"
#include "device/parallel.h"
#include "transfer/features.h"

/* The maps of all blocks are kept at once. */
enum { BATCH = 4 };

struct WatchHeads {
    Backbone *backbone;
    Features *features; /* during a look */
    HeadLayout layout;
    uint64_t *samples;
    size_t count;
};

WatchHeads *watch_heads_new(Backbone *b, const uint64_t *samples, size_t count)
{
    const Recipe *r = &b->recipe;
    WatchHeads *w = memory_new(1, sizeof *w);
    if (!w)
        return NULL;
    *w =
        (WatchHeads){.backbone = b,
                     .count = count < WATCH_HEADS_MOST ? count : WATCH_HEADS_MOST,
                     .layout = {.heads = r->encoder.heads, .class_tokens = r->encoder.class_token, .stride = r->encoder.patch}};
    recipe_grid(r, &w->layout.rows, &w->layout.columns);
    w->samples = memory_new(w->count, sizeof *w->samples);
    if (!w->samples) {
        watch_heads_free(w);
        return NULL;
    }
    for (size_t i = 0; i < w->count; i++)
        w->samples[i] = samples[i * count / w->count];
    return w;
}

void watch_heads_free(WatchHeads *w)
{
    if (!w)
        return;
    memory_free(w->samples);
    memory_free(w);
}

/* A batch whose attention lies there. */
typedef struct {
    const WatchHeads *watch;
    int block_count;
    const float **of_block; /* each block's maps of the batch, which only the caller's thread may ask for */
    HeadStats **stats;
    const LoaderBatch *batch;
    size_t map; /* numbers of a picture's maps in a block */
} Maps;

static bool is_own(const Maps *m, size_t i)
{
    return m->batch->samples[i] == m->watch->samples[m->batch->step * BATCH + i];
}

static void add_blocks(const Call *call, Worker *worker)
{
    const Maps *m = call->attr;
    for (int64_t b, count = m->block_count; (b = worker_next(worker, count)) < count;)
        for (size_t i = 0; i < m->batch->count; i++)
            if (is_own(m, i))
                heads_add(m->stats[b], m->of_block[b] + i * m->map);
}

/* Adds up the pictures of one pass; *added receives how many could be read. */
static bool add_pictures(WatchHeads *w, const LoaderOptions *middle, int threads, const int *blocks, int block_count,
                         HeadStats **stats, size_t *added)
{
    LoaderOptions o = *middle;
    size_t tokens = (size_t)w->layout.class_tokens + (size_t)w->layout.rows * (size_t)w->layout.columns;
    o.batch = BATCH;
    o.samples = w->samples;
    o.count = w->count;
    const float **of_block = memory_new((size_t)block_count, sizeof *of_block);
    Loader *loader = of_block ? loader_open(&o) : NULL;
    bool ok = loader != NULL;
    LoaderBatch batch = {0};
    Maps maps = {w, block_count, of_block, stats, &batch, (size_t)w->layout.heads * tokens * tokens};
    while (ok && (ok = loader_next(loader, &batch)) && batch.count) {
        ok = features_run(w->features, batch.images, (int)batch.count);
        for (int b = 0; ok && b < block_count; b++)
            ok = (of_block[b] = features_map(w->features, blocks[b])) != NULL;
        if (!ok)
            break;
        parallel_run(&(Step){.kernel = add_blocks, .call = &(Call){.attr = &maps}}, 1, threads, NULL);
        for (size_t i = 0; i < batch.count; i++)
            *added += is_own(&maps, i);
        loader_release(loader);
    }
    loader_close(loader);
    memory_free(of_block);
    return ok;
}

static double mean_of(const double *numbers, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += numbers[i];
    return sum / count;
}

static bool open_features(WatchHeads *w, const PretrainLook *look)
{
    const Recipe *r = look->recipe;
    FeatureWant want = {.block = recipe_depth(r), .pool = FEATURE_MEAN};
    FeaturesOptions o = {.device = *look->device,
                         .batch = BATCH,
                         .bf16 = r->run.precision == RUN_PRECISION_BF16,
                         .wants = &want,
                         .count = 1,
                         .maps = true};
    return (w->features = features_open(w->backbone, &o)) != NULL;
}

bool watch_heads_look(WatchHeads *w, const PretrainLook *look, const LoaderOptions *middle, const int *blocks, int block_count,
                      PretrainFindings *f)
{
    HeadStats **stats = memory_new((size_t)block_count, sizeof *stats);
    bool ok = stats != NULL;
    size_t added = 0;
    for (int b = 0; ok && b < block_count; b++)
        ok = (stats[b] = heads_new(&w->layout)) != NULL;
    ok = ok && open_features(w, look) && add_pictures(w, middle, look->device->threads, blocks, block_count, stats, &added) &&
         (added || error_set("no picture to look at can be read"));
    features_close(w->features);
    w->features = NULL;
    for (int b = 0; ok && b < block_count; b++)
        ok = pretrain_found(f, "attention_distance", blocks[b], mean_of(heads_result(stats[b]).distance, w->layout.heads));
    for (int b = 0; ok && w->layout.heads > 1 && b < block_count; b++)
        ok = pretrain_found(f, "head_kl", blocks[b], heads_result(stats[b]).kl_mean);
    for (int b = 0; stats && b < block_count; b++)
        heads_free(stats[b]);
    memory_free(stats);
    return ok;
}
