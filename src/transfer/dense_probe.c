#include "transfer/dense_probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/world.h"
#include "ops/bf16.h"
#include "transfer/probe_steps.h"
#include "transfer/table.h"

static const double DECAY = 1e-4, WARMUP = 0.0375; /* B.5.1: 1,500 of 40,000 steps */
static const WorldMoment STILL = {0, 1};

enum { DRAWS = 1000 }; /* of the bootstrap */

/* Tokens and truth of one side. */
typedef struct {
    Source *source;
    World world;
    Table tokens; /* (count, tokens x width) in bf16 */
    Table truth;  /* (count, pixels): classes from 0 or the logarithm of metres; -1 or NaN: not known */
    size_t count;
    size_t numbers; /* of a picture's tokens */
    float *scratch;
    const DenseOptions *options;
} Side;

typedef struct {
    const DenseOptions *options;
    Backbone *backbone;
    DenseResult *result;
    Side train, val;
    size_t pixels, sums; /* of a picture; numbers that its metrics are made of */
    float middle;        /* mean logarithm of the training pictures' depths: heads predict what is beside it */
    double *found;       /* (seeds x lrs, val.count, sums) */
    uint32_t *order;
} Dense;

const char *dense_class_name(int label)
{
    return label ? world_class_name(label - 1) : "background";
}

double dense_quality(const DenseOptions *o, const DenseScore *score)
{
    return o->kind == PROBE_DEPTH ? score->depth.d1 : score->mask.miou;
}

static void tell(const DenseOptions *o, const char *what)
{
    if (o->progress)
        o->progress(o->context, what);
}

/* ---- tokens and truth */

static bool take_truth(Side *s, size_t picture)
{
    WorldTruth truth;
    float *to = s->truth.data + picture * s->truth.columns;
    if (!world_truth(&s->world, picture, STILL, &truth))
        return false;
    for (size_t i = 0; i < s->truth.columns; i++)
        if (s->options->kind == PROBE_DEPTH)
            to[i] = truth.depth[i] > 0 ? logf(truth.depth[i]) : NAN;
        else
            to[i] = truth.classes[i];
    world_truth_free(&truth);
    return true;
}

static bool take_batch(void *context, Features *f, const LoaderBatch *batch)
{
    Side *s = context;
    features_read(f, 0, (int)batch->count, s->scratch);
    for (size_t i = 0; i < batch->count; i++) {
        uint16_t *to = (uint16_t *)(s->tokens.data + batch->samples[i] * s->tokens.columns);
        for (size_t k = 0; k < s->numbers; k++)
            to[k] = bf16_from_float(s->scratch[i * s->numbers + k]);
    }
    return true;
}

static void side_close(Side *s)
{
    source_close(s->source);
    table_free(&s->tokens);
    table_free(&s->truth);
    memory_free(s->scratch);
}

/* The truth, which is the same for all blocks, and room for tokens. */
static bool side_open(Dense *d, Side *s, bool held_out, int count)
{
    const Recipe *r = &d->backbone->recipe;
    *s = (Side){.options = d->options,
                .count = (size_t)count,
                .numbers = (size_t)recipe_patches(r) * (size_t)r->encoder.width,
                .world = {.height = r->image.size[0], .width = r->image.size[1], .held_out = held_out}};
    s->source = source_open("world", &(SourceOptions){.world_count = s->count,
                                                      .world_height = s->world.height,
                                                      .world_width = s->world.width,
                                                      .world_held_out = held_out});
    bool ok = s->source && table_make(&s->tokens, s->count, (s->numbers + 1) / 2, TABLE_MEMORY) &&
              table_make(&s->truth, s->count, d->pixels, TABLE_MEMORY) &&
              (s->scratch = memory_new((size_t)d->options->batch * s->numbers, sizeof *s->scratch));
    for (size_t i = 0; ok && i < s->count; i++)
        ok = take_truth(s, i);
    return ok;
}

static void find_middle(Dense *d)
{
    double sum = 0, known = 0;
    for (size_t i = 0; i < d->train.count * d->pixels; i++)
        if (!isnan(d->train.truth.data[i])) {
            sum += (double)d->train.truth.data[i];
            known++;
        }
    d->middle = known > 0 ? (float)(sum / known) : 0;
}

