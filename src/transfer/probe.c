#include "transfer/probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "ops/bf16.h"
#include "transfer/attentive_probe.h"
#include "transfer/neighbours.h"
#include "transfer/probe_steps.h"
#include "transfer/table.h"

enum { THUMB = 8 };

/* Features and labels of one side. */
typedef struct {
    Source *source;
    Table features; /* a plane of `room` rows for each block; of tokens a row is bf16 */
    bool tokens;
    Table thumbs; /* (count, C x 8 x 8), of length 1 */
    int32_t *labels;
    size_t *samples; /* number in the source */
    size_t count, room;
    const int *classes; /* of the source's class i */
    size_t width;
    int blocks;
    const Recipe *recipe;
    float *scratch; /* features of a batch */
    const ProbeOptions *options;
} Side;

typedef struct {
    const ProbeOptions *options;
    Backbone *backbone;
    ProbeResult *result;
    Side train, val;
    int *class_map; /* held-out class -> training class */
    int *same;      /* 0, 1, 2, .. */
    FeatureWant *wants;
    int want_count;
    int first;      /* of the wants, whose features the sides hold */
    uint8_t *twin;  /* per held-out picture: it has a near-duplicate */
    int32_t *ranks; /* (settings, val.count), no fewer than what a choice on the pictures set apart takes */
    uint32_t *rows; /* of the training pictures: those to learn from while a rate is chosen, then those set apart */
    size_t learn;   /* how many the first are */
} Probe;

const char *probe_kind_name(ProbeKind kind)
{
    static const char *const NAMES[] = {"knn", "linear", "attentive", "segmentation", "depth"};
    return NAMES[kind];
}

void probe_interval(double share, size_t count, double *low, double *high)
{
    const double Z = 1.959963984540054;
    double n = (double)count, middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n),
           half = Z / (1 + Z * Z / n) * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n));
    *low = count ? fmax(0, middle - half) : 0;
    *high = count ? fmin(1, middle + half) : 1;
}

/* ---- features */

/* Means of 8 x 8 cells of each channel, less their mean, brought to length 1. */
static void make_thumb(const Recipe *r, const float *image, float *out)
{
    int height = r->image.size[0], width = r->image.size[1], channels = r->image.channels;
    double sum = 0;
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < THUMB; y++)
            for (int x = 0; x < THUMB; x++) {
                int top = y * height / THUMB, left = x * width / THUMB, bottom = (y + 1) * height / THUMB,
                    right = (x + 1) * width / THUMB;
                double cell = 0;
                bottom = bottom > top ? bottom : top + 1;
                right = right > left ? right : left + 1;
                for (int i = top; i < bottom; i++)
                    for (int k = left; k < right; k++)
                        cell += (double)image[((size_t)c * (size_t)height + (size_t)i) * (size_t)width + (size_t)k];
                cell /= (double)((bottom - top) * (right - left));
                out[(c * THUMB + y) * THUMB + x] = (float)cell;
                sum += cell;
            }
    int numbers = channels * THUMB * THUMB;
    for (int i = 0; i < numbers; i++)
        out[i] -= (float)(sum / numbers);
    rows_normalise(out, 1, (size_t)numbers);
}

static void keep_row(Side *s, size_t to, const float *row)
{
    float *at = s->features.data + to * s->features.columns;
    if (!s->tokens) {
        memcpy(at, row, s->width * sizeof *row);
        return;
    }
    for (size_t i = 0; i < s->width; i++)
        ((uint16_t *)at)[i] = bf16_from_float(row[i]);
}

static bool take_batch(void *context, Features *f, const LoaderBatch *batch)
{
    Side *s = context;
    size_t image = (size_t)s->recipe->image.channels * (size_t)s->recipe->image.size[0] * (size_t)s->recipe->image.size[1];
    size_t first = s->count;
    for (size_t i = 0; i < batch->count; i++) {
        if (!features_is_own(f, batch, i) || batch->labels[i] < 0)
            continue;
        make_thumb(s->recipe, batch->images + i * image, s->thumbs.data + s->count * s->thumbs.columns);
        s->samples[s->count] = batch->samples[i];
        s->labels[s->count++] = s->classes[batch->labels[i]];
    }
    for (int b = 0; b < s->blocks; b++) {
        size_t to = (size_t)b * s->room + first;
        if (!features_read(f, b, (int)batch->count, s->scratch))
            return false;
        for (size_t i = 0; i < batch->count; i++)
            if (features_is_own(f, batch, i) && batch->labels[i] >= 0)
                keep_row(s, to++, s->scratch + i * s->width);
    }
    return true;
}

