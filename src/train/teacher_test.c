/* Teachers and stages: who teaches whom, and that a run that is stopped anywhere and goes on comes to the same bytes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "train/pretrain.h"
#include "train/stopped_run.h"
#include "train/teacher.h"
#include "train/tiny_recipe.h"
#include "train/weights.h"

#define HOME "teacher_test.tmp"

static Recipe recipe;

/* Two stages of four steps, and a teacher of one block in the second. */
static int begin(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "data.val_share=0",    "data.world_images=32",       "target={kind: features, normalise: token, class_token: true}",
        "loss.kind=smooth_l1", "schedule.warmup_epochs=0.5", "stages=[{epochs: 1}, {epochs: 1, teacher_depth: 1}]",
        "run.keep=1"};
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1) || !file_remove(HOME) || !file_make_folder(HOME) || !tiny_recipe(&recipe))
        return 1;
    memory_free(cache);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!recipe_set(&recipe, keys[i]))
            fail_msg("%s", error_text());
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static SafeTensors *open_part(const char *out, int64_t step, const char *file)
{
    char path[200];
    snprintf(path, sizeof path, "%s/checkpoints/step-%08d/%s.safetensors", out, (int)step, file);
    SafeTensors *tensors = safetensors_open(path);
    if (!tensors)
        fail_msg("%s", error_text());
    return tensors;
}

/* Whether all teacher.NAME of `state` are the NAME of `model`; *count is how many. */
static bool teaches(const SafeTensors *model, const SafeTensors *state, int *count)
{
    bool same = true;
    *count = 0;
    for (size_t i = 0; i < safetensors_count(state); i++) {
        const SafeTensor *t = safetensors_at(state, i);
        if (strncmp(t->name, "teacher.", 8))
            continue;
        const SafeTensor *of = safetensors_find(model, t->name + 8);
        assert_non_null(of);
        assert_int_equal(safetensor_count(of), safetensor_count(t));
        same = same && !memcmp(of->data, t->data, safetensor_count(t) * sizeof(float));
        ++*count;
    }
    return same;
}

