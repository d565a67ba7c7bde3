#include "transfer/features.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "image/augment.h"
#include "mim/model.h"
#include "ops/pool/pool.h"

enum { WORKERS_AUTO_MOST = 4 };

struct Features {
    const Backbone *backbone;
    Recipe recipe; /* with nothing hidden */
    Mim mim;
    int batch, count;
    FeatureWant *wants;
    Tape *tape;
    Program *program;
    Device device;
    float *weights, *fixed; /* on a GPU: copies of the backbone's */
    uint8_t *hidden;        /* (batch, places) zeros */
};

static const char *const POOLS[] = {"class_token", "mean", "concat", "none", "tokens"};

bool feature_pool_find(const char *word, FeaturePool *pool)
{
    for (int i = FEATURE_CLASS_TOKEN; i <= FEATURE_PATCHES; i++)
        if (!strcmp(word, POOLS[i])) {
            *pool = (FeaturePool)i;
            return true;
        }
    return false;
}

const char *feature_pool_name(FeaturePool pool)
{
    return POOLS[pool];
}

bool features_wants(const Recipe *r, const char *blocks, FeaturePool pool, bool norm, FeatureWant **wants, int *count)
{
    int depth = recipe_depth(r), block = depth;
    bool all = !strcmp(blocks, "all"), last = !strcmp(blocks, "last"), has_norm = mim_has_norm(r);
    if (!all && !last) {
        char *end;
        long number = strtol(blocks, &end, 10);
        if (end == blocks || *end || number < 1 || number > depth)
            return error_set("'%s' names no block of this encoder: use 1 to %d, last or all", blocks, depth);
        block = (int)number;
    }
    *count = all ? depth : 1;
    *wants = memory_new((size_t)*count, sizeof **wants);
    for (int i = 0; *wants && i < *count; i++)
        (*wants)[i] = (FeatureWant){.block = all ? i + 1 : block, .norm = (last || norm) && has_norm, .pool = pool};
    return *wants != NULL;
}

/* ---- building */

static bool check_wants(const Features *f)
{
    const Recipe *r = &f->recipe;
    for (int i = 0; i < f->count; i++) {
        const FeatureWant *want = &f->wants[i];
        if (want->block < 0 || want->block > recipe_depth(r))
            return error_set("there is no block %d: the encoder has blocks 1 to %d", want->block, recipe_depth(r));
        if (!r->encoder.class_token && (want->pool == FEATURE_CLASS_TOKEN || want->pool == FEATURE_CONCAT))
            return error_set(
                "the encoder has no class token: take the mean of the patch tokens (probe's --features mean, embed's "
                "--pool mean)");
        if (want->norm && !mim_has_norm(r))
            return error_set("the encoder has no final norm: ask for a block by its number");
    }
    return true;
}

static void keep(Tape *t, Ref value, int want, const char *what)
{
    char name[48];
    snprintf(name, sizeof name, "features.%d.%s", want, what);
    tape_keep(t, value, name);
}

static void build_want(Features *f, int i, Ref x)
{
    const FeatureWant *want = &f->wants[i];
    Tape *t = f->tape;
    int class_tokens = f->mim.encoder.class_tokens;
    bool class_token = want->pool == FEATURE_CLASS_TOKEN || want->pool == FEATURE_CONCAT;
    if (class_token) {
        /* The norm of one token, not one token of the norm. */
        Ref row = pool(t, x, 0, 1);
        keep(t, want->norm ? mim_norm(t, &f->mim, row) : row, i, "class");
    }
    if (want->pool == FEATURE_CLASS_TOKEN)
        return;
    if (want->norm)
        x = mim_norm(t, &f->mim, x);
    if (want->pool == FEATURE_PATCHES || want->pool == FEATURE_TOKENS)
        keep(t, x, i, "tokens");
    else
        keep(t, pool(t, x, class_tokens, f->mim.places), i, "mean");
}