static void tell_bad(void *context, const char *key, const char *reason)
{
    const Side *s = context;
    if (s->options->bad)
        s->options->bad(s->options->context, key, reason);
}

/* All but the source. */
static void side_clear(Side *s)
{
    table_free(&s->features);
    table_free(&s->thumbs);
    memory_free(s->labels);
    memory_free(s->samples);
    memory_free(s->scratch);
    *s = (Side){.source = s->source};
}

static bool fill_side(Probe *p, Side *s, Features *f, int blocks, const int *classes)
{
    const Recipe *r = &p->backbone->recipe;
    size_t rows;
    side_clear(s);
    s->recipe = r;
    s->options = p->options;
    s->classes = classes;
    s->blocks = blocks;
    s->tokens = p->options->kind == PROBE_ATTENTIVE;
    s->room = source_count(s->source);
    s->width = (size_t)(features_rows(f, 0) * features_width(f, 0));
    s->labels = memory_new(s->room, sizeof *s->labels);
    s->samples = memory_new(s->room, sizeof *s->samples);
    s->scratch = memory_new(s->width * (size_t)p->options->batch, sizeof *s->scratch);
    if (!s->labels || !s->samples || !s->scratch || !size_multiply(s->room, (size_t)s->blocks, &rows) ||
        !table_make(&s->features, rows, s->tokens ? (s->width + 1) / 2 : s->width, TABLE_MEMORY) ||
        !table_make(&s->thumbs, s->room, (size_t)r->image.channels * THUMB * THUMB, TABLE_MEMORY))
        return false;
    FeaturesPass pass = {.source = s->source, .max_bad = 1, .bad = tell_bad, .batch = take_batch, .context = s};
    return features_pass(f, &pass) && (s->count || error_set("%s holds no picture with a label", source_where(s->source)));
}

static float *plane(const Side *s, int block)
{
    return s->features.data + (size_t)block * s->room * s->features.columns;
}

static void tell(const ProbeOptions *o, const char *what)
{
    if (o->progress)
        o->progress(o->context, what);
}

/* Features of `count` wants from `first` on, of both sides. */
static bool make_features(Probe *p, int first, int count)
{
    const ProbeOptions *o = p->options;
    FeaturesOptions options = {
        .device = o->device, .batch = o->batch, .bf16 = o->bf16, .wants = p->wants + first, .count = count};
    Features *f = features_open(p->backbone, &options);
    p->first = first;
    if (f)
        tell(o, "features of the training pictures");
    bool ok = f && fill_side(p, &p->train, f, count, p->same);
    if (ok)
        tell(o, "features of the held-out pictures");
    ok = ok && fill_side(p, &p->val, f, count, p->class_map);
    features_close(f);
    p->result->train_count = p->train.count;
    p->result->val_count = p->val.count;
    return ok;
}

/* ---- classes */

static int class_find(const Source *source, const char *name)
{
    for (int c = 0; c < source_class_count(source); c++)
        if (!strcmp(source_class_name(source, c), name))
            return c;
    return -1;
}

static bool match_classes(Probe *p)
{
    ProbeResult *result = p->result;
    int count = source_class_count(p->train.source), val_count = source_class_count(p->val.source);
    if (!count || !val_count)
        return error_set("a probe wants labelled pictures, and %s has no labels",
                         source_where(count ? p->val.source : p->train.source));
    p->class_map = memory_new((size_t)val_count, sizeof *p->class_map);
    p->same = memory_new((size_t)count, sizeof *p->same);
    result->classes = memory_new((size_t)count, sizeof *result->classes);
    if (!p->class_map || !p->same || !result->classes)
        return false;
    result->class_count = count;
    for (int c = 0; c < count; c++) {
        p->same[c] = c;
        if (!(result->classes[c] = memory_string(source_class_name(p->train.source, c))))
            return false;
    }
    for (int c = 0; c < val_count; c++) {
        const char *name = source_class_name(p->val.source, c);
        if ((p->class_map[c] = class_find(p->train.source, name)) < 0)
            return error_set("the class %.100s of %s is not among those of %s", name, source_where(p->val.source),
                             source_where(p->train.source));
    }
    return true;
}

/* ---- near-duplicates */

