/* Another project's file goes through the same doors as a run: as a backbone, as a teacher, and as what a run begins with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/teacher.h"
#include "train/weights.h"
#include "transfer/features.h"

/* A ViT under timm's names that PyTorch wrote (tests/fuzz/make_corpus.py): 4 x 4 pictures, patches of 2, one block of width 4.
 */
#define VIT LACUNA_SOURCE "/tests/fuzz/corpus/torch/vit.pth"

enum { WIDTH = 4, TOKENS = 5, NUMBERS = 3 * 4 * 4 };

/* What `forward()` of tests/oracle/checkpoints.py makes of it in PyTorch, behind the final norm, for the picture whose i-th
 * number is (5 i mod 13) / 13 - 0.4. */
static const float expected[TOKENS * WIDTH] = {1.831984f,  1.937381f, -1.221373f, 2.983328f,  1.632432f,  2.478663f, -1.520369f,
                                               2.593763f,  1.516603f, 2.113736f,  -1.354729f, 3.22184f,   1.346436f, 2.552112f,
                                               -1.522293f, 2.838614f, 1.305089f,  2.502707f,  -1.506773f, 2.964513f};

static void features_are_those_of_pytorch(void **state)
{
    (void)state;
    static const char *const devices[] = {"ref", "cpu"};
    for (int i = 0; i < 2; i++) {
        Text note = {0};
        Backbone *b = backbone_open(VIT, &note);
        if (!b)
            fail_msg("%s", error_text());
        assert_non_null(strstr(note.data, "ImageNet's mean and deviation are assumed"));
        FeatureWant want = {.block = 1, .norm = true, .pool = FEATURE_TOKENS};
        FeaturesOptions o = {.batch = 1, .wants = &want, .count = 1};
        assert_true(device_open(devices[i], 1, &o.device));
        Features *f = features_open(b, &o);
        if (!f)
            fail_msg("%s", error_text());
        float image[NUMBERS], out[TOKENS * WIDTH];
        for (int k = 0; k < NUMBERS; k++)
            image[k] = (float)(k * 5 % 13) / 13 - 0.4f;
        features_run(f, image, 1);
        features_read(f, 0, 1, out);
        for (int k = 0; k < TOKENS * WIDTH; k++)
            assert_true(fabsf(out[k] - expected[k]) < 1e-5f);
        features_close(f);
        backbone_close(b);
        text_free(&note);
    }
}

static Recipe recipe;

static Trainer *open_trainer(const char *more, const MimTeacher *teacher)
{
    static const char text[] = "image: {size: 4}\n"
                               "encoder: {patch: 2, width: 4, depth: 1, heads: 2, mlp_ratio: 1, position: learned}\n"
                               "decoders: [{tap: last, width: 8, depth: 1, heads: 2}]\n"
                               "schedule: {batch_size: 2}\n";
    assert_true(recipe_parse(&recipe, text, sizeof text - 1, "test"));
    char words[512];
    snprintf(words, sizeof words, "%s", more);
    for (char *at = strtok(words, " "); at; at = strtok(NULL, " "))
        if (!recipe_set(&recipe, at))
            fail_msg("%s", error_text());
    if (!recipe_check(&recipe))
        fail_msg("%s", error_text());
    TrainerOptions o = {.batch = 2, .micro_batch = 2, .teacher = teacher};
    assert_true(device_open("cpu", 1, &o.device));
    Trainer *t = trainer_open(&recipe, &o);
    if (!t)
        fail_msg("%s", error_text());
    return t;
}

/* The numbers of a weight of the file. */
static void expect_weight(const ParamSet *set, const float *weights, const char *name)
{
    static float numbers[1024];
    Recipe *its = memory_new(1, sizeof *its);
    Weights *file = weights_open(VIT, its, NULL);
    const Weight *w = weights_find(file, name);
    int at = param_find(set, name);
    assert_true(w && at >= 0 && weight_count(w) == set->params[at].count && weight_count(w) <= 1024);
    weight_to_f32(w, numbers);
    assert_memory_equal(weights + set->params[at].offset, numbers, (size_t)weight_count(w) * sizeof *numbers);
    weights_close(file);
    memory_free(its);
}

static void runs_begin_with_it(void **state)
{
    (void)state;
    Text note = {0};
    Trainer *t = open_trainer("", NULL);
    if (!checkpoint_load_weights(VIT, &recipe, t, &note))
        fail_msg("%s", error_text());
    expect_weight(trainer_params(t), trainer_weights(t), "blocks.0.attn.qkv.weight");
    expect_weight(trainer_params(t), trainer_weights(t), "pos_embed");
    expect_weight(trainer_params(t), trainer_weights(t), "norm.weight");
    assert_non_null(strstr(note.data, "Decoder 0 starts anew"));
    text_free(&note);
    trainer_close(t);

    t = open_trainer("image.size=8", NULL);
    assert_true(checkpoint_load_weights(VIT, &recipe, t, &note));
    assert_non_null(strstr(note.data, "The position table is resized."));
    text_free(&note);
    trainer_close(t);

    t = open_trainer("encoder.depth=1 decoders.0.tap=1", NULL);
    assert_true(checkpoint_load_weights(VIT, &recipe, t, &note));
    assert_non_null(strstr(note.data, "Its final norm is left out"));
    text_free(&note);
    trainer_close(t);
}

static void what_differs_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *more, *words;
    } cases[] = {{"encoder.heads=1", "its encoder.heads is 2, here it is 1"},
                 {"encoder.activation=quick_gelu", "its encoder.activation is gelu, here it is quick_gelu"},
                 {"encoder.position=sincos", "its encoder.position is learned, here it is sincos"},
                 {"encoder.depth=2", "blocks.1.norm1.weight is missing"},
                 {"encoder.mlp_ratio=2", "blocks.0.mlp.fc1.weight ([4, 4] instead of [8, 4])"},
                 {"encoder.qkv_bias=false", "blocks.0.attn.qkv.bias has no place"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Trainer *t = open_trainer(cases[i].more, NULL);
        assert_false(checkpoint_load_weights(VIT, &recipe, t, NULL));
        if (!strstr(error_text(), cases[i].words))
            fail_msg("'%s' does not say '%s'", error_text(), cases[i].words);
        trainer_close(t);
    }
}

static void it_teaches(void **state)
{
    (void)state;
    static const char more[] = "target.kind=features target.final_norm=true target.teacher=" VIT;
    MimTeacher teacher;
    trainer_close(open_trainer("", NULL)); /* the recipe, without which there is no teacher */
    for (char words[512], *at = (snprintf(words, sizeof words, "%s", more), strtok(words, " ")); at; at = strtok(NULL, " "))
        assert_true(recipe_set(&recipe, at));
    if (!teacher_of(&recipe, 0, &teacher))
        fail_msg("%s", error_text());
    assert_true(teacher.vit.block.width == WIDTH && teacher.vit.block.heads == 2 && teacher.projected == 0);
    Trainer *t = open_trainer(more, &teacher);
    if (!teacher_begin(&recipe, t, NULL))
        fail_msg("%s", error_text());
    expect_weight(trainer_teacher_params(t), trainer_teacher_weights(t), "blocks.0.mlp.fc1.weight");
    expect_weight(trainer_teacher_params(t), trainer_teacher_weights(t), "pos_embed");
    trainer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_those_of_pytorch),
        cmocka_unit_test(runs_begin_with_it),
        cmocka_unit_test(what_differs_is_refused),
        cmocka_unit_test(it_teaches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