static bool make_tokens(Dense *d, const FeatureWant *want)
{
    const DenseOptions *o = d->options;
    FeaturesOptions options = {.device = o->device, .batch = o->batch, .bf16 = o->bf16, .wants = want, .count = 1};
    Features *f = features_open(d->backbone, &options);
    bool ok = f != NULL;
    if (ok)
        tell(o, "tokens of the world's pictures");
    for (int side = 0; ok && side < 2; side++) {
        Side *s = side ? &d->val : &d->train;
        ok = features_pass(f, &(FeaturesPass){.source = s->source, .whole = true, .batch = take_batch, .context = s});
    }
    features_close(f);
    return ok;
}

/* ---- heads */

static void give_tokens(const Side *s, size_t picture, float *to)
{
    const uint16_t *tokens = (const uint16_t *)(s->tokens.data + picture * s->tokens.columns);
    for (size_t i = 0; i < s->numbers; i++)
        to[i] = bf16_to_float(tokens[i]);
}

/* The truth of picture `from` as the i-th of a step; returns how many pixels count. */
static double give_truth(const Dense *d, TokenHeads *heads, size_t from, size_t i)
{
    const float *truth = d->train.truth.data + from * d->pixels;
    double counted = 0;
    if (d->options->kind == PROBE_SEGMENTATION) {
        int32_t *labels = token_heads_labels(heads) + i * d->pixels;
        for (size_t k = 0; k < d->pixels; k++)
            labels[k] = (int32_t)truth[k];
        return (double)d->pixels;
    }
    float *targets = token_heads_targets(heads) + i * d->pixels, *counts = token_heads_counts(heads) + i * d->pixels;
    for (size_t k = 0; k < d->pixels; k++) {
        bool known = !isnan(truth[k]);
        targets[k] = known ? truth[k] - d->middle : 0;
        counts[k] = known;
        counted += known;
    }
    return counted;
}

/* B.5.1: up from 0, then straight to 0. */
static double rate_at(double done)
{
    return done < WARMUP ? done / WARMUP : (1 - done) / (1 - WARMUP);
}

static void train(Dense *d, TokenHeads *heads, size_t batch, uint64_t seed)
{
    const Side *s = &d->train;
    size_t steps = s->count / batch, all = (size_t)ceil(d->options->epochs * (double)steps);
    for (size_t at = 0; at < all; at++) {
        if (at % steps == 0)
            probe_shuffle(seed, (uint32_t)(at / steps), d->order, s->count);
        double counted = 0;
        for (size_t i = 0; i < batch; i++) {
            size_t from = d->order[at % steps * batch + i];
            give_tokens(s, from, token_heads_features(heads) + i * s->numbers);
            counted += give_truth(d, heads, from, i);
        }
        token_heads_step(heads, rate_at((double)at / (double)all), counted);
    }
}

static void count_mask(const Dense *d, const float *logits, size_t picture, int32_t *room, double *sums)
{
    size_t classes = (size_t)d->result->classes;
    const float *truth = d->val.truth.data + picture * d->pixels;
    int32_t *predicted = room, *labels = room + d->pixels;
    for (size_t k = 0; k < d->pixels; k++) {
        int32_t best = 0;
        for (size_t c = 1; c < classes; c++)
            if (logits[k * classes + c] > logits[k * classes + (size_t)best])
                best = (int32_t)c;
        predicted[k] = best;
        labels[k] = (int32_t)truth[k];
    }
    mask_sums(predicted, labels, d->pixels, sums);
}

/* A head that ran far off is as wrong as that, in numbers that stay finite; NaN stays. */
static float metres_of(float log_depth)
{
    const float MOST = 20;
    return expf(log_depth > MOST ? MOST : log_depth < -MOST ? -MOST : log_depth);
}

static void count_depth(const Dense *d, const float *logs, size_t picture, float *room, double *sums)
{
    const float *truth = d->val.truth.data + picture * d->pixels;
    float *predicted = room, *metres = room + d->pixels;
    for (size_t k = 0; k < d->pixels; k++) {
        predicted[k] = metres_of(logs[k] + d->middle);
        metres[k] = isnan(truth[k]) ? 0 : expf(truth[k]);
    }
    depth_sums(predicted, metres, d->pixels, sums);
}