static bool find_twins(Probe *p)
{
    ProbeResult *result = p->result;
    Side *t = &p->train, *v = &p->val;
    Neighbour *near = memory_new(v->count, sizeof *near);
    p->twin = memory_new(v->count, 1);
    bool ok =
        near && p->twin &&
        neighbours_find(&p->options->device, t->thumbs.data, t->count, v->thumbs.data, v->count, v->thumbs.columns, 1, near);
    for (size_t i = 0; ok && i < v->count; i++) {
        if (near[i].similarity < (float)PROBE_ALIKE)
            continue;
        p->twin[i] = 1;
        result->pairs++;
        if (result->shown_count == PROBE_PAIRS_SHOWN)
            continue;
        char key[SOURCE_KEY_SIZE];
        int at = result->shown_count++;
        ProbePair pair = {v->samples[i], t->samples[near[i].key], near[i].similarity};
        result->shown[at] = pair;
        ok = (result->shown_names[at][0] = memory_string(source_key(v->source, pair.val, key, sizeof key))) &&
             (result->shown_names[at][1] = memory_string(source_key(t->source, pair.train, key, sizeof key)));
    }
    memory_free(near);
    return ok;
}

/* ---- scores */

/* The share of ranks below `places`. */
static double share_below(const int32_t *ranks, size_t count, int places)
{
    size_t hits = 0;
    for (size_t i = 0; i < count; i++)
        hits += ranks[i] < places;
    return count ? (double)hits / (double)count : 0;
}

static ProbeScore score_of(const Probe *p, const int32_t *ranks, size_t count, double setting, int seed)
{
    ProbeScore score = {.setting = setting, .seed = seed};
    score.top1 = share_below(ranks, count, 1);
    /* B.3: so many neighbours vote for no more classes. */
    int places = p->options->kind == PROBE_KNN && setting < 5 ? (int)setting : 5;
    score.top5 = share_below(ranks, count, p->result->class_count < places ? p->result->class_count : places);
    probe_interval(score.top1, count, &score.low, &score.high);
    return score;
}

/* What the chosen heads of all runs do without near-duplicates, and by class. Ranks of a run follow `apart` behind those of the
 * run before. */
static bool finish_block(const Probe *p, ProbeBlock *block, const int32_t *ranks, int runs, size_t apart)
{
    size_t distinct = 0, hits = 0;
    size_t *of_class = memory_new((size_t)p->result->class_count, sizeof *of_class);
    block->by_class = memory_new((size_t)p->result->class_count, sizeof *block->by_class);
    if (!of_class || !block->by_class) {
        memory_free(of_class);
        return false;
    }
    for (int s = 0; s < runs; s++, ranks += apart)
        for (size_t i = 0; i < p->val.count; i++) {
            distinct += !p->twin[i];
            hits += !p->twin[i] && ranks[i] == 0;
            of_class[p->val.labels[i]]++;
            block->by_class[p->val.labels[i]] += ranks[i] == 0;
        }
    for (int c = 0; c < p->result->class_count; c++)
        block->by_class[c] = of_class[c] ? block->by_class[c] / (double)of_class[c] : NAN;
    block->top1_distinct = distinct ? (double)hits / (double)distinct : NAN;
    memory_free(of_class);
    return true;
}

static bool knn_block(Probe *p, int b, ProbeBlock *block)
{
    const ProbeOptions *o = p->options;
    Side *t = &p->train, *v = &p->val;
    int most = 0, classes = p->result->class_count;
    for (int i = 0; i < o->k_count; i++)
        if ((size_t)o->k[i] <= t->count)
            most = o->k[i] > most ? o->k[i] : most;
    if (!most)
        return error_set("there are %zu training pictures, fewer than neighbours are to vote: ask for fewer with --k",
                         t->count);
    float *train = plane(t, b - p->first), *val = plane(v, b - p->first);
    rows_normalise(train, t->count, t->width);
    rows_normalise(val, v->count, v->width);
    Neighbour *near = memory_new(v->count, (size_t)most * sizeof *near);
    double *votes = memory_new((size_t)classes, sizeof *votes);
    bool ok = near && votes && neighbours_find(&o->device, train, t->count, val, v->count, t->width, most, near);
    for (int s = 0; ok && s < o->k_count; s++) {
        if (o->k[s] > most || (size_t)o->k[s] > t->count)
            continue;
        for (size_t i = 0; i < v->count; i++) {
            knn_votes(near + i * (size_t)most, o->k[s], o->temperature, t->labels, classes, votes);
            p->ranks[(size_t)block->count * v->count + i] = votes_rank(votes, classes, v->labels[i]);
        }
        block->scores[block->count] = score_of(p, p->ranks + (size_t)block->count * v->count, v->count, o->k[s], 0);
        block->count++;
    }
    if (ok)
        block->best = block->scores[0];
    ok = ok && finish_block(p, block, p->ranks, 1, 0);
    memory_free(near);
    memory_free(votes);
    return ok;
}

