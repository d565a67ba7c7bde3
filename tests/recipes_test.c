/* The named recipes: each can be trained, and those of papers have the papers' numbers (docs/spec/pretraining.md, section 16),
 * written out here. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "recipe/recipe.h"

typedef struct {
    const char *name;
    int patch, width, depth, heads;
    int taps[4]; /* 0: no more */
    int decoder_width, decoder_depth, decoder_heads;
    int epochs;
} Published;

static const Published published[] = {
    {"mae-vit-b16", 16, 768, 12, 12, {TAP_LAST}, 512, 8, 16, 800},
    {"mae-vit-l16", 16, 1024, 24, 16, {TAP_LAST}, 512, 8, 16, 800},
    {"mae-vit-h14", 14, 1280, 32, 16, {TAP_LAST}, 512, 8, 16, 800},
    {"deepmim-vit-b16-300", 16, 768, 12, 12, {6, 8, 10, TAP_LAST}, 512, 4, 16, 300},
    {"deepmim-vit-b16-1600", 16, 768, 12, 12, {6, 8, 10, TAP_LAST}, 512, 4, 16, 1600},
};

static void load(const char *name, Recipe *r)
{
    if (!recipe_load(r, name) || !recipe_check(r) || !recipe_check_idle(r, NULL, NULL))
        fail_msg("%s: %s", name, error_text());
}

static void check_common(const Recipe *r)
{
    static const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
    float values[3];
    assert_int_equal(r->image.size[0], 224);
    assert_int_equal(r->image.size[1], 224);
    assert_int_equal(r->image.channels, 3);
    assert_true(recipe_statistics(&r->image.mean, false, 3, values));
    assert_memory_equal(values, mean, sizeof mean);
    assert_true(recipe_statistics(&r->image.std, true, 3, values));
    assert_memory_equal(values, std, sizeof std);
    assert_true(r->augment.crop_scale[0] == 0.2 && r->augment.crop_scale[1] == 1);
    assert_true(r->augment.crop_ratio[0] == 3.0 / 4 && r->augment.crop_ratio[1] == 4.0 / 3);
    assert_true(r->augment.flip == 0.5);
    assert_int_equal(r->augment.interpolation, INTERPOLATION_BICUBIC);
    assert_int_equal(r->encoder.kind, ENCODER_VIT);
    assert_true(r->encoder.mlp_ratio == 4 && r->encoder.norm_eps == 1e-6);
    assert_int_equal(r->encoder.class_token, 1);
    assert_int_equal(r->encoder.position, ENCODER_POSITION_SINCOS);
    assert_int_equal(r->encoder.input, ENCODER_INPUT_VISIBLE);
    assert_int_equal(r->encoder.qkv_bias, QKV_BIAS_TRUE);
    assert_true(r->encoder.drop_path == 0 && r->encoder.layer_scale == 0);
    assert_int_equal(r->mask.kind, MASK_RANDOM);
    assert_true(r->mask.ratio == 0.75);
    assert_int_equal(r->optimizer.kind, OPTIMIZER_ADAMW);
    assert_true(r->optimizer.betas[0] == 0.9 && r->optimizer.betas[1] == 0.95 && r->optimizer.eps == 1e-8);
    assert_true(r->optimizer.weight_decay == 0.05 && r->optimizer.clip == 0);
    assert_int_equal(r->schedule.batch_size, 4096);
    assert_int_equal(r->schedule.kind, SCHEDULE_COSINE);
    assert_true(r->schedule.warmup_epochs == 40 && r->schedule.blr == 1.5e-4 && r->schedule.min_lr == 0);
    assert_true(recipe_lr(r) > 2.4e-3 * (1 - 1e-12) && recipe_lr(r) < 2.4e-3 * (1 + 1e-12));
}