static bool build(Features *f, Backbone *b, const FeaturesOptions *o)
{
    int depth = recipe_depth(&f->recipe);
    bool class_only = true; /* of the last block */
    for (int i = 0; i < f->count; i++)
        class_only = class_only && (f->wants[i].block < depth || f->wants[i].pool == FEATURE_CLASS_TOKEN);
    Ref *states = memory_new((size_t)depth + 1, sizeof *states);
    if (!states || !mim_open(&f->mim, &f->recipe, NULL, NULL, f->batch, true, true, false) || !(f->tape = tape_new())) {
        memory_free(states);
        return false;
    }
    tape_segment(f->tape, SEGMENT_EVALUATE);
    tape_set_activation(f->tape, o->bf16 ? DTYPE_BF16 : DTYPE_REAL);
    tape_use_params(f->tape, &b->params, "params", false);
    if (o->maps)
        tape_keep_matching(f->tape, "blocks.*.attn.map");
    mim_encode(f->tape, &f->mim, class_only, states);
    for (int i = 0; i < f->count; i++)
        build_want(f, i, states[f->wants[i].block]);
    memory_free(states);
    if (tape_failed(f->tape))
        return false;
    Binding bindings[] = {{"params", b->weights}, {"params.fixed", b->fixed}};
    if (!buffer_on_host(&f->device)) {
        bindings[0].data = f->weights =
            buffer_copy(&f->device, b->weights, (size_t)b->params.trained_count, sizeof *f->weights);
        bindings[1].data = f->fixed = buffer_copy(&f->device, b->fixed, (size_t)b->params.fixed_count, sizeof *f->fixed);
        if (!f->weights || !f->fixed)
            return false;
    }
    f->program = program_make(f->tape, &f->device, bindings, 2);
    return f->program != NULL;
}