/* ---- trained probes */

/* Some pictures of a side, in the order of `rows`; NULL: all. */
typedef struct {
    const Side *side;
    const uint32_t *rows;
    size_t count;
} Part;

/* The ranks that heads of one seed give the pictures of `judge` after they have learnt from `learn`. */
static bool trained_ranks(const Probe *p, int b, const Part *learn, const Part *judge, const double *lrs, int lr_count,
                          uint64_t seed, int32_t *ranks)
{
    const ProbeOptions *o = p->options;
    const Side *t = learn->side, *v = judge->side;
    const float *train = plane(t, b - p->first), *val = plane(v, b - p->first);
    int batch = (size_t)o->train_batch < learn->count ? o->train_batch : (int)learn->count;
    if (o->kind == PROBE_LINEAR)
        return linear_probe(&(LinearProbe){.device = o->device,
                                           .train = {train, t->labels, learn->count, learn->rows},
                                           .val = {val, v->labels, judge->count, judge->rows},
                                           .width = t->width,
                                           .classes = p->result->class_count,
                                           .lrs = lrs,
                                           .lr_count = lr_count,
                                           .epochs = o->epochs,
                                           .warmup_epochs = o->warmup_epochs,
                                           .batch = batch,
                                           .seed = seed},
                            ranks);
    int64_t width = p->backbone->recipe.encoder.width;
    const uint16_t *tokens = (const uint16_t *)train, *judged = (const uint16_t *)val;
    return attentive_probe(&(AttentiveProbe){.device = o->device,
                                             .train = {tokens, t->labels, learn->count, 2 * t->features.columns, learn->rows},
                                             .val = {judged, v->labels, judge->count, 2 * v->features.columns, judge->rows},
                                             .tokens = (int64_t)t->width / width,
                                             .width = width,
                                             .classes = p->result->class_count,
                                             .lrs = lrs,
                                             .lr_count = lr_count,
                                             .epochs = o->epochs,
                                             .warmup_epochs = o->warmup_epochs,
                                             .batch = batch,
                                             .seed = seed},
                           ranks);
}

/* Every rate with every seed: scores (seeds, lr_count), and the ranks behind them in p->ranks. */
static bool try_rates(Probe *p, int b, const Part *learn, const Part *judge, const double *lrs, int lr_count,
                      ProbeScore *scores)
{
    for (int s = 0; s < p->options->seeds; s++) {
        int32_t *ranks = p->ranks + (size_t)(s * lr_count) * judge->count;
        if (!trained_ranks(p, b, learn, judge, lrs, lr_count, (uint64_t)s, ranks))
            return false;
        for (int k = 0; k < lr_count; k++)
            scores[s * lr_count + k] = score_of(p, ranks + (size_t)k * judge->count, judge->count, lrs[k], s);
    }
    return true;
}

/* The scores of a learning rate, `at` in its seed's row, over all seeds together. */
static void sum_up(const Probe *p, ProbeBlock *block, int lrs, int at)
{
    int seeds = p->options->seeds;
    ProbeScore score = {.setting = block->scores[at].setting};
    double squares = 0;
    for (int s = 0; s < seeds; s++) {
        score.top1 += block->scores[s * lrs + at].top1 / seeds;
        score.top5 += block->scores[s * lrs + at].top5 / seeds;
    }
    for (int s = 0; s < seeds; s++)
        squares += pow(block->scores[s * lrs + at].top1 - score.top1, 2);
    probe_interval(score.top1, p->val.count, &score.low, &score.high);
    block->best = score;
    block->spread = seeds > 1 ? sqrt(squares / (seeds - 1)) : 0;
}