static void papers_numbers(void **state)
{
    (void)state;
    static Recipe r;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const Published *p = &published[i];
        load(p->name, &r);
        check_common(&r);
        assert_int_equal(r.encoder.patch, p->patch);
        assert_int_equal(r.encoder.width, p->width);
        assert_int_equal(r.encoder.depth, p->depth);
        assert_int_equal(r.encoder.heads, p->heads);
        assert_int_equal(r.schedule.epochs, p->epochs);
        int taps = 0;
        while (taps < 4 && p->taps[taps])
            taps++;
        assert_int_equal(r.decoder_count, taps);
        for (int k = 0; k < taps; k++) {
            const RecipeDecoder *d = &r.decoders[k];
            assert_int_equal(d->tap, p->taps[k]);
            assert_int_equal(d->kind, DECODER_TRANSFORMER);
            assert_int_equal(d->width, p->decoder_width);
            assert_int_equal(d->depth, p->decoder_depth);
            assert_int_equal(d->heads, p->decoder_heads);
            assert_true(d->drop_path == 0 && d->weight == 1);
            assert_int_equal(d->target.kind, TARGET_PIXELS);
            assert_int_equal(d->target.normalise, NORMALISE_PATCH);
            assert_int_equal(d->loss.kind, LOSS_L2);
            assert_int_equal(d->loss.on, LOSS_ON_MASKED);
        }
    }
}

/* dBOT: stages with the student as teacher, as far as they differ from MAE. */
static void dbot(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int width, depth, depths[2];
        double drop_path, clip;
    } sizes[] = {{"dbot-vit-b16", 768, 12, {12, 12}, 0.2, 3},
                 {"dbot-vit-l16", 1024, 24, {0, 24}, 0.2, 0},
                 {"dbot-vit-h14", 1280, 32, {0, 32}, 0.3, 0}};
    static Recipe r;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        load(sizes[i].name, &r);
        assert_int_equal(r.encoder.width, sizes[i].width);
        assert_int_equal(r.encoder.depth, sizes[i].depth);
        assert_int_equal(r.encoder.input, ENCODER_INPUT_VISIBLE);
        assert_true(r.encoder.drop_path == sizes[i].drop_path && r.optimizer.clip == sizes[i].clip);
        assert_true(r.mask.kind == MASK_RANDOM && r.mask.ratio == 0.75);
        assert_int_equal(r.decoder_count, 1);
        const RecipeDecoder *d = &r.decoders[0];
        assert_true(d->tap == TAP_LAST && d->width == 512 && d->depth == 8 && d->heads == 16 &&
                    d->drop_path == sizes[i].drop_path);
        assert_true(d->target.kind == TARGET_FEATURES && d->target.normalise == NORMALISE_TOKEN && d->target.class_token);
        assert_false(d->target.final_norm || d->target.projection);
        assert_string_equal(r.target.teacher, "initial");
        assert_true(d->loss.kind == LOSS_SMOOTH_L1 && d->loss.beta == 2);
        assert_int_equal(r.stages.count, 2);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(r.stages.items[k].epochs, 800);
            assert_int_equal(r.stages.items[k].teacher_depth, sizes[i].depths[k]);
            assert_false(r.stages.items[k].reset);
        }
        assert_true(r.schedule.epochs == 1600 && r.schedule.batch_size == 4096 && r.schedule.warmup_epochs == 40);
        assert_true(r.schedule.blr == 1.5e-4 && r.schedule.min_lr == 0 && r.optimizer.betas[1] == 0.95);
        assert_true(r.augment.crop_scale[0] == 0.2);
    }
}