Features *features_open(Backbone *b, const FeaturesOptions *o)
{
    Features *f = memory_new(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (Features){.backbone = b, .recipe = b->recipe, .batch = o->batch, .count = o->count, .device = o->device};
    backbone_recipe(&f->recipe);
    f->wants = memory_new((size_t)o->count, sizeof *f->wants);
    f->hidden = memory_new((size_t)o->batch, (size_t)recipe_patches(&f->recipe));
    if (f->wants && f->hidden)
        memcpy(f->wants, o->wants, (size_t)o->count * sizeof *f->wants);
    bool ok = f->wants && f->hidden && check_wants(f) &&
              (!o->device.f64 || error_set("features are made in f32: use device ref, not ref64")) && build(f, b, o);
    if (!ok) {
        features_close(f);
        return NULL;
    }
    return f;
}

void features_close(Features *f)
{
    if (!f)
        return;
    program_free(f->program);
    tape_free(f->tape);
    buffer_free(&f->device, f->weights);
    buffer_free(&f->device, f->fixed);
    memory_free(f->wants);
    memory_free(f->hidden);
    memory_free(f);
}

/* ---- running */

int64_t features_rows(const Features *f, int want)
{
    FeaturePool kind = f->wants[want].pool;
    return kind == FEATURE_PATCHES ? f->mim.places : kind == FEATURE_TOKENS ? f->mim.places + f->mim.encoder.class_tokens : 1;
}

int64_t features_width(const Features *f, int want)
{
    return f->mim.encoder.block.width * (f->wants[want].pool == FEATURE_CONCAT ? 2 : 1);
}

bool features_run(Features *f, const float *images, int count)
{
    mim_feed(f->program, &f->mim, &(MimPictures){.images = images, .hidden = f->hidden}, count, NULL, 0, f->batch, 1);
    return program_run(f->program, SEGMENT_EVALUATE);
}

static const char *kept(const Features *f, int want, const char *what)
{
    char name[48];
    snprintf(name, sizeof name, "features.%d.%s", want, what);
    return program_kept(f->program, SEGMENT_EVALUATE, name);
}

/* The numbers of one kept value for each of `count` pictures, `width` of the last of its `all`, to every `stride` of out. */
static bool read_kept(const Features *f, int want, const char *what, size_t count, size_t all, size_t width, size_t stride,
                      float *out)
{
    const char *from = kept(f, want, what);
    size_t real = device_element(&f->device, DTYPE_REAL);
    for (size_t i = 0; from && i < count; i++)
        program_read_real(f->program, from + ((i + 1) * all - width) * real, out + i * stride, width);
    return from != NULL;
}

bool features_read(const Features *f, int want, int count, float *out)
{
    size_t width = (size_t)f->mim.encoder.block.width, each = (size_t)(features_rows(f, want) * features_width(f, want));
    size_t all = (size_t)(f->mim.places + f->mim.encoder.class_tokens) * width, some = (size_t)count;
    switch (f->wants[want].pool) {
    case FEATURE_CLASS_TOKEN:
        return read_kept(f, want, "class", some, width, width, each, out);
    case FEATURE_MEAN:
        return read_kept(f, want, "mean", some, width, width, each, out);
    case FEATURE_CONCAT:
        return read_kept(f, want, "class", some, width, width, each, out) &&
               read_kept(f, want, "mean", some, width, width, each, out + width);
    default:
        return read_kept(f, want, "tokens", some, all, each, each, out);
    }
}

const float *features_tokens(const Features *f, int want)
{
    return (const float *)kept(f, want, "tokens");
}

const float *features_map(const Features *f, int block)
{
    char name[48];
    snprintf(name, sizeof name, "blocks.%d.attn.map", block - 1);
    return program_kept(f->program, SEGMENT_EVALUATE, name);
}

Program *features_program(Features *f)
{
    return f->program;
}

/* ---- pictures of a source */

bool features_is_own(const Features *f, const LoaderBatch *batch, size_t i)
{
    return batch->samples[i] == batch->step * (uint64_t)f->batch + i;
}

Loader *features_loader(const Features *f, const FeaturesPass *pass)
{
    const Recipe *r = &f->recipe;
    int workers = pass->workers ? pass->workers : cpu_count() < WORKERS_AUTO_MOST ? cpu_count() : WORKERS_AUTO_MOST;
    LoaderOptions o = {.source = pass->source,
                       .samples = pass->samples,
                       .count = pass->count,
                       .batch = (size_t)f->batch,
                       .first = pass->first,
                       .height = r->image.size[0],
                       .width = r->image.size[1],
                       .channels = r->image.channels,
                       .evaluate =
                           r->image.size[0] == r->image.size[1] && !pass->whole ? image_evaluate_side(r->image.size[0]) : 0,
                       .exif = r->image.exif,
                       .filter = RESIZE_BICUBIC,
                       .workers = workers,
                       .max_bad = pass->max_bad,
                       .bad = pass->bad,
                       .bad_context = pass->context};
    if (!recipe_statistics(&r->image.mean, false, r->image.channels, o.mean) ||
        !recipe_statistics(&r->image.std, true, r->image.channels, o.std))
        return NULL;
    return loader_open(&o);
}

bool features_pass(Features *f, const FeaturesPass *pass)
{
    Loader *loader = features_loader(f, pass);
    bool ok = loader != NULL;
    LoaderBatch batch = {0};
    while (ok && (ok = loader_next(loader, &batch)) && batch.count) {
        ok = features_run(f, batch.images, (int)batch.count) && pass->batch(pass->context, f, &batch);
        loader_release(loader);
    }
    loader_close(loader);
    return ok;
}

Source *features_source(const char *where, const Recipe *r, bool held_out)
{
    return source_open(where, &(SourceOptions){.world_count = (size_t)r->data.world_images,
                                               .world_height = r->image.size[0],
                                               .world_width = r->image.size[1],
                                               .world_held_out = held_out});
}