/* Sums of each held-out picture for each head: (lrs, val.count, sums). */
static bool evaluate(Dense *d, TokenHeads *heads, size_t batch, double *found)
{
    const DenseOptions *o = d->options;
    size_t outputs = d->pixels * (o->kind == PROBE_DEPTH ? 1 : (size_t)d->result->classes);
    int32_t *room = memory_new(2 * d->pixels, sizeof *room); /* either type has 4 bytes */
    for (size_t first = 0; room && first < d->val.count; first += batch) {
        size_t some = d->val.count - first < batch ? d->val.count - first : batch;
        for (size_t i = 0; i < some; i++)
            give_tokens(&d->val, first + i, token_heads_evaluate_features(heads) + i * d->val.numbers);
        token_heads_evaluate(heads);
        for (int k = 0; k < o->lr_count; k++)
            for (size_t i = 0; i < some; i++) {
                const float *out = token_heads_outputs(heads, k) + i * outputs;
                double *sums = found + ((size_t)k * d->val.count + first + i) * d->sums;
                if (o->kind == PROBE_DEPTH)
                    count_depth(d, out, first + i, (float *)room, sums);
                else
                    count_mask(d, out, first + i, room, sums);
            }
    }
    bool ok = room != NULL;
    memory_free(room);
    return ok;
}

static bool run_seed(Dense *d, int seed)
{
    const DenseOptions *o = d->options;
    const Recipe *r = &d->backbone->recipe;
    size_t batch = (size_t)o->train_batch < d->train.count ? (size_t)o->train_batch : d->train.count;
    TokenHeadsOptions options = {.kind = o->kind == PROBE_DEPTH ? HEAD_DEPTH : HEAD_PIXELS,
                                 .device = o->device,
                                 .tokens = recipe_patches(r),
                                 .width = r->encoder.width,
                                 .height = r->image.size[0],
                                 .px_width = r->image.size[1],
                                 .outputs = o->kind == PROBE_DEPTH ? 1 : d->result->classes,
                                 .lrs = o->lrs,
                                 .count = o->lr_count,
                                 .decay = DECAY,
                                 .batch = (int64_t)batch,
                                 .seed = (uint64_t)seed};
    int rows, columns;
    recipe_grid(r, &rows, &columns);
    options.rows = rows;
    options.columns = columns;
    TokenHeads *heads = token_heads_open(&options);
    if (!heads)
        return false;
    train(d, heads, batch, (uint64_t)seed);
    bool ok = evaluate(d, heads, batch, d->found + (size_t)seed * (size_t)o->lr_count * d->val.count * d->sums);
    token_heads_close(heads);
    return ok;
}

/* ---- scores */