static void simmim(void **state)
{
    (void)state;
    static Recipe r;
    load("simmim-vit-b16", &r);
    assert_true(r.encoder.width == 768 && r.encoder.depth == 12 && r.encoder.class_token == 1);
    assert_true(r.encoder.input == ENCODER_INPUT_MASK_TOKEN && r.encoder.position == ENCODER_POSITION_RELATIVE);
    assert_true(r.encoder.qkv_bias == QKV_BIAS_NO_K && r.encoder.layer_scale == 0.1 && r.encoder.drop_path == 0.1);
    assert_true(r.mask.kind == MASK_UNIT && r.mask.unit == 32 && r.mask.ratio == 0.6);
    assert_int_equal(recipe_patches(&r) - recipe_visible(&r), 30 * 4);
    assert_true(r.decoders[0].kind == DECODER_PIXEL_SHUFFLE && r.decoders[0].target.normalise == NORMALISE_NONE);
    assert_int_equal(r.decoders[0].loss.kind, LOSS_L1);
    assert_true(r.augment.crop_scale[0] == 0.67 && r.augment.interpolation == INTERPOLATION_BILINEAR);
    assert_true(r.schedule.batch_size == 2048 && r.schedule.epochs == 800 && r.schedule.warmup_epochs == 10);
    assert_true(recipe_lr(&r) == 4e-4 && r.schedule.warmup_lr == 2e-6 && r.schedule.kind == SCHEDULE_MULTISTEP);
    assert_true(r.schedule.steps.count == 1 && r.schedule.steps.values[0] == 700);
    assert_true(r.optimizer.betas[1] == 0.999 && r.optimizer.clip == 5 && r.optimizer.weight_decay == 0.05);
    assert_int_equal(r.optimizer.no_decay.count, 2);
    assert_string_equal(r.optimizer.no_decay.names[0], "cls_token");
    assert_string_equal(r.optimizer.no_decay.names[1], "pos_embed");
}

static void maskfeat(void **state)
{
    (void)state;
    static Recipe r;
    load("maskfeat-vit-b16", &r);
    assert_true(r.augment.crop_ratio[0] == 0.75 && r.augment.crop_ratio[1] == 1.3333);
    assert_true(r.encoder.width == 768 && r.encoder.depth == 12 && r.encoder.class_token == 1 && r.encoder.drop_path == 0);
    assert_true(r.encoder.input == ENCODER_INPUT_MASK_TOKEN && r.encoder.position == ENCODER_POSITION_LEARNED);
    assert_true(r.encoder.qkv_bias == QKV_BIAS_TRUE && r.encoder.init == ENCODER_INIT_MASKFEAT);
    assert_true(r.mask.kind == MASK_BLOCK && r.mask.min_block == 15);
    assert_int_equal(recipe_patches(&r) - recipe_visible(&r), 78);
    assert_true(r.decoders[0].kind == DECODER_LINEAR && r.decoders[0].target.kind == TARGET_HOG);
    assert_true(r.decoders[0].target.bins == 9 && r.decoders[0].target.cell == 8 && r.decoders[0].target.gaussian == 0);
    assert_int_equal(r.decoders[0].loss.kind, LOSS_L2);
    assert_true(r.augment.crop_scale[0] == 0.5 && r.schedule.batch_size == 2048 && r.schedule.epochs == 300);
    assert_true(r.schedule.warmup_epochs == 30 && r.schedule.blr == 2e-4);
    assert_true(r.schedule.warmup_lr == 8e-6 && r.schedule.min_lr == 8e-6); /* 1e-6 for 256 pictures */
    assert_true(r.optimizer.betas[1] == 0.999 && r.optimizer.clip == 0.02 && r.optimizer.weight_decay == 0.05);
    assert_int_equal(r.optimizer.no_decay.count, 0);
}

/* The same settings with another target, so that only the decoders differ between the two. */
static void hog_beside_pixels(void **state)
{
    (void)state;
    static Recipe deepmim, mae;
    load("deepmim-hog-vit-b16", &deepmim);
    load("mae-hog-vit-b16", &mae);
    check_common(&deepmim);
    check_common(&mae);
    assert_true(deepmim.decoder_count == 4 && mae.decoder_count == 1 && mae.schedule.epochs == deepmim.schedule.epochs);
    for (int k = 0; k < 4; k++) {
        const RecipeDecoder *d = &deepmim.decoders[k];
        assert_true(d->width == 512 && d->depth == 4 && d->heads == 16 && d->loss.kind == LOSS_L2);
        assert_true(d->target.kind == TARGET_HOG && d->target.bins == 9 && d->target.cell == 8);
        assert_int_equal(d->target.normalise, NORMALISE_NONE);
    }
}