static bool trained_block(Probe *p, int b, ProbeBlock *block)
{
    const ProbeOptions *o = p->options;
    Part all = {&p->train, NULL, p->train.count}, val = {&p->val, NULL, p->val.count};
    const double *lrs = o->lrs;
    int count = o->lr_count;
    if (p->rows) {
        Part some = {&p->train, p->rows, p->learn}, apart = {&p->train, p->rows + p->learn, p->train.count - p->learn};
        block->choice_count = o->seeds * o->lr_count;
        block->choice = memory_new((size_t)block->choice_count, sizeof *block->choice);
        if (!block->choice || !try_rates(p, b, &some, &apart, lrs, count, block->choice))
            return false;
        lrs += probe_best_rate(&block->choice->top1, sizeof *block->choice, count, o->seeds);
        count = 1;
    }
    if (!try_rates(p, b, &all, &val, lrs, count, block->scores))
        return false;
    block->count = o->seeds * count;
    int at = probe_best_rate(&block->scores->top1, sizeof *block->scores, count, o->seeds);
    sum_up(p, block, count, at);
    return finish_block(p, block, p->ranks + (size_t)at * p->val.count, o->seeds, (size_t)count * p->val.count);
}

/* What a learning rate is chosen by, unless that is the held-out pictures or there is no choice. */
static bool set_apart(Probe *p)
{
    const ProbeOptions *o = p->options;
    if (o->kind == PROBE_KNN || o->lr_count < 2 || o->choose_on_val)
        return true;
    p->rows = memory_new(p->train.count, sizeof *p->rows);
    if (!p->rows || !probe_set_apart(p->train.labels, p->result->class_count, p->train.count, p->rows, &p->learn))
        return false;
    p->result->apart_count = p->train.count - p->learn;
    return true;
}

static bool probe_blocks(Probe *p)
{
    const ProbeOptions *o = p->options;
    int settings = o->kind == PROBE_KNN ? o->k_count : o->lr_count * o->seeds;
    size_t ranks, judged = p->val.count > p->result->apart_count ? p->val.count : p->result->apart_count;
    p->result->blocks = memory_new((size_t)p->want_count, sizeof *p->result->blocks);
    if (!p->result->blocks || !size_multiply((size_t)settings, judged, &ranks) ||
        !(p->ranks = memory_new(ranks, sizeof *p->ranks)))
        return false;
    for (int b = 0; b < p->want_count; b++) {
        ProbeBlock *block = &p->result->blocks[p->result->block_count++];
        char what[64];
        *block = (ProbeBlock){.block = p->wants[b].block, .norm = p->wants[b].norm};
        block->scores = memory_new((size_t)settings, sizeof *block->scores);
        snprintf(what, sizeof what, "block %d", block->block);
        /* All tokens of all blocks would be too much to keep at once. */
        if (!block->scores || (b > 0 && o->kind == PROBE_ATTENTIVE && !make_features(p, b, 1)))
            return false;
        tell(o, what);
        if (!(o->kind == PROBE_KNN ? knn_block(p, b, block) : trained_block(p, b, block)))
            return false;
        if (o->block)
            o->block(o->context, p->result);
    }
    return true;
}

bool probe_run(Backbone *backbone, const ProbeOptions *o, ProbeResult *result)
{
    *result = (ProbeResult){.weights = backbone_hash(backbone),
                            .depth = recipe_depth(&backbone->recipe),
                            .full_depth = backbone->recipe.encoder.depth};
    Probe p = {.options = o, .backbone = backbone, .result = result};
    bool tokens = o->kind == PROBE_ATTENTIVE;
    bool ok = (p.train.source = features_source(o->train, &backbone->recipe, false)) &&
              (p.val.source = features_source(o->val, &backbone->recipe, true)) && match_classes(&p) &&
              features_wants(&backbone->recipe, o->blocks, tokens ? FEATURE_TOKENS : o->pool, o->kind == PROBE_KNN, &p.wants,
                             &p.want_count) &&
              make_features(&p, 0, tokens ? 1 : p.want_count) && find_twins(&p) && set_apart(&p) && probe_blocks(&p);
    side_clear(&p.train);
    side_clear(&p.val);
    source_close(p.train.source);
    source_close(p.val.source);
    memory_free(p.class_map);
    memory_free(p.same);
    memory_free(p.wants);
    memory_free(p.twin);
    memory_free(p.ranks);
    memory_free(p.rows);
    return ok;
}

void probe_free(ProbeResult *r)
{
    for (int b = 0; b < r->block_count; b++) {
        memory_free(r->blocks[b].scores);
        memory_free(r->blocks[b].choice);
        memory_free(r->blocks[b].by_class);
    }
    memory_free(r->blocks);
    for (int c = 0; c < r->class_count; c++)
        memory_free(r->classes[c]);
    memory_free(r->classes);
    for (int i = 0; i < r->shown_count; i++) {
        memory_free(r->shown_names[i][0]);
        memory_free(r->shown_names[i][1]);
    }
    *r = (ProbeResult){0};
}