/* Of pictures[0 .. count - 1]; NULL: of all in their order. */
static DenseScore score_of(const Dense *d, const double *found, const uint32_t *pictures, double *iou)
{
    double sums[MASK_SUMS(WORLD_CLASSES + 1)] = {0}; /* no fewer than DEPTH_SUMS */
    for (size_t i = 0; i < d->val.count; i++)
        for (size_t k = 0; k < d->sums; k++)
            sums[k] += found[(pictures ? pictures[i] : i) * d->sums + k];
    DenseScore score = {0};
    if (d->options->kind == PROBE_DEPTH)
        score.depth = depth_score(sums);
    else
        score.mask = mask_score(sums, d->result->classes, iou);
    return score;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Pixels of a picture are no draws of their own, so pictures are drawn. */
static bool draw_interval(const Dense *d, const double *found, DenseBlock *block)
{
    double *drawn = memory_new(DRAWS, sizeof *drawn);
    uint32_t *pictures = memory_new(d->val.count, sizeof *pictures);
    bool ok = drawn && pictures;
    for (int i = 0; ok && i < DRAWS; i++) {
        Random random = random_stream(0, RANDOM_BENCH, 0, 0, (uint64_t)i);
        for (size_t k = 0; k < d->val.count; k++)
            pictures[k] = random_below(&random, (uint32_t)d->val.count);
        DenseScore score = score_of(d, found, pictures, NULL);
        drawn[i] = dense_quality(d->options, &score);
    }
    if (ok) {
        qsort(drawn, DRAWS, sizeof *drawn, by_size);
        block->low = drawn[DRAWS / 40];
        block->high = drawn[DRAWS - 1 - DRAWS / 40];
    }
    memory_free(drawn);
    memory_free(pictures);
    return ok;
}

static bool finish_block(const Dense *d, DenseBlock *block)
{
    const DenseOptions *o = d->options;
    int chosen = 0;
    block->mean = -1;
    for (int k = 0; k < o->lr_count; k++) {
        double mean = 0, squares = 0;
        for (int s = 0; s < o->seeds; s++)
            mean += dense_quality(o, &block->scores[s * o->lr_count + k]) / o->seeds;
        for (int s = 0; s < o->seeds; s++)
            squares += pow(dense_quality(o, &block->scores[s * o->lr_count + k]) - mean, 2);
        if (mean <= block->mean)
            continue;
        chosen = k;
        block->mean = mean;
        block->spread = o->seeds > 1 ? sqrt(squares / (o->seeds - 1)) : 0;
    }
    const double *found = d->found + (size_t)chosen * d->val.count * d->sums;
    if (o->kind == PROBE_SEGMENTATION && !(block->iou = memory_new((size_t)d->result->classes, sizeof *block->iou)))
        return false;
    block->best = score_of(d, found, NULL, block->iou);
    block->best.lr = o->lrs[chosen];
    return draw_interval(d, found, block);
}

static bool probe_block(Dense *d, const FeatureWant *want)
{
    const DenseOptions *o = d->options;
    DenseBlock *block = &d->result->blocks[d->result->block_count++];
    char what[64];
    *block = (DenseBlock){.block = want->block, .norm = want->norm};
    block->scores = memory_new((size_t)(o->seeds * o->lr_count), sizeof *block->scores);
    if (!block->scores || !make_tokens(d, want))
        return false;
    snprintf(what, sizeof what, "block %d", want->block);
    tell(o, what);
    memset(d->found, 0, (size_t)(o->seeds * o->lr_count) * d->val.count * d->sums * sizeof *d->found);
    for (int s = 0; s < o->seeds; s++) {
        if (!run_seed(d, s))
            return false;
        for (int k = 0; k < o->lr_count; k++) {
            DenseScore *score = &block->scores[block->count++];
            *score = score_of(d, d->found + (size_t)(s * o->lr_count + k) * d->val.count * d->sums, NULL, NULL);
            score->lr = o->lrs[k];
            score->seed = s;
        }
    }
    return finish_block(d, block);
}

bool dense_run(Backbone *backbone, const DenseOptions *o, DenseResult *result)
{
    const Recipe *r = &backbone->recipe;
    *result = (DenseResult){.depth = r->encoder.depth, .classes = WORLD_CLASSES + 1};
    Dense d = {.options = o,
               .backbone = backbone,
               .result = result,
               .pixels = (size_t)r->image.size[0] * (size_t)r->image.size[1],
               .sums = o->kind == PROBE_DEPTH ? DEPTH_SUMS : MASK_SUMS(WORLD_CLASSES + 1)};
    FeatureWant *wants = NULL;
    int count = 0;
    size_t heads = (size_t)o->seeds * (size_t)o->lr_count;
    bool ok = features_wants(r, o->blocks, FEATURE_PATCHES, false, &wants, &count) &&
              (result->blocks = memory_new((size_t)count, sizeof *result->blocks)) &&
              (d.found = memory_new(heads * (size_t)o->val, d.sums * sizeof *d.found)) &&
              (d.order = memory_new((size_t)o->train, sizeof *d.order)) && side_open(&d, &d.train, false, o->train) &&
              side_open(&d, &d.val, true, o->val);
    if (ok && o->kind == PROBE_DEPTH)
        find_middle(&d);
    for (int b = 0; ok && b < count; b++)
        ok = probe_block(&d, &wants[b]);
    side_close(&d.train);
    side_close(&d.val);
    memory_free(d.found);
    memory_free(d.order);
    memory_free(wants);
    return ok;
}

void dense_free(DenseResult *r)
{
    for (int b = 0; b < r->block_count; b++) {
        memory_free(r->blocks[b].scores);
        memory_free(r->blocks[b].iou);
    }
    memory_free(r->blocks);
    *r = (DenseResult){0};
}