/* The controls (13, 14 and section 16). */
static void supervised(void **state)
{
    (void)state;
    static Recipe r;
    load("supervised-vit-b16", &r);
    assert_int_equal(recipe_method(&r), METHOD_CLASSIFY);
    assert_true(r.encoder.width == 768 && r.encoder.depth == 12 && r.encoder.heads == 12 && r.encoder.patch == 16);
    assert_true(r.encoder.position == ENCODER_POSITION_LEARNED && r.encoder.init == ENCODER_INIT_XAVIER);
    assert_true(r.encoder.drop_path == 0.1 && r.head.pool == HEAD_CLASS_TOKEN && r.loss.smoothing == 0.1);
    assert_true(r.schedule.batch_size == 4096 && r.schedule.epochs == 300 && r.schedule.warmup_epochs == 20);
    assert_true(recipe_lr(&r) > 1.6e-3 * (1 - 1e-12) && recipe_lr(&r) < 1.6e-3 * (1 + 1e-12) && r.schedule.min_lr == 0);
    assert_true(r.optimizer.betas[0] == 0.9 && r.optimizer.betas[1] == 0.95 && r.optimizer.weight_decay == 0.3);
    assert_true(r.optimizer.clip == 0 && r.ema.decay == 0.9999);
    assert_int_equal(r.optimizer.no_decay.count, 2);
    assert_true(r.augment.crop_scale[0] == 0.08 && r.augment.interpolation == INTERPOLATION_BICUBIC);
}

static void mocov3(void **state)
{
    (void)state;
    static const double jitter[] = {0.4, 0.4, 0.2, 0.1};
    static Recipe r;
    load("mocov3-vit-b16", &r);
    assert_int_equal(recipe_method(&r), METHOD_CONTRAST);
    assert_true(r.encoder.width == 768 && r.encoder.depth == 12 && r.encoder.heads == 12 && r.encoder.class_token == 1);
    assert_true(r.encoder.position == ENCODER_POSITION_SINCOS && r.encoder.init == ENCODER_INIT_MOCO);
    assert_true(r.contrast.dim == 256 && r.contrast.hidden == 4096 && r.contrast.temperature == 0.2);
    assert_true(r.contrast.momentum == 0.99 && r.contrast.group == RECIPE_AUTO);
    assert_true(r.schedule.batch_size == 4096 && r.schedule.epochs == 300 && r.schedule.warmup_epochs == 40);
    assert_true(r.schedule.blr == 1.5e-4 && r.schedule.min_lr == 0 && r.optimizer.betas[1] == 0.999);
    assert_true(r.optimizer.weight_decay == 0.1 && r.optimizer.decay_all && r.optimizer.clip == 0);
    assert_true(r.augment.crop_scale[0] == 0.08 && r.augment.interpolation == INTERPOLATION_BILINEAR && r.augment.flip == 0.5);
    assert_memory_equal(r.augment.color_jitter, jitter, sizeof jitter);
    assert_true(r.augment.jitter_prob == 0.8 && r.augment.grey[0] == 0.2 && r.augment.grey[1] == 0.2);
    assert_true(r.augment.blur[0] == 1 && r.augment.blur[1] == 0.1);
    assert_true(r.augment.solarise[0] == 0 && r.augment.solarise[1] == 0.2);
}

