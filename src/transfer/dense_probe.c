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
    double *found;       /* (seeds x lrs, pictures, sums), as many pictures as are judged by */
    uint32_t *rows;      /* of the training pictures: those to learn from while a rate is chosen, then those set apart */
    size_t learn;        /* how many the first are */
    uint32_t *order;
} Dense;

const char *dense_class_name(int label)
{
    return label ? world_class_name(label - 1) : "background";
}

/* Some pictures of a side, in the order of `rows`; NULL: all. */
typedef struct {
    const Side *side;
    const uint32_t *rows;
    size_t count;
} Part;

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
    if (!features_read(f, 0, (int)batch->count, s->scratch))
        return false;
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

static bool train(Dense *d, TokenHeads *heads, const Part *learn, size_t batch, uint64_t seed)
{
    const Side *s = learn->side;
    size_t steps = learn->count / batch, all = (size_t)ceil(d->options->epochs * (double)steps);
    for (size_t at = 0; at < all; at++) {
        if (at % steps == 0)
            probe_shuffle(seed, (uint32_t)(at / steps), d->order, learn->count);
        double counted = 0;
        for (size_t i = 0; i < batch; i++) {
            size_t from = probe_row(learn->rows, d->order[at % steps * batch + i]);
            give_tokens(s, from, token_heads_features(heads) + i * s->numbers);
            counted += give_truth(d, heads, from, i);
        }
        if (!token_heads_step(heads, rate_at((double)at / (double)all), counted))
            return false;
    }
    return true;
}

