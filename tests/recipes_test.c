/* The named recipes: each can be trained, and those of papers have the papers' numbers (docs/spec/pretraining.md, section 16),
 * written out here. */
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
    if (!recipe_load(r, name) || !recipe_check(r))
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(papers_numbers), cmocka_unit_test(every_recipe_is_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