/* BEiT's student, as far as its users have it in common. */
static void check_beit(const Recipe *r, int hidden)
{
    assert_true(r->encoder.class_token == 1 && r->encoder.input == ENCODER_INPUT_MASK_TOKEN);
    assert_true(r->encoder.position == ENCODER_POSITION_RELATIVE && r->encoder.qkv_bias == QKV_BIAS_NO_K);
    assert_true(r->encoder.layer_scale == 0.1 && r->encoder.drop_path == 0.1 && r->encoder.norm_eps == 1e-6);
    assert_true(r->mask.kind == MASK_BLOCK && r->mask.min_block == 16);
    assert_int_equal(recipe_patches(r) - recipe_visible(r), hidden);
    assert_true(r->decoder_count == 1 && r->decoders[0].kind == DECODER_LINEAR && r->decoders[0].tap == TAP_LAST);
    assert_true(r->optimizer.betas[0] == 0.9 && r->optimizer.betas[1] == 0.98 && r->optimizer.clip == 3);
    assert_true(r->optimizer.weight_decay == 0.05 && r->optimizer.no_decay.count == 2);
    assert_string_equal(r->optimizer.no_decay.names[0], "cls_token");
    assert_string_equal(r->optimizer.no_decay.names[1], "pos_embed");
    assert_true(r->schedule.warmup_epochs == 10 && r->schedule.min_lr == 1e-5 && r->schedule.warmup_lr == 0);
    for (int i = 0; i < 4; i++)
        assert_true(r->augment.color_jitter[i] == (i < 3 ? 0.4 : 0));
    assert_true(r->augment.jitter_prob == 1);
}

static void beit_codes(void **state)
{
    (void)state;
    static Recipe r;
    load("beit-codes-vit-b16", &r);
    check_beit(&r, 75);
    assert_true(r.encoder.width == 768 && r.encoder.depth == 12 && r.encoder.heads == 12 && r.encoder.patch == 16);
    const RecipeDecoder *d = &r.decoders[0];
    assert_true(d->target.kind == TARGET_TOKENS && d->target.codes == 8192 && d->target.normalise == NORMALISE_PATCH);
    assert_string_equal(d->target.teacher, "random");
    assert_true(d->loss.kind == LOSS_CROSS_ENTROPY && d->loss.on == LOSS_ON_MASKED && d->weight == 1);
    assert_true(r.augment.crop_scale[0] == 0.08 && r.augment.interpolation == INTERPOLATION_BICUBIC);
    assert_true(r.schedule.batch_size == 2048 && r.schedule.epochs == 800 && recipe_lr(&r) == 1.5e-3);
    assert_true(r.optimizer.eps == 1e-8);
}

static void dbot_clip(void **state)
{
    (void)state;
    static const struct {
        const char *name, *teacher;
        int patch, width, depth, heads, sees, hidden;
    } sizes[] = {{"dbot-clip-vit-b16", "ViT-B-16.pt", 16, 768, 12, 12, 0, 78},
                 {"dbot-clip-vit-l16", "ViT-L-14.pt", 16, 1024, 24, 16, 196, 78},
                 {"dbot-clip-vit-h14", "ViT-L-14.pt", 14, 1280, 32, 16, 0, 78}};
    static Recipe r;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        load(sizes[i].name, &r);
        check_beit(&r, sizes[i].hidden);
        assert_true(r.encoder.patch == sizes[i].patch && r.encoder.width == sizes[i].width);
        assert_true(r.encoder.depth == sizes[i].depth && r.encoder.heads == sizes[i].heads);
        const RecipeTarget *t = &r.decoders[0].target;
        assert_true(t->kind == TARGET_FEATURES && t->final_norm && t->projection && !t->class_token);
        assert_true(t->normalise == NORMALISE_NONE && t->image_size[0] == sizes[i].sees && t->mean.kind == STATISTICS_AUTO);
        assert_string_equal(t->teacher, sizes[i].teacher);
        assert_true(r.decoders[0].loss.kind == LOSS_COSINE && r.decoders[0].weight == 0.5 && r.stages.count == 0);
        assert_true(r.augment.crop_scale[0] == 0.4 && r.schedule.batch_size == 4096 && r.schedule.epochs == 1600);
        assert_true(recipe_lr(&r) == 3e-3 && r.optimizer.eps == 1e-6);
    }
}