static void count_mask(const Dense *d, const float *logits, const float *truth, int32_t *room, double *sums)
{
    size_t classes = (size_t)d->result->classes;
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

static void count_depth(const Dense *d, const float *logs, const float *truth, float *room, double *sums)
{
    float *predicted = room, *metres = room + d->pixels;
    for (size_t k = 0; k < d->pixels; k++) {
        predicted[k] = metres_of(logs[k] + d->middle);
        metres[k] = isnan(truth[k]) ? 0 : expf(truth[k]);
    }
    depth_sums(predicted, metres, d->pixels, sums);
}

/* Sums of each picture of `judge` for each head: (heads, judge->count, sums). */
static bool evaluate(const Dense *d, TokenHeads *heads, int head_count, const Part *judge, size_t batch, double *found)
{
    const DenseOptions *o = d->options;
    const Side *s = judge->side;
    size_t outputs = d->pixels * (o->kind == PROBE_DEPTH ? 1 : (size_t)d->result->classes);
    int32_t *room = memory_new(2 * d->pixels, sizeof *room); /* either type has 4 bytes */
    bool ok = room != NULL;
    for (size_t first = 0; ok && first < judge->count; first += batch) {
        size_t some = judge->count - first < batch ? judge->count - first : batch;
        for (size_t i = 0; i < some; i++)
            give_tokens(s, probe_row(judge->rows, first + i), token_heads_evaluate_features(heads) + i * s->numbers);
        ok = token_heads_evaluate(heads);
        for (int k = 0; ok && k < head_count; k++) {
            const float *all = token_heads_outputs(heads, k);
            ok = all != NULL;
            for (size_t i = 0; ok && i < some; i++) {
                const float *out = all + i * outputs;
                const float *truth = s->truth.data + probe_row(judge->rows, first + i) * d->pixels;
                double *sums = found + ((size_t)k * judge->count + first + i) * d->sums;
                if (o->kind == PROBE_DEPTH)
                    count_depth(d, out, truth, (float *)room, sums);
                else
                    count_mask(d, out, truth, room, sums);
            }
        }
    }
    memory_free(room);
    return ok;
}

/* Heads of one seed learn from `learn`; what they say of `judge`. */
static bool run_seed(Dense *d, const Part *learn, const Part *judge, const double *lrs, int lr_count, int seed, double *found)
{
    const DenseOptions *o = d->options;
    const Recipe *r = &d->backbone->recipe;
    size_t batch = (size_t)o->train_batch < learn->count ? (size_t)o->train_batch : learn->count;
    TokenHeadsOptions options = {.kind = o->kind == PROBE_DEPTH ? HEAD_DEPTH : HEAD_PIXELS,
                                 .device = o->device,
                                 .tokens = recipe_patches(r),
                                 .width = r->encoder.width,
                                 .height = r->image.size[0],
                                 .px_width = r->image.size[1],
                                 .outputs = o->kind == PROBE_DEPTH ? 1 : d->result->classes,
                                 .lrs = lrs,
                                 .count = lr_count,
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
    bool ok = train(d, heads, learn, batch, (uint64_t)seed) && evaluate(d, heads, lr_count, judge, batch, found);
    token_heads_close(heads);
    return ok;
}

/* ---- scores */

/* Of pictures[0 .. count - 1]; NULL: of all in their order. */
static DenseScore score_of(const Dense *d, const double *found, const uint32_t *pictures, size_t count, double *iou)
{
    double sums[MASK_SUMS(WORLD_CLASSES + 1)] = {0}; /* no fewer than DEPTH_SUMS */
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < d->sums; k++)
            sums[k] += found[(pictures ? pictures[i] : i) * d->sums + k];
    DenseScore score = {0};
    if (d->options->kind == PROBE_DEPTH)
        score.depth = depth_score(sums);
    else
        score.mask = mask_score(sums, d->result->classes, iou);
    return score;
}

static const double *quality_of(const DenseOptions *o, const DenseScore *score)
{
    return o->kind == PROBE_DEPTH ? &score->depth.d1 : &score->mask.miou;
}

double dense_quality(const DenseOptions *o, const DenseScore *score)
{
    return *quality_of(o, score);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Pixels of a picture are no draws of their own, so pictures are drawn, the same ones for all seeds: what a seed found follows
 * `apart` numbers behind the one before. */
static bool draw_interval(const Dense *d, const double *found, size_t apart, DenseBlock *block)
{
    int seeds = d->options->seeds;
    double *drawn = memory_new(DRAWS, sizeof *drawn);
    uint32_t *pictures = memory_new(d->val.count, sizeof *pictures);
    bool ok = drawn && pictures;
    for (int i = 0; ok && i < DRAWS; i++) {
        Random random = random_stream(0, RANDOM_BENCH, 0, 0, (uint64_t)i);
        for (size_t k = 0; k < d->val.count; k++)
            pictures[k] = random_below(&random, (uint32_t)d->val.count);
        for (int s = 0; s < seeds; s++) {
            DenseScore score = score_of(d, found + (size_t)s * apart, pictures, d->val.count, NULL);
            drawn[i] += dense_quality(d->options, &score) / seeds;
        }
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

static void add_share(double *sum, double value, int seeds)
{
    *sum += value / seeds;
}

static void add_seed(DenseScore *sum, const DenseScore *one, int seeds)
{
    add_share(&sum->mask.miou, one->mask.miou, seeds);
    add_share(&sum->mask.pixel_accuracy, one->mask.pixel_accuracy, seeds);
    add_share(&sum->mask.class_accuracy, one->mask.class_accuracy, seeds);
    add_share(&sum->depth.d1, one->depth.d1, seeds);
    add_share(&sum->depth.d2, one->depth.d2, seeds);
    add_share(&sum->depth.d3, one->depth.d3, seeds);
    add_share(&sum->depth.abs_rel, one->depth.abs_rel, seeds);
    add_share(&sum->depth.sq_rel, one->depth.sq_rel, seeds);
    add_share(&sum->depth.rmse, one->depth.rmse, seeds);
    add_share(&sum->depth.rmse_log, one->depth.rmse_log, seeds);
    add_share(&sum->depth.log10, one->depth.log10, seeds);
    add_share(&sum->depth.silog, one->depth.silog, seeds);
}

/* Numbers of a learning rate, `at` in its seed's row, over all seeds together. Which classes there are hangs on the truth alone
 * unless a seed finds one that is not there: then that seed's 0 counts. */
static bool finish_block(const Dense *d, int lrs, int at, DenseBlock *block)
{
    const DenseOptions *o = d->options;
    size_t classes = (size_t)d->result->classes, apart = (size_t)lrs * d->val.count * d->sums;
    const double *found = d->found + (size_t)at * d->val.count * d->sums;
    double iou[WORLD_CLASSES + 1], squares = 0;
    int told[WORLD_CLASSES + 1] = {0};
    if (o->kind == PROBE_SEGMENTATION && !(block->iou = memory_new(classes, sizeof *block->iou)))
        return false;
    block->best.lr = block->scores[at].lr;
    for (int s = 0; s < o->seeds; s++) {
        add_seed(&block->best, &block->scores[s * lrs + at], o->seeds);
        if (!block->iou)
            continue;
        score_of(d, found + (size_t)s * apart, NULL, d->val.count, iou);
        for (size_t c = 0; c < classes; c++)
            if (!isnan(iou[c])) {
                block->iou[c] += iou[c];
                told[c]++;
            }
    }
    for (size_t c = 0; block->iou && c < classes; c++)
        block->iou[c] = told[c] ? block->iou[c] / told[c] : NAN;
    for (int s = 0; s < o->seeds; s++)
        squares += pow(dense_quality(o, &block->scores[s * lrs + at]) - dense_quality(o, &block->best), 2);
    block->spread = o->seeds > 1 ? sqrt(squares / (o->seeds - 1)) : 0;
    return draw_interval(d, found, apart, block);
}

/* Every rate with every seed: scores (seeds, lr_count), and what they are made of in d->found. */
static bool try_rates(Dense *d, const Part *learn, const Part *judge, const double *lrs, int lr_count, DenseScore *scores)
{
    int seeds = d->options->seeds;
    size_t one = judge->count * d->sums;
    memset(d->found, 0, (size_t)(seeds * lr_count) * one * sizeof *d->found);
    for (int s = 0; s < seeds; s++) {
        double *found = d->found + (size_t)(s * lr_count) * one;
        if (!run_seed(d, learn, judge, lrs, lr_count, s, found))
            return false;
        for (int k = 0; k < lr_count; k++) {
            DenseScore *score = &scores[s * lr_count + k];
            *score = score_of(d, found + (size_t)k * one, NULL, judge->count, NULL);
            score->lr = lrs[k];
            score->seed = s;
        }
    }
    return true;
}

static int best_rate(const DenseOptions *o, const DenseScore *scores, int lrs)
{
    return probe_best_rate(quality_of(o, scores), sizeof *scores, lrs, o->seeds);
}

static bool probe_block(Dense *d, const FeatureWant *want)
{
    const DenseOptions *o = d->options;
    DenseBlock *block = &d->result->blocks[d->result->block_count++];
    Part all = {&d->train, NULL, d->train.count}, val = {&d->val, NULL, d->val.count};
    const double *lrs = o->lrs;
    int count = o->lr_count;
    char what[64];
    *block = (DenseBlock){.block = want->block, .norm = want->norm};
    block->scores = memory_new((size_t)o->seeds * (size_t)count, sizeof *block->scores);
    if (!block->scores || !make_tokens(d, want))
        return false;
    snprintf(what, sizeof what, "block %d", want->block);
    tell(o, what);
    if (d->rows) {
        Part some = {&d->train, d->rows, d->learn}, apart = {&d->train, d->rows + d->learn, d->train.count - d->learn};
        block->choice_count = o->seeds * count;
        block->choice = memory_new((size_t)block->choice_count, sizeof *block->choice);
        if (!block->choice || !try_rates(d, &some, &apart, lrs, count, block->choice))
            return false;
        lrs += best_rate(o, block->choice, count);
        count = 1;
    }
    if (!try_rates(d, &all, &val, lrs, count, block->scores))
        return false;
    block->count = o->seeds * count;
    return finish_block(d, count, best_rate(o, block->scores, count), block);
}

/* What a learning rate is chosen by, unless that is the held-out pictures or there is no choice. */
static bool set_apart(Dense *d)
{
    const DenseOptions *o = d->options;
    size_t count = (size_t)o->train;
    if (o->lr_count < 2 || o->choose_on_val)
        return true;
    d->rows = memory_new(count, sizeof *d->rows);
    if (!d->rows || !probe_set_apart(NULL, 0, count, d->rows, &d->learn))
        return false;
    d->result->apart_count = count - d->learn;
    return true;
}

bool dense_run(Backbone *backbone, const DenseOptions *o, DenseResult *result)
{
    const Recipe *r = &backbone->recipe;
    *result = (DenseResult){.weights = backbone_hash(backbone),
                            .depth = recipe_depth(r),
                            .full_depth = r->encoder.depth,
                            .classes = WORLD_CLASSES + 1};
    Dense d = {.options = o,
               .backbone = backbone,
               .result = result,
               .pixels = (size_t)r->image.size[0] * (size_t)r->image.size[1],
               .sums = o->kind == PROBE_DEPTH ? DEPTH_SUMS : MASK_SUMS(WORLD_CLASSES + 1)};
    FeatureWant *wants = NULL;
    int count = 0;
    size_t heads = (size_t)o->seeds * (size_t)o->lr_count;
    bool ok = set_apart(&d);
    size_t judged = (size_t)o->val > result->apart_count ? (size_t)o->val : result->apart_count;
    ok = ok && features_wants(r, o->blocks, FEATURE_PATCHES, false, &wants, &count) &&
         (result->blocks = memory_new((size_t)count, sizeof *result->blocks)) &&
         (d.found = memory_new(heads * judged, d.sums * sizeof *d.found)) &&
         (d.order = memory_new((size_t)o->train, sizeof *d.order)) && side_open(&d, &d.train, false, o->train) &&
         side_open(&d, &d.val, true, o->val);
    if (ok && o->kind == PROBE_DEPTH)
        find_middle(&d);
    for (int b = 0; ok && b < count; b++) {
        ok = probe_block(&d, &wants[b]);
        if (ok && o->block)
            o->block(o->context, result);
    }
    side_close(&d.train);
    side_close(&d.val);
    memory_free(d.found);
    memory_free(d.rows);
    memory_free(d.order);
    memory_free(wants);
    return ok;
}

void dense_free(DenseResult *r)
{
    for (int b = 0; b < r->block_count; b++) {
        memory_free(r->blocks[b].scores);
        memory_free(r->blocks[b].choice);
        memory_free(r->blocks[b].iou);
    }
    memory_free(r->blocks);
    *r = (DenseResult){0};
}