static void assert_same_file(const char *a, const char *b, const char *file)
{
    char path[2][200];
    size_t size[2];
    char *bytes[2];
    const char *const runs[] = {a, b};
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/checkpoints/step-00000008/%s", runs[i], file);
        bytes[i] = file_read(path[i], 0, &size[i]);
        assert_non_null(bytes[i]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    memory_free(bytes[0]);
    memory_free(bytes[1]);
}

static int64_t arena_with(int teacher_depth)
{
    char stages[64];
    MimTeacher *model = memory_new(1, sizeof *model);
    TrainerOptions options = {.batch = 8, .micro_batch = 8, .teacher = model, .plan_only = true};
    snprintf(stages, sizeof stages, "stages=[{epochs: 2, teacher_depth: %d}]", teacher_depth);
    assert_true(model && recipe_set(&recipe, stages) && device_open("cpu", 1, &options.device));
    if (!teacher_of(&recipe, 0, model))
        fail_msg("%s", error_text());
    assert_int_equal(model->vit.depth, teacher_depth);
    Trainer *t = trainer_open(&recipe, &options);
    if (!t)
        fail_msg("%s", error_text());
    int64_t bytes = program_arena_bytes(trainer_program(t));
    trainer_close(t);
    memory_free(model);
    return bytes;
}

/* Beside its weights it takes one block's values, however many blocks it has: none of them is kept. */
static void a_deep_teacher_takes_no_more_room_than_a_shallow_one(void **state)
{
    (void)state;
    assert_true(recipe_set(&recipe, "encoder.depth=12"));
    assert_int_equal(arena_with(12), arena_with(1));
}

static void stages_lie_one_behind_the_other(void **state)
{
    (void)state;
    assert_int_equal(stage_of(&recipe, 4, 0), 0);
    assert_int_equal(stage_of(&recipe, 4, 4), 0); /* what four steps have led to is the first stage's */
    assert_int_equal(stage_of(&recipe, 4, 5), 1);
    assert_int_equal(stage_of(&recipe, 4, 8), 1);
    assert_int_equal(stage_first(&recipe, 4, 1), 4);
    assert_int_equal(stage_end(&recipe, 4, 1), 8);
    recipe.stages.count = 0;
    assert_int_equal(stage_of(&recipe, 4, 8), 0);
    assert_int_equal(stage_end(&recipe, 4, 0), 8);
}

/* The first teacher is the student's start, the second its end; the end of a stage is kept. */
static void the_student_becomes_the_teacher(void **state)
{
    (void)state;
    int count;
    run_until(&recipe, HOME "/run", false, 0, PRETRAIN_DONE);
    SafeTensors *middle = open_part(HOME "/run", 4, "model"), *first = open_part(HOME "/run", 4, "state"),
                *second = open_part(HOME "/run", 8, "state");
    assert_true(teaches(middle, second, &count));
    assert_true(count > 10);
    assert_null(safetensors_find(second, "teacher.blocks.1.attn.qkv.weight"));
    assert_non_null(safetensors_find(first, "teacher.blocks.1.attn.qkv.weight"));
    assert_false(teaches(middle, first, &count));
    /* It can be named: what stage 1 learnt from is what stage 0 has made, of so many blocks; stage 0 learnt from its start. */
    Recipe its;
    Weights *student = weights_open(HOME "/run/checkpoints/step-00000004", &its, NULL),
            *teacher = weights_open(HOME "/run/checkpoints/step-00000008#teacher", &its, NULL);
    if (!student || !teacher)
        fail_msg("%s", error_text());
    assert_int_equal(recipe_depth(&its), 1);
    const Weight *a = weights_find(student, "blocks.0.attn.qkv.weight"), *b = weights_find(teacher, "blocks.0.attn.qkv.weight");
    assert_true(a && b && a->shape[0] == b->shape[0] && a->shape[1] == b->shape[1]);
    assert_memory_equal(a->pieces[0].view.data, b->pieces[0].view.data, (size_t)(a->shape[0] * a->shape[1]) * sizeof(float));
    assert_null(weights_find(teacher, "decoders.0.pred.weight"));
    weights_close(student);
    weights_close(teacher);
    teacher = weights_open(HOME "/run#teacher", &its, NULL); /* of the newest checkpoint */
    assert_non_null(teacher);
    weights_close(teacher);
    teacher = weights_open(HOME "/run/checkpoints/step-00000004#teacher", &its, NULL);
    assert_true(teacher && recipe_depth(&its) == 2);
    weights_close(teacher);
    safetensors_close(middle);
    safetensors_close(first);
    safetensors_close(second);
}

/* A teacher of fewer blocks than a later stage's. */
static void a_shallow_teacher_can_be_named(void **state)
{
    (void)state;
    Recipe its;
    assert_true(recipe_set(&recipe, "stages=[{epochs: 1, teacher_depth: 1}, {epochs: 1, teacher_depth: 2}]"));
    run_until(&recipe, HOME "/shallow", false, 4, PRETRAIN_STOPPED);
    Weights *teacher = weights_open(HOME "/shallow/checkpoints/step-00000004#teacher", &its, NULL);
    if (!teacher)
        fail_msg("%s", error_text());
    assert_int_equal(recipe_depth(&its), 1);
    weights_close(teacher);
}

static void a_stopped_run_comes_to_the_same(void **state)
{
    (void)state;
    static const char *const resets[] = {"stages=[{epochs: 1}, {epochs: 1, teacher_depth: 1}]",
                                         "stages=[{epochs: 1, teacher_depth: 0}, {epochs: 1, optimizer: reset}]"};
    for (int k = 0; k < 2; k++) {
        assert_true(recipe_set(&recipe, resets[k]));
        assert_true(file_remove(HOME "/whole"));
        run_until(&recipe, HOME "/whole", false, 0, PRETRAIN_DONE);
        for (int at = 2; at <= 6; at += 2) { /* within the first stage, at its end, within the second */
            assert_true(file_remove(HOME "/cut"));
            run_until(&recipe, HOME "/cut", false, at, PRETRAIN_STOPPED);
            run_until(&recipe, HOME "/cut", true, 0, PRETRAIN_DONE);
            assert_same_file(HOME "/whole", HOME "/cut", "model.safetensors");
            assert_same_file(HOME "/whole", HOME "/cut", "state.safetensors");
        }
    }
}

/* The first step of a stage has rate 0: what there is then is the stage's own draw. */
static void a_stage_begins_with_weights_of_its_own(void **state)
{
    (void)state;
    run_until(&recipe, HOME "/run", false, 5, PRETRAIN_STOPPED);
    SafeTensors *model = open_part(HOME "/run", 5, "model");
    for (int stage = 0; stage < 2; stage++) {
        MimTeacher teacher;
        TrainerOptions options = {.batch = 4, .micro_batch = 4, .teacher = &teacher, .stage = stage};
        assert_true(device_open("cpu", 1, &options.device) && teacher_of(&recipe, stage, &teacher));
        Trainer *t = trainer_open(&recipe, &options);
        if (!t)
            fail_msg("%s", error_text());
        const ParamSet *set = trainer_params(t);
        int drawn = 0, other = 0;
        for (size_t i = 0; i < set->count; i++) {
            const Param *p = &set->params[i];
            const SafeTensor *learnt = p->kind == PARAM_TRAINED ? safetensors_find(model, p->name) : NULL;
            if (!learnt || !strstr(p->name, ".weight") || strstr(p->name, "norm"))
                continue;
            drawn++;
            other += memcmp(learnt->data, trainer_weights(t) + p->offset, (size_t)p->count * sizeof(float)) != 0;
        }
        assert_true(drawn > 10);
        assert_int_equal(other, stage ? 0 : drawn);
        trainer_close(t);
    }
    safetensors_close(model);
}

/* A number for each place of a parameter, from its name. */
static float numbered(const Param *p, int64_t i)
{
    return (float)(random_hash(p->name) % 1000) + (float)(i % 97) / 128;
}

static Trainer *open_taught(int width)
{
    MimTeacher teacher = mim_teacher_alike(&recipe, 2);
    teacher.vit.block.width = width;
    TrainerOptions options = {.batch = 4, .micro_batch = 4, .teacher = &teacher};
    assert_true(device_open("cpu", 1, &options.device));
    Trainer *t = trainer_open(&recipe, &options);
    if (!t)
        fail_msg("%s", error_text());
    return t;
}

/* The first teacher may be wider or narrower than the student, whose prediction then changes its width with the stage: AdamW's
 * moments go on, name by name, for all that keeps its shape. */
static void a_teacher_of_another_width_gives_way(void **state)
{
    (void)state;
    assert_true(recipe_set(&recipe, "target.teacher=random") && recipe_set(&recipe, "stages=[]"));
    for (int width = 8; width <= 24; width += 16) {
        Trainer *from = open_taught(width), *to = open_taught(16);
        const ParamSet *before = trainer_params(from), *after = trainer_params(to);
        int changed = 0;
        for (size_t i = 0; i < before->count; i++)
            for (int64_t k = 0; before->params[i].kind == PARAM_TRAINED && k < before->params[i].count; k++)
                trainer_moment1(from)[before->params[i].offset + k] = trainer_moment2(from)[before->params[i].offset + k] =
                    numbered(&before->params[i], k);
        assert_true(teacher_succeed(from, to, false));
        for (size_t i = 0; i < after->count; i++) {
            const Param *p = &after->params[i];
            if (p->kind != PARAM_TRAINED)
                continue;
            bool same = shape_equal(&p->shape, &before->params[param_find(before, p->name)].shape);
            changed += !same;
            for (int64_t k = 0; k < p->count; k++) {
                assert_true(trainer_moment1(to)[p->offset + k] == (same ? numbered(p, k) : 0));
                assert_true(trainer_moment2(to)[p->offset + k] == (same ? numbered(p, k) : 0));
            }
        }
        assert_int_equal(changed, 4); /* two predictions, each with a bias */
        trainer_close(from);
        trainer_close(to);
    }
}

/* A new stage has losses of its own: it is no leap, and a leap in it goes back to its beginning. */
static void a_new_stage_is_no_leap(void **state)
{
    (void)state;
    /* What no block has touched is soon learnt; the second teacher is harder. */
    static const char *const keys[] = {"stages=[{epochs: 1, teacher_depth: 0}, {epochs: 1}]",
                                       "decoders=[{tap: last, width: 8, depth: 1, heads: 2}]",
                                       "encoder.drop_path=0",
                                       "schedule.warmup_epochs=0.1",
                                       "data.world_images=512",
                                       "guard.spike=2",
                                       "guard.limit=1"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_true(recipe_set(&recipe, keys[i]));
    run_until(&recipe, HOME "/run", false, 0, PRETRAIN_DONE);
}

/* Any run can teach, also one of another width that saw pictures with other statistics; its weights do not move. */
static void another_run_can_be_the_teacher(void **state)
{
    (void)state;
    int count;
    Recipe student = recipe;
    assert_true(tiny_recipe(&recipe) && recipe_set(&recipe, "encoder.width=24") &&
                recipe_set(&recipe, "image.mean=[0, 0, 0]") && recipe_set(&recipe, "image.std=[1, 1, 1]") &&
                recipe_set(&recipe, "data.val_share=0") && recipe_set(&recipe, "data.world_images=64") &&
                recipe_set(&recipe, "schedule.epochs=1"));
    run_until(&recipe, HOME "/teacher", false, 0, PRETRAIN_DONE);
    SafeTensors *teacher = open_part(HOME "/teacher", 8, "model");
    recipe = student;
    assert_true(recipe_set(&recipe, "stages=[]") && recipe_set(&recipe, "target.teacher=" HOME "/teacher") &&
                recipe_set(&recipe, "target.final_norm=true"));
    run_until(&recipe, HOME "/run", false, 0, PRETRAIN_DONE);
    SafeTensors *taught = open_part(HOME "/run", 8, "state");
    assert_true(teaches(teacher, taught, &count));
    assert_true(count > 20);
    safetensors_close(teacher);
    safetensors_close(taught);
    MimTeacher model;
    Teacher *found = memory_new(1, sizeof *found);
    float mean[] = {0.5f, 0.25f, 0}, std[] = {0.5f, 0.5f, 2};
    recipe_statistics_set(&recipe.image.mean, 3, mean);
    recipe_statistics_set(&recipe.image.std, 3, std);
    assert_true(teacher_find(&recipe, 0, found) && teacher_model(&recipe, found, &model));
    assert_true(model.renormalise);
    for (int k = 0; k < 3; k++) { /* the teacher's pictures have mean 0 and deviation 1 */
        assert_float_equal(model.scale[k], std[k], 1e-6);
        assert_float_equal(model.shift[k], mean[k], 1e-6);
    }
    memory_free(found);
}

static Trainer *open_looking(const Recipe *r)
{
    MimTeacher teacher;
    TrainerOptions options = {.batch = 2, .micro_batch = 2, .evaluate_only = true, .keep_predictions = true, .plain = true};
    options.teacher = &teacher;
    Trainer *t = recipe_check(r) && device_open("cpu", 1, &options.device) && teacher_of(r, 0, &teacher)
                     ? trainer_open(r, &options)
                     : NULL;
    if (!t || !teacher_begin(r, t, NULL))
        fail_msg("%s", error_text());
    return t;
}

/* A teacher whose patches are twice as wide sees pictures twice as large, with statistics of its own; its tokens are those that
 * a student of its size and statistics is taught. */
static void a_teacher_may_see_another_size(void **state)
{
    (void)state;
    enum { LARGE = 3 * 32 * 32, SMALL = 3 * 16 * 16, TOKENS = 2 * 17 * 16 };
    static float small[2 * SMALL], large[2 * LARGE], seen_by_it[2 * LARGE], got[TOKENS], expect[TOKENS];
    static uint8_t hidden[2 * 16];
    static const float mean[] = {0.5f, 0.25f, 0}, std[] = {0.5f, 0.5f, 2};
    TrainerMetrics metrics;
    Recipe student = recipe, its;
    assert_true(tiny_recipe(&recipe) && recipe_set(&recipe, "image.size=32") && recipe_set(&recipe, "encoder.patch=8") &&
                recipe_set(&recipe, "encoder.position=learned") && recipe_set(&recipe, "image.mean=[0, 0, 0]") &&
                recipe_set(&recipe, "image.std=[1, 1, 1]") && recipe_set(&recipe, "data.val_share=0") &&
                recipe_set(&recipe, "data.world_images=64") && recipe_set(&recipe, "schedule.epochs=1"));
    run_until(&recipe, HOME "/teacher", false, 0, PRETRAIN_DONE);
    its = recipe;
    recipe = student;
    assert_true(recipe_set(&recipe, "stages=[]") && recipe_set(&recipe, "target.teacher=" HOME "/teacher") &&
                recipe_set(&recipe, "target.image_size=32"));
    run_until(&recipe, HOME "/run", false, 0, PRETRAIN_DONE);
    recipe_statistics_set(&recipe.image.mean, 3, mean);
    recipe_statistics_set(&recipe.image.std, 3, std);
    Random random = random_stream(8, RANDOM_TEST, 0, 0, 0);
    for (int i = 0; i < 2 * LARGE; i++) {
        int c = i / (32 * 32) % 3;
        large[i] = (float)random_normal(&random);
        seen_by_it[i] = large[i] * std[c] + mean[c];
    }
    for (int i = 0; i < 2 * 16; i++)
        hidden[i] = i % 4 != 0;
    Trainer *t = open_looking(&recipe);
    TrainerBatch batch = {.images = small, .teacher_images = large, .hidden = hidden};
    if (!trainer_evaluate(t, &batch, 2, &metrics))
        fail_msg("%s", error_text());
    trainer_target(t, 0, got);
    trainer_close(t);
    its.target = recipe.target;
    for (int k = 0; k < 2; k++) {
        its.decoders[k].target = recipe.target;
        its.decoders[k].target.image_size[0] = its.decoders[k].target.image_size[1] = 0;
    }
    its.target.image_size[0] = its.target.image_size[1] = 0;
    t = open_looking(&its);
    if (!trainer_evaluate(t, &(TrainerBatch){.images = seen_by_it, .hidden = hidden}, 2, &metrics))
        fail_msg("%s", error_text());
    trainer_target(t, 0, expect);
    trainer_close(t);
    double worst = 0, size = 0;
    for (int i = 0; i < TOKENS; i++) {
        worst = fmax(worst, fabs((double)got[i] - (double)expect[i]));
        size = fmax(size, fabs((double)expect[i]));
    }
    assert_true(size > 0.5 && worst < 1e-4 * size);
    /* target.mean and std say otherwise than the teacher's file. */
    assert_true(recipe_set(&recipe, "target.mean=[0.5, 0.25, 0]") && recipe_set(&recipe, "target.std=[0.5, 0.5, 2]"));
    MimTeacher model;
    assert_true(teacher_of(&recipe, 0, &model) && !model.renormalise);
}

/* The first teacher's pictures are twice as large; the next one is the student, which sees pictures as students do. */
static void only_the_first_teacher_sees_another_size(void **state)
{
    (void)state;
    int count;
    Recipe student = recipe;
    assert_true(recipe_set(&recipe, "image.size=32") && recipe_set(&recipe, "encoder.patch=8") &&
                recipe_set(&recipe, "target={kind: pixels, normalise: none, class_token: false}") &&
                recipe_set(&recipe, "stages=[]") && recipe_set(&recipe, "schedule.epochs=1"));
    run_until(&recipe, HOME "/teacher", false, 0, PRETRAIN_DONE);
    /* 4 steps of 8 pictures in each stage, and a few pictures held out. */
    assert_true(recipe_set(&student, "target.teacher=" HOME "/teacher") && recipe_set(&student, "target.image_size=32") &&
                recipe_set(&student, "data.val_share=0.2") && recipe_set(&student, "data.world_images=46"));
    run_until(&student, HOME "/whole", false, 0, PRETRAIN_DONE);
    run_until(&student, HOME "/cut", false, 2, PRETRAIN_STOPPED);
    run_until(&student, HOME "/cut", true, 6, PRETRAIN_STOPPED);
    run_until(&student, HOME "/cut", true, 0, PRETRAIN_DONE);
    assert_same_file(HOME "/whole", HOME "/cut", "model.safetensors");
    assert_same_file(HOME "/whole", HOME "/cut", "state.safetensors");
    SafeTensors *middle = open_part(HOME "/whole", 4, "model"), *second = open_part(HOME "/whole", 8, "state");
    assert_true(teaches(middle, second, &count));
    assert_true(count > 10);
    safetensors_close(middle);
    safetensors_close(second);
}

static void what_cannot_teach_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *keys[2], *words[2];
    } cases[] = {
        {{"target.teacher=" HOME "/nobody", "stages=[]"}, {"target.teacher", HOME "/nobody"}},
        {{"target.projection=true", NULL}, {"target.projection", "from a file"}},
        {{"target.final_norm=true", "decoders=[{tap: 1, width: 8, depth: 1, heads: 2}]"}, {"target.final_norm", "tap"}},
        {{"target={kind: pixels, normalise: none, class_token: false}", "target.teacher=random"},
         {"target.teacher", "features"}},
        {{"schedule.kind=multistep", "schedule.steps=[1]"}, {"multistep", "stages"}},
        {{"stages=[{epochs: 1}]", NULL}, {"stages have 1 epochs", "schedule.epochs is 2"}},
        {{"stages=[{epochs: 1, teacher_depth: 3}, {epochs: 1}]", NULL}, {"stages.0.teacher_depth 3", "encoder.depth 2"}},
        {{"target.kind=hog", "target.class_token=false"}, {"target.normalise token", "target.kind hog"}},
        {{"target.image_size=32", "stages=[]"}, {"target.image_size", "grid of 8 x 8"}},
        {{"target.image_size=32", NULL}, {"target.image_size", "grid of 8 x 8"}},
        {{"target={kind: pixels, normalise: none, class_token: false}", "target.image_size=32"},
         {"target.image_size", "features"}},
        {{"target.mean=[0, 0]", NULL}, {"target.mean has 2 numbers", "image.channels is 3"}},
    };
    Recipe plain = recipe;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        recipe = plain;
        for (int k = 0; k < 2; k++)
            if (cases[i].keys[k])
                assert_true(recipe_set(&recipe, cases[i].keys[k]));
        expect_refused_run(&recipe, HOME "/refused", cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_deep_teacher_takes_no_more_room_than_a_shallow_one, begin, end),
        cmocka_unit_test_setup_teardown(stages_lie_one_behind_the_other, begin, end),
        cmocka_unit_test_setup_teardown(the_student_becomes_the_teacher, begin, end),
        cmocka_unit_test_setup_teardown(a_shallow_teacher_can_be_named, begin, end),
        cmocka_unit_test_setup_teardown(a_stage_begins_with_weights_of_its_own, begin, end),
        cmocka_unit_test_setup_teardown(a_stopped_run_comes_to_the_same, begin, end),
        cmocka_unit_test_setup_teardown(a_teacher_of_another_width_gives_way, begin, end),
        cmocka_unit_test_setup_teardown(a_new_stage_is_no_leap, begin, end),
        cmocka_unit_test_setup_teardown(another_run_can_be_the_teacher, begin, end),
        cmocka_unit_test_setup_teardown(a_teacher_may_see_another_size, begin, end),
        cmocka_unit_test_setup_teardown(only_the_first_teacher_sees_another_size, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_teach_is_refused, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