/* DeepMIM with features, and one decoder beside it. */
static void features_beside_pixels(void **state)
{
    (void)state;
    static const struct {
        const char *deepmim, *mae;
        int epochs;
        bool projection;
    } sizes[] = {{"deepmim-clip-vit-b16", "mae-clip-vit-b16", 1600, true},
                 {"deepmim-dino-vit-b16", "mae-dino-vit-b16", 300, false}};
    static Recipe deepmim, mae;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        load(sizes[i].deepmim, &deepmim);
        load(sizes[i].mae, &mae);
        check_common(&deepmim);
        check_common(&mae);
        assert_true(deepmim.decoder_count == 4 && mae.decoder_count == 1);
        assert_true(deepmim.schedule.epochs == sizes[i].epochs && mae.schedule.epochs == sizes[i].epochs);
        for (int k = 0; k < 5; k++) {
            static const int taps[] = {6, 8, 10, TAP_LAST, TAP_LAST};
            const RecipeDecoder *d = k < 4 ? &deepmim.decoders[k] : &mae.decoders[0];
            assert_true(d->tap == taps[k] && d->width == 512 && d->depth == 4 && d->heads == 16);
            assert_true(d->loss.kind == LOSS_COSINE && d->target.kind == TARGET_FEATURES && d->target.final_norm);
            assert_true(d->target.projection == sizes[i].projection && !d->target.class_token);
            assert_int_equal(d->target.normalise, NORMALISE_NONE);
        }
    }
}

/* A grows with depth: 1/4, 1/2, 3/4 for three taps, all of the picture for the last. */
static void hybrid(void **state)
{
    (void)state;
    static Recipe r;
    load("deepmim-hybrid-vit-b16", &r);
    check_common(&r);
    assert_int_equal(r.decoder_count, 4);
    for (int k = 0; k < 4; k++)
        for (int epoch = 0; epoch <= 300; epoch += 100)
            assert_true(recipe_mix(&r, k, epoch) == 0.25 * (k + 1));
    assert_true(recipe_is_mixed(&r, 2) && !recipe_is_mixed(&r, 3));
}

/* Columns of section 16 that every recipe in a paper's size has. */
static const struct {
    const char *name;
    char size; /* B, L or H */
    EncoderPosition position;
    double beta, eps, decay;
    int epochs;
} sized[] = {
    {"mae-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 800},
    {"mae-vit-l16", 'L', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 800},
    {"mae-vit-h14", 'H', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 800},
    {"mae-hog-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 300},
    {"mae-dino-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 300},
    {"mae-clip-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 1600},
    {"deepmim-vit-b16-300", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 300},
    {"deepmim-vit-b16-1600", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 1600},
    {"deepmim-hog-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 300},
    {"deepmim-dino-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 300},
    {"deepmim-clip-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 1600},
    {"deepmim-hybrid-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 300},
    {"dbot-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 1600},
    {"dbot-vit-l16", 'L', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 1600},
    {"dbot-vit-h14", 'H', ENCODER_POSITION_SINCOS, 0.95, 1e-8, 0.05, 1600},
    {"dbot-clip-vit-b16", 'B', ENCODER_POSITION_RELATIVE, 0.98, 1e-6, 0.05, 1600},
    {"dbot-clip-vit-l16", 'L', ENCODER_POSITION_RELATIVE, 0.98, 1e-6, 0.05, 1600},
    {"dbot-clip-vit-h14", 'H', ENCODER_POSITION_RELATIVE, 0.98, 1e-6, 0.05, 1600},
    {"simmim-vit-b16", 'B', ENCODER_POSITION_RELATIVE, 0.999, 1e-8, 0.05, 800},
    {"maskfeat-vit-b16", 'B', ENCODER_POSITION_LEARNED, 0.999, 1e-8, 0.05, 300},
    {"beit-codes-vit-b16", 'B', ENCODER_POSITION_RELATIVE, 0.98, 1e-8, 0.05, 800},
    {"supervised-vit-b16", 'B', ENCODER_POSITION_LEARNED, 0.95, 1e-8, 0.3, 300},
    {"mocov3-vit-b16", 'B', ENCODER_POSITION_SINCOS, 0.999, 1e-8, 0.1, 300},
};
enum { SIZED = sizeof sized / sizeof *sized };

static void sizes_and_optimizers(void **state)
{
    (void)state;
    static Recipe r;
    for (size_t i = 0; i < SIZED; i++) {
        char size = sized[i].size;
        int width = size == 'B' ? 768 : size == 'L' ? 1024 : 1280, depth = size == 'B' ? 12 : size == 'L' ? 24 : 32;
        load(sized[i].name, &r);
        if (r.image.size[0] != 224 || r.image.size[1] != 224 || r.encoder.patch != (size == 'H' ? 14 : 16) ||
            r.encoder.width != width || r.encoder.depth != depth || r.encoder.heads != (size == 'B' ? 12 : 16) ||
            r.encoder.mlp_ratio != 4 || r.encoder.class_token != 1 || r.encoder.norm_eps != 1e-6 ||
            r.encoder.position != sized[i].position)
            fail_msg("%s: its encoder is not ViT-%c of section 16", sized[i].name, size);
        if (r.optimizer.betas[0] != 0.9 || r.optimizer.betas[1] != sized[i].beta || r.optimizer.eps != sized[i].eps ||
            r.optimizer.weight_decay != sized[i].decay || r.schedule.epochs != sized[i].epochs)
            fail_msg("%s: its optimizer or epochs are not those of section 16", sized[i].name);
    }
}

/* So a recipe that is added is held against the table too. */
static void is_sized(void *context, const char *name, const char *path)
{
    (void)path;
    int *count = context;
    if (!strstr(name, "-vit-"))
        return;
    ++*count;
    for (size_t i = 0; i < SIZED; i++)
        if (!strcmp(sized[i].name, name))
            return;
    fail_msg("%s is in no row of the table", name);
}

static void none_is_left_out(void **state)
{
    (void)state;
    int count = 0;
    assert_true(recipe_each_name(is_sized, &count));
    assert_int_equal(count, SIZED);
}

static void check_named(void *context, const char *name, const char *path)
{
    (void)path;
    Recipe *r = context;
    load(name, r);
}

static void every_recipe_is_whole(void **state)
{
    (void)state;
    static Recipe r;
    assert_true(recipe_each_name(check_named, &r));
}

/* Those of the guide: what they set themselves, or take over from each other, is of use. */
static void examples_set_nothing_in_vain(void **state)
{
    (void)state;
    static Recipe r;
    glob_t found;
    assert_int_equal(glob(LACUNA_SOURCE "/examples/*.yaml", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        load(found.gl_pathv[i], &r);
    globfree(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(papers_numbers),
                                       cmocka_unit_test(dbot),
                                       cmocka_unit_test(simmim),
                                       cmocka_unit_test(maskfeat),
                                       cmocka_unit_test(hog_beside_pixels),
                                       cmocka_unit_test(supervised),
                                       cmocka_unit_test(mocov3),
                                       cmocka_unit_test(beit_codes),
                                       cmocka_unit_test(dbot_clip),
                                       cmocka_unit_test(features_beside_pixels),
                                       cmocka_unit_test(hybrid),
                                       cmocka_unit_test(sizes_and_optimizers),
                                       cmocka_unit_test(none_is_left_out),
                                       cmocka_unit_test(every_recipe_is_whole),
                                       cmocka_unit_test(examples_set_nothing_in_vain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
